/* What people ask for, and what time does: lists, cancelling, running again, expiry. */
#include "kept.h"

#include "../base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FULL_WORDS                                                                                 \
    "the disk with the broker's store is full (ENOSPC): make room there, and ask again"

/* ---- cancelling --------------------------------------------------------------------------------
 */

void
kept_cancel(struct depot *d, struct kept *j, uint64_t first, uint64_t last)
{
    if (first == 0 && last == j->total && !j->cancelled && !kept_ended(j)) {
        /* Also what was not told yet when this broker is killed. */
        if (writing_add(d, j, ROW_CANCEL, (uint64_t)d->wall, 0, NULL, NULL) != 0)
            return;
        j->cancelled = true;
        intake_seal(d, j);
    }
    feed_cancel(d, j, first, last - first);
    for (size_t i = 0; i < j->npieces; i++) {
        struct piece *p = j->pieces[i].piece;
        uint64_t from, to;

        if (p == NULL || p->first + p->count <= first || p->first >= last)
            continue;
        /* What the scheduler has it ends itself. */
        from = p->first + (j->peer != 0 && j->told ? p->sent : 0);
        from = from > first ? from : first;
        to = p->first + p->count < last ? p->first + p->count : last;
        if (from < to)
            (void)end_by_itself(d, j, from, (uint32_t)(to - from), OUTCOME_CANCELLED, "cancelled");
    }
    dirty(d, j);
}

/* ---- answers -----------------------------------------------------------------------------------
 */

static void
fill_row(const struct kept *j, struct kept_row *row)
{
    *row = (struct kept_row){.id = j->hex,
                             .function = j->spec->function,
                             .name = j->spec->name,
                             .client = j->client,
                             .notice = j->notice != NULL && !j->over ? j->notice : "",
                             .total = j->stored,
                             .done = j->done,
                             .failed = j->failed,
                             .cancelled = j->gone,
                             .sealed = j->sealed_stored,
                             .created_s = (uint64_t)j->created,
                             .ended_s = j->over ? (uint64_t)j->over_at : 0,
                             .bytes = j->bytes};
}

/* With a copy of the rows. NULL: ENOMEM. */
static struct outgoing *
answer_new(struct depot *d, uint32_t peer, enum kept_error error, const char *text, uint32_t nrows,
           bool more)
{
    struct outgoing *o = say(d, peer, MESSAGE_KEPT);
    const struct kept_row *from = d->rows;
    struct blob *said = sentence("%s", text), *rows;
    size_t size = nrows * sizeof(*from);
    struct kept_row *to;
    char *at;

    for (uint32_t i = 0; i < nrows; i++)
        size += strlen(from[i].id) + strlen(from[i].function) + strlen(from[i].name) +
                strlen(from[i].client) + strlen(from[i].notice) + 5;
    if (o == NULL || (rows = blob_new(size)) == NULL) {
        if (o != NULL)
            outbox_drop(&d->outbox, o);
        blob_unref(said);
        return NULL;
    }
    to = (struct kept_row *)(void *)rows->bytes;
    at = (char *)(to + nrows);
    for (uint32_t i = 0; i < nrows; i++) {
        const char **texts[] = {&to[i].id, &to[i].function, &to[i].name, &to[i].client,
                                &to[i].notice};

        to[i] = from[i];
        for (int k = 0; k < 5; k++) {
            const char *text_of = *texts[k];

            *texts[k] = at;
            at = stpcpy(at, text_of) + 1;
        }
    }
    outgoing_keep(o, said);
    outgoing_keep(o, rows);
    o->m.kept = (struct message_kept){
        .error = error, .text = words(said), .rows = to, .nrows = nrows, .more = more};
    blob_unref(said);
    blob_unref(rows);
    return o;
}

static void
answer(struct depot *d, uint32_t peer, enum kept_error error, const char *text, uint32_t nrows,
       bool more)
{
    struct outgoing *o = answer_new(d, peer, error, text, nrows, more);

    if (o != NULL)
        outbox_put(&d->outbox, o);
}

static void
list(struct depot *d, uint32_t peer, const struct message_kept_wanted *m)
{
    size_t length = strlen(m->id);
    uint64_t skip = m->first;
    uint32_t n = 0;
    bool more = false;
    struct kept *j;

    TAILQ_FOREACH (j, &d->jobs, link) {
        if (strncmp(j->hex, m->id, length) != 0)
            continue;
        if (skip > 0) {
            skip--;
            continue;
        }
        if ((more = n == LIMIT_KEPT_ROWS))
            break;
        fill_row(j, &d->rows[n++]);
    }
    answer(d, peer, KEPT_NONE, "", n, more);
}

/* The one that is meant; NULL, and the asker is told. */
static struct kept *
meant(struct depot *d, uint32_t peer, const char *id)
{
    size_t length = strlen(id);
    struct kept *j, *found = NULL;
    char text[160];
    int n = 0;

    TAILQ_FOREACH (j, &d->jobs, link) {
        if (strncmp(j->hex, id, length) != 0)
            continue;
        found = j;
        n++;
    }
    if (n == 1)
        return found;
    if (n == 0)
        snprintf(text, sizeof(text), "no job's id begins with \"%.40s\"", id);
    else
        snprintf(text, sizeof(text), "%d jobs' ids begin with \"%.40s\": give more of it", n, id);
    answer(d, peer, KEPT_UNKNOWN, text, 0, false);
    return NULL;
}

static void
answer_about(struct depot *d, uint32_t peer, const struct kept *j, enum kept_error error,
             const char *text)
{
    fill_row(j, &d->rows[0]);
    answer(d, peer, error, text, 1, false);
}

/* It is as was asked for, once that is on disk. */
static void
answer_when_written(struct depot *d, uint32_t peer, const struct kept *j, const char *text)
{
    struct outgoing *o;

    fill_row(j, &d->rows[0]);
    if ((o = answer_new(d, peer, KEPT_NONE, text, 1, false)) != NULL)
        STAILQ_INSERT_TAIL(&d->answers, o, link);
}

void
chores_answers(struct depot *d, bool written)
{
    struct outgoing *o;

    while ((o = STAILQ_FIRST(&d->answers)) != NULL) {
        STAILQ_REMOVE_HEAD(&d->answers, link);
        if (written) {
            outbox_put(&d->outbox, o);
            continue;
        }
        answer(d, o->peer, KEPT_FULL, FULL_WORDS, 0, false);
        outbox_drop(&d->outbox, o);
    }
}

static void
cancel(struct depot *d, uint32_t peer, struct kept *j)
{
    if (kept_ended(j)) {
        answer_about(d, peer, j, KEPT_OVER, "all of its tasks have ended already");
        return;
    }
    if (d->full) {
        answer(d, peer, KEPT_FULL, FULL_WORDS, 0, false);
        return;
    }
    log_info("job %s is cancelled", j->hex);
    kept_cancel(d, j, 0, j->total);
    answer_when_written(d, peer, j, "");
}

static void
retry(struct depot *d, uint32_t peer, struct kept *j)
{
    uint64_t failed = j->failed - j->gone;
    char text[80];

    if (!j->over) {
        answer_about(d, peer, j, KEPT_OVER,
                     "it has not ended: what failed can run again when all has");
        return;
    }
    if (j->cancelled) {
        answer_about(d, peer, j, KEPT_OVER, "it was cancelled: submit anew what is to run");
        return;
    }
    if (failed == 0) {
        answer_about(d, peer, j, KEPT_OVER, "none of its tasks failed");
        return;
    }
    if (d->full) {
        answer(d, peer, KEPT_FULL, FULL_WORDS, 0, false);
        return;
    }
    if (writing_add(d, j, ROW_RETRY, (uint64_t)d->wall, 0, NULL, NULL) != 0) {
        answer_about(d, peer, j, KEPT_FULL, "the broker is out of memory");
        return;
    }
    TAILQ_REMOVE(&d->over, j, of_over);
    j->rounds++;
    j->begun = 0;
    kept_retry(j);
    snprintf(text, sizeof(text), "%llu tasks run once more", (unsigned long long)failed);
    log_info("job %s: %s", j->hex, text);
    answer_when_written(d, peer, j, text);
}

/* Where it stands how it ended; NULL: that is not on disk. */
static const struct record *
end_of(const struct kept *j, uint64_t index)
{
    const struct record *r = j->records + j->records_stored;

    while (r-- > j->records && r->row > j->retried) {
        if (r->kind == ROW_ENDS && index >= r->first && index - r->first < r->count)
            return r;
    }
    return NULL;
}

/* Where it ended and in which attempt, if that is whole. */
static void
tell_end(struct depot *d, const struct record *r, struct outgoing *o)
{
    struct message_kept_task *t = &o->m.kept_task;
    struct blob *worker;
    struct message m;
    const char *why;
    struct row row;

    if (store_read(d->store, r->row, &row) != 0)
        return;
    if (wire_decode(d->in, row.header, row.header_size, row.data, &m, &why) == 0) {
        bool ended = m.type == MESSAGE_ENDED;

        worker = sentence("%s", ended ? m.ended.worker : m.results.worker);
        outgoing_keep(o, worker);
        t->worker = words(worker);
        t->attempt = ended ? m.ended.attempt : m.results.attempt;
        blob_unref(worker);
    }
    blob_unref(row.data);
}

/* Its input is there; it is answered with that, and what runs. */
static void
give_task(struct depot *d, struct visitor *v, struct kept *j, const struct piece *p,
          struct outgoing *o)
{
    uint32_t at = (uint32_t)(o->m.kept_task.index - p->first);
    struct columns c = kept_columns(p, at, 1);

    c.size = (uint32_t)c.length;
    c.sizes = NULL;
    o->spec = spec_ref(j->spec);
    o->m.kept_task.spec = j->spec;
    o->m.kept_task.columns = c;
    o->m.kept_task.outcome = (enum outcome)(p->state[at] - 1);
    outgoing_keep(o, c.data);
    tell_end(d, end_of(j, o->m.kept_task.index), o);
    v->asks_parts = true;
}

/* NULL: it has. */
static const char *
why_not_failed(const struct kept *j, const struct piece *p, uint64_t index)
{
    uint8_t state = p == NULL ? 1 + OUTCOME_DONE : p->state[index - p->first];

    return state == 0                              ? "it has not ended"
           : state == 1 + OUTCOME_DONE             ? "it ended well"
           : state == 1 + OUTCOME_CANCELLED        ? "it was cancelled"
           : p != NULL && end_of(j, index) == NULL ? "it has not ended" /* as far as is on disk */
                                                   : NULL;
}

static void
task(struct depot *d, struct visitor *v, struct kept *j, uint64_t index)
{
    unsigned long long number = index;
    struct outgoing *o = say(d, v->peer, MESSAGE_KEPT_TASK);
    struct blob *id = sentence("%s", j->hex), *text = NULL;
    enum kept_error error = KEPT_UNKNOWN;
    struct piece *p = index < j->stored ? kept_piece(j, index) : NULL;
    const char *why = index < j->stored ? why_not_failed(j, p, index) : NULL;

    if (o == NULL) {
        blob_unref(id);
        return;
    }
    outgoing_keep(o, id);
    o->m.kept_task =
        (struct message_kept_task){.text = "", .id = words(id), .index = index, .worker = ""};
    if (index >= j->stored) {
        text = sentence("job %s has no task %llu: it has %llu, counted from 0", j->hex, number,
                        (unsigned long long)j->stored);
    } else if (why != NULL) {
        text = sentence("task %llu of job %s has not failed: %s", number, j->hex, why);
    } else if (kept_load_piece(d, j, p) != 0) {
        text = sentence("the input of task %llu of job %s is damaged in the broker's store", number,
                        j->hex);
        error = KEPT_DAMAGED;
    } else {
        give_task(d, v, j, p, o);
        error = KEPT_NONE;
        if (p->stored && (p->left == 0 || p->sent == p->count))
            kept_unload_piece(p);
    }
    if (error != KEPT_NONE) {
        outgoing_keep(o, text);
        o->m.kept_task.error = error;
        o->m.kept_task.text = words(text);
    }
    blob_unref(text);
    blob_unref(id);
    outbox_put(&d->outbox, o);
}

void
chores_input(struct depot *d, struct visitor *v, const struct message_kept_wanted *m)
{
    struct kept *j;

    if (d->store == NULL) {
        answer(d, v->peer, KEPT_NO_STORE,
               "this broker keeps no jobs: it was started without --store", 0, false);
        return;
    }
    if (m->action == KEPT_LIST) {
        list(d, v->peer, m);
        return;
    }
    if ((j = meant(d, v->peer, m->id)) == NULL)
        return;
    if (m->action == KEPT_CANCEL)
        cancel(d, v->peer, j);
    else if (m->action == KEPT_RETRY)
        retry(d, v->peer, j);
    else
        task(d, v, j, m->index);
}

void
chores_part(struct depot *d, uint32_t peer, const struct message_program_wanted *m)
{
    struct outgoing *o = say(d, peer, MESSAGE_PROGRAM_PART);
    uint64_t size = 0;
    struct blob *digest, *data;

    if (o == NULL)
        return;
    digest = sentence("%s", m->digest);
    data = files_read(d->files, m->digest, m->offset, LIMIT_PART, &size);
    outgoing_keep(o, digest);
    outgoing_keep(o, data);
    o->m.program_part = (struct message_program_part){
        .digest = words(digest), .offset = m->offset, .text = "", .columns = {.count = 1}};
    if (data == NULL || data->size == 0) {
        o->m.program_part.text = "the broker's store does not have it";
    } else {
        o->m.program_part.size = size;
        o->m.program_part.columns = (struct columns){
            .count = 1, .size = (uint32_t)data->size, .data = data, .length = data->size};
    }
    blob_unref(digest);
    blob_unref(data);
    outbox_put(&d->outbox, o);
}

/* ---- time --------------------------------------------------------------------------------------
 */

static bool
wanted(void *arg, const char *digest)
{
    const struct depot *d = arg;
    const struct handle *h, *next;
    const struct kept *j;

    if (d->fetching != NULL) /* one that comes is wanted, and it is soon over */
        return true;
    TAILQ_FOREACH (j, &d->jobs, link) {
        if (strcmp(j->spec->program.digest, digest) == 0)
            return true;
        for (uint32_t i = 0; i < j->spec->nshared; i++) {
            if (strcmp(j->spec->shared[i].digest, digest) == 0)
                return true;
        }
    }
    HASH_ITER (hh, d->handles, h, next) {
        if (h->spec != NULL)
            return true;
    }
    return false;
}

static void
expire(struct depot *d, struct kept *j, const char *why)
{
    struct handle *h;

    log_info("job %s (%s, %llu tasks) expires with its results: %s", j->hex, j->spec->function,
             (unsigned long long)j->total, why);
    LIST_FOREACH (h, &j->handles, of_job)
        tell_attached(d, h, KEPT_UNKNOWN, "its results have expired");
    readers_gone(d, j);
    /* The first row goes first: if this broker is killed before the others went, they are known to
     * be nobody's. */
    (void)writing_remove(d, j->number);
    for (size_t i = 0; i < j->nrecords; i++)
        (void)writing_remove(d, j->records[i].row);
    for (size_t i = 0; i < j->npieces; i++) {
        if (j->pieces[i].piece != NULL)
            (void)writing_remove(d, j->pieces[i].piece->row);
    }
    kept_free(d, j);
    d->sweep = true;
}

static void
expire_some(struct depot *d)
{
    struct kept *j;
    size_t before = d->nremovals;
    char why[80];

    while ((j = TAILQ_FIRST(&d->over)) != NULL && d->nremovals - before < REMOVE_ROWS) {
        if (j->over_at + (int64_t)d->config.keep_s <= d->wall)
            snprintf(why, sizeof(why), "it ended %llu s ago (--keep-results)",
                     (unsigned long long)(d->wall - j->over_at));
        else if (d->bytes > d->config.most_bytes)
            snprintf(why, sizeof(why), "the store has %llu MiB (--store-size)",
                     (unsigned long long)(d->bytes >> 20));
        else
            break;
        expire(d, j, why);
    }
}

/* Submissions whose clients did not come back are as long as they are. */
static void
seal_left(struct depot *d)
{
    struct kept *j, *next;

    for (j = TAILQ_FIRST(&d->unsealed); j != NULL; j = next) {
        next = TAILQ_NEXT(j, of_unsealed);
        if (j->seal_at > d->now)
            continue;
        log_warn("job %s: its client left while submitting, and did not come back: it has %llu "
                 "tasks",
                 j->hex, (unsigned long long)j->total);
        intake_seal(d, j);
    }
}

void
chores_tick(struct depot *d)
{
    if (d->now < d->expire_at)
        return;
    d->expire_at = d->now + EXPIRE_US;
    seal_left(d);
    expire_some(d);
    if (d->sweep && d->fetching == NULL) {
        d->sweep = false;
        files_sweep(d->files, wanted, d);
    }
}
