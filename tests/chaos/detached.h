/* detached.h - a client that may be killed: its jobs outlive it, and it finds them again.
 *
 * The ledger is a file of its own, of which each line is written before or after what it tells:
 *
 *   begin FIRST COUNT    these tasks are about to be submitted, as one job
 *   job FIRST ID         the broker's store has all of it: nothing of it may be lost
 *   end FIRST            all its results were read
 */
#ifndef CHAOS_DETACHED_H
#define CHAOS_DETACHED_H

#include "orders.h"

struct detached {
    futures_t *futures;
    uint64_t seed, tasks;
    double seconds; /* over which it spreads them */
};

/* Go on where a former process was killed, until all tasks have ended. -1: the ledger is no good.
 */
int detached_run(const struct detached *d, const char *ledger);

#endif
