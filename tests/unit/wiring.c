#include "wiring.h"

struct arena *sender, *receiver;
uint8_t packet[2 * LIMIT_HEADER];

int
wiring_setup(void **state)
{
    (void)state;
    sender = arena_new();
    receiver = arena_new();
    return sender == NULL || receiver == NULL;
}

int
wiring_teardown(void **state)
{
    (void)state;
    arena_free(sender);
    arena_free(receiver);
    samples_free();
    return 0;
}

struct blob *
data_of(const struct message *m)
{
    const struct columns *c = message_columns((struct message *)(uintptr_t)m);

    return c == NULL || c->length == 0 ? NULL : blob_copy(c->data->bytes + c->at, c->length);
}

int
decode_exactly(const uint8_t *bytes, size_t size, struct blob *data, struct message *m)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    const char *why = NULL;
    int rc;

    memcpy(copy, bytes, size);
    rc = wire_decode(receiver, copy, size, data, m, &why);
    free(copy);
    if (rc != 0) {
        assert_int_equal(errno, EPROTO);
        assert_non_null(why);
    }
    assert_true(receiver->decode.used <= receiver->decode.capacity);
    return rc;
}

int
decode_top(Ladle__V1__Message *top, size_t length, struct message *m)
{
    struct blob *data = length == 0 ? NULL : blob_new(length);
    size_t size = ladle__v1__message__get_packed_size(top);
    int rc;

    assert_true(size <= sizeof(packet));
    ladle__v1__message__pack(top, packet);
    rc = decode_exactly(packet, size, data, m);
    blob_unref(data);
    return rc;
}
