/* Clients in executors: their conversation, through their worker's, and their windows. */
#include "grid.h"

#include "../../proto/limits.h"

#include <stdio.h>
#include <string.h>

#define CHILD CARRIED(2, 7) /* the client in an executor of worker 2 */
#define OTHER CARRIED(2, 8)

/* Worker 2, in an executor of which is a client. */
static struct grid *
executor(void **state, uint32_t slots)
{
    struct grid *g = *state;

    grid_worker(g, 2, "node", slots);
    grid_client(g, CHILD);
    grid_forget(g);
    return g;
}

static void
job(struct grid *g, uint32_t client, uint64_t number, uint32_t count)
{
    struct spec spec = grid_spec();

    grid_job(g, client, number, &spec);
    grid_inputs(g, client, number, 0, count);
}

/* ---- the conversation ---------------------------------------------------------------------------
 */

static void
a_client_in_an_executor_is_answered_through_its_worker(void **state)
{
    struct grid *g = *state;

    g->idle = true;
    grid_worker(g, 2, "node", 3);
    grid_client(g, CHILD);
    grid_expect(g, "2: welcome node workers=1 slots=3\n"
                   "2.7: welcome program@node workers=1 slots=3\n"
                   "2.7: grid workers=1 slots=3 idle=3 grant=0\n"
                   "2.7: grid workers=1 slots=3 idle=3 grant=0\n"
                   "2.7: grid workers=1 slots=3 idle=3 grant=0\n");
    job(g, CHILD, 1, 1);
    grid_expect(g, "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n");
    grid_results(g, 2, 1, 1, 0, 1, 1000, NULL);
    grid_end(g, CHILD, 1, 1);
    grid_pass(g, 1000);
    grid_expect(g, "2.7: results 0 job=1 0+1 attempt=1\n"
                   "2: job_end 1 total=1\n"
                   "2.7: grid workers=1 slots=3 idle=3 grant=0\n");
}

/* Same jobs, neighbouring indexes, and neighbours in the outbox. */
static void
clients_of_one_worker_are_kept_apart(void **state)
{
    struct grid *g = executor(state, 1);

    grid_client(g, OTHER);
    grid_forget(g);
    job(g, CHILD, 1, 4);
    job(g, OTHER, 1, 4);
    grid_forget(g);
    grid_cancel(g, CHILD, 1, 2, 1);
    grid_cancel(g, OTHER, 1, 3, 1);
    grid_expect(g, "2.7: ended job=1 2+1 CANCELLED attempt=0 : \n"
                   "2.8: ended job=1 3+1 CANCELLED attempt=0 : \n");
}

static void
one_that_is_not_known_is_told_to_start_over(void **state)
{
    struct grid *g = executor(state, 1);

    grid_say(g, OTHER, &(struct message){.type = MESSAGE_TAKEN});
    grid_expect(g, "2.8: bye: say hello first\n");
    grid_say(g, OTHER, &(struct message){.type = MESSAGE_BYE, .text = ""});
    grid_expect(g, "");
    grid_say(g, CARRIED(5, 7), &(struct message){.type = MESSAGE_TAKEN}); /* of no worker */
    grid_expect(g, "5: bye: say hello first\n");
}

static void
a_second_hello_starts_over(void **state)
{
    struct grid *g = executor(state, 1);

    job(g, CHILD, 1, 2);
    grid_forget(g);
    grid_client(g, CHILD);
    grid_expect(g, "2: cancel job=1 0+2\n"
                   "2: job_end 1 total=2\n"
                   "2.7: welcome program@node workers=1 slots=1\n");
    job(g, CHILD, 1, 1);
    grid_expect(g, "2: job 2 square\n"
                   "2: slice 2 job=2 0+1 attempt=1\n");
}

static void
what_it_breaks_costs_its_conversation_only(void **state)
{
    struct grid *g = executor(state, 1);

    grid_client(g, OTHER);
    job(g, CHILD, 1, 1);
    job(g, OTHER, 1, 1);
    grid_forget(g);
    assert_int_equal(
        grid_say(g, CHILD, &(struct message){.type = MESSAGE_SLICE, .slice = {.lease = 1}}), 0);
    grid_expect(g, "2.7: refused: a message that is not for clients to send\n"
                   "2: cancel job=1 0+1\n"
                   "2: job_end 1 total=1\n"
                   "2: job 2 square\n"
                   "2: slice 2 job=2 0+1 attempt=1\n");
    assert_int_equal(
        grid_say(g, OTHER,
                 &(struct message){.type = MESSAGE_PARKED, .parked = {.lease = 2, .parked = true}}),
        0);
    assert_non_null(strstr(grid_tape(g), "2.8: refused: "));
    assert_int_equal(grid_results(g, 2, 2, 2, 0, 1, 1000, NULL), 0); /* the worker is well */
}

static void
only_workers_carry_others(void **state)
{
    struct grid *g = *state;
    struct message m = {.type = MESSAGE_BEAT};

    grid_client(g, 1);
    grid_forget(g);
    assert_int_equal(grid_say(g, CARRIED(1, 7), &m), -1);
    grid_expect(g, "1: refused: only workers pass messages of other clients on\n");
    grid_client(g, 1);
    grid_forget(g);
    m = (struct message){.type = MESSAGE_HELLO,
                         .hello = {.role = ROLE_CLIENT, .protocol = LADLE_PROTOCOL, .name = ""}};
    assert_int_equal(grid_say(g, CARRIED(1, 7), &m), -1);
    grid_expect(g, "1: refused: only workers pass messages of other clients on\n");
}

static void
only_clients_are_carried(void **state)
{
    static const enum role roles[] = {ROLE_NONE, ROLE_WORKER, ROLE_EXECUTOR, ROLE_OPERATOR};
    struct grid *g = executor(state, 1);

    for (size_t i = 0; i < sizeof(roles) / sizeof(*roles); i++) {
        struct message m = {.type = MESSAGE_HELLO,
                            .hello = {.role = roles[i],
                                      .protocol = LADLE_PROTOCOL,
                                      .software = "",
                                      .name = "n",
                                      .host = "h",
                                      .slots = 8,
                                      .machine = "x86_64",
                                      .labels = ""}};

        assert_int_equal(grid_say(g, OTHER, &m), 0);
        grid_expect(g, "2.8: refused: only clients are to be reached through a worker\n");
    }
    job(g, CHILD, 1, 1);
    assert_non_null(strstr(grid_tape(g), "2: slice 1 "));
}

static void
a_flood_of_them_is_refused(void **state)
{
    struct grid *g = *state;
    unsigned welcome = 0;

    grid_worker(g, 2, "node", 1);
    for (uint32_t i = 1; i < 1000; i++) {
        uint32_t to;
        struct message m = {.type = MESSAGE_HELLO,
                            .hello = {.role = ROLE_CLIENT,
                                      .protocol = LADLE_PROTOCOL,
                                      .software = "",
                                      .name = "n",
                                      .host = "h"}};

        assert_int_equal(grid_say(g, CARRIED(2, i), &m), 0);
        while (scheduler_output(g->scheduler, &to, &m))
            welcome += m.type == MESSAGE_WELCOME && m.client != 0;
    }
    assert_in_range(welcome, LIMIT_EXECUTORS(1) + 1, 100); /* more than it may have executors */
    assert_int_equal(grid_say(g, CARRIED(2, 1), &(struct message){.type = MESSAGE_BYE, .text = ""}),
                     0);
    grid_client(g, CARRIED(2, 2000)); /* there is room again */
    assert_non_null(strstr(grid_tape(g), "2.2000: welcome "));
}

/* ---- coming and going ---------------------------------------------------------------------------
 */

static void
they_need_no_beats(void **state)
{
    struct grid *g = executor(state, 1);

    g->beats = true;
    for (int i = 0; i < 100; i++) {
        grid_beat(g, 2);
        grid_pass(g, 100000);
    }
    assert_null(strstr(grid_tape(g), "2.7:"));
    job(g, CHILD, 1, 1);
    assert_non_null(strstr(grid_tape(g), "2: slice 1 "));
}

/* What an executor says is a sign of life of its worker. */
static void
their_words_keep_the_worker(void **state)
{
    struct grid *g = executor(state, 1);

    for (int i = 0; i < 100; i++) {
        grid_beat(g, CHILD);
        grid_pass(g, 100000);
    }
    grid_expect(g, "");
}

static void
jobs_end_with_their_client(void **state)
{
    struct grid *g = executor(state, 1);

    grid_worker(g, 3, "other", 1);
    job(g, CHILD, 1, 3);
    grid_forget(g);
    grid_say(g, CHILD, &(struct message){.type = MESSAGE_BYE, .text = "its executor has ended"});
    grid_expect(g, "3: cancel job=1 0+3\n"
                   "2: cancel job=1 0+3\n"
                   "3: job_end 1 total=3\n"
                   "2: job_end 1 total=3\n");
}

static void
clients_end_with_their_worker(void **state)
{
    struct grid *g = executor(state, 1);

    grid_client(g, OTHER);
    grid_worker(g, 3, "other", 2);
    job(g, CHILD, 1, 2);
    job(g, OTHER, 1, 2);
    grid_forget(g);
    scheduler_gone(g->scheduler, 2, g->now);
    scheduler_check(g->scheduler);
    assert_non_null(strstr(grid_tape(g), "3: cancel job=1 0+2\n"));
    grid_say(g, CHILD, &(struct message){.type = MESSAGE_TAKEN});
    grid_expect(g, "2: bye: say hello first\n");
    grid_worker(g, 2, "node", 1); /* on the same connection, and it has other executors */
    grid_client(g, CARRIED(2, 9));
    grid_expect(g, "2: welcome node workers=2 slots=3\n"
                   "2.9: welcome program@node workers=2 slots=3\n");
}

static void
a_silent_worker_takes_them_along(void **state)
{
    struct grid *g = executor(state, 1);

    job(g, CHILD, 1, 2);
    grid_forget(g);
    grid_pass(g, 6000000);
    grid_expect(g, "2: bye: silent for 6 s\n");
}

static void
a_worker_that_connects_anew_brings_new_ones(void **state)
{
    struct grid *g = executor(state, 1);
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_WORKER,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "",
                                  .name = "node",
                                  .host = "there",
                                  .session = {2, 1},
                                  .slots = 1,
                                  .machine = "x86_64",
                                  .labels = ""}};

    job(g, CHILD, 1, 1);
    grid_forget(g);
    assert_int_equal(grid_say(g, 4, &m), 0); /* the same session on another connection */
    grid_client(g, CARRIED(4, 7));
    job(g, CARRIED(4, 7), 1, 1); /* told anew */
    grid_expect(g, "2: bye: your session said hello on another connection\n"
                   "4: welcome node workers=1 slots=1\n"
                   "4.7: welcome program@node workers=1 slots=1\n"
                   "4: job 2 square\n"
                   "4: slice 2 job=2 0+1 attempt=1\n");
}

static void
programs_are_asked_of_others(void **state)
{
    struct grid *g = executor(state, 1);
    struct message m = {.type = MESSAGE_PROGRAM_WANTED, .program_wanted = {.digest = "d"}};

    job(g, CHILD, 1, 1);
    grid_forget(g);
    grid_say(g, 2, &m);
    grid_expect(g, "2: program_part d at=0 bytes=0 of=0 no client that has it is connected\n");
    grid_client(g, 1);
    job(g, 1, 10, 1);
    grid_forget(g);
    grid_say(g, 2, &m);
    grid_expect(g, "1: program_wanted d at=0\n");
}

/* A broker that was started anew knows the client in the executor before that of its program. */
static void
a_program_may_start_once_its_client_has_come(void **state)
{
    struct grid *g = executor(state, 1);
    struct message m = {.type = MESSAGE_PROGRAM_FAILED,
                        .program_failed = {.digest = "d", .text = "nobody has it"}};

    job(g, CHILD, 1, 1);
    grid_forget(g);
    grid_say(g, 2, &m);
    grid_client(g, 1);
    grid_forget(g);
    job(g, 1, 10, 1);
    grid_expect(g, "1: accepted job=10 below=1\n");
    grid_results(g, 2, 1, 1, 0, 1, 1000, NULL);
    grid_expect(g, "2.7: results 0 job=1 0+1 attempt=1\n"
                   "2: job 2 square\n"
                   "2: slice 2 job=2 0+1 attempt=1\n");
}

/* ---- idle slots ---------------------------------------------------------------------------------
 */

static void
idle_slots_are_news_for_executors(void **state)
{
    struct grid *g = executor(state, 2);

    g->idle = true;
    grid_client(g, 1);
    grid_pass(g, 200000);
    grid_forget(g);
    job(g, 1, 10, 1); /* one less: they will see */
    grid_pass(g, 100000);
    grid_expect(g, "1: accepted job=10 below=1\n"
                   "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n");
    job(g, 1, 11, 1);
    grid_expect(g, "1: accepted job=11 below=1\n"
                   "2: job 2 square\n"
                   "2: slice 2 job=2 0+1 attempt=1\n"
                   "2.7: grid workers=1 slots=2 idle=0 grant=0\n");
    grid_results(g, 2, 1, 1, 0, 1, 1000, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"); /* not at once: it is told already */
    grid_results(g, 2, 2, 2, 0, 1, 1000, NULL);
    grid_pass(g, 1000);
    grid_expect(g, "1: results 0 job=11 0+1 attempt=1\n"
                   "2.7: grid workers=1 slots=2 idle=2 grant=0\n");
    grid_pass(g, 100000);
    grid_expect(g, "");
}

static void
slots_that_become_idle_again_are_news(void **state)
{
    struct grid *g = executor(state, 4);

    g->idle = true;
    job(g, CHILD, 1, 2);
    grid_pass(g, 100000);
    grid_forget(g);
    grid_results(g, 2, 1, 1, 0, 1, 1000, NULL); /* 2, then 3: it may have passed on two meanwhile */
    grid_pass(g, 1000);
    grid_expect(g, "2.7: results 0 job=1 0+1 attempt=1\n"
                   "2.7: grid workers=1 slots=4 idle=3 grant=0\n");
}

static void
news_of_a_large_grid_come_by_and_by(void **state)
{
    struct grid *g = *state;
    unsigned told = 0, most = 0;

    grid_worker(g, 2, "node", 200);
    for (uint32_t i = 1; i <= 200; i++)
        grid_client(g, CARRIED(2, i));
    for (int i = 0; i < 300; i++)
        grid_pass(g, 1000);
    grid_forget(g);
    grid_worker(g, 3, "more", 1); /* idle too */
    g->idle = true;
    (void)grid_tape(g);
    for (int i = 0; i < 20; i++) {
        unsigned now = 0;

        g->now += 1000;
        for (const char *at = grid_tape(g); (at = strstr(at, " idle=201 ")) != NULL; at++)
            now++;
        most = now > most ? now : most;
        told += now;
    }
    assert_in_range(told + 32, 200, 400);
    assert_in_range(most, 1, 200);
}

/* ---- status -------------------------------------------------------------------------------------
 */

static void
status_tells_what_waits_from_what_runs(void **state)
{
    struct grid *g = executor(state, 1);
    struct message m = {.type = MESSAGE_STATUS_WANTED};
    uint32_t to;

    grid_client(g, 1);
    job(g, 1, 10, 3);
    grid_tick(g);
    grid_park(g, 2, 1, true);
    grid_tick(g);
    grid_park(g, 2, 2, true);
    job(g, CHILD, 1, 1);
    grid_forget(g);
    assert_int_equal(grid_say(g, 1, &m), 0);
    assert_true(scheduler_output(g->scheduler, &to, &m));
    assert_int_equal(m.type, MESSAGE_STATUS);
    assert_int_equal(m.status.clients, 1);
    assert_int_equal(m.status.jobs, 2);
    assert_int_equal(m.status.worker_rows[0].busy, 1);
    assert_int_equal(m.status.worker_rows[0].queued, 1);
    assert_int_equal(m.status.worker_rows[0].parked, 2);
    assert_int_equal(m.status.job_rows[0].waiting, 1);
    assert_int_equal(m.status.job_rows[0].running, 0);
    assert_int_equal(m.status.job_rows[0].parked, 2);
    assert_int_equal(m.status.job_rows[1].running, 1);
    assert_string_equal(m.status.job_rows[1].client, "program@node");
}

int
main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, grid_setup, grid_teardown)
    const struct CMUnitTest tests[] = {
        STORY(a_client_in_an_executor_is_answered_through_its_worker),
        STORY(clients_of_one_worker_are_kept_apart),
        STORY(one_that_is_not_known_is_told_to_start_over),
        STORY(a_second_hello_starts_over),
        STORY(what_it_breaks_costs_its_conversation_only),
        STORY(only_workers_carry_others),
        STORY(only_clients_are_carried),
        STORY(a_flood_of_them_is_refused),
        STORY(they_need_no_beats),
        STORY(their_words_keep_the_worker),
        STORY(jobs_end_with_their_client),
        STORY(clients_end_with_their_worker),
        STORY(a_silent_worker_takes_them_along),
        STORY(a_worker_that_connects_anew_brings_new_ones),
        STORY(programs_are_asked_of_others),
        STORY(a_program_may_start_once_its_client_has_come),
        STORY(idle_slots_are_news_for_executors),
        STORY(slots_that_become_idle_again_are_news),
        STORY(news_of_a_large_grid_come_by_and_by),
        STORY(status_tells_what_waits_from_what_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
