#include "impostor.h"

#include "../../net/frames.h"
#include "../../proto/limits.h"
#include "harness.h"

#include <stdlib.h>

struct impostor {
    struct arena *arena;
    void *context, *router;
    zmq_msg_t id, header;
    struct blob *data;
    struct message message;
};

struct impostor *
impostor_new(char endpoint[256])
{
    struct impostor *i = calloc(1, sizeof(*i));
    int mandatory = 1;
    size_t size = 256;

    assert_non_null(i);
    assert_non_null(i->arena = arena_new());
    assert_non_null(i->context = zmq_ctx_new());
    assert_non_null(i->router = zmq_socket(i->context, ZMQ_ROUTER));
    assert_int_equal(frames_configure(i->router), 0);
    zmq_setsockopt(i->router, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof(mandatory));
    assert_int_equal(zmq_bind(i->router, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(i->router, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    zmq_msg_init(&i->id);
    zmq_msg_init(&i->header);
    return i;
}

void
impostor_free(struct impostor *i)
{
    if (i == NULL)
        return;
    zmq_msg_close(&i->id);
    zmq_msg_close(&i->header);
    blob_unref(i->data);
    zmq_close(i->router);
    zmq_ctx_term(i->context);
    arena_free(i->arena);
    free(i);
}

static bool
receive(struct impostor *i)
{
    const char *why;

    blob_unref(i->data);
    i->data = NULL;
    return frames_receive(i->router, &i->id, &i->header, &i->data) == 1 &&
           wire_decode(i->arena, zmq_msg_data(&i->header), zmq_msg_size(&i->header), i->data,
                       &i->message, &why) == 0;
}

const struct message *
impostor_await(struct impostor *i, enum message_type type, int ms)
{
    int64_t until = harness_now() + ms;

    while (harness_now() < until) {
        while (receive(i))
            if (i->message.type == type)
                return &i->message;
        harness_pause();
    }
    return NULL;
}

static void
address(struct impostor *i)
{
    zmq_msg_t id;

    zmq_msg_init(&id);
    zmq_msg_copy(&id, &i->id);
    assert_true(zmq_msg_send(&id, i->router, ZMQ_SNDMORE) >= 0);
}

void
impostor_say(struct impostor *i, const struct message *m)
{
    struct frames frames;

    assert_int_equal(frames_encode(i->arena, m, &frames), 0);
    address(i);
    assert_int_equal(frames_send(&frames, i->router), 0);
    frames_close(&frames);
}

void
impostor_say_bytes(struct impostor *i, const void *bytes, size_t size)
{
    address(i);
    assert_int_equal(zmq_send(i->router, bytes, size, 0), size);
}

void
impostor_welcome(struct impostor *i, uint32_t beat_ms, uint32_t lost_ms)
{
    struct message m = {.type = MESSAGE_WELCOME,
                        .welcome = {.protocol = LADLE_PROTOCOL,
                                    .software = "impostor",
                                    .name = "somebody",
                                    .instance = 7,
                                    .beat_ms = beat_ms,
                                    .lost_ms = lost_ms,
                                    .window = 1 << 20}};

    assert_non_null(impostor_await(i, MESSAGE_HELLO, SOON));
    impostor_say(i, &m);
}
