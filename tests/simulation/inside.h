/* inside.h - the inside of a virtual executor. For executor.c (its life, and messages), area.c (its
 * slices, and the board) and stacks.c (tasks that run, and wait) only. */
#ifndef LADLE_SIM_INSIDE_H
#define LADLE_SIM_INSIDE_H

#include "executor.h"
#include "history.h"
#include "load.h"

#include "../../client/nest.h"
#include "../../proto/limits.h"

struct known_job {
    struct known_job *next;
    uint64_t job;
    struct spec *spec;
    unsigned refs; /* slices, and 1 until it is forgotten */
};

struct slice {
    TAILQ_ENTRY(slice) link; /* until it is at hand */
    struct known_job *job;
    uint64_t lease, first;
    uint32_t attempt, count;
    uint64_t *inputs;
    unsigned refs; /* stacks, and 1 until it is left */
};
TAILQ_HEAD(slice_list, slice);

struct stack {               /* a task that was started, and has not ended */
    TAILQ_ENTRY(stack) link; /* in the executor */
    TAILQ_ENTRY(stack) ready_link;
    struct stack *root; /* the task of a slice for which it runs: itself, or what spawned it */
    struct stack *by;   /* what spawned it; NULL: it is of a slice */
    uint64_t input;
    /* of a slice */
    struct slice *slice;
    uint32_t offset;
    bool told;  /* the worker knows that it waits */
    bool alone; /* it was told once: its result goes by itself */
    bool cancelled;
    /* of another task */
    struct nest_task spawned;
    /* what it spawns */
    struct nest_session nest;
    struct core *core; /* NULL: nothing */
    struct job *children;
    unsigned rounds; /* so often */
    bool waits, ready;
    bool ending; /* it waits for those that run below it, and has this outcome: */
    enum outcome outcome;
    int64_t began;
    int64_t left; /* us of this stretch */
};
TAILQ_HEAD(stack_list, stack);

enum { AREA_RECORDS = 1024 };

struct executor {
    struct actor actor;
    struct executor_config config;
    char worker[32];
    struct connection *pipe;
    struct board *board;  /* what it writes on */
    struct board *shared; /* the worker's */
    bool alive, met;
    bool ordered; /* its worker ends it */
    bool killed;  /* somebody else did */
    const char *cause;

    struct known_job *jobs;
    struct slice_list slices; /* that came */
    struct slice *slice;      /* at hand */
    bool in_slice;            /* its tasks are started one after the other */
    struct {                  /* results that were not sent */
        uint32_t count, first;
        size_t at;
        int64_t run_us, flushed;
        uint32_t sizes[AREA_RECORDS];
        uint8_t outcomes[AREA_RECORDS];
    } area;

    struct nest *nest; /* NULL: no task has asked for it */
    bool greeted;
    uint64_t session;         /* of its client */
    struct stack_list stacks; /* the newest last */
    struct stack_list ready;
    struct stack *current; /* runs */
    struct stack *awake;   /* its root, as far as the worker knows */
    uint64_t run;          /* counts stretches */
    int64_t told_at;       /* its nest has to say something then */
};

enum executor_wake { WAKE_MAIL, WAKE_RUN, WAKE_HELLO, WAKE_TERM, WAKE_KILL, WAKE_TIMED, WAKE_NEST };

/* executor.c */
void executor_say(struct executor *e, const struct message *m);
void executor_die(struct executor *e, const char *cause);
void executor_advance(struct executor *e); /* do what there is to do */
void known_unref(struct known_job *k);

/* area.c */
void area_begin(struct executor *e);
void area_flush(struct executor *e);
/* The result of a task becomes the next record; or goes at once, if it is large. */
void area_commit(struct executor *e, const struct stack *k, enum outcome o);
void area_send_alone(struct executor *e, const struct stack *k, enum outcome o);
void slice_add(struct executor *e, const struct message_slice *m, struct known_job *job);
void slice_unref(struct slice *s);
bool slice_next(struct executor *e);
void slice_leave(struct executor *e);
bool slice_claim(struct executor *e, uint32_t *offset_p);

/* stacks.c */
void stack_begin(struct executor *e, struct slice *s, uint32_t offset);
bool stack_begin_spawned(struct executor *e);
void stack_resume(struct executor *e, struct stack *k);
void stack_ran(struct executor *e); /* the stretch of the current one is over */
void stack_free(struct executor *e, struct stack *k);
void stacks_work_for(struct executor *e, struct stack *root);
void stacks_rest(struct executor *e);
void stacks_cancel(struct executor *e, const struct message_range *m);
void stacks_look_around(struct executor *e);
void stacks_out_of_time(struct executor *e);
void stacks_send_out(struct executor *e);
void stacks_carried(struct executor *e, const struct message *m);
bool stacks_call(const struct executor *e); /* is there something to do before the next task? */

#endif
