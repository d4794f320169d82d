/* deadlines.h - the jobs that have a deadline, the earliest first: a binary heap.
 *
 * A job stands in it at most once, with the deadline of its earliest unfinished tasks.
 */
#ifndef LADLE_DEADLINES_H
#define LADLE_DEADLINES_H

#include "state.h"

int deadlines_reserve(struct scheduler *s); /* room for one more job; -1: ENOMEM */
/* Needs room that was reserved, unless the job is there already. CLOCK_NEVER takes it out. */
void deadlines_set(struct scheduler *s, struct job *j, int64_t deadline);
void deadlines_remove(struct scheduler *s, struct job *j);
struct job *deadlines_first(const struct scheduler *s); /* NULL if there is none */

#endif
