#include "nest.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- trees --------------------------------------------------------------------------------------
 *
 * An input says how many generations follow: its upper four bits from 12 on. Of the tasks that a
 * client submits some have children, and all of theirs do, until the generations are over.
 */

#define INNER (1ull << 59) /* it is somebody's child */

uint64_t
kind_of_job(uint64_t chance)
{
    return chance << 32 & ~INNER;
}

static uint64_t
generations(uint64_t input)
{
    return input >> 60 > 12 ? (input >> 60) - 12 : 0;
}

uint32_t
children_of(uint64_t input)
{
    if (generations(input) == 0 || ((input & INNER) == 0 && mix(input, 9) % 8 != 0))
        return 0;
    return 1 + (uint32_t)(mix(input, 11) % 3);
}

uint64_t
child_of(uint64_t input, uint32_t i)
{
    uint64_t kind = mix(input, 99) >> 37 << 32;

    return (11 + generations(input)) << 60 | INNER | kind | mix(input, i + 1) >> 32;
}

/* ---- executors ----------------------------------------------------------------------------------
 */

static struct family *
find(const struct worker_actor *w, const struct held *h, uint32_t i)
{
    struct family *f;

    TAILQ_FOREACH (f, &w->families, link) {
        if (f->held == h && f->index == i)
            return f;
    }
    return NULL;
}

/* Nobody waits for the children any more. */
static void
orphan(struct family *f)
{
    struct submitter *c = &f->executor->submitter;

    if (f->work == NULL)
        return;
    f->work->waiter = NULL;
    if (f->work->announced)
        submitter_cancel(c, f->work, 0, f->work->count);
    /* Those that were not sent never are. */
    for (uint64_t i = f->work->sent; i < f->work->count; i++) {
        f->work->left -= f->work->tasks[i].outcome == NONE;
        f->work->tasks[i].outcome = OUTCOME_CANCELLED;
    }
    f->work = NULL;
    submitter_pump(c);
}

static void
free_family(struct worker_actor *w, struct family *f)
{
    TAILQ_REMOVE(&w->families, f, link);
    free(f);
}

/* It goes on, on a slot that may be somebody else's. */
static void
go_on(struct submitter *c, void *waiter)
{
    struct worker_actor *w = (struct worker_actor *)c->actor;
    struct family *f = waiter;

    f->work = NULL;
    assert(f->held->states[f->index] == WAITING);
    work_resume(w, f->held, f->index);
    nest_tell(w, f->held);
}

static struct executor *
start_executor(struct worker_actor *w)
{
    struct executor *e = calloc(1, sizeof(*e));
    struct random *r = &w->actor.sim->random;

    assert(e != NULL);
    e->worker = w;
    submitter_init(&e->submitter, &w->actor, ++w->last_client);
    e->submitter.session[0] = (uint8_t)w->actor.name[1];
    e->submitter.session[4] = (uint8_t)w->last_client;
    e->submitter.session[5] = (uint8_t)(w->last_client >> 8);
    e->submitter.result_window = (uint64_t)random_between(r, 500, 50000);
    e->submitter.over = go_on;
    TAILQ_INSERT_TAIL(&w->executors, e, link);
    w->nexecutors++;
    submitter_hello(&e->submitter);
    return e;
}

static struct executor *
choose_executor(struct worker_actor *w)
{
    struct random *r = &w->actor.sim->random;
    struct executor *e = TAILQ_FIRST(&w->executors);

    if (e == NULL || (w->nexecutors < 2 * w->slots + 2 && random_chance(r, 30)))
        return start_executor(w);
    for (uint64_t i = random_below(r, w->nexecutors); i > 0; i--)
        e = TAILQ_NEXT(e, link);
    return e;
}

static void
free_executor(struct worker_actor *w, struct executor *e)
{
    TAILQ_REMOVE(&w->executors, e, link);
    w->nexecutors--;
    submitter_free(&e->submitter);
    free(e);
}

void
nest_reset(struct worker_actor *w)
{
    while (!TAILQ_EMPTY(&w->families))
        free_family(w, TAILQ_FIRST(&w->families));
    while (!TAILQ_EMPTY(&w->executors))
        free_executor(w, TAILQ_FIRST(&w->executors));
    w->last_client = 0;
}

/* Its tasks that wait are to be run anew, and those that go on are so already. */
static void
kill_executor(struct worker_actor *w, struct executor *e)
{
    struct family *f, *next;

    sim_trace(w->actor.sim, "%s: the executor of client %u dies", w->actor.name,
              e->submitter.number);
    for (f = TAILQ_FIRST(&w->families); f != NULL; f = next) {
        next = TAILQ_NEXT(f, link);
        if (f->executor != e)
            continue;
        if (f->work != NULL)
            f->held->states[f->index] = UNSTARTED;
        else
            work_stop(w, f->held, f->index);
        free_family(w, f);
    }
    sim_send(&w->actor, &(struct message){.type = MESSAGE_BYE,
                                          .client = e->submitter.number,
                                          .text = "its executor has ended"});
    free_executor(w, e);
}

/* ---- tasks --------------------------------------------------------------------------------------
 */

bool
nest_waits(const struct worker_actor *w, const struct held *h, uint32_t i)
{
    const struct family *f = find(w, h, i);

    if (f == NULL)
        return children_of(h->inputs[i]) > 0;
    return f->rounds < 2 && mix(h->inputs[i], 13) % 4 == 0;
}

static struct spec *
spec_of_children(struct worker_actor *w, const struct held *h)
{
    struct random *r = &w->actor.sim->random;
    struct spec spec = *h->spec;

    spec.function = random_chance(r, 70) ? "tree" : "f";
    spec.priority = (int32_t)random_between(r, -1, 1);
    spec.retries = (uint32_t)random_below(r, 4);
    spec.cpus = random_chance(r, 70) ? 1 : spec.cpus;
    spec.once = random_chance(r, 5);
    spec.singles = random_chance(r, 40);
    spec.fail_if_unknown = false;
    spec.deadline_ms = random_chance(r, 5) ? random_between(r, 1, 5000) : 0;
    return spec_new(&spec);
}

void
nest_park(struct worker_actor *w, struct held *h, uint32_t i)
{
    struct random *r = &w->actor.sim->random;
    uint32_t count = children_of(h->inputs[i]);
    struct task *tasks = calloc(count, sizeof(*tasks));
    struct family *f = find(w, h, i);

    assert(tasks != NULL);
    if (f == NULL) {
        f = calloc(1, sizeof(*f));
        assert(f != NULL);
        f->held = h;
        f->index = i;
        f->executor = choose_executor(w);
        TAILQ_INSERT_TAIL(&w->families, f, link);
    }
    for (uint32_t k = 0; k < count; k++)
        tasks[k] = (struct task){
            .input = child_of(h->inputs[i], k),
            .size = 8 + (uint32_t)random_below(r, random_chance(r, 10) ? 4000 : 200),
            .outcome = NONE,
        };
    f->rounds++;
    f->work = submitter_add(&f->executor->submitter, spec_of_children(w, h), tasks, count, count);
    f->work->waiter = f;
    h->states[i] = WAITING;
    submitter_pump(&f->executor->submitter);
}

void
nest_forget(struct worker_actor *w, const struct held *h, uint32_t i)
{
    struct family *f = find(w, h, i);

    if (f == NULL)
        return;
    orphan(f);
    free_family(w, f);
}

void
nest_crash(struct worker_actor *w, const struct held *h, uint32_t i)
{
    struct family *f = find(w, h, i);
    struct executor *e;

    if (f == NULL)
        return;
    e = f->executor;
    free_family(w, f);
    kill_executor(w, e);
}

void
nest_forget_lease(struct worker_actor *w, const struct held *h)
{
    struct family *f, *next;

    for (f = TAILQ_FIRST(&w->families); f != NULL; f = next) {
        next = TAILQ_NEXT(f, link);
        if (f->held != h)
            continue;
        orphan(f);
        free_family(w, f);
    }
}

/* ---- messages -----------------------------------------------------------------------------------
 */

static void
say_parked(struct worker_actor *w, uint64_t lease, bool parked)
{
    sim_send(&w->actor, &(struct message){.type = MESSAGE_PARKED,
                                          .parked = {.lease = lease, .parked = parked}});
}

void
nest_tell(struct worker_actor *w, struct held *h)
{
    struct random *r = &w->actor.sim->random;
    uint32_t waiting = 0, awake = 0;
    bool parked;

    for (uint32_t i = 0; i < h->count; i++) {
        waiting += h->states[i] == WAITING;
        awake += h->states[i] == UNSTARTED || h->states[i] == STARTED;
    }
    parked = waiting > 0 && awake == 0;
    if (parked == h->told)
        return;
    h->told = parked;
    h->waited = true;
    say_parked(w, h->id, parked);
    if (random_chance(r, 10))
        say_parked(w, h->id, parked);
    if (random_chance(r, 5)) /* of one that is over, or never was */
        say_parked(w, h->id + 1000000, random_chance(r, 50));
}

void
nest_input(struct worker_actor *w, const struct message *m)
{
    struct executor *e;

    TAILQ_FOREACH (e, &w->executors, link) {
        if (e->submitter.number == m->client)
            break;
    }
    if (e == NULL) /* it has ended */
        return;
    submitter_input(&e->submitter, m);
    if (m->type == MESSAGE_BYE && e->submitter.welcome)
        submitter_hello(&e->submitter);
    work_start(w);
}

void
nest_trouble(struct worker_actor *w)
{
    struct random *r = &w->actor.sim->random;
    struct executor *e = TAILQ_FIRST(&w->executors);

    if (e == NULL || !w->joined)
        return;
    for (uint64_t i = random_below(r, w->nexecutors); i > 0; i--)
        e = TAILQ_NEXT(e, link);
    if (random_chance(r, 50))
        kill_executor(w, e);
    else if (e->submitter.welcome)
        submitter_hello(&e->submitter); /* it starts over by itself */
    work_start(w);
}
