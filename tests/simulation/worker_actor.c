#include "sim.h"

#include "../../broker/needs.h"
#include "../../proto/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_SHOWN 64 /* of a piece whose results go in one message, at most */

enum wake { WAKE_JOIN, WAKE_BEAT, WAKE_TROUBLE, WAKE_PIECE };
enum state { UNSTARTED, STARTED, OVER };

struct known { /* a job that was introduced */
    uint64_t job;
    struct spec *spec;
    TAILQ_ENTRY(known) link;
};

struct held { /* a lease */
    uint64_t id, job, first;
    uint32_t count, attempt, left;
    struct spec *spec;
    uint64_t *inputs;
    uint32_t *costs; /* in the window */
    uint8_t *states;
    TAILQ_ENTRY(held) link;
};

struct piece { /* what one slot is working on */
    uint64_t id;
    struct held *held;
    uint32_t from, count;
    TAILQ_ENTRY(piece) link;
};

struct worker_actor {
    struct actor actor;
    bool able, joined, draining, beating;
    uint32_t slots, busy;
    uint64_t window, bytes;
    const char *machine;
    const char *labels;
    uint8_t session;
    uint64_t next_piece;
    TAILQ_HEAD(, known) jobs;
    TAILQ_HEAD(, held) leases;
    TAILQ_HEAD(, piece) pieces;
};

static struct worker_actor *
of(struct actor *a)
{
    return (struct worker_actor *)a;
}

bool
program_starts(const struct sim *s, const struct actor *worker, const char *digest)
{
    const struct worker_actor *w = (const struct worker_actor *)worker;
    uint64_t hash = s->seed;

    for (const char *c = digest; *c != '\0'; c++)
        hash = mix(hash, (uint64_t)*c);
    return w->able || mix(hash, mix(0, (uint64_t)worker->name[1])) % 100 >= 15;
}

/* ---- what it holds ------------------------------------------------------------------------------
 */

static void
drop_held(struct worker_actor *w, struct held *h)
{
    struct piece *p, *next;

    for (p = TAILQ_FIRST(&w->pieces); p != NULL; p = next) {
        next = TAILQ_NEXT(p, link);
        if (p->held != h)
            continue;
        w->busy -= h->spec->cpus;
        TAILQ_REMOVE(&w->pieces, p, link);
        free(p);
    }
    TAILQ_REMOVE(&w->leases, h, link);
    spec_unref(h->spec);
    free(h->inputs);
    free(h->costs);
    free(h->states);
    free(h);
}

static void
over(struct worker_actor *w, struct held *h, uint32_t i)
{
    assert(h->states[i] != OVER);
    h->states[i] = OVER;
    h->left--;
    w->bytes -= h->costs[i];
}

static void
forget_job(struct worker_actor *w, struct known *k)
{
    TAILQ_REMOVE(&w->jobs, k, link);
    spec_unref(k->spec);
    free(k);
}

static void
reset(struct worker_actor *w)
{
    while (!TAILQ_EMPTY(&w->leases))
        drop_held(w, TAILQ_FIRST(&w->leases));
    while (!TAILQ_EMPTY(&w->jobs))
        forget_job(w, TAILQ_FIRST(&w->jobs));
    w->bytes = 0;
    w->joined = w->draining = false;
    assert(w->busy == 0);
}

static struct known *
find_job(struct worker_actor *w, uint64_t job)
{
    struct known *k;

    TAILQ_FOREACH(k, &w->jobs, link) {
        if (k->job == job)
            return k;
    }
    return NULL;
}

static struct held *
find_lease(struct worker_actor *w, uint64_t id)
{
    struct held *h;

    TAILQ_FOREACH(h, &w->leases, link) {
        if (h->id == id)
            return h;
    }
    return NULL;
}

/* ---- sending ------------------------------------------------------------------------------------
 */

static void
send_results(struct worker_actor *w, const struct held *h, uint32_t from, uint32_t count,
             const uint8_t *outcomes, uint64_t run_us)
{
    struct message m = {.type = MESSAGE_RESULTS,
                        .results = {.job = h->job,
                                    .lease = h->id,
                                    .first = h->first + from,
                                    .attempt = h->attempt,
                                    .worker = "",
                                    .run_us = run_us}};
    struct blob *data = blob_new(count * sizeof(uint64_t));
    bool all_done = true;

    assert(data != NULL);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t value = TASK_VALUE(h->inputs[from + i]);

        memcpy(data->bytes + i * sizeof(value), &value, sizeof(value));
        all_done = all_done && outcomes[i] == OUTCOME_DONE;
    }
    m.results.columns = (struct columns){.count = count,
                                         .size = sizeof(uint64_t),
                                         .outcomes = all_done ? NULL : outcomes,
                                         .data = data,
                                         .length = count * sizeof(uint64_t)};
    sim_send(&w->actor, &m);
    blob_unref(data);
}

static void
send_returned(struct worker_actor *w, uint64_t lease, uint64_t first, uint32_t count,
              enum returned why)
{
    sim_send(&w->actor,
             &(struct message){
                 .type = MESSAGE_RETURNED,
                 .returned = {.lease = lease, .first = first, .count = count, .why = why}});
}

/* Gives back tasks [from, to) as far as they have not started. */
static uint32_t
give_back(struct worker_actor *w, struct held *h, uint32_t from, uint32_t to, enum returned why)
{
    uint32_t given = 0;

    while (from < to) {
        uint32_t end = from;

        while (end < to && h->states[end] == UNSTARTED)
            over(w, h, end++);
        if (end > from)
            send_returned(w, h->id, h->first + from, end - from, why);
        given += end - from;
        from = end + 1;
    }
    return given;
}

/* ---- running ------------------------------------------------------------------------------------
 */

static void
say_something(struct worker_actor *w, const struct held *h, uint32_t i)
{
    struct random *r = &w->actor.sim->random;
    struct message m = {.type = MESSAGE_RUNNING,
                        .running = {.job = h->job,
                                    .lease = h->id,
                                    .index = h->first + i,
                                    .attempt = h->attempt,
                                    .worker = ""}};

    if (!random_chance(r, 5))
        return;
    sim_send(&w->actor, &m);
    m = (struct message){.type = MESSAGE_PROGRESS,
                         .progress = {.job = h->job,
                                      .lease = h->id,
                                      .index = h->first + i,
                                      .done = 1,
                                      .total = 2}};
    sim_send(&w->actor, &m);
}

static bool
start_piece(struct worker_actor *w, struct held *h)
{
    struct sim *s = w->actor.sim;
    uint32_t from = 0, most, count = 0;
    struct piece *p;
    int64_t time = 0;

    while (from < h->count && h->states[from] != UNSTARTED)
        from++;
    if (from == h->count)
        return false;
    most = 1 + (uint32_t)random_below(&s->random, TASKS_SHOWN);
    while (count < most && from + count < h->count && h->states[from + count] == UNSTARTED) {
        time += time_of(s, h->inputs[from + count]);
        h->states[from + count++] = STARTED;
    }
    p = calloc(1, sizeof(*p));
    assert(p != NULL);
    *p = (struct piece){.id = ++w->next_piece, .held = h, .from = from, .count = count};
    TAILQ_INSERT_TAIL(&w->pieces, p, link);
    w->busy += h->spec->cpus;
    say_something(w, h, from);
    sim_wake(&w->actor, s->now + time, WAKE_PIECE | p->id << 8);
    return true;
}

static void
start(struct worker_actor *w)
{
    struct held *h, *next;

    for (h = TAILQ_FIRST(&w->leases); h != NULL; h = next) {
        next = TAILQ_NEXT(h, link);
        if (h->left == 0) {
            drop_held(w, h);
            continue;
        }
        /* In turn: one that needs several slots waits for them, and nobody overtakes it. */
        while (w->busy + h->spec->cpus <= w->slots && start_piece(w, h))
            continue;
        if (w->busy + h->spec->cpus > w->slots)
            break;
    }
}

static enum outcome
run(struct sim *s, const struct held *h, uint32_t i)
{
    switch (fate_of(s, h->inputs[i])) {
    case FATE_FAILS:
        return OUTCOME_FAILED;
    case FATE_CRASHES:
        return OUTCOME_CRASHED;
    case FATE_CRASHES_ONCE:
        return h->attempt == 1 ? OUTCOME_CRASHED : OUTCOME_DONE;
    default:
        return OUTCOME_DONE;
    }
}

/* Results go in one message or in two, the second part first perhaps, and perhaps twice. */
static void
report(struct worker_actor *w, const struct held *h, uint32_t from, uint32_t count,
       const uint8_t *outcomes)
{
    struct random *r = &w->actor.sim->random;
    uint32_t half = count > 1 ? (uint32_t)random_below(r, count) : 0;
    uint64_t time = 0;
    bool twice = random_chance(r, 5);

    for (uint32_t i = from; i < from + count; i++)
        time += (uint64_t)time_of(w->actor.sim, h->inputs[i]);
    if (half == 0) {
        send_results(w, h, from, count, outcomes, time);
    } else if (random_chance(r, 50)) {
        send_results(w, h, from + half, count - half, outcomes + half, time / 2);
        send_results(w, h, from, half, outcomes, time / 2);
    } else {
        send_results(w, h, from, half, outcomes, time / 2);
        send_results(w, h, from + half, count - half, outcomes + half, time / 2);
    }
    if (twice && half == 0 && outcomes[0] == OUTCOME_DONE)
        send_results(w, h, from, 1, outcomes, 0);
}

static void
finish_piece(struct worker_actor *w, uint64_t id)
{
    uint8_t outcomes[TASKS_SHOWN];
    struct piece *p;
    struct held *h;
    uint32_t from, count = 0;

    TAILQ_FOREACH(p, &w->pieces, link) {
        if (p->id == id)
            break;
    }
    if (p == NULL) /* of a life before */
        return;
    h = p->held;
    from = p->from;
    for (; count < p->count; count++) {
        if (h->states[from + count] == OVER) { /* cancelled */
            outcomes[count] = OUTCOME_CANCELLED;
            continue;
        }
        outcomes[count] = (uint8_t)run(w->actor.sim, h, from + count);
        over(w, h, from + count);
        if (outcomes[count] == OUTCOME_CRASHED) { /* with it its executor; others start anew */
            count++;
            break;
        }
    }
    for (uint32_t i = from + count; i < from + p->count; i++) {
        if (h->states[i] == STARTED)
            h->states[i] = UNSTARTED;
    }
    report(w, h, from, count, outcomes);
    w->busy -= h->spec->cpus;
    TAILQ_REMOVE(&w->pieces, p, link);
    free(p);
    if (w->draining)
        give_back(w, h, 0, h->count, RETURNED_DRAIN);
    start(w);
}

/* ---- what the broker says -----------------------------------------------------------------------
 */

static void
check_fit(struct worker_actor *w, const struct spec *spec)
{
    struct labels *have = labels_new(w->labels), *need = labels_new(spec->needs);

    if (labels_missing(have, need) != NULL)
        sim_fail(w->actor.sim, "%s (%s) was given a task that needs %s", w->actor.name, w->labels,
                 spec->needs);
    if (spec->program.machine[0] != '\0' && strcmp(spec->program.machine, w->machine) != 0)
        sim_fail(w->actor.sim, "%s was given a program for another machine", w->actor.name);
    if (spec->cpus > w->slots)
        sim_fail(w->actor.sim, "%s was given a task of %u slots", w->actor.name, spec->cpus);
    labels_free(have);
    labels_free(need);
}

static struct held *
hold(struct worker_actor *w, const struct message_slice *m, const struct known *k)
{
    struct held *h = calloc(1, sizeof(*h));
    size_t at = m->columns.at;

    assert(h != NULL);
    *h = (struct held){.id = m->lease,
                       .job = m->job,
                       .first = m->first,
                       .count = m->columns.count,
                       .left = m->columns.count,
                       .attempt = m->attempt,
                       .spec = spec_ref(k->spec),
                       .inputs = calloc(m->columns.count, sizeof(uint64_t)),
                       .costs = calloc(m->columns.count, sizeof(uint32_t)),
                       .states = calloc(m->columns.count, 1)};
    assert(h->inputs != NULL && h->costs != NULL && h->states != NULL);
    for (uint32_t i = 0; i < h->count; i++) {
        uint32_t size = m->columns.sizes != NULL ? m->columns.sizes[i] : m->columns.size;

        memcpy(&h->inputs[i], m->columns.data->bytes + at, sizeof(uint64_t));
        h->costs[i] = size + TASK_COST;
        w->bytes += h->costs[i];
        at += size;
    }
    if (at != m->columns.at + m->columns.length)
        sim_fail(w->actor.sim, "the sizes of slice %" PRIu64 " are not its length", m->lease);
    TAILQ_INSERT_TAIL(&w->leases, h, link);
    return h;
}

static void
take_slice(struct worker_actor *w, const struct message_slice *m)
{
    struct sim *s = w->actor.sim;
    struct known *k = find_job(w, m->job);
    struct held *h;

    if (k == NULL)
        sim_fail(s, "%s was given a slice of a job it does not know", w->actor.name);
    if (find_lease(w, m->lease) != NULL)
        sim_fail(s, "lease %" PRIu64 " was given twice", m->lease);
    if (k->spec->once && (m->attempt != 1 || m->columns.count != 1))
        sim_fail(s, "a task that may run once is in lease %" PRIu64, m->lease);
    check_fit(w, k->spec);
    h = hold(w, m, k);
    if (w->bytes > w->window && TAILQ_FIRST(&w->leases) != h)
        sim_fail(s, "the window of %s is overrun", w->actor.name);
    if (!program_starts(s, &w->actor, k->spec->program.digest)) {
        if (random_chance(&s->random, 70))
            sim_send(&w->actor, &(struct message){.type = MESSAGE_PROGRAM_FAILED,
                                                  .program_failed = {
                                                      .digest = k->spec->program.digest,
                                                      .text = "libthing.so: cannot open"}});
        give_back(w, h, 0, h->count, RETURNED_PROGRAM);
    } else if (w->draining) {
        give_back(w, h, 0, h->count, RETURNED_DRAIN);
    }
    start(w);
}

static void
revoked(struct worker_actor *w, const struct message_revoke *m)
{
    struct held *h = find_lease(w, m->lease);
    uint32_t to, from, left = m->count;

    if (h == NULL) {
        send_returned(w, m->lease, 0, 0, RETURNED_REVOKED);
        return;
    }
    /* Usually from the end; sometimes another part of what has not started. */
    to = random_chance(&w->actor.sim->random, 70)
             ? h->count
             : 1 + (uint32_t)random_below(&w->actor.sim->random, h->count);
    for (from = to; from > 0 && left > 0; from--)
        left -= h->states[from - 1] == UNSTARTED;
    if (give_back(w, h, from, to, RETURNED_REVOKED) == 0)
        send_returned(w, m->lease, h->first, 0, RETURNED_REVOKED);
    start(w);
}

static void
cancelled(struct worker_actor *w, const struct message_range *m)
{
    struct random *r = &w->actor.sim->random;
    uint8_t outcome = OUTCOME_CANCELLED;
    struct held *h;

    TAILQ_FOREACH(h, &w->leases, link) {
        for (uint32_t i = 0; i < h->count; i++) {
            uint64_t index = h->first + i;

            if (h->job != m->job || h->states[i] == OVER || index < m->first ||
                index - m->first >= m->count)
                continue;
            if (h->states[i] == STARTED && random_chance(r, 50)) {
                w->bytes -= h->costs[i]; /* it runs to its end, but does not count any more */
                h->costs[i] = 0;
                continue;
            }
            if (h->states[i] == UNSTARTED && random_chance(r, 50))
                send_results(w, h, i, 1, &outcome, 0);
            over(w, h, i);
        }
    }
    start(w);
}

static void
job_ended(struct worker_actor *w, uint64_t job)
{
    struct known *k = find_job(w, job);
    struct held *h, *next;

    if (k == NULL)
        sim_fail(w->actor.sim, "%s was told the end of a job it does not know", w->actor.name);
    for (h = TAILQ_FIRST(&w->leases); h != NULL; h = next) {
        next = TAILQ_NEXT(h, link);
        if (h->job != job)
            continue;
        for (uint32_t i = 0; i < h->count; i++) {
            if (h->states[i] != OVER)
                over(w, h, i);
        }
        drop_held(w, h);
    }
    forget_job(w, k);
    start(w);
}

static void
introduced(struct worker_actor *w, const struct message_job *m)
{
    struct known *k = calloc(1, sizeof(*k));

    assert(k != NULL);
    if (find_job(w, m->job) != NULL)
        sim_fail(w->actor.sim, "%s was told of a job twice", w->actor.name);
    k->job = m->job;
    k->spec = spec_ref(m->spec);
    TAILQ_INSERT_TAIL(&w->jobs, k, link);
    if (random_chance(&w->actor.sim->random, 30))
        sim_send(&w->actor, &(struct message){.type = MESSAGE_PROGRAM_WANTED,
                                              .program_wanted = {.digest = m->spec->program.digest,
                                                                 .offset = 0}});
}

static void
message(struct actor *a, const struct message *m)
{
    struct worker_actor *w = of(a);

    switch (m->type) {
    case MESSAGE_WELCOME:
        w->joined = true;
        break;
    case MESSAGE_JOB:
        introduced(w, &m->job);
        break;
    case MESSAGE_SLICE:
        take_slice(w, &m->slice);
        break;
    case MESSAGE_REVOKE:
        revoked(w, &m->revoke);
        break;
    case MESSAGE_CANCEL:
        cancelled(w, &m->range);
        break;
    case MESSAGE_JOB_END:
        job_ended(w, m->job_end.job);
        break;
    case MESSAGE_REFUSED:
        sim_fail(a->sim, "%s was refused: %s", a->name, m->text);
    case MESSAGE_BEAT:
    case MESSAGE_BYE:
    case MESSAGE_PROGRAM_PART:
        break;
    default:
        sim_fail(a->sim, "%s got a %s", a->name, message_name(m->type));
    }
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static void
join(struct worker_actor *w)
{
    struct message m = {.type = MESSAGE_HELLO};

    if (w->actor.connection != NULL)
        return;
    reset(w);
    sim_connect(w->actor.sim, &w->actor);
    if (random_chance(&w->actor.sim->random, 50))
        w->session++;
    m.hello = (struct message_hello){.role = ROLE_WORKER,
                                     .protocol = LADLE_PROTOCOL,
                                     .software = "sim",
                                     .name = w->actor.name,
                                     .host = "sim",
                                     .window = w->window,
                                     .slots = w->slots,
                                     .machine = w->machine,
                                     .labels = w->labels};
    m.hello.session[0] = (uint8_t)w->actor.name[1];
    m.hello.session[1] = w->session;
    m.hello.session[2] = 1;
    sim_send(&w->actor, &m);
}

static void
leave(struct worker_actor *w, bool told)
{
    struct sim *s = w->actor.sim;

    if (told)
        sim_disconnect(s, &w->actor);
    else
        sim_vanish(s, &w->actor);
    reset(w);
    sim_wake(&w->actor, s->now + random_between(&s->random, 1000, 12000000), WAKE_JOIN);
}

static void
drain(struct worker_actor *w)
{
    struct held *h;

    w->draining = true;
    sim_send(&w->actor, &(struct message){.type = MESSAGE_DRAINING, .text = "asked to"});
    TAILQ_FOREACH(h, &w->leases, link) {
        give_back(w, h, 0, h->count, RETURNED_DRAIN);
    }
    start(w);
}

static void
trouble(struct worker_actor *w)
{
    struct sim *s = w->actor.sim;
    struct random *r = &s->random;

    if (sim_calm(s))
        return;
    sim_wake(&w->actor, s->now + random_between(r, 10000, 5000000), WAKE_TROUBLE);
    if (w->actor.connection == NULL)
        return;
    switch (random_below(r, 5)) {
    case 0:
        leave(w, true);
        break;
    case 1:
        leave(w, false);
        break;
    case 2:
        w->actor.asleep = s->now + random_between(r, 1000, 15000000);
        sim_trace(s, "%s hangs until %" PRId64, w->actor.name, w->actor.asleep);
        break;
    case 3:
        if (w->joined && !w->draining)
            drain(w);
        break;
    default:
        break;
    }
}

static void
beat(struct worker_actor *w)
{
    struct sim *s = w->actor.sim;

    sim_send(&w->actor, &(struct message){.type = MESSAGE_BEAT});
    sim_wake(&w->actor, s->now + BEAT_MS * 1000, WAKE_BEAT);
    if (w->draining && TAILQ_EMPTY(&w->leases)) /* it has nothing more to do here */
        leave(w, true);
}

static void
wake(struct actor *a, uint64_t what)
{
    struct worker_actor *w = of(a);

    switch ((enum wake)(what & 0xff)) {
    case WAKE_JOIN:
        join(w);
        break;
    case WAKE_BEAT:
        beat(w);
        break;
    case WAKE_TROUBLE:
        trouble(w);
        break;
    case WAKE_PIECE:
        finish_piece(w, what >> 8);
        break;
    }
}

static void
closed(struct actor *a)
{
    leave(of(a), true);
}

static void
destroy(struct actor *a)
{
    reset(of(a));
    free(a);
}

static const struct actor_class class = {
    .message = message, .wake = wake, .closed = closed, .free = destroy};

struct actor *
worker_actor_new(struct sim *s, unsigned number, bool able)
{
    static const char *const labels[] = {"", "gpu=1", "zone=a", "zone=b,gpu=1", "zone=b, big"};
    static const char *const machines[] = {"x86_64", "aarch64"};
    struct worker_actor *w = calloc(1, sizeof(*w));
    struct random *r = &s->random;

    assert(w != NULL);
    w->actor.class = &class;
    w->actor.sim = s;
    snprintf(w->actor.name, sizeof(w->actor.name), "w%u", number);
    w->able = able;
    w->slots = able ? 8 : 1 + (uint32_t)random_below(r, 8);
    w->window = (uint64_t)random_between(r, 500, 50000);
    w->machine = able ? machines[number % 2] : machines[random_below(r, 4) == 0];
    w->labels = able ? "gpu=1,zone=a,zone=b,big" : labels[random_below(r, 5)];
    TAILQ_INIT(&w->jobs);
    TAILQ_INIT(&w->leases);
    TAILQ_INIT(&w->pieces);
    sim_wake(&w->actor, able ? s->calm : s->now + random_between(r, 0, 100000), WAKE_JOIN);
    sim_wake(&w->actor, s->now + random_between(r, 0, BEAT_MS * 1000), WAKE_BEAT);
    if (!able && random_chance(r, 70))
        sim_wake(&w->actor, s->now + random_between(r, 0, 3000000), WAKE_TROUBLE);
    return &w->actor;
}
