/* Tasks that spawn tasks, and wait for them. */
#include "client.h"

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

/* Fails unless the condition holds: an assertion would end the executor. */
#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return task_fail(task, "line %d: not so: %s; %s", __LINE__, #condition,                \
                             futures_error());                                                     \
    } while (0)

static int
input_of(task_t *task)
{
    int x = -1;

    (void)task_read(task, &x, sizeof(x));
    return x;
}

static int
return_int(task_t *task, int x)
{
    return task_return(task, &x, sizeof(x));
}

static future_t *
spawn(task_t *task, const char *function, int x, const task_options_t *options)
{
    return futures_submit(task_futures(task), function, &x, sizeof(x), options);
}

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

/* Writes a line into a file when its wait is over, saying why. */
static int
nested_note(task_t *task)
{
    const char *path = task_input(task), *why;
    future_t *u = futures_submit(task_futures(task), "nested_plus_one", NULL, 0,
                                 &(task_options_t){.needs = "unicorn"});
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

    if (fd < 0 || write(fd, "began\n", 6) != 6)
        return task_fail(task, "no file");
    why = future_result(u, NULL) == NULL && errno == ECANCELED && task_cancelled(task) ? "ended\n"
                                                                                       : "wrong\n";
    if (spawn(task, "nested_plus_one", 1, NULL) != NULL || errno != ESHUTDOWN)
        why = "more\n";
    (void)!write(fd, why, strlen(why));
    close(fd);
    return task_fail(task, "%s", why);
}
TASK(nested_note)

/* The same, below another one that is cancelled. */
static int
nested_note_below(task_t *task)
{
    future_t *u = futures_submit(task_futures(task), "nested_note", task_input(task),
                                 task_input_size(task), NULL);

    (void)future_result(u, NULL);
    return task_fail(task, "waited for nothing");
}
TASK(nested_note_below)

/* Asks for a session only when nobody wants it any more. */
static int
nested_note_late(task_t *task)
{
    int fd = open(task_input(task), O_WRONLY | O_APPEND | O_CLOEXEC);
    const char *why = "more\n";

    if (fd < 0 || write(fd, "began\n", 6) != 6)
        return task_fail(task, "no file");
    while (!task_cancelled(task))
        pause_ms(1);
    if (task_futures(task) != NULL && spawn(task, "nested_plus_one", 1, NULL) == NULL &&
        errno == ESHUTDOWN)
        why = "ended\n";
    (void)!write(fd, why, strlen(why));
    close(fd);
    return task_fail(task, "%s", why);
}
TASK(nested_note_late)

static int
nested_note_late_below(task_t *task)
{
    future_t *u = futures_submit(task_futures(task), "nested_note_late", task_input(task),
                                 task_input_size(task), NULL);

    (void)future_result(u, NULL);
    return task_fail(task, "waited for nothing");
}
TASK(nested_note_late_below)

/* Returns while a task of its own waits for what never comes. */
static int
nested_abandon(task_t *task)
{
    future_t *u = futures_submit(task_futures(task), "nested_note", task_input(task),
                                 task_input_size(task), NULL);

    expect(u != NULL && future_wait(u, 50) == -1 && errno == ETIMEDOUT);
    expect(future_running(u) && futures_slots(task_futures(task)) > 0);
    return return_int(task, 7);
}
TASK(nested_abandon)

static int
nested_timeouts(task_t *task)
{
    future_t *u = spawn(task, "linger", 60000, &(task_options_t){.timeout = 100});

    expect(future_result(u, NULL) == NULL && future_status(u) == FUTURE_TIMED_OUT);
    u = spawn(task, "nested_plus_one", 1, &(task_options_t){.needs = "unicorn"});
    expect(future_wait(u, 50) == -1 && errno == ETIMEDOUT);
    expect(!future_done(u) && future_cancel(u) == 0);
    u = spawn(task, "nested_plus_one", 1, &(task_options_t){.needs = "unicorn", .deadline = 50});
    expect(future_wait(u, -1) == 0 && future_status(u) == FUTURE_TIMED_OUT);
    return return_int(task, 1);
}
TASK(nested_timeouts)

/* A crash of a task that ran here is this task's own, once. */
static int
nested_crash(task_t *task)
{
    future_t *u = spawn(task, "crash", 1, &(task_options_t){.retries = -1});
    future_t *well = spawn(task, "nested_plus_one", 1, NULL);
    const int *x;

    expect(future_result(u, NULL) == NULL && future_status(u) == FUTURE_CRASHED);
    expect((x = future_result(well, NULL)) != NULL && *x == 2);
    return return_int(task, task_attempt(task));
}
TASK(nested_crash)

/* What always goes by the grid may come back to the very executor in which this waits. */
static int
nested_crash_afar(task_t *task)
{
    future_t *u = spawn(task, "crash", 1, &(task_options_t){.deadline = 60000, .retries = -1});

    expect(future_result(u, NULL) == NULL && future_status(u) == FUTURE_CRASHED);
    return return_int(task, task_attempt(task));
}
TASK(nested_crash_afar)

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

static int
ask(futures_t *f, const char *function, int x)
{
    int *result, answer;

    if (futures_call(f, function, &x, sizeof(x), (void **)&result, NULL, NULL) != 0)
        fail_msg("%s: %s", function, futures_error());
    answer = *result;
    free(result);
    return answer;
}

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

static void
time_is_up_for_tasks_below(void **state)
{
    if (!serial)
        assert_int_equal(ask(*state, "nested_timeouts", 0), 1);
}

static void
a_crash_below_is_tried_apart(void **state)
{
    if (!serial)
        assert_int_equal(ask(*state, "nested_crash", 0), 2);
}

static void
a_crash_afar_leaves_alone_who_waits_for_it(void **state)
{
    int x = 0;
    future_t *u;

    if (serial)
        return;
    u = futures_submit(*state, "nested_crash_afar", &x, sizeof(x), NULL);
    assert_int_equal(future_wait(u, SOON), 0);
    assert_non_null(future_result(u, NULL));
    assert_int_equal(*(const int *)future_result(u, NULL), 1);
    future_destroy(&u);
}

static bool
file_says(const char *path, const char *text)
{
    char found[64] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, found, sizeof(found) - 1);

    close(fd);
    return n >= 0 && strcmp(found, text) == 0;
}

static void
cancel_while_it_waits(futures_t *f, const char *function)
{
    char path[] = "/tmp/ladle-nested-XXXXXX";
    int fd = mkstemp(path);
    future_t *u;

    assert_true(fd >= 0);
    close(fd);
    assert_non_null(u = futures_submit(f, function, path, sizeof(path), NULL));
    await(file_says(path, "began\n"));
    assert_int_equal(future_cancel(u), 0);
    await(file_says(path, "began\nended\n"));
    future_destroy(&u);
    unlink(path);
}

static void
cancelling_reaches_what_waits(void **state)
{
    if (serial)
        return;
    cancel_while_it_waits(*state, "nested_note");
    cancel_while_it_waits(*state, "nested_note_below");
    cancel_while_it_waits(*state, "nested_note_late");
    cancel_while_it_waits(*state, "nested_note_late_below");
    assert_int_equal(ask(*state, "nested_fib", 5), 5);
}

static void
what_waits_below_ends_with_its_task(void **state)
{
    char path[] = "/tmp/ladle-nested-XXXXXX";
    int fd = mkstemp(path);
    void *result;

    assert_true(fd >= 0);
    close(fd);
    if (!serial) {
        if (futures_call(*state, "nested_abandon", path, sizeof(path), &result, NULL, NULL) != 0)
            fail_msg("%s", futures_error());
        assert_true(file_says(path, "began\nended\n"));
        free(result);
    }
    unlink(path);
}

/* Waits for a task that no worker can run, until it is told why. */
static int
hopeless(task_t *task)
{
    task_options_t options = {.needs = "unicorn"};
    future_t *f = futures_submit(task_futures(task), "echo", "", 0, &options);
    int64_t until = now_ms() + SOON;

    if (f == NULL)
        return task_fail(task, "%s", futures_error());
    while (future_wait(f, 50) != 0 && now_ms() < until)
        if (strstr(futures_error(), "unicorn") != NULL)
            return task_fail(task, "%s", futures_error());
    return task_return(task, "", 0);
}
TASK(hopeless)

static void
a_task_that_waits_in_vain_is_told_why(void **state)
{
    if (serial)
        return; /* there needs are not looked at */
    assert_int_equal(futures_call(*state, "hopeless", "", 0, NULL, NULL, NULL), -1);
    assert_non_null(strstr(futures_error(), "unicorn"));
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
        TEST(time_is_up_for_tasks_below),
        TEST(a_crash_below_is_tried_apart),
        TEST(a_crash_afar_leaves_alone_who_waits_for_it),
        TEST(cancelling_reaches_what_waits),
        TEST(what_waits_below_ends_with_its_task),
        TEST(a_task_that_waits_in_vain_is_told_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
