/* line.h - a peer's way to the broker: one connection after the other, as net/link.h has it, and
 * the conversation on them. When to dial and what to say there is decided by net/redial.h and
 * net/conversation.h; what is made up is the network: an attempt that is refused, and one that a
 * host which is out of reach does not hear. */
#ifndef LADLE_SIM_LINE_H
#define LADLE_SIM_LINE_H

#include "network.h"

#include "../../net/conversation.h"
#include "../../net/redial.h"

struct line {
    struct actor *actor;
    struct connection *connection; /* NULL: none */
    struct conversation talk;
    struct redial redial;
    int64_t knock; /* without one, but trying: when the broker's host is asked again */
};

void line_init(struct line *l, struct actor *a, const uint8_t session[16], int64_t keep_us);
void line_say(struct line *l, const struct message *m); /* nothing, without a connection */
/* It ended by itself. */
void line_ended(struct line *l);
/* The owner ends. `died`: without a goodbye. */
void line_leave(struct line *l, bool died, const char *why);
/* Dial and beat, if it is time. */
void line_tick(struct line *l);
/* What the owner has to do: HELLO, LOST, FORSAKEN. The rest is done here. */
bool line_output(struct line *l, struct conversation_effect *e);
int64_t line_deadline(const struct line *l);

#endif
