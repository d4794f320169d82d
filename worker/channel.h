/* channel.h - messages over the stream socket between a worker and one of its executors.
 *
 * Each message is {u32 size of the header, u32 size of the data, header, data}, little-endian. What
 * the socket does not take at once waits here; columns are sent from where they are, and received
 * to where they stay. Lives inside its owner's struct, and must not move while it is open.
 */
#ifndef LADLE_CHANNEL_H
#define LADLE_CHANNEL_H

#include "../base/poller.h"
#include "../proto/message.h"

#include <sys/queue.h>

struct arena;
struct outgoing;

struct channel {
    /* Set by the owner. */
    struct poller *poller;
    struct arena *receiving, *sending; /* for one message at a time */
    void (*message)(void *arg, const struct message *m);
    void *arg;
    /* What is wrong with the other side, or NULL; and it was closed, or broken. */
    const char *fault;
    bool closed;
    /* private */
    struct watch watch;
    bool hold;
    TAILQ_HEAD(outgoing_list, outgoing) out;
    size_t waiting; /* bytes of it */
    uint8_t *stage; /* bytes [begin, filled) are the message that comes in, up to its data ... */
    size_t room, begin, filled;
    struct blob *data; /* ... and its data, of which there are `have` bytes */
    size_t have;
};

/* Take the socket over; close it with channel_close(). -1 with errno: it is closed already. */
int channel_open(struct channel *c, int fd);
void channel_close(struct channel *c); /* safe for one that is all zero, or was closed */

/* True if there is one message more to read: while much waits, what a client in an executor can do
 * without is left out, and news of the grid take the place of older ones. */
bool channel_send(struct channel *c, const struct message *m);
void channel_hang_up(struct channel *c); /* the other side reads an end after what was sent */
void channel_hold(struct channel *c, bool hold); /* read nothing */
/* Read all that is there, held or not: the other side has ended. */
void channel_drain(struct channel *c);

#endif
