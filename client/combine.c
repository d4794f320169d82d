#include "combine.h"

#include "fold.h"
#include "serve.h"

#include "../proto/limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- values -----------------------------------------------------------------------------------
 */

int
item_set(struct item *item, const uint8_t *bytes, size_t size)
{
    if ((item->bytes = malloc(size > 0 ? size : 1)) == NULL)
        return -1;
    if (size > 0)
        memcpy(item->bytes, bytes, size);
    item->size = size;
    return 0;
}

void
item_drop(struct item *item)
{
    free(item->bytes);
    *item = (struct item){0};
}

void
items_free(struct item *items, uint64_t count)
{
    for (uint64_t i = 0; items != NULL && i < count; i++)
        free(items[i].bytes);
    free(items);
}

/* ---- failing ----------------------------------------------------------------------------------
 */

static void
cancel_job(struct combine *c, struct job *j)
{
    if (j != NULL)
        core_cancel(c->session->core, j, 0, j->total);
}

static void
end(struct combine *c)
{
    c->ended = true;
    cancel_job(c, c->folds);
    cancel_job(c, c->joins);
    cancel_job(c, c->scans);
    if (c->class->failed != NULL)
        c->class->failed(c);
}

void
combine_fail(struct combine *c, int error, enum outcome outcome, const char *format, ...)
{
    va_list args;

    if (c->ended)
        return;
    c->cause =
        (struct cause){.error = error, .outcome = outcome, .index = UINT64_MAX, .worker = ""};
    va_start(args, format);
    if (vasprintf(&c->cause.sentence, format, args) < 0)
        c->cause.sentence = NULL;
    va_end(args);
    end(c);
}

void
combine_cancel(struct combine *c)
{
    combine_fail(c, ECANCELED, OUTCOME_CANCELLED, "cancelled");
}

/* The inputs that a task of a job stands for, as "square[3]" or "add[0..63]". */
static void
block_label(const struct combine *c, uint64_t index, char *label, size_t size)
{
    uint64_t first = index * c->block, last = first + c->block - 1;

    if (last >= c->count)
        last = c->count - 1;
    if (first == last)
        snprintf(label, size, "%s[%" PRIu64 "]", c->map, first);
    else
        snprintf(label, size, "%s[%" PRIu64 "..%" PRIu64 "]", c->map, first, last);
}

/* Words of a task that failed begin with what it was called for: "square[3]: it is odd". The length
 * of "square[3]", or 0. */
static size_t
label_length(const char *words, size_t size, const char *name)
{
    size_t n = strlen(name);
    const char *end;

    if (size <= n || memcmp(words, name, n) != 0 || words[n] != '[' ||
        (end = memmem(words + n, size - n, "]: ", 3)) == NULL)
        return 0;
    return (size_t)(end - words) + 1;
}

static char *
sentence(const char *label, const struct segment *s, const char *words, size_t size)
{
    char attempt[32] = "", *text;

    if (s->attempt > 0)
        snprintf(attempt, sizeof(attempt), ", attempt %u", s->attempt);
    if (asprintf(&text, "%s%s%s%s: %.*s", label, *s->worker != '\0' ? " on worker " : "", s->worker,
                 attempt, (int)size, words) < 0)
        return NULL;
    return text;
}

/* A task of the job did not end well. */
static void
explain(struct combine *c, const struct job *j, uint64_t index, const struct segment *s,
        uint32_t offset)
{
    enum outcome outcome = segment_outcome(s, offset);
    struct cause *cause = &c->cause;
    char label[2 * LIMIT_NAME + 128], *close;
    const char *words;
    size_t size, n = 0;

    words = (const char *)segment_item(s, offset, &size);
    if (size > LIMIT_TEXT)
        size = LIMIT_TEXT;
    *cause = (struct cause){.error = outcome == OUTCOME_CANCELLED ? ECANCELED : EIO,
                            .outcome = outcome,
                            .index = UINT64_MAX,
                            .worker = s->worker,
                            .attempt = s->attempt};
    if (outcome == OUTCOME_FAILED && (n = label_length(words, size, c->map)) == 0)
        n = label_length(words, size, c->reduce);
    if (n > 0 && n < sizeof(label)) {
        memcpy(label, words, n);
        label[n] = '\0';
        words += n + 2;
        size -= n + 2;
    } else if (j == c->folds) {
        block_label(c, index, label, sizeof(label));
    } else {
        snprintf(label, sizeof(label), "%s of values of %s", c->reduce, c->map);
    }
    n = strlen(c->map);
    if (strncmp(label, c->map, n) == 0 && label[n] == '[') {
        uint64_t only = strtoull(label + n + 1, &close, 10);

        if (strcmp(close, "]") == 0 && only < c->count)
            cause->index = only;
    }
    cause->sentence = sentence(label, s, words, size);
    if ((cause->words = malloc(size + 1)) != NULL) {
        memcpy(cause->words, words, size);
        cause->words[size] = '\0';
    }
    end(c);
}

/* ---- going on ---------------------------------------------------------------------------------
 */

/* What has come of a job. True if anything has. */
static bool
take(struct combine *c, struct job *j)
{
    struct segment *s;
    bool any = false;

    while (j != NULL && !c->ended && (s = TAILQ_FIRST(&j->arrived)) != NULL) {
        uint64_t base = s->chunk->first;

        any = true;
        core_read_segment(c->session->core, s);
        for (uint32_t i = s->first; i < s->first + s->count && !c->ended; i++) {
            const uint8_t *bytes;
            size_t size;

            if (segment_outcome(s, i) != OUTCOME_DONE) {
                explain(c, j, base + i, s, i);
                break;
            }
            bytes = segment_item(s, i, &size);
            if (c->class->came(c, j, base + i, s, bytes, size) != 0)
                combine_fail(c, ENOMEM, OUTCOME_FAILED, "out of memory for a value of %zu bytes",
                             size);
        }
        segment_free(s);
    }
    return any;
}

bool
session_advance(futures_t *s)
{
    struct combine *c;
    bool any = false;

    LIST_FOREACH (c, &s->combines, link) {
        any |= take(c, c->folds);
        any |= take(c, c->joins);
        any |= take(c, c->scans);
    }
    if (!any)
        return false;
    session_news(s);
    session_unlock(s); /* wakes the I/O thread if there are new tasks */
    session_lock(s);
    return true;
}

/* All of it in a blob: its length is the blob's. NULL: ENOMEM, or the task would be too large. */
static struct blob *
pack(struct combine *c, const struct parcel *head, const struct item *before,
     const struct item *items, uint32_t count)
{
    struct parcel p = *head;
    uint32_t *sizes, n = before != NULL ? 1 : 0;
    struct blob *data = NULL;
    size_t length = n > 0 ? before->size : 0, at;

    p.count = count + n;
    if ((sizes = calloc(p.count, sizeof(*sizes))) == NULL)
        return NULL;
    sizes[0] = (uint32_t)length;
    for (uint32_t i = 0; i < count; i++) {
        sizes[n + i] = (uint32_t)items[i].size;
        length += items[i].size;
    }
    p.size = sizes[0];
    for (uint32_t i = 1; i < p.count; i++)
        if (sizes[i] != sizes[0])
            p.sizes = (const uint8_t *)sizes;
    at = parcel_head(&p);
    if (at + length > LIMIT_DATA)
        combine_fail(
            c, E2BIG, OUTCOME_REJECTED,
            "%s: %u values of %s have %zu bytes together: at most 256 MiB go into one task",
            c->reduce, p.count, c->map, length);
    else if ((data = blob_new(at + length)) != NULL)
        parcel_write(&p, data->bytes);
    for (uint32_t i = 0; i < p.count && data != NULL; i++) {
        const struct item *item = i < n ? before : &items[i - n];

        if (item->size > 0)
            memcpy(data->bytes + at, item->bytes, item->size);
        at += item->size;
    }
    free(sizes);
    return data;
}

void
combine_append(struct combine *c, struct job *j, const struct parcel *head,
               const struct item *before, const struct item *items, uint32_t count)
{
    futures_t *s = c->session;
    struct blob *data;

    if (c->ended)
        return;
    if (s->stopped || s->lost || j->expired) {
        combine_fail(c, s->lost ? EPIPE : ECANCELED,
                     j->expired ? OUTCOME_TIMED_OUT : OUTCOME_CANCELLED, "%s",
                     j->expired ? "it had not ended by its deadline" : "the session has ended");
        return;
    }
    data = pack(c, head, before, items, count);
    if (data != NULL &&
        core_append_blob(s->core, j, data, data->size, 1, (uint32_t)data->size, NULL) == 0)
        return;
    blob_unref(data);
    combine_fail(c, ENOMEM, OUTCOME_FAILED, "out of memory for %u values", count);
}

/* ---- life -------------------------------------------------------------------------------------
 */

int
combine_check(const char *map, const void *inputs, size_t count, size_t size, uint64_t block)
{
    size_t most = LIMIT_DATA - 4096; /* without header and names */

    if (inputs == NULL && count > 0 && size > 0)
        return error_set(EINVAL, "the inputs are NULL, but have a size of %zu bytes", size);
    if (count > 0 && size > most / block)
        return error_set(E2BIG,
                         "%" PRIu64 " inputs of %zu bytes go into one task of %s: at most %zu "
                         "bytes together are allowed",
                         block, size, map, most);
    if (size > 0 && count > SIZE_MAX / size)
        return error_set(EINVAL, "%zu inputs of %zu bytes each: no memory holds so many", count,
                         size);
    return 0;
}

static struct job *
open_job(struct combine *c, const char *function, const task_options_t *options)
{
    struct job *j = session_job(c->session, function, options, false);

    if (j != NULL) {
        j->keep_arrived = true;
        j->known = true;
    }
    return j;
}

/* All jobs at once: a deadline counts from now, and so does the order of submission. */
static int
open_jobs(struct combine *c, const task_options_t *options)
{
    task_options_t o = options != NULL ? *options : (task_options_t){0};

    if (o.name == NULL)
        o.name = c->map;
    if ((c->folds = open_job(c, FOLD_BLOCK, &o)) == NULL)
        return -1;
    o.seed = c->folds->spec->seed;
    return (c->joins = open_job(c, FOLD_JOIN, &o)) == NULL ||
                   (c->scans = open_job(c, FOLD_SCAN, &o)) == NULL
               ? -1
               : 0;
}

/* Is there such a function here? A program that workers offer says so itself. */
static void
check_function(struct combine *c, const char *name)
{
    char text[1024];

    if (c->ended || c->session->offered != NULL || registry_find(name) != NULL)
        return;
    registry_unknown(name, text, sizeof(text));
    combine_fail(c, EIO, OUTCOME_REJECTED, "%s: %s", name, text);
}

int
combine_open(struct combine *c, futures_t *s, const char *map, const char *reduce,
             const task_options_t *options)
{
    int failed;

    c->session = s;
    c->map = strdup(map);
    c->reduce = strdup(reduce);
    session_lock(s);
    LIST_INSERT_HEAD(&s->combines, c, link);
    if ((failed = session_accepts(s)) == 0 &&
        (c->map == NULL || c->reduce == NULL || open_jobs(c, options) != 0))
        failed = error_set(ENOMEM, "out of memory");
    if (failed != 0)
        combine_free(c);
    session_unlock(s);
    return failed;
}

/* A chunk of `n` blocks from `first` on, of `length` inputs each, the last one of `rest`. */
static struct blob *
blocks_blob(const struct combine *c, const uint8_t *inputs, size_t size, uint32_t flags,
            uint64_t first, uint64_t n, uint64_t length)
{
    struct parcel p = {.flags = flags,
                       .map = c->map,
                       .reduce = c->reduce,
                       .width = 1,
                       .count = (uint32_t)length,
                       .size = (uint32_t)size};
    size_t head = parcel_head(&p);
    struct blob *data = blob_new(n * (head + length * size));
    uint8_t *to = data == NULL ? NULL : data->bytes;

    for (uint64_t i = 0; i < n && data != NULL; i++) {
        p.first = (first + i) * c->block;
        p.end = p.first + length;
        parcel_write(&p, to);
        to += head;
        if (size > 0)
            memcpy(to, inputs + p.first * size, length * size);
        to += length * size;
    }
    return data;
}

int
combine_start(struct combine *c, const uint8_t *inputs, size_t size, uint32_t flags)
{
    futures_t *s = c->session;
    uint64_t full = c->count / c->block, done = 0;
    int failed = 0;

    session_lock(s);
    check_function(c, c->map);
    check_function(c, c->reduce);
    session_unlock(s);
    while (done < c->nblocks && failed == 0) {
        uint64_t length = done < full ? c->block : c->count - done * c->block, n = 1;
        size_t each =
            parcel_head(&(struct parcel){.map = c->map, .reduce = c->reduce}) + length * size;
        struct blob *data;

        if (done < full && LIMIT_CHUNK / each > 1)
            n = LIMIT_CHUNK / each < full - done ? LIMIT_CHUNK / each : full - done;
        if ((data = blocks_blob(c, inputs, size, flags, done, n, length)) == NULL)
            return -1;
        session_lock(s);
        if (c->ended || (failed = core_append_blob(s->core, c->folds, data, n * each, (uint32_t)n,
                                                   (uint32_t)each, NULL)) != 0)
            blob_unref(data);
        session_unlock(s);
        done += n;
    }
    session_lock(s);
    if (s->stopped || s->lost) /* since the first of them was copied */
        combine_fail(c, s->lost ? EPIPE : ECANCELED, OUTCOME_CANCELLED, "the session has ended");
    core_close(s->core, c->folds);
    if (s->kind == KIND_SERIAL)
        session_news(s);
    session_unlock(s);
    if (s->kind == KIND_NESTED)
        nested_submitted(s);
    return failed;
}

static void
drop_job(struct combine *c, struct job *j)
{
    if (j == NULL)
        return;
    core_close(c->session->core, j);
    core_drop(c->session->core, j);
}

void
combine_free(struct combine *c)
{
    if (c == NULL)
        return;
    LIST_REMOVE(c, link);
    c->ended = true;
    drop_job(c, c->folds);
    drop_job(c, c->joins);
    drop_job(c, c->scans);
    c->class->release(c);
    free(c->cause.sentence);
    free(c->cause.words);
    free(c->map);
    free(c->reduce);
    free(c);
}
