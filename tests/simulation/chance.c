#include "chance.h"

uint64_t
mix(uint64_t a, uint64_t b)
{
    uint64_t z = a * 0x9e3779b97f4a7c15u ^ (b + 0x632be59bd9b4e019u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t
random_next(struct random *r)
{
    r->state += 0x9e3779b97f4a7c15u;
    return mix(r->state, 1);
}

uint64_t
random_below(struct random *r, uint64_t n)
{
    return random_next(r) % n;
}

int64_t
random_between(struct random *r, int64_t low, int64_t high)
{
    return low + (int64_t)random_below(r, (uint64_t)(high - low) + 1);
}

void
random_bytes(struct random *r, uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        bytes[i] = (uint8_t)(random_next(r) >> 32);
}

bool
random_chance(struct random *r, unsigned percent)
{
    return random_below(r, 100) < percent;
}
