/* demands.h - what jobs ask for, what workers offer, and which go together.
 *
 * All workers with the same machine, labels, programs and failures share an offer; all jobs with
 * the same machine, needs, cpus and memory share a demand. There are few demands.
 */
#ifndef LADLE_DEMANDS_H
#define LADLE_DEMANDS_H

#include "state.h"

/* Sets the job's demand and queue; -1: ENOMEM. */
int demand_join(struct scheduler *s, struct job *j);
void demand_leave(struct scheduler *s, struct job *j); /* one that has none is fine */
/* One reference less, of a job or of one who looks at it. */
void demand_release(struct scheduler *s, struct demand *d);
/* The job's program failed somewhere for the first time: from now on it has a demand of its own. */
void demand_move(struct scheduler *s, struct job *j);

/* Sets the worker's offer by what it is, and counts it in the demands that fit; -1: ENOMEM, and
 * nothing has changed. A worker that has an offer already moves. */
int offer_join(struct scheduler *s, struct worker *w);
void offer_leave(struct scheduler *s, struct worker *w); /* one that has none is fine */
/* It takes no more work: it does not count any more, but stays. */
void offer_drain(struct scheduler *s, struct worker *w);

bool demand_fits(const struct demand *d, const struct offer *o);
/* Does any worker fit that could ever run a task of it? */
bool demand_able(const struct demand *d);

#endif
