#include "redial.h"

enum {
    AGAIN_LEAST = 50 * 1000,      /* first interval between two attempts; up to twice that */
    AGAIN_MOST = 3 * 1000 * 1000, /* the last intervals are between half of it and all of it */
    STEADY = 5 * 1000 * 1000,     /* a connection that lasted so long starts the intervals over */
};

void
redial_init(struct redial *d, uint32_t random)
{
    d->interval = AGAIN_LEAST;
    d->random = random;
}

/* Between the interval and twice that: many must not come back in step. */
int64_t
redial_at(struct redial *d, int64_t lasted, int64_t now)
{
    int64_t at;

    if (lasted >= STEADY)
        d->interval = AGAIN_LEAST;
    d->random = d->random * 1664525 + 1013904223;
    at = now + d->interval + (int64_t)((uint64_t)d->interval * (d->random >> 16) >> 16);
    d->interval += d->interval / 2;
    if (d->interval > AGAIN_MOST / 2)
        d->interval = AGAIN_MOST / 2;
    return at;
}
