/* What SCOOP, whose futures these are, gets wrong: one test for each point, to be right here. */
#include "../unit/grid.h"
#include "harness.h"

#include <ladle.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- tasks ------------------------------------------------------------------------------------
 */

static int
itself(task_t *task)
{
    return task_return(task, task_input(task), task_input_size(task));
}
TASK(itself)

static int
add(task_t *task)
{
    const void *left, *right;
    size_t left_size, right_size;
    int a, b;

    if (task_pair(task, &left, &left_size, &right, &right_size) != 0 || left_size != sizeof(a) ||
        right_size != sizeof(b))
        return task_fail(task, "not two numbers");
    memcpy(&a, left, sizeof(a));
    memcpy(&b, right, sizeof(b));
    a += b;
    return task_return(task, &a, sizeof(a));
}
TASK(add)

static int
fail_if_odd(task_t *task)
{
    int x;

    if (task_read(task, &x, sizeof(x)) != 0 || x % 2 != 0)
        return task_fail(task, "odd");
    return task_return(task, &x, sizeof(x));
}
TASK(fail_if_odd)

/* So many ms, or until it is cancelled. */
static int
last(task_t *task)
{
    int ms;

    if (task_read(task, &ms, sizeof(ms)) != 0)
        return task_fail(task, "how long?");
    for (; ms > 0 && !task_cancelled(task); ms -= 2)
        usleep(2000);
    return task_return(task, &ms, sizeof(ms));
}
TASK(last)

/* Runs 100 ms, so that all slots get some, and says where it saw what. */
static int
read_constant(task_t *task)
{
    char seen[64];
    const char *constant;
    size_t size;

    usleep(100000);
    if ((constant = task_shared(task, "constant", &size)) == NULL)
        return task_fail(task, "there is none");
    snprintf(seen, sizeof(seen), "%.*s", (int)size, constant);
    return task_return(task, seen, sizeof(seen));
}
TASK(read_constant)

/* ---- a grid -----------------------------------------------------------------------------------
 */

static char endpoint[256];
static struct process *broker;

static futures_t *
open_grid(int workers, struct process **started)
{
    futures_t *f;
    char name[16];

    broker = broker_start("tcp://127.0.0.1:0", endpoint);
    for (int i = 0; i < workers; i++) {
        struct process *p;

        snprintf(name, sizeof(name), "node%d", i + 1);
        p = worker_start(endpoint, name, 1);
        if (started != NULL)
            started[i] = p;
    }
    f = futures_open(&(futures_config_t){.endpoint = endpoint, .quiet = true});
    if (f == NULL)
        print_error("%s\n", futures_error());
    assert_non_null(f);
    assert_int_equal(futures_wait_for_slots(f, workers, SOON), 0);
    return f;
}

static future_t *
submit(futures_t *f, const char *function, int x)
{
    future_t *u = futures_submit(f, function, &x, sizeof(x), NULL);

    assert_non_null(u);
    return u;
}

/* ---- 1: scans and reductions ------------------------------------------------------------------
 */

static void
scan_of_1_2_3_4_is_1_3_6_10(void **state)
{
    static const int x[] = {1, 2, 3, 4}, expected[] = {1, 3, 6, 10};
    futures_t *f = open_grid(2, NULL);
    int y[4] = {0};
    results_t *r;

    (void)state;
    r = futures_map_scan(f, "itself", "add", x, 4, sizeof(*x), NULL);
    assert_int_equal(results_collect(&r, y, sizeof(*y)), 0);
    assert_memory_equal(y, expected, sizeof(y));
    futures_destroy(&f);
}

static void
reductions_of_none_and_one_are_fine(void **state)
{
    static const int x[] = {42, 1}, none = 7;
    futures_t *f = open_grid(1, NULL);

    (void)state;
    for (size_t count = 0; count <= 2; count++) {
        void *result = NULL;
        size_t size = 0;

        assert_int_equal(futures_map_reduce(f, "itself", "add", x, count, sizeof(*x), &none,
                                            sizeof(none), &result, &size, NULL),
                         0);
        assert_int_equal(size, sizeof(int));
        assert_int_equal(*(int *)result, count == 0 ? 7 : count == 1 ? 42 : 43);
        free(result);
    }
    futures_destroy(&f);
}

/* ---- 2 and 3: waiting -------------------------------------------------------------------------
 */

#define within(least, most, call)                                                                  \
    do {                                                                                           \
        int64_t since_ = harness_now();                                                            \
        call;                                                                                      \
        assert_in_range(harness_now() - since_ + 1, least, most);                                  \
    } while (0)

static void
timeouts_of_waits_are_kept(void **state)
{
    futures_t *f = open_grid(1, NULL);
    future_t *u = submit(f, "last", 10 * SOON), *list[1] = {u};
    int ms = 10 * SOON;
    size_t count = 1;
    results_t *r =
        futures_map(f, "last", &ms, 1, sizeof(ms), &(task_options_t){.as_completed = true});

    (void)state;
    /* Milliseconds are not taken for seconds, nor seconds for milliseconds. */
    within(80, SOON / 2, assert_int_equal(future_wait(u, 80), -1));
    assert_int_equal(errno, ETIMEDOUT);
    within(80, SOON / 2, assert_null(results_next_within(r, NULL, 80)));
    within(80, SOON / 2, assert_int_equal(results_wait(r, 80), -1));
    within(80, SOON / 2, assert_int_equal(futures_wait(list, 1, ALL_COMPLETED, 80), 0));
    within(80, SOON / 2, assert_null(futures_next(list, &count, 80)));
    within(80, SOON / 2, assert_int_equal(futures_join(f, 80), -1));
    within(0, SOON / 2, assert_int_equal(future_wait(u, 0), -1));
    future_destroy(&u);
    results_destroy(&r);
    futures_destroy(&f);
}

static void
the_error_of_a_task_waits_for_its_end(void **state)
{
    futures_t *f = open_grid(1, NULL);
    future_t *u = submit(f, "fail_if_odd", 1);

    (void)state;
    assert_null(future_result(u, NULL)); /* which waits */
    assert_non_null(strstr(future_error(u), "odd"));
    future_destroy(&u);
    futures_destroy(&f);
}

static void
wait_first_failed_returns_at_the_first_failure(void **state)
{
    futures_t *f = open_grid(2, NULL);
    future_t *list[3] = {submit(f, "last", 10 * SOON), submit(f, "itself", 2),
                         submit(f, "fail_if_odd", 3)};
    future_t *all[3] = {list[0], list[1], list[2]};
    int n;

    (void)state;
    within(0, SOON, n = futures_wait(list, 3, FIRST_FAILED, SOON));
    assert_in_range(n, 1, 2); /* it does not fail for the task that did */
    assert_int_equal(errno, 0);
    assert_int_equal(future_status(all[2]), FUTURE_FAILED);
    assert_false(future_done(all[0]));
    for (int i = 0; i < 3; i++)
        future_destroy(&all[i]);
    futures_destroy(&f);
}

/* ---- 4: cancelling ----------------------------------------------------------------------------
 */

static void
a_running_task_can_be_cancelled(void **state)
{
    futures_t *f = open_grid(1, NULL);
    future_t *u = submit(f, "last", 100 * SOON), *v;

    (void)state;
    await(future_running(u), SOON);
    assert_int_equal(future_cancel(u), 0);
    assert_true(future_cancelled(u));
    v = submit(f, "itself", 1); /* its slot is free again */
    assert_int_equal(future_wait(v, SOON), 0);
    assert_true(future_successful(v));
    future_destroy(&u);
    future_destroy(&v);
    futures_destroy(&f);
}

/* ---- 5: what runs is known to run -------------------------------------------------------------
 */

enum { CLIENT = 1, WORKER = 2, OTHER = 3 };

static void
a_task_running_longer_than_a_minute_is_not_sent_again(void **state)
{
    struct grid *g;
    struct spec spec = grid_spec();
    const char *tape;

    (void)state;
    assert_int_equal(grid_setup((void **)&g), 0);
    grid_client(g, CLIENT);
    grid_worker(g, WORKER, "node", 1);
    grid_worker(g, OTHER, "other", 1);
    grid_job(g, CLIENT, 10, &spec);
    grid_inputs(g, CLIENT, 10, 0, 1);
    tape = grid_tape(g);
    assert_non_null(strstr(tape, "2: slice 1 job=1 0+1"));
    /* Ten minutes, in which the worker only says that it lives. */
    for (int second = 0; second < 600; second++) {
        grid_pass(g, 1000000);
        grid_beat(g, CLIENT);
        grid_beat(g, WORKER);
        grid_beat(g, OTHER);
    }
    tape = grid_tape(g);
    if (strstr(tape, "slice") != NULL || strstr(tape, "ended") != NULL)
        fail_msg("this was said: %s", tape);
    grid_end(g, CLIENT, 10, 1);
    assert_int_equal(grid_results(g, WORKER, 1, 1, 0, 1, 600000000, NULL), 0);
    assert_non_null(strstr(grid_tape(g), "1: results 0 job=10 0+1 attempt=1"));
    grid_teardown((void **)&g);
}

/* ---- 6: one thread at a socket ----------------------------------------------------------------
 */

static void *
submit_and_wait(void *arg)
{
    for (int i = 0; i < 300; i++) {
        future_t *u = futures_submit(arg, "itself", &i, sizeof(i), NULL);
        const int *result = future_result(u, NULL);
        bool right = result != NULL && *result == i;

        future_destroy(&u);
        if (!right)
            return arg;
    }
    return NULL;
}

static void
threads_of_a_program_share_one_connection(void **state)
{
    futures_t *f = open_grid(2, NULL);
    pthread_t threads[8];
    void *wrong;

    (void)state;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, submit_and_wait, f), 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    futures_destroy(&f);
}

/* ---- 7: workers that end ----------------------------------------------------------------------
 */

static void
a_worker_that_exits_ends_nobody_else(void **state)
{
    enum { N = 60 };
    struct process *workers[3];
    futures_t *f = open_grid(3, workers);
    future_t *once;
    results_t *r;
    int x[N];

    (void)state;
    for (int i = 0; i < N; i++)
        x[i] = 20;
    r = futures_map(f, "last", x, N, sizeof(*x), NULL);
    assert_non_null(results_next_within(r, NULL, SOON));
    process_kill(workers[0]);
    kill(workers[1]->pid, SIGTERM);
    assert_int_equal(process_await(workers[1], SOON), 0);
    assert_int_equal(results_collect(&r, x, sizeof(*x)), 0);
    assert_false(process_ended(broker));
    assert_false(process_ended(workers[2]));
    /* One that must not run twice is told to be lost. */
    once =
        futures_submit(f, "last", &(int){10 * SOON}, sizeof(int), &(task_options_t){.once = true});
    await(future_running(once), SOON);
    process_kill(workers[2]);
    assert_int_equal(future_wait(once, 2 * SOON), 0);
    assert_int_equal(future_status(once), FUTURE_LOST);
    assert_int_equal(future_attempts(once), 1);
    future_destroy(&once);
    futures_destroy(&f);
}

/* ---- 8: memory --------------------------------------------------------------------------------
 */

static long
resident_kib(pid_t pid)
{
    char path[64], line[256];
    long kib = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    if ((file = fopen(path, "r")) == NULL)
        return -1;
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    fclose(file);
    return kib;
}

static void
the_memory_of_the_broker_does_not_grow(void **state)
{
    enum { N = 64, SIZE = 1 << 18 };
    futures_t *f = open_grid(2, NULL);
    char *bytes = calloc(N, SIZE);
    long before = 0;

    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    const long spare = 512 << 10; /* what was freed is kept for a while */
#else
    const long spare = 48 << 10;
#endif
    for (int round = 0; round < 12; round++) {
        results_t *r = futures_map(f, "itself", bytes, N, SIZE, NULL);

        assert_int_equal(results_collect(&r, NULL, SIZE), 0);
        if (round == 3)
            before = resident_kib(broker->pid);
    }
    assert_true(before > 0);
    /* 8 rounds of 16 MiB in, and out again. */
    assert_in_range(resident_kib(broker->pid), 1, before + spare);
    free(bytes);
    futures_destroy(&f);
}

static void
assert_constant(futures_t *f, const char *expected)
{
    future_t *u = futures_submit(f, "read_constant", NULL, 0, NULL);
    const char *seen = future_result(u, NULL);

    if (seen == NULL)
        print_error("%s\n", futures_error());
    assert_non_null(seen);
    assert_string_equal(seen, expected);
    future_destroy(&u);
}

static void
constants_can_be_removed_and_replaced(void **state)
{
    futures_t *f = open_grid(1, NULL);
    future_t *u;

    (void)state;
    assert_int_equal(futures_share(f, "constant", "one", 3), 0);
    assert_constant(f, "one");
    assert_int_equal(futures_share(f, "constant", "two", 3), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(futures_unshare(f, "constant"), 0);
    u = futures_submit(f, "read_constant", NULL, 0, NULL);
    assert_null(future_result(u, NULL));
    assert_non_null(strstr(future_error(u), "there is none"));
    future_destroy(&u);
    assert_int_equal(futures_share(f, "constant", "another", 7), 0);
    assert_constant(f, "another");
    futures_destroy(&f);
}

/* ---- 9 and 10: who may connect, and how -------------------------------------------------------
 */

static void
the_broker_binds_loopback_only_without_keys(void **state)
{
    static const char *const wide[] = {"tcp://*:0", "tcp://0.0.0.0:0", "tcp://[::]:0"};
    char real[256];

    (void)state;
    for (size_t i = 0; i < sizeof(wide) / sizeof(*wide); i++) {
        struct process *p = process(harness_binary("ladle-broker"), "--bind", wide[i]);

        assert_int_equal(process_await(p, SOON), 1);
        assert_true(process_wrote(p, "--insecure"));
    }
    broker_start("tcp://127.0.0.1:0", real);
    assert_true(starts_with(real, "tcp://127.0.0.1:"));
}

static void
a_broker_that_is_not_there_is_told(void **state)
{
    futures_t *f;

    (void)state;
    within(0, SOON,
           f = futures_open(
               &(futures_config_t){.endpoint = "tcp://127.0.0.1:1", .connect_timeout = 300}));
    assert_null(f);
    assert_int_equal(errno, ETIMEDOUT);
    assert_non_null(strstr(futures_error(), "tcp://127.0.0.1:1"));
}

/* ---- 11: the cost of status -------------------------------------------------------------------
 */

static double
seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* grid_inputs() would look at each task each time. */
static void
submit_unchecked(struct grid *g, uint64_t tasks)
{
    uint32_t count = tasks < 10000 ? (uint32_t)tasks : 10000;
    struct blob *data = blob_new(count * sizeof(int));
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = 10}};

    assert_non_null(data);
    m.inputs.columns = (struct columns){
        .count = count, .size = sizeof(int), .data = data, .length = count * sizeof(int)};
    for (; m.inputs.first < tasks; m.inputs.first += count)
        assert_int_equal(scheduler_input(g->scheduler, CLIENT, &m, g->now), 0);
    blob_unref(data);
}

/* The best of some rounds of 200 questions, with so many tasks in the queue. */
static double
cost_of_status(uint64_t tasks)
{
    struct message wanted = {.type = MESSAGE_STATUS_WANTED}, m;
    struct spec spec = grid_spec();
    struct scheduler *s;
    struct grid *g;
    double best = 1e9;
    uint32_t peer;

    assert_int_equal(
        grid_setup_with((void **)&g, &(struct scheduler_config){.software = "test",
                                                                .instance = 7,
                                                                .client_window = UINT64_MAX / 2}),
        0);
    s = g->scheduler;
    grid_client(g, CLIENT);
    grid_job(g, CLIENT, 10, &spec);
    submit_unchecked(g, tasks);
    grid_forget(g);
    m = (struct message){.type = MESSAGE_HELLO,
                         .hello = {.role = ROLE_OPERATOR,
                                   .protocol = 1,
                                   .software = "test",
                                   .name = "operator",
                                   .host = "",
                                   .machine = "",
                                   .labels = ""}};
    assert_int_equal(grid_say(g, OTHER, &m), 0);
    for (int round = 0; round < 10; round++) {
        double since = seconds();

        for (int i = 0; i < 200; i++) {
            assert_int_equal(scheduler_input(s, OTHER, &wanted, g->now), 0);
            while (scheduler_output(s, &peer, &m))
                if (m.type == MESSAGE_STATUS)
                    assert_int_equal(m.status.tasks_accepted, tasks);
        }
        since = seconds() - since;
        best = since < best ? since : best;
    }
    grid_teardown((void **)&g);
    return best;
}

static void
status_does_not_scan_tasks(void **state)
{
    double few = cost_of_status(10), many = cost_of_status(2000000);

    (void)state;
    if (many > 5 * few + 1e-3)
        fail_msg("200 times: %.0f us with 10 tasks, %.0f us with 2,000,000", few * 1e6, many * 1e6);
}

/* ---- 12: constants are there ------------------------------------------------------------------
 */

static void
a_shared_constant_is_at_every_worker_when_a_task_asks(void **state)
{
    enum { WORKERS = 3, N = 12 };
    futures_t *f = open_grid(WORKERS, NULL);
    bool seen[WORKERS] = {false};
    results_t *r;

    (void)state;
    assert_int_equal(futures_share(f, "constant", "everywhere", 10), 0);
    r = futures_map(f, "read_constant", NULL, N, 0, NULL); /* at once */
    for (int i = 0; i < N; i++) {
        const char *result = results_next_within(r, NULL, SOON);

        if (result == NULL)
            print_error("%s\n", results_error(r));
        assert_non_null(result);
        assert_string_equal(result, "everywhere");
        assert_true(starts_with(results_worker(r), "node"));
        seen[results_worker(r)[4] - '1'] = true;
    }
    for (int i = 0; i < WORKERS; i++)
        assert_true(seen[i]);
    results_destroy(&r);
    futures_destroy(&f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(scan_of_1_2_3_4_is_1_3_6_10),
        TEST(reductions_of_none_and_one_are_fine),
        TEST(timeouts_of_waits_are_kept),
        TEST(the_error_of_a_task_waits_for_its_end),
        TEST(wait_first_failed_returns_at_the_first_failure),
        TEST(a_running_task_can_be_cancelled),
        cmocka_unit_test(a_task_running_longer_than_a_minute_is_not_sent_again),
        TEST(threads_of_a_program_share_one_connection),
        TEST(a_worker_that_exits_ends_nobody_else),
        TEST(the_memory_of_the_broker_does_not_grow),
        TEST(constants_can_be_removed_and_replaced),
        TEST(the_broker_binds_loopback_only_without_keys),
        TEST(a_broker_that_is_not_there_is_told),
        cmocka_unit_test(status_does_not_scan_tasks),
        TEST(a_shared_constant_is_at_every_worker_when_a_task_asks),
    };
    futures_t *barrier = futures_new("serial"); /* executors go no further */

    futures_destroy(&barrier);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
