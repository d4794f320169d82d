/* Memory that tasks ask for, what they leave behind, and the grace of a drain. */
#include "bench.h"

static void
job_of_memory(struct bench *b, uint64_t id, uint64_t memory)
{
    job_with(b, id, (struct spec){.memory = memory});
}

/* ---- what fits ---------------------------------------------------------------------------------
 */

static void
no_more_runs_at_once_than_fits(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 3, .memory = 1000});

    (void)state;
    job_of_memory(b, 2, 600);
    job_of_memory(b, 3, 300);
    forget(b);
    slice_of(b, 2, 1, 0, 1);
    expect(b, "0: job\nlimit 0 to 600\n0: slice 0+1\n");
    slice_of(b, 2, 2, 1, 1);
    expect(b, "");           /* it waits for memory */
    slice_of(b, 3, 3, 0, 1); /* and so does what comes behind: it would never get it else */
    expect(b, "");
    slice(b, 4, 0, 1); /* but not what asks for none */
    expect(b, "1: job\n1: slice 0+1\n");
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n0: slice 1+1\n2: job\nlimit 2 to 300\n2: slice 0+1\n");
    close_bench(b);
}

static void
a_task_that_asks_for_more_than_there_is_gets_all(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2, .memory = 1000});

    (void)state;
    job_of_memory(b, 2, 5000);
    forget(b);
    slice_of(b, 2, 1, 0, 1);
    slice_of(b, 2, 2, 1, 1);
    expect(b, "0: job\nlimit 0 to 5000\n0: slice 0+1\n");
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n0: slice 1+1\n");
    close_bench(b);
}

static void
work_is_not_stolen_for_an_executor_without_memory(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2, .memory = 1000});

    (void)state;
    job_of_memory(b, 2, 600);
    slice_of(b, 2, 1, 0, 8);
    forget(b);
    starts(b, 0, 0);
    after(b, 100);
    expect(b, "-> lease 1: 0 runs\n");
    close_bench(b);
}

static void
a_limit_lasts_until_other_work_comes(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .memory = 1000});

    (void)state;
    job_of_memory(b, 2, 600);
    forget(b);
    slice_of(b, 2, 1, 0, 1);
    ends(b, 0, 0, 1);
    expect(b, "0: job\nlimit 0 to 600\n0: slice 0+1\n-> lease 1: 0 DONE\n");
    slice_of(b, 2, 2, 1, 1);
    ends(b, 0, 0, 1);
    expect(b, "0: slice 1+1\n-> lease 2: 1 DONE\n");
    slice(b, 3, 0, 1);
    expect(b, "0: job\nlimit 0 to 0\n0: slice 0+1\n");
    close_bench(b);
}

/* ---- what executors have kept ------------------------------------------------------------------
 */

static void
an_executor_that_kept_much_is_replaced_for_a_task_with_a_limit(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .memory = 1000});

    (void)state;
    job_of_memory(b, 2, 600);
    forget(b);
    b->usage[0] = 100; /* fresh */
    slice(b, 1, 0, 1);
    b->usage[0] = 900;
    ends(b, 0, 0, 1);
    slice(b, 2, 1, 1); /* it does for one without a limit */
    ends(b, 0, 0, 1);
    forget(b);
    slice_of(b, 2, 3, 0, 1);
    expect(b, "hang up 0\nstart 1 p\n");
    hello(b, 1);
    expect(b, "1: welcome\n1: job\nlimit 1 to 600\n1: slice 0+1\n");
    dies(b, 0, "exited");
    close_bench(b);
}

static void
a_fresh_executor_is_never_too_large(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .memory = 1000});

    (void)state;
    job_of_memory(b, 2, 600);
    b->usage[0] = 5000;
    forget(b);
    slice_of(b, 2, 1, 0, 1);
    expect(b, "0: job\nlimit 0 to 600\n0: slice 0+1\n");
    ends(b, 0, 0, 1);
    slice_of(b, 2, 2, 1, 1);
    expect(b, "-> lease 1: 0 DONE\n0: slice 1+1\n");
    close_bench(b);
}

/* ---- tasks that wait ---------------------------------------------------------------------------
 */

static void
a_task_that_waits_leaves_its_memory_to_those_that_it_waits_for(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .memory = 1000});
    uint64_t parent;

    (void)state;
    job_of_memory(b, 2, 1000);
    job_of_memory(b, 3, 1000);
    slice_of(b, 2, 1, 0, 1);
    starts(b, 0, 0);
    parent = b->leases[0];
    forget(b);
    parks(b, 0, parent, 0);
    slice_of(b, 3, 2, 0, 1); /* not in the executor of the one that waits: it is to be limited */
    expect(b, "-> lease 1: parked\nstart 1 p\n");
    hello(b, 1);
    expect(b, "1: welcome\n1: job\nlimit 1 to 1000\n1: slice 0+1\n");
    wakes(b, 0, parent, 0); /* more than there is: it does not wait once more */
    expect(b, "-> lease 1: awake\n");
    ends_parked(b, 0, parent, 0, OUTCOME_DONE);
    ends(b, 1, 0, 1);
    close_bench(b);
}

static void
who_has_no_limit_lifts_that_of_those_who_wait_beside_it(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .memory = 1000});
    uint64_t parent;

    (void)state;
    job_of_memory(b, 2, 500);
    slice_of(b, 2, 1, 0, 1);
    starts(b, 0, 0);
    parent = b->leases[0];
    parks(b, 0, parent, 0);
    forget(b);
    slice(b, 2, 0, 1);
    expect(b, "0: job\nlimit 0 to 0\n0: slice 0+1\n");
    ends(b, 0, 0, 1);
    ends_parked(b, 0, parent, 0, OUTCOME_DONE);
    close_bench(b);
}

/* ---- what tasks have detached ------------------------------------------------------------------
 */

static void
an_idle_executor_is_swept_once(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    b->sweeps = true;
    after(b, 1000);
    expect(b, ""); /* it had no task */
    slice(b, 1, 0, 1);
    after(b, 1000);
    forget(b);
    ends(b, 0, 0, 1);
    assert_in_range(runner_deadline(b->runner, b->now), b->now + 1, b->now + 50 * MS);
    after(b, 50);
    expect(b, "-> lease 1: 0 DONE\nsweep 0\n");
    after(b, 1000);
    expect(b, "");
    close_bench(b);
}

static void
a_busy_executor_is_not_swept(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    b->sweeps = true;
    slice(b, 1, 0, 1);
    ends(b, 0, 0, 1);
    after(b, 10);
    slice(b, 2, 1, 1);
    forget(b);
    after(b, 49);
    expect(b, "");
    close_bench(b);
}

/* ---- drains ------------------------------------------------------------------------------------
 */

static void
drain_ends_what_runs_at_its_grace_and_returns_it(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    slice(b, 1, 0, 1);
    slice(b, 2, 1, 1);
    starts(b, 0, 0);
    starts(b, 1, 0);
    forget(b);
    runner_drain(b->runner, 1000 * MS, "test", b->now);
    after(b, 999);
    expect(b, "-> draining\n-> lease 1: 0 runs\n-> lease 2: 1 runs\n");
    ends(b, 0, 0, 1); /* in time */
    expect(b, "-> lease 1: 0 DONE\n");
    assert_int_equal(runner_deadline(b->runner, b->now), b->now + MS);
    after(b, 1);
    expect(b, "signal 15 to 1\n");
    after(b, 5000);
    expect(b, "signal 9 to 1\n");
    dies(b, 1, "killed");
    expect(b, "-> lease 2: returned 1+1 why 1\n");
    assert_true(runner_idle(b->runner));
    close_bench(b);
}

static void
drain_returns_tasks_that_wait_too(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});
    uint64_t lease;

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    lease = b->leases[0];
    parks(b, 0, lease, 0);
    forget(b);
    runner_drain(b->runner, 0, "test", b->now);
    after(b, 0);
    expect(b, "signal 15 to 0\n-> draining\n");
    dies(b, 0, "killed");
    expect(b, "-> lease 1: awake\n-> lease 1: returned 0+1 why 1\n");
    assert_true(runner_idle(b->runner));
    close_bench(b);
}

static void
drain_loses_what_may_run_only_once(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    job_with(b, 2, (struct spec){.once = true});
    slice_of(b, 2, 1, 0, 1);
    slice_of(b, 2, 2, 1, 1);
    starts(b, 0, 0); /* the other one was not begun */
    forget(b);
    runner_drain(b->runner, 0, "test", b->now);
    after(b, 0);
    expect(b, "signal 15 to 0\n-> draining\n-> lease 2: returned 1+1 why 1\n");
    dies(b, 0, "killed");
    expect(b, "-> lease 1: 0 LOST its worker was drained, and the task may run only once\n");
    close_bench(b);
}

static void
the_shorter_grace_of_two_drains_counts(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    runner_drain(b->runner, 1000 * MS, "test", b->now);
    runner_drain(b->runner, 10 * MS, "again", b->now);
    runner_drain(b->runner, 5000 * MS, "and again", b->now);
    after(b, 0);
    forget(b);
    after(b, 10);
    expect(b, "signal 15 to 0\n");
    dies(b, 0, "killed");
    close_bench(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_runs_at_once_than_fits),
        cmocka_unit_test(a_task_that_asks_for_more_than_there_is_gets_all),
        cmocka_unit_test(work_is_not_stolen_for_an_executor_without_memory),
        cmocka_unit_test(a_limit_lasts_until_other_work_comes),
        cmocka_unit_test(an_executor_that_kept_much_is_replaced_for_a_task_with_a_limit),
        cmocka_unit_test(a_fresh_executor_is_never_too_large),
        cmocka_unit_test(a_task_that_waits_leaves_its_memory_to_those_that_it_waits_for),
        cmocka_unit_test(who_has_no_limit_lifts_that_of_those_who_wait_beside_it),
        cmocka_unit_test(an_idle_executor_is_swept_once),
        cmocka_unit_test(a_busy_executor_is_not_swept),
        cmocka_unit_test(drain_ends_what_runs_at_its_grace_and_returns_it),
        cmocka_unit_test(drain_returns_tasks_that_wait_too),
        cmocka_unit_test(drain_loses_what_may_run_only_once),
        cmocka_unit_test(the_shorter_grace_of_two_drains_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
