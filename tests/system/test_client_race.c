/* Cancelling, callbacks and waits against each other: whatever comes first, all tell the same. */
#include "client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

/* ---- cancelling against completion ------------------------------------------------------------
 */

enum { STORM = 3000 };

struct storm {
    future_t *futures[STORM];
    future_status_t seen[STORM]; /* by the callback */
    int calls[STORM];
    int cancelled[STORM]; /* what future_cancel() said: 1 yes, -1 it has ended */
    _Atomic int ended;
};

struct nth {
    struct storm *storm;
    int i;
};

static void
note_end(future_t *future, void *arg)
{
    struct nth *n = arg;

    n->storm->calls[n->i]++;
    n->storm->seen[n->i] = future_status(future);
    atomic_fetch_add(&n->storm->ended, 1);
}

/* Cancels every second one, from the end and from the middle, once some have ended. */
static void *
cancel_half(void *arg)
{
    struct storm *s = arg;

    while (atomic_load(&s->ended) < STORM / 20)
        pause_ms(0);
    for (int k = 0; k < STORM; k += 2) {
        int i = k % 4 == 0 ? STORM - 1 - k : k / 2;

        s->cancelled[i] = future_cancel(s->futures[i]) == 0 ? 1 : errno == EALREADY ? -1 : -2;
    }
    return NULL;
}

static void
assert_consistent(struct storm *s, int i, uint8_t runs)
{
    future_t *u = s->futures[i];
    future_status_t status = future_status(u);
    const int32_t *result = future_result(u, NULL);

    assert_true(status == FUTURE_DONE || status == FUTURE_CANCELLED);
    assert_int_equal(s->calls[i], 1);
    assert_int_equal(s->seen[i], status);
    assert_int_equal(future_done(u), true);
    assert_int_equal(future_cancelled(u), status == FUTURE_CANCELLED);
    assert_in_range(runs, 0, 1);
    if (status == FUTURE_DONE) {
        assert_non_null(result);
        assert_int_equal(*result, i);
        assert_int_equal(runs, 1);
        assert_int_not_equal(s->cancelled[i], 1);
        assert_null(future_error(u));
    } else {
        assert_null(result);
        assert_int_equal(errno, ECANCELED);
        assert_int_equal(s->cancelled[i], 1);
        assert_non_null(strstr(future_error(u), "cancelled"));
    }
}

/* How many of the futures were cancelled. */
static int
run_storm(futures_t *f)
{
    static struct storm storm;
    static struct nth nths[STORM];
    struct order o = order_new(0);
    static uint8_t runs[STORM];
    pthread_t thread;
    int cancelled = 0;

    memset(&storm, 0, sizeof(storm));
    memset(runs, 0, sizeof(runs));
    for (o.index = 0; o.index < STORM; o.index++) {
        nths[o.index] = (struct nth){&storm, o.index};
        storm.futures[o.index] = submit_order(f, "mark", &o, NULL);
        assert_int_equal(future_on_done(storm.futures[o.index], note_end, &nths[o.index]), 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, cancel_half, &storm), 0);
    assert_int_equal(futures_join(f, 3 * SOON), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)futures_dispatch(f); /* of those that the other thread ended last */
    assert_true(order_read(&o, runs, sizeof(runs)) <= sizeof(runs));
    for (int i = 0; i < STORM; i++) {
        assert_int_not_equal(storm.cancelled[i], -2);
        assert_consistent(&storm, i, runs[i]);
        cancelled += storm.cancelled[i] == 1;
        future_destroy(&storm.futures[i]);
    }
    unlink(o.path);
    return cancelled;
}

static void
in_a_storm_of_cancels_each_future_ends_one_way(void **state)
{
    int cancelled = 0;

    /* Where the canceller was late, or so early that none ended otherwise, it was no storm. */
    for (int i = 0; i < 20 && (cancelled == 0 || cancelled == STORM); i++)
        cancelled = run_storm(*state);
    assert_in_range(cancelled, 1, STORM - 1);
}

static void *
cancel_map(void *arg)
{
    uint64_t done;

    do
        results_progress(arg, &done, NULL, NULL);
    while (done < STORM / 10);
    results_cancel(arg);
    return NULL;
}

static void
a_map_that_is_cancelled_while_it_is_read_adds_up(void **state)
{
    static struct order orders[STORM];
    static uint8_t runs[STORM];
    futures_t *f = *state;
    uint64_t done, failed, total, n[2] = {0};
    struct order o = order_new(0);
    pthread_t thread;
    results_t *r;

    memset(runs, 0, sizeof(runs));
    for (int i = 0; i < STORM; i++) {
        orders[i] = o;
        orders[i].index = i;
    }
    r = futures_map(f, "mark", orders, STORM, sizeof(*orders), NULL);
    assert_int_equal(pthread_create(&thread, NULL, cancel_map, r), 0);
    for (int i = 0; i < STORM; i++) {
        const int32_t *result = results_next(r, NULL);

        assert_int_equal(results_index(r), i);
        if (result != NULL)
            assert_int_equal(*result, i);
        else
            assert_int_equal(results_status(r), FUTURE_CANCELLED);
        orders[i].n = result != NULL;
        n[result != NULL]++;
    }
    assert_null(results_next(r, NULL));
    assert_true(results_at_end(r));
    assert_int_equal(pthread_join(thread, NULL), 0);
    results_progress(r, &done, &failed, &total);
    assert_int_equal(total, STORM);
    assert_int_equal(done, n[1]);
    assert_int_equal(failed, n[0]);
    assert_true(order_read(&o, runs, sizeof(runs)) <= sizeof(runs));
    for (int i = 0; i < STORM; i++)
        assert_in_range(runs[i], orders[i].n, 1);
    results_destroy(&r);
    unlink(o.path);
}

static void
a_stubborn_task_is_killed_and_its_slot_is_free(void **state)
{
    futures_t *f = *state;
    uint8_t runs[SLOTS] = {0};
    future_t *u[SLOTS];
    struct order o;
    int64_t since;
    double x = 2;
    int n;

    if (serial)
        skip();
    o = order_new(0);
    n = futures_slots(f);
    for (o.index = 0; o.index < n; o.index++)
        u[o.index] = submit_order(f, "stubborn", &o, NULL);
    for (int i = 0; i < n; i++)
        await(future_running(u[i]));
    since = now_ms();
    for (int i = 0; i < n; i++)
        assert_int_equal(future_cancel(u[i]), 0);
    assert_true(now_ms() - since < SOON / 4); /* the future does not wait for its end */
    for (int i = 0; i < n; i++) {
        assert_true(future_cancelled(u[i]));
        assert_int_equal(future_cancel(u[i]), 0); /* again: it will, or has */
    }
    assert_int_equal(futures_call(f, "square", &x, sizeof(x), NULL, NULL, NULL), 0);
    assert_int_equal(order_read(&o, runs, sizeof(runs)), n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(runs[i], 1); /* nobody tried it again */
        future_destroy(&u[i]);
    }
    unlink(o.path);
}

/* ---- callbacks --------------------------------------------------------------------------------
 */

struct scene {
    futures_t *futures;
    future_t *others[4];
    int calls, nested;
    bool order_kept;
};

static void
count_scene(future_t *future, void *arg)
{
    struct scene *s = arg;

    assert_true(future_done(future));
    s->calls++;
}

static void
add_one_more(future_t *future, void *arg)
{
    struct scene *s = arg;
    int before = s->calls;

    assert_int_equal(future_on_done(future, count_scene, s), 0);
    s->nested = s->calls - before;
}

static void
callbacks_run_once_whenever_they_are_added(void **state)
{
    struct scene s = {.futures = *state};
    struct order door = order_new(0);
    future_t *u = submit_order(s.futures, "gate", &door, NULL);

    if (serial)
        unlink(door.path);                                   /* there it runs in the wait */
    assert_int_equal(future_on_done(u, count_scene, &s), 0); /* before */
    if (!serial)
        await(future_running(u));
    assert_int_equal(future_on_done(u, count_scene, &s), 0); /* while */
    assert_int_equal(future_on_done(u, add_one_more, &s), 0);
    assert_int_equal(s.calls, 0);
    unlink(door.path);
    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(s.calls, 3);
    assert_int_equal(s.nested, 1);                           /* at once */
    assert_int_equal(future_on_done(u, count_scene, &s), 0); /* after: at once */
    assert_int_equal(s.calls, 4);
    assert_int_equal(futures_dispatch(s.futures), 0);
    assert_int_equal(s.calls, 4);
    future_destroy(&u);
}

static void
cancel_others(future_t *future, void *arg)
{
    struct scene *s = arg;

    (void)future;
    for (int i = 0; i < 4; i++)
        assert_int_equal(future_cancel(s->others[i]), 0);
}

static void
a_callback_may_cancel_others(void **state)
{
    struct scene s = {.futures = *state};
    future_t *first = submit_int(s.futures, "echo", 1, NULL);

    for (int i = 0; i < 4; i++) {
        s.others[i] = submit_int(s.futures, "linger", 100 * SOON, NULL);
        assert_int_equal(future_on_done(s.others[i], count_scene, &s), 0);
    }
    assert_int_equal(future_on_done(first, cancel_others, &s), 0);
    assert_int_equal(futures_join(s.futures, SOON), 0);
    assert_int_equal(s.calls, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(future_cancelled(s.others[i]));
        future_destroy(&s.others[i]);
    }
    future_destroy(&first);
}

static void
destroy_others(future_t *future, void *arg)
{
    struct scene *s = arg;

    s->nested++;
    for (int i = 0; i < 4; i++)
        if (s->others[i] != future)
            future_destroy(&s->others[i]);
}

static void
a_callback_may_destroy_others_whose_turn_it_would_be(void **state)
{
    struct scene s = {.futures = *state};

    for (int i = 0; i < 4; i++)
        s.others[i] = submit_int(s.futures, "echo", i, NULL);
    for (int i = 0; i < 4; i++)
        assert_int_equal(future_on_done(s.others[i], destroy_others, &s), 0);
    assert_int_equal(futures_join(s.futures, SOON), 0);
    assert_int_equal(s.nested, 1); /* what is gone is not called */
    for (int i = 0; i < 4; i++)
        future_destroy(&s.others[i]);
}

struct stay {
    pthread_t destroyer;
    bool early; /* it had ended before its callback was there, which was then called at once */
    _Atomic bool entered, going, left;
};

/* In the other thread: comes back only after this one has begun to destroy what it is about. */
static void
stay_a_while(struct stay *s)
{
    s->entered = true;
    await(s->going);
    pause_ms(30);
}

static void
stay_in_future(future_t *future, void *arg)
{
    struct stay *s = arg;

    s->early = pthread_equal(pthread_self(), s->destroyer);
    if (s->early)
        return;
    stay_a_while(s);
    assert_int_equal(future_status(future), FUTURE_DONE);
    s->left = true;
}

static void
stay_in_partial(uint64_t index, const void *data, size_t size, void *arg)
{
    struct stay *s = arg;

    (void)index;
    (void)data;
    (void)size;
    if (!s->going)
        stay_a_while(s);
    s->left = true;
}

static void *
join(void *arg)
{
    assert_int_equal(futures_join(arg, SOON), 0);
    return NULL;
}

static void
what_is_destroyed_has_no_callback_in_another_thread(void **state)
{
    struct stay s = {.destroyer = pthread_self(), .early = true}, t = {0};
    future_t *u = NULL;
    int count = 3;
    results_t *r;
    pthread_t thread;

    while (s.early) {
        future_destroy(&u);
        u = submit_int(*state, "echo", 1, NULL);
        s.early = false;
        assert_int_equal(future_on_done(u, stay_in_future, &s), 0);
    }
    assert_int_equal(pthread_create(&thread, NULL, join, *state), 0);
    await(s.entered);
    s.going = true;
    future_destroy(&u);
    assert_true(s.left);
    pthread_join(thread, NULL);

    r = futures_map(*state, "stream", &count, 1, sizeof(count), NULL);
    assert_int_equal(results_on_partial(r, stay_in_partial, &t), 0);
    assert_int_equal(pthread_create(&thread, NULL, join, *state), 0);
    await(t.entered);
    t.going = true;
    results_destroy(&r);
    assert_true(t.left);
    pthread_join(thread, NULL);
}

static void
wait_for_another(future_t *future, void *arg)
{
    struct scene *s = arg;
    const int *result;
    future_t *u;

    (void)future;
    u = submit_int(s->futures, "echo", 77, NULL);
    result = future_result(u, NULL);
    s->order_kept = result != NULL && *result == 77;
    future_destroy(&u);
}

static void
a_callback_may_submit_and_wait(void **state)
{
    struct scene s = {.futures = *state};
    future_t *u = submit_int(s.futures, "echo", 1, NULL);

    assert_int_equal(future_on_done(u, wait_for_another, &s), 0);
    assert_int_equal(future_on_done(u, count_scene, &s), 0);
    assert_int_equal(futures_join(s.futures, SOON), 0);
    assert_true(s.order_kept);
    assert_int_equal(s.calls, 1);
    future_destroy(&u);
}

/* ---- waits ------------------------------------------------------------------------------------
 */

static void
waits_keep_their_time(void **state)
{
    futures_t *f = *state;
    int ms = serial ? 40 : 100 * SOON;
    future_t *u[2] = {submit_int(f, "linger", ms, NULL), submit_int(f, "linger", ms, NULL)};
    size_t count = 2;
    results_t *r;
    int64_t since;

#define takes(least, call)                                                                         \
    do {                                                                                           \
        since = now_ms();                                                                          \
        call;                                                                                      \
        if (!serial)                                                                               \
            assert_in_range(now_ms() - since + 1, least, least + SOON / 4);                        \
    } while (0)
    for (int i = 0; i < 3; i++)
        takes(0, assert_int_equal(futures_wait(u, 2, (futures_when_t)i, 0), 0));
    assert_int_equal(errno, ETIMEDOUT);
    if (!serial) { /* there a wait runs a task, and nothing stops it */
        for (int i = 0; i < 3; i++) {
            takes(60, assert_int_equal(futures_wait(u, 2, (futures_when_t)i, 60), 0));
            assert_int_equal(errno, ETIMEDOUT);
        }
        takes(60, assert_int_equal(future_wait(u[0], 60), -1));
        takes(60, assert_int_equal(futures_join(f, 60), -1));
        takes(60, assert_null(futures_next(u, &count, 60)));
    }
    r = futures_map(f, "linger", &ms, 1, sizeof(ms), NULL);
    takes(0, assert_null(results_next_within(r, NULL, 0)));
    assert_int_equal(errno, ETIMEDOUT);
    assert_false(results_at_end(r));
    if (!serial) {
        takes(60, assert_null(results_next_within(r, NULL, 60)));
        takes(60, assert_int_equal(results_wait(r, 60), -1));
    }
#undef takes
    results_destroy(&r);
    future_destroy(&u[0]);
    future_destroy(&u[1]);
    u[0] = submit_int(f, "linger", 20, NULL);
    assert_int_equal(futures_wait(u, 1, ALL_COMPLETED, -1), 1);
    future_destroy(&u[0]);
    ms = 20;
    r = futures_map(f, "linger", &ms, 1, sizeof(ms), NULL);
    assert_non_null(results_next_within(r, NULL, -1));
    assert_null(results_next_within(r, NULL, -1));
    assert_int_equal(errno, 0);
    assert_true(results_at_end(r));
    results_destroy(&r);
}

static void
waits_never_fail_for_a_failed_task(void **state)
{
    futures_t *f = *state;
    future_t *u[6], *all[6];
    int n;

    for (int i = 0; i < 6; i++)
        all[i] = u[i] = submit_int(f, "even", i, NULL);
    assert_int_equal(futures_wait(u, 6, ALL_COMPLETED, SOON), 6);
    assert_int_equal(errno, 0);
    n = futures_wait(u, 6, FIRST_FAILED, 0);
    assert_int_equal(n, 6);
    u[0] = all[1];
    u[1] = all[1];
    assert_int_equal(futures_wait(u, 2, FIRST_COMPLETED, 0), 1);
    assert_int_equal(futures_wait(u, 6, (futures_when_t)9, 0), -1);
    assert_int_equal(errno, EINVAL);
    for (int i = 0; i < 6; i++)
        future_destroy(&all[i]);
}

static void
a_failure_in_the_middle_costs_itself_only(void **state)
{
    enum { N = 300, BAD = 149 };
    futures_t *f = *state;
    bool seen[N] = {false};
    int x[N], y[N];
    results_t *r;

    for (int i = 0; i < N; i++)
        x[i] = i == BAD ? 1 : 2 * i;
    r = futures_map(f, "even", x, N, sizeof(*x), &(task_options_t){.as_completed = true});
    for (int i = 0; i < N; i++) {
        const int *result = results_next(r, NULL);
        uint64_t at = results_index(r);

        assert_true(at < N && !seen[at]);
        seen[at] = true;
        assert_int_equal(result == NULL, at == BAD);
        assert_int_equal(results_status(r), at == BAD ? FUTURE_FAILED : FUTURE_DONE);
        assert_true(result == NULL || *result == x[at]);
    }
    assert_null(results_next(r, NULL));
    assert_true(results_at_end(r));
    results_destroy(&r);
    /* Collected, from where it was read to. */
    memset(y, 0, sizeof(y));
    r = futures_map(f, "even", x, N, sizeof(*x), NULL);
    for (int i = 0; i < 10; i++)
        assert_non_null(results_next(r, NULL));
    assert_int_equal(results_collect(&r, y, sizeof(*y)), -1);
    assert_int_equal(errno, EIO);
    assert_non_null(strstr(futures_error(), "even[149]"));
    for (int i = 0; i < N; i++)
        assert_int_equal(y[i], i < 10 || i == BAD ? 0 : x[i]);
}

int
race_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(in_a_storm_of_cancels_each_future_ends_one_way),
        TEST(a_map_that_is_cancelled_while_it_is_read_adds_up),
        TEST(a_stubborn_task_is_killed_and_its_slot_is_free),
        TEST(callbacks_run_once_whenever_they_are_added),
        TEST(a_callback_may_cancel_others),
        TEST(a_callback_may_destroy_others_whose_turn_it_would_be),
        TEST(what_is_destroyed_has_no_callback_in_another_thread),
        TEST(a_callback_may_submit_and_wait),
        TEST(waits_keep_their_time),
        TEST(waits_never_fail_for_a_failed_task),
        TEST(a_failure_in_the_middle_costs_itself_only),
    };

    return cmocka_run_group_tests_name("races", tests, NULL, NULL);
}
