/* The row about a link that is slow and loses packets. */
#include "faults.h"
#include "hosts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DELAY_MS = 100, LOSS = 5, BITS = 1000000 }; /* 200 ms there and back */

/* Where to connect to instead of `port` on loopback. */
static const char *
behind_slow_link(int port)
{
    struct process *p = process(harness_binary("slowlink"), format("%d", port),
                                format("%d", DELAY_MS), format("%d", LOSS), format("%d", BITS));
    int own = 0;

    await(process_wrote(p, "ready"), SOON);
    assert_int_equal(sscanf(process_output(p), "slowlink: ready at %d", &own), 1);
    return format("tcp://127.0.0.1:%d", own);
}

/* A host whose cable is like that; NULL where the kernel cannot. */
static struct host *
slow_host(void)
{
    struct host *h = host_new();
    const char *rule = format("delay %dms loss %d%% rate %dbit", DELAY_MS, LOSS, BITS);
    const char *near = format("tc qdisc add dev %s root netem %s", h->link, rule);
    const char *far = format("nsenter %s tc qdisc add dev cable root netem %s", h->enter, rule);

    return process_await(process("sh", "-c", near), SOON) == 0 &&
                   process_await(process("sh", "-c", far), SOON) == 0
               ? h
               : NULL;
}

/* The program `known`, too large to come in a moment. */
static const char *
large_program(size_t more)
{
    size_t size;
    char *program = file_read(harness_binary("known"), &size);

    assert_non_null(program);
    program = realloc(program, size + more);
    assert_non_null(program);
    for (size_t i = 0; i < more; i++)
        program[size + i] = (char)(i * 2654435761u >> 13);
    file_write(harness_path("large"), program, size + more, 0700);
    free(program);
    return harness_path("large");
}

static void
row_21_slow_lossy_link(void **state)
{
    enum { COUNT = 6, MOST = 200000 };
    const char *to_worker, *to_client, *const *at_worker = NULL, *const *at_client = NULL;
    struct process *broker, *away, *client;
    struct host *worker, *user;

    (void)state;
    hosts_enter();
    run_command("ip", "link", "set", "lo", "mtu", "1500");
    broker =
        grid_broker("--bind", "tcp://127.0.0.1:5570", "--bind", "tcp://0.0.0.0:5571", "--insecure");
    if ((worker = slow_host()) != NULL && (user = slow_host()) != NULL) {
        to_worker = format("tcp://%s:5571", worker->near);
        to_client = format("tcp://%s:5571", user->near);
        at_worker = worker->before;
        at_client = user->before;
    } else {
        print_message("this kernel has no netem: a proxy instead\n");
        to_worker = behind_slow_link(5570);
        to_client = behind_slow_link(5570);
    }
    away = grid_worker_with("away", 2, to_worker, at_worker, NULL);
    await(status_worker(grid_endpoint(), "away", "slots") == 2, SOON);
    /* A program of 1 MiB, six inputs and results of 256 KiB each, and signs of life between. */
    client = known_with(large_program(1 << 20), to_client, at_client,
                        (const char *const[]){"submit", "count=6", "input=262144", "size=262144",
                                              "ms=1000", "retries=-1", NULL});
    assert_succeeds(client, MOST);
    history_check(COUNT, 0, 1);
    assert_int_equal(status_number(grid_endpoint(), "workers_lost"), 0);
    assert_int_equal(status_number(grid_endpoint(), "retries"), 0);
    assert_int_equal(status_number(grid_endpoint(), "peers_cut"), 0);
    assert_false(process_wrote(broker, "given up"));
    assert_false(process_wrote(away, "lost"));
    assert_false(process_wrote(client, "does not answer"));
}

/* One input and one result that take much longer than silence may. */
static void
row_21_slow_link_large_items(void **state)
{
    const char *to_worker, *to_client;
    struct process *broker, *away, *client;

    (void)state;
    hosts_enter();
    run_command("ip", "link", "set", "lo", "mtu", "1500");
    broker = grid_broker("--bind", "tcp://127.0.0.1:5570");
    to_worker = behind_slow_link(5570);
    to_client = behind_slow_link(5570);
    away = grid_worker_with("away", 1, to_worker, NULL, NULL);
    await(status_worker(grid_endpoint(), "away", "slots") == 1, SOON);
    client = known_with(
        NULL, to_client, NULL,
        (const char *const[]){"submit", "input=1500000", "size=1500000", "retries=-1", NULL});
    assert_succeeds(client, 200000);
    history_check(1, 0, 1);
    assert_false(process_wrote(broker, "given up"));
    assert_false(process_wrote(away, "lost"));
    assert_false(process_wrote(client, "does not answer"));
}

static const struct CMUnitTest rows[] = {
    ROW(row_21_slow_lossy_link),
    ROW(row_21_slow_link_large_items),
};

FAULTS_MAIN("slow")
