/* test_runner_stops.c - tasks that wait in a worker, and shall not go on: cancelled, out of time.
 */
#include "bench.h"

#include "../../base/clock.h"

#include <stdatomic.h>
#include <string.h>

/* Tasks 0 and 1 of job 1 wait in executor 0, under the leases 1 and 2 there as here. */
static struct bench *
open_waiting(int64_t timeout_ms)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    job_with(b, 1, (struct spec){.timeout_ms = timeout_ms});
    slice(b, 1, 0, 1);
    hello(b, 0);
    slice(b, 2, 1, 1);
    parks(b, 0, 1, 0);
    parks(b, 0, 2, 1);
    after(b, 60); /* so that the broker was told of them */
    assert_non_null(strstr(b->history, "-> lease 1: parked\n"));
    assert_non_null(strstr(b->history, "-> lease 2: parked\n"));
    forget(b);
    return b;
}

static void
waiting_task_that_is_cancelled_is_told(void **state)
{
    struct bench *b = open_waiting(0);

    (void)state;
    cancel(b, 1, 1);
    expect(b, "0: cancel 1+1\n");
    wakes(b, 0, 2, 1);
    ends_parked(b, 0, 2, 1, OUTCOME_FAILED);
    expect(b, "-> lease 2: awake\n-> lease 2: 1 CANCELLED\n");
    after(b, 10000);
    expect(b, ""); /* and nobody is killed for it */
    close_bench(b);
}

static void
one_order_is_for_all_that_wait_in_an_executor(void **state)
{
    struct bench *b = open_waiting(0);

    (void)state;
    cancel(b, 0, 100);
    expect(b, "0: cancel 0+100\n");
    cancel(b, 50, 100);
    expect(b, "");
    close_bench(b);
}

static void
cancelled_task_that_does_not_get_its_turn_is_left_alone(void **state)
{
    struct bench *b = open_waiting(0);

    (void)state;
    cancel(b, 1, 1);
    works_for(b, 0, 1, "");
    forget(b);
    for (int i = 0; i < 100; i++)
        after(b, 100); /* the executor works for the other one */
    expect(b, "");
    ends_parked(b, 0, 1, 0, OUTCOME_DONE);
    expect(b, "-> lease 1: 0 DONE\n");
    close_bench(b);
}

static void
cancelled_task_that_goes_on_is_told_then_killed(void **state)
{
    struct bench *b = open_waiting(0);

    (void)state;
    cancel(b, 1, 1);
    after(b, 1000);
    wakes(b, 0, 2, 1);
    assert_int_equal(atomic_load(&b->boards[0]->cancel), 2ull << 32 | 1);
    assert_int_equal(runner_deadline(b->runner, b->now), b->now + 10 * MS);
    forget(b);
    after(b, 150);
    works_for(b, 0, 1, ""); /* another one's turn: its time begins anew */
    after(b, 50);
    works_for(b, 0, 2, "");
    after(b, 0);
    after(b, 199);
    expect(b, "");
    after(b, 1);
    expect(b, "signal 15 to 0\n");
    after(b, 4999);
    expect(b, "");
    after(b, 1);
    expect(b, "signal 9 to 0\n");
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "-> lease 1: awake\n-> lease 2: 1 CANCELLED\nstart 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 0+1\n"); /* which had no part in it */
    close_bench(b);
}

static void
cancelled_task_has_its_time_from_its_turn_on(void **state)
{
    struct bench *b = open_waiting(0);

    (void)state;
    cancel(b, 0, 2);
    forget(b);
    for (int i = 0; i < 10; i++) { /* each of them notices, a little later */
        works_for(b, 0, 1 + i % 2, "");
        after(b, 150);
    }
    expect(b, "");
    close_bench(b);
}

static void
cancelled_task_that_was_faster_is_done(void **state)
{
    struct bench *b = open_waiting(0);

    (void)state;
    cancel(b, 1, 1);
    forget(b);
    ends_parked(b, 0, 2, 1, OUTCOME_DONE);
    expect(b, "-> lease 2: 1 DONE\n");
    close_bench(b);
}

static void
crash_of_its_executor_ends_a_cancelled_task(void **state)
{
    struct bench *b = open_waiting(0);

    (void)state;
    cancel(b, 1, 1);
    works_for(b, 0, 1, "");
    forget(b);
    dies(b, 0, "crash");
    expect(b, "-> lease 1: 0 CRASHED crash\n-> lease 2: 1 CANCELLED\n");
    close_bench(b);
}

static void
order_to_end_and_word_of_waiting_cross(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    cancel(b, 0, 1);
    forget(b);
    parks(b, 0, 1, 0);
    after(b, 10000); /* it waits: no harm is done */
    expect(b, "-> lease 1: parked\n-> lease 1: 0 runs\n");
    ends_parked(b, 0, 1, 0, OUTCOME_FAILED);
    expect(b, "-> lease 1: 0 CANCELLED\n");
    close_bench(b);
}

static void
running_task_is_not_killed_while_another_one_is_worked_for(void **state)
{
    struct bench *b = open_waiting(0);

    (void)state;
    slice(b, 3, 2, 1);
    starts(b, 0, 0);
    works_for(b, 0, 1, "fib[2]"); /* it waits, not yet told, and this has its turn */
    cancel(b, 2, 1);
    expect(b, "0: slice 2+1\n0: cancel 2+1\n");
    after(b, 1000);
    assert_null(strstr(b->history, "signal"));
    works_for(b, 0, b->leases[0], "");
    forget(b);
    after(b, 10);
    expect(b, "signal 15 to 0\n");
    dies(b, 0, "killed by signal 15 (Terminated)");
    expect(b, "-> lease 3: 2 CANCELLED\n-> lease 1: awake\n-> lease 2: awake\nstart 0 p\n");
    close_bench(b);
}

/* We killed it for a task that is over by now: whoever had its turn then is not to blame. */
static void
nobody_is_to_blame_for_what_we_did(void **state)
{
    struct bench *b = open_waiting(0);

    (void)state;
    cancel(b, 1, 1);
    works_for(b, 0, 2, "");
    after(b, 0);
    after(b, 200);
    expect(b, "0: cancel 1+1\nsignal 15 to 0\n");
    ends_parked(b, 0, 2, 1, OUTCOME_FAILED);
    works_for(b, 0, 1, "");
    dies(b, 0, "killed by signal 15 (Terminated)");
    expect(b, "-> lease 2: 1 CANCELLED\n-> lease 1: awake\nstart 0 p\n");
    close_bench(b);
}

static void
executor_that_was_told_to_end_gets_no_more_work(void **state)
{
    struct bench *b = open_waiting(0);

    (void)state;
    cancel(b, 1, 1);
    works_for(b, 0, 2, "");
    after(b, 0);
    after(b, 200);
    forget(b);
    slice(b, 3, 2, 1);
    expect(b, "start 1 p\n");
    ends_parked(b, 0, 2, 1, OUTCOME_FAILED);
    ends_parked(b, 0, 1, 0, OUTCOME_DONE);
    expect(b, "-> lease 2: 1 CANCELLED\nhang up 0\n-> lease 1: 0 DONE\n");
    close_bench(b);
}

/* ---- time --------------------------------------------------------------------------------------
 */

static void
time_goes_on_while_a_task_waits(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){.timeout_ms = 500});
    slice(b, 1, 0, 1);
    hello(b, 0);
    starts(b, 0, 0);
    after(b, 300);
    parks(b, 0, 1, 0);
    forget(b);
    assert_int_equal(runner_deadline(b->runner, b->now), b->now + 200 * MS);
    after(b, 199);
    expect(b, "");
    after(b, 1);
    expect(b, "0: cancel 0+1\n");
    after(b, 10000);
    expect(b, "");
    ends_parked(b, 0, 1, 0, OUTCOME_FAILED);
    expect(b, "-> lease 1: 0 TIMED_OUT ran longer than its timeout of 500 ms\n");
    close_bench(b);
}

static void
time_of_the_task_counts_not_that_of_those_before_it(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){.timeout_ms = 500});
    slice(b, 1, 0, 2);
    hello(b, 0);
    starts(b, 0, 0);
    after(b, 400);
    ends(b, 0, 0, 1);
    starts(b, 0, 1);
    after(b, 100);
    parks(b, 0, 1, 1); /* and the board speaks of something else by now */
    forget(b);
    after(b, 450);
    expect(b, "");
    after(b, 50);
    expect(b, "0: cancel 1+1\n");
    close_bench(b);
}

static void
first_timeout_is_seen_first(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        job_with(b, 1 + i, (struct spec){.timeout_ms = i == 1 ? 100 : 300 - (int64_t)i * 50});
        slice_of(b, 1 + i, 1 + i, 0, 1);
        if (i == 0)
            hello(b, 0);
        parks(b, 0, 1 + i, 0);
    }
    after(b, 60);
    forget(b);
    assert_int_equal(runner_deadline(b->runner, b->now), b->now + 40 * MS);
    after(b, 40);
    expect(b, "0: cancel 0+1\n");
    after(b, 99);
    expect(b, "");
    after(b, 1);
    expect(b, "0: cancel 0+1\n");
    ends_parked(b, 0, 1, 0, OUTCOME_DONE); /* in time */
    after(b, 1000);
    expect(b, "-> lease 1: 0 DONE\n");
    close_bench(b);
}

static void
verdict_of_the_first_stays(void **state)
{
    struct bench *b = open_waiting(500);

    (void)state;
    after(b, 500);
    expect(b, "0: cancel 0+1\n0: cancel 1+1\n");
    cancel(b, 0, 1);
    cancel(b, 1, 1);
    forget(b);
    ends_parked(b, 0, 1, 0, OUTCOME_FAILED);
    expect(b, "-> lease 1: 0 TIMED_OUT ran longer than its timeout of 500 ms\n");
    close_bench(b);
}

static void
task_out_of_time_in_a_nesting_executor_is_told_first(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){.timeout_ms = 500});
    slice(b, 1, 0, 1);
    hello(b, 0);
    client_says(b, 0, MESSAGE_HELLO);
    starts(b, 0, 0);
    after(b, 499);
    forget(b);
    after(b, 1);
    expect(b, "0: cancel 0+1\n");
    after(b, 199);
    expect(b, "");
    after(b, 1);
    expect(b, "signal 15 to 0\n");
    dies(b, 0, "killed by signal 15 (Terminated)");
    expect(b, "-> lease 1: 0 TIMED_OUT ran longer than its timeout of 500 ms\n-> client 1: bye\n");
    close_bench(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_task_that_is_cancelled_is_told),
        cmocka_unit_test(one_order_is_for_all_that_wait_in_an_executor),
        cmocka_unit_test(cancelled_task_that_does_not_get_its_turn_is_left_alone),
        cmocka_unit_test(cancelled_task_that_goes_on_is_told_then_killed),
        cmocka_unit_test(cancelled_task_has_its_time_from_its_turn_on),
        cmocka_unit_test(cancelled_task_that_was_faster_is_done),
        cmocka_unit_test(crash_of_its_executor_ends_a_cancelled_task),
        cmocka_unit_test(order_to_end_and_word_of_waiting_cross),
        cmocka_unit_test(running_task_is_not_killed_while_another_one_is_worked_for),
        cmocka_unit_test(nobody_is_to_blame_for_what_we_did),
        cmocka_unit_test(executor_that_was_told_to_end_gets_no_more_work),
        cmocka_unit_test(time_goes_on_while_a_task_waits),
        cmocka_unit_test(time_of_the_task_counts_not_that_of_those_before_it),
        cmocka_unit_test(first_timeout_is_seen_first),
        cmocka_unit_test(verdict_of_the_first_stays),
        cmocka_unit_test(task_out_of_time_in_a_nesting_executor_is_told_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
