/* What a session is asked to give its executors: an initializer, variables, a directory, an end. */
#include "client.h"

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- executors --------------------------------------------------------------------------------
 */

static int prepared; /* by the initializer */

static int
prepare(void *arg)
{
    const char *how = arg;

    if (strcmp(how, "fail") == 0) {
        fprintf(stderr, "the model is not there\n");
        return 7;
    }
    if (strcmp(how, "crash") == 0) {
        signal(SIGABRT, SIG_DFL);
        abort();
    }
    if (strcmp(how, "leave") == 0)
        exit(0);
    prepared += 42;
    return 0;
}

futures_t *
open_barrier(void)
{
    char *initializer = getenv("CLIENT_INITIALIZER");
    const char *tasks = getenv("CLIENT_TASKS"), *stack = getenv("CLIENT_STACK");
    futures_config_t config = {.endpoint = "serial",
                               .tasks_per_executor = tasks == NULL ? 0 : atoi(tasks),
                               .stack_size = stack == NULL ? 0 : (size_t)atol(stack)};

    if (initializer != NULL) {
        config.initializer = prepare;
        config.initializer_arg = initializer;
    }
    return futures_open(&config);
}

static int
what_is_prepared(task_t *task)
{
    return task_return(task, &prepared, sizeof(prepared));
}
TASK(what_is_prepared)

static int
variable(task_t *task)
{
    char name[64] = "";
    const char *value;

    memcpy(name, task_input(task), task_input_size(task) < 63 ? task_input_size(task) : 63);
    if ((value = getenv(name)) == NULL)
        return task_fail(task, "there is no %s", name);
    return task_return(task, value, strlen(value) + 1);
}
TASK(variable)

static int
directory(task_t *task)
{
    char path[4096];

    if (getcwd(path, sizeof(path)) == NULL)
        return task_fail(task, "nowhere");
    return task_return(task, path, strlen(path) + 1);
}
TASK(directory)

static int
process(task_t *task)
{
    pid_t pid = getpid();

    return task_return(task, &pid, sizeof(pid));
}
TASK(process)

/* ---- tests ------------------------------------------------------------------------------------
 */

static futures_t *
open_with(const char *variable_1, const char *variable_2, const char *where)
{
    const char *const variables[] = {variable_1, variable_2, NULL};
    futures_t *f = futures_open(&(futures_config_t){
        .endpoint = endpoint, .quiet = true, .environment = variables, .directory = where});

    if (f == NULL)
        print_error("%s\n", futures_error());
    assert_non_null(f);
    return f;
}

static void
assert_refused(const futures_config_t *config, const char *words)
{
    errno = 0;
    assert_null(futures_open(config));
    assert_int_equal(errno, EINVAL);
    if (strstr(futures_error(), words) == NULL)
        fail_msg("'%s' does not say '%s'", futures_error(), words);
}

static void
refuse_variable(const char *variable, const char *words)
{
    const char *const variables[] = {"FINE=1", variable, NULL};

    assert_refused(&(futures_config_t){.endpoint = endpoint, .environment = variables}, words);
}

static void
a_bad_config_is_refused(void **state)
{
    static char large[9000];
    futures_config_t c = {.endpoint = endpoint, .quiet = true};
    futures_t *f;

    (void)state;
    refuse_variable("nonsense", "expected NAME=VALUE");
    refuse_variable("=value", "expected NAME=VALUE");
    refuse_variable("", "expected NAME=VALUE");
    refuse_variable("LADLE_BROKER=tcp://x:1", "LADLE_BROKER");
    memset(large, 'a', sizeof(large) - 1);
    large[1] = '=';
    refuse_variable(large, "8192");
    c.directory = "here";
    assert_refused(&c, "absolute");
    c.directory = "/two\nlines";
    assert_refused(&c, "control");
    large[0] = '/';
    large[4096] = '\0';
    c.directory = large;
    assert_refused(&c, "4095");
    c.directory = NULL;
    c.stack_size = 65535;
    assert_refused(&c, "stack_size is 65535");
    c.stack_size = ((size_t)1 << 30) + 1;
    assert_refused(&c, "1 GiB");
    c.stack_size = (64 << 10) + 1; /* rounded up to pages */
    assert_non_null(f = futures_open(&c));
    assert_int_equal(futures_call(f, "echo", "a", 1, NULL, NULL, NULL), 0);
    futures_destroy(&f);
    c.stack_size = 0;
    c.tasks_per_executor = -1;
    assert_refused(&c, "negative");
}

static void
assert_variable(futures_t *f, const char *name, const char *expected)
{
    char *value = NULL;

    if (futures_call(f, "variable", name, strlen(name), (void **)&value, NULL, NULL) != 0)
        print_error("%s\n", futures_error());
    assert_non_null(value);
    assert_string_equal(value, expected);
    free(value);
}

static void
executors_get_the_variables_of_their_session(void **state)
{
    futures_t *f, *g;

    (void)state;
    if (serial)
        skip(); /* tasks run in this process */
    f = open_with("CLIENT_NAME=one", "HOME=/nowhere", NULL);
    g = open_with("CLIENT_NAME=two=2", "CLIENT_EMPTY=", NULL);
    for (int i = 0; i < 3; i++) {
        assert_variable(f, "CLIENT_NAME", "one");
        assert_variable(g, "CLIENT_NAME", "two=2");
        assert_variable(f, "HOME", "/nowhere"); /* over that of the worker */
        assert_variable(g, "CLIENT_EMPTY", "");
    }
    assert_int_equal(futures_call(f, "variable", "CLIENT_EMPTY", 12, NULL, NULL, NULL), -1);
    assert_int_equal(errno, EIO);
    futures_destroy(&f);
    futures_destroy(&g);
}

static void
executors_work_where_their_session_says(void **state)
{
    char where[] = "/tmp/ladle-config-XXXXXX", *real, *value = NULL;
    futures_t *f;
    future_t *u;

    (void)state;
    if (serial)
        skip();
    assert_non_null(mkdtemp(where));
    assert_non_null(real = realpath(where, NULL));
    f = open_with(NULL, NULL, where);
    assert_int_equal(futures_call(f, "directory", "", 0, (void **)&value, NULL, NULL), 0);
    assert_string_equal(value, real);
    futures_destroy(&f);
    free(value);
    free(real);
    rmdir(where);

    strcpy(where, "/tmp/ladle-config-absent"); /* that is told, and nothing hangs */
    f = open_with(NULL, NULL, where);
    u = futures_submit(f, "directory", "", 0, NULL);
    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(future_status(u), FUTURE_REJECTED);
    if (strstr(future_error(u), where) == NULL)
        fail_msg("'%s' does not name '%s'", future_error(u), where);
    future_destroy(&u);
    futures_destroy(&f);
}

static void
an_initializer_runs_once_in_each_executor_before_its_tasks(void **state)
{
    futures_t *f;
    int out[200];
    results_t *r;

    (void)state;
    if (serial)
        skip(); /* has its own test */
    f = open_with("CLIENT_INITIALIZER=well", NULL, NULL);
    r = futures_map(f, "what_is_prepared", NULL, 200, 0, NULL);
    assert_int_equal(results_collect(&r, out, sizeof(*out)), 0);
    for (int i = 0; i < 200; i++)
        assert_int_equal(out[i], 42);
    futures_destroy(&f);
}

static void
an_initializer_that_fails_is_told_and_nothing_hangs(void **state)
{
    static const char *const ways[][3] = {
        {"CLIENT_INITIALIZER=fail", "the model is not there", "initializer returned 7"},
        {"CLIENT_INITIALIZER=crash", "signal 6", ""},
        {"CLIENT_INITIALIZER=leave", "ended before", ""},
    };

    (void)state;
    if (serial)
        skip();
    for (int i = 0; i < 3; i++) {
        futures_t *f = open_with(ways[i][0], NULL, NULL);
        future_t *u = submit_int(f, "echo", 1, NULL);
        results_t *r = futures_map(f, "echo", "abc", 3, 1, NULL);

        assert_int_equal(future_wait(u, SOON), 0);
        assert_int_equal(future_status(u), FUTURE_REJECTED);
        if (strstr(future_error(u), ways[i][1]) == NULL ||
            strstr(future_error(u), ways[i][2]) == NULL)
            fail_msg("'%s' does not say '%s'", future_error(u), ways[i][1]);
        for (int k = 0; k < 3; k++) {
            assert_null(results_next_within(r, NULL, SOON));
            assert_int_equal(results_status(r), FUTURE_REJECTED);
        }
        future_destroy(&u);
        results_destroy(&r);
        futures_destroy(&f);
    }
}

static void
a_session_whose_executors_cannot_start_leaves_others_alone(void **state)
{
    futures_t *f, *g;
    future_t *u[3];

    (void)state;
    if (serial)
        skip();
    f = open_with("CLIENT_INITIALIZER=fail", NULL, NULL);
    g = open_with("CLIENT_INITIALIZER=well", NULL, NULL);
    for (int round = 0; round < 3; round++) {
        u[0] = submit_int(f, "what_is_prepared", 1, NULL);
        u[1] = submit_int(g, "what_is_prepared", 1, NULL);
        u[2] = submit_int(g, "echo", 1, &(task_options_t){.needs = ""});
        for (int i = 0; i < 3; i++) {
            assert_int_equal(future_wait(u[i], SOON), 0);
            if (i > 0 && !future_successful(u[i]))
                print_error("%s\n", future_error(u[i]));
            assert_int_equal(future_status(u[i]), i == 0 ? FUTURE_REJECTED : FUTURE_DONE);
            future_destroy(&u[i]);
        }
    }
    futures_destroy(&f);
    futures_destroy(&g);
}

static void
a_serial_session_calls_its_initializer_when_it_is_opened(void **state)
{
    char well[] = "well", fail[] = "fail";
    futures_config_t c = {.endpoint = "serial", .initializer = prepare, .initializer_arg = well};
    futures_t *f;
    int *value = NULL;

    (void)state;
    prepared = 0;
    assert_non_null(f = futures_open(&c));
    assert_int_equal(prepared, 42);
    assert_int_equal(futures_call(f, "what_is_prepared", "", 0, (void **)&value, NULL, NULL), 0);
    assert_int_equal(*value, 42);
    free(value);
    futures_destroy(&f);
    assert_int_equal(prepared, 42);
    c.initializer_arg = fail;
    assert_null(futures_open(&c));
    assert_int_equal(errno, ECANCELED);
    assert_string_equal(futures_error(), "initializer returned 7");
    prepared = 0;
}

static int
compare(const void *left, const void *right)
{
    return (*(const pid_t *)left > *(const pid_t *)right) -
           (*(const pid_t *)left < *(const pid_t *)right);
}

static void
executors_are_replaced_after_so_many_tasks(void **state)
{
    enum { N = 60, EACH = 5 };
    futures_t *f;
    results_t *r;
    pid_t pids[N];
    int n = 0;

    (void)state;
    if (serial)
        skip();
    f = open_with("CLIENT_TASKS=5", NULL, NULL);
    r = futures_map(f, "process", NULL, N, 0, NULL);
    assert_int_equal(results_collect(&r, pids, sizeof(*pids)), 0);
    qsort(pids, N, sizeof(*pids), compare);
    for (int i = 0; i < N; i++) {
        n = i > 0 && pids[i] == pids[i - 1] ? n + 1 : 1;
        assert_in_range(n, 1, EACH);
    }
    futures_destroy(&f);
}

int
config_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_config_is_refused),
        cmocka_unit_test(executors_get_the_variables_of_their_session),
        cmocka_unit_test(executors_work_where_their_session_says),
        cmocka_unit_test(an_initializer_runs_once_in_each_executor_before_its_tasks),
        cmocka_unit_test(an_initializer_that_fails_is_told_and_nothing_hangs),
        cmocka_unit_test(a_session_whose_executors_cannot_start_leaves_others_alone),
        cmocka_unit_test(a_serial_session_calls_its_initializer_when_it_is_opened),
        cmocka_unit_test(executors_are_replaced_after_so_many_tasks),
    };

    return cmocka_run_group_tests_name("configs", tests, NULL, NULL);
}
