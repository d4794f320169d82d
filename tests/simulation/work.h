/* work.h - what a virtual worker holds, runs and answers. */
#ifndef LADLE_SIM_WORK_H
#define LADLE_SIM_WORK_H

#include "sim.h"

enum worker_wake { WAKE_JOIN, WAKE_BEAT, WAKE_TROUBLE, WAKE_PIECE };
enum state { UNSTARTED, STARTED, WAITING, OVER };

struct known { /* a job that was introduced */
    uint64_t job;
    struct spec *spec;
    TAILQ_ENTRY(known) link;
};

struct held { /* a lease */
    uint64_t id, job, first;
    uint32_t count, attempt, left;
    struct spec *spec;
    uint64_t *inputs;
    uint32_t *costs; /* in the window */
    uint8_t *states;
    bool told;   /* that all that is left waits */
    bool waited; /* it was told once */
    TAILQ_ENTRY(held) link;
};

struct piece { /* what one slot is working on */
    uint64_t id;
    struct held *held;
    uint32_t from, count;
    TAILQ_ENTRY(piece) link;
};

struct worker_actor {
    struct actor actor;
    bool able, joined, draining;
    uint32_t slots, busy;
    uint64_t window;
    const char *machine;
    const char *labels;
    uint8_t session;
    uint64_t next_piece;
    TAILQ_HEAD(, known) jobs;
    TAILQ_HEAD(, held) leases;
    TAILQ_HEAD(, piece) pieces;
    uint32_t last_client, nexecutors; /* nest.h */
    TAILQ_HEAD(, executor) executors;
    TAILQ_HEAD(, family) families;
};

void work_reset(struct worker_actor *w); /* it holds and knows nothing any more */
void work_forget(struct worker_actor *w, struct known *k);
struct known *work_job(struct worker_actor *w, uint64_t job);       /* NULL: not introduced */
struct held *work_lease(struct worker_actor *w, uint64_t id);       /* NULL: not held */
void work_drop(struct worker_actor *w, struct held *h);             /* with what runs of it */
void work_over(struct worker_actor *w, struct held *h, uint32_t i); /* one task less */

void work_start(struct worker_actor *w); /* fill the free slots */
void work_finish(struct worker_actor *w, uint64_t piece);
/* One that waited goes on at once; or is to be run anew. */
void work_resume(struct worker_actor *w, struct held *h, uint32_t i);
void work_stop(struct worker_actor *w, struct held *h, uint32_t i);
/* Bytes of what was handed over, but for leases that have been parked. */
uint64_t work_fresh_bytes(const struct worker_actor *w, unsigned *leases);

void work_results(struct worker_actor *w, const struct held *h, uint32_t from, uint32_t count,
                  const uint8_t *outcomes, uint64_t run_us);
void work_returned(struct worker_actor *w, uint64_t lease, uint64_t first, uint32_t count,
                   enum returned why);
/* Gives back tasks [from, to) as far as they have not started; how many. */
uint32_t work_give_back(struct worker_actor *w, struct held *h, uint32_t from, uint32_t to,
                        enum returned why);

#endif
