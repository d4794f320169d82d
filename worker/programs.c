#include "cache.h"

#include "../proto/limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STALE_S 86400 /* a part file of that age belongs to nobody any more */

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

void
programs_stop(struct programs *s)
{
    while (!LIST_EMPTY(&s->fetches))
        fetch_end(s, LIST_FIRST(&s->fetches));
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

bool
cache_is_digest(const char *digest)
{
    return strlen(digest) == DIGEST && strspn(digest, "0123456789abcdef") == DIGEST;
}

void
cache_file_name(enum content kind, const char *digest, char name[FILE_NAME])
{
    snprintf(name, FILE_NAME, "%s%.*s", kind == CONTENT_PROGRAM ? "" : SHARED, DIGEST, digest);
}

/* The digest in the name of a file of the cache; NULL: it is none. */
static const char *
digest_in(const char *name)
{
    if (strncmp(name, SHARED, strlen(SHARED)) == 0)
        name += strlen(SHARED);
    return cache_is_digest(name) ? name : NULL;
}

void
cache_finish_hash(crypto_hash_sha256_state *hash, char digest[DIGEST + 1])
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
    cache_finish_hash(&hash, found);
    return n == 0 && strcmp(found, digest) == 0;
}

static bool
was_checked(const struct programs *s, const char *file)
{
    const struct checked *c;

    LIST_FOREACH (c, &s->checked, next)
        if (strcmp(c->file, file) == 0)
            return true;
    return false;
}

void
cache_remember(struct programs *s, const char *file)
{
    struct checked *c;

    if (was_checked(s, file) || (c = calloc(1, sizeof(*c))) == NULL)
        return; /* at worst it is read again */
    snprintf(c->file, sizeof(c->file), "%s", file);
    LIST_INSERT_HEAD(&s->checked, c, next);
}

const char *
programs_path(struct programs *s, enum content kind, const char *digest)
{
    char file[FILE_NAME];

    if (!cache_is_digest(digest))
        return NULL;
    cache_file_name(kind, digest, file);
    snprintf(s->path, sizeof(s->path), "%s/%s", s->directory, file);
    if (access(s->path, F_OK) != 0)
        return NULL;
    if (!was_checked(s, file)) {
        if (kind == CONTENT_CONSTANT)
            return NULL; /* it may be large: programs_check() */
        if (!file_is(s->path, digest)) {
            unlink(s->path); /* damaged: fetched anew */
            return NULL;
        }
        cache_remember(s, file);
    }
    utimensat(AT_FDCWD, s->path, NULL, 0);
    return s->path;
}

/* ---- room --------------------------------------------------------------------------------------
 */

struct survey {
    uint64_t bytes;
    char oldest[FILE_NAME]; /* of those that may go; "" if none */
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
    const char *digest;
    struct stat st;

    memset(found, 0, sizeof(*found));
    if (dir == NULL)
        return;
    while ((d = readdir(dir)) != NULL) {
        if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        digest = digest_in(d->d_name);
        if (strncmp(d->d_name, "part.", 5) == 0 || digest != NULL)
            found->bytes += (uint64_t)st.st_size;
        if (digest == NULL || (s->used != NULL && s->used(s->arg, digest)))
            continue;
        if (found->oldest[0] == '\0' || earlier(&st.st_mtim, &found->used)) {
            memcpy(found->oldest, d->d_name, strlen(d->d_name) + 1);
            found->used = st.st_mtim;
        }
    }
    closedir(dir);
}

int
cache_evict(struct programs *s, uint64_t size)
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

void
programs_drop(struct programs *s, enum content kind, const char *digest)
{
    struct fetch *f = fetch_find(s, kind, digest);
    char file[FILE_NAME], path[PATH_MAX];
    struct checked *c;

    if (f != NULL)
        fetch_end(s, f);
    if (!cache_is_digest(digest))
        return;
    cache_file_name(kind, digest, file);
    snprintf(path, sizeof(path), "%s/%s", s->directory, file);
    unlink(path);
    LIST_FOREACH (c, &s->checked, next)
        if (strcmp(c->file, file) == 0)
            break;
    if (c == NULL)
        return;
    LIST_REMOVE(c, next);
    free(c);
}
