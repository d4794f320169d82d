/* combine.h - reductions under way: what futures_map_reduce() and futures_map_scan() share.
 *
 * Both are made of tasks of the library's own (fold.h). Blocks of inputs are mapped and combined
 * where they run; what they give back is put into further tasks as it comes, by whoever waits in
 * the session: session_advance(). All of it with the session's lock held, unless said otherwise.
 */
#ifndef LADLE_COMBINE_H
#define LADLE_COMBINE_H

#include "parcel.h"
#include "session.h"

struct item {       /* a value that came and is needed again */
    uint8_t *bytes; /* owned; NULL: not there */
    size_t size;
};

struct combine;
struct combine_class {
    /* Task `index` of the job gave back `size` bytes at `bytes`, which lie in `s`. -1: ENOMEM. */
    int (*came)(struct combine *c, const struct job *j, uint64_t index, const struct segment *s,
                const uint8_t *bytes, size_t size);
    /* It has failed; c->cause says why. May be NULL. */
    void (*failed)(struct combine *c);
    void (*release)(struct combine *c); /* what its members hold */
};

struct cause {
    int error; /* errno; 0: nothing has failed */
    enum outcome outcome;
    char *sentence;     /* all of it; NULL: out of memory */
    uint64_t index;     /* of the one input whose map failed; UINT64_MAX: it was something else */
    char *words;        /* of its function */
    const char *worker; /* interned */
    uint32_t attempt;
};

struct combine {
    LIST_ENTRY(combine) link; /* in session->combines */
    const struct combine_class *class;
    futures_t *session;
    char *map, *reduce; /* names */
    uint64_t count;     /* inputs */
    uint64_t block;     /* inputs in a block: a power of two */
    uint64_t nblocks;
    struct job *folds, *joins, *scans;
    bool ended; /* there is nothing more to wait for */
    struct cause cause;
};

/* Are these inputs, and may `block` of them go into one task? -1 with errno and a sentence. */
int combine_check(const char *map, const void *inputs, size_t count, size_t size, uint64_t block);
/* Without the lock. Takes a zeroed struct that begins with `c`. 0, or -1 with errno and a sentence,
 * and it is freed. */
int combine_open(struct combine *c, futures_t *s, const char *map, const char *reduce,
                 const task_options_t *options);
/* Without the lock: the tasks of all blocks. -1: ENOMEM. */
int combine_start(struct combine *c, const uint8_t *inputs, size_t size, uint32_t flags);
void combine_free(struct combine *c); /* and cancels what has not ended; NULL is allowed */

void combine_fail(struct combine *c, int error, enum outcome outcome, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void combine_cancel(struct combine *c);

/* Append a task: the values, one after the other, behind a header. It is j->total - 1 then, unless
 * that failed, which is told to the reduction. */
void combine_append(struct combine *c, struct job *j, const struct parcel *head,
                    const struct item *before, const struct item *items, uint32_t count);

int item_set(struct item *item, const uint8_t *bytes, size_t size); /* -1: ENOMEM */
void item_drop(struct item *item);
void items_free(struct item *items, uint64_t count); /* NULL is allowed */

#endif
