/* outbox.h - what a worker has to say to its broker, in order.
 *
 * Small results of one lease that meet here become one message. Nothing is held back for that.
 */
#ifndef LADLE_OUTBOX_H
#define LADLE_OUTBOX_H

#include "../proto/message.h"

struct outbox;

struct outbox *outbox_new(void);     /* NULL: ENOMEM */
void outbox_free(struct outbox *o);  /* NULL is allowed */
void outbox_clear(struct outbox *o); /* forget what was not yet read */

/* Copies what the message points to, but blobs, of which it takes a reference. -1 with ENOMEM. For
 * the messages that a worker sends, but HELLO. */
int outbox_put(struct outbox *o, const struct message *m);

/* The next message; false if there is none. Borrowed until the next call. */
bool outbox_get(struct outbox *o, struct message *m);
bool outbox_empty(const struct outbox *o);

#endif
