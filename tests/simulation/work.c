#include "nest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TASKS_SHOWN 64 /* of a piece whose results go in one message, at most */

/* ---- what it holds ------------------------------------------------------------------------------
 */

void
work_drop(struct worker_actor *w, struct held *h)
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
    nest_forget_lease(w, h);
    TAILQ_REMOVE(&w->leases, h, link);
    spec_unref(h->spec);
    free(h->inputs);
    free(h->costs);
    free(h->states);
    free(h);
}

void
work_over(struct worker_actor *w, struct held *h, uint32_t i)
{
    bool waits = h->states[i] == WAITING;

    assert(h->states[i] != OVER);
    h->states[i] = OVER;
    h->left--;
    if (waits)
        nest_forget(w, h, i);
}

uint64_t
work_fresh_bytes(const struct worker_actor *w, unsigned *leases)
{
    const struct held *h;
    uint64_t bytes = 0;

    *leases = 0;
    TAILQ_FOREACH (h, &w->leases, link) {
        if (h->waited || h->left == 0)
            continue;
        for (uint32_t i = 0; i < h->count; i++)
            bytes += h->states[i] == OVER ? 0 : h->costs[i];
        ++*leases;
    }
    return bytes;
}

void
work_forget(struct worker_actor *w, struct known *k)
{
    TAILQ_REMOVE(&w->jobs, k, link);
    spec_unref(k->spec);
    free(k);
}

void
work_reset(struct worker_actor *w)
{
    nest_reset(w);
    while (!TAILQ_EMPTY(&w->leases))
        work_drop(w, TAILQ_FIRST(&w->leases));
    while (!TAILQ_EMPTY(&w->jobs))
        work_forget(w, TAILQ_FIRST(&w->jobs));
    w->joined = w->draining = false;
    assert(w->busy == 0);
}

struct known *
work_job(struct worker_actor *w, uint64_t job)
{
    struct known *k;

    TAILQ_FOREACH (k, &w->jobs, link) {
        if (k->job == job)
            return k;
    }
    return NULL;
}

struct held *
work_lease(struct worker_actor *w, uint64_t id)
{
    struct held *h;

    TAILQ_FOREACH (h, &w->leases, link) {
        if (h->id == id)
            return h;
    }
    return NULL;
}

/* ---- sending ------------------------------------------------------------------------------------
 */

void
work_results(struct worker_actor *w, const struct held *h, uint32_t from, uint32_t count,
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

void
work_returned(struct worker_actor *w, uint64_t lease, uint64_t first, uint32_t count,
              enum returned why)
{
    sim_send(&w->actor,
             &(struct message){
                 .type = MESSAGE_RETURNED,
                 .returned = {.lease = lease, .first = first, .count = count, .why = why}});
}

uint32_t
work_give_back(struct worker_actor *w, struct held *h, uint32_t from, uint32_t to,
               enum returned why)
{
    uint32_t given = 0;

    while (from < to) {
        uint32_t end = from;

        while (end < to && h->states[end] == UNSTARTED)
            work_over(w, h, end++);
        if (end > from)
            work_returned(w, h->id, h->first + from, end - from, why);
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
    m = (struct message){
        .type = MESSAGE_PROGRESS,
        .progress = {.job = h->job, .lease = h->id, .index = h->first + i, .done = 1, .total = 2}};
    sim_send(&w->actor, &m);
}

static void
add_piece(struct worker_actor *w, struct held *h, uint32_t from, uint32_t count, int64_t time)
{
    struct sim *s = w->actor.sim;
    struct piece *p = calloc(1, sizeof(*p));

    assert(p != NULL);
    *p = (struct piece){.id = ++w->next_piece, .held = h, .from = from, .count = count};
    TAILQ_INSERT_TAIL(&w->pieces, p, link);
    w->busy += h->spec->cpus;
    sim_wake(&w->actor, s->now + time, WAKE_PIECE | p->id << 8);
}

static void
remove_piece(struct worker_actor *w, struct piece *p)
{
    w->busy -= p->held->spec->cpus;
    TAILQ_REMOVE(&w->pieces, p, link);
    free(p);
}

void
work_resume(struct worker_actor *w, struct held *h, uint32_t i)
{
    h->states[i] = STARTED;
    add_piece(w, h, i, 1, 1 + time_of(w->actor.sim, h->inputs[i]) / 2);
}

void
work_stop(struct worker_actor *w, struct held *h, uint32_t i)
{
    struct piece *p;

    TAILQ_FOREACH (p, &w->pieces, link) {
        if (p->held == h && p->from == i && p->count == 1)
            break;
    }
    if (p != NULL)
        remove_piece(w, p);
    if (h->states[i] == STARTED)
        h->states[i] = UNSTARTED;
}

static bool
start_piece(struct worker_actor *w, struct held *h)
{
    struct sim *s = w->actor.sim;
    uint32_t from = 0, most, count = 0;
    int64_t time = 0;

    while (from < h->count && h->states[from] != UNSTARTED)
        from++;
    if (from == h->count)
        return false;
    most = 1 + (uint32_t)random_below(&s->random, TASKS_SHOWN);
    while (count < most && from + count < h->count && h->states[from + count] == UNSTARTED) {
        bool waits = nest_waits(w, h, from + count);

        if (waits && count > 0)
            break;
        time += time_of(s, h->inputs[from + count]);
        h->states[from + count++] = STARTED;
        if (waits) /* such a one has a piece of its own */
            break;
    }
    say_something(w, h, from);
    add_piece(w, h, from, count, time);
    return true;
}

void
work_start(struct worker_actor *w)
{
    struct held *h, *next;

    for (h = TAILQ_FIRST(&w->leases); h != NULL; h = next) {
        next = TAILQ_NEXT(h, link);
        if (h->left == 0) {
            work_drop(w, h);
            continue;
        }
        /* In turn: one that needs several slots waits for them, and nobody overtakes it. */
        while (w->busy + h->spec->cpus <= w->slots && start_piece(w, h))
            continue;
        if (w->busy + h->spec->cpus > w->slots)
            break;
    }
    TAILQ_FOREACH (h, &w->leases, link) {
        nest_tell(w, h);
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
        work_results(w, h, from, count, outcomes, time);
    } else if (random_chance(r, 50)) {
        work_results(w, h, from + half, count - half, outcomes + half, time / 2);
        work_results(w, h, from, half, outcomes, time / 2);
    } else {
        work_results(w, h, from, half, outcomes, time / 2);
        work_results(w, h, from + half, count - half, outcomes + half, time / 2);
    }
    if (twice && half == 0 && outcomes[0] == OUTCOME_DONE)
        work_results(w, h, from, 1, outcomes, 0);
}

void
work_finish(struct worker_actor *w, uint64_t id)
{
    uint8_t outcomes[TASKS_SHOWN];
    struct piece *p;
    struct held *h;
    uint32_t from, count = 0;

    TAILQ_FOREACH (p, &w->pieces, link) {
        if (p->id == id)
            break;
    }
    if (p == NULL) /* of a life before */
        return;
    h = p->held;
    from = p->from;
    if (h->states[from] == STARTED && nest_waits(w, h, from)) {
        remove_piece(w, p);
        nest_park(w, h, from);
        work_start(w);
        return;
    }
    for (; count < p->count; count++) {
        if (h->states[from + count] == OVER) { /* cancelled */
            outcomes[count] = OUTCOME_CANCELLED;
            continue;
        }
        outcomes[count] = (uint8_t)run(w->actor.sim, h, from + count);
        work_over(w, h, from + count);
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
    remove_piece(w, p);
    if (outcomes[count - 1] == OUTCOME_CRASHED)
        nest_crash(w, h, from);
    else
        nest_forget(w, h, from);
    if (w->draining)
        work_give_back(w, h, 0, h->count, RETURNED_DRAIN);
    work_start(w);
}
