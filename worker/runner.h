/* runner.h - which executor runs which tasks, and what becomes of them: the deciding half of a
 * worker.
 *
 * The broker's messages, what executors say and how they end, and the time go in; messages to the
 * broker come out, and orders to the hands (struct runner_hands) that start executors and talk to
 * them. No processes, no sockets, no clock. A board is memory to it: tests make their own.
 * Not thread-safe. The hands never call back.
 */
#ifndef LADLE_RUNNER_H
#define LADLE_RUNNER_H

#include "../proto/board.h"
#include "../proto/message.h"

struct runner;

/* Executors are numbers below runner_executors(): one is free again after runner_ended(). */
struct runner_hands {
    /* Start an executor: returns its board, which is to stay until runner_ended(). NULL if that
     * cannot be done now; with a sentence in *why if it never can. */
    struct board *(*start)(void *arg, unsigned executor, const struct program *program,
                           const char **why);
    void (*send)(void *arg, unsigned executor, const struct message *m);
    void (*hang_up)(void *arg, unsigned executor); /* it is to end, when it has run what it has */
    void (*signal)(void *arg, unsigned executor, int signal); /* to its whole group */
    /* Bytes that it may use from now on; 0: any. Beyond that it is ended, with those words. */
    void (*limit)(void *arg, unsigned executor, uint64_t bytes);
    uint64_t (*usage)(void *arg, unsigned executor); /* bytes that it uses; 0: not known */
    void (*sweep)(void *arg, unsigned executor);     /* kill what detached itself from it */
    /* Get the program: answered by runner_program_ready() or _failed(), later. */
    void (*want)(void *arg, const struct program *program);
    /* The same for a constant: runner_shared_ready() or _failed(). */
    void (*want_shared)(void *arg, const struct shared *shared);
    void (*drop_shared)(void *arg, const char *digest); /* nobody needs it any more */
};

struct runner_config {
    unsigned slots;
    uint64_t memory;               /* bytes that tasks may ask for together; 0: it is not counted */
    bool local;                    /* all jobs are of one program, which is there */
    const struct program *program; /* it; copied */
    unsigned tasks_per_executor;   /* 0: no limit */
    int64_t grace_us;              /* from SIGTERM to SIGKILL */
    const char *name;              /* of the worker; copied */
    const struct runner_hands *hands;
    void *arg;
};

struct runner *runner_new(const struct runner_config *config); /* NULL: ENOMEM */
void runner_free(struct runner *r);
unsigned runner_executors(const struct runner *r);

/* What has a `client`, in all directions, is of the conversation between a client in an executor
 * and the broker: it is passed on, with its number changed. */
void runner_input(struct runner *r, const struct message *m, int64_t now); /* from the broker */
bool runner_output(struct runner *r, struct message *m);   /* to it; borrowed till the next call */
int runner_say(struct runner *r, const struct message *m); /* put the shell's own words in line */

/* A message from an executor; those that are not about tasks are the shell's. */
void runner_heard(struct runner *r, unsigned executor, const struct message *m, int64_t now);

struct runner_end {
    const char *cause; /* "killed by signal 11 (Segmentation fault)" */
    const char *words; /* the last that it wrote on standard error; "" */
    const char *where; /* lines for whom it died of, each behind a newline; NULL: none */
    bool killed;       /* from outside, so perhaps not by its own fault */
    bool clean;        /* exit status 0 */
};
/* It is gone, and all it sent was heard. What its board still holds is taken from there. */
void runner_ended(struct runner *r, unsigned executor, const struct runner_end *end, int64_t now);

void runner_program_ready(struct runner *r, const char *digest, int64_t now);
/* It will not start here; with `again`, ask anew when work for it comes. */
void runner_program_failed(struct runner *r, const char *digest, const char *text, bool again,
                           int64_t now);
/* Where it is, as long as it is used. */
void runner_shared_ready(struct runner *r, const char *digest, const char *path, int64_t now);
void runner_shared_failed(struct runner *r, const char *digest, const char *text, bool again,
                          int64_t now);
bool runner_shared_used(const struct runner *r, const char *digest);
bool runner_program_used(const struct runner *r, const char *digest); /* by work or an executor */

/* Start `count` executors before work comes; local only. */
void runner_warm(struct runner *r, unsigned count, int64_t now);

/* The job whose tasks an executor runs; false if it runs none. */
bool runner_job_of(const struct runner *r, unsigned executor, uint64_t *job_p);

/* Give executors what there is for them: after every batch of calls above. */
void runner_match(struct runner *r, int64_t now);
/* The same, and look after what takes its time: once per turn of the loop. */
void runner_tick(struct runner *r, int64_t now);
int64_t runner_deadline(const struct runner *r, int64_t now);

/* There is no broker for now: keep running, and keep what it is to know. What it has not brought
 * here in full is forgotten. The next WELCOME brings HELD for each lease that is left. */
void runner_lost(struct runner *r, int64_t now);
uint64_t runner_kept(const struct runner *r);    /* bytes of results without an ACK */
uint64_t runner_dropped(const struct runner *r); /* results that were too many to be kept */
/* There will be no broker that wants what is here. */
void runner_reset(struct runner *r, int64_t now);
/* Take nothing new, return what has not started. What runs may go on for `grace_us`; then it is
 * stopped, and returned too. Again: the shorter grace counts. */
void runner_drain(struct runner *r, int64_t grace_us, const char *why, int64_t now);
bool runner_idle(const struct runner *r);
void runner_check(const struct runner *r); /* abort unless every invariant holds; for tests */

#endif
