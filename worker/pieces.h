/* pieces.h - slices as a worker holds them: whole, or cut where tasks were taken out.
 *
 * A piece is a range of the tasks of one lease that is queued or run together. Its inputs stay in
 * the message's blob: cutting copies nothing.
 */
#ifndef LADLE_PIECES_H
#define LADLE_PIECES_H

#include "../proto/message.h"

#include <sys/queue.h>

struct runner_job;
struct bundle;

struct piece {
    TAILQ_ENTRY(piece) next; /* in the runner's queue, unless an executor has it */
    struct runner_job *job;
    struct bundle *bundle;
    uint64_t lease; /* the broker's */
    uint64_t first; /* index of the first task in the job */
    uint32_t count;
    uint32_t done; /* tasks from the front whose results were passed on; 0 in the queue */
    uint32_t attempt, charged;
    unsigned strikes;    /* executors that ended while its task waited, and nobody knows why */
    unsigned casualties; /* ... and of which another task was the cause */
    bool asleep;         /* its task waits for others */
    uint32_t from;       /* the first task's place in the bundle ... */
    size_t offset;       /* ... and of its input in the bundle's bytes */
};
TAILQ_HEAD(piece_list, piece);

/* NULL with ENOMEM. */
struct piece *piece_new(struct runner_job *job, const struct message_slice *slice);
void piece_free(struct piece *p);

void piece_sleep(struct piece *p, bool asleep);
/* With the pieces of its lease, `left_out` counted out: do all of them sleep? There must be some.
 */
bool piece_all_asleep(const struct piece *p, bool left_out);
/* What the broker was told of that. */
bool *piece_told(const struct piece *p);

/* Cut: `p` keeps its first `count` tasks, the rest is the new piece. NULL with ENOMEM: then nothing
 * changed. */
struct piece *piece_cut(struct piece *p, uint32_t count);

/* The slice to be sent to an executor, under the lease that it has there. Borrowed from the piece.
 */
void piece_slice(const struct piece *p, uint64_t lease, uint64_t job, struct message *m);

#endif
