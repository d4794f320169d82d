/* Rows on their way to the disk: all of a turn in one transaction. */
#include "kept.h"

#include "../base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FULL_WORDS                                                                                 \
    "the disk with the broker's store is full (ENOSPC): make room there, and submit it again"

enum { AHEAD = 8 }; /* pieces of a job that stay in memory when they are on disk */

void
dirty(struct depot *d, struct kept *j)
{
    if (j->dirty)
        return;
    j->dirty = true;
    TAILQ_INSERT_TAIL(&d->dirty, j, of_dirty);
}

static void
pending_free(struct depot *d, struct pending *p)
{
    TAILQ_REMOVE(&d->pending, p, link);
    blob_unref(p->header);
    blob_unref(p->row.data);
    free(p);
}

/* ---- adding ------------------------------------------------------------------------------------
 */

static int
fill(struct depot *d, struct pending *p, const struct message *m)
{
    struct message copy;
    const struct columns *c;
    const uint8_t *header;
    size_t size;

    if (m == NULL)
        return 0;
    copy = *m;
    c = message_columns(&copy);
    if ((size = wire_encode(d->out, m, &header)) == 0 ||
        (p->header = blob_copy(header, size)) == NULL)
        return -1;
    p->row.header = p->header->bytes;
    p->row.header_size = size;
    if (c == NULL || c->length == 0)
        return 0;
    p->row.data = blob_ref(c->data);
    p->row.at = c->at;
    p->row.size = c->length;
    return 0;
}

/* Not of inputs: those are pieces. */
static int
record(struct kept *j, const struct pending *p, uint64_t bytes)
{
    const struct row *row = &p->row;

    if (row->kind == ROW_INPUTS || row->kind == ROW_JOB)
        return 0;
    return kept_add_record(j, &(struct record){.row = row->number,
                                               .first = row->first,
                                               .count = (uint32_t)row->count,
                                               .bytes = (uint32_t)((bytes + 1023) / 1024),
                                               .kind = row->kind});
}

int
writing_add(struct depot *d, struct kept *j, enum row_kind kind, uint64_t first, uint64_t count,
            const struct message *m, struct piece *piece)
{
    struct pending *p = calloc(1, sizeof(*p));
    uint64_t bytes;

    if (p == NULL)
        return -1;
    p->job = j;
    p->piece = piece;
    p->row = (struct row){.number = kind == ROW_JOB ? j->number : d->last_row + 1,
                          .job = j->number,
                          .kind = kind,
                          .first = first,
                          .count = count};
    TAILQ_INSERT_TAIL(&d->pending, p, link);
    if (fill(d, p, m) != 0)
        goto fail;
    if (kind == ROW_JOB && (p->row.data = blob_copy(j->client, strlen(j->client))) == NULL)
        goto fail;
    if (kind == ROW_JOB)
        p->row.size = strlen(j->client);
    bytes = p->row.header_size + p->row.size + ROW_COST;
    if (record(j, p, bytes) != 0)
        goto fail;
    if (kind != ROW_JOB)
        d->last_row++;
    j->bytes += bytes;
    d->bytes += bytes;
    if (piece != NULL) {
        piece->row = p->row.number;
        piece->bytes = bytes;
    }
    dirty(d, j);
    return 0;
fail:
    pending_free(d, p);
    errno = ENOMEM;
    return -1;
}

int
writing_remove(struct depot *d, uint64_t row)
{
    size_t room = d->removals_room == 0 ? 64 : 2 * d->removals_room;
    uint64_t *removals;

    if (d->nremovals == d->removals_room) {
        if ((removals = realloc(d->removals, room * sizeof(*removals))) == NULL)
            return -1;
        d->removals = removals;
        d->removals_room = room;
    }
    d->removals[d->nremovals++] = row;
    return 0;
}

void
writing_forget(struct depot *d, struct kept *j)
{
    struct pending *p, *next;

    for (p = TAILQ_FIRST(&d->pending); p != NULL; p = next) {
        next = TAILQ_NEXT(p, link);
        if (p->job == j)
            pending_free(d, p);
    }
}

/* ---- a full disk -------------------------------------------------------------------------------
 */

/* From the last one on: its tasks are the job's last. */
static void
reject_inputs(struct depot *d)
{
    struct pending *p, *before;

    for (p = TAILQ_LAST(&d->pending, pending_list); p != NULL; p = before) {
        struct kept *j = p->job;

        before = TAILQ_PREV(p, pending_list, link);
        if (p->row.kind != ROW_INPUTS)
            continue;
        assert(p->piece == j->pieces[j->npieces - 1].piece);
        j->total = p->row.first;
        j->bytes -= p->piece->bytes;
        d->bytes -= p->piece->bytes;
        kept_drop_last_piece(j);
        pending_free(d, p);
        readers_refuse(d, j, KEPT_FULL, FULL_WORDS);
    }
    TAILQ_FOREACH (p, &d->pending, link) {
        if (p->row.kind == ROW_SEAL)
            p->row.first = p->job->total;
    }
}

static void
reject_jobs(struct depot *d)
{
    struct pending *p, *next;

    for (p = TAILQ_FIRST(&d->pending); p != NULL; p = next) {
        struct kept *j = p->job;

        next = TAILQ_NEXT(p, link);
        if (p->row.kind != ROW_JOB)
            continue;
        readers_refuse(d, j, KEPT_FULL, FULL_WORDS);
        readers_gone(d, j);
        writing_forget(d, j);
        kept_free(d, j);
        next = TAILQ_FIRST(&d->pending); /* others of it may have been the next one */
    }
}

/* A job whose submission was cut short ends where it was cut. */
static void
seal_cut(struct depot *d)
{
    struct kept *j, *next;

    for (j = TAILQ_FIRST(&d->dirty); j != NULL; j = next) {
        struct handle *h;

        next = TAILQ_NEXT(j, of_dirty);
        LIST_FOREACH (h, &j->handles, of_job) {
            if (h->submits && h->refused)
                break;
        }
        if (h != NULL)
            intake_seal(d, j);
    }
}

/* ---- committing --------------------------------------------------------------------------------
 */

static int
write_all(struct depot *d)
{
    const struct pending *p;

    if (store_begin(d->store) != 0)
        return -1;
    TAILQ_FOREACH (p, &d->pending, link) {
        if (store_add(d->store, &p->row) != 0)
            return -1;
    }
    for (size_t i = 0; i < d->nremovals; i++) {
        if (store_remove(d->store, d->removals[i]) != 0)
            return -1;
    }
    return store_commit(d->store);
}

static void
written(struct depot *d)
{
    struct pending *p;

    while ((p = TAILQ_FIRST(&d->pending)) != NULL) {
        struct kept *j = p->job;

        if (p->piece != NULL) {
            p->piece->stored = true;
            if (j->feed + AHEAD < j->npieces) /* it will be read again when its turn comes */
                kept_unload_piece(p->piece);
        }
        if (p->row.kind == ROW_INPUTS)
            j->stored = p->row.first + p->row.count;
        if (p->row.kind == ROW_RETRY)
            j->retried = p->row.number;
        j->records_stored = j->nrecords;
        j->sealed_stored = j->sealed;
        pending_free(d, p);
    }
    d->nremovals = 0;
    if (d->full)
        log_info("the store can be written to again");
    d->full = false;
}

static int
disk_failed(struct depot *d)
{
    snprintf(d->why, sizeof(d->why),
             "cannot write to the store: %s. What of it is on disk cannot be known from here: this "
             "broker ends, and another one will find what was acknowledged",
             store_error(d->store));
    return -1;
}

int
writing_commit(struct depot *d)
{
    if (d->full && d->now < d->retry_at)
        return 0;
    if (TAILQ_EMPTY(&d->pending) && d->nremovals == 0) {
        d->full = false; /* as far as is known: the next submission tries */
        chores_answers(d, true);
        return 0;
    }
    if (write_all(d) == 0) {
        written(d);
        chores_answers(d, true);
        return 0;
    }
    if (errno != ENOSPC)
        return disk_failed(d);
    if (!d->full)
        log_error("the disk with the store is full: what is submitted is rejected, and outcomes "
                  "wait in memory");
    d->full = true;
    d->retry_at = d->now + RETRY_US;
    chores_answers(d, false);
    reject_inputs(d);
    reject_jobs(d);
    seal_cut(d);
    return 0;
}
