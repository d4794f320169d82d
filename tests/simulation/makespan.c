/* makespan: how well the scheduler keeps slots busy, on a virtual clock.
 *
 * Ideal workers (a free slot takes the next task that the worker holds, at once) behind a network
 * with a delay, against the same slots with one queue between them: what is lost is the scheduler's
 * doing.
 */
#include "../../broker/scheduler.h"
#include "../../proto/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define WORKERS 64
#define CLIENT 1
#define FIRST_WORKER 10
#define RESULT_BYTES 8

struct held { /* a lease */
    TAILQ_ENTRY(held) link;
    uint64_t id, job, first;
    uint32_t count, attempt;
    uint32_t next, limit; /* the next to start, and where what is left ends */
    uint32_t ended;       /* tasks */
    int64_t run_us;       /* of those that were not told */
};

struct worker {
    unsigned slots, busy;
    double speed; /* times as slow */
    TAILQ_HEAD(, held) leases;
};

struct event {
    int64_t at;
    uint64_t order;
    struct message m; /* to the scheduler, or to a worker */
    uint32_t peer;
    bool up;
    struct held *held; /* a task of it ends */
    uint32_t task;
    int64_t run_us;
};

struct scenario {
    const char *name;
    unsigned workers, slots;
    uint64_t tasks;
    double mean_us, sigma; /* lognormal; sigma 0: all the same */
    double slow;           /* every other worker is so many times as slow; 1: all alike */
    double goal;           /* makespan / ideal, at most */
};

struct run {
    const struct scenario *scenario;
    struct scheduler *scheduler;
    struct worker workers[WORKERS];
    struct event *events;
    size_t nevents, room;
    uint64_t order, random, ended, slices, revokes;
    uint64_t taken; /* bytes of results */
    int64_t now, last;
    double *times;
    struct blob *data;
};

static double
chance(struct run *r) /* (0, 1) */
{
    uint64_t z = r->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) / 9007199254740992.0;
}

static void
choose_times(struct run *r)
{
    const struct scenario *c = r->scenario;

    r->times = calloc(c->tasks, sizeof(double));
    assert(r->times != NULL);
    for (uint64_t i = 0; i < c->tasks; i++) {
        double normal = sqrt(-2 * log(chance(r))) * cos(2 * M_PI * chance(r));

        r->times[i] = c->mean_us * exp(c->sigma * normal - c->sigma * c->sigma / 2);
    }
}

/* ---- events -------------------------------------------------------------------------------------
 */

static bool
before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void
plan(struct run *r, int64_t at, struct event e)
{
    size_t i = r->nevents++;

    if (r->nevents > r->room) {
        r->room = r->room == 0 ? 1024 : r->room * 2;
        r->events = realloc(r->events, r->room * sizeof(*r->events));
        assert(r->events != NULL);
    }
    e.at = at;
    e.order = ++r->order;
    for (; i > 0 && before(&e, &r->events[(i - 1) / 2]); i = (i - 1) / 2)
        r->events[i] = r->events[(i - 1) / 2];
    r->events[i] = e;
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

#define DELAY 100 /* us, each way */

static void
send(struct run *r, uint32_t peer, const struct message *m, bool up)
{
    plan(r, r->now + DELAY, (struct event){.m = *m, .peer = peer, .up = up});
}

/* ---- workers ------------------------------------------------------------------------------------
 */

static void
start(struct run *r, uint32_t peer)
{
    struct worker *w = &r->workers[peer - FIRST_WORKER];
    struct held *h;

    TAILQ_FOREACH (h, &w->leases, link) {
        while (w->busy < w->slots && h->next < h->limit) {
            int64_t time = (int64_t)(r->times[h->first + h->next] * w->speed + 0.5);

            w->busy++;
            plan(r, r->now + time,
                 (struct event){.peer = peer, .held = h, .task = h->next++, .run_us = time});
        }
    }
}

static void
tell(struct run *r, uint32_t peer, struct held *h, uint32_t first, uint32_t count, int64_t run_us)
{
    struct message m = {.type = MESSAGE_RESULTS,
                        .results = {.job = h->job,
                                    .lease = h->id,
                                    .first = h->first + first,
                                    .attempt = h->attempt,
                                    .worker = "",
                                    .run_us = (uint64_t)run_us,
                                    .columns = {.count = count,
                                                .size = RESULT_BYTES,
                                                .data = r->data,
                                                .length = (size_t)count * RESULT_BYTES}}};

    send(r, peer, &m, true);
}

/* Results go together: those of a slice of short tasks at its end. */
static void
task_ended(struct run *r, uint32_t peer, struct held *h, uint32_t task, int64_t run_us)
{
    struct worker *w = &r->workers[peer - FIRST_WORKER];
    bool quick = r->scenario->mean_us < 1000;

    w->busy--;
    h->ended++;
    h->run_us += run_us;
    r->last = r->now;
    if (!quick)
        tell(r, peer, h, task, 1, run_us);
    else if (h->ended == h->limit)
        tell(r, peer, h, 0, h->limit, h->run_us);
    start(r, peer);
    if (h->ended == h->limit) {
        TAILQ_REMOVE(&w->leases, h, link);
        free(h);
    }
}

static void
revoked(struct run *r, uint32_t peer, const struct message_revoke *m)
{
    struct worker *w = &r->workers[peer - FIRST_WORKER];
    struct message answer = {.type = MESSAGE_RETURNED, .returned = {.lease = m->lease}};
    struct held *h;

    r->revokes++;
    TAILQ_FOREACH (h, &w->leases, link) {
        uint32_t count = h->limit - h->next < m->count ? h->limit - h->next : m->count;

        if (h->id != m->lease || count == 0)
            continue;
        h->limit -= count;
        answer.returned.first = h->first + h->limit;
        answer.returned.count = count;
        if (h->ended == h->limit) {
            if (r->scenario->mean_us < 1000 && h->ended > 0)
                tell(r, peer, h, 0, h->limit, h->run_us);
            TAILQ_REMOVE(&w->leases, h, link);
            free(h);
        }
        break;
    }
    send(r, peer, &answer, true);
}

static void
take_slice(struct run *r, uint32_t peer, const struct message_slice *m)
{
    struct held *h = calloc(1, sizeof(*h));

    assert(h != NULL);
    r->slices++;
    *h = (struct held){.id = m->lease,
                       .job = m->job,
                       .first = m->first,
                       .attempt = m->attempt,
                       .limit = m->columns.count,
                       .count = m->columns.count};
    TAILQ_INSERT_TAIL(&r->workers[peer - FIRST_WORKER].leases, h, link);
    start(r, peer);
}

/* ---- the run ------------------------------------------------------------------------------------
 */

static void
take_results(struct run *r, const struct columns *c)
{
    struct message m = {.type = MESSAGE_TAKEN};

    r->ended += c->count;
    r->taken += c->length + (uint64_t)c->count * TASK_COST;
    m.taken.bytes = r->taken;
    send(r, CLIENT, &m, true);
}

static void
put_out(struct run *r)
{
    struct message m;
    uint32_t peer;

    scheduler_tick(r->scheduler, r->now);
    while (scheduler_output(r->scheduler, &peer, &m)) {
        if (peer == CLIENT && m.type == MESSAGE_RESULTS)
            take_results(r, &m.results.columns);
        else if (m.type == MESSAGE_SLICE || m.type == MESSAGE_REVOKE)
            send(r, peer, &m, false);
    }
}

static void
perform(struct run *r, struct event *e)
{
    if (e->held != NULL)
        task_ended(r, e->peer, e->held, e->task, e->run_us);
    else if (e->up && scheduler_input(r->scheduler, e->peer, &e->m, r->now) != 0)
        abort();
    else if (!e->up && e->m.type == MESSAGE_SLICE)
        take_slice(r, e->peer, &e->m.slice);
    else if (!e->up && e->m.type == MESSAGE_REVOKE)
        revoked(r, e->peer, &e->m.revoke);
}

static void
hello(struct run *r, uint32_t peer, enum role role, uint32_t slots)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = role,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "",
                                  .name = "",
                                  .host = "",
                                  .machine = "",
                                  .labels = "",
                                  .window = role == ROLE_CLIENT ? UINT64_MAX / 2 : 0,
                                  .slots = slots}};

    m.hello.session[0] = (uint8_t)peer;
    if (scheduler_input(r->scheduler, peer, &m, r->now) != 0)
        abort();
}

static void
submit(struct run *r)
{
    struct spec spec = {.program = {.digest = "d", .name = "p", .machine = ""},
                        .function = "f",
                        .name = "",
                        .needs = ""};
    struct message m = {.type = MESSAGE_JOB, .job = {.job = 1, .spec = spec_new(&spec)}};

    (void)scheduler_input(r->scheduler, CLIENT, &m, r->now);
    spec_unref(m.job.spec);
    for (uint64_t first = 0; first < r->scenario->tasks; first += 4096) {
        uint32_t count =
            r->scenario->tasks - first < 4096 ? (uint32_t)(r->scenario->tasks - first) : 4096;

        m = (struct message){.type = MESSAGE_INPUTS,
                             .inputs = {.job = 1,
                                        .first = first,
                                        .columns = {.count = count,
                                                    .size = RESULT_BYTES,
                                                    .data = r->data,
                                                    .length = (size_t)count * RESULT_BYTES}}};
        if (scheduler_input(r->scheduler, CLIENT, &m, r->now) != 0)
            abort();
    }
}

/* One queue for all slots, and no network: whoever is free takes the next task. */
static double
ideal(const struct run *r)
{
    double ends[WORKERS * 64] = {0}, last = 0;
    unsigned nslots = r->scenario->workers * r->scenario->slots;

    for (uint64_t i = 0; i < r->scenario->tasks; i++) {
        unsigned first = 0;

        for (unsigned slot = 1; slot < nslots; slot++)
            first = ends[slot] < ends[first] ? slot : first;
        ends[first] += r->times[i] * r->workers[first % r->scenario->workers].speed;
        last = ends[first] > last ? ends[first] : last;
    }
    return last;
}

static bool
run(const struct scenario *c)
{
    struct run r = {.scenario = c, .random = 1, .now = 1000};
    double ratio;

    r.scheduler = scheduler_new(&(struct scheduler_config){.software = "",
                                                           .client_window = UINT64_MAX / 2,
                                                           .lost_ms = 3600000},
                                r.now);
    r.data = blob_new(LIMIT_ITEMS * RESULT_BYTES);
    assert(r.scheduler != NULL && r.data != NULL);
    choose_times(&r);
    for (unsigned i = 0; i < c->workers; i++) {
        r.workers[i] = (struct worker){.slots = c->slots, .speed = i % 2 == 1 ? c->slow : 1};
        TAILQ_INIT(&r.workers[i].leases);
        hello(&r, FIRST_WORKER + i, ROLE_WORKER, c->slots);
    }
    hello(&r, CLIENT, ROLE_CLIENT, 0);
    submit(&r);
    put_out(&r);
    while (r.ended < c->tasks) {
        int64_t deadline = scheduler_deadline(r.scheduler);

        if (r.nevents == 0)
            abort();
        if (deadline < r.events[0].at && deadline > r.now) {
            r.now = deadline;
        } else {
            struct event e = next_event(&r);

            r.now = e.at;
            perform(&r, &e);
        }
        put_out(&r);
    }
    ratio = (double)(r.last - 1000) / ideal(&r);
    printf("%-44s %6.4f of the ideal (goal %.3f), %" PRIu64 " slices, %" PRIu64 " revoked\n",
           c->name, ratio, c->goal, r.slices, r.revokes);
    scheduler_check(r.scheduler);
    scheduler_free(r.scheduler);
    blob_unref(r.data);
    free(r.events);
    free(r.times);
    return ratio <= c->goal;
}

int
main(void)
{
    static const struct scenario scenarios[] = {
        {"uneven tasks of 20 ms, 1 worker x 2", 1, 2, 2000, 20000, 1, 1, 1.015},
        {"uneven tasks of 20 ms, 4 workers x 2", 4, 2, 2000, 20000, 1, 1, 1.015},
        {"uneven tasks of 20 ms, 16 workers x 4", 16, 4, 10000, 20000, 1, 1, 1.015},
        {"uneven tasks of 20 ms, 1 worker x 64", 1, 64, 10000, 20000, 1, 1, 1.015},
        {"uneven tasks of 1 ms, 8 workers x 2", 8, 2, 40000, 1000, 1, 1, 1.015},
        {"uneven tasks of 200 ms, 8 workers x 4", 8, 4, 3000, 200000, 0.7, 1, 1.015},
        {"tasks of 10 ms, 8 workers x 8", 8, 8, 6400, 10000, 0, 1, 1.015},
        {"tasks of 10 ms, 64 workers x 1", 64, 1, 6400, 10000, 0, 1, 1.015},
        {"tasks of 2 ms, half of the workers 3 x slower", 8, 2, 40000, 2000, 0.5, 3, 1.015},
        {"tasks of 1 us, 1 worker x 2", 1, 2, 2000000, 1, 0, 1, 1.015},
        {"tasks of 1 us, 4 workers x 2", 4, 2, 4000000, 1, 0, 1, 1.015},
    };
    bool good = true;

    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        good = run(&scenarios[i]) && good;
    return good ? 0 : 1;
}
