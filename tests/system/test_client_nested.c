/* Tasks that spawn tasks, and wait for them. */
#include "nested.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { DEEP = 200, WIDE = 20000 };
#else
enum { DEEP = 10000, WIDE = 100000 };
#endif

/* ---- tasks ------------------------------------------------------------------------------------
 */

static int
nested_fib(task_t *task)
{
    int n = input_of(task), sum = 0;
    future_t *parts[2];
    const int *part;

    if (n < 2)
        return return_int(task, n);
    for (int i = 0; i < 2; i++)
        expect((parts[i] = spawn(task, "nested_fib", n - 1 - i, NULL)) != NULL);
    for (int i = 0; i < 2; i++) {
        expect((part = future_result(parts[i], NULL)) != NULL);
        sum += *part;
        future_destroy(&parts[i]);
    }
    return return_int(task, sum);
}
TASK(nested_fib)

/* Counts the nodes of a tree that is so deep, with three branches at each. */
static int
nested_tree(task_t *task)
{
    int depth = input_of(task), below[3] = {depth - 1, depth - 1, depth - 1};
    results_t *results;

    if (depth == 0)
        return return_int(task, 1);
    expect(results =
               futures_map(task_futures(task), "nested_tree", below, 3, sizeof(*below), NULL));
    expect(results_collect(&results, below, sizeof(*below)) == 0);
    return return_int(task, 1 + below[0] + below[1] + below[2]);
}
TASK(nested_tree)

static int
nested_chain(task_t *task)
{
    int n = input_of(task);
    future_t *next;
    const int *end;

    if (n == 0)
        return return_int(task, 0);
    expect((next = spawn(task, "nested_chain", n - 1, NULL)) != NULL);
    expect((end = future_result(next, NULL)) != NULL);
    return return_int(task, *end + 1); /* and the future is forgotten */
}
TASK(nested_chain)

static int
nested_plus_one(task_t *task)
{
    return return_int(task, input_of(task) + 1);
}
TASK(nested_plus_one)

static int
nested_wide(task_t *task)
{
    int n = input_of(task), *numbers = malloc((size_t)n * sizeof(*numbers));
    long long sum = 0;
    results_t *results;

    for (int i = 0; i < n; i++)
        numbers[i] = i;
    results = futures_map(task_futures(task), "nested_plus_one", numbers, (size_t)n,
                          sizeof(*numbers), NULL);
    expect(results != NULL && results_collect(&results, numbers, sizeof(*numbers)) == 0);
    for (int i = 0; i < n; i++)
        sum += numbers[i] == i + 1;
    free(numbers);
    return return_int(task, sum == n);
}
TASK(nested_wide)

static void
count_done(future_t *future, void *arg)
{
    *(int *)arg += future_successful(future);
}

/* All the ways to wait. */
static int
nested_ways(task_t *task)
{
    futures_t *f = task_futures(task);
    int numbers[20], seen = 0, called = 0;
    future_t *list[20];
    results_t *results;
    const int *x;
    size_t size, left = 20;

    expect(f != NULL && f == task_futures(task));
    for (int i = 0; i < 20; i++) {
        numbers[i] = i;
        expect((list[i] = spawn(task, "nested_plus_one", i, NULL)) != NULL);
        expect(future_on_done(list[i], count_done, &called) == 0);
    }
    expect(futures_wait(list, 20, FIRST_COMPLETED, -1) >= 1);
    expect(futures_wait(list, 20, ALL_COMPLETED, -1) == 20 && called == 20);
    while (left > 0) {
        future_t *next = futures_next(list, &left, -1);

        expect(next != NULL && (x = future_result(next, &size)) != NULL && size == sizeof(*x));
        seen += *x;
        future_destroy(&next);
    }
    expect(seen == 210);
    results = futures_map(f, "nested_plus_one", numbers, 20, sizeof(*numbers),
                          &(task_options_t){.as_completed = true});
    for (seen = 0; (x = results_next(results, NULL)) != NULL;) {
        expect(*x == (int)results_index(results) + 1);
        seen++;
    }
    expect(seen == 20 && results_at_end(results));
    expect((list[0] = spawn(task, "nested_plus_one", 1, NULL)) != NULL);
    expect(futures_join(f, -1) == 0 && future_done(list[0]));
    return return_int(task, 1); /* and the results are forgotten */
}
TASK(nested_ways)

struct counter {
    int next, end;
};

static int
count_up(void *arg, const void **input_p, size_t *size_p)
{
    struct counter *c = arg;

    if (c->next == c->end)
        return -1;
    c->next++;
    *input_p = &c->next;
    *size_p = sizeof(c->next);
    return 0;
}

static int
nested_imap(task_t *task)
{
    struct counter c = {.end = input_of(task)};
    results_t *results = futures_imap(task_futures(task), "nested_plus_one", count_up, &c, NULL);
    const int *x;
    int n = 0;

    while ((x = results_next(results, NULL)) != NULL)
        expect(*x == ++n + 1);
    expect(results_at_end(results));
    results_destroy(&results);
    return return_int(task, n);
}
TASK(nested_imap)

static void
add_partial(uint64_t index, const void *data, size_t size, void *arg)
{
    int i;

    (void)index;
    memcpy(&i, data, size);
    *(int *)arg += 1 + i;
}

static int
nested_stream(task_t *task)
{
    future_t *u = futures_submit(task_futures(task), "stream", NULL, 0, NULL);
    uint64_t done, total;
    int sum = 0;

    expect(u != NULL && future_on_partial(u, add_partial, &sum) == 0);
    expect(future_wait(u, -1) == 0 && future_done(u));
    expect(sum == 6);
    expect(future_progress(u, &done, &total) == 0 && (done == 3 || done == 0));
    future_destroy(&u);
    return return_int(task, sum);
}
TASK(nested_stream)

/* What was not waited for is cancelled; nothing is destroyed. */
static int
nested_forget(task_t *task)
{
    futures_t *f = task_futures(task);
    int numbers[100] = {0};

    expect(spawn(task, "nested_plus_one", 1, NULL) != NULL);
    expect(futures_map(f, "nested_plus_one", numbers, 100, sizeof(*numbers), NULL) != NULL);
    for (int i = 0; i < 10; i++)
        expect(spawn(task, "nested_fib", 12, NULL) != NULL);
    expect(future_wait(spawn(task, "nested_fib", 5, NULL), -1) == 0);
    return return_int(task, 7);
}
TASK(nested_forget)

/* Fails until its third attempt. */
static int
nested_stubborn(task_t *task)
{
    if (task_attempt(task) < 3)
        return task_fail(task, "not yet, in attempt %d", task_attempt(task));
    return return_int(task, task_attempt(task));
}
TASK(nested_stubborn)

static int
nested_failures(task_t *task)
{
    future_t *u = spawn(task, "even", 3, NULL);
    const int *x;

    expect(future_result(u, NULL) == NULL && errno == EIO);
    expect(future_status(u) == FUTURE_FAILED && strstr(future_error(u), "3 is odd") != NULL);
    u = spawn(task, "nested_stubborn", 0, &(task_options_t){.retry_failed = true});
    expect((x = future_result(u, NULL)) != NULL && *x == 3 && future_attempts(u) == 3);
    u = spawn(task, "nested_stubborn", 0, &(task_options_t){.retry_failed = true, .retries = 1});
    expect(future_result(u, NULL) == NULL && future_attempts(u) == 2);
    u = spawn(task, "no_such_function", 0, NULL);
    expect(future_wait(u, -1) == 0 && future_status(u) == FUTURE_REJECTED);
    u = spawn(task, "nested_plus_one", 0, NULL);
    expect(future_cancel(u) == 0 && future_result(u, NULL) == NULL && errno == ECANCELED);
    return return_int(task, 1);
}
TASK(nested_failures)

/* A random number of each of a few tasks, and of theirs. */
static int
nested_numbers(task_t *task)
{
    uint64_t sum = task_random(task), parts[4] = {0};
    int depth = input_of(task), below[4];
    results_t *results;

    for (int i = 0; i < 4; i++)
        below[i] = depth - 1;
    if (depth > 0) {
        results = futures_map(task_futures(task), "nested_numbers", below, 4, sizeof(*below), NULL);
        expect(results != NULL && results_collect(&results, parts, sizeof(*parts)) == 0);
    }
    for (int i = 0; i < 4; i++)
        sum = sum * 31 + parts[i];
    return task_return(task, &sum, sizeof(sum));
}
TASK(nested_numbers)

/* Its input and its output, of odd sizes, stay what they are while others run. */
static int
nested_pointers(task_t *task)
{
    const unsigned char *input = task_input(task);
    size_t size = task_input_size(task);
    unsigned char *output = task_output(task, size);
    future_t *u;

    memset(output, input[0], size);
    errno = E2BIG;
    u = spawn(task, "nested_fib", 4, NULL);
    expect(u != NULL && future_wait(u, -1) == 0);
    for (size_t i = 0; i < size; i++)
        expect(input[i] == input[0] && output[i] == input[0]);
    output[size - 1]++;
    return 0;
}
TASK(nested_pointers)

static int
nested_poll(task_t *task)
{
    future_t *u = spawn(task, "nested_fib", 8, NULL);
    int rounds = 0;

    while (future_wait(u, 0) != 0) {
        expect(errno == ETIMEDOUT);
        rounds++;
        if (futures_dispatch(task_futures(task)) < 0)
            return -1;
    }
    return return_int(task, rounds > 0);
}
TASK(nested_poll)

static int
nested_ends(task_t *task)
{
    futures_t *f = task_futures(task);

    expect(f != NULL && future_result(spawn(task, "nested_fib", 5, NULL), NULL) != NULL);
    expect(serial || (futures_fd(f) == -1 && errno == EINVAL));
    expect(futures_share(f, "x", "x", 1) == -1 && errno == EINVAL);
    futures_close(f);
    expect(spawn(task, "nested_fib", 5, NULL) == NULL && errno == ESHUTDOWN);
    futures_destroy(&f);
    expect(f == NULL && task_futures(task) != NULL);
    return return_int(task, 1);
}
TASK(nested_ends)

/* A child process has no say in the session. */
static int
nested_fork(task_t *task)
{
    futures_t *f = task_futures(task);
    future_t *u = spawn(task, "nested_fib", 6, NULL);
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(futures_submit(f, "nested_fib", "", 0, NULL) == NULL && errno == EINVAL &&
                      future_wait(u, -1) == -1 && errno == EINVAL
                  ? 0
                  : 1);
    expect(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    expect((pid = fork()) >= 0);
    if (pid == 0)
        return 0; /* comes back, and is no executor */
    expect(waitpid(pid, &status, 0) == pid);
    expect(future_result(u, NULL) != NULL);
    return return_int(task, 1);
}
TASK(nested_fork)

static int
nested_pid(task_t *task)
{
    pause_ms(20);
    return return_int(task, getpid());
}
TASK(nested_pid)

/* How many executors run its tasks. */
static int
nested_spread(task_t *task)
{
    int pids[16] = {0}, others = 0;
    results_t *results =
        futures_map(task_futures(task), "nested_pid", pids, 16, sizeof(*pids), NULL);

    expect(results != NULL && results_collect(&results, pids, sizeof(*pids)) == 0);
    for (int i = 0; i < 16; i++)
        others += pids[i] != getpid();
    return return_int(task, others);
}
TASK(nested_spread)

static futures_t *leaked;

static int
nested_thief(task_t *task)
{
    futures_t *mine = task_futures(task);
    int outer = input_of(task);

    if (outer == getpid() && !serial) {
        expect(leaked != mine);
        expect(futures_submit(leaked, "nested_fib", "", 0, NULL) == NULL && errno == EINVAL);
    }
    return return_int(task, 1);
}
TASK(nested_thief)

static int
nested_theft(task_t *task)
{
    leaked = task_futures(task);
    expect(future_result(spawn(task, "nested_thief", getpid(), NULL), NULL) != NULL);
    return return_int(task, 1);
}
TASK(nested_theft)

static int
nested_add(task_t *task)
{
    const void *left, *right;
    size_t size;

    if (task_pair(task, &left, &size, &right, &size) != 0)
        return -1;
    return return_int(task, *(const int *)left + *(const int *)right);
}
TASK(nested_add)

static int
nested_sum(task_t *task)
{
    int n = input_of(task), zero = 0, *numbers = calloc((size_t)n, sizeof(*numbers)), *sum;

    expect(futures_map_reduce(task_futures(task), "nested_plus_one", "nested_add", numbers,
                              (size_t)n, sizeof(*numbers), &zero, sizeof(zero), (void **)&sum, NULL,
                              NULL) == 0);
    n = *sum;
    free(sum);
    free(numbers);
    return return_int(task, n);
}
TASK(nested_sum)

/* ---- tests ------------------------------------------------------------------------------------
 */

static void
a_task_spawns_tasks(void **state)
{
    assert_int_equal(ask(*state, "nested_fib", 1), 1);
    assert_int_equal(ask(*state, "nested_fib", 15), 610);
    assert_int_equal(ask(*state, "nested_tree", 1), 4);
    assert_int_equal(ask(*state, "nested_tree", 6), 1093);
}

static void
many_tasks_spawn_tasks(void **state)
{
    static const int fibonacci[] = {0, 1, 1, 2, 3, 5, 8, 13, 21, 34};
    int inputs[300], outputs[300];
    results_t *results;

    for (int i = 0; i < 300; i++)
        inputs[i] = i % 10;
    results = futures_map(*state, "nested_fib", inputs, 300, sizeof(*inputs), NULL);
    assert_int_equal(results_collect(&results, outputs, sizeof(*outputs)), 0);
    for (int i = 0; i < 300; i++)
        assert_int_equal(outputs[i], fibonacci[i % 10]);
}

static void
depth_is_no_limit(void **state)
{
    int depth = serial ? 200 : DEEP;

    assert_int_equal(ask(*state, "nested_chain", depth), depth);
    assert_int_equal(ask(*state, "nested_chain", depth), depth);
}

static void
width_is_no_limit(void **state)
{
    assert_int_equal(ask(*state, "nested_wide", WIDE), 1);
}

static void
all_ways_of_waiting_work_in_a_task(void **state)
{
    assert_int_equal(ask(*state, "nested_ways", 0), 1);
    assert_int_equal(ask(*state, "nested_imap", 1000), 1000);
    assert_int_equal(ask(*state, "nested_stream", 0), 6);
    assert_int_equal(ask(*state, "nested_sum", 1000), 1000);
}

static void
what_was_forgotten_is_cancelled(void **state)
{
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(*state, "nested_forget", 0), 7);
}

static void
failures_below_are_told(void **state)
{
    assert_int_equal(ask(*state, "nested_failures", 0), 1);
}

static void
numbers_are_the_same_everywhere(void **state)
{
    futures_t *alone = futures_new("serial");
    uint64_t *here, *there;
    int depth = 3;
    task_options_t options = {.seed = 5};

    assert_int_equal(futures_call(alone, "nested_numbers", &depth, sizeof(depth), (void **)&here,
                                  NULL, &options),
                     0);
    assert_int_equal(futures_call(*state, "nested_numbers", &depth, sizeof(depth), (void **)&there,
                                  NULL, &options),
                     0);
    assert_true(*here == *there);
    free(here);
    free(there);
    futures_destroy(&alone);
}

static void
what_a_task_borrowed_stays_while_it_waits(void **state)
{
    enum { N = 200, SIZE = 333 };
    static unsigned char inputs[N][SIZE], outputs[N][SIZE];
    results_t *results;

    for (int i = 0; i < N; i++)
        memset(inputs[i], i, SIZE);
    results = futures_map(*state, "nested_pointers", inputs, N, SIZE, NULL);
    assert_int_equal(results_collect(&results, outputs, SIZE), 0);
    for (int i = 0; i < N; i++) {
        assert_memory_equal(outputs[i], inputs[i], SIZE - 1);
        assert_int_equal(outputs[i][SIZE - 1], (i + 1) % 256);
    }
}

static void
polling_lets_others_run(void **state)
{
    if (!serial) /* there nothing runs in a call that only looks */
        assert_int_equal(ask(*state, "nested_poll", 0), 1);
}

static void
a_tasks_session_is_its_own(void **state)
{
    assert_int_equal(ask(*state, "nested_ends", 0), 1);
    assert_int_equal(ask(*state, "nested_theft", 0), 1);
    if (!serial)
        assert_int_equal(ask(*state, "nested_fork", 0), 1);
}

static void
idle_slots_are_found(void **state)
{
    if (futures_slots(*state) >= 2)
        assert_true(ask(*state, "nested_spread", 0) > 0);
}

int
nested_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_task_spawns_tasks),
        TEST(many_tasks_spawn_tasks),
        TEST(depth_is_no_limit),
        TEST(width_is_no_limit),
        TEST(all_ways_of_waiting_work_in_a_task),
        TEST(what_was_forgotten_is_cancelled),
        TEST(failures_below_are_told),
        TEST(numbers_are_the_same_everywhere),
        TEST(what_a_task_borrowed_stays_while_it_waits),
        TEST(polling_lets_others_run),
        TEST(a_tasks_session_is_its_own),
        TEST(idle_slots_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
