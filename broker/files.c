#include "files.h"

#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIGEST = 64, READ_BYTES = 1 << 20 };

struct files {
    char path[PATH_MAX];
};

struct name {
    char text[PATH_MAX + 80];
};

static struct name
name_of(const struct files *f, const char *digest, bool part)
{
    struct name n;

    snprintf(n.text, sizeof(n.text), "%s/%.64s%s", f->path, digest, part ? ".part" : "");
    return n;
}

struct files *
files_open(const char *path)
{
    struct files *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return NULL;
    snprintf(f->path, sizeof(f->path), "%s", path);
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return f;
    free(f);
    return NULL;
}

void
files_close(struct files *f)
{
    free(f);
}

bool
files_have(const struct files *f, const char *digest)
{
    struct name n = name_of(f, digest, false);

    return access(n.text, R_OK) == 0;
}

static int
write_all(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t n = pwrite(fd, data, size, (off_t)offset);

        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            data += n;
            size -= (size_t)n;
            offset += (uint64_t)n;
        }
    }
    return 0;
}

int
files_write(struct files *f, const char *digest, uint64_t offset, const void *data, size_t size)
{
    struct name n = name_of(f, digest, true);
    int fd = open(n.text, O_WRONLY | O_CREAT | O_CLOEXEC | (offset == 0 ? O_TRUNC : 0), 0600);
    int failed, error;

    if (fd < 0)
        return -1;
    store_step();
    failed = write_all(fd, data, size, offset);
    error = errno;
    if (close(fd) != 0 && failed == 0) {
        error = errno;
        failed = -1;
    }
    if (failed != 0)
        unlink(n.text);
    errno = error;
    return failed;
}

/* Of the file as it is on disk. */
static int
digest_of(int fd, char hex[DIGEST + 1])
{
    uint8_t digest[crypto_hash_sha256_BYTES], *buffer = malloc(READ_BYTES);
    crypto_hash_sha256_state state;
    ssize_t n = -1;

    if (buffer == NULL)
        return -1;
    crypto_hash_sha256_init(&state);
    for (off_t at = 0; (n = pread(fd, buffer, READ_BYTES, at)) > 0; at += n)
        crypto_hash_sha256_update(&state, buffer, (size_t)n);
    free(buffer);
    crypto_hash_sha256_final(&state, digest);
    sodium_bin2hex(hex, DIGEST + 1, digest, sizeof(digest));
    return n < 0 ? -1 : 0;
}

static int
sync_folder(const struct files *f)
{
    int fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed;

    if (fd < 0)
        return -1;
    failed = fsync(fd);
    close(fd);
    return failed;
}

int
files_finish(struct files *f, const char *digest)
{
    struct name part = name_of(f, digest, true), whole = name_of(f, digest, false);
    int fd = open(part.text, O_RDONLY | O_CLOEXEC), failed, error;
    char hex[DIGEST + 1] = "";

    if (fd < 0)
        return -1;
    if ((failed = digest_of(fd, hex)) == 0 && strcmp(hex, digest) != 0) {
        errno = EILSEQ;
        failed = -1;
    }
    store_step();
    if (failed == 0)
        failed = fsync(fd);
    error = errno;
    close(fd);
    if (failed == 0) {
        store_step();
        failed = rename(part.text, whole.text) == 0 ? sync_folder(f) : -1;
        error = errno;
    } else {
        unlink(part.text);
    }
    errno = error;
    return failed;
}

struct blob *
files_read(const struct files *f, const char *digest, uint64_t offset, size_t most,
           uint64_t *size_p)
{
    struct name n = name_of(f, digest, false);
    int fd = open(n.text, O_RDONLY | O_CLOEXEC);
    struct blob *blob = NULL;
    struct stat st;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && offset <= (uint64_t)st.st_size) {
        *size_p = (uint64_t)st.st_size;
        if (*size_p - offset < most)
            most = (size_t)(*size_p - offset);
        blob = blob_new(most);
    }
    if (blob != NULL && pread(fd, blob->bytes, most, (off_t)offset) != (ssize_t)most) {
        blob_unref(blob);
        blob = NULL;
        errno = EIO;
    }
    close(fd);
    return blob;
}

void
files_sweep(struct files *f, bool (*wanted)(void *arg, const char *digest), void *arg)
{
    DIR *folder = opendir(f->path);
    struct dirent *e;

    if (folder == NULL)
        return;
    while ((e = readdir(folder)) != NULL) {
        char digest[DIGEST + 1];

        if (e->d_name[0] == '.')
            continue;
        snprintf(digest, sizeof(digest), "%.64s", e->d_name);
        if (!wanted(arg, digest))
            (void)unlinkat(dirfd(folder), e->d_name, 0);
    }
    closedir(folder);
}
