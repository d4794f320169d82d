#include "demands.h"

#include "capacity.h"
#include "fits.h"
#include "queues.h"
#include "workers.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- do they fit? -------------------------------------------------------------------------------
 */

static bool
failing(const struct offer *o, const struct executable *p)
{
    for (size_t i = 0; i < o->nfailing; i++) {
        if (o->failing[i] == p)
            return true;
    }
    return false;
}

bool
demand_fits(const struct demand *d, const struct offer *o)
{
    struct label name = {.key = d->program};

    if (d->machine[0] != '\0' && strcmp(d->machine, o->machine) != 0)
        return false;
    if (d->program[0] != '\0' && !label_found(o->names, &name))
        return false;
    if (d->failing != NULL && failing(o, d->failing))
        return false;
    return labels_missing(o->labels, d->needs) == NULL;
}

bool
demand_able(const struct demand *d)
{
    return d->workers > 0;
}

/* ---- demands ------------------------------------------------------------------------------------
 */

static void
demand_free(struct scheduler *s, struct demand *d)
{
    if (d->hh.tbl != NULL)
        HASH_DELETE(hh, s->demands, d);
    fits_free_demand(d);
    labels_free(d->needs);
    free(d->machine);
    free(d->program);
    free(d->key);
    table_clear(&d->levels_by_rank);
    free(d);
}

static int
count_workers(struct scheduler *s, struct demand *d)
{
    struct offer *o, *next;
    struct worker *w;

    HASH_ITER (hh, s->offers, o, next) {
        if (demand_fits(d, o) && fit_new(d, o) != 0)
            return -1;
    }
    TAILQ_FOREACH (w, &s->workers, link) {
        if (!w->draining && worker_able(w, d) && demand_fits(d, w->offer)) {
            d->workers++;
            d->slots += w->slots;
        }
    }
    return 0;
}

static struct demand *
demand_new(struct scheduler *s, const struct job *j, struct labels *needs, char *key)
{
    const struct program *p = &j->spec->program;
    struct demand *d = calloc(1, sizeof(*d));

    if (d == NULL) {
        labels_free(needs);
        free(key);
        return NULL;
    }
    d->key = key;
    d->needs = needs;
    d->cpus = j->spec->cpus > 0 ? j->spec->cpus : 1;
    d->memory = j->spec->memory;
    d->failing = j->program->failing > 0 ? j->program : NULL;
    d->machine = strdup(p->machine);
    d->program = strdup(p->digest[0] == '\0' ? p->name : "");
    for (int i = 0; i < BUCKETS; i++)
        TAILQ_INIT(&d->free[i]);
    TAILQ_INIT(&d->spare);
    TAILQ_INIT(&d->levels);
    table_init(&d->levels_by_rank, s->config.seed);
    if (d->machine == NULL || d->program == NULL || count_workers(s, d) != 0)
        goto fail;
    HASH_ADD_KEYPTR(hh, s->demands, d->key, strlen(d->key), d);
    if (d->hh.tbl != NULL)
        return d;
fail:
    demand_free(s, d);
    return NULL;
}

static struct demand *
demand_get(struct scheduler *s, const struct job *j)
{
    const struct spec *spec = j->spec;
    struct labels *needs = labels_new(spec->needs);
    struct demand *d = NULL;
    char *key = NULL;

    if (needs == NULL)
        return NULL;
    if (asprintf(&key, "%s\n%s\n%s\n%u\n%" PRIu64 "\n%s", spec->program.machine,
                 spec->program.digest[0] == '\0' ? spec->program.name : "", needs->text,
                 spec->cpus > 0 ? spec->cpus : 1, spec->memory,
                 j->program->failing > 0 ? j->program->key : "") < 0) {
        labels_free(needs);
        return NULL;
    }
    HASH_FIND_STR(s->demands, key, d);
    if (d == NULL)
        return demand_new(s, j, needs, key);
    labels_free(needs);
    free(key);
    return d;
}

int
demand_join(struct scheduler *s, struct job *j)
{
    struct demand *d = demand_get(s, j);
    struct queue *q;

    if (d == NULL)
        return -1;
    if ((q = queue_get(j->client, d, j->spec->priority)) == NULL) {
        if (d->refs == 0)
            demand_free(s, d);
        return -1;
    }
    d->refs++;
    j->demand = d;
    j->queue = q;
    return 0;
}

void
demand_release(struct scheduler *s, struct demand *d)
{
    if (--d->refs == 0)
        demand_free(s, d);
}

static void
leave(struct scheduler *s, struct demand *d, struct queue *q)
{
    queue_put(s, q);
    if (d != NULL)
        demand_release(s, d);
}

void
demand_leave(struct scheduler *s, struct job *j)
{
    leave(s, j->demand, j->queue);
    j->demand = NULL;
    j->queue = NULL;
}

void
demand_move(struct scheduler *s, struct job *j)
{
    struct demand *d = j->demand;
    struct queue *q = j->queue;
    uint64_t ready = j->ready;

    j->ready = 0; /* out of its queue while it changes that */
    queue_update(s, j);
    if (demand_join(s, j) == 0)
        leave(s, d, q);
    j->ready = ready;
    queue_update(s, j);
}

/* ---- offers -------------------------------------------------------------------------------------
 */

static void
offer_free(struct scheduler *s, struct offer *o)
{
    if (o->hh.tbl != NULL)
        HASH_DELETE(hh, s->offers, o);
    fits_free_offer(o);
    labels_free(o->labels);
    labels_free(o->names);
    free(o->failing);
    free(o->machine);
    free(o->key);
    free(o);
}

/* The machine is a label too, unless the worker says otherwise: "arch=aarch64" can be needed. */
static struct labels *
labels_of(const struct worker *w)
{
    struct labels *labels = labels_new(words(w->labels));
    struct label arch = {.key = "arch"};
    char *text = NULL;

    if (labels == NULL || label_found(labels, &arch) || words(w->machine)[0] == '\0')
        return labels;
    if (asprintf(&text, "%s,arch=%s", labels->text, words(w->machine)) < 0)
        text = NULL;
    labels_free(labels);
    labels = text == NULL ? NULL : labels_new(text);
    free(text);
    return labels;
}

static int
copy_failing(struct offer *o, const struct worker *w)
{
    size_t count = 0;

    for (const struct failing *f = w->failing; f != NULL; f = f->next)
        count++;
    if (count > 0 && (o->failing = calloc(count, sizeof(struct executable *))) == NULL)
        return -1;
    for (const struct failing *f = w->failing; f != NULL; f = f->next)
        o->failing[o->nfailing++] = f->program;
    return 0;
}

static char *
key_of(const struct offer *o)
{
    size_t size = strlen(o->machine) + strlen(o->labels->text) + strlen(o->names->text) + 4;
    char *key, *at;

    for (size_t i = 0; i < o->nfailing; i++)
        size += strlen(o->failing[i]->key) + 1;
    if ((key = malloc(size)) == NULL)
        return NULL;
    at = key + sprintf(key, "%s\n%s\n%s\n", o->machine, o->labels->text, o->names->text);
    for (size_t i = 0; i < o->nfailing; i++)
        at += sprintf(at, "%s\n", o->failing[i]->key);
    return key;
}

static struct offer *
offer_new(struct scheduler *s, const struct worker *w)
{
    struct offer *o = calloc(1, sizeof(*o));

    if (o == NULL)
        return NULL;
    for (int i = 0; i < BUCKETS; i++)
        TAILQ_INIT(&o->free[i]);
    TAILQ_INIT(&o->spare);
    o->top = PLACE_NONE;
    o->machine = strdup(words(w->machine));
    o->labels = labels_of(w);
    o->names = labels_new(words(w->names));
    if (o->machine == NULL || o->labels == NULL || o->names == NULL || copy_failing(o, w) != 0 ||
        (o->key = key_of(o)) == NULL) {
        offer_free(s, o);
        return NULL;
    }
    return o;
}

static struct offer *
offer_get(struct scheduler *s, const struct worker *w)
{
    struct offer *o = offer_new(s, w), *known;
    struct demand *d, *next;

    if (o == NULL)
        return NULL;
    HASH_FIND_STR(s->offers, o->key, known);
    if (known != NULL) {
        offer_free(s, o);
        return known;
    }
    HASH_ADD_KEYPTR(hh, s->offers, o->key, strlen(o->key), o);
    if (o->hh.tbl == NULL) {
        offer_free(s, o);
        return NULL;
    }
    HASH_ITER (hh, s->demands, d, next) {
        if (demand_fits(d, o) && fit_new(d, o) != 0) {
            offer_free(s, o);
            return NULL;
        }
    }
    return o;
}

/* Count the worker in, or out of, the demands that its offer fits. */
static void
count(struct scheduler *s, const struct worker *w, bool in)
{
    struct demand *d, *next;

    HASH_ITER (hh, s->demands, d, next) {
        if (!worker_able(w, d) || !demand_fits(d, w->offer))
            continue;
        d->workers = in ? d->workers + 1 : d->workers - 1;
        d->slots = in ? d->slots + w->slots : d->slots - w->slots;
    }
}

int
offer_join(struct scheduler *s, struct worker *w)
{
    struct offer *o = offer_get(s, w);

    if (o == NULL)
        return -1;
    o->refs++;
    offer_leave(s, w);
    w->offer = o;
    if (!w->draining)
        count(s, w, true);
    worker_update(s, w);
    return 0;
}

void
offer_leave(struct scheduler *s, struct worker *w)
{
    if (w->offer == NULL)
        return;
    worker_unplace(s, w);
    if (!w->draining)
        count(s, w, false);
    if (--w->offer->refs == 0)
        offer_free(s, w->offer);
    w->offer = NULL;
}

void
offer_drain(struct scheduler *s, struct worker *w)
{
    if (w->draining)
        return;
    count(s, w, false);
    w->draining = true;
    worker_update(s, w);
}
