/* seats.h - what the supervisor has, and its part that deals with executors. For supervisor.c and
 * seats.c only. */
#ifndef LADLE_SEATS_H
#define LADLE_SEATS_H

#include "cgroups.h"
#include "executor.h"
#include "frames.h"
#include "output.h"
#include "places.h"
#include "programs.h"
#include "runner.h"
#include "supervisor.h"

struct seat { /* of one executor; the runner's numbers are its places in the array */
    struct process *process;
    char *place; /* its working directory; NULL: ours */
    bool met;    /* it said hello: from then on its output is that of tasks */
    bool gone;
    uint64_t job; /* whose tasks it was last given */
    struct throttle throttle;
    int dropped;    /* the stream of which something was dropped last */
    int64_t marked; /* when that was told last */
};

struct named { /* a --program */
    char *name;
    char *path;
};

struct want {
    struct want *next;
    bool constant; /* the one that is shared in the spec; else its program */
    struct spec *spec;
};

struct supervisor {
    struct supervisor_config config; /* its strings are owned; programs are not there */
    struct runner *runner;
    struct arena *receiving, *sending; /* of executors */
    struct seat *seats;
    unsigned nseats;
    bool any_gone;
    struct programs *cache; /* NULL in a local pool */
    struct places *places;  /* likewise */
    struct frames *frames;
    struct cgroups *groups; /* NULL: none, executors are watched */
    struct named *named;
    const char **names; /* of these, for the hello */
    struct want *wants; /* the runner asked for, and has no answer yet */
    char **envp;
    char *libraries;
    char host[256];
    bool hold;
    int64_t now, deadline;   /* of processes, as of the last tick */
    char why[512];           /* of a start that failed */
    const char *groups_text; /* what can be had of control groups */
};

/* What the runner orders: executors started, and spoken to. */
extern const struct runner_hands seats_hands;

/* The executable of a program; NULL if it is not here. */
const char *seats_path(struct supervisor *s, const struct program *program);
/* Deal with those that have ended. */
void seats_bury(struct supervisor *s);

#endif
