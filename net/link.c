#include "link.h"

#include "../base/clock.h"
#include "endpoint.h"
#include "frames.h"
#include "redial.h"
#include "tcp.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/random.h>

enum {
    /* ZeroMQ's own reconnection comes too late to happen. Turning it off (-1), or ZMQ_IMMEDIATE,
     * makes libzmq throw away what had arrived when the connection ends: a REFUSED, say. */
    NEVER_MS = 24 * 3600 * 1000,
};

struct parcel {
    struct frames frames;
    STAILQ_ENTRY(parcel) next;
};

enum state {
    DOWN,       /* no socket */
    CONNECTING, /* a socket that has not said yet whether it can */
    UP,         /* a ZeroMQ peer answered */
    BROKEN      /* the connection ended; what had arrived is still to be read */
};

struct link {
    struct poller *poller;
    char *endpoint;
    bool ipv6;
    struct arena *arena;
    void *context, *socket, *monitor;
    unsigned sockets; /* so far: their monitors need names of their own */
    struct watch socket_watch, monitor_watch;

    enum state state;
    int fd; /* of its connection; -1: there is none */
    struct redial redial;

    unsigned connection; /* number of the last that came up */
    unsigned told;       /* number of the one the owner believes in; 0: none */

    STAILQ_HEAD(parcels, parcel) backlog;
    size_t backlog_bytes;

    zmq_msg_t header; /* of the last message */
    struct blob *data;
    char why[256];
};

static bool
can(void *socket, int event)
{
    int events;
    size_t size = sizeof(events);

    /* Also makes ZeroMQ take note of what its I/O thread sent, which calms ZMQ_FD. */
    return zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0 && (events & event);
}

static void
drop_backlog(struct link *l)
{
    struct parcel *p;

    while ((p = STAILQ_FIRST(&l->backlog)) != NULL) {
        STAILQ_REMOVE_HEAD(&l->backlog, next);
        frames_close(&p->frames);
        free(p);
    }
    l->backlog_bytes = 0;
}

static void
close_socket(struct link *l, int linger_ms)
{
    l->fd = -1;
    if (l->monitor != NULL) {
        poller_unwatch(l->poller, &l->monitor_watch);
        zmq_socket_monitor(l->socket, NULL, 0);
        zmq_close(l->monitor);
        l->monitor = NULL;
    }
    if (l->socket != NULL) {
        poller_unwatch(l->poller, &l->socket_watch);
        zmq_setsockopt(l->socket, ZMQ_LINGER, &linger_ms, sizeof(linger_ms));
        zmq_close(l->socket);
        l->socket = NULL;
    }
}

static void
go_down(struct link *l, int64_t now)
{
    close_socket(l, 0);
    drop_backlog(l);
    l->state = DOWN;
    redial_over(&l->redial, now);
}

static int
set(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof(value));
}

/* The file descriptor that says that `socket` has news, not which. */
static int
watch_socket(struct link *l, void *socket, struct watch *w)
{
    size_t size = sizeof(w->fd);

    return zmq_getsockopt(socket, ZMQ_FD, &w->fd, &size) != 0 ||
                   poller_watch(l->poller, w, EPOLLIN) != 0
               ? -1
               : 0;
}

static int
open_socket(struct link *l)
{
    char monitor[64];

    snprintf(monitor, sizeof(monitor), "inproc://monitor-%u", ++l->sockets);
    if ((l->socket = zmq_socket(l->context, ZMQ_DEALER)) == NULL ||
        frames_configure(l->socket) != 0 || set(l->socket, ZMQ_RECONNECT_IVL, NEVER_MS) != 0 ||
        set(l->socket, ZMQ_CONNECT_TIMEOUT, REDIAL_CONNECT_MS) != 0 ||
        set(l->socket, ZMQ_IPV6, l->ipv6) != 0 ||
        zmq_socket_monitor(
            l->socket, monitor,
            ZMQ_EVENT_CONNECT_DELAYED | ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) != 0 ||
        (l->monitor = zmq_socket(l->context, ZMQ_PAIR)) == NULL ||
        set(l->monitor, ZMQ_LINGER, 0) != 0 || zmq_connect(l->monitor, monitor) != 0 ||
        watch_socket(l, l->monitor, &l->monitor_watch) != 0 ||
        watch_socket(l, l->socket, &l->socket_watch) != 0)
        return -1;
    return zmq_connect(l->socket, l->endpoint);
}

static void
connect_now(struct link *l, int64_t now)
{
    redial_begin(&l->redial, now);
    l->state = CONNECTING;
    if (open_socket(l) != 0) /* out of descriptors or memory: they may come back */
        go_down(l, now);
}

static void
monitor_event(struct link *l, int event, int32_t value)
{
    switch (event) {
    case ZMQ_EVENT_CONNECTED:
        l->fd = value;
        /* fall through */
    case ZMQ_EVENT_CONNECT_DELAYED:
        redial_reached(&l->redial);
        break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        if (l->state == CONNECTING) {
            l->state = UP;
            redial_answered(&l->redial);
            if (++l->connection == 0) /* 0: none */
                l->connection++;
        }
        break;
    default:
        l->fd = -1;
        l->state = BROKEN;
    }
}

/* What the monitor has to say. It decides nothing that closes sockets: callbacks come here. */
static void
look(struct link *l)
{
    zmq_msg_t part;
    uint16_t event;
    int32_t value;
    int size;

    if (l->monitor == NULL)
        return;
    zmq_msg_init(&part);
    /* Each event has two parts: {u16 event, u32 value}, and an address. */
    while ((size = zmq_msg_recv(&part, l->monitor, ZMQ_DONTWAIT)) >= 0 || errno == EINTR) {
        if (size < (int)(sizeof(event) + sizeof(value)) || !zmq_msg_more(&part))
            continue;
        memcpy(&event, zmq_msg_data(&part), sizeof(event));
        memcpy(&value, (const char *)zmq_msg_data(&part) + sizeof(event), sizeof(value));
        monitor_event(l, event, value);
    }
    zmq_msg_close(&part);
}

static void
monitor_ready(void *arg, uint32_t events)
{
    (void)events;
    look(arg);
}

static void
socket_ready(void *arg, uint32_t events)
{
    struct link *l = arg;

    (void)events;
    can(l->socket, ZMQ_POLLIN); /* the owner asks link_deadline() before it sleeps */
}

struct link *
link_new(struct poller *poller, const char *endpoint, int64_t now)
{
    struct link *l;
    struct endpoint e;
    uint32_t random;
    char why[8];

    if (endpoint_parse(endpoint, &e, why, sizeof(why)) != 0) {
        errno = EINVAL;
        return NULL;
    }
    if ((l = calloc(1, sizeof(*l))) == NULL)
        return NULL;
    l->fd = -1;
    STAILQ_INIT(&l->backlog);
    zmq_msg_init(&l->header);
    l->poller = poller;
    l->ipv6 = e.ipv6;
    l->socket_watch = (struct watch){.ready = socket_ready, .arg = l};
    l->monitor_watch = (struct watch){.ready = monitor_ready, .arg = l};
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
        random = (uint32_t)now;
    redial_init(&l->redial, random, now);
    if ((l->endpoint = strdup(endpoint)) == NULL || (l->arena = arena_new()) == NULL ||
        (l->context = zmq_ctx_new()) == NULL) {
        link_free(l, 0);
        return NULL;
    }
    connect_now(l, now);
    return l;
}

/* 0 if nothing is left. */
static int
flush(struct link *l)
{
    struct parcel *p;

    while ((p = STAILQ_FIRST(&l->backlog)) != NULL) {
        if (frames_send(&p->frames, l->socket) != 0)
            return -1;
        STAILQ_REMOVE_HEAD(&l->backlog, next);
        l->backlog_bytes -= p->frames.bytes;
        frames_close(&p->frames);
        free(p);
    }
    return 0;
}

static int
linger(struct link *l, int linger_ms)
{
    int64_t now = clock_us(), end = now + (int64_t)linger_ms * 1000;

    look(l);
    if (l->state != UP)
        return 0;
    while (flush(l) != 0 && l->state == UP && (now = clock_us()) < end) {
        zmq_pollitem_t items[] = {{.socket = l->socket, .events = ZMQ_POLLOUT},
                                  {.socket = l->monitor, .events = ZMQ_POLLIN}};

        zmq_poll(items, 2, clock_poll_timeout(end, now));
        look(l);
    }
    now = clock_us();
    return now < end ? clock_poll_timeout(end, now) : 0;
}

void
link_free(struct link *l, int linger_ms)
{
    int error = errno;

    if (l == NULL)
        return;
    if (l->context != NULL) {
        close_socket(l, linger_ms > 0 ? linger(l, linger_ms) : 0);
        while (zmq_ctx_term(l->context) != 0 && errno == EINTR)
            continue;
    }
    drop_backlog(l);
    zmq_msg_close(&l->header);
    blob_unref(l->data);
    arena_free(l->arena);
    free(l->endpoint);
    free(l);
    errno = error;
}

/* A broken connection counts as up until all that came has been read. */
static enum link_event
untold(const struct link *l)
{
    if (l->told != 0 && (!l->redial.answered || l->told != l->connection))
        return LINK_DOWN;
    return l->told == 0 && l->state == UP ? LINK_UP : LINK_NONE;
}

enum link_event
link_event(struct link *l)
{
    enum link_event event;

    look(l);
    if ((event = untold(l)) != LINK_NONE)
        l->told = event == LINK_UP ? l->connection : 0;
    return event;
}

bool
link_is_up(const struct link *l)
{
    /* A connection that the owner has not heard of is not up for it: it would not say hello. */
    return l->state == UP && l->told == l->connection;
}

int
link_send(struct link *l, const struct message *m)
{
    struct frames frames;
    struct parcel *p;

    if (!link_is_up(l)) {
        errno = ENOTCONN;
        return -1;
    }
    if (frames_encode(l->arena, m, &frames) != 0)
        return -1;
    if (STAILQ_EMPTY(&l->backlog) && frames_send(&frames, l->socket) == 0) {
        frames_close(&frames);
        return 0;
    }
    if ((p = malloc(sizeof(*p))) == NULL) {
        frames_close(&frames);
        return -1;
    }
    /* A zmq_msg_t must not be copied by hand. */
    zmq_msg_init(&p->frames.header);
    zmq_msg_move(&p->frames.header, &frames.header);
    if ((p->frames.has_data = frames.has_data)) {
        zmq_msg_init(&p->frames.data);
        zmq_msg_move(&p->frames.data, &frames.data);
    }
    p->frames.bytes = frames.bytes;
    frames_close(&frames);
    STAILQ_INSERT_TAIL(&l->backlog, p, next);
    l->backlog_bytes += p->frames.bytes;
    return 0;
}

int64_t
link_heard(struct link *l, int64_t now)
{
    look(l);
    return l->state == UP && l->fd >= 0 ? tcp_heard(l->fd, now) : INT64_MIN;
}

size_t
link_backlog(const struct link *l)
{
    return l->backlog_bytes;
}

int
link_receive(struct link *l, struct message *m, const char **why)
{
    int rc;

    if (l->socket == NULL || l->state == CONNECTING)
        return 0;
    blob_unref(l->data);
    l->data = NULL;
    rc = frames_receive(l->socket, NULL, &l->header, &l->data);
    if (rc > 0)
        return wire_decode(l->arena, zmq_msg_data(&l->header), zmq_msg_size(&l->header), l->data, m,
                           why) == 0
                   ? 1
                   : -1;
    if (rc < 0) {
        snprintf(l->why, sizeof(l->why), "cannot receive: %s",
                 errno == EPROTO ? "too many or too large frames" : zmq_strerror(errno));
        *why = l->why;
    }
    return rc;
}

void
link_tick(struct link *l, int64_t now)
{
    look(l);
    if (l->state == UP)
        flush(l);
    if (l->state == BROKEN && !can(l->socket, ZMQ_POLLIN))
        go_down(l, now);
    else if (l->state == CONNECTING && now >= redial_deadline(&l->redial))
        go_down(l, now);
    if (l->state == DOWN && now >= redial_deadline(&l->redial))
        connect_now(l, now);
}

int64_t
link_deadline(const struct link *l)
{
    if (untold(l) != LINK_NONE || l->state == BROKEN ||
        (l->monitor != NULL && can(l->monitor, ZMQ_POLLIN)))
        return 0;
    if (l->state != UP)
        return redial_deadline(&l->redial);
    if (can(l->socket, ZMQ_POLLIN) || (!STAILQ_EMPTY(&l->backlog) && can(l->socket, ZMQ_POLLOUT)))
        return 0;
    return CLOCK_NEVER;
}

void
link_restart(struct link *l, int64_t now)
{
    look(l);
    if (l->state != DOWN)
        go_down(l, now);
}
