/* detached.h - the part of the core that is about jobs in the broker's store. */
#ifndef LADLE_DETACHED_H
#define LADLE_DETACHED_H

#include "core.h"

#define DETACHED_NUMBER (1ull << 63) /* in the numbers of such jobs */

/* One that is submitted, or (`attached`) that is in the store already. As core_job(). */
struct job *core_job_detached(struct core *core, const struct spec *spec, const uint8_t id[16],
                              bool attached, int64_t now);
/* Nobody asks for those tasks any more that have no handle: what is on disk goes on without us. */
void core_leave(struct core *core, struct job *j);
/* All its tasks are about to end here by themselves, and their inputs to go: what was not sent is
 * none of the job any more. */
void core_detached_cut(struct core *core, struct job *j);
/* Is there something that is not on disk yet? */
bool core_detached_busy(const struct core *core);

/* For core.c and answers.c. */
bool core_detached_due(struct core *core, const struct job *j);
bool core_detached_output(struct core *core, struct job *j, struct message *m);
int core_detached_input(struct core *core, const struct message *m); /* -1: ENOMEM */
void core_detached_welcome(struct core *core, struct job *j);
bool core_detached_settled(const struct job *j); /* the broker needs no more from us */

#endif
