#include "broker.h"

#include "chaos.h"
#include "disk.h"
#include "history.h"
#include "keeper.h"

#include "../../broker/exchange.h"
#include "../../proto/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum wake { WAKE_TURN, WAKE_START, WAKE_LOOK };

#define OPERATOR 0x7fffffff
#define KEEPER 0x7ffffffe
#define LOOK_US 500000 /* between two looks at its memory */
#define SOON_US 30000000

struct broker {
    struct actor actor;
    struct exchange exchange;        /* of its halves; without a scheduler it is dead */
    struct connection **connections; /* by number; NULL: over */
    uint32_t nconnections, room;
    int64_t turn_at;
    int64_t since; /* it was stopped; 0: it goes on */
    bool woken;    /* this turn is the first one after that */
    uint64_t client_window;
    unsigned lives;
    struct message_status status;
    char job[120]; /* the first one in the status */
    char what[250];
};

static struct broker *
of(struct actor *a)
{
    return (struct broker *)a;
}

static void pass(void *arg, uint32_t peer, const struct message *m, int64_t now);

static int64_t
wall(const struct sim *s)
{
    return 1000000000 + s->now / 1000000;
}

static struct scheduler *
start_scheduler(const struct broker *b)
{
    const struct sim *s = b->actor.sim;

    return scheduler_new(
        &(struct scheduler_config){
            .software = "sim",
            .instance = mix(s->seed, b->lives),
            .client_window = b->client_window,
            .seed = s->seed + b->lives,
            .lasting = true,
            .own_peers = DEPOT_PEERS,
            .first_lease = mix(s->seed + b->lives, 59) >> 2 | 1,
        },
        s->now);
}

static void
start(struct broker *b)
{
    struct sim *s = b->actor.sim;
    char why[640];

    b->lives++;
    disk_use(s->disk);
    b->exchange = (struct exchange){.scheduler = start_scheduler(b), .pass = pass, .arg = b};
    assert(b->exchange.scheduler != NULL);
    b->exchange.depot = depot_new(&(struct depot_config){.path = s->store ? "store" : NULL}, s->now,
                                  wall(s), why, sizeof(why));
    if (b->exchange.depot == NULL)
        sim_fail(s, "the broker cannot start: %s", why);
    b->turn_at = INT64_MAX;
    sim_plan(&b->actor, &b->turn_at, s->now, WAKE_TURN);
}

bool
broker_is_up(const struct broker *b)
{
    return b->exchange.scheduler != NULL;
}

/* ---- messages -----------------------------------------------------------------------------------
 */

static void
plan_turn(struct broker *b)
{
    /* Several messages that come close together share a turn. */
    sim_plan(&b->actor, &b->turn_at,
             b->actor.sim->now + random_between(&b->actor.sim->random, 0, 20), WAKE_TURN);
}

static int
input(struct broker *b, struct connection *c, const struct message *m, const char **why)
{
    struct exchange *x = &b->exchange;
    const struct actor *peer = c->ends[SIDE_PEER];

    if (c->joined && depot_takes(x->depot, c->number, m)) {
        *why = depot_why(x->depot);
        return depot_input(x->depot, c->number, peer != NULL ? peer->name : "?", m);
    }
    *why = scheduler_why(x->scheduler);
    return scheduler_input(x->scheduler, c->number, m, b->actor.sim->now);
}

static void
message(struct actor *a, struct connection *c, const struct message *m)
{
    struct broker *b = of(a);
    const char *why;

    if (!broker_is_up(b))
        return;
    if (input(b, c, m, &why) != 0)
        sim_fail(a->sim, "%s was refused: %s", c->ends[SIDE_PEER] ? c->ends[SIDE_PEER]->name : "?",
                 why);
    plan_turn(b);
}

static void
let_go(struct broker *b, struct connection *c, bool died)
{
    b->connections[c->number] = NULL;
    history_connection_lost(b->actor.sim->history);
    connection_close(c, SIDE_BROKER, died);
}

static void
closed(struct actor *a, struct connection *c)
{
    struct broker *b = of(a);
    uint32_t number = c->number;

    let_go(b, c, false);
    if (!broker_is_up(b))
        return;
    exchange_gone(&b->exchange, number, a->sim->now);
    plan_turn(b);
}

/* Time in which the broker itself did not run says nothing about its peers, and one of which
 * nothing was amiss is heard. */
static void
check_bye(const struct broker *b, const struct connection *c, const struct message *m)
{
    const struct actor *peer = c->ends[SIDE_PEER];
    int64_t then = (b->woken ? b->since : b->actor.sim->now) - SOON_US;

    if (m->client != 0 || peer == NULL || strstr(m->text, "silent") == NULL || c->faulty >= then ||
        peer->asleep >= then)
        return;
    if (b->woken)
        sim_fail(b->actor.sim, "%s was lost because the broker itself was stopped", peer->name);
    if (b->actor.asleep < then)
        sim_fail(b->actor.sim, "%s was lost, though nothing was wrong with it", peer->name);
}

static void
take_status(struct broker *b, const struct message_status *m)
{
    const struct job_row *j = m->job_rows;

    b->status = *m;
    b->job[0] = '\0';
    if (m->njob_rows > 0)
        snprintf(b->job, sizeof(b->job),
                 ": job %" PRIu64 " of %.60s: %" PRIu64 " wait, %" PRIu64 " run", j->job, j->client,
                 j->waiting, j->running);
}

static void
pass(void *arg, uint32_t peer, const struct message *m, int64_t now)
{
    struct broker *b = arg;
    struct sim *s = b->actor.sim;
    struct connection *c;

    (void)now;
    if (disk_killed(s->disk)) /* it did not come to this */
        return;
    if (peer == OPERATOR) {
        if (m->type == MESSAGE_STATUS)
            take_status(b, &m->status);
        return;
    }
    if (peer == KEEPER) {
        keeper_answer(s->keeper, m);
        return;
    }
    if ((c = b->connections[peer]) == NULL)
        return;
    if (m->type == MESSAGE_BYE)
        check_bye(b, c, m);
    connection_send(c, SIDE_BROKER, m);
    if (m->client != 0)
        return;
    c->joined = c->joined || m->type == MESSAGE_WELCOME;
    if (m->type == MESSAGE_REFUSED || m->type == MESSAGE_BYE) {
        depot_gone(b->exchange.depot, peer);
        let_go(b, c, false);
    }
}

/* False: it is dead now. */
static bool
turn_of_both(struct broker *b)
{
    struct sim *s = b->actor.sim;

    if (exchange_turn(&b->exchange, s->now, wall(s)) == 0)
        return true;
    broker_kill(b, s->now + random_between(&s->random, 1000, 5000000));
    return false;
}

static void
check(struct broker *b)
{
    struct sim *s = b->actor.sim;

    /* To check takes longer than to run: some seeds do at every step, others now and then. */
    if (!s->thorough && s->steps % 64 != 0)
        return;
    scheduler_check(b->exchange.scheduler);
    depot_check(b->exchange.depot);
}

static void
turn(struct broker *b)
{
    struct sim *s = b->actor.sim;
    int64_t deadline, kept;

    b->turn_at = INT64_MAX;
    b->woken = b->since != 0;
    if (!turn_of_both(b))
        return;
    b->since = 0;
    b->woken = false;
    check(b);
    deadline = scheduler_deadline(b->exchange.scheduler);
    kept = depot_deadline(b->exchange.depot);
    deadline = kept < deadline ? kept : deadline;
    if (deadline != INT64_MAX)
        sim_plan(&b->actor, &b->turn_at, deadline > s->now ? deadline : s->now + 1, WAKE_TURN);
}

/* ---- what it holds ------------------------------------------------------------------------------
 */

static bool
ask_status(struct broker *b)
{
    struct message hello = {.type = MESSAGE_HELLO,
                            .hello = {.role = ROLE_OPERATOR,
                                      .protocol = LADLE_PROTOCOL,
                                      .software = "sim",
                                      .name = "operator",
                                      .host = "",
                                      .machine = "",
                                      .labels = ""}};
    struct message wanted = {.type = MESSAGE_STATUS_WANTED};
    int64_t now = b->actor.sim->now;

    if (!broker_is_up(b))
        return false;
    (void)scheduler_input(b->exchange.scheduler, OPERATOR, &hello, now);
    (void)scheduler_input(b->exchange.scheduler, OPERATOR, &wanted, now);
    if (!turn_of_both(b))
        return false;
    scheduler_gone(b->exchange.scheduler, OPERATOR, now);
    return true;
}

void
broker_ask(struct broker *b, const struct message *m)
{
    if (!broker_is_up(b) || b->actor.asleep > b->actor.sim->now)
        return;
    (void)depot_input(b->exchange.depot, KEEPER, "keeper", m);
    if (turn_of_both(b))
        depot_gone(b->exchange.depot, KEEPER);
}

/* The memory for inputs: a window for each client, and what is granted to those in executors. */
static void
look(struct broker *b)
{
    struct sim *s = b->actor.sim;
    uint64_t most = history_bytes_most(s->history, b->client_window);

    if (!ask_status(b))
        return;
    if (b->status.bytes_held > most)
        sim_fail(s, "the broker holds %" PRIu64 " bytes of inputs, of at most %" PRIu64,
                 b->status.bytes_held, most);
}

unsigned
broker_workers(struct broker *b)
{
    return ask_status(b) ? b->status.workers : 0;
}

bool
broker_is_empty(struct broker *b, const char **what)
{
    if (!ask_status(b)) {
        *what = "no broker";
        return false;
    }
    snprintf(b->what, sizeof(b->what),
             "%" PRIu64 " jobs, %" PRIu32 " clients and %" PRIu64
             " bytes of inputs at the broker%s",
             b->status.jobs, b->status.clients, b->status.bytes_held, b->job);
    *what = b->what;
    return b->status.jobs == 0 && b->status.clients == 0 && b->status.bytes_held == 0;
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static void
wake(struct actor *a, uint64_t what)
{
    struct broker *b = of(a);

    switch ((enum wake)what) {
    case WAKE_TURN:
        if (broker_is_up(b) && b->turn_at <= a->sim->now)
            turn(b);
        break;
    case WAKE_START:
        sim_trace(a->sim, "a new broker starts");
        start(b);
        break;
    case WAKE_LOOK:
        look(b);
        sim_wake(a, a->sim->now + LOOK_US, WAKE_LOOK);
        break;
    }
}

struct connection *
broker_connect(struct broker *b, struct actor *peer, int64_t delay)
{
    struct connection *c;

    if (!broker_is_up(b))
        return NULL;
    c = connection_new(&b->actor, peer, delay);
    if (b->nconnections == b->room) {
        b->room *= 2;
        b->connections = realloc(b->connections, b->room * sizeof(struct connection *));
        assert(b->connections != NULL);
    }
    c->number = b->nconnections;
    b->connections[b->nconnections++] = c;
    return c;
}

static void
end_halves(struct broker *b)
{
    scheduler_free(b->exchange.scheduler);
    depot_free(b->exchange.depot);
    b->exchange.scheduler = NULL;
    b->exchange.depot = NULL;
}

void
broker_kill(struct broker *b, int64_t until)
{
    if (!broker_is_up(b))
        return;
    sim_trace(b->actor.sim, "the broker is killed");
    for (uint32_t i = 0; i < b->nconnections; i++)
        if (b->connections[i] != NULL)
            let_go(b, b->connections[i], true);
    end_halves(b);
    b->since = 0;
    b->actor.asleep = 0;
    sim_wake(&b->actor, until, WAKE_START);
}

void
broker_stop(struct broker *b, int64_t until)
{
    if (!broker_is_up(b) || until <= b->actor.asleep)
        return;
    sim_trace(b->actor.sim, "the broker is stopped until %" PRId64, until);
    b->actor.asleep = until;
    b->since = b->since != 0 ? b->since : b->actor.sim->now;
    sim_wake(&b->actor, until, WAKE_TURN);
    b->turn_at = until;
}

bool
broker_was_awake(const struct broker *b, int64_t since)
{
    return broker_is_up(b) && b->since == 0 && b->actor.asleep < since;
}

unsigned
broker_lives(const struct broker *b)
{
    return b->lives;
}

struct connection *
broker_some_connection(struct broker *b)
{
    uint32_t at;

    at = (uint32_t)random_below(&b->actor.sim->random, b->nconnections);
    for (uint32_t i = 0; i < b->nconnections; i++) {
        struct connection *c = b->connections[(at + i) % b->nconnections];

        if (c != NULL && c->ends[SIDE_PEER] != NULL)
            return c;
    }
    return NULL;
}

static void
destroy(struct actor *a)
{
    struct broker *b = of(a);

    for (uint32_t i = 0; i < b->nconnections; i++)
        if (b->connections[i] != NULL)
            let_go(b, b->connections[i], true);
    end_halves(b);
    free(b->connections);
    free(b);
}

static const struct actor_class class = {
    .message = message, .closed = closed, .wake = wake, .free = destroy};

struct broker *
broker_new(struct sim *s)
{
    struct broker *b = calloc(1, sizeof(*b));

    assert(b != NULL);
    b->actor.class = &class;
    b->actor.sim = s;
    snprintf(b->actor.name, sizeof(b->actor.name), "broker");
    b->room = 64;
    b->nconnections = 1; /* peer 0 is nobody */
    b->connections = calloc(b->room, sizeof(struct connection *));
    assert(b->connections != NULL);
    b->client_window = (uint64_t)random_between(&s->random, 1000, 100000);
    start(b);
    sim_wake(&b->actor, s->now + LOOK_US, WAKE_LOOK);
    sim_add(s, &b->actor);
    return b;
}
