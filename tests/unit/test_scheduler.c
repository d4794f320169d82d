/* The scheduler when all goes well: whole histories of what it says are compared. */
#include "grid.h"

#include "../../proto/limits.h"

#include <string.h>

/* A client 1 and a worker 2 with `slots`; what was said so far is forgotten. */
static struct grid *
pair(void **state, uint32_t slots)
{
    struct grid *g = *state;

    grid_client(g, 1);
    grid_worker(g, 2, "node", slots);
    grid_forget(g);
    return g;
}

static void
map_runs_on_the_only_worker(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    grid_client(g, 1);
    grid_worker(g, 2, "node", 2);
    grid_expect(g, "1: welcome program workers=0 slots=0\n"
                   "2: welcome node workers=1 slots=2\n"
                   "1: grid workers=1 slots=2\n");
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 3);
    grid_end(g, 1, 10, 3);
    grid_expect(g, "1: accepted job=10 below=3\n"
                   "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n"
                   "2: slice 2 job=1 1+1 attempt=1\n");
    grid_results(g, 2, 1, 1, 0, 1, 1000, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: slice 3 job=1 2+1 attempt=1\n");
    grid_results(g, 2, 2, 1, 1, 1, 1000, NULL);
    grid_results(g, 2, 3, 1, 2, 1, 1000, NULL);
    grid_expect(g, "1: results 0 job=10 1+1 attempt=1\n"
                   "1: results 0 job=10 2+1 attempt=1\n"
                   "2: job_end 1 total=3\n");
}

static void
job_without_tasks_ends_at_once(void **state)
{
    struct grid *g = pair(state, 1);
    struct spec spec = grid_spec();

    grid_job(g, 1, 10, &spec);
    grid_end(g, 1, 10, 0);
    grid_expect(g, "");
}

static void
inputs_are_accepted_once_per_tick(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    grid_client(g, 1);
    grid_job(g, 1, 10, &spec);
    grid_forget(g);
    grid_inputs(g, 1, 10, 0, 3);
    grid_inputs(g, 1, 10, 3, 1);
    grid_inputs(g, 1, 10, 10, 2); /* some that ended in a session before are left out */
    grid_expect(g, "1: accepted job=10 below=12\n");
}

/* A worker that is known to take 1 us for a task, and has run one. */
static struct grid *
quick(void **state)
{
    struct grid *g = pair(state, 1);
    struct spec spec = grid_spec();

    spec.singles = true;
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 1);
    grid_tick(g);
    grid_results(g, 2, 1, 1, 0, 1, 1, NULL);
    grid_tick(g);
    grid_forget(g);
    return g;
}

static void
results_that_are_near_bring_the_word_of_acceptance(void **state)
{
    struct grid *g = quick(state);

    grid_inputs(g, 1, 10, 1, 1);
    grid_expect(g, "2: slice 2 job=1 1+1 attempt=1\n");
    grid_results(g, 2, 2, 1, 1, 1, 1, NULL);
    grid_expect(g, "1: results 0 job=10 1+1 attempt=1\n");
    grid_pass(g, 2000);
    grid_expect(g, "");
}

static void
acceptance_is_told_when_results_stay_away(void **state)
{
    struct grid *g = quick(state);

    grid_inputs(g, 1, 10, 1, 1);
    grid_expect(g, "2: slice 2 job=1 1+1 attempt=1\n");
    assert_in_range(scheduler_deadline(g->scheduler), g->now, g->now + 1000);
    grid_pass(g, 2000);
    grid_expect(g, "1: accepted job=10 below=2\n");
}

static void
tasks_submitted_one_by_one_are_merged(void **state)
{
    struct grid *g = pair(state, 1);
    struct spec spec = grid_spec();

    spec.singles = true;
    grid_job(g, 1, 10, &spec);
    for (uint64_t i = 0; i < 40; i++)
        grid_inputs(g, 1, 10, i, 1);
    grid_expect(g, "1: accepted job=10 below=40\n"
                   "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n");
    grid_results(g, 2, 1, 1, 0, 1, 1, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: slice 2 job=1 1+2 attempt=1\n"
                   "2: slice 3 job=1 3+2 attempt=1\n"
                   "2: slice 4 job=1 5+2 attempt=1\n"
                   "2: slice 5 job=1 7+2 attempt=1\n");
    grid_results(g, 2, 2, 1, 1, 2, 2, NULL);
    grid_expect(g, "1: results 0 job=10 1+2 attempt=1\n"
                   "2: slice 6 job=1 9+4 attempt=1\n");
}

static void
empty_inputs_are_inputs(void **state)
{
    struct grid *g = pair(state, 1);
    struct spec spec = grid_spec();
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = 10, .columns = {.count = 3}}};

    grid_job(g, 1, 10, &spec);
    assert_int_equal(grid_say(g, 1, &m), 0);
    grid_end(g, 1, 10, 3);
    grid_expect(g, "1: accepted job=10 below=3\n"
                   "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n");
    m = (struct message){.type = MESSAGE_RESULTS,
                         .results = {.job = 1,
                                     .lease = 1,
                                     .attempt = 1,
                                     .worker = "",
                                     .run_us = 1000000,
                                     .columns = {.count = 1}}};
    assert_int_equal(grid_say(g, 2, &m), 0);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: slice 2 job=1 1+1 attempt=1\n");
}

static void
higher_priority_goes_first(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    grid_client(g, 1);
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 1);
    spec.priority = 5;
    grid_job(g, 1, 11, &spec);
    grid_inputs(g, 1, 11, 0, 1);
    spec.priority = -5;
    grid_job(g, 1, 12, &spec);
    grid_inputs(g, 1, 12, 0, 1);
    grid_forget(g);
    grid_worker(g, 2, "node", 3);
    grid_forget(g);
    grid_results(g, 2, 1, 2, 0, 1, 1, NULL);
    grid_results(g, 2, 2, 1, 0, 1, 1, NULL);
    grid_results(g, 2, 3, 3, 0, 1, 1, NULL);
    grid_expect(g, "1: results 0 job=11 0+1 attempt=1\n"
                   "1: results 0 job=10 0+1 attempt=1\n"
                   "1: results 0 job=12 0+1 attempt=1\n");
}

static void
clients_take_turns(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    grid_client(g, 1);
    grid_client(g, 3);
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 100);
    grid_job(g, 3, 30, &spec);
    grid_inputs(g, 3, 30, 0, 100);
    grid_forget(g);
    grid_worker(g, 2, "node", 4);
    grid_pass(g, 1000);
    grid_expect(g, "2: welcome node workers=1 slots=4\n"
                   "1: grid workers=1 slots=4\n"
                   "3: grid workers=1 slots=4\n"
                   "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n"
                   "2: job 2 square\n"
                   "2: slice 2 job=2 0+1 attempt=1\n"
                   "2: slice 3 job=1 1+1 attempt=1\n"
                   "2: slice 4 job=2 1+1 attempt=1\n");
}

static void
jobs_of_a_client_go_in_order(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    grid_client(g, 1);
    grid_job(g, 1, 10, &spec);
    grid_job(g, 1, 11, &spec);
    grid_inputs(g, 1, 11, 0, 2);
    grid_inputs(g, 1, 10, 0, 1);
    grid_forget(g);
    grid_worker(g, 2, "node", 2);
    grid_forget(g);
    grid_results(g, 2, 1, 1, 0, 1, 1000000, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: slice 3 job=2 1+1 attempt=1\n");
}

static void
wide_tasks_take_several_slots(void **state)
{
    struct grid *g = pair(state, 5);
    struct spec spec = grid_spec();

    spec.cpus = 2;
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 10);
    /* Two run, and one waits until one more slot is free. */
    grid_expect(g, "1: accepted job=10 below=10\n"
                   "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n"
                   "2: slice 2 job=1 1+1 attempt=1\n"
                   "2: slice 3 job=1 2+1 attempt=1\n");
}

static void
slices_go_where_most_slots_are_free(void **state)
{
    struct grid *g = pair(state, 1);
    struct spec spec = grid_spec();

    grid_worker(g, 3, "larger", 4);
    grid_pass(g, 200000);
    grid_forget(g);
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 2);
    grid_expect(g, "1: accepted job=10 below=2\n"
                   "3: job 1 square\n"
                   "3: slice 1 job=1 0+1 attempt=1\n"
                   "3: slice 2 job=1 1+1 attempt=1\n");
}

static void
waiting_tasks_are_taken_back_for_an_idle_worker(void **state)
{
    struct grid *g = pair(state, 1);
    struct spec spec = grid_spec();

    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 1);
    grid_forget(g);
    grid_results(g, 2, 1, 1, 0, 1, 10000, NULL);
    grid_inputs(g, 1, 10, 1, 3);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "1: accepted job=10 below=4\n"
                   "2: slice 2 job=1 1+2 attempt=1\n"
                   "2: slice 3 job=1 3+1 attempt=1\n");
    grid_worker(g, 3, "idle", 1);
    g->now += 1000;
    grid_expect(g, "3: welcome idle workers=2 slots=2\n"
                   "2: revoke 3 count=1\n");
    grid_returned(g, 2, 3, 3, 1, RETURNED_REVOKED);
    grid_expect(g, "3: job 1 square\n"
                   "3: slice 4 job=1 3+1 attempt=1\n");
}

static void
worker_with_nothing_to_give_is_asked_again_later(void **state)
{
    struct grid *g = pair(state, 1);
    struct spec spec = grid_spec();

    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 1);
    grid_forget(g);
    grid_results(g, 2, 1, 1, 0, 1, 10000, NULL);
    grid_inputs(g, 1, 10, 1, 3);
    grid_forget(g);
    grid_worker(g, 3, "idle", 1);
    g->now += 1000;
    grid_expect(g, "3: welcome idle workers=2 slots=2\n"
                   "2: revoke 3 count=1\n");
    grid_returned(g, 2, 3, 0, 0, RETURNED_REVOKED);
    g->now += 9000;
    grid_expect(g, "");
    g->now += 5000; /* it looks now and then */
    grid_expect(g, "2: revoke 3 count=1\n");
    grid_returned(g, 2, 3, 0, 0, RETURNED_REVOKED);
    g->now += 19000;
    grid_expect(g, "");
    g->now += 5000;
    grid_expect(g, "2: revoke 3 count=1\n");
}

static void
one_time_tasks_are_never_prefetched(void **state)
{
    struct grid *g = pair(state, 1);
    struct spec spec = grid_spec();

    spec.once = true;
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 50);
    grid_forget(g);
    grid_results(g, 2, 1, 1, 0, 1, 1, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: slice 2 job=1 1+1 attempt=1\n");
}

static void
slow_reader_gets_no_more_than_its_window(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();
    struct message hello = {.type = MESSAGE_HELLO,
                            .hello = {.role = ROLE_CLIENT,
                                      .protocol = LADLE_PROTOCOL,
                                      .software = "test",
                                      .name = "slow",
                                      .host = "",
                                      .window = 2 * (TASK_COST + 8)}};

    assert_int_equal(grid_say(g, 1, &hello), 0);
    grid_worker(g, 2, "node", 4);
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 6);
    grid_forget(g);
    for (uint64_t i = 0; i < 4; i++)
        grid_results(g, 2, i + 1, 1, i, 1, 100000, NULL);
    /* Two are under way; two wait here, and no more tasks are handed over. */
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "1: results 0 job=10 1+1 attempt=1\n");
    grid_say(g, 1, &(struct message){.type = MESSAGE_TAKEN, .taken = {.bytes = TASK_COST + 8}});
    grid_expect(g, "1: results 0 job=10 2+1 attempt=1\n");
    grid_say(g, 1,
             &(struct message){.type = MESSAGE_TAKEN, .taken = {.bytes = 3 * (TASK_COST + 8)}});
    grid_expect(g, "1: results 0 job=10 3+1 attempt=1\n"
                   "2: slice 5 job=1 4+1 attempt=1\n"
                   "2: slice 6 job=1 5+1 attempt=1\n");
}

static void
worker_that_reads_slowly_gets_no_more(void **state)
{
    struct grid *g = pair(state, 1);
    struct spec spec = grid_spec();

    scheduler_backlog(g->scheduler, 2, WINDOW_WORKER + 1);
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 1);
    grid_expect(g, "1: accepted job=10 below=1\n");
    scheduler_backlog(g->scheduler, 2, 0);
    grid_expect(g, "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n");
}

static void
news_of_a_task_reach_its_client(void **state)
{
    struct grid *g = pair(state, 1);
    struct spec spec = grid_spec();

    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 1);
    grid_forget(g);
    grid_say(g, 2,
             &(struct message){.type = MESSAGE_RUNNING,
                               .running = {.job = 1, .lease = 1, .attempt = 1, .worker = ""}});
    grid_say(g, 2,
             &(struct message){.type = MESSAGE_PROGRESS,
                               .progress = {.job = 1, .lease = 1, .done = 1, .total = 3}});
    grid_say(g, 2,
             &(struct message){.type = MESSAGE_PARTIAL,
                               .partial = {.job = 1, .lease = 1, .columns = {.count = 1}}});
    grid_say(g, 2,
             &(struct message){.type = MESSAGE_OUTPUT,
                               .output = {.job = 1, .worker = "", .columns = {.count = 1}}});
    grid_say(g, 2, /* of a lease that is not */
             &(struct message){.type = MESSAGE_PROGRESS,
                               .progress = {.job = 1, .lease = 9, .done = 1, .total = 3}});
    grid_expect(g, "1: running job=10 0 attempt=1\n"
                   "1: progress job=10 0 1/3\n"
                   "1: partial job=10 0 bytes=0\n"
                   "1: output job=10 node bytes=0\n");
}

int
main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, grid_setup, grid_teardown)
    const struct CMUnitTest tests[] = {
        STORY(map_runs_on_the_only_worker),
        STORY(job_without_tasks_ends_at_once),
        STORY(inputs_are_accepted_once_per_tick),
        STORY(results_that_are_near_bring_the_word_of_acceptance),
        STORY(acceptance_is_told_when_results_stay_away),
        STORY(tasks_submitted_one_by_one_are_merged),
        STORY(empty_inputs_are_inputs),
        STORY(higher_priority_goes_first),
        STORY(clients_take_turns),
        STORY(jobs_of_a_client_go_in_order),
        STORY(wide_tasks_take_several_slots),
        STORY(slices_go_where_most_slots_are_free),
        STORY(waiting_tasks_are_taken_back_for_an_idle_worker),
        STORY(worker_with_nothing_to_give_is_asked_again_later),
        STORY(one_time_tasks_are_never_prefetched),
        STORY(slow_reader_gets_no_more_than_its_window),
        STORY(worker_that_reads_slowly_gets_no_more),
        STORY(news_of_a_task_reach_its_client),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
