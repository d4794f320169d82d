/* cache.h - what programs.c (what is here, and room for it) and fetching.c share. */
#ifndef LADLE_CACHE_H
#define LADLE_CACHE_H

#include "programs.h"

#include "../proto/limits.h"

#include <limits.h>
#include <sodium.h>
#include <sys/queue.h>

#define DIGEST 64        /* hexadecimal digits */
#define SHARED "shared." /* what the file of a constant begins with */
#define FILE_NAME (sizeof(SHARED) + DIGEST)

struct fetch {
    LIST_ENTRY(fetch) next;
    enum content kind;
    char digest[DIGEST + 1];
    char name[LIMIT_NAME + 1];
    int old; /* a file of that name that was there before, to be read through first; -1: none */
    char file[PATH_MAX];
    int fd;
    uint64_t size; /* 0: not known until the first part is here */
    uint8_t *have; /* of each part */
    uint64_t nparts, nhave;
    uint64_t asked; /* parts below this one were asked for */
    unsigned flying;
    uint64_t hashed; /* parts below this one went into the hash */
    crypto_hash_sha256_state hash;
    int64_t patience; /* us */
    int64_t heard;    /* when a part came, or was asked for again */
    int64_t came;     /* when a part came, or since when it is wanted */
};

struct checked { /* files that were read whole since the start */
    LIST_ENTRY(checked) next;
    char file[FILE_NAME];
};

struct programs {
    char directory[PATH_MAX - 128];
    uint64_t budget;
    bool (*used)(void *arg, const char *digest);
    void *arg;
    LIST_HEAD(, fetch) fetches;
    unsigned flying; /* parts, of all of them */
    LIST_HEAD(, checked) checked;
    char path[PATH_MAX];
    char why[PATH_MAX + 1024];
};

/* programs.c */
bool cache_is_digest(const char *digest);
void cache_file_name(enum content kind, const char *digest, char name[FILE_NAME]);
void cache_finish_hash(crypto_hash_sha256_state *hash, char digest[DIGEST + 1]);
void cache_remember(struct programs *s, const char *file);
int cache_evict(struct programs *s,
                uint64_t size); /* for `size` more bytes; -1: the rest is in use */

/* fetching.c */
struct fetch *fetch_find(struct programs *s, enum content kind, const char *digest);
void fetch_end(struct programs *s, struct fetch *f);

#endif
