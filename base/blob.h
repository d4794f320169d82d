/* blob.h - bytes with a reference count.
 *
 * The columns of inputs and results are blobs: they travel from socket to socket without a copy,
 * and a slice is a range of one. A blob's bytes do not change once a second reference exists.
 * Thread-safe: the count is atomic, since ZeroMQ's I/O threads drop the references they were lent.
 */
#ifndef LADLE_BLOB_H
#define LADLE_BLOB_H

#include <stddef.h>
#include <stdint.h>

struct blob {
    uint8_t *bytes;
    size_t size;
    /* private */
    _Atomic unsigned refs;
    void (*release)(struct blob *self);
    void *owner;
};

/* `size` bytes, uninitialised, aligned for any type; NULL with errno ENOMEM. */
struct blob *blob_new(size_t size);

/* A copy of `size` bytes at `bytes`. */
struct blob *blob_copy(const void *bytes, size_t size);

/* Bytes owned by something else (a zmq_msg_t, a mapping): `release` is called with the blob when
 * the last reference goes, from whatever thread dropped it, and must let go of `owner`, not of the
 * blob. */
struct blob *blob_wrap(void *bytes, size_t size, void (*release)(struct blob *self), void *owner);

struct blob *blob_ref(struct blob *self); /* returns self; NULL is allowed */
void blob_unref(struct blob *self);       /* NULL is allowed; leaves errno alone */

#endif
