/* The table of the API: inside a task. */
#include "api.h"

static int
by_hand(task_t *task)
{
    return task_return(task, "by hand", 8);
}

static int
shared(task_t *task)
{
    size_t size;
    const void *data = task_shared(task, task_input(task), &size);

    if (data == NULL)
        return task_fail(task, "no constant %s", (const char *)task_input(task));
    return task_return(task, data, size);
}
TASK(shared)

/* Squares what it is given by ten tasks of its own; the sum is the result. */
static int
nested(task_t *task)
{
    double inputs[10], outputs[10], sum = 0;
    results_t *r;

    for (int i = 0; i < 10; i++)
        inputs[i] = i;
    r = futures_map(task_futures(task), "square", inputs, 10, sizeof(*inputs), NULL);
    if (r == NULL || results_collect(&r, outputs, sizeof(*outputs)) != 0)
        return task_fail(task, "%s", futures_error());
    for (int i = 0; i < 10; i++)
        sum += outputs[i];
    return task_return(task, &sum, sizeof(sum));
}
TASK(nested)

static int
returns_twice(task_t *task)
{
    if (task_return(task, "first", 6) != 0 || task_return(task, "last", 5) != 0)
        return -1;
    return 0;
}
TASK(returns_twice)

__attribute__((constructor)) static void
register_by_hand(void)
{
    (void)task_register("by hand", by_hand);
}

static void
expect(futures_t *f, const char *function, const void *input, size_t size, const char *expected)
{
    void *result;

    assert_int_equal(futures_call(f, function, input, size, &result, NULL, NULL), 0);
    assert_string_equal(result, expected);
    free(result);
}

static void
task_register_row(void **state)
{
    expect(*state, "by hand", "", 0, "by hand");
    assert_int_equal(task_register("by hand", shared), -1);
    assert_int_equal(errno, EEXIST);
}

static void
task_input_and_task_input_size_row(void **state)
{
    expect(*state, "echo", "its input", 10, "its input");
}

static void
task_read_row(void **state)
{
    int x = 2;

    assert_int_equal(futures_call(*state, "even", &x, sizeof(x), NULL, NULL, NULL), 0);
    assert_int_equal(futures_call(*state, "square", &x, sizeof(x), NULL, NULL, NULL), -1);
    assert_non_null(strstr(futures_error(), "expected one double, got 4 bytes"));
}

static void
task_return_row(void **state)
{
    expect(*state, "returns_twice", "", 0, "last");
}

static void
task_output_row(void **state)
{
    int x = 84;
    void *result;

    assert_int_equal(futures_call(*state, "half", &x, sizeof(x), &result, NULL, NULL), 0);
    assert_int_equal(*(int *)result, 42);
    free(result);
}

static void
task_fail_row(void **state)
{
    int x = 5;

    assert_int_equal(futures_call(*state, "even", &x, sizeof(x), NULL, NULL, NULL), -1);
    assert_int_equal(errno, EIO);
    assert_non_null(strstr(futures_error(), "5 is odd"));
}

static void
task_index_task_attempt_task_worker_row(void **state)
{
    results_t *r = futures_map(*state, "facts", "xyz", 3, 1, NULL);
    future_t *u;

    assert_non_null(r);
    for (uint64_t i = 0; i < 3; i++) {
        const struct facts *f = results_next(r, NULL);

        assert_non_null(f);
        assert_int_equal(f->index, i);
        assert_int_equal(f->attempt, 1);
        assert_string_equal(f->worker, results_worker(r));
    }
    results_destroy(&r);
    if (serial)
        return;
    u = submit_int(*state, "once_more", 0, NULL);
    assert_non_null(future_result(u, NULL));
    assert_int_equal(future_attempts(u), 2);
    future_destroy(&u);
}

static void
task_random_row(void **state)
{
    task_options_t options = {.seed = 42};
    struct facts found[2][2];

    for (int i = 0; i < 2; i++) {
        results_t *r = futures_map(*state, "facts", "xy", 2, 1, &options);

        assert_non_null(r);
        assert_int_equal(results_collect(&r, found[i], sizeof(**found)), 0);
    }
    /* The same each time, with any number of slots, anywhere: the numbers are a promise. */
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(found[0][i].random, found[1][i].random, sizeof(found[0][i].random));
        assert_true(found[0][i].real >= 0 && found[0][i].real < 1);
        assert_true(found[0][i].real == found[1][i].real);
    }
    assert_true(found[0][0].real != found[0][1].real);
    assert_true(found[0][0].random[0] != found[0][1].random[0]);
    assert_true(found[0][0].random[0] != found[0][0].random[1]);
    assert_true(found[0][0].random[0] == 0x19e479e2aaa77bfb);
    assert_true(found[0][1].random[0] == 0x0cee3ac9ad457c96);
}

static void
task_cancelled_row(void **state)
{
    future_t *u = submit_int(*state, "linger", 60000, NULL);
    int64_t start = now_ms();

    if (!serial)
        await(future_running(u));
    assert_int_equal(future_cancel(u), 0);
    assert_int_equal(futures_join(*state, SOON), 0);
    assert_true(now_ms() - start < 50000);
    future_destroy(&u);
}

static void
task_progress_row(void **state)
{
    future_t *u = submit_int(*state, "hold", 0, NULL);
    uint64_t done, total = 0;

    if (!serial)
        await(future_progress(u, &done, &total) == 0 && total == 4);
    future_destroy(&u);
}

static void
task_emit_row(void **state)
{
    struct partials p = {0};
    future_t *u = submit_int(*state, "stream", 0, NULL);

    assert_int_equal(future_on_partial(u, on_partial, &p), 0);
    assert_int_equal(futures_join(*state, SOON), 0);
    assert_int_equal(p.n, 3);
    assert_int_equal(p.sum, 3);
    future_destroy(&u);
}

static void
task_shared_row(void **state)
{
    assert_int_equal(futures_share(*state, "table", "0123456789", 11), 0);
    expect(*state, "shared", "table", 6, "0123456789");
    assert_int_equal(futures_call(*state, "shared", "chair", 6, NULL, NULL, NULL), -1);
}

static void
task_futures_row(void **state)
{
    void *result;

    assert_int_equal(futures_call(*state, "nested", "", 0, &result, NULL, NULL), 0);
    assert_true(*(double *)result == 285);
    free(result);
}

int
api_task_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(task_register_row),
        TEST(task_input_and_task_input_size_row),
        TEST(task_read_row),
        TEST(task_return_row),
        TEST(task_output_row),
        TEST(task_fail_row),
        TEST(task_index_task_attempt_task_worker_row),
        TEST(task_random_row),
        TEST(task_cancelled_row),
        TEST(task_progress_row),
        TEST(task_emit_row),
        TEST(task_shared_row),
        TEST(task_futures_row),
    };

    return cmocka_run_group_tests_name("api: inside a task", tests, NULL, NULL);
}
