/* The table of the API: one future. */
#include "api.h"

static void
future_result_row(void **state)
{
    future_t *good = submit_int(*state, "half", 10, NULL);
    future_t *bad = submit_int(*state, "even", 3, NULL);
    size_t size;

    assert_int_equal(*(const int *)future_result(good, &size), 5);
    assert_int_equal(size, sizeof(int));
    assert_null(future_result(bad, &size));
    assert_int_equal(errno, EIO);
    future_destroy(&good);
    future_destroy(&bad);
}

static void
future_wait_row(void **state)
{
    future_t *u = submit_int(*state, "linger", 60000, NULL);
    int64_t start = now_ms();

    if (!serial) { /* there it runs in the call that waits */
        assert_int_equal(future_wait(u, 50), -1);
        assert_int_equal(errno, ETIMEDOUT);
        assert_true(now_ms() - start >= 49);
    }
    assert_int_equal(future_cancel(u), 0);
    assert_int_equal(future_wait(u, SOON), 0);
    future_destroy(&u);
}

static void
future_status_row(void **state)
{
    static const char *const names[] = {"PENDING", "QUEUED",    "RUNNING",   "DONE", "FAILED",
                                        "CRASHED", "TIMED_OUT", "CANCELLED", "LOST", "REJECTED"};
    future_t *done = submit_int(*state, "even", 2, NULL);
    future_t *failed = submit_int(*state, "even", 1, NULL);
    future_t *rejected = submit_int(*state, "no_such_function", 1, NULL);
    future_t *held;

    for (int i = FUTURE_PENDING; i <= FUTURE_REJECTED; i++)
        assert_string_equal(future_status_name((future_status_t)i), names[i]);
    assert_int_equal(futures_join(*state, SOON), 0);
    assert_int_equal(future_status(done), FUTURE_DONE);
    assert_int_equal(future_status(failed), FUTURE_FAILED);
    assert_int_equal(future_status(rejected), FUTURE_REJECTED);
    future_destroy(&done);
    future_destroy(&failed);
    future_destroy(&rejected);
    held = submit_int(*state, "hold", 0, NULL);
    if (!serial)
        await(future_status(held) == FUTURE_RUNNING);
    assert_int_equal(future_cancel(held), 0);
    assert_int_equal(future_wait(held, SOON), 0);
    assert_int_equal(future_status(held), FUTURE_CANCELLED);
    future_destroy(&held);
    if (serial)
        return;
    held = submit_int(*state, "crash", 0, &(task_options_t){.retries = -1});
    assert_int_equal(future_wait(held, SOON), 0);
    assert_int_equal(future_status(held), FUTURE_CRASHED);
    future_destroy(&held);
}

static void
predicates_row(void **state)
{
    future_t *u = submit_int(*state, "even", 2, NULL);
    future_t *gone = submit_int(*state, "linger", 60000, NULL);

    assert_int_equal(future_cancel(gone), 0);
    assert_int_equal(future_wait(u, SOON), 0);
    assert_true(future_done(u) && future_successful(u));
    assert_false(future_running(u) || future_cancelled(u));
    assert_int_equal(future_wait(gone, SOON), 0);
    assert_true(future_done(gone) && future_cancelled(gone));
    assert_false(future_running(gone) || future_successful(gone));
    future_destroy(&u);
    future_destroy(&gone);
    if (serial)
        return;
    u = submit_int(*state, "hold", 0, NULL);
    await(future_running(u));
    assert_false(future_done(u));
    future_destroy(&u);
}

static void
future_error_row(void **state)
{
    future_t *u = submit_int(*state, "even", 3, NULL);

    assert_int_equal(future_wait(u, SOON), 0);
    assert_non_null(strstr(future_error(u), "even"));
    assert_non_null(strstr(future_error(u), "3 is odd"));
    assert_non_null(strstr(future_error(u), "attempt 1"));
    assert_non_null(strstr(future_error(u), future_worker(u)));
    future_destroy(&u);
    if (serial)
        return;
    u = submit_int(*state, "crash", 0, &(task_options_t){.retries = -1});
    assert_int_equal(future_wait(u, SOON), 0);
    assert_non_null(strstr(future_error(u), "signal 11"));
    future_destroy(&u);
}

static void
future_cancel_row(void **state)
{
    future_t *running = submit_int(*state, "hold", 0, NULL);
    future_t *ended = submit_int(*state, "even", 2, NULL);

    if (!serial)
        await(future_running(running));
    assert_int_equal(future_cancel(running), 0);
    assert_int_equal(future_wait(running, SOON), 0);
    assert_true(future_cancelled(running));
    assert_int_equal(future_wait(ended, SOON), 0);
    assert_int_equal(future_cancel(ended), -1);
    assert_int_equal(errno, EALREADY);
    future_destroy(&running);
    future_destroy(&ended);
}

struct called {
    int n, at[3];
};

static void
first(future_t *future, void *arg)
{
    struct called *o = arg;

    (void)future;
    o->at[o->n++] = 1;
}

static void
second(future_t *future, void *arg)
{
    struct called *o = arg;

    (void)future;
    o->at[o->n++] = 2;
}

static void
future_on_done_row(void **state)
{
    future_t *u = submit_int(*state, "even", 2, NULL);
    struct called o = {0};

    assert_int_equal(future_on_done(u, first, &o), 0);
    assert_int_equal(future_on_done(u, second, &o), 0);
    assert_int_equal(futures_join(*state, SOON), 0);
    assert_int_equal(o.n, 2);
    assert_true(o.at[0] == 1 && o.at[1] == 2);
    assert_int_equal(future_on_done(u, first, &o), 0); /* late: at once */
    assert_int_equal(o.n, 3);
    future_destroy(&u);
}

static void
where_how_often_how_long_row(void **state)
{
    future_t *u = submit_int(*state, "linger", 30, NULL);
    uint64_t done = 0, total = 0;

    assert_non_null(future_result(u, NULL));
    assert_true(strlen(future_worker(u)) > 0);
    assert_int_equal(future_attempts(u), 1);
    assert_true(future_wait_time(u) >= 0);
    assert_true(future_run_time(u) >= 0.025 && future_run_time(u) < 60);
    future_destroy(&u);
    if (serial)
        return;
    u = submit_int(*state, "hold", 0, NULL);
    await(future_progress(u, &done, &total) == 0 && total == 4);
    assert_int_equal(done, 1);
    future_destroy(&u);
}

static void
futures_wait_row(void **state)
{
    future_t *list[4], *slow;
    int n;

    list[1] = submit_int(*state, "even", 3, NULL);
    list[2] = submit_int(*state, "even", 2, NULL);
    list[3] = list[2]; /* counts once */
    slow = submit_int(*state, "hold", 0, NULL);
    if (serial) /* there it would never end */
        assert_int_equal(future_cancel(slow), 0);
    list[0] = slow;
    assert_true(futures_wait(list, 4, FIRST_COMPLETED, SOON) >= 1);
    assert_true(future_done(list[0]));
    n = futures_wait(list, 4, FIRST_FAILED, SOON);
    assert_true(n >= 1 && n <= 3);
    assert_int_equal(future_cancel(slow) == 0 || serial, 1);
    assert_int_equal(futures_wait(list, 4, ALL_COMPLETED, SOON), 3);
    for (int i = 0; i < 3; i++) {
        assert_true(future_done(list[i]));
        future_destroy(&list[i]);
    }
}

static void
futures_next_row(void **state)
{
    future_t *list[10], *u;
    size_t count = 10;
    int sum = 0;

    for (int i = 0; i < 10; i++)
        list[i] = submit_int(*state, "even", 2 * i, NULL);
    while ((u = futures_next(list, &count, SOON)) != NULL) {
        sum += *(const int *)future_result(u, NULL);
        future_destroy(&u);
    }
    assert_int_equal(count, 0);
    assert_int_equal(sum, 90);
}

static void
future_destroy_row(void **state)
{
    future_t *u = submit_int(*state, "hold", 0, NULL);

    future_destroy(&u); /* is cancelled */
    assert_null(u);
    assert_int_equal(futures_join(*state, SOON), 0);
}

int
api_future_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(future_result_row),  TEST(future_wait_row),
        TEST(future_status_row),  TEST(predicates_row),
        TEST(future_error_row),   TEST(future_cancel_row),
        TEST(future_on_done_row), TEST(where_how_often_how_long_row),
        TEST(futures_wait_row),   TEST(futures_next_row),
        TEST(future_destroy_row),
    };

    return cmocka_run_group_tests_name("api: one future", tests, NULL, NULL);
}
