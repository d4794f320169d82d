/* notices.h - tells clients why their tasks wait, when no worker could ever run them. */
#ifndef LADLE_NOTICES_H
#define LADLE_NOTICES_H

#include "state.h"

/* The job has ready tasks: can they be placed at all? The job may be gone afterwards, if its tasks
 * were rejected. */
void notices_job_ready(struct scheduler *s, struct job *j);
/* Nobody who has room has time for it. */
void notices_job_late(struct scheduler *s, struct job *j);
/* Workers came or went, or cannot start a program: look at all that wait, at the next tick. */
void notices_recheck(struct scheduler *s);
void notices_tick(struct scheduler *s);
int64_t notices_deadline(const struct scheduler *s);

/* Why no worker can run tasks of this job; NULL: ENOMEM. */
struct blob *notice_reason(const struct scheduler *s, const struct job *j);

#endif
