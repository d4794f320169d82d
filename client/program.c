/* This executable: what it is, how it was called, and its bytes for workers that want them. */
#include "session.h"

#include "../proto/limits.h"
#include "../worker/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SELF "/proc/self/exe"

struct executable {
    int fd;
    bool digested;
    struct program program;
    char path[4096];
    char name[LIMIT_NAME + 1];
    char *arguments;
};

/* argv as the kernel keeps it: each ended by NUL. Whole arguments only, as many as a message
 * takes. */
static int
read_arguments(struct executable *e)
{
    size_t size = 0;
    ssize_t n;
    int fd;

    if ((e->arguments = malloc(LIMIT_ARGUMENTS + 1)) == NULL)
        return -1;
    if ((fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC)) < 0)
        return -1;
    while (size <= LIMIT_ARGUMENTS &&
           (n = read(fd, e->arguments + size, LIMIT_ARGUMENTS + 1 - size)) > 0)
        size += (size_t)n;
    close(fd);
    if (size > LIMIT_ARGUMENTS)
        size = LIMIT_ARGUMENTS;
    while (size > 0 && e->arguments[size - 1] != '\0')
        size--;
    e->program.arguments = e->arguments;
    e->program.arguments_size = (uint32_t)size;
    return 0;
}

static int
read_header(struct executable *e)
{
    unsigned char header[MACHINE_HEADER];
    struct stat st;

    if ((e->fd = open(SELF, O_RDONLY | O_CLOEXEC)) < 0 || fstat(e->fd, &st) != 0)
        return error_set(errno, "cannot open this program's own executable: %s", strerror(errno));
    if (st.st_size > (off_t)LIMIT_PROGRAM)
        return error_set(E2BIG,
                         "this program has %lld bytes, and at most %u can be shipped to workers: "
                         "link it with shared libraries, or strip it",
                         (long long)st.st_size, LIMIT_PROGRAM);
    if (pread(e->fd, header, sizeof(header), 0) != (ssize_t)sizeof(header))
        return error_set(ENOEXEC, "this program's own executable cannot be read");
    e->program.size = (uint64_t)st.st_size;
    e->program.machine = machine_of_header(header, sizeof(header));
    return 0;
}

/* The path of the executable, if it still leads to it; else the kernel's own link. */
static void
find_path(struct executable *e)
{
    struct stat a, b;
    ssize_t n = readlink(SELF, e->path, sizeof(e->path) - 1);
    const char *slash;

    e->path[n > 0 ? n : 0] = '\0';
    slash = strrchr(e->path, '/');
    snprintf(e->name, sizeof(e->name), "%s", slash == NULL ? "program" : slash + 1);
    for (char *c = e->name; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    e->program.name = e->name;
    if (n <= 0 || stat(SELF, &a) != 0 || stat(e->path, &b) != 0 || a.st_dev != b.st_dev ||
        a.st_ino != b.st_ino)
        strcpy(e->path, SELF);
}

struct executable *
executable_new(bool whole)
{
    struct executable *e;

    if ((e = calloc(1, sizeof(*e))) == NULL)
        return NULL;
    e->fd = -1;
    e->program.machine = "";
    find_path(e);
    if (read_arguments(e) != 0) {
        executable_free(e);
        return error_null(errno, "cannot read this program's arguments: %s", strerror(errno));
    }
    if (whole && read_header(e) != 0) {
        executable_free(e);
        return NULL;
    }
    /* In a local pool there is one program, and nobody looks for it by its digest: that is made
     * when a task fails. */
    memset(e->program.digest, '0', sizeof(e->program.digest) - 1);
    return e;
}

void
executable_free(struct executable *e)
{
    int error = errno;

    if (e == NULL)
        return;
    if (e->fd >= 0)
        close(e->fd);
    free(e->arguments);
    free(e);
    errno = error;
}

const struct program *
executable_program(const struct executable *e)
{
    return &e->program;
}

const char *
executable_path(const struct executable *e)
{
    return e->path;
}

int
executable_digest(struct executable *e)
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_state state;
    unsigned char *room;
    off_t at = 0;
    ssize_t n;

    if (e->digested)
        return 0;
    if (e->fd < 0 && (e->fd = open(SELF, O_RDONLY | O_CLOEXEC)) < 0)
        return error_set(errno, "cannot open this program's own executable: %s", strerror(errno));
    if ((room = malloc(LIMIT_PART)) == NULL)
        return error_set(ENOMEM, "out of memory");
    crypto_hash_sha256_init(&state);
    while ((n = pread(e->fd, room, LIMIT_PART, at)) > 0) {
        crypto_hash_sha256_update(&state, room, (unsigned long long)n);
        at += n;
    }
    free(room);
    if (n < 0)
        return error_set(errno, "cannot read this program's executable: %s", strerror(errno));
    crypto_hash_sha256_final(&state, digest);
    sodium_bin2hex(e->program.digest, sizeof(e->program.digest), digest, sizeof(digest));
    e->program.size = (uint64_t)at;
    e->digested = true;
    return 0;
}

void
executable_part(const struct executable *e, const struct message_program_wanted *wanted,
                struct message_program_part *part)
{
    uint64_t left = wanted->offset < e->program.size ? e->program.size - wanted->offset : 0;
    size_t size = left < LIMIT_PART ? (size_t)left : LIMIT_PART;
    struct blob *data = NULL;

    *part = (struct message_program_part){
        .digest = wanted->digest, .offset = wanted->offset, .text = ""};
    if (strcmp(wanted->digest, e->program.digest) != 0) {
        part->text = "the client runs another program by now";
        return;
    }
    if (size > 0 && ((data = blob_new(size)) == NULL ||
                     pread(e->fd, data->bytes, size, (off_t)wanted->offset) != (ssize_t)size)) {
        blob_unref(data);
        part->text = "the client cannot read its own executable";
        return;
    }
    part->size = e->program.size;
    part->columns =
        (struct columns){.count = 1, .size = (uint32_t)size, .data = data, .length = size};
}
