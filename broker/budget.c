#include "budget.h"

#include <limits.h>

int
budget_init(struct budget *self, uint64_t limit)
{
    unsigned n = limit > INT_MAX ? INT_MAX : (unsigned)limit;

    if (n < BUDGET_LEAST)
        return -1;
    *self = (struct budget){
        .limit = n, .alarm = n - n / 5, .shut = n - BUDGET_RESERVE, .warned = INT64_MIN / 2};
    if (self->alarm > self->shut)
        self->alarm = self->shut;
    self->open = self->shut - n / 16;
    return 0;
}

enum budget_advice
budget_used(struct budget *self, unsigned used, int64_t now)
{
    if (self->is_shut) {
        if (used > self->open)
            return BUDGET_FINE;
        self->is_shut = false;
        return BUDGET_OPEN;
    }
    if (used >= self->shut) {
        self->is_shut = true;
        return BUDGET_SHUT;
    }
    if (used < self->alarm || now < self->warned + BUDGET_WORD)
        return BUDGET_FINE;
    self->warned = now;
    return BUDGET_WARN;
}
