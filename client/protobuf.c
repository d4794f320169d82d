/* Messages of protobuf-c as inputs and results. */
#include "ladle-protobuf.h"

#include "error.h"

#include "../proto/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* protobuf-c unpacks by recursion, without a limit: 60 KiB of nested messages would be the end of
 * the stack. Deeper ones than this are refused, as other implementations do. */
enum { NESTED = 100 };

/* ---- packing ----------------------------------------------------------------------------------
 */

/* Its size; SIZE_MAX with errno and a sentence. */
static size_t
packed_size(const ProtobufCMessage *message)
{
    size_t size;

    if (message == NULL || message->descriptor == NULL ||
        message->descriptor->magic != PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC) {
        error_set(EINVAL, "there is no message: it is NULL, or was not initialised");
        return SIZE_MAX;
    }
    if (!protobuf_c_message_check(message)) {
        error_set(EPROTO, "the message of type %s is not complete: a required field is missing",
                  message->descriptor->name);
        return SIZE_MAX;
    }
    size = protobuf_c_message_get_packed_size(message);
    if (size > LIMIT_DATA) {
        error_set(E2BIG, "the message of type %s has %zu bytes: at most %u (256 MiB) are allowed",
                  message->descriptor->name, size, LIMIT_DATA);
        return SIZE_MAX;
    }
    return size;
}

/* Its bytes, to be freed; NULL with errno and a sentence. */
static uint8_t *
packed(const ProtobufCMessage *message, size_t *size_p)
{
    uint8_t *bytes;

    if ((*size_p = packed_size(message)) == SIZE_MAX)
        return NULL;
    if ((bytes = malloc(*size_p > 0 ? *size_p : 1)) == NULL)
        return error_null(ENOMEM, "out of memory for a message of %zu bytes", *size_p);
    protobuf_c_message_pack(message, bytes);
    return bytes;
}

/* ---- unpacking --------------------------------------------------------------------------------
 */

struct reader {
    const uint8_t *at, *end;
};

static bool
read_varint(struct reader *r, uint64_t *value_p)
{
    *value_p = 0;
    for (unsigned shift = 0; r->at < r->end && shift < 70; shift += 7) {
        uint8_t byte = *r->at++;

        *value_p |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool
skip(struct reader *r, uint64_t size)
{
    if (size > (uint64_t)(r->end - r->at))
        return false;
    r->at += size;
    return true;
}

/* Are the bytes fields, and messages in them nested no deeper than `depth`? By the tables of
 * protobuf-c, but without its memory. */
static bool
is_flat(const ProtobufCMessageDescriptor *d, const uint8_t *bytes, size_t size, int depth)
{
    struct reader r = {.at = bytes, .end = bytes + size};

    while (r.at < r.end) {
        const ProtobufCFieldDescriptor *field;
        uint64_t tag, length = 0;
        bool fine = read_varint(&r, &tag);

        switch (tag & 7) {
        case 0:
            fine = fine && read_varint(&r, &length);
            break;
        case 1:
            fine = fine && skip(&r, 8);
            break;
        case 2:
            fine = fine && read_varint(&r, &length) && skip(&r, length);
            field = !fine || d == NULL || tag >> 3 > UINT32_MAX
                        ? NULL
                        : protobuf_c_message_descriptor_get_field(d, (unsigned)(tag >> 3));
            if (field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE)
                fine = depth > 0 && is_flat(field->descriptor, r.at - length, length, depth - 1);
            break;
        case 5:
            fine = fine && skip(&r, 4);
            break;
        default: /* groups, which protobuf-c does not know */
            fine = false;
        }
        if (!fine)
            return false;
    }
    return true;
}

/* malloc() that tells of its failure: what it gave out is freed as anything else. */
static void *
allocate(void *arg, size_t size)
{
    bool *failed = arg;
    void *memory = malloc(size);

    *failed |= memory == NULL;
    return memory;
}

static void
release(void *arg, void *memory)
{
    (void)arg;
    free(memory);
}

static ProtobufCMessage *
unpacked(const ProtobufCMessageDescriptor *d, const void *bytes, size_t size, const char *what)
{
    bool failed = false;
    ProtobufCAllocator allocator = {.alloc = allocate, .free = release, .allocator_data = &failed};
    ProtobufCMessage *message;

    if (!is_flat(d, bytes, size, NESTED) ||
        ((message = protobuf_c_message_unpack(d, &allocator, size, bytes)) == NULL && !failed))
        return error_null(EPROTO, "%s of %zu bytes is no message of type %s", what, size, d->name);
    if (message == NULL)
        return error_null(ENOMEM, "out of memory for a message of type %s", d->name);
    return message;
}

static bool
is_descriptor(const ProtobufCMessageDescriptor *d)
{
    if (d != NULL && d->magic == PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC)
        return true;
    error_set(EINVAL, "there is no descriptor: it is NULL, or none of a message");
    return false;
}

/* ---- submitting -------------------------------------------------------------------------------
 */

future_t *
futures_submit_message(futures_t *self, const char *function, const ProtobufCMessage *input,
                       const task_options_t *options)
{
    future_t *future;
    size_t size;
    uint8_t *bytes = packed(input, &size);

    if (bytes == NULL)
        return NULL;
    future = futures_submit(self, function, bytes, size, options);
    free(bytes);
    return future;
}

ProtobufCMessage *
futures_call_message(futures_t *self, const char *function, const ProtobufCMessage *input,
                     const ProtobufCMessageDescriptor *descriptor, const task_options_t *options)
{
    ProtobufCMessage *result;
    future_t *future;

    if (!is_descriptor(descriptor) ||
        (future = futures_submit_message(self, function, input, options)) == NULL)
        return NULL;
    result = future_result_message(future, descriptor);
    future_destroy(&future);
    return result;
}

/* Pack all of them, end to end; `inputs` says where. NULL with errno and a sentence. */
static uint8_t *
pack_all(const ProtobufCMessage *const *messages, struct iovec *inputs, size_t count)
{
    size_t total = 0;
    uint8_t *bytes, *to;

    for (size_t i = 0; i < count; i++) {
        if ((inputs[i].iov_len = packed_size(messages[i])) == SIZE_MAX)
            return error_null(errno, "message %zu: %s", i, futures_error());
        total += inputs[i].iov_len;
    }
    if ((bytes = to = malloc(total > 0 ? total : 1)) == NULL)
        return error_null(ENOMEM, "out of memory for %zu messages of %zu bytes", count, total);
    for (size_t i = 0; i < count; i++) {
        inputs[i].iov_base = to;
        to += protobuf_c_message_pack(messages[i], to);
    }
    return bytes;
}

results_t *
futures_map_messages(futures_t *self, const char *function, const ProtobufCMessage *const *messages,
                     size_t count, const task_options_t *options)
{
    results_t *results = NULL;
    struct iovec *inputs;
    uint8_t *bytes;

    if (messages == NULL && count > 0)
        return error_null(EINVAL, "the messages are NULL, but there should be %zu", count);
    if ((inputs = calloc(count > 0 ? count : 1, sizeof(*inputs))) == NULL)
        return error_null(ENOMEM, "out of memory for %zu messages", count);
    if ((bytes = pack_all(messages, inputs, count)) != NULL)
        results = futures_mapv(self, function, inputs, count, options);
    free(bytes);
    free(inputs);
    return results;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

ProtobufCMessage *
future_result_message(future_t *self, const ProtobufCMessageDescriptor *descriptor)
{
    const void *bytes;
    size_t size;

    if (!is_descriptor(descriptor) || (bytes = future_result(self, &size)) == NULL)
        return NULL;
    return unpacked(descriptor, bytes, size, "the result");
}

ProtobufCMessage *
results_next_message(results_t *self, const ProtobufCMessageDescriptor *descriptor)
{
    const void *bytes;
    size_t size;

    if (!is_descriptor(descriptor) || (bytes = results_next(self, &size)) == NULL)
        return NULL;
    return unpacked(descriptor, bytes, size, "the result");
}

/* ---- in a task --------------------------------------------------------------------------------
 */

ProtobufCMessage *
task_read_message(task_t *self, const ProtobufCMessageDescriptor *descriptor)
{
    if (!is_descriptor(descriptor))
        return NULL;
    return unpacked(descriptor, task_input(self), task_input_size(self), "the input");
}

int
task_return_message(task_t *self, const ProtobufCMessage *message)
{
    size_t size = packed_size(message);
    uint8_t *output;

    if (size == SIZE_MAX)
        return -1;
    if ((output = task_output(self, size)) == NULL)
        return error_set(errno, "no room for a result of %zu bytes: %s", size, strerror(errno));
    protobuf_c_message_pack(message, output);
    return 0;
}
