#include "submitter.h"

#include "../../proto/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum wake { WAKE_JOIN, WAKE_BEAT, WAKE_SUBMIT, WAKE_MORE, WAKE_TROUBLE };

struct client_actor {
    struct actor actor;
    struct submitter submitter;
    bool done;
    unsigned jobs_left;
};

static struct client_actor *
of(struct actor *a)
{
    return (struct client_actor *)a;
}

enum fate
fate_of(const struct sim *s, uint64_t input)
{
    uint64_t chance = mix(input, s->seed) % 1000;

    return chance < 20   ? FATE_FAILS
           : chance < 30 ? FATE_CRASHES
           : chance < 60 ? FATE_CRASHES_ONCE
                         : FATE_DONE;
}

int64_t
time_of(const struct sim *s, uint64_t input)
{
    uint64_t kind = mix(s->seed, input >> 32) % 4, hash = mix(input, 5);

    /* Tasks of a job are alike, but some take long. */
    if (hash % 200 == 0)
        return 100000 + (int64_t)(hash >> 8) % 400000;
    return kind == 0   ? 1 + (int64_t)(hash % 10)
           : kind == 1 ? 200 + (int64_t)(hash % 1000)
           : kind == 2 ? 5000 + (int64_t)(hash % 20000)
                       : 30000 + (int64_t)(hash % 100000);
}

/* ---- what it asks for ---------------------------------------------------------------------------
 */

static void
choose_spec(struct client_actor *c, struct spec *spec)
{
    static const char *const needs[] = {"", "", "", "gpu", "zone=b", "gpu=1, zone=b", "big"};
    static const char *const machines[] = {"", "x86_64", "x86_64", "aarch64"};
    static const char *const digests[] = {"d0", "d1", "d2"};
    struct random *r = &c->actor.sim->random;

    *spec = (struct spec){
        .program = {.name = "program", .machine = machines[random_below(r, 4)]},
        .function = "f",
        .name = "",
        .needs = needs[random_below(r, 7)],
        .priority = (int32_t)random_between(r, -1, 1),
        .retries = (uint32_t)random_below(r, 4),
        .cpus = random_chance(r, 80) || c->actor.sim->narrow ? 1 : 1 + (uint32_t)random_below(r, 4),
        .retry_failed = random_chance(r, 20),
        .once = random_chance(r, 10),
        .singles = random_chance(r, 40)};
    strcpy(spec->program.digest, digests[random_below(r, 3)]);
    if (random_chance(r, 15))
        spec->deadline_ms = random_between(r, 1, 5000);
    if (random_chance(r, 10))
        spec->fail_if_unknown = true;
    /* What no worker has is asked for only if it ends on its own. */
    if ((spec->deadline_ms > 0 || spec->fail_if_unknown) && random_chance(r, 30))
        spec->needs = "moon=1";
}

/* In a narrow grid all must go through one slot in time. */
static uint64_t
choose_count(struct sim *s)
{
    return random_below(&s->random, random_chance(&s->random, 20) && !s->narrow ? 2000 : 100);
}

static void
submit(struct client_actor *c)
{
    struct sim *s = c->actor.sim;
    uint32_t size = 8 + (uint32_t)random_below(&s->random, 100);
    bool same = random_chance(&s->random, 50);
    uint64_t kind = kind_of_job(random_next(&s->random)), count;
    struct spec spec;
    struct task *tasks;
    struct work *j;

    c->jobs_left--;
    choose_spec(c, &spec);
    spec.function = kind >> 60 > 12 ? "tree" : "f";
    count = choose_count(s);
    tasks = calloc(count + 1, sizeof(*tasks));
    assert(tasks != NULL);
    for (uint64_t i = 0; i < count; i++) {
        tasks[i] = (struct task){
            .input = kind | (random_next(&s->random) >> 32), .size = size, .outcome = NONE};
        if (!same)
            tasks[i].size = 8 + (uint32_t)random_below(&s->random, 200);
    }
    j = submitter_add(&c->submitter, spec_new(&spec), tasks, count, spec.singles ? 0 : count);
    if (spec.singles)
        sim_wake(&c->actor, s->now, WAKE_MORE | j->id << 8);
    if (c->jobs_left > 0)
        sim_wake(&c->actor, s->now + random_between(&s->random, 0, 2000000), WAKE_SUBMIT);
}

/* Some more tasks that are submitted one by one. */
static void
more(struct client_actor *c, uint64_t id)
{
    struct sim *s = c->actor.sim;
    struct work *j = submitter_find(&c->submitter, id);

    if (j == NULL || j->ready == j->count)
        return;
    j->ready += 1 + random_below(&s->random, 10);
    j->ready = j->ready < j->count ? j->ready : j->count;
    sim_wake(&c->actor, s->now + random_between(&s->random, 10, 3000), WAKE_MORE | id << 8);
}

static void
cancel(struct client_actor *c)
{
    struct random *r = &c->actor.sim->random;
    struct work *j = TAILQ_FIRST(&c->submitter.jobs);
    uint64_t first;

    if (j == NULL || j->count == 0 || !j->announced)
        return;
    first = random_below(r, j->count);
    submitter_cancel(&c->submitter, j, first, first + 1 + random_below(r, j->count - first));
}

static void
pump(struct client_actor *c)
{
    if (!c->submitter.welcome || c->done)
        return;
    submitter_pump(&c->submitter);
    if (c->jobs_left > 0 || !TAILQ_EMPTY(&c->submitter.jobs))
        return;
    c->done = true;
    c->actor.sim->clients_left--;
    sim_trace(c->actor.sim, "%s has all", c->actor.name);
    sim_disconnect(c->actor.sim, &c->actor);
}

static void
message(struct actor *a, const struct message *m)
{
    submitter_input(&of(a)->submitter, m);
    pump(of(a));
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static void
join(struct client_actor *c)
{
    if (c->actor.connection != NULL || c->done)
        return;
    sim_connect(c->actor.sim, &c->actor);
    submitter_hello(&c->submitter);
}

static void
lose_connection(struct client_actor *c, bool told)
{
    struct sim *s = c->actor.sim;

    if (told)
        sim_disconnect(s, &c->actor);
    else
        sim_vanish(s, &c->actor);
    submitter_gone(&c->submitter);
    sim_wake(&c->actor, s->now + random_between(&s->random, 1000, 3000000), WAKE_JOIN);
}

static void
trouble(struct client_actor *c)
{
    struct sim *s = c->actor.sim;

    if (sim_calm(s) || c->done)
        return;
    sim_wake(&c->actor, s->now + random_between(&s->random, 10000, 4000000), WAKE_TROUBLE);
    if (!c->submitter.welcome)
        return;
    switch (random_below(&s->random, 8)) {
    case 0:
        lose_connection(c, true);
        break;
    case 1:
        lose_connection(c, false);
        break;
    case 2:
        c->actor.asleep = s->now + random_between(&s->random, 1000, 10000000);
        break;
    case 3: /* for ever */
        c->done = true;
        s->clients_left--;
        sim_disconnect(s, &c->actor);
        break;
    default:
        cancel(c);
        break;
    }
}

static void
wake(struct actor *a, uint64_t what)
{
    struct client_actor *c = of(a);

    switch ((enum wake)(what & 0xff)) {
    case WAKE_JOIN:
        join(c);
        break;
    case WAKE_BEAT:
        sim_send(a, &(struct message){.type = MESSAGE_BEAT});
        if (!c->done)
            sim_wake(a, a->sim->now + BEAT_MS * 1000, WAKE_BEAT);
        break;
    case WAKE_SUBMIT:
        if (!c->done)
            submit(c);
        break;
    case WAKE_MORE:
        more(c, what >> 8);
        break;
    case WAKE_TROUBLE:
        trouble(c);
        break;
    }
    pump(c);
}

static void
closed(struct actor *a)
{
    lose_connection(of(a), true);
}

static void
destroy(struct actor *a)
{
    struct client_actor *c = of(a);

    submitter_free(&c->submitter);
    free(c);
}

static const struct actor_class class = {
    .message = message, .wake = wake, .closed = closed, .free = destroy};

struct actor *
client_actor_new(struct sim *s, unsigned number)
{
    struct client_actor *c = calloc(1, sizeof(*c));
    struct random *r = &s->random;

    assert(c != NULL);
    c->actor.class = &class;
    c->actor.sim = s;
    snprintf(c->actor.name, sizeof(c->actor.name), "c%u", number);
    c->jobs_left = 1 + (unsigned)random_below(r, 5);
    submitter_init(&c->submitter, &c->actor, 0);
    c->submitter.session[0] = (uint8_t)c->actor.name[1];
    c->submitter.session[3] = 1;
    c->submitter.result_window = (uint64_t)random_between(r, 500, 50000);
    sim_wake(&c->actor, s->now + random_between(r, 0, 100000), WAKE_JOIN);
    sim_wake(&c->actor, s->now + random_between(r, 0, BEAT_MS * 1000), WAKE_BEAT);
    sim_wake(&c->actor, s->now + random_between(r, 0, 1000000), WAKE_SUBMIT);
    sim_wake(&c->actor, s->now + random_between(r, 0, 2000000), WAKE_TROUBLE);
    return &c->actor;
}
