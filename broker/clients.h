/* clients.h - clients that come and go, and what they send. */
#ifndef LADLE_CLIENTS_H
#define LADLE_CLIENTS_H

#include "underway.h"

/* NULL: ENOMEM. */
struct client *client_new(struct scheduler *s, struct peer *p, const struct message_hello *m);
void client_free(struct scheduler *s, struct client *c); /* its tasks are cancelled */

/* A client without a peer is away: its jobs go on, and what is for it waits, within its window. So
 * does what was sent to it and not TAKEN: on its way it may have been lost. */
/* Its peer is gone; it may be away for so long. 0: it is freed. */
void client_part(struct scheduler *s, struct client *c, int64_t keep_us);
struct client *client_away(const struct scheduler *s, const uint8_t *session,
                           bool nested); /* NULL: none */
/* The worker with this session is back: those in its executors are going to be, when the tasks that
 * run there let them read. */
void clients_carrier_back(struct scheduler *s, uint64_t holder);
void client_back(struct scheduler *s, struct client *c, struct peer *p,
                 const struct message_hello *m);
void client_catch_up(struct scheduler *s, struct client *c); /* after its WELCOME */
void clients_tick(struct scheduler *s);                      /* who was away for too long */

/* A message to a client that counts in its window: it cannot be left out. NULL: ENOMEM. */
struct outgoing *client_say(struct scheduler *s, struct client *c, enum message_type type);
void client_spoil(struct scheduler *s, struct client *c); /* it will miss something: let it go */

/* A message of a client: 0, or -1 with s->why if it broke the protocol. */
int client_input(struct scheduler *s, struct client *c, const struct message *m);

#endif
