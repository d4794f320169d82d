/* talker.h - a peer of a broker that says whatever a test wants: through net/link.h as our own
 * clients and workers do, or through a bare DEALER as nobody should. */
#ifndef LADLE_TALKER_H
#define LADLE_TALKER_H

#include "../../proto/message.h"

struct talker;

/* Connected, or the test fails. */
struct talker *talker_new(const char *endpoint);
void talker_free(struct talker *t); /* NULL is allowed */
void talker_send(struct talker *t, const struct message *m);
/* The next message of a type within `ms`: others are dropped. NULL if none came. Borrowed until the
 * next call. */
const struct message *talker_await(struct talker *t, enum message_type type, int ms);
bool talker_await_down(struct talker *t, int ms); /* the connection ended */

/* A HELLO of a role, with everything that it needs; `slots` of a worker. */
struct message talker_hello(enum role role, const char *name, uint32_t slots);
/* Send it, and await WELCOME. */
void talker_join(struct talker *t, enum role role, const char *name, uint32_t slots);
/* A job of a function, and `count` inputs of `size` bytes each. */
void talker_submit(struct talker *t, uint64_t job, const char *function, uint32_t count,
                   uint32_t size);

struct dealer;

struct dealer *dealer_new(const char *endpoint, const char *identity); /* NULL: none */
void dealer_free(struct dealer *d);
void dealer_send(struct dealer *d, const void *frame, size_t size, bool more);
/* The text of a REFUSED within `ms`; NULL if none came. Borrowed until the next call. */
const char *dealer_await_refused(struct dealer *d, int ms);
bool dealer_await_down(struct dealer *d, int ms);

#endif
