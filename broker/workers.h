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
void worker_unplace(struct scheduler *s, struct worker *w); /* out of all lists */

/* A worker with free slots for a task of this demand, the one with the most of them if possible;
 * NULL if none has. `except` is not asked; NULL. */
struct worker *worker_free(const struct demand *d, const struct worker *except);
/* A busy worker that may be given more to wait for; NULL if none may. */
struct worker *worker_spare(const struct demand *d);
/* May a busy worker be given a slice of a job whose tasks take that long? */
bool worker_prefetches(const struct scheduler *s, const struct worker *w, const struct job *j);

/* Of this function's tasks on this worker: us per task, as far as is known. */
double worker_each(const struct worker *w, const struct function *f);

/* The worker was sent the job; NULL: ENOMEM. */
struct knowledge *knowledge_new(struct scheduler *s, struct worker *w, struct job *j);
void knowledge_free(struct scheduler *s, struct knowledge *k);
bool worker_knows(struct scheduler *s, struct worker *w, struct job *j);

#endif
