/* Who is charged with a crash, and how often, when brokers and connections come and go. */
#include "lasting.h"

#include <string.h>

#define SECOND 1000000

/* `alive` are the peers that beat. */
static void
pass(struct grid *g, int seconds, const char *alive)
{
    for (int i = 0; i < seconds; i++) {
        grid_pass(g, SECOND);
        for (const char *peer = alive; *peer != '\0'; peer++)
            grid_beat(g, (uint32_t)(*peer - '0'));
    }
}

/* The broker before had charged the crash at w, and the next attempt runs at w-2. */
static void
two_workers(struct grid *g)
{
    lasting_worker(g, 2, 1, 1, 6);
    lasting_worker(g, 3, 2, 1, 6);
    lasting_client_tells(g, 1, 0, 1, true);
    grid_forget(g);
}

static void
a_crash_that_was_charged_is_not_charged_again(void **state)
{
    struct grid *g = *state;

    two_workers(g);
    lasting_held_charged(g, 2, 55, 1, 0, 0, 0, 1);
    grid_told(g, 2);
    lasting_held_charged(g, 3, 56, 2, 1, 1, 0, 1);
    grid_told(g, 3);
    lasting_expect(g, "2: job N square\n2: adopted 55 wanted\n"
                      "3: job N square\n2: cancel job=N 0+1\n3: adopted 56 wanted\n");
    lasting_ends(g, 2, 55, 0, 1, OUTCOME_CRASHED);
    pass(g, 12, "123");
    lasting_expect(g, "");
    lasting_ends(g, 3, 56, 0, 2, OUTCOME_CRASHED); /* of three: the next goes out */
    lasting_expect(g, "1: charged job=1 0 charged=2\n"
                      "2: slice 100 job=N 0+1 attempt=3 charged=2\n");
    lasting_results(g, 2, 100, 0, 1, 3);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=3\n");
}

static void
the_attempt_after_a_crash_is_waited_for(void **state)
{
    struct grid *g = *state;

    two_workers(g);
    lasting_held_charged(g, 2, 55, 1, 0, 0, 0, 1);
    grid_told(g, 2);
    lasting_ends(g, 2, 55, 0, 1, OUTCOME_CRASHED);
    pass(g, 3, "123");
    lasting_expect(g, "2: job N square\n2: adopted 55 wanted\n1: charged job=1 0 charged=1\n");
    lasting_held_charged(g, 3, 56, 2, 1, 1, 0, 1);
    grid_told(g, 3);
    pass(g, 12, "123");
    lasting_expect(g, "3: job N square\n3: adopted 56 wanted\n");
    lasting_results(g, 3, 56, 0, 1, 2);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=2\n");
}

static void
if_nobody_has_it_it_runs_again(void **state)
{
    struct grid *g = *state;

    two_workers(g);
    lasting_held_charged(g, 2, 55, 1, 0, 0, 0, 1);
    grid_told(g, 2);
    grid_told(g, 3);
    lasting_ends(g, 2, 55, 0, 1, OUTCOME_CRASHED);
    pass(g, 9, "123");
    lasting_expect(g, "2: job N square\n2: adopted 55 wanted\n1: charged job=1 0 charged=1\n");
    pass(g, 2, "123");
    lasting_expect(g, "3: job N square\n3: slice 100 job=N 0+1 attempt=2 charged=1\n");
}

static void
what_was_charged_is_remembered(void **state)
{
    struct grid *g = *state;

    two_workers(g);
    lasting_held_charged(g, 2, 55, 4, 2, 1, 0, 1); /* and one was lost */
    grid_told(g, 2);
    grid_told(g, 3);
    lasting_ends(g, 2, 55, 0, 4, OUTCOME_CRASHED);
    lasting_expect(g, "2: job N square\n2: adopted 55 wanted\n"
                      "1: results 0 job=1 0+1 attempt=4 outcomes=2\n");
}

static void
the_same_broker_knows_what_it_charged(void **state)
{
    struct grid *g = *state;

    lasting_client_tells(g, 1, 0, 1, false);
    lasting_worker(g, 2, 1, 1, 0);
    pass(g, 5, "12");
    grid_forget(g);
    lasting_ends(g, 2, 100, 0, 1, OUTCOME_CRASHED);
    lasting_expect(g, "1: charged job=1 0 charged=1\n"
                      "2: slice 101 job=N 0+1 attempt=2 charged=1\n");
    lasting_ends(g, 2, 101, 0, 2, OUTCOME_CRASHED);
    lasting_expect(g, "1: charged job=1 0 charged=2\n"
                      "2: slice 102 job=N 0+1 attempt=3 charged=2\n");
    /* It did not hear that the broker had its results, and the last slice did not get there. */
    scheduler_gone(g->scheduler, 2, g->now);
    lasting_worker(g, 3, 1, 1, LASTING_INSTANCE);
    grid_forget(g);
    lasting_held_charged(g, 3, 100, 1, 0, 0, 0, 1);
    grid_told(g, 3);
    lasting_expect(g, "3: job N square\n3: adopted 100 wanted\n"
                      "3: slice 103 job=N 0+1 attempt=3 charged=2\n");
    lasting_ends(g, 3, 100, 0, 1, OUTCOME_CRASHED);
    pass(g, 3, "13");
    lasting_expect(g, "");
    lasting_results(g, 3, 103, 0, 1, 3);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=3\n");
}

/* The task was taken out of a slice for somebody who has a later attempt of it: that is no reason
 * to believe that it was cancelled. */
static void
what_was_stopped_for_a_later_attempt_is_not_cancelled(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    grid_client_kept(g, 1, 9, 60000);
    grid_job(g, 1, 1, &spec);
    lasting_worker(g, 2, 1, 1, 0);
    grid_inputs(g, 1, 1, 0, 1);
    grid_forget(g);
    grid_results(g, 2, 100, lasting_number(), 0, 1, 10, NULL);
    grid_forget(g);
    grid_inputs(g, 1, 1, 1, 10);
    assert_non_null(strstr(grid_tape(g), "2: slice 103")); /* of tasks 5 and 6 */
    lasting_worker(g, 3, 2, 1, 6);
    lasting_held_charged(g, 3, 56, 2, 1, 1, 5, 1);
    grid_told(g, 3);
    grid_forget(g);
    lasting_ends(g, 2, 103, 5, 1, OUTCOME_CANCELLED);
    lasting_expect(g, "");
    lasting_results(g, 3, 56, 5, 1, 2);
    lasting_expect(g, "1: accepted job=1 below=11\n1: results 0 job=1 5+1 attempt=2\n");
}

/* A client that was away when its task crashed. */
static void
what_was_charged_meanwhile_is_told_to_who_is_back(void **state)
{
    struct grid *g = *state;

    lasting_client_tells(g, 1, 0, 1, false);
    lasting_worker(g, 2, 1, 1, 0);
    pass(g, 5, "12");
    scheduler_gone(g->scheduler, 1, g->now);
    grid_forget(g);
    lasting_ends(g, 2, 100, 0, 1, OUTCOME_CRASHED);
    lasting_expect(g, "2: slice 101 job=N 0+1 attempt=2 charged=1\n");
    grid_client_kept(g, 3, 9, 60000);
    lasting_expect(g, "3: welcome program workers=1 slots=1\n3: charged job=1 0 charged=1\n");
}

/* It crashed, and waited for its next attempt when the broker ended. */
static void
what_the_client_was_told_is_remembered(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    grid_client_kept(g, 1, 9, 60000);
    grid_job(g, 1, 1, &spec);
    grid_inputs_charged(g, 1, 1, 0, 1, 1);
    grid_inputs_charged(g, 1, 1, 1, 1, 77); /* more than there are: then all but the last */
    lasting_worker(g, 2, 1, 2, 0);
    pass(g, 5, "12");
    grid_forget(g);
    lasting_ends(g, 2, 101, 0, 2, OUTCOME_CRASHED);
    lasting_expect(g, "1: charged job=1 0 charged=2\n2: slice 102 job=N 0+1 attempt=3 charged=2\n");
    lasting_ends(g, 2, 100, 1, 3, OUTCOME_CRASHED);
    lasting_expect(g, "1: results 0 job=1 1+1 attempt=3 outcomes=2\n");
    lasting_ends(g, 2, 102, 0, 3, OUTCOME_CRASHED);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=3 outcomes=2\n");
}

/* A worker that was stopped for long, say. */
static void
a_result_of_an_attempt_before_the_charged_one_counts(void **state)
{
    struct grid *g = *state;

    two_workers(g);
    lasting_held_charged(g, 3, 56, 3, 1, 1, 0, 1);
    grid_told(g, 3);
    lasting_held_charged(g, 2, 55, 1, 0, 0, 0, 1);
    grid_told(g, 2);
    grid_forget(g);
    lasting_results(g, 2, 55, 0, 1, 1);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=1\n3: cancel job=N 0+1\n");
}

static void
more_charged_than_can_be_is_not_believed(void **state)
{
    struct grid *g = *state;

    two_workers(g);
    lasting_held_charged(g, 2, 55, 4, 3, 1, 0, 1);
    lasting_expect(g, "2: adopted 55 unwanted\n");
}

/* Cancelled by a client that could not say so: it does not tell them anew. */
static void
what_the_client_does_not_tell_anew_is_stopped(void **state)
{
    struct grid *g = *state;

    lasting_worker(g, 2, 1, 1, 6);
    lasting_client_tells(g, 1, 1, 2, true);
    grid_inputs_again(g, 1, 1, 5, 1, true);
    grid_told(g, 1);
    grid_forget(g);
    lasting_held(g, 2, 55, 1, 1, 0, 8);
    lasting_expect(g, "2: job N square\n2: cancel job=N 0+1\n2: cancel job=N 3+2\n"
                      "2: cancel job=N 6+2\n2: adopted 55 wanted\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lasting_setup, grid_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_crash_that_was_charged_is_not_charged_again),
        TEST(the_attempt_after_a_crash_is_waited_for),
        TEST(if_nobody_has_it_it_runs_again),
        TEST(what_was_charged_is_remembered),
        TEST(the_same_broker_knows_what_it_charged),
        TEST(what_was_stopped_for_a_later_attempt_is_not_cancelled),
        TEST(what_was_charged_meanwhile_is_told_to_who_is_back),
        TEST(what_the_client_was_told_is_remembered),
        TEST(a_result_of_an_attempt_before_the_charged_one_counts),
        TEST(more_charged_than_can_be_is_not_believed),
        TEST(what_the_client_does_not_tell_anew_is_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
