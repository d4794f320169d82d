/* status.h - what operators see. */
#ifndef LADLE_STATUS_H
#define LADLE_STATUS_H

#include "state.h"

/* Fill in a STATUS that is about to be handed out: rows point at what is there now. `wanted` says
 * from which rows on. */
void status_fill(struct scheduler *s, const struct message_status_wanted *wanted,
                 struct message_status *m);

#endif
