#include "talker.h"

#include "../../base/clock.h"
#include "../../net/frames.h"
#include "../../net/link.h"
#include "../../proto/limits.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

struct talker {
    struct poller *poller;
    struct link *link;
    struct message message;
    bool up, down;
};

static void
turn(struct talker *t, int64_t until)
{
    int64_t now = clock_us(), at;
    enum link_event event;
    bool news = false;

    link_tick(t->link, now);
    while ((event = link_event(t->link)) != LINK_NONE) {
        t->up = t->up || event == LINK_UP;
        t->down = t->down || event == LINK_DOWN;
        news = true;
    }
    at = link_deadline(t->link);
    if (!news && at > 0)
        poller_wait(t->poller, clock_poll_timeout(at < until ? at : until, now));
}

struct talker *
talker_new(const char *endpoint)
{
    struct talker *t = calloc(1, sizeof(*t));
    int64_t until = clock_us() + SOON * 1000;

    assert_non_null(t);
    assert_non_null(t->poller = poller_new());
    assert_non_null(t->link = link_new(t->poller, endpoint, clock_us()));
    while (!t->up && clock_us() < until)
        turn(t, until);
    assert_true(t->up);
    return t;
}

void
talker_free(struct talker *t)
{
    if (t == NULL)
        return;
    link_free(t->link, 100);
    poller_free(t->poller);
    free(t);
}

void
talker_send(struct talker *t, const struct message *m)
{
    int64_t until = clock_us() + SOON * 1000;

    assert_int_equal(link_send(t->link, m), 0);
    while (link_backlog(t->link) > 0 && clock_us() < until)
        turn(t, until);
    assert_int_equal(link_backlog(t->link), 0);
}

const struct message *
talker_await(struct talker *t, enum message_type type, int ms)
{
    int64_t until = clock_us() + (int64_t)ms * 1000;
    const char *why;

    do {
        turn(t, until);
        while (link_receive(t->link, &t->message, &why) == 1)
            if (t->message.type == type)
                return &t->message;
    } while (!t->down && clock_us() < until);
    return NULL;
}

bool
talker_await_down(struct talker *t, int ms)
{
    int64_t until = clock_us() + (int64_t)ms * 1000;
    const char *why;

    while (!t->down && clock_us() < until) {
        turn(t, until);
        while (link_receive(t->link, &t->message, &why) != 0)
            continue;
    }
    return t->down;
}

struct message
talker_hello(enum role role, const char *name, uint32_t slots)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = role,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "ladle test",
                                  .name = name,
                                  .host = "here",
                                  .pid = (uint64_t)getpid(),
                                  .window = role == ROLE_WORKER ? WINDOW_WORKER : WINDOW_RESULT,
                                  .slots = slots,
                                  .machine = "x86_64",
                                  .labels = ""}};

    assert_int_equal(getrandom(m.hello.session, sizeof(m.hello.session), 0),
                     sizeof(m.hello.session));
    return m;
}

void
talker_join(struct talker *t, enum role role, const char *name, uint32_t slots)
{
    struct message hello = talker_hello(role, name, slots);

    talker_send(t, &hello);
    assert_non_null(talker_await(t, MESSAGE_WELCOME, SOON));
}

void
talker_submit(struct talker *t, uint64_t job, const char *function, uint32_t count, uint32_t size)
{
    struct spec spec = {.program = {.digest = "0123456789abcdef0123456789abcdef"
                                              "0123456789abcdef0123456789abcdef",
                                    .name = "test",
                                    .machine = "x86_64",
                                    .arguments = "test",
                                    .arguments_size = 5,
                                    .size = 1000},
                        .function = function,
                        .name = "",
                        .needs = "",
                        .retries = 2,
                        .cpus = 1};
    struct message m = {.type = MESSAGE_JOB, .job = {.job = job, .spec = &spec}};
    struct blob *data = blob_new((size_t)count * size);

    assert_non_null(data);
    memset(data->bytes, 7, data->size);
    talker_send(t, &m);
    m = (struct message){
        .type = MESSAGE_INPUTS,
        .inputs = {.job = job,
                   .columns = {.count = count, .size = size, .data = data, .length = data->size}}};
    talker_send(t, &m);
    m = (struct message){.type = MESSAGE_JOB_END, .job_end = {.job = job, .total = count}};
    talker_send(t, &m);
    blob_unref(data);
}

/* ---- a bare DEALER ----------------------------------------------------------------------------
 */

struct dealer {
    void *context, *socket, *monitor;
    struct arena *arena;
    struct message message;
    zmq_msg_t header;
};

struct dealer *
dealer_new(const char *endpoint, const char *identity)
{
    struct dealer *d = calloc(1, sizeof(*d));
    int never = -1, zero = 0;

    assert_non_null(d);
    zmq_msg_init(&d->header);
    assert_non_null(d->arena = arena_new());
    assert_non_null(d->context = zmq_ctx_new());
    assert_non_null(d->socket = zmq_socket(d->context, ZMQ_DEALER));
    zmq_setsockopt(d->socket, ZMQ_RECONNECT_IVL, &never, sizeof(never));
    zmq_setsockopt(d->socket, ZMQ_LINGER, &zero, sizeof(zero));
    if (identity != NULL)
        zmq_setsockopt(d->socket, ZMQ_ROUTING_ID, identity, strlen(identity));
    assert_int_equal(zmq_socket_monitor(d->socket, "inproc://dealer",
                                        ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED),
                     0);
    assert_non_null(d->monitor = zmq_socket(d->context, ZMQ_PAIR));
    assert_int_equal(zmq_connect(d->monitor, "inproc://dealer"), 0);
    assert_int_equal(zmq_connect(d->socket, endpoint), 0);
    return d;
}

void
dealer_free(struct dealer *d)
{
    zmq_msg_close(&d->header);
    zmq_socket_monitor(d->socket, NULL, 0);
    zmq_close(d->socket);
    zmq_close(d->monitor);
    zmq_ctx_term(d->context);
    arena_free(d->arena);
    free(d);
}

void
dealer_send(struct dealer *d, const void *frame, size_t size, bool more)
{
    assert_int_equal(zmq_send(d->socket, frame, size, more ? ZMQ_SNDMORE : 0), (int)size);
}

const char *
dealer_await_refused(struct dealer *d, int ms)
{
    int64_t until = clock_us() + (int64_t)ms * 1000;
    const char *why;

    while (clock_us() < until) {
        zmq_pollitem_t item = {.socket = d->socket, .events = ZMQ_POLLIN};

        if (zmq_poll(&item, 1, clock_poll_timeout(until, clock_us())) <= 0)
            continue;
        if (zmq_msg_recv(&d->header, d->socket, ZMQ_DONTWAIT) < 0)
            continue;
        if (wire_decode(d->arena, zmq_msg_data(&d->header), zmq_msg_size(&d->header), NULL,
                        &d->message, &why) == 0 &&
            d->message.type == MESSAGE_REFUSED)
            return d->message.text;
    }
    return NULL;
}

bool
dealer_await_down(struct dealer *d, int ms)
{
    int64_t until = clock_us() + (int64_t)ms * 1000;

    while (clock_us() < until) {
        zmq_pollitem_t item = {.socket = d->monitor, .events = ZMQ_POLLIN};
        uint16_t event = 0;
        zmq_msg_t m;

        if (zmq_poll(&item, 1, clock_poll_timeout(until, clock_us())) <= 0)
            continue;
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, d->monitor, ZMQ_DONTWAIT) >= 2)
            memcpy(&event, zmq_msg_data(&m), sizeof(event));
        while (zmq_msg_more(&m) && zmq_msg_recv(&m, d->monitor, ZMQ_DONTWAIT) >= 0)
            continue;
        zmq_msg_close(&m);
        if (event == ZMQ_EVENT_DISCONNECTED)
            return true;
    }
    return false;
}
