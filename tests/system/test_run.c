/* ladle run: the program is as without it, and nothing is left behind. */
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Private grids live in a directory of their own, to see what is left of them. */
static const char *
place(void)
{
    static char variable[PATH_MAX];

    mkdir(harness_path("tmp"), 0700);
    snprintf(variable, sizeof(variable), "TMPDIR=%s", harness_path("tmp"));
    return variable;
}

#define ladle_run(...)                                                                             \
    process_start((const char *const[]){harness_binary("ladle"), "run", __VA_ARGS__, NULL},        \
                  (const char *const[]){place(), NULL})
#define ladle_run_shell(script) ladle_run("-n", "2", "sh", "-c", script)

/* The thread sanitizer has a file there for a moment when a process starts, and leaves it if that
 * is killed just then. */
static int
is_of_a_grid(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && !starts_with(entry->d_name, "tsan.rodata.");
}

/* The name of something in the place; "" if there is nothing. */
static const char *
something(void)
{
    static char name[NAME_MAX + 1];
    struct dirent **entries;
    int n = scandir(harness_path("tmp"), &entries, is_of_a_grid, alphasort);

    assert_true(n >= 0);
    snprintf(name, sizeof(name), "%s", n > 0 ? entries[0]->d_name : "");
    while (n > 0)
        free(entries[--n]);
    free(entries);
    return name;
}

static void
assert_nothing_left(void)
{
    await(processes_left() == 0, SOON);
    assert_string_equal(something(), "");
}

/* A build of its own in which `daemon` is a shell script: "ladle" of it. */
static const char *
ladle_with(const char *daemon, const char *script)
{
    static const char *const daemons[] = {"ladle-broker", "ladle-worker"};
    char path[64];
    size_t size;
    char *ladle;

    mkdir(harness_path("bin"), 0700);
    assert_non_null(ladle = file_read(harness_binary("ladle"), &size));
    file_write(harness_path("bin/ladle"), ladle, size, 0700);
    free(ladle);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "bin/%s", daemons[i]);
        if (strcmp(daemons[i], daemon) == 0)
            file_write(harness_path(path), script, strlen(script), 0700);
        else
            assert_int_equal(symlink(harness_binary(daemons[i]), harness_path(path)), 0);
    }
    return harness_path("bin/ladle");
}

/* ---- as without it ----------------------------------------------------------------------------
 */

static void
passes_the_exit_status_on(void **state)
{
    (void)state;
    assert_int_equal(process_await(ladle_run_shell("exit 0"), SOON), 0);
    assert_int_equal(process_await(ladle_run_shell("exit 7"), SOON), 7);
    assert_nothing_left();
}

static void
tells_which_signal_killed_the_program(void **state)
{
    struct process *p = ladle_run_shell("kill -SEGV $$");

    (void)state;
    assert_int_equal(process_await(p, SOON), 128 + SIGSEGV);
    assert_false(WIFSIGNALED(p->status));
    assert_non_null(strstr(process_errors(p), "signal 11 (Segmentation fault)"));
    assert_nothing_left();
}

static void
passes_input_output_and_arguments_through(void **state)
{
    const char *script = "cat; echo \"$#:$1:$2\" >&2";
    struct process *p = process_start_with_input(
        (const char *const[]){harness_binary("ladle"), "run", "-n", "1", "--", "sh", "-c", script,
                              "x", "--json", "a b", NULL},
        (const char *const[]){place(), NULL});

    (void)state;
    assert_int_equal(write(p->in, "one\ntwo\n", 8), 8);
    close(p->in);
    p->in = -1;
    assert_int_equal(process_await(p, SOON), 0);
    assert_string_equal(process_output(p), "one\ntwo\n");
    assert_string_equal(process_errors(p), "2:--json:a b\n");
    assert_nothing_left();
}

static void
gives_the_program_a_grid_with_as_many_slots(void **state)
{
    char script[PATH_MAX + 64];
    struct process *p;

    (void)state;
    snprintf(script, sizeof(script), "echo $LADLE_BROKER; %s status --json",
             harness_binary("ladle"));
    p = ladle_run("-n", "3", "sh", "-c", script);
    assert_int_equal(process_await(p, SOON), 0);
    assert_true(starts_with(process_output(p), "ipc:///"));
    assert_non_null(strstr(process_output(p), "\"workers_connected\": 1"));
    assert_non_null(strstr(process_output(p), "\"slots\": 3"));
    assert_nothing_left();
}

static void
tells_of_a_program_that_cannot_be_executed(void **state)
{
    struct process *p = ladle_run("no-such-program-anywhere");

    (void)state;
    assert_int_equal(process_await(p, SOON), 127);
    assert_non_null(strstr(process_errors(p), "no-such-program-anywhere"));

    file_write(harness_path("data"), "text", 4, 0600);
    p = ladle_run(harness_path("data"));
    assert_int_equal(process_await(p, SOON), 126);
    assert_non_null(strstr(process_errors(p), "Permission denied"));
    assert_nothing_left();
}

static void
explains_bad_options(void **state)
{
    static const char *const numbers[] = {"0", "-1", "many", "70000", ""};
    struct process *p = ladle_run("-n", "2");

    (void)state;
    assert_int_equal(process_await(p, SOON), 64);
    assert_non_null(strstr(process_errors(p), "which program?"));
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        p = ladle_run("-n", numbers[i], "true");
        assert_int_equal(process_await(p, SOON), 64);
        assert_non_null(strstr(process_errors(p), "number of slots"));
    }
    assert_nothing_left();
}

/* ---- signals ----------------------------------------------------------------------------------
 */

#define TRAP(signal) "trap 'exit 5' " signal "; echo on; while :; do sleep 0.02; done"

static void
forwards_signals_to_the_program(void **state)
{
    static const struct {
        int number;
        const char *script;
    } signals[] = {{SIGTERM, TRAP("TERM")}, {SIGHUP, TRAP("HUP")}, {SIGINT, TRAP("INT")}};

    (void)state;
    for (unsigned i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
        struct process *p = ladle_run_shell(signals[i].script);

        await(process_wrote(p, "on"), SOON);
        kill(p->pid, signals[i].number);
        assert_int_equal(process_await(p, SOON), 5);
    }
    assert_nothing_left();
}

static void
a_signal_before_the_program_starts_ends_it(void **state)
{
    struct process *p = ladle_run_shell("exec sleep 5");

    (void)state;
    await(starts_with(something(), "ladle-"), SOON);
    kill(p->pid, SIGTERM);
    assert_int_equal(process_await(p, SOON), 128 + SIGTERM);
    assert_nothing_left();
}

/* Let `pid` and what it forks go on, up to the first child of its first child: that has not run yet
 * when it is sent `signal`. */
static void
signal_first_grandchild(pid_t pid, int number)
{
    pid_t at, child = 0, grandchild = 0;
    bool forked = false; /* the child stands where it has forked */
    int status;

    /* That something new has stopped may be told before that it was forked. */
    while (grandchild == 0 || !forked) {
        at = waitpid(-1, &status, __WALL);
        assert_true(at > 0 && WIFSTOPPED(status));
        if (at != pid && at != child)
            *(child == 0 ? &child : &grandchild) = at;
        if (at == child && status >> 16 == PTRACE_EVENT_FORK)
            forked = true;
        else if (at != grandchild)
            ptrace(PTRACE_CONT, at, NULL, (long)(status >> 16 == 0 ? WSTOPSIG(status) : 0));
    }
    kill(grandchild, number);
    ptrace(PTRACE_DETACH, grandchild, NULL, NULL);
    ptrace(PTRACE_DETACH, child, NULL, NULL);
    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
    assert_int_equal(waitpid(pid, &status, __WALL), pid);
    ptrace(PTRACE_DETACH, pid, NULL, (long)(status >> 16 == 0 ? WSTOPSIG(status) : 0));
}

static void
a_daemon_can_be_stopped_from_its_fork_on(void **state)
{
    char script[PATH_MAX + 64];
    struct process *p;

    (void)state;
    snprintf(script, sizeof(script), "read x; exec %s run true", harness_binary("ladle"));
    p = process_start_with_input((const char *const[]){"sh", "-c", script, NULL},
                                 (const char *const[]){place(), NULL});
    if (ptrace(PTRACE_SEIZE, p->pid, NULL, (long)PTRACE_O_TRACEFORK) != 0)
        skip(); /* not allowed here */
    assert_int_equal(write(p->in, "\n", 1), 1);
    signal_first_grandchild(p->pid, SIGTERM);
    assert_int_equal(process_await(p, SOON), 1);
    assert_non_null(strstr(process_errors(p), "the broker did not start"));
    assert_non_null(strstr(process_errors(p), "killed by signal 15"));
    assert_nothing_left();
}

static int
count(const char *text, const char *word)
{
    int n = 0;

    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        n++;
    return n;
}

/* The terminal sends it to ladle and to the program: that is one signal, not two. */
static void
the_terminal_interrupts_the_program_once(void **state)
{
    const char *script = "trap 'echo got' INT; echo on; while read x; do exit 6; done; exit 4";
    char text[4096] = "", option[PATH_MAX + 8];
    const char *binary = harness_binary("ladle");
    size_t have = 0;
    int master, status = 0;
    bool interrupted = false, answered = false;
    pid_t pid;

    (void)state;
    snprintf(option, sizeof(option), "%s", place());
    if ((pid = forkpty(&master, NULL, NULL, NULL)) == 0) {
        putenv(option);
        execl(binary, binary, "run", "-n", "1", "bash", "-c", script, (char *)NULL);
        _exit(99);
    }
    assert_true(pid > 0);
    fcntl(master, F_SETFL, O_NONBLOCK);
    for (int64_t until = harness_now() + SOON; harness_now() < until; harness_pause()) {
        ssize_t n = read(master, text + have, sizeof(text) - 1 - have);

        have += n > 0 ? (size_t)n : 0;
        text[have] = '\0';
        if (!interrupted && strstr(text, "on\r") != NULL)
            interrupted = write(master, "\003", 1) == 1;
        if (interrupted && !answered && strstr(text, "got\r") != NULL)
            answered = write(master, "\n", 1) == 1;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            pid = 0;
            break;
        }
    }
    if (pid > 0)
        kill(pid, SIGKILL);
    close(master);
    assert_int_equal(pid, 0);
    assert_int_equal(count(text, "got"), 1);
    assert_int_equal(WEXITSTATUS(status), 6);
    assert_nothing_left();
}

/* ---- nothing is left behind -------------------------------------------------------------------
 */

static void
kill_9_leaves_nothing_behind(void **state)
{
    struct process *p = ladle_run_shell("echo on; sleep 1000");

    (void)state;
    await(process_wrote(p, "on"), SOON);
    assert_true(processes_left() >= 5); /* ladle, its keeper, broker, worker, program */
    process_kill(p);
    /* The shell dies with ladle; what the program itself has started is its own affair. */
    await(processes_named("ladle-broker", NULL, 0) == 0, SOON);
    await(processes_named("ladle-worker", NULL, 0) == 0, SOON);
    await(processes_named("sh", NULL, 0) == 0, SOON);
    await(directory_entries(harness_path("tmp")) == 0, SOON);
    for (pid_t sleeper; processes_named("sleep", &sleeper, 1) > 0; harness_pause())
        kill(sleeper, SIGKILL);
    assert_nothing_left();
}

static void
a_killed_keeper_leaves_nothing_behind(void **state)
{
    struct process *p = ladle_run_shell("echo on; read x; exit 3");
    pid_t keeper;

    (void)state;
    await(process_wrote(p, "on") || process_ended(p), SOON);
    process_kill(p);
    p = process_start_with_input((const char *const[]){harness_binary("ladle"), "run", "-n", "1",
                                                       "sh", "-c", "echo on; read x; exit 3", NULL},
                                 (const char *const[]){place(), NULL});
    await(process_wrote(p, "on"), SOON);
    await(processes_named("ladle-keeper", &keeper, 1) == 1, SOON);
    kill(keeper, SIGKILL);
    await(processes_named("ladle-broker", NULL, 0) == 0, SOON);
    await(processes_named("ladle-worker", NULL, 0) == 0, SOON);
    assert_int_equal(write(p->in, "\n", 1), 1);
    assert_int_equal(process_await(p, SOON), 3);
    assert_nothing_left();
}

static void
a_keeper_killed_before_all_is_ready_leaves_nothing_behind(void **state)
{
    const char *ladle = ladle_with("ladle-broker", "#!/bin/sh\nexec sleep 1000\n");
    struct process *p = process_start((const char *const[]){ladle, "run", "true", NULL},
                                      (const char *const[]){place(), NULL});
    pid_t keeper;

    (void)state;
    await(processes_named("sleep", NULL, 0) == 1, SOON);
    assert_int_equal(processes_named("ladle-keeper", &keeper, 1), 1);
    kill(keeper, SIGKILL);
    assert_int_equal(process_await(p, SOON), 1);
    assert_non_null(strstr(process_errors(p), "keeper was killed"));
    assert_nothing_left();
}

static void
a_killed_worker_is_replaced(void **state)
{
    char script[PATH_MAX + 128];
    pid_t worker, other;
    struct process *p;

    (void)state;
    /* Longer alive than one that is not worth a second try. */
    snprintf(script, sizeof(script), "sleep 1.2; echo on; read x; %s status --json",
             harness_binary("ladle"));
    p = process_start_with_input(
        (const char *const[]){harness_binary("ladle"), "run", "-n", "2", "sh", "-c", script, NULL},
        (const char *const[]){place(), NULL});
    await(process_wrote(p, "on"), SOON);
    assert_int_equal(processes_named("ladle-worker", &worker, 1), 1);
    kill(worker, SIGKILL);
    await(processes_named("ladle-worker", &other, 1) == 1 && other != worker, SOON);
    await(process_wrote(p, "starting another"), SOON);
    assert_int_equal(write(p->in, "\n", 1), 1);
    assert_int_equal(process_await(p, SOON), 0);
    assert_nothing_left();
}

/* ---- a worker that does not start -------------------------------------------------------------
 */

static void
shows_the_words_of_a_worker_that_does_not_start(void **state)
{
    const char *ladle =
        ladle_with("ladle-worker", "#!/bin/sh\necho 'no room for the cache' >&2\nexit 3\n");
    struct process *p = process_start((const char *const[]){ladle, "run", "true", NULL},
                                      (const char *const[]){place(), NULL});

    (void)state;
    assert_int_equal(process_await(p, SOON), 1);
    assert_non_null(strstr(process_errors(p), "no room for the cache"));
    assert_non_null(strstr(process_errors(p), "the worker did not start"));
    assert_non_null(strstr(process_errors(p), "status 3"));
    assert_nothing_left();
}

static void
a_daemon_that_only_closes_its_output_is_ended(void **state)
{
    const char *ladle = ladle_with("ladle-worker", "#!/bin/sh\ntrap '' TERM\n"
                                                   "exec >&-\nwhile :; do sleep 0.1; done\n");
    struct process *p = process_start((const char *const[]){ladle, "run", "true", NULL},
                                      (const char *const[]){place(), NULL});

    (void)state;
    assert_int_equal(process_await(p, SOON), 1);
    assert_non_null(strstr(process_errors(p), "the worker did not start"));
    assert_nothing_left();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int
main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(passes_the_exit_status_on),
        TEST(tells_which_signal_killed_the_program),
        TEST(passes_input_output_and_arguments_through),
        TEST(gives_the_program_a_grid_with_as_many_slots),
        TEST(tells_of_a_program_that_cannot_be_executed),
        TEST(explains_bad_options),
        TEST(forwards_signals_to_the_program),
        TEST(a_signal_before_the_program_starts_ends_it),
        TEST(a_daemon_can_be_stopped_from_its_fork_on),
        TEST(the_terminal_interrupts_the_program_once),
        TEST(kill_9_leaves_nothing_behind),
        TEST(a_killed_keeper_leaves_nothing_behind),
        TEST(a_keeper_killed_before_all_is_ready_leaves_nothing_behind),
        TEST(a_killed_worker_is_replaced),
        TEST(shows_the_words_of_a_worker_that_does_not_start),
        TEST(a_daemon_that_only_closes_its_output_is_ended),
    };

    if (argc > 1) /* a pattern: only these */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
