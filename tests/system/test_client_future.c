/* One task and its future. */
#include "client.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static void
a_task_gives_its_result(void **state)
{
    futures_t *f = *state;
    double x = 12;
    future_t *u = futures_submit(f, "square", &x, sizeof(x), NULL);
    const double *y;
    size_t size;

    assert_non_null(y = future_result(u, &size));
    assert_int_equal(size, sizeof(double));
    assert_true(*y == 144);
    assert_ptr_equal(future_result(u, NULL), y);
    assert_true(future_done(u) && future_successful(u));
    assert_false(future_running(u) || future_cancelled(u));
    assert_null(future_error(u));
    assert_int_equal(future_wait(u, 0), 0);
    assert_int_equal(future_attempts(u), 1);
    assert_true(strlen(future_worker(u)) > 0);
    assert_true(future_run_time(u) >= 0 && future_wait_time(u) >= 0);
    future_destroy(&u);
    assert_null(u);
}

static void
a_call_waits_for_its_result(void **state)
{
    futures_t *f = *state;
    double x = 1.5;
    int odd = 3;
    void *y = NULL;
    size_t size = 0;

    assert_int_equal(futures_call(f, "square", &x, sizeof(x), &y, &size, NULL), 0);
    assert_int_equal(size, sizeof(double));
    assert_true(*(double *)y == 2.25);
    free(y);
    assert_int_equal(futures_call(f, "square", &x, sizeof(x), NULL, NULL, NULL), 0);
    assert_int_equal(futures_call(f, "even", &odd, sizeof(odd), NULL, NULL, NULL), -1);
    assert_int_equal(errno, EIO);
    assert_non_null(strstr(futures_error(), "3 is odd"));
}

static void
empty_inputs_and_results_are_fine(void **state)
{
    futures_t *f = *state;
    future_t *u = futures_submit(f, "echo", NULL, 0, NULL);
    size_t size = 77;

    assert_non_null(future_result(u, &size));
    assert_int_equal(size, 0);
    future_destroy(&u);
}

static void
large_inputs_and_results_pass(void **state)
{
    futures_t *f = *state;
    size_t size = 3u << 20, n;
    uint8_t *bytes = malloc(size);
    const uint8_t *result;
    future_t *u;

    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 31 >> 3);
    u = futures_submit(f, "echo", bytes, size, NULL);
    assert_non_null(result = future_result(u, &n));
    assert_int_equal(n, size);
    assert_memory_equal(result, bytes, size);
    future_destroy(&u);
    free(bytes);
}

static void
what_cannot_be_submitted_is_refused(void **state)
{
    futures_t *f = *state;
    char name[400];
    int x = 1;

    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
#define refused(call, error)                                                                       \
    do {                                                                                           \
        errno = 0;                                                                                 \
        assert_null(call);                                                                         \
        assert_int_equal(errno, error);                                                            \
        assert_true(strlen(futures_error()) > 10);                                                 \
    } while (0)
    refused(futures_submit(f, NULL, &x, sizeof(x), NULL), EINVAL);
    refused(futures_submit(f, "", &x, sizeof(x), NULL), EINVAL);
    refused(futures_submit(f, name, &x, sizeof(x), NULL), EINVAL);
    refused(futures_submit(f, "two\nlines", &x, sizeof(x), NULL), EINVAL);
    refused(futures_submit(f, "echo", NULL, 4, NULL), EINVAL);
    refused(futures_submit(f, "echo", &x, (256u << 20) + 1, NULL), E2BIG);
    refused(futures_submit(f, "echo", &x, 4, &(task_options_t){.timeout = -1}), EINVAL);
    refused(futures_submit(f, "echo", &x, 4, &(task_options_t){.retries = -2}), EINVAL);
    refused(futures_submit(f, "echo", &x, 4, &(task_options_t){.cpus = -1}), EINVAL);
    refused(futures_submit(f, "echo", &x, 4, &(task_options_t){.name = name}), EINVAL);
    refused(futures_submit(f, "echo", &x, 4, &(task_options_t){.needs = "gpu=1,,"}), EINVAL);
    refused(futures_submit(f, "echo", &x, 4, &(task_options_t){.needs = "=1"}), EINVAL);
    refused(futures_submit(f, "echo", &x, 4, &(task_options_t){.needs = "a b"}), EINVAL);
    refused(futures_map(f, "echo", NULL, 3, 4, NULL), EINVAL);
    refused(futures_map(f, "echo", &x, SIZE_MAX / 2, 8, NULL), EINVAL);
    refused(futures_mapv(f, "echo", NULL, 2, NULL), EINVAL);
    refused(futures_mapv(f, "echo", &(struct iovec){NULL, 5}, 1, NULL), EINVAL);
    refused(futures_mapv(f, "echo", &(struct iovec){&x, (256u << 20) + 1}, 1, NULL), E2BIG);
    refused(futures_imap(f, "echo", NULL, NULL, NULL), EINVAL);
#undef refused
}

static void
a_handle_that_was_never_made_tells_what_failed_before(void **state)
{
    futures_t *f = futures_new("tcp://nowhere");
    results_t *r = futures_map(f, "echo", "four", 1, 4, NULL);

    (void)state;
    assert_null(f);
    assert_null(r);
    assert_int_equal(results_collect(&r, NULL, 0), -1);
    assert_int_equal(errno, EINVAL);
    assert_string_equal(futures_error(),
                        "there are no results: results is NULL; before that: 'tcp://nowhere' names "
                        "no port: write tcp://host:port or ipc://path, as in "
                        "LADLE_BROKER=tcp://head:5570");
}

static void
an_unknown_function_is_told_at_once(void **state)
{
    futures_t *f = *state;
    future_t *u = futures_submit(f, "sqare", NULL, 0, NULL);
    results_t *r = futures_map(f, "sqare", "abc", 3, 1, NULL);

    assert_int_equal(future_status(u), FUTURE_REJECTED);
    assert_non_null(strstr(future_error(u), "square"));
    assert_null(future_result(u, NULL));
    assert_int_equal(errno, EIO);
    for (int i = 0; i < 3; i++) {
        assert_null(results_next(r, NULL));
        assert_int_equal(results_status(r), FUTURE_REJECTED);
    }
    future_destroy(&u);
    results_destroy(&r);
}

static void
a_failed_task_says_why(void **state)
{
    futures_t *f = *state;
    future_t *u = submit_int(f, "even", 7, NULL);
    char expected[200];

    assert_null(future_result(u, NULL));
    assert_int_equal(errno, EIO);
    assert_int_equal(future_status(u), FUTURE_FAILED);
    snprintf(expected, sizeof(expected), "even on worker %s, attempt 1: 7 is odd",
             future_worker(u));
    assert_string_equal(future_error(u), expected);
    assert_string_equal(futures_error(), expected);
    assert_string_equal(future_status_name(future_status(u)), "FAILED");
    future_destroy(&u);
}

static void
a_crash_costs_its_own_task_only(void **state)
{
    futures_t *f = *state;
    double x = 6;
    future_t *u[3];

    if (serial)
        skip(); /* it would be this very process */
    u[0] = futures_submit(f, "crash", NULL, 0, NULL);
    u[1] = futures_submit(f, "crash", NULL, 0, &(task_options_t){.retries = -1});
    u[2] = futures_submit(f, "square", &x, sizeof(x), NULL);
    assert_true(*(const double *)future_result(u[2], NULL) == 36);
    for (int i = 0; i < 2; i++) {
        assert_null(future_result(u[i], NULL));
        assert_int_equal(future_status(u[i]), FUTURE_CRASHED);
        assert_int_equal(future_attempts(u[i]), i == 0 ? 3 : 1);
        assert_non_null(strstr(future_error(u[i]), "signal 11"));
    }
    for (int i = 0; i < 3; i++)
        future_destroy(&u[i]);
}

static void
a_task_over_its_time_is_stopped(void **state)
{
    futures_t *f = *state;
    future_t *u;

    if (serial)
        skip();
    u = submit_int(f, "linger", 10 * SOON, &(task_options_t){.timeout = 100});
    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(future_status(u), FUTURE_TIMED_OUT);
    future_destroy(&u);
    u = submit_int(f, "linger", 10 * SOON, &(task_options_t){.deadline = 100});
    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(future_status(u), FUTURE_TIMED_OUT);
    assert_non_null(strstr(future_error(u), "deadline"));
    future_destroy(&u);
}

static void
a_wait_gives_up_in_time(void **state)
{
    futures_t *f = *state;
    future_t *u = submit_int(f, "linger", 10 * SOON, NULL);

    assert_int_equal(future_wait(u, 0), -1);
    assert_int_equal(errno, ETIMEDOUT);
    if (!serial) {
        assert_int_equal(future_wait(u, 30), -1);
        assert_int_equal(errno, ETIMEDOUT);
        assert_non_null(strstr(futures_error(), "30 ms"));
    }
    assert_false(future_done(u));
    future_destroy(&u);
}

static void
a_queued_task_can_be_cancelled(void **state)
{
    futures_t *f = *state;
    future_t *u[8];

    for (int i = 0; i < 8; i++)
        u[i] = submit_int(f, "linger", serial ? 1 : 10 * SOON, NULL);
    for (int i = 7; i >= 0; i--)
        assert_int_equal(future_cancel(u[i]), 0);
    for (int i = 0; i < 8; i++) {
        assert_true(future_cancelled(u[i]));
        assert_int_equal(future_cancel(u[i]), 0);
        assert_null(future_result(u[i], NULL));
        assert_int_equal(errno, ECANCELED);
        future_destroy(&u[i]);
    }
}

static void
a_running_task_can_be_cancelled(void **state)
{
    futures_t *f = *state;
    future_t *u;
    double x = 2;

    if (serial)
        skip();
    u = submit_int(f, "linger", 100 * SOON, NULL);
    await(future_running(u));
    assert_int_equal(future_attempts(u), 1);
    assert_int_equal(future_cancel(u), 0);
    assert_true(future_cancelled(u));
    future_destroy(&u);
    /* All slots are free again. */
    for (int i = 0; i < 4; i++)
        assert_int_equal(futures_call(f, "square", &x, sizeof(x), NULL, NULL, NULL), 0);
}

static void
what_has_ended_cannot_be_cancelled(void **state)
{
    futures_t *f = *state;
    future_t *u = submit_int(f, "echo", 1, NULL);

    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(future_cancel(u), -1);
    assert_int_equal(errno, EALREADY);
    future_destroy(&u);
}

struct sequence {
    int calls[8];
    int n;
};

#define NTH(k)                                                                                     \
    static void call_##k(future_t *future, void *arg)                                              \
    {                                                                                              \
        struct sequence *o = arg;                                                                  \
        assert_true(future_done(future));                                                          \
        o->calls[o->n++] = k;                                                                      \
    }
NTH(1)
NTH(2)
NTH(3)

static void
callbacks_run_in_the_order_added(void **state)
{
    futures_t *f = *state;
    struct sequence o = {.n = 0};
    future_t *u = submit_int(f, "linger", 30, NULL);

    assert_int_equal(future_on_done(u, call_1, &o), 0);
    assert_int_equal(future_on_done(u, call_2, &o), 0);
    assert_int_equal(o.n, 0);
    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(o.n, 2);
    assert_int_equal(future_on_done(u, call_3, &o), 0);
    assert_int_equal(o.n, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(o.calls[i], i + 1);
    future_destroy(&u);
}

static void
destroy_in_callback(future_t *future, void *arg)
{
    ++*(int *)arg;
    future_destroy(&future);
}

static void
a_callback_may_destroy_its_future(void **state)
{
    futures_t *f = *state;
    int calls = 0;

    for (int i = 0; i < 10; i++)
        assert_int_equal(
            future_on_done(submit_int(f, "echo", i, NULL), destroy_in_callback, &calls), 0);
    assert_int_equal(futures_join(f, SOON), 0);
    assert_int_equal(calls, 10);
}

struct submitter {
    futures_t *futures;
    future_t *next;
    int left;
};

static void
submit_in_callback(future_t *future, void *arg)
{
    struct submitter *s = arg;

    future_destroy(&future);
    if (s->left-- > 0)
        assert_int_equal(
            future_on_done(submit_int(s->futures, "echo", s->left, NULL), submit_in_callback, s),
            0);
}

static void
a_callback_may_submit_and_join_waits_for_it(void **state)
{
    struct submitter s = {.futures = *state, .left = 20};

    assert_int_equal(future_on_done(submit_int(s.futures, "echo", 0, NULL), submit_in_callback, &s),
                     0);
    assert_int_equal(futures_join(s.futures, SOON), 0); /* for those as well */
    assert_int_equal(s.left, -1);
}

static void
partial_results_and_progress_come_before_the_end(void **state)
{
    futures_t *f = *state;
    struct partials p = {0};
    future_t *u = futures_submit(f, "stream", NULL, 0, NULL);
    uint64_t done = 0, total = 0;

    assert_int_equal(future_on_partial(u, on_partial, &p), 0);
    assert_int_equal(future_wait(u, SOON), 0);
    assert_true(future_successful(u));
    assert_int_equal(p.n, 3);
    assert_int_equal(p.sum, 3);
    assert_int_equal(future_progress(u, &done, &total), 0);
    assert_in_range(done, 1, 3);
    assert_int_equal(total, 3);
    future_destroy(&u);
}

int
future_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_task_gives_its_result),
        TEST(a_call_waits_for_its_result),
        TEST(empty_inputs_and_results_are_fine),
        TEST(large_inputs_and_results_pass),
        TEST(what_cannot_be_submitted_is_refused),
        TEST(a_handle_that_was_never_made_tells_what_failed_before),
        TEST(an_unknown_function_is_told_at_once),
        TEST(a_failed_task_says_why),
        TEST(a_crash_costs_its_own_task_only),
        TEST(a_task_over_its_time_is_stopped),
        TEST(a_wait_gives_up_in_time),
        TEST(a_queued_task_can_be_cancelled),
        TEST(a_running_task_can_be_cancelled),
        TEST(what_has_ended_cannot_be_cancelled),
        TEST(callbacks_run_in_the_order_added),
        TEST(a_callback_may_destroy_its_future),
        TEST(a_callback_may_submit_and_join_waits_for_it),
        TEST(partial_results_and_progress_come_before_the_end),
    };

    return cmocka_run_group_tests_name("futures", tests, NULL, NULL);
}
