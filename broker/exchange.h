/* exchange.h - the two halves of a broker, and what goes from one to the other.
 *
 * The scheduler says who runs what, the depot keeps what outlives its client. This is the turn of
 * both, in the order on which promises rest: what came in goes to the disk, and only then is
 * anybody told, or the scheduler given what is there now. No sockets and no clock, as in both.
 */
#ifndef LADLE_EXCHANGE_H
#define LADLE_EXCHANGE_H

#include "depot.h"
#include "scheduler.h"

struct exchange {
    struct scheduler *scheduler;
    struct depot *depot;
    /* For a peer; who is gone by now is the owner's business. */
    void (*pass)(void *arg, uint32_t peer, const struct message *m, int64_t now);
    void *arg;
};

/* Once per turn of the loop. -1 if the disk failed, with a sentence in depot_why(): nothing more
 * may be sent, and this broker has to end. */
int exchange_turn(struct exchange *x, int64_t now, int64_t wall);
/* The connection of a peer ended. */
void exchange_gone(struct exchange *x, uint32_t peer, int64_t now);

#endif
