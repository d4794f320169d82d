/* Some of many futures. */
#include "client.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static void
wait_for_all_orders_by_end(void **state)
{
    futures_t *f = *state;
    bool gated = futures_slots(f) > 1; /* or else those behind it wait for it */
    future_t *u[50], *all[50];
    struct order door = order_new(0);

    all[0] = u[0] =
        gated ? submit_order(f, "gate", &door, NULL) : submit_int(f, "linger", 20, NULL);
    for (int i = 1; i < 50; i++)
        all[i] = u[i] = submit_int(f, "even", i, NULL);
    for (int i = 1; i < 50; i++)
        assert_int_equal(future_wait(all[i], SOON), 0);
    unlink(door.path);
    assert_int_equal(futures_wait(u, 50, ALL_COMPLETED, SOON), 50);
    assert_ptr_equal(u[gated ? 49 : 0], all[0]);
    assert_int_equal(errno, 0);
    for (int i = 0; i < 50; i++)
        assert_true(future_done(u[i]));
    for (int i = 0; i < 50; i++)
        future_destroy(&all[i]);
}

static void
wait_for_the_first(void **state)
{
    futures_t *f = *state;
    future_t *u[3], *quick;

    u[2] = quick = submit_int(f, "echo", 1, NULL);
    u[0] = submit_int(f, "linger", serial ? 20 : 10 * SOON, NULL);
    u[1] = submit_int(f, "linger", serial ? 20 : 10 * SOON, NULL);
    assert_int_equal(futures_wait(u, 3, FIRST_COMPLETED, SOON), 1);
    assert_ptr_equal(u[0], quick);
    for (int i = 0; i < 3; i++)
        future_destroy(&u[i]);
}

static void
wait_for_the_first_failure(void **state)
{
    futures_t *f = *state;
    future_t *u[4];
    int n, failed = 0;

    for (int i = 0; i < 3; i++)
        u[i] = submit_int(f, "even", 2 * i + (i == 2), NULL);
    u[3] = submit_int(f, "linger", serial ? 20 : 10 * SOON, NULL);
    n = futures_wait(u, 4, FIRST_FAILED, SOON);
    assert_in_range(n, 1, 3);
    for (int i = 0; i < n; i++) /* others may have ended before it, or just after */
        failed += future_status(u[i]) == FUTURE_FAILED;
    assert_int_equal(failed, 1);
    for (int i = 0; i < 4; i++)
        future_destroy(&u[i]);
    /* None fails: all are waited for. */
    for (int i = 0; i < 4; i++)
        u[i] = submit_int(f, "even", 2 * i, NULL);
    assert_int_equal(futures_wait(u, 4, FIRST_FAILED, SOON), 4);
    for (int i = 0; i < 4; i++)
        future_destroy(&u[i]);
}

static void
twins_in_a_list_count_once(void **state)
{
    futures_t *f = *state;
    future_t *a = submit_int(f, "echo", 1, NULL), *b = submit_int(f, "echo", 2, NULL);
    future_t *list[5] = {a, b, a, a, b};

    assert_int_equal(futures_wait(list, 5, ALL_COMPLETED, SOON), 2);
    assert_ptr_not_equal(list[0], list[1]);
    future_destroy(&a);
    future_destroy(&b);
}

static void
a_wait_for_many_gives_up_in_time(void **state)
{
    futures_t *f = *state;
    future_t *u[2];

    u[0] = submit_int(f, "linger", 10 * SOON, NULL);
    u[1] = submit_int(f, "linger", 10 * SOON, NULL);
    assert_int_equal(futures_wait(u, 2, ALL_COMPLETED, 0), 0);
    assert_int_equal(errno, ETIMEDOUT);
    assert_int_equal(futures_wait(u, 0, ALL_COMPLETED, 0), 0);
    future_destroy(&u[0]);
    future_destroy(&u[1]);
}

static void
next_gives_each_once_as_they_end(void **state)
{
    futures_t *f = *state;
    future_t *u[100], *one;
    bool seen[100] = {false};
    size_t count = 100;
    int n = 0;

    for (int i = 0; i < 100; i++)
        u[i] = submit_int(f, "echo", i, NULL);
    while ((one = futures_next(u, &count, SOON)) != NULL) {
        int x = *(const int *)future_result(one, NULL);

        assert_false(seen[x]);
        seen[x] = true;
        n++;
        future_destroy(&one);
    }
    assert_int_equal(errno, 0);
    assert_int_equal(n, 100);
    assert_int_equal(count, 0);
}

static void
next_gives_up_in_time(void **state)
{
    futures_t *f = *state;
    future_t *u = submit_int(f, "linger", 10 * SOON, NULL);
    size_t count = 1;

    assert_null(futures_next(&u, &count, 0));
    assert_int_equal(errno, ETIMEDOUT);
    assert_int_equal(count, 1);
    future_destroy(&u);
}

int
list_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wait_for_all_orders_by_end),
        TEST(wait_for_the_first),
        TEST(wait_for_the_first_failure),
        TEST(twins_in_a_list_count_once),
        TEST(a_wait_for_many_gives_up_in_time),
        TEST(next_gives_each_once_as_they_end),
        TEST(next_gives_up_in_time),
    };

    return cmocka_run_group_tests_name("lists", tests, NULL, NULL);
}
