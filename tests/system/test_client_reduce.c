/* Reductions. */
#include "reduce.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>

/* ---- tasks ------------------------------------------------------------------------------------
 */

/* Fails for 13, crashes for 14, is slow for 15. */
static int
choosy(task_t *task)
{
    double x;

    if (task_read(task, &x, sizeof(x)) != 0)
        return task_fail(task, "expected one double");
    if (x == 13)
        return task_fail(task, "13 is unlucky");
    if (x == 14)
        _Exit(7);
    for (int i = 0; x == 15 && i < 10000 && !task_cancelled(task); i++)
        pause_ms(10);
    return task_return(task, &x, sizeof(x));
}
TASK(choosy)

static int
add(task_t *task)
{
    const double *x = task_input(task);
    double sum;

    if (task_input_size(task) != 2 * sizeof(double))
        return task_fail(task, "expected two doubles");
    sum = x[0] + x[1];
    return task_return(task, &sum, sizeof(sum));
}
TASK(add)

/* As add(), but not of a sum that is 13. */
static int
add_but_13(task_t *task)
{
    const double *x = task_input(task);

    if (x[0] + x[1] == 13)
        return task_fail(task, "%g and %g are 13", x[0], x[1]);
    return add(task);
}
TASK(add_but_13)

/* A number as text, in brackets if it is the first of its task. */
static int
spell(task_t *task)
{
    char text[32];
    int n, x;

    if (task_read(task, &x, sizeof(x)) != 0)
        return task_fail(task, "expected one int");
    if ((uint64_t)x != task_index(task))
        return task_fail(task, "%d has index %" PRIu64, x, task_index(task));
    n = snprintf(text, sizeof(text), "%d;", x);
    return task_return(task, text, x % 7 == 3 ? 0 : (size_t)n);
}
TASK(spell)

static int
concatenate(task_t *task)
{
    const void *left, *right;
    size_t l, r;
    char *text;

    if (task_pair(task, &left, &l, &right, &r) != 0)
        return task_fail(task, "no pair");
    if ((uintptr_t)left % 16 != 0 || (uintptr_t)right % 16 != 0 ||
        (uintptr_t)task_input(task) % 16 != 0)
        return task_fail(task, "not aligned");
    if ((text = task_output(task, l + r)) == NULL)
        return -1;
    memcpy(text, left, l);
    memcpy(text + l, right, r);
    if (memcmp(text, task_input(task), l + r) != 0)
        return task_fail(task, "not end to end");
    return 0;
}
TASK(concatenate)

static int
needs_pair(task_t *task)
{
    const void *left;

    errno = 0;
    if (task_pair(task, &left, NULL, NULL, NULL) != -1 || errno != EPROTO)
        return task_fail(task, "there is a pair");
    return task_return(task, "", 0);
}
TASK(needs_pair)

static int
draw_one(task_t *task)
{
    double x = task_random_double(task);

    return task_return(task, &x, sizeof(x));
}
TASK(draw_one)

/* The sum of 1 to x, by tasks of its own; leaves a scan behind. */
static int
sum_up(task_t *task)
{
    futures_t *f = task_futures(task);
    double x, values[100], *sum;
    int rc;

    if (task_read(task, &x, sizeof(x)) != 0 || x > 100)
        return task_fail(task, "expected one double, up to 100");
    for (int i = 0; i < (int)x; i++)
        values[i] = i + 1;
    if (futures_map_scan(f, "echo", "add", values, (size_t)x, sizeof(*values), NULL) == NULL ||
        futures_map_reduce(f, "choosy", "add", values, (size_t)x, sizeof(*values), NULL, 0,
                           (void **)&sum, NULL, NULL) != 0)
        return task_fail(task, "%s", futures_error());
    rc = task_return(task, sum, sizeof(*sum));
    free(sum);
    return rc;
}
TASK(sum_up)

/* ---- what should come out ---------------------------------------------------------------------
 */

/* The tree as it is told: the left part is the largest power of two that leaves something. */
static double
tree(const double *x, size_t n)
{
    size_t left = 1;

    if (n == 1)
        return *x;
    while (2 * left < n)
        left *= 2;
    return tree(x, left) + tree(x + left, n - left);
}

/* Badly scaled: any other order gives other bits. */
double *
scaled(size_t n)
{
    double *x = malloc(n * sizeof(*x));
    uint64_t state = 1;

    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = ldexp((double)(int64_t)state, (int)(state >> 58) - 90);
    }
    return x;
}

void
check_sum(futures_t *f, const double *x, size_t n)
{
    double zero = 0, expected = n == 0 ? 0 : tree(x, n), *sum;
    size_t size;

    if (futures_map_reduce(f, "choosy", "add", x, n, sizeof(*x), &zero, sizeof(zero), (void **)&sum,
                           &size, NULL) != 0)
        fail_msg("%zu inputs: %s", n, futures_error());
    assert_int_equal(size, sizeof(*sum));
    assert_memory_equal(sum, &expected, size);
    free(sum);
}

static void
sums_have_the_bits_of_the_tree(void **state)
{
    static const size_t counts[] = {0, 1, 2, 3, 63, 64, 65, 4095, 4096, 4097, 10000, 20001, MANY};
    double *x = scaled(MANY), forwards = 0;

    for (size_t i = 0; i < MANY; i++)
        forwards += x[i];
    assert_true(forwards != tree(x, MANY)); /* it matters */
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++)
        check_sum(*state, x, counts[i]);
    free(x);
}

static void
the_bits_do_not_depend_on_the_slots(void **state)
{
    static const char *const others[] = {"serial", "local:1", "local:2", "local:5"};
    double *x = scaled(MANY);

    (void)state;
    for (int i = 0; i < 4; i++) {
        futures_t *f = futures_open(&(futures_config_t){.endpoint = others[i], .quiet = true});

        check_sum(f, x, MANY);
        futures_destroy(&f);
    }
    free(x);
}

/* ---- order ------------------------------------------------------------------------------------
 */

char *
spelled(int n, size_t *length_p)
{
    char *text = malloc(16 * (size_t)n + 1);
    size_t at = 0;

    assert_non_null(text);
    for (int i = 0; i < n; i++)
        if (i % 7 != 3)
            at += (size_t)sprintf(text + at, "%d;", i);
    *length_p = at;
    return text;
}

static void
values_are_combined_in_order(void **state)
{
    static const int counts[] = {1, 2, 3, 64, 65, 1000, 4097, 10000};
    futures_t *f = *state;
    int *x = malloc(10000 * sizeof(*x));

    for (int i = 0; i < 10000; i++)
        x[i] = i;
    for (int i = 0; i < 8; i++) {
        size_t length, size;
        char *expected = spelled(counts[i], &length), *text;

        if (futures_map_reduce(f, "spell", "concatenate", x, (size_t)counts[i], sizeof(*x), "", 0,
                               (void **)&text, &size, NULL) != 0)
            fail_msg("%d inputs: %s", counts[i], futures_error());
        assert_int_equal(size, length);
        assert_memory_equal(text, expected, length);
        free(text);
        free(expected);
    }
    free(x);
}

static void
large_values_are_joined_in_smaller_groups(void **state)
{
    enum { N = 9 };
    const size_t size = 3 << 20;
    futures_t *f = *state;
    char *x = malloc(N * size), *text;
    size_t length;

    for (size_t i = 0; i < N * size; i++)
        x[i] = (char)(i * 31 + i / 777);
    if (futures_map_reduce(f, "echo", "concatenate", x, N, size, NULL, 0, (void **)&text, &length,
                           NULL) != 0)
        fail_msg("%s", futures_error());
    assert_int_equal(length, N * size);
    assert_true(memcmp(text, x, length) == 0);
    free(text);
    free(x);
}

/* ---- random numbers ---------------------------------------------------------------------------
 */

static void
numbers_are_those_of_a_map(void **state)
{
    enum { N = 5000 };
    const task_options_t seeded = {.seed = 5};
    futures_t *f = *state;
    double *x = malloc(N * sizeof(*x)), *sum, expected;
    results_t *r = futures_map(f, "draw_one", NULL, N, 0, &seeded);

    assert_int_equal(results_collect(&r, x, sizeof(*x)), 0);
    expected = tree(x, N);
    assert_int_equal(
        futures_map_reduce(f, "draw_one", "add", NULL, N, 0, NULL, 0, (void **)&sum, NULL, &seeded),
        0);
    assert_true(*sum == expected);
    free(sum);
    r = futures_map_scan(f, "draw_one", "add", NULL, N, 0, &seeded);
    sum = malloc(N * sizeof(*sum));
    assert_int_equal(results_collect(&r, sum, sizeof(*sum)), 0);
    assert_true(sum[0] == x[0] && fabs(sum[N - 1] - expected) < 1e-6);
    free(sum);
    free(x);
}

/* ---- edges ------------------------------------------------------------------------------------
 */

static void
without_inputs_there_is_the_identity(void **state)
{
    futures_t *f = *state;
    char *text;
    size_t size;
    results_t *r;

    assert_int_equal(futures_map_reduce(f, "spell", "concatenate", NULL, 0, 4, "one", 3,
                                        (void **)&text, &size, NULL),
                     0);
    assert_int_equal(size, 3);
    assert_memory_equal(text, "one", 3);
    free(text);
    assert_int_equal(
        futures_map_reduce(f, "spell", "concatenate", NULL, 0, 4, "", 0, NULL, &size, NULL), 0);
    assert_int_equal(size, 0);
    assert_int_equal(
        futures_map_reduce(f, "spell", "concatenate", NULL, 0, 4, NULL, 0, NULL, NULL, NULL), -1);
    assert_int_equal(errno, EINVAL);
    assert_non_null(strstr(futures_error(), "no identity"));
    r = futures_map_scan(f, "spell", "concatenate", NULL, 0, 4, NULL);
    assert_null(results_next(r, NULL));
    assert_true(results_at_end(r));
    results_destroy(&r);
}

static void
of_one_input_nothing_is_reduced(void **state)
{
    futures_t *f = *state;
    double x = 13, *y;

    assert_int_equal(futures_map_reduce(f, "echo", "add_but_13", &x, 1, sizeof(x), NULL, 0,
                                        (void **)&y, NULL, NULL),
                     0);
    assert_true(*y == 13);
    free(y);
}

static void
what_makes_no_sense_is_refused(void **state)
{
    futures_t *f = *state;
    double x[2] = {1, 2};
    static task_fn *const function = needs_pair;

    assert_int_equal(
        futures_map_reduce(f, NULL, "add", x, 2, sizeof(*x), NULL, 0, NULL, NULL, NULL), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(futures_map_reduce(f, "echo", "", x, 2, sizeof(*x), NULL, 0, NULL, NULL, NULL),
                     -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(
        futures_map_reduce(f, "echo", "add", NULL, 2, sizeof(*x), NULL, 0, NULL, NULL, NULL), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(
        futures_map_reduce(f, "echo", "add", x, 2, (size_t)1 << 29, NULL, 0, NULL, NULL, NULL), -1);
    assert_int_equal(errno, E2BIG);
    assert_null(futures_map_scan(f, "echo", "add", x, 2, (size_t)1 << 29, NULL));
    assert_int_equal(errno, E2BIG);
    errno = 0;
    assert_int_equal(task_register("ladle.mine", function), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(futures_call(f, "needs_pair", NULL, 0, NULL, NULL, NULL), 0);
    assert_int_equal(futures_call(f, "ladle.fold", "nonsense", 8, NULL, NULL, NULL), -1);
    assert_non_null(strstr(futures_error(), "was not made by futures_map_reduce()"));
}

/* ---- failures ---------------------------------------------------------------------------------
 */

static void
expect_failure(futures_t *f, const char *map, const char *reduce, const double *x, size_t n,
               const task_options_t *options, const char *const *words)
{
    void *untouched = &n, *result = untouched;

    errno = 0;
    assert_int_equal(
        futures_map_reduce(f, map, reduce, x, n, sizeof(*x), NULL, 0, &result, NULL, options), -1);
    assert_int_equal(errno, EIO);
    assert_ptr_equal(result, untouched);
    for (; *words != NULL; words++)
        if (strstr(futures_error(), *words) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", futures_error(), *words);
}

#define EXPECT_FAILURE(f, map, reduce, x, n, options, ...)                                         \
    expect_failure(f, map, reduce, x, n, options, (const char *const[]){__VA_ARGS__, NULL})

static void
a_failed_task_is_named(void **state)
{
    futures_t *f = *state;
    double *x = calloc(10000, sizeof(*x));

    x[3] = 13;
    EXPECT_FAILURE(f, "choosy", "add", x, 5, NULL, "choosy[3] on worker ", ", attempt 1: 13 is");
    EXPECT_FAILURE(f, "choosy", "add", x, 10000, NULL, "choosy[3] on worker ", ": 13 is unlucky");
    x[3] = 0;
    x[9999] = 13;
    EXPECT_FAILURE(f, "choosy", "add", x, 10000, NULL, "choosy[9999] on worker ",
                   ": 13 is unlucky");
    x[9999] = 6;
    x[9998] = 7;
    EXPECT_FAILURE(f, "choosy", "add_but_13", x, 10000, NULL, "add_but_13[9998, 9999] on worker ",
                   "7 and 6 are 13");
    x[9999] = 0;
    x[0] = 6;
    EXPECT_FAILURE(f, "choosy", "add_but_13", x, 10000, NULL, "add_but_13[0..8191, 8192..9999] on",
                   "6 and 7 are 13");
    EXPECT_FAILURE(f, "chosy", "add", x, 10000, NULL, "chosy", "no function 'chosy'");
    EXPECT_FAILURE(f, "choosy", "ad", x, 10000, NULL, "ad", "no function 'ad'");
    assert_null(strstr(futures_error(), "ladle.fold"));
    check_sum(f, x, 100); /* the session goes on */
    free(x);
}

static void
a_crash_and_a_timeout_are_named(void **state)
{
    futures_t *f = *state;
    double *x = calloc(10000, sizeof(*x));

    if (!serial) {
        x[3] = 14;
        EXPECT_FAILURE(f, "choosy", "add", x, 5, &(task_options_t){.retries = 1},
                       "choosy[3] on worker ", ", attempt 2: ", "7");
        EXPECT_FAILURE(f, "choosy", "add", x, 10000, &(task_options_t){.retries = -1},
                       "choosy[0..3] on worker ", ", attempt 1: ", "7");
        x[3] = 15;
        EXPECT_FAILURE(f, "choosy", "add", x, 5, &(task_options_t){.timeout = 50},
                       "choosy[3] on worker ");
        EXPECT_FAILURE(f, "choosy", "add", x, 5, &(task_options_t){.deadline = 50}, "deadline");
    }
    free(x);
}

static void *
terminate_soon(void *arg)
{
    pause_ms(50);
    futures_terminate(arg);
    return NULL;
}

static void
a_reduction_ends_with_its_session(void **state)
{
    futures_t *f = *state;
    double x[3] = {15, 15, 15};
    pthread_t thread;
    results_t *r;

    if (serial)
        return;
    r = futures_map_scan(f, "choosy", "add", x, 3, sizeof(*x), NULL);
    assert_int_equal(pthread_create(&thread, NULL, terminate_soon, f), 0);
    assert_int_equal(
        futures_map_reduce(f, "choosy", "add", x, 3, sizeof(*x), NULL, 0, NULL, NULL, NULL), -1);
    assert_int_equal(errno, ECANCELED);
    pthread_join(thread, NULL);
    assert_int_equal(results_collect(&r, x, sizeof(*x)), -1);
    assert_int_equal(
        futures_map_reduce(f, "choosy", "add", x, 3, sizeof(*x), NULL, 0, NULL, NULL, NULL), -1);
    assert_int_equal(errno, ESHUTDOWN);
    assert_null(futures_map_scan(f, "choosy", "add", x, 3, sizeof(*x), NULL));
    assert_int_equal(errno, ESHUTDOWN);
}

/* ---- in tasks ---------------------------------------------------------------------------------
 */

static void
a_task_reduces_what_it_spawns(void **state)
{
    futures_t *f = *state;
    double x = 12, *y;

    if (futures_call(f, "sum_up", &x, sizeof(x), (void **)&y, NULL, NULL) != 0)
        fail_msg("%s", futures_error());
    assert_true(*y == 78);
    free(y);
    x = 20;
    assert_int_equal(futures_call(f, "sum_up", &x, sizeof(x), NULL, NULL, NULL), -1);
    assert_non_null(strstr(futures_error(), "choosy[12]"));
    assert_non_null(strstr(futures_error(), "13 is unlucky"));
}

static void
what_is_mapped_may_spawn(void **state)
{
    enum { N = 4200 }; /* two in a block */
    futures_t *f = *state;
    double x[N], expected = 0, *y;
    results_t *r;

    for (int i = 0; i < N; i++) {
        x[i] = 1 + i % 5;
        expected += x[i] * (x[i] + 1) / 2;
    }
    if (futures_map_reduce(f, "sum_up", "add", x, N, sizeof(*x), NULL, 0, (void **)&y, NULL,
                           NULL) != 0)
        fail_msg("%s", futures_error());
    assert_true(*y == expected);
    free(y);
    r = futures_map_scan(f, "sum_up", "add", x, 100, sizeof(*x), NULL);
    assert_int_equal(results_collect(&r, x, sizeof(*x)), 0);
    assert_true(x[99] == 20 * 35);
}

/* ---- in threads -------------------------------------------------------------------------------
 */

static void *
sum_in_a_thread(void *arg)
{
    double *x = malloc(3000 * sizeof(*x));

    for (int i = 0; i < 3000; i++)
        x[i] = i * 0.1 + 100;
    check_sum(arg, x, 3000);
    free(x);
    return NULL;
}

static void
threads_reduce_at_the_same_time(void **state)
{
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sum_in_a_thread, *state), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

int
reduce_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sums_have_the_bits_of_the_tree),
        TEST(the_bits_do_not_depend_on_the_slots),
        TEST(values_are_combined_in_order),
        TEST(large_values_are_joined_in_smaller_groups),
        TEST(numbers_are_those_of_a_map),
        TEST(without_inputs_there_is_the_identity),
        TEST(of_one_input_nothing_is_reduced),
        TEST(what_makes_no_sense_is_refused),
        TEST(a_failed_task_is_named),
        TEST(a_crash_and_a_timeout_are_named),
        TEST(a_reduction_ends_with_its_session),
        TEST(a_task_reduces_what_it_spawns),
        TEST(what_is_mapped_may_spawn),
        TEST(threads_reduce_at_the_same_time),
    };

    return cmocka_run_group_tests_name("reduce", tests, NULL, NULL);
}
