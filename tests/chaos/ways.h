/* ways.h - the ways in which a program gives work to a grid; each runs in a thread of its own. */
#ifndef CHAOS_WAYS_H
#define CHAOS_WAYS_H

#include "orders.h"

#include <pthread.h>

struct way {
    const char *name;
    void (*run)(struct way *w);
    unsigned share; /* of 1000 tasks */
    futures_t *futures;
    uint64_t seed;
    uint64_t first, count; /* tasks [first, first + count) are its own */
    double seconds;        /* over which it spreads them */
    double began;
    pthread_t thread;
};

#define WAYS 9
extern const struct way ways[WAYS];

double seconds_now(void);
void sleep_until(double then); /* as seconds_now() will say */

#endif
