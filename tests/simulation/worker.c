#include "worker.h"

#include "broker.h"
#include "chaos.h"
#include "executor.h"
#include "history.h"
#include "ledger.h"
#include "line.h"

#include "../../proto/limits.h"
#include "../../worker/runner.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum wake { WAKE_TURN, WAKE_START };

enum { NAMES = 8, EXECUTORS = LIMIT_EXECUTORS(8) };
#define FETCH_US 5000000 /* without an answer it asks again */
#define TURN_US 1000     /* what is decided is done by then */

struct fetch { /* a program that it does not have yet */
    char digest[65];
    bool looks;    /* the runner asked just now */
    int64_t asked; /* 0: not yet */
};

struct seat {
    struct actor *executor;  /* NULL: none */
    struct connection *pipe; /* NULL: it has ended */
};

struct worker {
    struct actor actor;
    unsigned number;
    bool able;
    uint32_t slots;
    uint64_t window;
    const char *machine, *labels;
    unsigned tasks_per_executor;

    struct line line;
    struct runner *runner; /* NULL: the process is dead */
    struct ledger *ledger;
    struct seat seats[EXECUTORS];
    struct fetch fetches[NAMES];
    char cached[NAMES][65];
    char why[80];
    bool any_gone, draining;
    int64_t keep_us; /* how long work is kept without a broker ... */
    int64_t lost_at; /* ... since then; INT64_MAX: it has one, or has dropped it */
    int64_t mute;    /* until then it says nothing but BEAT */
    int64_t turn_at;
};

static struct worker *
of(struct actor *a)
{
    return (struct worker *)a;
}

static void
plan_turn(struct worker *w)
{
    struct sim *s = w->actor.sim;

    sim_plan(&w->actor, &w->turn_at, s->now + random_between(&s->random, 0, 20), WAKE_TURN);
}

enum program_fate
worker_program(const struct actor *a, const char *digest)
{
    const struct worker *w = (const struct worker *)a;
    uint64_t hash = a->sim->seed;

    for (const char *c = digest; *c != '\0'; c++)
        hash = mix(hash, (uint64_t)*c);
    hash = mix(hash, w->number) % 100;
    return w->able || hash >= 15 ? PROGRAM_STARTS
           : hash >= 8           ? PROGRAM_UNKNOWN_LIBRARY
                                 : PROGRAM_ENDS;
}

/* ---- programs -----------------------------------------------------------------------------------
 */

static bool
is_cached(const struct worker *w, const char *digest)
{
    for (int i = 0; i < NAMES; i++)
        if (strcmp(w->cached[i], digest) == 0)
            return true;
    return false;
}

static void
cache(struct worker *w, const char *digest)
{
    for (int i = 0; i < NAMES; i++)
        if (w->cached[i][0] == '\0') {
            snprintf(w->cached[i], sizeof(w->cached[i]), "%.64s", digest);
            return;
        }
}

static void
hand_want(void *arg, const struct program *program)
{
    struct worker *w = arg;

    for (int i = 0; i < NAMES; i++)
        if (w->fetches[i].digest[0] == '\0' || strcmp(w->fetches[i].digest, program->digest) == 0) {
            snprintf(w->fetches[i].digest, sizeof(w->fetches[i].digest), "%s", program->digest);
            w->fetches[i].looks = true;
            return;
        }
}

static void
answer_wants(struct worker *w)
{
    int64_t now = w->actor.sim->now;

    for (int i = 0; i < NAMES; i++) {
        struct fetch *f = &w->fetches[i];
        struct message m = {.type = MESSAGE_PROGRAM_WANTED,
                            .program_wanted = {.digest = f->digest}};

        if (f->digest[0] == '\0')
            continue;
        if (f->looks && is_cached(w, f->digest)) {
            runner_program_ready(w->runner, f->digest, now);
            f->digest[0] = '\0';
        } else if (f->asked == 0 || now - f->asked >= FETCH_US) {
            f->asked = now;
            (void)runner_say(w->runner, &m);
        }
        f->looks = false;
    }
}

static void
take_part(struct worker *w, const struct message_program_part *m)
{
    int64_t now = w->actor.sim->now;

    for (int i = 0; i < NAMES; i++) {
        struct fetch *f = &w->fetches[i];

        if (strcmp(f->digest, m->digest) != 0)
            continue;
        memset(f, 0, sizeof(*f));
        if (m->size > 0) {
            cache(w, m->digest);
            runner_program_ready(w->runner, m->digest, now);
        } else {
            runner_program_failed(w->runner, m->digest, m->text, true, now);
        }
    }
}

static int64_t
fetch_deadline(const struct worker *w)
{
    int64_t at = INT64_MAX;

    for (int i = 0; i < NAMES; i++)
        if (w->fetches[i].digest[0] != '\0' && w->fetches[i].asked + FETCH_US < at)
            at = w->fetches[i].asked + FETCH_US;
    return at;
}

/* ---- the hands of the runner --------------------------------------------------------------------
 */

static struct board *
hand_start(void *arg, unsigned number, const struct program *program, const char **why)
{
    struct worker *w = arg;
    struct sim *s = w->actor.sim;
    enum program_fate fate = worker_program(&w->actor, program->digest);
    struct executor_config config = {
        .worker = &w->actor,
        .name = w->actor.name,
        .number = number,
        .ends = fate == PROGRAM_ENDS,
        .plain = mix(s->seed, 41) % 8 == 0,
        .deaf = random_chance(&s->random, 20),
        .tasks = random_chance(&s->random, 10) ? 1 + (uint32_t)random_below(&s->random, 50) : 0};

    memcpy(config.program, program->digest, sizeof(config.program));
    assert(w->seats[number].executor == NULL);
    if (fate == PROGRAM_UNKNOWN_LIBRARY) {
        *why = "No such file or directory: its dynamic loader is missing here";
        return NULL;
    }
    if (!w->able && chaos_strikes(s, FAULT_START))
        return NULL;
    w->seats[number].executor = executor_new(s, &config, &w->seats[number].pipe);
    return executor_board(w->seats[number].executor);
}

static void
hand_send(void *arg, unsigned number, const struct message *m)
{
    struct worker *w = arg;

    if (m->type == MESSAGE_SLICE && m->client == 0)
        executor_given(w->seats[number].executor, &m->slice);
    if (w->seats[number].pipe != NULL)
        connection_send(w->seats[number].pipe, SIDE_BROKER, m);
}

static void
hand_hang_up(void *arg, unsigned number)
{
    struct worker *w = arg;

    if (w->seats[number].pipe != NULL)
        connection_finish(w->seats[number].pipe, SIDE_BROKER);
}

static void
hand_signal(void *arg, unsigned number, int signal)
{
    struct worker *w = arg;

    executor_signal(w->seats[number].executor, signal);
}

static void
hand_want_shared(void *arg, const struct shared *shared)
{
    (void)arg;
    (void)shared;
    abort(); /* no job has constants here */
}

static void
hand_drop_shared(void *arg, const char *digest)
{
    (void)arg;
    (void)digest;
}

static void
hand_limit(void *arg, unsigned number, uint64_t bytes)
{
    struct worker *w = arg;

    if (w->seats[number].executor == NULL || bytes > 1024 * 1024 * WORKER_MEMORY)
        abort();
}

/* Some keep what they used. */
static uint64_t
hand_usage(void *arg, unsigned number)
{
    struct worker *w = arg;

    (void)number;
    return random_below(&w->actor.sim->random, 10) == 0 ? WORKER_MEMORY : 0;
}

static void
hand_sweep(void *arg, unsigned number)
{
    struct worker *w = arg;

    if (w->seats[number].executor == NULL)
        abort();
}

static const struct runner_hands hands = {.start = hand_start,
                                          .send = hand_send,
                                          .hang_up = hand_hang_up,
                                          .signal = hand_signal,
                                          .limit = hand_limit,
                                          .usage = hand_usage,
                                          .sweep = hand_sweep,
                                          .want = hand_want,
                                          .want_shared = hand_want_shared,
                                          .drop_shared = hand_drop_shared};

/* ---- executors ----------------------------------------------------------------------------------
 */

static void
bury(struct worker *w)
{
    for (unsigned i = 0; i < EXECUTORS && w->any_gone; i++) {
        struct actor *e = w->seats[i].executor;
        struct runner_end end = {.words = ""};

        if (e == NULL || w->seats[i].pipe != NULL)
            continue;
        end.cause = executor_cause(e);
        end.killed = executor_was_killed(e);
        w->seats[i].executor = NULL;
        runner_ended(w->runner, i, &end, w->actor.sim->now);
        executor_bury(e);
    }
    w->any_gone = false;
}

static unsigned
seat_of(const struct worker *w, const struct connection *pipe)
{
    for (unsigned i = 0; i < EXECUTORS; i++)
        if (w->seats[i].pipe == pipe)
            return i;
    return EXECUTORS;
}

struct actor *
worker_some_executor(struct actor *a)
{
    struct worker *w = of(a);
    unsigned at = (unsigned)random_below(&a->sim->random, EXECUTORS);

    for (unsigned i = 0; i < EXECUTORS; i++)
        if (w->seats[(at + i) % EXECUTORS].pipe != NULL)
            return w->seats[(at + i) % EXECUTORS].executor;
    return NULL;
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static void
start(struct worker *w)
{
    struct runner_config config = {.slots = w->slots,
                                   .memory = w->slots * WORKER_MEMORY,
                                   .tasks_per_executor = w->tasks_per_executor,
                                   .grace_us = 1000000,
                                   .name = w->actor.name,
                                   .hands = &hands,
                                   .arg = w};

    uint8_t session[16];

    w->runner = runner_new(&config);
    assert(w->runner != NULL && runner_executors(w->runner) <= EXECUTORS);
    w->draining = false;
    w->lost_at = INT64_MAX;
    random_bytes(&w->actor.sim->random, session, sizeof(session));
    w->actor.asleep = w->mute = 0;
    line_init(&w->line, &w->actor, session, w->keep_us);
    w->turn_at = INT64_MAX;
    sim_plan(&w->actor, &w->turn_at, w->actor.sim->now, WAKE_TURN);
}

/* The process ends, and its executors with it. */
static void
end(struct worker *w, bool died)
{
    struct sim *s = w->actor.sim;

    line_leave(&w->line, died, "stopped");
    history_worker_lost(s->history);
    for (unsigned i = 0; i < EXECUTORS; i++) {
        struct seat *seat = &w->seats[i];

        if (seat->executor == NULL)
            continue;
        if (seat->pipe != NULL)
            connection_close(seat->pipe, SIDE_BROKER, true);
        executor_bury(seat->executor);
        *seat = (struct seat){0};
    }
    runner_free(w->runner);
    w->runner = NULL;
    ledger_clear(w->ledger);
    memset(w->fetches, 0, sizeof(w->fetches));
    if (random_chance(&s->random, 50)) /* its cache goes with its disk */
        memset(w->cached, 0, sizeof(w->cached));
    sim_wake(&w->actor, s->now + random_between(&s->random, 1000, 12000000), WAKE_START);
}

void
worker_kill(struct actor *a)
{
    if (of(a)->runner == NULL)
        return;
    sim_trace(a->sim, "%s is killed", a->name);
    end(of(a), true);
}

void
worker_drain(struct actor *a)
{
    struct worker *w = of(a);

    if (w->runner == NULL || w->draining)
        return;
    sim_trace(a->sim, "%s is asked to end", a->name);
    w->draining = true;
    runner_drain(w->runner, (int64_t)random_below(&a->sim->random, 60000000), "asked to end",
                 a->sim->now);
    plan_turn(w);
}

void
worker_mute(struct actor *a, int64_t until)
{
    struct worker *w = of(a);

    if (w->runner == NULL || until <= w->mute)
        return;
    sim_trace(a->sim, "%s is mute until %" PRId64, a->name, until);
    w->mute = until;
    plan_turn(w);
}

static bool
may_exit(const struct worker *w)
{
    return w->draining && (!conversation_is_open(&w->line.talk) || runner_idle(w->runner));
}

/* ---- the broker ---------------------------------------------------------------------------------
 */

static void
say_hello(struct worker *w)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_WORKER,
                                  .software = "sim",
                                  .name = w->actor.name,
                                  .host = "sim",
                                  .window = w->window,
                                  .slots = w->slots,
                                  .memory = w->slots * WORKER_MEMORY,
                                  .machine = w->machine,
                                  .labels = w->labels}};

    conversation_introduce(&w->line.talk, &m.hello);
    line_say(&w->line, &m);
}

/* Its work goes on: HELD puts into the ledger again what the next broker is told of. */
static void
lost(struct worker *w)
{
    history_worker_lost(w->actor.sim->history);
    memset(w->fetches, 0, sizeof(w->fetches));
    runner_lost(w->runner, w->actor.sim->now);
    ledger_clear(w->ledger);
    w->lost_at = w->actor.sim->now;
}

static void
drop(struct worker *w)
{
    struct sim *s = w->actor.sim;

    if (s->now - w->lost_at < w->keep_us - TURN_US)
        sim_fail(s, "%s drops its work too early", w->actor.name);
    runner_reset(w->runner, s->now);
    w->lost_at = INT64_MAX;
}

static void
send_out(struct worker *w)
{
    struct message m;

    while (conversation_is_open(&w->line.talk) && w->actor.sim->now >= w->mute &&
           runner_output(w->runner, &m)) {
        ledger_up(w->ledger, &m);
        line_say(&w->line, &m);
    }
}

static void
converse(struct worker *w)
{
    struct conversation_effect e;

    line_tick(&w->line);
    while (line_output(&w->line, &e)) {
        if (e.event == CONVERSATION_HELLO)
            say_hello(w);
        else if (e.event == CONVERSATION_FORSAKEN)
            drop(w);
        else if (e.was_open)
            lost(w);
    }
}

static void
turn(struct worker *w)
{
    struct sim *s = w->actor.sim;
    int64_t at;

    w->turn_at = INT64_MAX;
    converse(w);
    if (s->now - w->keep_us - TURN_US > w->lost_at)
        sim_fail(s, "%s keeps its work for too long", w->actor.name);
    bury(w);
    answer_wants(w);
    runner_tick(w->runner, s->now);
    send_out(w);
    if (s->thorough || s->steps % 16 == 0)
        runner_check(w->runner);
    if (may_exit(w)) {
        sim_trace(s, "%s ends", w->actor.name);
        end(w, false);
        return;
    }
    at = runner_deadline(w->runner, s->now);
    if (line_deadline(&w->line) < at)
        at = line_deadline(&w->line);
    if (fetch_deadline(w) < at)
        at = fetch_deadline(w);
    if (s->now < w->mute && w->mute < at)
        at = w->mute;
    sim_plan(&w->actor, &w->turn_at, at > s->now ? at : s->now + 1, WAKE_TURN);
}

static void
of_broker(struct worker *w, const struct message *m)
{
    struct sim *s = w->actor.sim;

    if (!conversation_input(&w->line.talk, m, s->now))
        return;
    if (m->type == MESSAGE_WELCOME && m->client == 0)
        w->lost_at = INT64_MAX;
    if (m->type == MESSAGE_PROGRAM_PART)
        take_part(w, &m->program_part);
    ledger_down(w->ledger, m);
    runner_input(w->runner, m, s->now);
    answer_wants(w);
    runner_match(w->runner, s->now);
}

static void
message(struct actor *a, struct connection *c, const struct message *m)
{
    struct worker *w = of(a);
    unsigned seat;

    if (w->runner == NULL)
        return;
    if (c == w->line.connection)
        of_broker(w, m);
    else if ((seat = seat_of(w, c)) < EXECUTORS)
        runner_heard(w->runner, seat, m, a->sim->now);
    plan_turn(w);
}

static void
closed(struct actor *a, struct connection *c)
{
    struct worker *w = of(a);
    unsigned seat;

    if (w->runner == NULL)
        return;
    if (c == w->line.connection) {
        line_ended(&w->line);
        plan_turn(w);
    } else if ((seat = seat_of(w, c)) < EXECUTORS) {
        connection_close(c, SIDE_BROKER, false);
        w->seats[seat].pipe = NULL;
        w->any_gone = true;
        plan_turn(w);
    }
}

static void
wake(struct actor *a, uint64_t what)
{
    struct worker *w = of(a);

    if (what == WAKE_START && w->runner == NULL)
        start(w);
    else if (what == WAKE_TURN && w->runner != NULL && w->turn_at <= a->sim->now)
        turn(w);
}

/* ---- for others ---------------------------------------------------------------------------------
 */

struct connection *
worker_connection(struct actor *a)
{
    return of(a)->line.connection;
}

bool
worker_is_able(const struct actor *a)
{
    return ((const struct worker *)a)->able;
}

bool
worker_is_empty(struct actor *a, const char **what)
{
    struct worker *w = of(a);

    if (w->runner == NULL)
        return true;
    if (!ledger_is_empty(w->ledger, what))
        return false;
    *what = "something that a runner has";
    if (!runner_idle(w->runner))
        return false;
    *what = "results that nobody has acknowledged";
    if (runner_kept(w->runner) > 0)
        return false;
    *what = "a task in an executor";
    for (unsigned i = 0; i < EXECUTORS; i++)
        if (w->seats[i].pipe != NULL && !executor_is_empty(w->seats[i].executor))
            return false;
    return true;
}

uint64_t
worker_carried_bytes(const struct actor *a, uint64_t each)
{
    const struct worker *w = (const struct worker *)a;
    uint64_t most = 0;

    for (unsigned i = 0; i < EXECUTORS; i++)
        if (w->seats[i].executor != NULL)
            most += executor_carried_bytes(w->seats[i].executor, each);
    return most;
}

static void
destroy(struct actor *a)
{
    struct worker *w = of(a);

    if (w->runner != NULL)
        end(w, true);
    ledger_free(w->ledger);
    free(w);
}

static const struct actor_class class = {
    .message = message, .closed = closed, .wake = wake, .free = destroy};

static void
describe(struct worker *w)
{
    static const char *const labels[] = {"", "gpu=1", "zone=a", "zone=b,gpu=1", "zone=b, big"};
    static const char *const machines[] = {"x86_64", "aarch64"};
    struct random *r = &w->actor.sim->random;

    w->slots = w->able ? (w->actor.sim->narrow ? 1 : 8) : 1 + (uint32_t)random_below(r, 8);
    w->window = (uint64_t)random_between(r, 500, 50000);
    w->machine = w->able ? machines[w->number % 2] : machines[random_below(r, 4) == 0];
    w->labels = w->able ? "gpu=1,zone=a,zone=b,big" : labels[random_below(r, 5)];
    w->keep_us = random_chance(r, 20) ? 0 : random_between(r, 0, 60000000);
    if (w->actor.sim->restarts)
        w->keep_us = 60000000;
    w->tasks_per_executor = random_chance(r, 10) ? 1 + (unsigned)random_below(r, 100) : 0;
}

struct actor *
worker_new(struct sim *s, unsigned number, bool able)
{
    struct worker *w = calloc(1, sizeof(*w));

    assert(w != NULL);
    w->actor.class = &class;
    w->actor.sim = s;
    snprintf(w->actor.name, sizeof(w->actor.name), "w%u", number);
    w->number = number;
    w->able = able;
    describe(w);
    w->ledger = ledger_new(s, &(struct ledger_worker){.name = w->actor.name,
                                                      .machine = w->machine,
                                                      .labels = w->labels,
                                                      .slots = w->slots,
                                                      .window = w->window});
    sim_wake(&w->actor, able ? s->calm : s->now + random_between(&s->random, 0, 100000),
             WAKE_START);
    sim_add(s, &w->actor);
    return &w->actor;
}
