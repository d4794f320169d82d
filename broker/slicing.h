/* slicing.h - how many tasks make a slice.
 *
 * Guided self-scheduling (Polychronopoulos and Kuck, 1987) on a measured time per task: as large as
 * a slice may take, as small as what is left asks for. Pure arithmetic.
 */
#ifndef LADLE_SLICING_H
#define LADLE_SLICING_H

#include <stdbool.h>
#include <stdint.h>

#define SLICING_LONG 50000.0 /* us: nothing waits behind a task that takes longer */

/* What is known of a function's running time. All zero: nothing. */
struct estimate {
    double us;    /* decaying sums: of running time, */
    double tasks; /* and of tasks; a slice counts by its tasks, so their ratio is the mean */
    uint32_t cap; /* no slice may be larger yet: it doubles with each result that came in time */
};

bool estimate_known(const struct estimate *e);
double estimate_each(const struct estimate *e); /* us per task; 0 if not known */
/* `count` tasks, of a slice that was handed over with `given`, ran for `run_us` together. */
void estimate_add(struct estimate *e, uint64_t run_us, uint32_t count, uint32_t given,
                  int64_t slice_us);

struct slicing {
    double each; /* us per task here; meaningless unless known */
    bool known;
    uint32_t cap;     /* of the estimate */
    int64_t slice_us; /* that a slice should take */
    uint64_t ready;   /* tasks of the job that wait */
    uint64_t slots;   /* tasks that the workers that fit can run at once */
};

uint32_t slicing_count(const struct slicing *in); /* at least 1, at most LIMIT_ITEMS */

/* May a worker that is busy be handed one more slice? */
struct prefetch {
    double each;
    bool known;
    int64_t slice_us;
    uint32_t slots; /* of the worker */
    uint64_t busy;  /* slots' worth of slices that it holds */
    double work;    /* us of running time that it holds */
};

bool prefetch_allowed(const struct prefetch *in);

#endif
