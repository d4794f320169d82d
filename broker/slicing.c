#include "slicing.h"

#include "../proto/limits.h"

/* A result weighs 7/8 of the next one. */
#define DECAY 0.875
#define EACH_LEAST 0.05 /* us: a task that takes no time still takes some */
/* Slices below this are not worth their messages, however few tasks are left. */
#define SLICE_LEAST 200.0
/* While a busy worker holds less than this per slot, twice as many slices may be under way: the
 * round trip to the broker must not be seen. Not more: what waits here grows into larger slices. */
#define PIPELINE 2000.0

bool
estimate_known(const struct estimate *e)
{
    return e->tasks > 0;
}

double
estimate_each(const struct estimate *e)
{
    double each;

    if (e->tasks <= 0)
        return 0;
    each = e->us / e->tasks;
    return each < EACH_LEAST ? EACH_LEAST : each;
}

void
estimate_add(struct estimate *e, uint64_t run_us, uint32_t count, uint32_t given, int64_t slice_us)
{
    if (count == 0)
        return;
    e->us = e->us * DECAY + (double)run_us;
    e->tasks = e->tasks * DECAY + count;
    if (e->cap == 0)
        e->cap = 1;
    /* Only a slice of about the size allowed shows that twice the size is fine. */
    if (given * 2 > e->cap && e->cap < LIMIT_ITEMS && e->cap * estimate_each(e) < (double)slice_us)
        e->cap *= 2;
}

static uint32_t
bounded(double count)
{
    return count < 1 ? 1 : count > LIMIT_ITEMS ? LIMIT_ITEMS : (uint32_t)count;
}

uint32_t
slicing_count(const struct slicing *in)
{
    uint64_t parts = in->slots > 0 ? 2 * in->slots : 2;
    uint64_t share = in->ready / parts + (in->ready % parts != 0);
    uint32_t count, least;

    if (!in->known)
        return 1;
    count = bounded((double)in->slice_us / in->each);
    least = bounded(SLICE_LEAST / in->each);
    if (share < least)
        share = least;
    if (count > share)
        count = (uint32_t)share;
    if (count > in->cap)
        count = in->cap;
    return count == 0 ? 1 : count;
}

bool
prefetch_allowed(const struct prefetch *in)
{
    double slots = in->slots;

    if (!in->known || in->each > SLICING_LONG)
        return false;
    if (in->work >= 2 * slots * (double)in->slice_us)
        return false;
    return in->busy < 2 * (uint64_t)in->slots ||
           (in->busy < 4 * (uint64_t)in->slots && in->work < slots * PIPELINE);
}
