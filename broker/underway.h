/* underway.h - results on their way to a client.
 *
 * What does not fit into its window, or is for one that is away, is held; what was put out stays
 * until the client has said TAKEN for it: on its way it may be lost with the connection. The worker
 * that made it keeps it as long, and is told then.
 */
#ifndef LADLE_UNDERWAY_H
#define LADLE_UNDERWAY_H

#include "state.h"

void underway_init(struct client *c);
void underway_drop(struct scheduler *s, struct client *c); /* nobody wants them any more */

/* Put out a message that counts `cost` in the client's window, now or when that has room. */
void client_deliver(struct scheduler *s, struct client *c, struct outgoing *o, uint64_t cost);
/* Put out what waited for room, as far as there is some. */
void client_release(struct scheduler *s, struct client *c);
uint64_t client_backlog(const struct client *c); /* of the connection by which it is reached */
/* Its window or its backlog changed. */
void client_update(struct scheduler *s, struct client *c);

void underway_taken(struct scheduler *s, struct client *c, uint64_t bytes); /* TAKEN came */
/* Its connection is gone: all that it has not said to have goes before what it was not sent. */
void underway_hold(struct scheduler *s, struct client *c);
/* Of these tasks, those whose outcomes are on their way, though their job may be forgotten already.
 */
void underway_told(const struct client *c, const struct message_inputs *m, uint64_t *bits);

/* Was something sent to it, or is to be, that it has not said to have? */
bool client_has_untaken(const struct client *c);
/* These RESULTS of the worker came again, and what was made of them is among that: they are
 * acknowledged with it. False: that cannot be. */
bool client_ack_behind(struct scheduler *s, struct client *c, uint64_t worker, uint64_t serial);

#endif
