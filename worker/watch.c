/* watch.c - what executors say, and what their boards say while they are busy. */
#include "state.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct work *
find_work(struct executor *e, uint64_t lease)
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
    int64_t ns = (int64_t)(run_us * 1000 / count);

    if (ns < 1)
        ns = 1;
    job->mean_ns = job->mean_ns == 0 ? ns : (3 * job->mean_ns + ns) / 4;
    if (job->mean_ns < 1)
        job->mean_ns = 1;
}

/* Pass results on to the broker: those of the tasks from `offset` in the piece. */
static void
forward(struct runner *r, const struct piece *p, uint32_t offset, const struct columns *c,
        uint64_t run_us)
{
    struct message m = {.type = MESSAGE_RESULTS};

    m.results.job = p->job->id;
    m.results.lease = p->lease;
    m.results.first = p->first + offset;
    m.results.attempt = p->attempt;
    m.results.worker = r->name;
    m.results.run_us = run_us;
    m.results.columns = *c;
    runner_put(r, &m);
}

static void
verdict_text(const struct executor *e, const struct piece *p, char *text, size_t size)
{
    text[0] = '\0';
    if (e->verdict == OUTCOME_TIMED_OUT)
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
    verdict_text(e, w->piece, text, sizeof(text));
    if (at > 0) {
        part = columns_part(c, 0, at, 0);
        forward(r, w->piece, w->piece->done, &part, each * at);
    }
    runner_end_tasks(r, w->piece, e->victim_offset, 1, e->verdict, text);
    if (at + 1 < c->count) {
        part = columns_part(c, at + 1, c->count - at - 1, columns_length(c, 0, at + 1));
        forward(r, w->piece, e->victim_offset + 1, &part, each * part.count);
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
        forward(r, p, p->done, &c, run_us);
    p->done += c.count;
    e->tasks += c.count;
    e->code->barren = 0;
    if (e->victim_lease == 0 && !e->doomed)
        e->term_at = CLOCK_NEVER; /* the one it was meant for is over */
    if (p->done == p->count)
        executor_finish(r, e, (unsigned)(w - e->work), now);
}

void
executor_results(struct runner *r, struct executor *e, const struct message_results *m, int64_t now)
{
    struct work *w = find_work(e, m->lease);
    uint64_t offset;

    if (w == NULL) /* all of it is known: it was read from the board */
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
static void
read_board(struct runner *r, struct executor *e, int64_t now)
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

static void
pass_on(struct runner *r, struct executor *e, const struct message *from)
{
    struct message m = *from;
    uint64_t *job = m.type == MESSAGE_PROGRESS ? &m.progress.job : &m.partial.job;
    uint64_t *lease = m.type == MESSAGE_PROGRESS ? &m.progress.lease : &m.partial.lease;
    uint64_t index = m.type == MESSAGE_PROGRESS ? m.progress.index : m.partial.index;
    struct work *w = find_work(e, *lease);

    if (w == NULL || index < w->piece->first || index - w->piece->first >= w->piece->count)
        return; /* of a task that is over */
    *job = w->piece->job->id;
    *lease = w->piece->lease;
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
    switch (m->type) {
    case MESSAGE_HELLO:
        welcome(r, e, &m->hello, now);
        break;
    case MESSAGE_RESULTS:
        executor_results(r, e, &m->results, now);
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
    const struct executor *e = &r->executors[executor];

    if (e->nwork == 0)
        return false;
    *job_p = e->work[0].piece->job->id;
    return true;
}

/* ---- running tasks
 * -------------------------------------------------------------------------------- */

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
    const struct piece *p = e->work[0].piece;
    struct message m = {.type = MESSAGE_RUNNING};

    if (e->told_lease == e->work[0].lease && e->told_offset == offset)
        return;
    e->told_lease = e->work[0].lease;
    e->told_offset = offset;
    m.running.job = p->job->id;
    m.running.lease = p->lease;
    m.running.index = p->first + offset;
    m.running.attempt = p->attempt;
    m.running.worker = r->name;
    runner_put(r, &m);
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

void
executor_cancel(struct runner *r, struct executor *e, uint64_t job, uint64_t first, uint64_t count,
                int64_t now)
{
    uint64_t end = count > UINT64_MAX - first ? UINT64_MAX : first + count;
    bool touched = false;
    uint32_t offset;
    int64_t started;

    for (unsigned i = 0; i < e->nwork; i++) {
        const struct piece *p = e->work[i].piece;

        touched |= p->job->id == job && first < p->first + p->count && end > p->first + p->done;
    }
    if (!touched)
        return;
    executor_take_back(r, e, now); /* what was not started is cancelled in the queue */
    if (e->victim_lease != 0 || !running(e, &offset, &started, now))
        return;
    if (e->work[0].piece->job->id == job && e->work[0].piece->first + offset >= first &&
        e->work[0].piece->first + offset < end)
        stop_task(r, e, offset, OUTCOME_CANCELLED, now + CANCEL_US, now);
}

static void
watch_signals(struct runner *r, struct executor *e, int64_t now)
{
    if (now >= e->kill_at) {
        e->kill_at = CLOCK_NEVER;
        e->doomed = true;
        r->hands->signal(r->arg, e->number, SIGKILL);
    } else if (now >= e->term_at) {
        e->term_at = CLOCK_NEVER;
        e->kill_at = now + r->grace_us;
        e->doomed = true;
        r->hands->signal(r->arg, e->number, SIGTERM);
    }
}

void
executor_watch(struct runner *r, struct executor *e, int64_t now)
{
    int64_t started, timeout;
    uint32_t offset;

    if (e->state == EXECUTOR_STARTING && now - e->since >= START_US)
        executor_kill(r, e, "did not come to futures_new() within 30 s");
    if (e->state == EXECUTOR_BUSY && running(e, &offset, &started, now)) {
        timeout = e->work[0].piece->job->spec->timeout_ms * 1000;
        if (now - started >= HARVEST_US)
            read_board(r, e, now);
        if (e->state != EXECUTOR_BUSY || !running(e, &offset, &started, now))
            return;
        if (now - started >= RUNNING_US)
            tell_running(r, e, offset);
        if (timeout > 0 && now - started >= timeout && e->victim_lease == 0)
            stop_task(r, e, offset, OUTCOME_TIMED_OUT, now, now);
    }
    watch_signals(r, e, now);
}

int64_t
executor_deadline(const struct runner *r, const struct executor *e, int64_t now)
{
    int64_t at = e->term_at < e->kill_at ? e->term_at : e->kill_at, started, timeout;
    uint32_t offset;

    if (e->state == EXECUTOR_STARTING && e->since + START_US < at && e->fault == NULL)
        at = e->since + START_US;
    if (e->state != EXECUTOR_BUSY)
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

/* ---- the end of an executor
 * ------------------------------------------------------------------------ */

static const char no_memory[] = "out of memory on its worker";

static void
requeue(struct runner *r, struct piece *p)
{
    struct piece *rest;

    if (p->done == p->count) {
        runner_drop(r, p);
        return;
    }
    if (p->done > 0) {
        if ((rest = piece_cut(p, p->done)) == NULL) {
            runner_end_tasks(r, p, p->done, p->count - p->done, OUTCOME_CRASHED, no_memory);
            runner_drop(r, p);
            return;
        }
        rest->job->pieces++;
        runner_drop(r, p);
        p = rest;
    }
    runner_enqueue(r, p, true);
}

static void
blame(struct runner *r, struct executor *e, uint32_t offset, const char *cause)
{
    struct piece *p = e->work[0].piece;
    bool victim = e->victim_lease == e->work[0].lease && e->victim_offset == offset;
    char text[512];

    snprintf(text, sizeof(text), "%s", e->fault != NULL ? e->fault : cause);
    if (victim)
        verdict_text(e, p, text, sizeof(text));
    runner_end_tasks(r, p, offset, 1, victim ? e->verdict : OUTCOME_CRASHED, text);
}

/* The task that ran when it died, or that must be taken for it. */
static bool
find_blamed(const struct executor *e, uint32_t *offset_p)
{
    const struct piece *p = e->work[0].piece;
    int64_t started;

    if (p->done == p->count)
        return false;
    *offset_p = p->done;
    if (!e->board->attached)
        return true;
    return board_running(e->board, e->work[0].lease, offset_p, &started) && *offset_p >= p->done &&
           *offset_p < p->count;
}

/* How many tasks were begun whose results never came: nobody runs, but one of these may have
 * written into the connection, or over the board. */
static uint32_t
suspects(const struct executor *e)
{
    const struct piece *p = e->work[0].piece;
    uint32_t begun;

    if (!e->board->attached || (e->doomed && e->fault == NULL))
        return 0;
    begun = board_begun(e->board, e->work[0].lease);
    if (begun > p->count)
        begun = p->count;
    return begun > p->done ? begun - p->done : 0;
}

/* Died between two tasks. */
static void
bury_unblamed(struct runner *r, struct executor *e, struct piece *p, const struct runner_end *end)
{
    uint32_t half = suspects(e) / 2;
    char text[LIMIT_TEXT];
    struct piece *rest;

    if (half > 0) {
        /* In the end the one that does it is alone in its piece, and its neighbours are done. */
        if ((rest = piece_cut(p, p->done + half)) != NULL) {
            rest->job->pieces++;
            requeue(r, rest);
        }
    } else if (!e->doomed && ++e->code->barren >= BARREN) {
        snprintf(text, sizeof(text), "its executors end before they run a task: %s%s%s", end->cause,
                 *end->words != '\0' ? ": " : "", end->words);
        runner_code_failed(r, e->code, text, false);
    }
    requeue(r, p);
}

static void
bury_work(struct runner *r, struct executor *e, const struct runner_end *end)
{
    struct piece *p = e->work[0].piece, *rest;
    uint32_t offset;

    if (e->nwork > 1)
        requeue(r, e->work[1].piece);
    if (!find_blamed(e, &offset)) {
        if (suspects(e) != 1) {
            bury_unblamed(r, e, p, end);
            return;
        }
        offset = p->done;
    }
    blame(r, e, offset, end->cause);
    if (offset + 1 < p->count) {
        if ((rest = piece_cut(p, offset + 1)) != NULL) {
            rest->job->pieces++;
            requeue(r, rest);
        } else {
            runner_end_tasks(r, p, offset + 1, p->count - offset - 1, OUTCOME_CRASHED, no_memory);
        }
    }
    if (offset > p->done) {
        /* Results of these were lost with what the task wrote over its board. */
        if ((rest = piece_cut(p, offset)) != NULL) {
            piece_free(rest);
            requeue(r, p);
            return;
        }
        runner_end_tasks(r, p, p->done, offset - p->done, OUTCOME_CRASHED, no_memory);
    }
    runner_drop(r, p);
}

static void
bury_start(struct runner *r, struct executor *e, const struct runner_end *end)
{
    char text[LIMIT_TEXT];

    e->code->starting--;
    if (e->doomed && e->fault == NULL)
        return; /* we ended it ourselves */
    if (end->killed && e->fault == NULL && ++e->code->barren < BARREN)
        return; /* perhaps by the system, for want of memory: try again */
    if (e->fault != NULL)
        snprintf(text, sizeof(text), "%s", e->fault);
    else if (end->clean)
        snprintf(text, sizeof(text), "ended before it came to futures_new()%s%s",
                 *end->words != '\0' ? ": " : "", end->words);
    else
        snprintf(text, sizeof(text), "%s", *end->words != '\0' ? end->words : end->cause);
    runner_code_failed(r, e->code, text, false);
}

void
runner_ended(struct runner *r, unsigned executor, const struct runner_end *end, int64_t now)
{
    struct executor *e = &r->executors[executor];
    struct code *code;

    assert(executor < r->nexecutors && e->state != EXECUTOR_NONE);
    read_board(r, e, now);
    if (e->state == EXECUTOR_STARTING)
        bury_start(r, e, end);
    if (e->state == EXECUTOR_BUSY) {
        r->used -= e->cpus;
        bury_work(r, e, end);
    }
    code = e->code;
    for (struct runner_job *job = r->jobs; job != NULL; job = job->hh.next)
        job->known[e->number / 8] &= (uint8_t) ~(1u << e->number % 8);
    *e = (struct executor){.number = e->number, .term_at = CLOCK_NEVER, .kill_at = CLOCK_NEVER};
    runner_code_unused(r, code);
}
