/* parcel.h - several values in one input or result: what the tasks of a reduction are given, and
 * what they give back.
 *
 * A header, the names of the functions, the values' sizes if they differ, and from a multiple of 16
 * on the values end to end. Program and executor are of one type of machine, so numbers are its
 * own. Reading trusts nothing: what comes from elsewhere may be no parcel.
 */
#ifndef LADLE_PARCEL_H
#define LADLE_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PARCEL_EACH = 1,   /* give back all inclusive prefixes, not only the last of them */
    PARCEL_BEFORE = 2, /* the first value is the reduction of all that stands before the others */
    PARCEL_APART = 4,  /* the others are prefixes already, each to be combined with the first */
};

struct parcel {
    uint32_t flags;
    const char *map;    /* its function; "": the values are mapped */
    const char *reduce; /* "": this is a result */
    /* Value i stands for the inputs from first + i * width on, the last one for those below `end`.
     * What stands before the others stands for all inputs below `first`, and is not counted. */
    uint64_t first, width, end;
    uint32_t count;       /* values, with the one before the others */
    uint32_t size;        /* of each, if `sizes` is NULL */
    const uint8_t *sizes; /* uint32_t of each, anywhere */
    const uint8_t *data;  /* end to end; aligned as the parcel is */
    size_t length;        /* of the data */
};

static inline bool
parcel_has(const struct parcel *p, uint32_t flag)
{
    return (p->flags & flag) != 0;
}

/* Bytes before the data. */
size_t parcel_head(const struct parcel *p);
/* Write them; data is not looked at, nor written. */
void parcel_write(const struct parcel *p, uint8_t *to);
/* What is at `from` until it goes away. -1 if that is no parcel. */
int parcel_read(struct parcel *p, const void *from, size_t size);
uint32_t parcel_size(const struct parcel *p, uint32_t i);

#endif
