#include "results.h"

#include "acks.h"
#include "aside.h"
#include "carried.h"
#include "claims.h"
#include "clients.h"
#include "endings.h"
#include "jobs.h"
#include "leases.h"
#include "parts.h"
#include "passing.h"
#include "peers.h"
#include "programs.h"
#include "queues.h"
#include "revoking.h"
#include "roster.h"
#include "tails.h"
#include "workers.h"

#include <assert.h>
#include <string.h>

static int
broke(struct scheduler *s, const char *what)
{
    snprintf(s->why, sizeof(s->why), "%s", what);
    return -1;
}

/* ---- results ------------------------------------------------------------------------------------
 */

struct arrival { /* a RESULTS message, and where its tasks are */
    struct worker *worker;
    struct lease *lease; /* NULL: it is over */
    struct chunk *chunk;
    const struct message_results *m;
    uint32_t base; /* offset in the chunk of its first item */
};

/* Sizes and outcomes of items, in one blob: the message's own are only borrowed. */
static int
copy_sides(struct outgoing *o, struct columns *to)
{
    size_t sizes = to->sizes == NULL ? 0 : to->count * sizeof(*to->sizes);
    size_t outcomes = 0;
    struct blob *side;

    for (uint32_t i = 0; to->outcomes != NULL && i < to->count && outcomes == 0; i++)
        outcomes = to->outcomes[i] != OUTCOME_DONE ? to->count : 0;
    if (outcomes == 0)
        to->outcomes = NULL;
    if (sizes + outcomes == 0)
        return 0;
    if ((side = blob_new(sizes + outcomes)) == NULL)
        return -1;
    o->keeps[OUTGOING_KEEPS - 1] = side;
    if (sizes > 0) {
        memcpy(side->bytes, to->sizes, sizes);
        to->sizes = (const uint32_t *)(const void *)side->bytes;
    }
    if (outcomes > 0) {
        memcpy(side->bytes + sizes, to->outcomes, outcomes);
        to->outcomes = side->bytes + sizes;
    }
    return 0;
}

/* Items [from, from + count) of the message, at `at` in its data, go to the client. */
static void
deliver(struct scheduler *s, const struct arrival *a, uint32_t from, uint32_t count, size_t at)
{
    const struct message_results *m = a->m;
    struct job *j = a->chunk->job;
    struct outgoing *o = client_say(s, j->client, MESSAGE_RESULTS);
    uint64_t age = (uint64_t)(s->now - a->chunk->accepted);
    struct columns part;

    if (o == NULL)
        return;
    part = columns_part(&m->columns, from, count, at);
    if (copy_sides(o, &part) != 0) {
        outbox_drop(&s->outbox, o);
        client_spoil(s, j->client);
        return;
    }
    outgoing_keep(o, part.data);
    outgoing_keep(o, a->worker->name);
    o->m.results = (struct message_results){
        .job = j->id,
        .first = m->first + from,
        /* One that was adopted may have another number for it than we have. */
        .attempt = a->lease != NULL && a->lease->adopted ? a->lease->range->attempt : m->attempt,
        .worker = words(a->worker->name),
        .run_us = m->columns.count == count
                      ? m->run_us
                      : (uint64_t)((double)m->run_us * count / m->columns.count),
        /* Not until it was handed over: it may have waited at its worker, too. */
        .wait_us = m->run_us < age ? age - m->run_us : 0,
        .columns = part};
    job_announce_unless(s, j, count);
    client_deliver(s, j->client, o, part.length + (uint64_t)count * TASK_COST);
    s->delivered = o;
}

static void
count_outcomes(struct scheduler *s, const struct arrival *a, uint32_t from, uint32_t count)
{
    const uint8_t *outcomes = a->m->columns.outcomes;
    struct job *j = a->chunk->job;
    uint32_t done = count, cancelled = 0;

    for (uint32_t i = from; outcomes != NULL && i < from + count; i++) {
        done -= outcomes[i] != OUTCOME_DONE;
        cancelled += outcomes[i] == OUTCOME_CANCELLED;
    }
    j->done += done;
    s->done += done;
    j->cancelled += cancelled;
    s->cancelled += cancelled;
    j->failed += count - done - cancelled;
    s->failed += count - done - cancelled;
    a->worker->done += done;
    a->worker->failed += count - done;
}

/* Items [from, to), none of which has an outcome yet, get theirs. */
static void
settle(struct scheduler *s, const struct arrival *a, uint32_t from, uint32_t to, size_t at)
{
    deliver(s, a, from, to - from, at);
    count_outcomes(s, a, from, to - from);
    leases_lose(s, a->chunk, a->base + from, a->base + to, a->lease, true);
    job_tasks_ended(s, a->chunk, a->base + from, a->base + to);
}

static uint32_t
give_back(struct scheduler *s, struct lease *l, uint32_t from, uint32_t to)
{
    struct range as = *l->range;
    uint32_t begin, end, count = 0;

    while (from < to && lease_next(l, from, to, &begin, &end)) {
        as.offset = begin;
        as.count = end - begin;
        as.at = lease_at(l, begin);
        if (lease_release(s, l, begin, end)) {
            if (!job_requeue(s, l->chunk, &as)) {
                l->chunk->job->ready += end - begin;
                end_tasks(s, l->chunk, begin, end,
                          &(struct ending){.outcome = OUTCOME_LOST,
                                           .text = "the broker was out of memory"});
            }
            count += end - begin;
        }
        from = end;
    }
    return count;
}

/* Their worker stopped them for a broker before this one: perhaps they had begun. */
static void
end_stopped(struct scheduler *s, struct lease *l, uint32_t from, uint32_t to)
{
    const struct ending e = {
        .outcome = OUTCOME_LOST,
        .attempt = l->range->attempt,
        .worker = l->worker->name,
        .text = "its worker had stopped it as the broker was restarted, and it may run only once"};
    uint32_t begin, end;

    /* Out of the lease first, which is still in use: end_tasks() finds them ready. */
    while (lease_next(l, from, to, &begin, &end) && lease_release(s, l, begin, end)) {
        l->chunk->job->ready += end - begin;
        end_tasks(s, l->chunk, begin, end, &e);
        from = end;
    }
}

enum verdict { SETTLED, AGAIN, BACK, STOPPED, LATE };

static bool
has(const struct lease *l, uint32_t offset)
{
    uint32_t begin, end;

    return lease_next(l, offset, offset + 1, &begin, &end);
}

/* Does this outcome end the task? */
static enum verdict
judge(const struct arrival *a, uint32_t item)
{
    const struct job *j = a->chunk->job;
    enum outcome o = a->m->columns.outcomes == NULL ? OUTCOME_DONE : a->m->columns.outcomes[item];
    bool retry =
        (o == OUTCOME_CRASHED || (o == OUTCOME_FAILED && j->spec->retry_failed)) && !j->spec->once;

    /* A lease that is over speaks for itself only, or that lost the task: what went wrong there,
     * another attempt may yet do. */
    if (a->lease == NULL || (o != OUTCOME_DONE && !has(a->lease, a->base + item)))
        return o == OUTCOME_DONE || (o == OUTCOME_FAILED && !retry) ? SETTLED : LATE;
    /* It was, of a client that is back; whoever cancels is answered at once. */
    if (o == OUTCOME_CANCELLED && a->lease->adopted)
        return j->spec->once ? STOPPED : BACK;
    if (retry && a->lease->range->attempt - a->lease->range->losses <= j->spec->retries)
        return AGAIN;
    return SETTLED;
}

/* The next broker shall know. */
static void
tell_charged(struct scheduler *s, const struct job *j, uint64_t index, const struct range *as)
{
    struct outgoing *o = client_say(s, j->client, MESSAGE_CHARGED);

    if (o == NULL)
        return;
    o->m.charged =
        (struct message_charged){.job = j->id, .index = index, .charged = range_charged(as)};
    client_deliver(s, j->client, o, 0);
}

static bool
put_aside(struct scheduler *s, const struct range *as, int64_t until)
{
    struct range *r = range_new(s, as->chunk);

    if (r == NULL)
        return false;
    *r = *as;
    aside_put(s, r, until, NULL);
    return true;
}

/* One more attempt, in a slice of its own. False if there is no memory for it: then it has ended.
 */
static bool
again(struct scheduler *s, const struct arrival *a, uint32_t item)
{
    struct lease *l = a->lease;
    uint32_t offset = a->base + item, begin, end;
    struct range as = *l->range;
    int64_t until = l->adopted ? aside_until_next(s) : 0;

    as.offset = offset;
    as.count = 1;
    as.at = lease_at(l, offset);
    as.attempt++;
    as.alone = true;
    if (!lease_next(l, offset, offset + 1, &begin, &end)) {
        s->late++; /* it was given back, and is somebody else's */
        return true;
    }
    if (!lease_release(s, l, offset, offset + 1))
        return false;
    if (s->config.lasting)
        tell_charged(s, a->chunk->job, a->chunk->first + offset, &as);
    if (until > 0 ? put_aside(s, &as, until) : job_requeue(s, a->chunk, &as)) {
        s->retries++;
        return true;
    }
    a->chunk->job->ready++; /* settle() finds it there */
    return false;
}

/* Items [from, to), none of which has an outcome yet. */
static void
take_run(struct scheduler *s, const struct arrival *a, uint32_t from, uint32_t to)
{
    const struct columns *c = &a->m->columns;
    size_t at = columns_length(c, 0, from);

    while (from < to) {
        enum verdict v = judge(a, from);
        uint32_t end = from + 1;
        size_t length;

        /* Without outcomes all are the same; what is to be run again goes one by one. */
        if (c->outcomes == NULL)
            end = to;
        while (v != AGAIN && end < to && judge(a, end) == v)
            end++;
        length = columns_length(c, from, end - from);
        s->moved = s->moved || v == AGAIN || v == BACK || v == STOPPED;
        if (v == LATE)
            s->late += end - from;
        else if (v == BACK)
            (void)give_back(s, a->lease, a->base + from, a->base + end);
        else if (v == STOPPED)
            end_stopped(s, a->lease, a->base + from, a->base + end);
        else if (v == SETTLED || !again(s, a, from))
            settle(s, a, from, end, at);
        at += length;
        from = end;
    }
}

/* Items [from, to) change nothing. That a cancelled task says so is no surprise. */
static void
count_late(struct scheduler *s, const struct columns *c, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        s->late += c->outcomes == NULL || c->outcomes[i] != OUTCOME_CANCELLED;
}

static void
take_items(struct scheduler *s, const struct arrival *a, uint32_t from, uint32_t to)
{
    while (from < to) {
        uint32_t live = chunk_live_from(a->chunk, a->base + from, a->base + to) - a->base;
        uint32_t end = chunk_ended_from(a->chunk, a->base + live, a->base + to) - a->base;

        count_late(s, &a->m->columns, from, live);
        if (live < end)
            take_run(s, a, live, end);
        from = end;
    }
}

/* How long did they run? */
static void
measure(struct scheduler *s, const struct arrival *a)
{
    const struct message_results *m = a->m;
    struct function *f = a->chunk->job->function;
    struct worker *w = a->worker;
    double mean = estimate_each(&f->estimate), ratio;

    if (a->lease == NULL || m->columns.count == 0)
        return;
    w->progress = s->now;
    if (a->lease->waited)
        return;
    if (mean > 0) {
        ratio = (double)m->run_us / m->columns.count / mean;
        ratio = ratio < 0.25 ? 0.25 : ratio > 4 ? 4 : ratio;
        w->speed += (ratio - w->speed) / 16;
    }
    estimate_add(&f->estimate, m->run_us, m->columns.count, a->lease->given, s->config.slice_us);
}

/* It has less now, or nothing. */
static void
rest_of(struct scheduler *s, struct lease *l)
{
    l->worker->progress = s->now;
    if (l->left == 0)
        lease_free(s, l);
    else
        worker_update(s, l->worker);
}

/* Items [from, to) of one chunk, some of which may be in leases of that number. */
static void
take_scattered(struct scheduler *s, struct arrival *a, uint32_t from, uint32_t to)
{
    while (from < to) {
        uint32_t offset = a->base + from, end = to;
        struct lease *l;

        a->lease = l = lease_beside(a->chunk, a->worker, a->m->lease, offset);
        if (l == NULL)
            end = lease_after(a->chunk, a->worker, a->m->lease, offset, a->base + to) - a->base;
        else if (l->offset + l->given - a->base < end)
            end = l->offset + l->given - a->base;
        take_items(s, a, from, end);
        if (l != NULL)
            rest_of(s, l);
        from = end;
    }
}

/* Results of a lease that is over may be the first for their tasks all the same; of one that was
 * adopted, they may be of several siblings. */
static void
scattered_results(struct scheduler *s, struct worker *w, const struct message_results *m)
{
    struct job *j = job_find(s, m->job);
    uint64_t index = m->first, last = m->first + m->columns.count;

    if (j == NULL || !worker_knows(w, j)) {
        count_late(s, &m->columns, 0, m->columns.count);
        return;
    }
    for (struct piece p; job_piece(j, index, last, &p); index = p.last) {
        /* Negative if the chunk starts behind the message; the sums come out right. */
        struct arrival a = {.worker = w,
                            .chunk = chunk_ref(p.chunk),
                            .m = m,
                            .base = (uint32_t)(m->first - p.chunk->first)};

        s->late += p.first - index;
        take_scattered(s, &a, (uint32_t)(p.first - m->first), (uint32_t)(p.last - m->first));
        chunk_unref(a.chunk);
    }
    s->late += last - index;
    queue_update(s, j);
    deadline_update(s, j);
    (void)job_finish(s, j);
}

static int
take_results(struct scheduler *s, struct worker *w, const struct message_results *m)
{
    struct lease *l = lease_of_worker(s, w, m->lease);
    struct arrival a = {.worker = w, .lease = l, .m = m};
    uint64_t offset;
    struct job *j;

    if (m->first > UINT64_MAX - m->columns.count)
        return broke(s, "results of tasks that cannot be");
    if (l == NULL || l->split) {
        scattered_results(s, w, m);
        return 0;
    }
    j = l->chunk->job;
    offset = m->first - l->chunk->first;
    if (j->number != m->job || m->first < l->chunk->first || offset < l->offset ||
        offset + m->columns.count > l->offset + l->given)
        return broke(s, "results of tasks that were not in the slice");
    a.chunk = chunk_ref(l->chunk);
    a.base = (uint32_t)offset;
    measure(s, &a);
    take_items(s, &a, 0, m->columns.count);
    if (l->left == 0)
        lease_free(s, l);
    else
        worker_update(s, w);
    chunk_unref(a.chunk);
    queue_update(s, j);
    deadline_update(s, j);
    (void)job_finish(s, j);
    return 0;
}

/* The worker keeps them until the last part of them is with its client, or with nobody. Those that
 * came again, as its connection had broken, have changed nothing, but may be on their way yet. */
static int
results(struct scheduler *s, struct worker *w, const struct message_results *m)
{
    struct job *j = job_find(s, m->job);
    struct client *c = j == NULL ? tail_client(s, m->job) : worker_knows(w, j) ? j->client : NULL;

    s->delivered = NULL;
    s->moved = false;
    if (take_results(s, w, m) != 0)
        return -1;
    if (s->delivered != NULL) {
        s->delivered->worker = w->number;
        s->delivered->serial = s->delivered->last_serial = m->serial;
    } else if (s->moved || c == NULL || !client_ack_behind(s, c, w->number, m->serial)) {
        ack(s, w->number, m->serial);
        acks_flush(s, w); /* before the next attempt of what is tried again */
    }
    return 0;
}

/* ---- given back ---------------------------------------------------------------------------------
 */

/* Tasks [first, last) of an adopted lease and its siblings. */
static uint32_t
give_back_scattered(struct scheduler *s, struct worker *w, struct job *j, uint64_t id,
                    uint64_t first, uint64_t last)
{
    uint32_t count = 0;

    while (first < last) {
        struct lease *l = lease_with(j, w, id, first);
        uint64_t end;

        if (l == NULL) {
            first++;
            continue;
        }
        end = l->chunk->first + l->offset + l->given;
        end = end < last ? end : last;
        count +=
            give_back(s, l, (uint32_t)(first - l->chunk->first), (uint32_t)(end - l->chunk->first));
        if (l->left == 0)
            lease_free(s, l);
        first = end;
    }
    return count;
}

static int
returned(struct scheduler *s, struct worker *w, const struct message_returned *m)
{
    struct lease *l = lease_of_worker(s, w, m->lease);
    uint32_t count = 0;
    uint64_t offset;
    struct job *j = NULL;

    if (l != NULL && m->count > 0) {
        j = l->chunk->job;
        offset = m->first - l->chunk->first;
        if (!l->split && (m->first < l->chunk->first || offset < l->offset ||
                          offset + m->count > l->offset + l->given))
            return broke(s, "tasks given back that were not in the slice");
        if (m->why == RETURNED_PROGRAM)
            program_failed(s, w, j->program, "the program cannot start there");
        if (l->split) {
            count = give_back_scattered(s, w, j, m->lease, m->first, m->first + m->count);
        } else {
            count = give_back(s, l, (uint32_t)offset, (uint32_t)offset + m->count);
            if (l->left == 0)
                lease_free(s, l);
        }
    }
    revoke_answered(s, w, m->lease, count);
    if (j != NULL)
        (void)job_finish(s, j);
    return 0;
}

/* ---- waiting for others -------------------------------------------------------------------------
 */

static void
park_siblings(struct scheduler *s, const struct lease *l, bool parked)
{
    struct lease *other;

    TAILQ_FOREACH (other, &l->worker->leases, link) {
        if (other->id == l->id)
            lease_park(s, other, parked);
    }
}

static void
parked(struct scheduler *s, struct worker *w, const struct message_parked *m)
{
    struct lease *l = lease_of_worker(s, w, m->lease);

    if (l == NULL) /* it is over meanwhile */
        return;
    if (l->split)
        park_siblings(s, l, m->parked);
    else
        lease_park(s, l, m->parked);
    if (!m->parked)
        return;
    l->chunk->job->function->nests = true;
    carried_grant(s, l->chunk->job->client);
}

int
worker_input(struct scheduler *s, struct worker *w, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_RESULTS:
        return results(s, w, &m->results);
    case MESSAGE_RETURNED:
        return returned(s, w, &m->returned);
    case MESSAGE_DRAINING:
        worker_drain(s, w);
        return 0;
    case MESSAGE_PARKED:
        parked(s, w, &m->parked);
        return 0;
    case MESSAGE_RUNNING:
    case MESSAGE_PROGRESS:
    case MESSAGE_PARTIAL:
        pass_on_index(s, w, m);
        return 0;
    case MESSAGE_OUTPUT:
        pass_on_output(s, w, &m->output);
        return 0;
    case MESSAGE_PROGRAM_WANTED:
        program_wanted(s, w, &m->program_wanted);
        return 0;
    case MESSAGE_PROGRAM_FAILED:
        program_failed_message(s, w, &m->program_failed);
        return 0;
    case MESSAGE_HELD:
        return claim(s, w, &m->held);
    case MESSAGE_TOLD:
        w->telling = false;
        aside_release(s, worker_holder(w->peer), w->refused);
        worker_update(s, w);
        return 0;
    default:
        return broke(s, "a message that is not for workers to send");
    }
}
