/* fuzz_seeds FOLDER - writes one file for every sample message, in fuzz_wire's format. */
#include "../../proto/wire.h"
#include "../unit/samples.h"

#include <stdio.h>

static int
write_seed(const char *folder, unsigned i, struct arena *a)
{
    const struct message *m = sample(i);
    const struct columns *c = message_columns((struct message *)(uintptr_t)m);
    const uint8_t *header;
    size_t size = wire_encode(a, m, &header);
    char path[4096];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%02u-%s", folder, i, message_name(m->type));
    if (size == 0 || (f = fopen(path, "wb")) == NULL)
        return -1;
    fputc((int)(size & 0xff), f);
    fputc((int)(size >> 8), f);
    fwrite(header, 1, size, f);
    if (c != NULL && c->length > 0)
        fwrite(c->data->bytes + c->at, 1, c->length, f);
    return fclose(f);
}

int
main(int argc, char **argv)
{
    struct arena *a = arena_new();
    int rc = 0;

    if (argc != 2 || a == NULL) {
        fprintf(stderr, "usage: fuzz_seeds FOLDER\n");
        return 2;
    }
    for (unsigned i = 0; i < sample_count() && rc == 0; i++)
        rc = write_seed(argv[1], i, a);
    if (rc != 0)
        perror(argv[1]);
    samples_free();
    arena_free(a);
    return rc != 0;
}
