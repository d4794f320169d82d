/* Clients that fall silent, and come back: their jobs go on, and nothing that was for them is lost.
 */
#include "grid.h"

#include "../../proto/limits.h"

#define SECOND 1000000

static void
submit(struct grid *g, uint32_t count)
{
    struct spec spec = grid_spec();

    grid_client_kept(g, 1, 9, 60000);
    grid_worker(g, 2, "w", 1);
    grid_job(g, 1, 1, &spec);
    grid_inputs(g, 1, 1, 0, count);
    grid_forget(g);
}

/* Time passes in which only the worker lives. */
static void
fall_silent(struct grid *g)
{
    for (int i = 0; i < 4; i++) {
        grid_pass(g, 2 * SECOND);
        grid_beat(g, 2);
    }
}

static void
come_back(struct grid *g, uint32_t peer)
{
    struct spec spec = grid_spec();

    grid_client_kept(g, peer, 9, 60000);
    grid_job(g, peer, 1, &spec);
}

static void
jobs_of_a_silent_client_go_on(void **state)
{
    struct grid *g = *state;

    submit(g, 2);
    fall_silent(g);
    grid_expect(g, "1: bye: silent for 6 s\n");
    grid_results(g, 2, 1, 1, 0, 1, 1000000, NULL);
    grid_expect(g, "2: slice 2 job=1 1+1 attempt=1\n");
    come_back(g, 3);
    grid_inputs_again(g, 3, 1, 0, 2, false);
    grid_told(g, 3);
    grid_expect(g, "3: welcome program workers=1 slots=1\n"
                   "3: results 0 job=1 0+1 attempt=1\n"
                   "3: accepted job=1 below=2\n");
    grid_results(g, 2, 2, 1, 1, 1, 1000000, NULL);
    grid_expect(g, "3: results 0 job=1 1+1 attempt=1\n");
}

static void
results_that_were_not_taken_are_sent_again(void **state)
{
    struct grid *g = *state;

    submit(g, 4);
    grid_results(g, 2, 1, 1, 0, 1, 1000000, NULL);
    grid_tick(g);
    grid_results(g, 2, 2, 1, 1, 1, 1000000, NULL);
    grid_forget(g);
    grid_taken(g, 1, TASK_COST + 8); /* the first */
    grid_client_kept(g, 3, 9, 60000);
    grid_expect(g, "1: bye: your session said hello on another connection\n"
                   "3: welcome program workers=1 slots=1\n"
                   "3: results 0 job=1 1+1 attempt=1\n");
}

static void
ends_that_were_not_taken_are_sent_again(void **state)
{
    struct grid *g = *state;

    submit(g, 4);
    grid_cancel(g, 1, 1, 2, 2);
    grid_expect(g, "1: ended job=1 2+2 CANCELLED attempt=0 : \n");
    grid_client_kept(g, 3, 9, 60000);
    grid_expect(g, "1: bye: your session said hello on another connection\n"
                   "3: welcome program workers=1 slots=1\n"
                   "3: ended job=1 2+2 CANCELLED attempt=0 : \n");
    grid_taken(g, 3, TASK_COST);
    grid_client_kept(g, 4, 9, 60000);
    grid_expect(g, "3: bye: your session said hello on another connection\n"
                   "4: welcome program workers=1 slots=1\n");
}

/* It has ended them for itself meanwhile. */
static void
tasks_that_are_not_told_again_are_cancelled(void **state)
{
    struct grid *g = *state;

    submit(g, 5);
    grid_client_kept(g, 3, 9, 60000);
    grid_forget(g);
    come_back(g, 4);
    grid_inputs_again(g, 4, 1, 3, 1, false);
    grid_expect(g, "3: bye: your session said hello on another connection\n"
                   "4: welcome program workers=1 slots=1\n"
                   "2: cancel job=1 0+1\n"
                   "4: ended job=1 0+1 CANCELLED attempt=1 w: \n"
                   "4: ended job=1 1+2 CANCELLED attempt=0 : \n"
                   "4: accepted job=1 below=5\n"
                   "2: slice 2 job=1 3+1 attempt=1\n");
    grid_told(g, 4);
    grid_end(g, 4, 1, 5);
    grid_expect(g, "4: ended job=1 4+1 CANCELLED attempt=0 : \n");
    grid_results(g, 2, 2, 1, 3, 1, 1000, NULL);
    grid_expect(g, "4: results 0 job=1 3+1 attempt=1\n2: job_end 1 total=5\n");
}

static void
a_job_that_is_not_told_again_is_over(void **state)
{
    struct grid *g = *state;

    submit(g, 1);
    grid_client_kept(g, 3, 9, 60000);
    grid_forget(g);
    grid_told(g, 3);
    grid_expect(g, "2: cancel job=1 0+1\n3: ended job=1 0+1 CANCELLED attempt=1 w: \n"
                   "2: job_end 1 total=1\n");
}

static void
what_was_on_its_way_is_new(void **state)
{
    struct grid *g = *state;

    submit(g, 2);
    scheduler_gone(g->scheduler, 1, g->now);
    grid_forget(g);
    come_back(g, 3);
    grid_inputs_again(g, 3, 1, 0, 4, false);
    grid_told(g, 3);
    grid_expect(g, "3: welcome program workers=1 slots=1\n3: accepted job=1 below=4\n");
    grid_results(g, 2, 1, 1, 0, 1, 1000000, NULL);
    grid_expect(g, "3: results 0 job=1 0+1 attempt=1\n2: slice 2 job=1 1+1 attempt=1\n");
}

static void
a_job_that_was_on_its_way_is_new(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    submit(g, 1);
    grid_client_kept(g, 3, 9, 60000);
    grid_forget(g);
    grid_job(g, 3, 2, &spec);
    grid_inputs_again(g, 3, 2, 0, 1, false);
    grid_told(g, 3);
    grid_expect(g, "2: cancel job=1 0+1\n3: ended job=1 0+1 CANCELLED attempt=1 w: \n"
                   "2: job_end 1 total=1\n3: accepted job=2 below=1\n"
                   "2: job 2 square\n2: slice 2 job=2 0+1 attempt=1\n");
}

static void
one_that_does_not_come_back_is_given_up(void **state)
{
    struct grid *g = *state;

    submit(g, 1);
    fall_silent(g);
    grid_forget(g);
    for (int i = 0; i < 27; i++) {
        grid_beat(g, 2);
        grid_pass(g, 2 * SECOND);
    }
    grid_expect(g, "");
    for (int i = 0; i < 3; i++) {
        grid_beat(g, 2);
        grid_pass(g, 2 * SECOND);
    }
    grid_expect(g, "2: cancel job=1 0+1\n2: job_end 1 total=1\n");
}

/* A program that dies closes its connection. */
static void
a_broken_connection_is_waited_for_but_shortly(void **state)
{
    struct grid *g = *state;

    submit(g, 1);
    scheduler_gone(g->scheduler, 1, g->now);
    grid_pass(g, SECOND - 100000);
    grid_expect(g, "");
    grid_pass(g, 200000);
    grid_expect(g, "2: cancel job=1 0+1\n2: job_end 1 total=1\n");
}

static void
one_that_says_goodbye_is_not_waited_for(void **state)
{
    struct grid *g = *state;

    submit(g, 1);
    grid_say(g, 1, &(struct message){.type = MESSAGE_BYE, .text = ""});
    grid_expect(g, "2: cancel job=1 0+1\n2: job_end 1 total=1\n");
}

/* As for one that does not read. */
static void
results_wait_within_its_window(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    g->beats = false;
    grid_say(g, 1,
             &(struct message){.type = MESSAGE_HELLO,
                               .hello = {.role = ROLE_CLIENT,
                                         .protocol = LADLE_PROTOCOL,
                                         .name = "program",
                                         .host = "",
                                         .session = {9, 1},
                                         .window = 100,
                                         .keep_ms = 60000}});
    grid_worker(g, 2, "w", 1);
    grid_job(g, 1, 1, &spec);
    grid_inputs(g, 1, 1, 0, 9);
    scheduler_gone(g->scheduler, 1, g->now);
    grid_forget(g);
    grid_results(g, 2, 1, 1, 0, 1, 1000000, NULL);
    grid_expect(g, "2: slice 2 job=1 1+1 attempt=1\n");
    grid_results(g, 2, 2, 1, 1, 1, 1000000, NULL);
    grid_expect(g, "");
}

static void
results_are_acknowledged_when_they_are_taken(void **state)
{
    struct grid *g = *state;
    struct blob *data = blob_new(8);
    struct message m = {.type = MESSAGE_RESULTS,
                        .results = {.job = 1,
                                    .lease = 1,
                                    .attempt = 1,
                                    .worker = "",
                                    .serial = 5,
                                    .columns = {.count = 1, .size = 8, .data = data, .length = 8}}};

    submit(g, 1);
    grid_say(g, 2, &m);
    m.results.serial = 6; /* once more: it is on its way to the client yet */
    grid_forget(g);
    grid_say(g, 2, &m);
    grid_expect(g, "");
    grid_taken(g, 1, TASK_COST + 8);
    grid_beat(g, 1);
    grid_beat(g, 2);
    grid_pass(g, 2 * SECOND);
    grid_expect(g, "2: ack 5-6\n");
    m.results.serial = 7; /* and now for nobody */
    grid_say(g, 2, &m);
    grid_expect(g, "2: ack 7-7\n");
    blob_unref(data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, grid_setup, grid_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(jobs_of_a_silent_client_go_on),
        TEST(results_that_were_not_taken_are_sent_again),
        TEST(ends_that_were_not_taken_are_sent_again),
        TEST(tasks_that_are_not_told_again_are_cancelled),
        TEST(a_job_that_is_not_told_again_is_over),
        TEST(what_was_on_its_way_is_new),
        TEST(a_job_that_was_on_its_way_is_new),
        TEST(one_that_does_not_come_back_is_given_up),
        TEST(a_broken_connection_is_waited_for_but_shortly),
        TEST(one_that_says_goodbye_is_not_waited_for),
        TEST(results_wait_within_its_window),
        TEST(results_are_acknowledged_when_they_are_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
