/* endings.h - tasks that end without a result of their own, and what clients and workers are told.
 */
#ifndef LADLE_ENDINGS_H
#define LADLE_ENDINGS_H

#include "chunks.h"

struct ending {
    enum outcome outcome;
    uint32_t attempt;    /* the last one; 0: none ran */
    struct blob *worker; /* NULL: none */
    const char *text;
};

/* Tasks [from, to) of a chunk, none of which has ended, do. The caller looks at the job after it.
 */
void end_tasks(struct scheduler *s, struct chunk *c, uint32_t from, uint32_t to,
               const struct ending *e);

/* All tasks [first, last) of a job that have not ended do; workers that hold some are told to stop.
 * Attempt and worker of those are filled in. */
void end_range(struct scheduler *s, struct job *j, uint64_t first, uint64_t last,
               const struct ending *e);
/* Of the ready ones only. */
void end_ready(struct scheduler *s, struct job *j, const struct ending *e);

/* Tasks that never became ready: only the client is told. */
void tell_ended(struct scheduler *s, struct job *j, uint64_t first, uint64_t count,
                const struct ending *e);

void deadlines_expire(struct scheduler *s);
/* The earliest deadline of the job's tasks, after something changed. */
void deadline_update(struct scheduler *s, struct job *j);

#endif
