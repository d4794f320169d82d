/* Detached jobs, in the core: their inputs go to the broker's store and are forgotten here when
 * they are on disk; their results are fetched from it. */
#include "detached.h"

#include "../proto/limits.h"

#include <stdlib.h>
#include <string.h>

enum { DEPOSIT = 8 << 20 }; /* bytes on their way to the disk */
enum { CREDIT = 4 << 20 };  /* bytes of results on their way here */

struct job *
core_job_detached(struct core *core, const struct spec *spec, const uint8_t id[16], bool attached,
                  int64_t now)
{
    /* Results of it are not those that TAKEN is about, also when it is forgotten here. */
    struct job *j = core_job_numbered(core, spec, ++core->last_job | DETACHED_NUMBER, now);

    if (j == NULL)
        return NULL;
    j->detached = true;
    j->attached = attached;
    memcpy(j->id, id, sizeof(j->id));
    core_look_at(core, j);
    return j;
}

/* ---- out ---------------------------------------------------------------------------------------
 */

static uint64_t
cost_of(const struct chunk *c, uint32_t from, uint32_t count)
{
    return inputs_bytes(c, from, count) + (uint64_t)count * TASK_COST;
}

/* What is to be sent next; NULL: nothing, or not now. */
static struct chunk *
next_inputs(struct core *core, const struct job *j)
{
    struct chunk *c = j->cursor < j->total ? job_chunk(j, j->cursor) : NULL;

    if (c == NULL || c->sent == c->count || j->attached || j->cancelling || j->cut)
        return NULL;
    if (core->depositing > 0 &&
        core->depositing + cost_of(c, c->sent, c->count - c->sent) > DEPOSIT) {
        core->deposits_wait = true;
        return NULL;
    }
    return c;
}

static bool
end_due(const struct job *j)
{
    return j->closed && !j->end_sent && !j->attached && !j->cancelling &&
           (j->cursor == j->total || j->cut);
}

static bool
fetch_due(const struct job *j)
{
    return j->fetch_due && !j->dropped && j->ended < j->total;
}

bool
core_detached_due(struct core *core, const struct job *j)
{
    if (j->refused)
        return false;
    if (!j->announced)
        return true;
    return j->opened && ((j->cancelling && !j->cancel_told) || next_inputs(core, j) != NULL ||
                         end_due(j) || fetch_due(j));
}

static void
announce(struct job *j, struct message *m)
{
    j->announced = true;
    if (j->attached || j->sealed) {
        *m = (struct message){.type = MESSAGE_ATTACH, .attach = {.job = j->number}};
        memcpy(m->attach.id, j->id, sizeof(j->id));
        return;
    }
    *m = (struct message){.type = MESSAGE_JOB,
                          .job = {.job = j->number, .spec = j->spec, .detached = true}};
    memcpy(m->job.id, j->id, sizeof(j->id));
}

static void
send_inputs(struct core *core, struct chunk *c, struct message *m)
{
    struct job *j = c->job;
    uint32_t n = c->count - c->sent;
    size_t bytes = inputs_bytes(c, c->sent, n);

    *m = (struct message){
        .type = MESSAGE_INPUTS,
        .inputs = {.job = j->number,
                   .first = c->first + c->sent,
                   .columns = {.count = n,
                               .size = c->sizes == NULL ? c->size : 0,
                               .sizes = c->sizes == NULL ? NULL : c->sizes + c->sent,
                               .data = bytes > 0 ? c->data : NULL,
                               .at = bytes > 0 ? c->sent_bytes : 0,
                               .length = bytes}}};
    core->depositing += cost_of(c, c->sent, n);
    c->unsettled += n;
    j->unsettled += n;
    c->sent = c->count;
    c->sent_bytes += bytes;
    j->cursor = c->first + c->sent;
}

bool
core_detached_output(struct core *core, struct job *j, struct message *m)
{
    struct chunk *c;

    if (j->refused)
        return false;
    if (!j->announced) {
        announce(j, m);
        return true;
    }
    if (!j->opened)
        return false;
    if (j->cancelling && !j->cancel_told) {
        j->cancel_told = true;
        *m = (struct message){.type = MESSAGE_CANCEL,
                              .range = {.job = j->number, .count = UINT64_MAX}};
        return true;
    }
    if (fetch_due(j)) {
        j->fetch_due = false;
        *m = (struct message){.type = MESSAGE_FETCH,
                              .fetch = {.job = j->number, .bytes = CREDIT, .after = j->fetched}};
        return true;
    }
    if ((c = next_inputs(core, j)) != NULL) {
        if (c->state[c->sent] & STATE_OUTCOME) { /* by itself, as there is no such function */
            j->refused = true;
            core->news = true; /* some wait for the job to be on disk */
            return false;
        }
        send_inputs(core, c, m);
        return true;
    }
    if (!end_due(j))
        return false;
    j->end_sent = true;
    *m = (struct message){.type = MESSAGE_JOB_END,
                          .job_end = {.job = j->number, .total = j->cursor}};
    return true;
}

void
core_detached_cut(struct core *core, struct job *j)
{
    if (j->sealed || j->attached)
        return;
    j->cut = true;
    if (!j->announced) /* nobody knows of it */
        j->refused = true;
    core->news = true;
    core_look_at(core, j);
}

/* ---- what is on disk ---------------------------------------------------------------------------
 */

/* On disk, and nobody here asks what becomes of it. The chunk may be gone after, and its job. */
static void
leave_chunk(struct core *core, struct chunk *c)
{
    struct job *j = c->job;
    uint32_t n = 0;

    if (c->handles > 0 || c->unsettled > 0 || (c->sent < c->count && !j->refused))
        return;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->state[i] & STATE_OUTCOME)
            continue;
        c->state[i] |= 1 + OUTCOME_CANCELLED;
        j->held -= inputs_bytes(c, i, 1);
        n++;
    }
    c->ended += n;
    j->ended += n;
    core->unended -= n;
    (void)core_chunk_ended(core, c);
}

void
core_leave(struct core *core, struct job *j)
{
    uint64_t index = 0;
    struct chunk *c;

    j->refs++;
    while ((c = job_chunk(j, index)) != NULL) {
        index = c->first + c->count;
        leave_chunk(core, c);
    }
    core_release(core, j);
}

/* Tasks [from, to) of the chunk. */
static void
settle(struct core *core, struct chunk *c, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        if (c->state[i] & STATE_SETTLED)
            continue;
        c->state[i] |= STATE_SETTLED;
        if (i >= c->sent)
            continue;
        c->unsettled--;
        c->job->unsettled--;
        core->depositing -= cost_of(c, i, 1);
    }
    if (c->sent < to) { /* in an earlier conversation */
        c->sent_bytes = inputs_bytes(c, 0, to);
        c->sent = to;
    }
    if (to == c->count) {
        blob_unref(c->data);
        c->data = NULL;
    }
}

/* There is room again for those that found none. */
static void
go_on(struct core *core)
{
    struct job *j;

    if (!core->deposits_wait || core->depositing > DEPOSIT / 2)
        return;
    core->deposits_wait = false;
    for (j = core->jobs; j != NULL; j = j->hh.next) {
        if (j->detached)
            core_look_at(core, j);
    }
}

static void
accepted(struct core *core, struct job *j, uint64_t first)
{
    uint64_t index = j->accepted;
    struct chunk *c;

    j->refs++;
    if (first > j->total)
        first = j->total;
    while (index < first && (c = job_chunk(j, index)) != NULL && c->first < first) {
        uint32_t from = index > c->first ? (uint32_t)(index - c->first) : 0;
        uint64_t to = first - c->first < c->count ? first - c->first : c->count;

        index = c->first + c->count;
        settle(core, c, from, (uint32_t)to);
        leave_chunk(core, c);
    }
    if (j->accepted < first)
        j->accepted = first;
    if (j->cursor < first)
        j->cursor = first;
    core->news = true;
    core_look_at(core, j);
    go_on(core);
    core_release(core, j);
}

/* ---- in ----------------------------------------------------------------------------------------
 */

/* Tasks of one that somebody else submitted. -1: ENOMEM. */
static int
extend(struct core *core, struct job *j, uint64_t total)
{
    while (j->total < total) {
        uint64_t left = total - j->total;
        uint32_t n = left < LIMIT_ITEMS ? (uint32_t)left : LIMIT_ITEMS;
        struct chunk *c = job_extend(j, n, 0);

        if (c == NULL)
            return -1;
        memset(c->state, STATE_SETTLED, n);
        blob_unref(c->data);
        c->data = NULL;
        c->count = c->sent = n;
        c->handles = j->dropped ? 0 : n;
        j->total += n;
        j->cursor = j->accepted = j->total;
        j->held += (size_t)n * TASK_COST;
        core->unended += n;
    }
    return 0;
}

static int
name_it(struct job *j, const struct message_attached *m)
{
    struct spec spec = *j->spec, *named;

    if (!j->attached || j->opened)
        return 0;
    spec.function = m->function;
    spec.name = m->name;
    if ((named = spec_new(&spec)) == NULL)
        return -1;
    spec_unref(j->spec);
    j->spec = named;
    return 0;
}

/* Tasks from `total` on are not in the store, and will not be. If it knows nothing any more of what
 * it had, all are lost. */
static int
refused(struct core *core, struct job *j, const struct message_attached *m)
{
    bool vanished = m->total < j->accepted;
    struct ending e = {.outcome = vanished ? OUTCOME_LOST : OUTCOME_REJECTED, .worker = ""};
    uint64_t from = vanished ? 0 : m->total;
    int failed = 0;

    j->error = m->error;
    free(j->refusal);
    j->refusal = strdup(m->text);
    j->fetch_due = j->fetch_due || !j->opened;
    j->opened = true;
    if (vanished || m->total == 0)
        j->refused = true;
    j->refs++;
    accepted(core, j, m->total < j->accepted ? j->accepted : m->total);
    if ((e.text = blob_copy(m->text, strlen(m->text))) == NULL ||
        core_end_range(core, j, from, UINT64_MAX, &e, false) != 0)
        failed = -1;
    blob_unref(e.text);
    /* What was on its way there is dropped. */
    for (uint64_t index = m->total; index < j->total;) {
        struct chunk *c = job_chunk(j, index);

        if (c == NULL)
            break;
        index = c->first + c->count;
        settle(core, c, 0, c->count);
        (void)core_chunk_ended(core, c);
    }
    j->cursor = j->total;
    j->end_sent = j->sealed = true;
    core->news = true;
    core_look_at(core, j);
    core_release(core, j);
    return failed;
}

/* It takes no more tasks, and we have some: what is sent now would break the protocol. */
static int
closed_there(struct core *core, struct job *j, const struct message_attached *m)
{
    struct message_attached over = *m;

    over.error = KEPT_OVER;
    over.text = "the job takes no more tasks: it was cancelled, or its client was away for long";
    return refused(core, j, &over);
}

static int
input_attached(struct core *core, const struct message_attached *m)
{
    struct job *j = core_find(core, m->job);

    if (j == NULL || !j->detached)
        return 0;
    if (m->error != KEPT_NONE)
        return refused(core, j, m);
    if (m->sealed && m->total < j->total && !j->attached && !j->cut && !j->cancelling)
        return closed_there(core, j, m);
    if (name_it(j, m) != 0 || (j->attached && extend(core, j, m->total) != 0))
        return -1;
    j->refs++;
    if (!j->opened) {
        j->opened = true;
        j->fetch_due = true;
    }
    j->sealed = j->sealed || m->sealed;
    if (!j->attached)
        accepted(core, j, m->total);
    else if (j->sealed)
        core_close(core, j);
    core->news = true;
    core_look_at(core, j);
    core_release(core, j);
    return 0;
}

int
core_detached_input(struct core *core, const struct message *m)
{
    struct job *j;

    switch (m->type) {
    case MESSAGE_ATTACHED:
        return input_attached(core, &m->attached);
    case MESSAGE_ACCEPTED:
        if ((j = core_find(core, m->range.job)) != NULL)
            accepted(core, j, m->range.first);
        return 0;
    default: /* FETCHED */
        if ((j = core_find(core, m->fetch.job)) == NULL || !j->detached)
            return 0;
        j->fetched = m->fetch.after;
        j->fetch_due = true;
        core_look_at(core, j);
        return 0;
    }
}

void
core_detached_welcome(struct core *core, struct job *j)
{
    uint64_t index = 0;
    struct chunk *c;

    j->refs++; /* what has ended here, and was on its way to another broker, goes now */
    j->announced = j->opened = j->fetch_due = j->cancel_told = false;
    j->refused = j->refused || (j->cut && j->accepted == 0);
    j->end_sent = j->sealed || j->refused;
    j->unsettled = 0;
    j->cursor = j->accepted;
    while ((c = job_chunk(j, index)) != NULL) {
        uint64_t kept = j->accepted > c->first ? j->accepted - c->first : 0;

        index = c->first + c->count;
        c->unsettled = 0;
        c->sent = kept < c->count ? (uint32_t)kept : c->count;
        c->sent_bytes = inputs_bytes(c, 0, c->sent);
        (void)core_chunk_ended(core, c);
    }
    core_look_at(core, j);
    core_release(core, j);
}

bool
core_detached_settled(const struct job *j)
{
    return j->refused || ((j->sealed || j->attached) && (!j->cancelling || j->cancel_told));
}

bool
core_detached_busy(const struct core *core)
{
    const struct job *j;

    for (j = core->jobs; j != NULL; j = j->hh.next) {
        if (j->detached && !core_detached_settled(j))
            return true;
    }
    return false;
}
