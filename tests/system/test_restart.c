/* The broker dies, links break, processes are stopped: nothing runs twice, and nothing is lost. */
#include "harness.h"
#include "impostor.h"
#include "proxy.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOST 6000 /* ms of silence */
#define MOST 4096 /* tasks */

static char endpoint[256];
static struct process *broker;
static struct impostor *impostor;
static pid_t proxy;

static int
setup(void **state)
{
    if (harness_setup(state) != 0)
        return -1;
    broker = broker_start("tcp://127.0.0.1:0", endpoint);
    return 0;
}

static int
teardown(void **state)
{
    proxy_stop(proxy);
    proxy = 0;
    impostor_free(impostor);
    impostor = NULL;
    return harness_teardown(state);
}

static struct process *
client_with(const char *command, const char *at, const char *count, const char *ms)
{
    char variable[300];

    snprintf(variable, sizeof(variable), "LADLE_BROKER=%s", at);
    return process_start((const char *const[]){harness_binary("tasks"), harness_directory(),
                                               command, count, ms, NULL},
                         (const char *const[]){variable, NULL});
}

static struct process *
client_at(const char *at, const char *count, const char *ms)
{
    return client_with("counted", at, count, ms);
}

static void
restart_broker(void)
{
    process_kill(broker);
    broker = broker_start(endpoint, NULL);
}

/* How many runs there were so far; and of the task that ran most often, how many. */
static int
runs(int *most)
{
    size_t size = 0;
    uint64_t *list = (uint64_t *)(void *)file_read(harness_path("runs"), &size);
    static int of[MOST];
    int n = list == NULL ? 0 : (int)(size / sizeof(*list));

    memset(of, 0, sizeof(of));
    *most = 0;
    for (int i = 0; i < n; i++) {
        assert_true(list[i] < MOST);
        if (++of[list[i]] > *most)
            *most = of[list[i]];
    }
    free(list);
    return n;
}

static int
started(void)
{
    int most;

    return runs(&most);
}

static void
assert_each_ran_once(struct process *p, int count)
{
    int status = process_await(p, 12 * SOON), most;

    if (status != 0)
        print_error("exit status %d\n%s%s\n", status, process_output(p), process_errors(p));
    assert_int_equal(status, 0);
    assert_true(starts_with(process_output(p), "right "));
    assert_int_equal(runs(&most), count);
    assert_int_equal(most, 1);
}

/* ---- the broker -------------------------------------------------------------------------------
 */

static void
running_tasks_outlive_their_broker(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 2);
    worker_start(endpoint, "two", 2);
    p = client_at(endpoint, "8", "3000");
    await(started() == 4, SOON);
    restart_broker();
    await(status_number(endpoint, "leases_adopted") >= 4, SOON);
    assert_each_ran_once(p, 8);
    assert_int_equal(status_number(endpoint, "late_results"), 0);
}

static void
short_tasks_outlive_their_broker(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 2);
    worker_start(endpoint, "two", 2);
    p = client_at(endpoint, "4000", "3");
    for (int i = 1; i <= 3; i++) {
        await(started() > i * 600 || process_ended(p), 3 * SOON);
        restart_broker();
    }
    assert_each_ran_once(p, 4000);
}

static void
twenty_restarts_in_a_row_lose_nothing(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 2);
    worker_start(endpoint, "two", 2);
    p = client_at(endpoint, "200", "100");
    await(started() >= 4, SOON);
    for (int i = 0; i < 20; i++) {
        restart_broker();
        usleep((useconds_t)(10 + 37 * i % 200) * 1000);
    }
    assert_each_ran_once(p, 200);
}

static void
tasks_of_tasks_outlive_their_broker(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 2);
    worker_start(endpoint, "two", 2);
    p = client_with("fan", endpoint, "40", "700");
    for (int i = 1; i <= 3; i++) {
        await(started() > i * 8, SOON);
        restart_broker();
    }
    assert_each_ran_once(p, 40);
}

/* The executor in which the parent waits says hello through it. */
static void
tasks_of_tasks_outlive_the_link_of_their_worker(void **state)
{
    char link[256];
    struct process *p;

    (void)state;
    proxy = proxy_start(endpoint, link);
    worker_start(link, "one", 2);
    p = client_with("fan", endpoint, "30", "700");
    await(started() > 1, SOON);
    worker_start(endpoint, "two", 2);
    for (int i = 1; i <= 3; i++) {
        await(started() > i * 6, SOON);
        proxy_cut(proxy);
    }
    assert_each_ran_once(p, 30);
}

/* Killed while nothing is on its way to a worker: what has not begun runs, and nothing is lost. */
static void
what_may_run_once_outlives_its_broker(void **state)
{
    struct process *p;
    int most;

    (void)state;
    worker_start(endpoint, "one", 2);
    worker_start(endpoint, "two", 2);
    p = client_with("once", endpoint, "16", "2000");
    for (int i = 1; i <= 3; i++) {
        await(started() == i * 4, SOON);
        restart_broker();
    }
    assert_int_equal(process_await(p, 2 * SOON), 0);
    assert_string_equal(process_output(p), "done 16 lost 0\n");
    assert_int_equal(runs(&most), 16);
    assert_int_equal(most, 1);
}

/* Only what it may have begun is lost with it, however much waits. */
static void
what_may_run_once_is_lost_with_worker_and_broker(void **state)
{
    struct process *p, *two;
    int most, done = 0, lost = 0;

    (void)state;
    worker_start(endpoint, "one", 2);
    two = worker_start(endpoint, "two", 2);
    p = client_with("once", endpoint, "40", "500");
    await(started() > 8, SOON);
    process_kill(broker);
    process_kill(two);
    broker = broker_start(endpoint, NULL);
    assert_int_equal(process_await(p, 4 * SOON), 0);
    assert_int_equal(sscanf(process_output(p), "done %d lost %d", &done, &lost), 2);
    assert_int_equal(done + lost, 40);
    assert_true(lost >= 1 && lost <= 4);
    assert_true(runs(&most) >= done);
    assert_int_equal(most, 1);
}

/* It does not know that it was, and finds its peers gone and coming. */
static void
a_broker_that_was_stopped_runs_nothing_twice(void **state)
{
    struct process *p;
    int64_t until;

    (void)state;
    worker_start(endpoint, "one", 2);
    p = client_at(endpoint, "4", "12000");
    await(started() == 2, SOON);
    kill(broker->pid, SIGSTOP);
    until = harness_now() + LOST + 3000;
    await(harness_now() > until, LOST + SOON);
    kill(broker->pid, SIGCONT);
    assert_each_ran_once(p, 4);
    assert_int_equal(status_number(endpoint, "retries"), 0);
}

static void
a_worker_without_a_broker_drops_its_work_in_the_end(void **state)
{
    char at[300];
    struct process *one, *p;

    (void)state;
    snprintf(at, sizeof(at), "--broker=%s", endpoint);
    one = process(harness_binary("ladle-worker"), at, "--slots=1", "--keep=1", "--directory",
                  harness_path("kept"));
    await(process_wrote(one, "ready"), SOON);
    p = client_at(endpoint, "1", "600000");
    await(started() == 1, SOON);
    process_kill(p);
    process_kill(broker);
    await(process_wrote(one, "its work is dropped"), SOON);
    await(processes_named("tasks", NULL, 0) == 0, SOON);
}

static struct process *
worker_of_impostor(void)
{
    char at[256], option[300];

    impostor = impostor_new(at);
    snprintf(option, sizeof(option), "--broker=%s", at);
    return process(harness_binary("ladle-worker"), option, "--slots=1", "--directory",
                   harness_path("work"));
}

/* What it could not read may have been a slice: to go on would be to lose it. */
static void
a_worker_does_not_go_on_after_what_is_no_message(void **state)
{
    struct process *one = worker_of_impostor();

    (void)state;
    impostor_welcome(impostor, 100, 600000);
    await(process_wrote(one, "ready"), SOON);
    assert_non_null(impostor_await(impostor, MESSAGE_BEAT, SOON));
    impostor_say_bytes(impostor, "nonsense", 8);
    impostor_welcome(impostor, 100, 600000); /* a new connection, and a new hello */
    assert_non_null(impostor_await(impostor, MESSAGE_BEAT, SOON));
    kill(one->pid, SIGTERM);
    assert_non_null(impostor_await(impostor, MESSAGE_BYE, SOON));
    assert_int_equal(process_await(one, SOON), 0);
}

static void
a_worker_gives_a_silent_broker_up(void **state)
{
    struct process *one = worker_of_impostor();

    (void)state;
    impostor_welcome(impostor, 100, 500);
    impostor_welcome(impostor, 100, 500);
    await(process_wrote(one, "is lost (it is silent)"), SOON);
}

/* ---- links ------------------------------------------------------------------------------------
 */

static void
a_worker_whose_link_breaks_goes_on(void **state)
{
    char link[256];
    struct process *p;

    (void)state;
    proxy = proxy_start(endpoint, link);
    worker_start(link, "one", 2);
    worker_start(endpoint, "two", 1); /* which could run all of it */
    p = client_at(endpoint, "6", "3000");
    await(started() == 3, SOON);
    proxy_cut(proxy);
    assert_each_ran_once(p, 6);
    assert_true(status_number(endpoint, "leases_adopted") >= 2);
}

static void
a_worker_that_was_cut_off_brings_its_work_back(void **state)
{
    char link[256];
    struct process *p;
    int64_t until;

    (void)state;
    proxy = proxy_start(endpoint, link);
    worker_start(link, "one", 2);
    p = client_at(endpoint, "4", "12000");
    await(started() == 2, SOON);
    kill(proxy, SIGSTOP);
    await(status_number(endpoint, "workers_connected") == 0, LOST + SOON);
    until = harness_now() + 1000;
    await(harness_now() > until, SOON);
    kill(proxy, SIGCONT);
    assert_each_ran_once(p, 4);
}

static void
a_client_whose_link_breaks_loses_nothing(void **state)
{
    char link[256];
    struct process *p;

    (void)state;
    proxy = proxy_start(endpoint, link);
    worker_start(endpoint, "one", 2);
    p = client_at(link, "400", "20");
    for (int i = 1; i <= 5; i++) {
        await(started() > i * 60, 2 * SOON);
        proxy_cut(proxy);
    }
    assert_each_ran_once(p, 400);
}

static void
tasks_of_a_client_that_was_cut_off_go_on(void **state)
{
    char link[256];
    struct process *p;

    (void)state;
    proxy = proxy_start(endpoint, link);
    worker_start(endpoint, "one", 2);
    p = client_at(link, "60", "500");
    await(started() > 2, SOON);
    kill(proxy, SIGSTOP);
    await(status_number(endpoint, "clients_away") == 1, LOST + SOON);
    assert_int_equal(status_number(endpoint, "jobs_open"), 1);
    await(started() > 36, 2 * SOON);
    kill(proxy, SIGCONT);
    assert_each_ran_once(p, 60);
}

static void
a_client_that_was_stopped_finds_its_results(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 2);
    p = client_at(endpoint, "40", "300");
    await(started() > 2, SOON);
    kill(p->pid, SIGSTOP);
    await(status_number(endpoint, "clients_away") == 1, LOST + SOON);
    await(status_number(endpoint, "tasks_done") == 40, 2 * SOON);
    kill(p->pid, SIGCONT);
    assert_each_ran_once(p, 40);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(running_tasks_outlive_their_broker),
        TEST(short_tasks_outlive_their_broker),
        TEST(twenty_restarts_in_a_row_lose_nothing),
        TEST(tasks_of_tasks_outlive_their_broker),
        TEST(tasks_of_tasks_outlive_the_link_of_their_worker),
        TEST(what_may_run_once_outlives_its_broker),
        TEST(what_may_run_once_is_lost_with_worker_and_broker),
        TEST(a_broker_that_was_stopped_runs_nothing_twice),
        TEST(a_worker_without_a_broker_drops_its_work_in_the_end),
        TEST(a_worker_does_not_go_on_after_what_is_no_message),
        TEST(a_worker_gives_a_silent_broker_up),
        TEST(a_worker_whose_link_breaks_goes_on),
        TEST(a_worker_that_was_cut_off_brings_its_work_back),
        TEST(a_client_whose_link_breaks_loses_nothing),
        TEST(tasks_of_a_client_that_was_cut_off_go_on),
        TEST(a_client_that_was_stopped_finds_its_results),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
