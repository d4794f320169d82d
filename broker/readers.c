/* Clients that follow a kept job: how far it is, and its results out of the store. */
#include "kept.h"

#include "../base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- handles -----------------------------------------------------------------------------------
 */

struct handle *
handle_find(const struct depot *d, uint32_t peer, uint64_t number)
{
    struct handle key, *h;

    memset(&key, 0, sizeof(key));
    key.key.peer = peer;
    key.key.number = number;
    HASH_FIND(hh, d->handles, &key.key, sizeof(key.key), h);
    return h;
}

struct handle *
handle_new(struct depot *d, struct visitor *v, uint64_t number, const uint8_t id[16])
{
    struct handle *h = calloc(1, sizeof(*h));

    if (h == NULL)
        return NULL;
    h->key.peer = v->peer;
    h->key.number = number;
    h->visitor = v;
    memcpy(h->id, id, sizeof(h->id));
    HASH_ADD(hh, d->handles, key, sizeof(h->key), h);
    if (h->hh.tbl == NULL) {
        free(h);
        return NULL;
    }
    LIST_INSERT_HEAD(&v->handles, h, of_visitor);
    return h;
}

void
handle_join(struct handle *h, struct kept *j)
{
    h->job = j;
    h->accepted = j->stored;
    h->sealed = j->sealed_stored;
    j->seal_at = h->submits ? CLOCK_NEVER : j->seal_at;
    LIST_INSERT_HEAD(&j->handles, h, of_job);
}

void
handle_free(struct depot *d, struct handle *h)
{
    struct kept *j = h->job;

    if (j != NULL) {
        LIST_REMOVE(h, of_job);
        if (h->submits && !j->sealed) /* its client may come back for a while */
            j->seal_at = d->now + SEAL_US;
    }
    LIST_REMOVE(h, of_visitor);
    HASH_DELETE(hh, d->handles, h);
    spec_unref(h->spec);
    free(h);
}

void
readers_gone(struct depot *d, struct kept *j)
{
    while (!LIST_EMPTY(&j->handles))
        handle_free(d, LIST_FIRST(&j->handles));
}

/* ---- how it stands -----------------------------------------------------------------------------
 */

void
tell_attached(struct depot *d, const struct handle *h, enum kept_error error, const char *text)
{
    struct outgoing *o = say(d, h->key.peer, MESSAGE_ATTACHED);
    const struct kept *j = h->job;
    struct blob *words_of = sentence("%s", text);

    if (o != NULL) {
        outgoing_keep(o, words_of);
        o->m.attached = (struct message_attached){
            .job = h->key.number, .function = "", .name = "", .error = error};
        o->m.attached.text = words(words_of);
        if (j != NULL) {
            o->spec = spec_ref(j->spec);
            o->m.attached.function = j->spec->function;
            o->m.attached.name = j->spec->name;
            o->m.attached.total = error == KEPT_NONE ? j->stored : j->total;
            o->m.attached.sealed = j->sealed_stored;
        }
        outbox_put(&d->outbox, o);
    }
    blob_unref(words_of);
}

/* With how many tasks are on disk: so not while some are on their way there. */
static void
tell_refusals(struct depot *d, struct kept *j)
{
    struct handle *h;

    LIST_FOREACH (h, &j->handles, of_job) {
        if (h->refusal == NULL || j->stored != j->total)
            continue;
        tell_attached(d, h, h->error, h->refusal);
        h->refusal = NULL;
    }
}

/* What those that submit to it send from now on is dropped. `text` is there for good. */
void
readers_refuse(struct depot *d, struct kept *j, enum kept_error error, const char *text)
{
    struct handle *h;

    LIST_FOREACH (h, &j->handles, of_job) {
        if (!h->submits)
            continue;
        h->refused = true;
        h->refusal = text;
        h->error = error;
    }
    dirty(d, j);
    tell_refusals(d, j);
}

static void
tell_accepted(struct depot *d, struct handle *h)
{
    struct outgoing *o;

    if (h->accepted == h->job->stored || (o = say(d, h->key.peer, MESSAGE_ACCEPTED)) == NULL)
        return;
    o->m.range = (struct message_range){.job = h->key.number, .first = h->job->stored};
    h->accepted = h->job->stored;
    outbox_put(&d->outbox, o);
}

void
readers_pass_on(struct depot *d, struct kept *j, const struct message *m)
{
    struct message copy = *m;
    struct outgoing *o;
    struct handle *h;
    struct blob *text;

    LIST_FOREACH (h, &j->handles, of_job) {
        if (!h->reading || (o = say(d, h->key.peer, m->type)) == NULL)
            continue;
        text = sentence("%s", m->type == MESSAGE_NOTICE    ? m->notice.text
                              : m->type == MESSAGE_RUNNING ? m->running.worker
                              : m->type == MESSAGE_OUTPUT  ? m->output.worker
                                                           : "");
        outgoing_keep(o, text);
        o->m = *m;
        o->m.client = 0;
        switch (m->type) {
        case MESSAGE_NOTICE:
            o->m.notice.job = h->key.number;
            o->m.notice.text = words(text);
            break;
        case MESSAGE_RUNNING:
            o->m.running.job = h->key.number;
            o->m.running.worker = words(text);
            break;
        case MESSAGE_PROGRESS:
            o->m.progress.job = h->key.number;
            break;
        case MESSAGE_PARTIAL:
            o->m.partial.job = h->key.number;
            break;
        default:
            o->m.output.job = h->key.number;
            o->m.output.worker = words(text);
        }
        if (message_columns(&copy) != NULL)
            outgoing_keep(o, message_columns(&copy)->data);
        blob_unref(text);
        outbox_put(&d->outbox, o);
    }
}

/* ---- results -----------------------------------------------------------------------------------
 */

int
keep_sides(struct outgoing *o, struct columns *c)
{
    size_t sizes = c->sizes == NULL ? 0 : c->count * sizeof(*c->sizes);
    size_t outcomes = c->outcomes == NULL ? 0 : c->count;
    struct blob *side;

    if (sizes + outcomes == 0)
        return 0;
    if ((side = blob_new(sizes + outcomes)) == NULL)
        return -1;
    if (sizes > 0) {
        memcpy(side->bytes, c->sizes, sizes);
        c->sizes = (const uint32_t *)(const void *)side->bytes;
    }
    if (outcomes > 0) {
        memcpy(side->bytes + sizes, c->outcomes, outcomes);
        c->outcomes = side->bytes + sizes;
    }
    outgoing_keep(o, side);
    blob_unref(side);
    return 0;
}

/* Items [from, to) of what was stored. -1: ENOMEM. */
static int
send_results(struct depot *d, struct handle *h, const struct message_results *r, uint32_t from,
             uint32_t to)
{
    struct outgoing *o = say(d, h->key.peer, MESSAGE_RESULTS);
    struct blob *worker;

    if (o == NULL)
        return -1;
    worker = sentence("%s", r->worker);
    outgoing_keep(o, worker);
    o->m.results = *r;
    o->m.results.job = h->key.number;
    o->m.results.first = r->first + from;
    o->m.results.worker = words(worker);
    o->m.results.run_us = r->run_us * (to - from) / r->columns.count;
    o->m.results.columns =
        columns_part(&r->columns, from, to - from, columns_length(&r->columns, 0, from));
    blob_unref(worker);
    if (keep_sides(o, &o->m.results.columns) != 0) {
        outbox_drop(&d->outbox, o);
        return -1;
    }
    outgoing_keep(o, o->m.results.columns.data);
    outbox_put(&d->outbox, o);
    return 0;
}

static int
send_ended(struct depot *d, struct handle *h, const struct message_ended *e)
{
    struct outgoing *o = say(d, h->key.peer, MESSAGE_ENDED);
    struct blob *worker, *text;

    if (o == NULL)
        return -1;
    worker = sentence("%s", e->worker);
    text = sentence("%s", e->text);
    outgoing_keep(o, worker);
    outgoing_keep(o, text);
    o->m.ended = *e;
    o->m.ended.job = h->key.number;
    o->m.ended.worker = words(worker);
    o->m.ended.text = words(text);
    blob_unref(worker);
    blob_unref(text);
    outbox_put(&d->outbox, o);
    return 0;
}

/* Has a later retry made this void? */
static bool
is_void(enum outcome o)
{
    return o != OUTCOME_DONE && o != OUTCOME_CANCELLED;
}

static int
send_valid(struct depot *d, struct handle *h, const struct message *m, bool retried)
{
    const struct message_results *r = &m->results;
    uint32_t from = 0, to;
    int failed = 0;

    if (m->type == MESSAGE_ENDED)
        return retried && is_void(m->ended.outcome) ? 0 : send_ended(d, h, &m->ended);
    if (!retried || r->columns.outcomes == NULL)
        return send_results(d, h, r, 0, r->columns.count);
    for (; from < r->columns.count && failed == 0; from = to) {
        to = from + 1;
        if (is_void((enum outcome)r->columns.outcomes[from]))
            continue;
        while (to < r->columns.count && !is_void((enum outcome)r->columns.outcomes[to]))
            to++;
        failed = send_results(d, h, r, from, to);
    }
    return failed;
}

/* What cannot be read is an outcome, too, and not silence. */
static int
send_damaged(struct depot *d, struct handle *h, const struct record *r)
{
    char text[160];

    snprintf(text, sizeof(text), "its result is damaged in the broker's store (row %llu)",
             (unsigned long long)r->row);
    log_error("job %s: tasks %llu to %llu: %s", h->job->hex, (unsigned long long)r->first,
              (unsigned long long)(r->first + r->count - 1), text);
    return send_ended(d, h,
                      &(struct message_ended){.first = r->first,
                                              .count = r->count,
                                              .outcome = OUTCOME_LOST,
                                              .worker = "",
                                              .text = text});
}

/* -1: ENOMEM. */
static int
send_record(struct depot *d, struct handle *h, const struct record *r)
{
    struct message m;
    const char *why;
    struct row row;
    int failed;

    if (store_read(d->store, r->row, &row) != 0)
        return errno == ENOMEM ? -1 : send_damaged(d, h, r);
    if (wire_decode(d->in, row.header, row.header_size, row.data, &m, &why) != 0)
        failed = errno == ENOMEM ? -1 : send_damaged(d, h, r);
    else
        failed = send_valid(d, h, &m, r->row < h->job->retried);
    blob_unref(row.data);
    return failed;
}

static void
pump(struct depot *d, struct handle *h)
{
    struct kept *j = h->job;
    struct outgoing *o;
    size_t at = h->at;

    if (!h->reading)
        return;
    for (; h->credit > 0 && h->at < j->records_stored; h->at++) {
        const struct record *r = &j->records[h->at];
        uint64_t cost = (uint64_t)r->bytes * 1024 + (uint64_t)r->count * TASK_COST;

        if (r->kind != ROW_ENDS)
            continue;
        if (send_record(d, h, r) != 0)
            return;
        h->credit -= cost < h->credit ? cost : h->credit;
    }
    if (h->at == at || (o = say(d, h->key.peer, MESSAGE_FETCHED)) == NULL)
        return;
    o->m.fetch = (struct message_fetch){.job = h->key.number, .after = j->records[h->at - 1].row};
    outbox_put(&d->outbox, o);
}

void
readers_committed(struct depot *d, struct kept *j)
{
    struct handle *h;

    tell_refusals(d, j);
    LIST_FOREACH (h, &j->handles, of_job) {
        bool grown = h->accepted != j->stored;

        tell_accepted(d, h);
        if (!h->told || (grown && !h->submits) || h->sealed != j->sealed_stored) {
            h->told = true;
            h->sealed = j->sealed_stored;
            tell_attached(d, h, KEPT_NONE, "");
        }
        pump(d, h);
    }
}

/* ---- messages ----------------------------------------------------------------------------------
 */

static int
attach(struct depot *d, struct visitor *v, const struct message_attach *m)
{
    struct kept *j = kept_find(d, m->id);
    struct handle *h;

    if (handle_find(d, v->peer, m->job) != NULL) {
        snprintf(d->why, sizeof(d->why), "a detached job under the number of another one");
        return -1;
    }
    if ((h = handle_new(d, v, m->job, m->id)) == NULL) {
        snprintf(d->why, sizeof(d->why), "the broker is out of memory");
        return -1;
    }
    if (j != NULL) {
        handle_join(h, j);
        h->told = true;
        tell_attached(d, h, KEPT_NONE, "");
        return 0;
    }
    tell_attached(d, h, d->store == NULL ? KEPT_NO_STORE : KEPT_UNKNOWN,
                  d->store == NULL
                      ? "this broker keeps no jobs: it was started without --store"
                      : "the broker has no such job: it never had it, or its results have expired");
    handle_free(d, h);
    return 0;
}

static void
fetch(struct depot *d, struct handle *h, const struct message_fetch *m)
{
    struct kept *j = h->job;

    if (j == NULL)
        return;
    if (!h->reading) {
        h->reading = true;
        for (h->at = 0; h->at < j->nrecords && j->records[h->at].row <= m->after;)
            h->at++;
    }
    h->credit = m->bytes < RESULTS_BYTES ? m->bytes : RESULTS_BYTES;
    pump(d, h);
}

static void
cancel(struct depot *d, struct handle *h, const struct message_range *m)
{
    struct kept *j = h->job;
    uint64_t last, left;

    if (j != NULL && j->total == 0 && h->submits)
        intake_seal(d, j);
    if (j == NULL || m->first >= j->total)
        return;
    left = j->total - m->first;
    last = m->first + (m->count < left ? m->count : left);
    kept_cancel(d, j, m->first, last);
}

static struct visitor *
visitor_get(struct depot *d, uint32_t peer, const char *name)
{
    struct visitor *v;

    HASH_FIND(hh, d->visitors, &peer, sizeof(peer), v);
    if (v != NULL || (v = calloc(1, sizeof(*v))) == NULL)
        return v;
    v->peer = peer;
    LIST_INIT(&v->handles);
    if ((v->name = strdup(name)) != NULL)
        HASH_ADD(hh, d->visitors, peer, sizeof(v->peer), v);
    if (v->hh.tbl != NULL)
        return v;
    free(v->name);
    free(v);
    return NULL;
}

int
readers_input(struct depot *d, uint32_t peer, const char *name, const struct message *m)
{
    struct visitor *v = visitor_get(d, peer, name);
    struct handle *h;

    if (v == NULL) {
        snprintf(d->why, sizeof(d->why), "the broker is out of memory");
        return -1;
    }
    switch (m->type) {
    case MESSAGE_JOB:
        return intake_job(d, v, &m->job);
    case MESSAGE_INPUTS:
        return intake_inputs(d, handle_find(d, peer, m->inputs.job), &m->inputs);
    case MESSAGE_JOB_END:
        return intake_end(d, handle_find(d, peer, m->job_end.job), &m->job_end);
    case MESSAGE_ATTACH:
        return attach(d, v, &m->attach);
    case MESSAGE_FETCH:
        if ((h = handle_find(d, peer, m->fetch.job)) != NULL)
            fetch(d, h, &m->fetch);
        return 0;
    case MESSAGE_CANCEL:
        if ((h = handle_find(d, peer, m->range.job)) != NULL)
            cancel(d, h, &m->range);
        return 0;
    case MESSAGE_PROGRAM_PART:
        intake_part(d, &m->program_part);
        return 0;
    case MESSAGE_PROGRAM_WANTED:
        chores_part(d, peer, &m->program_wanted);
        return 0;
    default:
        chores_input(d, v, &m->kept_wanted);
        return 0;
    }
}

void
depot_gone(struct depot *d, uint32_t peer)
{
    struct visitor *v;

    HASH_FIND(hh, d->visitors, &peer, sizeof(peer), v);
    if (v == NULL)
        return;
    while (!LIST_EMPTY(&v->handles))
        handle_free(d, LIST_FIRST(&v->handles));
    HASH_DELETE(hh, d->visitors, v);
    free(v->name);
    free(v);
    intake_gone(d, peer);
}
