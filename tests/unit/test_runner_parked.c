/* test_runner_parked.c - tasks that wait in a worker for others: their slots, ends and executors.
 */
#include "bench.h"

#include "../../base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
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

/* ---- slots -------------------------------------------------------------------------------------
 */

static void
waiting_task_gives_its_slot_back(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    assert_false(runner_idle(b->runner));
    slice(b, 2, 1, 1);
    expect(b, "0: slice 1+1\n"); /* the very same executor */
    ends(b, 0, 0, 1);
    wakes(b, 0, 1, 0);
    expect(b, "-> lease 2: 1 DONE\n-> lease 1: awake\n");
    ends_parked(b, 0, 1, 0, OUTCOME_DONE);
    expect(b, "-> lease 1: 0 DONE\n");
    assert_true(runner_idle(b->runner));
    close_bench(b);
}

static void
rest_of_its_slice_is_taken_back_and_goes_on_one_by_one(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 4);
    ends(b, 0, 0, 1);
    starts(b, 0, 1);
    forget(b);
    parks(b, 0, 1, 1);
    expect(b, "0: slice 2+1\n");
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 2 DONE\n0: slice 3+1\n");
    starts(b, 0, 0);
    parks(b, 0, 3, 3); /* now all that is left of it waits */
    expect(b, "-> lease 1: parked\n");
    wakes(b, 0, 1, 1);
    expect(b, "-> lease 1: awake\n");
    ends_parked(b, 0, 1, 1, OUTCOME_DONE);
    expect(b, "-> lease 1: 1 DONE\n-> lease 1: parked\n");
    wakes(b, 0, 3, 3);
    ends_parked(b, 0, 3, 3, OUTCOME_FAILED);
    expect(b, "-> lease 1: awake\n-> lease 1: 3 FAILED\n");
    close_bench(b);
}

static void
task_may_wait_again_and_again(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    for (int i = 0; i < 3; i++) {
        wakes(b, 0, 1, 0);
        wakes(b, 0, 1, 0); /* said twice is no more than once */
        expect(b, "-> lease 1: awake\n");
        parks(b, 0, 1, 0);
        parks(b, 0, 1, 0);
        expect(b, "-> lease 1: parked\n");
    }
    ends_parked(b, 0, 1, 0, OUTCOME_DONE); /* from its sleep, as it were */
    expect(b, "-> lease 1: 0 DONE\n");
    close_bench(b);
}

static void
slice_that_stood_behind_it_is_at_work(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    ends_as(b, 0, 0, 1, 1, OUTCOME_DONE); /* a microsecond */
    slice(b, 2, 1, 1);
    slice(b, 3, 2, 1);
    forget(b);
    parks(b, 0, 2, 1);
    expect(b, "-> lease 2: parked\n");
    starts(b, 0, 0);
    dies(b, 0, "crash");
    expect(b, "-> lease 3: 2 CRASHED crash\n-> lease 2: awake\nstart 0 p\n");
    close_bench(b);
}

static void
job_that_nests_has_no_tasks_behind_one_another(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    ends_parked(b, 0, 1, 0, OUTCOME_DONE);
    slice(b, 2, 1, 1);
    ends_as(b, 0, 0, 1, 1, OUTCOME_DONE); /* however short they are */
    forget(b);
    slice(b, 3, 2, 2);
    slice(b, 4, 4, 1);
    expect(b, "0: slice 2+1\n");
    close_bench(b);
}

static void
thousands_wait_in_one_executor(void **state)
{
    enum { MANY = 2000 };
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        slice(b, 1 + i, i, 1);
        parks(b, 0, 1 + i, i);
        forget(b);
    }
    for (unsigned i = 0; i < MANY; i++) {
        unsigned k = i * 7 % MANY;

        wakes(b, 0, 1 + k, k);
        ends_parked(b, 0, 1 + k, k, OUTCOME_DONE);
        assert_non_null(strstr(b->history, " DONE\n"));
        forget(b);
    }
    assert_true(runner_idle(b->runner));
    close_bench(b);
}

/* ---- processes ---------------------------------------------------------------------------------
 */

/* Programs "one" and "two" are there. Task 0 of job 1 of the first waits in executor 0. */
static struct bench *
open_two(void)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1});

    job_with(b, 1, (struct spec){.program = {.name = "one"}});
    job_with(b, 2, (struct spec){.program = {.name = "two"}});
    slice_of(b, 1, 1, 0, 1);
    runner_program_ready(b->runner, "one", b->now);
    after(b, 0);
    hello(b, 0);
    parks(b, 0, 1, 0);
    forget(b);
    return b;
}

static void
executor_with_a_waiting_task_makes_room_and_stays(void **state)
{
    struct bench *b = open_two();

    (void)state;
    slice_of(b, 2, 2, 0, 1);
    runner_program_ready(b->runner, "two", b->now);
    after(b, 0);
    expect(b, "want two\nstart 1 two\n"); /* and the other is not hung up */
    hello(b, 1);
    expect(b, "1: welcome\n1: job\n1: slice 0+1\n");
    close_bench(b);
}

static void
idle_executor_goes_rather_than_one_with_a_waiting_task(void **state)
{
    struct bench *b = open_two();

    (void)state;
    job_with(b, 3, (struct spec){.program = {.name = "one"}, .apart = true});
    slice_of(b, 3, 2, 0, 1);
    hello(b, 1);
    ends(b, 1, 0, 1);
    slice_of(b, 2, 3, 0, 1);
    forget(b);
    runner_program_ready(b->runner, "two", b->now);
    after(b, 0);
    expect(b, "hang up 1\nstart 2 two\n"); /* though it has been idle for less */
    close_bench(b);
}

static void
task_that_goes_on_needs_no_free_slot(void **state)
{
    struct bench *b = open_two();

    (void)state;
    slice_of(b, 2, 2, 0, 1);
    runner_program_ready(b->runner, "two", b->now);
    after(b, 0);
    hello(b, 1);
    wakes(b, 0, 1, 0); /* so two run on one slot */
    slice_of(b, 2, 3, 1, 1);
    slice_of(b, 1, 4, 1, 1);
    forget(b);
    ends(b, 1, 0, 1); /* now one does, and it is not anybody's turn */
    expect(b, "-> lease 2: 0 DONE\n");
    ends_parked(b, 0, 1, 0, OUTCOME_DONE);
    expect(b, "-> lease 1: 0 DONE\n1: slice 1+1\n");
    close_bench(b);
}

static void
wide_task_takes_its_slots_when_it_goes_on(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 4});

    (void)state;
    job_with(b, 2, (struct spec){.cpus = 3});
    slice_of(b, 2, 1, 0, 1);
    parks(b, 0, 1, 0);
    for (uint32_t i = 0; i < 5; i++)
        slice(b, 2 + i, i, 1);
    forget(b);
    wakes(b, 0, 1, 0); /* three in its executor, and one in each of the others */
    ends(b, 1, 0, 1);
    ends(b, 2, 0, 1);
    assert_null(strstr(b->history, "slice"));
    ends_parked(b, 0, 1, 0, OUTCOME_DONE);
    assert_non_null(strstr(b->history, ": slice 4+1\n"));
    close_bench(b);
}

static void
work_goes_where_nobody_waits_if_it_can(void **state)
{
    struct bench *b = open_parked(2);

    (void)state;
    slice(b, 2, 1, 1);
    slice(b, 3, 2, 1);
    expect(b, "1: job\n1: slice 1+1\n0: slice 2+1\n");
    close_bench(b);
}

static void
task_apart_starts_an_executor_rather_than_join_those_that_wait(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    job_with(b, 2, (struct spec){.apart = true});
    slice_of(b, 2, 2, 0, 1);
    expect(b, "start 1 p\n");
    hello(b, 1);
    expect(b, "1: welcome\n1: job\n1: slice 0+1\n");
    ends(b, 1, 0, 1);
    b->refuse = true; /* no more processes */
    dies(b, 1, "exited with status 0");
    slice_of(b, 2, 3, 1, 1);
    expect(b, "-> lease 2: 0 DONE\nno start\n0: job\n0: slice 1+1\n"); /* better than never */
    close_bench(b);
}

static void
task_apart_is_not_put_behind_others_where_some_wait(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    job_with(b, 2, (struct spec){0});
    job_with(b, 3, (struct spec){.apart = true});
    for (unsigned i = 0; i < 2; i++) { /* both are known as short */
        slice_of(b, 2 + i, 2 + i, 0, 1);
        if (i == 1)
            hello(b, 1);
        ends_as(b, i, 0, 1, 1, OUTCOME_DONE);
    }
    dies(b, 1, "exited with status 0");
    slice_of(b, 2, 4, 1, 1);
    forget(b);
    slice_of(b, 3, 5, 1, 1);
    expect(b, "");
    slice_of(b, 2, 6, 2, 1);
    expect(b, "");
    close_bench(b);
}

/* ---- races with the broker ---------------------------------------------------------------------
 */

static void
revoke_finds_what_a_waiting_task_left_behind(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    slice(b, 2, 3, 1);
    starts(b, 0, 0);
    forget(b);
    revoke(b, 1, 1); /* the word that it waits is on its way */
    parks(b, 0, 1, 0);
    expect(b, "-> lease 1: returned 2+1 why 0\n0: slice 1+1\n");
    revoke(b, 1, 5);
    expect(b, "-> lease 1: returned 1+1 why 0\n-> lease 1: parked\n0: slice 3+1\n");
    revoke(b, 1, 5);
    expect(b, "-> lease 1: returned 0+0 why 0\n"); /* what waits has started */
    close_bench(b);
}

static void
revoke_of_all_the_rest_and_word_of_waiting_cross(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 2);
    starts(b, 0, 0);
    revoke(b, 1, 5);
    forget(b);
    parks(b, 0, 1, 0);
    expect(b, "-> lease 1: parked\n");
    close_bench(b);
}

static void
end_of_a_job_comes_to_executors_after_its_tasks(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    give(b, &(struct message){.type = MESSAGE_JOB_END, .job_end = {1, 1}});
    expect(b, "0: cancel 0+4294967295\n");
    wakes(b, 0, 1, 0);
    ends_parked(b, 0, 1, 0, OUTCOME_FAILED);
    expect(b, "-> lease 1: awake\n0: job_end\n-> lease 1: 0 CANCELLED\n");
    close_bench(b);
}

static void
words_of_a_waiting_task_are_passed_on_while_it_lives(void **state)
{
    struct bench *b = open_parked(1);
    struct message m = {.type = MESSAGE_PROGRESS, .progress = {1, 1, 0, 5, 10}};
    uint64_t job = 0;

    (void)state;
    says(b, 0, &m);
    expect(b, "-> progress\n");
    assert_false(runner_job_of(b->runner, 0, &job));
    works_for(b, 0, 1, "");
    assert_true(runner_job_of(b->runner, 0, &job));
    assert_int_equal(job, 1);
    ends_parked(b, 0, 1, 0, OUTCOME_DONE);
    forget(b);
    says(b, 0, &m);
    expect(b, "");
    close_bench(b);
}

static void
broker_hears_that_it_runs_though_it_waits(void **state)
{
    struct bench *b = open_parked(1);

    (void)state;
    assert_int_equal(runner_deadline(b->runner, b->now), b->now + 50 * MS);
    after(b, 49);
    expect(b, "");
    after(b, 1);
    expect(b, "-> lease 1: 0 runs\n");
    after(b, 1000);
    expect(b, "");
    assert_int_equal(runner_deadline(b->runner, b->now), CLOCK_NEVER);
    close_bench(b);
}

/* Task 0 of a job of program `name` comes to wait in executor i. */
static void
park_one(struct bench *b, unsigned i, const char *name)
{
    job_with(b, 1 + i, (struct spec){.program = {.name = name}, .apart = true});
    slice_of(b, 1 + i, 1 + i, 0, 1);
    runner_program_ready(b->runner, name, b->now);
    after(b, 0);
    hello(b, i);
    starts(b, i, 0);
    parks(b, i, 1, 0);
}

/* Those that wait would wait for ever. */
static void
program_without_a_seat_keeps_no_others_from_theirs(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 2});
    unsigned seats = runner_executors(b->runner);
    char name[16];

    (void)state;
    for (unsigned i = 0; i < seats; i++) {
        snprintf(name, sizeof(name), "p%u", i);
        park_one(b, i, name);
    }
    job_with(b, 100, (struct spec){.program = {.name = "more"}});
    slice_of(b, 100, 100, 0, 1);
    runner_program_ready(b->runner, "more", b->now);
    forget(b);
    slice_of(b, 1, 101, 1, 1);
    expect(b, "0: slice 1+1\n");
    close_bench(b);
}

static void
last_seats_are_for_programs_that_have_none(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1});
    unsigned seats = runner_executors(b->runner), other;
    int n = 0;

    (void)state;
    for (unsigned i = 0; i + 1 < seats; i++)
        park_one(b, i, "one");
    forget(b);
    slice_of(b, 1, 100, 1, 1); /* it goes to one of those that there are */
    expect(b, "0: slice 1+1\n");
    ends(b, 0, 0, 1);
    job_with(b, 200, (struct spec){.program = {.name = "two"}});
    slice_of(b, 200, 200, 0, 1);
    forget(b);
    runner_program_ready(b->runner, "two", b->now);
    after(b, 0);
    assert_true(sscanf(b->history, "start %u two%n", &other, &n) == 1 && n > 0);
    assert_int_equal(other, seats - 1);
    close_bench(b);
}

/* It waits for nobody. */
static void
idle_executor_gives_its_seat_to_another_program(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 2});
    unsigned seats = runner_executors(b->runner);
    char name[16];

    (void)state;
    for (unsigned i = 0; i < seats; i++) {
        snprintf(name, sizeof(name), "p%u", i);
        park_one(b, i, name);
    }
    ends_parked(b, 5, 1, 0, OUTCOME_DONE);
    job_with(b, 100, (struct spec){.program = {.name = "more"}});
    slice_of(b, 100, 100, 0, 1);
    slice_of(b, 100, 101, 1, 1);
    forget(b);
    runner_program_ready(b->runner, "more", b->now);
    after(b, 0);
    expect(b, "hang up 5\n"); /* once */
    dies_as(b, 5, (struct runner_end){.cause = "exit status 0", .words = "", .clean = true});
    expect(b, "start 5 more\n");
    close_bench(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_task_gives_its_slot_back),
        cmocka_unit_test(program_without_a_seat_keeps_no_others_from_theirs),
        cmocka_unit_test(last_seats_are_for_programs_that_have_none),
        cmocka_unit_test(idle_executor_gives_its_seat_to_another_program),
        cmocka_unit_test(rest_of_its_slice_is_taken_back_and_goes_on_one_by_one),
        cmocka_unit_test(task_may_wait_again_and_again),
        cmocka_unit_test(slice_that_stood_behind_it_is_at_work),
        cmocka_unit_test(job_that_nests_has_no_tasks_behind_one_another),
        cmocka_unit_test(thousands_wait_in_one_executor),
        cmocka_unit_test(executor_with_a_waiting_task_makes_room_and_stays),
        cmocka_unit_test(idle_executor_goes_rather_than_one_with_a_waiting_task),
        cmocka_unit_test(task_that_goes_on_needs_no_free_slot),
        cmocka_unit_test(wide_task_takes_its_slots_when_it_goes_on),
        cmocka_unit_test(work_goes_where_nobody_waits_if_it_can),
        cmocka_unit_test(task_apart_starts_an_executor_rather_than_join_those_that_wait),
        cmocka_unit_test(task_apart_is_not_put_behind_others_where_some_wait),
        cmocka_unit_test(revoke_finds_what_a_waiting_task_left_behind),
        cmocka_unit_test(revoke_of_all_the_rest_and_word_of_waiting_cross),
        cmocka_unit_test(end_of_a_job_comes_to_executors_after_its_tasks),
        cmocka_unit_test(words_of_a_waiting_task_are_passed_on_while_it_lives),
        cmocka_unit_test(broker_hears_that_it_runs_though_it_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
