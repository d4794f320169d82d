/* supervisor.h - runs slices in executors: what a worker is, without its connection.
 *
 * The deciding half is runner.h (pure). This half owns processes and file descriptors: executors,
 * their sockets, boards and output, and the cache of programs. It is driven by the caller's loop
 * and poller: the worker daemon's, or the client's I/O thread in a local pool. Not thread-safe; one
 * per thread at most.
 */
#ifndef LADLE_SUPERVISOR_H
#define LADLE_SUPERVISOR_H

#include "../base/poller.h"
#include "../proto/message.h"

struct supervisor;

struct supervisor_program { /* a worker's --program NAME=PATH */
    const char *name;
    const char *path;
};

struct supervisor_config { /* everything is copied, but poller */
    struct poller *poller;
    unsigned slots;   /* at least 1 */
    const char *name; /* of the worker, until WELCOME gives it another */
    const char *labels;
    /* The one program of a local pool, run from this path in the program's own directory; else
     * NULL. */
    const char *local_program;
    /* Of its executors: variables over ours, NAME=VALUE, each ended by NUL; and the directory to
     * work in; NULL: none, our own. */
    const char *local_environment;
    uint32_t local_environment_size;
    const char *local_directory;
    /* Where programs are cached and executors work; NULL in a local pool. Made if missing. */
    const char *directory;
    uint64_t cache_bytes; /* 0: 4 GiB */
    const struct supervisor_program *programs;
    unsigned nprograms;
    unsigned tasks_per_executor; /* 0: no limit */
    unsigned grace_ms;           /* from SIGTERM to SIGKILL; 0: 5,000 */
    uint64_t memory;             /* bytes that tasks may ask for together; 0: what is here */
    bool no_groups;              /* make no control groups for executors: watch them */
    int64_t ends_at;             /* when it must have ended; 0: it may stay */
    /* Start this many executors of local_program at once, before work comes. */
    unsigned warm;
};

/* NULL with errno, and a sentence in supervisor_error(). */
struct supervisor *supervisor_new(const struct supervisor_config *config, int64_t now);
const char *supervisor_groups(const struct supervisor *s); /* how memory is limited: a sentence */
const char *supervisor_error(void);

/* Ends all executors, with SIGKILL and without waiting for tasks, and waits until they are gone. */
void supervisor_free(struct supervisor *s);

/* Fill in what the broker wants to know; what it needs to know again is net/conversation.h's. */
void supervisor_hello(struct supervisor *s, struct message *m);

/* WELCOME, JOB, SLICE, REVOKE, CANCEL, JOB_END, PROGRAM_PART, REFUSED from the broker. What has a
 * `client` is of the conversation between the broker and that client in an executor, in both
 * directions: passed on as it is, or dropped if there is no such client any more. */
void supervisor_input(struct supervisor *s, const struct message *m, int64_t now);
bool supervisor_output(struct supervisor *s,
                       struct message *m); /* to the broker; borrowed till the next call */
/* The broker reads slowly: with true, stop reading executors until told otherwise. */
void supervisor_hold(struct supervisor *s, bool hold);

void supervisor_tick(struct supervisor *s, int64_t now);
int64_t supervisor_deadline(const struct supervisor *s);

/* There is no broker for now: work goes on, and the next WELCOME is told of it. */
void supervisor_lost(struct supervisor *s, int64_t now);
uint64_t supervisor_dropped(const struct supervisor *s); /* results that were too many to be kept */
/* The broker is gone for too long: drop all work (running tasks are killed), keep programs. */
void supervisor_reset(struct supervisor *s, int64_t now);
/* Take nothing new, return what has not started, finish what runs within `grace_ms`; then stop and
 * return that too. Again: the shorter grace counts. */
void supervisor_drain(struct supervisor *s, int64_t grace_ms, const char *why, int64_t now);
bool supervisor_idle(
    const struct supervisor *s); /* nothing runs, nothing to send: a drained one may exit */

#endif
