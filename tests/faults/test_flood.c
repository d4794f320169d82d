/* Rows about many peers at once. */
#include "faults.h"
#include "raw.h"
#include "storm.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void
row_24_reconnection_storm(void **state)
{
    enum { PROCESSES = 10, EACH = 20, WORKERS = PROCESSES * EACH + 2, COUNT = 40, T = 30000 };
    struct process *broker, *client;
    pid_t storm[PROCESSES];
    int64_t restarted;

    (void)state;
    broker = grid_broker();
    for (int i = 0; i < PROCESSES; i++)
        storm[i] = storm_start(grid_endpoint(), EACH, i);
    for (int i = 0; i < 2; i++)
        grid_worker_with(i == 0 ? "one" : "two", 2, NULL, NULL,
                         (const char *const[]){"--label", "real=1", NULL});
    await(status_number(grid_endpoint(), "workers_connected") == WORKERS, 3 * SOON);
    client = known("submit", "count=40", "ms=1000", "needs=real=1");
    await(history_ended(history()) >= 4, SOON);
    process_kill(broker);
    broker = grid_broker_again();
    restarted = harness_now();
    await(status_number(grid_endpoint(), "workers_connected") == WORKERS, 2 * T);
    assert_in_range(harness_now() - restarted, 0, T);
    assert_false(process_wrote(broker, "cannot accept"));
    assert_succeeds(client, 6 * SOON);
    history_check(COUNT, 0, 2);
    for (int i = 0; i < PROCESSES; i++) {
        kill(storm[i], SIGKILL);
        waitpid(storm[i], NULL, 0);
    }
}

static void
row_26_idle_tcp_flood(void **state)
{
    enum { SILENT = 500, T = 5000 };
    struct process *broker, *client;
    int fds[SILENT], before;
    int64_t last;

    (void)state;
    broker = grid_broker();
    grid_worker("one", 2);
    client = known("submit", "count=60", "ms=200", "retries=-1");
    await(history_ended(history()) >= 2, SOON);
    before = descriptors_of(broker);
    for (int i = 0; i < SILENT; i++)
        fds[i] = raw_connect(grid_endpoint());
    last = harness_now();
    await(descriptors_of(broker) >= before + SILENT / 2, SOON); /* it did let them in */
    await(descriptors_of(broker) <= before + 1, SOON);          /* + 1: that of a status */
    assert_in_range(harness_now() - last, 0, T);
    assert_succeeds(client, 6 * SOON);
    history_check(60, 0, 1);
    assert_int_equal(status_number(grid_endpoint(), "workers_lost"), 0);
    for (int i = 0; i < SILENT; i++)
        close(fds[i]);
}

static const struct CMUnitTest rows[] = {
    ROW(row_24_reconnection_storm),
    ROW(row_26_idle_tcp_flood),
};

FAULTS_MAIN("flood")
