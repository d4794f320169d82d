/* tails.h - jobs that are over and forgotten, of which results are on their way to their client
 * yet: a worker that comes back with these keeps them until the client has said TAKEN. */
#ifndef LADLE_TAILS_H
#define LADLE_TAILS_H

#include "state.h"

/* Without memory for it such results are dropped, and made again if the broker ends now. */
void tail_keep(struct scheduler *s, const struct job *j);
struct client *tail_client(const struct scheduler *s, uint64_t job); /* whose it was; NULL */
void tails_taken(struct scheduler *s, struct client *c);             /* some messages have gone */

#endif
