#include "boards.h"

#include "../proto/limits.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TAG(lease) ((lease)&UINT32_MAX)

static _Atomic uint64_t *
range_of(struct board *b, uint64_t lease)
{
    return &b->ranges[lease % BOARD_SLICES];
}

void
board_offer(struct board *b, uint64_t lease, uint32_t count)
{
    assert(count <= LIMIT_ITEMS);
    atomic_store_explicit(range_of(b, lease), BOARD_RANGE(lease, 0, count), memory_order_release);
}

uint32_t
board_take_back(struct board *b, uint64_t lease, uint32_t most, uint32_t *limit_p)
{
    _Atomic uint64_t *range = range_of(b, lease);
    uint64_t now = atomic_load_explicit(range, memory_order_relaxed);
    uint32_t limit, next, taken;

    do {
        limit = BOARD_LIMIT(now);
        next = BOARD_NEXT(now);
        *limit_p = limit;
        if (now >> 32 != TAG(lease) || next >= limit || most == 0)
            return 0;
        taken = limit - next < most ? limit - next : most;
        *limit_p = limit - taken;
    } while (!atomic_compare_exchange_weak_explicit(range, &now,
                                                    BOARD_RANGE(lease, next, limit - taken),
                                                    memory_order_acq_rel, memory_order_relaxed));
    return taken;
}

uint32_t
board_unstarted(const struct board *b, uint64_t lease)
{
    uint64_t now = atomic_load_explicit(&b->ranges[lease % BOARD_SLICES], memory_order_relaxed);

    if (now >> 32 != TAG(lease) || BOARD_NEXT(now) >= BOARD_LIMIT(now))
        return 0;
    return BOARD_LIMIT(now) - BOARD_NEXT(now);
}

uint32_t
board_begun(const struct board *b, uint64_t lease)
{
    uint64_t now = atomic_load_explicit(&b->ranges[lease % BOARD_SLICES], memory_order_relaxed);

    return now >> 32 == TAG(lease) && BOARD_NEXT(now) <= BOARD_LIMIT(now) ? BOARD_NEXT(now) : 0;
}

bool
board_running(const struct board *b, uint64_t lease, uint32_t *offset_p, int64_t *started_p)
{
    uint64_t running;

    if (atomic_load_explicit(&b->lease, memory_order_acquire) != lease)
        return false;
    running = atomic_load_explicit(&b->running, memory_order_acquire);
    if (running == 0 || running > LIMIT_ITEMS)
        return false;
    *offset_p = (uint32_t)running - 1;
    *started_p = atomic_load_explicit(&b->started, memory_order_relaxed);
    return true;
}

uint64_t
board_owner(const struct board *b)
{
    return atomic_load_explicit(&b->owner, memory_order_acquire);
}

void
board_nested(const struct board *b, char *text, size_t size)
{
    size_t n = strnlen(b->nested, sizeof(b->nested));

    if (n > size - 1)
        n = size - 1;
    memcpy(text, b->nested, n);
    text[n] = '\0';
}

void
board_cancel(struct board *b, uint64_t lease, uint32_t offset)
{
    atomic_store_explicit(&b->cancel, lease << 32 | (offset + 1), memory_order_release);
}

/* The record at `at`, if it is whole, and in sequence with `n` before it. */
static bool
read_record(const struct board *b, size_t at, uint32_t first, uint32_t n, struct board_record *r)
{
    if (at > BOARD_RESULTS - sizeof(*r))
        return false;
    memcpy(r, b->results + at, sizeof(*r));
    return r->size <= BOARD_RESULTS - sizeof(*r) - at && r->outcome < OUTCOME_LIMIT &&
           (n == 0 ? r->offset < LIMIT_ITEMS : r->offset == first + n);
}

static size_t
measure(const struct board *b, uint32_t count, struct board_results *r, uint32_t *sizes,
        uint8_t *outcomes)
{
    struct board_record record;
    size_t at = 0, length = 0;
    uint32_t n;

    for (n = 0; n < count && read_record(b, at, r->offset, n, &record); n++) {
        if (n == 0)
            r->offset = record.offset;
        sizes[n] = record.size;
        outcomes[n] = (uint8_t)record.outcome;
        r->run_us += record.run_us;
        length += record.size;
        at += BOARD_ROOM(record.size);
    }
    r->columns.count = n;
    return length;
}

bool
board_read(const struct board *b, uint64_t lease, struct board_results *r)
{
    uint32_t flushes = atomic_load_explicit(&b->flushes, memory_order_acquire);
    uint32_t count = atomic_load_explicit(&b->committed, memory_order_acquire);
    uint32_t *sizes = NULL;
    uint8_t *outcomes = NULL, *to;
    struct blob *data = NULL;
    const uint8_t *from = b->results;

    *r = (struct board_results){0};
    if (atomic_load_explicit(&b->lease, memory_order_relaxed) != lease || count == 0)
        return false;
    if (count > LIMIT_SIZES)
        count = LIMIT_SIZES;
    if ((sizes = calloc(count, sizeof(*sizes))) == NULL || (outcomes = calloc(count, 1)) == NULL)
        goto none;
    r->columns.length = measure(b, count, r, sizes, outcomes);
    if (r->columns.count == 0 || (data = blob_new(r->columns.length)) == NULL)
        goto none;
    to = data->bytes;
    for (uint32_t i = 0; i < r->columns.count; i++) {
        memcpy(to, from + sizeof(struct board_record), sizes[i]);
        to += sizes[i];
        from += BOARD_ROOM(sizes[i]);
    }
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&b->flushes, memory_order_relaxed) != flushes)
        goto none; /* it was written over meanwhile */
    r->columns.sizes = sizes;
    r->columns.outcomes = outcomes;
    r->columns.data = data;
    return true;
none:
    free(sizes);
    free(outcomes);
    blob_unref(data);
    return false;
}

void
board_results_free(struct board_results *r)
{
    union {
        const void *from;
        void *owned;
    } sizes = {r->columns.sizes}, outcomes = {r->columns.outcomes};

    free(sizes.owned);
    free(outcomes.owned);
    blob_unref(r->columns.data);
}
