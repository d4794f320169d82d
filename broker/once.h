/* once.h - tasks that may run once only, and the broker that may end at any moment.
 *
 * The next broker must not hand out what this one handed out. Workers tell what they have, but one
 * that died tells nothing; so the client knows, too: before such tasks go to a worker it is told
 * with BEGINS, and they go when it has said NOTED. What it had not noted cannot have begun: when it
 * tells that anew, it runs. Tasks of a job begin in the order of their indices, so one number says
 * all: job->noted.
 */
#ifndef LADLE_ONCE_H
#define LADLE_ONCE_H

#include "state.h"

/* May the first of the job's ready tasks go to a worker? */
bool once_may_begin(struct scheduler *s, struct job *j);
/* Ask its client. Until it answers the job waits, out of the queues. */
void once_ask(struct scheduler *s, struct job *j);
void once_noted(struct scheduler *s, struct client *c, const struct message_range *m);
void once_client_back(struct scheduler *s, struct client *c); /* what it was asked is lost */

#endif
