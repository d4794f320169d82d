/* What a client makes of a grid that has no workers, or loses its broker. */
#include "harness.h"
#include "impostor.h"

#include <ladle.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int
square(task_t *task)
{
    double x;

    if (task_read(task, &x, sizeof(x)) != 0)
        return task_fail(task, "expected one double");
    x *= x;
    return task_return(task, &x, sizeof(x));
}
TASK(square)

/* Takes 5 ms, and gives back its input. */
static int
dawdle(task_t *task)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    return task_return(task, task_input(task), task_input_size(task));
}
TASK(dawdle)

static int
add(task_t *task)
{
    const double *x = task_input(task);
    double sum = x[0] + x[1];

    return task_return(task, &sum, sizeof(sum));
}
TASK(add)

static futures_t *
open_session(const char *endpoint, int lost_timeout)
{
    futures_t *f = futures_open(
        &(futures_config_t){.endpoint = endpoint, .quiet = true, .lost_timeout = lost_timeout});

    if (f == NULL)
        print_error("%s\n", futures_error());
    assert_non_null(f);
    return f;
}

static future_t *
submit(futures_t *f, double x, const task_options_t *options)
{
    future_t *u = futures_submit(f, "square", &x, sizeof(x), options);

    assert_non_null(u);
    return u;
}

/* Once, and then it falls silent. */
static void *
be_welcoming(void *arg)
{
    impostor_welcome(arg, 100, 300);
    return NULL;
}

static void
assert_result(future_t *u, double expected)
{
    const double *y;

    assert_int_equal(future_wait(u, 2 * SOON), 0);
    if ((y = future_result(u, NULL)) == NULL)
        print_error("%s\n", futures_error());
    assert_non_null(y);
    assert_true(*y == expected);
}

static void
without_workers_a_wait_says_so(void **state)
{
    char endpoint[256];
    futures_t *f;
    future_t *u;

    (void)state;
    broker_start("tcp://127.0.0.1:0", endpoint);
    f = open_session(endpoint, 0);
    assert_int_equal(futures_workers(f), 0);
    u = submit(f, 3, NULL);
    assert_int_equal(future_wait(u, 100), -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_non_null(strstr(futures_error(), "no worker is connected to tcp://"));
    assert_int_equal(futures_wait_for_slots(f, 2, 100), -1);
    assert_int_equal(errno, ETIMEDOUT);
    worker_start(endpoint, "node1", 2);
    assert_int_equal(futures_wait_for_slots(f, 2, SOON), 0);
    assert_int_equal(futures_slots(f), 2);
    assert_result(u, 9);
    assert_string_equal(future_worker(u), "node1");
    future_destroy(&u);
    futures_destroy(&f);
}

static void
a_need_that_nobody_meets_is_named(void **state)
{
    char endpoint[256];
    futures_t *f;
    future_t *u;

    (void)state;
    broker_start("tcp://127.0.0.1:0", endpoint);
    worker_start(endpoint, "node1", 1);
    f = open_session(endpoint, 0);
    u = submit(f, 3, &(task_options_t){.needs = "gpu=7"});
    await(future_wait(u, 50) == -1 && strstr(futures_error(), "gpu=7") != NULL, SOON);
    future_destroy(&u);
    u = submit(f, 4, NULL);
    assert_result(u, 16);
    future_destroy(&u);
    futures_destroy(&f);
}

static void
a_broker_that_stays_away_loses_what_has_not_ended(void **state)
{
    struct process *broker;
    char endpoint[256];
    double x = 2;
    futures_t *f;
    future_t *u, *v;

    (void)state;
    broker = broker_start("tcp://127.0.0.1:0", endpoint);
    worker_start(endpoint, "node1", 1);
    f = open_session(endpoint, 400);
    u = submit(f, 3, NULL);
    assert_result(u, 9);
    v = submit(f, 4, &(task_options_t){.needs = "gpu=7"});
    process_kill(broker);
    assert_int_equal(future_wait(v, SOON), 0);
    assert_int_equal(future_status(v), FUTURE_LOST);
    assert_non_null(strstr(future_error(v), "has not answered for 0.4 s"));
    assert_null(futures_submit(f, "square", &x, sizeof(x), NULL));
    assert_int_equal(errno, EPIPE);
    assert_result(u, 9);
    future_destroy(&u);
    future_destroy(&v);

    /* It comes back, and with it the session. */
    broker_start(endpoint, endpoint);
    await(futures_wait_for_slots(f, 1, 100) == 0, 4 * SOON);
    u = submit(f, 5, NULL);
    assert_result(u, 25);
    future_destroy(&u);
    futures_destroy(&f);
}

/* And not that the connection was lost, which it gave up for that. */
static void
why_a_broker_was_given_up_is_told(void **state)
{
    char endpoint[256];
    struct impostor *i;
    pthread_t thread;
    futures_t *f;
    future_t *u;

    (void)state;
    i = impostor_new(endpoint);
    assert_int_equal(pthread_create(&thread, NULL, be_welcoming, i), 0);
    f = open_session(endpoint, -1);
    pthread_join(thread, NULL);
    u = submit(f, 3, NULL);
    await(future_wait(u, 20) == -1 && strstr(futures_error(), "does not answer") != NULL, SOON);
    assert_non_null(strstr(futures_error(), "(it is silent)"));
    future_destroy(&u);
    futures_destroy(&f);
    impostor_free(i);
}

static void
a_broker_that_comes_back_is_told_all_again(void **state)
{
    enum { N = 3000 };
    struct process *broker;
    char endpoint[256];
    double x[N];
    futures_t *f;
    results_t *r;
    future_t *u;

    (void)state;
    broker = broker_start("tcp://127.0.0.1:0", endpoint);
    f = open_session(endpoint, -1);
    for (int i = 0; i < N; i++)
        x[i] = i;
    r = futures_map(f, "square", x, N, sizeof(*x), NULL);
    u = submit(f, 7, NULL);
    await(future_status(u) == FUTURE_QUEUED, SOON);
    process_kill(broker);
    assert_int_equal(future_wait(u, 50), -1);
    broker_start(endpoint, endpoint);
    worker_start(endpoint, "node1", 2);
    assert_result(u, 49);
    assert_int_equal(results_collect(&r, x, sizeof(*x)), 0);
    for (int i = 0; i < N; i++)
        assert_true(x[i] == (double)i * i);
    future_destroy(&u);
    futures_destroy(&f);
}

static void
a_session_leaves_at_once_though_its_broker_hangs(void **state)
{
    struct process *broker;
    char endpoint[256];
    int64_t since;
    futures_t *f;
    future_t *u;

    (void)state;
    broker = broker_start("tcp://127.0.0.1:0", endpoint);
    f = open_session(endpoint, -1);
    u = submit(f, 7, NULL);
    process_kill(broker);
    since = harness_now();
    futures_destroy(&f);
    assert_true(harness_now() - since < SOON / 2);
    assert_true(future_cancelled(u));
    future_destroy(&u);
}

enum { DAWDLERS = 400 };

struct reducing {
    futures_t *session;
    const double *inputs;
    double *sum;
    char *failure; /* NULL: none */
};

static void *
reduce(void *arg)
{
    struct reducing *r = arg;

    if (futures_map_reduce(r->session, "dawdle", "add", r->inputs, DAWDLERS, sizeof(double), NULL,
                           0, (void **)&r->sum, NULL, NULL) != 0)
        r->failure = strdup(futures_error());
    return NULL;
}

/* In the middle of the work. */
static void
replace_worker(const char *endpoint, struct process **worker, const char *name, long long since)
{
    await(status_number(endpoint, "tasks_done") >= since + 40, SOON);
    process_kill(*worker);
    assert_true(status_number(endpoint, "tasks_done") < since + DAWDLERS);
    *worker = worker_start(endpoint, name, 2);
}

static void
a_killed_worker_costs_a_reduction_nothing(void **state)
{
    struct reducing reducing = {0};
    struct process *worker;
    char endpoint[256];
    double x[DAWDLERS];
    pthread_t thread;
    long long since;
    results_t *r;
    futures_t *f;

    (void)state;
    broker_start("tcp://127.0.0.1:0", endpoint);
    worker = worker_start(endpoint, "node1", 2);
    f = open_session(endpoint, -1);
    for (int i = 0; i < DAWDLERS; i++)
        x[i] = i + 1;
    reducing.session = f;
    reducing.inputs = x;
    assert_int_equal(pthread_create(&thread, NULL, reduce, &reducing), 0);
    replace_worker(endpoint, &worker, "node2", 0);
    pthread_join(thread, NULL);
    if (reducing.failure != NULL)
        fail_msg("%s", reducing.failure);
    assert_true(*reducing.sum == DAWDLERS * (DAWDLERS + 1.0) / 2);
    free(reducing.sum);

    since = status_number(endpoint, "tasks_done");
    r = futures_map_scan(f, "dawdle", "add", x, DAWDLERS, sizeof(*x), NULL);
    replace_worker(endpoint, &worker, "node3", since);
    if (results_collect(&r, x, sizeof(*x)) != 0)
        fail_msg("%s", futures_error());
    for (int i = 0; i < DAWDLERS; i++)
        assert_true(x[i] == (double)(i + 1) * (i + 2) / 2);
    futures_destroy(&f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_workers_a_wait_says_so),
        TEST(a_need_that_nobody_meets_is_named),
        TEST(a_broker_that_stays_away_loses_what_has_not_ended),
        TEST(why_a_broker_was_given_up_is_told),
        TEST(a_broker_that_comes_back_is_told_all_again),
        TEST(a_session_leaves_at_once_though_its_broker_hangs),
        TEST(a_killed_worker_costs_a_reduction_nothing),
    };
    futures_t *barrier = futures_new("serial"); /* executors go no further */

    futures_destroy(&barrier);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
