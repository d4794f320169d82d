/* boards.h - the worker's side of a board (proto/board.h).
 *
 * Tasks can write on their board, so nothing on it is believed: what is read here is in range, or
 * not read.
 */
#ifndef LADLE_BOARDS_H
#define LADLE_BOARDS_H

#include "../proto/board.h"
#include "../proto/message.h"

/* Before a slice is sent: its tasks may be started. */
void board_offer(struct board *b, uint64_t lease, uint32_t count);

/* Take back up to `most` tasks from the slice's end, unless they have been started. Returns how
 * many, and in *limit_p how many remain. */
uint32_t board_take_back(struct board *b, uint64_t lease, uint32_t most, uint32_t *limit_p);
/* Tasks of the slice that were not started. */
uint32_t board_unstarted(const struct board *b, uint64_t lease);
/* How many of them were begun, from the first. */
uint32_t board_begun(const struct board *b, uint64_t lease);

/* The running task of the slice; false if none is. */
bool board_running(const struct board *b, uint64_t lease, uint32_t *offset_p, int64_t *started_p);
/* The lease of the task for which the executor works; 0: of none, or it does not say. */
uint64_t board_owner(const struct board *b);
/* What it runs below that task, in words; "" if it runs the task itself. */
void board_nested(const struct board *b, char *text, size_t size);
/* task_cancelled() becomes true in that task. */
void board_cancel(struct board *b, uint64_t lease, uint32_t offset);

/* The results of the slice that were made and not sent: `offset` of the first, and their columns,
 * whose parts are owned by the caller: see board_results_free(). False if there are none, or if the
 * executor lives and sends them just now. */
struct board_results {
    uint32_t offset;
    uint64_t run_us;
    struct columns columns;
};
bool board_read(const struct board *b, uint64_t lease, struct board_results *r);
void board_results_free(struct board_results *r);

#endif
