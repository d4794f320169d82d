/* nest.h - tasks that wait for children, in the executors of a virtual worker. */
#ifndef LADLE_SIM_NEST_H
#define LADLE_SIM_NEST_H

#include "work.h"

#include "submitter.h"

struct executor { /* of which only its client matters here */
    struct submitter submitter;
    struct worker_actor *worker;
    TAILQ_ENTRY(executor) link;
};

struct family { /* a task of a lease, and the job that it waits for */
    struct held *held;
    uint32_t index;
    struct executor *executor;
    struct work *work; /* NULL: it goes on */
    unsigned rounds;
    TAILQ_ENTRY(family) link;
};

void nest_reset(struct worker_actor *w); /* all executors are gone, and nobody is told */
/* Has this task children that it has not waited for yet? */
bool nest_waits(const struct worker_actor *w, const struct held *h, uint32_t i);
void nest_park(struct worker_actor *w, struct held *h, uint32_t i);
/* The task has ended, or does not count any more. */
void nest_forget(struct worker_actor *w, const struct held *h, uint32_t i);
/* Its executor dies with it: others that wait there begin anew. */
void nest_crash(struct worker_actor *w, const struct held *h, uint32_t i);
void nest_forget_lease(struct worker_actor *w, const struct held *h);
/* What has changed about this lease is told. */
void nest_tell(struct worker_actor *w, struct held *h);
/* A message with a client. */
void nest_input(struct worker_actor *w, const struct message *m);
void nest_trouble(struct worker_actor *w);

#endif
