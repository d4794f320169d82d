/* peers.h - who is there: hello and goodbye, signs of life, and messages to a peer. */
#ifndef LADLE_PEERS_H
#define LADLE_PEERS_H

#include "state.h"

/* `number` is message.client: 0, or that of a client in an executor of the worker that is peer
 * `id`.
 */
struct peer *peer_find(const struct scheduler *s, uint32_t id, uint32_t number);
/* `carrier` is the worker of that client; NULL. 0, or -1 with s->why: the peer got a REFUSED, and
 * is not known. */
int peer_hello(struct scheduler *s, uint32_t id, struct peer *carrier, uint32_t number,
               const struct message_hello *m);
/* It sent something: it lives. */
void peer_heard(struct scheduler *s, struct peer *p);
void peer_heard_at(struct scheduler *s, struct peer *p, int64_t at);
/* The next after `p`, or the first if that is NULL, that is silent for too long at `now`. */
const struct peer *peer_silent(const struct scheduler *s, const struct peer *p, int64_t now);

enum parting {
    PARTING_FOR_GOOD, /* it said so, or is not to come back */
    PARTING_REPLACED, /* it is back, on another connection */
    PARTING_BROKEN,   /* its connection ended: it died, or will be back at once */
    PARTING_SILENT    /* it may be cut off, and go on */
};
/* Forget it, and with a worker the clients in its executors: a worker's tasks run elsewhere, `why`
 * tells the clients of those that cannot; a client's are cancelled, unless it may come back. */
void peer_gone(struct scheduler *s, struct peer *p, enum parting how, const char *why);

/* A message to it, to be put out by the caller. NULL: ENOMEM, and the next tick lets go of the
 * peer, since it would miss something. Or there is no peer: that of a client that is away. */
struct outgoing *peer_say(struct scheduler *s, struct peer *p, enum message_type type);
/* The last message to somebody who is not known (any more): REFUSED or BYE. */
void peer_last_words(struct scheduler *s, uint32_t id, uint32_t number, enum message_type type,
                     const char *text);

void peers_tick(struct scheduler *s); /* beats, and who was silent too long */
int64_t peers_deadline(const struct scheduler *s);
void grid_changed(struct scheduler *s);

#endif
