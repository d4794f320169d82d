#include "routes.h"

#include "../base/clock.h"
#include "lines.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PARCEL_COST 256 /* bytes that a message in an outbox counts beside its own */
#define SWEEP_EVERY 100000

struct parcel {
    struct frames frames;
    TAILQ_ENTRY(parcel) link;
};

void
routes_init(struct routes *self, void *socket)
{
    *self = (struct routes){.socket = socket, .due = CLOCK_NEVER, .sweep_at = CLOCK_NEVER};
    TAILQ_INIT(&self->all);
    TAILQ_INIT(&self->waiting);
    TAILQ_INIT(&self->timed);
}

void
routes_clear(struct routes *self)
{
    struct route *r;

    while ((r = TAILQ_FIRST(&self->all)) != NULL)
        routes_remove(self, r);
    table_clear(&self->by_id);
    table_clear(&self->by_number);
    table_clear(&self->by_fd);
}

/* ---- identity ------------------------------------------------------------------------------ */

/* ROUTER makes its ids of a zero and a number, which it counts up. */
static uint64_t
number_of(const uint8_t *id)
{
    return (uint64_t)id[1] << 24 | (uint64_t)id[2] << 16 | (uint64_t)id[3] << 8 | id[4];
}

static void
forget_fd(struct routes *self, struct route *r)
{
    if (r->fd >= 0)
        table_remove(&self->by_fd, (uint64_t)r->fd, r);
    r->fd = -1;
}

/* The descriptor of the connection that `message` came by: the only name of a connection that the
 * monitor knows too. */
static void
learn_fd(struct routes *self, struct route *r, zmq_msg_t *message, int64_t now)
{
    int fd = zmq_msg_get(message, ZMQ_SRCFD);
    struct route *old;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode))
        return;
    if ((old = routes_find_fd(self, fd)) !=
        NULL) { /* a number is given again once its connection has ended */
        forget_fd(self, old);
        routes_suspect(self, old, now);
    }
    if (table_add(&self->by_fd, (uint64_t)fd, r) != 0)
        return; /* it will be swept */
    r->fd = fd;
    r->inode = st.st_ino;
}

static struct route *
add(struct routes *self, const uint8_t *id, zmq_msg_t *message, int64_t now)
{
    struct route *r;

    if ((r = lines_new(sizeof(*r))) == NULL)
        return NULL;
    memcpy(r->id, id, ROUTING_ID);
    r->number = ++self->last_number;
    r->fd = -1;
    r->probe_at = r->end_at = CLOCK_NEVER;
    TAILQ_INIT(&r->outbox);
    if (table_add(&self->by_id, number_of(id), r) != 0)
        goto fail;
    if (table_add(&self->by_number, r->number, r) != 0) {
        table_remove(&self->by_id, number_of(id), r);
        goto fail;
    }
    TAILQ_INSERT_TAIL(&self->all, r, link);
    learn_fd(self, r, message, now);
    return r;
fail:
    free(r);
    errno = ENOMEM;
    return NULL;
}

struct route *
routes_sender(struct routes *self, zmq_msg_t *id, zmq_msg_t *message, int64_t now)
{
    const uint8_t *bytes = zmq_msg_data(id);
    struct route *r;

    if (zmq_msg_size(id) != ROUTING_ID || bytes[0] != 0) {
        errno = EINVAL;
        return NULL;
    }
    r = table_find(&self->by_id, number_of(bytes));
    return r != NULL ? r : add(self, bytes, message, now);
}

struct route *
routes_find(const struct routes *self, uint32_t number)
{
    return table_find(&self->by_number, number);
}

struct route *
routes_find_fd(const struct routes *self, int fd)
{
    return table_find(&self->by_fd, (uint64_t)fd);
}

/* ---- outbox -------------------------------------------------------------------------------- */

static void
drop_first(struct routes *self, struct route *r)
{
    struct parcel *parcel = TAILQ_FIRST(&r->outbox);

    TAILQ_REMOVE(&r->outbox, parcel, link);
    r->waiting -= parcel->frames.bytes + PARCEL_COST;
    if (TAILQ_EMPTY(&r->outbox))
        TAILQ_REMOVE(&self->waiting, r, by_wait);
    free(parcel);
}

static void
empty_outbox(struct routes *self, struct route *r)
{
    struct parcel *parcel;

    while ((parcel = TAILQ_FIRST(&r->outbox)) != NULL) {
        frames_close(&parcel->frames);
        drop_first(self, r);
    }
}

void
routes_remove(struct routes *self, struct route *r)
{
    empty_outbox(self, r);
    forget_fd(self, r);
    if (r->timed)
        TAILQ_REMOVE(&self->timed, r, by_time);
    TAILQ_REMOVE(&self->all, r, link);
    table_remove(&self->by_id, number_of(r->id), r);
    table_remove(&self->by_number, r->number, r);
    free(r);
}

/* 0, or -1 with EAGAIN or EHOSTUNREACH: both come with the routing id, before anything is sent. */
static int
pass_on(struct routes *self, struct route *r, struct frames *f)
{
    int rc;

    do
        rc = zmq_send(self->socket, r->id, ROUTING_ID, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    while (rc < 0 && zmq_errno() == EINTR);
    if (rc < 0) {
        errno = zmq_errno();
        return -1;
    }
    do /* the pipe took the id, so it takes the rest */
        rc = frames_send(f, self->socket);
    while (rc != 0 && zmq_errno() == EINTR);
    assert(rc == 0);
    return 0;
}

static int
keep(struct routes *self, struct route *r, struct frames *f)
{
    struct parcel *parcel;

    if (r->waiting + f->bytes > OUTBOX_LIMIT) {
        errno = ENOBUFS;
        return -1;
    }
    if ((parcel = calloc(1, sizeof(*parcel))) == NULL)
        return -1;
    zmq_msg_init(&parcel->frames.header);
    zmq_msg_init(&parcel->frames.data);
    zmq_msg_move(&parcel->frames.header, &f->header);
    if (f->has_data)
        zmq_msg_move(&parcel->frames.data, &f->data);
    parcel->frames.has_data = f->has_data;
    parcel->frames.bytes = f->bytes;
    if (TAILQ_EMPTY(&r->outbox))
        TAILQ_INSERT_TAIL(&self->waiting, r, by_wait);
    TAILQ_INSERT_TAIL(&r->outbox, parcel, link);
    r->waiting += f->bytes + PARCEL_COST;
    frames_close(f);
    return 0;
}

int
routes_send(struct routes *self, struct route *r, struct frames *f)
{
    int error;

    if (TAILQ_EMPTY(&r->outbox) && pass_on(self, r, f) == 0)
        return 0;
    if ((TAILQ_EMPTY(&r->outbox) && errno != EAGAIN) || keep(self, r, f) != 0) {
        error = errno;
        frames_close(f);
        errno = error;
        return -1;
    }
    return 0;
}

int
routes_flush(struct routes *self, struct route *r)
{
    struct parcel *parcel;

    while ((parcel = TAILQ_FIRST(&r->outbox)) != NULL) {
        if (pass_on(self, r, &parcel->frames) != 0)
            return errno == EAGAIN ? 0 : -1;
        drop_first(self, r);
    }
    return 0;
}

/* ---- ends ---------------------------------------------------------------------------------- */

static void
set_times(struct routes *self, struct route *r, int64_t probe_at, int64_t end_at)
{
    r->probe_at = probe_at;
    r->end_at = end_at;
    if (!r->timed) {
        r->timed = true;
        TAILQ_INSERT_TAIL(&self->timed, r, by_time);
    }
    if (probe_at < self->due)
        self->due = probe_at;
    if (end_at < self->due)
        self->due = end_at;
}

void
routes_suspect(struct routes *self, struct route *r, int64_t now)
{
    if (r->state == ROUTE_ENDED)
        return;
    r->probes = 0;
    set_times(self, r, now, r->end_at);
}

void
routes_probed(struct routes *self, struct route *r, int64_t now)
{
    static const int64_t waits[] = {5000, 20000, 100000};

    if (r->probes < sizeof(waits) / sizeof(*waits))
        set_times(self, r, now + waits[r->probes++], r->end_at);
    else
        set_times(self, r, CLOCK_NEVER, r->end_at);
}

void
routes_fd_ended(struct routes *self, int fd, int64_t now)
{
    struct route *r = routes_find_fd(self, fd);

    if (r != NULL)
        routes_suspect(self, r, now);
    else if (self->sweep_at == CLOCK_NEVER)
        self->sweep_at = now < self->swept + SWEEP_EVERY ? self->swept + SWEEP_EVERY : now;
}

void
routes_sweep(struct routes *self, int64_t now)
{
    struct route *r;

    self->sweep_at = CLOCK_NEVER;
    self->swept = now;
    TAILQ_FOREACH (r, &self->all, link) {
        if (r->fd < 0)
            routes_suspect(self, r, now);
    }
}

void
routes_condemn(struct routes *self, struct route *r, int64_t shut_at)
{
    if (r->state != ROUTE_OPEN)
        return;
    r->state = ROUTE_CONDEMNED;
    set_times(self, r, r->probe_at, shut_at);
}

void
routes_ended(struct routes *self, struct route *r, int64_t remove_at)
{
    if (r->state == ROUTE_ENDED)
        return;
    r->state = ROUTE_ENDED;
    empty_outbox(self, r);
    forget_fd(self, r);
    set_times(self, r, CLOCK_NEVER, remove_at);
}

void
routes_shut(struct routes *self, struct route *r, int64_t now)
{
    struct stat st;

    assert(r->state == ROUTE_CONDEMNED);
    empty_outbox(self, r);
    if (r->fd >= 0 && fstat(r->fd, &st) == 0 && st.st_ino == r->inode)
        shutdown(r->fd, SHUT_RDWR);
    r->probes = 0;
    set_times(self, r, now + 1000, CLOCK_NEVER);
}

void
routes_settle(struct routes *self)
{
    struct route *r, *next;

    self->due = CLOCK_NEVER;
    for (r = TAILQ_FIRST(&self->timed); r != NULL; r = next) {
        int64_t first = r->probe_at < r->end_at ? r->probe_at : r->end_at;

        next = TAILQ_NEXT(r, by_time);
        if (first == CLOCK_NEVER) {
            r->timed = false;
            TAILQ_REMOVE(&self->timed, r, by_time);
        } else if (first < self->due) {
            self->due = first;
        }
    }
}
