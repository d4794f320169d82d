#include "walcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The format is SQLite's, as its documentation of the file format has it (section 4). */
enum { HEADER = 32, FRAME = 24, PAGE_LEAST = 512, PAGE_MOST = 65536 };
#define MAGIC 0x377f0682u

struct log {
    const uint8_t *bytes;
    uint64_t size;
    uint32_t page;
    bool big; /* the order of bytes in which sums are made */
    uint32_t sum[2];
};

static uint32_t
number(const uint8_t *at, bool big)
{
    return big ? (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]
               : (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static void
add(uint32_t sum[2], const uint8_t *at, size_t size, bool big)
{
    for (size_t i = 0; i < size; i += 8) {
        sum[0] += number(at + i, big) + sum[1];
        sum[1] += number(at + i + 4, big) + sum[0];
    }
}

static const uint8_t *
frame_at(const struct log *l, uint64_t offset)
{
    return l->size - offset < (uint64_t)FRAME + l->page ? NULL : l->bytes + offset;
}

static bool
same_generation(const struct log *l, const uint8_t *frame)
{
    return memcmp(frame + 8, l->bytes + 16, 8) == 0;
}

/* Does this frame header go with the page, behind frames with this sum? */
static bool
verifies(const struct log *l, const uint8_t *frame, const uint8_t *page, uint32_t sum[2])
{
    add(sum, frame, 8, l->big);
    add(sum, page, l->page, l->big);
    return same_generation(l, frame) && number(frame + 16, true) == sum[0] &&
           number(frame + 20, true) == sum[1];
}

static bool
one_bit_off(const struct log *l, const uint8_t *frame)
{
    uint8_t copy[FRAME];

    for (unsigned bit = 0; bit < FRAME * 8; bit++) {
        uint32_t sum[2] = {l->sum[0], l->sum[1]};

        memcpy(copy, frame, FRAME);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (verifies(l, copy, frame + FRAME, sum))
            return true;
    }
    return false;
}

/* The frame at `offset` does not verify: was more committed from there on? */
static void
judge(const struct log *l, uint64_t offset, uint64_t committed, struct walcheck *out)
{
    uint64_t stride = (uint64_t)FRAME + l->page, end = committed;
    const uint8_t *frame = frame_at(l, offset);

    out->offset = committed;
    if (offset > committed)
        end = offset;
    for (uint64_t at = offset; l->size > at; at += stride) {
        const uint8_t *f = frame_at(l, at);

        if (f == NULL) { /* half a frame, unless it is one of an earlier generation */
            if (l->size - at < 16 || same_generation(l, l->bytes + at))
                end = l->size;
            break;
        }
        if (!same_generation(l, f))
            continue;
        end = at + stride;
        out->commits += number(f + 4, true) != 0;
    }
    if (frame != NULL && out->commits == 0 && one_bit_off(l, frame))
        out->commits = 1;
    out->dropped = end - committed;
    out->verdict = out->commits > 0 ? WAL_DAMAGED : out->dropped > 0 ? WAL_TORN : WAL_WHOLE;
    if (out->verdict == WAL_DAMAGED)
        out->offset = offset;
}

static void
check(struct log *l, struct walcheck *out)
{
    uint64_t offset = HEADER, committed = HEADER;
    const uint8_t *frame;

    if (l->size <= HEADER) { /* nothing was committed to it */
        out->verdict = l->size > 0 && l->size < HEADER ? WAL_TORN : WAL_WHOLE;
        out->dropped = l->size < HEADER ? l->size : 0;
        return;
    }
    l->page = number(l->bytes + 8, true);
    l->big = (number(l->bytes, true) & 1) != 0;
    add(l->sum, l->bytes, 24, l->big);
    if ((number(l->bytes, true) & ~1u) != MAGIC || number(l->bytes + 24, true) != l->sum[0] ||
        number(l->bytes + 28, true) != l->sum[1] || l->page < PAGE_LEAST || l->page > PAGE_MOST) {
        *out = (struct walcheck){.verdict = WAL_DAMAGED, .dropped = l->size, .commits = 1};
        return;
    }
    while ((frame = frame_at(l, offset)) != NULL) {
        uint32_t sum[2] = {l->sum[0], l->sum[1]};

        if (!verifies(l, frame, frame + FRAME, sum))
            break;
        memcpy(l->sum, sum, sizeof(sum));
        offset += (uint64_t)FRAME + l->page;
        if (number(frame + 4, true) != 0)
            committed = offset;
    }
    out->end = committed;
    judge(l, offset, committed, out);
}

int
walcheck(const char *path, struct walcheck *out)
{
    struct log l = {0};
    struct stat st;
    void *map;
    int fd, error;

    *out = (struct walcheck){.verdict = WAL_WHOLE};
    if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return errno == ENOENT ? 0 : -1;
    if (fstat(fd, &st) != 0 || st.st_size == 0) {
        error = errno;
        close(fd);
        errno = error;
        return st.st_size == 0 ? 0 : -1;
    }
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    error = errno;
    close(fd);
    errno = error;
    if (map == MAP_FAILED)
        return -1;
    l.bytes = map;
    l.size = (uint64_t)st.st_size;
    check(&l, out);
    munmap(map, (size_t)st.st_size);
    return 0;
}
