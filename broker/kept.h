/* kept.h - what the depot knows; shared by its modules, private to them.
 *
 * A kept job has pieces (inputs as they came, one row each) and records (all other rows). Of each
 * task of a piece a byte says how it ended. A piece whose tasks are all DONE is forgotten, and its
 * row removed; one with a failed task stays as long as the job does, so that it can be run again.
 */
#ifndef LADLE_KEPT_H
#define LADLE_KEPT_H

#define HASH_NONFATAL_OOM 1

#include "../base/clock.h"
#include "../proto/limits.h"
#include "../proto/wire.h"
#include "depot.h"
#include "files.h"
#include "outbox.h"
#include "store.h"

#include <stdio.h>
#include <uthash.h>

#define UNDER_WAY_BYTES (64u << 20) /* of inputs that the scheduler holds for all kept jobs */
#define RESULTS_BYTES (4u << 20)    /* of results of a job that are not on disk yet */
#define RETRY_US 1000000            /* between two attempts to write to a full disk */
#define SEAL_US 60000000            /* an unfinished submission waits so long for its client */
#define EXPIRE_US 1000000           /* between two looks for what has been kept long enough */
#define REMOVE_ROWS 512             /* in one transaction, of what expires */
#define ROW_COST 128                /* bytes that a row counts beside its own */

struct piece {
    uint64_t row;
    uint64_t first;
    uint32_t count;
    uint32_t left;   /* have not ended */
    uint32_t failed; /* ended, neither DONE nor CANCELLED */
    uint32_t sent;   /* tasks below are at the scheduler, or have ended */
    uint64_t bytes;  /* of the row */
    bool stored;
    /* The inputs, while they are needed; else they are read again. */
    bool loaded;
    uint32_t size;
    struct blob *sizes, *data; /* either may be NULL */
    size_t at, length;
    uint8_t state[]; /* 0, or 1 + outcome */
};

struct place {
    uint64_t first;
    struct piece *piece; /* NULL: forgotten */
};

struct record {
    uint64_t row;
    uint64_t first;
    uint32_t count;
    uint32_t bytes; /* of the row, in KiB rounded up */
    enum row_kind kind;
};

LIST_HEAD(handle_list, handle);

struct kept {
    uint8_t id[16]; /* first: the key of the hash */
    char hex[33];
    uint64_t number; /* of its first row */
    struct spec *spec;
    char *client;
    char *notice; /* why it waits; NULL */
    int64_t created, over_at;
    uint64_t total;  /* tasks, ... */
    uint64_t stored; /* ... of which so many are on disk */
    bool sealed, sealed_stored, cancelled, over;
    uint64_t done, failed, gone; /* tasks that ended; gone: CANCELLED, counted in failed too */
    uint64_t bytes;              /* in the store */

    struct place *pieces; /* by first */
    size_t npieces, pieces_room;
    struct record *records;
    size_t nrecords, records_stored, records_room;
    uint64_t retried; /* the last ROW_RETRY: failures before it do not count; 0 */
    uint32_t rounds;  /* how many of these */

    /* the scheduler's side */
    uint32_t peer; /* 0: not there */
    uint64_t window;
    bool told, end_told;
    size_t feed;        /* pieces below have been handed in */
    uint64_t under_way; /* bytes */
    uint64_t received, taken;
    uint64_t begun;   /* if its tasks may run once only: those below may have begun, ... */
    uint64_t noted;   /* ... and the scheduler knows that those below are on disk as such */
    int64_t again_at; /* say hello not before */

    bool recovered; /* it is from before this broker's start: workers may have some of it */
    bool dirty, hungry, unsealed;
    int64_t seal_at; /* its submitter is gone; CLOCK_NEVER: it is not */
    struct handle_list handles;
    TAILQ_ENTRY(kept) link; /* d->jobs, oldest first */
    TAILQ_ENTRY(kept) of_dirty, of_hungry, of_unsealed, of_over;
    UT_hash_handle hh;     /* by id */
    UT_hash_handle by_row; /* by number */
    UT_hash_handle by_peer;
};
TAILQ_HEAD(kept_list, kept);

struct handle { /* a client's number for a kept job */
    struct {
        uint32_t peer;
        uint64_t number;
    } key;
    struct visitor *visitor;
    struct kept *job;  /* NULL: its program is still on its way */
    struct spec *spec; /* until then */
    uint8_t id[16];
    bool submits;        /* it said JOB, not ATTACH */
    bool refused;        /* what it submits is dropped, ... */
    const char *refusal; /* ... for this reason, which it is still to be told; NULL */
    enum kept_error error;
    bool told; /* ATTACHED */
    bool reading;
    uint64_t credit;
    size_t at; /* the next record */
    uint64_t accepted;
    bool sealed; /* told so */
    LIST_ENTRY(handle) of_job, of_visitor;
    UT_hash_handle hh;
};

struct visitor { /* a peer that has handles */
    uint32_t peer;
    char *name;
    bool asks_parts; /* it was told of a task, and may ask for its program */
    struct handle_list handles;
    UT_hash_handle hh;
};

struct pending { /* a row of the next transaction */
    TAILQ_ENTRY(pending) link;
    struct kept *job;
    struct piece *piece; /* of ROW_INPUTS */
    struct row row;
    struct blob *header;
};
TAILQ_HEAD(pending_list, pending);

struct fetching { /* a program, or a constant, on its way from a client */
    char digest[65];
    uint64_t size, offset;
    uint32_t peer;
    UT_hash_handle hh;
};

struct depot {
    struct depot_config config;
    struct store *store;
    struct files *files;
    struct arena *in, *out;
    struct outbox outbox;
    char why[640];
    int64_t now, wall;

    struct kept_list jobs, dirty, hungry, unsealed, over; /* `over`: longest first */
    struct kept *by_id, *by_row, *by_peer;
    struct handle *handles;
    struct visitor *visitors;
    struct fetching *fetching;
    uint64_t njobs;
    uint32_t last_peer;
    uint64_t last_row;
    uint64_t under_way; /* of all jobs */
    uint64_t bytes;     /* of all rows */

    struct pending_list pending;
    struct outgoing_list answers; /* to who asked for a change: when that is on disk */
    uint64_t *removals;           /* rows */
    size_t nremovals, removals_room;
    bool broken; /* an fsync failed: nothing may be written any more */
    bool full;   /* the disk was, at the last attempt */
    int64_t retry_at, expire_at;
    int64_t again_at; /* some job says hello again; CLOCK_NEVER */
    bool sweep;       /* some program may not be needed any more */
    struct kept_row rows[LIMIT_KEPT_ROWS];
};

/* kept.c - jobs, pieces, records */
struct kept *kept_new(struct depot *d, const uint8_t id[16], uint64_t number, struct spec *spec,
                      const char *client); /* NULL: ENOMEM */
void kept_free(struct depot *d, struct kept *j);
struct kept *kept_find(const struct depot *d, const uint8_t id[16]);
struct piece *kept_piece(const struct kept *j, uint64_t index); /* that has it; NULL */
struct piece *kept_add_piece(struct kept *j, uint64_t row, uint64_t first, uint32_t count);
void kept_drop_last_piece(struct kept *j);
int kept_load_piece(struct depot *d, struct kept *j, struct piece *p); /* -1 with errno */
void kept_unload_piece(struct piece *p);
int kept_keep_piece(struct piece *p, const struct columns *c); /* -1: ENOMEM */
struct columns kept_columns(const struct piece *p, uint32_t from, uint32_t count);
int kept_add_record(struct kept *j, const struct record *r); /* -1: ENOMEM */
/* Tasks [first, first + count) end; `outcomes` may be NULL: all have the one. */
void kept_mark(struct depot *d, struct kept *j, uint64_t first, uint32_t count,
               const uint8_t *outcomes, enum outcome outcome);
void kept_retry(struct kept *j); /* those that failed have not ended */
/* Tasks [first, last) that have not ended do not run. */
void kept_cancel(struct depot *d, struct kept *j, uint64_t first, uint64_t last);
void kept_forget_done(struct depot *d, struct kept *j, struct piece *p);
static inline bool
kept_ended(const struct kept *j)
{
    return j->sealed && j->done + j->failed == j->total;
}

/* load.c */
int depot_load(struct depot *d, char *why, size_t size);

/* writing.c - rows on their way to the disk */
/* `m` says what is in the row; NULL: nothing. -1: ENOMEM. */
int writing_add(struct depot *d, struct kept *j, enum row_kind kind, uint64_t first, uint64_t count,
                const struct message *m, struct piece *piece);
int writing_remove(struct depot *d, uint64_t row); /* -1: ENOMEM; it is removed at the next start */
int writing_commit(struct depot *d);               /* -1: the disk failed */
void writing_forget(struct depot *d, struct kept *j);
void dirty(struct depot *d, struct kept *j); /* look at it after the next commit */

/* feeding.c - the scheduler's side */
void feed(struct depot *d, struct kept *j);
void feed_hungry(struct depot *d);
void feed_stop(struct depot *d, struct kept *j); /* goodbye */
void feed_taken(struct depot *d, struct kept *j);
void feed_noted(struct depot *d, struct kept *j); /* what may run once may begin */
void feed_cancel(struct depot *d, struct kept *j, uint64_t first, uint64_t count);
int end_by_itself(struct depot *d, struct kept *j, uint64_t first, uint32_t count,
                  enum outcome outcome, const char *text);

/* readers.c - clients */
int readers_input(struct depot *d, uint32_t peer, const char *name, const struct message *m);
void readers_committed(struct depot *d, struct kept *j);
void readers_refuse(struct depot *d, struct kept *j, enum kept_error error, const char *text);
void readers_gone(struct depot *d, struct kept *j); /* the job is */
void readers_pass_on(struct depot *d, struct kept *j, const struct message *m);
void handle_free(struct depot *d, struct handle *h);
struct handle *handle_find(const struct depot *d, uint32_t peer, uint64_t number);
void tell_attached(struct depot *d, const struct handle *h, enum kept_error error,
                   const char *text);
struct outgoing *say(struct depot *d, uint32_t peer, enum message_type type); /* NULL: ENOMEM */
int keep_sides(struct outgoing *o, struct columns *c); /* sizes and outcomes; -1: ENOMEM */

/* intake.c - what clients submit */
int intake_job(struct depot *d, struct visitor *v, const struct message_job *m);
int intake_inputs(struct depot *d, struct handle *h, const struct message_inputs *m);
int intake_end(struct depot *d, struct handle *h, const struct message_job_end *m);
void intake_seal(struct depot *d, struct kept *j);
void intake_part(struct depot *d, const struct message_program_part *m);
void intake_gone(struct depot *d, uint32_t peer);
struct handle *handle_new(struct depot *d, struct visitor *v, uint64_t number,
                          const uint8_t id[16]);
void handle_join(struct handle *h, struct kept *j);

/* chores.c - what people ask for, and what time does */
void chores_answers(struct depot *d, bool written); /* those that wait for the disk */
void chores_input(struct depot *d, struct visitor *v, const struct message_kept_wanted *m);
void chores_tick(struct depot *d);
void chores_part(struct depot *d, uint32_t peer, const struct message_program_wanted *m);

#endif
