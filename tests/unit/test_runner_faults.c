/* test_runner_faults.c - what goes wrong in a worker: crashes, timeouts, programs that do not
 * start. */
#include "bench.h"

#include "../../base/clock.h"

#include <stdatomic.h>
#include <string.h>

static void
crash_is_charged_to_the_running_task_alone(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 7, 10, 5);
    ends(b, 0, 0, 1);
    starts(b, 0, 1);
    commits(b, 0, 1, "kept");
    starts(b, 0, 2);
    forget(b);
    dies(b, 0, "killed by signal 11 (Segmentation fault)");
    expect(b, "-> lease 7: 11 DONE kept\n"
              "-> lease 7: 12 CRASHED killed by signal 11 (Segmentation fault)\n"
              "start 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 13+2\n");
    close_bench(b);
}

static void
result_that_was_sent_and_is_on_the_board_counts_once(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    starts(b, 0, 0);
    commits(b, 0, 0, "one");
    starts(b, 0, 1);
    commits(b, 0, 1, "two");
    ends(b, 0, 0, 1);
    starts(b, 0, 2);
    forget(b);
    dies(b, 0, "exited with status 3");
    expect(b, "-> lease 1: 1 DONE two\n-> lease 1: 2 CRASHED exited with status 3\n");
    close_bench(b);
}

static void
garbage_on_a_board_is_not_believed(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    starts(b, 0, 1);
    memset(b->boards[0]->results, 0xff, BOARD_RESULTS);
    atomic_store(&b->boards[0]->committed, UINT32_MAX);
    forget(b);
    dies(b, 0, "crash");
    /* Its results are gone with its board: task 0 runs again, and has no part in it. */
    expect(b, "-> lease 1: 1 CRASHED crash\nstart 0 p\n");
    hello(b, 0);
    assert_non_null(strstr(b->history, "0: slice 0+1\n"));
    ends(b, 0, 0, 1);
    assert_non_null(strstr(b->history, "0: slice 2+1\n"));
    close_bench(b);
}

static void
executor_that_dies_between_tasks_is_nobodys_fault_three_times(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 2);
    for (int i = 0; i < 3; i++) {
        if (i > 0)
            hello(b, 0);
        forget(b);
        dies(b, 0, "exited with status 1");
    }
    expect(b, "-> program failed: its executors end before they run a task: exited with status 1\n"
              "-> lease 1: returned 0+2 why 2\n");
    close_bench(b);
}

static void
failed_start_in_a_pool_is_told_of_the_program_of_its_jobs(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){.program = {.name = "q", .machine = "", .arguments = ""}});
    slice(b, 1, 0, 1);
    dies(b, 0, "exited with status 2");
    assert_string_equal(b->failed, "q"); /* the pool itself knows it as "p" */
    close_bench(b);
}

static void
task_that_spoils_the_connection_is_found_among_its_neighbours(void **state)
{
    static const char cause[] = "sent what is no message to its worker";
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 4);
    starts(b, 0, 3);
    atomic_store(&b->boards[0]->running, 0); /* all are over, and their results went nowhere */
    forget(b);
    dies(b, 0, cause);
    expect(b, "start 0 p\n");
    hello(b, 0);
    assert_non_null(strstr(b->history, "0: slice 0+2\n"));
    ends(b, 0, 0, 2);
    assert_non_null(strstr(b->history, "0: slice 2+2\n"));
    starts(b, 0, 1);
    atomic_store(&b->boards[0]->running, 0);
    dies(b, 0, cause);
    hello(b, 0);
    assert_non_null(strstr(b->history, "0: slice 2+1\n"));
    starts(b, 0, 0);
    atomic_store(&b->boards[0]->running, 0);
    forget(b);
    dies(b, 0, cause);
    expect(b, "-> lease 1: 2 CRASHED sent what is no message to its worker\nstart 0 p\n");
    hello(b, 0);
    ends(b, 0, 0, 1);
    assert_non_null(strstr(b->history, "-> lease 1: 3 DONE\n"));
    close_bench(b);
}

static void
cancelled_task_is_asked_then_told_then_killed(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    starts(b, 0, 0);
    forget(b);
    cancel(b, 0, 1);
    assert_int_equal(atomic_load(&b->boards[0]->cancel), b->leases[0] << 32 | 1);
    expect(b, "0: cancel 0+1\n"); /* it may be waiting for others: then only that reaches it */
    after(b, 199);
    expect(b, "-> lease 1: 0 runs\n");
    after(b, 1);
    expect(b, "signal 15 to 0\n");
    after(b, 4999);
    expect(b, "");
    after(b, 1);
    expect(b, "signal 9 to 0\n");
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "-> lease 1: 0 CANCELLED\nstart 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 1+2\n");
    close_bench(b);
}

static void
cancelled_task_that_gives_up_is_cancelled(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    cancel(b, 0, 1);
    forget(b);
    ends_as(b, 0, 0, 1, 10, OUTCOME_FAILED);
    expect(b, "-> lease 1: 0 CANCELLED\n");
    after(b, 10000);
    expect(b, ""); /* and nobody is killed for it */
    close_bench(b);
}

static void
cancelled_task_that_was_faster_is_done(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    cancel(b, 0, 1);
    forget(b);
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n");
    close_bench(b);
}

static void
timeout_is_of_one_task_not_of_its_slice(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){.timeout_ms = 500});
    slice(b, 1, 0, 3);
    hello(b, 0);
    starts(b, 0, 0);
    after(b, 400);
    ends(b, 0, 0, 1);
    starts(b, 0, 1);
    after(b, 400);
    forget(b);
    after(b, 99);
    expect(b, "");
    after(b, 1);
    expect(b, "signal 15 to 0\n");
    dies(b, 0, "killed by signal 15 (Terminated)");
    expect(b, "-> lease 1: 1 TIMED_OUT ran longer than its timeout of 500 ms\nstart 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 2+1\n");
    close_bench(b);
}

static void
program_that_cannot_start_returns_its_tasks(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 2});

    (void)state;
    job_with(b, 1, (struct spec){.program = {.name = "one"}});
    slice(b, 1, 0, 2);
    slice(b, 2, 2, 2);
    forget(b);
    runner_program_failed(b->runner, "one", "is for aarch64", false, b->now);
    after(b, 0);
    slice(b, 3, 4, 1);
    expect(b, "-> program failed: is for aarch64\n"
              "-> lease 1: returned 0+2 why 2\n"
              "-> lease 2: returned 2+2 why 2\n"
              "-> program failed: is for aarch64\n"
              "-> lease 3: returned 4+1 why 2\n");
    close_bench(b);
}

static void
program_that_cannot_be_executed_is_told_at_once(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 2});

    (void)state;
    job_with(b, 1, (struct spec){.program = {.name = "one"}});
    slice(b, 1, 0, 1);
    slice(b, 2, 1, 1);
    b->why = "Exec format error";
    forget(b);
    runner_program_ready(b->runner, "one", b->now);
    after(b, 0);
    expect(b, "no start\n"
              "-> program failed: Exec format error\n"
              "-> lease 1: returned 0+1 why 2\n"
              "-> lease 2: returned 1+1 why 2\n");
    close_bench(b);
}

static void
machine_without_room_is_tried_again(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    b->refuse = true;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    after(b, 50);
    expect(b, "no start\n");
    assert_int_equal(runner_deadline(b->runner, b->now), b->now + 50 * MS);
    b->refuse = false;
    after(b, 50);
    expect(b, "start 0 p\n");
    close_bench(b);
}

static void
executor_that_never_says_hello_is_a_program_that_failed(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    after(b, 29999);
    expect(b, "start 0 p\n");
    after(b, 1);
    expect(b, "signal 9 to 0\n");
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "-> program failed: did not come to futures_new() within 30 s\n"
              "-> lease 1: returned 0+1 why 2\n");
    close_bench(b);
}

/* By the system, perhaps, or an operator: that says nothing of the program, the first times. */
static void
executor_killed_from_outside_while_it_starts_is_started_again(void **state)
{
    static const struct runner_end end = {
        .cause = "killed by signal 15 (Terminated)", .words = "", .killed = true};
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    dies_as(b, 0, end);
    dies_as(b, 0, end);
    expect(b, "start 0 p\nstart 0 p\nstart 0 p\n");
    dies_as(b, 0, end);
    expect(b, "-> program failed: killed by signal 15 (Terminated)\n"
              "-> lease 1: returned 0+1 why 2\n");
    close_bench(b);
}

static void
drain_returns_what_did_not_start(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    slice(b, 2, 3, 1);
    starts(b, 0, 0);
    forget(b);
    runner_drain(b->runner, 3600000000, "test", b->now);
    slice(b, 3, 4, 1);
    expect(b, "-> draining\n"
              "-> lease 1: returned 1+2 why 1\n"
              "-> lease 2: returned 3+1 why 1\n"
              "-> lease 3: returned 4+1 why 1\n");
    assert_false(runner_idle(b->runner));
    ends(b, 0, 0, 1);
    assert_true(runner_idle(b->runner));
    close_bench(b);
}

static void
reset_kills_what_runs_and_keeps_what_is_idle(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    slice(b, 2, 1, 1);
    ends(b, 1, 0, 1);
    forget(b);
    runner_reset(b->runner, b->now);
    hear(b);
    expect(b, "signal 9 to 0\n1: job_end\n");
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    expect(b, "1: job\n1: slice 0+1\n");
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "");
    close_bench(b);
}

/* Who fetches it stops when the broker goes. */
static void
reset_wants_a_program_that_did_not_come_once_more(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1});

    (void)state;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    expect(b, "want p\n");
    runner_reset(b->runner, b->now);
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    expect(b, "want p\n");
    close_bench(b);
}

static void
results_that_nobody_asked_for_end_the_executor(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 2);
    starts(b, 0, 0);
    forget(b);
    ends(b, 0, 1, 1); /* the second before the first */
    expect(b, "signal 9 to 0\n");
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "-> lease 1: 0 CRASHED sent results of tasks that it did not have\nstart 0 p\n");
    close_bench(b);
}

/* Nothing comes before or behind a task that is said to have run for ages. */
static void
absurd_running_times_are_long_ones(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    ends_as(b, 0, 0, 1, (1ULL << 62) / 1000, OUTCOME_DONE);
    slice(b, 2, 1, 3);
    forget(b);
    slice(b, 3, 4, 3);
    expect(b, "");
    close_bench(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crash_is_charged_to_the_running_task_alone),
        cmocka_unit_test(result_that_was_sent_and_is_on_the_board_counts_once),
        cmocka_unit_test(garbage_on_a_board_is_not_believed),
        cmocka_unit_test(executor_that_dies_between_tasks_is_nobodys_fault_three_times),
        cmocka_unit_test(failed_start_in_a_pool_is_told_of_the_program_of_its_jobs),
        cmocka_unit_test(task_that_spoils_the_connection_is_found_among_its_neighbours),
        cmocka_unit_test(cancelled_task_is_asked_then_told_then_killed),
        cmocka_unit_test(cancelled_task_that_gives_up_is_cancelled),
        cmocka_unit_test(cancelled_task_that_was_faster_is_done),
        cmocka_unit_test(timeout_is_of_one_task_not_of_its_slice),
        cmocka_unit_test(program_that_cannot_start_returns_its_tasks),
        cmocka_unit_test(program_that_cannot_be_executed_is_told_at_once),
        cmocka_unit_test(machine_without_room_is_tried_again),
        cmocka_unit_test(executor_that_never_says_hello_is_a_program_that_failed),
        cmocka_unit_test(executor_killed_from_outside_while_it_starts_is_started_again),
        cmocka_unit_test(drain_returns_what_did_not_start),
        cmocka_unit_test(reset_kills_what_runs_and_keeps_what_is_idle),
        cmocka_unit_test(reset_wants_a_program_that_did_not_come_once_more),
        cmocka_unit_test(results_that_nobody_asked_for_end_the_executor),
        cmocka_unit_test(absurd_running_times_are_long_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
