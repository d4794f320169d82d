/* leases.h - tasks that are with workers. */
#ifndef LADLE_LEASES_H
#define LADLE_LEASES_H

#include "chunks.h"

/* Hand the range over; it belongs to the lease from now on, and its tasks, none of which has ended,
 * are counted as leased. NULL: ENOMEM. `id`: under this number, which the worker has for it; 0: the
 * next one. */
struct lease *lease_new(struct scheduler *s, struct worker *w, struct range *r, double each,
                        uint64_t id);

struct loss {         /* of a worker */
    int64_t until;    /* it may come back */
    uint64_t holder;  /* as is told by this */
    struct blob *why; /* a sentence's beginning */
    struct blob *where;
    bool blameless; /* it said goodbye */
};
void range_put_aside(struct scheduler *s, struct range *r, const struct loss *loss);
/* Its worker is gone: what has not ended is put aside, and the lease goes. */
void lease_lose(struct scheduler *s, struct lease *l, const struct loss *loss);
/* Nothing of it is left, or nobody cares: the lease is gone. */
void lease_free(struct scheduler *s, struct lease *l);

/* All that is left of it waits for tasks of its own, or does no longer. */
void lease_park(struct scheduler *s, struct lease *l, bool parked);

/* One of this number, and this worker's, that the task is in; NULL. Adopted ones may have siblings.
 */
struct lease *lease_beside(const struct chunk *c, const struct worker *w, uint64_t id,
                           uint32_t offset);
/* The same for a task of the job. */
struct lease *lease_with(const struct job *j, const struct worker *w, uint64_t id, uint64_t index);
/* Where the next of these begins, after `from`; `to` if there is none before it. */
uint32_t lease_after(const struct chunk *c, const struct worker *w, uint64_t id, uint32_t from,
                     uint32_t to);
struct lease *lease_find(const struct scheduler *s, uint64_t id);
struct lease *lease_of_worker(struct scheduler *s, const struct worker *w, uint64_t id); /* NULL */

/* The next tasks of [from, to) of the chunk that are with the worker under this lease and have not
 * ended: [*begin, *end). False if there are none. */
bool lease_next(const struct lease *l, uint32_t from, uint32_t to, uint32_t *begin, uint32_t *end);

/* Tasks [from, to), all of them with the worker and not ended, are not with it any more; they are
 * nobody's until the caller says whose. False: ENOMEM, and nothing has changed. */
bool lease_release(struct scheduler *s, struct lease *l, uint32_t from, uint32_t to);

/* Before tasks of a chunk end: take them from the ranges and leases that they are in. Leases of
 * which nothing is left are freed; but `keep`, which is probably the one and may be NULL, is left
 * to the caller. With `stop` the workers of the others hear that they run in vain. */
void leases_lose(struct scheduler *s, struct chunk *c, uint32_t from, uint32_t to,
                 struct lease *keep, bool stop);
void lease_stop(struct scheduler *s, const struct lease *l, uint32_t from, uint32_t to);

/* Offset in lease->range's data of the item `offset`. */
size_t lease_at(const struct lease *l, uint32_t offset);

#endif
