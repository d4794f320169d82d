/* futures.h - submit work, wait for it, and read its results. */
#ifndef LADLE_FUTURES_H
#define LADLE_FUTURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef LADLE_API
#define LADLE_API __attribute__((visibility("default")))
#endif

/* Where the work runs: a session with a grid, or with a pool on this machine. */
typedef struct futures futures_t;
/* One task's result, present or to come. */
typedef struct future future_t;
/* The results of a map. */
typedef struct results results_t;

typedef enum {
    FUTURE_PENDING,   /* not yet accepted */
    FUTURE_QUEUED,    /* accepted; waits for a slot */
    FUTURE_RUNNING,   /* known to run (short tasks end before anyone asks) */
    FUTURE_DONE,      /* there is a result */
    FUTURE_FAILED,    /* the task said so, with task_fail() */
    FUTURE_CRASHED,   /* a signal, an exit, or no result */
    FUTURE_TIMED_OUT, /* ran longer than its timeout, or past its deadline */
    FUTURE_CANCELLED,
    FUTURE_LOST,     /* its worker or the grid went away, and it may not run again */
    FUTURE_REJECTED, /* cannot run: unknown function, program that does not start, input over the
                        limit */
} future_status_t;

/* How to run a task or a map; zero is the default of every member, NULL for all defaults:
 * &(task_options_t){ .timeout = 30000, .retries = 1 } */
typedef struct {
    const char *name; /* of the job, for people */
    int priority;     /* larger runs first */
    int timeout;      /* ms that one attempt may run; then SIGTERM, 5 s later SIGKILL */
    int deadline;     /* ms from now; what has not ended by then is TIMED_OUT */
    int retries; /* further attempts after a crash or a lost worker; 0: the default, 2; -1: none */
    bool retry_failed;    /* also after task_fail() */
    bool once;            /* never start a second attempt: LOST instead */
    int cpus;             /* slots that each task takes; 0: 1 */
    const char *needs;    /* labels that a worker must have: "gpu=1, arch=aarch64, zone=b" */
    bool as_completed;    /* of a map: results in the order in which they end */
    bool fail_if_unknown; /* REJECTED at once, where it would wait for a worker that fits */
    uint64_t seed; /* of task_random(); 0: from the session's seed and the order of submission */
    /* Of a submit, 1 to 255 bytes: while there is a future of a task with this key in the session,
     * a submit gives another future of the same task: its function, input and other options are not
     * looked at. Cancelling one cancels the task; destroying one does not, while there is another.
     * NULL: none. */
    const char *key;
    /* Bytes that each task may use: it is stopped beyond, CRASHED, and runs only where so much is
     * to be had beside others that asked for theirs. 0: no limit, and nothing is kept for it. */
    uint64_t memory;
    /* On a grid whose broker has a store (ladle-broker --store): the job outlives this session, and
     * the broker. What was accepted is on disk there. futures_attach() finds it by its id; neither
     * destroying its handles nor the session cancels it. Not for futures_imap(), map_reduce() and
     * map_scan(), nor in tasks. */
    bool detached;
} task_options_t;

/* ---- session ----------------------------------------------------------------------------------
 */

typedef struct {
    const char *endpoint; /* as in futures_new() */
    int slots;            /* of a local pool; 0: all cores this process may use */
    int connect_timeout;  /* ms until a grid must have answered; 0: 5,000 */
    int lost_timeout; /* ms without a broker until unfinished futures are LOST; 0: 60,000; -1: never
                       */
    int tasks_per_executor; /* replace an executor after so many tasks; 0: never */
    /* Called once in each executor, before its first task, with initializer_arg as it is there:
     * what main() did before this call has been done. It has 30 s. Other than 0 makes the executor
     * unfit: jobs are REJECTED with what it wrote on standard error. It is that of the session
     * which the program opens first, as executors go no further; so is tasks_per_executor.
     * "serial": called in this process, by futures_open(). */
    int (*initializer)(void *arg);
    void *initializer_arg;
    /* For executors: variables over those of their worker, as "NAME=VALUE", ended by NULL (8 KiB
     * together, names that begin with LADLE_ are Ladle's own), and the directory to work in, an
     * absolute path which must exist on each worker. NULL: an empty directory of its own on a grid,
     * the program's in a local pool. "serial": neither applies, as tasks run in this process. */
    const char *const *environment;
    const char *directory;
    size_t stack_size;   /* bytes of each task's stack, 64 KiB to 1 GiB; 0: as the main thread's, 8
                            MiB as a rule */
    size_t window;       /* bytes of inputs and results of a futures_imap() under way; 0: 8 MiB */
    const char *program; /* run the functions of this program, which workers offer with --program;
                            NULL: this one */
    uint64_t seed;       /* of task_random(); the same seed and submissions give the same numbers */
    bool quiet;          /* no notices on standard error (why work waits), no output of tasks, no
                            files of failed tasks for `ladle replay` */
} futures_config_t;

/* Open a session with `endpoint`: NULL for $LADLE_BROKER or, without that, "local";
 * "tcp://host:port" or "ipc://path" for a broker; "local" for a pool on all cores this process may
 * use (affinity and cgroup); "local:4" for a pool of 4; "serial" for this very process, for
 * debuggers: there a task runs inside the call that waits for it (or dispatches), one at a time, in
 * the order of submission, and nothing stops it: no timeouts, and a crash is the program's own.
 *
 * In an executor, a process of this program that a worker started, this call does not return: it
 * serves tasks. What stands before it in main() runs in every executor, with the arguments that the
 * program was called with (the first 32 KiB of them).
 *
 * A session serves the process that opened it: in a fork()ed child its calls fail with EINVAL.
 *
 * NULL with errno EINVAL (endpoint, config), ETIMEDOUT (no broker answered), EPROTO (it speaks
 * another protocol), ECANCELED ("serial": the initializer did not return 0). */
LADLE_API futures_t *futures_new(const char *endpoint);
LADLE_API futures_t *futures_open(const futures_config_t *config);

/* No more submits (ESHUTDOWN); what was submitted goes on. */
LADLE_API void futures_close(futures_t *self);
/* Wait for all that was submitted. -1 with ETIMEDOUT. */
LADLE_API int futures_join(futures_t *self, int timeout);
/* Cancel all, kill what runs, and take no more submits. */
LADLE_API void futures_terminate(futures_t *self);
/* Close, cancel what has not ended, and leave. Futures and results that were made in the session
 * stay readable: what ended keeps its result, what did not is CANCELLED. */
LADLE_API void futures_destroy(futures_t **self_p);

/* What the grid has now. */
LADLE_API int futures_slots(futures_t *self);
LADLE_API int futures_workers(futures_t *self);
/* Wait until there are at least `slots` slots. -1 with ETIMEDOUT, or EINVAL if this is no grid and
 * never has so many. */
LADLE_API int futures_wait_for_slots(futures_t *self, int slots, int timeout);

/* For event loops: a descriptor that is readable when something ended, and the call that runs the
 * callbacks of all that did. The descriptor belongs to the session. Returns the number of callbacks
 * run. ("serial": each call also runs one task, and the descriptor is readable while any waits.) */
LADLE_API int futures_fd(futures_t *self);
LADLE_API int futures_dispatch(futures_t *self);

/* A sentence about the last failure in this thread; never NULL. Valid until the thread's next
 * failure. */
LADLE_API const char *futures_error(void);

/* ---- submitting -------------------------------------------------------------------------------
 */

/* One task. The input is copied. NULL with errno EINVAL (no function), E2BIG (input over the
 * limit), ESHUTDOWN, EPIPE (no broker since lost_timeout; when it is back, work is taken again),
 * ENOMEM. An unknown function is told by the future: REJECTED. */
LADLE_API future_t *futures_submit(futures_t *self, const char *function, const void *input,
                                   size_t size, const task_options_t *options);

/* The results of a detached job: of a map, or a single task, that this or another process submitted
 * with .detached, by its id. Those of tasks that have not ended come when they do. NULL with errno
 * ENOENT (the broker has no such job, or not any more), EINVAL (no id; no grid), ETIMEDOUT, EPIPE.
 */
LADLE_API results_t *futures_attach(futures_t *self, const char *id, const task_options_t *options);

/* One task, awaited. On success the result is *result_p, of *size_p bytes, to be given to free();
 * both may be NULL. -1 with errno ECANCELED, EIO (it failed, crashed ...; futures_error() has its
 * words), or as above. */
LADLE_API int futures_call(futures_t *self, const char *function, const void *input, size_t size,
                           void **result_p, size_t *size_p, const task_options_t *options);

/* `count` inputs of `size` bytes each, end to end at `inputs`; they are copied. No inputs are fine.
 */
LADLE_API results_t *futures_map(futures_t *self, const char *function, const void *inputs,
                                 size_t count, size_t size, const task_options_t *options);

/* Inputs of any sizes. */
LADLE_API results_t *futures_mapv(futures_t *self, const char *function, const struct iovec *inputs,
                                  size_t count, const task_options_t *options);

/* Gives the next input: its bytes in *input_p, valid until the next call, and its size in *size_p.
 * 0, or -1 when there are no more. Called in the program's threads, inside results_next() and its
 * siblings. */
typedef int futures_next_fn(void *arg, const void **input_p, size_t *size_p);

/* Inputs drawn from a function as there is room for them: endless inputs, bounded memory. */
LADLE_API results_t *futures_imap(futures_t *self, const char *function, futures_next_fn *next,
                                  void *arg, const task_options_t *options);

/* The reduction of the mapped inputs, awaited. `reduce_function` is a task function too: its input
 * is two values, as task_pair() tells them apart, and its result is theirs combined. It must be
 * associative; it need not be commutative. The tree of combinations depends on `count` alone, so
 * that a sum of floating-point numbers has the same bits with any number of workers. Mapped values
 * are combined where they were made. Without inputs, the result is `identity`; of one, its mapped
 * value. On success *result_p is to be given to free(). -1 if a task did not end well (ECANCELED,
 * EIO: futures_error() names it), or as futures_map(). */
LADLE_API int futures_map_reduce(futures_t *self, const char *map_function,
                                 const char *reduce_function, const void *inputs, size_t count,
                                 size_t size, const void *identity, size_t identity_size,
                                 void **result_p, size_t *size_p, const task_options_t *options);

/* All inclusive prefixes of the mapped inputs: result i is the reduction of values 0 to i, so that
 * [1, 2, 3, 4] and a sum give [1, 3, 6, 10]. As above; the results are read like those of a map. */
LADLE_API results_t *futures_map_scan(futures_t *self, const char *map_function,
                                      const char *reduce_function, const void *inputs, size_t count,
                                      size_t size, const task_options_t *options);

/* ---- shared constants -------------------------------------------------------------------------
 */

/* A constant for tasks that are submitted from now on: task_shared() finds it by its name. Copied;
 * sent to each worker once, by content, when a job first needs it there; mapped by all executors of
 * a worker. Up to 64 of them. -1 with EEXIST (other content has that name: unshare it first), E2BIG
 * (over 1 GiB, or too many long names beside long arguments), EINVAL, ENOMEM. The same content
 * again is fine. */
LADLE_API int futures_share(futures_t *self, const char *name, const void *data, size_t size);
/* Not for tasks submitted from now on; when those that may need it have ended, workers drop it. -1
 * with ENOENT. */
LADLE_API int futures_unshare(futures_t *self, const char *name);

/* ---- one future -------------------------------------------------------------------------------
 */

/* Wait, then borrow the result, aligned for any type, until the future is destroyed. NULL if the
 * task did not end well (ECANCELED, EIO): see future_status() and future_error(). An empty result
 * is not NULL. `size_p` may be NULL. */
LADLE_API const void *future_result(future_t *self, size_t *size_p);
/* 0 once it has ended, however it did; -1 with ETIMEDOUT. */
LADLE_API int future_wait(future_t *self, int timeout);

LADLE_API future_status_t future_status(future_t *self);
LADLE_API const char *future_status_name(future_status_t status); /* "DONE" */
LADLE_API bool future_done(future_t *self);                       /* it has ended, however it did */
LADLE_API bool future_running(future_t *self);
LADLE_API bool future_cancelled(future_t *self);
LADLE_API bool future_successful(future_t *self); /* it has ended, with a result */
/* A sentence: function, index, worker, attempt, what happened, and the task's own words; NULL if it
 * has not ended or ended well. Borrowed until the future is destroyed. */
LADLE_API const char *future_error(future_t *self);

/* Cancel it, queued or running. 0 if it has ended as CANCELLED or will; -1 with EALREADY if it has
 * ended. */
LADLE_API int future_cancel(future_t *self);

typedef void future_fn(future_t *future, void *arg);
/* Call `fn` when it has ended: in the order added, in a program's thread that waits or dispatches,
 * in one thread at a time; at once if it has ended already. It may call anything, and destroy its
 * future. Destroying it in another thread waits until it has come back. */
LADLE_API int future_on_done(future_t *self, future_fn *fn, void *arg);

/* A partial result that a task gave out with task_emit(); `data` is borrowed for the call. What
 * came before the callback was set is kept for it, up to 1 MiB in a session. */
typedef void future_partial_fn(uint64_t index, const void *data, size_t size, void *arg);
LADLE_API int future_on_partial(future_t *self, future_partial_fn *fn, void *arg);

LADLE_API const char *future_worker(future_t *self); /* where it ended; "" if not yet */
LADLE_API int future_attempts(future_t *self);       /* that were started, as far as is known */
LADLE_API double future_wait_time(future_t *self);   /* seconds in the queue */
LADLE_API double
future_run_time(future_t *self); /* seconds running; below a millisecond, a mean of neighbours */
LADLE_API int future_progress(future_t *self, uint64_t *done_p,
                              uint64_t *total_p); /* of task_progress() */

typedef enum { FIRST_COMPLETED, FIRST_FAILED, ALL_COMPLETED } futures_when_t;

/* Wait for some of a list. Returns how many have ended, and moves them to the front of the list, in
 * the order in which they ended. A failed task never fails the wait; a future that stands in the
 * list twice counts once. At the timeout it returns as many as there are, with errno ETIMEDOUT. -1
 * with EINVAL. All must be of one session. */
LADLE_API int futures_wait(future_t **list, size_t count, futures_when_t when, int timeout);

/* The next of a list to end: takes it out of the list, whose order changes, and decrements
 * *count_p. NULL when the list is empty (errno 0), or at the timeout (ETIMEDOUT). */
LADLE_API future_t *futures_next(future_t **list, size_t *count_p, int timeout);

/* The id of its detached job, once the broker's store has it (this waits for that): 32 hexadecimal
 * digits, borrowed from the future. NULL with errno EINVAL (it is not detached), EIO (it was not
 * accepted: futures_error() says why), EPIPE. */
LADLE_API const char *future_job(future_t *self);

/* One that has not ended is cancelled, unless it is detached. */
LADLE_API void future_destroy(future_t **self_p);

/* ---- many: the results of a map
 * ------------------------------------------------------------------ */

/* The next result, borrowed until the next call: in input order, or as they end with .as_completed.
 * Aligned for what its size allows. One thread at a time may go through results, or collect them.
 * NULL at the end, or at a task that did not end well: results_status() and results_error() tell,
 * and the iteration goes on with the next call. An empty result is not NULL. */
LADLE_API const void *results_next(results_t *self, size_t *size_p);
/* The same; NULL with errno ETIMEDOUT if none came within `timeout` (errno is 0 at the end, EIO at
 * a task that did not end well). */
LADLE_API const void *results_next_within(results_t *self, size_t *size_p, int timeout);
LADLE_API bool results_at_end(results_t *self); /* the last results_next() found no more */
/* Of the task that the last results_next() gave. */
LADLE_API uint64_t results_index(results_t *self);
LADLE_API future_status_t results_status(results_t *self);
LADLE_API const char *results_error(results_t *self); /* NULL if it ended well */
LADLE_API const char *results_worker(results_t *self);

/* Wait for all that results_next() did not give yet, and copy those of the tasks that ended well to
 * outputs[index * size] (NULL: nowhere); destroys `*self_p`. -1 if any did not end well (errno EIO,
 * and the first failure's sentence in futures_error()) or had another size (EPROTO): its place is
 * left as it was, the others are there.
 */
LADLE_API int results_collect(results_t **self_p, void *outputs, size_t size);

/* Until all have ended; of a futures_imap(), all that there was room for. -1 with ETIMEDOUT. */
LADLE_API int results_wait(results_t *self, int timeout);
/* Counts, without waiting; `total` is UINT64_MAX while a futures_imap() has not come to its end. */
LADLE_API void results_progress(results_t *self, uint64_t *done_p, uint64_t *failed_p,
                                uint64_t *total_p);
/* Show a line with counts, rate and time left on `stream` while a call waits; nothing if it is no
 * terminal. */
LADLE_API void results_show_progress(results_t *self, FILE *stream);
LADLE_API int results_on_partial(results_t *self, future_partial_fn *fn, void *arg);

/* The id of a detached job, once all of it is in the broker's store (this waits for that), as of
 * future_job(). */
LADLE_API const char *results_job(results_t *self);

LADLE_API void results_cancel(results_t *self); /* what has not ended is CANCELLED */
LADLE_API void results_destroy(results_t **self_p);

#ifdef __cplusplus
}
#endif

#endif
