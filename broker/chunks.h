/* chunks.h - inputs as they came, which of their tasks have ended, and ranges of ready ones. */
#ifndef LADLE_CHUNKS_H
#define LADLE_CHUNKS_H

#include "state.h"

/* A chunk with room for `room` tasks and none so far; NULL: ENOMEM. One reference. */
struct chunk *chunk_new(struct job *j, uint64_t first, uint32_t room, int64_t now);
static inline struct chunk *
chunk_ref(struct chunk *c)
{
    c->refs++;
    return c;
}
void chunk_unref(struct chunk *c);

/* Is this message better copied into a chunk with its neighbours? */
bool chunk_mergeable(const struct job *j, const struct columns *in);
/* Room for more such tasks than these; NULL: ENOMEM. */
struct chunk *chunk_new_open(struct job *j, uint64_t first, const struct columns *in, int64_t now);
/* Copy tasks behind the others; false if they do not fit (or there is no memory for it). */
bool chunk_append(struct chunk *c, const struct columns *in);
/* Take the message's blob as it is, and a copy of its sizes; -1: ENOMEM. */
int chunk_adopt(struct chunk *c, const struct columns *in);

uint32_t chunk_live_from(const struct chunk *c, uint32_t from, uint32_t to);  /* first not ended */
uint32_t chunk_ended_from(const struct chunk *c, uint32_t from, uint32_t to); /* first ended */
uint32_t chunk_live(const struct chunk *c, uint32_t from, uint32_t to); /* how many have not */
void chunk_mark(struct chunk *c, uint32_t from, uint32_t to);           /* they have ended */

size_t chunk_length(const struct chunk *c, uint32_t from, uint32_t count); /* bytes of items */
struct columns chunk_columns(const struct chunk *c, uint32_t from, uint32_t count, size_t at);
static inline uint64_t
chunk_cost(const struct chunk *c, uint32_t from, uint32_t count)
{
    return chunk_length(c, from, count) + (uint64_t)count * TASK_COST;
}

/* Bits, from bit 0 of `bits` on. */
uint32_t bits_next(const uint64_t *bits, uint32_t from, uint32_t to, bool set);
uint32_t bits_count(const uint64_t *bits, uint32_t from, uint32_t to);
void bits_set(uint64_t *bits, uint32_t from, uint32_t to);
static inline size_t
bits_words(uint32_t count)
{
    return ((size_t)count + 63) / 64;
}

#endif
