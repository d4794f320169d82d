#include "fold.h"

#include "parcel.h"
#include "running.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH = 40,         /* a parcel has less than 2^32 values */
    ROOM = 256,         /* for a result, at first */
    ROOM_MOST = 1 << 16 /* larger ones are in blobs */
};

struct bytes {
    uint8_t *at; /* aligned for any type */
    size_t used, room;
};

struct value { /* of the inputs from `from` on, below `end` */
    size_t size;
    uint64_t from, end;
};

struct fold {
    task_t *task;
    struct parcel in;
    task_fn *map, *reduce;
    size_t at;     /* of the next value in in.data */
    uint32_t next; /* its number */

    /* The call under way, or the last one: its result is there until the next. */
    struct task_run run;
    struct task call;
    bool called;
    struct pair pair;
    struct bytes input, room;

    struct bytes values; /* a stack of those to be combined; or all prefixes */
    struct value stack[DEPTH];
    unsigned depth;
    uint32_t *sizes; /* of the prefixes */
};

static const max_align_t nothing; /* what an empty value points to */
static unsigned forks;            /* between the executor and this process */

static void
count_fork(void)
{
    forks++;
}

static void
watch_forks(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

static int
no_memory(struct fold *f)
{
    return task_fail(f->task, "out of memory");
}

static int
make_room(struct bytes *b, size_t size)
{
    size_t room = b->room < ROOM ? ROOM : b->room;
    uint8_t *at;

    if (size <= b->room)
        return 0;
    while (room < size)
        room *= 2;
    if ((at = realloc(b->at, room)) == NULL)
        return -1;
    b->at = at;
    b->room = room;
    return 0;
}

static int
append(struct bytes *b, const uint8_t *from, size_t size)
{
    if (make_room(b, b->used + size) != 0)
        return -1;
    if (size > 0)
        memcpy(b->at + b->used, from, size);
    b->used += size;
    return 0;
}

static bool
is_aligned(const uint8_t *at)
{
    return ((uintptr_t)at & 15) == 0;
}

/* ---- calling the program's functions ----------------------------------------------------------
 */

/* "9", or "0..63" */
static void
range_text(char text[48], uint64_t from, uint64_t end)
{
    if (end - from == 1)
        snprintf(text, 48, "%" PRIu64, from);
    else
        snprintf(text, 48, "%" PRIu64 "..%" PRIu64, from, end - 1);
}

static void
release(struct fold *f)
{
    if (f->called)
        task_release(&f->call);
    f->called = false;
}

/* Call `function` on `input`; `label` names it in its failure. */
static int
call(struct fold *f, task_fn *function, const uint8_t *input, size_t size, uint64_t index)
{
    unsigned before = forks;

    release(f);
    if (make_room(&f->room, ROOM) != 0)
        return no_memory(f);
    f->run.function = function;
    f->run.input = input;
    f->run.size = size;
    f->run.index = f->run.stream = index;
    task_init(&f->call, &f->run, f->room.at, f->room.room);
    f->called = true;
    if (task_execute(&f->call) != OUTCOME_DONE || forks != before)
        return -1;
    if (f->call.size > f->room.room && f->call.size <= ROOM_MOST) {
        /* The next ones will fit. This one is in a blob, and stays there. */
        if (make_room(&f->room, f->call.size) != 0)
            return no_memory(f);
    }
    return 0;
}

/* The words of the function that failed, behind what it was called for. */
static int
fail_call(struct fold *f, const char *name, const char *which)
{
    return task_fail(f->task, "%s[%s]: %.*s", name, which, (int)f->call.size,
                     (const char *)f->call.result);
}

static int
call_map(struct fold *f, const uint8_t *input, size_t size, uint64_t index)
{
    char which[48];

    if (size > 0 && !is_aligned(input)) {
        f->input.used = 0;
        if (append(&f->input, input, size) != 0)
            return no_memory(f);
        input = f->input.at;
    }
    f->run.seed = f->task->run->seed;
    f->run.pair = NULL;
    if (call(f, f->map, input, size, index) == 0)
        return 0;
    if (!f->called || f->call.result == NULL)
        return -1;
    range_text(which, index, index + 1);
    return fail_call(f, f->in.map, which);
}

/* The result is that of both values. They may lie end to end already. */
static int
call_reduce(struct fold *f, const struct value *left, const uint8_t *at, const struct value *right,
            const uint8_t *right_at)
{
    char which[100], last[48];

    if (!is_aligned(at) || at + left->size != right_at) {
        f->input.used = 0;
        if (append(&f->input, at, left->size) != 0 || append(&f->input, right_at, right->size) != 0)
            return no_memory(f);
        at = f->input.at;
    }
    /* Not the numbers that its right value's first input was mapped with. */
    f->run.seed = ~f->task->run->seed;
    f->run.pair = &f->pair;
    f->pair.left = left->size;
    if (call(f, f->reduce, at, left->size + right->size, right->from) == 0)
        return 0;
    if (!f->called || f->call.result == NULL)
        return -1;
    range_text(which, left->from, left->end);
    range_text(last, right->from, right->end);
    strcat(strcat(which, ", "), last);
    return fail_call(f, f->in.reduce, which);
}

int
task_pair(task_t *self, const void **left_p, size_t *left_size_p, const void **right_p,
          size_t *right_size_p)
{
    struct pair *p = self->run->pair;
    const uint8_t *input = task_input(self), *right;
    size_t size;

    if (p == NULL) {
        errno = EPROTO;
        return -1;
    }
    right = input + p->left;
    size = self->run->size - p->left;
    if (!is_aligned(right)) {
        if (size > p->room) {
            uint8_t *copy = realloc(p->copy, size);

            if (copy == NULL)
                return -1;
            p->copy = copy;
            p->room = size;
        }
        right = size > 0 ? memcpy(p->copy, right, size) : (const void *)&nothing;
    }
    if (left_p != NULL)
        *left_p = input;
    if (left_size_p != NULL)
        *left_size_p = p->left;
    if (right_p != NULL)
        *right_p = right;
    if (right_size_p != NULL)
        *right_size_p = size;
    return 0;
}

/* ---- combining --------------------------------------------------------------------------------
 */

/* The next value, mapped if need be; valid until the next call. */
static int
next_value(struct fold *f, struct value *v, const uint8_t **at_p)
{
    const struct parcel *in = &f->in;
    const uint8_t *at = in->data + f->at;
    uint32_t size = parcel_size(in, f->next), i = f->next;

    if (parcel_has(in, PARCEL_BEFORE) && i-- == 0) {
        *v = (struct value){.size = size, .from = 0, .end = in->first};
    } else {
        *v = (struct value){.size = size, .from = in->first + i * in->width};
        v->end = in->end - v->from < in->width ? in->end : v->from + in->width;
    }
    f->at += size;
    f->next++;
    *at_p = at;
    if (f->map == NULL)
        return 0;
    if (task_cancelled(f->task))
        return task_fail(f->task, "cancelled");
    if (call_map(f, at, size, v->from) != 0)
        return -1;
    if (in->count > 1)
        task_progress(f->task, f->next, in->count);
    v->size = f->call.size;
    *at_p = f->call.result;
    return 0;
}

/* The two on top of the stack become one. */
static int
combine_top(struct fold *f)
{
    struct value *right = &f->stack[f->depth - 1], *left = right - 1;
    const uint8_t *right_at = f->values.at + f->values.used - right->size;

    if (call_reduce(f, left, right_at - left->size, right, right_at) != 0)
        return -1;
    f->values.used -= left->size + right->size;
    if (append(&f->values, f->call.result, f->call.size) != 0)
        return no_memory(f);
    left->size = f->call.size;
    left->end = right->end;
    f->depth--;
    return 0;
}

/* In a tree of fixed shape: its left part has the largest power of two of values that leaves some
 * to the right one. So aligned blocks of powers of two are subtrees of it, whatever their size. */
static int
give_back_last(struct fold *f)
{
    const uint8_t *at;

    while (f->next < f->in.count) {
        if (next_value(f, &f->stack[f->depth], &at) != 0)
            return -1;
        if (append(&f->values, at, f->stack[f->depth].size) != 0)
            return no_memory(f);
        f->depth++;
        for (uint32_t n = f->next; (n & 1) == 0; n >>= 1)
            if (combine_top(f) != 0)
                return -1;
    }
    while (f->depth > 1)
        if (combine_top(f) != 0)
            return -1;
    if (task_return(f->task, f->values.at, f->values.used) != 0)
        return task_fail(f->task, "the result has %zu bytes: at most 256 MiB are allowed",
                         f->values.used);
    return 0;
}

static int
give_back_parcel(struct fold *f, uint32_t count)
{
    struct parcel out = {.map = "", .reduce = "", .count = count, .size = f->sizes[0]};
    size_t head;
    uint8_t *to;

    for (uint32_t i = 1; i < count && out.sizes == NULL; i++)
        if (f->sizes[i] != f->sizes[0])
            out.sizes = (const uint8_t *)f->sizes;
    head = parcel_head(&out);
    if ((to = task_output(f->task, head + f->values.used)) == NULL)
        return task_fail(f->task,
                         "the results of a block have %zu bytes: at most 256 MiB are "
                         "allowed",
                         f->values.used);
    parcel_write(&out, to);
    if (f->values.used > 0)
        memcpy(to + head, f->values.at, f->values.used);
    return 0;
}

/* All inclusive prefixes, one after the other. */
static int
give_back_each(struct fold *f)
{
    bool before = parcel_has(&f->in, PARCEL_BEFORE), apart = parcel_has(&f->in, PARCEL_APART);
    struct value last = {0}, v;
    const uint8_t *last_at = NULL, *at;
    uint32_t n = 0;

    if ((f->sizes = malloc(f->in.count * sizeof(*f->sizes))) == NULL)
        return no_memory(f);
    if (before && next_value(f, &last, &last_at) != 0)
        return -1;
    for (; f->next < f->in.count; n++) {
        if (next_value(f, &v, &at) != 0)
            return -1;
        if (last_at != NULL) {
            if (call_reduce(f, &last, last_at, &v, at) != 0)
                return -1;
            v = (struct value){.size = f->call.size, .from = last.from, .end = v.end};
            at = f->call.result;
        }
        if (append(&f->values, at, v.size) != 0)
            return no_memory(f);
        f->sizes[n] = (uint32_t)v.size;
        if (!apart || last_at == NULL) {
            last = v;
            last_at = f->values.at + f->values.used - v.size;
        }
    }
    return give_back_parcel(f, n);
}

/* ---- the task ---------------------------------------------------------------------------------
 */

static int
find(struct fold *f, const char *name, task_fn **function_p)
{
    char words[1024];

    if ((*function_p = registry_find(name)) != NULL)
        return 0;
    registry_unknown(name, words, sizeof(words));
    return task_fail(f->task, "%s", words);
}

/* Is this what the library at the other end makes? */
static bool
makes_sense(const struct parcel *in)
{
    bool before = parcel_has(in, PARCEL_BEFORE);

    return in->count > before && in->first <= in->end && !(before && in->map[0] != '\0') &&
           (before || !parcel_has(in, PARCEL_APART));
}

static int
prepare(struct fold *f)
{
    const struct parcel *in = &f->in;

    if (parcel_read(&f->in, task_input(f->task), task_input_size(f->task)) != 0 || !makes_sense(in))
        return task_fail(f->task, "its input was not made by futures_map_reduce() or "
                                  "futures_map_scan() of this version of the library");
    if ((in->map[0] != '\0' && find(f, in->map, &f->map) != 0) ||
        find(f, in->reduce, &f->reduce) != 0)
        return -1;
    /* As the task itself, but for what call() sets. Its progress is in inputs, and told here;
     * nobody reads what its functions would emit. */
    f->run = *f->task->run;
    f->run.progress = NULL;
    f->run.emit = NULL;
    return 0;
}

static int
fold(task_t *task)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct fold f = {.task = task};
    int failed;

    pthread_once(&once, watch_forks);
    failed = prepare(&f);
    if (failed == 0)
        failed = parcel_has(&f.in, PARCEL_EACH) ? give_back_each(&f) : give_back_last(&f);
    release(&f);
    free(f.pair.copy);
    free(f.input.at);
    free(f.room.at);
    free(f.values.at);
    free(f.sizes);
    return failed;
}

task_fn *
fold_find(const char *name)
{
    if (strcmp(name, FOLD_BLOCK) == 0 || strcmp(name, FOLD_JOIN) == 0 ||
        strcmp(name, FOLD_SCAN) == 0)
        return fold;
    return NULL;
}
