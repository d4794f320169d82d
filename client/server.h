/* server.h - what the sources of an executor share: serve.c (its life, and messages), slices.c
 * (slices and their results), parking.c (tasks on stacks, and those that they spawn). */
#ifndef LADLE_SERVER_H
#define LADLE_SERVER_H

#include "futures.h"
#include "nest.h"
#include "running.h"

#include "../proto/board.h"
#include "../proto/limits.h"

#include <stdatomic.h>

struct known_job {
    struct known_job *next;
    uint64_t job;
    task_fn *function; /* NULL: unknown here, `words` says so */
    char *words;
    struct spec *spec;
    struct constants *constants;
    unsigned refs; /* slices, and 1 until it is forgotten */
};

struct slice {
    TAILQ_ENTRY(slice) link; /* in server.slices until it is at hand */
    struct known_job *job;
    uint64_t lease, first;
    uint32_t attempt;
    struct columns columns; /* owned */
    size_t offset;          /* of the next task's input */
    unsigned refs;          /* works, and 1 until it is left */
};
TAILQ_HEAD(slice_list, slice);

/* A task that runs here. It lives on the stack on which it does. */
struct work {
    struct task task;
    struct task_run run;
    struct work *root; /* the task of a slice for which it runs: itself, or what spawned it */

    /* Of a slice: */
    struct slice *slice;
    uint32_t offset;
    int64_t progressed; /* when its last PROGRESS was sent */
    bool told;          /* the worker knows that it waits */
    bool alone;         /* it was told once: its result goes by itself */
    bool cancelled;
    uint8_t *aside; /* what it made in the board's area, while another task has that */

    /* Of another task: */
    struct nest_task spawned;

    /* The tasks that it spawns: */
    struct nest_session nest;
    bool nests;

    struct stack *stack; /* while it waits */
    bool waits, ready, late;
    bool ending;   /* it waits for those it spawned to end, whatever happens */
    bool yields;   /* it waits until something has happened */
    int64_t until; /* CLOCK_NEVER: as long as it takes */
    TAILQ_ENTRY(work) ready_link, timed_link, leased_link;
    uint8_t *aligned;              /* owned: a copy of its input */
    _Alignas(16) uint8_t room[64]; /* for small results, and for small inputs */
    _Alignas(16) uint8_t input[64];
};
TAILQ_HEAD(work_list, work);

extern struct server {
    struct board *board;
    bool forked; /* a task forked, and this is the child */
    char worker[LIMIT_NAME + 1];
    struct known_job *jobs;   /* the one used last in front */
    struct slice_list slices; /* that came; at hand next */
    struct slice *slice;      /* at hand: its tasks are claimed */
    int64_t now_ns;           /* when the clock was read last */
    uint32_t heard;           /* messages */

    struct work *current; /* runs */
    struct work *awake;   /* its root, as far as the worker knows */
} server;

int64_t server_clock(void); /* nanoseconds, monotonic */

/* ---- serve.c ----------------------------------------------------------------------------------
 */

void serve_message(void); /* the next one; waits for it */
void serve_forget(struct known_job *job);

/* ---- slices.c ---------------------------------------------------------------------------------
 */

void slices_open(void);
void slices_add(const struct message_slice *m, struct known_job *job);
bool slices_run(void); /* tasks of the slice at hand, or the next one; false: there is none */
void slices_flush(void);
/* The slice at hand is over for us, as its task `w` waits. */
void slices_leave(const struct work *w);
/* Others are going to run while `w` waits: the copy of its input becomes its own. */
void slices_keep_input(struct work *w);
void slices_hold_output(struct work *w);    /* somebody else is to have the area */
void slices_restore_output(struct work *w); /* it is w's again */

/* ---- parking.c --------------------------------------------------------------------------------
 */

void parking_open(const futures_config_t *config);
void parking_serve(void) __attribute__((noreturn)); /* all there is to do, on stacks */
/* `w` begins to run. */
void parking_begin(struct work *w);
void parking_rest(void); /* the task of a slice that ran has ended */
/* Is there something else to do, before the next task of the slice? */
bool parking_calls(void);
void parking_carried(const struct message *m); /* by the worker, to the client that we are */
void parking_cancel(const struct message_range *m);

bool parking_cancelled(void *arg); /* of a work */

#endif
