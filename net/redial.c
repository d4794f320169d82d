#include "redial.h"

#include "../base/clock.h"

#include <assert.h>

enum {
    AGAIN_LEAST = 50 * 1000,      /* first interval between two attempts; up to twice that */
    AGAIN_MOST = 3 * 1000 * 1000, /* the last intervals are between half of it and all of it */
    STEADY = 5 * 1000 * 1000,     /* a connection that lasted so long starts the intervals over */
    /* An attempt without any sign from the system (a name that is not resolved gives none) is given
     * up after this, then twice this ... */
    PATIENCE_LEAST = 1000 * 1000,
    PATIENCE_MOST = 10 * 1000 * 1000,
};

void
redial_init(struct redial *d, uint32_t random, int64_t now)
{
    *d = (struct redial){
        .again = now, .interval = AGAIN_LEAST, .patience = PATIENCE_LEAST, .random = random};
}

void
redial_begin(struct redial *d, int64_t now)
{
    assert(!d->trying);
    d->trying = true;
    d->since = now;
    d->again = now + d->patience;
}

void
redial_reached(struct redial *d)
{
    d->again = d->since + PATIENCE_MOST;
}

void
redial_answered(struct redial *d)
{
    d->answered = true;
}

/* Between the interval and twice that: many must not come back in step. */
static int64_t
random_pause(struct redial *d)
{
    int64_t us;

    d->random = d->random * 1664525 + 1013904223;
    us = d->interval + (int64_t)((uint64_t)d->interval * (d->random >> 16) >> 16);
    d->interval += d->interval / 2;
    if (d->interval > AGAIN_MOST / 2)
        d->interval = AGAIN_MOST / 2;
    return us;
}

void
redial_over(struct redial *d, int64_t now)
{
    assert(d->trying);
    if (d->answered)
        d->patience = PATIENCE_LEAST;
    else if (now >= d->again && (d->patience *= 2) > PATIENCE_MOST)
        d->patience = PATIENCE_MOST;
    if (d->answered && now - d->since >= STEADY)
        d->interval = AGAIN_LEAST;
    d->trying = d->answered = false;
    d->again = now + random_pause(d);
}

int64_t
redial_deadline(const struct redial *d)
{
    return d->answered ? CLOCK_NEVER : d->again;
}
