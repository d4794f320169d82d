/* session.h - what is behind a futures_t, shared by the sources of the client library.
 *
 * One lock guards the core and all of the session's members, except those marked. The I/O thread
 * moves messages between the core and the grid or the local pool; program threads append work and
 * wake it only when it sleeps. No callback runs while the lock is held.
 * The session lives until the program has destroyed it and all futures and results made in it.
 */
#ifndef LADLE_SESSION_H
#define LADLE_SESSION_H

#include "core.h"
#include "error.h"
#include "futures.h"

#include "../base/clock.h"
#include "../base/poller.h"

#include <pthread.h>

enum kind { KIND_SERIAL, KIND_LOCAL, KIND_GRID, KIND_NESTED };
enum phase { PHASE_OPENING, PHASE_OPEN, PHASE_FAILED };

enum { SINGLES = 16 }; /* streams of single tasks that are open at once */

struct single {
    struct job *job;
    uint64_t seed; /* asked for; 0: none */
    uint64_t used;
};

/* A callback that runs, of this future or these results; one in which it dispatches is `outer`. */
struct calling {
    const void *whose;
    struct calling *outer;
};

struct futures {
    /* fixed while open */
    enum kind kind;
    unsigned generation; /* of the process that opened it: see session_usable() */
    char *endpoint;
    futures_config_t config;  /* with the defaults filled in; the strings are not ours */
    char *offered;            /* config.program; NULL: this program */
    struct blob *environment; /* config.environment, each variable ended by NUL; NULL: none */
    char *directory;          /* config.directory; NULL: none */
    struct executable *executable;
    struct program program;
    int wake_fd;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned waiters;
    unsigned refs; /* futures, results, and 1 until futures_destroy() */
    struct core *core;
    bool closed, stopped;
    bool lost; /* no broker for too long: EPIPE */
    uint64_t ordinal;
    uint64_t marks;
    struct single singles[SINGLES];
    uint64_t singles_used;
    struct sharing *sharing; /* NULL: nothing was ever shared */
    struct key *keys;        /* of submits that are alive: a hash by text */
    char *away;              /* why the broker does not answer; NULL: it does */

    pthread_t dispatcher; /* valid while dispatching > 0 */
    unsigned dispatching;
    struct calling *calling; /* by the dispatcher; NULL: none */
    int done_fd;             /* -1 until asked for */
    bool done_told;

    /* the I/O thread */
    char *said;      /* the last notice on standard error */
    int64_t said_at; /* when */
    bool started;
    bool asleep; /* in poller_wait(), or about to be */
    bool stop;
    enum phase phase;
    int failure; /* errno, and its sentence, of PHASE_FAILED */
    char failed[1024];

    struct serial *serial;
    struct nested *nested; /* of a task, to which it belongs; NULL: of a program */
    LIST_HEAD(combine_list, combine) combines; /* reductions under way */
};

/* ---- any call ---------------------------------------------------------------------------------
 */

/* May this process use the session? If not, false, with errno and a sentence. */
bool session_usable(const futures_t *s);
bool session_same_process(const futures_t *s); /* as the one that made it */
void session_lock(futures_t *s);
void session_unlock(futures_t *s); /* and wakes the I/O thread if it has something to send */
void session_unref(futures_t *s);  /* with the lock held, which it lets go */
/* What all kinds begin and end with. -1 with errno and a sentence, and free it all the same. */
int session_init(futures_t *s, enum kind kind);
void session_free(futures_t *s); /* NULL is allowed */
/* Run the callbacks of what ended: the lock is let go meanwhile. How many ran. */
int session_dispatch(futures_t *s);
/* Before a future or results go: until no other thread runs a callback of theirs. */
void session_await_callback(futures_t *s, const void *whose);
/* Let something happen: run callbacks, or a serial task, or wait. -1 at the deadline. */
int session_wait(futures_t *s, int64_t deadline);
int64_t session_deadline(int timeout); /* of a wait of so many ms */
/* Reductions go on with what has come for them. True if any did; the lock was let go then. */
bool session_advance(futures_t *s);
/* ETIMEDOUT with a sentence: why it takes so long; `j` may be NULL. Returns -1. */
int session_timed_out(futures_t *s, const struct job *j, int timeout);
/* The core has news: tell who waits. With the lock held. */
void session_news(futures_t *s);
/* Until detached jobs are on disk, but not for ever. With the lock held. */
void session_deposit(futures_t *s);

/* The whole sentence about a task that did not end well; NULL: ENOMEM. To be freed. Without the
 * lock. */
char *session_sentence(futures_t *session, const struct job *j, uint64_t index,
                       const struct segment *s, uint32_t offset);
future_status_t status_of(enum outcome outcome);

/* ---- tasks to be run again: see proto/replay.h ------------------------------------------------
 */

void session_keep_open(futures_t *s); /* from now on, the first that fail are kept in files */
void session_keep(futures_t *s);      /* write those that have failed; without the lock */
/* "\n  replay it: ladle replay 3f2a9c01", if it is in a file; else "". With the lock held, which is
 * let go until that is known. */
const char *session_kept(futures_t *s, uint64_t job, uint64_t index, char text[64]);
/* This process is to run one task again, and no more, says its environment. */
bool rerun_wanted(void);
void rerun(futures_t *s, const futures_config_t *config) __attribute__((noreturn));

/* A cleared session, as the config says. -1 with errno and a sentence, and free it all the same. */
int session_open(futures_t *s, const futures_config_t *config);
/* Take over the config, checked, with the defaults filled in. -1 with errno and a sentence. */
int session_configure(futures_t *s, const futures_config_t *config);
/* Describe the program that executors run. Again when its digest is known. */
void session_program(futures_t *s);
/* This process is an executor: serve as the config says. */
void session_serve(const futures_config_t *config) __attribute__((noreturn));

/* ---- submitting -------------------------------------------------------------------------------
 */

/* Checks function and options, and makes a job out of them, with the lock held. */
int options_check(const char *function, const task_options_t *options);
/* -1 if the options ask for what this session cannot have; `here`: the call needs its results. */
int detached_check(const futures_t *s, const task_options_t *options, bool here);
struct job *session_job(futures_t *s, const char *function, const task_options_t *options,
                        bool singles);
/* The open stream of single tasks that this one joins. */
struct job *session_single(futures_t *s, const char *function, const task_options_t *options);
void session_close_singles(futures_t *s);
/* -1 unless new work may come: ESHUTDOWN, EPIPE. */
int session_accepts(futures_t *s);
/* If this program has no such function, what was submitted is REJECTED. */
void session_reject_unknown(futures_t *s, struct job *j, uint64_t first, uint64_t count);
/* A map without inputs so far. */
results_t *results_new(futures_t *s, struct job *j, const task_options_t *options);
struct job *results_own_job(const results_t *r);
void results_lazy(results_t *r, futures_next_fn *next, void *arg);
void results_scan(results_t *r, struct combine *c); /* they come from there, and keep it */
/* Called by session_dispatch() with the lock held: the callback for a partial result. */
future_partial_fn *results_partial(const results_t *r, void **arg_p);

/* ---- futures ----------------------------------------------------------------------------------
 */

struct call {
    TAILQ_ENTRY(call) link;
    future_fn *fn;
    void *arg;
};
TAILQ_HEAD(call_list, call);

struct extras { /* what few futures have */
    struct watcher watcher;
    struct future *future;
    struct call_list calls;
    future_partial_fn *partial;
    void *partial_arg;
    char *error;
    void *aligned;
};

struct future {
    futures_t *session;
    struct chunk *chunk;
    uint32_t offset;
    uint64_t mark;   /* of the last futures_wait() that saw it */
    struct key *key; /* of its task; NULL: it has none */
    struct extras *extras;
    char *job_id; /* told by future_job(); NULL */
};

/* ---- keys -------------------------------------------------------------------------------------
 */

/* A key stands for a task while there are futures of it. */
struct key *keys_find(const futures_t *s, const char *text);
struct key *keys_add(futures_t *s, const char *text); /* of no task yet; NULL: ENOMEM */
void keys_remove(futures_t *s, struct key *k);
/* The first future gives the key its task; another one is given that task, with a handle on it. */
void keys_hold(struct key *k, struct future *f);
bool keys_let_go(futures_t *s, struct future *f); /* true: no other future has its task */
void keys_free(futures_t *s);

static inline bool
future_ended(const struct future *f)
{
    return (f->chunk->state[f->offset] & STATE_OUTCOME) != 0;
}

/* ---- shared constants -------------------------------------------------------------------------
 */

/* What tasks that are submitted now may ask for: borrowed, with the lock held. */
const struct shared *session_shared(const futures_t *s, uint32_t *count_p);
/* Let go of those that nobody needs any more. With the lock held. */
void session_sweep_shares(futures_t *s);
void session_drop_shares(futures_t *s); /* and no job will come */
void session_free_shares(futures_t *s);
/* The answer to PROGRAM_WANTED; false if that is none of them. The blob in it belongs to the
 * caller. Without the lock. */
bool session_shared_part(futures_t *s, const struct message_program_wanted *wanted,
                         struct message_program_part *part);

/* Those of a task's session go with it, also if they were forgotten. NULL: ENOMEM. */
struct future *future_new(futures_t *s);
void future_free(struct future *f);
void future_drop_extras(struct future *f);

/* ---- sessions of tasks ------------------------------------------------------------------------
 */

/* May the caller use it? It is there for one task only. If not, false, with errno and a sentence.
 */
bool nested_usable(const futures_t *s);
/* As session_wait(), without anything to dispatch. */
int nested_wait(futures_t *s, int64_t deadline);
void nested_submitted(futures_t *s);
int nested_priority(const futures_t *s);                      /* of jobs that ask for none */
const struct constants *nested_constants(const futures_t *s); /* the task's own are its tasks' */

/* ---- the I/O thread ---------------------------------------------------------------------------
 */

int session_start(futures_t *s); /* until it is open, or -1 */
void session_stop(futures_t *s);
void local_run(futures_t *s);
void grid_run(futures_t *s);
void io_opened(futures_t *s);
void io_failed(futures_t *s, int error, const char *text);
/* Sleep in the poller until `deadline`, or until woken; not at all if there is something to do. */
void io_sleep(futures_t *s, struct poller *poller, int64_t deadline);
bool io_stopping(futures_t *s);
int io_watch(futures_t *s, struct poller *poller, struct watch *w); /* the wake-up descriptor */
void io_say(const futures_t *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Why a task waits, in words for the program's user: the broker's, and what to do about it. */
int io_notice(futures_t *s, const struct message_notice *m, int64_t now); /* -1: ENOMEM */
void io_no_worker(const futures_t *s, char *text, size_t size);
void io_print(futures_t *s, const struct message_output *m);

/* ---- serial -----------------------------------------------------------------------------------
 */

struct serial *serial_new(futures_t *s);
void serial_free(struct serial *self);
bool serial_step(futures_t *s);   /* run one task in this thread; false: there is none */
void serial_forget(futures_t *s); /* the constants of the task that ran last */
bool serial_has_work(futures_t *s);

/* ---- this executable --------------------------------------------------------------------------
 */

struct executable;
/* `whole`: to be shipped, so with digest and machine. NULL with errno and a sentence. */
struct executable *executable_new(bool whole);
void executable_free(struct executable *e);
const struct program *executable_program(const struct executable *e);
const char *executable_path(const struct executable *e);
int executable_digest(struct executable *e); /* once, it reads it all; -1 with a sentence */
/* The answer to PROGRAM_WANTED; the blob in it belongs to the caller. */
void executable_part(const struct executable *e, const struct message_program_wanted *wanted,
                     struct message_program_part *part);

#endif
