#include "chaos.h"

#include "broker.h"
#include "client.h"
#include "disk.h"
#include "executor.h"
#include "worker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define RESTARTS_US 10000000
#define CUTS_US 500000
#define STEADY_US 6000000 /* a connection that lasted so long is soon followed by another */

struct chaos {
    struct actor actor;
    unsigned chance[FAULT_KINDS]; /* percent, of those that are asked for; 0: off */
    int64_t between[FAULT_KINDS]; /* us, of those that are planned; 0: off */
};

static const char *const names[FAULT_KINDS] = {
    [FAULT_CUT] = "cut",
    [FAULT_HOLE] = "hole",
    [FAULT_STALL] = "stall",
    [FAULT_AWAY] = "away",
    [FAULT_DELAY] = "delay",
    [FAULT_TWICE] = "twice",
    [FAULT_STOP_BROKER] = "stop broker",
    [FAULT_STOP_WORKER] = "stop worker",
    [FAULT_STOP_CLIENT] = "stop client",
    [FAULT_STOP_EXECUTOR] = "stop executor",
    [FAULT_KILL_BROKER] = "kill broker",
    [FAULT_KILL_WORKER] = "kill worker",
    [FAULT_KILL_CLIENT] = "kill client",
    [FAULT_KILL_EXECUTOR] = "kill executor",
    [FAULT_MUTE_WORKER] = "mute worker",
    [FAULT_DRAIN] = "drain",
    [FAULT_START] = "start",
    [FAULT_PARTS] = "parts",
    [FAULT_CANCEL] = "cancel",
    [FAULT_LEAVE] = "leave",
    [FAULT_DISK_FULL] = "disk full",
    [FAULT_DISK_FAIL] = "disk fails",
    [FAULT_DISK_KILL] = "kill broker while it writes",
};

/* ---- whom it strikes ----------------------------------------------------------------------------
 */

static struct actor *
some_worker(struct sim *s)
{
    struct actor *a = s->workers[random_below(&s->random, s->nworkers)];

    return worker_is_able(a) ? NULL : a;
}

static struct actor *
some_client(struct sim *s)
{
    struct actor *a = s->clients[random_below(&s->random, s->nclients)];

    return a->gone ? NULL : a;
}

static struct actor *
some_executor(struct sim *s)
{
    struct actor *w = some_worker(s);

    return w == NULL ? NULL : worker_some_executor(w);
}

static void
stop(struct actor *a, int64_t most)
{
    struct sim *s;
    int64_t until;

    if (a == NULL)
        return;
    s = a->sim;
    until = s->now + random_between(&s->random, 1000, most);
    if (until <= a->asleep)
        return;
    a->asleep = until;
    sim_trace(s, "%s is stopped until %lld", a->name, (long long)until);
}

static void
strike_connection(struct sim *s, enum fault f)
{
    struct connection *c = broker_some_connection(s->broker);
    const char *name;
    bool up, down;
    int64_t until;

    if (c == NULL || (s->restarts && s->now < c->since + STEADY_US))
        return;
    name = c->ends[SIDE_PEER]->name;
    up = random_chance(&s->random, 60);
    down = !up || random_chance(&s->random, 50);
    until = s->now + random_between(&s->random, 10000, 15000000);
    sim_trace(s, "the network: %s of the connection of %s%s%s", names[f], name, up ? ", up" : "",
              down ? ", down" : "");
    if (f == FAULT_CUT) {
        connection_cut(c);
        return;
    }
    for (int side = 0; side < 2; side++) {
        if (side == SIDE_BROKER ? !up : !down)
            continue;
        if (f == FAULT_HOLE)
            connection_hole(c, (enum side)side);
        else
            connection_stall(c, (enum side)side, until);
    }
}

/* Nothing passes between a peer and the broker, and no new connection comes about. */
static void
take_away(struct sim *s)
{
    struct actor *a = random_chance(&s->random, 70) ? some_worker(s) : some_client(s);
    struct connection *c;
    int64_t until = s->now + random_between(&s->random, 10000, 60000000);

    if (a == NULL || until > s->calm + 10000000)
        return;
    c = a->name[0] == 'w' ? worker_connection(a) : client_connection(a);
    sim_trace(s, "the network: %s is not reached until %lld", a->name, (long long)until);
    if (until > a->away)
        a->away = until;
    for (int side = 0; side < 2 && c != NULL; side++)
        if (c->ends[side] != NULL)
            connection_stall(c, (enum side)side, until);
}

static void
strike_worker(struct sim *s, enum fault f)
{
    struct actor *a = some_worker(s);

    if (a == NULL)
        return;
    if (f == FAULT_STOP_WORKER)
        stop(a, 15000000);
    else if (f == FAULT_KILL_WORKER)
        worker_kill(a);
    else if (f == FAULT_MUTE_WORKER)
        worker_mute(a, s->now + random_between(&s->random, 10000, 20000000));
    else
        worker_drain(a);
}

static void
strike_client(struct sim *s, enum fault f)
{
    struct actor *a = some_client(s);

    if (a == NULL)
        return;
    if (f == FAULT_STOP_CLIENT)
        stop(a, 10000000);
    else if (f == FAULT_KILL_CLIENT)
        client_kill(a);
    else if (f == FAULT_LEAVE)
        client_leave(a);
    else
        client_cancel(a);
}

static void
strike_executor(struct sim *s, enum fault f)
{
    struct actor *a = some_executor(s);

    if (a == NULL)
        return;
    if (f == FAULT_STOP_EXECUTOR)
        stop(a, 5000000);
    else
        executor_kill(a);
}

static void
strike_disk(struct sim *s, enum fault f)
{
    if (f == FAULT_DISK_FAIL)
        disk_fail(s->disk);
    else
        disk_crash(s->disk, 1 + (unsigned)random_below(&s->random, 20));
}

static void
strike(struct sim *s, enum fault f)
{
    switch (f) {
    case FAULT_CUT:
    case FAULT_HOLE:
    case FAULT_STALL:
        strike_connection(s, f);
        break;
    case FAULT_AWAY:
        take_away(s);
        break;
    case FAULT_STOP_BROKER:
        broker_stop(s->broker, s->now + random_between(&s->random, 1000000, 30000000));
        break;
    case FAULT_KILL_BROKER:
        broker_kill(s->broker,
                    s->now + random_between(&s->random, 1000, s->restarts ? 1000000 : 5000000));
        break;
    case FAULT_STOP_WORKER:
    case FAULT_KILL_WORKER:
    case FAULT_MUTE_WORKER:
    case FAULT_DRAIN:
        strike_worker(s, f);
        break;
    case FAULT_STOP_EXECUTOR:
    case FAULT_KILL_EXECUTOR:
        strike_executor(s, f);
        break;
    case FAULT_DISK_FAIL:
    case FAULT_DISK_KILL:
        strike_disk(s, f);
        break;
    default:
        strike_client(s, f);
        break;
    }
}

/* ---- when ---------------------------------------------------------------------------------------
 */

static bool
is_asked_for(enum fault f)
{
    return f == FAULT_DELAY || f == FAULT_TWICE || f == FAULT_START || f == FAULT_PARTS ||
           f == FAULT_DISK_FULL;
}

static bool
is_for_restarts(const struct sim *s, int f)
{
    return f == FAULT_KILL_BROKER || (f == FAULT_CUT && s->seed % 16 == 5);
}

/* A broker that is gone before all have found it is for other seeds. */
static int64_t
next_strike(struct chaos *c, uint64_t f)
{
    struct sim *s = c->actor.sim;

    return random_between(&s->random, s->restarts && f == FAULT_KILL_BROKER ? RESTARTS_US : 1,
                          2 * c->between[f]);
}

static void
wake(struct actor *a, uint64_t f)
{
    struct chaos *c = (struct chaos *)a;
    struct sim *s = a->sim;

    if (sim_calm(s))
        return;
    strike(s, (enum fault)f);
    sim_wake(a, s->now + next_strike(c, f), f);
}

bool
chaos_strikes(struct sim *s, enum fault f)
{
    return !sim_calm(s) && s->chaos->chance[f] > 0 &&
           random_chance(&s->random, s->chaos->chance[f]);
}

bool
chaos_is_on(const struct sim *s, enum fault f)
{
    return s->chaos->chance[f] > 0 || s->chaos->between[f] > 0;
}

int64_t
chaos_delay(struct sim *s, int64_t usual)
{
    return chaos_strikes(s, FAULT_DELAY) ? random_between(&s->random, 0, 50 * usual) : 0;
}

bool
chaos_twice(struct sim *s, const struct message *m)
{
    return m->client == 0 && (m->type == MESSAGE_RESULTS || m->type == MESSAGE_PARKED) &&
           chaos_strikes(s, FAULT_TWICE);
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static void
destroy(struct actor *a)
{
    (void)a; /* with the run */
}

static const struct actor_class class = {.wake = wake, .free = destroy};

struct chaos *
chaos_new(struct sim *s)
{
    struct chaos *c = calloc(1, sizeof(*c));
    unsigned on = (unsigned)random_below(&s->random, 60); /* percent of the kinds */

    assert(c != NULL);
    c->actor.class = &class;
    c->actor.sim = s;
    snprintf(c->actor.name, sizeof(c->actor.name), "chaos");
    for (int f = 0; f < FAULT_KINDS; f++) {
        if (s->restarts ? !is_for_restarts(s, f) : !random_chance(&s->random, on))
            continue;
        if (is_asked_for((enum fault)f))
            c->chance[f] = 1 + (unsigned)random_below(&s->random, 25);
        else
            c->between[f] = random_between(&s->random, 50000, 5000000);
        if (s->restarts)
            c->between[f] = f == FAULT_KILL_BROKER ? RESTARTS_US : CUTS_US;
    }
    return c;
}

void
chaos_begin(struct chaos *c)
{
    struct sim *s = c->actor.sim;

    sim_add(s, &c->actor);
    for (int f = 0; f < FAULT_KINDS; f++) {
        if (c->chance[f] > 0)
            sim_trace(s, "in this run: %s, %u%%", names[f], c->chance[f]);
        if (c->between[f] == 0)
            continue;
        sim_trace(s, "in this run: %s, every %lld us", names[f], (long long)c->between[f]);
        sim_wake(&c->actor, s->now + random_between(&s->random, 1, 2 * c->between[f]), (uint64_t)f);
    }
}

void
chaos_free(struct chaos *c)
{
    free(c);
}
