/* test_runner_clients.c - the clients in executors: tasks that submit tasks. And the replacement of
 * executors that have run their share. */
#include "bench.h"

#include "../../base/clock.h"

#include <stdatomic.h>
#include <string.h>

static void
to_client(struct bench *b, uint32_t client, enum message_type type)
{
    struct message m = {.type = type, .client = client};

    if (type == MESSAGE_BYE || type == MESSAGE_REFUSED)
        m.text = "no";
    give(b, &m);
}

static void
client_gets_a_number_of_its_own(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    client_says(b, 1, MESSAGE_HELLO);
    client_says(b, 0, MESSAGE_HELLO);
    client_says(b, 1, MESSAGE_JOB_END);
    expect(b, "-> client 1: hello\n-> client 2: hello\n-> client 1: job_end\n");
    to_client(b, 1, MESSAGE_WELCOME);
    to_client(b, 2, MESSAGE_GRID);
    expect(b, "1: client 7: welcome\n0: client 7: grid\n"); /* each as it calls itself */
    to_client(b, 3, MESSAGE_WELCOME);
    to_client(b, UINT32_MAX, MESSAGE_CANCEL);
    expect(b, "");
    close_bench(b);
}

static void
client_without_a_hello_is_nobody(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    runner_warm(b->runner, 1, b->now);
    client_says(b, 0, MESSAGE_HELLO); /* before that of its executor */
    hello(b, 0);
    client_says(b, 0, MESSAGE_TAKEN);
    client_says(b, 0, MESSAGE_BYE);
    expect(b, "start 0 p\n0: welcome\n");
    close_bench(b);
}

static void
client_says_what_clients_say(void **state)
{
    static const enum message_type types[] = {MESSAGE_SLICE, MESSAGE_RESULTS, MESSAGE_PARKED,
                                              MESSAGE_DRAINING, MESSAGE_WELCOME};
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    client_says(b, 0, MESSAGE_HELLO);
    forget(b);
    for (unsigned i = 0; i < sizeof(types) / sizeof(*types); i++)
        client_says(b, 0, types[i]);
    expect(b, "");
    close_bench(b);
}

/* What it points to is gone when it is sent. */
static void
words_of_clients_are_kept_until_they_are_sent(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});
    char name[] = "parent", function[] = "fib";
    struct message m = {.type = MESSAGE_HELLO, .client = 1};
    struct spec spec = {.function = function};

    (void)state;
    m.hello = (struct message_hello){
        .role = ROLE_CLIENT, .software = name, .name = name, .host = name, .session = {42}};
    runner_heard(b->runner, 0, &m, b->now);
    m = (struct message){
        .type = MESSAGE_JOB, .client = 1, .job = {.job = 5, .spec = spec_new(&spec)}};
    runner_heard(b->runner, 0, &m, b->now);
    spec_unref(m.job.spec);
    memset(name, 'x', 3);
    memset(function, 'x', 3);
    assert_true(runner_output(b->runner, &m));
    assert_string_equal(m.hello.name, "parent");
    assert_string_equal(m.hello.software, "parent");
    assert_string_equal(m.hello.host, "parent");
    assert_int_equal(m.hello.role, ROLE_CLIENT);
    assert_int_equal(m.hello.session[0], 42);
    assert_true(runner_output(b->runner, &m));
    assert_int_equal(m.job.job, 5);
    assert_string_equal(m.job.spec->function, "fib");
    close_bench(b);
}

static void
end_of_an_executor_is_that_of_its_client(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    client_says(b, 0, MESSAGE_HELLO);
    forget(b);
    dies(b, 0, "crash");
    expect(b, "-> client 1: bye\n");
    to_client(b, 1, MESSAGE_WELCOME); /* it was on its way */
    expect(b, "");
    client_says(b, 1, MESSAGE_HELLO);
    expect(b, "-> client 2: hello\n"); /* no number comes again */
    close_bench(b);
}

/* It reads no more: what came for it would only break its connection. */
static void
executor_that_is_to_end_is_nobodys_client(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .tasks_per_executor = 1});

    (void)state;
    client_says(b, 0, MESSAGE_HELLO);
    slice(b, 1, 0, 1);
    forget(b);
    ends(b, 0, 0, 1);
    expect(b, "hang up 0\n-> lease 1: 0 DONE\n-> client 1: bye\n");
    to_client(b, 1, MESSAGE_GRID);
    client_says(b, 0, MESSAGE_TAKEN);
    client_says(b, 0, MESSAGE_HELLO);
    expect(b, "");
    close_bench(b);
}

static void
client_may_go_and_come_again(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    client_says(b, 0, MESSAGE_HELLO);
    client_says(b, 0, MESSAGE_BYE);
    client_says(b, 0, MESSAGE_JOB_END);
    expect(b, "-> client 1: hello\n-> client 1: bye\n");
    client_says(b, 0, MESSAGE_HELLO);
    client_says(b, 0, MESSAGE_HELLO);
    expect(b, "-> client 2: hello\n-> client 2: bye\n-> client 3: hello\n");
    to_client(b, 3, MESSAGE_BYE); /* the broker knows it no more */
    client_says(b, 0, MESSAGE_JOB_END);
    expect(b, "0: client 7: bye\n");
    client_says(b, 0, MESSAGE_HELLO);
    to_client(b, 4, MESSAGE_REFUSED);
    client_says(b, 0, MESSAGE_JOB_END);
    expect(b, "-> client 4: hello\n0: client 7: refused\n");
    close_bench(b);
}

static void
clients_of_idle_executors_hear_that_the_broker_is_gone(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    client_says(b, 0, MESSAGE_HELLO);
    client_says(b, 1, MESSAGE_HELLO);
    forget(b);
    runner_reset(b->runner, b->now);
    hear(b);
    expect(b, "signal 9 to 0\n1: client 7: bye\n");
    client_says(b, 1, MESSAGE_INPUTS); /* of before */
    client_says(b, 0, MESSAGE_HELLO);  /* of one that is to die */
    expect(b, "");
    client_says(b, 1, MESSAGE_HELLO);
    expect(b, "-> client 3: hello\n");
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "");
    close_bench(b);
}

/* ---- replacement -------------------------------------------------------------------------------
 */

static void
executor_says_itself_after_how_many_tasks_it_is_replaced(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 5);
    hello_tasks(b, 0, 2);
    expect(b, "start 0 p\n0: welcome\n0: job\n0: slice 0+2\nstart 1 p\n");
    hello_tasks(b, 1, 2);
    ends(b, 0, 0, 2);
    expect(b, "1: welcome\nhang up 0\n-> lease 1: 0 DONE\n-> lease 1: 1 DONE\n"
              "1: job\n1: slice 2+2\nstart 2 p\n");
    close_bench(b);
}

static void
smaller_of_both_numbers_counts(void **state)
{
    (void)state;
    for (uint32_t mine = 1; mine <= 3; mine += 2) {
        struct bench *b =
            open_bench((struct runner_config){.slots = 1, .local = true, .tasks_per_executor = 2});

        job_with(b, 1, (struct spec){0});
        slice(b, 1, 0, 5);
        hello_tasks(b, 0, mine);
        assert_non_null(strstr(b->history, mine == 1 ? "slice 0+1\n" : "slice 0+2\n"));
        close_bench(b);
    }
}

static void
tasks_that_were_taken_back_do_not_count(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .tasks_per_executor = 3});

    (void)state;
    slice(b, 1, 0, 3);
    starts(b, 0, 0);
    revoke(b, 1, 2);
    forget(b);
    ends(b, 0, 0, 1);
    slice(b, 2, 3, 5);
    expect(b, "-> lease 1: 0 DONE\n0: slice 3+2\n"); /* two are left to it, and the next is there */
    hello(b, 1);
    dies(b, 1, "killed by signal 9 (Killed)");
    assert_non_null(strstr(b->history, "start 1 p\n")); /* or not: then another one */
    close_bench(b);
}

static void
executor_with_a_waiting_task_is_replaced_but_not_ended(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .tasks_per_executor = 1});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    parks(b, 0, 1, 0);
    expect(b, "0: job\n0: slice 0+1\nstart 1 p\n-> lease 1: parked\n");
    hello(b, 1);
    slice(b, 2, 1, 1);
    expect(b, "1: welcome\n1: job\n1: slice 1+1\nstart 2 p\n");
    wakes(b, 0, 1, 0);
    ends_parked(b, 0, 1, 0, OUTCOME_DONE);
    expect(b, "-> lease 1: awake\nhang up 0\n-> lease 1: 0 DONE\n");
    close_bench(b);
}

/* Or the tasks below them, for which they wait, would never run. */
static void
executors_that_all_wait_run_more_than_their_share(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .tasks_per_executor = 1});

    (void)state;
    assert_int_equal(runner_executors(b->runner), 20);
    for (unsigned i = 0; i < 20; i++) {
        if (i > 0)
            hello(b, i);
        slice(b, 1 + i, i, 1);
        parks(b, i, 1, i);
    }
    forget(b);
    slice(b, 21, 20, 1);
    expect(b, "0: slice 20+1\n");
    parks(b, 0, 2, 20);
    slice(b, 22, 21, 1);
    expect(b, "-> lease 21: parked\n0: slice 21+1\n");
    close_bench(b);
}

static void
drained_worker_replaces_nothing(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .tasks_per_executor = 1});

    (void)state;
    b->refuse = true;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    expect(b, "0: job\n0: slice 0+1\nno start\n");
    runner_drain(b->runner, 3600000000, "test", b->now);
    b->refuse = false;
    after(b, 1000);
    expect(b, "-> draining\n-> lease 1: 0 runs\n");
    close_bench(b);
}

static void
programs_share_slots_while_executors_are_replaced(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1});

    (void)state;
    job_with(b, 1, (struct spec){.program = {.name = "one"}});
    job_with(b, 2, (struct spec){.program = {.name = "one", .directory = "/data"}});
    slice_of(b, 1, 1, 0, 1);
    slice_of(b, 2, 2, 0, 1);
    runner_program_ready(b->runner, "one", b->now);
    after(b, 0);
    hello_tasks(b, 0, 1);
    expect(b, "want one\nwant one\nstart 0 one\n0: welcome\n0: job\n0: slice 0+1\nstart 1 one\n");
    hello_tasks(b, 1, 1);
    ends(b, 0, 0, 1); /* what comes after it is one for those who wait */
    expect(b, "1: welcome\nhang up 0\n-> lease 1: 0 DONE\n1: job\n1: slice 0+1\nstart 2 one\n");
    close_bench(b);
}

static void
executors_are_not_shared_by_other_environments_and_directories(void **state)
{
    static const struct program programs[] = {
        {.name = "one"},
        {.name = "one", .directory = "/data"},
        {.name = "one", .directory = "/date"},
        {.name = "one", .environment = "A=1\0", .environment_size = 4},
        {.name = "one", .arguments = "A=1\0", .arguments_size = 4},
        {.name = "one", .environment = "A=2\0", .environment_size = 4},
    };
    struct bench *b = open_bench((struct runner_config){.slots = 1});

    (void)state;
    for (unsigned i = 0; i < sizeof(programs) / sizeof(*programs); i++) {
        job_with(b, 1 + i, (struct spec){.program = programs[i]});
        slice_of(b, 1 + i, 1 + i, 0, 1);
        expect(b, "want one\n");
        job_with(b, 11 + i, (struct spec){.program = programs[i]});
        slice_of(b, 11 + i, 11 + i, 0, 1);
        expect(b, "");
    }
    close_bench(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_gets_a_number_of_its_own),
        cmocka_unit_test(client_without_a_hello_is_nobody),
        cmocka_unit_test(client_says_what_clients_say),
        cmocka_unit_test(words_of_clients_are_kept_until_they_are_sent),
        cmocka_unit_test(end_of_an_executor_is_that_of_its_client),
        cmocka_unit_test(executor_that_is_to_end_is_nobodys_client),
        cmocka_unit_test(client_may_go_and_come_again),
        cmocka_unit_test(clients_of_idle_executors_hear_that_the_broker_is_gone),
        cmocka_unit_test(executor_says_itself_after_how_many_tasks_it_is_replaced),
        cmocka_unit_test(smaller_of_both_numbers_counts),
        cmocka_unit_test(tasks_that_were_taken_back_do_not_count),
        cmocka_unit_test(executor_with_a_waiting_task_is_replaced_but_not_ended),
        cmocka_unit_test(executors_that_all_wait_run_more_than_their_share),
        cmocka_unit_test(drained_worker_replaces_nothing),
        cmocka_unit_test(programs_share_slots_while_executors_are_replaced),
        cmocka_unit_test(executors_are_not_shared_by_other_environments_and_directories),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
