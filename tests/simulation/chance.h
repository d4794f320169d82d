/* chance.h - random numbers that follow from a seed. */
#ifndef LADLE_SIM_CHANCE_H
#define LADLE_SIM_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

struct random { /* splitmix64 */
    uint64_t state;
};

uint64_t random_next(struct random *r);
uint64_t random_below(struct random *r, uint64_t n);                 /* [0, n) */
int64_t random_between(struct random *r, int64_t low, int64_t high); /* [low, high] */
bool random_chance(struct random *r, unsigned percent);
void random_bytes(struct random *r, uint8_t *bytes, unsigned count);
uint64_t mix(uint64_t a, uint64_t b); /* a hash: what a task does depends on nothing else */

#endif
