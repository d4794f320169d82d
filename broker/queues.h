/* queues.h - whose turn is it: jobs with ready tasks, by demand, priority, client and age. */
#ifndef LADLE_QUEUES_H
#define LADLE_QUEUES_H

#include "state.h"

/* The queue of this client, demand and priority, with one more job that belongs to it; NULL:
 * ENOMEM.
 */
struct queue *queue_get(struct client *c, struct demand *d, int64_t priority);
void queue_put(struct scheduler *s, struct queue *q); /* one job less; NULL is allowed */

/* Does the job have ready tasks now, or none any more? */
void queue_update(struct scheduler *s, struct job *j);
/* The client was paused, or is not any more. */
void queue_update_client(struct scheduler *s, struct client *c);

/* The job whose turn it is, of all demands that are not blocked in this pass; NULL if none is. */
struct job *queue_next(struct scheduler *s);
/* It was served: its client's next turn is after those of all others. */
void queue_served(struct scheduler *s, struct job *j);

#endif
