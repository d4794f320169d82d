/* hoard.h - messages without end.
 *
 * libzmq keeps the frames of a message until its last one comes, and has no limit for their number.
 * What a connection has received since its last whole message is told by the kernel: who has more
 * than the largest message there may have is shut down, and so is the largest of many that have too
 * much together. Looks only when the memory of this process has grown.
 */
#ifndef LADLE_HOARD_H
#define LADLE_HOARD_H

#include "routes.h"

#define HOARD_STEP (16u << 20) /* bytes of memory: not worth a look */
#define HOARD_MOST ((uint64_t)LIMIT_DATA + LIMIT_HEADER + (1u << 20)) /* of one connection */
#define HOARD_TOTAL (4 * HOARD_MOST)                                  /* of all together */

struct hoard {
    size_t memory;  /* of this process, at the last look */
    unsigned trims; /* looks for which memory is given back yet */
};

/* Returns how many connections were shut down. */
unsigned hoard_check(struct hoard *self, struct routes *routes);
/* The same, however little memory has grown. */
unsigned hoard_weigh(struct routes *routes, uint64_t most, uint64_t total);

#endif
