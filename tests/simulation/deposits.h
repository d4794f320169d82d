/* deposits.h - detached jobs: what was submitted, what is on the disk of the store, and what
 * anybody was told of it; and whether they agree.
 *
 * The disk tells each row that is committed, clients what they hear and read. So the first word of
 * something that is not on disk, and the first second outcome there, are seen when they come.
 */
#ifndef LADLE_SIM_DEPOSITS_H
#define LADLE_SIM_DEPOSITS_H

#include "history.h"

#include "../../broker/store.h"

struct told;

struct deposit {
    TAILQ_ENTRY(deposit) link;
    uint8_t id[16];
    char hex[33];
    unsigned client;
    struct spec *spec;
    struct record **tasks; /* of `most`, that its program may come to submit */
    uint64_t most;
    /* on disk */
    uint64_t row;      /* its first one; 0: none */
    uint64_t inputs;   /* tasks */
    uint64_t ended;    /* of these */
    uint8_t *outcomes; /* NO_OUTCOME */
    bool sealed, over;
    unsigned cancelled_in; /* this life of the broker; 0: it was not */
    unsigned rounds;       /* so often what failed was to run once more */
    /* told */
    bool known;        /* somebody was, that it is there, */
    uint64_t accepted; /* with so many tasks */
    struct told *told;
};

struct deposits *deposits_new(void);
void deposits_free(struct deposits *all);

struct deposit *deposit_new(struct sim *s, unsigned client, uint64_t kind, struct spec *spec,
                            uint64_t most);
/* One by chance, of which somebody knows; NULL: there is none. */
struct deposit *deposits_some(struct sim *s);
unsigned deposits_count(const struct sim *s);

/* Committed; removed for good. */
void deposits_written(struct sim *s, const struct row *row);
void deposits_removed(struct sim *s, const struct row *row);

/* A broker says that so many tasks are there; and that there will be no more. */
void deposit_told_accepted(const struct sim *s, struct deposit *d, uint64_t tasks, bool sealed);
/* It says how one ended. */
void deposit_told(const struct sim *s, const struct deposit *d, uint64_t index, enum outcome o);
/* A program sees that. `gave_up`: its client had no broker for too long. */
void deposit_read(const struct sim *s, struct deposit *d, uint64_t index, enum outcome o,
                  bool gave_up, const uint8_t *bytes, size_t size);
/* Who asked for it was told that it is cancelled, or runs again; before, it had so many rounds. */
void deposit_told_cancelled(const struct sim *s, struct deposit *d);
void deposit_told_retried(const struct sim *s, const struct deposit *d, unsigned rounds);

/* All that is on disk is over. If not, *what is not. */
bool deposits_are_over(const struct sim *s, const char **what);
void deposits_check(const struct sim *s); /* at the end of all */

#endif
