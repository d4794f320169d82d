#include "channel.h"

#include "../proto/limits.h"
#include "../proto/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define STAGE (16u << 10) /* read at once */
#define TURN 16           /* reads, before others have a turn */

#define WAITING_MOST WINDOW_RESULT /* beyond it goes only what must */

struct outgoing { /* what the socket did not take at once */
    TAILQ_ENTRY(outgoing) next;
    enum message_type type;
    uint32_t client;
    size_t cost; /* bytes that it keeps */
    struct blob *data;
    size_t at, left; /* of the data */
    size_t head_at, head_size;
    uint8_t head[]; /* prefix and header */
};

/* ---- sending -----------------------------------------------------------------------------------
 */

static void
update_watch(struct channel *c)
{
    uint32_t events =
        (c->hold || c->closed ? 0 : EPOLLIN) | (TAILQ_EMPTY(&c->out) || c->closed ? 0 : EPOLLOUT);

    if (c->closed || poller_watch(c->poller, &c->watch, events) != 0)
        poller_unwatch(c->poller, &c->watch);
}

static void
free_outgoing(struct channel *c, struct outgoing *o)
{
    TAILQ_REMOVE(&c->out, o, next);
    c->waiting -= o->cost;
    blob_unref(o->data);
    free(o);
}

static void
broken(struct channel *c)
{
    if (c->closed)
        return;
    c->closed = true;
    update_watch(c);
}

static void
condemn(struct channel *c, const char *fault)
{
    if (c->fault == NULL)
        c->fault = fault;
    broken(c);
}

/* Write as much as the socket takes; moves the offsets. -1 if it is broken. */
static int
write_some(struct channel *c, struct outgoing *o)
{
    struct iovec iov[2] = {
        {o->head + o->head_at, o->head_size - o->head_at},
        {o->left > 0 ? o->data->bytes + o->at : NULL, o->left},
    };
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n = sendmsg(c->watch.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    size_t head = o->head_size - o->head_at, sent;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    sent = (size_t)n;
    if (sent < head) {
        o->head_at += sent;
        return 0;
    }
    o->head_at = o->head_size;
    o->at += sent - head;
    o->left -= sent - head;
    return 0;
}

static void
write_out(struct channel *c)
{
    struct outgoing *o;

    while ((o = TAILQ_FIRST(&c->out)) != NULL) {
        if (write_some(c, o) != 0) {
            broken(c);
            return;
        }
        if (o->head_at < o->head_size || o->left > 0)
            break;
        free_outgoing(c, o);
    }
    update_watch(c);
}

static void
put_number(uint8_t *to, size_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

/* A client in an executor reads when its task lets it, perhaps in hours. What it waits for is
 * bounded by windows; this is not. */
static bool
can_be_missed(const struct message *m)
{
    switch (m->type) {
    case MESSAGE_RUNNING:
    case MESSAGE_PROGRESS:
    case MESSAGE_PARTIAL:
    case MESSAGE_OUTPUT:
    case MESSAGE_NOTICE:
        return m->client != 0;
    default:
        return false;
    }
}

/* The last message that waits, if it says the same of the grid as `m`, but earlier. */
static struct outgoing *
outdated(const struct channel *c, const struct message *m)
{
    struct outgoing *o = TAILQ_LAST(&c->out, outgoing_list);

    return m->type == MESSAGE_GRID && o != NULL && o->type == MESSAGE_GRID &&
                   o->client == m->client && o->head_at == 0
               ? o
               : NULL;
}

static struct outgoing *
new_outgoing(struct channel *c, const struct message *from)
{
    struct message m = *from;
    struct columns *columns = message_columns(&m);
    const uint8_t *header;
    size_t size = wire_encode(c->sending, from, &header);
    struct outgoing *o;

    if (size == 0 || (o = malloc(sizeof(*o) + 8 + size)) == NULL)
        return NULL;
    *o = (struct outgoing){.type = m.type, .client = m.client, .head_size = 8 + size};
    if (columns != NULL && columns->length > 0) {
        o->data = blob_ref(columns->data);
        o->at = columns->at;
        o->left = columns->length;
    }
    o->cost = sizeof(*o) + o->head_size + o->left;
    put_number(o->head, size);
    put_number(o->head + 4, o->left);
    memcpy(o->head + 8, header, size);
    return o;
}

bool
channel_send(struct channel *c, const struct message *m)
{
    bool idle = TAILQ_EMPTY(&c->out);
    struct outgoing *o, *before;

    if (c->closed || (c->waiting >= WAITING_MOST && can_be_missed(m)))
        return false;
    if ((o = new_outgoing(c, m)) == NULL) {
        condemn(c, "out of memory on its worker");
        return false;
    }
    if ((before = outdated(c, m)) != NULL)
        free_outgoing(c, before);
    TAILQ_INSERT_TAIL(&c->out, o, next);
    c->waiting += o->cost;
    if (idle)
        write_out(c);
    return before == NULL;
}

void
channel_hang_up(struct channel *c)
{
    shutdown(c->watch.fd, SHUT_WR);
}

void
channel_hold(struct channel *c, bool hold)
{
    c->hold = hold;
    update_watch(c);
}

/* ---- receiving ---------------------------------------------------------------------------------
 */

static uint32_t
get_number(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

static int
make_room(struct channel *c, size_t size)
{
    uint8_t *stage;

    if (c->begin > 0) {
        memmove(c->stage, c->stage + c->begin, c->filled - c->begin);
        c->filled -= c->begin;
        c->begin = 0;
    }
    if (size <= c->room)
        return 0;
    if ((stage = realloc(c->stage, size)) == NULL)
        return -1;
    c->stage = stage;
    c->room = size;
    return 0;
}

static int
hand_over(struct channel *c, const uint8_t *header, size_t size)
{
    struct message m;
    const char *why;
    int ok = wire_decode(c->receiving, header, size, c->data, &m, &why);

    if (ok == 0)
        c->message(c->arg, &m);
    blob_unref(c->data);
    c->data = NULL;
    c->have = 0;
    return ok;
}

/* Hand over the message in the stage: 1; 0 if it is not all there; -1 if it is none. */
static int
take_message(struct channel *c)
{
    const uint8_t *at = c->stage + c->begin;
    size_t there = c->filled - c->begin, size, length, more;

    if (there < 8)
        return make_room(c, STAGE);
    size = get_number(at);
    length = get_number(at + 4);
    if (size > LIMIT_HEADER || length > LIMIT_DATA)
        return -1;
    if (there < 8 + size)
        return make_room(c, 8 + size + STAGE);
    if (c->data == NULL && length > 0) {
        if ((c->data = blob_new(length)) == NULL)
            return -1;
        more = there - 8 - size < length ? there - 8 - size : length;
        memcpy(c->data->bytes, at + 8 + size, more);
        /* The header stays in front of what comes behind the data. */
        memmove(c->stage + c->begin + 8 + size, at + 8 + size + more, there - 8 - size - more);
        c->filled -= more;
        c->have = more;
    }
    if (c->have < length)
        return 0;
    if (hand_over(c, c->stage + c->begin + 8, size) != 0)
        return -1;
    c->begin += 8 + size;
    if (c->begin == c->filled)
        c->begin = c->filled = 0;
    return 1;
}

enum got { GOT_END, GOT_NOTHING, GOT_LESS, GOT_ALL }; /* of what a read had room for */

/* One read: to the data of the message at hand, or to the stage. */
static enum got
read_some(struct channel *c)
{
    bool direct = c->data != NULL && c->have < c->data->size;
    uint8_t *to = direct ? c->data->bytes + c->have : c->stage + c->filled;
    size_t most = direct ? c->data->size - c->have : c->room - c->filled;
    ssize_t n = recv(c->watch.fd, to, most, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? GOT_NOTHING : GOT_END;
    if (n == 0)
        return GOT_END;
    if (direct)
        c->have += (size_t)n;
    else
        c->filled += (size_t)n;
    return (size_t)n == most ? GOT_ALL : GOT_LESS;
}

/* Read once, and hand over what is whole. */
static enum got
read_messages(struct channel *c)
{
    enum got got = read_some(c);
    int took;

    if (got == GOT_END) {
        broken(c);
        return got;
    }
    while ((took = take_message(c)) > 0)
        ;
    if (took < 0) {
        condemn(c, "sent what is no message to its worker");
        return GOT_END;
    }
    return got;
}

static void
on_socket(void *arg, uint32_t events)
{
    struct channel *c = arg;

    if (events & EPOLLOUT)
        write_out(c);
    if (!c->closed && !c->hold)
        for (int i = 0; i < TURN && read_messages(c) == GOT_ALL; i++)
            ;
    else if (!c->closed && (events & (EPOLLHUP | EPOLLERR)))
        poller_unwatch(c->poller, &c->watch); /* it waits until it is read again */
}

void
channel_drain(struct channel *c)
{
    /* It may be known as closed from a failed write, and hold messages all the same. */
    while (c->fault == NULL && read_messages(c) > GOT_NOTHING)
        ;
}

/* ---- beginning and end --------------------------------------------------------------------------
 */

int
channel_open(struct channel *c, int fd)
{
    int error;

    c->watch = (struct watch){.fd = fd, .ready = on_socket, .arg = c};
    TAILQ_INIT(&c->out);
    c->room = STAGE;
    if ((c->stage = malloc(c->room)) != NULL && poller_watch(c->poller, &c->watch, EPOLLIN) == 0)
        return 0;
    error = errno;
    close(fd);
    c->watch.fd = -1;
    errno = error;
    return -1;
}

void
channel_close(struct channel *c)
{
    if (c->stage == NULL)
        return;
    poller_unwatch(c->poller, &c->watch);
    if (c->watch.fd >= 0)
        close(c->watch.fd);
    while (!TAILQ_EMPTY(&c->out))
        free_outgoing(c, TAILQ_FIRST(&c->out));
    blob_unref(c->data);
    free(c->stage);
    c->stage = NULL;
    c->watch.fd = -1;
}
