/* state.h - what the runner knows. Shared by its parts only: runner.c (messages in), match.c (who
 * runs what), codes.c (programs), watch.c (running tasks), parked.c (waiting ones), bury.c (the
 * ends of executors), relay.c (the clients in executors), room.c (memory), life.c (turns, beginning
 * and end). */
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
#define SWEEP_US 50000            /* idle: what its tasks have detached is killed */
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
    unsigned pieces;             /* queued and with executors */
    unsigned parked;             /* of these */
    bool nests;                  /* a task of it has waited: no task stands behind another one */
    bool ended;                  /* JOB_END came: forgotten with its last piece */
    int64_t mean_ns;             /* of a task here; 0: not known yet */
    uint8_t *known;              /* a bit for each executor that was sent it */
    struct constant **constants; /* all but the empty ones: constants.c */
    uint32_t nconstants;
    struct spec *shown; /* to executors: with the paths of the constants */
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

/* A task that waited for others, and may still do so: its stack is in its executor. */
struct parked {
    uint64_t lease; /* the executor's: nothing else is left of it */
    UT_hash_handle hh;
    struct executor *executor;
    struct piece *piece;  /* of this one task; asleep, unless awake */
    uint32_t offset;      /* in its slice */
    bool awake;           /* it goes on: its executor works for it */
    enum outcome verdict; /* how it ends, as it shall not go on; DONE: it may */
    int64_t out_of_time;  /* when; CLOCK_NEVER: never */
    int64_t tell_at;      /* when to tell the broker that it runs; CLOCK_NEVER: that was done */
    TAILQ_ENTRY(parked) timed, untold;
};
TAILQ_HEAD(parked_list, parked);

struct executor {
    unsigned number;
    enum executor_state state;
    struct code *code;
    struct board *board;
    uint64_t last_lease;
    struct work work[2]; /* at work, and waiting behind it */
    unsigned nwork;
    unsigned cpus;    /* slots taken while BUSY */
    uint64_t memory;  /* bytes likewise */
    uint64_t allowed; /* bytes that it was limited to; 0: any */
    uint64_t fresh;   /* bytes that it used before its first task */
    int64_t sweep_at; /* CLOCK_NEVER: not */
    uint64_t given;   /* tasks, but those taken back */
    uint64_t limit;   /* of these; 0: none */
    bool succeeded;   /* the executor that comes after it was started */
    int64_t since;    /* it started, or became idle */

    struct parked *parked; /* by their lease */
    unsigned awake;        /* of these */
    unsigned awake_cpus;   /* the most slots that one of them takes */
    uint64_t awake_memory; /* likewise */
    unsigned victims;      /* of these: with a verdict */
    uint64_t hunted;       /* the lease of a victim that was seen at work ... */
    int64_t hunted_at;     /* ... since then */

    uint32_t client;       /* the client in it; 0: none. Its number towards the broker ... */
    uint32_t client_there; /* ... and there */

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
    uint64_t memory; /* bytes that tasks may ask for together; 0: not counted */
    int64_t grace_us;
    bool local;
    char name[256];
    const struct runner_hands *hands;
    void *arg;
    struct reports *out;
    struct reports *first; /* goes before: what the next broker is to know */
    bool joined;           /* there was a broker before */
    bool lost;             /* and there is none now */
    struct code *codes;
    struct constant *constants; /* by digest */
    struct runner_job *jobs;
    struct piece_list queue;
    struct executor *executors;
    unsigned nexecutors; /* room; a few more than slots, for those that are ending */
    unsigned used;       /* slots taken by BUSY executors: more than there are, while tasks that had
                            waited go on */
    uint64_t memory_used; /* by BUSY executors, likewise */
    unsigned parked;
    struct parked_list timed;  /* the one that is out of time next is the first */
    struct parked_list untold; /* likewise */
    uint32_t last_client;
    int64_t retry_at; /* an executor could not be started: not before then */
    int64_t retry_us;
    bool draining;
    int64_t stop_at; /* what runs is stopped then; CLOCK_NEVER */
};

/* runner.c */
void runner_put(struct runner *r, const struct message *m);
void runner_return(struct runner *r, struct piece *p, enum returned why); /* frees the piece */
/* Tells one outcome for tasks [from, from + count) of a piece, with a text for each. */
void runner_end_tasks(struct runner *r, const struct piece *p, uint32_t from, uint32_t count,
                      enum outcome outcome, const char *text);
void runner_drop(struct runner *r, struct piece *p); /* nothing is left of it */
void runner_enqueue(struct runner *r, struct piece *p, bool front);
void runner_forward(struct runner *r, const struct piece *p, uint32_t offset,
                    const struct columns *c, uint64_t run_us); /* results, to the broker */
void runner_tell_running(struct runner *r, const struct piece *p, uint32_t offset);
/* Tell the broker when all that is left of a lease waits, or no longer. */
void runner_tell_parked(struct runner *r, const struct piece *p, bool left_out);

/* The broker is not to be asked for its end: forget it, now or with its last piece. */
void runner_job_over(struct runner *r, struct runner_job *job);
void runner_cancel(struct runner *r, const struct message_range *m, int64_t now);

/* keeping.c */
void runner_found(struct runner *r, int64_t now); /* there is a broker */
void runner_adopted(struct runner *r, const struct message_adopted *m, int64_t now);

/* codes.c */
void codes_lost(struct runner *r);                           /* nobody answers what was asked */
struct code *code_find(struct runner *r, struct spec *spec); /* or made; NULL: ENOMEM */
void code_free(struct code *c);                              /* NULL is allowed */
void code_say_failed(struct runner *r, const struct code *c, const char *text);
void runner_code_unused(struct runner *r, struct code *c); /* forget it, if that is so */
void runner_code_failed(struct runner *r, struct code *c, const char *text, bool again);

/* constants.c */
int constants_join(struct runner *r, struct runner_job *job); /* -1: ENOMEM */
void constants_leave(struct runner *r, struct runner_job *job);
void constants_work(struct runner *r, struct runner_job *job); /* its first piece came */
void constants_rest(struct runner_job *job);                   /* its last one is gone */
bool constants_ready(const struct runner_job *job);
void constants_lost(struct runner *r);
/* Is there one that cannot be had here? With `tell`, the broker hears why. */
bool constants_failed(struct runner *r, const struct runner_job *job, bool tell);
struct spec *constants_spec(struct runner_job *job);       /* for executors; NULL: ENOMEM */
void constants_drop(struct runner *r, const char *digest); /* no job needs it, says the broker */

/* match.c */
unsigned runner_free_slots(const struct runner *r);
unsigned runner_cpus(const struct runner *r, const struct piece *p);
uint64_t runner_memory(const struct runner *r, const struct piece *p);
/* What it runs, or what waits in it, has changed: how much may that use together? */
void executor_limit(struct runner *r, struct executor *e);
uint64_t runner_free_memory(const struct runner *r);
/* Has it kept so much of its earlier tasks that one with this limit had better not run there? */
bool executor_swollen(const struct runner *r, const struct executor *e, uint64_t memory);
bool executor_spent(const struct executor *e); /* it has been given all that it may get */
/* It has more to do, or less: which state is that, and how many slots? It may end for it. */
void executor_settle(struct runner *r, struct executor *e, int64_t now);
void executor_end(struct runner *r, struct executor *e); /* hang up */
/* Take all tasks that were not started from an executor: back into the queue. */
void executor_take_back(struct runner *r, struct executor *e, int64_t now);
/* Take up to `most` from one of its pieces: a new piece, in no list; NULL if there are none. */
struct piece *executor_take(struct runner *r, struct executor *e, unsigned i, uint32_t most);
/* All tasks of work[i] have ended or were taken away. */
void executor_finish(struct runner *r, struct executor *e, unsigned i, int64_t now);

/* watch.c */
struct work *executor_work(struct executor *e, uint64_t lease); /* NULL: none */
void executor_read_board(struct runner *r, struct executor *e, int64_t now);
/* Why a task ended with this verdict. */
void verdict_text(enum outcome verdict, const struct piece *p, char *text, size_t size);
/* The lease of the task for which it works now; 0: none, or it does not say. */
uint64_t executor_owner(const struct executor *e);
void executor_results(struct runner *r, struct executor *e, const struct message_results *m,
                      int64_t now);
void executor_watch(struct runner *r, struct executor *e, int64_t now);
int64_t executor_deadline(const struct runner *r, const struct executor *e, int64_t now);
void executor_cancel(struct runner *r, struct executor *e, uint64_t job, uint64_t first,
                     uint64_t count, int64_t now);
void executor_kill(struct runner *r, struct executor *e, const char *fault);

/* parked.c */
struct parked *parked_find(const struct executor *e, uint64_t lease); /* NULL: none */
void executor_parked(struct runner *r, struct executor *e, const struct message_parked *m,
                     int64_t now);
void parked_results(struct runner *r, struct executor *e, struct parked *k,
                    const struct message_results *m, int64_t now);
/* Strike it off. Its piece, awake, is the caller's. */
struct piece *parked_remove(struct runner *r, struct parked *k);
/* Those of a job in [first, end) shall not go on. True if there are some. */
bool parked_cancel(struct runner *r, struct executor *e, uint64_t job, uint64_t first,
                   uint64_t end);
void parked_watch(struct runner *r, struct executor *e, int64_t now);
void parked_tick(struct runner *r, int64_t now);
int64_t parked_deadline(const struct runner *r);
void executor_say_cancel(struct runner *r, const struct executor *e, uint64_t job, uint64_t first,
                         uint64_t count);

/* relay.c */
void relay_up(struct runner *r, struct executor *e, const struct message *m);
void relay_down(struct runner *r, const struct message *m);
void relay_end(struct runner *r, struct executor *e);  /* the executor is gone */
void relay_stop(struct runner *r, struct executor *e); /* the broker is */

#endif
