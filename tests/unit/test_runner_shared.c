/* test_runner_shared.c - jobs whose tasks may ask for constants: they wait until these are there.
 */
#include "bench.h"

#include "../../base/clock.h"
#include "../../proto/limits.h"

#include <stdio.h>
#include <string.h>

/* A grid's worker, with a program that is there. */
static struct bench *
open_grid(unsigned slots)
{
    return open_bench((struct runner_config){.slots = slots});
}

/* A job of program "p" that has these constants, empty ones beside them; NULL: one or none. */
static void
job_of(struct bench *b, uint64_t id, const char *first, const char *second)
{
    struct shared shared[3] = {{.name = "first", .size = 1, .path = "/etc/shadow"},
                               {.name = "empty", .digest = "empty", .size = 0},
                               {.name = "second", .size = 2}};
    struct spec spec = {.program = {.digest = "p", .name = "p"}, .shared = shared};

    snprintf(shared[0].digest, sizeof(shared[0].digest), "%s", first != NULL ? first : "");
    snprintf(shared[2].digest, sizeof(shared[2].digest), "%s", second != NULL ? second : "");
    spec.nshared = first == NULL ? 0 : second == NULL ? 2 : 3;
    job_with(b, id, spec);
}

static void
job_end(struct bench *b, uint64_t id)
{
    give(b, &(struct message){.type = MESSAGE_JOB_END, .job_end = {.job = id}});
}

static void
unshare(struct bench *b, const char *digest)
{
    give(b, &(struct message){.type = MESSAGE_UNSHARE, .share = {.digest = digest}});
}

static void
program_is_there(struct bench *b)
{
    runner_program_ready(b->runner, "p", b->now);
    after(b, 0);
}

static void
is_there(struct bench *b, const char *digest)
{
    char path[32];

    snprintf(path, sizeof(path), "/cache/%s", digest);
    runner_shared_ready(b->runner, digest, path, b->now);
    after(b, 0);
}

static void
cannot_be_had(struct bench *b, const char *digest, bool again)
{
    runner_shared_failed(b->runner, digest, "no room", again, b->now);
    after(b, 0);
}

static void
slices_wait_until_all_constants_are_there(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    job_of(b, 1, "x", "y");
    slice(b, 1, 0, 2);
    expect(b, "want shared x\nwant shared y\nwant p\n");
    slice(b, 2, 2, 1);
    program_is_there(b);
    is_there(b, "y");
    expect(b, "");
    is_there(b, "x");
    expect(b, "start 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job first=/cache/x empty= second=/cache/y\n0: slice 0+2\n");
    assert_true(runner_shared_used(b->runner, "x"));
    ends(b, 0, 0, 2);
    ends(b, 0, 0, 1);
    forget(b);
    assert_false(runner_shared_used(b->runner, "x")); /* it may be evicted ... */
    slice(b, 3, 3, 1);
    expect(b, "want shared x\nwant shared y\n"); /* ... so that it is looked for again */
    is_there(b, "x");
    is_there(b, "y");
    expect(b, "0: slice 3+1\n");
    close_bench(b);
}

static void
other_jobs_do_not_wait(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    job_of(b, 1, "x", NULL);
    job_of(b, 2, NULL, NULL);
    slice(b, 1, 0, 1);
    slice_of(b, 2, 2, 0, 1);
    program_is_there(b);
    expect(b, "want shared x\nwant p\nstart 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 0+1\n");
    ends_as(b, 0, 0, 1, 1, OUTCOME_DONE);
    expect(b, "-> lease 2: 0 DONE\n");
    is_there(b, "x");
    expect(b, "0: job first=/cache/x empty=\n0: slice 0+1\n");
    slice_of(b, 2, 3, 1, 1); /* short ones wait in the executor */
    job_of(b, 3, "z", NULL);
    ends_as(b, 0, 0, 1, 1, OUTCOME_DONE);
    forget(b);
    slice_of(b, 3, 4, 0, 1); /* but not one whose constant is not there */
    expect(b, "want shared z\n");
    close_bench(b);
}

static void
slices_whose_constant_cannot_be_had_are_returned(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    job_of(b, 1, "x", "y");
    job_of(b, 2, "y", NULL);
    slice(b, 1, 0, 2);
    slice_of(b, 2, 2, 0, 1);
    program_is_there(b);
    is_there(b, "y");
    forget(b);
    cannot_be_had(b, "x", false);
    expect(b, "-> program failed: no room\n-> lease 1: returned 0+2 why 2\n");
    assert_string_equal(b->failed, "x");
    slice(b, 3, 2, 1); /* and what still comes */
    expect(b, "-> program failed: no room\n-> lease 3: returned 2+1 why 2\n");
    hello(b, 0); /* the other job runs */
    expect(b, "0: welcome\n0: job first=/cache/y empty=\n0: slice 0+1\n");
    job_end(b, 1);
    job_of(b, 4, "x", NULL); /* by then there may be room */
    slice_of(b, 4, 5, 0, 1);
    expect(b, "want shared x\n");
    cannot_be_had(b, "x", true);
    expect(b, "-> program failed: no room\n-> lease 5: returned 0+1 why 2\n");
    slice_of(b, 4, 6, 0, 1);
    expect(b, "want shared x\n");
    close_bench(b);
}

static void
job_that_ended_meanwhile_goes_with_what_failed(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    job_of(b, 1, "x", NULL);
    slice(b, 1, 0, 1);
    slice(b, 2, 1, 1);
    forget(b);
    cannot_be_had(b, "x", true);
    job_end(b, 1);
    is_there(b, "x"); /* too late, and nobody's */
    cannot_be_had(b, "x", true);
    expect(b, "-> program failed: no room\n"
              "-> lease 1: returned 0+1 why 2\n-> lease 2: returned 1+1 why 2\n");
    close_bench(b);
}

static void
constant_that_nobody_needs_is_dropped_after_its_last_job(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    unshare(b, "w");
    expect(b, "drop shared w\n"); /* of a job that has ended */
    job_of(b, 1, "x", NULL);
    slice(b, 1, 0, 1);
    program_is_there(b);
    is_there(b, "x");
    hello(b, 0);
    starts(b, 0, 0);
    forget(b);
    job_end(b, 1);
    unshare(b, "x");
    expect(b, "0: cancel 0+4294967295\n"); /* the task runs until it hears that */
    dies(b, 0, "crash");
    assert_non_null(strstr(b->history, "drop shared x\n"));
    forget(b);

    job_of(b, 2, "x", NULL);
    unshare(b, "x");
    job_of(b, 3, "x", NULL); /* comes in time */
    job_end(b, 2);
    expect(b, "");
    job_end(b, 3);
    expect(b, "");
    unshare(b, "x");
    expect(b, "drop shared x\n");
    close_bench(b);
}

static void
new_connection_forgets_what_was_asked_for(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    job_of(b, 1, "x", "y");
    slice(b, 1, 0, 1);
    program_is_there(b);
    is_there(b, "x");
    forget(b);
    runner_reset(b->runner, b->now);
    after(b, 0);
    expect(b, "");
    job_of(b, 1, "x", "y");
    slice(b, 1, 0, 1);
    expect(b, "want shared x\nwant shared y\nwant p\n");
    close_bench(b);
}

static void
local_pool_waits_for_nothing(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    job_of(b, 2, "x", NULL);
    slice_of(b, 2, 1, 0, 1);
    expect(b, "0: job first=/etc/shadow empty=\n0: slice 0+1\n"); /* as its client says */
    unshare(b, "x");
    expect(b, "drop shared x\n");
    close_bench(b);
}

static void
one_content_may_have_two_names(void **state)
{
    struct bench *b = open_grid(1);

    (void)state;
    job_of(b, 1, "x", "x");
    slice(b, 1, 0, 1);
    program_is_there(b);
    expect(b, "want shared x\nwant p\n");
    is_there(b, "x");
    hello(b, 0);
    expect(b, "start 0 p\n0: welcome\n0: job first=/cache/x empty= second=/cache/x\n"
              "0: slice 0+1\n");
    ends(b, 0, 0, 1);
    job_end(b, 1);
    assert_false(runner_shared_used(b->runner, "x"));
    close_bench(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_wait_until_all_constants_are_there),
        cmocka_unit_test(other_jobs_do_not_wait),
        cmocka_unit_test(slices_whose_constant_cannot_be_had_are_returned),
        cmocka_unit_test(job_that_ended_meanwhile_goes_with_what_failed),
        cmocka_unit_test(constant_that_nobody_needs_is_dropped_after_its_last_job),
        cmocka_unit_test(new_connection_forgets_what_was_asked_for),
        cmocka_unit_test(local_pool_waits_for_nothing),
        cmocka_unit_test(one_content_may_have_two_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
