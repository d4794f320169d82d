#include "fits.h"

#include <stdlib.h>

static void
unplace(struct fit *f)
{
    struct demand *d = f->demand;

    if (f->top != PLACE_NONE) {
        TAILQ_REMOVE(&d->free[f->top], f, of_free);
        if (TAILQ_EMPTY(&d->free[f->top]))
            d->mask &= ~(1u << f->top);
    }
    if (f->spare)
        TAILQ_REMOVE(&d->spare, f, of_spare);
}

static void
place(struct fit *f)
{
    const struct offer *o = f->offer;
    struct demand *d = f->demand;

    f->top = o->top;
    f->spare = o->spares;
    if (f->top != PLACE_NONE) {
        TAILQ_INSERT_TAIL(&d->free[f->top], f, of_free);
        d->mask |= 1u << f->top;
    }
    if (f->spare)
        TAILQ_INSERT_TAIL(&d->spare, f, of_spare);
}

int
fit_new(struct demand *d, struct offer *o)
{
    struct fit *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -1;
    f->demand = d;
    f->offer = o;
    LIST_INSERT_HEAD(&d->fits, f, of_demand);
    LIST_INSERT_HEAD(&o->fits, f, of_offer);
    place(f);
    return 0;
}

static void
fit_free(struct fit *f)
{
    unplace(f);
    LIST_REMOVE(f, of_demand);
    LIST_REMOVE(f, of_offer);
    free(f);
}

void
fits_free_demand(struct demand *d)
{
    while (!LIST_EMPTY(&d->fits))
        fit_free(LIST_FIRST(&d->fits));
}

void
fits_free_offer(struct offer *o)
{
    while (!LIST_EMPTY(&o->fits))
        fit_free(LIST_FIRST(&o->fits));
}

void
fits_update(struct offer *o)
{
    int top = o->mask == 0 ? PLACE_NONE : 31 - __builtin_clz(o->mask);
    bool spares = !TAILQ_EMPTY(&o->spare);
    struct fit *f;

    if (top == o->top && spares == o->spares)
        return;
    o->top = top;
    o->spares = spares;
    LIST_FOREACH (f, &o->fits, of_offer) {
        unplace(f);
        place(f);
    }
}

void
fits_freed(struct offer *o)
{
    struct fit *f;

    LIST_FOREACH (f, &o->fits, of_offer) {
        if (f->top == PLACE_NONE)
            continue;
        TAILQ_REMOVE(&f->demand->free[f->top], f, of_free);
        TAILQ_INSERT_HEAD(&f->demand->free[f->top], f, of_free);
    }
}
