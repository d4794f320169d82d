/* test_runner_deaths.c - what becomes of tasks that wait when their executor dies, or errs. */
#include "bench.h"

#include "../../base/clock.h"

#include <stdatomic.h>
#include <string.h>

/* A pool in which task 0 of job 1, lease 1, waits in executor 0, under the lease 1 there. */
static struct bench *
open_parked(unsigned slots)
{
    struct bench *b = open_local((struct runner_config){.slots = slots});

    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    parks(b, 0, 1, 0);
    expect(b, "0: job\n0: slice 0+1\n-> lease 1: parked\n");
    return b;
}

/* ---- whose fault it is -------------------------------------------------------------------------
 */

static void
crash_is_charged_to_the_task_that_the_executor_worked_for(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    slice(b, 2, 1, 1);
    parks(b, 0, 2, 1);
    slice(b, 3, 2, 2);
    starts(b, 0, 0); /* task 2 waits, not yet told: below the first one something goes on */
    works_for(b, 0, 1, "fib[3]");
    forget(b);
    dies(b, 0, "killed by signal 11 (Segmentation fault)");
    expect(b, "-> lease 1: 0 CRASHED its nested task fib[3]: killed by signal 11 (Segmentation "
              "fault)\n-> lease 2: awake\nstart 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 1+1\n"); /* from its start */
    ends(b, 0, 0, 1);
    ends(b, 0, 0, 1);
    ends(b, 0, 0, 1);
    expect(b, "-> lease 2: 1 DONE\n0: slice 2+1\n-> lease 3: 2 DONE\n0: slice 3+1\n"
              "-> lease 3: 3 DONE\n");
    close_bench(b);
}

static void
a_task_does_not_wait_for_ever_in_executors_that_others_end(void **state)
{
    struct bench *b = open_parked(1);
    unsigned deaths = 0;

    (void)state;
    while (strstr(b->history, "-> lease 1: 0 CRASHED") == NULL) {
        assert_true(++deaths <= 50);
        forget(b);
        slice(b, 100 + deaths, 1, 1); /* the poison */
        starts(b, 0, 0);
        works_for(b, 0, b->leases[0], "");
        dies(b, 0, "exited with status 3");
        if (strstr(b->history, "-> lease 1: 0 CRASHED") != NULL)
            break;
        hello(b, 0);
        assert_non_null(strstr(b->history, "0: slice 0+1\n")); /* it begins anew */
        parks(b, 0, b->leases[0], 0);
    }
    assert_int_equal(deaths, 50);
    assert_non_null(strstr(b->history, "ended of other tasks, at last: exited with status 3"));
    close_bench(b);
}

static void
crash_of_the_running_task_is_not_that_of_those_that_wait(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    slice(b, 2, 1, 1);
    starts(b, 0, 0);
    works_for(b, 0, b->leases[0], "");
    forget(b);
    dies(b, 0, "exited with status 3");
    expect(b, "-> lease 2: 1 CRASHED exited with status 3\n-> lease 1: awake\nstart 0 p\n");
    close_bench(b);
}

static void
nested_words_are_of_the_owner_only_and_need_no_end(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    works_for(b, 0, 1, "");
    memset(b->boards[0]->nested, 'x', sizeof(b->boards[0]->nested));
    forget(b);
    dies(b, 0, "crash");
    assert_non_null(strstr(b->history, "-> lease 1: 0 CRASHED its nested task xxxx"));
    assert_non_null(strstr(b->history, "xxxx: crash\n"));
    close_bench(b);
}

static void
end_for_which_nobody_is_to_blame_is_forgiven_twice(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    for (int i = 0; i < 2; i++) {
        dies(b, 0, "killed by signal 9 (Killed)");
        expect(b, "-> lease 1: awake\nstart 0 p\n");
        hello(b, 0);
        parks(b, 0, 1, 0);
        expect(b, "0: welcome\n0: job\n0: slice 0+1\n-> lease 1: parked\n");
    }
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "-> lease 1: 0 CRASHED killed by signal 9 (Killed), for the 3. time while it waited, "
              "and nobody knows why\n");
    close_bench(b);
}

static void
crashes_of_others_are_forgiven_always(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    for (unsigned i = 1; i < 6; i++) {
        slice(b, 1 + i, i, 1);
        starts(b, 0, 0);
        works_for(b, 0, b->leases[0], "");
        forget(b);
        dies(b, 0, "crash");
        assert_null(strstr(b->history, ": 0 CRASHED"));
        hello(b, 0);
        parks(b, 0, 1, 0);
    }
    close_bench(b);
}

static void
owner_that_is_no_lease_is_nobody(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    works_for(b, 0, 0xfeedface, "x");
    dies(b, 0, "crash");
    expect(b, "-> lease 1: awake\nstart 0 p\n");
    hello(b, 0);
    starts(b, 0, 0);
    works_for(b, 0, 0xfeedface, "x");
    forget(b);
    dies(b, 0, "crash");
    expect(b, "-> lease 1: 0 CRASHED crash\n"); /* as the rest of the board says */
    close_bench(b);
}

static void
without_a_board_the_one_that_went_on_is_to_blame(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    b->unattached = true;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    hello(b, 0);
    parks(b, 0, 1, 0);
    slice(b, 2, 1, 1);
    parks(b, 0, 2, 1);
    wakes(b, 0, 2, 1);
    forget(b);
    dies(b, 0, "crash");
    expect(b, "-> lease 1: awake\n-> lease 2: 1 CRASHED crash\nstart 0 p\n");
    close_bench(b);
}

static void
without_a_board_what_was_given_to_one_that_went_on_is_not_begun(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    b->unattached = true;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    hello(b, 0);
    parks(b, 0, 1, 0);
    slice(b, 2, 1, 1);
    wakes(b, 0, 1, 0);
    forget(b);
    dies(b, 0, "crash");
    expect(b, "-> lease 1: 0 CRASHED crash\nstart 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 1+1\n");
    close_bench(b);
}

static void
task_that_may_run_once_does_not_begin_anew(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    job_with(b, 2, (struct spec){.once = true});
    slice_of(b, 2, 1, 0, 1);
    starts(b, 0, 0);
    parks(b, 0, 1, 0);
    slice(b, 2, 1, 1);
    starts(b, 0, 0);
    forget(b);
    dies(b, 0, "crash");
    expect(b, "-> lease 2: 1 CRASHED crash\n-> lease 1: 0 LOST its executor ended while it waited "
              "(crash), and the task may run only once\n");
    close_bench(b);
}

static void
drained_worker_finishes_what_waits(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    slice(b, 2, 1, 1);
    forget(b);
    runner_drain(b->runner, 3600000000, "test", b->now);
    after(b, 0);
    expect(b, "-> draining\n-> lease 2: returned 1+1 why 1\n");
    assert_false(runner_idle(b->runner));
    wakes(b, 0, 1, 0);
    assert_false(runner_idle(b->runner));
    ends_parked(b, 0, 1, 0, OUTCOME_DONE);
    expect(b, "-> lease 1: awake\n-> lease 1: 0 DONE\n");
    assert_true(runner_idle(b->runner));
    close_bench(b);
}

static void
drained_worker_returns_what_waited_in_an_executor_that_died(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    runner_drain(b->runner, 3600000000, "test", b->now);
    after(b, 0);
    dies(b, 0, "crash");
    expect(b, "-> draining\n-> lease 1: awake\n-> lease 1: returned 0+1 why 1\n");
    assert_true(runner_idle(b->runner));
    close_bench(b);
}

static void
reset_kills_executors_in_which_tasks_wait(void **state)
{
    struct bench *b = open_parked(2);

    (void)state;
    runner_reset(b->runner, b->now);
    hear(b);
    expect(b, "signal 9 to 0\n");
    wakes(b, 0, 1, 0); /* it had said so before */
    ends_parked(b, 0, 1, 0, OUTCOME_DONE);
    job_with(b, 1, (struct spec){0});
    slice(b, 9, 0, 1);
    expect(b, "1: job\n1: slice 0+1\n");
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "");
    close_bench(b);
}

/* ---- executors that err ------------------------------------------------------------------------
 */

static void
task_that_cannot_wait_ends_its_executor(void **state)
{
    struct message m = {.type = MESSAGE_PARKED, .parked = {1, 0, true}};

    (void)state;
    for (uint64_t index = 0; index < 2; index++) { /* one not begun, one behind another */
        struct bench *b = open_local((struct runner_config){.slots = 1});

        slice(b, 1, 0, 3);
        if (index > 0)
            starts(b, 0, 0);
        forget(b);
        m.parked.index = index;
        says(b, 0, &m);
        expect(b, "signal 9 to 0\n");
        dies(b, 0, "killed by signal 9 (Killed)");
        assert_int_equal(strstr(b->history, "0 CRASHED spoke of a waiting task") != NULL,
                         index > 0);
        close_bench(b);
    }
}

static void
tasks_started_behind_a_waiting_one_end_the_executor(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    starts(b, 0, 0);
    starts(b, 0, 1);
    forget(b);
    parks(b, 0, 1, 0);
    expect(b, "signal 9 to 0\n");
    close_bench(b);
}

static void
word_of_unknown_tasks_is_dropped(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    parks(b, 0, 99, 0);
    wakes(b, 0, 99, 0);
    ends_parked(b, 0, 99, 0, OUTCOME_DONE);
    expect(b, "");
    wakes(b, 0, 1, 5); /* but this one is known to be another */
    expect(b, "signal 9 to 0\n");
    close_bench(b);
}

static void
result_of_another_task_than_the_one_that_waits_ends_the_executor(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    ends_parked(b, 0, 1, 1, OUTCOME_DONE);
    expect(b, "signal 9 to 0\n");
    close_bench(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crash_is_charged_to_the_task_that_the_executor_worked_for),
        cmocka_unit_test(crash_of_the_running_task_is_not_that_of_those_that_wait),
        cmocka_unit_test(a_task_does_not_wait_for_ever_in_executors_that_others_end),
        cmocka_unit_test(nested_words_are_of_the_owner_only_and_need_no_end),
        cmocka_unit_test(end_for_which_nobody_is_to_blame_is_forgiven_twice),
        cmocka_unit_test(crashes_of_others_are_forgiven_always),
        cmocka_unit_test(owner_that_is_no_lease_is_nobody),
        cmocka_unit_test(without_a_board_the_one_that_went_on_is_to_blame),
        cmocka_unit_test(without_a_board_what_was_given_to_one_that_went_on_is_not_begun),
        cmocka_unit_test(task_that_may_run_once_does_not_begin_anew),
        cmocka_unit_test(drained_worker_finishes_what_waits),
        cmocka_unit_test(drained_worker_returns_what_waited_in_an_executor_that_died),
        cmocka_unit_test(reset_kills_executors_in_which_tasks_wait),
        cmocka_unit_test(task_that_cannot_wait_ends_its_executor),
        cmocka_unit_test(tasks_started_behind_a_waiting_one_end_the_executor),
        cmocka_unit_test(word_of_unknown_tasks_is_dropped),
        cmocka_unit_test(result_of_another_task_than_the_one_that_waits_ends_the_executor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
