/* nested.h - figures of tasks that spawn tasks; each prints "name value" lines. */
#ifndef LADLE_BENCH_NESTED_H
#define LADLE_BENCH_NESTED_H

#include <ladle.h>

/* A tree in which each inner task maps over `fan` children: tasks, rate. */
void measure_tree(futures_t *futures, uint32_t depth, uint32_t fan);
void measure_fibonacci(futures_t *futures, uint32_t n); /* tasks, rate */
/* A chain of `count` tasks that wait, each for the next: mib of their executor, each (KiB), rate.
 * With one slot all are in one executor. */
void measure_parked(futures_t *futures, uint32_t count);

#endif
