/* depot.h - jobs that outlive their clients: what the store holds of them, and who works with it.
 *
 * To the scheduler each detached job is a client of its own, whose connection never ends: the depot
 * says hello for it, hands in its inputs as the window allows, and acknowledges results when they
 * are on disk. So the scheduler knows nothing of stores, and after a restart a detached job comes
 * back as any client does. Towards clients the depot is the one who takes inputs in, tells them
 * ACCEPTED when they are on disk, and sends results out of the store.
 *
 * Messages and the time go in, messages come out, as with the scheduler; the store is its memory.
 * All that came in during a turn is one transaction of depot_tick(). Not thread-safe.
 */
#ifndef LADLE_DEPOT_H
#define LADLE_DEPOT_H

#include "../proto/message.h"

struct depot;

/* Peers from this number on are the depot's own, and known to the scheduler as such. */
#define DEPOT_PEERS 0x80000000u

struct depot_config {
    const char *path; /* of the store; NULL: there is none, and no job can be detached */
    bool salvage;
    uint64_t keep_s;     /* for how long results are kept after a job's end; 0: a week */
    uint64_t most_bytes; /* above that the oldest results go first; 0: 10 GiB */
};

/* Loads all there is. NULL with a sentence. `wall` is in seconds since 1970, for people and for
 * what is kept over restarts. */
struct depot *depot_new(const struct depot_config *config, int64_t now, int64_t wall, char *why,
                        size_t size);
void depot_free(struct depot *d); /* NULL is allowed */

/* Is this message of a client or operator for the depot, and not for the scheduler? */
bool depot_takes(const struct depot *d, uint32_t peer, const struct message *m);
/* -1 if the peer broke the protocol: depot_why() says how. */
int depot_input(struct depot *d, uint32_t peer, const char *name, const struct message *m);
const char *depot_why(const struct depot *d);
void depot_gone(struct depot *d, uint32_t peer); /* its connection ended */

/* What the scheduler says to one of the depot's own peers. */
void depot_grid_input(struct depot *d, uint32_t peer, const struct message *m);

/* Put on disk what came in, and go on with what that allows. -1 with a sentence in depot_why() if
 * the disk failed: then this broker has to end, and a new one to read what is really there. */
int depot_tick(struct depot *d, int64_t now, int64_t wall);
int64_t depot_deadline(const struct depot *d);

/* The next message, to a peer or, if it is one of the depot's own, from it to the scheduler.
 * Borrowed until the next call. */
bool depot_output(struct depot *d, uint32_t *peer, struct message *m);

void depot_check(const struct depot *d); /* abort unless every invariant holds; for tests */

#endif
