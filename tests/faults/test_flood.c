/* Rows about many peers at once. */
#include "../system/raw.h"
#include "../system/talker.h"
#include "faults.h"
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

static struct process *
limited_broker(int descriptors)
{
    return process("sh", "-c",
                   format("ulimit -n %d && exec %s --bind tcp://127.0.0.1:0", descriptors,
                          harness_binary("ladle-broker")));
}

/* Peers that have said hello and only beat, as many as there is room for and more; then a flood of
 * connections that say nothing. */
static void
row_25_descriptor_limit(void **state)
{
    enum { LIMIT = 256, PROCESSES = 5, EACH = 60, SILENT = 400, WATCHED = 5000, SPIN = 1000 };
    struct process *broker, *client;
    int fds[SILENT];
    pid_t storm[PROCESSES];
    int64_t before, since;
    char endpoint[256];

    (void)state;
    broker = limited_broker(100);
    assert_int_equal(process_await(broker, SOON), 1);
    assert_true(process_wrote(broker, "may open 100 files, and a broker needs 128"));

    broker = limited_broker(LIMIT);
    await(process_wrote(broker, ": ready at "), SOON);
    assert_int_equal(sscanf(process_output(broker), "ladle-broker: ready at %255s", endpoint), 1);
    grid_set_endpoint(endpoint);
    grid_worker_with("one", 2, NULL, NULL, (const char *const[]){"--label", "real=1", NULL});
    await(status_worker(grid_endpoint(), "one", "slots") == 2, SOON);
    client = known("submit", "count=400", "ms=100", "retries=-1", "needs=real=1");
    await(history_ended(history()) >= 2, SOON);

    /* Silent ones first: they are let in, and out again, while those who work work on. */
    before = cpu_of(broker);
    since = harness_now();
    for (int i = 0; i < SILENT; i++)
        fds[i] = raw_connect_soon(grid_endpoint());
    await(process_wrote(broker, "new connections have to wait"), SOON);
    sleep_ms((int)(since + WATCHED - harness_now()));
    assert_in_range(cpu_of(broker) - before, 0, SPIN);
    assert_true(descriptors_of(broker) < LIMIT);
    for (int i = 0; i < SILENT; i++)
        close(fds[i]);
    await(process_wrote(broker, "accepted again"), SOON);

    /* Now those that are welcome, and stay. */
    for (int i = 0; i < PROCESSES; i++)
        storm[i] = storm_start(grid_endpoint(), EACH, i);
    await(descriptors_of(broker) >= LIMIT - 40, 3 * SOON);
    before = cpu_of(broker);
    sleep_ms(WATCHED);
    assert_in_range(cpu_of(broker) - before, 0, SPIN);
    assert_true(descriptors_of(broker) < LIMIT);
    assert_true(process_wrote(broker, "raise the limit of open files"));
    assert_succeeds(client, 6 * SOON);
    history_check(400, 0, 1);
    for (int i = 0; i < PROCESSES; i++) {
        kill(storm[i], SIGKILL);
        waitpid(storm[i], NULL, 0);
    }
    await(descriptors_of(broker) < LIMIT / 2, SOON);
    assert_succeeds(known("submit", "base=1000", "retries=-1", "needs=real=1"), 2 * SOON);
    assert_int_equal(status_worker(grid_endpoint(), "one", "slots"), 2);
}

static void
row_26_idle_tcp_flood(void **state)
{
    enum { SILENT = 500, T = 5000, POLITE = 10 };
    struct process *broker, *client;
    struct dealer *dealers[POLITE];
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

    /* Those that know the handshake of ZeroMQ may be silent for a little longer. */
    for (int i = 0; i < POLITE; i++)
        dealers[i] = dealer_new(grid_endpoint(), NULL);
    last = harness_now();
    for (int i = 0; i < POLITE; i++) {
        assert_true(dealer_await_down(dealers[i], 2 * SOON));
        dealer_free(dealers[i]);
    }
    assert_in_range(harness_now() - last, 0, 12000);
}

static const struct CMUnitTest rows[] = {
    ROW(row_24_reconnection_storm),
    ROW(row_25_descriptor_limit),
    ROW(row_26_idle_tcp_flood),
};

FAULTS_MAIN("flood")
