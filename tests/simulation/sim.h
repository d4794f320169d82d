/* sim.h - a whole grid in one process, on a virtual clock.
 *
 * The scheduler is the real one. Around it: a network that delays and, between connections,
 * reorders; workers that crash, hang, drain, answer late and twice; clients that submit, cancel,
 * leave and come back. Everything that happens follows from the seed.
 */
#ifndef LADLE_SIM_H
#define LADLE_SIM_H

#include "../../broker/scheduler.h"

#include <stdio.h>
#include <sys/queue.h>

struct sim;
struct actor;

struct random { /* splitmix64 */
    uint64_t state;
};
uint64_t random_next(struct random *r);
uint64_t random_below(struct random *r, uint64_t n);                 /* [0, n) */
int64_t random_between(struct random *r, int64_t low, int64_t high); /* [low, high] */
bool random_chance(struct random *r, unsigned percent);
uint64_t mix(uint64_t a, uint64_t b); /* a hash: what a task does depends on nothing else */

struct packet { /* a message on its way, with all that it points to */
    TAILQ_ENTRY(packet) link;
    struct message m;
    bool closes; /* no message: the connection ends */
    void *memory[4];
    struct blob *data;
    struct spec *spec;
};
TAILQ_HEAD(packet_list, packet);

struct connection {
    uint32_t peer;
    struct actor *actor; /* NULL once the actor has let go of it */
    bool known;          /* the scheduler has not been told that it is over */
    int64_t up, down;    /* when the last packet arrives in each direction */
    unsigned refs;
};

enum event_kind { EVENT_UP, EVENT_DOWN, EVENT_WAKE, EVENT_TURN };

struct actor_class {
    void (*message)(struct actor *a, const struct message *m);
    void (*wake)(struct actor *a, uint64_t what);
    void (*closed)(struct actor *a); /* the broker ended the connection, or forgot us */
    void (*free)(struct actor *a);
};

struct actor {
    const struct actor_class *class;
    struct sim *sim;
    struct connection *connection; /* NULL: not connected */
    char name[16];
    int64_t asleep; /* hangs until then: sends and receives nothing */
    TAILQ_ENTRY(actor) link;
};
TAILQ_HEAD(actor_list, actor);

struct sim {
    uint64_t seed;
    struct random random;
    bool trace;
    int64_t now;
    struct scheduler *scheduler;
    struct actor_list actors;
    uint32_t next_peer;
    struct event *events; /* a heap */
    size_t nevents, room;
    uint64_t order;
    int64_t turn_at; /* the scheduler's next turn is planned for then */
    int64_t stopped; /* the scheduler's process is stopped until then */
    int64_t calm;    /* from then on nothing goes wrong any more */
    uint64_t steps;
    unsigned clients_left;
    unsigned delay_most; /* us */
    bool just_woken;     /* the next turn is the first after a stop */
    bool narrow;         /* of the workers that can run all, each has one slot */
};

void sim_fail(const struct sim *s, const char *format, ...)
    __attribute__((noreturn, format(printf, 2, 3)));
void sim_trace(const struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

void sim_connect(struct sim *s, struct actor *a);
void sim_disconnect(struct sim *s, struct actor *a); /* the scheduler is told in time */
void sim_vanish(struct sim *s, struct actor *a);     /* nobody is told anything */
void sim_send(struct actor *a, const struct message *m);
void sim_wake(struct actor *a, int64_t at, uint64_t what);
bool sim_calm(const struct sim *s);

/* What a task does. */
#define TASK_VALUE(input) ((input)*3 + 1)
enum fate { FATE_DONE, FATE_FAILS, FATE_CRASHES, FATE_CRASHES_ONCE };
enum fate fate_of(const struct sim *s, uint64_t input);
int64_t time_of(const struct sim *s, uint64_t input); /* us */

/* Tasks may have children, and wait for them: so many generations, that many children. */
uint64_t kind_of_job(uint64_t chance); /* the upper half of the inputs of its tasks */
uint32_t children_of(uint64_t input);
uint64_t child_of(uint64_t input, uint32_t i);

struct actor *worker_actor_new(struct sim *s, unsigned number, bool able);
struct actor *client_actor_new(struct sim *s, unsigned number);
/* Run a seed until all clients have got all; the number of events. */
uint64_t sim_run(uint64_t seed, bool trace);

bool program_starts(const struct sim *s, const struct actor *worker, const char *digest);

#endif
