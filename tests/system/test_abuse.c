/* What bad peers cost the broker: their connection, and nobody else anything. */
#include "../../proto/limits.h"
#include "harness.h"
#include "raw.h"
#include "talker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

static int
descriptors(const struct process *p)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)p->pid);
    return directory_entries(path);
}

static void
garbage_on_the_port_harms_nobody(void **state)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: ladle\r\n\r\n";
    /* A proper ZMTP greeting, then a command of 2^63 bytes. */
    static const unsigned char greeting[64] = {[0] = 0xff, [9] = 0x7f, [10] = 3, [12] = 'N',
                                               'U',        'L',        'L'};
    static const unsigned char huge[] = {0x06, 0x80, 0, 0, 0, 0, 0, 0, 0, 5};
    struct process *p = broker();
    struct talker *bystander = talker_new(endpoint);
    int before = descriptors(p);
    uint32_t random = 12345;

    (void)state;
    talker_join(bystander, ROLE_CLIENT, "bystander", 0);
    for (int round = 0; round < 20; round++) {
        int fd = raw_connect(endpoint);
        unsigned char noise[4096];

        for (size_t i = 0; i < sizeof(noise); i++)
            noise[i] = (unsigned char)((random = random * 1664525 + 1013904223) >> 24);
        if (round % 4 == 1) {
            assert_true(write(fd, greeting, sizeof(greeting)) > 0);
            assert_true(write(fd, huge, sizeof(huge)) > 0);
        }
        if (round % 4 == 2)
            assert_true(write(fd, greeting, sizeof(greeting)) > 0);
        if (round % 4 == 3)
            assert_true(write(fd, http, sizeof(http)) > 0);
        else
            assert_true(send(fd, noise, sizeof(noise), MSG_NOSIGNAL) > 0 || errno == EPIPE ||
                        errno == ECONNRESET);
        close(fd);
    }
    assert_serves();
    await(descriptors(p) <= before, SOON);
    assert_false(talker_await_down(bystander, 0));
    talker_free(bystander);
}

static void
silent_connections_are_dropped(void **state)
{
    enum { SILENT = 100 };
    struct process *p = broker();
    int fds[SILENT], before = descriptors(p);

    (void)state;
    for (int i = 0; i < SILENT; i++)
        fds[i] = raw_connect(endpoint);
    assert_serves();
    await(descriptors(p) <= before, SOON); /* although we hold on to ours */
    for (int i = 0; i < SILENT; i++)
        close(fds[i]);
}

static void
silent_dealers_harm_nobody(void **state)
{
    enum { SILENT = 20 };
    struct dealer *silent[SILENT];

    (void)state;
    broker();
    for (int i = 0; i < SILENT; i++)
        silent[i] = dealer_new(endpoint, NULL);
    assert_serves();
    for (int i = 0; i < SILENT; i++)
        dealer_free(silent[i]);
}

struct abuse {
    const char *title;
    const char *identity;
    size_t size; /* of the first frame */
    int frames;
    unsigned char fill;
};

/* What a peer sends is malformed: it is told so, and its connection ends; that of others does not.
 */
static void
malformed_envelopes_cost_their_connection(void **state)
{
    static const struct abuse abuses[] = {
        {"empty header", NULL, 0, 1, 0},
        {"noise", NULL, 100, 1, 0xff},
        {"field number 0", NULL, 8, 1, 0},
        {"header over the limit", NULL, LIMIT_HEADER + 1, 1, 0x0a},
        {"three frames", NULL, 4, 3, 0x12},
        {"many frames", NULL, 4, 300, 0x12},
    };
    enum { N = sizeof(abuses) / sizeof(*abuses) };
    struct talker *bystander;
    static unsigned char frame[LIMIT_HEADER + 1];

    (void)state;
    broker();
    bystander = talker_new(endpoint);
    talker_join(bystander, ROLE_CLIENT, "bystander", 0);
    for (int i = 0; i < N; i++) {
        struct dealer *d = dealer_new(endpoint, abuses[i].identity);
        const char *text;

        memset(frame, abuses[i].fill, abuses[i].size);
        for (int f = 1; f <= abuses[i].frames; f++)
            dealer_send(d, frame, abuses[i].size, f < abuses[i].frames);
        text = dealer_await_refused(d, SOON);
        if (text == NULL)
            print_error("no REFUSED for: %s\n", abuses[i].title);
        assert_non_null(text);
        assert_true(strlen(text) > 10);
        assert_true(dealer_await_down(d, SOON));
        dealer_free(d);
    }
    assert_int_equal(status_number(endpoint, "peers_cut"), N);
    assert_false(talker_await_down(bystander, 0));
    talker_free(bystander);
    assert_serves();
}

static void
a_refused_peer_is_not_heard_any_more(void **state)
{
    struct dealer *d;

    (void)state;
    broker();
    d = dealer_new(endpoint, NULL);
    for (int i = 0; i < 1000; i++)
        dealer_send(d, "\xff\xff\xff", 3, false);
    assert_non_null(dealer_await_refused(d, SOON));
    assert_true(dealer_await_down(d, SOON));
    assert_int_equal(status_number(endpoint, "peers_cut"), 1);
    dealer_free(d);
}

static void
a_peer_may_not_choose_its_routing_id(void **state)
{
    struct dealer *d;

    (void)state;
    broker();
    d = dealer_new(endpoint, "somebody");
    dealer_send(d, "x", 1, false);
    await(status_number(endpoint, "peers_cut") == 1, SOON);
    dealer_free(d);
    assert_serves();
}

static void
an_item_over_the_limit_costs_the_connection(void **state)
{
    struct dealer *d;
    char *large = calloc(1, (size_t)LIMIT_DATA + 1);

    (void)state;
    assert_non_null(large);
    broker();
    d = dealer_new(endpoint, NULL);
    dealer_send(d, "x", 1, true);
    dealer_send(d, large, (size_t)LIMIT_DATA + 1, false);
    assert_true(dealer_await_down(d, 3 * SOON));
    dealer_free(d);
    free(large);
    assert_serves();
}

/* ---- clients in executors ---------------------------------------------------------------------
 */

static void
say_as(struct talker *t, uint32_t client, struct message m)
{
    m.client = client;
    talker_send(t, &m);
}

static void
only_workers_speak_for_others(void **state)
{
    struct talker *bystander, *client, *stranger;
    const struct message *m;

    (void)state;
    broker();
    bystander = talker_new(endpoint);
    talker_join(bystander, ROLE_CLIENT, "bystander", 0);
    client = talker_new(endpoint);
    talker_join(client, ROLE_CLIENT, "client", 0);
    say_as(client, 7, talker_hello(ROLE_CLIENT, "another", 0));
    m = talker_await(client, MESSAGE_REFUSED, SOON);
    assert_non_null(m);
    assert_int_equal(m->client, 0);
    assert_true(talker_await_down(client, SOON));
    assert_int_equal(status_number(endpoint, "peers_cut"), 1);
    stranger = talker_new(endpoint); /* it has not said who it is itself */
    say_as(stranger, 7, talker_hello(ROLE_CLIENT, "another", 0));
    m = talker_await(stranger, MESSAGE_BYE, SOON);
    assert_non_null(m);
    assert_int_equal(m->client, 0);
    assert_int_equal(status_number(endpoint, "clients"), 1);
    assert_false(talker_await_down(bystander, 0));
    talker_free(client);
    talker_free(stranger);
    talker_free(bystander);
}

static void
only_workers_have_tasks_that_wait(void **state)
{
    struct talker *client;

    (void)state;
    broker();
    client = talker_new(endpoint);
    talker_join(client, ROLE_CLIENT, "client", 0);
    talker_send(client,
                &(struct message){.type = MESSAGE_PARKED, .parked = {.lease = 1, .parked = true}});
    assert_non_null(talker_await(client, MESSAGE_REFUSED, SOON));
    assert_true(talker_await_down(client, SOON));
    talker_free(client);
    assert_serves();
}

/* What an executor says is passed on unseen: its worker is not to blame. */
static void
an_executor_out_of_its_mind_costs_itself_only(void **state)
{
    struct talker *worker;
    const struct message *m;

    (void)state;
    broker();
    worker = talker_new(endpoint);
    talker_join(worker, ROLE_WORKER, "node", 1);
    say_as(worker, 7, talker_hello(ROLE_CLIENT, "mad", 0));
    m = talker_await(worker, MESSAGE_WELCOME, SOON);
    assert_non_null(m);
    assert_int_equal(m->client, 7);
    say_as(worker, 8, talker_hello(ROLE_CLIENT, "sane", 0));
    m = talker_await(worker, MESSAGE_WELCOME, SOON);
    assert_non_null(m);
    assert_int_equal(m->client, 8);
    say_as(worker, 7,
           (struct message){.type = MESSAGE_PARKED, .parked = {.lease = 1, .parked = true}});
    m = talker_await(worker, MESSAGE_REFUSED, SOON);
    assert_non_null(m);
    assert_int_equal(m->client, 7);
    say_as(worker, 8, (struct message){.type = MESSAGE_STATUS_WANTED});
    m = talker_await(worker, MESSAGE_STATUS, SOON);
    assert_non_null(m);
    assert_int_equal(m->client, 8);
    assert_int_equal(m->status.workers, 1);
    assert_int_equal(m->status.clients, 0); /* those in executors are not counted */
    assert_int_equal(m->status.peers_cut, 1);
    talker_free(worker);
}

static void
numbers_of_clients_that_nobody_has_harm_nobody(void **state)
{
    static const uint32_t numbers[] = {1, 2, 0x7fffffff, 0x80000000, UINT32_MAX};
    struct talker *worker;
    const struct message *m;

    (void)state;
    broker();
    worker = talker_new(endpoint);
    talker_join(worker, ROLE_WORKER, "node", 1);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        say_as(worker, numbers[i], (struct message){.type = MESSAGE_BEAT});
        m = talker_await(worker, MESSAGE_BYE, SOON);
        assert_non_null(m);
        assert_int_equal(m->client, numbers[i]);
        say_as(worker, numbers[i], (struct message){.type = MESSAGE_BYE, .text = ""});
    }
    assert_int_equal(status_number(endpoint, "workers_connected"), 1);
    assert_int_equal(status_number(endpoint, "peers_cut"), 0);
    talker_free(worker);
}

static void
a_flood_of_clients_in_executors_is_bounded(void **state)
{
    enum { FLOOD = 2000 };
    struct talker *worker, *bystander;
    const struct message *m;

    (void)state;
    broker();
    bystander = talker_new(endpoint);
    talker_join(bystander, ROLE_CLIENT, "bystander", 0);
    worker = talker_new(endpoint);
    talker_join(worker, ROLE_WORKER, "node", 1);
    for (uint32_t i = 1; i <= FLOOD; i++)
        say_as(worker, i, talker_hello(ROLE_CLIENT, "flood", 0));
    do
        m = talker_await(worker, MESSAGE_REFUSED, SOON);
    while (m != NULL && m->client != FLOOD);
    assert_non_null(m);
    assert_in_range(status_number(endpoint, "peers_cut"), FLOOD - 100, FLOOD);
    assert_false(talker_await_down(bystander, 0));
    talker_submit(bystander, 1, "work", 1, 8); /* the worker works on */
    assert_non_null(talker_await(worker, MESSAGE_SLICE, SOON));
    talker_free(worker);
    talker_free(bystander);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int
main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(garbage_on_the_port_harms_nobody),
        TEST(silent_connections_are_dropped),
        TEST(silent_dealers_harm_nobody),
        TEST(malformed_envelopes_cost_their_connection),
        TEST(a_refused_peer_is_not_heard_any_more),
        TEST(a_peer_may_not_choose_its_routing_id),
        TEST(an_item_over_the_limit_costs_the_connection),
        TEST(only_workers_speak_for_others),
        TEST(only_workers_have_tasks_that_wait),
        TEST(an_executor_out_of_its_mind_costs_itself_only),
        TEST(numbers_of_clients_that_nobody_has_harm_nobody),
        TEST(a_flood_of_clients_in_executors_is_bounded),
    };

    if (argc > 1) /* a pattern: only these */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("abuse", tests, NULL, NULL);
}
