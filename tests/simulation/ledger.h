/* ledger.h - what a worker was given, and what it gave back: on the way between it and the broker.
 *
 * Checks both: that nothing is given to a worker that it cannot run or has no room for, and that
 * each task that was given comes back once.
 */
#ifndef LADLE_SIM_LEDGER_H
#define LADLE_SIM_LEDGER_H

#include "sim.h"

struct ledger;

struct ledger_worker { /* what it said of itself; borrowed */
    const char *name, *machine, *labels;
    uint32_t slots;
    uint64_t window;
};

struct ledger *ledger_new(struct sim *s, const struct ledger_worker *w);
void ledger_free(struct ledger *l);
void ledger_clear(struct ledger *l); /* the worker dropped all */
void ledger_down(struct ledger *l, const struct message *m);
void ledger_up(struct ledger *l, const struct message *m);
bool ledger_is_empty(const struct ledger *l, const char **what);

#endif
