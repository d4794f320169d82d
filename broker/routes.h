/* routes.h - the connections of the broker's ROUTER socket.
 *
 * ROUTER names a connection by a routing id; the scheduler by a number that is never reused. Here
 * is the map between them, what waits to be sent to each (ROUTER never blocks and takes only so
 * much), and the watch over their ends, of which ROUTER does not tell: see routes_fd_ended().
 * A route belongs to the container from its first message until routes_remove().
 */
#ifndef LADLE_ROUTES_H
#define LADLE_ROUTES_H

#include "../net/frames.h"
#include "../proto/limits.h"
#include "table.h"

#include <sys/queue.h>
#include <sys/types.h>

#define ROUTING_ID 5 /* bytes of the ids that ROUTER makes up; a peer may not choose its own */
/* What may wait for a peer: one item of the largest size, and a window of others; that twice, since
 * a worker gets inputs, and results for clients in its executors. */
#define OUTBOX_LIMIT (2 * ((size_t)LIMIT_DATA + WINDOW_RESULT))

enum route_state {
    ROUTE_OPEN,
    ROUTE_CONDEMNED, /* refused: not heard any more; shut down in a moment */
    ROUTE_ENDED,     /* the connection is no more; what it sent before is still to be read */
};

struct parcel;

struct route {
    /* What each message touches, in a line of the cache */
    uint32_t number;
    enum route_state state;
    uint8_t id[ROUTING_ID];
    bool joined;      /* it was welcomed */
    bool is_operator; /* comes and goes without a line in the log */
    bool said_bye;
    int fd;            /* of its connection; -1: not known (any more) */
    uint64_t messages; /* that came so far */
    TAILQ_HEAD(, parcel) outbox;
    size_t waiting;  /* bytes there */
    char label[160]; /* for the log: "worker node1"; "" before its HELLO */

    TAILQ_ENTRY(route) by_wait;
    ino_t inode;      /* of fd: the number alone may be another's by now */
    unsigned probes;  /* since it was suspected */
    int64_t probe_at; /* CLOCK_NEVER: not suspected */
    int64_t end_at;   /* CONDEMNED: when to shut it down; ENDED: when to remove it, read or not */
    bool timed;       /* in routes->timed: there is a time in one of the two */
    TAILQ_ENTRY(route) by_time;

    /* `messages` when hoard.h last looked, and the kernel's bytes then */
    uint64_t weighed, received;

    char name[65];           /* of the program, from its hello */
    TAILQ_ENTRY(route) link; /* routes->all */
};

TAILQ_HEAD(route_list, route);

struct routes {
    void *socket;
    struct table by_id, by_number, by_fd;
    struct route_list all;
    struct route_list waiting; /* those with something in their outbox */
    struct route_list timed;
    int64_t due;      /* none of their times is earlier; routes_settle() makes it exact */
    int64_t sweep_at; /* when to suspect all whose descriptor is not known */
    int64_t swept;
    uint32_t last_number;
};

void routes_init(struct routes *self, void *socket);
void routes_clear(struct routes *self);

/* Who sent this message? Makes a route of a new routing id. NULL with errno EINVAL (an id of its
 * own choice) or ENOMEM. */
struct route *routes_sender(struct routes *self, zmq_msg_t *id, zmq_msg_t *message, int64_t now);
struct route *routes_find(const struct routes *self, uint32_t number); /* NULL if it is gone */
struct route *routes_find_fd(const struct routes *self, int fd);       /* the same */
void routes_remove(struct routes *self, struct route *r);              /* and what waits for it */

/* Send, or keep for later; takes what is in `f` over. -1 with errno EHOSTUNREACH (the connection
 * has ended), ENOBUFS (it reads too slowly: its outbox is full), or ENOMEM. */
int routes_send(struct routes *self, struct route *r, struct frames *f);
/* Send what waits for `r`, as much as goes. -1 with EHOSTUNREACH. */
int routes_flush(struct routes *self, struct route *r);

/* The monitor says that the connection of a descriptor has ended. It is a hint only, and the pipe
 * may be there for a while yet: its peer is suspected, so that its owner asks (by sending
 * something) now, and in 5, 20 and 100 ms. */
void routes_fd_ended(struct routes *self, int fd, int64_t now);
void routes_suspect(struct routes *self, struct route *r, int64_t now);
void routes_sweep(struct routes *self, int64_t now); /* when sweep_at has come */
/* It was asked for, and is still there: sets when to ask again. */
void routes_probed(struct routes *self, struct route *r, int64_t now);

void routes_condemn(struct routes *self, struct route *r, int64_t shut_at);
void routes_ended(struct routes *self, struct route *r, int64_t remove_at);
/* End its connection, unless its descriptor is another's by now. */
void routes_shut(struct routes *self, struct route *r, int64_t now);

/* After looking at all of `timed`: forget those without a time, and find when the next is due. */
void routes_settle(struct routes *self);

#endif
