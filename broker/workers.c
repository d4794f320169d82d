#include "workers.h"

#include "capacity.h"
#include "fits.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES 4 /* looked at in a list before it is given up: no search through workers */
#define LOOKS 256    /* likewise, where they lack memory or time, by which lists have no order */

static int
bucket_of(uint64_t n) /* n > 0 */
{
    int bucket = 63 - __builtin_clzll(n);

    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* ---- places -------------------------------------------------------------------------------------
 */

static int
place_of(const struct scheduler *s, const struct worker *w)
{
    struct prefetch in = {.known = true,
                          .slice_us = s->config.slice_us,
                          .slots = w->slots,
                          .busy = w->busy,
                          .work = w->work};

    if (w->draining || w->telling || w->peer->backlog > w->window || w->bytes >= w->window)
        return PLACE_NONE;
    if (w->busy < w->slots)
        return bucket_of(w->slots - w->busy);
    /* What waits takes half of the window at most: else it would be filled with crumbs, as large as
     * what has just ended. */
    return w->bytes <= w->window / 2 && prefetch_allowed(&in) ? PLACE_SPARE : PLACE_NONE;
}

static struct worker_list *
list_of(struct offer *o, int place)
{
    return place == PLACE_SPARE ? &o->spare : &o->free[place];
}

static void
unplace(struct scheduler *s, struct worker *w)
{
    struct offer *o = w->offer;

    if (w->place == PLACE_NONE)
        return;
    s->nfree -= w->place >= 0;
    TAILQ_REMOVE(list_of(o, w->place), w, of_place);
    if (w->place >= 0 && TAILQ_EMPTY(&o->free[w->place]))
        o->mask &= ~(1u << w->place);
    w->place = PLACE_NONE;
}

static void
unload(struct scheduler *s, struct worker *w)
{
    if (w->load < 0)
        return;
    TAILQ_REMOVE(&s->loaded[w->load], w, of_load);
    if (TAILQ_EMPTY(&s->loaded[w->load]))
        s->loaded_mask &= ~(1u << w->load);
    w->load = -1;
}

static void
update_load(struct scheduler *s, struct worker *w)
{
    bool waits = w->tasks > w->slots || (worker_is_tight(w) && w->tasks > 1);
    int load = waits && w->revoking == 0 ? bucket_of(1 + (uint64_t)w->work) : -1;

    if (load == w->load)
        return;
    unload(s, w);
    if (load < 0)
        return;
    w->load = load;
    TAILQ_INSERT_TAIL(&s->loaded[load], w, of_load);
    s->loaded_mask |= 1u << load;
}

static void
update_idle(struct scheduler *s, struct worker *w)
{
    uint64_t idle = w->draining || w->busy >= w->slots ? 0 : w->slots - w->busy;

    s->idle += idle - w->idle;
    w->idle = idle;
}

void
worker_update(struct scheduler *s, struct worker *w)
{
    int place;

    if (w->offer == NULL)
        return;
    update_idle(s, w);
    place = place_of(s, w);
    update_load(s, w);
    if (place == w->place)
        return;
    unplace(s, w);
    w->place = place;
    if (place != PLACE_NONE) {
        TAILQ_INSERT_TAIL(list_of(w->offer, place), w, of_place);
        s->match = true;
    }
    if (place >= 0) {
        w->offer->mask |= 1u << place;
        s->nfree++;
    }
    fits_update(w->offer);
}

void
worker_served(struct scheduler *s, struct worker *w)
{
    int place = w->place;

    worker_update(s, w);
    if (w->place != place || place == PLACE_NONE)
        return;
    TAILQ_REMOVE(list_of(w->offer, place), w, of_place);
    TAILQ_INSERT_TAIL(list_of(w->offer, place), w, of_place);
}

void
worker_freed(struct worker *w)
{
    if (w->place == PLACE_NONE)
        return;
    TAILQ_REMOVE(list_of(w->offer, w->place), w, of_place);
    TAILQ_INSERT_HEAD(list_of(w->offer, w->place), w, of_place);
    fits_freed(w->offer);
}

void
worker_unplace(struct scheduler *s, struct worker *w)
{
    unplace(s, w);
    fits_update(w->offer);
    unload(s, w);
}

/* ---- choosing -----------------------------------------------------------------------------------
 */

/* Of one list. Those that lack memory or time go behind the others: next time these are asked. */
static struct worker *
free_of_list(struct scheduler *s, struct worker_list *list, const struct job *j,
             const struct worker *except, bool *late_p)
{
    struct worker *w = TAILQ_FIRST(list), *next, *last = TAILQ_LAST(list, worker_list);

    for (int seen = 0, looks = 0; w != NULL && seen < CANDIDATES; w = next) {
        next = w == last ? NULL : TAILQ_NEXT(w, of_place);
        if (w == except || w->slots - w->busy < j->demand->cpus) {
            seen++;
            continue;
        }
        if (worker_has_memory(w, j->demand)) {
            if (worker_in_time(s, w, j, 0))
                return w;
            *late_p = true;
        }
        if (++looks == LOOKS) {
            s->starved = true; /* look again soon */
            return NULL;
        }
        TAILQ_REMOVE(list, w, of_place);
        TAILQ_INSERT_TAIL(list, w, of_place);
    }
    return NULL;
}

static struct worker *
free_of_offer(struct scheduler *s, struct offer *o, const struct job *j,
              const struct worker *except, bool *late_p)
{
    uint32_t mask = o->mask;

    while (mask != 0) {
        int bucket = 31 - __builtin_clz(mask);
        struct worker *w = free_of_list(s, &o->free[bucket], j, except, late_p);

        if (w != NULL)
            return w;
        mask &= ~(1u << bucket);
    }
    return NULL;
}

/* Of the offers whose most free worker has so much room. Those that have none for this job go
 * behind the others, too. */
static struct worker *
free_of_fits(struct scheduler *s, struct fit_list *list, const struct job *j,
             const struct worker *except, bool *late_p, int *looks)
{
    struct fit *f = TAILQ_FIRST(list), *next, *last = TAILQ_LAST(list, fit_list);
    struct worker *best = NULL, *w;

    for (; f != NULL && *looks < LOOKS; f = next) {
        next = f == last ? NULL : TAILQ_NEXT(f, of_free);
        w = free_of_offer(s, f->offer, j, except, late_p);
        if (w != NULL && w->place == f->top)
            return w;
        if (w != NULL && (best == NULL || w->place > best->place))
            best = w;
        if (++*looks == LOOKS)
            s->starved = true; /* look again soon */
        TAILQ_REMOVE(list, f, of_free);
        TAILQ_INSERT_TAIL(list, f, of_free);
    }
    return best;
}

struct worker *
worker_free(struct scheduler *s, const struct job *j, const struct worker *except, bool *late_p)
{
    struct demand *d = j->demand;
    uint32_t mask = d->mask & ~0u << bucket_of(d->cpus); /* less room is not enough */
    struct worker *best = NULL, *w;
    int looks = 0;

    *late_p = false;
    for (int bucket; mask != 0; mask &= ~(1u << bucket)) {
        bucket = 31 - __builtin_clz(mask);
        if (best != NULL && best->place >= bucket)
            break;
        w = free_of_fits(s, &d->free[bucket], j, except, late_p, &looks);
        if (w != NULL && (best == NULL || w->place > best->place))
            best = w;
    }
    return best;
}

/* It has enough in all, and what it holds is soon over. */
static bool
may_wait(const struct scheduler *s, const struct worker *w, const struct job *j)
{
    int64_t wait = (int64_t)(w->work / w->slots);

    return worker_able(w, j->demand) && !(j->demand->memory > 0 && worker_is_tight(w)) &&
           worker_in_time(s, w, j, wait);
}

static struct worker *
spare_of_list(const struct scheduler *s, const struct worker_list *list, const struct job *j)
{
    struct worker *w = TAILQ_FIRST(list);

    for (int n = 0; w != NULL && n < CANDIDATES; n++, w = TAILQ_NEXT(w, of_place)) {
        if (may_wait(s, w, j))
            return w;
    }
    return NULL;
}

/* A task of several slots, or of much memory, may wait for them where others still run. */
static struct worker *
spare_of_free(const struct scheduler *s, const struct job *j)
{
    const struct demand *d = j->demand;
    struct worker *w = NULL;
    const struct fit *f;
    int looks = 0;

    for (int top = 0; top < BUCKETS && w == NULL; top++) {
        TAILQ_FOREACH (f, &d->free[top], of_free) {
            for (int b = 0; b <= top && w == NULL; b++)
                w = spare_of_list(s, &f->offer->free[b], j);
            if (w != NULL || ++looks == LOOKS)
                return w;
        }
    }
    return w;
}

struct worker *
worker_spare(const struct scheduler *s, const struct job *j)
{
    const struct demand *d = j->demand;
    const struct fit *f;
    struct worker *w;
    int looks = 0;

    TAILQ_FOREACH (f, &d->spare, of_spare) {
        if ((w = spare_of_list(s, &f->offer->spare, j)) != NULL)
            return w;
        if (++looks == LOOKS)
            break;
    }
    return d->cpus > 1 || d->memory > 0 ? spare_of_free(s, j) : NULL;
}

bool
worker_prefetches(const struct scheduler *s, const struct worker *w, const struct job *j)
{
    const struct function *f = j->function;
    struct prefetch in = {.each = worker_each(w, f),
                          .known = estimate_known(&f->estimate),
                          .slice_us = s->config.slice_us,
                          .slots = w->slots,
                          .busy = w->busy,
                          .work = w->work};

    if (w->bytes >= w->window)
        return false;
    /* Else a task of several slots would wait for ever behind those of one. */
    if (j->demand->cpus > 1 && w->busy <= w->slots && w->busy > w->slots - j->demand->cpus)
        return true;
    if (!worker_has_memory(w, j->demand)) /* and one of much memory behind those of little */
        return !worker_is_tight(w);
    /* One that waits for others is not over soon, whatever its function's mean says. */
    return !j->spec->once && !f->nests && prefetch_allowed(&in);
}

double
worker_each(const struct worker *w, const struct function *f)
{
    return estimate_each(&f->estimate) * w->speed;
}

/* ---- who was sent which job ---------------------------------------------------------------------
 */

struct knowledge *
knowledge_new(struct worker *w, struct job *j)
{
    struct knowledge *k = calloc(1, sizeof(*k));

    if (k == NULL)
        return NULL;
    if (table_add(&w->knows_by_job, j->number, k) != 0) {
        free(k);
        return NULL;
    }
    k->worker = w;
    k->job = j;
    LIST_INSERT_HEAD(&w->knows, k, of_worker);
    LIST_INSERT_HEAD(&j->knowers, k, of_job);
    w->known = j;
    return k;
}

void
knowledge_free(struct knowledge *k)
{
    if (k->worker->known == k->job)
        k->worker->known = NULL;
    LIST_REMOVE(k, of_worker);
    LIST_REMOVE(k, of_job);
    table_remove(&k->worker->knows_by_job, k->job->number, k);
    free(k);
}

bool
worker_knows(struct worker *w, struct job *j)
{
    if (w->known == j)
        return true;
    if (table_find(&w->knows_by_job, j->number) == NULL)
        return false;
    w->known = j;
    return true;
}
