/* claims.h - what workers bring with them: leases of the broker before, or of the connection
 * before.
 *
 * A worker tells with HELD what it still has of a lease: tasks that run, wait, or have results.
 * When the job and these tasks are known, those of them that nobody else has become a lease of that
 * number again, or several, one for each run of neighbours in a chunk; those that somebody else has
 * by now stay with both: the first outcome counts. Until then the claim waits for the client, for
 * CLAIM_US at most, and takes its worker's slots. The answer is ADOPTED.
 *
 * Several workers may hold one task: the next attempt after a crash had begun when the broker
 * ended. How many attempts were charged before tells which is the last one; the others are over.
 */
#ifndef LADLE_CLAIMS_H
#define LADLE_CLAIMS_H

#include "state.h"

#define CLAIM_US 10000000
#define CLAIMS_MOST 65536 /* of one worker */
#define LEASES_MOST 4096  /* that one claim may become */

/* 0, or -1 with s->why: it broke the protocol. */
int claim(struct scheduler *s, struct worker *w, const struct message_held *m);

/* More tasks of the job are known; with `all`, there will be no more. */
void claims_look_at(struct scheduler *s, const struct job *j, bool all);
void claims_forget_worker(struct scheduler *s, struct worker *w);
void claims_tick(struct scheduler *s);
int64_t claims_deadline(const struct scheduler *s);

#endif
