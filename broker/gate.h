/* gate.h - who is let in: connections that were accepted and have not said hello.
 *
 * libzmq has no limit for them: not for their number (at the limit of descriptors it spins), not
 * for how long they keep silent after its own handshake, and not for what they send without ever
 * ending a message, which it keeps in memory. So the monitor's words are written down here, and
 * who does not become a peer in time, or sends more than a hello first, is shut down. When
 * descriptors run out, new connections have to wait outside.
 */
#ifndef LADLE_GATE_H
#define LADLE_GATE_H

#include "budget.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define GATE_LISTENERS 64
#define GATE_US 10000000        /* from the connection to the welcome */
#define GATE_CROWDED_US 1000000 /* the same, while others wait outside */
#define GATE_BYTES (128u << 10) /* of an unwelcome peer: more than a hello can have */

struct guest {
    int fd;
    ino_t inode; /* the number alone may be another's by now */
    int64_t since;
    uint64_t received; /* bytes, when it became a guest */
    UT_hash_handle hh;
    TAILQ_ENTRY(guest) link;
};

struct gate {
    struct budget budget;
    int listeners[GATE_LISTENERS];
    unsigned nlisteners;
    struct guest *by_fd;
    TAILQ_HEAD(, guest) guests; /* who has been here for longest first */
    int64_t look_at;            /* when to look at them again; CLOCK_NEVER */
};

void gate_init(struct gate *self, const struct budget *budget);
void gate_clear(struct gate *self);

/* What the monitor says, of descriptors. */
void gate_listening(struct gate *self, int fd);
void gate_accepted(struct gate *self, int fd, int64_t now); /* or is welcome no more */
void gate_failed(struct gate *self, int64_t now); /* to accept, for want of a descriptor */
void gate_ended(struct gate *self, int fd);

/* When gate_deadline() has come. `is_welcome` knows the peers. Returns how many were shut out. */
unsigned gate_tick(struct gate *self, bool (*is_welcome)(void *arg, int fd, ino_t inode), void *arg,
                   int64_t now);
int64_t gate_deadline(const struct gate *self);

#endif
