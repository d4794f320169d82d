/* line.h - a peer's way to the broker: one connection after the other, as net/link.h has it, and
 * the conversation on it. */
#ifndef LADLE_SIM_LINE_H
#define LADLE_SIM_LINE_H

#include "network.h"

#include "../../net/redial.h"
#include "conversation.h"

struct line {
    struct actor *actor;
    struct connection *connection; /* NULL: none */
    struct conversation talk;
    struct redial redial;
    int64_t since; /* the connection is there */
    int64_t again; /* without one: when to try */
};

void line_init(struct line *l, struct actor *a);
/* Try to get a connection: if there is one then, the owner says HELLO. */
bool line_dial(struct line *l);
/* It ended, or is to be given up. `died`: the process did. */
void line_lost(struct line *l, bool died);
void line_say(struct line *l, const struct message *m); /* nothing, without a connection */
/* BEAT, if it is time. False: the connection was given up. */
bool line_tick(struct line *l);
int64_t line_deadline(const struct line *l);

#endif
