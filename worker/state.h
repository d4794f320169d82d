/* state.h - what the runner knows. Shared by its parts only: runner.c (messages in), match.c (who
 * runs what), watch.c (running tasks, and the ends of executors). */
#ifndef LADLE_STATE_H
#define LADLE_STATE_H

#include "boards.h"
#include "pieces.h"
#include "reports.h"
#include "runner.h"

#include <uthash.h>

#define START_US (30 * 1000000LL) /* to reach futures_new() */
#define RUNNING_US 50000          /* a task that runs longer is told of */
#define HARVEST_US 5000           /* results behind a task that runs longer are fetched */
#define POLL_US 10000             /* how often boards are looked at, if there is a reason */
#define STEAL_US 1000             /* unstarted work worth taking for an idle executor */
#define STEAL_START_US 10000      /* ... and for one that must be started first */
#define PREFETCH_US 2000          /* shorter pieces may wait behind one another */
#define CANCEL_US 200000          /* for a cancelled task to notice by itself */
#define BARREN 3 /* executors in a row that died without a task to blame: the program is broken */

enum code_state { CODE_UNKNOWN, CODE_WANTED, CODE_READY, CODE_FAILED };

/* A program with its arguments: what an executor is a process of. */
struct code {
    char *key;
    struct spec *spec; /* of the first job: its program is this */
    enum code_state state;
    char *why;         /* FAILED */
    unsigned starting; /* executors on their way */
    unsigned reserved; /* of these, spoken for in this match */
    unsigned barren;
    unsigned jobs;
    UT_hash_handle hh;
};

struct runner_job {
    uint64_t id;
    struct spec *spec;
    struct code *code;
    unsigned pieces; /* queued and with executors */
    bool ended;      /* JOB_END came: forgotten with its last piece */
    int64_t mean_ns; /* of a task here; 0: not known yet */
    uint8_t *known;  /* a bit for each executor that was sent it */
    UT_hash_handle hh;
};

enum executor_state {
    EXECUTOR_NONE,
    EXECUTOR_STARTING,
    EXECUTOR_IDLE,
    EXECUTOR_BUSY,
    EXECUTOR_ENDING
};

struct work {
    struct piece *piece;
    uint64_t lease; /* the executor's */
    int64_t since;
};

struct executor {
    unsigned number;
    enum executor_state state;
    struct code *code;
    struct board *board;
    uint64_t last_lease;
    struct work work[2]; /* at work, and waiting behind it */
    unsigned nwork;
    unsigned cpus;  /* slots taken while BUSY */
    uint64_t tasks; /* that ended here */
    int64_t since;  /* it started, or became idle */

    uint64_t told_lease; /* the running task that the broker was told of */
    uint32_t told_offset;

    /* A task that shall not go on, and how that ends. */
    uint64_t victim_lease; /* 0: none */
    uint32_t victim_offset;
    enum outcome verdict;
    int64_t term_at, kill_at; /* CLOCK_NEVER: not */
    bool doomed;              /* gets no more work: it was told to end */
    const char *fault;        /* it broke the protocol: the cause to be named */
};

struct runner {
    unsigned slots, tasks_per_executor;
    int64_t grace_us;
    bool local;
    char name[256];
    const struct runner_hands *hands;
    void *arg;
    struct reports *out;
    struct code *codes;
    struct runner_job *jobs;
    struct piece_list queue;
    struct executor *executors;
    unsigned nexecutors; /* room; a few more than slots, for those that are ending */
    unsigned used;       /* slots taken by BUSY executors */
    int64_t retry_at;    /* an executor could not be started: not before then */
    int64_t retry_us;
    bool draining, told_draining;
};

/* runner.c */
void runner_put(struct runner *r, const struct message *m);
void runner_return(struct runner *r, struct piece *p, enum returned why); /* frees the piece */
/* Tells one outcome for tasks [from, from + count) of a piece, with a text for each. */
void runner_end_tasks(struct runner *r, const struct piece *p, uint32_t from, uint32_t count,
                      enum outcome outcome, const char *text);
void runner_drop(struct runner *r, struct piece *p); /* nothing is left of it */
void runner_enqueue(struct runner *r, struct piece *p, bool front);
void runner_code_unused(struct runner *r, struct code *c); /* forget it, if that is so */
void runner_code_failed(struct runner *r, struct code *c, const char *text, bool again);

/* match.c */
void executor_end(struct runner *r, struct executor *e); /* hang up */
/* Take all tasks that were not started from an executor: back into the queue. */
void executor_take_back(struct runner *r, struct executor *e, int64_t now);
/* Take up to `most` from one of its pieces: a new piece, in no list; NULL if there are none. */
struct piece *executor_take(struct runner *r, struct executor *e, unsigned i, uint32_t most);
/* All tasks of work[0] have ended or were taken away. */
void executor_finish(struct runner *r, struct executor *e, unsigned i, int64_t now);

/* watch.c */
void executor_results(struct runner *r, struct executor *e, const struct message_results *m,
                      int64_t now);
void executor_watch(struct runner *r, struct executor *e, int64_t now);
int64_t executor_deadline(const struct runner *r, const struct executor *e, int64_t now);
void executor_cancel(struct runner *r, struct executor *e, uint64_t job, uint64_t first,
                     uint64_t count, int64_t now);
void executor_kill(struct runner *r, struct executor *e, const char *fault);

#endif
