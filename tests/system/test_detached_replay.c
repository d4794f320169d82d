/* Tasks of detached jobs that failed, run again by `ladle replay JOB.INDEX`. */
#include "keeping.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char self[] = "/proc/self/exe";

enum { WELL, FAILS, ABORTS, WAITS, KINDS };

/* A function of its own, to be seen on the stack. */
static void __attribute__((noinline)) give_up_hope(void)
{
    abort();
}

static int
meet(task_t *task)
{
    const char *word = task_shared(task, "word", NULL);
    long kind;

    if (task_read(task, &kind, sizeof(kind)) != 0)
        return -1;
    fprintf(stderr, "index %d, attempt %d, random %llx, %s\n", (int)task_index(task),
            task_attempt(task), (unsigned long long)task_random(task), word);
    if (kind == FAILS)
        return task_fail(task, "it met its end");
    if (kind == ABORTS)
        give_up_hope();
    while (kind == WAITS)
        pause();
    return task_return(task, "well", 4);
}
TASK(meet)

/* ---- help ------------------------------------------------------------------------------------ */

static char job[33];

/* A job of one task of each kind, that its client submits and leaves; with its end. */
static void
submitted(void)
{
    struct process *client;
    char path[64];

    assert_true(readlink(self, path, sizeof(path)) > 0);
    client = process_start((const char *const[]){self, "submit", store_endpoint(), NULL}, NULL);
    assert_int_equal(process_await(client, 3 * SOON), 0);
    assert_true(strlen(process_output(client)) >= 32);
    snprintf(job, sizeof(job), "%.32s", process_output(client));
}

static void
ended(void)
{
    worker_start(store_endpoint(), "node1", 2);
    submitted();
    await(job_number(job, "ended_s") > 0, 3 * SOON);
    assert_int_equal(job_number(job, "failed"), KINDS - 1);
}

/* Programs that were fetched are in a folder of the test's. */
static struct process *
replay(const char *id, const char *index, const char *option, const char *value)
{
    char name[64], temporary[600];

    snprintf(name, sizeof(name), "%.*s.%s", 12, id, index);
    snprintf(temporary, sizeof(temporary), "TMPDIR=%s", harness_path("tmp"));
    (void)mkdir(harness_path("tmp"), 0700);
    return process_start((const char *const[]){harness_binary("ladle"), "replay", "--broker",
                                               store_endpoint(), name, option, value, NULL},
                         (const char *const[]){temporary, NULL});
}

static void
assert_says(struct process *p, const char *part)
{
    if (!process_wrote(p, part))
        print_error("not there: %s\nin:\n%s%s\n", part, process_output(p), process_errors(p));
    assert_true(process_wrote(p, part));
}

static void
assert_refused(const char *id, const char *index, const char *why)
{
    struct process *p = replay(id, index, NULL, NULL);

    assert_int_equal(process_await(p, 3 * SOON), 1);
    assert_says(p, why);
    await(directory_entries(harness_path("tmp")) == 0, SOON);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Also out of a broker that was killed since, with its input, index, constants and attempt. */
static void
task_fails_again_when_its_client_is_gone(void **state)
{
    struct process *broker = store_broker(NULL), *p;

    (void)state;
    ended();
    process_kill(broker);
    store_broker(NULL);
    p = replay(job, "1", NULL, NULL);
    assert_int_equal(process_await(p, 3 * SOON), 1);
    assert_says(p, "ladle replay: meet[1] of ");
    assert_says(p, ", which ended FAILED on worker node1, in attempt 1\n");
    assert_says(p, "index 1, attempt 1, random ");
    assert_says(p, ", at the crossing\n");
    assert_says(p, "meet ended FAILED: it met its end");
    await(directory_entries(harness_path("tmp")) == 0, SOON);
}

static void
task_dies_of_the_same_signal(void **state)
{
    struct process *p;

    (void)state;
    store_broker(NULL);
    ended();
    p = replay(job, "2", NULL, NULL);
    assert_int_equal(process_await(p, 3 * SOON), 128 + SIGABRT);
    assert_says(p, ", which ended CRASHED on worker node1, in attempt 1\n");
    assert_says(p, "index 2, attempt 1, ");
    await(directory_entries(harness_path("tmp")) == 0, SOON);
}

static void
debugger_shows_where_it_dies(void **state)
{
    struct process *p;

    (void)state;
    if (access("/usr/bin/gdb", X_OK) != 0)
        skip();
    store_broker(NULL);
    ended();
    p = replay(job, "2", "--debugger", "gdb -batch -ex run -ex bt");
    (void)process_await(p, 6 * SOON);
    assert_says(p, "received signal SIGABRT");
    assert_says(p, " in give_up_hope ()");
    await(directory_entries(harness_path("tmp")) == 0, SOON);
}

static void
nothing_stays_of_a_replay_that_is_killed(void **state)
{
    struct process *p;

    (void)state;
    store_broker(NULL);
    ended();
    p = replay(job, "3", NULL, NULL);
    await(process_wrote(p, "index 3, "), 3 * SOON);
    assert_says(p, ", which ended TIMED_OUT on worker node1, ");
    assert_int_equal(directory_entries(harness_path("tmp")), 1);
    process_kill(p);
    await(directory_entries(harness_path("tmp")) == 0, SOON);
}

static void
what_did_not_fail_is_told(void **state)
{
    (void)state;
    store_broker(NULL);
    ended();
    assert_refused(job, "0", "has not failed: it ended well");
    assert_refused(job, "4", " has no task 4: it has 4, counted from 0");
    assert_refused("feed", "0", "no job's id begins with \"feed\"");
    assert_refused("nothing", "0", "there is no task 'nothing.0'");
}

static void
what_has_not_ended_is_told(void **state)
{
    (void)state;
    store_broker(NULL);
    submitted();
    assert_refused(job, "2", "has not failed: it has not ended");
    worker_start(store_endpoint(), "node1", 2);
    await(job_number(job, "ended_s") > 0, 3 * SOON);
    assert_int_equal(process_await(replay(job, "2", NULL, NULL), 3 * SOON), 128 + SIGABRT);
}

static void
broker_without_a_store_is_told(void **state)
{
    (void)state;
    broker_start(store_endpoint(), NULL);
    assert_refused("feed", "0", "this broker keeps no jobs: it was started without --store");
}

/* ---- main ------------------------------------------------------------------------------------ */

/* The client that leaves. */
static int
submit(const char *endpoint)
{
    futures_t *f = futures_open(&(futures_config_t){.endpoint = endpoint, .quiet = true});
    const long kinds[KINDS] = {WELL, FAILS, ABORTS, WAITS};
    results_t *r;

    if (f == NULL || futures_share(f, "word", "at the crossing", 16) != 0)
        return 1;
    r = futures_map(f, "meet", kinds, KINDS, sizeof(*kinds),
                    &(task_options_t){.detached = true, .retries = -1, .timeout = 2000});
    if (r == NULL || results_job(r) == NULL)
        return 1;
    puts(results_job(r));
    results_destroy(&r);
    futures_destroy(&f);
    return 0;
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
    const struct CMUnitTest tests[] = {
        TEST(task_fails_again_when_its_client_is_gone),
        TEST(task_dies_of_the_same_signal),
        TEST(debugger_shows_where_it_dies),
        TEST(nothing_stays_of_a_replay_that_is_killed),
        TEST(what_did_not_fail_is_told),
        TEST(what_has_not_ended_is_told),
        TEST(broker_without_a_store_is_told),
    };

    if (getenv("LADLE_EXECUTOR") != NULL)
        (void)futures_new(NULL);
    if (argc == 3 && strcmp(argv[1], "submit") == 0)
        return submit(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
