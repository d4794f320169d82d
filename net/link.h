/* link.h - one connection to a broker: a DEALER socket and what ZeroMQ leaves to its users.
 *
 * One socket is one connection and one conversation: libzmq's own reconnection is not used, so
 * nothing is ever sent into a connection whose other end does not know us. When the connection is
 * lost (the socket's monitor, or the owner's own link_restart()), the socket is
 * thrown away and a new one connects after a random, growing interval; the owner is told by
 * LINK_UP, and introduces itself anew. Not thread-safe: belongs to the thread that drives its
 * poller.
 */
#ifndef LADLE_LINK_H
#define LADLE_LINK_H

#include "../base/poller.h"
#include "../proto/message.h"

struct link;

/* "tcp://host:port" or "ipc://path"? If not, -1 and a sentence that says what is wrong and what is
 * right. */
int endpoint_check(const char *endpoint, char *why, size_t size);

/* NULL with errno; the first LINK_UP comes once the broker answered at ZMTP level. */
struct link *link_new(struct poller *poller, const char *endpoint, int64_t now);
/* Tries for at most `linger_ms` to pass on what was sent. */
void link_free(struct link *l, int linger_ms);

enum link_event { LINK_NONE, LINK_UP, LINK_DOWN };
/* What happened since the last call, oldest first; LINK_NONE when there is no more. */
enum link_event link_event(struct link *l);
/* Did link_event() say so, and is it still so? */
bool link_is_up(const struct link *l);

/* Encode and send, without blocking. What ZeroMQ does not take stays here, in order; see
 * link_backlog(). 0; -1 with ENOTCONN while the link is down, or ENOMEM. */
int link_send(struct link *l, const struct message *m);
size_t link_backlog(const struct link *l); /* bytes that wait here */

/* When the last bytes came, in microseconds as `now`: also those of a message that is still on its
 * way, which is a sign of life on a slow link. INT64_MIN if that is not known. */
int64_t link_heard(struct link *l, int64_t now);

/* The next message: 1; 0 if there is none; -1 with EPROTO if the peer sent something else (it is
 * dropped, and *why is a sentence). The message is borrowed until the next call. */
int link_receive(struct link *l, struct message *m, const char **why);

/* Call once per turn of the loop: passes on the backlog, connects again when it is time. */
void link_tick(struct link *l, int64_t now);
int64_t link_deadline(const struct link *l); /* 0 if there is something to be received right now */

/* Give this connection up and start over: the other end is silent, refused us, or forgot us. */
void link_restart(struct link *l, int64_t now);

/* Why does nobody answer at `endpoint`? One sentence, found by looking: the name is unknown, the
 * connection is refused, something answers that is no broker ... Blocks for up to `timeout_ms`, and
 * for as long as the system takes to look up the name. */
void link_diagnose(const char *endpoint, int timeout_ms, char *text, size_t size);

#endif
