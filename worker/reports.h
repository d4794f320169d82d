/* reports.h - what a worker has to say to its broker, in order.
 *
 * Small results of one lease that meet here become one message. Nothing is held back for that.
 * Results that went out are kept until the broker acknowledges them: when the connection is lost
 * they wait, with those that had not gone out, until a broker says whether it wants them.
 */
#ifndef LADLE_REPORTS_H
#define LADLE_REPORTS_H

#include "../proto/message.h"

struct reports;

#define REPORTS_KEPT (64u << 20) /* bytes of results; of those that went out the oldest go then */

struct reports *reports_new(bool keeps); /* NULL: ENOMEM */
void reports_free(struct reports *o);    /* NULL is allowed */
void reports_clear(struct reports *o);   /* forget what was not yet read, and what was kept */

/* Copies what the message points to, but blobs and specs, of which it takes a reference. -1 with
 * ENOMEM. For the messages that a worker sends, but HELLO, and those of clients in executors. */
int reports_put(struct reports *o, const struct message *m);

/* The next message; false if there is none. Borrowed until the next call. */
bool reports_get(struct reports *o, struct message *m);
bool reports_empty(const struct reports *o);

void reports_acknowledged(struct reports *o, const struct message_ack *m);
/* There is no connection: results wait, the rest is forgotten; but for what clients in executors
 * say to the next broker, if it is `for_next`. */
void reports_lost(struct reports *o, bool for_next);
/* Of what waits: the next after `before`; NULL: no more, or the first. */
const struct message_results *reports_waiting(const struct reports *o,
                                              const struct message_results *before);
/* The broker is asked whether it wants this lease: what is said about it waits for the answer. */
void reports_ask(struct reports *o, uint64_t lease);
void reports_adopted(struct reports *o, uint64_t lease, bool wanted); /* those that wait */
/* There is as much as may be kept: without a broker nothing should be added. */
bool reports_full(const struct reports *o);
uint64_t reports_kept(const struct reports *o);    /* bytes of results that went out, or wait */
uint64_t reports_dropped(const struct reports *o); /* results that were too many to be kept */

#endif
