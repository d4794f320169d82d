/* life.c - the runner's own: its turns, and beginnings and ends of all its work at once. */
#include "state.h"

#include "../base/clock.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* The grace of a drain is over: what still runs, or waits, ends, and is returned when it has. */
static void
stop(struct runner *r, int64_t now)
{
    r->stop_at = CLOCK_NEVER;
    for (unsigned i = 0; i < r->nexecutors; i++) {
        struct executor *e = &r->executors[i];

        if ((e->nwork == 0 && e->parked == NULL) || e->doomed)
            continue;
        e->doomed = true;
        e->term_at = CLOCK_NEVER;
        e->kill_at = now + r->grace_us;
        r->hands->signal(r->arg, e->number, SIGTERM);
    }
}

void
runner_tick(struct runner *r, int64_t now)
{
    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].state != EXECUTOR_NONE)
            executor_watch(r, &r->executors[i], now);
    parked_tick(r, now);
    if (r->lost)
        reports_lost(r->out, true);
    if (now >= r->stop_at)
        stop(r, now);
    runner_match(r, now);
}

int64_t
runner_deadline(const struct runner *r, int64_t now)
{
    int64_t at = parked_deadline(r), next;

    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].state != EXECUTOR_NONE &&
            (next = executor_deadline(r, &r->executors[i], now)) < at)
            at = next;
    if (r->stop_at < at)
        at = r->stop_at;
    if (r->retry_at > now && !TAILQ_EMPTY(&r->queue) && r->retry_at < at)
        at = r->retry_at;
    return at;
}

/* An executor gets no chance to end well: what it did is wanted by nobody any more. */
static void
forsake(struct runner *r, struct executor *e)
{
    e->state = EXECUTOR_ENDING;
    e->sweep_at = CLOCK_NEVER;
    e->client = 0; /* the broker knows: with ours, that conversation is over */
    r->used -= e->cpus;
    r->memory_used -= e->memory;
    e->cpus = 0;
    e->memory = 0;
    for (unsigned k = 0; k < e->nwork; k++)
        runner_drop(r, e->work[k].piece);
    e->nwork = 0;
    while (e->parked != NULL)
        runner_drop(r, parked_remove(r, e->parked));
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
    for (unsigned i = 0; i < r->nexecutors; i++) {
        struct executor *e = &r->executors[i];

        if (e->state == EXECUTOR_BUSY || e->parked != NULL)
            forsake(r, e);
        relay_stop(r, e);
    }
    while (r->jobs != NULL) {
        struct message m = {.type = MESSAGE_JOB_END, .job_end = {r->jobs->id, 0}};

        assert(r->jobs->pieces == 0);
        runner_input(r, &m, now);
    }
    codes_lost(r);
    reports_clear(r->out);
    reports_clear(r->first);
}

void
runner_drain(struct runner *r, int64_t grace_us, const char *why, int64_t now)
{
    struct message m = {.type = MESSAGE_DRAINING, .text = why};
    int64_t stop_at = grace_us < CLOCK_NEVER - now ? now + grace_us : CLOCK_NEVER;
    struct piece *p;

    if (!r->draining || stop_at < r->stop_at)
        r->stop_at = stop_at;
    if (r->draining)
        return;
    r->draining = true;
    runner_put(r, &m);
    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].nwork > 0)
            executor_take_back(r, &r->executors[i], now);
    while ((p = TAILQ_FIRST(&r->queue)) != NULL) {
        TAILQ_REMOVE(&r->queue, p, next);
        runner_return(r, p, RETURNED_DRAIN);
    }
}

bool
runner_idle(const struct runner *r)
{
    return r->used == 0 && r->parked == 0 && TAILQ_EMPTY(&r->queue) && reports_empty(r->out) &&
           reports_empty(r->first);
}

/* Not assert(): tests check release builds too. */
#define CHECK(truth) ((truth) ? (void)0 : check_failed(#truth, __LINE__))

static void __attribute__((noreturn)) check_failed(const char *truth, int line)
{
    fprintf(stderr, "runner_check: %s:%d: not so: %s\n", __FILE__, line, truth);
    abort();
}

/* What is told of a lease is what is so. */
static void
check_piece(const struct piece *p)
{
    CHECK(*piece_told(p) == piece_all_asleep(p, false));
}

static void
check_parked(const struct runner *r, const struct executor *e)
{
    unsigned awake = 0, victims = 0;

    for (const struct parked *k = e->parked; k != NULL; k = k->hh.next) {
        CHECK(k->executor == e && k->piece->job->code == e->code);
        CHECK(k->piece->count == 1 && k->piece->done == 0);
        CHECK(k->piece->asleep == !k->awake);
        CHECK(k->verdict == OUTCOME_DONE || k->out_of_time == CLOCK_NEVER);
        CHECK(!k->awake || runner_cpus(r, k->piece) <= e->awake_cpus);
        for (unsigned i = 0; i < e->nwork; i++)
            CHECK(e->work[i].lease != k->lease);
        check_piece(k->piece);
        awake += k->awake;
        victims += k->verdict != OUTCOME_DONE;
    }
    CHECK(e->awake == awake && e->victims == victims);
    CHECK(e->awake > 0 || (e->awake_cpus == 0 && e->awake_memory == 0));
}

static void
check_executor(const struct runner *r, const struct executor *e)
{
    bool may_work = e->state == EXECUTOR_IDLE || e->state == EXECUTOR_BUSY;

    CHECK(e->number == (unsigned)(e - r->executors));
    CHECK((e->state == EXECUTOR_BUSY) == (e->nwork > 0 || e->awake > 0));
    CHECK((e->state == EXECUTOR_BUSY) == (e->cpus > 0));
    CHECK(e->state == EXECUTOR_BUSY || e->memory == 0);
    CHECK(e->state == EXECUTOR_IDLE || e->sweep_at == CLOCK_NEVER);
    CHECK((e->state == EXECUTOR_NONE) == (e->board == NULL));
    CHECK(may_work || (e->nwork == 0 && e->parked == NULL));
    CHECK(e->state != EXECUTOR_IDLE || e->parked != NULL || !(e->doomed || executor_spent(e)));
    for (unsigned i = 0; i < e->nwork; i++) {
        CHECK(e->work[i].piece->done < e->work[i].piece->count);
        CHECK(e->work[i].piece->job->code == e->code);
        CHECK(!e->work[i].piece->asleep);
        check_piece(e->work[i].piece);
    }
    for (unsigned i = 0; i < e->number && e->client != 0; i++)
        CHECK(r->executors[i].client != e->client);
    CHECK(e->client <= r->last_client);
    check_parked(r, e);
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

static void
check_lists(const struct runner *r)
{
    unsigned timed = 0, untold = 0, in_list = 0, to_tell = 0;
    int64_t before = 0;
    const struct parked *k;

    TAILQ_FOREACH (k, &r->timed, timed) {
        CHECK(k->out_of_time >= before && k->out_of_time != CLOCK_NEVER);
        before = k->out_of_time;
        timed++;
    }
    TAILQ_FOREACH (k, &r->untold, untold) {
        CHECK(k->tell_at != CLOCK_NEVER);
        untold++;
    }
    for (unsigned i = 0; i < r->nexecutors; i++)
        for (k = r->executors[i].parked; k != NULL; k = k->hh.next) {
            in_list += k->out_of_time != CLOCK_NEVER;
            to_tell += k->tell_at != CLOCK_NEVER;
        }
    CHECK(timed == in_list && untold == to_tell);
}

void
runner_check(const struct runner *r)
{
    unsigned used = 0, given = 0, held = 0, owed = 0, parked = 0, waiting = 0;
    uint64_t memory = 0, memory_given = 0;
    const struct piece *p;

    for (unsigned i = 0; i < r->nexecutors; i++) {
        const struct executor *e = &r->executors[i];

        check_executor(r, e);
        used += e->cpus;
        memory += e->memory;
        memory_given += e->nwork > 0 ? runner_memory(r, e->work[0].piece) : 0;
        given += e->nwork > 0 ? runner_cpus(r, e->work[0].piece) : 0;
        parked += HASH_COUNT(e->parked);
        held += e->nwork;
    }
    /* Tasks that go on after they waited may have no slot; those that are given out have one. */
    CHECK(used == r->used && given <= r->slots);
    CHECK(memory == r->memory_used && memory_given <= r->memory);
    CHECK(parked == r->parked);
    TAILQ_FOREACH (p, &r->queue, next) {
        CHECK(p->count > 0 && p->done == 0 && !p->asleep);
        check_piece(p);
        held++;
    }
    for (const struct runner_job *job = r->jobs; job != NULL; job = job->hh.next) {
        CHECK(!job->ended || job->pieces > 0);
        owed += job->pieces;
        waiting += job->parked;
    }
    CHECK(held + parked == owed && waiting == parked);
    check_lists(r);
    check_codes(r);
}
