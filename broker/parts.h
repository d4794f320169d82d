/* parts.h - programs and constants on their way from clients to workers, part by part. The latest
 * parts are kept: the next worker that asks need not wait for the client. */
#ifndef LADLE_PARTS_H
#define LADLE_PARTS_H

#include "state.h"

int parts_init(struct scheduler *s); /* -1: ENOMEM */
void parts_free(struct scheduler *s);

void program_wanted(struct scheduler *s, struct worker *w, const struct message_program_wanted *m);
/* 0, or -1 with s->why if it breaks the protocol. */
int program_part(struct scheduler *s, struct client *c, const struct message_program_part *m);

void parts_client_back(struct scheduler *s, struct client *c); /* it was away: ask it again */
/* They may have been the reason why something cannot start: not handed out again. */
void parts_forget(struct scheduler *s, const char *digest);
void parts_forget_client(struct scheduler *s, struct client *c);
void parts_forget_worker(struct scheduler *s, struct worker *w);

#endif
