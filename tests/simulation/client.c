#include "client.h"

#include "broker.h"
#include "chaos.h"
#include "demand.h"
#include "line.h"

#include "../../client/detached.h"
#include "../../proto/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum wake { WAKE_TURN, WAKE_SUBMIT, WAKE_MORE, WAKE_ATTACH };

struct client {
    struct actor actor;
    unsigned number;
    struct line line;
    struct core *core;
    struct demand_list demands;
    uint64_t window;    /* of results */
    uint32_t life;      /* conversations so far */
    unsigned jobs_left; /* to be submitted, or attached to */
    unsigned submits_left;
    int64_t turn_at;
    uint64_t keep_ms; /* its jobs go on for so long when it is silent */
};

static struct client *
of(struct actor *a)
{
    return (struct client *)a;
}

static void
plan_turn(struct client *c)
{
    struct sim *s = c->actor.sim;

    sim_plan(&c->actor, &c->turn_at, s->now + random_between(&s->random, 0, 20), WAKE_TURN);
}

/* ---- its end ------------------------------------------------------------------------------------
 */

static void
end(struct client *c, bool died)
{
    struct sim *s = c->actor.sim;
    struct demand *d;

    TAILQ_FOREACH (d, &c->demands, link) {
        demand_forsake(d);
    }
    line_leave(&c->line, died, "the session was closed");
    core_free(c->core);
    c->core = NULL;
    c->actor.gone = true;
    s->clients_left--;
}

void
client_kill(struct actor *a)
{
    if (a->gone)
        return;
    sim_trace(a->sim, "%s is killed", a->name);
    end(of(a), true);
}

void
client_leave(struct actor *a)
{
    if (a->gone)
        return;
    sim_trace(a->sim, "%s leaves", a->name);
    end(of(a), false);
}

static void
maybe_done(struct client *c)
{
    struct demand *d;

    if (c->jobs_left > 0)
        return;
    TAILQ_FOREACH (d, &c->demands, link) {
        if (!demand_is_over(d))
            return;
    }
    if (c->core->jobs != NULL && conversation_is_open(&c->line.talk))
        return; /* something is to be told yet */
    sim_trace(c->actor.sim, "%s has all", c->actor.name);
    end(c, false);
}

/* ---- turns --------------------------------------------------------------------------------------
 */

static void
say_hello(struct client *c)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_CLIENT,
                                  .software = "sim",
                                  .name = c->actor.name,
                                  .host = "sim",
                                  .machine = "",
                                  .labels = "",
                                  .window = c->window,
                                  .keep_ms = c->keep_ms}};

    conversation_introduce(&c->line.talk, &m.hello);
    line_say(&c->line, &m);
}

static void
give_up(struct client *c)
{
    struct demand *d;

    TAILQ_FOREACH (d, &c->demands, link) {
        demand_give_up(d);
    }
    core_end_all(c->core, OUTCOME_LOST, "the broker has not answered", false);
}

static void
converse(struct client *c)
{
    struct conversation_effect e;

    line_tick(&c->line);
    while (line_output(&c->line, &e)) {
        if (e.event == CONVERSATION_HELLO)
            say_hello(c);
        else if (e.event == CONVERSATION_LOST)
            core_gone(c->core);
        else
            give_up(c);
    }
}

static void
send_out(struct client *c)
{
    struct message m;
    struct demand *d;

    while (conversation_is_open(&c->line.talk) && core_output(c->core, &m, c->actor.sim->now)) {
        if (m.type == MESSAGE_NOTED && (d = demand_find(&c->demands, m.range.job)) != NULL)
            demand_noted(d, m.range.first, m.range.count);
        line_say(&c->line, &m);
    }
}

static void
read_results(struct client *c)
{
    struct demand *d;

    demand_read_singles(c->core);
    TAILQ_FOREACH (d, &c->demands, link) {
        demand_read(d);
    }
    c->core->news = false;
}

static void
turn(struct client *c)
{
    struct sim *s = c->actor.sim;
    int64_t at;

    c->turn_at = INT64_MAX;
    converse(c);
    core_tick(c->core, s->now);
    read_results(c);
    send_out(c);
    if (s->thorough || s->steps % 64 == 0)
        core_check(c->core);
    at = core_deadline(c->core);
    if (core_taken_deadline(c->core) < at)
        at = core_taken_deadline(c->core);
    if (line_deadline(&c->line) < at)
        at = line_deadline(&c->line);
    sim_plan(&c->actor, &c->turn_at, at > s->now ? at : s->now + 1, WAKE_TURN);
    maybe_done(c);
}

/* ---- messages -----------------------------------------------------------------------------------
 */

static void
welcome(struct client *c)
{
    struct demand *d;

    c->life++;
    TAILQ_FOREACH (d, &c->demands, link) {
        demand_tell_anew(d);
    }
}

static void
program_wanted(struct client *c, const struct message_program_wanted *m)
{
    struct blob *data = blob_copy("program", 7);
    struct message answer = {
        .type = MESSAGE_PROGRAM_PART,
        .program_part = {
            .digest = m->digest, .offset = m->offset, .text = "", .columns = {.count = 1}}};

    assert(data != NULL);
    if (chaos_strikes(c->actor.sim, FAULT_PARTS)) {
        answer.program_part.text = "the client cannot read it";
    } else {
        answer.program_part.size = 7;
        answer.program_part.columns =
            (struct columns){.count = 1, .size = 7, .data = data, .length = 7};
    }
    line_say(&c->line, &answer);
    blob_unref(data);
}

/* What the broker says of tasks, as it says it. */
static void
listen(struct client *c, const struct message *m)
{
    struct sim *s = c->actor.sim;
    struct demand *d;

    if (m->type == MESSAGE_RESULTS) {
        if ((m->results.job & DETACHED_NUMBER) == 0 &&
            c->core->received - c->core->taken >= c->window)
            sim_fail(s, "the window of %s is overrun", c->actor.name);
        if ((d = demand_find(&c->demands, m->results.job)) == NULL)
            sim_fail(s, "%s got results of no job of its", c->actor.name);
        for (uint32_t i = 0; i < m->results.columns.count; i++)
            demand_told(d, m->results.first + i,
                        m->results.columns.outcomes == NULL
                            ? OUTCOME_DONE
                            : (enum outcome)m->results.columns.outcomes[i],
                        m->results.attempt, c->life);
    } else if (m->type == MESSAGE_ENDED) {
        if ((d = demand_find(&c->demands, m->ended.job)) == NULL)
            sim_fail(s, "%s was told the end of no job of its", c->actor.name);
        for (uint64_t i = 0; i < m->ended.count; i++)
            demand_told(d, m->ended.first + i, m->ended.outcome, m->ended.attempt, c->life);
    } else if (m->type == MESSAGE_ATTACHED) {
        if ((d = demand_find(&c->demands, m->attached.job)) != NULL && m->attached.total > 0)
            deposit_told_accepted(s, d->deposit, m->attached.total, m->attached.sealed);
    } else if (m->type == MESSAGE_ACCEPTED && (m->range.job & DETACHED_NUMBER) != 0) {
        if ((d = demand_find(&c->demands, m->range.job)) != NULL)
            deposit_told_accepted(s, d->deposit, m->range.first, false);
    }
}

static void
message(struct actor *a, struct connection *connection, const struct message *m)
{
    struct client *c = of(a);

    (void)connection;
    plan_turn(c);
    if (!conversation_input(&c->line.talk, m, a->sim->now))
        return;
    if (m->type == MESSAGE_PROGRAM_WANTED)
        program_wanted(c, &m->program_wanted);
    if (m->type == MESSAGE_WELCOME)
        welcome(c);
    listen(c, m);
    if (core_input(c->core, m, a->sim->now) != 0)
        sim_fail(a->sim, "%s is out of memory", a->name);
}

static void
closed(struct actor *a, struct connection *connection)
{
    struct client *c = of(a);

    (void)connection;
    line_ended(&c->line);
    plan_turn(c);
}

struct connection *
client_connection(struct actor *a)
{
    return a->gone ? NULL : of(a)->line.connection;
}

/* ---- its program --------------------------------------------------------------------------------
 */

static void
submit(struct client *c)
{
    struct sim *s = c->actor.sim;
    struct demand *d;

    c->jobs_left--;
    d = demand_new(s, c->core, c->number, conversation_is_open(&c->line.talk));
    TAILQ_INSERT_TAIL(&c->demands, d, link);
    sim_trace(s, "%s submits job %" PRIu64 " of %" PRIu64 " tasks", c->actor.name, d->number,
              d->count);
    sim_wake(&c->actor, s->now, WAKE_MORE | d->number << 8);
    if (--c->submits_left > 0)
        sim_wake(&c->actor, s->now + random_between(&s->random, 0, 2000000), WAKE_SUBMIT);
}

static void
attach(struct client *c)
{
    struct sim *s = c->actor.sim;
    struct deposit *deposit = deposits_some(s);
    struct demand *d;

    c->jobs_left--;
    if (deposit != NULL) {
        d = demand_attach(s, c->core, deposit);
        TAILQ_INSERT_TAIL(&c->demands, d, link);
        sim_trace(s, "%s attaches to job %.8s", c->actor.name, deposit->hex);
    }
    plan_turn(c);
}

static void
more(struct client *c, uint64_t number)
{
    struct sim *s = c->actor.sim;
    struct demand *d = demand_find(&c->demands, number);

    if (d == NULL) /* the bit of detached ones had no room */
        d = demand_find(&c->demands, number | DETACHED_NUMBER);
    if (demand_more(d, conversation_is_open(&c->line.talk)))
        sim_wake(&c->actor, s->now + random_between(&s->random, 10, 3000), WAKE_MORE | number << 8);
    plan_turn(c);
}

void
client_cancel(struct actor *a)
{
    struct client *c = of(a);
    struct random *r = &a->sim->random;
    struct demand *d = TAILQ_FIRST(&c->demands);

    if (a->gone)
        return;
    while (d != NULL && (demand_is_over(d) || random_chance(r, 50)))
        d = TAILQ_NEXT(d, link);
    if (d == NULL)
        return;
    demand_cancel(d, a->name);
    read_results(c); /* before the broker says something else */
    plan_turn(c);
}

static void
wake(struct actor *a, uint64_t what)
{
    struct client *c = of(a);

    switch ((enum wake)(what & 0xff)) {
    case WAKE_TURN:
        if (c->turn_at <= a->sim->now)
            turn(c);
        break;
    case WAKE_SUBMIT:
        submit(c);
        break;
    case WAKE_MORE:
        more(c, what >> 8);
        break;
    case WAKE_ATTACH:
        attach(c);
        break;
    }
}

static void
destroy(struct actor *a)
{
    struct client *c = of(a);
    struct demand *d;

    line_leave(&c->line, true, "");
    while ((d = TAILQ_FIRST(&c->demands)) != NULL) {
        TAILQ_REMOVE(&c->demands, d, link);
        demand_free(d);
    }
    core_free(c->core);
    free(c);
}

static const struct actor_class class = {
    .message = message, .closed = closed, .wake = wake, .free = destroy};

struct actor *
client_new(struct sim *s, unsigned number)
{
    struct client *c = calloc(1, sizeof(*c));
    struct random *r = &s->random;
    uint8_t session[16];
    int64_t lost_us, at;

    assert(c != NULL);
    c->actor.class = &class;
    c->actor.sim = s;
    snprintf(c->actor.name, sizeof(c->actor.name), "c%u", number);
    c->number = number;
    c->core = core_new();
    assert(c->core != NULL);
    TAILQ_INIT(&c->demands);
    c->jobs_left = c->submits_left = 1 + (unsigned)random_below(r, 5);
    /* It tells what it received in steps of 1 MiB, or after a second. */
    c->window = (uint64_t)random_between(r, 1100000, 4000000);
    if (mix(s->seed + number, 67) % 4 == 0)
        c->window /= 50;
    lost_us = random_chance(r, 15) ? random_between(r, 1000000, 20000000) : -1;
    random_bytes(r, session, sizeof(session));
    c->keep_ms = random_chance(r, 30) ? 0 : random_below(r, 60000);
    if (s->restarts)
        c->keep_ms = 60000;
    line_init(&c->line, &c->actor, session, lost_us);
    at = s->now + random_between(r, 0, 100000);
    c->turn_at = INT64_MAX;
    sim_plan(&c->actor, &c->turn_at, at, WAKE_TURN);
    sim_wake(&c->actor, s->now + random_between(r, 0, 1000000), WAKE_SUBMIT);
    for (uint64_t n = s->store ? random_below(r, 4) : 0; n > 0; n--) {
        c->jobs_left++;
        sim_wake(&c->actor, s->now + random_between(r, 0, 15000000), WAKE_ATTACH);
    }
    sim_add(s, &c->actor);
    return &c->actor;
}
