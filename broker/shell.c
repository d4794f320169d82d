#include "inside.h"

#include "../base/clock.h"
#include "../base/log.h"
#include "../net/tcp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    TURN_MESSAGES = 256, /* read in one turn of the loop, ... */
    TURN_US = 2000,      /* ... or for so long: then timers and sending have their turn */
    REFUSED_US = 250000, /* from a refusal to the end of the connection: time to read it */
    READ_US = 100000,    /* for what a lost peer had sent before */
    WEIGH_US = 250000,   /* from one look at messages without end to the next */
    RETRY_US = 10000,    /* for full pipes, whose wake-up another call may have eaten */
    LOG_LINES = 50,      /* about peers, in a second */
};

/* ---- log ----------------------------------------------------------------------------------- */

/* A storm of peers must not become a storm of lines. */
static bool
may_log(struct shell *s, int64_t now)
{
    if (now - s->lines_from >= 1000000) {
        if (s->lines > LOG_LINES)
            log_warn("and %u more such lines about peers", s->lines - LOG_LINES);
        s->lines = 0;
        s->lines_from = now;
    }
    return s->lines++ < LOG_LINES;
}

static const char *
label(const struct route *r)
{
    return r->label[0] != '\0' ? r->label : "a peer that did not say hello";
}

static void
note_hello(struct route *r, const struct message_hello *h)
{
    static const char *const roles[] = {
        [ROLE_NONE] = "peer",         [ROLE_CLIENT] = "client",     [ROLE_WORKER] = "worker",
        [ROLE_EXECUTOR] = "executor", [ROLE_OPERATOR] = "operator",
    };

    snprintf(r->name, sizeof(r->name), "%.64s", h->name);
    snprintf(r->label, sizeof(r->label), "%s %.64s (pid %llu on %.64s)",
             roles[h->role <= ROLE_OPERATOR ? h->role : ROLE_NONE], h->name,
             (unsigned long long)h->pid, h->host);
    r->is_operator = h->role == ROLE_OPERATOR;
}

/* ---- ends of connections ------------------------------------------------------------------- */

/* It broke the protocol, or cannot be served: its connection ends, nothing else does. */
static void
cut(struct shell *s, struct route *r, const char *why, int64_t now)
{
    if (may_log(s, now))
        log_warn("cut %s: %s", label(r), why);
    routes_condemn(&s->routes, r, now + REFUSED_US);
}

static void
lose(struct shell *s, struct route *r, int64_t now)
{
    routes_ended(&s->routes, r, now + READ_US);
}

static void
remove_route(struct shell *s, struct route *r, int64_t now)
{
    if (r->joined && !r->is_operator && may_log(s, now))
        log_info("%s %s", label(r), r->said_bye ? "left" : "is gone: its connection ended");
    exchange_gone(&s->exchange, r->number, now);
    routes_remove(&s->routes, r);
}

/* ---- sending ------------------------------------------------------------------------------- */

void
shell_send(struct shell *s, struct route *r, const struct message *m, int64_t now)
{
    const char *why;
    struct frames f;

    if (frames_encode(s->out, m, &f) != 0 || routes_send(&s->routes, r, &f) != 0) {
        if (errno == EHOSTUNREACH) {
            lose(s, r, now);
            return;
        }
        /* A conversation with a hole cannot go on; on a new connection it can. */
        why = errno == ENOBUFS ? "it reads too slowly" : "out of memory";
        scheduler_count_cut(s->scheduler);
        exchange_gone(&s->exchange, r->number, now);
        cut(s, r, why, now);
        return;
    }
    if (r->waiting > 0)
        scheduler_backlog(s->scheduler, r->number, r->waiting);
}

static void
refuse(struct shell *s, struct route *r, const char *why, int64_t now)
{
    struct message m = {.type = MESSAGE_REFUSED, .text = why};

    scheduler_count_cut(s->scheduler);
    exchange_gone(&s->exchange, r->number, now);
    shell_send(s, r, &m, now);
    if (r->state == ROUTE_OPEN)
        cut(s, r, why, now);
}

static void
note_output(struct shell *s, struct route *r, const struct message *m, int64_t now)
{
    if (m->client != 0) /* of a client in an executor there: nothing that concerns the connection */
        return;
    if (m->type == MESSAGE_WELCOME) {
        r->joined = true;
        if (!r->is_operator && may_log(s, now))
            log_info("%s joined%s%s", label(r), m->welcome.name[0] != '\0' ? " as " : "",
                     m->welcome.name);
    } else if (m->type == MESSAGE_BYE && r->joined && may_log(s, now)) {
        log_warn("%s is given up: %s", label(r), m->text);
    } else if (m->type == MESSAGE_REFUSED && r->state == ROUTE_OPEN && may_log(s, now)) {
        log_warn("refused %s: %s", label(r), m->text);
    }
    if (m->type == MESSAGE_BYE || m->type == MESSAGE_REFUSED) {
        if (r->joined && r->fd >= 0) /* it has as long to come back as others to come */
            gate_accepted(&s->gate, r->fd, now);
        r->joined = false;
        depot_gone(s->depot, r->number);
    }
}

void
shell_pass(void *arg, uint32_t number, const struct message *m, int64_t now)
{
    struct shell *s = arg;
    struct route *r = routes_find(&s->routes, number);

    if (r == NULL || (r->state != ROUTE_OPEN && (m->type != MESSAGE_REFUSED || m->client != 0)))
        return;
    note_output(s, r, m, now);
    log_debug("to %s: %s", label(r), message_name(m->type));
    shell_send(s, r, m, now);
    if (m->type == MESSAGE_REFUSED && m->client == 0)
        routes_condemn(&s->routes, r, now + REFUSED_US);
}

static void
flush(struct shell *s, int64_t now)
{
    struct route *r, *next;

    for (r = TAILQ_FIRST(&s->routes.waiting); r != NULL; r = next) {
        size_t before = r->waiting;

        next = TAILQ_NEXT(r, by_wait);
        if (routes_flush(&s->routes, r) != 0)
            lose(s, r, now);
        else if (r->waiting != before)
            scheduler_backlog(s->scheduler, r->number, r->waiting);
    }
}

/* ---- receiving ----------------------------------------------------------------------------- */

static void
input(struct shell *s, struct route *r, zmq_msg_t *header, struct blob *data, int64_t now)
{
    const char *why = NULL;
    struct message m;

    if (wire_decode(s->in, zmq_msg_data(header), zmq_msg_size(header), data, &m, &why) != 0) {
        refuse(s, r, errno == EPROTO && why != NULL ? why : "the broker is out of memory", now);
        return;
    }
    log_debug("from %s: %s", label(r), message_name(m.type));
    if (m.type == MESSAGE_HELLO && m.client == 0)
        note_hello(r, &m.hello);
    else if (m.type == MESSAGE_BYE && m.client == 0)
        r->said_bye = true;
    if (r->joined && depot_takes(s->depot, r->number, &m)) {
        if (depot_input(s->depot, r->number, r->name, &m) != 0)
            refuse(s, r, depot_why(s->depot), now);
        return;
    }
    if (scheduler_input(s->scheduler, r->number, &m, now) != 0)
        cut(s, r, scheduler_why(s->scheduler), now); /* counted there, as is its REFUSED put out */
}

/* 1 if there was a message, 0 if there is none, -1 if the socket is broken. */
static int
receive(struct shell *s, int64_t now)
{
    zmq_msg_t id, header;
    struct blob *data = NULL;
    struct route *r;
    int rc, error;

    zmq_msg_init(&id);
    zmq_msg_init(&header);
    rc = frames_receive(s->router, &id, &header, &data);
    error = errno;
    if (rc == 0)
        goto out;
    if (rc < 0 && error != EPROTO && error != ENOMEM)
        goto out;
    if ((r = routes_sender(&s->routes, &id, &header, now)) == NULL) {
        scheduler_count_cut(s->scheduler);
        rc = 1;
        goto out;
    }
    r->messages++;
    if (r->state != ROUTE_CONDEMNED) {
        if (rc < 0)
            refuse(s, r,
                   error == ENOMEM ? "the broker is out of memory"
                                   : "a message is a header and at most one data frame, both "
                                     "within their limits",
                   now);
        else
            input(s, r, &header, data, now);
    }
    rc = 1;
out:
    blob_unref(data);
    zmq_msg_close(&id);
    zmq_msg_close(&header);
    errno = error;
    return rc;
}

static int
receive_all(struct shell *s, int64_t now)
{
    struct route *r, *next;
    int rc = 1;

    for (int i = 0; i < TURN_MESSAGES && rc > 0 && !(i % 16 == 15 && clock_us() - now > TURN_US);
         i++)
        rc = receive(s, now);
    if (rc < 0)
        return errno == EINTR ? 0 : -1;
    if (rc > 0)
        return 0;
    /* Nothing is left to be read: so it is of those whose connection had ended. */
    for (r = TAILQ_FIRST(&s->routes.timed); r != NULL; r = next) {
        next = TAILQ_NEXT(r, by_time);
        if (r->state == ROUTE_ENDED)
            remove_route(s, r, now);
    }
    return 0;
}

static void
monitored(struct shell *s, int event, int32_t value, int64_t now)
{
    switch (event) {
    case ZMQ_EVENT_LISTENING:
        gate_listening(&s->gate, value);
        break;
    case ZMQ_EVENT_ACCEPTED:
        gate_accepted(&s->gate, value, now);
        break;
    case ZMQ_EVENT_DISCONNECTED:
        gate_ended(&s->gate, value);
        routes_fd_ended(&s->routes, value, now);
        break;
    case ZMQ_EVENT_ACCEPT_FAILED:
        if (value == EMFILE)
            gate_failed(&s->gate, now);
        else if (may_log(s, now))
            log_warn("cannot accept a connection: %s", strerror(value));
        break;
    default:
        break;
    }
}

static void
read_monitor(struct shell *s, int64_t now)
{
    zmq_msg_t m;

    zmq_msg_init(&m);
    for (int i = 0; i < TURN_MESSAGES && zmq_msg_recv(&m, s->monitor, ZMQ_DONTWAIT) >= 0; i++) {
        uint16_t event = 0;
        int32_t value = -1;

        if (zmq_msg_size(&m) >= 6 && zmq_msg_more(&m)) {
            memcpy(&event, zmq_msg_data(&m), 2);
            memcpy(&value, (const char *)zmq_msg_data(&m) + 2, 4);
        }
        while (zmq_msg_more(&m) && zmq_msg_recv(&m, s->monitor, ZMQ_DONTWAIT) >= 0)
            continue; /* the endpoint */
        monitored(s, event, value, now);
    }
    zmq_msg_close(&m);
}

/* ---- the loop ------------------------------------------------------------------------------ */

static void
probe(struct shell *s, struct route *r, int64_t now)
{
    struct message beat = {.type = MESSAGE_BEAT};

    routes_probed(&s->routes, r, now);
    if (r->waiting > 0) { /* a beat would only queue behind it */
        if (routes_flush(&s->routes, r) != 0)
            lose(s, r, now);
        return;
    }
    shell_send(s, r, &beat, now);
}

static void
timers(struct shell *s, int64_t now)
{
    struct route *r, *next;

    if (s->routes.sweep_at <= now)
        routes_sweep(&s->routes, now);
    if (s->routes.due > now)
        return;
    for (r = TAILQ_FIRST(&s->routes.timed); r != NULL; r = next) {
        next = TAILQ_NEXT(r, by_time);
        if (r->probe_at <= now)
            probe(s, r, now);
        if (r->end_at > now)
            continue;
        if (r->state == ROUTE_ENDED)
            remove_route(s, r, now);
        else
            routes_shut(&s->routes, r, now);
    }
    routes_settle(&s->routes);
}

static bool
is_welcome(void *arg, int fd, ino_t inode)
{
    struct shell *s = arg;
    const struct route *r = routes_find_fd(&s->routes, fd);

    return r != NULL && r->inode == inode && r->joined;
}

/* Who sends something large over a slow link has not been heard for long, but lives. */
static void
hear_bytes(struct shell *s, int64_t now)
{
    uint32_t number, next;

    for (number = scheduler_silent(s->scheduler, 0, now); number != 0; number = next) {
        const struct route *r = routes_find(&s->routes, number);

        next = scheduler_silent(s->scheduler, number, now);
        if (r != NULL && r->fd >= 0)
            scheduler_heard(s->scheduler, number, tcp_heard(r->fd, now));
    }
}

static void
watch_gate(struct shell *s, int64_t now)
{
    unsigned n = gate_tick(&s->gate, is_welcome, s, now);

    if (now >= s->weigh_at) {
        s->weigh_at = now + WEIGH_US;
        n += hoard_check(&s->hoard, &s->routes);
    }
    if (n > 0 && may_log(s, now))
        log_warn("cut %u connections: they sent no hello, or a message without end", n);
    while (n-- > 0)
        scheduler_count_cut(s->scheduler);
}

static int
events(void *socket)
{
    int events = 0;
    size_t size = sizeof(events);

    zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size);
    return events;
}

static int64_t
deadline(struct shell *s, int64_t now)
{
    int64_t at = scheduler_deadline(s->scheduler), kept = depot_deadline(s->depot);

    at = kept < at ? kept : at;
    if (!TAILQ_EMPTY(&s->routes.waiting) && at > now + RETRY_US)
        at = now + RETRY_US;
    if (at > s->routes.due)
        at = s->routes.due;
    if (at > s->routes.sweep_at)
        at = s->routes.sweep_at;
    if (at > gate_deadline(&s->gate))
        at = gate_deadline(&s->gate);
    if (at > s->weigh_at && !TAILQ_EMPTY(&s->routes.all))
        at = s->weigh_at;
    /* ZMQ_FD tells of changes only: what is there already must be asked for before each sleep. */
    if (((events(s->router) | events(s->monitor)) & ZMQ_POLLIN) != 0)
        at = 0;
    return at;
}

int
shell_run(struct shell *s)
{
    int64_t now;

    while (!s->stop) {
        now = clock_us();
        if (poller_wait(s->poller, clock_poll_timeout(deadline(s, now), now)) < 0)
            return -1;
        now = clock_us();
        read_monitor(s, now);
        if (receive_all(s, now) != 0)
            return -1;
        timers(s, now);
        watch_gate(s, now);
        flush(s, now);
        hear_bytes(s, now);
        if (exchange_turn(&s->exchange, now, time(NULL)) != 0) {
            log_error("%s", depot_why(s->depot));
            errno = EIO;
            return -1;
        }
    }
    return 0;
}
