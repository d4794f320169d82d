#include "reports.h"

#include "../proto/limits.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

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
    bool merged; /* the blob, sizes and outcomes have room for more */
};
TAILQ_HEAD(item_list, item);

struct reports {
    struct item_list items;
    struct item *given; /* by the last reports_get() */
};

struct reports *
reports_new(void)
{
    struct reports *o = calloc(1, sizeof(*o));

    if (o != NULL)
        TAILQ_INIT(&o->items);
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

void
reports_clear(struct reports *o)
{
    struct item *item;

    while ((item = TAILQ_FIRST(&o->items)) != NULL) {
        TAILQ_REMOVE(&o->items, item, next);
        free_item(item);
    }
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
    return TAILQ_EMPTY(&o->items);
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
append(struct item *item, const struct message_results *r)
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
                   t->columns.count + r->columns.count <= MERGED_ITEMS && append(item, r);
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
    TAILQ_INSERT_TAIL(&o->items, item, next);
    return 0;
}

bool
reports_get(struct reports *o, struct message *m)
{
    free_item(o->given);
    if ((o->given = TAILQ_FIRST(&o->items)) == NULL)
        return false;
    TAILQ_REMOVE(&o->items, o->given, next);
    *m = o->given->m;
    return true;
}
