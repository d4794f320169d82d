/* outbox.h - messages on their way out, with the references that keep them valid.
 *
 * First in, first out, over all peers. Nodes are reused: a message costs no allocation once the
 * outbox has seen its busiest turn.
 */
#ifndef LADLE_OUTBOX_H
#define LADLE_OUTBOX_H

#include "../proto/message.h"

#include <sys/queue.h>

#define OUTGOING_KEEPS 3

struct outgoing {
    STAILQ_ENTRY(outgoing) link;
    uint32_t peer;
    uint32_t client; /* of the message */
    bool last;       /* the peer is forgotten already, and shall still get this */
    uint64_t cost;   /* of a result in its client's window */
    unsigned refs;   /* the outbox, and a client that may have to be told again */
    uint64_t worker, serial, last_serial; /* whose RESULTS this is the last of; 0: of none */
    STAILQ_ENTRY(outgoing) by_client;     /* in client->unread */
    struct message m;
    struct blob *keeps[OUTGOING_KEEPS]; /* what `m` points into */
    struct spec *spec;
};

STAILQ_HEAD(outgoing_list, outgoing);

struct outbox {
    struct outgoing_list queue;
    struct outgoing_list unused;
    struct outgoing *newest; /* in the queue; NULL */
    struct outgoing *lent;   /* its message is with the caller */
};

void outbox_init(struct outbox *self);
void outbox_clear(struct outbox *self);

/* A message of this type, zeroed, that belongs to the caller until outbox_put(); NULL: ENOMEM. */
struct outgoing *outbox_new(struct outbox *self, uint32_t peer, enum message_type type);
void outbox_put(struct outbox *self, struct outgoing *o);
/* One reference less; with the last one it goes, and what it refers to. */
void outbox_drop(struct outbox *self, struct outgoing *o);
void outbox_drop_all(struct outbox *self, struct outgoing_list *list);

/* What waits for this peer, or client in an executor of it, does not go out. */
void outbox_forget(struct outbox *self, uint32_t peer, uint32_t client);

/* The next one; the last one that was taken is let go. NULL if there is none. */
struct outgoing *outbox_take(struct outbox *self);
void outbox_return(struct outbox *self); /* let go of the last one taken */

void outgoing_keep(struct outgoing *o, struct blob *blob); /* takes a reference; NULL is allowed */

/* A sentence as a blob that ends with NUL; NULL: ENOMEM. */
struct blob *sentence(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *words(const struct blob *sentence); /* "" for NULL */

#endif
