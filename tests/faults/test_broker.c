/* Rows about a broker that is away: killed, stopped, or cut off. */
#include "faults.h"
#include "hosts.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t
count_between(int64_t from, int64_t to, bool outcomes)
{
    const struct history *h = history();
    size_t n = 0;

    for (size_t i = 0; i < h->n; i++) {
        const struct deed *d = &h->deeds[i];
        int64_t at = outcomes ? d->outcome_at : d->nruns > 0 ? d->runs[0].ended : 0;

        n += at >= from && at <= to;
    }
    return n;
}

static void
row_12_broker_killed(void **state)
{
    enum { COUNT = 12, T = 10000 };
    struct process *broker, *client;
    int64_t restarted;

    (void)state;
    broker = grid_broker();
    grid_worker("one", 2);
    grid_worker("two", 2);
    client = known("submit", "count=12", "ms=4000");
    await(history_running(history()) == 4, SOON);
    process_kill(broker);
    sleep_ms(300);
    grid_broker_again();
    restarted = harness_now();
    await(status_number(grid_endpoint(), "workers_connected") == 2, SOON);
    await(status_number(grid_endpoint(), "clients") == 1, SOON);
    assert_in_range(harness_now() - restarted, 0, T);
    assert_succeeds(client, 4 * SOON);
    history_check(COUNT, 0, 1); /* what ran was adopted */
}

static void
row_18_broker_stopped(void **state)
{
    enum { COUNT = 8, T = 8000, STOPPED = 20000 };
    struct process *broker, *one, *client;
    int64_t stopped;

    (void)state;
    broker = grid_broker();
    one = grid_worker("one", 2);
    client = known("submit", "count=8", "ms=5000");
    await(history_running(history()) == 2, SOON);
    stopped = harness_now();
    kill(broker->pid, SIGSTOP);
    await(process_wrote(one, "silent") && process_wrote(client, "silent"), SOON);
    assert_in_range(harness_now() - stopped, 0, T);
    sleep_ms((int)(stopped + STOPPED - harness_now()));
    kill(broker->pid, SIGCONT);
    await(status_number(grid_endpoint(), "workers_connected") == 1 &&
              status_number(grid_endpoint(), "clients") == 1,
          3 * SOON);
    assert_succeeds(client, 6 * SOON);
    history_check(COUNT, 0, 1);
}

static void
row_19_partition_client_broker(void **state)
{
    enum { COUNT = 40, CUT = 60000 };
    int64_t cut, joined;
    struct process *client;
    struct host *h;

    (void)state;
    hosts_enter();
    h = host_new();
    grid_broker("--bind", "tcp://127.0.0.1:5570", "--bind", format("tcp://%s:5570", h->near),
                "--insecure");
    grid_worker("one", 2);
    client = known_with(NULL, format("tcp://%s:5570", h->near), h->before,
                        (const char *const[]){"submit", "count=40", "ms=2000", "wait=3000", NULL});
    await(history_ended(history()) >= 2, 2 * SOON);
    cut = harness_now();
    host_cut(h);
    sleep_ms(CUT);
    joined = harness_now();
    host_join(h);
    /* The tasks went on all the time, and nobody heard of them but by time-outs. */
    assert_true(count_between(cut + 10000, joined, false) >= 20);
    assert_int_equal(count_between(cut + 1000, joined, true), 0);
    assert_true(history()->late >= 10);
    assert_false(process_ended(client));
    assert_succeeds(client, 6 * SOON);
    history_check(COUNT, 0, 1);
}

static const struct CMUnitTest rows[] = {
    ROW(row_12_broker_killed),
    ROW(row_18_broker_stopped),
    ROW(row_19_partition_client_broker),
};

FAULTS_MAIN("broker")
