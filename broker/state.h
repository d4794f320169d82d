/* state.h - what the scheduler knows; shared by its modules, private to them.
 *
 * A client owns jobs, a job owns chunks of inputs as they came. Every task of a chunk is in exactly
 * one of three states: ready (in a range of its job), leased (in a lease of a worker), or ended
 * (its bit in the chunk). The bit wins: ranges and leases may span tasks that ended by other ways,
 * and skip them. Nothing here is allocated, visited or counted per task.
 *
 * Who may run what goes through two small groups: workers that have the same to offer share an
 * `offer`, jobs that ask for the same share a `demand`. Whether they fit is looked at once per
 * pair, not per slice.
 */
#ifndef LADLE_STATE_H
#define LADLE_STATE_H

#define HASH_NONFATAL_OOM 1 /* an element that could not be added has a hash handle of zeros */

#include "../base/clock.h"
#include "../proto/limits.h"
#include "lines.h"
#include "needs.h"
#include "outbox.h"
#include "scheduler.h"
#include "slicing.h"
#include "table.h"

#include <stdio.h>
#include <sys/queue.h>
#include <uthash.h>

#define LOSSES_MAX 10      /* that many workers died with it: LOST */
#define LOSSES_SUSPECT 3   /* after that many it goes alone */
#define NOTICE_US 2000000  /* how long a task waits before its client is told why */
#define GRID_US 100000     /* least time between two GRID messages */
#define ANNOUNCE_US 1000   /* how long ACCEPTED may wait for results that say as much */
#define BROKEN_US 1000000  /* for a client whose connection broke to come back */
#define AWAY_MOST 4096     /* clients that are away at once */
#define MARKERS_MOST 1024  /* of one client */
#define NESTED_US 60000000 /* for one in an executor whose worker is back */
#define KEEP_MOST_MS (10 * 60 * 1000)
#define BUCKETS 32 /* of powers of two */
#define FUNCTIONS_KEPT 4096
#define JOBS_MAX (1u << 20)  /* open jobs of one client */
#define SLOTS_MAX (1u << 16) /* of one worker */
/* Clients in the executors of a worker: each may say hello anew before the old one is forgotten. */
#define CARRIED_MAX(slots) (2 * LIMIT_EXECUTORS(slots))

TAILQ_HEAD(peer_list, peer);
TAILQ_HEAD(worker_list, worker);
TAILQ_HEAD(job_list, job);
TAILQ_HEAD(range_list, range);
TAILQ_HEAD(lease_list, lease);
LIST_HEAD(chunk_leases, lease);
TAILQ_HEAD(queue_list, queue);
TAILQ_HEAD(level_list, level);
TAILQ_HEAD(demand_list, demand);
TAILQ_HEAD(function_list, function);
LIST_HEAD(knowledge_list, knowledge);
TAILQ_HEAD(fit_list, fit);
TAILQ_HEAD(source_list, source);
LIST_HEAD(holder_list, holder);
STAILQ_HEAD(tail_list, tail);
TAILQ_HEAD(claim_list, claim);

/* ---- tasks ------------------------------------------------------------------------------------
 */

struct chunk { /* what one INPUTS message brought, or several small ones of a job of singles */
    struct job *job;
    uint64_t first;
    uint32_t count; /* tasks so far */
    uint32_t room;  /* tasks that fit; more than `count` while it is the job's open chunk */
    uint32_t left;  /* tasks that have not ended */
    uint32_t refs;  /* the job's index, ranges, leases */
    uint32_t size;  /* of an item, unless there are `sizes` */
    struct blob *sizes;
    struct blob *data; /* NULL once all tasks have ended */
    size_t at, length;
    int64_t accepted;
    struct chunk_leases leases;
    uint64_t ended[]; /* a bit per task */
};

struct range { /* tasks [offset, offset + count) of a chunk that are ready */
    TAILQ_ENTRY(range) link;
    struct chunk *chunk;
    uint32_t offset, count;
    size_t at;        /* of the first item, from chunk->at */
    uint32_t attempt; /* that the next hand-over is */
    uint16_t losses;  /* attempts before that nobody is to blame for */
    bool alone;       /* a slice each: one of them may be poison */
    /* While it is aside (aside.h) */
    bool blameless; /* the worker said goodbye: no attempt is lost with it */
    int64_t until;
    struct blob *why;   /* an attempt was lost; NULL: none */
    struct blob *where; /* and the name of its worker; NULL */
    uint64_t holder;    /* a worker that may come back with it; 0: any */
    TAILQ_ENTRY(range) of_aside;
};

struct lease { /* one hand-over of a range to a worker */
    uint64_t id;
    struct worker *worker;
    struct chunk *chunk;
    struct range *range;    /* what it was cut from: becomes ready again as it is */
    uint32_t offset, given; /* as handed over */
    uint32_t low, high;     /* what is still with the worker lies in [low, high) of the chunk */
    uint64_t *holes; /* bits from `offset` on: in between, but not with the worker any more */
    uint32_t left;   /* tasks with the worker that have not ended */
    uint32_t cpus;
    uint64_t bytes;  /* that those count in the worker's window */
    double each;     /* us per task, as expected */
    uint64_t memory; /* bytes, as asked for */
    bool parked;  /* all tasks left wait for tasks of their own: it takes no slot, and no window */
    bool waited;  /* it was parked once: its times say nothing */
    bool revoked; /* a REVOKE is out for it */
    bool adopted; /* handed over before its worker came back, perhaps by another broker */
    bool split;   /* so it may have siblings: with its worker and number, for other tasks */
    TAILQ_ENTRY(lease) link;  /* in worker->leases, oldest first */
    LIST_ENTRY(lease) beside; /* in chunk->leases */
};

struct chunk_slot { /* by first; NULL once all its tasks have ended */
    uint64_t first;
    struct chunk *chunk;
};

struct job {
    uint64_t number; /* the scheduler's own */
    uint64_t order;  /* of arrival */
    uint64_t id;     /* the client's */
    struct client *client;
    struct spec *spec;
    struct function *function;
    struct executable *program;
    struct demand *demand;
    struct queue *queue;
    struct chunk_slot *chunks;
    size_t chunks_at, chunks_end, chunks_room, chunks_gone;
    struct chunk *open;       /* may still take tasks; the last one */
    uint32_t open_room;       /* of the last one that was opened */
    struct range_list ranges; /* the next to go out first */
    struct range_list aside;  /* those that wait for a worker to come back */
    uint64_t naside;          /* tasks of these */
    uint64_t next;            /* lowest index not accepted yet */
    uint64_t ready, leased;   /* tasks */
    uint64_t parked;          /* of the leased ones */
    uint64_t done, failed, cancelled;
    bool ended;     /* JOB_END came */
    bool again;     /* JOB came again, from a client that came back, ... */
    uint64_t told;  /* ... and what it did not tell again below this is not wanted any more */
    uint64_t noted; /* if it may run once: what may begin is below (once.h) */
    bool asking;    /* for more of that */
    bool queued;    /* in queue->jobs */
    bool announce;  /* in s->announce: an ACCEPTED is due */
    bool passed;    /* in s->passed: the workers that have room do not stay long enough for it */
    bool late;      /* that was so when it was last looked at */
    int64_t announce_at; /* at the latest */
    bool waiting;        /* in s->waiting */
    int64_t waits_since; /* when it got there */
    int64_t since;       /* submitted */
    int64_t deadline;    /* of its earliest tasks; CLOCK_NEVER */
    size_t heap;         /* 1 + its place in s->deadlines; 0: none */
    struct blob *notice; /* the last one told; NULL */
    struct knowledge_list knowers;
    struct source **sources; /* of its program and its constants: contents.c */
    uint32_t nsources;
    TAILQ_ENTRY(job) link; /* s->jobs, oldest first */
    TAILQ_ENTRY(job) of_client;
    TAILQ_ENTRY(job) of_queue;
    TAILQ_ENTRY(job) of_announce;
    TAILQ_ENTRY(job) of_waiting;
    TAILQ_ENTRY(job) of_passed;
    TAILQ_ENTRY(job) of_program;
};

struct function { /* what is known of a function of a program; outlives its jobs for a while */
    struct estimate estimate;
    bool nests; /* a task of it was parked: nothing should have to wait behind others */
    unsigned refs;
    TAILQ_ENTRY(function) link; /* s->functions while refs is 0, longest unused first */
    UT_hash_handle hh;
    char key[];
};

/* ---- peers ------------------------------------------------------------------------------------
 */

struct peer {
    /* What each message touches, in a line of the cache */
    uint32_t id;
    uint32_t number; /* message.client of a client in an executor; 0 */
    enum role role;
    bool own;      /* the broker's: config.own_peers */
    bool linked;   /* it is in the lists below */
    bool doomed;   /* we ran out of memory for a message to it */
    int64_t heard; /* on the clock that stands while the scheduler is stopped */
    uint64_t backlog;
    struct client *client; /* by role; an operator has neither */
    struct worker *worker;
    TAILQ_ENTRY(peer) by_heard; /* unless it has a carrier, with which it lives */

    struct peer *carrier; /* its worker's; NULL */
    LIST_HEAD(, peer) carried;
    LIST_ENTRY(peer) of_carrier;
    unsigned ncarried;
    uint32_t protocol;
    uint8_t session[16];
    int64_t beat; /* when the last sign of life went to it */
    struct blob *name, *host;
    TAILQ_ENTRY(peer) link;    /* s->peers, in order of arrival */
    TAILQ_ENTRY(peer) by_beat; /* as by_heard */
    UT_hash_handle by_session;
};

struct client {
    struct peer *peer;         /* NULL: it is away */
    struct blob *name;         /* the peer's */
    uint8_t session[16];       /* likewise */
    int64_t keep_us;           /* how long it may be away after it fell silent */
    int64_t away_until;        /* CLOCK_NEVER: it is not */
    bool telling;              /* it came back, and has not told everything anew yet */
    bool told;                 /* everything: of no job before that there will be more */
    bool nested;               /* it is in an executor ... */
    struct worker *carrier;    /* ... of this worker; NULL: it is away */
    uint64_t holder;           /* whose session is this (roster.h) */
    uint64_t window;           /* bytes of results that may be unacknowledged */
    uint64_t sent, taken;      /* bytes of results since the session began */
    uint64_t bytes;            /* of inputs that have not ended */
    uint64_t parked;           /* of these, of tasks that are parked */
    uint64_t grant;            /* added to the window of inputs: the most that was parked */
    struct outgoing_list held; /* results over the window, or for one that is away */
    uint64_t held_bytes;
    uint64_t said, gone;         /* messages that came into these lists, and went, ever */
    unsigned nmarkers;           /* of those below and these: see client_ack_behind() */
    struct outgoing_list unread; /* put out, and not TAKEN: they may have to go out again */
    uint64_t read;               /* bytes of those that left this list */
    bool paused;                 /* its queues are out of their demands */
    uint64_t turn;               /* when it was served last */
    unsigned njobs;
    struct job_list jobs;
    struct table jobs_by_id;
    struct tail_list tails; /* jobs that are over */
    struct queue *queues;
    LIST_HEAD(, source) sources; /* what it has: contents.c */
    unsigned nshared;            /* of these, that it said to share */
    bool left;                   /* it said goodbye */
    bool vanished;               /* it goes without */
    TAILQ_ENTRY(client) link;
    TAILQ_ENTRY(client) of_away;    /* s->away, while it is */
    TAILQ_ENTRY(client) of_carried; /* s->carried, if it has a carrier */
};

struct knowledge { /* this worker was sent this job */
    struct worker *worker;
    struct job *job;
    LIST_ENTRY(knowledge) of_worker, of_job;
};

#define ACK_RANGES 16

struct worker {
    /* What each slice touches, in four lines of the cache */
    uint64_t number; /* never used again */
    struct peer *peer;
    struct offer *offer;
    uint32_t slots;
    int place; /* index of the bucket in its offer; PLACE_SPARE, PLACE_NONE */
    int load;  /* index of the bucket in s->loaded; -1 */
    bool draining;
    bool telling; /* it may have what it would be given, and has not told all yet */
    bool refused; /* and some of it there was no room for: that may have begun */
    bool holding; /* a client in its executors has results that its connection had no room for */
    bool left;    /* it said goodbye */
    uint64_t window;
    /* of leases that are not parked */
    uint64_t bytes;
    uint64_t busy;        /* slots' worth of them: cpus of each */
    uint64_t tasks;       /* that have not ended */
    double work;          /* us that those are expected to run */
    uint64_t memory_busy; /* bytes that their tasks asked for, one of each */

    uint64_t memory;  /* bytes that tasks may ask for together */
    uint64_t idle;    /* slots that it adds to s->idle */
    double speed;     /* time per task here, relative to the mean: 1 */
    int64_t progress; /* its last result, or when it had nothing to do */
    struct lease_list leases;
    struct job *known; /* the last one looked up */
    uint64_t revoking; /* lease of the REVOKE that is out; 0 */
    int64_t ends_at;   /* nothing can run there then; CLOCK_NEVER: it stays */
    uint64_t done, failed;
    TAILQ_ENTRY(worker) of_place, of_load;
    unsigned nleases;
    unsigned nacked; /* RESULTS in these: */
    unsigned nacks;
    uint64_t acks[2 * ACK_RANGES]; /* RESULTS that it may forget, and was not told of: ranges */

    struct blob *name, *host, *machine, *labels, *names;
    int64_t span;       /* from when it came until ends_at */
    uint64_t parked;    /* tasks of leases that are */
    uint64_t carrying;  /* bytes of results in the outbox for clients in its executors */
    unsigned namesakes; /* hint for the next suffix */
    int64_t revoke_at;  /* not before */
    int64_t revoke_pause;
    struct knowledge_list knows;
    struct table knows_by_job;
    struct failing *failing;
    struct claim_list claims; /* of what it came with: claims.c */
    unsigned nclaims;
    uint64_t claimed;         /* slots of these, in `busy` */
    bool same;                /* it was here before */
    struct holder_list holds; /* constants that it may keep: contents.c */
    TAILQ_ENTRY(worker) link; /* s->workers, in order of arrival */
    UT_hash_handle by_name;
};

#define PLACE_NONE (-1)  /* can be given nothing now */
#define PLACE_SPARE (-2) /* all slots are busy, but there is room for more to wait */

/* ---- what fits where ----------------------------------------------------------------------------
 */

struct failing { /* a program that cannot start on a worker; in order of the programs' keys */
    struct failing *next;
    struct executable *program;
    struct worker *worker;
    struct blob *text; /* why */
    LIST_ENTRY(failing) of_program;
};

struct offer { /* workers that have the same to offer */
    char *key; /* machine, labels, names, failing programs; the members point into copies of it */
    char *machine;
    struct labels *labels;
    struct labels *names; /* of programs they have */
    struct executable **failing;
    size_t nfailing;
    unsigned refs;                    /* workers */
    uint32_t mask;                    /* of buckets that are not empty */
    struct worker_list free[BUCKETS]; /* by free slots: [2^i, 2^(i+1)) */
    struct worker_list spare;
    int top;               /* the largest bucket that is not empty; PLACE_NONE */
    bool spares;           /* `spare` is not empty */
    LIST_HEAD(, fit) fits; /* in all demands that it fits */
    UT_hash_handle hh;
};

struct fit { /* an offer that fits a demand: fits.c */
    struct demand *demand;
    struct offer *offer;
    int top; /* the offer's */
    bool spare;
    TAILQ_ENTRY(fit) of_free, of_spare; /* as these two say */
    LIST_ENTRY(fit) of_demand, of_offer;
};

struct queue { /* a client's jobs of one demand and priority */
    struct {
        struct demand *demand;
        int64_t rank;
    } key;
    struct client *client;
    struct level *level;
    struct job_list jobs; /* with ready tasks, in the order in which they are served */
    unsigned refs;        /* jobs that belong here */
    bool linked;          /* in level->queues */
    uint64_t turn;        /* when it was served last */
    TAILQ_ENTRY(queue) link;
    UT_hash_handle hh; /* client->queues */
};

struct level {
    int64_t rank; /* by priority, and who asks: larger first */
    struct demand *demand;
    struct queue_list queues; /* whose turn it is first */
    unsigned refs;
    bool linked;
    TAILQ_ENTRY(level) link; /* demand->levels, highest first */
};

struct demand { /* jobs that ask for the same */
    char *key;
    char *machine; /* "" for any */
    char *program; /* NAME that workers must offer; "" */
    struct executable
        *failing; /* set once a program failed somewhere: then it has demands of its own */
    struct labels *needs;
    uint32_t cpus;
    uint64_t memory;
    LIST_HEAD(, fit) fits;         /* all offers that fit */
    uint32_t mask;                 /* of lists that are not empty */
    struct fit_list free[BUCKETS]; /* by their largest bucket */
    struct fit_list spare;
    uint64_t workers, slots; /* that fit, have `cpus` slots and `memory`, and are not draining */
    unsigned refs;           /* jobs */
    bool active;             /* in s->active: has linked levels */
    uint64_t blocked;        /* the pass in which it turned out that nobody has room */
    /* The pass in which it turned out that of those with room nobody has so many us left, ... */
    uint64_t late;
    int64_t late_need; /* ... 0: nor for a function of which nothing is known */
    bool late_unknown;
    struct level_list levels;
    struct table levels_by_rank;
    TAILQ_ENTRY(demand) link;
    UT_hash_handle hh;
};

struct executable { /* a program that jobs run, with how it is started and what they share */
    /* Digest, or ":" and name: `base` bytes; and what tells its arguments, environment, directory
     * and constants from others', if any. */
    char *key;
    size_t base;
    unsigned refs; /* jobs, failings */
    unsigned failing;
    LIST_HEAD(, failing) failings;
    struct job_list jobs;
    UT_hash_handle hh;
};

TAILQ_HEAD(client_list, client);

struct relay;   /* parts.c */
struct claimed; /* claims.c */

struct scheduler {
    struct scheduler_config config;
    char why[256];
    int64_t now;
    int64_t stopped; /* time for which we were not called, in total */
    int64_t started;
    int64_t resumed; /* after it was stopped for so long that its peers noticed; CLOCK_NEVER */

    struct table peers_by_id; /* and number */
    struct peer *peers_by_session;
    struct peer_list peers, by_heard, by_beat;
    struct client_list clients;
    struct client_list away;    /* the one that is given up next first */
    struct client_list carried; /* those in executors; the next to be told of idle slots first */
    struct worker_list workers;
    struct worker *workers_by_name;
    struct table workers_by_number;
    struct table tails; /* by the number of their job */
    uint64_t nworkers, nclients, slots;
    uint64_t naway;    /* not counted in nclients */
    uint64_t ncarried; /* not counted in nclients */
    uint64_t nfree;    /* workers with free slots */
    uint64_t idle;     /* slots without a lease */
    uint64_t next_worker, next_job, next_lease;

    struct job_list jobs;
    struct table jobs_by_number;
    uint64_t njobs;
    struct table leases;
    struct function *functions_by_key;
    struct function_list functions;
    unsigned nfunctions; /* unused ones */
    struct executable *programs;
    struct content *contents; /* by digest */
    struct source *sources;
    struct holder *holders;
    TAILQ_HEAD(, content) orphans; /* longest without a client first */
    struct demand *demands;
    struct demand_list active;
    struct offer *offers;
    struct worker_list loaded[BUCKETS]; /* by work, workers with more tasks than slots */
    uint32_t loaded_mask;

    struct job_list announce, waiting;
    struct job_list passed; /* over, during a pass */
    unsigned npassed;
    struct job **deadlines; /* a heap */
    size_t ndeadlines, deadlines_room;

    struct outbox outbox;
    struct outgoing *delivered; /* the last part of the RESULTS at hand that went to its client */
    bool moved;                 /* and some of them put tasks back */
    struct relay *relay;
    struct range_list aside;  /* of all jobs, by time */
    struct claim_list claims; /* of all workers, oldest first */
    struct table claimed;     /* these by job */
    uint64_t adopted;         /* leases, since the start */
    struct range_list unused_ranges;
    struct lease_list unused_leases;

    uint64_t turn, pass;
    bool match;   /* something changed since the last pass */
    bool recheck; /* jobs may have got stuck, or for another reason */
    bool starved; /* there was no memory to hand something over */
    bool dooming; /* some peer is doomed */
    bool grid_changed;
    int64_t grid_at;     /* not before */
    int64_t revoke_at;   /* look again for something to revoke; CLOCK_NEVER */
    uint64_t idle_least; /* since they were last told of idle slots */
    bool idle_told;      /* that there are some */
    uint64_t idle_news;  /* clients in executors that are still to be told */
    int64_t idle_at;     /* not before */

    /* for STATUS, since the start */
    uint64_t accepted, done, failed, cancelled, retries, late, lost, cut, bytes;
    struct worker_row *worker_rows;
    struct job_row *job_rows;
};

#endif
