/* bury.c - executors that have ended: who is to blame, and what is left to be done. */
#include "state.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* So many ends of its executor, without a task to blame, and a waiting task has crashed itself. */
#define STRIKES 3
#define CASUALTIES 50 /* in an attempt: then whatever it is that kills is taken for its own */

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

/* The words for whom it died of: its owner on the board, or what that had spawned. */
static void
cause_text(const struct executor *e, uint64_t lease, const struct runner_end *end, char *text,
           size_t size)
{
    char nested[BOARD_NESTED + 1] = "";

    if (e->board->attached && board_owner(e->board) == lease)
        board_nested(e->board, nested, sizeof(nested));
    snprintf(text, size, "%s%s%s%s%s", *nested != '\0' ? "its nested task " : "", nested,
             *nested != '\0' ? ": " : "", e->fault != NULL ? e->fault : end->cause,
             end->where != NULL ? end->where : "");
}

/* The words for whom it was ended. */
static void
ended_text(enum outcome verdict, const struct piece *p, const struct runner_end *end, char *text,
           size_t size)
{
    size_t n;

    verdict_text(verdict, p, text, size);
    n = strlen(text);
    if (n > 0 && end->where != NULL)
        snprintf(text + n, size - n, "%s", end->where);
}

/* It began, and was stopped for no fault of its own. */
static void
requeue_begun(struct runner *r, struct piece *p)
{
    if (!p->job->spec->once) {
        requeue(r, p);
        return;
    }
    /* Such a task is alone in its slice. */
    runner_end_tasks(r, p, p->done, p->count - p->done, OUTCOME_LOST,
                     r->draining ? "its worker was drained, and the task may run only once"
                                 : "its executor ended of another task, and it may run only once");
    runner_drop(r, p);
}

/* ---- what was at work --------------------------------------------------------------------------
 */

static bool
is_victim(const struct executor *e)
{
    const struct work *w = &e->work[0];

    return e->victim_lease == w->lease && e->victim_offset >= w->piece->done &&
           e->victim_offset < w->piece->count;
}

static void
blame(struct runner *r, struct executor *e, uint32_t offset, const struct runner_end *end)
{
    struct piece *p = e->work[0].piece;
    bool victim = is_victim(e) && e->victim_offset == offset;
    char text[LIMIT_TEXT];

    if (victim)
        ended_text(e->verdict, p, end, text, sizeof(text));
    else
        cause_text(e, e->work[0].lease, end, text, sizeof(text));
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

/* One task is to blame. What stands before it and behind it goes on elsewhere. */
static void
bury_blamed(struct runner *r, struct executor *e, uint32_t offset, const struct runner_end *end)
{
    struct piece *p = e->work[0].piece, *rest;

    blame(r, e, offset, end);
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

/* True if somebody is to blame. With `innocent`, none of these is. */
static bool
bury_work(struct runner *r, struct executor *e, bool innocent, const struct runner_end *end)
{
    uint32_t offset;

    if (e->nwork > 1)
        requeue(r, e->work[1].piece);
    if (is_victim(e)) {
        bury_blamed(r, e, e->victim_offset, end);
        return true;
    }
    if (innocent) {
        if (find_blamed(e, &offset))
            requeue_begun(r, e->work[0].piece);
        else
            requeue(r, e->work[0].piece);
        return false;
    }
    if (find_blamed(e, &offset)) {
        bury_blamed(r, e, offset, end);
        return true;
    }
    if (suspects(e) == 1) {
        bury_blamed(r, e, e->work[0].piece->done, end);
        return true;
    }
    bury_unblamed(r, e, e->work[0].piece, end);
    return false;
}

/* ---- what waited -------------------------------------------------------------------------------
 */

/* `known`: one task is to blame for it, this one or another. */
static void
bury_parked(struct runner *r, struct executor *e, struct parked *k, bool to_blame, bool known,
            const struct runner_end *end)
{
    enum outcome verdict = k->verdict;
    uint64_t lease = k->lease;
    struct piece *p = parked_remove(r, k);
    char text[LIMIT_TEXT];

    if (verdict != OUTCOME_DONE) {
        ended_text(verdict, p, end, text, sizeof(text));
        runner_end_tasks(r, p, 0, 1, verdict, text);
        runner_drop(r, p);
    } else if (to_blame) {
        cause_text(e, lease, end, text, sizeof(text));
        runner_end_tasks(r, p, 0, 1, OUTCOME_CRASHED, text);
        runner_drop(r, p);
    } else if (p->job->spec->once) { /* it began */
        snprintf(text, sizeof(text),
                 "its executor ended while it waited (%s), and the task may run only once",
                 e->fault != NULL ? e->fault : end->cause);
        runner_end_tasks(r, p, 0, 1, OUTCOME_LOST, text);
        runner_drop(r, p);
    } else if (!known && ++p->strikes >= STRIKES) {
        snprintf(text, sizeof(text), "%s, for the %u. time while it waited, and nobody knows why",
                 e->fault != NULL ? e->fault : end->cause, p->strikes);
        runner_end_tasks(r, p, 0, 1, OUTCOME_CRASHED, text);
        runner_drop(r, p);
    } else if (++p->casualties >= CASUALTIES) {
        /* Or a task whose children kill each executor in which it waits would never end. */
        snprintf(text, sizeof(text),
                 "waited in %u executors that ended of other tasks, at last: %s", p->casualties,
                 e->fault != NULL ? e->fault : end->cause);
        runner_end_tasks(r, p, 0, 1, OUTCOME_CRASHED, text);
        runner_drop(r, p);
    } else {
        runner_tell_parked(r, p, false);
        runner_enqueue(r, p, true);
    }
}

static void
bury_all(struct runner *r, struct executor *e, const struct runner_end *end)
{
    bool ours = e->doomed && e->fault == NULL; /* we ended it, for those with a verdict */
    struct parked *k, *next, *blamed = ours ? NULL : parked_find(e, executor_owner(e));
    bool known = ours || blamed != NULL;

    if (e->nwork > 0)
        known |= bury_work(r, e, known, end);
    e->nwork = 0;
    HASH_ITER (hh, e->parked, k, next)
        bury_parked(r, e, k, k == blamed, known, end);
}

/* ---- the end ------------------------------------------------------------------------------------
 */

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
    enum executor_state was;
    struct code *code;

    assert(executor < r->nexecutors && e->state != EXECUTOR_NONE);
    executor_read_board(r, e, now);
    was = e->state;
    code = e->code;
    e->state = EXECUTOR_ENDING; /* no work is for it any more, nor word of it */
    r->used -= e->cpus;
    r->memory_used -= e->memory;
    for (struct runner_job *job = r->jobs; job != NULL; job = job->hh.next)
        job->known[e->number / 8] &= (uint8_t) ~(1u << e->number % 8);
    if (was == EXECUTOR_STARTING)
        bury_start(r, e, end);
    bury_all(r, e, end);
    relay_end(r, e);
    *e = (struct executor){.number = e->number,
                           .sweep_at = CLOCK_NEVER,
                           .term_at = CLOCK_NEVER,
                           .kill_at = CLOCK_NEVER};
    runner_code_unused(r, code);
}
