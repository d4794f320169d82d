/* jobs.h - a client's jobs: inputs that wait or are under way, and results that were not yet read.
 *
 * Containers only: what is sent when, and what a message of the broker means, is core.c's.
 * A job's tasks lie in chunks, in the order of submission. A chunk's inputs are one blob, let go
 * once all its tasks have ended; a chunk itself goes when nobody can ask for its results any more.
 * Results are segments: ranges of a chunk that came in one message, still in the blob in which they
 * came.
 */
#ifndef LADLE_CLIENT_JOBS_H
#define LADLE_CLIENT_JOBS_H

#include "../proto/message.h"

#define HASH_NONFATAL_OOM 1 /* what could not be added has a hash handle of zeros */

#include <sys/queue.h>
#include <uthash.h>

/* Embedded in whoever wants to be told that a task ended. */
struct watcher {
    TAILQ_ENTRY(watcher) link; /* in core->woken while queued */
    bool queued;
    bool partials;        /* wants partial results too */
    struct watcher *next; /* of the same task, in the order in which they came */
    uint32_t ordinal;     /* among these, from 1 */
};
TAILQ_HEAD(watcher_list, watcher);

struct segment {
    TAILQ_ENTRY(segment) link; /* in job->arrived of a map, until it is read */
    struct chunk *chunk;
    uint32_t first, count; /* tasks of the chunk */
    uint64_t order;        /* when it came, among all of the session */
    const uint8_t *outcomes;
    enum outcome outcome; /* of all, if outcomes is NULL */
    uint32_t size;
    const uint32_t *offsets; /* count + 1, from `at`; NULL: all have `size` bytes */
    bool shared;             /* every task's item is the whole data: a sentence about all of them */
    struct blob *data;
    size_t at, length;
    const char *worker; /* interned in the core */
    uint32_t attempt;
    double run, wait; /* seconds: running, the mean; waiting */
};
TAILQ_HEAD(segment_list, segment);

struct note { /* what is known about a task under way; of singles only */
    uint32_t offset;
    uint32_t attempt;
    const char *worker;
    bool running;
    uint64_t done, total;
    UT_hash_handle hh;
};

/* 1 + outcome, 0: not ended. How many attempts count against it, the last number for more. It was
 * said to run. The broker is done with it. */
enum {
    STATE_OUTCOME = 0x0f,
    STATE_CHARGED = 0x30,
    STATE_CHARGED_ONE = 0x10,
    STATE_RUNNING = 0x40,
    STATE_SETTLED = 0x80
};

struct chunk {
    struct job *job;
    uint64_t first;
    uint32_t count, room; /* tasks; room for them in state and sizes */
    uint32_t size;
    uint32_t *sizes; /* NULL: all have `size` bytes */
    uint8_t *state;
    struct blob *data; /* NULL once all have ended */
    size_t length;     /* bytes of it that are used */
    bool open;         /* takes further inputs */
    uint32_t ended;
    uint32_t sent;             /* tasks below are at the broker, or will never be sent */
    size_t sent_bytes;         /* where task `sent` starts in data */
    uint32_t unsettled;        /* at the broker, which has not told their end */
    uint32_t handles;          /* tasks whose result may still be asked for */
    struct segment **segments; /* by first */
    uint32_t nsegments, segments_room;
    struct watcher **watchers; /* by task, the first of each; [watchers_room] */
    uint32_t watchers_room;    /* 0: nobody watches any */
    struct note *notes;
};

struct job {
    uint64_t number;
    struct spec *spec;
    int64_t deadline;
    struct slot {
        uint64_t first;
        struct chunk *chunk; /* NULL: gone */
    } * table;               /* by first; [head, ntable) */
    size_t head, ntable, table_room;
    size_t live; /* chunks in it */
    struct chunk *open;
    uint64_t total; /* tasks so far */
    uint64_t accepted;
    uint64_t ended, failed;
    uint64_t unsettled;
    uint64_t cursor; /* tasks below were sent, or never will be */
    uint64_t before; /* tasks below were so on a connection before this one */
    bool is_again;   /* in core->again */
    bool closed;     /* no more inputs come */
    bool announced, end_sent;
    bool expired; /* its deadline has passed */
    bool local;   /* its results are made here: the broker never hears of it */
    bool is_ready;
    bool keep_arrived; /* segments are listed in `arrived` */
    struct segment_list arrived;
    size_t held;        /* bytes of inputs and results of what was not read, with TASK_COST each */
    void *owner;        /* of a map: its results_t; keeps the job */
    unsigned refs;      /* others that keep it */
    bool partials;      /* the owner wants partial results */
    uint32_t unclaimed; /* partial results that nobody asked for yet */
    bool known;         /* there is such a function */
    char *notice;       /* why it waits; NULL */
    /* detached.c */
    bool detached;
    uint8_t id[16];
    bool attached; /* somebody else submitted it */
    bool opened;   /* the broker has told how it stands */
    bool sealed;   /* all of it is on disk */
    bool refused;  /* there is nothing to be said about it any more */
    bool dropped;  /* nobody asks for its results */
    bool cancelling, cancel_told;
    bool cut; /* tasks from the cursor on have ended here, and do not go to the store */
    bool fetch_due;
    uint64_t fetched;      /* the place in the store up to which results were sent */
    enum kept_error error; /* why the store does not have all of it, ... */
    char *refusal;         /* ... in words; NULL */
    struct share **shares; /* constants that its tasks may ask for; let go when all have ended */
    uint32_t nshares;
    TAILQ_ENTRY(job) ready;
    TAILQ_ENTRY(job) again;
    TAILQ_ENTRY(job) due; /* in core->due if it has a deadline */
    UT_hash_handle hh;
};

/* The chunk that holds task `index`, or the first one behind it; NULL if there is none. */
struct chunk *job_chunk(const struct job *j, uint64_t index);
/* A new chunk at the end of the job with room for so much; NULL with ENOMEM. */
struct chunk *job_extend(struct job *j, uint32_t tasks, size_t bytes);
void job_forget(struct job *j, struct chunk *c); /* frees it */

/* Is there room in this open chunk for one more input? Then inputs_append() may be called. */
bool inputs_fit(const struct chunk *c, size_t size);
int inputs_append(struct chunk *c, const void *input, size_t size); /* -1 with ENOMEM: as it was */
size_t inputs_bytes(const struct chunk *c, uint32_t from, uint32_t count);
static inline uint32_t
chunk_size(const struct chunk *c, uint32_t i)
{
    return c->sizes == NULL ? c->size : c->sizes[i];
}

/* The segment with the result of task `offset`; NULL if it has none. */
struct segment *chunk_segment(const struct chunk *c, uint32_t offset);
int chunk_reserve_segment(struct chunk *c); /* -1 with ENOMEM */
void chunk_add_segment(struct chunk *c, struct segment *s);
void chunk_take_segment(struct chunk *c, struct segment *s); /* out of the chunk; not freed */
/* Once or again: it is there then. -1: ENOMEM. */
int chunk_watch(struct chunk *c, uint32_t offset, struct watcher *w);
void chunk_unwatch(struct chunk *c, uint32_t offset, struct watcher *w); /* if it is there */
static inline struct watcher *
chunk_watchers(const struct chunk *c, uint32_t offset)
{
    return offset < c->watchers_room ? c->watchers[offset] : NULL;
}
struct note *chunk_note(struct chunk *c, uint32_t offset, bool make);

/* A part of columns as a segment; `offset` is where it starts. NULL with ENOMEM. */
struct segment *segment_new(struct chunk *c, uint32_t first, const struct columns *part);
struct segment *segment_new_shared(struct chunk *c, uint32_t first, uint32_t count,
                                   enum outcome outcome, struct blob *text);
void segment_free(struct segment *s);
enum outcome segment_outcome(const struct segment *s, uint32_t offset); /* of a task of the chunk */
const uint8_t *segment_item(const struct segment *s, uint32_t offset, size_t *size_p);

#endif
