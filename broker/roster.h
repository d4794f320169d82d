/* roster.h - workers that come, drain and go. */
#ifndef LADLE_ROSTER_H
#define LADLE_ROSTER_H

#include "state.h"

/* NULL: ENOMEM. Its name is made unique. */
struct worker *worker_new(struct scheduler *s, struct peer *p, const struct message_hello *m);
/* It is gone: its tasks run elsewhere, or are lost; `why` says to whom it matters. */
void worker_free_lost(struct scheduler *s, struct worker *w, const char *why);
void worker_drain(struct scheduler *s, struct worker *w);

#endif
