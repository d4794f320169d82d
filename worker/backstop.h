/* backstop.h - a limit of the kernel behind the watching of memory (usage.h).
 *
 * Who watches looks every now and then; what a process may map between two looks is limited by
 * RLIMIT_DATA, its soft limit. That counts reserved address space, so it is never set absolutely,
 * but to what the process has mapped plus room, and again with each look: an allocation fails only
 * if it could not be used anyway. Nothing here is needed: where it cannot be had, watching is all.
 */
#ifndef LADLE_BACKSTOP_H
#define LADLE_BACKSTOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct backstop { /* of one process; begins as zeros */
    bool set;
    bool failed;      /* once: it is not tried again */
    uint64_t before;  /* the soft limit that it had */
    uint64_t threads; /* what backstop_bytes() wants to know */
};

/* `pid`, which has not ended, may use `limit` bytes, of which `used` are in use. */
void backstop_set(struct backstop *b, pid_t pid, uint64_t limit, uint64_t used);
void backstop_lift(struct backstop *b, pid_t pid); /* if it is set */

/* ---- the pure part -----
 * The limit for one that has mapped `data` bytes; UINT64_MAX: none. `threads`: what the stacks of
 * a thread for each core reserve. */
uint64_t backstop_bytes(uint64_t data, uint64_t limit, uint64_t used, uint64_t threads);

#endif
