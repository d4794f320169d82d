/* nest.h - the broker of the tasks that tasks spawn in this executor.
 *
 * Each task that spawns others has a client core of its own, in which its session works. The nest
 * takes its messages, and keeps the inputs as pieces. A piece's tasks run here, one at a time, or
 * are exported: handed, as a job of their own, to one more core, the exporter, that speaks with the
 * broker of the grid. Either way what becomes of them goes back to the session's core.
 * A pure state machine: no sockets, no clock, no stacks; callers pass `now`, in microseconds.
 */
#ifndef LADLE_NEST_H
#define LADLE_NEST_H

#include "core.h"

#include "task.h"

#define NEST_KEEP_US 5000 /* of work stays here, if the rest can go */
#define NEST_BATCH_US 1000
#define NEST_WORTH_US 500 /* of work: less is not worth its messages, whoever is idle */

/* What is known of a function's tasks here. */
struct nest_function {
    UT_hash_handle hh;
    task_fn *function;
    /* Of those that ended here, waiting included: the geometric mean, as recursion has many leaves
     * and few tasks that take long. -1: not known. */
    int64_t mean_ns;
    int32_t logarithm; /* of that, base 2, in 256ths */
    char name[];
};

struct nest_job {
    TAILQ_ENTRY(nest_job) link; /* in its session */
    struct nest_session *session;
    uint64_t number;
    struct spec *spec;
    struct nest_function *function;
    bool stays; /* may run here */
    bool ended; /* no more inputs */
    unsigned refs;
};
TAILQ_HEAD(nest_job_list, nest_job);

struct nest_piece { /* tasks of a job that wait for their turn here */
    TAILQ_ENTRY(nest_piece) link;
    struct nest_job *job;
    uint64_t first;
    uint32_t count;
    uint32_t attempt;
    uint32_t size;
    uint32_t
        *sizes; /* of all tasks of the message, of which `at` is the next; owned; NULL: equal */
    uint32_t at;
    struct blob *data;
    size_t offset; /* of the next task's input */
};
TAILQ_HEAD(nest_piece_list, nest_piece);

/* A task that was taken out to be run here; embedded in whoever runs it. */
struct nest_task {
    TAILQ_ENTRY(nest_task) link; /* in its session until its result is there */
    struct nest_job *job;
    uint64_t index;
    uint32_t attempt;
    bool cancelled;             /* nobody wants its result */
    struct nest_session *below; /* its own session; NULL: none */
    struct blob *data;          /* a reference */
    size_t offset, size;        /* of its input */
};
TAILQ_HEAD(nest_task_list, nest_task);

struct nest_export {
    UT_hash_handle hh;
    uint64_t number; /* of the exporter's job */
    struct nest_job *job;
    uint64_t first; /* task 0 of the exporter's job is this one of the job */
    LIST_ENTRY(nest_export) link;
};
LIST_HEAD(nest_export_list, nest_export);

/* A task's session; embedded in whoever runs that task. */
struct nest_session {
    TAILQ_ENTRY(nest_session) link; /* in nest->sessions while it has pieces */
    TAILQ_ENTRY(nest_session) news_link;
    TAILQ_ENTRY(nest_session) ending_link;
    struct core *core;
    const struct spec *root; /* of the leased task: its program, what it shares */
    bool apart;              /* its tasks are to run in executors of their own */
    bool ended;              /* cancelled: it takes no more */
    bool holes;              /* some of its tasks were cancelled */
    bool has_news;
    uint64_t age;
    int64_t since;       /* its first tasks came; 0: none yet */
    uint64_t ended_here; /* tasks */
    uint64_t queued;     /* tasks in the pieces */
    struct nest_piece_list pieces;
    struct nest_job_list jobs;
    struct nest_task_list running; /* taken out, not ended */
    struct nest_export_list exports;
};
TAILQ_HEAD(nest_session_list, nest_session);

/* Results of neighbouring tasks that were not yet told. */
struct nest_batch {
    struct nest_session *session; /* NULL: there are none */
    struct nest_job *job;
    uint64_t first;
    uint32_t count, attempt;
    int64_t since, run_ns; /* since: us */
    size_t length;
    uint32_t sizes[256];
    uint8_t outcomes[256];
    uint8_t bytes[16 << 10];
};

struct nest {
    struct core *exporter;
    uint32_t slots;  /* of the grid; 0: not known yet */
    uint64_t credit; /* tasks that idle slots could take */
    uint64_t ages;
    unsigned open;                     /* sessions */
    uint64_t queued;                   /* tasks, of all sessions */
    struct nest_session_list sessions; /* that have pieces; oldest first */
    struct nest_session_list news;
    struct nest_function *functions;
    struct nest_export *exports;
    bool broken;      /* there was no memory even to say so: the process must end */
    char worker[256]; /* where tasks run that run here */
    struct nest_batch batch;
};

int nest_init(struct nest *n); /* -1: ENOMEM */
void nest_fini(struct nest *n);

/* A session with a core that is new. */
void nest_open(struct nest *n, struct nest_session *s, struct core *core, const struct spec *root,
               bool apart);
/* Its task returned. What had not ended is cancelled; there is nothing running any more. */
void nest_close(struct nest *n, struct nest_session *s);
/* Take what its core has to say: new tasks, and which are not wanted. */
void nest_pull(struct nest *n, struct nest_session *s, int64_t now);
/* Cancel all of it, and of what runs below it. */
void nest_cancel(struct nest *n, struct nest_session *s, int64_t now);

/* The next task to run here: the newest session's first. False: there is none. */
bool nest_next(struct nest *n, struct nest_task *t);
/* It ended. The result lies in `blob`, at its beginning, or is copied if that is NULL. */
void nest_result(struct nest *n, struct nest_task *t, enum outcome outcome, const void *result,
                 size_t size, struct blob *blob, int64_t run_ns, int64_t now);
/* Tell the results that are at hand. */
void nest_flush(struct nest *n);
/* Messages of a task that runs here, or that was exported: progress, partial results. */
void nest_tell(struct nest_task *t, struct message *m);
/* Say of the session's tasks that run here that they do. */
void nest_tell_running(struct nest *n, struct nest_session *s);

/* A message of the broker to the exporter. -1: ENOMEM, it may be given again. */
int nest_input(struct nest *n, const struct message *m, int64_t now);
/* The next one to the broker; borrowed until the next call. */
bool nest_output(struct nest *n, struct message *m, int64_t now);
int64_t nest_deadline(const struct nest *n); /* when it has to say something, whatever happens */
/* The conversation is over. True if it is to begin anew, since there is work out, or may be. */
bool nest_gone(struct nest *n);

/* A session whose core has news; NULL: no more. */
struct nest_session *nest_news(struct nest *n);

void nest_check(const struct nest *n); /* abort unless every invariant holds; for tests */

#endif
