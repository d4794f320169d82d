#include "arena.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 8, HEAD = 8 }; /* each block is preceded by its size */

/* Beyond what protobuf-c may allocate: the rows of a status as our own structs. */
#define ROWS (LIMIT_ROWS * (sizeof(struct worker_row) + sizeof(struct job_row)) + 4096)
/* Encoding needs pointers to rows and what protobuf-c makes of them; and strings that are cut. */
#define ENCODE (256u << 10)

static int
region_open(struct region *r, size_t capacity)
{
    *r = (struct region){.bytes = malloc(capacity), .capacity = capacity};
    return r->bytes == NULL ? -1 : 0;
}

void
region_reset(struct region *r, size_t budget)
{
    assert(budget <= r->capacity);
    r->budget = budget;
    r->used = 0;
    r->over = false;
}

void *
region_take(struct region *r, size_t size)
{
    size_t left = r->budget - r->used;
    uint64_t head = size;
    uint8_t *block;

    if (left < HEAD || size > left - HEAD) {
        r->over = true;
        return NULL;
    }
    block = r->bytes + r->used;
    memcpy(block, &head, sizeof(head));
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    r->used += size > left - HEAD ? left : HEAD + size;
    return block + HEAD;
}

bool
region_owns(const struct region *r, const void *p, size_t *size)
{
    const uint8_t *at = p;
    uint64_t head;

    if (at < r->bytes + HEAD || at >= r->bytes + r->capacity)
        return false;
    memcpy(&head, at - HEAD, sizeof(head));
    *size = head;
    return true;
}

struct arena *
arena_new(void)
{
    struct arena *self;

    /* Large and seldom filled: malloc maps such blocks, and untouched pages cost nothing. */
    if ((self = calloc(1, sizeof(*self))) == NULL)
        return NULL;
    if (region_open(&self->decode, LIMIT_DECODE(LIMIT_HEADER) + ROWS) != 0 ||
        region_open(&self->encode, ENCODE) != 0 || (self->packed = malloc(LIMIT_HEADER)) == NULL) {
        arena_free(self);
        return NULL;
    }
    return self;
}

void
arena_free(struct arena *self)
{
    if (self == NULL)
        return;
    spec_unref(self->spec);
    free(self->packed);
    free(self->encode.bytes);
    free(self->decode.bytes);
    free(self);
}
