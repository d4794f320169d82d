/* demand.h - a job as the program of a client sees it: what it submits, and what it reads. */
#ifndef LADLE_SIM_DEMAND_H
#define LADLE_SIM_DEMAND_H

#include "deposits.h"

#include "../../client/core.h"

struct single {             /* a future */
    struct watcher watcher; /* first */
    struct demand *demand;
    struct chunk *chunk; /* NULL: it was read */
    uint32_t offset;
    uint64_t index;
};

struct demand {
    TAILQ_ENTRY(demand) link;
    struct sim *sim;
    struct core *core;
    struct job *job; /* NULL: released */
    struct spec *spec;
    uint64_t number;
    struct record **tasks;
    struct single *singles; /* NULL: it is a map */
    uint64_t count, given, read;
    uint32_t size;  /* of the inputs; 0: each has its own */
    unsigned parts; /* of a map that is given in several */
    /* of a detached job */
    struct deposit *deposit; /* NULL: it is none */
    bool attached;           /* somebody else submitted it */
    bool gave_up;            /* there was no broker for too long */
    bool leaves;             /* its program does not ask for the results */
};
TAILQ_HEAD(demand_list, demand);

struct demand *demand_new(struct sim *s, struct core *core, unsigned client, bool welcome);
/* A job that is in the broker's store. */
struct demand *demand_attach(struct sim *s, struct core *core, struct deposit *deposit);
void demand_free(struct demand *d);
struct demand *demand_find(struct demand_list *list, uint64_t number); /* NULL: there is none */
/* Submit some more of it; false: that was all. */
bool demand_more(struct demand *d, bool welcome);
void demand_cancel(struct demand *d, const char *client);

void demand_noted(struct demand *d, uint64_t first, uint64_t count); /* they may begin */
void demand_told(struct demand *d, uint64_t index, enum outcome o, uint32_t attempt, uint32_t life);
void demand_read(struct demand *d);
void demand_read_singles(struct core *core);
bool demand_is_over(const struct demand *d);

void demand_tell_anew(struct demand *d); /* a conversation begins */
void demand_give_up(struct demand *d);   /* there was no broker for too long */
void demand_forsake(struct demand *d);   /* its process ends */

#endif
