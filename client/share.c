/* Shared constants of a session: their bytes, and what is called what.
 *
 * A constant is a memfd: sealed, so that nobody changes it under the tasks that read it, and mapped
 * by the executors of a local pool, which has one copy of it then. It is kept until it has no name
 * any more and no task needs it.
 */
#include "session.h"

#include "../proto/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct constant {
    struct share share; /* first: the core's view of it */
    int fd;
};

struct sharing { /* the names */
    uint32_t count;
    struct shared list[LIMIT_SHARED];
    char paths[LIMIT_SHARED][40];
};

/* ---- bytes ------------------------------------------------------------------------------------
 */

/* A grid's workers ask for it by its SHA-256. Elsewhere the name need only be another one for other
 * bytes, and is made three times as fast. */
static void
digest_of(const futures_t *s, const void *data, size_t size, char *digest)
{
    unsigned char hash[32];
    const unsigned char *bytes = size > 0 ? data : (const unsigned char *)"";

    _Static_assert(sizeof(hash) == crypto_hash_sha256_BYTES, "64 digits");
    if (s->kind == KIND_GRID)
        crypto_hash_sha256(hash, bytes, size);
    else
        crypto_generichash(hash, sizeof(hash), bytes, size, NULL, 0);
    sodium_bin2hex(digest, 2 * sizeof(hash) + 1, hash, sizeof(hash));
}

static int
fill(int fd, const char *data, size_t size)
{
    size_t done = 0;
    ssize_t n;

    while (done < size) {
        n = write(fd, data + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        done += (size_t)n;
    }
    return fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

static struct constant *
constant_new(const char *digest, const void *data, size_t size)
{
    struct constant *c = calloc(1, sizeof(*c));
    int error;

    if (c == NULL)
        return NULL;
    memcpy(c->share.digest, digest, sizeof(c->share.digest));
    c->share.size = size;
    c->fd = memfd_create("ladle-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (c->fd >= 0 && fill(c->fd, data, size) == 0)
        return c;
    error = errno;
    if (c->fd >= 0)
        close(c->fd);
    free(c);
    errno = error;
    return NULL;
}

static void
constant_free(struct constant *c)
{
    close(c->fd);
    free(c);
}

/* ---- names ------------------------------------------------------------------------------------
 */

static struct shared *
find(futures_t *s, const char *name)
{
    for (uint32_t i = 0; s->sharing != NULL && i < s->sharing->count; i++)
        if (strcmp(s->sharing->list[i].name, name) == 0)
            return &s->sharing->list[i];
    return NULL;
}

static bool
is_named(const futures_t *s, const char *digest)
{
    for (uint32_t i = 0; i < s->sharing->count; i++)
        if (strcmp(s->sharing->list[i].digest, digest) == 0)
            return true;
    return false;
}

/* A job says what is shared, beside its own words: any that it may have. */
static bool
has_room(const futures_t *s, const char *name)
{
    uint32_t count = s->sharing == NULL ? 0 : s->sharing->count;
    struct shared all[LIMIT_SHARED];
    struct spec spec = {.program = s->program, .shared = all, .nshared = count + 1};

    for (uint32_t i = 0; i < count; i++)
        all[i] = s->sharing->list[i];
    all[count] = (struct shared){.name = name};
    return spec_bytes(&spec) + LIMIT_TEXT + 2 * LIMIT_NAME <= LIMIT_JOB;
}

/* May `name` be given to these bytes? 1: it has them already; -1 with errno and a sentence. */
static int
check(futures_t *s, const char *name, const char *digest)
{
    const struct shared *known = find(s, name);

    if (s->closed)
        return error_set(ESHUTDOWN, "the session was closed: it shares no more constants");
    if (known != NULL && strcmp(known->digest, digest) == 0)
        return 1;
    if (known != NULL)
        return error_set(EEXIST,
                         "a constant \"%s\" with other content is shared already: call "
                         "futures_unshare() first, or take another name",
                         name);
    if (s->sharing != NULL && s->sharing->count == LIMIT_SHARED)
        return error_set(EINVAL,
                         "%d constants are shared already, as many as there may be: call "
                         "futures_unshare() for one that is not needed",
                         LIMIT_SHARED);
    if (!has_room(s, name))
        return error_set(E2BIG, "the names of all constants, this program's arguments and what its "
                                "config says are too long together: take shorter names");
    return 0;
}

/* From now on tasks know the constant by this name: tasks that were submitted before do not. */
static int
name_it(futures_t *s, const char *name, struct constant *c)
{
    struct sharing *sharing = s->sharing;
    struct shared *shared;
    char *copy = strdup(name);

    if (copy == NULL || (sharing == NULL && (sharing = calloc(1, sizeof(*sharing))) == NULL)) {
        free(copy);
        return -1;
    }
    s->sharing = sharing;
    shared = &sharing->list[sharing->count];
    *shared = (struct shared){.name = copy, .size = c->share.size, .path = ""};
    memcpy(shared->digest, c->share.digest, sizeof(shared->digest));
    if (s->kind != KIND_GRID) {
        snprintf(sharing->paths[sharing->count], sizeof(sharing->paths[0]), "/proc/%ld/fd/%d",
                 (long)getpid(), c->fd);
        shared->path = sharing->paths[sharing->count];
    }
    sharing->count++;
    session_close_singles(s);
    return 0;
}

static void
forget_name(futures_t *s, struct shared *shared)
{
    struct sharing *sharing = s->sharing;
    struct shared *last = &sharing->list[--sharing->count];
    union {
        const char *from;
        char *owned;
    } name = {shared->name};

    free(name.owned);
    if (shared == last)
        return;
    *shared = *last;
    if (*last->path != '\0') {
        shared->path = sharing->paths[shared - sharing->list];
        memcpy(sharing->paths[shared - sharing->list], sharing->paths[sharing->count],
               sizeof(sharing->paths[0]));
    }
}

/* ---- calls ------------------------------------------------------------------------------------
 */

static int
arguments_check(const futures_t *s, const char *name, const void *data, size_t size)
{
    if (name == NULL || *name == '\0')
        return error_set(EINVAL, "the constant has no name");
    if (strlen(name) > LIMIT_NAME)
        return error_set(EINVAL, "the constant's name has %zu bytes: at most %d are allowed",
                         strlen(name), LIMIT_NAME);
    for (const char *at = name; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 127)
            return error_set(EINVAL, "the constant's name has control characters in it");
    if (data == NULL && size > 0)
        return error_set(EINVAL, "the constant is NULL, but has a size of %zu bytes", size);
    if (size > LIMIT_PROGRAM)
        return error_set(E2BIG, "the constant has %zu bytes: at most %u (1 GiB) are allowed", size,
                         LIMIT_PROGRAM);
    if (s->kind != KIND_SERIAL && s->kind != KIND_LOCAL && s->kind != KIND_GRID)
        return error_set(EINVAL,
                         "this is the session of a task: share \"%s\" in that of the "
                         "program, and tasks of tasks find it, too",
                         name);
    if (sodium_init() < 0)
        return error_set(ENOSYS, "libsodium does not work here");
    return 0;
}

/* With the lock held. -1 with errno; 0: `c` is the session's, or, if another thread was faster, not
 * needed. */
static int
add(futures_t *s, const char *name, struct constant *c, bool *taken_p)
{
    struct share *known = core_share_find(s->core, c->share.digest);
    int checked = check(s, name, c->share.digest);

    *taken_p = false;
    if (checked != 0)
        return checked < 0 ? -1 : 0;
    if (name_it(s, name, known != NULL ? (struct constant *)known : c) != 0)
        return error_set(ENOMEM, "out of memory for a constant");
    if (known != NULL) {
        core_offer(s->core, known, true);
    } else {
        core_share(s->core, &c->share);
        *taken_p = true;
    }
    return 0;
}

int
futures_share(futures_t *self, const char *name, const void *data, size_t size)
{
    struct constant *c;
    char digest[65];
    bool taken;
    int failed;

    if (!session_usable(self) || arguments_check(self, name, data, size) != 0)
        return -1;
    if (self->nested != NULL)
        return error_set(EINVAL, "a task cannot share constants: its tasks have those of the "
                                 "session that submitted it");
    digest_of(self, data, size, digest);
    session_lock(self);
    failed = check(self, name, digest);
    session_unlock(self);
    if (failed != 0)
        return failed < 0 ? -1 : 0;
    if ((c = constant_new(digest, data, size)) == NULL)
        return error_set(errno == EMFILE || errno == ENFILE ? errno : ENOMEM,
                         "no room for a constant of %zu bytes: %s", size, strerror(errno));
    session_lock(self);
    failed = add(self, name, c, &taken);
    session_unlock(self);
    if (!taken)
        constant_free(c);
    return failed;
}

int
futures_unshare(futures_t *self, const char *name)
{
    struct shared *shared;
    char digest[65];

    if (!session_usable(self))
        return -1;
    if (name == NULL)
        return error_set(EINVAL, "the constant has no name");
    session_lock(self);
    if ((shared = find(self, name)) == NULL) {
        session_unlock(self);
        return error_set(ENOENT, "no constant \"%s\" is shared", name);
    }
    memcpy(digest, shared->digest, sizeof(digest));
    forget_name(self, shared);
    session_close_singles(self);
    if (!is_named(self, digest))
        core_offer(self->core, core_share_find(self->core, digest), false);
    session_sweep_shares(self);
    session_unlock(self);
    return 0;
}

/* ---- for the rest of the session --------------------------------------------------------------
 */

const struct shared *
session_shared(const futures_t *s, uint32_t *count_p)
{
    *count_p = s->sharing == NULL ? 0 : s->sharing->count;
    return *count_p == 0 ? NULL : s->sharing->list;
}

void
session_sweep_shares(futures_t *s)
{
    struct share *x;

    while ((x = core_share_unneeded(s->core)) != NULL) {
        constant_free((struct constant *)x);
        if (s->serial != NULL)
            serial_forget(s);
    }
}

bool
session_shared_part(futures_t *s, const struct message_program_wanted *wanted,
                    struct message_program_part *part)
{
    struct constant *c;
    uint64_t left;
    size_t size;

    session_lock(s);
    if ((c = (struct constant *)core_share_find(s->core, wanted->digest)) != NULL)
        c->share.jobs++; /* until it is read */
    session_unlock(s);
    if (c == NULL)
        return false;
    *part = (struct message_program_part){
        .digest = wanted->digest, .offset = wanted->offset, .text = "the client is out of memory"};
    left = wanted->offset < c->share.size ? c->share.size - wanted->offset : 0;
    size = left < LIMIT_PART ? (size_t)left : LIMIT_PART;
    part->columns = (struct columns){
        .count = 1, .size = (uint32_t)size, .data = blob_new(size), .length = size};
    if (part->columns.data == NULL ||
        pread(c->fd, part->columns.data->bytes, size, (off_t)wanted->offset) != (ssize_t)size) {
        blob_unref(part->columns.data);
        part->columns = (struct columns){.count = 1};
    } else {
        part->size = c->share.size;
        part->text = "";
    }
    session_lock(s);
    c->share.jobs--;
    session_sweep_shares(s);
    session_unlock(s);
    return true;
}

void
session_drop_shares(futures_t *s)
{
    struct share *x;

    TAILQ_FOREACH (x, &s->core->shares, link)
        core_offer(s->core, x, false);
    session_sweep_shares(s);
}

void
session_free_shares(futures_t *s)
{
    struct share *x;

    while (s->sharing != NULL && s->sharing->count > 0)
        forget_name(s, s->sharing->list);
    free(s->sharing);
    while (s->core != NULL && (x = TAILQ_FIRST(&s->core->shares)) != NULL) {
        TAILQ_REMOVE(&s->core->shares, x, link);
        constant_free((struct constant *)x);
    }
}
