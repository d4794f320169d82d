/* capacity.h - how much a worker has, of slots, memory and time, and whether a task fits. */
#ifndef LADLE_CAPACITY_H
#define LADLE_CAPACITY_H

#include "state.h"

/* Could it ever run a task of the demand, if its offer fits? */
bool worker_able(const struct worker *w, const struct demand *d);
/* Does it have slots and memory for one more? */
bool worker_has_room(const struct worker *w, const struct demand *d);
bool worker_has_memory(const struct worker *w, const struct demand *d);
/* More is handed over than it has memory for: something waits there. */
bool worker_is_tight(const struct worker *w);

/* Us that a task may run: its timeout, else what its function takes, with a margin. 0: not known.
 */
int64_t job_need(const struct job *j);
/* Can a task of the job end before the worker must, if it begins in `wait` us? */
bool worker_in_time(const struct scheduler *s, const struct worker *w, const struct job *j,
                    int64_t wait);
/* So many tasks one after the other. */
uint32_t worker_count_in_time(const struct scheduler *s, const struct worker *w,
                              const struct job *j, uint32_t count);
/* No worker that fits has time for it, be it busy or not: a sentence; else NULL. */
struct blob *capacity_late_reason(const struct scheduler *s, const struct job *j);

#endif
