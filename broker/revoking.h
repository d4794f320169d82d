/* revoking.h - takes work that has not started back from busy workers, for idle ones. */
#ifndef LADLE_REVOKING_H
#define LADLE_REVOKING_H

#include "state.h"

/* After a matching pass: nothing is ready that an idle worker could run. */
void revoke_pass(struct scheduler *s);
/* A worker answered: it gave `count` tasks back. */
void revoke_answered(struct scheduler *s, struct worker *w, uint64_t lease, uint32_t count);

#endif
