#include "reports.h"

#include "../proto/limits.h"

#define HASH_NONFATAL_OOM 1 /* what could not be added has a hash handle of zeros */

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#define MERGED (16u << 10) /* bytes: copying more than that costs more than a message */
#define MERGED_ITEMS 1024
#define LOOK_BACK 4 /* as many executors' results may lie between two of one lease */

struct item {
    TAILQ_ENTRY(item) next;
    struct message m;
    uint32_t *sizes; /* owned, as is what follows */
    uint8_t *outcomes;
    char *text, *digest, *host;
    struct spec *spec;
    bool merged;     /* the blob, sizes and outcomes have room for more */
    uint64_t serial; /* of kept results that went out on this connection */
    UT_hash_handle hh;
};
TAILQ_HEAD(item_list, item);

struct asked { /* a lease of which the broker has not said whether it wants it */
    uint64_t lease;
    UT_hash_handle hh;
};

struct reports {
    struct item_list items;
    struct asked *asked;
    struct item_list held; /* what there is to say about these */
    struct item *given;    /* by the last reports_get(), unless it is kept */
    bool keeps;
    struct item_list kept;
    struct item *by_serial;
    uint64_t serial; /* of the last results on this connection */
    size_t bytes;    /* kept */
    size_t unsent;   /* bytes of results that have not gone out, and are not kept yet */
    uint64_t dropped;
};

struct reports *
reports_new(bool keeps)
{
    struct reports *o = calloc(1, sizeof(*o));

    if (o == NULL)
        return NULL;
    TAILQ_INIT(&o->items);
    TAILQ_INIT(&o->held);
    TAILQ_INIT(&o->kept);
    o->keeps = keeps;
    return o;
}

static void
free_item(struct item *item)
{
    struct columns *c;

    if (item == NULL)
        return;
    if ((c = message_columns(&item->m)) != NULL)
        blob_unref(c->data);
    free(item->sizes);
    free(item->outcomes);
    free(item->text);
    free(item->digest);
    free(item->host);
    spec_unref(item->spec);
    free(item);
}

static bool
is_result(const struct item *item)
{
    return item->m.type == MESSAGE_RESULTS && item->m.client == 0;
}

static size_t
cost_of(const struct item *item)
{
    const struct columns *c = &item->m.results.columns;

    return c->length + c->count * (size_t)TASK_COST;
}

/* Out of the kept ones; the caller's. */
static void
take_kept(struct reports *o, struct item *item)
{
    if (item->serial > 0)
        HASH_DEL(o->by_serial, item);
    item->serial = 0;
    TAILQ_REMOVE(&o->kept, item, next);
    o->bytes -= cost_of(item);
}

static void
forget_kept(struct reports *o, struct item *item)
{
    take_kept(o, item);
    free_item(item);
}

static void
keep_results(struct reports *o, struct item *item, uint64_t serial)
{
    struct item *oldest, *next;

    TAILQ_INSERT_TAIL(&o->kept, item, next);
    o->bytes += cost_of(item);
    if (serial > 0) {
        item->serial = serial;
        HASH_ADD(hh, o->by_serial, serial, sizeof(item->serial), item);
        if (item->hh.tbl == NULL)
            item->serial = 0; /* out of memory: it is kept until the next connection */
    }
    /* Those that went out the broker has had, most likely; the others are not to be made again. */
    for (oldest = TAILQ_FIRST(&o->kept); oldest != item && o->bytes > REPORTS_KEPT; oldest = next) {
        next = TAILQ_NEXT(oldest, next);
        if (oldest->serial == 0)
            continue;
        o->dropped += oldest->m.results.columns.count;
        forget_kept(o, oldest);
    }
}

static void
forget_asked(struct reports *o)
{
    struct asked *asked, *next;

    HASH_ITER (hh, o->asked, asked, next) {
        HASH_DEL(o->asked, asked);
        free(asked);
    }
}

/* The lease that a message is about; 0: none. */
static uint64_t
lease_of(const struct message *m)
{
    if (m->client != 0)
        return 0;
    return m->type == MESSAGE_RESULTS    ? m->results.lease
           : m->type == MESSAGE_RETURNED ? m->returned.lease
           : m->type == MESSAGE_PARKED   ? m->parked.lease
                                         : 0;
}

/* A broker that does not know the lease yet would not understand. */
static bool
asks_about(const struct reports *o, const struct message *m)
{
    uint64_t lease = lease_of(m);
    const struct asked *asked;

    if (o->asked == NULL || lease == 0)
        return false;
    HASH_FIND(hh, o->asked, &lease, sizeof(lease), asked);
    return asked != NULL;
}

void
reports_clear(struct reports *o)
{
    struct item *item;

    while ((item = TAILQ_FIRST(&o->items)) != NULL) {
        TAILQ_REMOVE(&o->items, item, next);
        free_item(item);
    }
    while ((item = TAILQ_FIRST(&o->held)) != NULL) {
        TAILQ_REMOVE(&o->held, item, next);
        free_item(item);
    }
    while ((item = TAILQ_FIRST(&o->kept)) != NULL)
        forget_kept(o, item);
    o->unsent = 0;
    forget_asked(o);
}

void
reports_free(struct reports *o)
{
    if (o == NULL)
        return;
    reports_clear(o);
    free_item(o->given);
    free(o);
}

bool
reports_empty(const struct reports *o)
{
    return TAILQ_EMPTY(&o->items) && TAILQ_EMPTY(&o->held);
}

/* Give the merged one arrays of its own, with room. */
static int
make_mergeable(struct item *item)
{
    struct columns *c = &item->m.results.columns;
    uint32_t *sizes = malloc(MERGED_ITEMS * sizeof(*sizes));
    uint8_t *outcomes = malloc(MERGED_ITEMS);
    struct blob *blob = blob_new(MERGED);

    if (sizes == NULL || outcomes == NULL || blob == NULL) {
        free(sizes);
        free(outcomes);
        blob_unref(blob);
        return -1;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        sizes[i] = c->sizes != NULL ? c->sizes[i] : c->size;
        outcomes[i] = c->outcomes != NULL ? c->outcomes[i] : OUTCOME_DONE;
    }
    if (c->length > 0)
        memcpy(blob->bytes, c->data->bytes + c->at, c->length);
    blob_unref(c->data);
    free(item->sizes);
    free(item->outcomes);
    item->sizes = sizes;
    item->outcomes = outcomes;
    c->sizes = sizes;
    c->outcomes = outcomes;
    c->data = blob;
    c->at = 0;
    item->merged = true;
    return 0;
}

static bool
append(struct reports *o, struct item *item, const struct message_results *r)
{
    struct columns *c = &item->m.results.columns;

    if (!item->merged && make_mergeable(item) != 0)
        return false;
    for (uint32_t i = 0; i < r->columns.count; i++) {
        item->sizes[c->count + i] =
            r->columns.sizes != NULL ? r->columns.sizes[i] : r->columns.size;
        item->outcomes[c->count + i] =
            r->columns.outcomes != NULL ? r->columns.outcomes[i] : OUTCOME_DONE;
    }
    if (r->columns.length > 0)
        memcpy(c->data->bytes + c->length, r->columns.data->bytes + r->columns.at,
               r->columns.length);
    c->count += r->columns.count;
    c->length += r->columns.length;
    o->unsent += r->columns.length + r->columns.count * (size_t)TASK_COST;
    item->m.results.run_us += r->run_us;
    return true;
}

/* Add the results to those of the tasks before them, if these still wait. */
static bool
merge(struct reports *o, const struct message_results *r)
{
    struct item *item = TAILQ_LAST(&o->items, item_list);

    for (int i = 0; i < LOOK_BACK && item != NULL; i++) {
        const struct message_results *t = &item->m.results;

        if (item->m.type != MESSAGE_RESULTS)
            return false; /* nothing overtakes what a task said before its result */
        if (t->lease == r->lease && t->first + t->columns.count == r->first &&
            t->attempt == r->attempt && t->job == r->job)
            return t->columns.length + r->columns.length <= MERGED &&
                   t->columns.count + r->columns.count <= MERGED_ITEMS && append(o, item, r);
        item = TAILQ_PREV(item, item_list, next);
    }
    return false;
}

static int
keep_text(const char **at, char **owned)
{
    if (*at == NULL)
        return 0;
    if ((*owned = strdup(*at)) == NULL)
        return -1;
    *at = *owned;
    return 0;
}

static int
keep_columns(struct item *item, struct columns *c)
{
    if (c->sizes != NULL && c->count > 0) {
        if ((item->sizes = malloc(c->count * sizeof(*item->sizes))) == NULL)
            return -1;
        memcpy(item->sizes, c->sizes, c->count * sizeof(*item->sizes));
        c->sizes = item->sizes;
    }
    if (c->outcomes != NULL && c->count > 0) {
        if ((item->outcomes = malloc(c->count)) == NULL)
            return -1;
        memcpy(item->outcomes, c->outcomes, c->count);
        c->outcomes = item->outcomes;
    }
    return 0;
}

static int
keep_runs(struct item *item, struct message_held *m)
{
    if ((item->sizes = malloc(m->nruns * sizeof(*m->runs))) == NULL)
        return -1;
    memcpy(item->sizes, m->runs, m->nruns * sizeof(*m->runs));
    m->runs = item->sizes;
    return 0;
}

static int
keep(struct item *item)
{
    struct message *m = &item->m;
    struct columns *c = message_columns(m);

    if (c != NULL) {
        blob_ref(c->data);
        if (keep_columns(item, c) != 0)
            return -1;
    }
    switch (m->type) {
    case MESSAGE_HELLO: /* of a client: the rest is a worker's, or an executor's */
        m->hello.machine = m->hello.labels = "";
        m->hello.names = NULL;
        m->hello.nnames = 0;
        if (keep_text(&m->hello.software, &item->digest) != 0 ||
            keep_text(&m->hello.host, &item->host) != 0)
            return -1;
        return keep_text(&m->hello.name, &item->text);
    case MESSAGE_JOB:
        item->spec = spec_ref(m->job.spec);
        return 0;
    case MESSAGE_SHARE:
    case MESSAGE_UNSHARE:
        return keep_text(&m->share.digest, &item->digest);
    case MESSAGE_PROGRAM_PART:
        if (keep_text(&m->program_part.digest, &item->digest) != 0)
            return -1;
        return keep_text(&m->program_part.text, &item->text);
    case MESSAGE_RESULTS:
        return keep_text(&m->results.worker, &item->text);
    case MESSAGE_RUNNING:
        return keep_text(&m->running.worker, &item->text);
    case MESSAGE_OUTPUT:
        return keep_text(&m->output.worker, &item->text);
    case MESSAGE_PROGRAM_WANTED:
        return keep_text(&m->program_wanted.digest, &item->digest);
    case MESSAGE_PROGRAM_FAILED:
        if (keep_text(&m->program_failed.digest, &item->digest) != 0)
            return -1;
        return keep_text(&m->program_failed.text, &item->text);
    case MESSAGE_HELD:
        return keep_runs(item, &m->held);
    case MESSAGE_DRAINING:
    case MESSAGE_BYE:
        return keep_text(&m->text, &item->text);
    default:
        return 0;
    }
}

int
reports_put(struct reports *o, const struct message *m)
{
    struct item *item;

    assert(m->type != MESSAGE_HELLO || m->client != 0);
    if (m->type == MESSAGE_RESULTS && merge(o, &m->results))
        return 0;
    if ((item = calloc(1, sizeof(*item))) == NULL)
        return -1;
    item->m = *m;
    if (keep(item) != 0) {
        free_item(item);
        return -1;
    }
    if (is_result(item))
        o->unsent += cost_of(item);
    if (asks_about(o, m))
        TAILQ_INSERT_TAIL(&o->held, item, next);
    else
        TAILQ_INSERT_TAIL(&o->items, item, next);
    return 0;
}

bool
reports_get(struct reports *o, struct message *m)
{
    struct item *item = TAILQ_FIRST(&o->items);

    free_item(o->given);
    o->given = NULL;
    if (item == NULL)
        return false;
    TAILQ_REMOVE(&o->items, item, next);
    if (is_result(item))
        o->unsent -= cost_of(item);
    if (o->keeps && is_result(item)) {
        item->m.results.serial = ++o->serial;
        keep_results(o, item, o->serial);
    } else {
        o->given = item;
    }
    *m = item->m;
    return true;
}

/* ---- results that are kept ----------------------------------------------------------------------
 */

void
reports_acknowledged(struct reports *o, const struct message_ack *m)
{
    struct item *item, *next;

    for (uint32_t i = 0; i + 1 < m->count; i += 2) {
        uint64_t first = m->serials[i], last = m->serials[i + 1];

        if (first > last || first == 0 || last > o->serial)
            continue;
        if (last - first >= HASH_COUNT(o->by_serial)) {
            HASH_ITER (hh, o->by_serial, item, next) {
                if (item->serial >= first && item->serial <= last)
                    forget_kept(o, item);
            }
            continue;
        }
        for (uint64_t serial = first; serial <= last; serial++) {
            HASH_FIND(hh, o->by_serial, &serial, sizeof(serial), item);
            if (item != NULL)
                forget_kept(o, item);
        }
    }
}

void
reports_lost(struct reports *o, bool for_next)
{
    struct item_list all = TAILQ_HEAD_INITIALIZER(all);
    struct item *item;

    free_item(o->given);
    o->given = NULL;
    o->serial = 0;
    TAILQ_FOREACH (item, &o->kept, next) {
        item->serial = 0;
    }
    HASH_CLEAR(hh, o->by_serial);
    forget_asked(o);
    o->unsent = 0;
    TAILQ_CONCAT(&all, &o->items, next);
    TAILQ_CONCAT(&all, &o->held, next);
    while ((item = TAILQ_FIRST(&all)) != NULL) {
        TAILQ_REMOVE(&all, item, next);
        if (o->keeps && is_result(item))
            keep_results(o, item, 0);
        else if (for_next && item->m.client != 0)
            TAILQ_INSERT_TAIL(&o->items, item, next);
        else
            free_item(item);
    }
}

const struct message_results *
reports_waiting(const struct reports *o, const struct message_results *before)
{
    const struct item *item =
        before == NULL
            ? TAILQ_FIRST(&o->kept)
            : TAILQ_NEXT((const struct item *)(const void *)((const char *)before -
                                                             offsetof(struct item, m.results)),
                         next);

    while (item != NULL && item->serial > 0)
        item = TAILQ_NEXT(item, next);
    return item == NULL ? NULL : &item->m.results;
}

void
reports_adopted(struct reports *o, uint64_t lease, bool wanted)
{
    struct item *item, *next;
    struct asked *asked;

    HASH_FIND(hh, o->asked, &lease, sizeof(lease), asked);
    if (asked != NULL) {
        HASH_DEL(o->asked, asked);
        free(asked);
    }
    for (item = TAILQ_FIRST(&o->kept); item != NULL; item = next) {
        next = TAILQ_NEXT(item, next);
        if (item->serial > 0 || item->m.results.lease != lease)
            continue;
        take_kept(o, item);
        if (wanted) {
            TAILQ_INSERT_TAIL(&o->items, item, next);
            o->unsent += cost_of(item);
        } else {
            free_item(item);
        }
    }
    for (item = TAILQ_FIRST(&o->held); item != NULL; item = next) {
        next = TAILQ_NEXT(item, next);
        if (lease_of(&item->m) != lease)
            continue;
        TAILQ_REMOVE(&o->held, item, next);
        if (!wanted && is_result(item))
            o->unsent -= cost_of(item);
        if (wanted)
            TAILQ_INSERT_TAIL(&o->items, item, next);
        else
            free_item(item);
    }
}

void
reports_ask(struct reports *o, uint64_t lease)
{
    struct asked *asked;

    HASH_FIND(hh, o->asked, &lease, sizeof(lease), asked);
    if (asked != NULL || (asked = calloc(1, sizeof(*asked))) == NULL)
        return;
    asked->lease = lease;
    HASH_ADD(hh, o->asked, lease, sizeof(asked->lease), asked);
    if (asked->hh.tbl == NULL)
        free(asked);
}

bool
reports_full(const struct reports *o)
{
    return o->bytes + o->unsent >= REPORTS_KEPT;
}

uint64_t
reports_kept(const struct reports *o)
{
    return o->bytes;
}

uint64_t
reports_dropped(const struct reports *o)
{
    return o->dropped;
}
