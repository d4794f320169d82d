/* core.h - a client: its jobs, what it tells the broker, and what it makes of the answers.
 *
 * A pure state machine, like the scheduler at the other end: calls of the program and messages of
 * the broker go in, messages to the broker come out. No sockets, clocks, threads or callbacks.
 * The members of struct core and of what jobs.h holds are read freely by the rest of client/, and
 * changed here.
 *
 * The broker's memory is a cache of ours: inputs stay here until their tasks have ended, and after
 * each WELCOME all that has not ended is told anew. The first end of a task counts, later ones are
 * dropped.
 */
#ifndef LADLE_CORE_H
#define LADLE_CORE_H

#include "jobs.h"

#include <stdint.h>

TAILQ_HEAD(job_list, job);

struct partial { /* of a task that runs */
    TAILQ_ENTRY(partial) link;
    uint64_t job, index;
    struct blob *data;
    size_t at, size;
};
TAILQ_HEAD(partial_list, partial);

struct word { /* CANCEL or NOTED, to be said before anything else */
    TAILQ_ENTRY(word) link;
    enum message_type type;
    struct message_range range;
};
TAILQ_HEAD(word_list, word);

/* A constant that this client has for tasks; embedded in whoever has its bytes. */
struct share {
    TAILQ_ENTRY(share) link; /* in core->shares */
    char digest[65];
    uint64_t size;
    bool offered;  /* to jobs to come */
    bool told;     /* the broker knows it as offered */
    uint32_t jobs; /* that may ask for it and have not ended */
};
TAILQ_HEAD(share_list, share);

#define FAILURE_INPUT (32u << 20) /* larger inputs are not kept */

enum failure_state { FAILURE_NEW, FAILURE_KEPT, FAILURE_GONE };

struct failure { /* a task that ended FAILED, CRASHED or TIMED_OUT */
    TAILQ_ENTRY(failure) link;
    enum failure_state state; /* is it in a file? Until that is known: */
    struct spec *spec;
    struct blob *input, *text; /* NULL: it is empty */
    uint64_t job, index;
    enum outcome outcome;
    uint32_t attempt;
    const char *worker; /* interned */
    char id[9];         /* of the file */
};
TAILQ_HEAD(failure_list, failure);

struct core {
    bool welcome; /* the broker knows us */
    uint64_t instance;
    uint64_t window; /* bytes that may be under way, */
    uint64_t grant;  /* and so many more: of tasks that wait for others of ours */
    uint32_t workers, slots;

    struct job *jobs; /* by number */
    uint64_t last_job;
    struct job_list ready; /* have something to send; larger priority first */
    struct job_list due;   /* have a deadline; earliest first */
    struct job_list
        again;     /* have tasks that a broker knew before, and that this one is to be told */
    bool tell_end; /* and then, that this was all */
    bool greeted;  /* there was a WELCOME before */
    struct word_list words;
    struct share_list shares;
    bool shares_changed; /* there may be something to tell about them */

    uint64_t unended;    /* tasks */
    uint64_t under_way;  /* bytes of tasks at the broker, TASK_COST each included */
    bool deposits_wait;  /* some detached job found no room on the way there */
    uint64_t depositing; /* of detached ones, on their way to its disk */
    uint64_t received;   /* bytes of results */
    uint64_t taken;      /* of these, told to the broker, ... */
    int64_t taken_at;    /* ... the last time at */
    uint64_t order;      /* of segments */
    uint64_t failed;     /* tasks that did not end well */
    uint64_t late;       /* results of tasks that had ended */

    struct watcher_list woken; /* their tasks have ended */
    struct partial_list partials, unclaimed;
    size_t partials_bytes, unclaimed_bytes;
    struct failure_list failures;
    unsigned failures_wanted; /* to be noted; 0: none */
    unsigned nfailures, unkept;
    uint64_t failure_seed;
    struct intern *names; /* of workers */
    char *notice;         /* about the grid; NULL */

    bool news; /* something changed that a waiting call may look at; cleared by the reader */
    bool wants_output;  /* so did something that core_output() should look at */
    struct spec *shown; /* of the last message */
};

struct core *core_new(void); /* NULL: ENOMEM */
void core_free(struct core *core);

/* A job without inputs, which the caller keeps until core_release(); NULL: ENOMEM. A deadline in
 * the spec counts from now. */
struct job *core_job(struct core *core, const struct spec *spec, int64_t now);
struct job *core_job_numbered(struct core *core, const struct spec *spec, uint64_t number,
                              int64_t now);
/* The next input, copied. It is task job->total - 1, of *chunk_p, and has a handle. -1: ENOMEM. */
int core_append(struct core *core, struct job *j, const void *input, size_t size,
                struct chunk **chunk_p);
/* Many inputs: takes over the reference, and `sizes` (malloc; NULL: all equal). -1: ENOMEM, and
 * nothing was taken over. */
int core_append_blob(struct core *core, struct job *j, struct blob *data, size_t length,
                     uint32_t count, uint32_t size, uint32_t *sizes);
void core_close(struct core *core, struct job *j); /* no more inputs */
void core_release(struct core *core, struct job *j);

/* `count` results of a chunk will not be asked for again. */
void core_release_tasks(struct core *core, struct chunk *c, uint32_t count);
/* Nobody is interested in the job any more: drop all, and release it. */
void core_drop(struct core *core, struct job *j);
/* The segment was read, and belongs to the caller from now on. */
void core_read_segment(struct core *core, struct segment *s);

/* Those tasks that have not ended are CANCELLED. */
void core_cancel(struct core *core, struct job *j, uint64_t first, uint64_t count);
/* All tasks of all jobs that have not ended do so, with one sentence. With `tell`, the broker is
 * told. */
void core_end_all(struct core *core, enum outcome outcome, const char *text, bool tell);

/* A constant that jobs from now on may have in their spec. It stays the caller's, and in the core
 * until core_share_unneeded(). */
void core_share(struct core *core, struct share *x);
/* No longer for jobs to come, or again. */
void core_offer(struct core *core, struct share *x, bool offered);
struct share *core_share_find(const struct core *core, const char *digest);
/* One that is not offered, and that no job needs any more: forgotten here. NULL: there is none.
 * core->news is set when there may be one. */
struct share *core_share_unneeded(struct core *core);

/* A message of the broker. -1 with ENOMEM: it was not understood in full, and may be given again.
 */
int core_input(struct core *core, const struct message *m, int64_t now);
/* The next message to the broker, borrowed until the next call of any core_ function. */
bool core_output(struct core *core, struct message *m, int64_t now);
void core_tick(struct core *core, int64_t now);
struct blob *core_deadline_text(const struct job *j); /* NULL: ENOMEM */
int64_t core_deadline(const struct core *core);
int64_t core_taken_deadline(const struct core *core); /* when core_output() has to say TAKEN */
/* The connection is gone: there is nothing to send until the next WELCOME. */
void core_gone(struct core *core);

/* The partial results that somebody wants, oldest first. */
void core_claim(struct core *core, uint64_t job, uint64_t index, bool whole_job);
struct partial *core_partial(struct core *core); /* now the caller's; NULL: no more */
void partial_free(struct partial *p);

/* The next failure of which it is not known whether it is in a file; NULL: none. Its members stay
 * as they are until core_kept(). */
struct failure *core_unkept(const struct core *core);
void core_kept(struct core *core, struct failure *f, bool kept);
/* That of a task; NULL: it was not noted. */
const struct failure *core_failure(const struct core *core, uint64_t job, uint64_t index);

/* Shared by core.c, ends.c, answers.c, shares.c and failures.c. */
void core_note_failures(struct core *core, const struct chunk *c, uint32_t from, uint32_t count,
                        const struct segment *s);
void core_free_failures(struct core *core);
int core_shares_join(struct core *core, struct job *j); /* -1: ENOMEM */
void core_shares_leave(struct core *core, struct job *j);
void core_shares_welcome(struct core *core);
bool core_shares_output(struct core *core, struct message *m);
struct job *core_find(const struct core *core, uint64_t number);
const char *core_intern(struct core *core, const char *name);
void core_look_at(struct core *core, struct job *j); /* has it something to send? */
/* CANCEL or NOTED. -1: ENOMEM. */
int core_say(struct core *core, enum message_type type, uint64_t job, uint64_t first,
             uint64_t count);
void core_note(const struct core *core, const struct message_range *m); /* NOTED goes out now */
/* Nobody can ask for partial results of this chunk any more. */
void core_drop_unclaimed(struct core *core, const struct chunk *c);
/* All of a chunk may have ended: let go of what nobody needs. True if it is gone, and perhaps its
 * job. */
bool core_chunk_ended(struct core *core, struct chunk *c);
int core_end_with_results(struct core *core, struct chunk *c, uint32_t at,
                          const struct columns *part, const struct message_results *r);
struct ending { /* one for many tasks */
    enum outcome outcome;
    struct blob *text;
    uint32_t attempt;
    const char *worker; /* interned */
};
/* Tasks [first, first + count) that have not ended. `settled`: the broker says so. -1: ENOMEM. */
int core_end_range(struct core *core, struct job *j, uint64_t first, uint64_t count,
                   const struct ending *e, bool settled);

void core_check(const struct core *core); /* abort unless every invariant holds; for tests */

#endif
