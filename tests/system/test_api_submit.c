/* The table of the API: submitting. */
#include "api.h"

static void
futures_submit_row(void **state)
{
    double x = 1.5;
    future_t *u = futures_submit(*state, "square", &x, sizeof(x), NULL);
    const double *result;
    size_t size;

    assert_non_null(u);
    assert_non_null(result = future_result(u, &size));
    assert_int_equal(size, sizeof(*result));
    assert_true(*result == 2.25);
    future_destroy(&u);
}

static void
futures_call_row(void **state)
{
    void *result;
    size_t size;

    assert_int_equal(futures_call(*state, "echo", "hello", 6, &result, &size, NULL), 0);
    assert_int_equal(size, 6);
    assert_string_equal(result, "hello");
    free(result);
}

static void
futures_map_row(void **state)
{
    double inputs[1000], outputs[1000];
    results_t *r;

    for (int i = 0; i < 1000; i++)
        inputs[i] = i;
    r = futures_map(*state, "square", inputs, 1000, sizeof(*inputs), NULL);
    assert_non_null(r);
    assert_int_equal(results_collect(&r, outputs, sizeof(*outputs)), 0);
    for (int i = 0; i < 1000; i++)
        assert_true(outputs[i] == (double)i * i);
}

static void
futures_mapv_row(void **state)
{
    char word[] = "words of any size";
    struct iovec inputs[sizeof(word)];
    const void *result;
    results_t *r;
    size_t size;

    for (size_t i = 0; i < sizeof(word); i++)
        inputs[i] = (struct iovec){word, i};
    r = futures_mapv(*state, "echo", inputs, sizeof(word), NULL);
    assert_non_null(r);
    for (size_t i = 0; i < sizeof(word); i++) {
        assert_non_null(result = results_next(r, &size));
        assert_int_equal(size, i);
        assert_memory_equal(result, word, size);
    }
    assert_null(results_next(r, &size));
    results_destroy(&r);
}

static int
count_down(void *arg, const void **input_p, size_t *size_p)
{
    int *left = arg;
    static double x;

    if (*left == 0)
        return -1;
    x = (*left)--;
    *input_p = &x;
    *size_p = sizeof(x);
    return 0;
}

static void
futures_imap_row(void **state)
{
    int left = 5000, n = 0;
    results_t *r = futures_imap(*state, "square", count_down, &left, NULL);
    const double *result;

    assert_non_null(r);
    while ((result = results_next(r, NULL)) != NULL) {
        double x = 5000 - n++;

        assert_true(*result == x * x);
    }
    assert_int_equal(n, 5000);
    results_destroy(&r);
}

static void
as_completed_row(void **state)
{
    int inputs[50];
    bool seen[50] = {false};
    const int *result;
    results_t *r;

    for (int i = 0; i < 50; i++)
        inputs[i] = 2 * i;
    r = futures_map(*state, "even", inputs, 50, sizeof(*inputs),
                    &(task_options_t){.as_completed = true});
    assert_non_null(r);
    while ((result = results_next(r, NULL)) != NULL) {
        uint64_t i = results_index(r);

        assert_true(i < 50 && !seen[i]);
        assert_int_equal(*result, inputs[i]);
        seen[i] = true;
    }
    for (int i = 0; i < 50; i++)
        assert_true(seen[i]);
    results_destroy(&r);
}

static void
futures_map_reduce_row(void **state)
{
    double inputs[] = {1, 2, 3, 4}, zero = 0;
    void *result;
    size_t size;

    assert_int_equal(futures_map_reduce(*state, "square", "sum_of", inputs, 4, sizeof(*inputs),
                                        &zero, sizeof(zero), &result, &size, NULL),
                     0);
    assert_int_equal(size, sizeof(double));
    assert_true(*(double *)result == 30);
    free(result);
    assert_int_equal(futures_map_reduce(*state, "square", "sum_of", inputs, 0, sizeof(*inputs),
                                        &zero, sizeof(zero), &result, &size, NULL),
                     0);
    assert_true(*(double *)result == 0);
    free(result);
    assert_int_equal(futures_map_reduce(*state, "square", "sum_of", inputs + 2, 1, sizeof(*inputs),
                                        &zero, sizeof(zero), &result, &size, NULL),
                     0);
    assert_true(*(double *)result == 9);
    free(result);
}

static void
futures_map_scan_row(void **state)
{
    double inputs[] = {1, 2, 3, 4}, outputs[4];
    results_t *r;

    r = futures_map_scan(*state, "echo", "sum_of", inputs, 4, sizeof(*inputs), NULL);
    assert_non_null(r);
    assert_int_equal(results_collect(&r, outputs, sizeof(*outputs)), 0);
    assert_true(outputs[0] == 1 && outputs[1] == 3 && outputs[2] == 6 && outputs[3] == 10);
}

static void
futures_attach_row(void **state)
{
    const long one = 1;
    future_t *f = futures_submit(*state, "echo", &one, sizeof(one), NULL);
    results_t *r = futures_map(*state, "echo", &one, 1, sizeof(one), NULL);

    /* No broker here has a store: test_detached.c has the rest. */
    assert_null(futures_attach(*state, "0123456789abcdef0123456789abcdef", NULL));
    assert_int_equal(errno, EINVAL);
    assert_null(future_job(f));
    assert_int_equal(errno, EINVAL);
    assert_null(results_job(r));
    assert_int_equal(errno, EINVAL);
    future_destroy(&f);
    results_destroy(&r);
}

static void
task_options_row(void **state)
{
    task_options_t options = {.name = "a name",
                              .priority = 5,
                              .timeout = 60000,
                              .deadline = 120000,
                              .retries = 1,
                              .retry_failed = true,
                              .cpus = 1,
                              .seed = 7};
    future_t *u = submit_int(*state, "even", 3, &options), *twin;

    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(future_status(u), FUTURE_FAILED);
    if (!serial) /* there a task is run once */
        assert_int_equal(future_attempts(u), 2);
    future_destroy(&u);

    options = (task_options_t){.key = "only one"};
    u = submit_int(*state, "even", 2, &options);
    twin = submit_int(*state, "even", 4, &options);
    assert_int_equal(*(const int *)future_result(u, NULL), 2);
    assert_int_equal(*(const int *)future_result(twin, NULL), 2);
    future_destroy(&u);
    future_destroy(&twin);
    if (serial)
        return; /* a crash is its own there */
    options = (task_options_t){.once = true};
    u = submit_int(*state, "once_more", 0, &options);
    assert_int_equal(future_wait(u, SOON), 0);
    assert_true(future_status(u) == FUTURE_CRASHED || future_status(u) == FUTURE_LOST);
    assert_int_equal(future_attempts(u), 1);
    future_destroy(&u);
    options = (task_options_t){.timeout = 100};
    u = submit_int(*state, "linger", 60000, &options);
    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(future_status(u), FUTURE_TIMED_OUT);
    future_destroy(&u);
}

int
api_submit_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(futures_attach_row), TEST(futures_submit_row),     TEST(futures_call_row),
        TEST(futures_map_row),    TEST(futures_mapv_row),       TEST(futures_imap_row),
        TEST(as_completed_row),   TEST(futures_map_reduce_row), TEST(futures_map_scan_row),
        TEST(task_options_row),
    };

    return cmocka_run_group_tests_name("api: submitting", tests, NULL, NULL);
}
