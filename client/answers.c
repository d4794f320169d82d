/* What the broker says to the core. */
#include "core.h"

#include "detached.h"

#include "../proto/limits.h"

#include <stdlib.h>
#include <string.h>

enum {
    WAITING = 64 << 20,  /* bytes of partial results that are kept until somebody dispatches */
    UNCLAIMED = 1 << 20, /* likewise, for who may ask for them */
};

/* ---- partial results --------------------------------------------------------------------------
 */

void
partial_free(struct partial *p)
{
    blob_unref(p->data);
    free(p);
}

struct partial *
core_partial(struct core *core)
{
    struct partial *p = TAILQ_FIRST(&core->partials);

    if (p == NULL)
        return NULL;
    TAILQ_REMOVE(&core->partials, p, link);
    core->partials_bytes -= p->size + TASK_COST;
    return p;
}

/* Nobody may dispatch for long: the oldest go. */
static void
add_partial(struct core *core, struct partial *p)
{
    TAILQ_INSERT_TAIL(&core->partials, p, link);
    core->partials_bytes += p->size + TASK_COST;
    core->news = true;
    while (core->partials_bytes > WAITING && TAILQ_FIRST(&core->partials) != p)
        partial_free(core_partial(core));
}

static void
take_unclaimed(struct core *core, struct partial *p)
{
    struct job *j = core_find(core, p->job);

    TAILQ_REMOVE(&core->unclaimed, p, link);
    core->unclaimed_bytes -= p->size + TASK_COST;
    j->unclaimed--;
}

void
core_claim(struct core *core, uint64_t job, uint64_t index, bool whole_job)
{
    struct partial *p, *next;

    for (p = TAILQ_FIRST(&core->unclaimed); p != NULL; p = next) {
        next = TAILQ_NEXT(p, link);
        if (p->job != job || (!whole_job && p->index != index))
            continue;
        take_unclaimed(core, p);
        add_partial(core, p);
    }
}

void
core_drop_unclaimed(struct core *core, const struct chunk *c)
{
    struct partial *p, *next;

    for (p = TAILQ_FIRST(&core->unclaimed); p != NULL; p = next) {
        next = TAILQ_NEXT(p, link);
        if (p->job != c->job->number || p->index - c->first >= c->count)
            continue;
        take_unclaimed(core, p);
        partial_free(p);
    }
}

static bool
partial_wanted(const struct job *j, uint64_t index)
{
    const struct watcher *w;
    const struct chunk *c;

    if (j->partials || (c = job_chunk(j, index)) == NULL || c->first > index)
        return j->partials;
    for (w = chunk_watchers(c, (uint32_t)(index - c->first)); w != NULL; w = w->next)
        if (w->partials)
            return true;
    return false;
}

static int
input_partial(struct core *core, const struct message_partial *m)
{
    struct job *j = core_find(core, m->job);
    const struct chunk *c = j == NULL ? NULL : job_chunk(j, m->index);
    struct partial *p;

    if (c == NULL || c->first > m->index)
        return 0; /* nobody can ask for it any more */
    if ((p = malloc(sizeof(*p))) == NULL)
        return -1;
    *p = (struct partial){.job = m->job,
                          .index = m->index,
                          .data = m->columns.length > 0 ? blob_ref(m->columns.data) : NULL,
                          .at = m->columns.at,
                          .size = m->columns.length};
    if (partial_wanted(j, m->index)) {
        add_partial(core, p);
        return 0;
    }
    TAILQ_INSERT_TAIL(&core->unclaimed, p, link);
    core->unclaimed_bytes += p->size + TASK_COST;
    j->unclaimed++;
    while (core->unclaimed_bytes > UNCLAIMED) {
        p = TAILQ_FIRST(&core->unclaimed);
        take_unclaimed(core, p);
        partial_free(p);
    }
    return 0;
}

/* ---- ends -------------------------------------------------------------------------------------
 */

static void
forget_notice(struct core *core, struct job *j)
{
    free(j->notice);
    j->notice = NULL;
    free(core->notice);
    core->notice = NULL;
}

static int
input_results(struct core *core, const struct message_results *r)
{
    const struct columns *columns = &r->columns;
    struct job *j = core_find(core, r->job);
    size_t offset = 0;
    uint32_t i = 0;
    int failed = 0;

    if (j == NULL) {
        core->late += columns->count;
        return 0;
    }
    forget_notice(core, j);
    j->refs++; /* until the end of the loop */
    while (failed == 0 && i < columns->count) {
        uint64_t index = r->first + i;
        struct chunk *c = job_chunk(j, index);
        uint32_t n = columns->count - i;
        struct columns part;

        if (c == NULL) {
            core->late += n;
            break;
        }
        if (c->first > index) { /* of tasks that nobody asks for any more */
            n = c->first - index < n ? (uint32_t)(c->first - index) : n;
            core->late += n;
            offset += columns_length(columns, i, n);
            i += n;
            continue;
        }
        if (c->first + c->count - index < n)
            n = (uint32_t)(c->first + c->count - index);
        part = columns_part(columns, i, n, offset);
        failed = core_end_with_results(core, c, (uint32_t)(index - c->first), &part, r);
        offset += part.length;
        i += n;
    }
    core_release(core, j);
    return failed;
}

static int
input_ended(struct core *core, const struct message_ended *m)
{
    struct job *j = core_find(core, m->job);
    struct ending e = {.outcome = m->outcome, .attempt = m->attempt};
    int failed;

    if (j == NULL)
        return 0;
    forget_notice(core, j);
    e.worker = core_intern(core, m->worker);
    e.text = m->outcome == OUTCOME_TIMED_OUT && j->spec->deadline_ms > 0 ? core_deadline_text(j)
             : m->text != NULL ? blob_copy(m->text, strlen(m->text))
                               : NULL;
    if (m->text != NULL && e.text == NULL)
        return -1;
    failed = core_end_range(core, j, m->first, m->count, &e, true);
    blob_unref(e.text);
    return failed;
}

/* ---- news about tasks under way ---------------------------------------------------------------
 */

/* Where to write it down; NULL if nobody can ask. */
static struct note *
note_for(struct core *core, uint64_t job, uint64_t index)
{
    const struct job *j = core_find(core, job);
    struct chunk *c;
    uint64_t offset;

    if (j == NULL || !j->spec->singles || (c = job_chunk(j, index)) == NULL || c->first > index)
        return NULL;
    offset = index - c->first;
    if (c->state[offset] & STATE_OUTCOME)
        return NULL;
    return chunk_note(c, (uint32_t)offset, true);
}

/* Of a task that has not ended; NULL. Another broker shall hear of it, should this one die. */
static uint8_t *
state_of(const struct core *core, uint64_t job, uint64_t index)
{
    const struct job *j = core_find(core, job);
    struct chunk *c = j == NULL ? NULL : job_chunk(j, index);

    if (c == NULL || c->first > index || c->state[index - c->first] & STATE_OUTCOME)
        return NULL;
    return &c->state[index - c->first];
}

static void
mark_running(const struct core *core, uint64_t job, uint64_t index)
{
    uint8_t *state = state_of(core, job, index);

    if (state != NULL)
        *state |= STATE_RUNNING;
}

static void
input_charged(struct core *core, const struct message_charged *m)
{
    const uint32_t most = STATE_CHARGED / STATE_CHARGED_ONE;
    uint8_t *state = state_of(core, m->job, m->index);
    uint32_t charged = m->charged < most ? m->charged : most;

    if (state == NULL)
        return;
    *state &= (uint8_t) ~(STATE_CHARGED | STATE_RUNNING); /* that attempt is over */
    *state |= (uint8_t)(charged * STATE_CHARGED_ONE);
}

/* They may run once only: the next broker has to hear that they may have begun, which they may once
 * this one was told that it is noted. */
void
core_note(const struct core *core, const struct message_range *m)
{
    const struct job *j = core_find(core, m->job);
    uint64_t last = m->first + m->count;

    if (j == NULL) /* it ended meanwhile */
        return;
    last = last < j->total ? last : j->total;
    for (uint64_t index = m->first; index < last; index++)
        mark_running(core, m->job, index);
}

static int
input_begins(struct core *core, const struct message_range *m)
{
    if (core_find(core, m->job) == NULL)
        return 0;
    return core_say(core, MESSAGE_NOTED, m->job, m->first, m->count);
}

static void
input_running(struct core *core, const struct message_running *m)
{
    struct note *n = note_for(core, m->job, m->index);

    mark_running(core, m->job, m->index);
    if (n == NULL)
        return;
    n->running = true;
    n->attempt = m->attempt;
    n->worker = core_intern(core, m->worker);
}

static void
input_progress(struct core *core, const struct message_progress *m)
{
    struct note *n = note_for(core, m->job, m->index);

    if (n == NULL)
        return;
    n->running = true;
    n->done = m->done;
    n->total = m->total;
}

static void
input_notice(struct core *core, const struct message_notice *m)
{
    struct job *j = core_find(core, m->job);
    char *text = strdup(m->text);

    if (text == NULL)
        return;
    if (j != NULL) {
        free(j->notice);
        j->notice = text;
    } else {
        free(core->notice);
        core->notice = text;
    }
}

/* ---- the broker itself ------------------------------------------------------------------------
 */

/* It knows nothing of this chunk: what has not ended is to be sent again. */
static void
unsend(struct core *core, struct chunk *c)
{
    c->sent = 0;
    c->sent_bytes = 0;
    c->unsettled = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->state[i] & STATE_OUTCOME)
            c->state[i] |= STATE_SETTLED;
        else
            c->state[i] &= (uint8_t)~STATE_SETTLED;
    }
    (void)core_chunk_ended(core, c);
}

static void
input_welcome(struct core *core, const struct message_welcome *m, int64_t now)
{
    struct job *j, *next;
    struct word *x;

    core->welcome = true;
    core->tell_end = core->greeted;
    core->greeted = true;
    core->instance = m->instance;
    core->window = m->window;
    core->grant = 0;
    core->workers = m->workers;
    core->slots = m->slots;
    core->under_way = core->depositing = 0;
    core->received = core->taken = 0;
    core->taken_at = now;
    core->news = true;
    core->wants_output = true;
    core_shares_welcome(core);
    while ((x = TAILQ_FIRST(&core->words)) != NULL) {
        TAILQ_REMOVE(&core->words, x, link);
        free(x);
    }
    HASH_ITER (hh, core->jobs, j, next) {
        uint64_t index = 0;
        struct chunk *c;

        if (j->detached) {
            core_detached_welcome(core, j);
            continue;
        }
        j->refs++;
        if (j->cursor > j->before)
            j->before = j->cursor;
        j->announced = j->end_sent = false;
        j->accepted = j->unsettled = j->cursor = 0;
        while ((c = job_chunk(j, index)) != NULL) {
            index = c->first + c->count;
            unsend(core, c);
        }
        core_look_at(core, j);
        if (j->before > 0 && !j->is_again) {
            j->is_again = true;
            TAILQ_INSERT_TAIL(&core->again, j, again);
        }
        core_release(core, j);
    }
}

static void
input_grid(struct core *core, const struct message_grid *m)
{
    if (m->slots > core->slots) {
        free(core->notice);
        core->notice = NULL;
    }
    core->workers = m->workers;
    core->slots = m->slots;
    core->news = true;
    if (m->grant > core->grant) {
        core->grant = m->grant;
        core->wants_output = true;
    }
}

static void
input_accepted(struct core *core, const struct message_range *m)
{
    struct job *j = core_find(core, m->job);

    if (j != NULL && m->first > j->accepted)
        j->accepted = m->first;
}

int
core_input(struct core *core, const struct message *m, int64_t now)
{
    switch (m->type) {
    case MESSAGE_WELCOME:
        input_welcome(core, &m->welcome, now);
        return 0;
    case MESSAGE_GRID:
        input_grid(core, &m->grid);
        return 0;
    case MESSAGE_ACCEPTED:
        if (m->range.job & DETACHED_NUMBER)
            return core_detached_input(core, m);
        input_accepted(core, &m->range);
        return 0;
    case MESSAGE_ATTACHED:
    case MESSAGE_FETCHED:
        return core_detached_input(core, m);
    case MESSAGE_RESULTS:
        if (input_results(core, &m->results) != 0)
            return -1;
        if (m->results.job & DETACHED_NUMBER) /* its window is another */
            return 0;
        core->received +=
            m->results.columns.length + (uint64_t)m->results.columns.count * TASK_COST;
        return 0;
    case MESSAGE_ENDED:
        if (input_ended(core, &m->ended) != 0)
            return -1;
        core->received += m->ended.job & DETACHED_NUMBER ? 0 : TASK_COST;
        return 0;
    case MESSAGE_BEGINS:
        return input_begins(core, &m->range);
    case MESSAGE_CHARGED:
        input_charged(core, &m->charged);
        return 0;
    case MESSAGE_RUNNING:
        input_running(core, &m->running);
        return 0;
    case MESSAGE_PROGRESS:
        input_progress(core, &m->progress);
        return 0;
    case MESSAGE_PARTIAL:
        return input_partial(core, &m->partial);
    case MESSAGE_NOTICE:
        input_notice(core, &m->notice);
        return 0;
    default:
        return 0; /* not about jobs */
    }
}

void
core_gone(struct core *core)
{
    core->welcome = false;
    core->workers = core->slots = 0;
    core->news = true;
}
