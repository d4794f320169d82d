/* room.c - memory: what tasks ask for, what executors may use, and what they have kept. */
#include "state.h"

uint64_t
runner_memory(const struct runner *r, const struct piece *p)
{
    uint64_t memory = p->job->spec->memory;

    return memory < r->memory ? memory : r->memory;
}

uint64_t
runner_free_memory(const struct runner *r)
{
    return r->memory_used < r->memory ? r->memory - r->memory_used : 0;
}

/* Those who wait in it have their memory still. One that has no limit lifts that of the others: it
 * cannot be told who of them uses it. So tasks with a limit go where nobody waits, if they can. */
static uint64_t
allowance(const struct executor *e)
{
    uint64_t sum = e->nwork > 0 ? e->work[0].piece->job->spec->memory : 0;

    if (e->nwork > 0 && sum == 0)
        return 0;
    for (const struct parked *k = e->parked; k != NULL; k = k->hh.next) {
        uint64_t memory = k->piece->job->spec->memory;

        if (memory == 0)
            return 0;
        sum = memory > UINT64_MAX - sum ? UINT64_MAX : sum + memory;
    }
    return sum;
}

void
executor_limit(struct runner *r, struct executor *e)
{
    uint64_t allowed = allowance(e);

    if (e->nwork == 0 && e->parked == NULL) /* when it gets work again */
        return;
    if (allowed == e->allowed)
        return;
    e->allowed = allowed;
    r->hands->limit(r->arg, e->number, allowed);
}

bool
executor_swollen(const struct runner *r, const struct executor *e, uint64_t memory)
{
    uint64_t used, spare;

    if (memory == 0 || e->last_lease == 0) /* a fresh one is as small as it gets */
        return false;
    spare = memory > e->fresh ? memory - e->fresh : 0;
    used = r->hands->usage(r->arg, e->number);
    return used > e->fresh && used - e->fresh > spare / 4;
}
