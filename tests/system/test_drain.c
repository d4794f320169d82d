/* Workers that leave: drained by a signal or an operator, or out of their time. */
#include "bounded.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct process *
worker_with(const char *name, int slots, const char *option, const char *value)
{
    return worker_start_with(endpoint, name, slots, (const char *const[]){option, value, NULL});
}

/* A worker with two tasks, one of which does not end by itself, and more waiting. */
struct scene {
    const char *go;
    futures_t *f;
    struct process *worker;
    future_t *brief, *endless, *waiting[10];
};

static struct scene
busy_worker(const char *grace)
{
    struct scene s = {.go = harness_path("go")};
    char held[200];

    s.worker = worker_with("one", 2, "--drain-grace", grace);
    s.f = session();
    s.endless = submit(s.f, "gate", 0, s.go, NULL);
    await(files_like(s.go) == 1, SOON);
    snprintf(held, sizeof(held), "%s-brief", s.go);
    s.brief = submit(s.f, "gate", 0, held, NULL);
    await(files_like(held) == 1, SOON);
    for (int i = 0; i < 10; i++)
        s.waiting[i] = submit(s.f, "nap", 1, NULL, NULL);
    return s;
}

static void
end_brief(const struct scene *s)
{
    char held[200];

    snprintf(held, sizeof(held), "%s-brief", s->go);
    file_write(held, "", 0, 0600);
}

/* What had not ended there runs at another worker, and nobody is to blame for anything. */
static void
expect_no_blame(struct scene *s)
{
    assert_int_equal(result_of(s->brief), 1);
    worker_start(endpoint, "two", 2);
    await(files_like(s->go) == 2, SOON);
    file_write(s->go, "", 0, 0600);
    assert_int_equal(result_of(s->endless), 1); /* its first attempt */
    for (int i = 0; i < 10; i++)
        assert_int_equal(result_of(s->waiting[i]), 1);
    assert_int_equal(status_number(endpoint, "retries"), 0);
    assert_int_equal(status_number(endpoint, "workers_lost"), 0);
}

static void
row_10_drain_a_busy_worker(void **state)
{
    struct scene s = busy_worker("1s");
    int64_t began = harness_now();

    (void)state;
    kill(s.worker->pid, SIGTERM);
    await(status_worker(endpoint, "one", "draining") == 1, SOON);
    end_brief(&s); /* within the grace */
    assert_int_equal(process_await(s.worker, SOON), 0);
    assert_true(harness_now() - began >= 1000);
    expect_no_blame(&s);
}

static void
row_10_drain_by_an_operator(void **state)
{
    struct scene s = busy_worker("1h");
    struct process *drain;

    (void)state;
    drain = process(harness_binary("ladle"), "drain", "--broker", endpoint, "--wait", "one",
                    "--grace", "1500ms");
    await(status_worker(endpoint, "one", "draining") == 1, SOON);
    assert_int_equal(status_number(endpoint, "slots"), 0);
    end_brief(&s);
    assert_false(process_ended(drain));
    assert_int_equal(process_await(s.worker, SOON), 0);
    assert_int_equal(process_await(drain, SOON), 0);
    assert_int_equal(status_worker(endpoint, "one", "slots"), -1);
    expect_no_blame(&s);
}

static void
drain_of_no_worker_says_which_there_are(void **state)
{
    struct process *p;

    (void)state;
    p = process(harness_binary("ladle"), "drain", "--broker", endpoint, "nobody");
    assert_int_equal(process_await(p, SOON), 1);
    assert_string_equal(process_errors(p),
                        "ladle drain: no worker is called nobody: none is connected\n");
    worker_start(endpoint, "one", 1);
    worker_start(endpoint, "two", 1);
    p = process(harness_binary("ladle"), "drain", "--broker", endpoint, "nobody");
    assert_int_equal(process_await(p, SOON), 1);
    assert_string_equal(process_errors(p),
                        "ladle drain: no worker is called nobody: there are one, two\n");
    p = process(harness_binary("ladle"), "drain", "--broker", endpoint);
    assert_int_equal(process_await(p, SOON), 64);
    p = process(harness_binary("ladle"), "drain", "--grace", "soon", "one");
    assert_int_equal(process_await(p, SOON), 64);
}

static void
usr1_drains_and_a_second_term_hurries(void **state)
{
    struct scene s = busy_worker("1h");

    (void)state;
    kill(s.worker->pid, SIGUSR1);
    await(status_worker(endpoint, "one", "draining") == 1, SOON);
    kill(s.worker->pid, SIGUSR1); /* batch systems repeat themselves */
    end_brief(&s);
    future_wait(s.brief, SOON);
    assert_false(process_ended(s.worker));
    kill(s.worker->pid, SIGTERM);
    assert_int_equal(process_await(s.worker, SOON), 1);
    expect_no_blame(&s);
}

static bool
status_says(const char *text)
{
    char command[800], line[1024];
    bool said = false;
    FILE *out;

    snprintf(command, sizeof(command), "exec %s status --broker %s", harness_binary("ladle"),
             endpoint);
    out = popen(command, "re");
    assert_non_null(out);
    while (fgets(line, sizeof(line), out) != NULL)
        said |= strstr(line, text) != NULL;
    pclose(out);
    return said;
}

static void
row_11_walltime_near_its_end(void **state)
{
    task_options_t lengthy = {.timeout = 60000}, short_enough = {.timeout = 5000};
    struct process *longer;
    future_t *first, *second;
    futures_t *f;

    (void)state;
    worker_with("brief", 2, "--time-limit", "30s");
    assert_in_range(status_worker(endpoint, "brief", "left_ms"), 1, 24000);
    f = session();
    first = submit(f, "whoami", 0, NULL, &lengthy);
    assert_true(result_of(submit(f, "whoami", 0, NULL, &short_enough)) > 0);
    second = submit(f, "whoami", 0, NULL, &lengthy);
    assert_true(result_of(submit(f, "whoami", 0, NULL, &short_enough)) > 0);
    await(status_says("no worker that fits has the 60 s left that a task of it may take by its "
                      "timeout"),
          SOON);
    assert_true(result_of(submit(f, "whoami", 0, NULL, &short_enough)) > 0);
    assert_false(future_done(first) || future_running(first));
    assert_false(future_done(second) || future_running(second));
    longer = worker_with("lengthy", 1, "--time-limit", "1:00:00");
    expect_status(first, FUTURE_DONE);
    expect_status(second, FUTURE_DONE);
    assert_string_equal(future_worker(first), "lengthy");
    assert_string_equal(future_worker(second), "lengthy");
    assert_false(process_ended(longer));
    future_destroy(&first);
    future_destroy(&second);
}

static void
row_11_walltime_costs_no_attempt(void **state)
{
    const char *go = harness_path("go");
    struct process *brief = worker_with("brief", 1, "--time-limit", "4s");
    futures_t *f = session();
    future_t *future = submit(f, "gate", 0, go, NULL);

    (void)state;
    await(files_like(go) == 1, SOON);
    worker_start(endpoint, "lengthy", 1);
    assert_int_equal(process_await(brief, SOON), 0);
    await(files_like(go) == 2, SOON);
    file_write(go, "", 0, 0600);
    assert_int_equal(result_of(future), 1);
    assert_int_equal(status_number(endpoint, "retries"), 0);
    assert_int_equal(status_number(endpoint, "workers_lost"), 0);
}

static void
batch_systems_tell_the_time_limit(void **state)
{
    char variable[64], directory[300];
    struct process *p;

    (void)state;
    snprintf(variable, sizeof(variable), "SLURM_JOB_END_TIME=%lld", (long long)time(NULL) + 100);
    snprintf(directory, sizeof(directory), "%s", harness_path("cache"));
    p = process_start((const char *const[]){harness_binary("ladle-worker"), "--broker", endpoint,
                                            "--name", "batch", "--slots", "1", "--directory",
                                            directory, NULL},
                      (const char *const[]){variable, NULL});
    await(status_worker(endpoint, "batch", "slots") == 1, SOON);
    assert_in_range(status_worker(endpoint, "batch", "left_ms"), 60000, 94000);
    assert_false(process_ended(p));
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(row_10_drain_a_busy_worker),
        TEST(row_10_drain_by_an_operator),
        TEST(drain_of_no_worker_says_which_there_are),
        TEST(usr1_drains_and_a_second_term_hurries),
        TEST(row_11_walltime_near_its_end),
        TEST(row_11_walltime_costs_no_attempt),
        TEST(batch_systems_tell_the_time_limit),
    };
    futures_t *barrier = futures_new("serial"); /* executors go no further */

    futures_destroy(&barrier);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
