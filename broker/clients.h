/* clients.h - what clients send, and how much of it is under way. */
#ifndef LADLE_CLIENTS_H
#define LADLE_CLIENTS_H

#include "state.h"

/* NULL: ENOMEM. */
struct client *client_new(struct scheduler *s, struct peer *p, const struct message_hello *m);
void client_free(struct scheduler *s, struct client *c); /* its tasks are cancelled */

/* A client without a peer is away: its jobs go on, and what is for it waits, within its window. So
 * does what was sent to it and not TAKEN: on its way it may have been lost. */
/* Its peer is gone; it may be away for so long. 0: it is freed. */
void client_part(struct scheduler *s, struct client *c, int64_t keep_us);
struct client *client_away(const struct scheduler *s, const uint8_t *session,
                           bool nested); /* NULL: none */
/* Was something sent to it, or is to be, that it has not said to have? */
bool client_has_untaken(const struct client *c);
/* These RESULTS of the worker came again, and what was made of them is among that: they are
 * acknowledged with it. False: that cannot be. */
bool client_ack_behind(struct scheduler *s, struct client *c, uint64_t worker, uint64_t serial);
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

/* Put out a message that counts `cost` in the client's window, now or when that has room. */
void client_deliver(struct scheduler *s, struct client *c, struct outgoing *o, uint64_t cost);
/* Put out what waited for room, as far as there is some. */
void client_release(struct scheduler *s, struct client *c);
uint64_t client_backlog(const struct client *c); /* of the connection by which it is reached */
/* Its window or its backlog changed. */
void client_update(struct scheduler *s, struct client *c);

#endif
