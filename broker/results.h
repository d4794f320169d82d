/* results.h - what workers send. */
#ifndef LADLE_RESULTS_H
#define LADLE_RESULTS_H

#include "state.h"

/* A message of a worker: 0, or -1 with s->why if it broke the protocol. */
int worker_input(struct scheduler *s, struct worker *w, const struct message *m);

#endif
