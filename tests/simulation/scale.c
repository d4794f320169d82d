/* scale.c - what the scheduler costs, as workers and queued tasks grow.
 *
 * The scheduler is the real one. Workers are light ones here (a slice is one event), since it is
 * the broker whose cost may grow with the grid; a worker's own depends on its slots alone.
 */
#include "scale.h"

#include "chance.h"

#include "../../broker/scheduler.h"
#include "../../proto/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SLOTS = 4, /* of each worker */
    DELAY_US = 200,
    TASK_US = 1000,
    ITEM = 8, /* bytes of an input, and of a result */
    BATCH = 8192,
    CLIENT = 1,
    FIRST_WORKER = 2,
    SLICES = 50000, /* that are measured, at least */
    ROUNDS = 8,     /* slices of each slot, at least */
};

struct event {
    int64_t at;
    uint64_t order;
    uint32_t worker;
    bool ends;              /* a slice; else one arrives, or a result at the broker */
    struct message_slice m; /* its columns without data */
};

struct worker {
    int64_t free[SLOTS]; /* when each slot is */
};

struct run {
    struct scheduler *scheduler;
    struct worker *workers;
    unsigned nworkers;
    struct event *events; /* a heap */
    size_t nevents, room;
    uint64_t order, slices, ended, tasks;
    int64_t now;
    int64_t cpu_ns, clock_ns; /* in the scheduler; of one look at the clock */
    struct blob *data;
};

/* ---- time ---------------------------------------------------------------------------------------
 */

static int64_t
cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t
clock_cost(void)
{
    int64_t began = cpu_now();

    for (int i = 0; i < 10000; i++)
        (void)cpu_now();
    return (cpu_now() - began) / 10000;
}

/* ---- events -------------------------------------------------------------------------------------
 */

static bool
before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void
plan(struct run *r, struct event e)
{
    size_t at = r->nevents++;

    if (r->nevents > r->room) {
        r->room = r->room == 0 ? 1024 : r->room * 2;
        r->events = realloc(r->events, r->room * sizeof(*r->events));
        assert(r->events != NULL);
    }
    e.order = ++r->order;
    for (; at > 0 && before(&e, &r->events[(at - 1) / 2]); at = (at - 1) / 2)
        r->events[at] = r->events[(at - 1) / 2];
    r->events[at] = e;
}

static struct event
next_event(struct run *r)
{
    struct event first = r->events[0], last = r->events[--r->nevents];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < r->nevents) {
        if (child + 1 < r->nevents && before(&r->events[child + 1], &r->events[child]))
            child++;
        if (!before(&r->events[child], &last))
            break;
        r->events[at] = r->events[child];
        at = child;
    }
    r->events[at] = last;
    return first;
}

/* ---- workers ------------------------------------------------------------------------------------
 */

/* The slot that is free first takes it; its results are at the broker some time later. */
static void
take_slice(struct run *r, uint32_t peer, const struct message_slice *m)
{
    struct worker *w = &r->workers[peer - FIRST_WORKER];
    int64_t *slot = &w->free[0], start = r->now + DELAY_US;
    struct event e = {.worker = peer, .ends = true, .m = *m};

    for (int i = 1; i < SLOTS; i++)
        slot = w->free[i] < *slot ? &w->free[i] : slot;
    start = *slot > start ? *slot : start;
    *slot = start + (int64_t)m->columns.count * TASK_US;
    e.at = *slot + DELAY_US;
    e.m.columns.data = NULL;
    plan(r, e);
    r->slices++;
}

static void
put_out(struct run *r)
{
    struct message m;
    uint32_t peer;

    scheduler_tick(r->scheduler, r->now);
    while (scheduler_output(r->scheduler, &peer, &m)) {
        if (peer == CLIENT && m.type == MESSAGE_RESULTS)
            r->ended += m.results.columns.count;
        else if (m.type == MESSAGE_SLICE)
            take_slice(r, peer, &m.slice);
        else if (m.type == MESSAGE_REVOKE)
            plan(r, (struct event){.at = r->now + 2 * DELAY_US,
                                   .worker = peer,
                                   .m = {.lease = m.revoke.lease}});
    }
}

static void
say(struct run *r, uint32_t peer, const struct message *m)
{
    if (scheduler_input(r->scheduler, peer, m, r->now) != 0)
        abort();
}

static void
perform(struct run *r, const struct event *e)
{
    struct message m = {.type = MESSAGE_RETURNED, .returned = {.lease = e->m.lease}};

    if (e->ends)
        m = (struct message){.type = MESSAGE_RESULTS,
                             .results = {.job = e->m.job,
                                         .lease = e->m.lease,
                                         .first = e->m.first,
                                         .attempt = e->m.attempt,
                                         .worker = "",
                                         .run_us = (uint64_t)e->m.columns.count * TASK_US,
                                         .columns = {.count = e->m.columns.count,
                                                     .size = ITEM,
                                                     .data = r->data,
                                                     .length = (size_t)e->m.columns.count * ITEM}}};
    say(r, e->worker, &m);
}

/* ---- the run ------------------------------------------------------------------------------------
 */

static void
hello(struct run *r, uint32_t peer, enum role role)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = role,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "",
                                  .name = "",
                                  .host = "",
                                  .machine = "",
                                  .labels = "",
                                  .window = role == ROLE_CLIENT ? UINT64_MAX / 2 : WINDOW_WORKER,
                                  .slots = role == ROLE_WORKER ? SLOTS : 0}};

    memcpy(m.hello.session, &peer, sizeof(peer));
    say(r, peer, &m);
}

static void
submit(struct run *r, uint64_t tasks)
{
    struct spec spec = {.program = {.digest = "d", .name = "p", .machine = ""},
                        .function = "f",
                        .name = "",
                        .needs = "",
                        .cpus = 1};
    struct message m = {.type = MESSAGE_JOB, .job = {.job = 1, .spec = spec_new(&spec)}};

    say(r, CLIENT, &m);
    spec_unref(m.job.spec);
    for (uint64_t first = 0; first < tasks; first += BATCH) {
        uint32_t count = tasks - first < BATCH ? (uint32_t)(tasks - first) : BATCH;

        m = (struct message){.type = MESSAGE_INPUTS,
                             .inputs = {.job = 1,
                                        .first = first,
                                        .columns = {.count = count,
                                                    .size = ITEM,
                                                    .data = r->data,
                                                    .length = (size_t)count * ITEM}}};
        say(r, CLIENT, &m);
    }
}

/* One turn of a broker's loop, and what it costs. */
static void
turn(struct run *r)
{
    int64_t deadline = scheduler_deadline(r->scheduler), began;
    struct event batch[64];
    int n = 0;

    if (r->nevents == 0)
        abort();
    r->now = deadline < r->events[0].at && deadline > r->now ? deadline : r->events[0].at;
    while (n < 64 && r->nevents > 0 && r->events[0].at <= r->now)
        batch[n++] = next_event(r);
    began = cpu_now();
    for (int i = 0; i < n; i++)
        perform(r, &batch[i]);
    put_out(r);
    r->cpu_ns += cpu_now() - began - r->clock_ns;
}

static struct run *
open_run(unsigned workers)
{
    struct run *r = calloc(1, sizeof(*r));

    assert(r != NULL);
    r->nworkers = workers;
    r->now = 1000;
    r->workers = calloc(workers, sizeof(*r->workers));
    r->scheduler = scheduler_new(&(struct scheduler_config){.software = "",
                                                            .client_window = UINT64_MAX / 2,
                                                            .beat_ms = 1800000,
                                                            .lost_ms = 3600000},
                                 r->now);
    r->data = blob_new((size_t)BATCH * ITEM);
    assert(r->workers != NULL && r->scheduler != NULL && r->data != NULL);
    r->clock_ns = clock_cost();
    return r;
}

static void
close_run(struct run *r)
{
    scheduler_check(r->scheduler);
    scheduler_free(r->scheduler);
    blob_unref(r->data);
    free(r->workers);
    free(r->events);
    free(r);
}

static size_t
memory(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

struct cost {
    double slice_us, task_ns, bytes; /* bytes: of a queued task beside its own */
};

static struct cost
measure(unsigned workers, uint64_t tasks)
{
    struct run *r = open_run(workers);
    uint64_t most = (uint64_t)workers * SLOTS * ROUNDS, warm;
    struct cost cost;
    size_t before;
    int64_t began;

    hello(r, CLIENT, ROLE_CLIENT);
    before = memory();
    submit(r, tasks);
    cost.bytes = (double)(memory() - before) / (double)tasks;
    for (unsigned i = 0; i < workers; i++)
        hello(r, FIRST_WORKER + i, ROLE_WORKER);
    put_out(r);
    most = most > SLICES ? most : SLICES;
    /* Until slices have their size, and all workers are busy. */
    while (r->slices < most / 4 && r->ended < tasks / 4)
        turn(r);
    warm = r->slices;
    began = (int64_t)r->ended;
    r->cpu_ns = 0;
    while (r->slices < most && r->ended < tasks)
        turn(r);
    cost.slice_us = (double)r->cpu_ns / 1e3 / (double)(r->slices - warm);
    cost.task_ns = (double)r->cpu_ns / (double)((int64_t)r->ended - began);
    close_run(r);
    return cost;
}

static void
print(unsigned workers, uint64_t tasks)
{
    struct cost c = measure(workers, tasks);

    printf("| %u | %" PRIu64 " | %.2f | %.0f | %.2f |\n", workers, tasks, c.slice_us, c.task_ns,
           c.bytes);
    fflush(stdout);
}

int
scale_run(const struct scale_config *config)
{
    unsigned workers = config->workers > 0 ? config->workers : 10000;
    uint64_t tasks = config->tasks > 0 ? config->tasks : 10000000;

    printf(
        "| workers | queued tasks | CPU of the scheduler, us a slice | ns a task | bytes a queued "
        "task, beside its own |\n| --- | --- | --- | --- | --- |\n");
    for (unsigned n = 1; n < workers; n *= 10)
        print(n, tasks);
    print(workers, tasks);
    for (uint64_t n = 10000; n < tasks; n *= 10)
        print(workers < 100 ? workers : 100, n);
    print(workers < 100 ? workers : 100, tasks);
    return 0;
}
