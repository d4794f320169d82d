/* orders.h - what tasks are told to do, and what must come of it. checker.py knows the same. */
#ifndef CHAOS_ORDERS_H
#define CHAOS_ORDERS_H

#include <ladle.h>

enum kind {
    COMPUTE,     /* answers at once */
    SLEEP,       /* after `amount` ms */
    PRINT,       /* writes a line first */
    EMIT,        /* gives out partial results first */
    SHARED,      /* the answer depends on the constant that is shared */
    BIG,         /* `amount` KiB of answer */
    FAIL,        /* says so, with its number */
    CRASH_FIRST, /* its first attempt dies; how, `value` says */
    NEST,        /* maps `amount` orders of its own */
    POISON,      /* dies in each attempt */
    ONCE,        /* sleeps; must never be started twice */
    KINDS
};

struct order {
    uint64_t id; /* unique in a run: tasks of tasks have those above NESTED_IDS */
    uint32_t kind, amount;
    uint64_t value;
};

struct answer {
    uint64_t id, value;
};

#define NESTED_IDS (1ull << 32)
#define PARTIALS 3
#define POISON_RETRIES 2
#define RETRIES 1000 /* of all others: what chaos kills is not their fault */
#define CONSTANT "constant"
#define CONSTANT_WORDS (1u << 16)

uint64_t mix(uint64_t x);
/* The task `id` of a run with `seed`. */
struct order order_make(uint64_t seed, uint64_t id);
struct order order_make_kind(uint64_t seed, uint64_t id, enum kind kind);
/* A child of a task that nests. */
struct order order_child(const struct order *parent, uint32_t nth);
/* What a task that is not asked for more answers to its value. */
uint64_t order_value(const struct order *o);
uint64_t constant_sum(const uint64_t *words, size_t count);

/* A line that is appended to a file that several processes write to, behind the time of day, as
 * the logs of the daemons have it. */
void append_line(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Where tasks note that they ran; before futures_new(). */
void tasks_note_in(const char *path);

#endif
