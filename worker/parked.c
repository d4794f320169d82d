/* parked.c - tasks that wait for others. They have no slot, but their stacks are in their executor:
 * it can run other tasks, and cannot be done without. */
#include "state.h"

#include "../base/clock.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>

struct parked *
parked_find(const struct executor *e, uint64_t lease)
{
    struct parked *k;

    HASH_FIND(hh, e->parked, &lease, sizeof(lease), k);
    return k;
}

/* ---- time --------------------------------------------------------------------------------------
 */

/* Most have the same timeout, and started later than those that are there. */
static void
watch_time(struct runner *r, struct parked *k, int64_t at)
{
    struct parked *before = TAILQ_LAST(&r->timed, parked_list);

    k->out_of_time = at;
    while (before != NULL && before->out_of_time > at)
        before = TAILQ_PREV(before, parked_list, timed);
    if (before == NULL)
        TAILQ_INSERT_HEAD(&r->timed, k, timed);
    else
        TAILQ_INSERT_AFTER(&r->timed, before, k, timed);
}

static void
forget_time(struct runner *r, struct parked *k)
{
    if (k->out_of_time != CLOCK_NEVER)
        TAILQ_REMOVE(&r->timed, k, timed);
    k->out_of_time = CLOCK_NEVER;
}

static void
forget_untold(struct runner *r, struct parked *k)
{
    if (k->tell_at != CLOCK_NEVER)
        TAILQ_REMOVE(&r->untold, k, untold);
    k->tell_at = CLOCK_NEVER;
}

/* ---- to and fro --------------------------------------------------------------------------------
 */

static void
fall_asleep(struct runner *r, struct parked *k, int64_t now)
{
    struct executor *e = k->executor;

    if (k->awake) {
        k->awake = false;
        e->awake--;
    }
    if (e->awake == 0)
        e->awake_cpus = 0, e->awake_memory = 0;
    piece_sleep(k->piece, true);
    runner_tell_parked(r, k->piece, false);
    executor_settle(r, e, now);
}

static void
wake(struct runner *r, struct parked *k, int64_t now)
{
    struct executor *e = k->executor;
    unsigned cpus = runner_cpus(r, k->piece);
    uint64_t memory = runner_memory(r, k->piece);

    k->awake = true;
    e->awake++;
    if (cpus > e->awake_cpus)
        e->awake_cpus = cpus;
    if (memory > e->awake_memory)
        e->awake_memory = memory;
    piece_sleep(k->piece, false);
    runner_tell_parked(r, k->piece, false);
    executor_settle(r, e, now);
}

struct piece *
parked_remove(struct runner *r, struct parked *k)
{
    struct executor *e = k->executor;
    struct piece *p = k->piece;

    forget_time(r, k);
    forget_untold(r, k);
    HASH_DEL(e->parked, k);
    e->victims -= k->verdict != OUTCOME_DONE;
    e->awake -= k->awake;
    if (e->awake == 0)
        e->awake_cpus = 0, e->awake_memory = 0;
    p->job->parked--;
    r->parked--;
    piece_sleep(p, false);
    free(k);
    return p;
}

/* ---- a task begins to wait ----------------------------------------------------------------------
 */

/* When the task started, which is the one after those whose results are known. */
static int64_t
began(const struct executor *e, uint32_t offset, int64_t now)
{
    const struct work *w = &e->work[0];
    uint32_t running;
    int64_t started;

    if (e->board->attached && board_running(e->board, w->lease, &running, &started) &&
        running == offset && started >= w->since && started <= now)
        return started;
    return offset == 0 ? w->since : now;
}

/* The task alone, cut out of work[0], which is no more. NULL: ENOMEM, and nothing changed. */
static struct piece *
take_out(struct runner *r, struct executor *e, int64_t now)
{
    struct piece *p = e->work[0].piece, *task = p;

    if (p->done > 0) {
        if ((task = piece_cut(p, p->done)) == NULL)
            return NULL;
        task->job->pieces++;
        runner_drop(r, p);
    }
    e->nwork--;
    e->work[0] = e->work[1];
    e->work[0].since = now;
    return task;
}

/* It was cancelled, or out of time, when it began to wait: the executor knows. */
static void
take_verdict(struct executor *e, struct parked *k)
{
    if (e->victim_lease != k->lease || e->victim_offset != k->offset)
        return;
    k->verdict = e->verdict;
    e->victims++;
    e->victim_lease = 0;
    if (!e->doomed)
        e->term_at = CLOCK_NEVER;
}

static void
add(struct runner *r, struct executor *e, struct parked *k, int64_t started, int64_t now)
{
    struct runner_job *job = k->piece->job;
    int64_t timeout = job->spec->timeout_ms * 1000;

    k->executor = e;
    k->out_of_time = k->tell_at = CLOCK_NEVER;
    HASH_ADD(hh, e->parked, lease, sizeof(k->lease), k);
    r->parked++;
    job->parked++;
    job->nests = true;
    take_verdict(e, k);
    if (timeout > 0 && k->verdict == OUTCOME_DONE)
        watch_time(r, k, started + timeout);
    if (e->told_lease != k->lease || e->told_offset != k->offset) {
        k->tell_at = now + RUNNING_US;
        TAILQ_INSERT_TAIL(&r->untold, k, untold);
    }
    fall_asleep(r, k, now);
}

static void
park(struct runner *r, struct executor *e, struct work *w, uint64_t index, int64_t now)
{
    struct piece *p = w->piece, *rest;
    uint32_t offset = p->done;
    int64_t started = began(e, offset, now);
    struct parked *k;

    if (w != &e->work[0] || index != p->first + offset ||
        (e->board->attached && board_begun(e->board, w->lease) <= offset)) {
        executor_kill(r, e, "spoke of a waiting task that it could not have come to");
        return;
    }
    if ((rest = executor_take(r, e, 0, UINT32_MAX)) != NULL)
        runner_enqueue(r, rest, true);
    if (p->count != offset + 1) {
        executor_kill(r, e, "started tasks behind one of the same slice that waits");
        return;
    }
    if ((k = calloc(1, sizeof(*k))) == NULL) {
        executor_kill(r, e, "out of memory on its worker");
        return;
    }
    k->lease = w->lease;
    k->offset = offset;
    if ((k->piece = take_out(r, e, now)) == NULL) {
        free(k);
        executor_kill(r, e, "out of memory on its worker");
        return;
    }
    add(r, e, k, started, now);
}

void
executor_parked(struct runner *r, struct executor *e, const struct message_parked *m, int64_t now)
{
    struct parked *k = parked_find(e, m->lease);
    struct work *w = executor_work(e, m->lease);

    if (k != NULL && k->piece->first != m->index)
        executor_kill(r, e, "spoke of a waiting task that it could not have come to");
    else if (k != NULL && m->parked && k->awake)
        fall_asleep(r, k, now);
    else if (k != NULL && !m->parked && !k->awake)
        wake(r, k, now);
    else if (w != NULL && m->parked)
        park(r, e, w, m->index, now);
}

/* ---- it ends ------------------------------------------------------------------------------------
 */

void
parked_results(struct runner *r, struct executor *e, struct parked *k,
               const struct message_results *m, int64_t now)
{
    enum outcome verdict = k->verdict;
    const struct columns *c = &m->columns;
    struct piece *p;
    char text[80];

    if (c->count != 1 || m->first != k->piece->first) {
        executor_kill(r, e, "sent results of tasks that it did not have");
        return;
    }
    p = parked_remove(r, k);
    if (verdict != OUTCOME_DONE && c->outcomes != NULL && c->outcomes[0] == OUTCOME_FAILED) {
        verdict_text(verdict, p, text, sizeof(text));
        runner_end_tasks(r, p, 0, 1, verdict, text);
    } else {
        runner_forward(r, p, 0, c, m->run_us);
    }
    e->code->barren = 0;
    runner_drop(r, p);
    executor_settle(r, e, now);
    executor_limit(r, e);
}

/* ---- it shall end -------------------------------------------------------------------------------
 */

void
executor_say_cancel(struct runner *r, const struct executor *e, uint64_t job, uint64_t first,
                    uint64_t count)
{
    struct message m = {.type = MESSAGE_CANCEL, .range = {job, first, count}};

    r->hands->send(r->arg, e->number, &m);
}

static void
condemn(struct runner *r, struct parked *k, enum outcome verdict)
{
    forget_time(r, k);
    if (k->verdict != OUTCOME_DONE)
        return;
    k->verdict = verdict;
    k->executor->victims++;
}

bool
parked_cancel(struct runner *r, struct executor *e, uint64_t job, uint64_t first, uint64_t end)
{
    bool any = false;

    for (struct parked *k = e->parked; k != NULL; k = k->hh.next) {
        if (k->piece->job->id != job || k->piece->first < first || k->piece->first >= end)
            continue;
        condemn(r, k, OUTCOME_CANCELLED);
        any = true;
    }
    return any;
}

/* A victim that goes on, though it was told, has the executor killed: with all that wait there. */
void
parked_watch(struct runner *r, struct executor *e, int64_t now)
{
    struct parked *k;

    if (e->victims == 0 || e->doomed)
        return;
    k = parked_find(e, executor_owner(e));
    if (k == NULL || k->verdict == OUTCOME_DONE) {
        e->hunted = 0; /* it has to wait for its turn */
    } else if (e->hunted != k->lease) {
        e->hunted = k->lease;
        e->hunted_at = now;
        if (e->board->attached)
            board_cancel(e->board, k->lease, k->offset);
    } else if (now - e->hunted_at >= CANCEL_US) {
        e->doomed = true;
        e->kill_at = now + r->grace_us;
        r->hands->signal(r->arg, e->number, SIGTERM);
    }
}

void
parked_tick(struct runner *r, int64_t now)
{
    struct parked *k;

    while ((k = TAILQ_FIRST(&r->timed)) != NULL && k->out_of_time <= now) {
        condemn(r, k, OUTCOME_TIMED_OUT);
        executor_say_cancel(r, k->executor, k->piece->job->id, k->piece->first, 1);
    }
    while ((k = TAILQ_FIRST(&r->untold)) != NULL && k->tell_at <= now) {
        forget_untold(r, k);
        runner_tell_running(r, k->piece, 0);
    }
}

int64_t
parked_deadline(const struct runner *r)
{
    const struct parked *timed = TAILQ_FIRST(&r->timed), *untold = TAILQ_FIRST(&r->untold);
    int64_t at = timed != NULL ? timed->out_of_time : CLOCK_NEVER;

    return untold != NULL && untold->tell_at < at ? untold->tell_at : at;
}
