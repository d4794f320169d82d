/* test_runner_kept.c - a worker without a broker: what goes on, and what the next one is told. */
#include "bench.h"

#include "../../proto/limits.h"
#include "../../worker/reports.h"

#include <stdatomic.h>

static void
find(struct bench *b)
{
    give(b, &(struct message){.type = MESSAGE_WELCOME, .welcome = {.name = "node1"}});
}

/* On a grid, with an executor that has said hello, and job 1. */
static struct bench *
open_grid(unsigned slots)
{
    struct bench *b = open_bench((struct runner_config){.slots = slots});

    find(b);
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    runner_program_ready(b->runner, "p", b->now);
    after(b, 0);
    hello(b, 0);
    ends(b, 0, 0, 1);
    forget(b);
    return b;
}

static void
lose(struct bench *b)
{
    runner_lost(b->runner, b->now);
    after(b, 0);
}

static void
adopted(struct bench *b, uint64_t lease, bool wanted)
{
    give(b, &(struct message){.type = MESSAGE_ADOPTED, .adopted = {lease, wanted}});
}

static void
acknowledge(struct bench *b, uint64_t first, uint64_t last)
{
    uint64_t serials[] = {first, last};

    give(b, &(struct message){.type = MESSAGE_ACK, .ack = {serials, 2}});
}

static void
a_running_task_goes_on_and_is_told_of(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    acknowledge(b, 1, 1);
    slice(b, 2, 1, 1);
    expect(b, "0: slice 1+1\n");
    lose(b);
    find(b);
    expect(b, "-> held 2 of job 1 attempt 1 cpus 1: 1+1\n-> told\n");
    job_with(b, 1, (struct spec){0}); /* as it comes before this: */
    adopted(b, 2, true);
    ends(b, 0, 0, 1);
    expect(b, "-> lease 2: 1 DONE\n");
    close_bench(b);
}

/* The broker does not know the lease before. */
static void
what_ends_before_the_answer_is_told_after_it(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    acknowledge(b, 1, 1);
    slice(b, 2, 1, 1);
    starts(b, 0, 0);
    lose(b);
    find(b);
    forget(b);
    ends(b, 0, 0, 1);
    expect(b, "0: job_end\n");
    assert_false(runner_idle(b->runner));
    adopted(b, 2, true);
    expect(b, "-> lease 2: 1 DONE\n");
    close_bench(b);
}

static void
results_wait_until_they_are_wanted(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    acknowledge(b, 1, 1);
    slice(b, 2, 1, 2);
    starts(b, 0, 0);
    lose(b);
    ends(b, 0, 0, 1);
    expect(b, "0: slice 1+2\n-> lease 2: 1 DONE\n"); /* nobody asks the runner meanwhile */
    lose(b);
    find(b);
    expect(b, "-> held 2 of job 1 attempt 1 cpus 1: 1+2\n-> told\n");
    adopted(b, 2, true);
    expect(b, "-> lease 2: 1 DONE\n");
    close_bench(b);
}

static void
a_drained_worker_says_so_to_the_next_broker(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    slice(b, 2, 1, 1);
    starts(b, 0, 0);
    acknowledge(b, 1, 1);
    runner_drain(b->runner, 60000 * MS, "asked to end", b->now);
    after(b, 0);
    forget(b);
    lose(b);
    find(b);
    expect(b, "-> held 2 of job 1 attempt 1 cpus 1: 1+1\n-> told\n-> draining\n");
    close_bench(b);
}

/* By which the broker learns how long a task takes. */
static void
merged_results_tell_the_time_of_all(void **state)
{
    struct reports *o = reports_new(true);
    struct message m = {.type = MESSAGE_RESULTS,
                        .results = {.job = 1,
                                    .lease = 2,
                                    .attempt = 1,
                                    .worker = "node1",
                                    .run_us = 300,
                                    .columns = {.count = 1}}};

    (void)state;
    assert_int_equal(reports_put(o, &m), 0);
    m.results.first = 1;
    m.results.run_us = 40;
    assert_int_equal(reports_put(o, &m), 0);
    assert_true(reports_get(o, &m));
    assert_int_equal(m.results.columns.count, 2);
    assert_int_equal(m.results.run_us, 340);
    assert_false(reports_get(o, &m));
    reports_free(o);
}

static void
what_was_not_acknowledged_is_sent_again(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    slice(b, 2, 1, 1);
    ends(b, 0, 0, 1);
    slice(b, 3, 2, 1);
    ends(b, 0, 0, 1);
    acknowledge(b, 2, 2); /* the second of three */
    forget(b);
    lose(b);
    expect(b, "0: job_end\n");
    find(b);
    expect(b, "-> held 1 of job 1 attempt 1 cpus 0: 0+1\n"
              "-> held 3 of job 1 attempt 1 cpus 0: 2+1\n-> told\n");
    adopted(b, 1, false);
    adopted(b, 3, true);
    expect(b, "-> lease 3: 2 DONE\n");
    acknowledge(b, 1, 1);
    lose(b);
    find(b);
    expect(b, "-> told\n");
    close_bench(b);
}

static void
what_is_not_wanted_is_stopped(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    acknowledge(b, 1, 1);
    slice(b, 2, 1, 1);
    starts(b, 0, 0);
    lose(b);
    find(b);
    forget(b);
    adopted(b, 2, false);
    expect(b, "0: cancel 1+1\n");
    after(b, 300);
    expect(b, "signal 15 to 0\n-> lease 2: 1 runs\n");
    dies(b, 0, "killed");
    expect(b, "-> lease 2: 1 CANCELLED\n");
    close_bench(b);
}

/* It waits for a program that only the broker before could have sent. */
static void
what_cannot_start_is_given_up(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1});

    (void)state;
    find(b);
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    expect(b, "want p\n");
    lose(b);
    find(b);
    expect(b, "-> told\n");
    job_with(b, 1, (struct spec){0});
    slice(b, 2, 0, 1);
    expect(b, "want p\n");
    close_bench(b);
}

static void
queued_tasks_are_told_of_too(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    acknowledge(b, 1, 1);
    slice(b, 2, 1, 1);
    starts(b, 0, 0);
    slice(b, 3, 5, 4);
    lose(b);
    find(b);
    expect(b, "0: slice 1+1\n-> held 2 of job 1 attempt 1 cpus 1: 1+1\n"
              "-> held 3 of job 1 attempt 1 cpus 1: 5+4\n-> told\n");
    close_bench(b);
}

static void
waiting_tasks_are_told_of_as_such(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    acknowledge(b, 1, 1);
    slice(b, 2, 1, 1);
    starts(b, 0, 0);
    parks(b, 0, b->leases[0], 1);
    forget(b);
    lose(b);
    find(b);
    expect(b, "-> held 2 of job 1 attempt 1 cpus 0 parked: 1+1\n-> told\n");
    close_bench(b);
}

/* Its next hello waits for the next broker, and comes after what that is to know. */
static void
a_client_in_an_executor_begins_anew_behind_it(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    acknowledge(b, 1, 1);
    slice(b, 2, 1, 1);
    starts(b, 0, 0);
    client_says(b, 0, MESSAGE_HELLO);
    forget(b);
    runner_lost(b->runner, b->now);
    expect(b, "0: client 7: bye\n");
    runner_heard(b->runner, 0,
                 &(struct message){.type = MESSAGE_HELLO,
                                   .client = 7,
                                   .hello = {.software = "", .host = "", .name = ""}},
                 b->now);
    find(b);
    expect(b, "-> held 2 of job 1 attempt 1 cpus 1: 1+1\n-> told\n-> client 2: hello\n");
    close_bench(b);
}

/* What runs goes on; but nothing is added to what is kept already. */
static void
nothing_is_started_while_too_much_is_kept(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    acknowledge(b, 1, 1);
    slice(b, 2, 1, 1);
    slice(b, 3, 2, 1);
    starts(b, 0, 0);
    forget(b);
    lose(b);
    ends_large(b, 0, 0, REPORTS_KEPT);
    lose(b);
    after(b, 100 * MS);
    expect(b, "-> lease 2: 1 DONE \n"); /* and not the next slice */
    find(b);
    expect(b, "-> held 2 of job 1 attempt 1 cpus 0: 1+1\n"
              "-> held 3 of job 1 attempt 1 cpus 1: 2+1\n-> told\n0: slice 2+1\n");
    close_bench(b);
}

/* The oldest go of those that went out: 64 MiB, with what an item counts. */
static void
results_are_kept_within_bounds(void **state)
{
    struct reports *o = reports_new(true);
    struct blob *data = blob_new(1 << 20);
    struct message m = {.type = MESSAGE_RESULTS,
                        .results = {.job = 1, .lease = 1, .worker = "", .attempt = 1}},
                   got;

    (void)state;
    m.results.columns =
        (struct columns){.count = 1, .size = 1 << 20, .data = data, .length = 1 << 20};
    for (uint64_t i = 0; i < 70; i++) {
        m.results.first = 2 * i; /* no neighbours */
        assert_int_equal(reports_put(o, &m), 0);
        assert_true(reports_get(o, &got));
        assert_int_equal(got.results.serial, i + 1);
    }
    assert_int_equal(reports_dropped(o), 7);
    reports_lost(o, false);
    assert_int_equal(reports_waiting(o, NULL)->first, 14);
    assert_true(!reports_full(o));
    for (uint64_t i = 0; i < 70; i++) { /* what did not go out stays */
        m.results.first = 1000 + 2 * i;
        assert_int_equal(reports_put(o, &m), 0);
    }
    assert_true(reports_full(o));
    reports_lost(o, false);
    assert_true(reports_full(o));
    m.results.lease = 2; /* and is not dropped for what goes out meanwhile */
    assert_int_equal(reports_put(o, &m), 0);
    assert_true(reports_get(o, &got));
    assert_int_equal(reports_dropped(o), 7);
    assert_int_equal(reports_waiting(o, NULL)->first, 14);
    reports_adopted(o, 1, false);
    assert_true(!reports_full(o));
    reports_free(o);
    blob_unref(data);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_running_task_goes_on_and_is_told_of),
        cmocka_unit_test(what_ends_before_the_answer_is_told_after_it),
        cmocka_unit_test(results_wait_until_they_are_wanted),
        cmocka_unit_test(a_drained_worker_says_so_to_the_next_broker),
        cmocka_unit_test(merged_results_tell_the_time_of_all),
        cmocka_unit_test(what_was_not_acknowledged_is_sent_again),
        cmocka_unit_test(what_is_not_wanted_is_stopped),
        cmocka_unit_test(what_cannot_start_is_given_up),
        cmocka_unit_test(queued_tasks_are_told_of_too),
        cmocka_unit_test(waiting_tasks_are_told_of_as_such),
        cmocka_unit_test(a_client_in_an_executor_begins_anew_behind_it),
        cmocka_unit_test(nothing_is_started_while_too_much_is_kept),
        cmocka_unit_test(results_are_kept_within_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
