#include "frames.h"

#include "../proto/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    COPIED = 4096, /* data up to here is copied: cheaper than a reference that another thread drops,
                      and what arrives small would pin ZeroMQ's receive buffer */
    HANDSHAKE_MS = 4000,
    HIGH_WATER = 1000 /* messages; windows bound their bytes */
};

static void
drop_reference(void *bytes, void *blob)
{
    (void)bytes;
    blob_unref(blob);
}

static int
lend(zmq_msg_t *message, struct blob *blob, size_t at, size_t length)
{
    if (length <= COPIED) {
        if (zmq_msg_init_size(message, length) != 0)
            return -1;
        memcpy(zmq_msg_data(message), blob->bytes + at, length);
        return 0;
    }
    blob_ref(blob);
    if (zmq_msg_init_data(message, blob->bytes + at, length, drop_reference, blob) != 0) {
        blob_unref(blob);
        return -1;
    }
    return 0;
}

int
frames_encode(struct arena *a, const struct message *m, struct frames *f)
{
    const struct columns *c = message_columns((struct message *)(uintptr_t)m);
    const uint8_t *header;
    size_t size = wire_encode(a, m, &header);

    if (size == 0)
        return -1;
    *f = (struct frames){.has_data = c != NULL && c->length > 0, .bytes = size};
    if (zmq_msg_init_size(&f->header, size) != 0)
        return -1;
    memcpy(zmq_msg_data(&f->header), header, size);
    if (!f->has_data)
        return 0;
    if (lend(&f->data, c->data, c->at, c->length) != 0) {
        zmq_msg_close(&f->header);
        return -1;
    }
    f->bytes += c->length;
    return 0;
}

void
frames_close(struct frames *f)
{
    zmq_msg_close(&f->header);
    if (f->has_data)
        zmq_msg_close(&f->data);
}

static int
send_part(zmq_msg_t *part, void *socket, int flags)
{
    int rc;

    do
        rc = zmq_msg_send(part, socket, flags | ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -1 : 0;
}

int
frames_send(struct frames *f, void *socket)
{
    if (send_part(&f->header, socket, f->has_data ? ZMQ_SNDMORE : 0) != 0)
        return -1;
    /* High-water marks count whole messages, so only the end of the connection stops us half-way:
     * then this message shares the fate of those before it. */
    if (f->has_data && send_part(&f->data, socket, 0) != 0 && errno != EAGAIN)
        return -1;
    return 0;
}

static void
release_message(struct blob *blob)
{
    zmq_msg_close(blob->owner);
    free(blob->owner);
}

struct blob *
frames_blob(zmq_msg_t *data)
{
    size_t size = zmq_msg_size(data);
    struct blob *blob;
    zmq_msg_t *owner;

    /* ZeroMQ leaves messages of a few KiB where they were received, at any address. */
    if (size <= COPIED || (uintptr_t)zmq_msg_data(data) % _Alignof(uint64_t) != 0) {
        if ((blob = blob_copy(zmq_msg_data(data), size)) != NULL) {
            zmq_msg_close(data);
            zmq_msg_init(data);
        }
        return blob;
    }
    if ((owner = malloc(sizeof(*owner))) == NULL)
        return NULL;
    zmq_msg_init(owner);
    zmq_msg_move(owner, data);
    if ((blob = blob_wrap(zmq_msg_data(owner), size, release_message, owner)) == NULL) {
        zmq_msg_move(data, owner);
        zmq_msg_close(owner);
        free(owner);
    }
    return blob;
}

static int
receive_part(zmq_msg_t *part, void *socket)
{
    int rc;

    do
        rc = zmq_msg_recv(part, socket, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -1 : 0;
}

/* The rest of a message that is not worth keeping. */
static void
drop_rest(zmq_msg_t *part, void *socket)
{
    while (zmq_msg_more(part))
        if (receive_part(part, socket) != 0)
            break;
}

int
frames_receive(void *socket, zmq_msg_t *id, zmq_msg_t *header, struct blob **data_p)
{
    zmq_msg_t data;
    bool sound;
    int error = EPROTO;

    *data_p = NULL;
    if (receive_part(id == NULL ? header : id, socket) != 0)
        return errno == EAGAIN ? 0 : -1;
    /* ZeroMQ hands out whole messages: from here on, all parts are there. */
    if (id != NULL && (!zmq_msg_more(id) || receive_part(header, socket) != 0)) {
        errno = EPROTO;
        return -1;
    }
    sound = zmq_msg_size(header) <= LIMIT_HEADER;
    if (!zmq_msg_more(header)) {
        errno = EPROTO;
        return sound ? 1 : -1;
    }
    zmq_msg_init(&data);
    if (receive_part(&data, socket) != 0 || zmq_msg_more(&data)) {
        drop_rest(&data, socket);
        sound = false;
    }
    if (sound && zmq_msg_size(&data) <= LIMIT_DATA && (*data_p = frames_blob(&data)) == NULL)
        error = ENOMEM;
    zmq_msg_close(&data);
    errno = error;
    return *data_p == NULL ? -1 : 1;
}

static int
set(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof(value));
}

int
frames_configure(void *socket)
{
    int64_t largest = LIMIT_DATA;

    return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &largest, sizeof(largest)) != 0 ||
                   set(socket, ZMQ_LINGER, 0) != 0 || set(socket, ZMQ_SNDHWM, HIGH_WATER) != 0 ||
                   set(socket, ZMQ_RCVHWM, HIGH_WATER) != 0 ||
                   set(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS) != 0
               ? -1
               : 0;
}
