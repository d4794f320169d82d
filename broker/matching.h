/* matching.h - hands ready tasks to workers. */
#ifndef LADLE_MATCHING_H
#define LADLE_MATCHING_H

#include "state.h"

/* As long as there is a job that waits and a worker with room that fits. */
void match_pass(struct scheduler *s);

#endif
