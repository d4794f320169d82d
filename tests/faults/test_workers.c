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

static const struct CMUnitTest rows[] = {
    ROW(row_01_worker_killed),
};

FAULTS_MAIN("workers")
