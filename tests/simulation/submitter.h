/* submitter.h - what a virtual client submits, and what it makes of the answers: one of its own, or
 * one in an executor of a worker. */
#ifndef LADLE_SIM_SUBMITTER_H
#define LADLE_SIM_SUBMITTER_H

#include "sim.h"

#define NONE 0xff

struct task {
    uint64_t input;
    uint32_t size;
    uint8_t outcome; /* NONE: it has none yet */
    bool cancelled;
};

struct work { /* a job */
    uint64_t id;
    struct spec *spec;
    struct task *tasks;
    uint64_t count, ready, sent, left;
    bool announced, end_sent;
    void *waiter; /* given back when all tasks have ended; NULL */
    TAILQ_ENTRY(work) link;
};

struct submitter {
    struct actor *actor; /* whose connection it uses */
    uint32_t number;     /* message.client */
    char name[24];
    uint8_t session[16];
    bool welcome;
    uint64_t window, grant, under_way;       /* of inputs */
    uint64_t result_window, received, taken; /* of results */
    uint64_t next_job;
    TAILQ_HEAD(, work) jobs;
    void (*over)(struct submitter *c, void *waiter); /* a job that has a waiter */
};

void submitter_init(struct submitter *c, struct actor *a, uint32_t number);
void submitter_free(struct submitter *c);
void submitter_hello(struct submitter *c);
/* The broker does not know it any more: all that has not ended is told anew. */
void submitter_gone(struct submitter *c);
/* A message for it; checks all that can be checked. */
void submitter_input(struct submitter *c, const struct message *m);
/* Send what can be sent, and let go of what has ended. */
void submitter_pump(struct submitter *c);

/* A job; takes the spec and the tasks (malloc) over. `ready` of the tasks may be sent. */
struct work *submitter_add(struct submitter *c, struct spec *spec, struct task *tasks,
                           uint64_t count, uint64_t ready);
struct work *submitter_find(struct submitter *c, uint64_t id);
/* Of those that were sent. */
void submitter_cancel(struct submitter *c, struct work *j, uint64_t first, uint64_t last);

#endif
