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
    TURN = 64,      /* messages in a turn of the broker's loop */
    SLICES = 50000, /* that are measured, at least */
    ROUNDS = 4,     /* slices of each slot, at least */
    TRIES = 5,      /* of which the median counts */
    LARGE = 16,     /* tasks of a slice: of 25 ms, if it is not cut */
    TAKEN = 1 << 20 /* bytes of results after which a client says that it has them */
};

struct event { /* a worker says something */
    int64_t at;
    uint64_t order;
    uint64_t lease, first;
    uint32_t worker, count, attempt;
    bool ends; /* a slice; else it has nothing to give back */
};

struct worker {
    int64_t free[SLOTS]; /* when each slot is */
    uint64_t serial;     /* of its results */
};

struct sent { /* by the broker */
    uint32_t peer, count, attempt;
    enum message_type type;
    uint64_t job, lease, first;
};

struct run {
    struct scheduler *scheduler;
    struct worker *workers;
    unsigned nworkers;
    bool labelled;        /* each has a label of its own */
    struct event *events; /* a heap */
    size_t nevents, room;
    struct sent *sent;
    size_t nsent, sent_room;
    uint64_t order, slices, large, ended;
    uint64_t job;            /* as the broker calls it */
    uint64_t received, told; /* bytes of results at the client */
    int64_t now;
    int64_t inside_ns, clock_ns; /* in the scheduler; of one look at the clock */
    struct blob *data;
};

/* ---- time ---------------------------------------------------------------------------------------
 */

static int64_t
clock_now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t
clock_cost(void)
{
    int64_t began = clock_now(CLOCK_MONOTONIC);

    for (int i = 0; i < 10000; i++)
        (void)clock_now(CLOCK_MONOTONIC);
    return (clock_now(CLOCK_MONOTONIC) - began) / 10000;
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
take_slice(struct run *r, const struct sent *m)
{
    struct worker *w = &r->workers[m->peer - FIRST_WORKER];
    int64_t *slot = &w->free[0], start = r->now + DELAY_US;

    for (int i = 1; i < SLOTS; i++)
        slot = w->free[i] < *slot ? &w->free[i] : slot;
    start = *slot > start ? *slot : start;
    *slot = start + (int64_t)m->count * TASK_US;
    plan(r, (struct event){.at = *slot + DELAY_US,
                           .worker = m->peer,
                           .ends = true,
                           .lease = m->lease,
                           .first = m->first,
                           .count = m->count,
                           .attempt = m->attempt});
    r->job = m->job;
    r->slices++;
    r->large += m->count >= LARGE;
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
    struct message m = {.type = MESSAGE_RETURNED, .returned = {.lease = e->lease}};

    if (e->ends)
        m = (struct message){.type = MESSAGE_RESULTS,
                             .results = {.job = r->job,
                                         .lease = e->lease,
                                         .first = e->first,
                                         .attempt = e->attempt,
                                         .worker = "",
                                         .run_us = (uint64_t)e->count * TASK_US,
                                         .serial = ++r->workers[e->worker - FIRST_WORKER].serial,
                                         .columns = {.count = e->count,
                                                     .size = ITEM,
                                                     .data = r->data,
                                                     .length = (size_t)e->count * ITEM}}};
    say(r, e->worker, &m);
}

/* ---- what the broker sends ----------------------------------------------------------------------
 */

static void
note(struct run *r, uint32_t peer, const struct message *m)
{
    struct sent *to;

    if (r->nsent == r->sent_room) {
        r->sent_room = r->sent_room == 0 ? 1024 : r->sent_room * 2;
        r->sent = realloc(r->sent, r->sent_room * sizeof(*r->sent));
        assert(r->sent != NULL);
    }
    to = &r->sent[r->nsent++];
    *to = (struct sent){.peer = peer, .type = m->type};
    if (m->type == MESSAGE_RESULTS) {
        to->count = m->results.columns.count;
    } else if (m->type == MESSAGE_SLICE) {
        to->job = m->slice.job;
        to->lease = m->slice.lease;
        to->first = m->slice.first;
        to->attempt = m->slice.attempt;
        to->count = m->slice.columns.count;
    } else if (m->type == MESSAGE_REVOKE) {
        to->lease = m->revoke.lease;
    }
}

/* A turn of the broker's loop: all of it is measured. */
static void
serve(struct run *r, const struct event *batch, int n)
{
    int64_t began = clock_now(CLOCK_MONOTONIC);
    struct message m;
    uint32_t peer;

    for (int i = 0; i < n; i++)
        perform(r, &batch[i]);
    if (r->received - r->told >= TAKEN) {
        r->told = r->received;
        m = (struct message){.type = MESSAGE_TAKEN, .taken = {.bytes = r->told}};
        say(r, CLIENT, &m);
    }
    scheduler_tick(r->scheduler, r->now);
    while (scheduler_output(r->scheduler, &peer, &m))
        note(r, peer, &m);
    r->inside_ns += clock_now(CLOCK_MONOTONIC) - began - r->clock_ns;
}

static void
answer(struct run *r)
{
    for (size_t i = 0; i < r->nsent; i++) {
        const struct sent *m = &r->sent[i];

        if (m->type == MESSAGE_RESULTS) {
            r->ended += m->count;
            r->received += (uint64_t)m->count * (ITEM + TASK_COST);
        } else if (m->type == MESSAGE_SLICE) {
            take_slice(r, m);
        } else if (m->type == MESSAGE_REVOKE) {
            plan(r,
                 (struct event){.at = r->now + 2 * DELAY_US, .worker = m->peer, .lease = m->lease});
        }
    }
    r->nsent = 0;
}

/* ---- the run ------------------------------------------------------------------------------------
 */

static void
hello(struct run *r, uint32_t peer, enum role role)
{
    char label[32];
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

    snprintf(label, sizeof(label), "node=%u", (unsigned)peer);
    if (r->labelled && role == ROLE_WORKER)
        m.hello.labels = label;
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

static void
turn(struct run *r)
{
    int64_t deadline = scheduler_deadline(r->scheduler);
    struct event batch[TURN];
    int n = 0;

    if (r->nevents == 0)
        abort();
    r->now = deadline < r->events[0].at && deadline > r->now ? deadline : r->events[0].at;
    while (n < TURN && r->nevents > 0 && r->events[0].at <= r->now)
        batch[n++] = next_event(r);
    serve(r, batch, n);
    answer(r);
}

static struct run *
open_run(unsigned workers, bool labelled)
{
    struct run *r = calloc(1, sizeof(*r));

    assert(r != NULL);
    r->nworkers = workers;
    r->labelled = labelled;
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
    free(r->sent);
    free(r);
}

static size_t
memory(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

struct cost {
    double spent_ns, bytes; /* bytes: of a queued task beside its own */
    uint64_t slices, tasks;
};

/* Until slices have their size, and all workers are busy with such. */
static void
warm_up(struct run *r, uint64_t tasks)
{
    while (r->large < 2 * SLOTS * (uint64_t)r->nworkers && r->ended < tasks / 2)
        turn(r);
}

static void
measure(struct cost *cost, struct run *r, uint64_t tasks)
{
    uint64_t most = r->slices + SLICES, slices = r->slices, ended = r->ended;
    int64_t wall = clock_now(CLOCK_MONOTONIC), cpu = clock_now(CLOCK_THREAD_CPUTIME_ID);

    if (most < r->slices + (uint64_t)r->nworkers * SLOTS * ROUNDS)
        most = r->slices + (uint64_t)r->nworkers * SLOTS * ROUNDS;
    r->inside_ns = 0;
    while (r->slices < most && r->ended < tasks)
        turn(r);
    cpu = clock_now(CLOCK_THREAD_CPUTIME_ID) - cpu;
    wall = clock_now(CLOCK_MONOTONIC) - wall;
    /* The kernel's clock of CPU time costs as much as what is measured here. So this is the time
     * that passed inside, of which we had the CPU as often as of the whole. */
    cost->spent_ns += (double)r->inside_ns * (double)cpu / (double)wall;
    cost->slices += r->slices - slices;
    cost->tasks += r->ended - ended;
}

struct row {
    unsigned workers;
    uint64_t tasks;
    bool labelled;
    struct cost tries[TRIES]; /* the dearest slices last */
};

static void
run_once(struct cost *cost, const struct row *row)
{
    struct run *r = open_run(row->workers, row->labelled);
    uint64_t tasks = row->tasks;
    size_t before;

    hello(r, CLIENT, ROLE_CLIENT);
    before = memory();
    submit(r, tasks);
    cost->bytes = (double)(memory() - before) / (double)tasks;
    for (unsigned i = 0; i < row->workers; i++)
        hello(r, FIRST_WORKER + i, ROLE_WORKER);
    serve(r, NULL, 0);
    answer(r);
    warm_up(r, tasks);
    measure(cost, r, tasks);
    close_run(r);
}

static double
slice_ns(const struct cost *c)
{
    return c->spent_ns / (double)c->slices;
}

static void
try_row(struct row *row, int n)
{
    struct cost c = {0};

    while (c.slices < SLICES / 2)
        run_once(&c, row);
    for (; n > 0 && slice_ns(&row->tries[n - 1]) > slice_ns(&c); n--)
        row->tries[n] = row->tries[n - 1];
    row->tries[n] = c;
}

static void
print(const struct row *row)
{
    const struct cost *c = &row->tries[TRIES / 2];

    printf("| %u%s | %" PRIu64 " | %.2f | %.0f | %.2f |\n", row->workers,
           row->labelled ? ", each with a label of its own" : "", row->tasks, slice_ns(c) / 1e3,
           c->spent_ns / (double)c->tasks, c->bytes);
}

static size_t
fill(struct row *rows, unsigned workers, uint64_t tasks)
{
    unsigned some = workers < 100 ? workers : 100;
    size_t n = 0;

    for (unsigned w = 1; w < workers; w *= 10)
        rows[n++] = (struct row){.workers = w, .tasks = tasks};
    rows[n++] = (struct row){.workers = workers, .tasks = tasks};
    rows[n++] = (struct row){.workers = workers, .tasks = tasks, .labelled = true};
    for (uint64_t t = 10000; t < tasks; t *= 10)
        rows[n++] = (struct row){.workers = some, .tasks = t};
    rows[n++] = (struct row){.workers = some, .tasks = tasks};
    return n;
}

int
scale_run(const struct scale_config *config)
{
    struct row rows[64]; /* more than a number of 64 bits has digits, twice */
    size_t n = fill(rows, config->workers > 0 ? config->workers : 10000,
                    config->tasks > 0 ? config->tasks : 10000000);

    /* In turn, as the machine may be slower for a while. */
    for (int i = 0; i < TRIES; i++) {
        for (size_t at = 0; at < n; at++)
            try_row(&rows[at], i);
    }
    printf(
        "| workers | queued tasks | CPU of the scheduler, us a slice | ns a task | bytes a queued "
        "task, beside its own |\n| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < n; i++)
        print(&rows[i]);
    return 0;
}
