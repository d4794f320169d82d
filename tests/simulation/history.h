/* history.h - what was asked for, what was done, and what was told: and whether they agree.
 *
 * Clients write down what they submit and what they hear, executors what they do. Of what became of
 * a task its client knows: nothing yet, an outcome, or, if it died, nothing for ever.
 */
#ifndef LADLE_SIM_HISTORY_H
#define LADLE_SIM_HISTORY_H

#include "sim.h"

struct record { /* of a task that a client submitted */
    uint64_t input;
    struct spec *spec;
    unsigned client;
    struct deposit *deposit; /* it is of a detached job: its outcome is on disk; NULL */
    /* its client */
    bool cancelled;  /* it asked for that, */
    bool gave_up;    /* or had no broker for too long, */
    bool unknown;    /* or died */
    uint8_t outcome; /* as the program saw it; NO_OUTCOME */
    uint8_t told;    /* as the broker told it first */
    uint32_t life;   /* in which it was told: once in each, at most */
    unsigned lives;  /* conversations in which it was told anew */
    bool noted;      /* it may run once, and its client knows that it may begin */
    /* executors */
    unsigned starts, done, failed, crashed, noticed; /* noticed: that it was cancelled */
    unsigned killed;     /* its executor was, while it could be blamed for that */
    unsigned casualties; /* its executor ended of another one */
    unsigned lost;       /* with their worker, or their worker's broker */
    unsigned running;    /* now */
};

#define NO_OUTCOME 0xff

struct history *history_new(struct sim *s);
void history_free(struct history *h);
/* A new task of a client; its input has `kind` above its serial number. */
struct record *history_submit(struct history *h, unsigned client, uint64_t kind, struct spec *spec);
struct record *history_of(struct history *h, uint64_t input); /* NULL: it was spawned by a task */

/* The broker tells the outcome of a task, in conversation `life` of its client. */
void history_told(struct history *h, struct record *r, enum outcome o, uint32_t attempt,
                  uint32_t life);
/* The program sees it. */
void history_ended(struct history *h, struct record *r, enum outcome o, uint32_t attempt,
                   const uint8_t *bytes, size_t size);
/* The same for a task that a task spawned; `digest` is of the program that runs. */
void history_child_ended(struct history *h, uint64_t input, const struct spec *spec,
                         const char *digest, enum outcome o, bool cancelled, const uint8_t *bytes,
                         size_t size);

/* Can it have ended so? */
void history_judge(const struct history *h, const struct record *r, enum outcome o,
                   uint32_t attempt);

/* A worker's conversation with its broker has ended. */
void history_worker_lost(struct history *h);
void history_connection_lost(struct history *h); /* or the broker's with somebody */
/* Executors end without a task to blame: programs may be taken for broken. */
void history_barren(struct history *h);
void history_largest(struct history *h, size_t input); /* an input of so many bytes */
uint64_t history_bytes_most(const struct history *h, uint64_t window);

const char *history_unended(struct history *h); /* in words */
void history_check(struct history *h);          /* at the end of all */

#endif
