/* message.h - what clients, broker, workers and executors say to each other, as plain C.
 *
 * wire.h turns these into frames and back. Inside one process (the local pool) they are handed over
 * as they are. No protobuf, no sockets here: the state machines speak in these structs only.
 *
 * A message is borrowed: what it points to is valid until the next call to whoever gave it out. A
 * receiver copies what it keeps, except blobs and specs, of which it takes a reference.
 */
#ifndef LADLE_MESSAGE_H
#define LADLE_MESSAGE_H

#include "../base/blob.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum role { ROLE_NONE, ROLE_CLIENT, ROLE_WORKER, ROLE_EXECUTOR, ROLE_OPERATOR };

/* How a task ended. The numbers are those of the wire. */
enum outcome {
    OUTCOME_DONE = 0,
    OUTCOME_FAILED = 1,    /* task_fail; the item holds the task's words */
    OUTCOME_CRASHED = 2,   /* signal, exit; the item holds a sentence */
    OUTCOME_TIMED_OUT = 3, /* its timeout or its deadline */
    OUTCOME_CANCELLED = 4,
    OUTCOME_LOST = 5,     /* its worker went away, and it may not run again */
    OUTCOME_REJECTED = 6, /* cannot run at all: unknown function, program that cannot start, ... */
    OUTCOME_LIMIT
};

/* `count` items end to end. Item i has `size` bytes, or sizes[i] if `sizes` is there. */
struct columns {
    uint32_t count;
    uint32_t size;
    const uint32_t *sizes;
    const uint8_t *outcomes; /* of results: enum outcome of each; NULL: all are DONE */
    struct blob *data;       /* may be NULL if length is 0 */
    size_t at;               /* first byte in data->bytes */
    size_t length;           /* bytes of all items together */
};

/* What a job runs, and how: shared by all messages about it. */
struct program {
    char digest[65];     /* SHA-256 of the executable, hexadecimal; "" for one that workers offer by
                            name */
    const char *name;    /* for people; or the NAME of a worker's --program */
    const char *machine; /* "x86_64", "aarch64" ... of the ELF header; "" for any */
    const char *arguments; /* argv, each ended by NUL */
    uint32_t arguments_size;
    uint64_t size;           /* bytes of the executable */
    const char *environment; /* of its executors, over the worker's own: NAME=VALUE, each ended by
                                NUL */
    uint32_t environment_size;
    const char *directory; /* where they work; "": one of their own, or the program's */
};

/* A constant that a job's tasks may ask for by name. */
struct shared {
    const char *name;
    char digest[65]; /* SHA-256 of its bytes, hexadecimal */
    uint64_t size;
    const char *path; /* towards an executor: the file to map; else "" */
};

struct spec {
    struct program program;
    const char *function;
    const char *name;     /* the job's own, for people; "" */
    const char *needs;    /* "gpu=1, arch=aarch64, zone=b"; "" */
    int32_t priority;     /* larger first */
    int64_t timeout_ms;   /* running time of one attempt; 0: none */
    int64_t deadline_ms;  /* from submission; 0: none */
    uint32_t retries;     /* further attempts after a crash or a loss */
    uint32_t cpus;        /* slots that a task takes, at least 1 */
    bool retry_failed;    /* also after task_fail */
    bool once;            /* never a second attempt */
    bool fail_if_unknown; /* REJECTED rather than waiting for a worker that fits */
    bool singles;         /* the tasks were submitted one by one: each sees index 0 */
    bool apart;           /* may be stopped or crash: not in an executor in which others wait */
    uint64_t seed;        /* of task_random */
    uint64_t base; /* added to a task's index: what it sees, and draws its random numbers by */
    const struct shared *shared;
    uint32_t nshared;
    uint64_t memory; /* bytes that a task may use; 0: no limit, and none kept for it */
    /* private */
    _Atomic unsigned refs;
};

/* A deep copy, in one allocation; NULL with ENOMEM. */
struct spec *spec_new(const struct spec *from);
struct spec *spec_ref(struct spec *self);
/* The most bytes that it takes in a header, but for the numbers of the job: LIMIT_JOB. */
size_t spec_bytes(const struct spec *self);
void spec_unref(struct spec *self); /* NULL is allowed */

enum message_type {
    MESSAGE_NONE,
    /* anyone -> broker, executor -> worker */
    MESSAGE_HELLO,
    MESSAGE_BEAT, /* both ways */
    MESSAGE_BYE,  /* both ways */
    /* the answer */
    MESSAGE_WELCOME,
    MESSAGE_REFUSED, /* and the connection ends */

    /* client -> broker */
    MESSAGE_JOB,     /* also broker -> worker -> executor: sent once, before the first slice */
    MESSAGE_INPUTS,  /* tasks [first, first + count) of a job */
    MESSAGE_JOB_END, /* no tasks beyond `total`; to a worker: forget the job */
    MESSAGE_CANCEL,  /* tasks of a job; also broker -> worker */
    MESSAGE_TAKEN,   /* so many bytes of results were received: the window opens again */
    MESSAGE_NOTED,   /* the answer to BEGINS */

    /* broker -> client */
    MESSAGE_ACCEPTED, /* the tasks below `first` of a job have been */
    MESSAGE_ENDED, /* tasks [first, first + count) ended with one outcome, without a result of their
                      own */
    MESSAGE_BEGINS,  /* tasks that may run once are about to be handed over: they go when noted */
    MESSAGE_CHARGED, /* another attempt counts against a task, which runs again */
    MESSAGE_NOTICE,  /* a sentence about a job that waits; job 0: about the grid */
    MESSAGE_GRID,    /* how many workers and slots there are */

    /* worker <-> broker, worker <-> executor */
    MESSAGE_SLICE,    /* run tasks [first, first + count) */
    MESSAGE_REVOKE,   /* give back up to `count` tasks of a lease from its end, those that have not
                         started */
    MESSAGE_RETURNED, /* tasks of a lease that will not run here; nobody is to blame */
    MESSAGE_DRAINING, /* worker -> broker: no more slices, please */
    /* executor -> worker: this task waits for others, and its slot is free; or no longer.
     * worker -> broker: all tasks that are left of this lease do; or no longer */
    MESSAGE_PARKED,

    /* executor -> worker -> broker -> client */
    MESSAGE_RESULTS,
    MESSAGE_RUNNING,  /* this task has been running for a while */
    MESSAGE_PROGRESS, /* task_progress */
    MESSAGE_PARTIAL,  /* task_emit; a column of one */
    MESSAGE_OUTPUT,   /* what a task printed; a column of one */

    /* shared constants; they are fetched as programs are, by digest */
    MESSAGE_SHARE,   /* client -> broker: it has one, for jobs to come */
    MESSAGE_UNSHARE, /* client -> broker: no more; broker -> worker: no job needs it, drop it */

    /* programs: worker -> broker -> client asks, client -> broker -> worker answers */
    MESSAGE_PROGRAM_WANTED, /* from byte `offset` on, at most LIMIT_PART */
    MESSAGE_PROGRAM_PART,   /* a column of one; `size` 0 and a text: cannot be had */
    MESSAGE_PROGRAM_FAILED, /* worker -> broker: it cannot start here, and why */

    /* operators, and clients */
    MESSAGE_STATUS_WANTED,
    MESSAGE_STATUS,

    /* after a reconnection */
    MESSAGE_TOLD,         /* client, worker -> broker: that was all there was to be told anew */
    MESSAGE_ACK,          /* broker -> worker: these RESULTS need not be kept any longer */
    MESSAGE_HELD,         /* worker -> broker: what it still has of a lease */
    MESSAGE_ADOPTED,      /* the answer */
    MESSAGE_REPLAY,       /* the beginning of a file: see replay.h */
    MESSAGE_DRAIN,        /* operator -> broker -> worker: it shall take no more, and end */
    MESSAGE_DRAIN_ANSWER, /* broker -> operator */

    /* detached jobs, which the broker's store keeps */
    MESSAGE_ATTACH,      /* client -> broker: tell of this job */
    MESSAGE_ATTACHED,    /* how it stands */
    MESSAGE_FETCH,       /* client -> broker: send results of it */
    MESSAGE_FETCHED,     /* all up to here were sent */
    MESSAGE_KEPT_WANTED, /* operators, and clients: about such jobs */
    MESSAGE_KEPT,        /* the answer, ... */
    MESSAGE_KEPT_TASK,   /* ... or this one, about one task */
    MESSAGE_LIMIT
};

struct message_hello {
    enum role role;
    uint32_t protocol;
    const char *software; /* "ladle 0.1.0" */
    const char *name;     /* of a worker; the broker makes it unique. Of a client: its program */
    const char *host;
    uint64_t pid;
    uint8_t session[16]; /* random; the same after a reconnection */
    uint64_t
        window; /* worker: bytes of unfinished inputs; client: bytes of results not yet TAKEN */
    /* worker */
    uint32_t slots;
    const char *machine; /* "x86_64" */
    const char *labels;  /* "gpu=1,zone=b" */
    /* worker: names of installed programs (--program); executor: functions of the program */
    const char *const *names;
    uint32_t nnames;
    uint32_t tasks;    /* executor: to be replaced after so many; 0: never */
    uint64_t keep_ms;  /* client: its jobs go on for so long when it falls silent */
    uint64_t instance; /* worker: of the broker before; 0 */
    /* worker */
    uint64_t memory;  /* bytes that tasks may ask for together; 0: none */
    uint64_t left_ms; /* until it must have ended; 0: it may stay */
};

struct message_welcome {
    uint32_t protocol; /* the one to speak: the smaller of the two */
    const char *software;
    const char *name;  /* worker: its unique name */
    uint64_t instance; /* of the broker, random at its start: another one knows nothing */
    uint32_t beat_ms, lost_ms;
    uint64_t window; /* client: bytes of unfinished inputs */
    uint32_t workers, slots;
};

struct message_job {
    uint64_t job;
    struct spec *spec;
    bool detached;  /* it may outlive its client, under the name of */
    uint8_t id[16]; /* these random bytes */
};

struct message_inputs {
    uint64_t job;
    uint64_t first;
    struct columns columns;
    bool again;       /* told to a broker before */
    bool running;     /* and known to run */
    uint32_t charged; /* and so many attempts count against each */
};

struct message_charged {
    uint64_t job;
    uint64_t index;
    uint32_t charged; /* attempts, at least one */
};

struct message_job_end {
    uint64_t job;
    uint64_t total;
};

struct message_range { /* CANCEL, ACCEPTED */
    uint64_t job;
    uint64_t first;
    uint64_t count;
};

struct message_taken {
    uint64_t bytes; /* of RESULTS and ENDED since the WELCOME, TASK_COST for each task or ENDED */
};

struct message_ended {
    uint64_t job;
    uint64_t first;
    uint64_t count;
    enum outcome outcome;
    uint32_t attempt; /* of the last one; 0 if none ran */
    const char *worker;
    const char *text;
};

enum notice { NOTICE_OTHER, NOTICE_NO_WORKER };

struct message_notice {
    uint64_t job;
    enum notice reason; /* what a client may have a remedy for */
    const char *text;
};

struct message_grid {
    uint32_t workers, slots;
    /* towards clients in executors only */
    uint32_t idle;  /* slots that have nothing to do */
    uint64_t grant; /* bytes by which WELCOME's window has grown; it never shrinks */
};

struct message_slice {
    uint64_t lease; /* one hand-over of one range: the fence against late results */
    uint64_t job;
    uint64_t first;
    uint32_t attempt; /* from 1 */
    uint32_t charged; /* earlier attempts that count against the tasks: they crashed, or failed */
    struct columns columns;
};

struct message_revoke {
    uint64_t lease;
    uint32_t count;
};

enum returned { RETURNED_REVOKED, RETURNED_DRAIN, RETURNED_PROGRAM, RETURNED_UNSTARTED };

struct message_returned {
    uint64_t lease;
    uint64_t first;
    uint32_t count; /* 0: nothing was left to give back */
    enum returned why;
};

struct message_parked {
    uint64_t lease;
    uint64_t index; /* of the task; 0 towards the broker */
    bool parked;
};

struct message_results {
    uint64_t job;
    uint64_t lease; /* 0 towards a client */
    uint64_t first;
    uint32_t attempt;
    uint32_t charged;   /* towards the broker: of the slice */
    const char *worker; /* towards a client */
    uint64_t run_us;    /* running time of these tasks together */
    uint64_t wait_us;   /* towards a client: from acceptance to dispatch, of the first */
    struct columns columns;
    uint64_t serial; /* towards the broker: to be acknowledged; 0: not */
};

struct message_running {
    uint64_t job;
    uint64_t lease;
    uint64_t index;
    uint32_t attempt;
    const char *worker;
};

struct message_progress {
    uint64_t job;
    uint64_t lease;
    uint64_t index;
    uint64_t done, total;
};

struct message_partial {
    uint64_t job;
    uint64_t lease;
    uint64_t index;
    struct columns columns;
};

struct message_output {
    uint64_t job;
    const char *worker;
    uint32_t stream; /* 1 or 2 */
    struct columns columns;
};

struct message_share { /* SHARE, UNSHARE */
    const char *digest;
    uint64_t size;
};

struct message_program_wanted {
    const char *digest;
    uint64_t offset;
};

struct message_program_part {
    const char *digest;
    uint64_t offset;
    uint64_t size;    /* of the whole program; 0: cannot be had */
    const char *text; /* why not */
    struct columns columns;
};

struct message_program_failed {
    const char *digest; /* or the name, for one offered by name */
    const char *text;
    /* For jobs that are like this one in arguments, environment and directory; 0: for all with the
     * digest. */
    uint64_t job;
};

struct message_status_wanted {
    uint32_t first_worker, first_job;
};

struct worker_row {
    const char *name, *host, *machine, *labels;
    uint32_t slots, busy;  /* busy: slots that have work, as far as the broker knows */
    uint64_t queued;       /* tasks handed over and not ended, but for these: */
    uint64_t parked;       /* they wait for tasks of their own, and take no slot */
    uint64_t done, failed; /* tasks since it joined */
    uint64_t silent_ms;
    bool draining;
    uint64_t memory, memory_busy; /* bytes that tasks may ask for together, and have asked for */
    uint64_t left_ms;             /* until it must have ended; 0: it may stay */
};

struct job_row {
    uint64_t job;
    const char *client, *function, *name;
    int32_t priority;
    uint64_t waiting, running, parked, done, failed;
    const char *notice; /* why it waits; "" */
};

struct message_status {
    const char *software;
    uint64_t uptime_ms;
    uint32_t clients, workers, slots;
    uint64_t jobs;                                                      /* now */
    uint64_t tasks_accepted, tasks_done, tasks_failed, tasks_cancelled; /* since the start */
    uint64_t retries, late_results, workers_lost, peers_cut, bytes_held;
    const struct worker_row *worker_rows;
    uint32_t nworker_rows;
    const struct job_row *job_rows;
    uint32_t njob_rows;
    uint32_t clients_away;
    uint64_t leases_adopted;
};

struct message_ack {
    const uint64_t *serials; /* first, last, first, last ... */
    uint32_t count;          /* of numbers: even */
};

struct message_held {
    uint64_t lease;
    uint64_t job;
    uint64_t first; /* what the runs count from */
    uint32_t attempt, charged;
    uint32_t cpus; /* slots that it takes now; 0: all is done, or waits */
    bool parked;
    const uint32_t *runs; /* offset, count, offset, count ... in order, and apart */
    uint32_t nruns;       /* of numbers: even */
};

struct message_adopted {
    uint64_t lease;
    bool wanted;
};

struct message_replay {    /* of a task that did not end well, and its program */
    const char *path;      /* of the executable */
    const char *directory; /* where its client worked */
    enum outcome outcome;
    const char *worker, *text;
    uint64_t when_ms; /* since the epoch */
};

struct message_drain {
    const char *worker; /* its name; "" towards the worker */
    int64_t grace_ms;   /* how long what runs may go on; -1: as the worker was told at its start */
};

struct message_drain_answer {
    const char *worker;
    bool accepted;
    const char *text; /* why not */
};

enum kept_error {
    KEPT_NONE,
    KEPT_UNKNOWN,   /* no such job, or not any more */
    KEPT_DIFFERENT, /* another job of that name */
    KEPT_NO_STORE,
    KEPT_FULL,
    KEPT_OVER, /* the job takes no more tasks */
    KEPT_DAMAGED,
    KEPT_LIMIT
};

struct message_attach {
    uint64_t job;
    uint8_t id[16];
};

struct message_attached {
    uint64_t job;
    uint64_t total; /* tasks on disk */
    bool sealed;    /* there will be no more */
    const char *function, *name;
    enum kept_error error; /* tasks from `total` on are rejected, ... */
    const char *text;      /* ... since */
};

struct message_fetch { /* FETCH; FETCHED without the bytes */
    uint64_t job;
    uint64_t bytes;
    uint64_t after;
};

enum kept_action { KEPT_LIST, KEPT_CANCEL, KEPT_RETRY, KEPT_TASK };

struct message_kept_wanted {
    enum kept_action action;
    const char *id; /* hexadecimal; its beginning will do */
    uint64_t index;
    uint64_t first; /* rows to leave out */
};

struct kept_row {
    const char *id, *function, *name, *client, *notice;
    uint64_t total, done, failed, cancelled;
    bool sealed;
    uint64_t created_s, ended_s; /* since 1970; 0: not yet */
    uint64_t bytes;
};

struct message_kept {
    enum kept_error error;
    const char *text;
    const struct kept_row *rows;
    uint32_t nrows;
    bool more;
};

struct message_kept_task {
    enum kept_error error;
    const char *text;
    const char *id;
    uint64_t index;
    struct spec *spec; /* NULL: it cannot be had */
    struct columns columns;
    enum outcome outcome;
    const char *worker;
    uint32_t attempt;
};

struct message {
    enum message_type type;
    /* Between an executor, its worker and the broker: 0, or the number of the client in an executor
     * that says this, or to which it is said. Unique in the worker's session. */
    uint32_t client;
    union {
        struct message_hello hello;
        struct message_welcome welcome;
        const char *text; /* REFUSED, BYE, DRAINING */
        struct message_job job;
        struct message_inputs inputs;
        struct message_charged charged;
        struct message_job_end job_end;
        struct message_range range;
        struct message_taken taken;
        struct message_ended ended;
        struct message_notice notice;
        struct message_grid grid;
        struct message_slice slice;
        struct message_revoke revoke;
        struct message_parked parked;
        struct message_share share;
        struct message_returned returned;
        struct message_results results;
        struct message_running running;
        struct message_progress progress;
        struct message_partial partial;
        struct message_output output;
        struct message_program_wanted program_wanted;
        struct message_program_part program_part;
        struct message_program_failed program_failed;
        struct message_status_wanted status_wanted;
        struct message_status status;
        struct message_ack ack;
        struct message_held held;
        struct message_adopted adopted;
        struct message_replay replay;
        struct message_drain drain;
        struct message_drain_answer drain_answer;
        struct message_attach attach;
        struct message_attached attached;
        struct message_fetch fetch;
        struct message_kept_wanted kept_wanted;
        struct message_kept kept;
        struct message_kept_task kept_task;
    };
};

/* The columns of a message that has some; else NULL. */
struct columns *message_columns(struct message *m);
const char *message_name(enum message_type type); /* "slice"; for logs and traces */
const char *outcome_name(enum outcome o);         /* "CRASHED" */

/* Bytes of the items [from, from + count); their sum for items of their own sizes. */
size_t columns_length(const struct columns *c, uint32_t from, uint32_t count);
/* The part [from, from + count) of `c`: the same blob, no copy, no reference taken. `offset` is
 * where item `from` starts in the data, relative to c->at, as columns_length(c, 0, from) says. */
struct columns columns_part(const struct columns *c, uint32_t from, uint32_t count, size_t offset);

#endif
