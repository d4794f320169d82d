/* Tasks that take more memory or time than they may, and what they leave behind. Each is tried with
 * control groups, where these can be made here, and without. */
#include "../../worker/hierarchy.h"
#include "bounded.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MIB (1ull << 20)

static const char *const with_groups[] = {NULL};
static const char *const without_groups[] = {"--no-cgroup", NULL};

/* Control groups of a worker in one tree. */
static int
groups_in(const char *controller, pid_t worker)
{
    char prefix[64];
    const struct dirent *d;
    struct hierarchy h;
    int n = 0;
    DIR *dir;

    snprintf(prefix, sizeof(prefix), "ladle-%d-", (int)worker);
    if (hierarchy_find(&h, "", controller) != 0 || (dir = opendir(h.path)) == NULL)
        return 0;
    while ((d = readdir(dir)) != NULL)
        n += starts_with(d->d_name, prefix);
    closedir(dir);
    return n;
}

static int
groups_of(pid_t worker)
{
    return groups_in(NULL, worker) + groups_in("memory", worker);
}

static bool
is_grouped(struct process *worker)
{
    return process_wrote(worker, "executors are in control groups");
}

/* ---- memory ------------------------------------------------------------------------------------
 */

static void
expect_out_of_memory(future_t *future, unsigned limit)
{
    unsigned used = 0, of = 0;
    const char *at;

    expect_status(future, FUTURE_CRASHED);
    at = strstr(future_error(future), "out of memory: it used ");
    if (at == NULL)
        print_error("%s\n", future_error(future));
    assert_non_null(at);
    assert_int_equal(sscanf(at, "out of memory: it used %u MiB of its %u MiB", &used, &of), 2);
    assert_int_equal(of, limit);
    assert_in_range(used, limit * 7 / 8, 2 * limit);
}

static void
eat_all_memory(const char *const *options)
{
    const char *go = harness_path("go");
    struct process *worker = worker_start_with(endpoint, "one", 2, options);
    task_options_t limited = {.memory = 64 * MIB, .retries = -1};
    futures_t *f = session();
    future_t *neighbour = submit(f, "gate", 0, go, NULL), *future;

    await(files_like(go) == 1, SOON);
    future = submit(f, "eat", 4096, NULL, &limited);
    expect_out_of_memory(future, 64);
    assert_int_equal(future_attempts(future), 1);
    future_destroy(&future);
    /* Others live, and who keeps to the limit runs. */
    assert_true(result_of(submit(f, "eat", 8, NULL, &limited)) > 0);
    file_write(go, "", 0, 0600);
    assert_int_equal(result_of(neighbour), 1);
    /* Without a limit there is none. */
    assert_true(result_of(submit(f, "eat", 128, NULL, NULL)) > 0);
    assert_false(process_ended(worker));
    assert_int_equal(status_number(endpoint, "workers_lost"), 0);
}

static void
row_05_task_eats_all_memory(void **state)
{
    (void)state;
    eat_all_memory(with_groups);
}

static void
row_05_task_eats_all_memory_without_groups(void **state)
{
    (void)state;
    eat_all_memory(without_groups);
}

static void
row_05_task_eats_all_memory_of_a_local_pool(void **state)
{
    task_options_t limited = {.memory = 64 * MIB, .retries = -1};
    futures_t *f = futures_new("local:2");
    future_t *future;

    (void)state;
    assert_non_null(f);
    future = submit(f, "eat", 4096, NULL, &limited);
    expect_out_of_memory(future, 64);
    future_destroy(&future);
    assert_true(result_of(submit(f, "eat", 8, NULL, &limited)) > 0);
    futures_destroy(&f);
}

static void
what_a_child_eats_counts(void **state)
{
    task_options_t limited = {.memory = 64 * MIB, .retries = -1};
    future_t *future;
    futures_t *f;

    (void)state;
    worker_start_with(endpoint, "one", 1, without_groups);
    f = session();
    future = submit(f, "fork_eat", 4096, NULL, &limited);
    expect_out_of_memory(future, 64);
    future_destroy(&future);
    /* What it shares with its parent does not count twice. */
    limited.memory = 200 * MIB;
    assert_true(result_of(submit(f, "eat", 100, NULL, &limited)) > 0);
    assert_int_equal(result_of(submit(f, "fork_eat", 60, NULL, &limited)), 0);
}

/* What a task of the smallest limit might take from between two looks, with that limit. */
static int32_t
limit_mib(void)
{
    struct rlimit stack;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);

    if (getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur > 8 * MIB) {
        stack.rlim_cur = 8 * MIB;
        setrlimit(RLIMIT_STACK, &stack);
    }
    return 64 + 16 * (int32_t)cores;
}

static void
expect_no_memory(futures_t *f, int32_t mib, const task_options_t *options)
{
    future_t *future = submit(f, "grab", mib, NULL, options);

    expect_status(future, FUTURE_FAILED);
    assert_non_null(strstr(future_error(future), "no memory"));
    future_destroy(&future);
}

static void
who_is_watched_cannot_ask_for_much_more_at_once(void **state)
{
    int32_t mib = limit_mib(), executor;
    task_options_t limited = {.memory = (uint64_t)mib * MIB, .retries = -1};
    futures_t *f;

    (void)state;
    worker_start_with(endpoint, "one", 1, without_groups);
    f = session();
    executor = result_of(submit(f, "whoami", 0, NULL, NULL));
    expect_no_memory(f, 4 * mib, &limited);
    /* Who keeps to its limit is not disturbed, nor who has none. */
    assert_int_equal(result_of(submit(f, "grab", mib, NULL, &limited)), executor);
    assert_int_equal(result_of(submit(f, "eat", 8, NULL, &limited)), executor);
    assert_int_equal(result_of(submit(f, "grab", 4 * mib, NULL, NULL)), executor);
    expect_no_memory(f, 4 * mib, &limited);
}

/* Their stacks are mapped many at a time, much more than such a limit. */
static void
who_is_watched_may_spawn_as_it_likes(void **state)
{
    task_options_t limited = {.memory = 32 * MIB, .retries = -1};

    (void)state;
    worker_start_with(endpoint, "one", 1, without_groups);
    assert_int_equal(result_of(submit(session(), "deep", 200, NULL, &limited)), 200);
}

static void
words_about_a_crash_name_the_limit(void **state)
{
    task_options_t limited = {.memory = 64 * MIB, .retries = -1};
    future_t *future;
    futures_t *f;

    (void)state;
    worker_start_with(endpoint, "one", 1, without_groups);
    f = session();
    future = submit(f, "crash", 0, NULL, &limited);
    expect_status(future, FUTURE_CRASHED);
    assert_non_null(strstr(future_error(future), "its memory was limited to 64 MiB"));
    future_destroy(&future);
    limited.memory = 0;
    future = submit(f, "crash", 0, NULL, &limited);
    expect_status(future, FUTURE_CRASHED);
    assert_null(strstr(future_error(future), "limited"));
    future_destroy(&future);
}

static void
no_more_memory_is_asked_for_than_there_is(void **state)
{
    const char *go = harness_path("go");
    task_options_t half = {.memory = 600 * MIB}, much = {.memory = 2000 * MIB};
    future_t *first, *second, *third;
    struct process *larger;
    futures_t *f;

    (void)state;
    worker_start_with(endpoint, "one", 4, (const char *const[]){"--memory", "1000M", NULL});
    f = session();
    first = submit(f, "gate", 0, go, &half);
    second = submit(f, "gate", 0, go, &half);
    third = submit(f, "attempt", 0, NULL, &much);
    await(files_like(go) == 1, SOON);
    assert_int_equal(result_of(submit(f, "attempt", 0, NULL, NULL)), 1); /* there are slots */
    assert_int_equal(status_worker(endpoint, "one", "memory"), 1000 * MIB);
    assert_int_equal(files_like(go), 1);
    file_write(go, "", 0, 0600);
    assert_int_equal(result_of(first), 1);
    assert_int_equal(result_of(second), 1);
    assert_false(future_done(third));
    larger =
        worker_start_with(endpoint, "two", 1, (const char *const[]){"--memory", "2000M", NULL});
    assert_int_equal(result_of(third), 1);
    assert_false(process_ended(larger));
}

/* ---- time --------------------------------------------------------------------------------------
 */

static void
never_return(const char *const *options)
{
    const char *path = harness_path("term");
    char child[200], task[200];
    struct process *worker = worker_start_with(endpoint, "one", 1, options);
    task_options_t brief = {.timeout = 1000, .retries = -1};
    futures_t *f = session();
    future_t *future;
    pid_t *pids;
    size_t size;
    int64_t began = harness_now();

    snprintf(child, sizeof(child), "%s.child", path);
    snprintf(task, sizeof(task), "%s.task", path);
    future = submit(f, "stubborn", 0, path, &brief);
    /* The whole group is asked first: both have a file to show for it. */
    await(file_exists(child) && file_exists(task), SOON);
    assert_true(harness_now() - began >= 1000);
    assert_false(future_done(future));
    expect_status(future, FUTURE_TIMED_OUT);
    assert_true(harness_now() - began >= 1300);
    assert_non_null(strstr(future_error(future), "longer than its timeout of 1000 ms"));
    future_destroy(&future);
    /* The slot is free, and nobody of its group is left. */
    assert_true(result_of(submit(f, "whoami", 0, NULL, NULL)) > 0);
    snprintf(task, sizeof(task), "%s-pids", path);
    pids = (pid_t *)(void *)file_read(task, &size);
    assert_non_null(pids);
    assert_int_equal(size, 2 * sizeof(pid_t));
    await(!pid_alive(pids[0]) && !pid_alive(pids[1]), SOON);
    free(pids);
    assert_false(process_ended(worker));
}

static void
row_06_task_never_returns(void **state)
{
    (void)state;
    never_return((const char *const[]){"--grace", "300ms", NULL});
}

static void
row_06_task_never_returns_without_groups(void **state)
{
    (void)state;
    never_return((const char *const[]){"--grace", "300ms", "--no-cgroup", NULL});
}

/* ---- what is left behind -----------------------------------------------------------------------
 */

static void
fork_a_daemon(const char *const *options)
{
    const char *go = harness_path("go");
    struct process *worker = worker_start_with(endpoint, "one", 1, options);
    futures_t *f = session();
    int32_t executor = result_of(submit(f, "whoami", 0, NULL, NULL));
    int32_t daemon = result_of(submit(f, "daemonize", 0, NULL, NULL));
    future_t *holds;
    bool grouped = is_grouped(worker);

    await(!pid_alive(daemon), SOON); /* its task is over */
    assert_int_equal(result_of(submit(f, "whoami", 0, NULL, NULL)), executor);
    assert_true(!grouped || groups_of(worker->pid) > 0);

    daemon = result_of(submit(f, "daemonize", 0, NULL, NULL));
    holds = submit(f, "gate", 0, go, NULL);
    await(files_like(go) == 1, SOON);
    kill(worker->pid, SIGHUP); /* it ends at once */
    process_await(worker, SOON);
    await(!pid_alive(daemon) && !pid_alive(executor), SOON);
    assert_int_equal(groups_of(worker->pid), 0);

    worker = worker_start_with(endpoint, "two", 1, options);
    await(files_like(go) == 2, SOON); /* elsewhere, again */
    file_write(go, "", 0, 0600);
    assert_true(result_of(holds) >= 1);
    go = harness_path("again");
    daemon = result_of(submit(f, "daemonize", 0, NULL, NULL));
    holds = submit(f, "gate", 0, go, NULL);
    await(files_like(go) == 1, SOON);
    process_kill(worker);
    await(!pid_alive(daemon), SOON);
    await(groups_of(worker->pid) == 0, SOON); /* its keepers have tidied up */
    await(processes_named("ladle-keeper", NULL, 0) == 0, SOON);
    future_destroy(&holds);
}

static void
row_07_task_forks_a_daemon(void **state)
{
    (void)state;
    fork_a_daemon(with_groups);
}

static void
row_07_task_forks_a_daemon_without_groups(void **state)
{
    (void)state;
    fork_a_daemon(without_groups);
}

static void
row_07_task_forks_a_daemon_in_a_local_pool(void **state)
{
    futures_t *f = futures_new("local:1");
    int32_t first, second;

    (void)state;
    assert_non_null(f);
    first = result_of(submit(f, "daemonize", 0, NULL, NULL));
    await(!pid_alive(first), SOON);
    second = result_of(submit(f, "daemonize", 0, NULL, NULL));
    futures_destroy(&f);
    await(!pid_alive(second), SOON);
}

/* ---- poison ------------------------------------------------------------------------------------
 */

static void
row_08_poison_task(void **state)
{
    const char *go = harness_path("go");
    future_t *poisons[8], *gates[4], *others[20];
    char name[16];
    futures_t *f;

    (void)state;
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "node%d", i);
        worker_start(endpoint, name, 1);
    }
    f = session();
    for (int i = 0; i < 8; i++)
        poisons[i] = submit(f, "poison", 0, NULL, NULL);
    for (int i = 0; i < 20; i++)
        others[i] = submit(f, "nap", 1, NULL, NULL);
    for (int i = 0; i < 8; i++) {
        expect_status(poisons[i], FUTURE_CRASHED);
        assert_int_equal(future_attempts(poisons[i]), 3);
        future_destroy(&poisons[i]);
    }
    for (int i = 0; i < 20; i++)
        assert_int_equal(result_of(others[i]), 1);
    /* Every slot works again: four tasks that end only when all of them run. */
    for (int i = 0; i < 4; i++)
        gates[i] = submit(f, "gate", 0, go, NULL);
    await(files_like(go) == 4, SOON);
    file_write(go, "", 0, 0600);
    for (int i = 0; i < 4; i++)
        assert_int_equal(result_of(gates[i]), 1);
    assert_int_equal(status_number(endpoint, "slots"), 4);
    assert_int_equal(status_number(endpoint, "workers_lost"), 0);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(row_05_task_eats_all_memory),
        TEST(row_05_task_eats_all_memory_without_groups),
        TEST(row_05_task_eats_all_memory_of_a_local_pool),
        TEST(what_a_child_eats_counts),
        TEST(who_is_watched_cannot_ask_for_much_more_at_once),
        TEST(who_is_watched_may_spawn_as_it_likes),
        TEST(words_about_a_crash_name_the_limit),
        TEST(no_more_memory_is_asked_for_than_there_is),
        TEST(row_06_task_never_returns),
        TEST(row_06_task_never_returns_without_groups),
        TEST(row_07_task_forks_a_daemon),
        TEST(row_07_task_forks_a_daemon_without_groups),
        TEST(row_07_task_forks_a_daemon_in_a_local_pool),
        TEST(row_08_poison_task),
    };
    futures_t *barrier = futures_new("serial"); /* executors go no further */

    futures_destroy(&barrier);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
