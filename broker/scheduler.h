/* scheduler.h - which worker runs what, and what becomes of it: the state machine at the heart of
 * Ladle.
 *
 * Messages of peers and the time go in; messages to peers come out. No sockets, no clock, no
 * threads, no protobuf. The broker's shell feeds it from a ROUTER socket, the local pool from its
 * own loop, the simulation from a virtual network.
 *
 * Peers are numbers that the caller gives to connections, never reused while known here. A worker's
 * connection carries clients in its executors too: they are told apart by message.client, in both
 * directions, and are the scheduler's own business. `now` is
 * in microseconds, never goes back, and need not start at 0. Not thread-safe.
 */
#ifndef LADLE_SCHEDULER_H
#define LADLE_SCHEDULER_H

#include "../proto/message.h"

struct scheduler;

struct scheduler_config { /* 0: the default of limits.h */
    const char *software; /* for WELCOME and STATUS; borrowed for the scheduler's life */
    uint64_t instance;    /* random */
    uint64_t client_window;
    uint32_t beat_ms, lost_ms;
    int64_t slice_us; /* running time that a slice should take; default 25 ms */
    /* There may have been another one before, and its peers come to this one with what they have of
     * it: jobs get numbers that would be the same there, and work waits for its worker. */
    bool lasting;
    uint64_t first_lease; /* random if it is lasting, as no two leases may have the same number */
    /* Peers from this number on are the broker's own: they have no signs of life, and nobody counts
     * them. 0: there are none. */
    uint32_t own_peers;
    uint64_t
        seed; /* of the scheduler's own choices; the same seed and inputs give the same outputs */
};

struct scheduler *scheduler_new(const struct scheduler_config *config,
                                int64_t now); /* NULL: ENOMEM */
void scheduler_free(struct scheduler *s);     /* NULL is allowed */

/* A message came from `peer`. The first one must be a HELLO that wire_decode() let pass.
 * -1 if the peer broke the protocol: it is forgotten as in scheduler_gone(), `scheduler_why()` says
 * why, it is counted, and the caller ends the connection (a REFUSED for it is among the outputs).
 * What a client in an executor breaks costs its conversation only, and is no -1.
 * Out of memory is answered to the peer as a refusal of what it asked for. */
int scheduler_input(struct scheduler *s, uint32_t peer, const struct message *m, int64_t now);
const char *scheduler_why(const struct scheduler *s);

/* Peers that the next tick at `now` would give up for their silence: the one after `after`, or the
 * first if that is 0; 0 if there are no more. Who knows of a later sign of life, of bytes of a
 * message that is still under way, tells. */
uint32_t scheduler_silent(const struct scheduler *s, uint32_t after, int64_t now);
void scheduler_heard(struct scheduler *s, uint32_t peer, int64_t at);

/* The connection ended. A worker's tasks run elsewhere; a client's are cancelled. Unknown peers are
 * fine. */
void scheduler_gone(struct scheduler *s, uint32_t peer, int64_t now);

/* Expiry, retries, notices and one matching pass for all that came in: once per turn of the loop.
 */
void scheduler_tick(struct scheduler *s, int64_t now);
int64_t scheduler_deadline(const struct scheduler *s); /* when tick wants to be called next */

/* The next message to send; false if there is none. It is borrowed until the next call of any
 * scheduler_ function. REFUSED and BYE are the last that a peer gets: then it is forgotten here
 * already. */
bool scheduler_output(struct scheduler *s, uint32_t *peer, struct message *m);

/* The shell could not pass these bytes on yet (a peer reads slowly): while above the peer's window,
 * it gets no more work. */
void scheduler_backlog(struct scheduler *s, uint32_t peer, uint64_t bytes);

/* The shell counted a peer cut for what never reached the scheduler: for STATUS. */
void scheduler_count_cut(struct scheduler *s);

void scheduler_check(const struct scheduler *s); /* abort unless every invariant holds; for tests */

#endif
