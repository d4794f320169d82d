/* Rows about workers that are lost, for good or for a while. */
#include "faults.h"
#include "hosts.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* When the run of `id` after the first one began; 0 if it has not. */
static int64_t
begun_again(uint64_t id)
{
    const struct deed *d = history_of(history(), id);

    return d != NULL && d->nruns > 1 ? d->runs[1].begun : 0;
}

static bool
all_begun_again(size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (begun_again(i) == 0)
            return false;
    return true;
}

/* None of the executors in which the first `count` tasks first ran. */
static bool
first_executors_are_gone(size_t count)
{
    const struct history *h = history();

    for (size_t i = 0; i < count; i++)
        if (is_alive(history_of(h, i)->runs[0].pid))
            return false;
    return true;
}

static void
row_01_worker_killed(void **state)
{
    enum { SLOTS = 2, COUNT = 3, T = 1000 };
    struct process *lost, *client;
    int64_t killed;

    (void)state;
    grid_broker();
    lost = grid_worker("lost", SLOTS);
    client = known("submit", "count=3", "ms=3000", "again=300");
    await(history_running(history()) == SLOTS, SOON);
    grid_worker("other", 2 * SLOTS);
    killed = harness_now();
    process_kill(lost);
    await(first_executors_are_gone(SLOTS), SOON);
    assert_true(harness_now() - killed <= T);
    await(all_begun_again(SLOTS), SOON);
    for (uint64_t i = 0; i < SLOTS; i++) {
        const struct deed *d = history_of(history(), i);

        assert_int_equal(d->runs[1].attempt, 2);
        assert_string_equal(d->runs[1].worker, "other");
        assert_in_range(d->runs[1].begun - killed, 0, T);
    }
    assert_int_equal(status_number(grid_endpoint(), "workers_lost"), 1);
    assert_succeeds(client, 6 * SOON);
    history_check(COUNT, 0, 2);
}

/* A broker that hosts reach, and a worker on one of them with `slots` tasks of a client in hand. */
static struct process *
grid_with_host(struct host **host_p, int slots, const char *const *work, int running,
               struct process **client_p)
{
    struct process *away;
    struct host *h;

    hosts_enter();
    *host_p = h = host_new();
    grid_broker("--bind", "tcp://127.0.0.1:5570", "--bind", format("tcp://%s:5570", h->near),
                "--insecure");
    away = grid_worker_with("away", slots, format("tcp://%s:5570", h->near), h->before, NULL);
    await(status_worker(grid_endpoint(), "away", "slots") == slots, SOON);
    *client_p = known_with(NULL, NULL, NULL, work);
    await(history_running(history()) == (size_t)running, SOON);
    return away;
}

static void
row_02_worker_host_lost(void **state)
{
    enum { SLOTS = 2, COUNT = 3, T = 8000 };
    struct process *client;
    struct host *h;
    int64_t lost;

    (void)state;
    grid_with_host(&h, SLOTS,
                   (const char *const[]){"submit", "count=3", "ms=30000", "again=300", NULL}, SLOTS,
                   &client);
    grid_worker("other", 2 * SLOTS);
    lost = harness_now();
    host_unplug(h);
    await(all_begun_again(SLOTS), 2 * T);
    for (uint64_t i = 0; i < SLOTS; i++) {
        assert_string_equal(history_of(history(), i)->runs[1].worker, "other");
        assert_in_range(begun_again(i) - lost, 0, T);
    }
    assert_int_equal(status_number(grid_endpoint(), "workers_lost"), 1);
    assert_succeeds(client, 6 * SOON);
    history_check(COUNT, 0, 2);
}

/* Two tasks are with a worker that falls silent for a minute, longer than they run. The second
 * attempt of one is over by the time that it is heard again, that of the other is not: there the
 * late result of the first attempt counts. */
static void
check_silent_worker(struct process *silent, int64_t since, int64_t again, struct process *first,
                    struct process *second, int returned)
{
    enum { T = 8000 };

    for (uint64_t i = 0; i < 2; i++) {
        assert_string_equal(history_of(history(), i)->runs[1].worker, "other");
        assert_in_range(begun_again(i) - since, 0, T);
    }
    await(history_of(history(), 0)->ok == 1, SOON);
    await(status_worker(grid_endpoint(), "away", "slots") == 2, 3 * SOON);
    assert_in_range(harness_now() - again, 0, returned);
    assert_false(process_ended(silent));
    assert_succeeds(second, SOON); /* its second attempt runs for three minutes more */
    assert_true(history_of(history(), 1)->outcome_at >= again);
    assert_int_equal(history_of(history(), 1)->runs[1].ended, 0);
    assert_int_equal(status_number(grid_endpoint(), "tasks_done"), 2);
    file_write(harness_path("read"), "", 0, 0600);
    assert_succeeds(first, SOON);
    history_check(2, 0, 2);
}

static void
row_03_worker_stopped_and_continued(void **state)
{
    struct process *away, *first, *second;
    int64_t stopped, again;

    (void)state;
    grid_broker();
    away = grid_worker("away", 2);
    first = known("submit", "base=0", "ms=4000", "again=300", "hold=1");
    second = known("submit", "base=1", "ms=4000", "again=240000");
    await(history_running(history()) == 2, SOON);
    grid_worker("other", 2);
    stopped = harness_now();
    kill(away->pid, SIGSTOP);
    await(all_begun_again(2), 2 * SOON);
    sleep_ms((int)(stopped + 60000 - harness_now()));
    again = harness_now();
    kill(away->pid, SIGCONT);
    check_silent_worker(away, stopped, again, first, second, 5000);
}

static void
row_20_partition_worker_broker(void **state)
{
    struct process *away, *first, *second;
    int64_t cut, again;
    struct host *h;

    (void)state;
    away = grid_with_host(
        &h, 2, (const char *const[]){"submit", "ms=4000", "again=300", "hold=1", NULL}, 1, &first);
    second = known("submit", "base=1", "ms=4000", "again=240000");
    await(history_running(history()) == 2, SOON);
    grid_worker("other", 2);
    cut = harness_now();
    host_cut(h);
    await(all_begun_again(2), 2 * SOON);
    sleep_ms((int)(cut + 60000 - harness_now()));
    again = harness_now();
    host_join(h);
    check_silent_worker(away, cut, again, first, second, 30000);
}

static const struct CMUnitTest rows[] = {
    ROW(row_01_worker_killed),
    ROW(row_02_worker_host_lost),
    ROW(row_03_worker_stopped_and_continued),
    ROW(row_20_partition_worker_broker),
};

FAULTS_MAIN("workers")
