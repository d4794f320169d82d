/* The table of the API: many. */
#include "api.h"

static results_t *
map_ints(futures_t *f, const char *function, int count)
{
    int inputs[100];
    results_t *r;

    assert_true(count <= 100);
    for (int i = 0; i < count; i++)
        inputs[i] = i;
    r = futures_map(f, function, inputs, (size_t)count, sizeof(*inputs), NULL);
    assert_non_null(r);
    return r;
}

static void
results_next_row(void **state)
{
    results_t *r = map_ints(*state, "even", 20);
    const int *result;
    size_t size;

    for (int i = 0; i < 20; i++) { /* a failed task costs its own result only */
        result = results_next(r, &size);
        assert_int_equal(results_index(r), i);
        if (i % 2 == 0) {
            assert_non_null(result);
            assert_int_equal(*result, i);
            assert_int_equal(results_status(r), FUTURE_DONE);
        } else {
            assert_null(result);
            assert_false(results_at_end(r));
            assert_int_equal(results_status(r), FUTURE_FAILED);
            assert_non_null(strstr(results_error(r), "is odd"));
        }
    }
    assert_null(results_next(r, &size));
    assert_true(results_at_end(r));
    results_destroy(&r);
}

static void
results_next_within_row(void **state)
{
    int ms = 60000;
    results_t *r = futures_map(*state, "linger", &ms, 1, sizeof(ms), NULL);

    assert_non_null(r);
    if (!serial) {
        assert_null(results_next_within(r, NULL, 30));
        assert_int_equal(errno, ETIMEDOUT);
    }
    results_destroy(&r);
    r = map_ints(*state, "echo", 1);
    assert_non_null(results_next_within(r, NULL, SOON));
    assert_null(results_next_within(r, NULL, SOON));
    assert_int_equal(errno, 0);
    results_destroy(&r);
}

static void
results_index_row(void **state)
{
    results_t *r = map_ints(*state, "echo", 100);

    for (uint64_t i = 0; i < 100; i++) {
        const int *result = results_next(r, NULL);

        assert_non_null(result);
        assert_int_equal(results_index(r), i);
        assert_int_equal(*result, i);
    }
    results_destroy(&r);
}

static void
results_collect_row(void **state)
{
    int outputs[20];
    results_t *r = map_ints(*state, "even", 20);

    memset(outputs, 0xff, sizeof(outputs));
    assert_int_equal(results_collect(&r, outputs, sizeof(*outputs)), -1);
    assert_int_equal(errno, EIO);
    assert_null(r);
    assert_non_null(strstr(futures_error(), "1 is odd"));
    for (int i = 0; i < 20; i++)
        assert_int_equal(outputs[i], i % 2 == 0 ? i : -1);
}

static void
results_progress_row(void **state)
{
    results_t *r = map_ints(*state, "even", 20);
    uint64_t done, failed, total;

    assert_int_equal(results_wait(r, SOON), 0);
    results_progress(r, &done, &failed, &total);
    assert_int_equal(done + failed, 20);
    assert_int_equal(failed, 10);
    assert_int_equal(total, 20);
    results_destroy(&r);
}

static void
results_show_progress_row(void **state)
{
    char buffer[256] = "";
    FILE *stream = fmemopen(buffer, sizeof(buffer), "w"); /* no terminal: silent */
    results_t *r = map_ints(*state, "echo", 20);

    assert_non_null(stream);
    results_show_progress(r, stream);
    assert_int_equal(results_wait(r, SOON), 0);
    results_destroy(&r);
    fclose(stream);
    assert_int_equal(strlen(buffer), 0);
}

static void
results_cancel_and_results_destroy_row(void **state)
{
    results_t *r = map_ints(*state, "hold", 20);
    uint64_t done, failed, total;

    results_cancel(r);
    assert_int_equal(results_wait(r, SOON), 0);
    results_progress(r, &done, &failed, &total);
    assert_int_equal(failed, 20);
    assert_null(results_next(r, NULL));
    assert_int_equal(results_status(r), FUTURE_CANCELLED);
    results_destroy(&r);
    assert_null(r);
    r = map_ints(*state, "hold", 20);
    results_destroy(&r);
    assert_int_equal(futures_join(*state, SOON), 0);
}

int
api_results_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(results_next_row),
        TEST(results_next_within_row),
        TEST(results_index_row),
        TEST(results_collect_row),
        TEST(results_progress_row),
        TEST(results_show_progress_row),
        TEST(results_cancel_and_results_destroy_row),
    };

    return cmocka_run_group_tests_name("api: many", tests, NULL, NULL);
}
