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

#define BOARD_VERSION 3
#define BOARD_SLICES 4
#define BOARD_RESULTS (512u << 10) /* bytes of the area of results */
#define BOARD_PAD 16               /* records start at multiples of it */
#define BOARD_NESTED 128
#define BOARD_FRAMES 20        /* of a stack: */
#define BOARD_NEAR 16          /* the innermost ones, and of the others the outermost */
#define BOARD_MAPS (16u << 10) /* bytes of lines of /proc/self/maps */

/* How the executor dies of a signal, written in its handler: what will be known of it. Addresses
 * are those of the process; the lines of /proc/self/maps say of which files they are. */
struct board_death {
    _Atomic uint32_t written; /* 0: nothing; 1: the beginning; 2: all */
    uint32_t signal;
    uint32_t has_address;
    uint32_t elsewhere;  /* 1: in another thread than the one that runs tasks */
    uint64_t address;    /* at which it failed */
    uint64_t stack_size; /* the stack, of so many bytes, is full; 0: it is not */
    uint64_t peak_kib;   /* of its memory; 0: not known */
    uint64_t left_out;   /* frames behind the first BOARD_NEAR that are not there */
    uint32_t nframes;   /* the innermost first; the task's function is the last, if all went well */
    uint32_t maps_size; /* of the lines, each ended by a newline */
    uint64_t frames[BOARD_FRAMES]; /* the first is where it was, the others are return addresses */
    char maps[BOARD_MAPS];
};

struct board {
    uint32_t version;
    uint32_t attached; /* 1 once the executor uses the board: only then may its slices have several
                          tasks, or wait behind one another */

    /* The slices that the executor was sent and has not ended: that of lease L in ranges[L % 4].
     * Tasks with offsets (from its `first`) below the limit may start. Bits 0-15: the next offset
     * to start; 16-31: the limit; 32-63: the low half of the lease. The worker writes it before it
     * sends the slice; the executor moves `next` up, the worker moves the limit down, both by
     * compare-and-swap, so a task is either started or taken back, never both. */
    _Atomic uint64_t ranges[BOARD_SLICES];

    /* Written by the executor. */
    _Atomic uint64_t lease;   /* of the slice at work; 0: none */
    _Atomic uint64_t running; /* 1 + offset of the running task, or of the last one; 0: none */
    _Atomic int64_t started;  /* when it started: microseconds of CLOCK_MONOTONIC */

    /* The lease of the task for which it works now: that task itself, or one that was spawned by
     * it, or by one of these; of a slice at work, or of a task that had been parked. 0: none.
     * `nested` says which: "" for the task itself, else in words, "fib[3]". */
    _Atomic uint64_t owner;
    char nested[BOARD_NESTED];

    /* Written by the worker: 1 + offset of a running task whose result nobody wants, with the low
     * half of its lease in bits 32-63: task_cancelled(). */
    _Atomic uint64_t cancel;
    _Atomic uint32_t mail; /* messages that the worker has sent: so that nobody looks in vain */

    /* Results of the lease at work that were not yet sent: `committed` records of them in the area.
     * A record is {u32 offset, u32 outcome, u32 size, u32 run_us} and the bytes, padded to 16.
     * `flushes` counts how often the area was begun anew: who reads the records of a living
     * executor looks at it before and after. */
    _Atomic uint32_t committed;
    _Atomic uint32_t flushes;
    _Alignas(64) uint8_t results[BOARD_RESULTS];

    struct board_death death;
};

struct board_record {
    uint32_t offset;
    uint32_t outcome; /* enum outcome */
    uint32_t size;
    uint32_t run_us;
};

#define BOARD_NEXT(range) ((uint32_t)((range)&0xffff))
#define BOARD_LIMIT(range) ((uint32_t)((range) >> 16 & 0xffff))
#define BOARD_RANGE(lease, next, limit)                                                            \
    ((uint64_t)(lease) << 32 | (uint64_t)(limit) << 16 | (uint64_t)(next))
#define BOARD_ROOM(size)                                                                           \
    (sizeof(struct board_record) + (((size_t)(size) + BOARD_PAD - 1) & ~(size_t)(BOARD_PAD - 1)))

#endif
