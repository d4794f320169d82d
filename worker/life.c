/* life.c - the runner's own: its turns, and beginnings and ends of all its work at once. */
#include "state.h"

#include "../base/clock.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

void
runner_tick(struct runner *r, int64_t now)
{
    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].state != EXECUTOR_NONE)
            executor_watch(r, &r->executors[i], now);
    runner_match(r, now);
}

int64_t
runner_deadline(const struct runner *r, int64_t now)
{
    int64_t at = CLOCK_NEVER, next;

    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].state != EXECUTOR_NONE &&
            (next = executor_deadline(r, &r->executors[i], now)) < at)
            at = next;
    if (r->retry_at > now && !TAILQ_EMPTY(&r->queue) && r->retry_at < at)
        at = r->retry_at;
    return at;
}

/* An executor gets no chance to end well: what it did is wanted by nobody any more. */
static void
forsake(struct runner *r, struct executor *e)
{
    for (unsigned k = 0; k < e->nwork; k++)
        runner_drop(r, e->work[k].piece);
    e->nwork = 0;
    r->used -= e->cpus;
    e->state = EXECUTOR_ENDING;
    executor_kill(r, e, NULL);
}

void
runner_reset(struct runner *r, int64_t now)
{
    struct piece *p;

    while ((p = TAILQ_FIRST(&r->queue)) != NULL) {
        TAILQ_REMOVE(&r->queue, p, next);
        runner_drop(r, p);
    }
    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].state == EXECUTOR_BUSY)
            forsake(r, &r->executors[i]);
    while (r->jobs != NULL) {
        struct message m = {.type = MESSAGE_JOB_END, .job_end = {r->jobs->id, 0}};

        assert(r->jobs->pieces == 0);
        runner_input(r, &m, now);
    }
    reports_clear(r->out);
}

void
runner_drain(struct runner *r, int64_t now)
{
    struct message m = {.type = MESSAGE_DRAINING, .text = "stopped by its operator"};
    struct piece *p;

    if (r->draining)
        return;
    r->draining = true;
    runner_put(r, &m);
    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].state == EXECUTOR_BUSY)
            executor_take_back(r, &r->executors[i], now);
    while ((p = TAILQ_FIRST(&r->queue)) != NULL) {
        TAILQ_REMOVE(&r->queue, p, next);
        runner_return(r, p, RETURNED_DRAIN);
    }
}

bool
runner_idle(const struct runner *r)
{
    return r->used == 0 && TAILQ_EMPTY(&r->queue) && reports_empty(r->out);
}

/* Not assert(): tests check release builds too. */
#define CHECK(truth) ((truth) ? (void)0 : check_failed(#truth, __LINE__))

static void __attribute__((noreturn)) check_failed(const char *truth, int line)
{
    fprintf(stderr, "runner_check: %s:%d: not so: %s\n", __FILE__, line, truth);
    abort();
}

static void
check_executor(const struct runner *r, const struct executor *e)
{
    CHECK(e->number == (unsigned)(e - r->executors));
    CHECK((e->state == EXECUTOR_BUSY) == (e->nwork > 0));
    CHECK((e->state == EXECUTOR_NONE) == (e->board == NULL));
    for (unsigned k = 0; k < e->nwork; k++) {
        CHECK(e->work[k].piece->done < e->work[k].piece->count);
        CHECK(e->work[k].piece->job->code == e->code);
    }
}

static void
check_codes(const struct runner *r)
{
    for (const struct code *c = r->codes; c != NULL; c = c->hh.next) {
        unsigned starting = 0, jobs = 0;

        for (unsigned i = 0; i < r->nexecutors; i++)
            starting += r->executors[i].state == EXECUTOR_STARTING && r->executors[i].code == c;
        for (const struct runner_job *job = r->jobs; job != NULL; job = job->hh.next)
            jobs += job->code == c;
        CHECK(c->starting == starting && c->jobs == jobs);
    }
}

void
runner_check(const struct runner *r)
{
    unsigned used = 0, held = 0, owed = 0;
    const struct piece *p;

    for (unsigned i = 0; i < r->nexecutors; i++) {
        check_executor(r, &r->executors[i]);
        if (r->executors[i].state == EXECUTOR_BUSY)
            used += r->executors[i].cpus;
        held += r->executors[i].nwork;
    }
    CHECK(used == r->used && used <= r->slots);
    TAILQ_FOREACH (p, &r->queue, next) {
        CHECK(p->count > 0 && p->done == 0);
        held++;
    }
    for (const struct runner_job *job = r->jobs; job != NULL; job = job->hh.next) {
        CHECK(!job->ended || job->pieces > 0);
        owed += job->pieces;
    }
    CHECK(held == owed);
    check_codes(r);
}
