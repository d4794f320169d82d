#include "chunks.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_LEAST 16 /* tasks that the first open chunk of a job takes, and the most */
#define OPEN_MOST 512
#define OPEN_BYTES 128 /* bytes per task that it has room for */

struct chunk *
chunk_new(struct job *j, uint64_t first, uint32_t room, int64_t now)
{
    struct chunk *c = calloc(1, sizeof(*c) + bits_words(room) * sizeof(uint64_t));

    if (c == NULL)
        return NULL;
    c->job = j;
    c->first = first;
    c->room = room;
    c->refs = 1;
    c->accepted = now;
    LIST_INIT(&c->leases);
    return c;
}

void
chunk_unref(struct chunk *c)
{
    assert(c->refs > 0);
    if (--c->refs > 0)
        return;
    assert(LIST_EMPTY(&c->leases));
    blob_unref(c->data);
    blob_unref(c->sizes);
    free(c);
}

bool
chunk_mergeable(const struct job *j, const struct columns *in)
{
    /* With a deadline each message's tasks have their own time. */
    return j->spec->singles && j->spec->deadline_ms == 0 && in->count <= OPEN_LEAST &&
           in->length <= (size_t)OPEN_BYTES * OPEN_LEAST;
}

struct chunk *
chunk_new_open(struct job *j, uint64_t first, const struct columns *in, int64_t now)
{
    uint32_t room = OPEN_LEAST;
    struct chunk *c;

    /* Twice as large as the last one, so that a job with few tasks takes little. */
    if (j->open_room > 0)
        room = j->open_room < OPEN_MOST ? j->open_room * 2 : OPEN_MOST;
    if ((c = chunk_new(j, first, room, now)) == NULL)
        return NULL;
    if ((c->data = blob_new((size_t)room * OPEN_BYTES)) == NULL) {
        chunk_unref(c);
        return NULL;
    }
    c->size = in->size;
    j->open_room = room;
    return c;
}

static bool
grow_sizes(struct chunk *c)
{
    uint32_t *sizes;

    if ((c->sizes = blob_new((size_t)c->room * sizeof(*sizes))) == NULL)
        return false;
    sizes = (uint32_t *)(void *)c->sizes->bytes;
    for (uint32_t i = 0; i < c->count; i++)
        sizes[i] = c->size;
    return true;
}

bool
chunk_append(struct chunk *c, const struct columns *in)
{
    bool same = in->sizes == NULL && in->size == c->size && c->sizes == NULL;

    if (c->room - c->count < in->count || c->data == NULL || c->data->size - c->length < in->length)
        return false;
    if (!same && c->sizes == NULL && !grow_sizes(c))
        return false;
    if (!same) {
        uint32_t *sizes = (uint32_t *)(void *)c->sizes->bytes + c->count;

        for (uint32_t i = 0; i < in->count; i++)
            sizes[i] = in->sizes == NULL ? in->size : in->sizes[i];
    }
    /* Others may hold the blob, but none of them looks beyond the tasks that it was given. */
    if (in->length > 0)
        memcpy(c->data->bytes + c->length, in->data->bytes + in->at, in->length);
    c->length += in->length;
    c->count += in->count;
    c->left += in->count;
    return true;
}

int
chunk_adopt(struct chunk *c, const struct columns *in)
{
    assert(c->count == 0 && c->room == in->count);
    if (in->sizes != NULL) {
        c->sizes = blob_copy(in->sizes, (size_t)in->count * sizeof(*in->sizes));
        if (c->sizes == NULL)
            return -1;
    }
    c->size = in->size;
    c->data = blob_ref(in->data);
    c->at = in->at;
    c->length = in->length;
    c->count = c->left = in->count;
    return 0;
}

/* ---- bits ---------------------------------------------------------------------------------------
 */

uint32_t
bits_next(const uint64_t *bits, uint32_t from, uint32_t to, bool set)
{
    uint64_t flip = set ? 0 : ~(uint64_t)0;

    while (from < to) {
        uint64_t word = (bits[from / 64] ^ flip) >> (from % 64);

        if (word != 0) {
            from += (uint32_t)__builtin_ctzll(word);
            return from < to ? from : to;
        }
        from = (from / 64 + 1) * 64;
    }
    return to;
}

static uint64_t
mask(uint32_t from, uint32_t to) /* of one word */
{
    uint64_t low = ~(uint64_t)0 << (from % 64);
    uint64_t high = to % 64 == 0 ? ~(uint64_t)0 : ~(~(uint64_t)0 << (to % 64));

    return low & high;
}

uint32_t
bits_count(const uint64_t *bits, uint32_t from, uint32_t to)
{
    uint32_t count = 0;

    while (from < to) {
        uint32_t end = (from / 64 + 1) * 64;

        if (end > to)
            end = to;
        count += (uint32_t)__builtin_popcountll(bits[from / 64] & mask(from, end));
        from = end;
    }
    return count;
}

void
bits_set(uint64_t *bits, uint32_t from, uint32_t to)
{
    while (from < to) {
        uint32_t end = (from / 64 + 1) * 64;

        if (end > to)
            end = to;
        bits[from / 64] |= mask(from, end);
        from = end;
    }
}

uint32_t
chunk_live_from(const struct chunk *c, uint32_t from, uint32_t to)
{
    return bits_next(c->ended, from, to, false);
}

uint32_t
chunk_ended_from(const struct chunk *c, uint32_t from, uint32_t to)
{
    return bits_next(c->ended, from, to, true);
}

uint32_t
chunk_live(const struct chunk *c, uint32_t from, uint32_t to)
{
    return from < to ? to - from - bits_count(c->ended, from, to) : 0;
}

void
chunk_mark(struct chunk *c, uint32_t from, uint32_t to)
{
    bits_set(c->ended, from, to);
}

/* ---- items --------------------------------------------------------------------------------------
 */

size_t
chunk_length(const struct chunk *c, uint32_t from, uint32_t count)
{
    const uint32_t *sizes;
    size_t sum = 0;

    if (c->sizes == NULL)
        return (size_t)c->size * count;
    sizes = (const uint32_t *)(const void *)c->sizes->bytes;
    for (uint32_t i = from; i < from + count; i++)
        sum += sizes[i];
    return sum;
}

struct columns
chunk_columns(const struct chunk *c, uint32_t from, uint32_t count, size_t at)
{
    const uint32_t *sizes =
        c->sizes == NULL ? NULL : (const uint32_t *)(const void *)c->sizes->bytes;

    return (struct columns){
        .count = count,
        .size = c->size,
        .sizes = sizes == NULL ? NULL : sizes + from,
        .data = c->data,
        .at = c->at + at,
        .length = chunk_length(c, from, count),
    };
}
