/* arena.h - scratch memory for one header; private to proto/. */
#ifndef LADLE_ARENA_H
#define LADLE_ARENA_H

#include "limits.h"
#include "wire.h"

/* A bump allocator: blocks are given, never taken back, all forgotten at once. */
struct region {
    uint8_t *bytes;
    size_t capacity;
    size_t budget; /* of blocks, with what they cost: at most capacity */
    size_t used;
    bool over; /* the budget was not enough */
};

struct arena {
    struct region decode;
    struct region encode; /* apart, so that a decoded message may be encoded again in its arena */
    uint8_t *packed;      /* LIMIT_HEADER bytes */
    struct spec *spec;    /* of the last JOB */
    char why[200];
};

void region_reset(struct region *r, size_t budget);
/* 8-aligned and not cleared; NULL once the budget is spent. */
void *region_take(struct region *r, size_t size);
/* Is `p` one of its blocks? Then its size as asked for goes to *size. */
bool region_owns(const struct region *r, const void *p, size_t *size);

#endif
