/* budget.h - how many descriptors the broker may use, and what to do when they run out.
 *
 * At its limit libzmq can only spin: it is told of a connection again and again that it cannot
 * accept. So some descriptors are never given to peers: before that the doors are shut, and they
 * are opened again when enough of them came back. Pure.
 */
#ifndef LADLE_BUDGET_H
#define LADLE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define BUDGET_LEAST 128     /* descriptors without which a broker does not start */
#define BUDGET_RESERVE 32    /* for files, and for what libzmq accepts before it is stopped */
#define BUDGET_WORD 60000000 /* us from one word about it to the next */

struct budget {
    unsigned limit, alarm, shut, open; /* numbers in use from which on: warn, shut, open again */
    bool is_shut;
    int64_t warned; /* when */
};

enum budget_advice { BUDGET_FINE, BUDGET_WARN, BUDGET_SHUT, BUDGET_OPEN };

/* -1 if no broker can live with that. */
int budget_init(struct budget *self, uint64_t limit);
/* So many are in use: what follows? WARN at most once in BUDGET_WORD. */
enum budget_advice budget_used(struct budget *self, unsigned used, int64_t now);

#endif
