/* parking.h - tasks that spawn tasks, and wait for them: what sessions inside a task call. */
#ifndef LADLE_PARKING_H
#define LADLE_PARKING_H

#include "core.h"
#include "running.h"

struct work;

struct work *parking_work(struct task *task); /* of a task that this executor was given */
/* Its tasks are in this core from now on, until parking_close(). -1: ENOMEM; EINVAL in a child. */
int parking_nest(struct work *w, struct core *core);
/* Something was submitted: while others are idle, they need not wait until this task does. */
void parking_submitted(struct work *w);
/* Let other tasks run until there is news in the core, or until `deadline`; if that has passed, for
 * a moment. -1: the deadline has passed. */
int parking_wait(struct work *w, int64_t deadline);
/* Cancel what it spawned, and wait until none of that runs. Its core is its own again. */
void parking_close(struct work *w);

bool parking_runs(const struct work *w); /* it is the task that calls */
bool parking_ended(struct work *w);      /* it was cancelled, and so is what it submits */

#endif
