/* The table of the API: session. */
#include "api.h"

#include <poll.h>

static void
futures_new_row(void **state)
{
    futures_t *f = futures_new(endpoint);
    double x = 3;
    void *result;

    (void)state;
    assert_non_null(f);
    assert_int_equal(futures_call(f, "square", &x, sizeof(x), &result, NULL, NULL), 0);
    assert_true(*(double *)result == 9);
    free(result);
    futures_destroy(&f);
}

static void
futures_open_row(void **state)
{
    futures_t *f = futures_open(&(futures_config_t){.endpoint = endpoint,
                                                    .seed = 5,
                                                    .connect_timeout = 20000,
                                                    .window = 1 << 20,
                                                    .quiet = true});

    (void)state;
    assert_non_null(f);
    assert_int_equal(futures_call(f, "echo", "x", 1, NULL, NULL, NULL), 0);
    futures_destroy(&f);
}

static void
futures_close_row(void **state)
{
    future_t *u = submit_int(*state, "even", 4, NULL);

    futures_close(*state);
    assert_null(futures_submit(*state, "echo", "x", 1, NULL));
    assert_int_equal(errno, ESHUTDOWN);
    assert_non_null(future_result(u, NULL));
    future_destroy(&u);
}

static void
futures_join_row(void **state)
{
    future_t *u[20];

    for (int i = 0; i < 20; i++)
        u[i] = submit_int(*state, "even", 2 * i, NULL);
    assert_int_equal(futures_join(*state, SOON), 0);
    for (int i = 0; i < 20; i++) {
        assert_true(future_done(u[i]));
        future_destroy(&u[i]);
    }
}

static void
futures_terminate_row(void **state)
{
    future_t *u = submit_int(*state, "linger", 60000, NULL);

    futures_terminate(*state);
    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(future_status(u), FUTURE_CANCELLED);
    assert_null(futures_submit(*state, "echo", "x", 1, NULL));
    assert_int_equal(errno, ESHUTDOWN);
    future_destroy(&u);
}

static void
futures_destroy_row(void **state)
{
    futures_t *f = open_one();
    future_t *done = submit_int(f, "even", 8, NULL), *never;

    (void)state;
    assert_non_null(future_result(done, NULL));
    never = submit_int(f, "linger", 60000, NULL);
    futures_destroy(&f);
    assert_null(f);
    assert_int_equal(*(const int *)future_result(done, NULL), 8);
    assert_int_equal(future_status(never), FUTURE_CANCELLED);
    future_destroy(&done);
    future_destroy(&never);
}

static void
futures_slots_and_futures_workers_row(void **state)
{
    assert_true(futures_slots(*state) >= 1);
    assert_true(futures_workers(*state) >= 1);
}

static void
futures_wait_for_slots_row(void **state)
{
    assert_int_equal(futures_wait_for_slots(*state, 1, SOON), 0);
    assert_int_equal(futures_wait_for_slots(*state, 60000, 0), -1);
}

static void
count_end(future_t *future, void *arg)
{
    assert_true(future_done(future));
    ++*(int *)arg;
}

static void
futures_fd_and_futures_dispatch_row(void **state)
{
    struct pollfd p = {.fd = futures_fd(*state), .events = POLLIN};
    future_t *u[3];
    int ended = 0;

    assert_true(p.fd >= 0);
    for (int i = 0; i < 3; i++) {
        u[i] = submit_int(*state, "even", 2 * i, NULL);
        assert_int_equal(future_on_done(u[i], count_end, &ended), 0);
    }
    while (ended < 3) {
        assert_int_equal(poll(&p, 1, SOON), 1);
        assert_true(futures_dispatch(*state) >= 0);
    }
    for (int i = 0; i < 3; i++)
        future_destroy(&u[i]);
}

static void
futures_share_and_futures_unshare_row(void **state)
{
    void *result;
    size_t size;

    assert_int_equal(futures_share(*state, "weights", "1234567", 8), 0);
    assert_int_equal(futures_share(*state, "weights", "1234567", 8), 0);
    assert_int_equal(futures_share(*state, "weights", "other", 6), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(futures_call(*state, "shared", "weights", 8, &result, &size, NULL), 0);
    assert_int_equal(size, 8);
    assert_string_equal(result, "1234567");
    free(result);
    assert_int_equal(futures_unshare(*state, "weights"), 0);
    assert_int_equal(futures_unshare(*state, "weights"), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(futures_call(*state, "shared", "weights", 8, NULL, NULL, NULL), -1);
    assert_int_equal(futures_share(*state, "weights", "other", 6), 0);
    assert_int_equal(futures_call(*state, "shared", "weights", 8, &result, &size, NULL), 0);
    assert_string_equal(result, "other");
    free(result);
}

static void
futures_error_row(void **state)
{
    assert_null(futures_submit(*state, "", "x", 1, NULL));
    assert_int_equal(errno, EINVAL);
    assert_true(strlen(futures_error()) > 10);
}

int
api_session_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(futures_new_row),
        cmocka_unit_test(futures_open_row),
        TEST(futures_close_row),
        TEST(futures_join_row),
        TEST(futures_terminate_row),
        TEST(futures_destroy_row),
        TEST(futures_slots_and_futures_workers_row),
        TEST(futures_wait_for_slots_row),
        TEST(futures_fd_and_futures_dispatch_row),
        TEST(futures_share_and_futures_unshare_row),
        TEST(futures_error_row),
    };

    return cmocka_run_group_tests_name("api: session", tests, NULL, NULL);
}
