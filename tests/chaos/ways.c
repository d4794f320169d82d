#include "ways.h"

#include "history.h"

#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 512
#define STREAM 2000

static const task_options_t normal = {.retries = RETRIES};

double
seconds_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void
sleep_until(double then)
{
    double left = then - seconds_now();
    struct timespec t;

    if (left <= 0)
        return;
    t.tv_sec = (time_t)left;
    t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
    nanosleep(&t, NULL);
}

/* Until it is time for the task after `done` of them. */
static void
keep_pace(const struct way *w, uint64_t done)
{
    sleep_until(w->began + w->seconds * (double)done / (double)w->count);
}

/* The next orders of a way: how many, at most `most`. */
static uint64_t
take_orders(const struct way *w, uint64_t done, struct order *orders, uint64_t most)
{
    uint64_t n = w->count - done < most ? w->count - done : most;

    keep_pace(w, done);
    for (uint64_t i = 0; i < n; i++) {
        orders[i] = order_make(w->seed, w->first + done + i);
        history_invoke(&orders[i], w->name);
    }
    return n;
}

static void
note_partial(uint64_t index, const void *data, size_t size, void *arg)
{
    const struct order *o = (const struct order *)arg + index;
    struct answer a = {0};
    bool right = false;

    if (size == sizeof(a))
        memcpy(&a, data, sizeof(a));
    for (uint64_t i = 0; i < PARTIALS; i++)
        right |= a.value == mix(o->value + i);
    if (a.id != o->id || !right)
        history_wrong("task %llu: that is no partial result of it", (unsigned long long)o->id);
}

/* All that a map gives; `orders` are in the order of its indices. */
static void
read_results(results_t *results, const struct order *orders, uint64_t count)
{
    const void *data;
    uint64_t index, seen = 0;
    size_t size;

    if (results == NULL) {
        for (uint64_t i = 0; i < count; i++)
            history_unknown(&orders[i], futures_error());
        return;
    }
    while ((data = results_next(results, &size)) != NULL || !results_at_end(results)) {
        seen++;
        if ((index = results_index(results)) >= count)
            history_wrong("result %llu of %llu", (unsigned long long)index,
                          (unsigned long long)count);
        else if (data != NULL)
            history_result(&orders[index], data, size, 0);
        else
            history_failure(&orders[index], results_status(results), 0, results_error(results));
    }
    if (seen != count)
        history_wrong("%llu results of a map of %llu", (unsigned long long)seen,
                      (unsigned long long)count);
    results_destroy(&results);
}

static void
map_with(struct way *w, const task_options_t *options)
{
    struct order orders[BATCH];
    results_t *results;
    uint64_t n;

    for (uint64_t done = 0; done < w->count; done += n) {
        n = take_orders(w, done, orders, 1 + mix(w->seed + w->first + done) % BATCH);
        results = futures_map(w->futures, "work", orders, n, sizeof(*orders), options);
        if (results != NULL)
            results_on_partial(results, note_partial, orders);
        read_results(results, orders, n);
    }
}

static void
way_map(struct way *w)
{
    map_with(w, &normal);
}

static void
way_completed(struct way *w)
{
    map_with(w, &(task_options_t){.retries = RETRIES, .as_completed = true});
}

/* ---- maps that draw their inputs
 * ------------------------------------------------------------ */

struct source {
    const struct way *w;
    struct order *orders;
    uint64_t begin, end, drawn;
};

static int
draw(void *arg, const void **input_p, size_t *size_p)
{
    struct source *s = arg;
    struct order *o = &s->orders[s->drawn - s->begin];

    if (s->drawn == s->end)
        return -1;
    s->drawn += take_orders(s->w, s->drawn, o, 1);
    *input_p = o;
    *size_p = sizeof(*o);
    return 0;
}

static void
way_imap(struct way *w)
{
    struct order *orders = calloc(STREAM, sizeof(*orders));

    if (orders == NULL)
        abort();
    for (struct source s = {w, orders, 0, 0, 0}; s.begin < w->count; s.begin = s.end) {
        s.drawn = s.begin;
        s.end = w->count - s.begin < STREAM ? w->count : s.begin + STREAM;
        read_results(futures_imap(w->futures, "work", draw, &s, &normal), orders, s.end - s.begin);
    }
    free(orders);
}

/* ---- one by one
 * ------------------------------------------------------------------------------- */

static void
note_future(const struct order *o, future_t *future)
{
    size_t size;
    const void *data = future_result(future, &size);

    if (data != NULL)
        history_result(o, data, size, future_attempts(future));
    else
        history_failure(o, future_status(future), future_attempts(future), future_error(future));
}

static size_t
submit_orders(struct way *w, struct order *orders, future_t **list, uint64_t n)
{
    size_t count = 0;

    for (uint64_t i = 0; i < n; i++) {
        list[count] = futures_submit(w->futures, "work", &orders[i], sizeof(*orders), &normal);
        if (list[count] == NULL)
            history_unknown(&orders[i], futures_error());
        else
            orders[count++] = orders[i];
    }
    return count;
}

static const struct order *
order_of(const struct order *orders, future_t *const *all, future_t *future)
{
    size_t i = 0;

    while (all[i] != future)
        i++;
    return &orders[i];
}

static void
way_next(struct way *w)
{
    struct order orders[BATCH];
    future_t *all[BATCH], *list[BATCH], *future;
    size_t count;
    uint64_t n;

    for (uint64_t done = 0; done < w->count; done += n) {
        n = take_orders(w, done, orders, 1 + mix(w->seed + w->first + done) % BATCH);
        count = submit_orders(w, orders, all, n);
        memcpy(list, all, count * sizeof(future_t *));
        for (size_t left = count; (future = futures_next(list, &left, -1)) != NULL;)
            note_future(order_of(orders, all, future), future);
        for (size_t i = 0; i < count; i++)
            future_destroy(&all[i]);
    }
}

/* Callbacks run in whichever thread waits in the session: so each is waited for. */
struct called {
    struct order order;
    sem_t *calls;
};

static void
call_back(future_t *future, void *arg)
{
    struct called *c = arg;

    note_future(&c->order, future);
    sem_post(c->calls);
}

static void
way_callback(struct way *w)
{
    struct order orders[BATCH];
    struct called called[BATCH];
    future_t *list[BATCH];
    sem_t calls;
    size_t count;
    uint64_t n;

    sem_init(&calls, 0, 0);
    for (uint64_t done = 0; done < w->count; done += n) {
        n = take_orders(w, done, orders, 1 + mix(w->seed + w->first + done) % 64);
        count = submit_orders(w, orders, list, n);
        for (size_t i = 0; i < count; i++) {
            called[i] = (struct called){orders[i], &calls};
            if (future_on_done(list[i], call_back, &called[i]) != 0)
                history_unknown(&orders[i], futures_error());
        }
        (void)futures_wait(list, count, ALL_COMPLETED, -1);
        for (size_t i = 0; i < count; i++)
            sem_wait(&calls);
        for (size_t i = 0; i < count; i++)
            future_destroy(&list[i]);
    }
    sem_destroy(&calls);
}

/* Those of an odd value are cancelled, at once or when some have ended. */
static void
way_cancel(struct way *w)
{
    struct order orders[BATCH];
    future_t *list[BATCH];
    size_t count;
    uint64_t n;

    for (uint64_t done = 0; done < w->count; done += n) {
        n = take_orders(w, done, orders, 64);
        count = submit_orders(w, orders, list, n);
        for (size_t i = 0; i < count; i++) {
            if (i % 8 == 0)
                (void)future_wait(list[count - 1 - i], 50);
            if (orders[i].value % 2 == 1)
                (void)future_cancel(list[i]);
        }
        for (size_t i = 0; i < count; i++) {
            note_future(&orders[i], list[i]);
            future_destroy(&list[i]);
        }
    }
}

static void
call(struct way *w, const struct order *o, const task_options_t *options)
{
    future_t *future = futures_submit(w->futures, "work", o, sizeof(*o), options);

    if (future == NULL) {
        history_unknown(o, futures_error());
        return;
    }
    note_future(o, future);
    future_destroy(&future);
}

/* Tasks that come to a bad end, or may. */
static void
way_doomed(struct way *w)
{
    static const task_options_t once = {.once = true};
    static const task_options_t poison = {.retries = POISON_RETRIES};

    for (uint64_t i = 0; i < w->count; i++) {
        bool is_once = i % 2 == 0;
        struct order o = order_make_kind(w->seed, w->first + i, is_once ? ONCE : POISON);

        keep_pace(w, i);
        history_invoke(&o, w->name);
        call(w, &o, is_once ? &once : &poison);
    }
}

/* ---- many for one value
 * ------------------------------------------------------------------------- */

static void
reduce(struct way *w, const struct order *orders, uint64_t n)
{
    struct answer none = {0}, *sum;
    size_t size;

    if (futures_map_reduce(w->futures, "work", "add", orders, n, sizeof(*orders), &none,
                           sizeof(none), (void **)&sum, &size, &normal) != 0) {
        history_wrong("a reduction failed: %s", futures_error());
        return;
    }
    if (size != sizeof(*sum))
        history_wrong("a reduction to %zu bytes", size);
    else
        history_sum("reduce", orders[0].id, n, sum->value);
    free(sum);
}

static void
scan(struct way *w, const struct order *orders, uint64_t n)
{
    results_t *results =
        futures_map_scan(w->futures, "work", "add", orders, n, sizeof(*orders), &normal);
    const struct answer *sum;
    size_t size;

    while (results != NULL && ((sum = results_next(results, &size)) || !results_at_end(results)))
        if (sum == NULL || size != sizeof(*sum))
            history_wrong("a scan failed: %s", results_error(results));
        else
            history_sum("scan", orders[0].id, results_index(results) + 1, sum->value);
    if (results == NULL)
        history_wrong("a scan failed: %s", futures_error());
    results_destroy(&results);
}

static void
way_reduce(struct way *w)
{
    struct order orders[BATCH];
    uint64_t n;

    for (uint64_t done = 0, turn = 0; done < w->count; done += n, turn++) {
        keep_pace(w, done);
        n = w->count - done < BATCH ? w->count - done : BATCH;
        for (uint64_t i = 0; i < n; i++)
            orders[i] = order_make_kind(w->seed, w->first + done + i, i % 16 ? COMPUTE : SLEEP);
        (turn % 2 == 0 ? reduce : scan)(w, orders, n);
    }
}

static void
way_nested(struct way *w)
{
    struct order orders[16];
    uint64_t n;

    for (uint64_t done = 0; done < w->count; done += n) {
        keep_pace(w, done);
        n = w->count - done < 16 ? w->count - done : 16;
        for (uint64_t i = 0; i < n; i++) {
            orders[i] = order_make_kind(w->seed, w->first + done + i, NEST);
            history_invoke(&orders[i], w->name);
        }
        read_results(futures_map(w->futures, "work", orders, n, sizeof(*orders), &normal), orders,
                     n);
    }
}

const struct way ways[WAYS] = {
    {.name = "map", .run = way_map, .share = 280},
    {.name = "completed", .run = way_completed, .share = 200},
    {.name = "imap", .run = way_imap, .share = 200},
    {.name = "next", .run = way_next, .share = 130},
    {.name = "callback", .run = way_callback, .share = 50},
    {.name = "cancel", .run = way_cancel, .share = 20},
    {.name = "doomed", .run = way_doomed, .share = 5},
    {.name = "reduce", .run = way_reduce, .share = 100},
    {.name = "nested", .run = way_nested, .share = 15},
};
