/* conversation.h - the signs of life between a broker and one of its peers, and when to give up.
 *
 * Pure: the owner has the connection, and tells what happens to it and when. Times are
 * microseconds.
 */
#ifndef LADLE_SIM_CONVERSATION_H
#define LADLE_SIM_CONVERSATION_H

#include "../../proto/message.h"

struct conversation {
    bool up;       /* HELLO was said */
    bool welcome;  /* and answered */
    int64_t heard; /* the last sign of life; or when HELLO was said */
    int64_t beat;  /* when ours is due */
    int64_t beat_us, lost_us;
};

void conversation_init(struct conversation *c);
void conversation_hello(struct conversation *c, int64_t now); /* the owner says it now */
void conversation_over(struct conversation *c);
void conversation_heard(struct conversation *c, const struct message *m, int64_t now);

enum conversation_due { CONVERSATION_GOES_ON, CONVERSATION_BEAT, CONVERSATION_DEAD };
/* Is it time for a BEAT, which the owner is to send now? DEAD: the broker is silent, for the reason
 * in *why; the connection is to be given up. */
enum conversation_due conversation_tick(struct conversation *c, int64_t now, const char **why);
int64_t conversation_deadline(const struct conversation *c); /* of the next tick */

#endif
