/* Tasks that wait for tasks of their own: what parked leases leave room for, and who gets it. */
#include "grid.h"

#include "../../proto/limits.h"

#include <stdio.h>
#include <string.h>

#define CHILD CARRIED(2, 7) /* the client in an executor of worker 2 */

/* A client 1 with a job 10 of so many tasks, and worker 2, in an executor of which is a client 7.
 */
static struct grid *
tree(void **state, uint32_t slots, uint32_t roots)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    spec.function = "root";
    grid_client(g, 1);
    grid_worker(g, 2, "node", slots);
    grid_client(g, CHILD);
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, roots);
    grid_forget(g);
    return g;
}

static void
job(struct grid *g, uint32_t client, uint64_t number, const char *function, int priority,
    uint32_t count)
{
    struct spec spec = grid_spec();

    spec.function = function;
    spec.priority = priority;
    grid_job(g, client, number, &spec);
    grid_inputs(g, client, number, 0, count);
}

/* Answers all slices of worker 2 that are on the tape, after so long for each task. How many. */
static unsigned
answer(struct grid *g, uint64_t us, bool parked)
{
    char tape[sizeof(g->tape)];
    unsigned any = 0;

    snprintf(tape, sizeof(tape), "%s", grid_tape(g));
    for (const char *at = tape; (at = strstr(at, "2: slice ")) != NULL; at++, any++) {
        unsigned lease, number, first, count;

        assert_int_equal(sscanf(at, "2: slice %u job=%u %u+%u", &lease, &number, &first, &count),
                         4);
        if (parked)
            grid_park(g, 2, lease, true);
        grid_results(g, 2, lease, number, first, count, count * us, NULL);
    }
    return any;
}

/* The scheduler learns that the function takes a millisecond, by a job of client 1 that ends. The
 * number of the next lease, if there was none before. */
static uint64_t
teach(struct grid *g, const char *function, uint64_t us)
{
    uint64_t leases = 0;
    unsigned some;

    job(g, 1, 11, function, 0, 500);
    grid_end(g, 1, 11, 500);
    while ((some = answer(g, us, false)) > 0)
        leases += some;
    return leases + 1;
}

/* Is there a slice like this on the tape? */
static void
assert_slice(const char *tape, uint64_t lease, const char *tasks)
{
    char line[64];

    snprintf(line, sizeof(line), "2: slice %u %s attempt=1\n", (unsigned)lease, tasks);
    if (strstr(tape, line) == NULL)
        print_error("no %sin:\n%s", line, tape);
    assert_non_null(strstr(tape, line));
}

/* ---- slots --------------------------------------------------------------------------------------
 */

static void
a_parked_lease_frees_its_slot(void **state)
{
    struct grid *g = tree(state, 1, 3);

    grid_park(g, 2, 1, true);
    grid_expect(g, "2: slice 2 job=1 1+1 attempt=1\n");
    grid_park(g, 2, 2, true);
    grid_expect(g, "2: slice 3 job=1 2+1 attempt=1\n");
}

static void
a_task_that_goes_on_takes_its_slot_again(void **state)
{
    struct grid *g = tree(state, 1, 3);

    grid_park(g, 2, 1, true);
    grid_expect(g, "2: slice 2 job=1 1+1 attempt=1\n");
    grid_park(g, 2, 1, false); /* two run now, on one slot */
    grid_results(g, 2, 2, 1, 1, 1, 1000, NULL);
    grid_expect(g, "1: results 0 job=10 1+1 attempt=1\n");
    grid_results(g, 2, 1, 1, 0, 1, 1000, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: slice 3 job=1 2+1 attempt=1\n");
}

static void
a_parked_task_may_end_without_going_on(void **state)
{
    struct grid *g = tree(state, 1, 3);

    grid_park(g, 2, 1, true);
    grid_forget(g);
    grid_results(g, 2, 1, 1, 0, 1, 1000, "2"); /* its executor died of another task */
    grid_expect(g, "");                        /* it is run again, once there is a slot */
    grid_results(g, 2, 2, 1, 1, 1, 1000, NULL);
    grid_expect(g, "1: results 0 job=10 1+1 attempt=1\n"
                   "2: slice 3 job=1 0+1 attempt=2 charged=1\n");
    grid_park(g, 2, 3, true);
    grid_results(g, 2, 3, 1, 0, 1, 1000, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: slice 4 job=1 2+1 attempt=1\n");
}

static void
what_is_said_twice_or_of_no_lease_is_nothing(void **state)
{
    struct grid *g = tree(state, 1, 2);

    grid_park(g, 2, 1, false); /* it was not parked */
    grid_park(g, 2, 77, true);
    grid_park(g, 2, 77, false);
    grid_expect(g, "");
    grid_park(g, 2, 1, true);
    grid_park(g, 2, 1, true);
    grid_expect(g, "2: slice 2 job=1 1+1 attempt=1\n");
    grid_results(g, 2, 1, 1, 0, 1, 1000, NULL);
    grid_park(g, 2, 1, true); /* it is over */
    grid_park(g, 2, 1, false);
    grid_park(g, 2, 2, true);
    grid_park(g, 2, 2, false);
    grid_park(g, 2, 2, false);
    grid_results(g, 2, 2, 1, 1, 1, 1000, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "1: results 0 job=10 1+1 attempt=1\n");
}

static void
a_worker_cannot_park_leases_of_another(void **state)
{
    struct grid *g = tree(state, 1, 2);

    grid_worker(g, 3, "other", 1);
    grid_expect(g, "3: welcome other workers=2 slots=2\n"
                   "3: job 1 root\n"
                   "3: slice 2 job=1 1+1 attempt=1\n");
    job(g, 1, 11, "root", 0, 1);
    grid_forget(g);
    grid_park(g, 3, 1, true);
    grid_expect(g, "");
}

/* Parked with several tasks left, some of which then end, are given back, or are cancelled. */
static void
a_parked_lease_of_several_tasks_shrinks(void **state)
{
    struct grid *g = tree(state, 1, 0);
    uint64_t lease = teach(g, "root", 990);

    job(g, 1, 12, "root", 0, 50);
    assert_slice(grid_tape(g), lease, "job=3 0+25");
    grid_park(g, 2, lease, true);
    grid_forget(g);
    grid_results(g, 2, lease, 3, 0, 10, 1000, NULL);
    grid_returned(g, 2, lease, 24, 1, RETURNED_REVOKED);
    grid_cancel(g, 1, 12, 12, 2);
    grid_park(g, 2, lease, false);
    grid_results(g, 2, lease, 3, 10, 2, 1000, NULL);
    grid_park(g, 2, lease, true);
    grid_results(g, 2, lease, 3, 14, 10, 1000, NULL);
    assert_non_null(strstr(grid_tape(g), "1: results 0 job=12 14+10 attempt=1\n"));
}

static void
tasks_of_several_slots_give_them_all(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    grid_client(g, 1);
    grid_worker(g, 2, "node", 4);
    spec.cpus = 4;
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 4);
    assert_slice(grid_tape(g), 2, "job=1 1+1"); /* waits behind the first one */
    grid_park(g, 2, 1, true);
    grid_expect(g, "2: slice 3 job=1 2+1 attempt=1\n");
    grid_park(g, 2, 1, false);
    grid_park(g, 2, 2, true);
    grid_expect(g, "");
}

/* ---- slices -------------------------------------------------------------------------------------
 */

static void
a_function_that_waits_gets_slices_of_one(void **state)
{
    struct grid *g = tree(state, 1, 0);
    uint64_t lease = teach(g, "root", 990);
    const char *tape;

    job(g, 1, 12, "root", 0, 100);
    tape = grid_tape(g);
    assert_slice(tape, lease, "job=3 0+25");
    assert_slice(tape, lease + 1, "job=3 25+25"); /* behind it */
    grid_park(g, 2, lease, true);
    grid_park(g, 2, lease + 1, true);
    tape = grid_tape(g);
    assert_slice(tape, lease + 2, "job=3 50+1");
    assert_null(strstr(tape, "51+")); /* and none behind it */
    grid_results(g, 2, lease + 2, 3, 50, 1, 1000, NULL);
    assert_slice(grid_tape(g), lease + 3, "job=3 51+1");
}

/* The time of a task that waited says nothing about its function, nor about its worker. */
static void
times_of_parked_tasks_do_not_count(void **state)
{
    struct grid *g = tree(state, 1, 0);
    uint64_t lease = teach(g, "child", 990);

    job(g, 1, 12, "root", 0, 30);
    assert_slice(grid_tape(g), lease, "job=3 0+1");
    grid_results(g, 2, lease, 3, 0, 1, 1000, NULL);
    while (answer(g, 60000000, true) > 0)
        continue;
    job(g, 1, 13, "child", 0, 100);
    assert_non_null(strstr(grid_tape(g), " job=4 0+25 attempt=1\n"));
}

static void
parked_leases_are_not_revoked(void **state)
{
    struct grid *g = tree(state, 1, 0);
    uint64_t lease = teach(g, "root", 990);
    const char *tape;
    char line[64];

    job(g, 1, 12, "root", 0, 50);
    tape = grid_tape(g);
    assert_slice(tape, lease, "job=3 0+25");
    assert_slice(tape, lease + 1, "job=3 25+13");
    grid_park(g, 2, lease + 1, true);
    grid_worker(g, 3, "thief", 20);
    tape = grid_tape(g);
    snprintf(line, sizeof(line), "2: revoke %u count=12\n", (unsigned)lease);
    assert_non_null(strstr(tape, line));
    grid_park(g, 2, lease, true);
    grid_returned(g, 2, lease, 0, 0, RETURNED_REVOKED);
    for (int i = 0; i < 20; i++) {
        grid_beat(g, 1);
        grid_beat(g, 2);
        grid_pass(g, 100000);
    }
    assert_null(strstr(grid_tape(g), "2: revoke "));
}

/* It did not get stuck: it waited. */
static void
a_worker_is_not_slow_for_having_waited(void **state)
{
    struct grid *g = tree(state, 1, 0);
    uint64_t lease = teach(g, "child", 10);

    job(g, 1, 12, "root", 0, 1);
    assert_slice(grid_tape(g), lease, "job=3 0+1");
    grid_park(g, 2, lease, true);
    for (int i = 0; i < 30; i++) {
        grid_beat(g, 1);
        grid_beat(g, 2);
        grid_pass(g, 100000);
    }
    grid_park(g, 2, lease, false);
    job(g, 1, 13, "child", 0, 10);
    assert_non_null(strstr(grid_tape(g), " job=4 ")); /* behind it */
    grid_worker(g, 3, "thief", 1);
    grid_pass(g, 1000);
    assert_null(strstr(grid_tape(g), "2: revoke "));
    grid_pass(g, 10000);
    assert_non_null(strstr(grid_tape(g), "2: revoke "));
}

/* ---- turns --------------------------------------------------------------------------------------
 */

static void
children_go_before_more_roots(void **state)
{
    struct grid *g = tree(state, 1, 2);

    job(g, CHILD, 1, "child", 0, 2);
    grid_park(g, 2, 1, true);
    grid_expect(g, "2: job 2 child\n"
                   "2: slice 2 job=2 0+1 attempt=1\n");
    grid_park(g, 2, 2, true); /* although the client of the roots has waited for longer now */
    grid_expect(g, "2: slice 3 job=2 1+1 attempt=1\n");
    grid_results(g, 2, 3, 2, 1, 1, 1000, NULL);
    grid_park(g, 2, 1, false);
    grid_expect(g, "2.7: results 0 job=1 1+1 attempt=1\n"); /* the root has the slot */
}

static void
priority_counts_more_than_that(void **state)
{
    struct grid *g = tree(state, 1, 1);

    job(g, CHILD, 1, "child", 3, 1);
    job(g, 1, 11, "urgent", 4, 1);
    job(g, 1, 12, "root", 3, 1);
    grid_forget(g);
    grid_park(g, 2, 1, true);
    grid_expect(g, "2: job 3 urgent\n"
                   "2: slice 2 job=3 0+1 attempt=1\n");
    grid_park(g, 2, 2, true);
    grid_expect(g, "2: job 2 child\n"
                   "2: slice 3 job=2 0+1 attempt=1\n");
}

/* In a tree of tasks the newest wait for nothing, and the oldest may wait for them. */
static void
the_newest_children_go_first(void **state)
{
    struct grid *g = tree(state, 1, 1);

    job(g, CHILD, 1, "child", 0, 2);
    job(g, CHILD, 2, "child", 0, 1);
    job(g, CHILD, 3, "child", 0, 2);
    grid_forget(g);
    grid_park(g, 2, 1, true);
    grid_expect(g, "2: job 4 child\n"
                   "2: slice 2 job=4 0+1 attempt=1\n");
    grid_park(g, 2, 2, true);
    job(g, CHILD, 4, "child", 0, 1); /* a grandchild */
    grid_expect(g, "2: job 5 child\n"
                   "2: slice 3 job=5 0+1 attempt=1\n");
    grid_results(g, 2, 3, 5, 0, 1, 1000, NULL);
    grid_expect(g, "2.7: results 0 job=4 0+1 attempt=1\n"
                   "2: slice 4 job=4 1+1 attempt=1\n");
    grid_returned(g, 2, 4, 1, 1, RETURNED_UNSTARTED); /* among the others, it is the newest yet */
    grid_expect(g, "2: slice 5 job=4 1+1 attempt=1\n");
    grid_results(g, 2, 5, 4, 1, 1, 1000, NULL);
    grid_expect(g, "2.7: results 0 job=3 1+1 attempt=1\n"
                   "2: job 3 child\n"
                   "2: slice 6 job=3 0+1 attempt=1\n");
}

static void
executors_take_turns(void **state)
{
    struct grid *g = tree(state, 1, 1);

    grid_client(g, CARRIED(2, 8));
    job(g, CHILD, 1, "child", 0, 2);
    job(g, CARRIED(2, 8), 1, "child", 0, 2);
    grid_forget(g);
    grid_park(g, 2, 1, true);
    grid_expect(g, "2: job 2 child\n"
                   "2: slice 2 job=2 0+1 attempt=1\n");
    grid_results(g, 2, 2, 2, 0, 1, 1000, NULL);
    grid_expect(g, "2.7: results 0 job=1 0+1 attempt=1\n"
                   "2: job 3 child\n"
                   "2: slice 3 job=3 0+1 attempt=1\n"
                   "2: slice 4 job=2 1+1 attempt=1\n"); /* behind it: a millisecond is short */
}

/* ---- places -------------------------------------------------------------------------------------
 */

static void
children_stay_at_home_if_there_is_room(void **state)
{
    struct grid *g = tree(state, 2, 1);

    grid_worker(g, 3, "large", 8);
    job(g, CHILD, 1, "child", 0, 2);
    grid_expect(g, "3: welcome large workers=2 slots=10\n"
                   "2: job 2 child\n"
                   "2: slice 2 job=2 0+1 attempt=1\n"
                   "3: job 2 child\n"
                   "3: slice 3 job=2 1+1 attempt=1\n");
}

static void
children_travel_to_where_their_needs_are_met(void **state)
{
    struct grid *g = tree(state, 2, 1);
    struct spec spec = grid_spec();

    grid_worker_with(g, 3, "gpu", 1, "x86_64", "gpu=1");
    grid_forget(g);
    spec.needs = "gpu";
    grid_job(g, CHILD, 1, &spec);
    grid_inputs(g, CHILD, 1, 0, 1);
    grid_expect(g, "3: job 2 square\n"
                   "3: slice 2 job=2 0+1 attempt=1\n");
}

static void
a_child_of_several_slots_needs_them_at_home(void **state)
{
    struct grid *g = tree(state, 2, 1);
    struct spec spec = grid_spec();

    grid_worker(g, 3, "large", 2);
    grid_forget(g);
    spec.cpus = 2;
    grid_job(g, CHILD, 1, &spec);
    grid_inputs(g, CHILD, 1, 0, 1);
    grid_expect(g, "3: job 2 square\n"
                   "3: slice 2 job=2 0+1 attempt=1\n");
}

/* ---- ends ---------------------------------------------------------------------------------------
 */

static void
a_parked_task_is_cancelled_at_its_worker(void **state)
{
    struct grid *g = tree(state, 1, 2);

    grid_park(g, 2, 1, true);
    grid_forget(g);
    grid_cancel(g, 1, 10, 0, 1);
    grid_expect(g, "2: cancel job=1 0+1\n"
                   "1: ended job=10 0+1 CANCELLED attempt=1 node: \n");
    grid_park(g, 2, 1, false); /* it crossed */
    grid_results(g, 2, 1, 1, 0, 1, 1000, "4");
    grid_expect(g, "");
}

static void
deadlines_do_not_wait(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    spec.deadline_ms = 100;
    grid_client(g, 1);
    grid_worker(g, 2, "node", 1);
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 1);
    grid_forget(g);
    grid_park(g, 2, 1, true);
    grid_pass(g, 100000);
    grid_expect(g, "2: cancel job=1 0+1\n"
                   "1: ended job=10 0+1 TIMED_OUT attempt=1 node: it had not ended by its deadline "
                   "of 0.1 s\n");
}

static void
parked_tasks_of_a_lost_worker_run_elsewhere(void **state)
{
    struct grid *g = tree(state, 1, 3);

    grid_park(g, 2, 1, true);
    grid_tick(g);
    grid_park(g, 2, 2, true);
    grid_forget(g);
    scheduler_gone(g->scheduler, 2, g->now);
    grid_worker(g, 3, "other", 1);
    grid_forget(g);
    grid_results(g, 3, 4, 1, 0, 1, 1000, "2"); /* a crash is its first: nobody is to blame before */
    grid_expect(g, "3: slice 5 job=1 0+1 attempt=3 charged=1\n");
}

static void
a_parked_task_that_may_run_once_is_lost(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    spec.once = true;
    grid_client(g, 1);
    grid_worker(g, 2, "node", 1);
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 1);
    grid_tick(g);
    grid_park(g, 2, 1, true);
    grid_forget(g);
    scheduler_gone(g->scheduler, 2, g->now);
    grid_expect(g, "1: ended job=10 0+1 LOST attempt=1 node: the worker was lost (its connection "
                   "ended), and the task may run only once\n");
}

static void
a_draining_worker_gets_nothing_for_its_parked_tasks(void **state)
{
    struct grid *g = tree(state, 1, 3);

    assert_int_equal(grid_say(g, 2, &(struct message){.type = MESSAGE_DRAINING, .text = ""}), 0);
    grid_park(g, 2, 1, true);
    grid_pass(g, 100000);
    grid_forget(g);
    grid_park(g, 2, 1, false);
    grid_results(g, 2, 1, 1, 0, 1, 1000, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n");
}

int
main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, grid_setup, grid_teardown)
    const struct CMUnitTest tests[] = {
        STORY(a_parked_lease_frees_its_slot),
        STORY(a_task_that_goes_on_takes_its_slot_again),
        STORY(a_parked_task_may_end_without_going_on),
        STORY(what_is_said_twice_or_of_no_lease_is_nothing),
        STORY(a_worker_cannot_park_leases_of_another),
        STORY(a_parked_lease_of_several_tasks_shrinks),
        STORY(tasks_of_several_slots_give_them_all),
        STORY(a_function_that_waits_gets_slices_of_one),
        STORY(times_of_parked_tasks_do_not_count),
        STORY(parked_leases_are_not_revoked),
        STORY(a_worker_is_not_slow_for_having_waited),
        STORY(children_go_before_more_roots),
        STORY(priority_counts_more_than_that),
        STORY(the_newest_children_go_first),
        STORY(executors_take_turns),
        STORY(children_stay_at_home_if_there_is_room),
        STORY(children_travel_to_where_their_needs_are_met),
        STORY(a_child_of_several_slots_needs_them_at_home),
        STORY(a_parked_task_is_cancelled_at_its_worker),
        STORY(deadlines_do_not_wait),
        STORY(parked_tasks_of_a_lost_worker_run_elsewhere),
        STORY(a_parked_task_that_may_run_once_is_lost),
        STORY(a_draining_worker_gets_nothing_for_its_parked_tasks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
