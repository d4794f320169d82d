#include "replay.h"

#include "limits.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SUM = 32 };

static const char magic[8] = "ladle 1\n";

static int
sum_begin(crypto_generichash_state *sum)
{
    if (sodium_init() >= 0)
        return crypto_generichash_init(sum, NULL, 0, SUM);
    errno = ENOSYS;
    return -1;
}

/* ---- writing ---------------------------------------------------------------------------------
 */

struct replay_writer {
    crypto_generichash_state sum; /* of all that was written; aligned to more than malloc() does */
    FILE *file;
    struct arena *arena;
};

static int
put(struct replay_writer *w, const void *bytes, size_t size)
{
    crypto_generichash_update(&w->sum, bytes, size);
    return size == 0 || fwrite(bytes, size, 1, w->file) == 1 ? 0 : -1;
}

struct replay_writer *
replay_begin(FILE *file)
{
    struct replay_writer *w = aligned_alloc(_Alignof(struct replay_writer), sizeof(*w));

    if (w == NULL)
        return NULL;
    w->file = file;
    w->arena = NULL;
    if (sum_begin(&w->sum) != 0 || (w->arena = arena_new()) == NULL ||
        put(w, magic, sizeof(magic)) != 0) {
        (void)replay_end(w, -1);
        return NULL;
    }
    return w;
}

static void
put_length(uint8_t *to, size_t length)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(length >> 8 * i);
}

int
replay_put(struct replay_writer *w, struct message *m)
{
    const struct columns *c = message_columns(m);
    size_t length = c == NULL ? 0 : c->length;
    const uint8_t *header;
    size_t size = wire_encode(w->arena, m, &header);
    uint8_t prefix[8];

    put_length(prefix, size);
    put_length(prefix + 4, length);
    if (size == 0 || put(w, prefix, sizeof(prefix)) != 0 || put(w, header, size) != 0 ||
        (length > 0 && put(w, c->data->bytes + c->at, length) != 0))
        return -1;
    return 0;
}

static int
put_sum(struct replay_writer *w)
{
    uint8_t sum[SUM];

    crypto_generichash_final(&w->sum, sum, sizeof(sum));
    return fwrite(sum, sizeof(sum), 1, w->file) == 1 && fflush(w->file) == 0 ? 0 : -1;
}

int
replay_end(struct replay_writer *w, int failed)
{
    struct message m = {.type = MESSAGE_BYE, .text = ""};

    if (failed == 0 && (replay_put(w, &m) != 0 || put_sum(w) != 0))
        failed = -1;
    arena_free(w->arena);
    free(w);
    return failed;
}

/* ---- reading ---------------------------------------------------------------------------------
 */

struct reader {
    crypto_generichash_state sum; /* of all that was read */
    FILE *file;
    struct arena *arena;
    struct replay *replay;
    bool constants;
    uint64_t got[LIMIT_SHARED]; /* bytes of each constant */
    const char *why;
};

static int
refuse(struct reader *r, const char *why)
{
    if (r->why == NULL)
        r->why = why;
    return -1;
}

static int
out_of_memory(struct reader *r)
{
    return refuse(r, "there is no memory for it");
}

static size_t
get_length(const uint8_t *from)
{
    return (size_t)from[0] | (size_t)from[1] << 8 | (size_t)from[2] << 16 | (size_t)from[3] << 24;
}

static int
get(struct reader *r, void *to, size_t size)
{
    if (fread(to, size, 1, r->file) != 1)
        return refuse(r, "it was cut off");
    crypto_generichash_update(&r->sum, to, size);
    return 0;
}

/* The next message. Its data is *data_p, the caller's. */
static int
next(struct reader *r, struct message *m, struct blob **data_p)
{
    static uint8_t header[LIMIT_HEADER];
    uint8_t prefix[8];
    size_t size, length;
    const char *why;

    *data_p = NULL;
    if (get(r, prefix, sizeof(prefix)) != 0)
        return -1;
    size = get_length(prefix);
    length = get_length(prefix + 4);
    if (size == 0 || size > sizeof(header) || length > LIMIT_DATA)
        return refuse(r, "it is damaged");
    if (get(r, header, size) != 0)
        return -1;
    if (length > 0) {
        if ((*data_p = blob_new(length)) == NULL)
            return out_of_memory(r);
        if (get(r, (*data_p)->bytes, length) != 0)
            return -1;
    }
    if (wire_decode(r->arena, header, size, *data_p, m, &why) != 0)
        return refuse(r, "it is damaged, or of another version of Ladle");
    return 0;
}

static int
expect(struct reader *r, enum message_type type, struct message *m, struct blob **data_p)
{
    if (next(r, m, data_p) != 0)
        return -1;
    return m->type == type ? 0 : refuse(r, "it is damaged: it has other parts than it should");
}

static int
read_about(struct reader *r)
{
    struct replay *replay = r->replay;
    struct blob *data;
    struct message m;
    int failed = expect(r, MESSAGE_REPLAY, &m, &data);

    if (failed == 0) {
        replay->path = strdup(m.replay.path);
        replay->directory = strdup(m.replay.directory);
        replay->worker = strdup(m.replay.worker);
        replay->text = strdup(m.replay.text);
        replay->outcome = m.replay.outcome;
        replay->when_ms = m.replay.when_ms;
        if (replay->path == NULL || replay->directory == NULL || replay->worker == NULL ||
            replay->text == NULL)
            failed = out_of_memory(r);
    }
    blob_unref(data);
    return failed;
}

static int
read_job(struct reader *r)
{
    struct replay *replay = r->replay;
    struct blob *data;
    struct message m;
    int failed = expect(r, MESSAGE_JOB, &m, &data);

    blob_unref(data);
    if (failed != 0)
        return -1;
    replay->spec = spec_ref(m.job.spec);
    if ((replay->constants = calloc(replay->spec->nshared + 1, sizeof(int))) == NULL)
        return out_of_memory(r);
    for (uint32_t i = 0; i < replay->spec->nshared; i++)
        replay->constants[i] = -1;
    return 0;
}

static int
read_task(struct reader *r)
{
    struct replay *replay = r->replay;
    struct blob *data;
    struct message m;

    if (expect(r, MESSAGE_SLICE, &m, &data) != 0) {
        blob_unref(data);
        return -1;
    }
    replay->index = m.slice.first;
    replay->attempt = m.slice.attempt;
    replay->input = data;
    return m.slice.columns.count == 1 ? 0 : refuse(r, "it is damaged: it is not of one task");
}

static int
open_constant(struct reader *r, uint32_t i, uint64_t size)
{
    int fd = memfd_create("ladle-shared", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)size) != 0) {
        if (fd >= 0)
            close(fd);
        return out_of_memory(r);
    }
    r->replay->constants[i] = fd;
    return 0;
}

static int
take_part(struct reader *r, const struct message_program_part *part)
{
    const struct spec *spec = r->replay->spec;

    for (uint32_t i = 0; i < spec->nshared; i++) {
        const struct shared *s = &spec->shared[i];
        const struct columns *c = &part->columns;

        if (strcmp(s->digest, part->digest) != 0)
            continue;
        if (part->size != s->size || part->offset != r->got[i] ||
            c->length > s->size - part->offset)
            return refuse(r, "it is damaged: a constant has another size");
        r->got[i] += c->length;
        if (c->length == 0 || !r->constants)
            continue;
        if (r->replay->constants[i] < 0 && open_constant(r, i, s->size) != 0)
            return -1;
        if (pwrite(r->replay->constants[i], c->data->bytes + c->at, c->length,
                   (off_t)part->offset) != (ssize_t)c->length)
            return out_of_memory(r);
    }
    return 0;
}

static int
read_constants(struct reader *r)
{
    struct message m = {.type = MESSAGE_NONE};
    int failed = 0;

    while (failed == 0 && m.type != MESSAGE_BYE) {
        struct blob *data;

        failed = next(r, &m, &data);
        if (failed == 0 && m.type == MESSAGE_PROGRAM_PART)
            failed = take_part(r, &m.program_part);
        else if (failed == 0 && m.type != MESSAGE_BYE)
            failed = refuse(r, "it is damaged: it has other parts than it should");
        blob_unref(data);
    }
    for (uint32_t i = 0; failed == 0 && i < r->replay->spec->nshared; i++)
        if (r->got[i] != r->replay->spec->shared[i].size)
            failed = refuse(r, "it is damaged: a constant is missing");
    return failed;
}

/* All was read: is it what was written? */
static int
read_sum(struct reader *r)
{
    uint8_t is[SUM], should[SUM];

    crypto_generichash_final(&r->sum, is, sizeof(is));
    if (fread(should, sizeof(should), 1, r->file) != 1)
        return refuse(r, "it was cut off");
    if (memcmp(is, should, sizeof(is)) != 0 || fgetc(r->file) != EOF)
        return refuse(r, "it is damaged: its checksum is that of other bytes");
    return 0;
}

struct replay *
replay_read(const char *path, bool constants, const char **why)
{
    struct reader r = {.file = fopen(path, "re"), .constants = constants};
    char start[sizeof(magic)];

    if (r.file == NULL) {
        *why = strerror(errno);
        return NULL;
    }
    if (sum_begin(&r.sum) != 0)
        (void)refuse(&r, "libsodium does not work here");
    else if ((r.arena = arena_new()) == NULL || (r.replay = calloc(1, sizeof(*r.replay))) == NULL)
        (void)out_of_memory(&r);
    else if (get(&r, start, sizeof(start)) != 0 || memcmp(start, magic, sizeof(magic)) != 0)
        r.why = "it is no file of `ladle replay`, or of another version of Ladle";
    else if (read_about(&r) == 0 && read_job(&r) == 0 && read_task(&r) == 0 &&
             read_constants(&r) == 0)
        (void)read_sum(&r);
    fclose(r.file);
    arena_free(r.arena);
    if (r.why == NULL)
        return r.replay;
    replay_free(r.replay);
    *why = r.why;
    return NULL;
}

void
replay_free(struct replay *self)
{
    if (self == NULL)
        return;
    for (uint32_t i = 0; self->constants != NULL && i < self->spec->nshared; i++)
        if (self->constants[i] >= 0)
            close(self->constants[i]);
    free(self->constants);
    spec_unref(self->spec);
    blob_unref(self->input);
    free(self->path);
    free(self->directory);
    free(self->worker);
    free(self->text);
    free(self);
}

bool
replay_directory(char *path, size_t size)
{
    const char *own = getenv("LADLE_REPLAY_DIR"), *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int n;

    if (own != NULL)
        n = snprintf(path, size, "%s", own);
    else if (state != NULL && *state == '/')
        n = snprintf(path, size, "%s/ladle/replay", state);
    else if (home != NULL && *home == '/')
        n = snprintf(path, size, "%s/.local/state/ladle/replay", home);
    else
        return false;
    return n > 0 && (size_t)n < size;
}
