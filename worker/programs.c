#include "programs.h"

#include "machine.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define IN_FLIGHT 3
#define PATIENCE_US 10000000 /* then a part is asked for again */
#define STALE_S 86400        /* a part file of that age belongs to nobody any more */
#define DIGEST 64            /* hexadecimal digits */

struct fetch {
    LIST_ENTRY(fetch) next;
    char digest[DIGEST + 1];
    char name[LIMIT_NAME + 1];
    char file[PATH_MAX];
    int fd;
    uint64_t size; /* 0: not known until the first part is here */
    uint8_t *have; /* of each part */
    uint64_t nparts, nhave;
    uint64_t asked; /* parts below this one were asked for */
    unsigned flying;
    uint64_t hashed; /* parts below this one went into the hash */
    crypto_hash_sha256_state hash;
    int64_t heard;
};

struct checked { /* digests of files that were read whole since the start */
    LIST_ENTRY(checked) next;
    char digest[DIGEST + 1];
};

struct programs {
    char directory[PATH_MAX - 128];
    uint64_t budget;
    bool (*used)(void *arg, const char *digest);
    void *arg;
    LIST_HEAD(, fetch) fetches;
    LIST_HEAD(, checked) checked;
    char path[PATH_MAX];
    char why[PATH_MAX + 1024];
};

static void
sweep(struct programs *s)
{
    DIR *dir = opendir(s->directory);
    const struct dirent *d;
    struct stat st;

    if (dir == NULL)
        return;
    while ((d = readdir(dir)) != NULL)
        if (strncmp(d->d_name, "part.", 5) == 0 &&
            fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            time(NULL) - st.st_mtime > STALE_S)
            unlinkat(dirfd(dir), d->d_name, 0);
    closedir(dir);
}

struct programs *
programs_open(const char *directory, uint64_t cache_bytes,
              bool (*used)(void *arg, const char *digest), void *arg)
{
    struct programs *s;
    int error;

    if (sodium_init() < 0) {
        errno = ENOSYS;
        return NULL;
    }
    if ((s = calloc(1, sizeof(*s))) == NULL)
        return NULL;
    LIST_INIT(&s->fetches);
    LIST_INIT(&s->checked);
    s->budget = cache_bytes;
    s->used = used;
    s->arg = arg;
    if ((size_t)snprintf(s->directory, sizeof(s->directory), "%s/programs", directory) >=
        sizeof(s->directory)) {
        free(s);
        errno = ENAMETOOLONG;
        return NULL;
    }
    if ((mkdir(directory, 0777) != 0 && errno != EEXIST) ||
        (mkdir(s->directory, 0700) != 0 && errno != EEXIST) ||
        access(s->directory, R_OK | W_OK | X_OK) != 0) {
        error = errno;
        free(s);
        errno = error;
        return NULL;
    }
    sweep(s);
    return s;
}

static void
end_fetch(struct fetch *f)
{
    LIST_REMOVE(f, next);
    if (f->fd >= 0) {
        close(f->fd);
        unlink(f->file);
    }
    free(f->have);
    free(f);
}

void
programs_stop(struct programs *s)
{
    while (!LIST_EMPTY(&s->fetches))
        end_fetch(LIST_FIRST(&s->fetches));
}

void
programs_close(struct programs *s)
{
    struct checked *c;

    if (s == NULL)
        return;
    programs_stop(s);
    while ((c = LIST_FIRST(&s->checked)) != NULL) {
        LIST_REMOVE(c, next);
        free(c);
    }
    free(s);
}

/* ---- what is here ------------------------------------------------------------------------------
 */

static bool
is_digest(const char *digest)
{
    return strlen(digest) == DIGEST && strspn(digest, "0123456789abcdef") == DIGEST;
}

static void
finish_hash(crypto_hash_sha256_state *hash, char digest[DIGEST + 1])
{
    unsigned char bytes[crypto_hash_sha256_BYTES];

    crypto_hash_sha256_final(hash, bytes);
    sodium_bin2hex(digest, DIGEST + 1, bytes, sizeof(bytes));
}

static bool
file_is(const char *path, const char *digest)
{
    unsigned char bytes[64 << 10];
    crypto_hash_sha256_state hash;
    char found[DIGEST + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n;

    if (fd < 0)
        return false;
    crypto_hash_sha256_init(&hash);
    while ((n = read(fd, bytes, sizeof(bytes))) > 0)
        crypto_hash_sha256_update(&hash, bytes, (size_t)n);
    close(fd);
    finish_hash(&hash, found);
    return n == 0 && strcmp(found, digest) == 0;
}

static bool
was_checked(const struct programs *s, const char *digest)
{
    const struct checked *c;

    LIST_FOREACH (c, &s->checked, next)
        if (strcmp(c->digest, digest) == 0)
            return true;
    return false;
}

static void
remember_checked(struct programs *s, const char *digest)
{
    struct checked *c;

    if (was_checked(s, digest) || (c = calloc(1, sizeof(*c))) == NULL)
        return; /* at worst it is read again */
    memcpy(c->digest, digest, DIGEST);
    LIST_INSERT_HEAD(&s->checked, c, next);
}

const char *
programs_path(struct programs *s, const char *digest)
{
    if (!is_digest(digest))
        return NULL;
    snprintf(s->path, sizeof(s->path), "%s/%s", s->directory, digest);
    if (access(s->path, F_OK) != 0)
        return NULL;
    if (!was_checked(s, digest)) {
        if (!file_is(s->path, digest)) {
            unlink(s->path); /* damaged: fetched anew */
            return NULL;
        }
        remember_checked(s, digest);
    }
    utimensat(AT_FDCWD, s->path, NULL, 0);
    return s->path;
}

/* ---- room --------------------------------------------------------------------------------------
 */

struct survey {
    uint64_t bytes;
    char oldest[DIGEST + 1]; /* of those that may go; "" if none */
    struct timespec used;
};

static bool
earlier(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

static void
survey(struct programs *s, struct survey *found)
{
    DIR *dir = opendir(s->directory);
    const struct dirent *d;
    struct stat st;

    memset(found, 0, sizeof(*found));
    if (dir == NULL)
        return;
    while ((d = readdir(dir)) != NULL) {
        if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        if (strncmp(d->d_name, "part.", 5) == 0 || is_digest(d->d_name))
            found->bytes += (uint64_t)st.st_size;
        if (!is_digest(d->d_name) || (s->used != NULL && s->used(s->arg, d->d_name)))
            continue;
        if (found->oldest[0] == '\0' || earlier(&st.st_mtim, &found->used)) {
            memcpy(found->oldest, d->d_name, DIGEST + 1);
            found->used = st.st_mtim;
        }
    }
    closedir(dir);
}

/* Make room for `size` more bytes. -1 if all that is left is in use. */
static int
evict(struct programs *s, uint64_t size)
{
    char path[PATH_MAX];
    struct survey found;

    for (;;) {
        survey(s, &found);
        if (size <= s->budget && found.bytes <= s->budget - size)
            return 0;
        if (found.oldest[0] == '\0')
            return -1;
        snprintf(path, sizeof(path), "%s/%s", s->directory, found.oldest);
        if (unlink(path) != 0 && errno != ENOENT)
            return -1;
    }
}

/* ---- fetching ----------------------------------------------------------------------------------
 */

static struct fetch *
find_fetch(struct programs *s, const char *digest)
{
    struct fetch *f;

    LIST_FOREACH (f, &s->fetches, next)
        if (strcmp(f->digest, digest) == 0)
            return f;
    return NULL;
}

int
programs_fetch(struct programs *s, const struct program *program, int64_t now)
{
    struct fetch *f = find_fetch(s, program->digest);

    if (f != NULL)
        return 0;
    if ((f = calloc(1, sizeof(*f))) == NULL)
        return -1;
    snprintf(f->digest, sizeof(f->digest), "%s", program->digest);
    snprintf(f->name, sizeof(f->name), "%s", program->name);
    f->fd = -1;
    f->heard = now;
    crypto_hash_sha256_init(&f->hash);
    LIST_INSERT_HEAD(&s->fetches, f, next);
    return 0;
}

bool
programs_wanted(struct programs *s, const char **digest_p, uint64_t *offset_p, int64_t now)
{
    struct fetch *f;

    LIST_FOREACH (f, &s->fetches, next) {
        if (f->flying > 0 && now - f->heard >= PATIENCE_US) {
            f->heard = now;
            f->flying = 0;
            f->asked = 0;
        }
        /* How many parts there are is told by the first. */
        while (f->size > 0 && f->asked < f->nparts && f->have[f->asked])
            f->asked++;
        if (f->size == 0 ? f->asked > 0 : f->flying >= IN_FLIGHT || f->asked >= f->nparts)
            continue;
        *digest_p = f->digest;
        *offset_p = f->asked++ * LIMIT_PART;
        f->flying++;
        return true;
    }
    return false;
}

int64_t
programs_deadline(const struct programs *s)
{
    int64_t at = CLOCK_NEVER;
    const struct fetch *f;

    LIST_FOREACH (f, &s->fetches, next)
        if (f->flying > 0 && f->heard + PATIENCE_US < at)
            at = f->heard + PATIENCE_US;
    return at;
}

static int
cannot_keep(struct programs *s, const struct fetch *f)
{
    snprintf(s->why, sizeof(s->why), "program '%s' cannot be kept in %s: %s", f->name, s->directory,
             strerror(errno));
    return -1;
}

/* The size is known: make the file. */
static int
open_file(struct programs *s, struct fetch *f, uint64_t size)
{
    if (size > LIMIT_PROGRAM || evict(s, size) != 0) {
        snprintf(s->why, sizeof(s->why),
                 "program '%s' has %llu MiB, and no more than %llu MiB of programs are kept here: "
                 "see ladle-worker --cache-size",
                 f->name, (unsigned long long)((size >> 20) + 1),
                 (unsigned long long)(s->budget >> 20));
        return -1;
    }
    f->nparts = (size + LIMIT_PART - 1) / LIMIT_PART;
    snprintf(f->file, sizeof(f->file), "%s/part.XXXXXX", s->directory);
    f->fd = mkostemp(f->file, O_CLOEXEC);
    if (f->fd < 0 || (errno = posix_fallocate(f->fd, 0, (off_t)size)) != 0 ||
        (f->have = calloc(f->nparts, 1)) == NULL) {
        return cannot_keep(s, f);
    }
    f->size = size;
    return 0;
}

/* Hash what came without a gap. */
static int
hash_on(struct programs *s, struct fetch *f)
{
    static unsigned char bytes[LIMIT_PART];
    ssize_t n;

    for (; f->hashed < f->nparts && f->have[f->hashed]; f->hashed++) {
        uint64_t at = f->hashed * LIMIT_PART;
        size_t size = f->size - at < LIMIT_PART ? (size_t)(f->size - at) : LIMIT_PART;

        if ((n = pread(f->fd, bytes, size, (off_t)at)) != (ssize_t)size) {
            snprintf(s->why, sizeof(s->why), "program '%s' cannot be read again from %s: %s",
                     f->name, s->directory, n < 0 ? strerror(errno) : "it was cut off");
            return -1;
        }
        crypto_hash_sha256_update(&f->hash, bytes, size);
    }
    return 0;
}

static int
write_part(struct programs *s, struct fetch *f, uint64_t offset, const struct columns *c)
{
    size_t done = 0;
    ssize_t n;

    while (done < c->length) {
        n = pwrite(f->fd, c->data->bytes + c->at + done, c->length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            return cannot_keep(s, f);
        }
        done += (size_t)n;
    }
    if (!f->have[offset / LIMIT_PART]) {
        f->have[offset / LIMIT_PART] = 1;
        f->nhave++;
    }
    return 0;
}

/* All is there: is it what it should be? Then it gets its name. */
static int
complete(struct programs *s, struct fetch *f)
{
    char digest[DIGEST + 1];
    const char *machine;

    finish_hash(&f->hash, digest);
    if (strcmp(digest, f->digest) != 0) {
        snprintf(s->why, sizeof(s->why),
                 "program '%s' came damaged, or was changed since its client announced it: start "
                 "the client again",
                 f->name);
        return -1;
    }
    if (machine_of_file(f->file, &machine) == 0 && *machine != '\0' &&
        strcmp(machine, machine_host()) != 0) {
        snprintf(s->why, sizeof(s->why), "program '%s' is for %s, this worker is %s", f->name,
                 machine, machine_host());
        return -1;
    }
    snprintf(s->path, sizeof(s->path), "%s/%s", s->directory, f->digest);
    /* Closed first: a file that is open for writing cannot be executed. */
    if (fchmod(f->fd, 0500) != 0 || close(f->fd) != 0 || rename(f->file, s->path) != 0) {
        return cannot_keep(s, f);
    }
    f->fd = -1;
    remember_checked(s, f->digest);
    return 0;
}

static int
accept_part(struct programs *s, struct fetch *f, const struct message_program_part *part)
{
    const struct columns *c = &part->columns;
    uint64_t due;

    if (part->size == 0) {
        snprintf(s->why, sizeof(s->why), "program '%s' cannot be had: %s", f->name,
                 part->text != NULL && *part->text != '\0' ? part->text : "its client is gone");
        return -1;
    }
    if (f->size == 0 && open_file(s, f, part->size) != 0)
        return -1;
    due = part->offset < f->size ? f->size - part->offset : 0;
    if (part->size != f->size || part->offset % LIMIT_PART != 0 || due == 0 ||
        c->length != (due < LIMIT_PART ? due : LIMIT_PART)) {
        snprintf(s->why, sizeof(s->why), "program '%s' came in parts that do not fit together",
                 f->name);
        return -1;
    }
    if (write_part(s, f, part->offset, c) != 0 || hash_on(s, f) != 0)
        return -1;
    if (f->nhave < f->nparts)
        return 0;
    return complete(s, f) == 0 ? 1 : -1;
}

int
programs_part(struct programs *s, const struct message_program_part *part, int64_t now,
              const char **why)
{
    struct fetch *f = find_fetch(s, part->digest);
    int result;

    if (f == NULL)
        return 0;
    f->heard = now;
    if (f->flying > 0)
        f->flying--;
    result = accept_part(s, f, part);
    *why = s->why;
    if (result != 0)
        end_fetch(f);
    return result;
}
