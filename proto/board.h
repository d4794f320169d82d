/* board.h - the page of shared memory between a worker and one of its executors.
 *
 * fd 4 of an executor. It holds what must survive a crash of the executor, or be taken back from
 * under its feet without asking: which task runs since when, which tasks of the slice may still be
 * started, and the results that were made and not yet sent. An executor in another language may
 * leave it alone: then its slices have one task, and the task without a result is to blame for a
 * crash.
 *
 * docs/protocol.md states the same for other languages; keep them together.
 */
#ifndef LADLE_BOARD_H
#define LADLE_BOARD_H

#include <stdint.h>

#define BOARD_VERSION 1
#define BOARD_RESULTS (512u << 10) /* bytes of the area of results */

struct board {
    uint32_t version;
    uint32_t attached; /* 1 once the executor uses the board: only then may its slices have several
                          tasks */

    /* The slice at work: tasks with offsets (from its `first`) below the limit may start. Low half:
     * the next offset to start; high half: the limit. The executor moves `next` up, the worker
     * moves the limit down, both by compare-and-swap, so a task is either started or taken back,
     * never both. */
    _Atomic uint64_t range;
    _Atomic uint64_t lease; /* of that slice; 0: none. Written by the executor */

    _Atomic uint64_t running; /* 1 + offset of the running task; 0: none */
    _Atomic int64_t started;  /* when it started: microseconds of CLOCK_MONOTONIC */
    _Atomic uint64_t
        cancel; /* 1 + offset of a running task whose result nobody wants: task_cancelled() */

    /* Results of this lease that were not yet sent: `committed` records of them in the area. A
     * record is {u32 offset, u32 outcome, u32 size, u32 run_us} and the bytes, padded to 8. */
    _Atomic uint32_t committed;
    uint32_t reserved;
    _Alignas(64) uint8_t results[BOARD_RESULTS];
};

struct board_record {
    uint32_t offset;
    uint32_t outcome; /* enum outcome */
    uint32_t size;
    uint32_t run_us;
};

#endif
