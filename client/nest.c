#include "nesting.h"

#include "serve.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void drop_piece(struct nest *n, struct nest_piece *p);

/* ---- beginning and end ------------------------------------------------------------------------
 */

int
nest_init(struct nest *n)
{
    memset(n, 0, offsetof(struct nest, batch));
    n->batch.session = NULL;
    TAILQ_INIT(&n->sessions);
    TAILQ_INIT(&n->news);
    return (n->exporter = core_new()) == NULL ? -1 : 0;
}

void
nest_fini(struct nest *n)
{
    struct nest_function *f, *next;

    HASH_ITER (hh, n->functions, f, next) {
        HASH_DEL(n->functions, f);
        free(f);
    }
    core_free(n->exporter);
}

void
nest_open(struct nest *n, struct nest_session *s, struct core *core, const struct spec *root,
          bool apart)
{
    struct message m = {.type = MESSAGE_WELCOME,
                        .welcome = {.instance = 1,
                                    .window = UINT64_MAX / 2,
                                    .workers = 1,
                                    .slots = n->slots > 0 ? n->slots : 1}};

    n->open++;
    *s = (struct nest_session){.core = core, .root = root, .apart = apart, .age = ++n->ages};
    TAILQ_INIT(&s->pieces);
    TAILQ_INIT(&s->jobs);
    TAILQ_INIT(&s->running);
    LIST_INIT(&s->exports);
    (void)core_input(core, &m, 0);
}

static struct nest_function *
find_function(struct nest *n, const char *name)
{
    struct nest_function *f;

    HASH_FIND_STR(n->functions, name, f);
    if (f != NULL || (f = calloc(1, sizeof(*f) + strlen(name) + 1)) == NULL)
        return f;
    strcpy(f->name, name);
    f->function = registry_find(name);
    f->mean_ns = -1;
    HASH_ADD_STR(n->functions, name, f);
    if (f->hh.tbl == NULL) {
        free(f);
        return NULL;
    }
    return f;
}

static void
free_job(struct nest_job *j)
{
    TAILQ_REMOVE(&j->session->jobs, j, link);
    spec_unref(j->spec);
    free(j);
}

void
nest_unref_job(struct nest_job *j)
{
    assert(j->refs > 0);
    if (--j->refs == 0 && j->ended)
        free_job(j);
}

static struct nest_job *
find_job(const struct nest_session *s, uint64_t number)
{
    struct nest_job *j;

    /* It is asked for when it is new, as a rule. */
    TAILQ_FOREACH_REVERSE(j, &s->jobs, nest_job_list, link)
    {
        if (j->number == number)
            break;
    }
    return j;
}

void
nest_close(struct nest *n, struct nest_session *s)
{
    struct nest_piece *p;
    struct nest_job *j;

    assert(TAILQ_EMPTY(&s->running) && n->open > 0);
    n->open--;
    if (n->batch.session == s) {
        nest_unref_job(n->batch.job);
        n->batch.session = NULL;
    }
    while ((p = TAILQ_FIRST(&s->pieces)) != NULL)
        drop_piece(n, p);
    exports_close(n, s);
    while ((j = TAILQ_FIRST(&s->jobs)) != NULL)
        free_job(j);
    if (s->has_news)
        TAILQ_REMOVE(&n->news, s, news_link);
    s->has_news = false;
    s->core = NULL;
}

/* ---- what a session's core is told ------------------------------------------------------------
 */

void
nest_look_at(struct nest *n, struct nest_session *s)
{
    if (s->has_news || !s->core->news)
        return;
    s->has_news = true;
    TAILQ_INSERT_TAIL(&n->news, s, news_link);
}

struct nest_session *
nest_news(struct nest *n)
{
    struct nest_session *s = TAILQ_FIRST(&n->news);

    if (s != NULL) {
        TAILQ_REMOVE(&n->news, s, news_link);
        s->has_news = false;
    }
    return s;
}

void
nest_end_tasks(struct nest *n, struct nest_job *j, uint64_t first, uint64_t count,
               enum outcome outcome, const char *text)
{
    struct message m = {.type = MESSAGE_ENDED,
                        .ended = {.job = j->number,
                                  .first = first,
                                  .count = count,
                                  .outcome = outcome,
                                  .worker = n->worker,
                                  .text = text}};

    if (core_input(j->session->core, &m, 0) != 0) {
        m.ended.text = NULL;
        if (core_input(j->session->core, &m, 0) != 0)
            n->broken = true;
    }
    nest_look_at(n, j->session);
}

bool
nest_wants(const struct nest_job *j, uint64_t index)
{
    const struct job *of_core = core_find(j->session->core, j->number);
    const struct chunk *c = of_core == NULL ? NULL : job_chunk(of_core, index);

    return c != NULL && c->first <= index && !(c->state[index - c->first] & STATE_OUTCOME);
}

/* ---- pieces -----------------------------------------------------------------------------------
 */

void
nest_count(struct nest *n, struct nest_session *s, int64_t more)
{
    struct nest_session *before;

    if (s->queued == 0 && more > 0) {
        TAILQ_FOREACH_REVERSE(before, &n->sessions, nest_session_list, link)
        {
            if (before->age < s->age)
                break;
        }
        if (before == NULL)
            TAILQ_INSERT_HEAD(&n->sessions, s, link);
        else
            TAILQ_INSERT_AFTER(&n->sessions, before, s, link);
    }
    s->queued += (uint64_t)more;
    n->queued += (uint64_t)more;
    if (s->queued == 0 && more < 0)
        TAILQ_REMOVE(&n->sessions, s, link);
}

void
piece_free(struct nest_piece *p)
{
    struct nest_job *j = p->job;

    blob_unref(p->data);
    free(p->sizes);
    free(p);
    nest_unref_job(j);
}

/* One that is queued. */
static void
drop_piece(struct nest *n, struct nest_piece *p)
{
    struct nest_session *s = p->job->session;

    TAILQ_REMOVE(&s->pieces, p, link);
    if (p->count > 0)
        nest_count(n, s, -(int64_t)p->count);
    piece_free(p);
}

static size_t
item_size(const struct nest_piece *p, uint32_t i)
{
    return p->sizes == NULL ? p->size : p->sizes[p->at + i];
}

size_t
piece_bytes(const struct nest_piece *p, uint32_t from, uint32_t count)
{
    size_t sum = 0;

    if (p->sizes == NULL)
        return (size_t)p->size * count;
    for (uint32_t i = from; i < from + count; i++)
        sum += item_size(p, i);
    return sum;
}

void
piece_skip_first(struct nest_piece *p)
{
    p->offset += piece_bytes(p, 0, 1);
    p->first++;
    p->at++;
    p->count--;
}

void
piece_queue(struct nest *n, struct nest_piece *p)
{
    struct nest_session *s = p->job->session;
    struct nest_piece *before;

    TAILQ_FOREACH_REVERSE(before, &s->pieces, nest_piece_list, link)
    {
        if (before->job->spec->priority >= p->job->spec->priority)
            break;
    }
    if (before == NULL || p->attempt > 1)
        TAILQ_INSERT_HEAD(&s->pieces, p, link);
    else
        TAILQ_INSERT_AFTER(&s->pieces, before, p, link);
    nest_count(n, s, p->count);
}

struct nest_piece *
piece_new(struct nest_job *j, const struct message_inputs *m)
{
    const struct columns *c = &m->columns;
    struct nest_piece *p;

    if ((p = malloc(sizeof(*p))) == NULL)
        return NULL;
    *p = (struct nest_piece){.job = j,
                             .first = m->first,
                             .count = c->count,
                             .attempt = 1,
                             .size = c->size,
                             .offset = c->at};
    if (c->sizes != NULL) {
        if ((p->sizes = malloc(c->count * sizeof(*c->sizes))) == NULL) {
            free(p);
            return NULL;
        }
        memcpy(p->sizes, c->sizes, c->count * sizeof(*c->sizes));
    }
    p->data = blob_ref(c->data);
    j->refs++;
    return p;
}

/* ---- what a session has to say ----------------------------------------------------------------
 */

static void
take_job(struct nest *n, struct nest_session *s, const struct message_job *m)
{
    struct nest_job *j;

    if ((j = calloc(1, sizeof(*j))) == NULL)
        return;
    *j = (struct nest_job){.session = s, .number = m->job, .spec = spec_ref(m->spec)};
    if ((j->function = find_function(n, m->spec->function)) == NULL) {
        spec_unref(j->spec);
        free(j);
        return;
    }
    j->stays = !s->apart && j->function->function != NULL && m->spec->timeout_ms == 0 &&
               m->spec->deadline_ms == 0 && m->spec->cpus <= 1 && m->spec->memory == 0 &&
               *m->spec->needs == '\0';
    TAILQ_INSERT_TAIL(&s->jobs, j, link);
}

static void
take_inputs(struct nest *n, struct nest_session *s, const struct message_inputs *m, int64_t now)
{
    struct message accepted = {.type = MESSAGE_ACCEPTED,
                               .range = {.job = m->job, .first = m->first + m->columns.count}};
    struct nest_job *j = find_job(s, m->job), none = {.session = s, .number = m->job};
    struct nest_piece *p = j == NULL ? NULL : piece_new(j, m);
    uint32_t keep;

    if (s->since == 0)
        s->since = now;

    (void)core_input(s->core, &accepted, now);
    if (p == NULL) {
        nest_end_tasks(n, &none, m->first, m->columns.count, OUTCOME_FAILED,
                       "its executor is out of memory");
        return;
    }
    keep = export_keeps(n, p);
    if (keep < p->count && export_tasks(n, p, keep, now) != 0 && !j->stays) {
        nest_end_tasks(n, j, p->first, p->count, OUTCOME_FAILED, "its executor is out of memory");
        p->count = 0;
    }
    if (p->count > 0)
        piece_queue(n, p);
    else
        piece_free(p);
    export_share(n, now);
}

static void
settle(struct nest *n, struct nest_job *j, uint64_t index)
{
    nest_end_tasks(n, j, index, 1, OUTCOME_CANCELLED, NULL);
}

/* What nobody wants at the ends of a piece need not be looked at again. */
static void
trim_piece(struct nest *n, struct nest_piece *p)
{
    struct nest_session *s = p->job->session;
    uint32_t before = p->count;

    while (p->count > 0 && !nest_wants(p->job, p->first)) {
        settle(n, p->job, p->first);
        piece_skip_first(p);
    }
    while (p->count > 0 && !nest_wants(p->job, p->first + p->count - 1))
        settle(n, p->job, p->first + --p->count);
    if (p->count < before)
        nest_count(n, s, (int64_t)p->count - before);
    if (p->count == 0)
        drop_piece(n, p);
}

/* Returns the sessions below that are to be cancelled, too, in a list. */
static void
take_cancel(struct nest *n, struct nest_session *s, const struct message_range *m,
            struct nest_session_list *ending)
{
    uint64_t end = m->first + m->count;
    struct nest_piece *p, *next;
    struct nest_task *t;

    s->holes = true;
    for (p = TAILQ_FIRST(&s->pieces); p != NULL; p = next) {
        next = TAILQ_NEXT(p, link);
        if (p->job->number == m->job && p->first < end && p->first + p->count > m->first)
            trim_piece(n, p);
    }
    export_cancel(n, s, m->job, m->first, end);
    TAILQ_FOREACH (t, &s->running, link) {
        if (t->job->number != m->job || t->index < m->first || t->index >= end || t->cancelled)
            continue;
        t->cancelled = true;
        if (t->below != NULL && !t->below->ended) {
            t->below->ended = true;
            TAILQ_INSERT_TAIL(ending, t->below, ending_link);
        }
    }
}

static void
take_end(struct nest_session *s, uint64_t number)
{
    struct nest_job *j = find_job(s, number);

    if (j == NULL)
        return;
    j->ended = true;
    if (j->refs == 0)
        free_job(j);
}

static void
pull(struct nest *n, struct nest_session *s, struct nest_session_list *ending, int64_t now)
{
    struct message m;

    while (core_output(s->core, &m, now)) {
        if (m.type == MESSAGE_JOB)
            take_job(n, s, &m.job);
        else if (m.type == MESSAGE_INPUTS)
            take_inputs(n, s, &m.inputs, now);
        else if (m.type == MESSAGE_CANCEL)
            take_cancel(n, s, &m.range, ending);
        else if (m.type == MESSAGE_JOB_END)
            take_end(s, m.job_end.job);
    }
}

/* One after the other: they may stand as deep as memory allows. */
static void
end_sessions(struct nest *n, struct nest_session_list *ending, int64_t now)
{
    struct nest_session *s;

    while ((s = TAILQ_FIRST(ending)) != NULL) {
        TAILQ_REMOVE(ending, s, ending_link);
        core_end_all(s->core, OUTCOME_CANCELLED, "cancelled, as the task that spawned it was",
                     true);
        nest_look_at(n, s);
        pull(n, s, ending, now);
    }
}

void
nest_pull(struct nest *n, struct nest_session *s, int64_t now)
{
    struct nest_session_list ending = TAILQ_HEAD_INITIALIZER(ending);

    if (!s->core->wants_output)
        return;
    pull(n, s, &ending, now);
    end_sessions(n, &ending, now);
}

void
nest_cancel(struct nest *n, struct nest_session *s, int64_t now)
{
    struct nest_session_list ending = TAILQ_HEAD_INITIALIZER(ending);

    if (s->ended)
        return;
    s->ended = true;
    TAILQ_INSERT_TAIL(&ending, s, ending_link);
    end_sessions(n, &ending, now);
}
