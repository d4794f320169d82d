#include "blob.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct blob *
blob_new(size_t size)
{
    /* One allocation: the bytes follow the struct, at malloc's alignment. */
    size_t head = (sizeof(struct blob) + 15) & ~(size_t)15;
    struct blob *self;

    if (size > SIZE_MAX - head) {
        errno = ENOMEM;
        return NULL;
    }
    if ((self = malloc(head + size)) == NULL)
        return NULL;
    *self = (struct blob){.bytes = (uint8_t *)self + head, .size = size, .refs = 1};
    return self;
}

struct blob *
blob_copy(const void *bytes, size_t size)
{
    struct blob *self = blob_new(size);

    if (self != NULL && size > 0)
        memcpy(self->bytes, bytes, size);
    return self;
}

struct blob *
blob_wrap(void *bytes, size_t size, void (*release)(struct blob *self), void *owner)
{
    struct blob *self;

    if ((self = malloc(sizeof(*self))) == NULL)
        return NULL;
    *self =
        (struct blob){.bytes = bytes, .size = size, .refs = 1, .release = release, .owner = owner};
    return self;
}

struct blob *
blob_ref(struct blob *self)
{
    if (self != NULL)
        atomic_fetch_add_explicit(&self->refs, 1, memory_order_relaxed);
    return self;
}

void
blob_unref(struct blob *self)
{
    int error = errno;

    if (self == NULL || atomic_fetch_sub_explicit(&self->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (self->release != NULL)
        self->release(self);
    free(self);
    errno = error;
}
