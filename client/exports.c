/* Tasks of the nest that are exported, and what the grid says of them. */
#include "nesting.h"

#include <stdlib.h>
#include <string.h>

static void
free_export(struct nest *n, struct nest_export *x)
{
    HASH_DEL(n->exports, x);
    LIST_REMOVE(x, link);
    nest_unref_job(x->job);
    free(x);
}

/* ---- to the grid ------------------------------------------------------------------------------
 */

static void
release_view(struct blob *self)
{
    blob_unref(self->owner);
}

/* The job of the exporter; NULL: ENOMEM. */
static struct job *
make_job(struct nest *n, const struct nest_job *j, uint64_t first, int64_t now)
{
    const struct nest_session *s = j->session;
    struct spec spec = *j->spec;

    spec.program = s->root->program;
    spec.shared = s->root->shared;
    spec.nshared = s->root->nshared;
    spec.base += first;
    /* Each time that one comes back to the executor of the task that waits for it, and crashes,
     * that task starts anew without blame, and exports it again. */
    spec.apart = s->apart || !j->stays;
    return core_job(n->exporter, &spec, now);
}

/* The inputs [from, count) of the piece, for the exporter's job. -1: ENOMEM. */
static int
append(struct nest *n, struct job *j, const struct nest_piece *p, uint32_t from)
{
    size_t offset = p->offset + piece_bytes(p, 0, from);
    uint32_t count = p->count - from, *sizes = NULL;
    size_t length = piece_bytes(p, from, count);
    struct blob *data;

    data = length == 0 ? blob_new(0)
                       : blob_wrap(p->data->bytes + offset, length, release_view, p->data);
    if (data == NULL)
        return -1;
    if (length > 0)
        blob_ref(p->data);
    if (p->sizes != NULL && (sizes = malloc(count * sizeof(*sizes))) != NULL)
        memcpy(sizes, p->sizes + p->at + from, count * sizeof(*sizes));
    if ((p->sizes != NULL && sizes == NULL) ||
        core_append_blob(n->exporter, j, data, length, count, p->size, sizes) != 0) {
        blob_unref(data);
        free(sizes);
        return -1;
    }
    return 0;
}

static struct nest_export *
new_export(struct nest *n, struct nest_job *j, uint64_t number, uint64_t first)
{
    struct nest_export *x;

    if ((x = calloc(1, sizeof(*x))) == NULL)
        return NULL;
    x->number = number;
    x->job = j;
    x->first = first;
    HASH_ADD(hh, n->exports, number, sizeof(x->number), x);
    if (x->hh.tbl == NULL) {
        free(x);
        return NULL;
    }
    LIST_INSERT_HEAD(&j->session->exports, x, link);
    j->refs++;
    return x;
}

int
export_tasks(struct nest *n, struct nest_piece *p, uint32_t from, int64_t now)
{
    struct core *core = n->exporter;
    uint32_t count = p->count - from;
    struct nest_job *j = p->job;
    struct nest_export *x;
    struct job *job;

    if ((job = make_job(n, j, p->first + from, now)) == NULL)
        return -1;
    if ((x = new_export(n, j, job->number, p->first + from)) == NULL ||
        append(n, job, p, from) != 0) {
        if (x != NULL)
            free_export(n, x);
        core_close(core, job);
        core_release(core, job);
        return -1;
    }
    /* Results go past it, to the session's core: nobody asks for them here. */
    core_release_tasks(core, job_chunk(job, 0), count);
    for (uint32_t i = 0; j->session->holes && i < count; i++)
        if (!nest_wants(j, x->first + i))
            core_cancel(core, job, i, 1);
    core_close(core, job);
    core_release(core, job);
    p->count = from;
    n->credit -= n->credit < count ? n->credit : count;
    return 0;
}

uint32_t
export_keeps(const struct nest *n, const struct nest_piece *p)
{
    int64_t mean = p->job->function->mean_ns, keep;

    if (!p->job->stays)
        return 0;
    if (n->slots <= 1 || p->attempt > 1)
        return p->count;
    if (mean < 0)
        return 1;
    if (mean < NEST_KEEP_US * 1000 && n->credit == 0)
        return p->count;
    keep = NEST_KEEP_US * 1000 / (mean > 0 ? mean : 1);
    if (keep < 1)
        keep = 1;
    return keep < p->count ? (uint32_t)keep : p->count;
}

/* Is that much of the piece worth the way to another executor? What a function's tasks take on the
 * average says little of recursion, where most are leaves: a session that has been at it for long
 * has tasks that take long. */
static bool
is_worth(const struct nest_piece *p, uint32_t count, int64_t now)
{
    const struct nest_session *s = p->job->session;
    int64_t mean = p->job->function->mean_ns / 1000;
    int64_t each = (now - s->since) / (int64_t)(s->ended_here + 1);

    return mean < 0 || (mean > each ? mean : each) * count >= NEST_WORTH_US;
}

void
export_share(struct nest *n, int64_t now)
{
    while (n->credit > 0 && n->queued >= 2 && n->slots > 1) {
        struct nest_session *s = TAILQ_FIRST(&n->sessions);
        struct nest_piece *p = TAILQ_LAST(&s->pieces, nest_piece_list);
        uint32_t before = p->count, share = before - before / 2;

        if (p->attempt > 1 || !is_worth(p, share, now) ||
            export_tasks(n, p, before - share, now) != 0)
            return;
        nest_count(n, s, (int64_t)p->count - before);
        if (p->count == 0) {
            TAILQ_REMOVE(&s->pieces, p, link);
            piece_free(p);
        }
    }
}

/* The grid is known by now, and what came before was kept in whole. */
static void
plan_again(struct nest *n, int64_t now)
{
    struct nest_session *s, *next;
    struct nest_piece *p;

    for (s = TAILQ_FIRST(&n->sessions); s != NULL; s = next) {
        next = TAILQ_NEXT(s, link);
        TAILQ_FOREACH (p, &s->pieces, link) {
            uint32_t before = p->count, keep = export_keeps(n, p);

            if (keep < before && export_tasks(n, p, keep, now) == 0)
                nest_count(n, s, (int64_t)p->count - before);
        }
    }
    export_share(n, now);
}

void
export_cancel(struct nest *n, struct nest_session *s, uint64_t number, uint64_t first, uint64_t end)
{
    struct nest_export *x;

    LIST_FOREACH (x, &s->exports, link) {
        struct job *j = x->job->number == number ? core_find(n->exporter, x->number) : NULL;
        uint64_t from = x->first > first ? x->first : first, to;

        if (j == NULL)
            continue;
        to = x->first + j->total < end ? x->first + j->total : end;
        if (from < to)
            core_cancel(n->exporter, j, from - x->first, to - from);
    }
}

void
exports_close(struct nest *n, struct nest_session *s)
{
    struct nest_export *x;
    struct job *j;

    while ((x = LIST_FIRST(&s->exports)) != NULL) {
        if ((j = core_find(n->exporter, x->number)) != NULL)
            core_cancel(n->exporter, j, 0, j->total);
        free_export(n, x);
    }
}

/* ---- the grid's word --------------------------------------------------------------------------
 */

/* The job that a message is about, and the first of its tasks; NULL: it has none. */
static uint64_t *
place_of(struct message *m, uint64_t **job_p)
{
    switch (m->type) {
    case MESSAGE_RESULTS:
        *job_p = &m->results.job;
        return &m->results.first;
    case MESSAGE_ENDED:
        *job_p = &m->ended.job;
        return &m->ended.first;
    case MESSAGE_RUNNING:
        *job_p = &m->running.job;
        return &m->running.index;
    case MESSAGE_PROGRESS:
        *job_p = &m->progress.job;
        return &m->progress.index;
    case MESSAGE_PARTIAL:
        *job_p = &m->partial.job;
        return &m->partial.index;
    default:
        return NULL;
    }
}

/* To the core of the session that spawned these tasks. -1: ENOMEM. */
static int
pass_on(struct nest *n, const struct message *from, int64_t now)
{
    uint64_t none = 0, *first, *job = NULL;
    struct message m = *from;
    struct nest_export *x;
    int failed;

    if (m.type == MESSAGE_NOTICE) {
        job = &m.notice.job;
        first = &none;
    } else if ((first = place_of(&m, &job)) == NULL) {
        return 0;
    }
    HASH_FIND(hh, n->exports, job, sizeof(*job), x);
    if (x == NULL)
        return 0;
    *job = x->job->number;
    *first += x->first;
    failed = core_input(x->job->session->core, &m, now);
    nest_look_at(n, x->job->session);
    return failed;
}

static void
forget_ended(struct nest *n, const struct message *m)
{
    uint64_t number = m->type == MESSAGE_RESULTS ? m->results.job
                      : m->type == MESSAGE_ENDED ? m->ended.job
                                                 : 0;
    struct nest_export *x;
    struct job *j;

    if (number == 0)
        return;
    HASH_FIND(hh, n->exports, &number, sizeof(number), x);
    j = core_find(n->exporter, number);
    if (x != NULL && (j == NULL || j->ended == j->total))
        free_export(n, x);
}

int
nest_input(struct nest *n, const struct message *m, int64_t now)
{
    bool known = n->slots > 0;

    if (pass_on(n, m, now) != 0 || core_input(n->exporter, m, now) != 0)
        return -1;
    forget_ended(n, m);
    if (m->type == MESSAGE_WELCOME)
        n->slots = m->welcome.slots > 0 ? m->welcome.slots : 1;
    if (m->type == MESSAGE_GRID) {
        n->slots = m->grid.slots > 0 ? m->grid.slots : 1;
        n->credit = m->grid.idle;
    }
    if (!known && n->slots > 0)
        plan_again(n, now);
    else
        export_share(n, now);
    return 0;
}

bool
nest_output(struct nest *n, struct message *m, int64_t now)
{
    return core_output(n->exporter, m, now);
}

int64_t
nest_deadline(const struct nest *n)
{
    return core_taken_deadline(n->exporter);
}

bool
nest_gone(struct nest *n)
{
    core_gone(n->exporter);
    n->credit = 0;
    return n->exporter->unended > 0 || n->open > 0;
}
