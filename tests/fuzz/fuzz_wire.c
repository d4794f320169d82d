/* Any two frames into wire_decode(). What passes must mean the same after another trip.
 *
 * The input is a 16-bit little-endian length, a header of (at most) so many bytes, and the data. */
#include "../../proto/limits.h"
#include "../../proto/wire.h"
#include "../unit/samples.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

static void
check_again(struct arena *a, struct arena *b, const struct message *m, struct blob *data)
{
    struct message again;
    const uint8_t *header;
    const char *why = "?";
    size_t size = wire_encode(a, m, &header);

    if (size == 0) /* one that came in 64 KiB may need more: varints need not be short */
        return;
    if (wire_decode(b, header, size, data, &again, &why) != 0) {
        fprintf(stderr, "%s came in, but not again: %s\n", message_name(m->type), why);
        abort();
    }
    if ((why = message_differs(m, &again)) != NULL) {
        fprintf(stderr, "%s: %s changed under way\n", message_name(m->type), why);
        abort();
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static struct arena *a, *b;
    struct blob *data = NULL;
    struct message m;
    const char *why = NULL;
    uint8_t *header;
    size_t length;

    if ((a == NULL && (a = arena_new()) == NULL) || (b == NULL && (b = arena_new()) == NULL))
        abort();
    if (size < 2)
        return 0;
    length = input[0] | (size_t)input[1] << 8;
    input += 2, size -= 2;
    if (length > size)
        length = size;
    if (size > length)
        data = blob_copy(input + length, size - length);
    header = malloc(length > 0 ? length : 1); /* of just its size: the sanitizer sees more */
    memcpy(header, input, length);
    if (wire_decode(a, header, length, data, &m, &why) == 0)
        check_again(a, b, &m, data);
    else if (errno != EPROTO || why == NULL)
        abort();
    free(header);
    blob_unref(data);
    return 0;
}
