#include "jobs.h"

#include "../proto/limits.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_TASKS = 16, FIRST_BYTES = 512 };

/* ---- the table of chunks ----------------------------------------------------------------------
 */

static size_t
slot_of(const struct job *j, uint64_t index)
{
    size_t low = j->head, high = j->ntable;

    /* The last slot whose first task is not behind `index`. */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (j->table[middle].first <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

struct chunk *
job_chunk(const struct job *j, uint64_t index)
{
    if (j->live == 0)
        return NULL;
    for (size_t i = slot_of(j, index); i < j->ntable; i++) {
        struct chunk *c = j->table[i].chunk;

        if (c != NULL && c->first + c->count > index)
            return c;
    }
    return NULL;
}

/* Room for one more slot: first by moving out those that are gone. */
static int
table_reserve(struct job *j)
{
    size_t room = j->table_room == 0 ? 8 : 2 * j->table_room;
    struct slot *table;
    size_t n = 0;

    if (j->ntable < j->table_room)
        return 0;
    if (j->live < j->table_room / 2) {
        for (size_t i = j->head; i < j->ntable; i++)
            if (j->table[i].chunk != NULL)
                j->table[n++] = j->table[i];
        j->head = 0;
        j->ntable = n;
        return 0;
    }
    if ((table = realloc(j->table, room * sizeof(*table))) == NULL)
        return -1;
    j->table = table;
    j->table_room = room;
    return 0;
}

static void
chunk_free(struct chunk *c)
{
    struct note *n, *next;

    if (c == NULL)
        return;
    for (uint32_t i = 0; i < c->nsegments; i++)
        segment_free(c->segments[i]);
    HASH_ITER (hh, c->notes, n, next) {
        HASH_DEL(c->notes, n);
        free(n);
    }
    blob_unref(c->data);
    free(c->segments);
    free(c->watchers);
    free(c->sizes);
    free(c->state);
    free(c);
}

struct chunk *
job_extend(struct job *j, uint32_t tasks, size_t bytes)
{
    struct chunk *c;

    if (tasks < FIRST_TASKS)
        tasks = FIRST_TASKS;
    if (bytes < FIRST_BYTES)
        bytes = FIRST_BYTES;
    if (table_reserve(j) != 0 || (c = calloc(1, sizeof(*c))) == NULL)
        return NULL;
    c->job = j;
    c->first = j->total;
    c->room = tasks;
    c->state = malloc(tasks);
    c->data = blob_new(bytes);
    if (c->state == NULL || c->data == NULL) {
        chunk_free(c);
        errno = ENOMEM;
        return NULL;
    }
    j->table[j->ntable++] = (struct slot){.first = c->first, .chunk = c};
    j->live++;
    return c;
}

void
job_forget(struct job *j, struct chunk *c)
{
    size_t at = slot_of(j, c->first);

    /* An empty chunk shares its first task with the one behind it. */
    while (j->table[at].chunk != c)
        at--;
    j->table[at].chunk = NULL;
    j->live--;
    while (j->head < j->ntable && j->table[j->head].chunk == NULL)
        j->head++;
    if (j->head == j->ntable)
        j->head = j->ntable = 0;
    if (j->open == c)
        j->open = NULL;
    chunk_free(c);
}

/* ---- inputs -----------------------------------------------------------------------------------
 */

bool
inputs_fit(const struct chunk *c, size_t size)
{
    if (!c->open)
        return false;
    if (c->count == 0)
        return true;
    if (c->length + size > LIMIT_CHUNK)
        return false;
    return c->count < (c->sizes == NULL && size == c->size ? LIMIT_ITEMS : LIMIT_SIZES);
}

static int
grow_tasks(struct chunk *c)
{
    uint32_t room = 2 * c->room;
    uint32_t *sizes;
    uint8_t *state;

    if (c->count < c->room)
        return 0;
    if ((state = realloc(c->state, room)) == NULL)
        return -1;
    c->state = state;
    if (c->sizes != NULL) {
        if ((sizes = realloc(c->sizes, room * sizeof(*sizes))) == NULL)
            return -1;
        c->sizes = sizes;
    }
    c->room = room;
    return 0;
}

static int
grow_bytes(struct chunk *c, size_t size)
{
    size_t room = c->data->size;
    struct blob *data;

    if (c->length + size <= room)
        return 0;
    while (room < c->length + size)
        room *= 2;
    if (c->count > 0 && room > LIMIT_CHUNK)
        room = LIMIT_CHUNK;
    if (c->count == 0)
        room = size;
    if ((data = blob_new(room)) == NULL)
        return -1;
    memcpy(data->bytes, c->data->bytes, c->length);
    blob_unref(c->data);
    c->data = data;
    return 0;
}

static int
own_sizes(struct chunk *c)
{
    if ((c->sizes = malloc(c->room * sizeof(*c->sizes))) == NULL)
        return -1;
    for (uint32_t i = 0; i < c->count; i++)
        c->sizes[i] = c->size;
    return 0;
}

int
inputs_append(struct chunk *c, const void *input, size_t size)
{
    assert(inputs_fit(c, size));

    if (grow_tasks(c) != 0 || grow_bytes(c, size) != 0)
        return -1;
    if (c->count == 0)
        c->size = (uint32_t)size;
    else if (c->sizes == NULL && size != c->size && own_sizes(c) != 0)
        return -1;
    if (c->sizes != NULL)
        c->sizes[c->count] = (uint32_t)size;
    if (size > 0)
        memcpy(c->data->bytes + c->length, input, size);
    c->state[c->count++] = 0;
    c->length += size;
    return 0;
}

size_t
inputs_bytes(const struct chunk *c, uint32_t from, uint32_t count)
{
    size_t sum = 0;

    if (c->sizes == NULL)
        return (size_t)c->size * count;
    for (uint32_t i = from; i < from + count; i++)
        sum += c->sizes[i];
    return sum;
}

/* ---- results ----------------------------------------------------------------------------------
 */

/* How many segments start at or before `offset`. */
static uint32_t
segments_until(const struct chunk *c, uint32_t offset)
{
    uint32_t low = 0, high = c->nsegments;

    if (high > 0 && c->segments[high - 1]->first <= offset)
        return high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (c->segments[middle]->first <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct segment *
chunk_segment(const struct chunk *c, uint32_t offset)
{
    uint32_t n = segments_until(c, offset);
    struct segment *s;

    if (n == 0)
        return NULL;
    s = c->segments[n - 1];
    return offset - s->first < s->count ? s : NULL;
}

int
chunk_reserve_segment(struct chunk *c)
{
    uint32_t room = c->segments_room == 0 ? 4 : 2 * c->segments_room;
    struct segment **segments;

    if (c->nsegments < c->segments_room)
        return 0;
    if ((segments = realloc(c->segments, room * sizeof(struct segment *))) == NULL)
        return -1;
    c->segments = segments;
    c->segments_room = room;
    return 0;
}

void
chunk_add_segment(struct chunk *c, struct segment *s)
{
    uint32_t at = segments_until(c, s->first);

    assert(c->nsegments < c->segments_room);
    memmove(&c->segments[at + 1], &c->segments[at], (c->nsegments - at) * sizeof(struct segment *));
    c->segments[at] = s;
    c->nsegments++;
}

void
chunk_take_segment(struct chunk *c, struct segment *s)
{
    uint32_t at = segments_until(c, s->first) - 1;

    assert(c->segments[at] == s);
    c->nsegments--;
    memmove(&c->segments[at], &c->segments[at + 1], (c->nsegments - at) * sizeof(struct segment *));
}

int
chunk_watch(struct chunk *c, uint32_t offset, struct watcher *w)
{
    struct watcher **at;
    uint32_t ordinal = 1;

    if (offset >= c->watchers_room) {
        struct watcher **watchers = realloc(c->watchers, c->room * sizeof(struct watcher *));

        if (watchers == NULL)
            return -1;
        for (uint32_t i = c->watchers_room; i < c->room; i++)
            watchers[i] = NULL;
        c->watchers = watchers;
        c->watchers_room = c->room;
    }
    for (at = &c->watchers[offset]; *at != NULL; at = &(*at)->next) {
        if (*at == w)
            return 0;
        ordinal = (*at)->ordinal + 1;
    }
    w->next = NULL;
    w->ordinal = ordinal;
    *at = w;
    return 0;
}

void
chunk_unwatch(struct chunk *c, uint32_t offset, struct watcher *w)
{
    struct watcher **at;

    if (offset >= c->watchers_room)
        return;
    for (at = &c->watchers[offset]; *at != NULL && *at != w; at = &(*at)->next)
        ;
    if (*at == w)
        *at = w->next;
}

struct note *
chunk_note(struct chunk *c, uint32_t offset, bool make)
{
    struct note *n;

    HASH_FIND(hh, c->notes, &offset, sizeof(offset), n);
    if (n != NULL || !make || (n = calloc(1, sizeof(*n))) == NULL)
        return n;
    n->offset = offset;
    n->worker = "";
    HASH_ADD(hh, c->notes, offset, sizeof(n->offset), n);
    if (n->hh.tbl == NULL) {
        free(n);
        return NULL;
    }
    return n;
}

/* ---- a segment --------------------------------------------------------------------------------
 */

static bool
all_done(const uint8_t *outcomes, uint32_t count)
{
    for (uint32_t i = 0; outcomes != NULL && i < count; i++)
        if (outcomes[i] != OUTCOME_DONE)
            return false;
    return true;
}

struct segment *
segment_new(struct chunk *c, uint32_t first, const struct columns *part)
{
    bool mixed = !all_done(part->outcomes, part->count);
    size_t room = sizeof(struct segment);
    struct segment *s;
    uint32_t at = 0;

    if (part->sizes != NULL)
        room += (part->count + 1) * sizeof(uint32_t);
    if ((s = malloc(room + (mixed ? part->count : 0))) == NULL)
        return NULL;
    *s = (struct segment){.chunk = c,
                          .first = first,
                          .count = part->count,
                          .outcome = OUTCOME_DONE,
                          .size = part->size,
                          .data = part->length > 0 ? blob_ref(part->data) : NULL,
                          .at = part->at,
                          .length = part->length,
                          .worker = ""};
    if (part->sizes != NULL) {
        uint32_t *offsets = (uint32_t *)(s + 1);

        for (uint32_t i = 0; i < part->count; i++) {
            offsets[i] = at;
            at += part->sizes[i];
        }
        offsets[part->count] = at;
        s->offsets = offsets;
    }
    if (mixed)
        s->outcomes = memcpy((uint8_t *)s + room, part->outcomes, part->count);
    return s;
}

struct segment *
segment_new_shared(struct chunk *c, uint32_t first, uint32_t count, enum outcome outcome,
                   struct blob *text)
{
    struct segment *s;

    if ((s = malloc(sizeof(*s))) == NULL)
        return NULL;
    *s = (struct segment){.chunk = c,
                          .first = first,
                          .count = count,
                          .outcome = outcome,
                          .shared = true,
                          .data = blob_ref(text),
                          .length = text == NULL ? 0 : text->size,
                          .worker = ""};
    return s;
}

void
segment_free(struct segment *s)
{
    if (s == NULL)
        return;
    blob_unref(s->data);
    free(s);
}

enum outcome
segment_outcome(const struct segment *s, uint32_t offset)
{
    return s->outcomes == NULL ? s->outcome : (enum outcome)s->outcomes[offset - s->first];
}

const uint8_t *
segment_item(const struct segment *s, uint32_t offset, size_t *size_p)
{
    uint32_t i = offset - s->first;
    size_t from = s->shared ? 0 : s->offsets != NULL ? s->offsets[i] : (size_t)i * s->size;

    assert(i < s->count);
    *size_p = s->shared ? s->length : s->offsets != NULL ? s->offsets[i + 1] - from : s->size;
    return s->data == NULL ? (const uint8_t *)"" : s->data->bytes + s->at + from;
}
