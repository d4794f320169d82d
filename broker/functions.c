#include "functions.h"

#include <stdlib.h>
#include <string.h>

static size_t
make_key(char *key, size_t size, const struct spec *spec)
{
    const struct program *p = &spec->program;
    int length = snprintf(key, size, "%s\n%s\n%s", p->digest, p->digest[0] == '\0' ? p->name : "",
                          spec->function);

    return length < 0 ? 0 : (size_t)length < size ? (size_t)length : size - 1;
}

static void
discard(struct scheduler *s, struct function *f)
{
    HASH_DELETE(hh, s->functions_by_key, f);
    free(f);
}

struct function *
function_get(struct scheduler *s, const struct spec *spec)
{
    char key[2 * LIMIT_NAME + 128];
    size_t length = make_key(key, sizeof(key), spec);
    struct function *f;

    HASH_FIND(hh, s->functions_by_key, key, length, f);
    if (f != NULL) {
        if (f->refs++ == 0) {
            TAILQ_REMOVE(&s->functions, f, link);
            s->nfunctions--;
        }
        return f;
    }
    if ((f = calloc(1, sizeof(*f) + length + 1)) == NULL)
        return NULL;
    memcpy(f->key, key, length);
    f->refs = 1;
    HASH_ADD_KEYPTR(hh, s->functions_by_key, f->key, length, f);
    if (f->hh.tbl == NULL) {
        free(f);
        return NULL;
    }
    return f;
}

void
function_put(struct scheduler *s, struct function *f)
{
    if (f == NULL || --f->refs > 0)
        return;
    TAILQ_INSERT_TAIL(&s->functions, f, link);
    if (++s->nfunctions <= FUNCTIONS_KEPT)
        return;
    f = TAILQ_FIRST(&s->functions);
    TAILQ_REMOVE(&s->functions, f, link);
    s->nfunctions--;
    discard(s, f);
}

void
functions_free(struct scheduler *s)
{
    struct function *f;

    while ((f = TAILQ_FIRST(&s->functions)) != NULL) {
        TAILQ_REMOVE(&s->functions, f, link);
        discard(s, f);
    }
}
