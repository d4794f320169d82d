#include "outbox.h"

#include "lines.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
outbox_init(struct outbox *self)
{
    STAILQ_INIT(&self->queue);
    STAILQ_INIT(&self->unused);
    self->newest = self->lent = NULL;
}

void
outbox_clear(struct outbox *self)
{
    struct outgoing *o;

    outbox_return(self);
    outbox_drop_all(self, &self->queue);
    self->newest = NULL;
    while ((o = STAILQ_FIRST(&self->unused)) != NULL) {
        STAILQ_REMOVE_HEAD(&self->unused, link);
        free(o);
    }
}

struct outgoing *
outbox_new(struct outbox *self, uint32_t peer, enum message_type type)
{
    struct outgoing *o = STAILQ_FIRST(&self->unused);

    if (o != NULL)
        STAILQ_REMOVE_HEAD(&self->unused, link);
    else if ((o = lines_new(sizeof(*o))) == NULL)
        return NULL;
    memset(o, 0, sizeof(*o));
    o->refs = 1;
    o->peer = peer;
    o->m.type = type;
    return o;
}

void
outbox_put(struct outbox *self, struct outgoing *o)
{
    STAILQ_INSERT_TAIL(&self->queue, o, link);
    self->newest = o;
}

void
outbox_drop(struct outbox *self, struct outgoing *o)
{
    if (--o->refs > 0)
        return;
    for (int i = 0; i < OUTGOING_KEEPS; i++)
        blob_unref(o->keeps[i]);
    spec_unref(o->spec);
    STAILQ_INSERT_HEAD(&self->unused, o, link);
}

void
outbox_drop_all(struct outbox *self, struct outgoing_list *list)
{
    struct outgoing *o;

    while ((o = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, link);
        outbox_drop(self, o);
    }
}

void
outbox_forget(struct outbox *self, uint32_t peer, uint32_t client)
{
    struct outgoing_list all = STAILQ_HEAD_INITIALIZER(all);
    struct outgoing *o;

    STAILQ_CONCAT(&all, &self->queue);
    self->newest = NULL;
    while ((o = STAILQ_FIRST(&all)) != NULL) {
        STAILQ_REMOVE_HEAD(&all, link);
        if (o->peer != peer || o->client != client || o->last)
            outbox_put(self, o);
        else
            outbox_drop(self, o);
    }
}

struct outgoing *
outbox_take(struct outbox *self)
{
    struct outgoing *o;

    outbox_return(self);
    if ((o = STAILQ_FIRST(&self->queue)) == NULL)
        return NULL;
    STAILQ_REMOVE_HEAD(&self->queue, link);
    if (self->newest == o)
        self->newest = NULL;
    return self->lent = o;
}

void
outbox_return(struct outbox *self)
{
    if (self->lent == NULL)
        return;
    outbox_drop(self, self->lent);
    self->lent = NULL;
}

void
outgoing_keep(struct outgoing *o, struct blob *blob)
{
    if (blob == NULL)
        return;
    for (int i = 0; i < OUTGOING_KEEPS; i++) {
        if (o->keeps[i] == NULL) {
            o->keeps[i] = blob_ref(blob);
            return;
        }
    }
    assert(!"a message keeps more than it has room for");
}

struct blob *
sentence(const char *format, ...)
{
    struct blob *blob;
    va_list list;
    int size;

    va_start(list, format);
    size = vsnprintf(NULL, 0, format, list);
    va_end(list);
    if (size < 0 || (blob = blob_new((size_t)size + 1)) == NULL)
        return NULL;
    va_start(list, format);
    (void)vsnprintf((char *)blob->bytes, (size_t)size + 1, format, list);
    va_end(list);
    return blob;
}

const char *
words(const struct blob *sentence_or_null)
{
    return sentence_or_null == NULL ? "" : (const char *)sentence_or_null->bytes;
}
