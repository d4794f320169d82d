/* futures_map_reduce(): values of neighbouring blocks are joined, up to 64 at a time, as they come,
 * until there is one.
 *
 * The blocks are aligned and of a power of two of inputs, and so is what a join stands for: they
 * are subtrees of the one tree over all inputs that fold.c describes. So neither the number of
 * blocks nor how many values are joined at a time changes the bits of the result.
 */
#include "combine.h"

#include "fold.h"

#include "../proto/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    FAN = 64,             /* values in a join */
    JOIN_BYTES = 4 << 20, /* of them together; of two in any case */
    BLOCKS = 4096,        /* at most, or so many for each slot: */
    BLOCKS_A_SLOT = 8,
    BLOCK_BYTES = 4 << 20 /* of inputs, if they are more than one */
};

struct group {        /* of neighbours at a level: what becomes one value of the next */
    uint32_t count;   /* values that it has now, or will have; fewer once some were joined */
    uint32_t missing; /* of these */
    uint64_t width;   /* inputs behind each */
};

struct level {
    uint64_t count, ngroups;
    uint64_t width; /* inputs behind each value */
    struct item *items;
    struct group *groups;
};

struct place { /* where the value of a join goes */
    uint32_t level, slot;
    uint64_t group;
};

struct reduction {
    struct combine base;
    struct level *levels;
    uint32_t nlevels;
    struct place *places; /* by task of the joins */
    uint64_t nplaces, places_room;
    struct item result;
};

static int
add_place(struct reduction *r, struct place place)
{
    if (r->nplaces == r->places_room) {
        uint64_t room = r->places_room > 0 ? 2 * r->places_room : 64;
        struct place *places = realloc(r->places, room * sizeof(*places));

        if (places == NULL)
            return -1;
        r->places = places;
        r->places_room = room;
    }
    r->places[r->nplaces++] = place;
    return 0;
}

/* Values [from, from + n) of the group become its value `slot`. -1: ENOMEM. */
static int
join(struct reduction *r, struct place place, uint32_t from, uint32_t n)
{
    struct level *l = &r->levels[place.level];
    struct group *g = &l->groups[place.group];
    struct item *items = l->items + place.group * FAN + from;
    struct parcel head = {.map = "",
                          .reduce = r->base.reduce,
                          .first = place.group * FAN * l->width + from * g->width,
                          .width = g->width};

    head.end =
        r->base.count - head.first < n * g->width ? r->base.count : head.first + n * g->width;
    if (add_place(r, place) != 0)
        return -1;
    combine_append(&r->base, r->base.joins, &head, NULL, items, n);
    for (uint32_t i = 0; i < n; i++)
        item_drop(&items[i]);
    return 0;
}

/* How many neighbours go into a join: a power of two. */
static uint32_t
fan(const struct item *items, uint32_t count)
{
    uint32_t n = FAN;

    while (n / 2 >= count)
        n /= 2;
    for (; n > 2; n /= 2) {
        size_t most = 0;

        for (uint32_t from = 0; from < count; from += n) {
            size_t bytes = 0;

            for (uint32_t i = from; i < from + n && i < count; i++)
                bytes += items[i].size;
            most = bytes > most ? bytes : most;
        }
        if (most <= JOIN_BYTES)
            break;
    }
    return n;
}

/* All values of the group are there, and more than one: join them. */
static int
join_group(struct reduction *r, uint32_t level, uint64_t group)
{
    struct level *l = &r->levels[level];
    struct group *g = &l->groups[group];
    struct item *items = l->items + group * FAN;
    uint32_t n = fan(items, g->count), slot = 0, missing = 0;

    for (uint32_t from = 0; from < g->count; from += n, slot++) {
        uint32_t some = g->count - from < n ? g->count - from : n;
        struct place place = {.level = level, .group = group, .slot = slot};

        if (some == 1) { /* the last one, without a neighbour */
            items[slot] = items[from];
            items[from] = (struct item){0};
        } else if (missing++, join(r, place, from, some) != 0) {
            return -1;
        }
    }
    g->count = slot;
    g->missing = missing;
    g->width *= n;
    return 0;
}

/* A value has come. -1: ENOMEM. */
static int
put(struct reduction *r, uint32_t level, uint64_t group, uint32_t slot, struct item item)
{
    for (;;) {
        struct level *l = &r->levels[level];
        struct group *g = &l->groups[group];
        struct item *items = l->items + group * FAN;

        items[slot] = item;
        if (--g->missing > 0)
            return 0;
        if (g->count > 1)
            return join_group(r, level, group);
        item = items[0];
        items[0] = (struct item){0};
        if (++level == r->nlevels)
            break;
        slot = (uint32_t)(group % FAN);
        group /= FAN;
    }
    r->result = item;
    r->base.ended = true;
    return 0;
}

static int
came(struct combine *c, const struct job *j, uint64_t index, const struct segment *s,
     const uint8_t *bytes, size_t size)
{
    struct reduction *r = (struct reduction *)c;
    struct place place = {.group = index / FAN, .slot = (uint32_t)(index % FAN)};
    struct item item;

    (void)s;
    if (j == c->joins)
        place = r->places[index];
    if (item_set(&item, bytes, size) != 0)
        return -1;
    return put(r, place.level, place.group, place.slot, item);
}

static void
release(struct combine *c)
{
    struct reduction *r = (struct reduction *)c;

    for (uint32_t i = 0; i < r->nlevels; i++) {
        items_free(r->levels[i].items, r->levels[i].count);
        free(r->levels[i].groups);
    }
    free(r->levels);
    free(r->places);
    item_drop(&r->result);
}

/* Few enough blocks that what travels is little, enough that all slots end together. */
static void
choose_block(struct combine *c, size_t size)
{
    uint64_t most = (uint64_t)futures_slots(c->session) * BLOCKS_A_SLOT;

    if (most < BLOCKS)
        most = BLOCKS;
    c->block = 1;
    while ((c->count - 1) / c->block + 1 > most && 2 * c->block * size <= BLOCK_BYTES)
        c->block *= 2;
    c->nblocks = (c->count - 1) / c->block + 1;
}

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
        uint32_t n = left < FAN ? (uint32_t)left : FAN;

        l->groups[i] = (struct group){.count = n, .missing = n, .width = width};
    }
    return l->items == NULL || l->groups == NULL ? -1 : 0;
}

static int
make_levels(struct reduction *r)
{
    uint64_t count = r->base.nblocks, width = r->base.block;

    if ((r->levels = calloc(12, sizeof(*r->levels))) == NULL) /* 64^11 is above 2^64 */
        return -1;
    for (;;) {
        struct level *l = &r->levels[r->nlevels++];

        if (make_level(l, count, width) != 0)
            return -1;
        if (l->ngroups == 1)
            return 0;
        count = l->ngroups;
        width *= FAN;
    }
}

static const struct combine_class class = {.came = came, .release = release};

static struct reduction *
reduction_new(futures_t *s, const char *map, const char *reduce, const void *inputs, size_t count,
              size_t size, const task_options_t *options)
{
    struct reduction *r;

    if ((r = calloc(1, sizeof(*r))) == NULL)
        return error_null(ENOMEM, "out of memory");
    r->base.class = &class;
    r->base.count = count;
    if (combine_open(&r->base, s, map, reduce, options) != 0)
        return NULL;
    choose_block(&r->base, size);
    if (make_levels(r) == 0 && combine_start(&r->base, inputs, size, 0) == 0)
        return r;
    session_lock(s);
    combine_free(&r->base);
    session_unlock(s);
    return error_null(ENOMEM, "out of memory for the inputs");
}

static int
give(const void *bytes, size_t size, void **result_p, size_t *size_p)
{
    if (result_p != NULL) {
        if ((*result_p = malloc(size > 0 ? size : 1)) == NULL)
            return error_set(ENOMEM, "out of memory for a result of %zu bytes", size);
        if (size > 0)
            memcpy(*result_p, bytes, size);
    }
    if (size_p != NULL)
        *size_p = size;
    return 0;
}

static int
identity_check(const void *identity, size_t size, size_t count)
{
    if (identity == NULL && size > 0)
        return error_set(EINVAL, "the identity is NULL, but has a size of %zu bytes", size);
    if (identity == NULL && count == 0)
        return error_set(EINVAL, "there are no inputs, and no identity to give back for them");
    return 0;
}

int
futures_map_reduce(futures_t *self, const char *map_function, const char *reduce_function,
                   const void *inputs, size_t count, size_t size, const void *identity,
                   size_t identity_size, void **result_p, size_t *size_p,
                   const task_options_t *options)
{
    struct reduction *r;
    int failed = 0;

    if (!session_usable(self) || options_check(map_function, options) != 0 ||
        options_check(reduce_function, options) != 0 || detached_check(self, options, true) != 0 ||
        combine_check(map_function, inputs, count, size, 1) != 0 ||
        identity_check(identity, identity_size, count) != 0)
        return -1;
    if (count == 0)
        return give(identity, identity_size, result_p, size_p);
    r = reduction_new(self, map_function, reduce_function, inputs, count, size, options);
    if (r == NULL)
        return -1;
    session_lock(self);
    while (!r->base.ended)
        (void)session_wait(self, CLOCK_NEVER);
    session_dispatch(self);
    if (r->base.cause.error != 0)
        failed =
            error_set(r->base.cause.error, "%s",
                      r->base.cause.sentence != NULL ? r->base.cause.sentence : "out of memory");
    else
        failed = give(r->result.bytes, r->result.size, result_p, size_p);
    combine_free(&r->base);
    session_unlock(self);
    return failed;
}
