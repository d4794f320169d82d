#include "sim.h"

#include "../../proto/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NONE 0xff

enum wake { WAKE_JOIN, WAKE_BEAT, WAKE_SUBMIT, WAKE_MORE, WAKE_TROUBLE };

struct task {
    uint64_t input;
    uint32_t size;
    uint8_t outcome; /* NONE: it has none yet */
    bool cancelled;
};

struct work { /* a job */
    uint64_t id;
    struct spec *spec;
    struct task *tasks;
    uint64_t count, ready, sent, left;
    bool announced, end_sent;
    TAILQ_ENTRY(work) link;
};

struct client_actor {
    struct actor actor;
    bool welcome, done, gone;
    uint64_t window, under_way;              /* of inputs */
    uint64_t result_window, received, taken; /* of results */
    uint64_t next_job;
    unsigned jobs_left;
    uint8_t session;
    TAILQ_HEAD(, work) jobs;
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

/* ---- what it sends ------------------------------------------------------------------------------
 */

static void
send_inputs(struct client_actor *c, struct work *j, uint64_t count)
{
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = j->id, .first = j->sent}};
    uint32_t sizes[LIMIT_SIZES];
    size_t length = 0, at = 0;
    bool same = true;

    for (uint64_t i = 0; i < count; i++) {
        sizes[i] = j->tasks[j->sent + i].size;
        same = same && sizes[i] == sizes[0];
        length += sizes[i];
    }
    m.inputs.columns = (struct columns){.count = (uint32_t)count,
                                        .size = same ? sizes[0] : 0,
                                        .sizes = same ? NULL : sizes,
                                        .data = blob_new(length),
                                        .length = length};
    assert(m.inputs.columns.data != NULL);
    memset(m.inputs.columns.data->bytes, 0x5a, length);
    for (uint64_t i = 0; i < count; i++) {
        memcpy(m.inputs.columns.data->bytes + at, &j->tasks[j->sent + i].input, sizeof(uint64_t));
        at += sizes[i];
    }
    sim_send(&c->actor, &m);
    blob_unref(m.inputs.columns.data);
    c->under_way += length + count * TASK_COST;
    j->sent += count;
}

/* As many of the next tasks as the window and chance allow. */
static uint64_t
fit(const struct client_actor *c, const struct work *j)
{
    uint64_t most = 1 + random_below(&c->actor.sim->random, 300), count = 0, cost = 0;

    while (count < most && j->sent + count < j->ready &&
           j->tasks[j->sent + count].outcome == NONE) {
        cost += j->tasks[j->sent + count].size + TASK_COST;
        if (c->under_way + cost > c->window && (c->under_way > 0 || count > 0))
            break;
        count++;
    }
    return count;
}

static void
send_job(struct client_actor *c, struct work *j)
{
    uint64_t count;

    if (!j->announced)
        sim_send(&c->actor,
                 &(struct message){.type = MESSAGE_JOB, .job = {.job = j->id, .spec = j->spec}});
    j->announced = true;
    for (;;) {
        while (j->sent < j->ready && j->tasks[j->sent].outcome != NONE)
            j->sent++; /* it ended in a session before */
        if (j->sent == j->ready || (count = fit(c, j)) == 0)
            break;
        send_inputs(c, j, count);
    }
    if (j->sent == j->count && !j->end_sent) {
        j->end_sent = true;
        sim_send(&c->actor, &(struct message){.type = MESSAGE_JOB_END,
                                              .job_end = {.job = j->id, .total = j->count}});
    }
}

static void
free_work(struct client_actor *c, struct work *j)
{
    TAILQ_REMOVE(&c->jobs, j, link);
    spec_unref(j->spec);
    free(j->tasks);
    free(j);
}

static void
pump(struct client_actor *c)
{
    struct work *j, *next;

    if (!c->welcome || c->done)
        return;
    if (c->received - c->taken >= c->result_window / 4) {
        c->taken = c->received;
        sim_send(&c->actor, &(struct message){.type = MESSAGE_TAKEN, .taken = {.bytes = c->taken}});
    }
    for (j = TAILQ_FIRST(&c->jobs); j != NULL; j = next) {
        next = TAILQ_NEXT(j, link);
        send_job(c, j);
        if (j->left == 0 && j->end_sent)
            free_work(c, j);
    }
    if (c->jobs_left > 0 || !TAILQ_EMPTY(&c->jobs))
        return;
    c->done = true;
    c->actor.sim->clients_left--;
    sim_trace(c->actor.sim, "%s has all", c->actor.name);
    sim_disconnect(c->actor.sim, &c->actor);
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

    *spec = (struct spec){.program = {.name = "program", .machine = machines[random_below(r, 4)]},
                          .function = "f",
                          .name = "",
                          .needs = needs[random_below(r, 7)],
                          .priority = (int32_t)random_between(r, -1, 1),
                          .retries = (uint32_t)random_below(r, 4),
                          .cpus = random_chance(r, 80) ? 1 : 1 + (uint32_t)random_below(r, 4),
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

static void
submit(struct client_actor *c)
{
    struct sim *s = c->actor.sim;
    struct work *j = calloc(1, sizeof(*j));
    uint32_t size = 8 + (uint32_t)random_below(&s->random, 100);
    bool same = random_chance(&s->random, 50);
    uint64_t kind = random_next(&s->random) << 32;
    struct spec spec;

    assert(j != NULL);
    c->jobs_left--;
    choose_spec(c, &spec);
    j->id = ++c->next_job;
    j->spec = spec_new(&spec);
    j->count = j->left = random_below(&s->random, random_chance(&s->random, 20) ? 2000 : 100);
    j->tasks = calloc(j->count + 1, sizeof(*j->tasks));
    assert(j->spec != NULL && j->tasks != NULL);
    for (uint64_t i = 0; i < j->count; i++) {
        j->tasks[i] = (struct task){
            .input = kind | (random_next(&s->random) >> 32), .size = size, .outcome = NONE};
        if (!same)
            j->tasks[i].size = 8 + (uint32_t)random_below(&s->random, 200);
    }
    j->ready = spec.singles ? 0 : j->count;
    TAILQ_INSERT_TAIL(&c->jobs, j, link);
    sim_trace(s, "%s submits job %" PRIu64 " of %" PRIu64 " tasks", c->actor.name, j->id, j->count);
    if (spec.singles)
        sim_wake(&c->actor, s->now, WAKE_MORE | j->id << 8);
    if (c->jobs_left > 0)
        sim_wake(&c->actor, s->now + random_between(&s->random, 0, 2000000), WAKE_SUBMIT);
}

static struct work *
find(struct client_actor *c, uint64_t id)
{
    struct work *j;

    TAILQ_FOREACH (j, &c->jobs, link) {
        if (j->id == id)
            return j;
    }
    return NULL;
}

/* Some more tasks that are submitted one by one. */
static void
more(struct client_actor *c, uint64_t id)
{
    struct sim *s = c->actor.sim;
    struct work *j = find(c, id);

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
    struct work *j = TAILQ_FIRST(&c->jobs);
    uint64_t first, last;

    if (j == NULL || j->count == 0 || !j->announced)
        return;
    first = random_below(r, j->count);
    last = first + 1 + random_below(r, j->count - first);
    if (last > j->sent) /* those that were not sent are its own business */
        last = j->sent;
    if (first >= last)
        return;
    for (uint64_t i = first; i < last; i++)
        j->tasks[i].cancelled = true;
    sim_send(&c->actor,
             &(struct message){.type = MESSAGE_CANCEL,
                               .range = {.job = j->id, .first = first, .count = last - first}});
}

/* ---- what it gets -------------------------------------------------------------------------------
 */

static bool
may_be_rejected(const struct client_actor *c, const struct spec *spec)
{
    struct actor *a;

    TAILQ_FOREACH (a, &c->actor.sim->actors, link) {
        if (a->name[0] == 'w' && !program_starts(c->actor.sim, a, spec->program.digest))
            return true;
    }
    return spec->fail_if_unknown;
}

static bool
plausible(const struct client_actor *c, const struct work *j, const struct task *t, enum outcome o,
          uint32_t attempt)
{
    const struct spec *spec = j->spec;
    enum fate fate = fate_of(c->actor.sim, t->input);

    switch (o) {
    case OUTCOME_DONE:
        return fate == FATE_DONE || (fate == FATE_CRASHES_ONCE && attempt > 1);
    case OUTCOME_FAILED:
        return fate == FATE_FAILS && (!spec->retry_failed || spec->once || attempt > spec->retries);
    case OUTCOME_CRASHED:
        return (fate == FATE_CRASHES && (spec->once || attempt > spec->retries)) ||
               (fate == FATE_CRASHES_ONCE && (spec->once || spec->retries == 0));
    case OUTCOME_CANCELLED:
        return t->cancelled;
    case OUTCOME_TIMED_OUT:
        return spec->deadline_ms > 0;
    case OUTCOME_LOST:
        return spec->once || attempt >= 10;
    case OUTCOME_REJECTED:
        return may_be_rejected(c, spec);
    default:
        return false;
    }
}

static void
end(struct client_actor *c, struct work *j, uint64_t index, enum outcome o, uint32_t attempt)
{
    struct task *t = &j->tasks[index];

    if (index >= j->sent)
        sim_fail(c->actor.sim, "%s got an outcome of a task it did not send", c->actor.name);
    if (t->outcome != NONE)
        sim_fail(c->actor.sim, "%s: task %" PRIu64 " of job %" PRIu64 " ended twice", c->actor.name,
                 index, j->id);
    if (!plausible(c, j, t, o, attempt))
        sim_fail(c->actor.sim,
                 "%s: task %" PRIu64 " of job %" PRIu64 " cannot have ended %s in attempt %u",
                 c->actor.name, index, j->id, outcome_name(o), attempt);
    t->outcome = (uint8_t)o;
    j->left--;
    c->under_way -= t->size + TASK_COST;
}

static void
results(struct client_actor *c, const struct message_results *m)
{
    struct work *j = find(c, m->job);
    const uint8_t *item = m->columns.data->bytes + m->columns.at;

    if (c->received - c->taken >= c->result_window)
        sim_fail(c->actor.sim, "the window of %s is overrun", c->actor.name);
    c->received += m->columns.length + (uint64_t)m->columns.count * TASK_COST;
    if (j == NULL || m->first + m->columns.count > j->count)
        sim_fail(c->actor.sim, "%s got results of no task of its", c->actor.name);
    for (uint32_t i = 0; i < m->columns.count; i++) {
        enum outcome o =
            m->columns.outcomes == NULL ? OUTCOME_DONE : (enum outcome)m->columns.outcomes[i];
        uint64_t value;

        memcpy(&value, item + i * sizeof(value), sizeof(value));
        if (o == OUTCOME_DONE && value != TASK_VALUE(j->tasks[m->first + i].input))
            sim_fail(c->actor.sim, "%s got a wrong result", c->actor.name);
        end(c, j, m->first + i, o, m->attempt);
    }
}

static void
ended(struct client_actor *c, const struct message_ended *m)
{
    struct work *j = find(c, m->job);

    if (j == NULL || m->first + m->count > j->count)
        sim_fail(c->actor.sim, "%s was told the end of no task of its", c->actor.name);
    for (uint64_t i = m->first; i < m->first + m->count; i++)
        end(c, j, i, m->outcome, m->attempt);
}

static void
program_wanted(struct client_actor *c, const struct message_program_wanted *m)
{
    struct blob *data = blob_copy("program", 7);
    struct message answer = {
        .type = MESSAGE_PROGRAM_PART,
        .program_part = {
            .digest = m->digest, .offset = m->offset, .text = "", .columns = {.count = 1}}};

    assert(data != NULL);
    if (random_chance(&c->actor.sim->random, 70)) {
        answer.program_part.size = 7;
        answer.program_part.columns =
            (struct columns){.count = 1, .size = 7, .data = data, .length = 7};
    }
    sim_send(&c->actor, &answer);
    blob_unref(data);
}

static void
message(struct actor *a, const struct message *m)
{
    struct client_actor *c = of(a);

    switch (m->type) {
    case MESSAGE_WELCOME:
        c->welcome = true;
        c->window = m->welcome.window;
        break;
    case MESSAGE_RESULTS:
        results(c, &m->results);
        break;
    case MESSAGE_ENDED:
        ended(c, &m->ended);
        break;
    case MESSAGE_PROGRAM_WANTED:
        program_wanted(c, &m->program_wanted);
        break;
    case MESSAGE_REFUSED:
        sim_fail(a->sim, "%s was refused: %s", a->name, m->text);
    case MESSAGE_ACCEPTED:
    case MESSAGE_NOTICE:
    case MESSAGE_GRID:
    case MESSAGE_RUNNING:
    case MESSAGE_PROGRESS:
    case MESSAGE_BEAT:
    case MESSAGE_BYE:
        break;
    default:
        sim_fail(a->sim, "%s got a %s", a->name, message_name(m->type));
    }
    pump(c);
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static void
join(struct client_actor *c)
{
    struct message m = {.type = MESSAGE_HELLO};
    struct work *j;

    if (c->actor.connection != NULL || c->done)
        return;
    sim_connect(c->actor.sim, &c->actor);
    c->received = c->taken = c->under_way = 0;
    TAILQ_FOREACH (j, &c->jobs, link) {
        j->announced = j->end_sent = false;
        j->sent = 0;
    }
    m.hello = (struct message_hello){.role = ROLE_CLIENT,
                                     .protocol = LADLE_PROTOCOL,
                                     .software = "sim",
                                     .name = c->actor.name,
                                     .host = "sim",
                                     .machine = "",
                                     .labels = "",
                                     .window = c->result_window};
    m.hello.session[0] = (uint8_t)c->actor.name[1];
    m.hello.session[1] = c->session;
    m.hello.session[3] = 1;
    sim_send(&c->actor, &m);
}

static void
lose_connection(struct client_actor *c, bool told)
{
    struct sim *s = c->actor.sim;

    if (told)
        sim_disconnect(s, &c->actor);
    else
        sim_vanish(s, &c->actor);
    c->welcome = false;
    sim_wake(&c->actor, s->now + random_between(&s->random, 1000, 3000000), WAKE_JOIN);
}

static void
trouble(struct client_actor *c)
{
    struct sim *s = c->actor.sim;

    if (sim_calm(s) || c->done)
        return;
    sim_wake(&c->actor, s->now + random_between(&s->random, 10000, 4000000), WAKE_TROUBLE);
    if (!c->welcome)
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

    while (!TAILQ_EMPTY(&c->jobs))
        free_work(c, TAILQ_FIRST(&c->jobs));
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
    c->result_window = (uint64_t)random_between(r, 500, 50000);
    TAILQ_INIT(&c->jobs);
    sim_wake(&c->actor, s->now + random_between(r, 0, 100000), WAKE_JOIN);
    sim_wake(&c->actor, s->now + random_between(r, 0, BEAT_MS * 1000), WAKE_BEAT);
    sim_wake(&c->actor, s->now + random_between(r, 0, 1000000), WAKE_SUBMIT);
    sim_wake(&c->actor, s->now + random_between(r, 0, 2000000), WAKE_TROUBLE);
    return &c->actor;
}
