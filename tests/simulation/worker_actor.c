#include "nest.h"

#include "../../broker/needs.h"
#include "../../proto/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
    struct known *k = work_job(w, m->job);
    struct held *h;
    unsigned fresh;

    if (k == NULL)
        sim_fail(s, "%s was given a slice of a job it does not know", w->actor.name);
    if (work_lease(w, m->lease) != NULL)
        sim_fail(s, "lease %" PRIu64 " was given twice", m->lease);
    if (k->spec->once && (m->attempt != 1 || m->columns.count != 1))
        sim_fail(s, "a task that may run once is in lease %" PRIu64, m->lease);
    check_fit(w, k->spec);
    h = hold(w, m, k);
    if (work_fresh_bytes(w, &fresh) > w->window && fresh > 1)
        sim_fail(s, "the window of %s is overrun", w->actor.name);
    if (!program_starts(s, &w->actor, k->spec->program.digest)) {
        if (random_chance(&s->random, 70))
            sim_send(&w->actor,
                     &(struct message){.type = MESSAGE_PROGRAM_FAILED,
                                       .program_failed = {.digest = k->spec->program.digest,
                                                          .text = "libthing.so: cannot open"}});
        work_give_back(w, h, 0, h->count, RETURNED_PROGRAM);
    } else if (w->draining) {
        work_give_back(w, h, 0, h->count, RETURNED_DRAIN);
    }
    work_start(w);
}

static void
revoked(struct worker_actor *w, const struct message_revoke *m)
{
    struct held *h = work_lease(w, m->lease);
    uint32_t to, from, left = m->count;

    if (h == NULL) {
        work_returned(w, m->lease, 0, 0, RETURNED_REVOKED);
        return;
    }
    /* Usually from the end; sometimes another part of what has not started. */
    to = random_chance(&w->actor.sim->random, 70)
             ? h->count
             : 1 + (uint32_t)random_below(&w->actor.sim->random, h->count);
    for (from = to; from > 0 && left > 0; from--)
        left -= h->states[from - 1] == UNSTARTED;
    if (work_give_back(w, h, from, to, RETURNED_REVOKED) == 0)
        work_returned(w, m->lease, h->first, 0, RETURNED_REVOKED);
    work_start(w);
}

static void
cancelled(struct worker_actor *w, const struct message_range *m)
{
    struct random *r = &w->actor.sim->random;
    uint8_t outcome = OUTCOME_CANCELLED;
    struct held *h;

    TAILQ_FOREACH (h, &w->leases, link) {
        for (uint32_t i = 0; i < h->count; i++) {
            uint64_t index = h->first + i;

            if (h->job != m->job || h->states[i] == OVER || index < m->first ||
                index - m->first >= m->count)
                continue;
            if (h->states[i] == STARTED && random_chance(r, 50)) {
                h->costs[i] = 0; /* it runs to its end, but does not count any more */
                continue;
            }
            if (h->states[i] != STARTED && random_chance(r, 50))
                work_results(w, h, i, 1, &outcome, 0);
            work_over(w, h, i);
        }
    }
    work_start(w);
}

static void
job_ended(struct worker_actor *w, uint64_t job)
{
    struct known *k = work_job(w, job);
    struct held *h, *next;

    if (k == NULL)
        sim_fail(w->actor.sim, "%s was told the end of a job it does not know", w->actor.name);
    for (h = TAILQ_FIRST(&w->leases); h != NULL; h = next) {
        next = TAILQ_NEXT(h, link);
        if (h->job != job)
            continue;
        for (uint32_t i = 0; i < h->count; i++) {
            if (h->states[i] != OVER)
                work_over(w, h, i);
        }
        work_drop(w, h);
    }
    work_forget(w, k);
    work_start(w);
}

static void
introduced(struct worker_actor *w, const struct message_job *m)
{
    struct known *k = calloc(1, sizeof(*k));

    assert(k != NULL);
    if (work_job(w, m->job) != NULL)
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

    if (m->client != 0) {
        nest_input(w, m);
        return;
    }
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
    work_reset(w);
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
    work_reset(w);
    sim_wake(&w->actor, s->now + random_between(&s->random, 1000, 12000000), WAKE_JOIN);
}

static void
drain(struct worker_actor *w)
{
    struct held *h;

    w->draining = true;
    sim_send(&w->actor, &(struct message){.type = MESSAGE_DRAINING, .text = "asked to"});
    TAILQ_FOREACH (h, &w->leases, link) {
        work_give_back(w, h, 0, h->count, RETURNED_DRAIN);
    }
    work_start(w);
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
    switch (random_below(r, 6)) {
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
        nest_trouble(w);
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

    switch ((enum worker_wake)(what & 0xff)) {
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
        work_finish(w, what >> 8);
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
    work_reset(of(a));
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
    w->slots = able ? (s->narrow ? 1 : 8) : 1 + (uint32_t)random_below(r, 8);
    w->window = (uint64_t)random_between(r, 500, 50000);
    w->machine = able ? machines[number % 2] : machines[random_below(r, 4) == 0];
    w->labels = able ? "gpu=1,zone=a,zone=b,big" : labels[random_below(r, 5)];
    TAILQ_INIT(&w->jobs);
    TAILQ_INIT(&w->leases);
    TAILQ_INIT(&w->pieces);
    TAILQ_INIT(&w->executors);
    TAILQ_INIT(&w->families);
    sim_wake(&w->actor, able ? s->calm : s->now + random_between(r, 0, 100000), WAKE_JOIN);
    sim_wake(&w->actor, s->now + random_between(r, 0, BEAT_MS * 1000), WAKE_BEAT);
    if (!able && random_chance(r, 70))
        sim_wake(&w->actor, s->now + random_between(r, 0, 3000000), WAKE_TROUBLE);
    return &w->actor;
}
