#include "uplink.h"

#include "../base/clock.h"
#include "../proto/limits.h"
#include "../proto/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define READ_SIZE (16u << 10) /* read at once; the rest of a data frame goes to its place */
#define STAGE_SIZE (LIMIT_HEADER + 2 * READ_SIZE)
#define KEEP_ROOM (4u << 20) /* a larger input buffer is given back after use */

static struct {
    int fd;
    struct arena *in, *out;
    uint8_t *stage; /* bytes [begin, end) were read and not yet used */
    size_t begin, end;
    struct blob *data; /* the data frame of the message at hand */
    size_t data_room;
} uplink;

/* The worker went away: that is how an executor's life ends. */
static void __attribute__((noreturn)) leave(void)
{
    exit(0);
}

void
uplink_fail(const char *why)
{
    fprintf(stderr, "ladle executor: %s\n", why);
    exit(70);
}

static void
write_all(struct iovec *iov, int n)
{
    while (n > 0) {
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
        ssize_t sent = sendmsg(uplink.fd, &m, MSG_NOSIGNAL);

        if (sent < 0) {
            if (errno == EINTR)
                continue;
            leave();
        }
        while (n > 0 && (size_t)sent >= iov->iov_len) {
            sent -= (ssize_t)iov->iov_len;
            iov++;
            n--;
        }
        if (n > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + sent;
            iov->iov_len -= (size_t)sent;
        }
    }
}

void
uplink_send(struct message *m)
{
    const struct columns *c = message_columns(m);
    const uint8_t *header;
    size_t size = wire_encode(uplink.out, m, &header);
    size_t length = c == NULL ? 0 : c->length;
    uint8_t prefix[8];
    union {
        const uint8_t *from;
        void *base;
    } head = {header};
    struct iovec iov[3];

    if (size == 0)
        uplink_fail("out of memory");
    for (int i = 0; i < 4; i++) {
        prefix[i] = (uint8_t)(size >> 8 * i);
        prefix[4 + i] = (uint8_t)(length >> 8 * i);
    }
    iov[0] = (struct iovec){prefix, sizeof(prefix)};
    iov[1] = (struct iovec){head.base, size};
    iov[2] = (struct iovec){length > 0 ? c->data->bytes + c->at : NULL, length};
    write_all(iov, length > 0 ? 3 : 2);
}

static size_t
receive(void *to, size_t size)
{
    ssize_t n;

    while ((n = read(uplink.fd, to, size)) < 0 && errno == EINTR)
        ;
    if (n <= 0)
        leave();
    return (size_t)n;
}

/* At least `size` bytes in the stage. */
static void
fill(size_t size)
{
    if (uplink.begin == uplink.end)
        uplink.begin = uplink.end = 0;
    if (STAGE_SIZE - uplink.begin < size + READ_SIZE) {
        memmove(uplink.stage, uplink.stage + uplink.begin, uplink.end - uplink.begin);
        uplink.end -= uplink.begin;
        uplink.begin = 0;
    }
    while (uplink.end - uplink.begin < size)
        uplink.end += receive(uplink.stage + uplink.end, READ_SIZE);
}

void
uplink_room(uint8_t **buffer, size_t *room, size_t size)
{
    if (size <= *room && (*room <= KEEP_ROOM || size > KEEP_ROOM / 4))
        return;
    free(*buffer);
    *room = (size + 4095) & ~(size_t)4095;
    if ((*buffer = aligned_alloc(64, *room)) == NULL)
        uplink_fail("out of memory for an input");
}

/* Room for a data frame: that of the one before, unless somebody keeps it. */
static struct blob *
data_room(size_t size)
{
    struct blob *data = uplink.data;
    bool fits = size <= uplink.data_room && (uplink.data_room <= KEEP_ROOM || size > KEEP_ROOM / 4);

    if (data == NULL || !fits || atomic_load_explicit(&data->refs, memory_order_acquire) > 1) {
        blob_unref(data);
        uplink.data_room = (size + 255) & ~(size_t)255;
        if ((uplink.data = data = blob_new(uplink.data_room)) == NULL)
            uplink_fail("out of memory for an input");
    }
    data->size = size;
    return data;
}

static void
receive_data(size_t size)
{
    size_t have = uplink.end - uplink.begin;
    struct blob *data = data_room(size);

    if (have > size)
        have = size;
    memcpy(data->bytes, uplink.stage + uplink.begin, have);
    uplink.begin += have;
    while (have < size)
        have += receive(data->bytes + have, size - have);
}

static uint32_t
number(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

bool
uplink_wait(int64_t deadline)
{
    struct pollfd p = {.fd = uplink.fd, .events = POLLIN};
    int n = 1;

    if (uplink.begin == uplink.end)
        while ((n = poll(&p, 1, clock_poll_timeout(deadline, clock_us()))) < 0 && errno == EINTR)
            ;
    return n != 0;
}

void
uplink_next(struct message *m)
{
    const uint8_t *header;
    const char *why;
    uint32_t size, length;

    fill(8);
    size = number(uplink.stage + uplink.begin);
    length = number(uplink.stage + uplink.begin + 4);
    if (size > LIMIT_HEADER || length > LIMIT_DATA)
        uplink_fail("the worker sent what is no message");
    fill(8 + size);
    header = uplink.stage + uplink.begin + 8;
    uplink.begin += 8 + size; /* the header stays in place until the next fill() */
    if (length > 0)
        receive_data(length);
    if (wire_decode(uplink.in, header, size, length > 0 ? uplink.data : NULL, m, &why) != 0)
        uplink_fail(why);
}

void
uplink_open(int fd)
{
    uplink.fd = fd;
    uplink.in = arena_new();
    uplink.out = arena_new();
    uplink.stage = malloc(STAGE_SIZE);
    if (uplink.in == NULL || uplink.out == NULL || uplink.stage == NULL)
        uplink_fail("out of memory");
}
