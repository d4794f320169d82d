#include "kept.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- jobs --------------------------------------------------------------------------------------
 */

struct kept *
kept_find(const struct depot *d, const uint8_t id[16])
{
    struct kept *j;

    HASH_FIND(hh, d->by_id, id, 16, j);
    return j;
}

static int
add_to_hashes(struct depot *d, struct kept *j)
{
    HASH_ADD(hh, d->by_id, id, sizeof(j->id), j);
    if (j->hh.tbl == NULL)
        return -1;
    HASH_ADD(by_row, d->by_row, number, sizeof(j->number), j);
    if (j->by_row.tbl != NULL)
        return 0;
    HASH_DELETE(hh, d->by_id, j);
    return -1;
}

struct kept *
kept_new(struct depot *d, const uint8_t id[16], uint64_t number, struct spec *spec,
         const char *client)
{
    struct kept *j = calloc(1, sizeof(*j));

    if (j == NULL)
        return NULL;
    memcpy(j->id, id, sizeof(j->id));
    for (int i = 0; i < 16; i++)
        snprintf(j->hex + 2 * i, 3, "%02x", id[i]);
    j->number = number;
    j->seal_at = CLOCK_NEVER;
    LIST_INIT(&j->handles);
    if ((j->client = strdup(client)) == NULL || add_to_hashes(d, j) != 0) {
        free(j->client);
        free(j);
        return NULL;
    }
    j->spec = spec_ref(spec);
    j->unsealed = true;
    TAILQ_INSERT_TAIL(&d->jobs, j, link);
    TAILQ_INSERT_TAIL(&d->unsealed, j, of_unsealed);
    d->njobs++;
    return j;
}

void
kept_free(struct depot *d, struct kept *j)
{
    assert(LIST_EMPTY(&j->handles) && j->peer == 0);
    if (j->dirty)
        TAILQ_REMOVE(&d->dirty, j, of_dirty);
    if (j->hungry)
        TAILQ_REMOVE(&d->hungry, j, of_hungry);
    if (j->unsealed)
        TAILQ_REMOVE(&d->unsealed, j, of_unsealed);
    if (j->over)
        TAILQ_REMOVE(&d->over, j, of_over);
    TAILQ_REMOVE(&d->jobs, j, link);
    d->njobs--;
    d->bytes -= j->bytes;
    HASH_DELETE(hh, d->by_id, j);
    HASH_DELETE(by_row, d->by_row, j);
    while (j->npieces > 0)
        kept_drop_last_piece(j);
    spec_unref(j->spec);
    free(j->pieces);
    free(j->records);
    free(j->client);
    free(j->notice);
    free(j);
}

/* ---- pieces ------------------------------------------------------------------------------------
 */

/* The last place that begins at `index` or before; npieces if there is none. */
static size_t
place_of(const struct kept *j, uint64_t index)
{
    size_t low = 0, high = j->npieces;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (j->pieces[middle].first <= index)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? j->npieces : low - 1;
}

struct piece *
kept_piece(const struct kept *j, uint64_t index)
{
    size_t at = place_of(j, index);
    struct piece *p = at < j->npieces ? j->pieces[at].piece : NULL;

    return p != NULL && index - p->first < p->count ? p : NULL;
}

/* Room for one more: first by moving those that are there together, if they are few. */
static int
reserve_piece(struct kept *j)
{
    size_t room = j->pieces_room == 0 ? 4 : 2 * j->pieces_room, n = 0, feed_at = 0;
    struct place *pieces;

    if (j->npieces < j->pieces_room)
        return 0;
    for (size_t i = 0; i < j->npieces; i++)
        n += j->pieces[i].piece != NULL;
    if (n < j->pieces_room / 2) {
        n = 0;
        for (size_t i = 0; i < j->npieces; i++) {
            if (j->pieces[i].piece == NULL)
                continue;
            feed_at += i < j->feed;
            j->pieces[n++] = j->pieces[i];
        }
        j->npieces = n;
        j->feed = feed_at;
        return 0;
    }
    if ((pieces = realloc(j->pieces, room * sizeof(*pieces))) == NULL)
        return -1;
    j->pieces = pieces;
    j->pieces_room = room;
    return 0;
}

struct piece *
kept_add_piece(struct kept *j, uint64_t row, uint64_t first, uint32_t count)
{
    struct piece *p = calloc(1, sizeof(*p) + count);

    if (p == NULL || reserve_piece(j) != 0) {
        free(p);
        return NULL;
    }
    p->row = row;
    p->first = first;
    p->count = p->left = count;
    j->pieces[j->npieces++] = (struct place){.first = first, .piece = p};
    return p;
}

/* Not the sizes: what its tasks count where they are now is asked for at their end. */
void
kept_unload_piece(struct piece *p)
{
    blob_unref(p->data);
    p->data = NULL;
    p->loaded = false;
}

static void
free_piece(struct piece *p)
{
    kept_unload_piece(p);
    blob_unref(p->sizes);
    free(p);
}

void
kept_drop_last_piece(struct kept *j)
{
    struct piece *p = j->pieces[--j->npieces].piece;

    if (p != NULL)
        free_piece(p);
}

int
kept_keep_piece(struct piece *p, const struct columns *c)
{
    if (c->sizes != NULL && p->sizes == NULL &&
        (p->sizes = blob_copy(c->sizes, (size_t)c->count * sizeof(*c->sizes))) == NULL)
        return -1;
    p->size = c->size;
    p->data = blob_ref(c->length > 0 ? c->data : NULL);
    p->at = c->at;
    p->length = c->length;
    p->loaded = true;
    return 0;
}

int
kept_load_piece(struct depot *d, struct kept *j, struct piece *p)
{
    struct message m;
    const char *why;
    struct row row;
    int failed;

    if (p->loaded)
        return 0;
    if (store_read(d->store, p->row, &row) != 0)
        return -1;
    failed = wire_decode(d->in, row.header, row.header_size, row.data, &m, &why);
    if (failed == 0 && (m.type != MESSAGE_INPUTS || m.inputs.first != p->first ||
                        m.inputs.columns.count != p->count || row.job != j->number)) {
        errno = EILSEQ;
        failed = -1;
    }
    if (failed == 0)
        failed = kept_keep_piece(p, &m.inputs.columns);
    blob_unref(row.data);
    return failed;
}

struct columns
kept_columns(const struct piece *p, uint32_t from, uint32_t count)
{
    struct columns all = {
        .count = p->count,
        .size = p->size,
        .sizes = p->sizes == NULL ? NULL : (const uint32_t *)(const void *)p->sizes->bytes,
        .data = p->data,
        .at = p->at,
        .length = p->length};

    return columns_part(&all, from, count, columns_length(&all, 0, from));
}

int
kept_add_record(struct kept *j, const struct record *r)
{
    size_t room = j->records_room == 0 ? 4 : 2 * j->records_room;
    struct record *records;

    if (j->nrecords == j->records_room) {
        if ((records = realloc(j->records, room * sizeof(*records))) == NULL)
            return -1;
        j->records = records;
        j->records_room = room;
    }
    j->records[j->nrecords++] = *r;
    return 0;
}

/* ---- outcomes ----------------------------------------------------------------------------------
 */

/* Its inputs will not be needed again. */
void
kept_forget_done(struct depot *d, struct kept *j, struct piece *p)
{
    if (p->left > 0 || p->failed > 0 || !p->stored || writing_remove(d, p->row) != 0)
        return;
    j->bytes -= p->bytes;
    d->bytes -= p->bytes;
    j->pieces[place_of(j, p->first)].piece = NULL;
    free_piece(p);
}

void
kept_mark(struct depot *d, struct kept *j, uint64_t first, uint32_t count, const uint8_t *outcomes,
          enum outcome outcome)
{
    uint32_t i = 0;

    while (i < count) {
        struct piece *p = kept_piece(j, first + i);
        uint32_t at = p != NULL ? (uint32_t)(first + i - p->first) : 0;
        uint32_t end = p == NULL ? i + 1 : p->count - at < count - i ? i + p->count - at : count;

        for (; i < end; i++, at++) {
            enum outcome o = outcomes != NULL ? (enum outcome)outcomes[i] : outcome;

            j->done += o == OUTCOME_DONE;
            j->failed += o != OUTCOME_DONE;
            j->gone += o == OUTCOME_CANCELLED;
            if (p == NULL)
                continue;
            assert(p->state[at] == 0);
            p->state[at] = (uint8_t)(1 + o);
            p->left--;
            p->failed += o != OUTCOME_DONE && o != OUTCOME_CANCELLED;
        }
        if (p != NULL)
            kept_forget_done(d, j, p);
    }
}

void
kept_retry(struct kept *j)
{
    for (size_t i = 0; i < j->npieces; i++) {
        struct piece *p = j->pieces[i].piece;

        if (p == NULL || p->failed == 0)
            continue;
        for (uint32_t at = 0; at < p->count; at++) {
            if (p->state[at] <= 1 + OUTCOME_DONE || p->state[at] == 1 + OUTCOME_CANCELLED)
                continue;
            p->state[at] = 0;
            p->left++;
        }
        p->failed = 0;
        p->sent = 0;
    }
    j->failed = j->gone;
    j->feed = 0;
    j->told = j->end_told = false;
    j->over = false;
}
