#include "parcel.h"

#include <string.h>

#define VERSION 1
#define SIZES (1u << 31) /* a flag of the header: the sizes follow the names */

struct header {
    uint32_t version;
    uint32_t flags;
    uint64_t first, width, end;
    uint32_t count, size;
    uint32_t map, reduce; /* bytes of the names, with the NUL behind each */
};

static size_t
pad(size_t size)
{
    return (size + 15) & ~(size_t)15;
}

static size_t
head(size_t map, size_t reduce, bool sizes, uint32_t count)
{
    size_t before = sizeof(struct header) + map + reduce;

    return pad(sizes ? before + count * sizeof(uint32_t) : before);
}

size_t
parcel_head(const struct parcel *p)
{
    return head(strlen(p->map) + 1, strlen(p->reduce) + 1, p->sizes != NULL, p->count);
}

void
parcel_write(const struct parcel *p, uint8_t *to)
{
    struct header h = {.version = VERSION,
                       .flags = p->flags | (p->sizes != NULL ? SIZES : 0),
                       .first = p->first,
                       .width = p->width,
                       .end = p->end,
                       .count = p->count,
                       .size = p->sizes != NULL ? 0 : p->size,
                       .map = (uint32_t)strlen(p->map) + 1,
                       .reduce = (uint32_t)strlen(p->reduce) + 1};
    uint8_t *end = to + parcel_head(p);

    memcpy(to, &h, sizeof(h));
    to += sizeof(h);
    memcpy(to, p->map, h.map);
    to += h.map;
    memcpy(to, p->reduce, h.reduce);
    to += h.reduce;
    if (p->sizes != NULL) {
        memcpy(to, p->sizes, p->count * sizeof(uint32_t));
        to += p->count * sizeof(uint32_t);
    }
    memset(to, 0, (size_t)(end - to));
}

uint32_t
parcel_size(const struct parcel *p, uint32_t i)
{
    uint32_t size;

    if (p->sizes == NULL)
        return p->size;
    memcpy(&size, p->sizes + i * sizeof(size), sizeof(size));
    return size;
}

/* A name of so many bytes, with its NUL; NULL if it is none. */
static const char *
name(const uint8_t *at, uint32_t size)
{
    return size > 0 && memchr(at, '\0', size) == at + size - 1 ? (const char *)at : NULL;
}

static bool
lengths_match(const struct parcel *p)
{
    uint64_t length = 0;

    if (p->sizes == NULL)
        return (uint64_t)p->count * p->size == p->length;
    for (uint32_t i = 0; i < p->count && length <= p->length; i++)
        length += parcel_size(p, i);
    return length == p->length;
}

int
parcel_read(struct parcel *p, const void *from, size_t size)
{
    const uint8_t *at = from;
    struct header h;
    size_t before;

    if (size < sizeof(h))
        return -1;
    memcpy(&h, from, sizeof(h));
    if (h.version != VERSION || h.map > size || h.reduce > size)
        return -1;
    before = head(h.map, h.reduce, (h.flags & SIZES) != 0, h.count);
    if (before > size)
        return -1;
    *p = (struct parcel){.flags = h.flags & ~SIZES,
                         .map = name(at + sizeof(h), h.map),
                         .reduce = name(at + sizeof(h) + h.map, h.reduce),
                         .first = h.first,
                         .width = h.width,
                         .end = h.end,
                         .count = h.count,
                         .size = h.size,
                         .data = at + before,
                         .length = size - before};
    if (h.flags & SIZES)
        p->sizes = at + sizeof(h) + h.map + h.reduce;
    return p->map != NULL && p->reduce != NULL && p->count > 0 && lengths_match(p) ? 0 : -1;
}
