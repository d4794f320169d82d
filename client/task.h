/* task.h - what a task function may call.
 *
 * A task function is `int function(task_t *task)`: 0 after task_return(), anything else has failed.
 * One that returns 0 without a result is an error of the program, and told as such. A task_t
 * belongs to the library, lives until the function returns, and is for its own thread only.
 */
#ifndef LADLE_TASK_H
#define LADLE_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef LADLE_API
#define LADLE_API __attribute__((visibility("default")))
#endif

typedef struct task task_t;
typedef int task_fn(task_t *task);

/* Register `function` under `name`, before futures_new(). -1 with EINVAL (no name, one over 255
 * bytes, or one that begins with "ladle.") or EEXIST (another function has that name). `name` is
 * copied. Not thread-safe. */
LADLE_API int task_register(const char *name, task_fn *function);

/* Register a function under its own name, at file scope: TASK(square) */
#define TASK(function)                                                                             \
    __attribute__((constructor, used)) static void task_register_##function(void)                  \
    {                                                                                              \
        (void)task_register(#function, function);                                                  \
    }

/* The input: borrowed, aligned for any type, never NULL. */
LADLE_API const void *task_input(task_t *self);
LADLE_API size_t task_input_size(task_t *self);
/* Copy the input out; -1 with EPROTO unless it has exactly `size` bytes. */
LADLE_API int task_read(task_t *self, void *data, size_t size);

/* The result: copied. The last one counts. 0, or -1 with E2BIG (over the limit of 256 MiB) or
 * ENOMEM. */
LADLE_API int task_return(task_t *self, const void *data, size_t size);
/* Room for a result of `size` bytes, aligned for any type, to be written in place before the
 * function returns; NULL with E2BIG or ENOMEM. */
LADLE_API void *task_output(task_t *self, size_t size);

/* Fail, with a reason; returns -1, so that `return task_fail(task, ...)` reads well. */
LADLE_API int task_fail(task_t *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

LADLE_API uint64_t task_index(task_t *self);     /* in its map; 0 for futures_submit() */
LADLE_API int task_attempt(task_t *self);        /* from 1 */
LADLE_API const char *task_worker(task_t *self); /* where it runs */

/* 64 random bits from a stream that depends on the job's seed and the task's index alone: the same
 * on any worker, in any attempt, with any number of slots. (splitmix64 seeding xoshiro256**,
 * Blackman and Vigna, 2018.) */
LADLE_API uint64_t task_random(task_t *self);
/* From that stream, a double in [0, 1) with 53 random bits. */
LADLE_API double task_random_double(task_t *self);

LADLE_API bool
task_cancelled(task_t *self); /* nobody wants the result any more, or its time is over */
LADLE_API int task_progress(task_t *self, uint64_t done, uint64_t total);
LADLE_API int task_emit(task_t *self, const void *data,
                        size_t size); /* a partial result, sent at once */

/* A shared constant of the session that submitted this task (futures_share()): borrowed until the
 * function returns, read-only, aligned for any type, one copy for all executors of a worker.
 * `size_p` may be NULL. NULL with ENOENT: the job has none of that name. */
LADLE_API const void *task_shared(task_t *self, const char *name, size_t *size_p);

/* The two values that a reduce function is given. -1 with EPROTO: this task was not called by
 * futures_map_reduce() or futures_map_scan(). Borrowed, aligned for any type. */
LADLE_API int task_pair(task_t *self, const void **left_p, size_t *left_size_p,
                        const void **right_p, size_t *right_size_p);

/* A session for tasks of this task: all of futures.h works in it, for this task's own thread. While
 * the task waits, its executor runs other tasks. Tasks that it spawns are of the same program, have
 * its priority unless told otherwise, and run here or, when there are more than this executor can
 * start soon, anywhere on the grid. It belongs to the task: when that returns, what it spawned and
 * did not wait for is cancelled, and its futures and results are gone. When it is cancelled, or out
 * of time, so are they: waits come back, ECANCELED. NULL with ENOMEM; never for a task that runs.
 */
LADLE_API struct futures *task_futures(task_t *self);

#ifdef __cplusplus
}
#endif

#endif
