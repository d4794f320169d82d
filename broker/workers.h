/* workers.h - which workers have room, and which have the most work.
 *
 * worker_update() puts a worker where it belongs after anything about it changed, in constant time,
 * so that nobody ever searches through workers.
 */
#ifndef LADLE_WORKERS_H
#define LADLE_WORKERS_H

#include "state.h"

void worker_update(struct scheduler *s, struct worker *w);
/* The same, for one that was just given something: others come before it. */
void worker_served(struct scheduler *s, struct worker *w);
/* The same, for one that got back what is scarce: it comes before others. */
void worker_freed(struct worker *w);
void worker_unplace(struct scheduler *s, struct worker *w); /* out of all lists */

/* A worker that has room for a task of this job, and time, the one with the most free slots if
 * possible; NULL if none has. `except` is not asked; NULL. *late_p: one had room, but no time. */
struct worker *worker_free(struct scheduler *s, const struct job *j, const struct worker *except,
                           bool *late_p);
/* A busy worker that may be given more to wait for; NULL if none may. */
struct worker *worker_spare(const struct scheduler *s, const struct job *j);
/* May a busy worker be given a slice of a job whose tasks take that long? */
bool worker_prefetches(const struct scheduler *s, const struct worker *w, const struct job *j);

/* Of this function's tasks on this worker: us per task, as far as is known. */
double worker_each(const struct worker *w, const struct function *f);

/* The worker was sent the job; NULL: ENOMEM. */
struct knowledge *knowledge_new(struct worker *w, struct job *j);
void knowledge_free(struct knowledge *k);
bool worker_knows(struct worker *w, struct job *j);

#endif
