/* test_supervisor_processes.c - executors as processes among others. */
#include "supervised.h"

#include "../../worker/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void
children_of_tasks_go_with_their_executor(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    pid_t child;

    (void)state;
    one(b, "fork_child", NULL, 0);
    memcpy(&child, b->ended[0].text, sizeof(child));
    assert_true(is_alive(child));
    close_bench(b);
    for (int64_t end = clock_us() + PATIENCE_US; is_alive(child);)
        assert_true(clock_us() < end);
}

static pid_t
daemon_of(struct bench *b, unsigned i)
{
    pid_t daemon;

    memcpy(&daemon, b->ended[i].text, sizeof(daemon));
    return daemon;
}

static void
daemons_go_when_their_task_is_over_and_their_executor_idle(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    pid_t last;

    (void)state;
    job(b, "daemonize");
    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->nended == 1);
    until(b, !is_alive(daemon_of(b, 0)));
    slice(b, 2, 1, 1, NULL, 0); /* in the same executor: nothing happened to that */
    until(b, b->nended == 2);
    assert_int_equal(b->ended[1].outcome, OUTCOME_DONE);
    last = daemon_of(b, 1);
    close_bench(b);
    for (int64_t end = clock_us() + PATIENCE_US; is_alive(last);)
        assert_true(clock_us() < end);
}

/* They share this thread's errno, and run while it does anything. */
static void
keepers_leave_errno_alone(void **state)
{
    char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char[]){"setsid sleep 100 & exit 0"}, NULL};
    struct spawn_request request = {.path = "/bin/sh", .argv = argv, .envp = environ};
    struct spawn_end end;
    struct spawn *s;
    struct pollfd gone;

    (void)state;
    for (int i = 0; i < 5; i++)
        request.fds[i] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    s = spawn_start(&request);
    assert_non_null(s);
    gone = (struct pollfd){.fd = spawn_fd(s), .events = POLLIN};
    errno = EDOM;
    while (poll(&gone, 1, 0) == 0 && errno == EDOM)
        ;
    assert_int_equal(errno, EDOM);
    spawn_finish(s, &end);
    assert_int_equal(end.status, 0);
    for (int i = 0; i < 5; i++)
        close(request.fds[i]);
}

/* The keeper outlives the process that it serves for as long as it takes. */
static void
daemons_go_when_the_worker_is_killed(void **state)
{
    pid_t daemon, child;
    struct bench *b;
    int ends[2], status;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    if ((child = fork()) == 0) {
        b = open_local((struct supervisor_config){.slots = 1});
        job(b, "daemonize");
        slice(b, 1, 0, 1, NULL, 0);
        until(b, b->nended == 1);
        daemon = daemon_of(b, 0);
        if (!is_alive(daemon) || write(ends[1], &daemon, sizeof(daemon)) != sizeof(daemon))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &daemon, sizeof(daemon)), sizeof(daemon));
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    for (int64_t end = clock_us() + PATIENCE_US; is_alive(daemon);)
        assert_true(clock_us() < end);
}

static void
child_that_comes_back_is_no_executor(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    job(b, "fork_return");
    slice(b, 1, 0, 3, NULL, 0);
    until(b, b->nended == 3);
    for (unsigned i = 0; i < 3; i++)
        expect(b, i, OUTCOME_DONE, "parent");
    close_bench(b);
}

static void
executor_without_its_descriptors_is_a_crash(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int ms = 60000;

    (void)state;
    one(b, "close_all", &ms, sizeof(ms));
    expect(b, 0, OUTCOME_CRASHED, "closed descriptor 3, its connection to the worker");
    close_bench(b);
}

static volatile sig_atomic_t signals;

static void
count_signal(int sig)
{
    (void)sig;
    signals++;
}

static void
executors_are_invisible_to_wait_and_sigchld(void **state)
{
    struct bench *b;

    (void)state;
    signals = 0;
    signal(SIGCHLD, count_signal);
    b = open_local((struct supervisor_config){.slots = 2});
    one(b, "exit3", NULL, 0);
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    close_bench(b);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(signals, 0);
}

static void
ignored_sigchld_hides_no_crash(void **state)
{
    struct bench *b;

    (void)state;
    signal(SIGCHLD, SIG_IGN);
    b = open_local((struct supervisor_config){.slots = 1});
    one(b, "exit3", NULL, 0);
    expect(b, 0, OUTCOME_CRASHED, "exited with status 3");
    close_bench(b);
    signal(SIGCHLD, SIG_DFL);
}

static void
nothing_outlives_a_supervisor_that_is_killed(void **state)
{
    pid_t pids[2], child;
    int ends[2];
    struct bench *b;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    if ((child = fork()) == 0) {
        b = open_local((struct supervisor_config){.slots = 2});
        job(b, "fork_child");
        slice(b, 1, 0, 1, NULL, 0);
        until(b, b->nended == 1);
        memcpy(&pids[0], b->ended[0].text, sizeof(pid_t));
        supervisor_reset(b->s, clock_us());
        job(b, "endless");
        slice(b, 2, 1, 1, NULL, 0);
        until(b, b->partial_pid != 0);
        pids[1] = b->partial_pid;
        if (write(ends[1], pids, sizeof(pids)) != sizeof(pids))
            _exit(1);
        for (;;)
            turn(b, 1000);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], pids, sizeof(pids)), sizeof(pids));
    close(ends[0]);
    assert_true(is_alive(pids[0]) && is_alive(pids[1]));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    for (int64_t end = clock_us() + PATIENCE_US; is_alive(pids[0]) || is_alive(pids[1]);)
        if (clock_us() > end)
            fail_msg("still there: %d %d", is_alive(pids[0]), is_alive(pids[1]));
}

static void
reset_forgets_all_work_and_goes_on(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    pid_t before;
    double x = 3;

    (void)state;
    job(b, "endless");
    slice(b, 1, 0, 4, NULL, 0);
    until(b, b->partial_pid != 0);
    before = b->partial_pid;
    supervisor_reset(b->s, clock_us());
    job(b, "square");
    slice(b, 1, 0, 1, &x, sizeof(x));
    until(b, b->nended == 1);
    expect(b, 0, OUTCOME_DONE, NULL);
    until(b, !is_alive(before));
    assert_int_equal(b->returned, 0);
    close_bench(b);
}

static void
drain_returns_what_has_not_started_and_finishes_the_rest(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int inputs[4] = {400, 1, 1, 1};

    (void)state;
    job(b, "sleep_ms");
    slice(b, 1, 0, 2, inputs, sizeof(int));
    slice(b, 2, 2, 2, inputs + 2, sizeof(int));
    until(b, b->nrunning == 1);
    supervisor_drain(b->s, 60000, "test", clock_us());
    until(b, b->returned == 3);
    assert_int_equal(b->why, RETURNED_DRAIN);
    assert_false(supervisor_idle(b->s));
    until(b, supervisor_idle(b->s));
    assert_int_equal(b->nended, 1);
    expect(b, 0, OUTCOME_DONE, NULL);
    close_bench(b);
}

static void
held_supervisor_reads_no_results(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    job(b, "steps");
    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->nended == 1);
    supervisor_hold(b->s, true);
    slice(b, 2, 1, 1, NULL, 0);
    for (int i = 0; i < 10; i++)
        turn(b, 20);
    assert_int_equal(b->nended, 1);
    supervisor_hold(b->s, false);
    until(b, b->nended == 2);
    close_bench(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(children_of_tasks_go_with_their_executor),
        cmocka_unit_test(daemons_go_when_their_task_is_over_and_their_executor_idle),
        cmocka_unit_test(daemons_go_when_the_worker_is_killed),
        cmocka_unit_test(child_that_comes_back_is_no_executor),
        cmocka_unit_test(executor_without_its_descriptors_is_a_crash),
        cmocka_unit_test(executors_are_invisible_to_wait_and_sigchld),
        cmocka_unit_test(ignored_sigchld_hides_no_crash),
        cmocka_unit_test(nothing_outlives_a_supervisor_that_is_killed),
        cmocka_unit_test(keepers_leave_errno_alone),
        cmocka_unit_test(reset_forgets_all_work_and_goes_on),
        cmocka_unit_test(drain_returns_what_has_not_started_and_finishes_the_rest),
        cmocka_unit_test(held_supervisor_reads_no_results),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
