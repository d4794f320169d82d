/* test_runner.c - who runs what in a worker. */
#include "bench.h"

#include "../../base/clock.h"

#include <stdatomic.h>
#include <string.h>

static void
slice_is_run_by_an_executor_that_starts_for_it(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 2);
    expect(b, "start 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 0+2\n");
    ends(b, 0, 0, 1);
    ends(b, 0, 1, 1);
    expect(b, "-> lease 1: 0 DONE\n-> lease 1: 1 DONE\n");
    slice(b, 2, 2, 1);
    expect(b, "0: slice 2+1\n"); /* it knows the job by now */
    close_bench(b);
}

static void
first_come_is_first_served(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    slice(b, 2, 1, 1);
    slice(b, 3, 2, 1);
    expect(b, "0: job\n0: slice 0+1\n");
    ends(b, 0, 0, 1);
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n0: slice 1+1\n-> lease 2: 1 DONE\n0: slice 2+1\n");
    close_bench(b);
}

static void
short_slices_wait_in_the_executor(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    ends_as(b, 0, 0, 1, 1, OUTCOME_DONE); /* a microsecond */
    forget(b);
    slice(b, 2, 1, 10);
    slice(b, 3, 11, 10);
    slice(b, 4, 21, 10);
    expect(b, "0: slice 1+10\n0: slice 11+10\n");
    revoke(b, 3, 10); /* it can be taken from there all the same */
    expect(b, "-> lease 3: returned 11+10 why 0\n0: slice 21+10\n");
    dies(b, 0, "crash");
    expect(b, "start 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 1+10\n0: slice 21+10\n");
    close_bench(b);
}

/* A board has places for so many leases: one that was taken back at once gives way, one that is
 * held does not. */
static void
slices_taken_from_behind_leave_the_one_at_work_its_place(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});
    uint64_t held;

    (void)state;
    slice(b, 1, 0, 1);
    ends_as(b, 0, 0, 1, 1, OUTCOME_DONE);
    slice(b, 2, 1, 10);
    held = b->leases[0];
    for (uint32_t i = 0; i < 3 * BOARD_SLICES; i++) {
        slice(b, 3 + i, 11, 10);
        assert_true(b->leases[0] != held);
        assert_int_equal(board_unstarted(b->boards[0], held), 10);
        assert_int_equal(board_unstarted(b->boards[0], b->leases[0]), 10);
        revoke(b, 3 + i, 10);
    }
    close_bench(b);
}

static void
results_behind_a_long_task_are_read_from_the_board(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    starts(b, 0, 0);
    commits(b, 0, 0, "one");
    starts(b, 0, 1);
    forget(b);
    after(b, 4);
    expect(b, "");
    after(b, 2);
    expect(b, "-> lease 1: 0 DONE one\n");
    ends(b, 0, 0, 2); /* and sent later, with the next */
    expect(b, "-> lease 1: 1 DONE\n");
    close_bench(b);
}

static void
revoke_takes_from_the_end_and_from_the_queue_first(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 10);
    slice(b, 2, 10, 4);
    starts(b, 0, 0);
    forget(b);
    revoke(b, 2, 1);
    revoke(b, 2, 10);
    revoke(b, 1, 4);
    revoke(b, 1, 100);
    revoke(b, 1, 100);
    revoke(b, 99, 1);
    expect(b, "-> lease 2: returned 13+1 why 0\n"
              "-> lease 2: returned 10+3 why 0\n"
              "-> lease 1: returned 6+4 why 0\n"
              "-> lease 1: returned 1+5 why 0\n"
              "-> lease 1: returned 0+0 why 0\n"
              "-> lease 99: returned 0+0 why 0\n");
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n");
    assert_true(runner_idle(b->runner));
    close_bench(b);
}

static void
revoke_takes_from_all_that_is_left_of_a_slice(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    slice(b, 2, 1, 5);
    cancel(b, 3, 1);
    forget(b);
    revoke(b, 2, 3);
    expect(b, "-> lease 2: returned 4+2 why 0\n-> lease 2: returned 2+1 why 0\n");
    close_bench(b);
}

static void
slice_that_is_revoked_before_it_began_leaves_its_executor_idle(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    forget(b);
    revoke(b, 1, 3);
    expect(b, "-> lease 1: returned 0+3 why 0\n");
    slice(b, 2, 0, 1);
    expect(b, "0: slice 0+1\n");
    close_bench(b);
}

static void
cancel_cuts_queued_tasks_out(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    slice(b, 2, 1, 5);
    forget(b);
    cancel(b, 3, 2);
    expect(b, "-> lease 2: 3 CANCELLED\n-> lease 2: 4 CANCELLED\n");
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n0: slice 1+2\n");
    ends(b, 0, 0, 2);
    expect(b, "-> lease 2: 1 DONE\n-> lease 2: 2 DONE\n0: slice 5+1\n");
    close_bench(b);
}

static void
idle_executor_steals_half_of_what_takes_long(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    slice(b, 1, 0, 9);
    expect(b, "0: job\n0: slice 0+9\n");
    starts(b, 0, 0);
    after(b, 1);
    expect(b, "1: job\n1: slice 5+4\n");
    after(b, 1);
    expect(b, "");
    close_bench(b);
}

/* Its input is still on the way: whoever took the task would have it taken away in the same state.
 */
static void
task_that_is_about_to_start_is_not_stolen(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    slice(b, 1, 0, 1);
    ends_as(b, 0, 0, 1, 60000000, OUTCOME_DONE); /* a minute: well worth it */
    forget(b);
    slice(b, 2, 0, 1);
    expect(b, "0: slice 0+1\n");
    after(b, 1000);
    expect(b, "");
    starts(b, 0, 0);
    ends(b, 0, 0, 1);
    forget(b);
    slice(b, 3, 0, 3);
    expect(b, "0: slice 0+3\n1: job\n1: slice 2+1\n");
    after(b, 1000);
    expect(b, "");
    close_bench(b);
}

static void
short_work_is_not_worth_stealing(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    slice(b, 1, 0, 1);
    ends_as(b, 0, 0, 1, 1, OUTCOME_DONE); /* a microsecond */
    forget(b);
    slice(b, 2, 0, 100);
    expect(b, "0: slice 0+100\n");
    close_bench(b);
}

static void
wide_tasks_take_several_slots(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 4, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){.cpus = 3});
    job_with(b, 2, (struct spec){.cpus = 1});
    slice(b, 1, 0, 1);
    slice(b, 2, 1, 1);
    slice_of(b, 2, 3, 0, 1);
    expect(b, "start 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 0+1\n"); /* one slot is left, for nobody yet */
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n0: slice 1+1\nstart 1 p\n");
    hello(b, 1);
    expect(b, "1: welcome\n1: job\n1: slice 0+1\n");
    close_bench(b);
}

static void
executor_without_a_board_gets_one_task_at_a_time(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    b->unattached = true;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 3);
    hello(b, 0);
    expect(b, "start 0 p\n0: welcome\n0: job\n0: slice 0+1\n");
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n0: slice 1+1\n");
    dies(b, 0, "crash");
    expect(b, "-> lease 1: 1 CRASHED crash\nstart 0 p\n");
    close_bench(b);
}

static void
executor_is_replaced_after_its_share(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .tasks_per_executor = 2});

    (void)state;
    slice(b, 1, 0, 3);
    expect(b, "0: job\n0: slice 0+2\nstart 1 p\n"); /* the next one is there when it ends */
    hello(b, 1);
    ends(b, 0, 0, 2);
    expect(b, "1: welcome\n"
              "hang up 0\n-> lease 1: 0 DONE\n-> lease 1: 1 DONE\n1: job\n1: slice 2+1\n");
    dies(b, 0, "exited with status 0");
    expect(b, "");
    close_bench(b);
}

static void
programs_are_fetched_before_they_start_and_make_room(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1});

    (void)state;
    job_with(b, 1, (struct spec){.program = {.name = "one"}});
    job_with(b, 2, (struct spec){.program = {.name = "two"}});
    slice_of(b, 1, 1, 0, 1);
    slice_of(b, 2, 2, 0, 1);
    expect(b, "want one\nwant two\n");
    runner_program_ready(b->runner, "two", b->now);
    after(b, 0);
    expect(b, "start 0 two\n");
    hello(b, 0);
    ends(b, 0, 0, 1);
    expect(b, "0: welcome\n0: job\n0: slice 0+1\n-> lease 2: 0 DONE\n");
    runner_program_ready(b->runner, "one", b->now);
    after(b, 0);
    expect(b, "hang up 0\nstart 1 one\n"); /* it was idle, and in the way */
    runner_program_failed(b->runner, "two", "late", false, b->now);
    after(b, 0);
    expect(b, "");
    close_bench(b);
}

static void
end_of_a_job_is_the_end_of_its_tasks(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});
    struct message m = {.type = MESSAGE_JOB_END, .job_end = {1, 2}};

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    slice(b, 2, 1, 1);
    forget(b);
    give(b, &m);
    expect(b, "0: cancel 0+4294967295\n-> lease 2: 1 CANCELLED\n");
    ends(b, 0, 0, 1);
    expect(b, "0: job_end\n-> lease 1: 0 DONE\n"); /* not while a task of it runs */
    slice(b, 3, 2, 1);
    expect(b, "-> lease 3: returned 2+1 why 3\n"); /* of a job that is forgotten */
    close_bench(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slice_is_run_by_an_executor_that_starts_for_it),
        cmocka_unit_test(first_come_is_first_served),
        cmocka_unit_test(short_slices_wait_in_the_executor),
        cmocka_unit_test(slices_taken_from_behind_leave_the_one_at_work_its_place),
        cmocka_unit_test(results_behind_a_long_task_are_read_from_the_board),
        cmocka_unit_test(revoke_takes_from_the_end_and_from_the_queue_first),
        cmocka_unit_test(revoke_takes_from_all_that_is_left_of_a_slice),
        cmocka_unit_test(slice_that_is_revoked_before_it_began_leaves_its_executor_idle),
        cmocka_unit_test(cancel_cuts_queued_tasks_out),
        cmocka_unit_test(idle_executor_steals_half_of_what_takes_long),
        cmocka_unit_test(task_that_is_about_to_start_is_not_stolen),
        cmocka_unit_test(short_work_is_not_worth_stealing),
        cmocka_unit_test(wide_tasks_take_several_slots),
        cmocka_unit_test(executor_without_a_board_gets_one_task_at_a_time),
        cmocka_unit_test(executor_is_replaced_after_its_share),
        cmocka_unit_test(programs_are_fetched_before_they_start_and_make_room),
        cmocka_unit_test(end_of_a_job_is_the_end_of_its_tasks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
