/* futures_map_scan(): all prefixes, in three steps.
 *
 * Up: blocks of inputs are mapped, and give back their own prefixes; the last of these, the block's
 * total, is reduced further, 16 neighbours at a time. Across: at the top, a few totals are left,
 * and one task makes their prefixes. Down: prefixes of totals go back to the 16 that they stand
 * before, and at last to the blocks, each with what it is to be combined with.
 *
 * So each input is mapped once, and its value travels three times (four with blocks of one input).
 * To map twice would spare one of them, at the price of all that mapping costs.
 * The shape, so the bits, depends on the number of inputs alone.
 */
#include "combine.h"

#include "../proto/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FAN = 16, BLOCKS = 4096 };
#define PARTS UINT32_MAX /* in place of a level */

struct group { /* of neighbours at a level */
    uint32_t count, missing;
    bool has_before; /* unless it is the first, it waits for the prefix that it starts from */
    struct item before;
};

struct level {
    uint64_t count, ngroups;
    uint64_t width; /* inputs behind each value */
    struct item *items;
    struct group *groups;
};

struct part { /* a block, with its own prefixes, that waits for what stands before it */
    struct blob *data;
    size_t at, size; /* of the parcel */
    const char *worker;
    struct item before;
};

struct place {      /* what a task of joins or of scans was about */
    uint32_t level; /* PARTS: it was about a block */
    uint64_t group;
};

struct places {
    struct place *list;
    uint64_t count, room;
};

struct scan {
    struct combine base;
    struct job *results; /* what the program reads; of its results_t */
    uint64_t done;       /* results that are there */
    struct part *parts;  /* NULL: blocks have one input */
    struct level *levels;
    uint32_t nlevels;
    struct places joins, scans; /* by task */
};

static int
add_place(struct places *p, uint32_t level, uint64_t group)
{
    if (p->count == p->room) {
        uint64_t room = p->room > 0 ? 2 * p->room : 64;
        struct place *list = realloc(p->list, room * sizeof(*list));

        if (list == NULL)
            return -1;
        p->list = list;
        p->room = room;
    }
    p->list[p->count++] = (struct place){.level = level, .group = group};
    return 0;
}

/* ---- results ----------------------------------------------------------------------------------
 */

static int
end_results(struct scan *x, uint64_t index, const struct columns *all, const char *worker)
{
    struct core *core = x->base.session->core;
    const struct message_results how = {
        .worker = worker, .attempt = 1, .columns = {.count = all->count}};
    size_t offset = 0;

    for (uint32_t i = 0; i < all->count;) {
        struct chunk *c = job_chunk(x->results, index + i);
        uint32_t n = all->count - i;
        struct columns part;

        if (c == NULL)
            return 0; /* nobody reads them any more */
        if (c->first > index + i) {
            n = c->first - index - i < n ? (uint32_t)(c->first - index - i) : n;
            offset += columns_length(all, i, n);
            i += n;
            continue;
        }
        if (c->first + c->count - index - i < n)
            n = (uint32_t)(c->first + c->count - index - i);
        part = columns_part(all, i, n, offset);
        if (core_end_with_results(core, c, (uint32_t)(index + i - c->first), &part, &how) != 0)
            return -1;
        offset += part.length;
        i += n;
    }
    return 0;
}

/* The values of a parcel in `data` are results, from `index` on. */
static int
put_results(struct scan *x, uint64_t index, const struct parcel *p, struct blob *data,
            const char *worker)
{
    struct columns c = {.count = p->count,
                        .size = p->size,
                        .data = data,
                        .at = (size_t)(p->data - data->bytes),
                        .length = p->length};
    uint32_t *sizes = NULL;
    int failed;

    if (p->sizes != NULL) {
        if ((sizes = malloc(p->count * sizeof(*sizes))) == NULL)
            return -1;
        memcpy(sizes, p->sizes, p->count * sizeof(*sizes));
        c.sizes = sizes;
        c.size = 0;
    }
    if (c.length == 0)
        c.data = NULL;
    failed = end_results(x, index, &c, worker);
    free(sizes);
    x->done += p->count;
    if (failed == 0 && x->done == x->base.count)
        x->base.ended = true;
    return failed;
}

/* ---- down: prefixes go where they are needed --------------------------------------------------
 */

static int
scan_group(struct scan *x, uint32_t level, uint64_t group)
{
    struct level *l = &x->levels[level];
    struct group *g = &l->groups[group];
    struct item *items = l->items + group * FAN;
    struct parcel head = {.flags = PARCEL_EACH | (group > 0 ? PARCEL_BEFORE : 0),
                          .map = "",
                          .reduce = x->base.reduce,
                          .first = group * FAN * l->width,
                          .width = l->width};

    head.end = x->base.count - head.first < g->count * l->width ? x->base.count
                                                                : head.first + g->count * l->width;
    if (add_place(&x->scans, level, group) != 0)
        return -1;
    combine_append(&x->base, x->base.scans, &head, group > 0 ? &g->before : NULL, items, g->count);
    for (uint32_t i = 0; i < g->count; i++)
        item_drop(&items[i]);
    item_drop(&g->before);
    return 0;
}

/* The block's own prefixes, each with what stands before all of them. */
static int
finish_part(struct scan *x, uint64_t block)
{
    struct part *part = &x->parts[block];
    struct parcel p, head = {.flags = PARCEL_EACH | PARCEL_BEFORE | PARCEL_APART,
                             .map = "",
                             .reduce = x->base.reduce,
                             .first = block * x->base.block,
                             .width = 1};
    struct item *items;
    uint8_t *at;

    if (add_place(&x->scans, PARTS, block) != 0 ||
        parcel_read(&p, part->data->bytes + part->at, part->size) != 0 ||
        (items = calloc(p.count, sizeof(*items))) == NULL)
        return -1;
    at = part->data->bytes + (p.data - part->data->bytes);
    for (uint32_t i = 0; i < p.count; i++) {
        items[i] = (struct item){.bytes = at, .size = parcel_size(&p, i)};
        at += items[i].size;
    }
    head.end = head.first + p.count;
    combine_append(&x->base, x->base.scans, &head, &part->before, items, p.count);
    free(items);
    blob_unref(part->data);
    part->data = NULL;
    item_drop(&part->before);
    return 0;
}

/* The prefix of a level up to its value `i` is there: the next group below starts from it. */
static int
put_prefix(struct scan *x, uint32_t level, uint64_t i, const uint8_t *bytes, size_t size)
{
    struct group *g;

    if (level == 0) {
        if (item_set(&x->parts[i + 1].before, bytes, size) != 0)
            return -1;
        return x->parts[i + 1].data != NULL ? finish_part(x, i + 1) : 0;
    }
    g = &x->levels[level - 1].groups[i + 1];
    if (item_set(&g->before, bytes, size) != 0)
        return -1;
    g->has_before = true;
    return g->missing == 0 ? scan_group(x, level - 1, i + 1) : 0;
}

/* ---- up: totals -------------------------------------------------------------------------------
 */

static int
join_group(struct scan *x, uint32_t level, uint64_t group)
{
    struct level *l = &x->levels[level];
    struct parcel head = {.map = "",
                          .reduce = x->base.reduce,
                          .first = group * FAN * l->width,
                          .width = l->width,
                          .end = (group + 1) * FAN * l->width}; /* never the last one */

    if (add_place(&x->joins, level, group) != 0)
        return -1;
    combine_append(&x->base, x->base.joins, &head, NULL, l->items + group * FAN,
                   l->groups[group].count);
    return 0;
}

static int
put_value(struct scan *x, uint32_t level, uint64_t i, const uint8_t *bytes, size_t size)
{
    struct level *l = &x->levels[level];
    uint64_t group = i / FAN;
    struct group *g = &l->groups[group];

    if (item_set(&l->items[i], bytes, size) != 0)
        return -1;
    if (--g->missing > 0)
        return 0;
    if (group == 0)
        return scan_group(x, level, group);
    /* The last group's total stands before nothing. */
    if (group + 1 < l->ngroups && join_group(x, level, group) != 0)
        return -1;
    return g->has_before ? scan_group(x, level, group) : 0;
}

/* ---- what came --------------------------------------------------------------------------------
 */

static int
not_understood(struct scan *x)
{
    combine_fail(&x->base, EPROTO, OUTCOME_FAILED,
                 "%s: what came back is not what was asked for: is the library there another one?",
                 x->base.reduce);
    return 0;
}

/* A block's own prefixes. */
static int
put_part(struct scan *x, uint64_t block, const struct segment *s, const struct parcel *p,
         const uint8_t *bytes, size_t size)
{
    struct part *part = &x->parts[block];
    uint32_t last = p->count - 1;
    size_t total = parcel_size(p, last);

    if (block + 1 < x->base.nblocks &&
        put_value(x, 0, block, p->data + p->length - total, total) != 0)
        return -1;
    if (block == 0)
        return put_results(x, 0, p, s->data, s->worker);
    part->data = blob_ref(s->data);
    part->at = (size_t)(bytes - s->data->bytes);
    part->size = size;
    return part->before.bytes != NULL ? finish_part(x, block) : 0;
}

/* A group's prefixes. */
static int
put_prefixes(struct scan *x, struct place place, const struct segment *s, const struct parcel *p)
{
    struct level *l = &x->levels[place.level];
    const uint8_t *at = p->data;

    if (place.level == 0 && x->parts == NULL &&
        put_results(x, place.group * FAN, p, s->data, s->worker) != 0)
        return -1;
    for (uint32_t i = 0; i < p->count; i++) {
        size_t size = parcel_size(p, i);

        if ((place.level > 0 || x->parts != NULL) &&
            put_prefix(x, place.level, place.group * FAN + i, at, size) != 0)
            return -1;
        if (place.group == 0 && l->ngroups > 1 && i + 1 == p->count &&
            put_value(x, place.level + 1, 0, at, size) != 0)
            return -1;
        at += size;
    }
    return 0;
}

static int
came(struct combine *c, const struct job *j, uint64_t index, const struct segment *s,
     const uint8_t *bytes, size_t size)
{
    struct scan *x = (struct scan *)c;
    struct place place = {0};
    struct parcel p;
    uint64_t expected;

    if (j == c->joins)
        return put_value(x, x->joins.list[index].level + 1, x->joins.list[index].group, bytes,
                         size);
    if (j == c->folds && x->parts == NULL)
        return put_value(x, 0, index, bytes, size);
    if (j == c->scans)
        place = x->scans.list[index];
    if (j == c->folds || place.level == PARTS) {
        uint64_t first = (j == c->folds ? index : place.group) * c->block;

        expected = c->count - first < c->block ? c->count - first : c->block;
    } else {
        expected = x->levels[place.level].groups[place.group].count;
    }
    if (parcel_read(&p, bytes, size) != 0 || p.count != expected)
        return not_understood(x);
    if (j == c->folds)
        return put_part(x, index, s, &p, bytes, size);
    if (place.level == PARTS)
        return put_results(x, place.group * c->block, &p, s->data, s->worker);
    return put_prefixes(x, place, s, &p);
}

/* ---- life -------------------------------------------------------------------------------------
 */

/* What cannot be computed any more: the input whose mapping failed says why itself. */
static void
failed(struct combine *c)
{
    struct scan *x = (struct scan *)c;
    const struct cause *cause = &c->cause;
    struct ending e = {
        .outcome = cause->outcome, .worker = cause->worker, .attempt = cause->attempt};
    const char *text = cause->sentence != NULL ? cause->sentence : "out of memory";

    if (cause->words != NULL && cause->index < c->count) {
        e.text = blob_copy(cause->words, strlen(cause->words));
        (void)core_end_range(c->session->core, x->results, cause->index, 1, &e, false);
        blob_unref(e.text);
    }
    e.worker = "";
    e.attempt = 0;
    e.text = blob_copy(text, strlen(text));
    (void)core_end_range(c->session->core, x->results, 0, c->count, &e, false);
    blob_unref(e.text);
}

static void
release(struct combine *c)
{
    struct scan *x = (struct scan *)c;

    for (uint32_t i = 0; i < x->nlevels; i++) {
        struct level *l = &x->levels[i];

        items_free(l->items, l->count);
        for (uint64_t g = 0; l->groups != NULL && g < l->ngroups; g++)
            item_drop(&l->groups[g].before);
        free(l->groups);
    }
    for (uint64_t i = 0; x->parts != NULL && i < c->nblocks; i++) {
        blob_unref(x->parts[i].data);
        item_drop(&x->parts[i].before);
    }
    free(x->parts);
    free(x->levels);
    free(x->joins.list);
    free(x->scans.list);
}

static const struct combine_class class = {.came = came, .failed = failed, .release = release};

static int
make_level(struct level *l, uint64_t count, uint64_t width)
{
    l->count = count;
    l->width = width;
    l->ngroups = (count - 1) / FAN + 1;
    l->items = calloc(count, sizeof(*l->items));
    l->groups = calloc(l->ngroups, sizeof(*l->groups));
    for (uint64_t i = 0; i < l->ngroups && l->groups != NULL; i++) {
        uint64_t left = count - i * FAN;

        l->groups[i].count = l->groups[i].missing = left < FAN ? (uint32_t)left : FAN;
    }
    return l->items == NULL || l->groups == NULL ? -1 : 0;
}

/* The totals of the last block, and of the last group of each level, are not needed. */
static int
make_levels(struct scan *x)
{
    uint64_t count = x->base.nblocks, width = x->base.block;

    if (x->base.block > 1) {
        if ((x->parts = calloc(count, sizeof(*x->parts))) == NULL)
            return -1;
        count--;
    }
    if ((x->levels = calloc(17, sizeof(*x->levels))) == NULL) /* 16^16 is 2^64 */
        return -1;
    while (count > 0) {
        struct level *l = &x->levels[x->nlevels++];

        if (make_level(l, count, width) != 0)
            return -1;
        count = l->ngroups - 1;
        width *= FAN;
    }
    return 0;
}

/* Room for all results, in chunks as they are read. They have no inputs: blocks do. */
static int
make_results(struct scan *x)
{
    struct core *core = x->base.session->core;

    while (x->results->total < x->base.count) {
        uint64_t left = x->base.count - x->results->total;
        struct blob *data = blob_new(0);

        if (data == NULL ||
            core_append_blob(core, x->results, data, 0,
                             left < LIMIT_ITEMS ? (uint32_t)left : LIMIT_ITEMS, 0, NULL) != 0) {
            blob_unref(data);
            return -1;
        }
    }
    core_close(core, x->results);
    return 0;
}

/* The results that the program reads, with all that they need. */
static results_t *
open_results(struct scan *x, const task_options_t *options)
{
    futures_t *s = x->base.session;
    task_options_t o = options != NULL ? *options : (task_options_t){0};
    results_t *r = NULL;
    bool made = false;

    o.seed = x->base.folds->spec->seed;
    session_lock(s);
    if ((x->results = session_job(s, x->base.map, &o, false)) != NULL) {
        x->results->local = true;
        if ((r = results_new(s, x->results, options)) == NULL) {
            core_close(s->core, x->results);
            core_release(s->core, x->results);
        }
    }
    if (r == NULL) {
        combine_free(&x->base);
    } else {
        results_scan(r, &x->base); /* frees it */
        made = make_levels(x) == 0 && make_results(x) == 0;
    }
    session_unlock(s);
    if (!made)
        results_destroy(&r);
    return r;
}

static uint64_t
block_of(uint64_t count)
{
    uint64_t block = 1;

    while (count > 0 && (count - 1) / block + 1 > BLOCKS)
        block *= 2;
    return block;
}

results_t *
futures_map_scan(futures_t *self, const char *map_function, const char *reduce_function,
                 const void *inputs, size_t count, size_t size, const task_options_t *options)
{
    struct scan *x;
    results_t *r;

    if (!session_usable(self) || options_check(map_function, options) != 0 ||
        options_check(reduce_function, options) != 0 || detached_check(self, options, true) != 0 ||
        combine_check(map_function, inputs, count, size, block_of(count)) != 0)
        return NULL;
    if (count == 0)
        return futures_map(self, map_function, NULL, 0, 0, options);
    if ((x = calloc(1, sizeof(*x))) == NULL)
        return error_null(ENOMEM, "out of memory");
    x->base.class = &class;
    x->base.count = count;
    x->base.block = block_of(count);
    x->base.nblocks = (count - 1) / x->base.block + 1;
    if (combine_open(&x->base, self, map_function, reduce_function, options) != 0)
        return NULL;
    if ((r = open_results(x, options)) == NULL)
        return error_null(ENOMEM, "out of memory");
    if (combine_start(&x->base, inputs, size, x->parts != NULL ? PARCEL_EACH : 0) != 0) {
        results_destroy(&r);
        return error_null(ENOMEM, "out of memory for the inputs");
    }
    return r;
}
