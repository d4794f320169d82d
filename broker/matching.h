/* matching.h - hands ready tasks to workers. */
#ifndef LADLE_MATCHING_H
#define LADLE_MATCHING_H

#include "state.h"

/* As long as there is a job that waits and a worker with room that fits. */
void match_pass(struct scheduler *s);

/* The job itself goes before its first slice. -1: ENOMEM. */
int match_introduce(struct scheduler *s, struct worker *w, struct job *j);

#endif
