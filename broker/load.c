/* What a store holds, at the start. */
#include "kept.h"

#include "../base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct loading {
    struct depot *d;
    uint64_t nobodys; /* rows of jobs that had begun to expire */
};

static int
malformed(void)
{
    errno = EILSEQ;
    return -1;
}

static int
load_job(struct depot *d, const struct row *row, const struct message *m)
{
    char client[LIMIT_NAME + 1];
    struct kept *j;
    size_t size = row->size < LIMIT_NAME ? row->size : LIMIT_NAME;

    if (m->type != MESSAGE_JOB || !m->job.detached)
        return malformed();
    if (size > 0 && row->data != NULL)
        memcpy(client, row->data->bytes + row->at, size);
    client[row->data != NULL ? size : 0] = '\0';
    if ((j = kept_new(d, m->job.id, row->number, m->job.spec, client)) == NULL)
        return -1;
    j->created = (int64_t)row->first;
    j->recovered = true;
    return 0;
}

static int
load_inputs(struct kept *j, const struct row *row)
{
    struct piece *p;

    if (row->count == 0 || row->count > LIMIT_ITEMS ||
        (j->npieces > 0 && row->first < j->pieces[j->npieces - 1].first))
        return malformed();
    if ((p = kept_add_piece(j, row->number, row->first, (uint32_t)row->count)) == NULL)
        return -1;
    p->stored = true;
    p->bytes = row->header_size + row->size + ROW_COST;
    if (j->total < row->first + row->count)
        j->total = row->first + row->count;
    return 0;
}

static int
load_ends(struct depot *d, struct kept *j, const struct row *row, const struct message *m)
{
    const struct columns *c = &m->results.columns;

    if (m->type == MESSAGE_RESULTS && c->count == row->count)
        kept_mark(d, j, row->first, c->count, c->outcomes, OUTCOME_DONE);
    else if (m->type == MESSAGE_ENDED && m->ended.count == row->count)
        kept_mark(d, j, row->first, (uint32_t)row->count, NULL, m->ended.outcome);
    else
        return malformed();
    if (j->total < row->first + row->count)
        j->total = row->first + row->count;
    return 0;
}

static int
load_other(struct depot *d, struct kept *j, const struct row *row)
{
    switch (row->kind) {
    case ROW_SEAL:
        j->total = j->total > row->first ? j->total : row->first;
        if (!j->sealed)
            TAILQ_REMOVE(&d->unsealed, j, of_unsealed);
        j->sealed = j->sealed_stored = true;
        j->unsealed = false;
        return 0;
    case ROW_RETRY:
        j->retried = row->number;
        j->rounds++;
        j->begun = 0;
        if (j->over)
            TAILQ_REMOVE(&d->over, j, of_over);
        kept_retry(j);
        return 0;
    case ROW_CANCEL:
        j->cancelled = true;
        return 0;
    case ROW_BEGUN:
        j->begun = row->first + row->count > j->begun ? row->first + row->count : j->begun;
        return 0;
    default:
        if (!j->over)
            TAILQ_INSERT_TAIL(&d->over, j, of_over);
        j->over = true;
        j->over_at = (int64_t)row->first;
        return 0;
    }
}

/* The header alone says what there is to know; the data may be left out. */
static int
decode(struct depot *d, const struct row *row, struct message *m)
{
    struct blob *data = row->data;
    const char *why;
    int failed;

    *m = (struct message){.type = MESSAGE_NONE};
    if (row->header_size == 0)
        return 0;
    if (row->kind != ROW_ENDS && row->kind != ROW_JOB)
        return 0;
    if (row->kind == ROW_JOB)
        return wire_decode(d->in, row->header, row->header_size, NULL, m, &why);
    if (row->size > 0 && data == NULL) /* only its length is looked at */
        data = blob_wrap(NULL, row->size, NULL, NULL);
    failed = wire_decode(d->in, row->header, row->header_size, data, m, &why);
    if (row->data == NULL)
        blob_unref(data);
    return failed;
}

static int
load_row(void *arg, const struct row *row)
{
    struct loading *l = arg;
    struct depot *d = l->d;
    uint64_t bytes = row->header_size + row->size + ROW_COST;
    struct message m;
    struct kept *j;
    int failed;

    d->last_row = row->number;
    if (decode(d, row, &m) != 0)
        return -1;
    if (row->kind == ROW_JOB && load_job(d, row, &m) != 0)
        return -1;
    HASH_FIND(by_row, d->by_row, &row->job, sizeof(row->job), j);
    if (j == NULL) { /* it had begun to expire */
        l->nobodys++;
        return writing_remove(d, row->number);
    }
    j->bytes += bytes;
    d->bytes += bytes;
    if (row->kind == ROW_JOB)
        return 0;
    if (row->kind == ROW_INPUTS)
        return load_inputs(j, row);
    if (kept_add_record(j, &(struct record){.row = row->number,
                                            .first = row->first,
                                            .count = (uint32_t)row->count,
                                            .bytes = (uint32_t)((bytes + 1023) / 1024),
                                            .kind = row->kind}) != 0)
        return -1;
    failed = row->kind == ROW_ENDS ? load_ends(d, j, row, &m) : load_other(d, j, row);
    j->records_stored = j->nrecords;
    return failed;
}

/* ---- what is missing ---------------------------------------------------------------------------
 */

static void
cover(uint8_t *there, uint64_t total, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count && i < total; i++)
        there[i] = 1;
}

/* Tasks of which there is neither an input nor an outcome: rows of them were lost. */
static int
find_lost(struct depot *d, struct kept *j)
{
    uint8_t *there = calloc(j->total + 1, 1);
    struct message m = {.type = MESSAGE_ENDED,
                        .ended = {.job = 1,
                                  .outcome = OUTCOME_LOST,
                                  .worker = "",
                                  .text = "what the broker's store knew of it was lost"}};
    uint64_t from = 0, to;
    int failed = 0;

    if (there == NULL)
        return -1;
    for (size_t i = 0; i < j->npieces; i++) {
        if (j->pieces[i].piece != NULL)
            cover(there, j->total, j->pieces[i].first, j->pieces[i].piece->count);
    }
    for (size_t i = 0; i < j->nrecords; i++) {
        if (j->records[i].kind == ROW_ENDS)
            cover(there, j->total, j->records[i].first, j->records[i].count);
    }
    for (; from < j->total && failed == 0; from = to) {
        to = from + 1;
        if (there[from])
            continue;
        while (to < j->total && !there[to] && to - from < LIMIT_ITEMS)
            to++;
        log_warn("lost: tasks %llu to %llu of job %s", (unsigned long long)from,
                 (unsigned long long)(to - 1), j->hex);
        m.ended.first = from;
        m.ended.count = to - from;
        failed = writing_add(d, j, ROW_ENDS, from, to - from, &m, NULL);
        kept_mark(d, j, from, (uint32_t)(to - from), NULL, OUTCOME_LOST);
    }
    free(there);
    return failed;
}

static int
settle(struct depot *d, struct kept *j, char *why, size_t size)
{
    uint64_t left = 0, known;

    for (size_t i = 0; i < j->npieces; i++)
        left += j->pieces[i].piece != NULL ? j->pieces[i].piece->left : 0;
    known = j->done + j->failed + left;
    if (known != j->total && !d->config.salvage) {
        snprintf(why, size,
                 "the store is damaged: job %s has %llu tasks, but rows of %llu of them (in %s, "
                 "offset unknown); nothing was changed. Start with --salvage to go on with what is "
                 "there",
                 j->hex, (unsigned long long)j->total, (unsigned long long)known,
                 store_path(d->store));
        return -1;
    }
    if (known != j->total && find_lost(d, j) != 0) {
        snprintf(why, size, "out of memory");
        return -1;
    }
    if (d->config.salvage && j->spec->once) /* what is lost may have said so */
        j->begun = j->total;
    j->stored = j->total;
    if (!j->sealed) /* its client may come back */
        j->seal_at = d->now + SEAL_US;
    if (j->cancelled && !kept_ended(j))
        kept_cancel(d, j, 0, j->total);
    dirty(d, j);
    return 0;
}

int
depot_load(struct depot *d, char *why, size_t size)
{
    struct loading l = {.d = d};
    uint64_t jobs = 0, tasks = 0;
    struct kept *j;

    if (store_load(d->store, load_row, &l, why, size) != 0)
        return -1;
    TAILQ_FOREACH (j, &d->jobs, link) {
        if (settle(d, j, why, size) != 0)
            return -1;
        if (kept_ended(j))
            continue;
        jobs++;
        tasks += j->total - j->done - j->failed;
    }
    if (l.nobodys > 0)
        log_info("the store had %llu rows of jobs that expired", (unsigned long long)l.nobodys);
    log_info("the store %s holds %llu jobs; %llu of them have not ended, with %llu tasks",
             store_path(d->store), (unsigned long long)d->njobs, (unsigned long long)jobs,
             (unsigned long long)tasks);
    return 0;
}
