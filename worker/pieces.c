#include "pieces.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct bundle { /* the columns of a slice that came: so all pieces of one lease share it */
    unsigned refs;
    unsigned asleep; /* of these */
    bool told;
    struct columns columns;
    uint32_t sizes[];
};

static struct bundle *
bundle_new(const struct columns *c)
{
    size_t sizes = c->sizes == NULL ? 0 : c->count * sizeof(*c->sizes);
    struct bundle *b;

    if ((b = malloc(sizeof(*b) + sizes)) == NULL)
        return NULL;
    b->refs = 1;
    b->asleep = 0;
    b->told = false;
    b->columns = *c;
    b->columns.outcomes = NULL;
    blob_ref(c->data);
    if (c->sizes != NULL) {
        memcpy(b->sizes, c->sizes, sizes);
        b->columns.sizes = b->sizes;
    }
    return b;
}

static void
bundle_unref(struct bundle *b)
{
    if (b == NULL || --b->refs > 0)
        return;
    blob_unref(b->columns.data);
    free(b);
}

struct piece *
piece_new(struct runner_job *job, const struct message_slice *slice)
{
    struct piece *p;

    if ((p = calloc(1, sizeof(*p))) == NULL)
        return NULL;
    if ((p->bundle = bundle_new(&slice->columns)) == NULL) {
        free(p);
        return NULL;
    }
    p->job = job;
    p->lease = slice->lease;
    p->first = slice->first;
    p->count = slice->columns.count;
    p->attempt = slice->attempt;
    p->charged = slice->charged;
    return p;
}

void
piece_free(struct piece *p)
{
    if (p == NULL)
        return;
    piece_sleep(p, false);
    bundle_unref(p->bundle);
    free(p);
}

void
piece_sleep(struct piece *p, bool asleep)
{
    if (p->asleep == asleep)
        return;
    p->asleep = asleep;
    if (asleep)
        p->bundle->asleep++;
    else
        p->bundle->asleep--;
}

bool
piece_all_asleep(const struct piece *p, bool left_out)
{
    const struct bundle *b = p->bundle;
    unsigned pieces = b->refs - left_out, asleep = b->asleep - (left_out && p->asleep);

    return pieces > 0 && asleep == pieces;
}

bool *
piece_told(const struct piece *p)
{
    return &p->bundle->told;
}

struct piece *
piece_cut(struct piece *p, uint32_t count)
{
    struct piece *rest;

    assert(count < p->count && count >= p->done && !p->asleep);
    if ((rest = malloc(sizeof(*rest))) == NULL)
        return NULL;
    *rest = *p;
    rest->bundle->refs++;
    rest->first += count;
    rest->from += count;
    rest->offset += columns_length(&p->bundle->columns, p->from, count);
    rest->count -= count;
    rest->done = 0;
    p->count = count;
    return rest;
}

void
piece_slice(const struct piece *p, uint64_t lease, uint64_t job, struct message *m)
{
    memset(m, 0, sizeof(*m));
    m->type = MESSAGE_SLICE;
    m->slice.lease = lease;
    m->slice.job = job;
    m->slice.first = p->first;
    m->slice.attempt = p->attempt;
    m->slice.charged = p->charged;
    m->slice.columns = columns_part(&p->bundle->columns, p->from, p->count, p->offset);
}
