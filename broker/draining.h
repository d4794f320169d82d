/* draining.h - an operator wants a worker to take no more tasks, and to end. */
#ifndef LADLE_DRAINING_H
#define LADLE_DRAINING_H

#include "state.h"

/* 0, or -1 with s->why. */
int drain_wanted(struct scheduler *s, struct peer *p, const struct message_drain *m);

#endif
