/* reports.h - what a worker has to say to its broker, in order.
 *
 * Small results of one lease that meet here become one message. Nothing is held back for that.
 */
#ifndef LADLE_REPORTS_H
#define LADLE_REPORTS_H

#include "../proto/message.h"

struct reports;

struct reports *reports_new(void);     /* NULL: ENOMEM */
void reports_free(struct reports *o);  /* NULL is allowed */
void reports_clear(struct reports *o); /* forget what was not yet read */

/* Copies what the message points to, but blobs and specs, of which it takes a reference. -1 with
 * ENOMEM. For the messages that a worker sends, but HELLO, and those of clients in executors. */
int reports_put(struct reports *o, const struct message *m);

/* The next message; false if there is none. Borrowed until the next call. */
bool reports_get(struct reports *o, struct message *m);
bool reports_empty(const struct reports *o);

#endif
