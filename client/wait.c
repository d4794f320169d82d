/* Waiting for some of many futures. */
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINED_UP                                                                                   \
    UINT64_MAX /* a future's mark: it ended, and those behind it in the list earlier               \
                */

/* When a task ended, among all of its session: by message, and by place in it. */
struct key {
    uint64_t order;
    uint32_t offset;
    future_t *future;
};

static int
compare(const void *left, const void *right)
{
    const struct key *a = left, *b = right;

    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* Futures that have ended, in the order in which they did. */
static void
sort_by_end(future_t **list, size_t count)
{
    struct key *keys = malloc(count * sizeof(*keys));
    const struct segment *s = NULL;
    bool sorted = true;

    if (keys == NULL)
        return; /* any order is better than none of them */
    for (size_t i = 0; i < count; i++) {
        future_t *f = list[i];

        /* Neighbours often came in one message. */
        if (s == NULL || s->chunk != f->chunk || f->offset - s->first >= s->count)
            s = chunk_segment(f->chunk, f->offset);
        keys[i] = (struct key){s == NULL ? UINT64_MAX : s->order, f->offset, f};
        sorted = sorted && (i == 0 || compare(&keys[i - 1], &keys[i]) <= 0);
    }
    if (!sorted) {
        qsort(keys, count, sizeof(*keys), compare);
        for (size_t i = 0; i < count; i++)
            list[i] = keys[i].future;
    }
    free(keys);
}

static void
swap(future_t **list, size_t i, size_t k)
{
    future_t *f = list[i];

    list[i] = list[k];
    list[k] = f;
}

static int
list_check(future_t *const *list, size_t count)
{
    if (list == NULL && count > 0)
        return error_set(EINVAL, "there is no list of futures: it is NULL");
    for (size_t i = 0; i < count; i++) {
        if (list[i] == NULL)
            return error_set(EINVAL, "future %zu of the list is NULL", i);
        if (list[i]->session != list[0]->session)
            return error_set(EINVAL,
                             "future %zu of the list belongs to another session than the "
                             "first: wait for each session's own",
                             i);
    }
    return count == 0 || session_usable(list[0]->session) ? 0 : -1;
}

/* Move those that stand in the list a second time to its end; returns how many are left. */
static size_t
without_twins(futures_t *s, future_t **list, size_t count)
{
    uint64_t mark = ++s->marks;
    size_t i = 0;

    while (i < count) {
        if (list[i]->mark == mark)
            swap(list, i, --count);
        else
            list[i++]->mark = mark;
    }
    return count;
}

static bool
ended_badly(const future_t *f)
{
    return future_ended(f) && (f->chunk->state[f->offset] & STATE_OUTCOME) != 1 + OUTCOME_DONE;
}

/* Move those that have ended to the front, in the order in which they did. */
static size_t
gather(future_t **list, size_t count)
{
    size_t done = 0;

    for (size_t i = 0; i < count; i++)
        if (future_ended(list[i]))
            swap(list, i, done++);
    sort_by_end(list, done);
    return done;
}

struct awaited {
    future_t **list;
    size_t count;
    futures_when_t when;
    size_t ended;      /* the first so many have ended */
    uint64_t failures; /* of the session, when the list was looked through last */
};

/* Has it come to what the wait is for? Called after everything that happens: so it looks no further
 * than it must. */
static bool
come(const futures_t *s, struct awaited *a)
{
    while (a->ended < a->count && future_ended(a->list[a->ended]))
        a->ended++;
    if (a->ended == a->count)
        return true;
    if (a->when == FIRST_COMPLETED)
        for (size_t i = 0; i < a->count; i++)
            if (future_ended(a->list[i]))
                return true;
    if (a->when == FIRST_FAILED && a->failures != s->core->failed) {
        a->failures = s->core->failed;
        for (size_t i = 0; i < a->count; i++)
            if (ended_badly(a->list[i]))
                return true;
    }
    return false;
}

int
futures_wait(future_t **list, size_t count, futures_when_t when, int timeout)
{
    struct awaited a = {.list = list, .when = when, .failures = UINT64_MAX};
    int64_t deadline = session_deadline(timeout);
    bool late = false;
    size_t done;
    futures_t *s;

    if (list_check(list, count) != 0)
        return -1;
    if (when != FIRST_COMPLETED && when != FIRST_FAILED && when != ALL_COMPLETED)
        return error_set(EINVAL,
                         "when is %d: expected FIRST_COMPLETED, FIRST_FAILED or ALL_COMPLETED",
                         (int)when);
    if (count == 0)
        return 0;
    s = list[0]->session;
    session_lock(s);
    a.count = without_twins(s, list, count);
    while (!come(s, &a) && !late)
        late = session_wait(s, deadline) != 0;
    late = late && !come(s, &a);
    done = gather(list, a.count);
    if (late)
        session_timed_out(s, list[done]->chunk->job, timeout);
    session_dispatch(s);
    session_unlock(s);
    errno = late ? ETIMEDOUT : 0;
    return (int)done;
}

/* Line up those that have ended at the end of the list, the first of them last: further calls find
 * them without a search. What ends later is behind all of them in order, too. False: none. */
static bool
line_up(future_t **list, size_t count)
{
    size_t from = count;

    for (size_t i = count; i-- > 0;)
        if (future_ended(list[i]))
            swap(list, i, --from);
    if (from == count)
        return false;
    sort_by_end(list + from, count - from);
    for (size_t i = from, k = count - 1; i < k; i++, k--)
        swap(list, i, k);
    for (size_t i = from; i < count; i++)
        list[i]->mark = LINED_UP;
    return true;
}

/* With the lock held. NULL at the deadline. */
static future_t *
next_of(futures_t *s, future_t **list, size_t count, int64_t deadline)
{
    while (!line_up(list, count))
        if (session_wait(s, deadline) != 0 && !line_up(list, count))
            return NULL;
    return list[count - 1];
}

future_t *
futures_next(future_t **list, size_t *count_p, int timeout)
{
    int64_t deadline = session_deadline(timeout);
    future_t *f;
    futures_t *s;
    size_t count;

    if (count_p == NULL)
        return error_null(EINVAL, "there is no count: count_p is NULL");
    if ((count = *count_p) == 0) {
        errno = 0;
        return NULL;
    }
    /* The last one stands for all in a list that was looked through before. */
    if (list == NULL || list[count - 1] == NULL)
        return error_null(EINVAL, "there is no list of futures, or its last one is NULL");
    if (!session_usable(s = list[count - 1]->session))
        return NULL;
    session_lock(s);
    f = list[count - 1]->mark == LINED_UP ? list[count - 1] : NULL;
    session_unlock(s);
    if (f == NULL && list_check(list, count) != 0)
        return NULL;
    session_lock(s);
    if (f == NULL && (f = next_of(s, list, count, deadline)) == NULL) {
        session_timed_out(s, list[count - 1]->chunk->job, timeout);
    } else {
        f->mark = 0;
        *count_p = count - 1;
        session_dispatch(s);
    }
    session_unlock(s);
    return f;
}
