/* fetching.c - how a content gets into the cache: part by part. */
#include "cache.h"

#include "machine.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_FLIGHT 8          /* parts that are asked for: enough for a link of 8 MiB a round trip */
#define PATIENCE_US 10000000 /* then a part is asked for again; twice as long the next time */
#define GIVE_UP_US 60000000  /* without a part: who has it does not give it */
#define CHECK_PARTS 8        /* of a file that was there before, read at once */

static const char *
word_for(enum content kind)
{
    return kind == CONTENT_PROGRAM ? "program" : "constant";
}

struct fetch *
fetch_find(struct programs *s, enum content kind, const char *digest)
{
    struct fetch *f;

    LIST_FOREACH (f, &s->fetches, next)
        if (f->kind == kind && strcmp(f->digest, digest) == 0)
            return f;
    return NULL;
}

void
fetch_end(struct programs *s, struct fetch *f)
{
    LIST_REMOVE(f, next);
    s->flying -= f->flying;
    if (f->old >= 0)
        close(f->old);
    if (f->fd >= 0) {
        close(f->fd);
        unlink(f->file);
    }
    free(f->have);
    free(f);
}

int
programs_fetch(struct programs *s, enum content kind, const char *digest, const char *name,
               int64_t now)
{
    struct fetch *f = fetch_find(s, kind, digest);
    char file[FILE_NAME];

    if (f != NULL)
        return 0;
    if ((f = calloc(1, sizeof(*f))) == NULL)
        return -1;
    f->kind = kind;
    snprintf(f->digest, sizeof(f->digest), "%s", digest);
    snprintf(f->name, sizeof(f->name), "%s", name);
    f->fd = f->old = -1;
    if (kind == CONTENT_CONSTANT && cache_is_digest(digest)) {
        cache_file_name(kind, digest, file);
        snprintf(s->path, sizeof(s->path), "%s/%s", s->directory, file);
        f->old = open(s->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    }
    f->heard = f->came = now;
    f->patience = PATIENCE_US;
    crypto_hash_sha256_init(&f->hash);
    LIST_INSERT_HEAD(&s->fetches, f, next);
    return 0;
}

bool
programs_wanted(struct programs *s, const char **digest_p, uint64_t *offset_p, int64_t now)
{
    struct fetch *f;

    LIST_FOREACH (f, &s->fetches, next) {
        if (f->old >= 0)
            continue;
        if (f->flying > 0 && now - f->heard >= f->patience) {
            f->patience *= 2; /* it may be under way: a slow link is not to be filled with it */
            f->heard = now;
            s->flying -= f->flying;
            f->flying = 0;
            f->asked = 0;
        }
        /* How many parts there are is told by the first. */
        while (f->size > 0 && f->asked < f->nparts && f->have[f->asked])
            f->asked++;
        if (f->size == 0 ? f->asked > 0 : s->flying >= IN_FLIGHT || f->asked >= f->nparts)
            continue;
        *digest_p = f->digest;
        *offset_p = f->asked++ * LIMIT_PART;
        f->flying++;
        s->flying++;
        return true;
    }
    return false;
}

int64_t
programs_deadline(const struct programs *s)
{
    int64_t at = CLOCK_NEVER;
    const struct fetch *f;

    LIST_FOREACH (f, &s->fetches, next) {
        if (f->old >= 0)
            return 0;
        if (f->flying > 0 && f->heard + f->patience < at)
            at = f->heard + f->patience;
        if (f->flying > 0 && f->came + GIVE_UP_US < at)
            at = f->came + GIVE_UP_US;
    }
    return at;
}

bool
programs_given_up(struct programs *s, enum content *kind_p, char digest[65], int64_t now,
                  const char **why)
{
    struct fetch *f;

    LIST_FOREACH (f, &s->fetches, next)
        if (f->old < 0 && f->flying > 0 && now - f->came >= GIVE_UP_US)
            break;
    if (f == NULL)
        return false;
    snprintf(s->why, sizeof(s->why), "%s '%s' cannot be had: its client has sent nothing for %d s",
             word_for(f->kind), f->name, GIVE_UP_US / 1000000);
    *why = s->why;
    *kind_p = f->kind;
    memcpy(digest, f->digest, sizeof(f->digest));
    fetch_end(s, f);
    return true;
}

/* All of the old file was read: is it what it should be? Else it is fetched anew. */
static bool
end_check(struct programs *s, struct fetch *f)
{
    char file[FILE_NAME], path[PATH_MAX], digest[DIGEST + 1];

    close(f->old);
    f->old = -1;
    cache_file_name(f->kind, f->digest, file);
    cache_finish_hash(&f->hash, digest);
    crypto_hash_sha256_init(&f->hash);
    if (strcmp(digest, f->digest) == 0) {
        cache_remember(s, file);
        return true;
    }
    snprintf(path, sizeof(path), "%s/%s", s->directory, file);
    unlink(path);
    return false;
}

bool
programs_check(struct programs *s, char digest[65])
{
    static unsigned char bytes[LIMIT_PART];
    struct fetch *f;
    ssize_t n = 1;

    LIST_FOREACH (f, &s->fetches, next)
        if (f->old >= 0)
            break;
    if (f == NULL)
        return false;
    for (int i = 0; i < CHECK_PARTS && n > 0; i++)
        if ((n = read(f->old, bytes, sizeof(bytes))) > 0)
            crypto_hash_sha256_update(&f->hash, bytes, (size_t)n);
    if (n > 0 || !end_check(s, f))
        return false;
    memcpy(digest, f->digest, sizeof(f->digest));
    fetch_end(s, f);
    return true;
}

static int
cannot_keep(struct programs *s, const struct fetch *f)
{
    snprintf(s->why, sizeof(s->why), "%s '%s' cannot be kept in %s: %s", word_for(f->kind), f->name,
             s->directory, strerror(errno));
    return -1;
}

/* The size is known: make the file. */
static int
open_file(struct programs *s, struct fetch *f, uint64_t size)
{
    if (size > LIMIT_PROGRAM || cache_evict(s, size) != 0) {
        snprintf(s->why, sizeof(s->why),
                 "%s '%s' has %llu MiB, and no more than %llu MiB of programs and constants are "
                 "kept here: see ladle-worker --cache-size",
                 word_for(f->kind), f->name, (unsigned long long)((size >> 20) + 1),
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
            snprintf(s->why, sizeof(s->why), "%s '%s' cannot be read again from %s: %s",
                     word_for(f->kind), f->name, s->directory,
                     n < 0 ? strerror(errno) : "it was cut off");
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
    char digest[DIGEST + 1], file[FILE_NAME];
    const char *machine;

    cache_finish_hash(&f->hash, digest);
    if (strcmp(digest, f->digest) != 0) {
        snprintf(s->why, sizeof(s->why),
                 "%s '%s' came damaged, or was changed since its client announced it: start "
                 "the client again",
                 word_for(f->kind), f->name);
        return -1;
    }
    if (f->kind == CONTENT_PROGRAM && machine_of_file(f->file, &machine) == 0 && *machine != '\0' &&
        strcmp(machine, machine_host()) != 0) {
        snprintf(s->why, sizeof(s->why), "program '%s' is for %s, this worker is %s", f->name,
                 machine, machine_host());
        return -1;
    }
    cache_file_name(f->kind, f->digest, file);
    snprintf(s->path, sizeof(s->path), "%s/%s", s->directory, file);
    /* Closed first: a file that is open for writing cannot be executed. */
    if (fchmod(f->fd, f->kind == CONTENT_PROGRAM ? 0500 : 0400) != 0 || close(f->fd) != 0 ||
        rename(f->file, s->path) != 0) {
        return cannot_keep(s, f);
    }
    f->fd = -1;
    cache_remember(s, file);
    return 0;
}

static int
accept_part(struct programs *s, struct fetch *f, const struct message_program_part *part)
{
    const struct columns *c = &part->columns;
    uint64_t due;

    if (part->size == 0) {
        snprintf(s->why, sizeof(s->why), "%s '%s' cannot be had: %s", word_for(f->kind), f->name,
                 part->text != NULL && *part->text != '\0' ? part->text : "its client is gone");
        return -1;
    }
    if (f->size == 0 && open_file(s, f, part->size) != 0)
        return -1;
    due = part->offset < f->size ? f->size - part->offset : 0;
    if (part->size != f->size || part->offset % LIMIT_PART != 0 || due == 0 ||
        c->length != (due < LIMIT_PART ? due : LIMIT_PART)) {
        snprintf(s->why, sizeof(s->why), "%s '%s' came in parts that do not fit together",
                 word_for(f->kind), f->name);
        return -1;
    }
    if (write_part(s, f, part->offset, c) != 0 || hash_on(s, f) != 0)
        return -1;
    if (f->nhave < f->nparts)
        return 0;
    return complete(s, f) == 0 ? 1 : -1;
}

int
programs_part(struct programs *s, enum content kind, const struct message_program_part *part,
              int64_t now, const char **why)
{
    struct fetch *f = fetch_find(s, kind, part->digest);
    int result;

    if (f == NULL || f->old >= 0)
        return 0;
    f->heard = f->came = now;
    if (f->flying > 0) {
        f->flying--;
        s->flying--;
    }
    result = accept_part(s, f, part);
    *why = s->why;
    if (result != 0)
        fetch_end(s, f);
    return result;
}
