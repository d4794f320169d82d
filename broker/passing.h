/* passing.h - what workers say of running tasks, and their clients may miss: passed on. */
#ifndef LADLE_PASSING_H
#define LADLE_PASSING_H

#include "state.h"

/* RUNNING, PROGRESS, PARTIAL */
void pass_on_index(struct scheduler *s, struct worker *w, const struct message *m);
void pass_on_output(struct scheduler *s, struct worker *w, const struct message_output *m);

#endif
