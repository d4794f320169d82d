/* roster.h - workers that come, drain and go. */
#ifndef LADLE_ROSTER_H
#define LADLE_ROSTER_H

#include "state.h"

/* NULL: ENOMEM. Its name is made unique. */
struct worker *worker_new(struct scheduler *s, struct peer *p, const struct message_hello *m);
struct worker *worker_find(const struct scheduler *s, const char *name); /* NULL: none */
/* It is gone: its tasks wait `keep_us` for it to come back, then run elsewhere, or are lost; `why`
 * says to whom it matters. */
void worker_free_lost(struct scheduler *s, struct worker *w, int64_t keep_us, const char *why);
uint64_t worker_holder(const struct peer *p); /* who it is, after it came back too */
void worker_drain(struct scheduler *s, struct worker *w);

#endif
