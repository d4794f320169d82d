/* contents.h - programs and shared constants by their digest: which clients have them, and which
 * workers were led to keep them.
 *
 * A client has what it said that it shares, and what its jobs need. A constant that no client has
 * any more is taken from the workers: at once, or, if the last one vanished without a word, when it
 * does not come back.
 */
#ifndef LADLE_CONTENTS_H
#define LADLE_CONTENTS_H

#include "state.h"

/* What the job needs: its client has it as long as the job is there. -1: ENOMEM. */
int contents_join(struct scheduler *s, struct job *j);
void contents_leave(struct scheduler *s, struct job *j); /* one that has not joined is fine */

/* SHARE and UNSHARE. 0, or -1 with s->why. */
int content_shared(struct scheduler *s, struct client *c, const struct message_share *m);
void content_unshared(struct scheduler *s, struct client *c, const char *digest);

/* The worker is about to be sent the job, and will keep its constants. -1: ENOMEM. */
int contents_held(struct scheduler *s, struct worker *w, const struct job *j);

/* A client that can be asked for it, other than the one that was asked before (NULL: none was);
 * those that came first come first. NULL: there is none. */
struct client *content_source(const struct scheduler *s, const char *digest,
                              const struct client *before);

void contents_free(struct scheduler *s);
void contents_tick(struct scheduler *s); /* clients that did not come back */
int64_t contents_deadline(const struct scheduler *s);

void contents_forget_client(struct scheduler *s, struct client *c);
void contents_forget_worker(struct scheduler *s, struct worker *w);
void contents_check(const struct scheduler *s); /* for tests */

#endif
