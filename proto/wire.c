/* The frame around encode.c and decode.c: sizes, budgets, and protobuf-c's own part. */
#include "codec.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

size_t
wire_encode(struct arena *a, const struct message *m, const uint8_t **header_p)
{
    struct encoder e = {.region = &a->encode};
    size_t size, packed;

    region_reset(&a->encode, a->encode.capacity);
    encode_body(&e, m);
    if (e.region->over) {
        errno = EMSGSIZE;
        return 0;
    }
    size = ladle__v1__message__get_packed_size(&e.top);
    if (size > LIMIT_HEADER) {
        errno = EMSGSIZE;
        return 0;
    }
    packed = ladle__v1__message__pack(&e.top, a->packed);
    assert(packed == size); /* packing has no bounds of its own */
    (void)packed;
    *header_p = a->packed;
    return size;
}

static void *
budgeted_alloc(void *region, size_t size)
{
    return region_take(region, size);
}

static void
budgeted_free(void *region, void *block)
{
    (void)region, (void)block; /* the region forgets all blocks at once */
}

/* Fields that this version does not know, at any depth: no message type contains itself. */
static size_t
unknown_fields(const ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *d = m->descriptor;
    size_t n = m->n_unknown_fields;

    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        const uint8_t *at = (const uint8_t *)m + f->offset;
        const uint8_t *quantifier = (const uint8_t *)m + f->quantifier_offset;

        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            ProtobufCMessage *const *all = *(ProtobufCMessage *const *const *)at;

            for (size_t k = 0; k < *(const size_t *)quantifier; k++)
                n += unknown_fields(all[k]);
        } else if (!(f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ||
                   *(const uint32_t *)quantifier == f->id) {
            const ProtobufCMessage *one = *(ProtobufCMessage *const *)at;

            n += one == NULL ? 0 : unknown_fields(one);
        }
    }
    return n;
}

static int
refuse(struct arena *a, const char *what, const char *fault, const char **why)
{
    snprintf(a->why, sizeof(a->why), "%s: %s", what, fault);
    *why = a->why;
    errno = EPROTO;
    return -1;
}

int
wire_decode(struct arena *a, const void *header, size_t size, struct blob *data, struct message *m,
            const char **why)
{
    ProtobufCAllocator allocator = {budgeted_alloc, budgeted_free, &a->decode};
    struct decoder d = {.region = &a->decode, .data = data};
    Ladle__V1__Message *top;

    spec_unref(a->spec);
    a->spec = NULL;
    if (size > LIMIT_HEADER)
        return refuse(a, "header", "too large", why);
    if (data != NULL && data->size > LIMIT_DATA)
        return refuse(a, "data", "too large", why);

    region_reset(&a->decode, LIMIT_DECODE(size));
    top = ladle__v1__message__unpack(&allocator, size, header);
    if (top == NULL)
        return refuse(a, "header",
                      a->decode.over ? "it unpacks to more than it may" : "it is malformed", why);
    if (unknown_fields(&top->base) > LIMIT_UNKNOWN_FIELDS)
        return refuse(a, "header", "too many unknown fields", why);

    a->decode.budget = a->decode.capacity; /* for our own structs: bounded by the limits */
    *m = (struct message){.type = MESSAGE_NONE};
    decode_body(&d, top, m);
    if (d.fault == NULL && data != NULL && data->size > 0 && message_columns(m) == NULL)
        d.fault = "data that it has no columns for";
    if (d.fault != NULL)
        return refuse(a, message_name(m->type), d.fault, why);
    if (m->type == MESSAGE_JOB || (m->type == MESSAGE_KEPT_TASK && m->kept_task.spec != NULL)) {
        if ((a->spec = spec_new(&d.spec)) == NULL) {
            *why = "out of memory";
            return -1; /* ENOMEM */
        }
        if (m->type == MESSAGE_JOB)
            m->job.spec = a->spec;
        else
            m->kept_task.spec = a->spec;
    }
    return 0;
}
