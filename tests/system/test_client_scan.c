/* Prefixes. */
#include "reduce.h"

struct matrix { /* modulo 2^64 */
    uint64_t a[4];
};

static int
multiply(task_t *task)
{
    const struct matrix *x, *y;
    struct matrix z;

    if (task_pair(task, (const void **)&x, NULL, (const void **)&y, NULL) != 0 ||
        task_input_size(task) != 2 * sizeof(z))
        return task_fail(task, "expected two matrices");
    z = (struct matrix){
        {x->a[0] * y->a[0] + x->a[1] * y->a[2], x->a[0] * y->a[1] + x->a[1] * y->a[3],
         x->a[2] * y->a[0] + x->a[3] * y->a[2], x->a[2] * y->a[1] + x->a[3] * y->a[3]}};
    return task_return(task, &z, sizeof(z));
}
TASK(multiply)

static void
a_scan_gives_inclusive_prefixes(void **state)
{
    futures_t *f = *state;
    double x[4] = {1, 2, 3, 4};
    results_t *r = futures_map_scan(f, "choosy", "add", x, 4, sizeof(*x), NULL);
    static const double expected[4] = {1, 3, 6, 10};
    const double *y;
    size_t size;

    for (unsigned i = 0; i < 4; i++) {
        assert_non_null(y = results_next_within(r, &size, SOON));
        assert_int_equal(size, sizeof(*y));
        assert_int_equal(results_index(r), i);
        assert_true(*y == expected[i]);
    }
    assert_null(results_next(r, NULL));
    assert_true(results_at_end(r));
    results_destroy(&r);
}

static void
scans_of_all_sizes_are_right(void **state)
{
    static const size_t counts[] = {0,   1,   2,    15,   16,   17,    33,  255,
                                    256, 257, 4096, 4097, 8193, 10000, MANY};
    double *x = malloc(MANY * sizeof(*x)), *y = malloc(MANY * sizeof(*y));
    futures_t *f = *state;

    for (size_t i = 0; i < MANY; i++)
        x[i] = (double)(i * 7 % 1000 + 20);
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        results_t *r = futures_map_scan(f, "choosy", "add", x, counts[i], sizeof(*x), NULL);
        uint64_t done, total;
        double sum = 0;

        if (r == NULL || results_wait(r, 2 * SOON) != 0)
            fail_msg("%zu inputs: %s", counts[i], futures_error());
        results_progress(r, &done, NULL, &total);
        assert_int_equal(done, counts[i]);
        assert_int_equal(total, counts[i]);
        if (results_collect(&r, y, sizeof(*y)) != 0)
            fail_msg("%zu inputs: %s", counts[i], futures_error());
        for (size_t k = 0; k < counts[i]; k++) {
            sum += x[k]; /* whole numbers: without rounding */
            assert_true(y[k] == sum);
        }
    }
    free(x);
    free(y);
}

static void
a_scan_of_values_of_any_size_is_in_order(void **state)
{
    enum { N = 300 };
    futures_t *f = *state;
    int x[N];
    size_t length, size;
    char *expected = spelled(N, &length);
    const char *text;
    results_t *r;

    for (int i = 0; i < N; i++)
        x[i] = i;
    r = futures_map_scan(f, "spell", "concatenate", x, N, sizeof(*x), NULL);
    length = 0;
    for (int i = 0; i < N; i++) {
        if ((text = results_next(r, &size)) == NULL)
            fail_msg("%d: %s", i, results_error(r));
        if (i % 7 != 3)
            length = (size_t)(strchr(expected + length, ';') + 1 - expected);
        assert_int_equal(size, length);
        assert_memory_equal(text, expected, size);
    }
    results_destroy(&r);
    free(expected);
}

static void
the_bits_of_a_scan_do_not_depend_on_the_slots(void **state)
{
    static const char *const others[] = {"serial", "local:5"};
    double *x = scaled(MANY), *y = malloc(MANY * sizeof(*y)), *z = malloc(MANY * sizeof(*z));
    results_t *r = futures_map_scan(*state, "choosy", "add", x, MANY, sizeof(*x), NULL);

    assert_int_equal(results_collect(&r, y, sizeof(*y)), 0);
    for (int i = 0; i < 2; i++) {
        futures_t *f = futures_open(&(futures_config_t){.endpoint = others[i], .quiet = true});

        r = futures_map_scan(f, "choosy", "add", x, MANY, sizeof(*x), NULL);
        assert_int_equal(results_collect(&r, z, sizeof(*z)), 0);
        assert_memory_equal(y, z, MANY * sizeof(*y)); /* the same bits */
        futures_destroy(&f);
    }
    free(x);
    free(y);
    free(z);
}

static struct matrix
some_matrix(uint64_t i)
{
    return (struct matrix){{i, i + 1, i * i + 3, 2 * i + 1}};
}

static struct matrix
product(struct matrix x, struct matrix y)
{
    return (struct matrix){{x.a[0] * y.a[0] + x.a[1] * y.a[2], x.a[0] * y.a[1] + x.a[1] * y.a[3],
                            x.a[2] * y.a[0] + x.a[3] * y.a[2], x.a[2] * y.a[1] + x.a[3] * y.a[3]}};
}

static void
matrices_are_multiplied_in_order(void **state)
{
    enum { N = 5000 };
    struct matrix *x = malloc(N * sizeof(*x)), expected = some_matrix(0), *result;
    futures_t *f = *state;
    results_t *r;

    for (uint64_t i = 0; i < N; i++)
        x[i] = some_matrix(i);
    for (uint64_t i = 1; i < N; i++)
        expected = product(expected, x[i]);
    assert_int_equal(futures_map_reduce(f, "echo", "multiply", x, N, sizeof(*x), NULL, 0,
                                        (void **)&result, NULL, NULL),
                     0);
    assert_memory_equal(result, &expected, sizeof(expected));
    free(result);
    r = futures_map_scan(f, "echo", "multiply", x, N, sizeof(*x), NULL);
    assert_int_equal(results_collect(&r, x, sizeof(*x)), 0);
    expected = some_matrix(0);
    for (uint64_t i = 1; i < N; i++) {
        expected = product(expected, some_matrix(i));
        assert_memory_equal(&x[i], &expected, sizeof(expected));
    }
    free(x);
}

static void
a_failed_scan_tells_why(void **state)
{
    futures_t *f = *state;
    double *x = calloc(10000, sizeof(*x)), *y = calloc(10000, sizeof(*y));
    results_t *r;
    int n = 0;

    x[500] = 13;
    for (size_t count = 501; count <= 10000; count += 9499) {
        r = futures_map_scan(f, "choosy", "add", x, count, sizeof(*x), NULL);
        assert_int_equal(results_collect(&r, y, sizeof(*y)), -1);
        assert_int_equal(errno, EIO);
        assert_non_null(strstr(futures_error(), "choosy[500] on worker "));
        assert_non_null(strstr(futures_error(), "13 is unlucky"));
    }
    r = futures_map_scan(f, "choosy", "add", x, 10000, sizeof(*x), NULL);
    for (; results_next(r, NULL) != NULL || !results_at_end(r); n++) {
        const char *why = results_error(r);

        if (results_index(r) == 500) {
            assert_int_equal(results_status(r), FUTURE_FAILED);
            assert_int_equal(strncmp(why, "choosy[500] on worker ", 22), 0);
            assert_non_null(strstr(why, ", attempt 1: 13 is unlucky"));
        } else if (why != NULL) {
            assert_non_null(strstr(why, ": choosy[500] on worker "));
        }
    }
    assert_int_equal(n, 10000);
    results_destroy(&r);
    r = futures_map_scan(f, "chosy", "add", x, 20, sizeof(*x), NULL);
    assert_int_equal(results_collect(&r, y, sizeof(*y)), -1);
    assert_non_null(strstr(futures_error(), "no function 'chosy'"));
    free(x);
    free(y);
}

static void
a_scan_can_be_cancelled(void **state)
{
    futures_t *f = *state;
    double *x = malloc(10000 * sizeof(*x));
    uint64_t failed;
    results_t *r;

    for (int i = 0; i < 10000; i++)
        x[i] = 15;
    r = futures_map_scan(f, "choosy", "add", x, 10000, sizeof(*x), NULL);
    if (!serial) {
        assert_null(results_next_within(r, NULL, 10));
        assert_int_equal(errno, ETIMEDOUT);
    }
    results_cancel(r);
    assert_int_equal(results_wait(r, 0), 0);
    results_progress(r, NULL, &failed, NULL);
    assert_int_equal(failed, 10000);
    assert_null(results_next(r, NULL));
    assert_int_equal(results_status(r), FUTURE_CANCELLED);
    results_destroy(&r);
    r = futures_map_scan(f, "choosy", "add", x, 10000, sizeof(*x), NULL);
    results_destroy(&r); /* without a look at it */
    check_sum(f, (const double[]){1, 2, 3}, 3);
    free(x);
}

static void
whoever_waits_drives_a_scan(void **state)
{
    futures_t *f = *state;
    double x[100], y[100];
    uint64_t done;
    results_t *r;

    for (int i = 0; i < 100; i++)
        x[i] = 1;
    r = futures_map_scan(f, "echo", "add", x, 100, sizeof(*x), NULL);
    assert_int_equal(futures_join(f, SOON), 0);
    results_progress(r, &done, NULL, NULL);
    assert_int_equal(done, 100);
    results_destroy(&r);
    r = futures_map_scan(f, "echo", "add", x, 100, sizeof(*x), NULL);
    await((futures_dispatch(f), results_progress(r, &done, NULL, NULL), done == 100));
    assert_int_equal(results_collect(&r, y, sizeof(*y)), 0);
    assert_true(y[99] == 100);
    r = futures_map_scan(f, "echo", "add", x, 100, sizeof(*x),
                         &(task_options_t){.as_completed = true});
    for (int i = 0; i < 100; i++) {
        const double *z = results_next(r, NULL);

        assert_non_null(z);
        assert_true(*z == (double)(results_index(r) + 1));
    }
    futures_close(f);
    results_destroy(&r);
}

int
scan_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(matrices_are_multiplied_in_order),
        TEST(a_scan_gives_inclusive_prefixes),
        TEST(scans_of_all_sizes_are_right),
        TEST(a_scan_of_values_of_any_size_is_in_order),
        TEST(the_bits_of_a_scan_do_not_depend_on_the_slots),
        TEST(a_failed_scan_tells_why),
        TEST(a_scan_can_be_cancelled),
        TEST(whoever_waits_drives_a_scan),
    };

    return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
