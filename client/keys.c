/* Tasks that were submitted with a key: further submits find them by it. */
#include "session.h"

#include <stdlib.h>
#include <string.h>

struct key {
    struct chunk *chunk;
    uint32_t offset;
    unsigned futures; /* of this task: it goes with the last */
    UT_hash_handle hh;
    char text[];
};

struct key *
keys_find(const futures_t *s, const char *text)
{
    struct key *k;

    HASH_FIND_STR(s->keys, text, k);
    return k;
}

struct key *
keys_add(futures_t *s, const char *text)
{
    struct key *k = calloc(1, sizeof(*k) + strlen(text) + 1);

    if (k == NULL)
        return NULL;
    strcpy(k->text, text);
    HASH_ADD_STR(s->keys, text, k);
    if (k->hh.tbl != NULL)
        return k;
    free(k);
    return NULL;
}

void
keys_remove(futures_t *s, struct key *k)
{
    HASH_DEL(s->keys, k);
    free(k);
}

void
keys_hold(struct key *k, struct future *f)
{
    if (k->futures++ == 0) {
        k->chunk = f->chunk;
        k->offset = f->offset;
    } else {
        f->chunk = k->chunk;
        f->offset = k->offset;
        f->chunk->handles++;
    }
    f->key = k;
}

bool
keys_let_go(futures_t *s, struct future *f)
{
    struct key *k = f->key;

    f->key = NULL;
    if (k == NULL)
        return true;
    if (--k->futures > 0)
        return false;
    keys_remove(s, k);
    return true;
}

void
keys_free(futures_t *s)
{
    struct key *k, *next;

    HASH_ITER (hh, s->keys, k, next)
        keys_remove(s, k);
}
