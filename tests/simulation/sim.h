/* sim.h - a whole grid in one process, on a virtual clock.
 *
 * The deciding halves are the real ones: the broker's scheduler, the workers' runner, the clients'
 * core, the nest in executors, the broker's depot, what peers say to their broker beside the work,
 * and the codec between them. What is modelled is what has no policy: sockets, processes, disks,
 * and tasks. Everything that happens follows from the seed.
 */
#ifndef LADLE_SIM_H
#define LADLE_SIM_H

#include "chance.h"

#include "../../proto/message.h"

#include <stdio.h>
#include <sys/queue.h>

struct sim;
struct actor;
struct connection;
struct history;
struct chaos;
struct broker;
struct disk;
struct deposits;
struct keeper;

struct actor_class {
    /* Its end of a connection got a message, or the end of it. */
    void (*message)(struct actor *a, struct connection *c, const struct message *m);
    void (*closed)(struct actor *a, struct connection *c);
    void (*wake)(struct actor *a, uint64_t what);
    void (*free)(struct actor *a);
};

struct actor { /* a process */
    const struct actor_class *class;
    struct sim *sim;
    char name[32];
    int64_t asleep; /* its process is stopped until then */
    int64_t away;   /* the network does not reach it until then */
    bool gone;      /* there is no such process any more: it hears of nothing */
    TAILQ_ENTRY(actor) link;
};
TAILQ_HEAD(actor_list, actor);

enum { SIM_MOST = 1024 };

struct sim {
    uint64_t seed;
    struct random random;
    bool trace, thorough; /* thorough: check everything after every step */
    int64_t now;
    struct actor_list actors;
    struct event *events; /* a heap */
    size_t nevents, room;
    uint64_t order, steps;
    struct arena *arena;
    int64_t calm;        /* from then on nothing goes wrong any more */
    int64_t done;        /* since when nobody has anything to do; 0: not yet */
    unsigned delay_most; /* us */
    unsigned clients_left;
    bool restarts; /* all that happens is that the broker is killed, and starts again soon, and that
                      now and then a connection ends */
    unsigned storm; /* so many workers, whose broker goes once; 0: a run like others */
    bool narrow;    /* of the workers that can run all, each has one slot */

    struct broker *broker;
    struct actor *workers[SIM_MOST], *clients[SIM_MOST];
    unsigned nworkers, nclients;
    struct history *history;
    struct chaos *chaos;
    bool store; /* the broker has one: some jobs are detached */
    struct disk *disk;
    struct deposits *deposits;
    struct keeper *keeper;
};

void sim_fail(const struct sim *s, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));
void sim_trace(const struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

void sim_add(struct sim *s, struct actor *a); /* freed at the end of the run */
void sim_wake(struct actor *a, int64_t at, uint64_t what);
/* The same once: an earlier plan for the same turn is void. `*at_p` is when; INT64_MAX: not. */
void sim_plan(struct actor *a, int64_t *at_p, int64_t at, uint64_t what);
void sim_deliver(struct sim *s, struct connection *c, int side, int64_t at);
bool sim_calm(const struct sim *s);

/* Run a seed until all clients have got all, and nothing is left; the number of events. */
uint64_t sim_run(uint64_t seed, bool trace);
/* So many workers at work, whose broker is killed, and starts again later: prints how long it takes
 * until all are back. Fails if that is longer than 30 s, or if a task is lost. */
void sim_storm(unsigned workers);

#endif
