/* aside.h - tasks that are not handed out yet, since a worker may still come back with them.
 *
 * Their ranges are in a list of their job, and count in none of its other sums. A worker that tells
 * in time what it holds takes its part out of them (claims.h); when the time is over the rest
 * becomes ready. What a worker had, or a client knew to run, has then lost an attempt for which
 * nobody is to blame.
 */
#ifndef LADLE_ASIDE_H
#define LADLE_ASIDE_H

#include "peers.h"

#define BROKEN_LEASE_US 400000    /* for a worker whose connection broke to be back */
#define REPLACED_LEASE_US 2000000 /* for one that is back, to tell what it has */
#define RESTART_US 4000000        /* after a broker's start, for workers to come before clients */
#define RUNNING_US 10000000       /* the same for tasks that were known to run */
#define RESUME_US 10000000        /* peers may need so long after this process was stopped */

/* Until when tasks that a client tells anew wait for their worker; 0: they do not. Those that may
 * run `once` and may have begun do, if only to be LOST. */
int64_t aside_until(const struct scheduler *s, const struct message_inputs *in, bool once);
/* How long leases of a worker that is gone wait for it; 0: they do not. */
int64_t aside_keep_us(const struct scheduler *s, enum parting how);

/* Until when the next attempt of what crashed under an adopted lease waits: perhaps the broker
 * before had started it, and its worker is not back yet. 0: it does not. */
int64_t aside_until_next(const struct scheduler *s);

/* The range belongs to its job from now on; `why` says how an attempt was lost, NULL: none was. */
void aside_put(struct scheduler *s, struct range *r, int64_t until, struct blob *why);
/* Out of the lists, and of the sum. It is the caller's. */
void aside_take(struct scheduler *s, struct range *r);
/* Live tasks [from, to) of the chunk that are aside, and are not any more. */
uint32_t aside_lose(struct job *j, const struct chunk *c, uint32_t from, uint32_t to);
/* The worker with this session has told all that it has. What else was its did not get there, or
 * was given back; but one that has dropped all may have begun it. */
void aside_release(struct scheduler *s, uint64_t holder, bool began);
void aside_free(struct scheduler *s, struct job *j); /* all of the job */

void aside_tick(struct scheduler *s);
int64_t aside_deadline(const struct scheduler *s);

#endif
