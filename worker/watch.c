/* watch.c - what executors say, and what their boards say while they are busy. */
#include "state.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A day: executors may say anything, and times of many tasks are added up. */
#define LONGEST_US 86400000000LL

struct work *
executor_work(struct executor *e, uint64_t lease)
{
    for (unsigned i = 0; i < e->nwork; i++)
        if (e->work[i].lease == lease)
            return &e->work[i];
    return NULL;
}

void
executor_kill(struct runner *r, struct executor *e, const char *fault)
{
    if (e->fault == NULL)
        e->fault = fault;
    e->doomed = true;
    e->term_at = e->kill_at = CLOCK_NEVER;
    r->hands->signal(r->arg, e->number, SIGKILL);
}

/* ---- results -----------------------------------------------------------------------------------
 */

static void
measure(struct runner_job *job, uint64_t run_us, uint32_t count)
{
    uint64_t us = run_us / count;
    int64_t ns = us > LONGEST_US ? LONGEST_US * 1000 : (int64_t)(run_us * 1000 / count);

    if (ns < 1)
        ns = 1;
    job->mean_ns = job->mean_ns == 0 ? ns : (3 * job->mean_ns + ns) / 4;
}

void
verdict_text(enum outcome verdict, const struct piece *p, char *text, size_t size)
{
    text[0] = '\0';
    if (verdict == OUTCOME_TIMED_OUT)
        snprintf(text, size, "ran longer than its timeout of %lld ms",
                 (long long)p->job->spec->timeout_ms);
}

/* A task that was cancelled or out of time, and noticed, and failed for it, was just that. True if
 * that is so, and told. */
static bool
pass_verdict(struct runner *r, struct executor *e, const struct work *w, const struct columns *c,
             uint64_t run_us)
{
    uint32_t at = e->victim_offset - w->piece->done;
    struct columns part;
    uint64_t each = run_us / c->count;
    char text[80];

    if (e->victim_lease != w->lease || e->victim_offset < w->piece->done || at >= c->count)
        return false;
    e->victim_lease = 0;
    if (c->outcomes == NULL || c->outcomes[at] != OUTCOME_FAILED)
        return false;
    verdict_text(e->verdict, w->piece, text, sizeof(text));
    if (at > 0) {
        part = columns_part(c, 0, at, 0);
        runner_forward(r, w->piece, w->piece->done, &part, each * at);
    }
    runner_end_tasks(r, w->piece, e->victim_offset, 1, e->verdict, text);
    if (at + 1 < c->count) {
        part = columns_part(c, at + 1, c->count - at - 1, columns_length(c, 0, at + 1));
        runner_forward(r, w->piece, e->victim_offset + 1, &part, each * part.count);
    }
    return true;
}

/* Results of tasks [offset, offset + count) of a piece, of which the first may be known. */
static void
take_results(struct runner *r, struct executor *e, struct work *w, uint32_t offset,
             const struct columns *columns, uint64_t run_us, int64_t now)
{
    struct piece *p = w->piece;
    struct columns c = *columns;
    uint32_t known = p->done - offset;

    if (known >= c.count)
        return;
    if (known > 0) {
        run_us = run_us * (c.count - known) / c.count;
        c = columns_part(columns, known, c.count - known, columns_length(columns, 0, known));
    }
    measure(p->job, run_us, c.count);
    if (!pass_verdict(r, e, w, &c, run_us))
        runner_forward(r, p, p->done, &c, run_us);
    p->done += c.count;
    e->code->barren = 0;
    if (e->victim_lease == 0 && !e->doomed)
        e->term_at = CLOCK_NEVER; /* the one it was meant for is over */
    if (p->done == p->count)
        executor_finish(r, e, (unsigned)(w - e->work), now);
}

void
executor_results(struct runner *r, struct executor *e, const struct message_results *m, int64_t now)
{
    struct work *w = executor_work(e, m->lease);
    struct parked *k;
    uint64_t offset;

    if (w == NULL && (k = parked_find(e, m->lease)) != NULL)
        parked_results(r, e, k, m, now);
    if (w == NULL) /* or all of it is known: it was read from the board */
        return;
    offset = m->first - w->piece->first;
    if (m->first < w->piece->first || offset > w->piece->done || m->columns.count == 0 ||
        offset + m->columns.count > w->piece->count) {
        executor_kill(r, e, "sent results of tasks that it did not have");
        return;
    }
    take_results(r, e, w, (uint32_t)offset, &m->columns, m->run_us, now);
}

/* Results that were made and not sent: behind a task that runs for long, or died. */
void
executor_read_board(struct runner *r, struct executor *e, int64_t now)
{
    struct board_results results;
    struct work *w = &e->work[0];

    if (e->nwork == 0 || !e->board->attached || !board_read(e->board, w->lease, &results))
        return;
    if (results.offset <= w->piece->done &&
        results.columns.count <= w->piece->count - results.offset)
        take_results(r, e, w, results.offset, &results.columns, results.run_us, now);
    board_results_free(&results);
}

/* ---- what tasks say
 * ------------------------------------------------------------------------------ */

static const struct piece *
find_piece(struct executor *e, uint64_t lease)
{
    const struct work *w = executor_work(e, lease);
    const struct parked *k = parked_find(e, lease);

    return w != NULL ? w->piece : k != NULL ? k->piece : NULL;
}

static void
pass_on(struct runner *r, struct executor *e, const struct message *from)
{
    struct message m = *from;
    uint64_t *job = m.type == MESSAGE_PROGRESS ? &m.progress.job : &m.partial.job;
    uint64_t *lease = m.type == MESSAGE_PROGRESS ? &m.progress.lease : &m.partial.lease;
    uint64_t index = m.type == MESSAGE_PROGRESS ? m.progress.index : m.partial.index;
    const struct piece *p = find_piece(e, *lease);

    if (p == NULL || index < p->first || index - p->first >= p->count)
        return; /* of a task that is over */
    *job = p->job->id;
    *lease = p->lease;
    runner_put(r, &m);
}

static void
welcome(struct runner *r, struct executor *e, const struct message_hello *hello, int64_t now)
{
    struct message m = {.type = MESSAGE_WELCOME};
    char text[160];

    if (e->state != EXECUTOR_STARTING) {
        executor_kill(r, e, "said hello twice");
        return;
    }
    if (hello->role != ROLE_EXECUTOR || hello->protocol > LADLE_PROTOCOL + 1 ||
        hello->protocol + 1 < LADLE_PROTOCOL) {
        snprintf(text, sizeof(text),
                 "the program speaks protocol %u, this worker %u: link it with the same version of "
                 "Ladle",
                 hello->protocol, (unsigned)LADLE_PROTOCOL);
        m.type = MESSAGE_REFUSED;
        m.text = text;
        r->hands->send(r->arg, e->number, &m);
        runner_code_failed(r, e->code, text, false);
        executor_end(r, e);
        e->kill_at = now + r->grace_us;
        return;
    }
    if (hello->tasks > 0 && (e->limit == 0 || hello->tasks < e->limit))
        e->limit = hello->tasks;
    m.welcome.protocol = hello->protocol < LADLE_PROTOCOL ? hello->protocol : LADLE_PROTOCOL;
    m.welcome.software = "ladle";
    m.welcome.name = r->name;
    r->hands->send(r->arg, e->number, &m);
    e->code->starting--;
    e->state = EXECUTOR_IDLE;
    e->since = now;
}

void
runner_heard(struct runner *r, unsigned executor, const struct message *m, int64_t now)
{
    struct executor *e = &r->executors[executor];

    assert(executor < r->nexecutors && e->state != EXECUTOR_NONE);
    if (m->client != 0) {
        relay_up(r, e, m);
        return;
    }
    switch (m->type) {
    case MESSAGE_HELLO:
        welcome(r, e, &m->hello, now);
        break;
    case MESSAGE_RESULTS:
        executor_results(r, e, &m->results, now);
        break;
    case MESSAGE_PARKED:
        executor_parked(r, e, &m->parked, now);
        break;
    case MESSAGE_PROGRESS:
    case MESSAGE_PARTIAL:
        pass_on(r, e, m);
        break;
    default:
        break;
    }
}

bool
runner_job_of(const struct runner *r, unsigned executor, uint64_t *job_p)
{
    struct executor *e = &r->executors[executor];
    const struct piece *p = find_piece(e, executor_owner(e));

    if (p == NULL && e->nwork > 0)
        p = e->work[0].piece;
    if (p == NULL)
        return false;
    *job_p = p->job->id;
    return true;
}

/* ---- running tasks
 * -------------------------------------------------------------------------------- */

uint64_t
executor_owner(const struct executor *e)
{
    if (e->board->attached)
        return board_owner(e->board);
    /* One that went on has not ended, nor said that it waits again: what came since is not begun.
     */
    for (const struct parked *k = e->parked; k != NULL && e->awake > 0; k = k->hh.next)
        if (k->awake)
            return k->lease;
    return e->nwork > 0 ? e->work[0].lease : 0;
}

/* The task that runs now, and since when: as the board says, or as far as can be told. */
static bool
running(const struct executor *e, uint32_t *offset_p, int64_t *started_p, int64_t now)
{
    const struct work *w = &e->work[0];

    if (e->nwork == 0)
        return false;
    *offset_p = w->piece->done;
    *started_p = w->since;
    if (!e->board->attached)
        return true;
    if (!board_running(e->board, w->lease, offset_p, started_p) || *offset_p < w->piece->done ||
        *offset_p >= w->piece->count)
        return false;
    if (*started_p < w->since - 1000000 || *started_p > now)
        *started_p = w->since;
    return true;
}

static void
tell_running(struct runner *r, struct executor *e, uint32_t offset)
{
    if (e->told_lease == e->work[0].lease && e->told_offset == offset)
        return;
    e->told_lease = e->work[0].lease;
    e->told_offset = offset;
    runner_tell_running(r, e->work[0].piece, offset);
}

/* The running task shall not go on. Its neighbours, which had no part in it, go elsewhere. */
static void
stop_task(struct runner *r, struct executor *e, uint32_t offset, enum outcome verdict,
          int64_t term_at, int64_t now)
{
    e->victim_lease = e->work[0].lease;
    e->victim_offset = offset;
    e->verdict = verdict;
    if (e->board->attached)
        board_cancel(e->board, e->victim_lease, offset);
    executor_take_back(r, e, now);
    e->term_at = term_at;
}

static bool
touches(const struct executor *e, uint64_t job, uint64_t first, uint64_t end)
{
    for (unsigned i = 0; i < e->nwork; i++) {
        const struct piece *p = e->work[i].piece;

        if (p->job->id == job && first < p->first + p->count && end > p->first + p->done)
            return true;
    }
    return false;
}

void
executor_cancel(struct runner *r, struct executor *e, uint64_t job, uint64_t first, uint64_t count,
                int64_t now)
{
    uint64_t end = count > UINT64_MAX - first ? UINT64_MAX : first + count;
    bool waits = parked_cancel(r, e, job, first, end);
    uint32_t offset;
    int64_t started;

    if (touches(e, job, first, end))
        executor_take_back(r, e, now); /* what was not started is cancelled in the queue */
    if (waits || (e->nwork > 0 && e->board->attached && touches(e, job, first, end)))
        executor_say_cancel(r, e, job, first, count);
    if (e->nwork == 0 || e->victim_lease != 0 || !running(e, &offset, &started, now))
        return;
    if (e->work[0].piece->job->id == job && e->work[0].piece->first + offset >= first &&
        e->work[0].piece->first + offset < end)
        stop_task(r, e, offset, OUTCOME_CANCELLED, now + CANCEL_US, now);
}

static bool
works_for_another(const struct executor *e)
{
    uint64_t owner = executor_owner(e);

    return e->victim_lease != 0 && owner != 0 && owner != e->victim_lease &&
           parked_find(e, owner) != NULL;
}

static void
watch_signals(struct runner *r, struct executor *e, int64_t now)
{
    if (now >= e->kill_at) {
        e->kill_at = CLOCK_NEVER;
        e->doomed = true;
        r->hands->signal(r->arg, e->number, SIGKILL);
    } else if (now >= e->term_at && works_for_another(e)) {
        e->term_at = now + POLL_US; /* the victim was told, but had no chance to end yet */
    } else if (now >= e->term_at) {
        e->term_at = CLOCK_NEVER;
        e->kill_at = now + r->grace_us;
        e->doomed = true;
        r->hands->signal(r->arg, e->number, SIGTERM);
    }
}

static void
time_out(struct runner *r, struct executor *e, uint32_t offset, int64_t now)
{
    const struct piece *p = e->work[0].piece;

    /* Where tasks wait it may be one of them, and others would be lost with it. */
    if (e->client != 0)
        executor_say_cancel(r, e, p->job->id, p->first + offset, 1);
    stop_task(r, e, offset, OUTCOME_TIMED_OUT, e->client != 0 ? now + CANCEL_US : now, now);
}

void
executor_watch(struct runner *r, struct executor *e, int64_t now)
{
    int64_t started, timeout;
    uint32_t offset;

    if (e->state == EXECUTOR_STARTING && now - e->since >= START_US)
        executor_kill(r, e, "did not come to futures_new() within 30 s");
    if (e->nwork > 0 && running(e, &offset, &started, now)) {
        timeout = e->work[0].piece->job->spec->timeout_ms * 1000;
        if (now - started >= HARVEST_US)
            executor_read_board(r, e, now);
        if (e->nwork == 0 || !running(e, &offset, &started, now))
            return;
        if (now - started >= RUNNING_US)
            tell_running(r, e, offset);
        if (timeout > 0 && now - started >= timeout && e->victim_lease == 0)
            time_out(r, e, offset, now);
    }
    if (now >= e->sweep_at && e->state == EXECUTOR_IDLE) {
        e->sweep_at = CLOCK_NEVER;
        r->hands->sweep(r->arg, e->number);
    }
    parked_watch(r, e, now);
    watch_signals(r, e, now);
}

int64_t
executor_deadline(const struct runner *r, const struct executor *e, int64_t now)
{
    int64_t at = e->term_at < e->kill_at ? e->term_at : e->kill_at, started, timeout;
    uint32_t offset;

    if (e->state == EXECUTOR_STARTING && e->since + START_US < at && e->fault == NULL)
        at = e->since + START_US;
    if (e->state == EXECUTOR_IDLE && e->sweep_at < at)
        at = e->sweep_at;
    if (e->victims > 0)
        at = at < now + POLL_US ? at : now + POLL_US;
    if (e->nwork == 0)
        return at;
    if (!running(e, &offset, &started, now))
        return at < now + RUNNING_US ? at : now + RUNNING_US;
    timeout = e->work[0].piece->job->spec->timeout_ms * 1000;
    if (timeout > 0 && e->victim_lease == 0 && started + timeout < at)
        at = started + timeout;
    if (e->told_lease != e->work[0].lease || e->told_offset != offset)
        at = started + RUNNING_US < at ? started + RUNNING_US : at;
    /* Something may wait behind the running task: its results, or its neighbours for a free slot.
     */
    if (e->work[0].piece->done < offset ||
        (r->used < r->slots && board_unstarted(e->board, e->work[0].lease) > 0))
        at = now + POLL_US < at ? now + POLL_US : at;
    return at;
}
