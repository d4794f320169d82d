/* test_contents.c - shared constants in the scheduler: who can be asked for them, which workers are
 * told to drop them, and what becomes of jobs whose constants cannot be had. */
#include "grid.h"

#include "../../proto/limits.h"
#include "tape.h"

#include <stdio.h>
#include <string.h>

static struct grid *
with_client(void **state)
{
    struct grid *g = *state;

    grid_client(g, 1);
    return g;
}

static void
share(struct grid *g, uint32_t client, const char *digest)
{
    struct message m = {.type = MESSAGE_SHARE, .share = {.digest = digest, .size = 5}};

    assert_int_equal(grid_say(g, client, &m), 0);
}

static void
unshare(struct grid *g, uint32_t client, const char *digest)
{
    struct message m = {.type = MESSAGE_UNSHARE, .share = {.digest = digest}};

    assert_int_equal(grid_say(g, client, &m), 0);
}

/* A job of one task that may ask for these constants; NULL: for one or none. */
static void
job(struct grid *g, uint32_t client, uint64_t id, const char *first, const char *second)
{
    struct shared shared[2] = {{.name = "a", .size = 5}, {.name = "b", .size = 5}};
    struct spec spec = grid_spec();

    snprintf(shared[0].digest, sizeof(shared[0].digest), "%s", first != NULL ? first : "");
    snprintf(shared[1].digest, sizeof(shared[1].digest), "%s", second != NULL ? second : "");
    spec.shared = shared;
    spec.nshared = first == NULL ? 0 : second == NULL ? 1 : 2;
    grid_job(g, client, id, &spec);
    grid_inputs(g, client, id, 0, 1);
    grid_end(g, client, id, 1);
}

static void
want(struct grid *g, uint32_t worker, const char *digest, uint64_t offset)
{
    struct message m = {.type = MESSAGE_PROGRAM_WANTED, .program_wanted = {digest, offset}};

    assert_int_equal(grid_say(g, worker, &m), 0);
}

static void
give(struct grid *g, uint32_t client, const char *digest)
{
    struct message m = {.type = MESSAGE_PROGRAM_PART,
                        .program_part = {.digest = digest, .size = 5, .text = ""}};
    struct blob *data = blob_copy("12345", 5);

    m.program_part.columns = (struct columns){.count = 1, .size = 5, .data = data, .length = 5};
    assert_int_equal(grid_say(g, client, &m), 0);
    blob_unref(data);
}

static void
cannot_give(struct grid *g, uint32_t client, const char *digest)
{
    struct message m = {.type = MESSAGE_PROGRAM_PART,
                        .program_part = {.digest = digest, .text = "no memory"}};

    m.program_part.columns.count = 1;
    assert_int_equal(grid_say(g, client, &m), 0);
}

static void
leave(struct grid *g, uint32_t client)
{
    assert_int_equal(grid_say(g, client, &(struct message){.type = MESSAGE_BYE, .text = ""}), 0);
}

static void
cannot_keep(struct grid *g, uint32_t worker, const char *digest, uint64_t lease)
{
    struct message m = {.type = MESSAGE_PROGRAM_FAILED,
                        .program_failed = {.digest = digest, .text = "constant 'a': no room"}};

    assert_int_equal(grid_say(g, worker, &m), 0);
    assert_int_equal(grid_returned(g, worker, lease, 0, 1, RETURNED_PROGRAM), 0);
}

static void
constant_is_dropped_when_it_is_neither_shared_nor_needed(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    grid_worker(g, 3, "b", 1);
    share(g, 1, "x");
    job(g, 1, 10, "x", NULL);
    grid_pass(g, 200000);
    grid_forget(g);
    grid_results(g, 2, 1, 1, 0, 1, 10, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: job_end 1 total=1\n"); /* jobs to come may need it */
    unshare(g, 1, "x");
    grid_expect(g, "2: unshare x\n"); /* and not the one that never had it */
    unshare(g, 1, "x");
    grid_expect(g, "");
}

static void
job_keeps_its_constant_though_it_is_unshared(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    share(g, 1, "x");
    job(g, 1, 10, "x", "y"); /* y was never announced: the job says enough */
    grid_pass(g, 200000);
    grid_forget(g);
    unshare(g, 1, "x");
    grid_expect(g, "");
    want(g, 2, "x", 0);
    want(g, 2, "y", 0);
    grid_expect(g, "1: program_wanted x at=0\n"
                   "1: program_wanted y at=0\n");
    give(g, 1, "x");
    grid_forget(g);
    grid_results(g, 2, 1, 1, 0, 1, 10, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: job_end 1 total=1\n"
                   "2: unshare y\n"
                   "2: unshare x\n");
}

static void
constant_of_two_clients_stays_for_the_other(void **state)
{
    struct grid *g = with_client(state);

    grid_client(g, 4);
    grid_worker(g, 2, "a", 1);
    share(g, 1, "x");
    share(g, 4, "x");
    job(g, 1, 10, "x", NULL);
    grid_pass(g, 200000);
    grid_results(g, 2, 1, 1, 0, 1, 10, NULL);
    grid_forget(g);
    want(g, 2, "x", 0);
    grid_expect(g, "1: program_wanted x at=0\n");
    leave(g, 1);
    grid_expect(g, "4: program_wanted x at=0\n");
    leave(g, 4);
    grid_expect(g, "2: unshare x\n"
                   "2: program_part x at=0 bytes=0 of=0 its client has gone\n");
}

static void
jobs_of_a_client_that_goes_end_before_their_constants(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    share(g, 1, "x");
    job(g, 1, 10, "x", NULL);
    grid_pass(g, 200000);
    grid_forget(g);
    leave(g, 1);
    grid_expect(g, "2: cancel job=1 0+1\n"
                   "2: job_end 1 total=1\n"
                   "2: unshare x\n");
}

/* Beats, so that nobody else is lost. */
static void
pass(struct grid *g, int64_t us)
{
    for (; us > 0; us -= 1000000) {
        grid_beat(g, 2);
        grid_pass(g, 1000000);
    }
}

static void
client_that_vanished_has_time_to_come_back(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    share(g, 1, "x");
    job(g, 1, 10, "x", NULL);
    grid_pass(g, 200000);
    grid_results(g, 2, 1, 1, 0, 1, 10, NULL);
    scheduler_gone(g->scheduler, 1, g->now);
    grid_forget(g);
    pass(g, 3000000);
    grid_client(g, 1);
    share(g, 1, "x");
    grid_pass(g, 200000);
    grid_forget(g);
    for (int i = 0; i < 10; i++) {
        grid_beat(g, 1);
        pass(g, 1000000);
    }
    grid_expect(g, "");
    scheduler_gone(g->scheduler, 1, g->now);
    pass(g, 5000000);
    grid_expect(g, "");
    pass(g, 2000000); /* 6 s are enough */
    grid_expect(g, "2: unshare x\n");
    want(g, 2, "x", 0);
    grid_expect(g, "2: program_part x at=0 bytes=0 of=0 no client that has it is connected\n");
}

static void
worker_that_came_again_is_not_taken_for_one_that_has_it(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    share(g, 1, "x");
    job(g, 1, 10, "x", NULL);
    grid_pass(g, 200000);
    grid_results(g, 2, 1, 1, 0, 1, 10, NULL);
    scheduler_gone(g->scheduler, 2, g->now);
    grid_worker(g, 3, "a", 1);
    grid_forget(g);
    unshare(g, 1, "x");
    grid_expect(g, "");
}

static void
executors_are_not_asked_for_what_their_tasks_inherit(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 2);
    job(g, 1, 10, "x", NULL);
    grid_pass(g, 200000);
    grid_client(g, CARRIED(2, 1));
    job(g, CARRIED(2, 1), 1, "x", NULL);
    grid_pass(g, 200000);
    grid_forget(g);
    want(g, 2, "x", 0);
    grid_expect(g, "1: program_wanted x at=0\n");
    cannot_give(g, 1, "x");
    grid_expect(g, "2: program_part x at=0 bytes=0 of=0 no memory\n");
}

static void
what_cannot_be_kept_somewhere_goes_elsewhere_and_hurts_nobody_else(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    job(g, 1, 10, "x", NULL);
    grid_pass(g, 200000);
    grid_forget(g);
    cannot_keep(g, 2, "x", 1);
    grid_expect(g, "1: ended job=10 0+1 REJECTED attempt=0 : the program cannot start on worker a: "
                   "constant 'a': no room\n"
                   "2: job_end 1 total=1\n"
                   "2: unshare x\n");
    job(g, 1, 11, "y", NULL); /* the same program */
    grid_pass(g, 200000);
    grid_expect(g, "1: accepted job=11 below=1\n"
                   "2: job 2 square\n"
                   "2: slice 2 job=2 0+1 attempt=1\n");
    grid_results(g, 2, 2, 2, 0, 1, 10, NULL);
    job(g, 1, 12, NULL, NULL);
    grid_forget(g);
    grid_results(g, 2, 3, 3, 0, 1, 10, NULL);
    grid_worker(g, 3, "b", 1);
    job(g, 1, 13, "x", NULL);
    grid_pass(g, 200000);
    assert_non_null(strstr(grid_tape(g), "3: job 4 square\n")); /* there, and not on a */
}

static void
damaged_parts_are_not_handed_out_again(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    grid_worker(g, 3, "b", 1);
    job(g, 1, 10, "x", NULL);
    grid_pass(g, 200000);
    want(g, 2, "x", 0);
    give(g, 1, "x");
    grid_forget(g);
    cannot_keep(g, 2, "x", 1);
    grid_forget(g);
    want(g, 3, "x", 0);
    grid_expect(g, "1: program_wanted x at=0\n");
}

static void
program_that_cannot_start_keeps_jobs_with_constants_away_too(void **state)
{
    struct grid *g = with_client(state);

    grid_worker(g, 2, "a", 1);
    job(g, 1, 10, "x", NULL);
    grid_pass(g, 200000);
    grid_worker(g, 3, "b", 1);
    grid_forget(g);
    cannot_keep(g, 2, "d", 1); /* "d" is the program itself */
    grid_expect(g, "3: job 1 square\n"
                   "3: slice 2 job=1 0+1 attempt=1\n");
    grid_results(g, 3, 2, 1, 0, 1, 10, NULL);
}

static void
too_many_constants_are_refused(void **state)
{
    struct grid *g = with_client(state);
    struct message m = {.type = MESSAGE_SHARE, .share = {.digest = "one more"}};
    char digest[16];

    for (int i = 0; i < LIMIT_SHARED; i++) {
        snprintf(digest, sizeof(digest), "%d", i);
        share(g, 1, digest);
    }
    share(g, 1, "7"); /* again: not one more */
    unshare(g, 1, "8");
    share(g, 1, "8");
    assert_int_equal(grid_say(g, 1, &m), -1);
    assert_non_null(strstr(scheduler_why(g->scheduler), "64 shared constants"));
}

int
main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, grid_setup, grid_teardown)
    const struct CMUnitTest tests[] = {
        STORY(constant_is_dropped_when_it_is_neither_shared_nor_needed),
        STORY(job_keeps_its_constant_though_it_is_unshared),
        STORY(constant_of_two_clients_stays_for_the_other),
        STORY(jobs_of_a_client_that_goes_end_before_their_constants),
        STORY(client_that_vanished_has_time_to_come_back),
        STORY(worker_that_came_again_is_not_taken_for_one_that_has_it),
        STORY(executors_are_not_asked_for_what_their_tasks_inherit),
        STORY(what_cannot_be_kept_somewhere_goes_elsewhere_and_hurts_nobody_else),
        STORY(damaged_parts_are_not_handed_out_again),
        STORY(program_that_cannot_start_keeps_jobs_with_constants_away_too),
        STORY(too_many_constants_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
