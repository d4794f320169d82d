/* What is promised of each task, to the letter: how it ends, how often it runs, what is said. */
#include "client.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- tasks ------------------------------------------------------------------------------------
 */

static struct order
order_of(task_t *task)
{
    struct order o = {0};

    (void)task_read(task, &o, sizeof(o));
    return o;
}

static void
crash_now(void)
{
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would make a failed exit of it */
    raise(SIGSEGV);
}

/* Counts its runs, in a byte of its own, before it does anything else. */
static bool
count_run(const struct order *o)
{
    int fd = open(o->path, O_RDWR | O_CLOEXEC);
    uint8_t n = 0;
    bool right = fd >= 0 && pread(fd, &n, 1, o->index) >= 0;

    n++;
    right = right && pwrite(fd, &n, 1, o->index) == 1;
    if (fd >= 0)
        close(fd);
    return right;
}

static int
mark(task_t *task)
{
    struct order o = order_of(task);

    if (!count_run(&o))
        return task_fail(task, "no file");
    return task_return(task, &o.index, sizeof(o.index));
}
TASK(mark)

/* Writes down that it was its turn. */
static int
note_turn(task_t *task)
{
    struct order o = order_of(task);
    int fd = open(o.path, O_WRONLY | O_APPEND | O_CLOEXEC);
    bool right = fd >= 0 && write(fd, &o.index, sizeof(o.index)) == sizeof(o.index);

    if (fd >= 0)
        close(fd);
    pause_ms(2); /* a neighbour whose processor is taken away must not fall behind by many */
    return right ? task_return(task, "", 0) : task_fail(task, "no file");
}
TASK(note_turn)

/* Ends when the file is gone. */
static int
gate(task_t *task)
{
    struct order o = order_of(task);

    while (access(o.path, F_OK) == 0 && !task_cancelled(task))
        pause_ms(1);
    return task_return(task, "", 0);
}
TASK(gate)

/* Crashes in its first n attempts. */
static int
shaky(task_t *task)
{
    struct order o = order_of(task);
    int attempt = task_attempt(task);

    (void)count_run(&o);
    if (attempt <= o.n)
        crash_now();
    return task_return(task, &attempt, sizeof(attempt));
}
TASK(shaky)

/* Runs so many ms, and crashes at the end of its first attempt. */
static int
slow_then_shaky(task_t *task)
{
    int attempt = task_attempt(task), ms = 0;

    if (task_read(task, &ms, sizeof(ms)) != 0)
        return -1;
    pause_ms(ms);
    if (attempt == 1)
        crash_now();
    return task_return(task, &attempt, sizeof(attempt));
}
TASK(slow_then_shaky)

/* Fails in its first n attempts. */
static int
sour(task_t *task)
{
    struct order o = order_of(task);
    int attempt = task_attempt(task);

    if (attempt <= o.n)
        return task_fail(task, "sour at attempt %d", attempt);
    return task_return(task, &attempt, sizeof(attempt));
}
TASK(sour)

/* Listens to nobody. */
static int
stubborn(task_t *task)
{
    struct order o = order_of(task);

    signal(SIGTERM, SIG_IGN);
    (void)count_run(&o);
    for (;;)
        pause_ms(1000);
    return task_return(task, "", 0);
}
TASK(stubborn)

static int
shaky_numbers(task_t *task)
{
    uint64_t x[4];

    for (int i = 0; i < 4; i++) {
        x[i] = task_random(task);
        if (i == 1 && task_attempt(task) <= 1 + (int)(task_index(task) % 2) &&
            strcmp(task_worker(task), "serial") != 0)
            crash_now();
    }
    return task_return(task, x, sizeof(x));
}
TASK(shaky_numbers)

static int
leave(task_t *task)
{
    (void)task;
    fflush(NULL);
    _exit(9);
}
TASK(leave)

/* ---- what the tests share ---------------------------------------------------------------------
 */

struct order
order_new(int32_t n)
{
    struct order o = {.n = n};
    int fd;

    strcpy(o.path, "/tmp/ladle-exact-XXXXXX");
    fd = mkstemp(o.path);
    assert_true(fd >= 0);
    close(fd);
    return o;
}

size_t
order_read(const struct order *o, void *data, size_t size)
{
    int fd = open(o->path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, data, size);
    assert_true(n >= 0);
    close(fd);
    return (size_t)n;
}

future_t *
submit_order(futures_t *f, const char *function, const struct order *o,
             const task_options_t *options)
{
    future_t *u = futures_submit(f, function, o, sizeof(*o), options);

    assert_non_null(u);
    return u;
}

int
fill_slots(futures_t *f, const struct order *o, future_t *held[SLOTS])
{
    int n = futures_slots(f);

    assert_in_range(n, 1, SLOTS);
    for (int i = 0; i < n; i++)
        held[i] = submit_order(f, "gate", o, NULL);
    for (int i = 0; i < n; i++)
        await(future_running(held[i]));
    return n;
}

void
empty_slots(const struct order *o, future_t *held[SLOTS], int n)
{
    unlink(o->path);
    for (int i = 0; i < n; i++) {
        assert_int_equal(future_wait(held[i], SOON), 0);
        assert_int_equal(future_status(held[i]), FUTURE_DONE);
        future_destroy(&held[i]);
    }
}

static void
assert_attempt(future_t *u, int attempt)
{
    const int *result;

    assert_int_equal(future_wait(u, SOON), 0);
    if ((result = future_result(u, NULL)) == NULL)
        print_error("%s\n", futures_error());
    assert_non_null(result);
    assert_int_equal(*result, attempt);
    assert_int_equal(future_attempts(u), attempt);
}

/* ---- options ----------------------------------------------------------------------------------
 */

static void
higher_priority_overtakes_the_queue(void **state)
{
    enum { LOW = 300 };
    futures_t *f = *state;
    struct order door, turn;
    future_t *held[SLOTS], *u[LOW + 1];
    int32_t turns[LOW + 1];
    int n, at = 0;

    if (serial)
        skip(); /* in the order of submission */
    door = order_new(0);
    turn = order_new(0);
    n = fill_slots(f, &door, held);
    for (turn.index = 0; turn.index < LOW; turn.index++)
        u[turn.index] = submit_order(f, "note_turn", &turn, NULL);
    u[LOW] = submit_order(f, "note_turn", &turn, &(task_options_t){.priority = 3});
    await(future_status(u[LOW]) == FUTURE_QUEUED);
    empty_slots(&door, held, n);
    assert_int_equal(futures_wait(u, LOW + 1, ALL_COMPLETED, SOON), LOW + 1);
    assert_int_equal(order_read(&turn, turns, sizeof(turns)), sizeof(turns));
    while (turns[at] != LOW)
        at++;
    assert_in_range(at, 0, LOW / 2); /* behind what was at the workers already */
    for (int i = 0; i <= LOW; i++)
        future_destroy(&u[i]);
    unlink(turn.path);
}

/* On a busy machine a task may stand still for longer than the time that it has. So that is made
 * longer until it suffices; what is wrong stays so. */
static void
at_some_pace(futures_t *f, bool (*holds)(futures_t *f, int ms))
{
    int ms = 400;

    while (!holds(f, ms)) {
        assert_true(ms < 10000);
        ms *= 3;
    }
}

static bool
only_the_third_is_stopped(futures_t *f, int ms)
{
    char wanted[32];
    future_t *u[6];
    int64_t since = now_ms();
    bool others = true;

    snprintf(wanted, sizeof(wanted), "%d ms", ms);
    for (int i = 0; i < 6; i++)
        u[i] = submit_int(f, "linger", i == 2 ? 100 * SOON : 20, &(task_options_t){.timeout = ms});
    for (int i = 0; i < 6; i++) {
        assert_int_equal(future_wait(u[i], SOON), 0);
        if (i != 2)
            others = others && future_status(u[i]) == FUTURE_DONE;
    }
    assert_int_equal(future_status(u[2]), FUTURE_TIMED_OUT);
    assert_true(now_ms() - since >= ms);
    assert_int_equal(future_attempts(u[2]), 1); /* time is no crash: no other attempt */
    assert_null(future_result(u[2], NULL));
    assert_int_equal(errno, EIO);
    assert_non_null(strstr(future_error(u[2]), "linger on worker "));
    assert_non_null(strstr(future_error(u[2]), wanted));
    for (int i = 0; i < 6; i++)
        future_destroy(&u[i]);
    return others;
}

static void
only_the_task_over_its_time_is_stopped(void **state)
{
    if (serial)
        skip();
    at_some_pace(*state, only_the_third_is_stopped);
}

static bool
waits_for_longer_than_it_may_run(futures_t *f, int ms)
{
    future_t *held[SLOTS], *u;
    struct order door = order_new(0);
    int n = fill_slots(f, &door, held);
    bool done;

    u = submit_int(f, "linger", 10, &(task_options_t){.timeout = ms / 2});
    assert_int_equal(future_wait(u, ms), -1);
    empty_slots(&door, held, n);
    assert_int_equal(future_wait(u, SOON), 0);
    if ((done = future_status(u) == FUTURE_DONE)) {
        assert_true(future_wait_time(u) * 1000 >= ms * 0.75);
        assert_true(future_run_time(u) * 1000 < ms / 2.0);
    }
    future_destroy(&u);
    return done;
}

static void
time_in_the_queue_is_not_running_time(void **state)
{
    if (serial)
        skip();
    at_some_pace(*state, waits_for_longer_than_it_may_run);
}

static bool
runs_twice_for_most_of_its_time(futures_t *f, int ms)
{
    future_t *u = futures_submit(f, "slow_then_shaky", &(int){ms * 6 / 10}, sizeof(int),
                                 &(task_options_t){.timeout = ms});
    bool late;

    assert_non_null(u);
    assert_int_equal(future_wait(u, SOON), 0);
    if (!(late = future_status(u) == FUTURE_TIMED_OUT))
        assert_attempt(u, 2);
    future_destroy(&u);
    return !late;
}

static void
each_attempt_has_its_own_time(void **state)
{
    if (serial)
        skip();
    at_some_pace(*state, runs_twice_for_most_of_its_time);
}

static void
a_deadline_ends_what_waits_and_what_runs(void **state)
{
    futures_t *f = *state;
    future_t *held[SLOTS], *running, *queued;
    struct order door;
    int64_t since;
    int n;

    if (serial) { /* before it starts, there too */
        queued = submit_int(f, "echo", 1, &(task_options_t){.deadline = 1});
        pause_ms(300);
        assert_null(future_result(queued, NULL));
        assert_int_equal(future_status(queued), FUTURE_TIMED_OUT);
        future_destroy(&queued);
        return;
    }
    since = now_ms();
    running = submit_int(f, "linger", 100 * SOON, &(task_options_t){.deadline = 300});
    assert_int_equal(future_wait(running, SOON), 0);
    assert_true(now_ms() - since >= 300);
    assert_int_equal(future_status(running), FUTURE_TIMED_OUT);
    assert_non_null(strstr(future_error(running), "deadline of 0.3 s"));
    door = order_new(0);
    n = fill_slots(f, &door, held);
    queued = submit_int(f, "echo", 1, &(task_options_t){.deadline = 200});
    assert_int_equal(future_wait(queued, SOON), 0);
    assert_int_equal(future_status(queued), FUTURE_TIMED_OUT);
    assert_int_equal(future_attempts(queued), 0); /* it never ran */
    assert_non_null(strstr(future_error(queued), "deadline"));
    empty_slots(&door, held, n);
    future_destroy(&running);
    future_destroy(&queued);
}

static void
a_crash_is_tried_again_as_often_as_asked(void **state)
{
    static const struct {
        int crashes, retries, attempts;
        bool done;
    } cases[] = {{2, 2, 3, true},   {3, 2, 3, false}, {2, 0, 3, true},
                 {3, 0, 3, false},  {1, 1, 2, true},  {2, 1, 2, false},
                 {1, -1, 1, false}, {0, -1, 1, true}, {4, 5, 5, true}};
    enum { N = sizeof(cases) / sizeof(*cases) };
    futures_t *f = *state;
    struct order o;
    future_t *u[N];
    uint8_t runs[N];

    if (serial)
        skip();
    o = order_new(0);
    for (o.index = 0; o.index < N; o.index++) {
        o.n = cases[o.index].crashes;
        u[o.index] =
            submit_order(f, "shaky", &o, &(task_options_t){.retries = cases[o.index].retries});
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(future_wait(u[i], SOON), 0);
        assert_int_equal(future_status(u[i]), cases[i].done ? FUTURE_DONE : FUTURE_CRASHED);
        assert_int_equal(future_attempts(u[i]), cases[i].attempts);
        if (cases[i].done)
            assert_attempt(u[i], cases[i].attempts);
        future_destroy(&u[i]);
    }
    assert_int_equal(order_read(&o, runs, sizeof(runs)), N);
    for (int i = 0; i < N; i++)
        assert_int_equal(runs[i], cases[i].attempts);
    unlink(o.path);
}

static void
a_failure_is_tried_again_if_asked(void **state)
{
    static const struct {
        int failures, attempts;
        task_options_t options;
        bool done;
    } cases[] = {
        {2, 1, {.retries = 5}, false},
        {2, 3, {.retry_failed = true}, true},
        {3, 3, {.retry_failed = true}, false},
        {1, 1, {.retry_failed = true, .retries = -1}, false},
        {1, 1, {.retry_failed = true, .once = true}, false},
        {4, 5, {.retry_failed = true, .retries = 4}, true},
    };
    enum { N = sizeof(cases) / sizeof(*cases) };
    futures_t *f = *state;
    char words[64];
    future_t *u[N];

    for (int i = 0; i < N; i++)
        u[i] = submit_order(f, "sour", &(struct order){.n = cases[i].failures}, &cases[i].options);
    for (int i = 0; i < N; i++) {
        assert_int_equal(future_wait(u[i], SOON), 0);
        assert_int_equal(future_status(u[i]), cases[i].done ? FUTURE_DONE : FUTURE_FAILED);
        assert_int_equal(future_attempts(u[i]), cases[i].attempts);
        snprintf(words, sizeof(words), "sour at attempt %d", cases[i].attempts);
        if (!cases[i].done)
            assert_non_null(strstr(future_error(u[i]), words));
        future_destroy(&u[i]);
    }
}

static void
a_one_time_task_that_crashes_is_not_tried_again(void **state)
{
    futures_t *f = *state;
    struct order o;
    future_t *u;
    uint8_t runs;

    if (serial)
        skip();
    o = order_new(1);
    u = submit_order(f, "shaky", &o, &(task_options_t){.once = true, .retries = 5});
    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(future_status(u), FUTURE_CRASHED);
    assert_int_equal(future_attempts(u), 1);
    assert_int_equal(order_read(&o, &runs, 1), 1);
    assert_int_equal(runs, 1);
    future_destroy(&u);
    unlink(o.path);
}

/* ---- sentences --------------------------------------------------------------------------------
 */

static void
assert_error(future_t *u, const char *function, int attempt, const char *words)
{
    char expected[512];

    assert_int_equal(future_wait(u, SOON), 0);
    snprintf(expected, sizeof(expected), "%s on worker %s, attempt %d: %s", function,
             future_worker(u), attempt, words);
    if (strncmp(future_error(u), expected, strlen(expected)) != 0)
        fail_msg("'%s' does not begin with '%s'", future_error(u), expected);
}

static void
a_sentence_says_who_where_which_attempt_and_why(void **state)
{
    futures_t *f = *state;
    results_t *r;
    future_t *u;
    int x = 5;

    u = submit_int(f, "even", 3, NULL);
    assert_error(u, "even", 1, "3 is odd");
    future_destroy(&u);
    u = submit_order(f, "sour", &(struct order){.n = 9}, &(task_options_t){.retry_failed = true});
    assert_error(u, "sour", 3, "sour at attempt 3");
    future_destroy(&u);
    r = futures_map(f, "even", &x, 1, sizeof(x), NULL);
    assert_null(results_next(r, NULL));
    assert_non_null(strstr(results_error(r), "even[0] on worker "));
    assert_non_null(strstr(results_error(r), ", attempt 1: 5 is odd"));
    assert_true(strlen(results_worker(r)) > 0);
    results_destroy(&r);
    u = submit_int(f, "linger", 10 * SOON, NULL);
    future_cancel(u);
    assert_string_equal(future_error(u), "linger: cancelled");
    future_destroy(&u);
    if (serial)
        return;
    u = futures_submit(f, "crash", NULL, 0, &(task_options_t){.retries = -1});
    assert_error(u, "crash", 1, "killed by signal 11");
    future_destroy(&u);
    u = futures_submit(f, "leave", NULL, 0, &(task_options_t){.retries = 1});
    assert_error(u, "leave", 2, "");
    assert_non_null(strstr(future_error(u), "status 9"));
    future_destroy(&u);
}

/* ---- random numbers ---------------------------------------------------------------------------
 */

enum { DRAWN = 40 };

static void
draw(const char *where, uint64_t seed, uint64_t out[DRAWN + 1][4])
{
    futures_t *f = futures_open(
        &(futures_config_t){.endpoint = where, .slots = 1, .seed = seed, .quiet = true});
    results_t *r = futures_map(f, "shaky_numbers", NULL, DRAWN, 0, NULL);
    const uint64_t *x;
    future_t *u;

    assert_int_equal(results_collect(&r, out, sizeof(*out)), 0);
    u = futures_submit(f, "shaky_numbers", NULL, 0, NULL);
    assert_non_null(x = future_result(u, NULL));
    memcpy(out[DRAWN], x, sizeof(*out));
    future_destroy(&u);
    futures_destroy(&f);
}

static void
random_numbers_survive_crashes_and_follow_the_seed(void **state)
{
    uint64_t here[DRAWN + 1][4], there[DRAWN + 1][4], other[DRAWN + 1][4];

    (void)state;
    draw(endpoint, 7, here);
    draw("serial", 7, there);
    assert_memory_equal(here, there, sizeof(here));
    draw(endpoint, 7, there);
    assert_memory_equal(here, there, sizeof(here));
    draw(endpoint, 8, other);
    for (int i = 0; i <= DRAWN; i++)
        assert_memory_not_equal(here[i], other[i], sizeof(*here));
}

int
exact_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(higher_priority_overtakes_the_queue),
        TEST(only_the_task_over_its_time_is_stopped),
        TEST(time_in_the_queue_is_not_running_time),
        TEST(each_attempt_has_its_own_time),
        TEST(a_deadline_ends_what_waits_and_what_runs),
        TEST(a_crash_is_tried_again_as_often_as_asked),
        TEST(a_failure_is_tried_again_if_asked),
        TEST(a_one_time_task_that_crashes_is_not_tried_again),
        TEST(a_sentence_says_who_where_which_attempt_and_why),
        cmocka_unit_test(random_numbers_survive_crashes_and_follow_the_seed),
    };

    return cmocka_run_group_tests_name("exactness", tests, NULL, NULL);
}
