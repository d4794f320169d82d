#include "sim.h"

#include "broker.h"
#include "chaos.h"
#include "client.h"
#include "deposits.h"
#include "disk.h"
#include "history.h"
#include "keeper.h"
#include "network.h"
#include "worker.h"

#include "../../proto/limits.h"
#include "../../proto/wire.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define TIME_MOST (600 * 1000000ll)  /* virtual time in which all must have ended */
#define TIME_AFTER (120 * 1000000ll) /* and in which nothing may be left of it then */

struct event {
    int64_t at;
    uint64_t order;
    struct actor *actor;
    struct connection *connection; /* something may arrive; NULL: the actor wakes */
    uint64_t what;
};

/* ---- telling ------------------------------------------------------------------------------------
 */

void
sim_fail(const struct sim *s, const char *format, ...)
{
    char text[1024];
    va_list list;

    fflush(stdout);
    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    /* At once: other seeds may fail at the same time. */
    dprintf(2, "seed %" PRIu64 ", at %" PRId64 " us: %s\n", s->seed, s->now, text);
    abort();
}

void
sim_trace(const struct sim *s, const char *format, ...)
{
    va_list list;

    if (!s->trace)
        return;
    printf("[%10" PRId64 "] ", s->now);
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    putchar('\n');
}

/* ---- events -------------------------------------------------------------------------------------
 */

static bool
before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void
plan(struct sim *s, struct event e)
{
    size_t at = s->nevents++;

    if (s->nevents > s->room) {
        s->room = s->room == 0 ? 256 : s->room * 2;
        s->events = realloc(s->events, s->room * sizeof(*s->events));
        assert(s->events != NULL);
    }
    e.order = ++s->order;
    for (; at > 0 && before(&e, &s->events[(at - 1) / 2]); at = (at - 1) / 2)
        s->events[at] = s->events[(at - 1) / 2];
    s->events[at] = e;
}

static struct event
next_event(struct sim *s)
{
    struct event first = s->events[0], last = s->events[--s->nevents];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < s->nevents) {
        if (child + 1 < s->nevents && before(&s->events[child + 1], &s->events[child]))
            child++;
        if (!before(&s->events[child], &last))
            break;
        s->events[at] = s->events[child];
        at = child;
    }
    s->events[at] = last;
    return first;
}

void
sim_wake(struct actor *a, int64_t at, uint64_t what)
{
    plan(a->sim, (struct event){.at = at, .actor = a, .what = what});
}

void
sim_plan(struct actor *a, int64_t *at_p, int64_t at, uint64_t what)
{
    if (at < a->sim->now)
        at = a->sim->now;
    if (at >= *at_p)
        return;
    *at_p = at;
    sim_wake(a, at, what);
}

void
sim_deliver(struct sim *s, struct connection *c, int side, int64_t at)
{
    plan(s, (struct event){.at = at, .connection = c, .what = (uint64_t)side});
}

bool
sim_calm(const struct sim *s)
{
    return s->now >= s->calm;
}

/* A process that is stopped, or a network that does not pass anything on: later. */
static bool
postpone(struct sim *s, const struct event *e)
{
    struct event later = *e;

    later.at = e->connection != NULL ? connection_ready(e->connection, (enum side)e->what)
                                     : e->actor->asleep;
    if (later.at <= s->now)
        return false;
    plan(s, later);
    return true;
}

static void
perform(struct sim *s, const struct event *e)
{
    if (postpone(s, e))
        return;
    if (e->connection != NULL) {
        connection_arrive(e->connection, (enum side)e->what);
        connection_unref(e->connection);
    } else if (!e->actor->gone) {
        e->actor->class->wake(e->actor, e->what);
    }
}

/* ---- one run ------------------------------------------------------------------------------------
 */

void
sim_add(struct sim *s, struct actor *a)
{
    TAILQ_INSERT_TAIL(&s->actors, a, link);
}

static void
populate(struct sim *s)
{
    unsigned workers = 1 + (unsigned)random_below(&s->random, 5);
    unsigned clients = 1 + (unsigned)random_below(&s->random, 3);

    s->broker = broker_new(s);
    for (unsigned i = 0; i < s->storm; i++)
        s->workers[s->nworkers++] = worker_new(s, i, true);
    workers = s->storm > 0 ? 0 : workers;
    clients = s->storm > 0 ? 8 : clients;
    for (unsigned i = 0; i < workers; i++)
        s->workers[s->nworkers++] = worker_new(s, i, false);
    /* One of each machine that is able to run all that is asked for, once all is calm. */
    for (unsigned i = workers; i < workers + 2 && s->storm == 0; i++)
        s->workers[s->nworkers++] = worker_new(s, i, true);
    for (unsigned i = 0; i < clients; i++)
        s->clients[s->nclients++] = client_new(s, i);
    s->clients_left = clients;
    if (s->store)
        s->keeper = keeper_new(s);
}

static void
clean_up(struct sim *s)
{
    struct actor *a;

    while ((a = TAILQ_FIRST(&s->actors)) != NULL) {
        TAILQ_REMOVE(&s->actors, a, link);
        a->class->free(a);
    }
    for (size_t i = 0; i < s->nevents; i++)
        connection_unref(s->events[i].connection);
    free(s->events);
    deposits_free(s->deposits);
    disk_free(s->disk);
    history_free(s->history);
    chaos_free(s->chaos);
    arena_free(s->arena);
}

/* Is anything left of what was done? */
static bool
is_empty(struct sim *s, const char **what)
{
    if (!broker_is_empty(s->broker, what))
        return false;
    for (unsigned i = 0; i < s->nworkers; i++)
        if (!worker_is_empty(s->workers[i], what))
            return false;
    return true;
}

static bool
is_over(struct sim *s)
{
    const char *what = "something";

    if (s->clients_left > 0 || !deposits_are_over(s, &what)) {
        if (s->nevents == 0 || s->now > (s->narrow ? 8 * TIME_MOST : TIME_MOST))
            sim_fail(s, "tasks have not ended, and nothing goes on: %s; %s",
                     history_unended(s->history), what);
        return false;
    }
    if (s->done == 0) {
        s->done = s->now > s->calm ? s->now : s->calm;
        sim_trace(s, "all clients have all");
    }
    if (s->now < s->done || s->steps % 32 != 0)
        return false;
    if (is_empty(s, &what))
        return true;
    if (s->now > s->done + TIME_AFTER)
        sim_fail(s, "all clients have all, but something is left: %s", what);
    return false;
}

static void
begin(struct sim *s)
{
    TAILQ_INIT(&s->actors);
    s->random.state = mix(s->seed, 77);
    s->thorough = s->trace || s->seed % 16 == 0;
    s->arena = arena_new();
    assert(s->arena != NULL);
    s->now = random_between(&s->random, 0, 1000000);
    s->calm = s->now + (s->storm > 0 ? 0 : random_between(&s->random, 0, 20000000));
    s->delay_most = (unsigned)random_between(&s->random, 20, 3000);
    s->narrow = s->seed % 4 == 0;
    s->restarts = s->seed % 8 == 5;
    if (s->restarts)
        s->calm += 20000000;
    s->store = s->storm == 0 && mix(s->seed, 83) % 2 == 0;
    s->disk = disk_new(s);
    s->deposits = deposits_new();
    s->history = history_new(s);
    s->chaos = chaos_new(s);
    populate(s);
    chaos_begin(s->chaos);
}

uint64_t
sim_run(uint64_t seed, bool trace)
{
    struct sim s = {.seed = seed, .trace = trace};

    begin(&s);
    while (!is_over(&s)) {
        struct event e = next_event(&s);

        s.now = e.at;
        s.steps++;
        perform(&s, &e);
    }
    deposits_check(&s);
    history_check(s.history);
    clean_up(&s);
    return s.steps;
}

void
sim_storm(unsigned workers)
{
    struct sim s = {.seed = 21, .storm = workers};
    int64_t kill, start, back = 0;

    assert(workers <= SIM_MOST);
    begin(&s);
    kill = s.now + 1500000;
    start = kill + 20000000;
    while (back == 0 || !is_over(&s)) {
        struct event e = next_event(&s);

        s.now = e.at;
        s.steps++;
        perform(&s, &e);
        if (s.now >= kill && broker_lives(s.broker) == 1)
            broker_kill(s.broker, start);
        if (back == 0 && s.now > start && s.steps % 256 == 0 && broker_workers(s.broker) == workers)
            back = s.now;
        if (back == 0 && s.now > start + 30000000)
            sim_fail(&s, "after 30 s only %u workers are back", broker_workers(s.broker));
    }
    deposits_check(&s);
    history_check(s.history);
    printf("%u workers are back %.1f s after their broker, and no task is lost\n", workers,
           (double)(back - start) / 1e6);
    clean_up(&s);
}
