/* clients.h - what clients send, and how much of it is under way. */
#ifndef LADLE_CLIENTS_H
#define LADLE_CLIENTS_H

#include "state.h"

/* NULL: ENOMEM. */
struct client *client_new(struct scheduler *s, struct peer *p, const struct message_hello *m);
void client_free(struct scheduler *s, struct client *c); /* its tasks are cancelled */

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
