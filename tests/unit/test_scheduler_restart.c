/* Workers that bring what they had with them: to a broker that was started anew, or on another
 * connection to the same one. */
#include "lasting.h"

#include "../../proto/limits.h"

#include <string.h>

#define SECOND 1000000

/* ---- another broker ---------------------------------------------------------------------------
 */

static void
a_running_task_is_adopted(void **state)
{
    struct grid *g = *state;

    lasting_worker(g, 2, 1, 1, 6);
    lasting_held(g, 2, 55, 1, 1, 0, 1);
    lasting_expect(g, "2: welcome w workers=1 slots=1\n");
    lasting_client_tells(g, 1, 0, 2, false);
    lasting_expect(g, "1: welcome program workers=1 slots=1\n"
                      "2: job N square\n"
                      "2: adopted 55 wanted\n"
                      "1: accepted job=1 below=2\n");
    lasting_results(g, 2, 55, 0, 1, 1);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=1\n");
}

static void
a_task_that_is_told_first_waits_for_its_worker(void **state)
{
    struct grid *g = *state;

    lasting_client_tells(g, 1, 0, 1, false);
    lasting_worker(g, 3, 2, 1, 0);
    grid_pass(g, 3 * SECOND);
    grid_beat(g, 1);
    grid_beat(g, 3);
    grid_forget(g);
    lasting_worker(g, 2, 1, 1, 6);
    lasting_held(g, 2, 55, 3, 1, 0, 1);
    grid_told(g, 2);
    lasting_expect(g, "2: welcome w-2 workers=2 slots=2\n2: job N square\n2: adopted 55 wanted\n"
                      "1: grid workers=2 slots=2\n");
    grid_pass(g, 3 * SECOND);
    lasting_expect(g, "");
    lasting_results(g, 2, 55, 0, 1, 3);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=3\n");
}

static void
a_task_that_nobody_brings_is_run(void **state)
{
    struct grid *g = *state;

    lasting_client_tells(g, 1, 0, 1, false);
    lasting_worker(g, 3, 2, 1, 0);
    grid_forget(g);
    grid_pass(g, 3900000);
    lasting_expect(g, "");
    grid_pass(g, 200000);
    lasting_expect(g, "3: job N square\n3: slice 100 job=N 0+1 attempt=1\n");
}

static void
one_that_ran_is_waited_for_longer_and_not_blamed(void **state)
{
    struct grid *g = *state;

    lasting_client_tells(g, 1, 0, 1, true);
    lasting_worker(g, 3, 2, 1, 0);
    grid_forget(g);
    for (int i = 0; i < 9; i++) {
        grid_pass(g, SECOND);
        grid_beat(g, 1);
        grid_beat(g, 3);
    }
    lasting_expect(g, "");
    grid_pass(g, SECOND + 100000);
    lasting_expect(g, "3: job N square\n3: slice 100 job=N 0+1 attempt=2\n");
    for (uint64_t i = 0; i < 2; i++) { /* it may still crash as often as ever */
        assert_int_equal(grid_results(g, 3, 100 + i, lasting_number(), 0, 1, 10, "2"), 0);
        grid_forget(g);
    }
    grid_results(g, 3, 102, lasting_number(), 0, 1, 10, "2");
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=1 outcomes=2\n");
}

static void
new_work_does_not_wait(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    grid_client_kept(g, 1, 9, 60000);
    lasting_worker(g, 3, 2, 1, 0);
    grid_job(g, 1, 1, &spec);
    grid_inputs(g, 1, 1, 0, 1);
    lasting_expect(
        g, "1: welcome program workers=0 slots=0\n3: welcome w workers=1 slots=1\n"
           "1: grid workers=1 slots=1\n1: accepted job=1 below=1\n3: job N square\n3: slice 100 "
           "job=N 0+1 attempt=1\n");
}

static void
a_lease_of_nobody_is_dropped_in_the_end(void **state)
{
    struct grid *g = *state;

    lasting_worker(g, 2, 1, 1, 6);
    lasting_held(g, 2, 55, 1, 1, 0, 1);
    grid_forget(g);
    for (int i = 0; i < 9; i++) {
        grid_pass(g, SECOND);
        grid_beat(g, 2);
    }
    lasting_expect(g, "");
    grid_pass(g, SECOND + 100000);
    lasting_expect(g, "2: adopted 55 unwanted\n");
}

static void
what_a_worker_brought_takes_its_slots(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    lasting_worker(g, 2, 1, 1, 6);
    lasting_held(g, 2, 55, 1, 1, 0, 1);
    grid_client_kept(g, 4, 8, 0);
    grid_job(g, 4, 1, &spec);
    grid_inputs(g, 4, 1, 0, 1);
    grid_forget(g);
    grid_pass(g, SECOND);
    lasting_expect(g, "");
}

static void
results_that_a_worker_brought_take_none(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    lasting_worker(g, 2, 1, 1, 6);
    lasting_held(g, 2, 55, 1, 0, 0, 1);
    grid_client_kept(g, 4, 9, 0);
    grid_job(g, 4, 2, &spec);
    grid_inputs(g, 4, 2, 0, 1);
    grid_forget(g);
    grid_job(g, 4, 1, &spec);
    grid_inputs_again(g, 4, 1, 0, 1, false);
    lasting_expect(g, "2: job N square\n2: adopted 55 wanted\n4: accepted job=1 below=1\n");
}

/* Its client told the rest, so it knows the outcome of what it did not tell. */
static void
what_has_ended_for_the_client_is_not_wanted(void **state)
{
    struct grid *g = *state;

    lasting_worker(g, 2, 1, 2, 6);
    lasting_held(g, 2, 55, 1, 1, 0, 1);
    lasting_held(g, 2, 56, 1, 1, 7, 1);
    lasting_client_tells(g, 1, 3, 1, false);
    grid_forget(g);
    grid_told(g, 1);
    lasting_expect(g, "2: cancel job=N 7+1\n2: adopted 56 unwanted\n");
}

/* The client's messages cut the tasks otherwise than the slices that the broker before made. */
static void
a_lease_over_several_chunks_stays_one_lease(void **state)
{
    struct grid *g = *state;

    lasting_worker(g, 2, 1, 1, 6);
    lasting_held(g, 2, 55, 1, 1, 0, 6);
    lasting_client_tells(g, 1, 0, 2, false);
    grid_inputs_again(g, 1, 1, 2, 1, true);
    grid_inputs_again(g, 1, 1, 4, 3, false);
    grid_forget(g);
    lasting_results(g, 2, 55, 1, 4, 1);
    lasting_expect(g, "1: results 0 job=1 1+1 attempt=1\n1: results 0 job=1 2+1 attempt=1\n"
                      "1: results 0 job=1 4+1 attempt=1\n");
    grid_returned(g, 2, 55, 5, 1, RETURNED_REVOKED);
    grid_pass(g, 5 * SECOND);
    grid_beat(g, 2);
    grid_forget(g);
    lasting_results(g, 2, 55, 0, 1, 1);
    grid_forget(g);
}

static void
parked_tasks_are_adopted_as_parked(void **state)
{
    struct grid *g = *state;
    uint32_t runs[] = {0, 1};

    lasting_worker(g, 2, 1, 1, 6);
    grid_say(g, 2,
             &(struct message){.type = MESSAGE_HELD,
                               .held = {.lease = 55,
                                        .job = lasting_number(),
                                        .attempt = 1,
                                        .parked = true,
                                        .runs = runs,
                                        .nruns = 2}});
    grid_told(g, 2);
    lasting_client_tells(g, 1, 0, 1, false);
    grid_inputs(g, 1, 1, 1, 1);
    lasting_expect(g, "2: welcome w workers=1 slots=1\n"
                      "1: welcome program workers=1 slots=1\n"
                      "2: job N square\n"
                      "2: adopted 55 wanted\n"
                      "1: grid workers=1 slots=1\n"
                      "1: accepted job=1 below=2\n"
                      "2: slice 100 job=N 1+1 attempt=1\n");
    grid_park(g, 2, 55, false);
    lasting_results(g, 2, 55, 0, 1, 1);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=1\n");
}

/* The client was faster, and some of the lease has ended for it. */
static void
a_worker_that_comes_last_is_answered_at_once(void **state)
{
    struct grid *g = *state;

    lasting_client_tells(g, 1, 1, 1, true);
    grid_told(g, 1);
    lasting_worker(g, 2, 1, 1, 6);
    grid_forget(g);
    lasting_held(g, 2, 55, 1, 1, 0, 5);
    lasting_expect(g, "2: job N square\n2: cancel job=N 0+1\n2: cancel job=N 2+3\n"
                      "2: adopted 55 wanted\n");
}

/* ---- programs -------------------------------------------------------------------------------
 */

/* The client who has it is not back yet. */
static void
spawn_without_program(struct grid *g)
{
    struct spec spec = grid_spec();
    struct message m = {.type = MESSAGE_PROGRAM_FAILED,
                        .program_failed = {.digest = "d", .text = "nobody has it"}};
    uint32_t child = CARRIED(2, 7);

    lasting_worker(g, 2, 1, 1, 0);
    grid_client(g, child);
    grid_job(g, child, 1, &spec);
    grid_inputs(g, child, 1, 0, 1);
    assert_non_null(strstr(grid_tape(g), "2: slice 100"));
    grid_say(g, 2, &m);
    assert_int_equal(grid_returned(g, 2, 100, 0, 1, RETURNED_PROGRAM), 0);
}

static void
a_spawned_task_waits_for_the_client_of_its_program(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    spawn_without_program(g);
    for (int i = 0; i < 5; i++) {
        grid_pass(g, SECOND);
        grid_beat(g, 2);
    }
    assert_null(strstr(grid_tape(g), "REJECTED"));
    grid_client_kept(g, 1, 9, 60000);
    grid_job(g, 1, 1, &spec);
    assert_non_null(strstr(grid_tape(g), "2: slice 101"));
}

static void
but_not_for_ever(void **state)
{
    struct grid *g = *state;

    spawn_without_program(g);
    for (int i = 0; i < 13; i++) {
        grid_pass(g, SECOND);
        grid_beat(g, 2);
    }
    assert_non_null(strstr(grid_tape(g), "2.7: ended job=1 0+1 REJECTED"));
}

/* ---- the same broker --------------------------------------------------------------------------
 */

static void
run_one(struct grid *g)
{
    struct spec spec = grid_spec();

    grid_client_kept(g, 1, 9, 60000);
    lasting_worker(g, 2, 1, 1, 0);
    grid_job(g, 1, 1, &spec);
    grid_inputs(g, 1, 1, 0, 1);
    lasting_expect(
        g, "1: welcome program workers=0 slots=0\n2: welcome w workers=1 slots=1\n"
           "1: grid workers=1 slots=1\n1: accepted job=1 below=1\n2: job N square\n2: slice 100 "
           "job=N 0+1 attempt=1\n");
}

static void
a_worker_whose_link_broke_goes_on(void **state)
{
    struct grid *g = *state;

    run_one(g);
    lasting_worker(g, 4, 2, 1, 0); /* somebody who could run it */
    grid_forget(g);
    scheduler_gone(g->scheduler, 2, g->now);
    grid_pass(g, 300000);
    lasting_worker(g, 3, 1, 1, LASTING_INSTANCE);
    lasting_held(g, 3, 100, 1, 1, 0, 1);
    grid_told(g, 3);
    grid_pass(g, SECOND);
    lasting_expect(g, "1: grid workers=1 slots=1\n3: welcome w workers=2 slots=2\n3: job N square\n"
                      "3: adopted 100 wanted\n1: grid workers=2 slots=2\n");
    lasting_results(g, 3, 100, 0, 1, 1);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=1\n");
}

static void
a_worker_that_died_is_waited_for_but_shortly(void **state)
{
    struct grid *g = *state;

    run_one(g);
    lasting_worker(g, 4, 2, 1, 0);
    grid_forget(g);
    scheduler_gone(g->scheduler, 2, g->now);
    grid_pass(g, 500000);
    lasting_expect(
        g, "1: grid workers=1 slots=1\n4: job N square\n4: slice 101 job=N 0+1 attempt=2\n");
}

/* What was lost on the way to it, or from it. */
static void
what_it_does_not_bring_is_run_at_once(void **state)
{
    struct grid *g = *state;

    run_one(g);
    lasting_worker(g, 3, 1, 1, LASTING_INSTANCE);
    grid_told(g, 3);
    lasting_expect(g, "2: bye: your session said hello on another connection\n"
                      "3: welcome w workers=1 slots=1\n"
                      "3: job N square\n3: slice 101 job=N 0+1 attempt=1\n");
}

/* It was without a broker for too long: what it had may have begun. */
static void
what_a_worker_has_dropped_counts_as_lost(void **state)
{
    struct grid *g = *state;

    run_one(g);
    lasting_worker(g, 3, 1, 1, 0);
    grid_told(g, 3);
    lasting_expect(g, "2: bye: your session said hello on another connection\n"
                      "3: welcome w workers=1 slots=1\n"
                      "3: job N square\n3: slice 101 job=N 0+1 attempt=2\n");
}

static void
one_that_may_run_once_and_was_dropped_is_lost(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    spec.once = true;
    grid_client_kept(g, 1, 9, 60000);
    lasting_worker(g, 2, 1, 1, 0);
    grid_job(g, 1, 1, &spec);
    grid_inputs(g, 1, 1, 0, 1);
    grid_forget(g);
    lasting_noted(g, 1, 0, 1);
    grid_forget(g);
    lasting_worker(g, 3, 1, 1, 0);
    grid_told(g, 3);
    lasting_expect(g,
                   "2: bye: your session said hello on another connection\n"
                   "3: welcome w workers=1 slots=1\n"
                   "1: ended job=1 0+1 LOST attempt=1 w: the worker was lost (its worker connected "
                   "anew), and the task may run only once\n");
}

/* What the client still has to say can only end tasks. */
static void
a_worker_is_answered_before_the_client_has_told_all(void **state)
{
    struct grid *g = *state;

    run_one(g);
    for (int i = 0; i < 16; i++) {
        grid_pass(g, SECOND);
        grid_beat(g, 1);
        grid_beat(g, 2);
    }
    grid_client_kept(g, 4, 9, 60000);
    lasting_worker(g, 3, 1, 1, LASTING_INSTANCE);
    grid_forget(g);
    lasting_held(g, 3, 100, 1, 1, 0, 1);
    grid_told(g, 3);
    lasting_expect(g, "3: job N square\n3: adopted 100 wanted\n");
    lasting_results(g, 3, 100, 0, 1, 1);
    lasting_expect(g, "4: results 0 job=1 0+1 attempt=1\n");
}

/* A broker before this one had it stopped: it may have begun. */
static void
one_that_may_run_once_and_was_stopped_is_lost(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();
    uint8_t cancelled = OUTCOME_CANCELLED;
    struct message m = {.type = MESSAGE_RESULTS,
                        .results = {.job = lasting_number(),
                                    .lease = 55,
                                    .attempt = 1,
                                    .worker = "",
                                    .columns = {.count = 1, .outcomes = &cancelled}}};

    spec.once = true;
    lasting_worker(g, 2, 1, 1, 6);
    lasting_held(g, 2, 55, 1, 0, 0, 1);
    grid_told(g, 2);
    grid_client_kept(g, 1, 9, 60000);
    grid_job(g, 1, 1, &spec);
    grid_inputs_again(g, 1, 1, 0, 1, true);
    grid_forget(g);
    assert_int_equal(grid_say(g, 2, &m), 0);
    lasting_expect(
        g, "1: ended job=1 0+1 LOST attempt=1 w: its worker had stopped it as the broker was "
           "restarted, and it may run only once\n");
}

/* Nobody else could run it meanwhile: it is ready when its worker is back. */
static void
a_worker_tells_before_it_is_given_anything(void **state)
{
    struct grid *g = *state;

    run_one(g);
    for (int i = 0; i < 4; i++) {
        grid_pass(g, 2 * SECOND);
        grid_beat(g, 1);
    }
    grid_forget(g);
    lasting_worker(g, 3, 1, 1, LASTING_INSTANCE);
    grid_pass(g, 200000);
    lasting_expect(g, "3: welcome w workers=1 slots=1\n1: grid workers=1 slots=1\n");
    lasting_held(g, 3, 100, 1, 1, 0, 1);
    grid_told(g, 3);
    lasting_expect(g, "3: job N square\n3: adopted 100 wanted\n");
}

static void
of_two_that_have_it_the_first_counts(void **state)
{
    struct grid *g = *state;

    run_one(g);
    lasting_worker(g, 4, 2, 1, 0);
    grid_forget(g);
    scheduler_gone(g->scheduler, 2, g->now);
    grid_pass(g, SECOND);
    grid_forget(g); /* lease 101 of the other one */
    lasting_worker(g, 3, 1, 1, LASTING_INSTANCE);
    lasting_held(g, 3, 100, 1, 1, 0, 1);
    grid_told(g, 3);
    lasting_expect(g, "3: welcome w workers=2 slots=2\n3: job N square\n3: adopted 100 wanted\n"
                      "1: grid workers=2 slots=2\n");
    lasting_results(g, 3, 100, 0, 1, 1);
    lasting_results(g, 4, 101, 0, 1, 2);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=1\n4: cancel job=N 0+1\n");
}

/* Somebody else is going to have it. */
static void
a_lease_that_is_still_to_come_is_not_to_be_had(void **state)
{
    struct grid *g = *state;

    run_one(g);
    lasting_worker(g, 4, 2, 1, 6);
    grid_forget(g);
    lasting_held(g, 4, 101, 1, 1, 0, 1);
    lasting_expect(g, "4: adopted 101 unwanted\n");
}

/* It may be lost on its way to the client, and with the broker: its worker shall still have it. */
static void
what_its_client_does_not_have_yet_is_kept_by_its_worker(void **state)
{
    struct grid *g = *state;

    run_one(g);
    for (int i = 0; i < 8; i++) { /* until it knows all its clients for sure */
        grid_pass(g, 2 * SECOND);
        grid_beat(g, 1);
        grid_beat(g, 2);
    }
    lasting_results_numbered(g, 2, 100, 0, 1, 1, 9);
    grid_forget(g);
    scheduler_gone(g->scheduler, 2, g->now);
    lasting_worker(g, 3, 1, 1, LASTING_INSTANCE);
    lasting_held(g, 3, 100, 1, 0, 0, 1);
    grid_told(g, 3);
    lasting_expect(g, "3: welcome w workers=1 slots=1\n3: job N square\n3: adopted 100 wanted\n1: "
                      "grid workers=1 slots=1\n");
    lasting_results_numbered(g, 3, 100, 0, 1, 1, 1);
    grid_pass(g, 2 * SECOND);
    lasting_expect(g, "");
    grid_beat(g, 1);
    grid_beat(g, 3);
    grid_taken(g, 1, 72);
    grid_pass(g, 3 * SECOND);
    lasting_expect(g, "3: ack 1-1\n");
}

static void
likewise_when_its_job_is_over(void **state)
{
    struct grid *g = *state;

    run_one(g);
    grid_end(g, 1, 1, 1);
    lasting_results_numbered(g, 2, 100, 0, 1, 1, 9);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=1\n2: job_end N total=1\n");
    scheduler_gone(g->scheduler, 2, g->now);
    lasting_worker(g, 3, 1, 1, LASTING_INSTANCE);
    grid_forget(g);
    lasting_held(g, 3, 100, 1, 0, 0, 1);
    grid_told(g, 3);
    lasting_expect(g, "3: adopted 100 wanted\n");
    lasting_results_numbered(g, 3, 100, 0, 1, 1, 1);
    lasting_expect(g, "");
    grid_taken(g, 1, 72);
    grid_beat(g, 1);
    grid_beat(g, 3);
    grid_pass(g, 3 * SECOND);
    lasting_expect(g, "1: grid workers=1 slots=1\n3: ack 1-1\n");
    for (int i = 0; i < 4; i++) {
        grid_beat(g, 1);
        grid_beat(g, 3);
        grid_pass(g, 3 * SECOND);
    }
    grid_forget(g);
    lasting_held(g, 3, 100, 1, 0, 0, 1); /* and now for nobody */
    for (int i = 0; i < 4; i++) {
        grid_beat(g, 1);
        grid_beat(g, 3);
        grid_pass(g, 3 * SECOND);
    }
    lasting_expect(g, "3: adopted 100 unwanted\n");
}

/* Also if there is always something on its way to the client. */
static void
a_job_that_is_over_is_forgotten_when_its_results_are_taken(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    run_one(g);
    for (int i = 0; i < 8; i++) { /* until it knows all its clients for sure */
        grid_pass(g, 2 * SECOND);
        grid_beat(g, 1);
        grid_beat(g, 2);
    }
    grid_end(g, 1, 1, 1);
    lasting_results_numbered(g, 2, 100, 0, 1, 1, 9);
    grid_job(g, 1, 2, &spec);
    grid_inputs(g, 1, 2, 0, 1);
    grid_end(g, 1, 2, 1);
    grid_cancel(g, 1, 2, 0, 1); /* and its end is on its way */
    grid_forget(g);
    grid_taken(g, 1, 72);
    scheduler_gone(g->scheduler, 2, g->now);
    lasting_worker(g, 3, 1, 1, LASTING_INSTANCE);
    grid_forget(g);
    lasting_held(g, 3, 100, 1, 0, 0, 1);
    lasting_expect(g, "3: adopted 100 unwanted\n");
}

static void
what_was_cancelled_meanwhile_is_not_wanted(void **state)
{
    struct grid *g = *state;

    run_one(g);
    grid_end(g, 1, 1, 1);
    for (int i = 0; i < 8; i++) { /* until it knows all its clients for sure */
        grid_pass(g, 2 * SECOND);
        grid_beat(g, 1);
        grid_beat(g, 2);
    }
    scheduler_gone(g->scheduler, 2, g->now);
    grid_cancel(g, 1, 1, 0, 1);
    grid_forget(g);
    lasting_worker(g, 3, 1, 1, LASTING_INSTANCE);
    lasting_held(g, 3, 100, 1, 1, 0, 1);
    lasting_expect(g, "3: welcome w workers=1 slots=1\n3: adopted 100 unwanted\n");
}

/* All of its peers noticed, and are connecting anew. */
static void
a_broker_that_was_stopped_waits_for_its_workers(void **state)
{
    struct grid *g = *state;

    run_one(g);
    lasting_worker(g, 4, 2, 1, 0);
    grid_forget(g);
    g->now += 20 * SECOND;
    scheduler_gone(g->scheduler, 2, g->now);
    grid_pass(g, 3 * SECOND);
    grid_beat(g, 4);
    grid_beat(g, 1);
    lasting_worker(g, 3, 1, 1, LASTING_INSTANCE);
    lasting_held(g, 3, 100, 1, 1, 0, 1);
    lasting_expect(g, "1: grid workers=1 slots=1\n3: welcome w workers=2 slots=2\n3: job N square\n"
                      "3: adopted 100 wanted\n1: grid workers=2 slots=2\n");
}

static void
the_lease_of_another_worker_is_not_to_be_had(void **state)
{
    struct grid *g = *state;
    uint32_t runs[] = {0, 1};

    run_one(g);
    lasting_worker(g, 4, 2, 1, 0);
    assert_int_equal(grid_say(g, 4,
                              &(struct message){.type = MESSAGE_HELD,
                                                .held = {.lease = 100,
                                                         .job = lasting_number(),
                                                         .attempt = 1,
                                                         .cpus = 1,
                                                         .runs = runs,
                                                         .nruns = 2}}),
                     -1);
}

/* ---- clients in executors ---------------------------------------------------------------------
 */

/* A task of worker 2 has spawned one that runs at worker 3; and now its link breaks. */
static void
break_link_of_parent(struct grid *g)
{
    struct spec spec = grid_spec();

    lasting_worker(g, 2, 1, 1, 0);
    grid_client_kept(g, 1, 8, 60000);
    grid_job(g, 1, 1, &spec);
    grid_inputs(g, 1, 1, 0, 1);
    grid_forget(g);
    grid_client_kept(g, CARRIED(2, 7), 9, 0);
    lasting_worker(g, 3, 2, 1, 0);
    grid_job(g, CARRIED(2, 7), 1, &spec);
    grid_inputs(g, CARRIED(2, 7), 1, 0, 1);
    assert_non_null(strstr(grid_tape(g), "3: slice 101"));
    scheduler_gone(g->scheduler, 2, g->now);
    grid_forget(g);
}

static void
what_a_task_spawned_goes_on_when_its_link_breaks(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    break_link_of_parent(g);
    grid_pass(g, 200000);
    lasting_worker(g, 4, 1, 1, LASTING_INSTANCE);
    grid_told(g, 4);
    for (int i = 0; i < 30; i++) { /* its executor runs another task, and does not read */
        grid_pass(g, SECOND);
        grid_beat(g, 1);
        grid_beat(g, 3);
        grid_beat(g, 4);
    }
    assert_null(strstr(grid_tape(g), "cancel"));
    lasting_results(g, 3, 101, 0, 1, 1);
    lasting_expect(g, "");
    grid_client_kept(g, CARRIED(4, 8), 9, 0);
    grid_job(g, CARRIED(4, 8), 1, &spec);
    grid_inputs_again(g, CARRIED(4, 8), 1, 0, 1, false);
    grid_told(g, CARRIED(4, 8));
    assert_non_null(strstr(grid_tape(g), "4.8: results 0 job=1 0+1 attempt=1"));
}

/* What it spawned waits itself by now, and does not count in its window. */
static void
one_that_is_back_hears_by_how_much_its_window_has_grown(void **state)
{
    struct grid *g = *state;

    break_link_of_parent(g);
    lasting_worker(g, 4, 1, 1, LASTING_INSTANCE);
    grid_told(g, 4);
    grid_park(g, 3, 101, true);
    g->idle = true;
    grid_forget(g);
    grid_client_kept(g, CARRIED(4, 8), 9, 0);
    scheduler_check(g->scheduler);
    assert_non_null(strstr(grid_tape(g), "4.8: grid workers=2 slots=2 idle=1 grant=72"));
}

static void
but_not_without_its_worker(void **state)
{
    struct grid *g = *state;

    break_link_of_parent(g);
    grid_pass(g, 300000);
    lasting_expect(g, "1: grid workers=1 slots=1\n");
    grid_pass(g, 200000);
    assert_non_null(strstr(grid_tape(g), "3: cancel"));
}

static void
nor_when_it_does_not_come_with_it(void **state)
{
    struct grid *g = *state;

    break_link_of_parent(g);
    lasting_worker(g, 4, 1, 1, LASTING_INSTANCE);
    grid_told(g, 4);
    for (int i = 0; i < 61; i++) {
        if (i < 60)
            assert_null(strstr(grid_tape(g), "cancel"));
        grid_pass(g, SECOND);
        grid_beat(g, 1);
        grid_beat(g, 3);
        grid_beat(g, 4);
    }
    assert_non_null(strstr(grid_tape(g), "3: cancel"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lasting_setup, grid_teardown)

/* ---- many at once -----------------------------------------------------------------------------
 */

static void
a_thousand_workers_come_back_and_nothing_runs_twice(void **state)
{
    enum { WORKERS = 1000, FIRST = 10 };
    const uint64_t LEASES = 1ull << 40;
    struct grid *g = *state;
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_WORKER,
                                  .protocol = LADLE_PROTOCOL,
                                  .name = "w",
                                  .host = "there",
                                  .slots = 1,
                                  .machine = "x86_64",
                                  .labels = "",
                                  .instance = 6}};
    int delivered = 0;

    lasting_client_tells(g, 1, 0, WORKERS, true);
    grid_forget(g);
    for (uint32_t i = 0; i < WORKERS; i++) {
        m.hello.session[0] = (uint8_t)i;
        m.hello.session[1] = (uint8_t)(i >> 8);
        m.hello.session[2] = 2;
        assert_int_equal(grid_say(g, FIRST + i, &m), 0);
        lasting_held(g, FIRST + i, LEASES + i, 1, 1, i, 1);
        if (strstr(grid_tape(g), "slice") != NULL)
            fail_msg("task handed out at worker %u", i);
    }
    scheduler_check(g->scheduler);
    for (uint32_t i = 0; i < WORKERS; i++) {
        lasting_results(g, FIRST + i, LEASES + i, i, 1, 1);
        delivered += strstr(grid_tape(g), "1: results") != NULL;
    }
    assert_int_equal(delivered, WORKERS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_running_task_is_adopted),
        TEST(a_task_that_is_told_first_waits_for_its_worker),
        TEST(a_task_that_nobody_brings_is_run),
        TEST(one_that_ran_is_waited_for_longer_and_not_blamed),
        TEST(new_work_does_not_wait),
        TEST(a_lease_of_nobody_is_dropped_in_the_end),
        TEST(what_a_worker_brought_takes_its_slots),
        TEST(results_that_a_worker_brought_take_none),
        TEST(what_has_ended_for_the_client_is_not_wanted),
        TEST(a_lease_over_several_chunks_stays_one_lease),
        TEST(parked_tasks_are_adopted_as_parked),
        TEST(a_worker_that_comes_last_is_answered_at_once),
        TEST(a_spawned_task_waits_for_the_client_of_its_program),
        TEST(but_not_for_ever),
        TEST(a_worker_whose_link_broke_goes_on),
        TEST(a_worker_that_died_is_waited_for_but_shortly),
        TEST(what_it_does_not_bring_is_run_at_once),
        TEST(what_a_worker_has_dropped_counts_as_lost),
        TEST(one_that_may_run_once_and_was_dropped_is_lost),
        TEST(a_worker_is_answered_before_the_client_has_told_all),
        TEST(one_that_may_run_once_and_was_stopped_is_lost),
        TEST(a_worker_tells_before_it_is_given_anything),
        TEST(of_two_that_have_it_the_first_counts),
        TEST(a_lease_that_is_still_to_come_is_not_to_be_had),
        TEST(what_its_client_does_not_have_yet_is_kept_by_its_worker),
        TEST(likewise_when_its_job_is_over),
        TEST(a_job_that_is_over_is_forgotten_when_its_results_are_taken),
        TEST(what_was_cancelled_meanwhile_is_not_wanted),
        TEST(a_broker_that_was_stopped_waits_for_its_workers),
        TEST(the_lease_of_another_worker_is_not_to_be_had),
        TEST(what_a_task_spawned_goes_on_when_its_link_breaks),
        TEST(one_that_is_back_hears_by_how_much_its_window_has_grown),
        TEST(but_not_without_its_worker),
        TEST(nor_when_it_does_not_come_with_it),
        TEST(a_thousand_workers_come_back_and_nothing_runs_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
