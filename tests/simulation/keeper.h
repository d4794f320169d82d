/* keeper.h - people with `ladle jobs`, `cancel`, `retry-failed` and `replay`: they ask a broker
 * about the jobs that it keeps, and look whether what it says is so. */
#ifndef LADLE_SIM_KEEPER_H
#define LADLE_SIM_KEEPER_H

#include "sim.h"

/* At work until a while after all is calm; until then it counts as a client. */
struct keeper *keeper_new(struct sim *s);
void keeper_answer(struct keeper *k, const struct message *m);

#endif
