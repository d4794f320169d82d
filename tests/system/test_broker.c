/* The broker as a process: where it listens, whom it welcomes, and whom it misses. */
#include "../../proto/limits.h"
#include "harness.h"
#include "talker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char endpoint[256];

static struct process *
broker(void)
{
    return broker_start("tcp://127.0.0.1:0", endpoint);
}

static void
assert_serves(void)
{
    struct talker *t = talker_new(endpoint);

    talker_join(t, ROLE_CLIENT, "client", 0);
    talker_free(t);
}

static void
assert_refuses_to_start(const char *bind, const char *words)
{
    struct process *p = process(harness_binary("ladle-broker"), "--bind", bind);

    assert_int_equal(process_await(p, SOON), 1);
    if (strstr(process_errors(p), words) == NULL)
        print_error("'%s' is not in: %s", words, process_errors(p));
    assert_non_null(strstr(process_errors(p), words));
    assert_string_equal(process_output(p), "");
}

/* ---- where it listens ------------------------------------------------------------------------ */

static void
refuses_to_listen_beyond_loopback_without_keys(void **state)
{
    (void)state;
    assert_refuses_to_start("tcp://0.0.0.0:0", "neither encrypted nor authenticated");
    assert_refuses_to_start("tcp://*:0", "--insecure");
    assert_refuses_to_start("tcp://[::]:0", "--insecure");
    assert_refuses_to_start("tcp://128.0.0.1:0", "--insecure");
}

static void
listens_beyond_loopback_when_told_insecure(void **state)
{
    struct process *p =
        process(harness_binary("ladle-broker"), "--bind", "tcp://*:0", "--insecure");

    (void)state;
    await(strstr(process_output(p), "ladle-broker: ready at tcp://0.0.0.0:") != NULL, SOON);
    assert_true(process_wrote(p, "neither encrypted nor authenticated"));
}

static void
tells_why_an_endpoint_cannot_be_bound(void **state)
{
    char used[256];

    (void)state;
    broker();
    snprintf(used, sizeof(used), "%s", endpoint);
    assert_refuses_to_start(used, "in use");
    assert_refuses_to_start("tcp://127.0.0.1", "tcp://address:port");
    assert_refuses_to_start("tcp://127.0.0.1:65536", "tcp://address:port");
    assert_refuses_to_start("tcp://127.0.0.1:http", "tcp://address:port");
    assert_refuses_to_start("udp://127.0.0.1:1", "tcp://address:port");
    assert_refuses_to_start("", "tcp://address:port");
    assert_refuses_to_start("ipc://", "path");
    assert_refuses_to_start("ipc:///nonexistent/directory/socket", "does not exist");
}

static void
listens_at_several_endpoints_and_leaves_no_trace(void **state)
{
    char ipc[300], expected[1024], first[256], *written;
    struct process *p;
    struct stat st;

    (void)state;
    snprintf(ipc, sizeof(ipc), "ipc://%s", harness_path("socket"));
    p = process(harness_binary("ladle-broker"), "--bind", "tcp://localhost:0", "--bind", ipc,
                "--bind", "tcp://[::1]:*", "--port-file", harness_path("port"));
    await(strstr(process_output(p), "tcp://[::1]:") != NULL, SOON);
    assert_int_equal(sscanf(process_output(p), "ladle-broker: ready at %255s", first), 1);
    assert_true(starts_with(first, "tcp://127.0.0.1:"));
    written = file_read(harness_path("port"), NULL);
    assert_non_null(written);
    snprintf(expected, sizeof(expected), "%s\n%s\n", first, ipc);
    assert_true(starts_with(written, expected));
    free(written);

    assert_int_equal(status_number(first, "slots"), 0);
    assert_int_equal(status_number(ipc, "slots"), 0);

    kill(p->pid, SIGTERM);
    assert_int_equal(process_await(p, SOON), 0);
    assert_int_equal(stat(harness_path("socket"), &st), -1);
    assert_int_equal(stat(harness_path("port"), &st), -1);
}

static void
ends_well_at_sigint(void **state)
{
    struct process *p = broker();

    (void)state;
    kill(p->pid, SIGINT);
    assert_int_equal(process_await(p, SOON), 0);
}

static void
takes_over_the_socket_of_a_dead_broker_only(void **state)
{
    char ipc[300], *diary;
    struct process *dead;

    (void)state;
    snprintf(ipc, sizeof(ipc), "ipc://%s", harness_path("socket"));
    dead = broker_start(ipc, NULL);
    assert_refuses_to_start(ipc, "in use");
    assert_int_equal(status_number(ipc, "slots"), 0); /* the living one kept its socket */
    process_kill(dead);
    broker_start(ipc, endpoint);
    assert_serves();

    file_write(harness_path("diary"), "dear", 4, 0600);
    snprintf(ipc, sizeof(ipc), "ipc://%s", harness_path("diary"));
    assert_refuses_to_start(ipc, "something else");
    assert_non_null(diary = file_read(harness_path("diary"), NULL));
    free(diary);
}

static void
ends_when_its_parent_is_killed(void **state)
{
    char command[600];
    struct process *shell;

    (void)state;
    snprintf(command, sizeof(command), "%s --with-parent --bind tcp://127.0.0.1:0; true",
             harness_binary("ladle-broker"));
    shell = process("/bin/sh", "-c", command);
    await(process_wrote(shell, "ready"), SOON);
    assert_int_equal(processes_named("ladle-broker", NULL, 0), 1);
    process_kill(shell);
    await(processes_left() == 0, SOON);
}

static void
explains_bad_options(void **state)
{
    struct process *p = process(harness_binary("ladle-broker"), "--bund", "x");

    (void)state;
    assert_int_equal(process_await(p, SOON), 64);
    p = process(harness_binary("ladle-broker"), "--log-level", "loud");
    assert_int_equal(process_await(p, SOON), 64);
    assert_non_null(strstr(process_errors(p), "loud"));
    p = process(harness_binary("ladle-broker"), "tcp://127.0.0.1:0");
    assert_int_equal(process_await(p, SOON), 64);
    p = process(harness_binary("ladle-broker"), "--version");
    assert_int_equal(process_await(p, SOON), 0);
    assert_true(starts_with(process_output(p), "ladle-broker "));
}

/* ---- the protocol -----------------------------------------------------------------------------
 */

static void
a_stranger_is_asked_for_its_hello(void **state)
{
    struct message beat = {.type = MESSAGE_BEAT};
    struct talker *t;

    (void)state;
    broker();
    t = talker_new(endpoint);
    talker_send(t, &beat);
    assert_non_null(talker_await(t, MESSAGE_BYE, SOON));
    talker_free(t);
    assert_int_equal(status_number(endpoint, "peers_cut"), 0);
}

static void
versions_beside_ours_are_welcome(void **state)
{
    struct message hello = talker_hello(ROLE_CLIENT, "newer", 0);
    const struct message *m;
    struct talker *t;

    (void)state;
    broker();
    t = talker_new(endpoint);
    hello.hello.protocol = LADLE_PROTOCOL + 1;
    talker_send(t, &hello);
    assert_non_null(m = talker_await(t, MESSAGE_WELCOME, SOON));
    assert_int_equal(m->welcome.protocol, LADLE_PROTOCOL);
    talker_free(t);
}

/* How long it took, in ms. */
static int64_t
assert_version_is_refused(uint32_t version)
{
    struct message hello = talker_hello(ROLE_WORKER, "future", 1);
    char theirs[16], ours[16];
    const struct message *m;
    struct talker *t = talker_new(endpoint);
    int64_t started = harness_now(), took;

    hello.hello.protocol = version;
    talker_send(t, &hello);
    assert_non_null(m = talker_await(t, MESSAGE_REFUSED, SOON));
    took = harness_now() - started;
    snprintf(theirs, sizeof(theirs), "%u", version);
    snprintf(ours, sizeof(ours), "%d", LADLE_PROTOCOL);
    assert_non_null(strstr(m->text, theirs));
    assert_non_null(strstr(m->text, ours));
    assert_true(talker_await_down(t, SOON));
    talker_free(t);
    return took;
}

static void
other_versions_are_refused_within_a_second(void **state)
{
    int tries = 5; /* the machine may be too busy for it, but hardly so often */

    (void)state;
    broker();
    while (assert_version_is_refused(LADLE_PROTOCOL + 76) >= 1000)
        assert_true(--tries > 0);
}

static void
assert_cut(enum role role, const struct message *m)
{
    struct talker *t = talker_new(endpoint);
    const struct message *refused;

    talker_join(t, role, "odd", 1);
    talker_send(t, m);
    refused = talker_await(t, MESSAGE_REFUSED, SOON);
    if (refused == NULL)
        print_error("no REFUSED for %s\n", message_name(m->type));
    assert_non_null(refused);
    assert_true(talker_await_down(t, SOON));
    talker_free(t);
}

static void
what_is_not_for_its_role_costs_a_peer_its_connection(void **state)
{
    struct message draining = {.type = MESSAGE_DRAINING, .text = "now"};
    struct message taken = {.type = MESSAGE_TAKEN, .taken.bytes = 5};
    struct message end = {.type = MESSAGE_JOB_END, .job_end = {.job = 1, .total = 1}};
    struct message welcome = {.type = MESSAGE_WELCOME,
                              .welcome = {.protocol = LADLE_PROTOCOL,
                                          .software = "ladle",
                                          .name = "",
                                          .instance = 1,
                                          .beat_ms = 1,
                                          .lost_ms = 1}};

    (void)state;
    broker();
    assert_cut(ROLE_CLIENT, &draining);
    assert_cut(ROLE_WORKER, &taken);
    assert_cut(ROLE_OPERATOR, &end);
    assert_cut(ROLE_CLIENT, &welcome);
    assert_int_equal(status_number(endpoint, "peers_cut"), 4);
    assert_int_equal(status_number(endpoint, "workers_connected"), 0);
    assert_serves();
}

static void
an_executor_is_not_served(void **state)
{
    struct message hello = talker_hello(ROLE_EXECUTOR, "lost", 0);
    struct talker *t;

    (void)state;
    broker();
    t = talker_new(endpoint);
    talker_send(t, &hello);
    assert_non_null(talker_await(t, MESSAGE_REFUSED, SOON));
    talker_free(t);
}

/* ---- loss -------------------------------------------------------------------------------------
 */

static pid_t
start_fake_worker(struct talker *client)
{
    const struct message *m;
    pid_t pid = fork();

    if (pid == 0) {
        struct talker *t;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        t = talker_new(endpoint);
        talker_join(t, ROLE_WORKER, "fake", 3);
        for (;;)
            pause();
    }
    assert_true(pid > 0);
    do
        assert_non_null(m = talker_await(client, MESSAGE_GRID, SOON));
    while (m->grid.slots != 3);
    return pid;
}

/* ROUTER does not tell of lost connections: the broker has to find out. */
static void
assert_killed_workers_are_missed(void)
{
    struct talker *client;

    client = talker_new(endpoint);
    talker_join(client, ROLE_CLIENT, "client", 0);
    for (int i = 0; i < 3; i++) {
        pid_t pid = start_fake_worker(client);
        const struct message *m;
        int64_t killed = harness_now();

        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        assert_non_null(m = talker_await(client, MESSAGE_GRID, SOON));
        assert_int_equal(m->grid.slots, 0);
        assert_true(harness_now() - killed < 4000); /* by silence it would take six seconds */
    }
    talker_free(client);
}

static void
a_killed_worker_is_missed_at_once(void **state)
{
    char ipc[300];

    (void)state;
    broker();
    assert_killed_workers_are_missed();
    snprintf(ipc, sizeof(ipc), "ipc://%s", harness_path("socket"));
    broker_start(ipc, endpoint);
    assert_killed_workers_are_missed();
}

static void
a_slow_reader_does_not_hold_up_others(void **state)
{
    enum { COUNT = 64, SIZE = 64 << 10 };
    struct talker *slow, *fast, *worker;
    const struct message *m;
    struct message status = {.type = MESSAGE_STATUS_WANTED};

    (void)state;
    broker();
    slow = talker_new(endpoint);
    fast = talker_new(endpoint);
    worker = talker_new(endpoint);
    talker_join(slow, ROLE_CLIENT, "slow", 0);
    talker_join(worker, ROLE_WORKER, "worker", 1);
    talker_join(fast, ROLE_CLIENT, "fast", 0);
    for (int i = 0; i < 20000; i++) /* and never reads the answers */
        talker_send(slow, &status);
    talker_submit(fast, 1, "square", COUNT, SIZE);
    assert_non_null(talker_await(fast, MESSAGE_ACCEPTED, SOON));
    assert_non_null(talker_await(worker, MESSAGE_JOB, SOON));
    assert_non_null(m = talker_await(worker, MESSAGE_SLICE, SOON));
    assert_int_equal(m->slice.columns.length, (size_t)m->slice.columns.count * SIZE);
    talker_free(slow);
    talker_free(fast);
    talker_free(worker);
}

static void
says_goodbye_when_it_stops(void **state)
{
    struct process *p = broker();
    struct talker *t = talker_new(endpoint);

    (void)state;
    talker_join(t, ROLE_CLIENT, "client", 0);
    kill(p->pid, SIGTERM);
    assert_non_null(talker_await(t, MESSAGE_BYE, SOON));
    assert_int_equal(process_await(p, SOON), 0);
    talker_free(t);
}

static void
writes_one_line_about_each_peer_that_comes_and_goes(void **state)
{
    struct process *p = broker();
    struct talker *t = talker_new(endpoint);
    struct message bye = {.type = MESSAGE_BYE, .text = "done"};

    (void)state;
    talker_join(t, ROLE_WORKER, "node7", 2);
    await(process_wrote(p, "worker node7"), SOON);
    assert_true(process_wrote(p, "joined"));
    talker_send(t, &bye);
    talker_free(t);
    await(process_wrote(p, "left"), SOON);
    t = talker_new(endpoint);
    talker_join(t, ROLE_WORKER, "node8", 2);
    talker_free(t);
    await(process_wrote(p, "is gone"), SOON);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int
main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(refuses_to_listen_beyond_loopback_without_keys),
        TEST(listens_beyond_loopback_when_told_insecure),
        TEST(tells_why_an_endpoint_cannot_be_bound),
        TEST(listens_at_several_endpoints_and_leaves_no_trace),
        TEST(ends_well_at_sigint),
        TEST(takes_over_the_socket_of_a_dead_broker_only),
        TEST(ends_when_its_parent_is_killed),
        TEST(explains_bad_options),
        TEST(a_stranger_is_asked_for_its_hello),
        TEST(versions_beside_ours_are_welcome),
        TEST(other_versions_are_refused_within_a_second),
        TEST(what_is_not_for_its_role_costs_a_peer_its_connection),
        TEST(an_executor_is_not_served),
        TEST(a_killed_worker_is_missed_at_once),
        TEST(a_slow_reader_does_not_hold_up_others),
        TEST(says_goodbye_when_it_stops),
        TEST(writes_one_line_about_each_peer_that_comes_and_goes),
    };

    if (argc > 1) /* a pattern: only these */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("broker", tests, NULL, NULL);
}
