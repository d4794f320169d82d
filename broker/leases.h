/* leases.h - tasks that are with workers. */
#ifndef LADLE_LEASES_H
#define LADLE_LEASES_H

#include "chunks.h"

/* Hand the range over; it belongs to the lease from now on, and its tasks, none of which has ended,
 * are counted as leased. NULL: ENOMEM. */
struct lease *lease_new(struct scheduler *s, struct worker *w, struct range *r, double each);
/* Its worker is gone: what has not ended becomes ready for the next attempt, and the lease goes. */
void lease_requeue(struct scheduler *s, struct lease *l);
/* Nothing of it is left, or nobody cares: the lease is gone. */
void lease_free(struct scheduler *s, struct lease *l);

/* All that is left of it waits for tasks of its own, or does no longer. */
void lease_park(struct scheduler *s, struct lease *l, bool parked);

struct lease *lease_find(struct scheduler *s, uint64_t id);

/* The next tasks of [from, to) of the chunk that are with the worker under this lease and have not
 * ended: [*begin, *end). False if there are none. */
bool lease_next(const struct lease *l, uint32_t from, uint32_t to, uint32_t *begin, uint32_t *end);

/* Tasks [from, to), all of them with the worker and not ended, are not with it any more; they are
 * nobody's until the caller says whose. False: ENOMEM, and nothing has changed. */
bool lease_release(struct scheduler *s, struct lease *l, uint32_t from, uint32_t to);

/* Before tasks of a chunk end: take them from the ranges and leases that they are in. Leases of
 * which nothing is left are freed; but `keep`, which is probably the one and may be NULL, is left
 * to the caller. */
void leases_lose(struct scheduler *s, struct chunk *c, uint32_t from, uint32_t to,
                 struct lease *keep);

/* Offset in lease->range's data of the item `offset`. */
size_t lease_at(const struct lease *l, uint32_t offset);

#endif
