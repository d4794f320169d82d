/* The scheduler when things go wrong: crashes, losses, late answers, peers that break the rules. */
#include "grid.h"

#include "../../proto/limits.h"

#include <string.h>

/* Client 1, worker 2 with one slot, and job 10 with `count` tasks, the first of which is leased. */
static struct grid *
busy(void **state, const struct spec *spec, uint32_t count)
{
    struct grid *g = *state;

    grid_client(g, 1);
    grid_worker(g, 2, "node", 1);
    grid_job(g, 1, 10, spec);
    grid_inputs(g, 1, 10, 0, count);
    grid_end(g, 1, 10, count);
    grid_forget(g);
    return g;
}

static void
crash_is_tried_again_and_then_told(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 1);

    grid_results(g, 2, 1, 1, 0, 1, 10, "2");
    grid_expect(g, "2: slice 2 job=1 0+1 attempt=2 charged=1\n");
    grid_results(g, 2, 2, 1, 0, 1, 10, "2");
    grid_expect(g, "2: slice 3 job=1 0+1 attempt=3 charged=2\n");
    grid_results(g, 2, 3, 1, 0, 1, 10, "2");
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1 outcomes=2\n"
                   "2: job_end 1 total=1\n");
}

static void
neighbours_of_a_crash_keep_their_results(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 32);

    grid_results(g, 2, 1, 1, 0, 1, 1, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: slice 2 job=1 1+2 attempt=1\n"
                   "2: slice 3 job=1 3+2 attempt=1\n"
                   "2: slice 4 job=1 5+2 attempt=1\n"
                   "2: slice 5 job=1 7+2 attempt=1\n");
    grid_results(g, 2, 2, 1, 1, 2, 2, "02");
    /* The one that crashed goes alone. */
    grid_expect(g, "1: results 0 job=10 1+1 attempt=1\n"
                   "2: slice 6 job=1 2+1 attempt=2 charged=1\n");
}

static void
failure_is_not_tried_again_unless_asked_for(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 1);

    grid_results(g, 2, 1, 1, 0, 1, 10, "1");
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1 outcomes=1\n"
                   "2: job_end 1 total=1\n");
}

static void
failure_is_tried_again_if_asked_for(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g;

    spec.retry_failed = true;
    spec.retries = 1;
    g = busy(state, &spec, 1);
    grid_results(g, 2, 1, 1, 0, 1, 10, "1");
    grid_results(g, 2, 2, 1, 0, 1, 10, "1"); /* of a lease that was not handed over yet: ignored */
    grid_expect(g, "2: slice 2 job=1 0+1 attempt=2 charged=1\n");
    grid_results(g, 2, 2, 1, 0, 1, 10, "1");
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1 outcomes=1\n"
                   "2: job_end 1 total=1\n");
}

static void
one_time_task_crashes_once(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g;

    spec.once = true;
    g = busy(state, &spec, 1);
    grid_results(g, 2, 1, 1, 0, 1, 10, "2");
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1 outcomes=2\n"
                   "2: job_end 1 total=1\n");
}

static void
lost_worker_loses_no_task(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 2);

    scheduler_gone(g->scheduler, 2, g->now);
    grid_expect(g, "");
    grid_worker(g, 3, "other", 2);
    grid_expect(g, "3: welcome other workers=1 slots=2\n"
                   "3: job 1 square\n"
                   "3: slice 2 job=1 0+1 attempt=2\n"
                   "3: slice 3 job=1 1+1 attempt=1\n");
}

static void
one_time_task_of_a_lost_worker_is_lost(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g;

    spec.once = true;
    g = busy(state, &spec, 2);
    scheduler_gone(g->scheduler, 2, g->now);
    grid_expect(g, "1: ended job=10 0+1 LOST attempt=1 node: the worker was lost (its connection "
                   "ended), and the task may run only once\n");
}

static void
task_that_takes_its_workers_with_it_is_lost(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 1);

    for (uint32_t i = 0; i < 9; i++) {
        scheduler_gone(g->scheduler, 2 + i, g->now);
        grid_worker(g, 3 + i, "node", 1);
        grid_forget(g);
    }
    scheduler_gone(g->scheduler, 11, g->now);
    grid_expect(g, "1: ended job=10 0+1 LOST attempt=10 node: the worker was lost (its connection "
                   "ended), as were those of 9 attempts before\n");
}

static void
only_the_client_beats(struct grid *g, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        grid_pass(g, 1000000);
        grid_beat(g, 1);
    }
}

static void
silent_worker_is_lost(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 1);

    only_the_client_beats(g, 5);
    grid_forget(g);
    grid_pass(g, 1000000);
    grid_expect(g, "2: bye: silent for 6 s\n"
                   "1: grid workers=0 slots=0\n");
    grid_results(g, 2, 1, 1, 0, 1, 10, NULL);
    grid_expect(g, "2: bye: say hello first\n");
}

static void
bytes_of_a_slow_worker_are_a_sign_of_life(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 1);

    only_the_client_beats(g, 5);
    grid_forget(g);
    assert_int_equal(scheduler_silent(g->scheduler, 0, g->now), 0);
    assert_int_equal(scheduler_silent(g->scheduler, 0, g->now + 1000000), 2);
    assert_int_equal(scheduler_silent(g->scheduler, 2, g->now + 1000000), 0);
    assert_int_equal(scheduler_silent(g->scheduler, 3, g->now + 1000000), 0);
    scheduler_heard(g->scheduler, 2, g->now - 500000);
    scheduler_heard(g->scheduler, 2, g->now - 2000000); /* older news are none */
    scheduler_heard(g->scheduler, 3, g->now);
    scheduler_check(g->scheduler);
    only_the_client_beats(g, 5);
    grid_expect(g, "");
    grid_pass(g, 500000);
    grid_expect(g, "2: bye: silent for 6 s\n"
                   "1: grid workers=0 slots=0\n");
}

static void
peers_outlive_a_stop_of_the_scheduler(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 1);

    g->now += 60000000;
    grid_expect(g, "");
    grid_pass(g, 1000000);
    grid_beat(g, 1);
    grid_beat(g, 2);
    grid_pass(g, 5000000);
    grid_expect(g, "");
}

static void
every_peer_gets_beats(void **state)
{
    struct grid *g = *state;

    grid_client(g, 1);
    grid_worker(g, 2, "node", 1);
    grid_pass(g, 200000);
    grid_forget(g);
    g->beats = true;
    grid_pass(g, BEAT_MS * 1000);
    grid_expect(g, "1: beat\n2: beat\n");
}

static void
second_result_is_dropped(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 4);

    grid_results(g, 2, 1, 1, 0, 1, 1000000, NULL);
    grid_forget(g);
    assert_int_equal(grid_results(g, 2, 1, 1, 0, 1, 1000000, NULL), 0);
    grid_expect(g, "");
}

static void
late_result_counts_if_it_is_the_first(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 1);

    grid_returned(g, 2, 1, 0, 1, RETURNED_UNSTARTED);
    grid_expect(g, "2: slice 2 job=1 0+1 attempt=1\n");
    grid_results(g, 2, 1, 1, 0, 1, 10, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: cancel job=1 0+1\n" /* the other attempt */
                   "2: job_end 1 total=1\n");
}

static void
late_crash_does_not_count(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 1);

    grid_returned(g, 2, 1, 0, 1, RETURNED_UNSTARTED);
    grid_expect(g, "2: slice 2 job=1 0+1 attempt=1\n");
    grid_results(g, 2, 1, 1, 0, 1, 10, "2");
    grid_expect(g, "");
}

static void
cancelled_tasks_end_wherever_they_are(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 3);

    grid_cancel(g, 1, 10, 0, 2);
    grid_expect(g, "2: cancel job=1 0+1\n"
                   "1: ended job=10 0+1 CANCELLED attempt=1 node: \n"
                   "1: ended job=10 1+1 CANCELLED attempt=0 : \n"
                   "2: slice 2 job=1 2+1 attempt=1\n");
    grid_results(g, 2, 1, 1, 0, 1, 10, NULL);
    grid_expect(g, "");
    grid_cancel(g, 1, 10, 0, UINT64_MAX);
    grid_expect(g, "2: cancel job=1 2+1\n"
                   "1: ended job=10 2+1 CANCELLED attempt=1 node: \n"
                   "2: job_end 1 total=3\n");
    grid_cancel(g, 1, 10, 0, UINT64_MAX);
    grid_expect(g, "");
}

static void
client_that_goes_leaves_nothing_behind(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 1000);

    scheduler_gone(g->scheduler, 1, g->now);
    grid_expect(g, "2: cancel job=1 0+1000\n"
                   "2: job_end 1 total=1000\n");
}

static void
deadline_ends_what_runs_and_what_waits(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g;

    spec.deadline_ms = 500;
    g = busy(state, &spec, 3);
    grid_pass(g, 400000);
    grid_forget(g);
    grid_pass(g, 100000);
    grid_expect(g, "2: cancel job=1 0+1\n"
                   "1: ended job=10 0+1 TIMED_OUT attempt=1 node: it had not ended by its deadline "
                   "of 0.5 s\n"
                   "1: ended job=10 1+2 TIMED_OUT attempt=0 : it had not ended by its deadline of "
                   "0.5 s\n"
                   "2: job_end 1 total=3\n");
}

static void
tasks_submitted_one_by_one_have_their_own_deadlines(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    spec.deadline_ms = 500;
    spec.singles = true;
    grid_client(g, 1);
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 1);
    grid_pass(g, 300000);
    grid_inputs(g, 1, 10, 1, 1);
    grid_forget(g);
    grid_pass(g, 200000);
    grid_expect(g, "1: ended job=10 0+1 TIMED_OUT attempt=0 : it had not ended by its deadline of "
                   "0.5 s\n");
}

static void
draining_worker_gets_no_more(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 3);

    grid_pass(g, 200000);
    grid_forget(g);
    grid_say(g, 2, &(struct message){.type = MESSAGE_DRAINING, .text = ""});
    grid_results(g, 2, 1, 1, 0, 1, 1, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "1: grid workers=0 slots=0\n");
}

static void
session_that_comes_back_replaces_the_old_one(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 1);
    struct message hello = {.type = MESSAGE_HELLO,
                            .hello = {.role = ROLE_WORKER,
                                      .protocol = LADLE_PROTOCOL,
                                      .software = "test",
                                      .name = "node",
                                      .host = "there",
                                      .slots = 1,
                                      .machine = "x86_64",
                                      .labels = "",
                                      .session = {2, 1}}};

    grid_say(g, 7, &hello);
    grid_expect(g, "2: bye: your session said hello on another connection\n"
                   "7: welcome node workers=1 slots=1\n"
                   "7: job 1 square\n"
                   "7: slice 2 job=1 0+1 attempt=2\n");
}

/* ---- peers that break the rules
 * ------------------------------------------------------------------
 */

static void
hello_of(struct grid *g, uint32_t peer, enum role role, uint32_t protocol, uint32_t slots,
         int expected)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = role,
                                  .protocol = protocol,
                                  .software = "other",
                                  .name = "x",
                                  .host = "",
                                  .slots = slots,
                                  .machine = "",
                                  .labels = ""}};

    assert_int_equal(grid_say(g, peer, &m), expected);
}

static void
hello_is_refused_with_a_reason(void **state)
{
    struct grid *g = *state;

    hello_of(g, 1, ROLE_CLIENT, LADLE_PROTOCOL + 2, 0, -1);
    hello_of(g, 2, ROLE_EXECUTOR, LADLE_PROTOCOL, 0, -1);
    hello_of(g, 3, ROLE_NONE, LADLE_PROTOCOL, 0, -1);
    hello_of(g, 4, ROLE_WORKER, LADLE_PROTOCOL, 0, -1);
    hello_of(g, 5, ROLE_WORKER, LADLE_PROTOCOL, UINT32_MAX, -1);
    grid_expect(g, "1: refused: you speak protocol 3 (other), this broker 1 (test): take versions "
                   "of Ladle that are closer together\n"
                   "2: refused: an executor speaks with its worker, not with the broker\n"
                   "3: refused: a hello without a role\n"
                   "4: refused: a worker has 1 to 65536 slots, not 0\n"
                   "5: refused: a worker has 1 to 65536 slots, not 4294967295\n");
}

static void
neighbouring_protocols_are_welcome(void **state)
{
    struct grid *g = *state;

    hello_of(g, 1, ROLE_CLIENT, LADLE_PROTOCOL + 1, 0, 0);
    hello_of(g, 2, ROLE_CLIENT, LADLE_PROTOCOL - 1, 0, 0);
    grid_expect(g, "1: welcome x workers=0 slots=0\n"
                   "2: welcome x workers=0 slots=0\n");
}

static void
stranger_is_asked_to_say_hello(void **state)
{
    struct grid *g = *state;

    assert_int_equal(grid_say(g, 1, &(struct message){.type = MESSAGE_BEAT}), 0);
    assert_int_equal(grid_say(g, 2, &(struct message){.type = MESSAGE_BYE, .text = ""}), 0);
    grid_expect(g, "1: bye: say hello first\n");
}

static void
inputs_over_the_window_cost_the_connection(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = 10}};

    grid_client(g, 1);
    grid_job(g, 1, 10, &spec);
    m.inputs.columns = (struct columns){.count = 2,
                                        .size = WINDOW_CLIENT / 2,
                                        .data = blob_new(WINDOW_CLIENT),
                                        .length = WINDOW_CLIENT};
    grid_forget(g);
    assert_int_equal(grid_say(g, 1, &m), -1);
    assert_string_equal(scheduler_why(g->scheduler), "more inputs than the window allows");
    grid_expect(g, "1: refused: more inputs than the window allows\n");
    blob_unref(m.inputs.columns.data);
}

static void
one_input_over_the_window_may_go_alone(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = 10}};

    grid_client(g, 1);
    grid_worker(g, 2, "node", 1);
    grid_job(g, 1, 10, &spec);
    m.inputs.columns = (struct columns){.count = 1,
                                        .size = WINDOW_CLIENT + 1,
                                        .data = blob_new(WINDOW_CLIENT + 1),
                                        .length = WINDOW_CLIENT + 1};
    grid_forget(g);
    assert_int_equal(grid_say(g, 1, &m), 0);
    grid_expect(g, "1: accepted job=10 below=1\n"
                   "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n");
    blob_unref(m.inputs.columns.data);
}

static void
results_of_other_tasks_cost_the_connection(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 3);

    assert_int_equal(grid_results(g, 2, 1, 1, 1, 1, 10, NULL), -1);
    grid_expect(g, "2: refused: results of tasks that were not in the slice\n");
}

static void
wrong_role_costs_the_connection(void **state)
{
    struct spec spec = grid_spec();
    struct grid *g = busy(state, &spec, 1);

    assert_int_equal(grid_results(g, 1, 1, 1, 0, 1, 10, NULL), -1);
    assert_int_equal(
        grid_say(g, 2, &(struct message){.type = MESSAGE_JOB_END, .job_end = {.job = 1}}), -1);
    grid_expect(g, "1: refused: a message that is not for clients to send\n"
                   "2: refused: a message that is not for workers to send\n");
}

int
main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, grid_setup, grid_teardown)
    const struct CMUnitTest tests[] = {
        STORY(crash_is_tried_again_and_then_told),
        STORY(neighbours_of_a_crash_keep_their_results),
        STORY(failure_is_not_tried_again_unless_asked_for),
        STORY(failure_is_tried_again_if_asked_for),
        STORY(one_time_task_crashes_once),
        STORY(lost_worker_loses_no_task),
        STORY(one_time_task_of_a_lost_worker_is_lost),
        STORY(task_that_takes_its_workers_with_it_is_lost),
        STORY(silent_worker_is_lost),
        STORY(bytes_of_a_slow_worker_are_a_sign_of_life),
        STORY(peers_outlive_a_stop_of_the_scheduler),
        STORY(every_peer_gets_beats),
        STORY(second_result_is_dropped),
        STORY(late_result_counts_if_it_is_the_first),
        STORY(late_crash_does_not_count),
        STORY(cancelled_tasks_end_wherever_they_are),
        STORY(client_that_goes_leaves_nothing_behind),
        STORY(deadline_ends_what_runs_and_what_waits),
        STORY(tasks_submitted_one_by_one_have_their_own_deadlines),
        STORY(draining_worker_gets_no_more),
        STORY(session_that_comes_back_replaces_the_old_one),
        STORY(hello_is_refused_with_a_reason),
        STORY(neighbouring_protocols_are_welcome),
        STORY(stranger_is_asked_to_say_hello),
        STORY(inputs_over_the_window_cost_the_connection),
        STORY(one_input_over_the_window_may_go_alone),
        STORY(results_of_other_tasks_cost_the_connection),
        STORY(wrong_role_costs_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
