/* Tasks that spawn tasks: how they end, if not well. */
#include "nested.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* ---- tasks ------------------------------------------------------------------------------------
 */

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

/* ---- tests ------------------------------------------------------------------------------------
 */

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
nested_end_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(time_is_up_for_tasks_below),
        TEST(a_crash_below_is_tried_apart),
        TEST(a_crash_afar_leaves_alone_who_waits_for_it),
        TEST(cancelling_reaches_what_waits),
        TEST(what_waits_below_ends_with_its_task),
        TEST(a_task_that_waits_in_vain_is_told_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
