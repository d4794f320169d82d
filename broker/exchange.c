#include "exchange.h"

#include "../base/log.h"

static void
put_out(struct exchange *x, int64_t now)
{
    struct message m;
    uint32_t peer;

    scheduler_tick(x->scheduler, now);
    while (scheduler_output(x->scheduler, &peer, &m)) {
        if (peer >= DEPOT_PEERS)
            depot_grid_input(x->depot, peer, &m);
        else
            x->pass(x->arg, peer, &m, now);
    }
}

/* True if the scheduler was given something. */
static bool
hand_over(struct exchange *x, int64_t now)
{
    struct message m;
    uint32_t peer;
    bool any = false;

    while (depot_output(x->depot, &peer, &m)) {
        if (peer < DEPOT_PEERS) {
            x->pass(x->arg, peer, &m, now);
            continue;
        }
        any = true;
        if (scheduler_input(x->scheduler, peer, &m, now) != 0)
            log_error("a detached job: %s", scheduler_why(x->scheduler));
    }
    return any;
}

int
exchange_turn(struct exchange *x, int64_t now, int64_t wall)
{
    do {
        put_out(x, now);
        if (depot_tick(x->depot, now, wall) != 0)
            return -1;
    } while (hand_over(x, now));
    return 0;
}

void
exchange_gone(struct exchange *x, uint32_t peer, int64_t now)
{
    scheduler_gone(x->scheduler, peer, now);
    depot_gone(x->depot, peer);
}
