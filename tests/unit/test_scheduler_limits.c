/* Memory and time that workers have, and tasks ask for; and workers that shall leave. */
#include "grid.h"

#include "../../proto/limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MIB (1ull << 20)
#define S 1000000

static unsigned known; /* peers below 16 */

static void
worker_labelled(struct grid *g, uint32_t peer, const char *name, uint32_t slots, uint64_t memory,
                uint64_t left_ms, const char *labels)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_WORKER,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "test",
                                  .name = name,
                                  .host = "there",
                                  .session = {(uint8_t)peer, 1, (uint8_t)(peer >> 8)},
                                  .slots = slots,
                                  .machine = "x86_64",
                                  .labels = labels,
                                  .memory = memory,
                                  .left_ms = left_ms}};

    assert_int_equal(grid_say(g, peer, &m), 0);
    known |= peer < 16 ? 1u << peer : 0;
}

static void
worker_with(struct grid *g, uint32_t peer, const char *name, uint32_t slots, uint64_t memory,
            uint64_t left_ms)
{
    worker_labelled(g, peer, name, slots, memory, left_ms, "");
}

static struct grid *
with_client(void **state)
{
    struct grid *g = *state;

    grid_client(g, 1);
    known = 1u << 1;
    grid_forget(g);
    return g;
}

/* A job of `count` tasks. */
static void
job_of(struct grid *g, uint64_t job, uint32_t count, uint64_t memory, int64_t timeout_ms,
       const char *function)
{
    struct spec spec = grid_spec();

    spec.memory = memory;
    spec.timeout_ms = timeout_ms;
    spec.function = function;
    grid_job(g, 1, job, &spec);
    grid_inputs(g, 1, job, 0, count);
}

/* Time passes, and all are heard of. */
static void
pass(struct grid *g, int64_t us)
{
    for (; us > 0; us -= S) {
        for (uint32_t peer = 1; peer < 16; peer++)
            if (known & 1u << peer)
                grid_beat(g, peer);
        grid_pass(g, us < S ? us : S);
    }
}

/* ---- memory ------------------------------------------------------------------------------------
 */

static void
a_task_goes_where_there_is_memory_for_it(void **state)
{
    struct grid *g = with_client(state);

    worker_with(g, 2, "small", 8, 100 * MIB, 0);
    worker_with(g, 3, "large", 1, 1000 * MIB, 0);
    grid_forget(g);
    job_of(g, 10, 1, 500 * MIB, 0, "square");
    grid_expect(g, "1: accepted job=10 below=1\n"
                   "3: job 1 square\n"
                   "3: slice 1 job=1 0+1 attempt=1\n");
}

static void
a_worker_is_given_what_fits_and_one_to_wait(void **state)
{
    struct grid *g = with_client(state);

    worker_with(g, 2, "n", 8, 1000 * MIB, 0);
    grid_forget(g);
    job_of(g, 10, 5, 400 * MIB, 0, "square");
    grid_expect(g, "1: accepted job=10 below=5\n"
                   "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n"
                   "2: slice 2 job=1 1+1 attempt=1\n"
                   "2: slice 3 job=1 2+1 attempt=1\n");
    job_of(g, 11, 1, 0, 0, "cube"); /* there are slots for what asks for no memory */
    grid_expect(g, "1: accepted job=11 below=1\n"
                   "2: job 2 cube\n"
                   "2: slice 4 job=2 0+1 attempt=1\n");
    grid_results(g, 2, 1, 1, 0, 1, S, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: slice 5 job=1 3+1 attempt=1\n");
}

static void
what_waits_for_memory_is_taken_for_a_worker_that_has_it(void **state)
{
    struct grid *g = with_client(state);

    worker_with(g, 2, "n", 8, 1000 * MIB, 0);
    job_of(g, 10, 2, 800 * MIB, 0, "square");
    pass(g, S);
    grid_forget(g);
    worker_with(g, 3, "m", 8, 1000 * MIB, 0);
    pass(g, S / 5);
    assert_non_null(strstr(grid_tape(g), "2: revoke 2 count=1\n"));
    grid_returned(g, 2, 2, 1, 1, RETURNED_REVOKED);
    grid_expect(g, "3: job 1 square\n"
                   "3: slice 3 job=1 1+1 attempt=1\n");
}

enum { MANY_FIRST = 16 }; /* peer */

/* So many workers that have no memory left, but slots, and a task that wants memory, in vain. The
 * tape is as they were filled. */
static void
fill_many(struct grid *g, unsigned count, bool labelled, char *tape, size_t size)
{
    char label[32] = "";

    for (unsigned i = 0; i < count; i++) {
        if (labelled)
            snprintf(label, sizeof(label), "node=%u", i);
        worker_labelled(g, MANY_FIRST + i, "n", 20, 100 * MIB, 0, label);
        if (i % 100 == 99)
            grid_forget(g);
    }
    grid_forget(g);
    job_of(g, 10, 2 * count, 100 * MIB, 0, "square"); /* one runs and one waits at each */
    snprintf(tape, size, "%s", grid_tape(g));
    job_of(g, 11, 1, 100 * MIB, 0, "cube");
    grid_expect(g, "1: accepted job=11 below=1\n");
}

/* Both tasks of that worker end. */
static void
end_both(struct grid *g, unsigned worker, char *tape)
{
    unsigned peer, index, given = 0;
    uint64_t lease;

    for (const char *line = strtok(tape, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (sscanf(line, "%u: slice %" SCNu64 " job=1 %u+1", &peer, &lease, &index) != 3 ||
            peer != worker)
            continue;
        given++;
        grid_results(g, worker, lease, 1, index, 1, S, NULL);
    }
    assert_int_equal(given, 2);
}

static void
expect_cube(struct grid *g, unsigned worker)
{
    char text[40];

    snprintf(text, sizeof(text), "\n%u: job 2 cube\n", worker);
    assert_non_null(strstr(grid_tape(g), text));
}

/* More workers than are looked at in one list. */
static void
who_got_memory_back_is_found_among_many(void **state)
{
    struct grid *g = with_client(state);
    char tape[1 << 16];

    fill_many(g, 40, false, tape, sizeof(tape));
    end_both(g, MANY_FIRST + 33, tape);
    expect_cube(g, MANY_FIRST + 33);
}

static void
who_got_memory_back_is_found_among_many_with_labels_of_their_own(void **state)
{
    struct grid *g = with_client(state);
    char tape[1 << 16];

    fill_many(g, 400, true, tape, sizeof(tape));
    end_both(g, MANY_FIRST + 200, tape);
    expect_cube(g, MANY_FIRST + 200);
}

/* Not all of them are looked at in one pass, and it stands behind them. */
static void
who_comes_with_memory_is_found_behind_many(void **state)
{
    struct grid *g = with_client(state);
    char tape[1 << 16];

    fill_many(g, 400, true, tape, sizeof(tape));
    worker_labelled(g, MANY_FIRST + 400, "n", 20, 100 * MIB, 0, "node=more");
    for (int i = 0; i < 3; i++)
        grid_pass(g, 20000);
    expect_cube(g, MANY_FIRST + 400);
}

static void
parked_tasks_leave_their_memory(void **state)
{
    struct grid *g = with_client(state);

    worker_with(g, 2, "n", 8, 1000 * MIB, 0);
    grid_forget(g);
    job_of(g, 10, 1, 1000 * MIB, 0, "square");
    grid_park(g, 2, 1, true);
    grid_forget(g);
    job_of(g, 11, 1, 1000 * MIB, 0, "cube");
    grid_expect(g, "1: accepted job=11 below=1\n"
                   "2: job 2 cube\n"
                   "2: slice 2 job=2 0+1 attempt=1\n");
    grid_park(g, 2, 1, false); /* more than there is, for a while */
    grid_results(g, 2, 1, 1, 0, 1, S, NULL);
    grid_results(g, 2, 2, 2, 0, 1, S, NULL);
    grid_forget(g);
}

static void
notice_tells_of_too_little_memory(void **state)
{
    struct grid *g = with_client(state);

    worker_with(g, 2, "n", 4, 1536 * MIB, 0);
    pass(g, S);
    job_of(g, 10, 1, 64ull << 30, 0, "square");
    grid_forget(g);
    pass(g, 2 * S);
    grid_expect(g, "1: notice job=10: no worker has 64.0 GiB of memory; the largest has 1.5 GiB\n");
}

/* ---- time --------------------------------------------------------------------------------------
 */

static void
what_cannot_end_in_time_is_not_begun(void **state)
{
    struct grid *g = with_client(state);

    worker_with(g, 2, "brief", 4, 0, 30000);
    pass(g, S);
    grid_forget(g);
    job_of(g, 10, 1, 0, 60000, "square");
    job_of(g, 11, 1, 0, 20000, "square"); /* it does not stand in the way of shorter ones */
    grid_expect(g, "1: accepted job=10 below=1\n"
                   "1: accepted job=11 below=1\n"
                   "2: job 2 square\n"
                   "2: slice 1 job=2 0+1 attempt=1\n");
    pass(g, 2 * S);
    grid_expect(g, "1: notice job=10: no worker that fits has the 60 s left that a task of it may "
                   "take by its timeout\n");
    worker_with(g, 3, "lasting", 1, 0, 3600000);
    pass(g, S);
    grid_expect(g, "3: welcome lasting workers=2 slots=5\n"
                   "1: grid workers=2 slots=5\n"
                   "3: job 1 square\n"
                   "3: slice 2 job=1 0+1 attempt=1\n");
}

static void
time_runs_out_while_a_task_waits(void **state)
{
    struct grid *g = with_client(state);

    worker_with(g, 2, "brief", 1, 0, 30000);
    pass(g, S);
    job_of(g, 10, 2, 0, 15000, "square");
    pass(g, 16 * S);
    grid_forget(g);
    grid_results(g, 2, 1, 1, 0, 1, 15 * S, NULL);
    pass(g, S);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"); /* and no slice */
}

static void
a_function_whose_time_is_known_needs_that(void **state)
{
    struct grid *g = with_client(state);

    worker_with(g, 3, "lasting", 1, 0, 0);
    job_of(g, 10, 1, 0, 0, "square");
    grid_forget(g);
    grid_results(g, 3, 1, 1, 0, 1, 8 * S, NULL);
    grid_say(g, 3, &(struct message){.type = MESSAGE_BYE, .text = ""});
    known = 1u << 1;
    worker_with(g, 2, "brief", 1, 0, 20000);
    pass(g, S);
    grid_forget(g);
    job_of(g, 11, 1, 0, 0, "square");
    grid_expect(g, "1: accepted job=11 below=1\n"
                   "2: job 2 square\n"
                   "2: slice 2 job=2 0+1 attempt=1\n");
    grid_results(g, 2, 2, 2, 0, 1, 8 * S, NULL);
    pass(g, 4 * S); /* 15 s are left, where 16 might be needed */
    grid_forget(g);
    job_of(g, 12, 1, 0, 0, "square");
    grid_expect(g, "1: accepted job=12 below=1\n");
}

static void
an_unknown_function_is_tried_in_the_first_half(void **state)
{
    struct grid *g = with_client(state);

    worker_with(g, 2, "brief", 2, 0, 20000);
    pass(g, 9 * S);
    grid_forget(g);
    job_of(g, 10, 1, 0, 0, "square");
    grid_expect(g, "1: accepted job=10 below=1\n"
                   "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n");
    pass(g, 2 * S);
    grid_forget(g);
    job_of(g, 11, 1, 0, 0, "cube");
    grid_expect(g, "1: accepted job=11 below=1\n");
    pass(g, 3 * S);
    grid_expect(g, "1: notice job=11: nobody knows how long cube takes, and all workers that fit "
                   "are in the last half of their time limits\n");
}

static void
who_will_not_wait_is_rejected(void **state)
{
    struct grid *g = with_client(state);
    struct spec spec = grid_spec();

    worker_with(g, 2, "brief", 1, 0, 30000);
    pass(g, S);
    spec.timeout_ms = 60000;
    spec.fail_if_unknown = true;
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 1);
    grid_forget(g);
    pass(g, 3 * S);
    assert_non_null(strstr(grid_tape(g), "1: ended job=10 0+1 REJECTED attempt=0 : no worker that "
                                         "fits has the 60 s left"));
}

static void
slices_end_in_time_too(void **state)
{
    struct grid *g = with_client(state);
    unsigned lease, first, count = 1;
    const char *at;

    worker_with(g, 3, "lasting", 1, 0, 0);
    job_of(g, 10, 4000, 0, 0, "square");
    /* 1 ms each: slices grow to what takes 25 ms. */
    while (count < 20) {
        at = strstr(grid_tape(g), "3: slice ");
        assert_non_null(at);
        assert_int_equal(sscanf(at, "3: slice %u job=1 %u+%u", &lease, &first, &count), 3);
        grid_returned(g, 3, lease + 1, 0, 0, RETURNED_REVOKED);
        grid_results(g, 3, lease, 1, first, count, count * 1000ull, NULL);
    }
    worker_with(g, 2, "brief", 1, 0, 20); /* 10 of them, with a margin */
    at = strstr(grid_tape(g), "2: slice ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "2: slice %u job=1 %u+%u", &lease, &first, &count), 3);
    assert_in_range(count, 5, 10);
}

/* ---- leaving -----------------------------------------------------------------------------------
 */

static struct message
drain(const char *name, int64_t grace_ms)
{
    return (struct message){.type = MESSAGE_DRAIN, .drain = {.worker = name, .grace_ms = grace_ms}};
}

static void
operator_comes(struct grid *g, uint32_t peer)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_OPERATOR,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "test",
                                  .name = "ladle drain",
                                  .host = "here",
                                  .machine = "",
                                  .labels = ""}};

    assert_int_equal(grid_say(g, peer, &m), 0);
    grid_forget(g);
}

static void
an_operator_drains_a_worker(void **state)
{
    struct grid *g = with_client(state);
    struct message m = drain("node", 5000);

    worker_with(g, 2, "node", 1, 0, 0);
    operator_comes(g, 4);
    grid_say(g, 4, &m);
    job_of(g, 10, 1, 0, 0, "square"); /* no more for it, from now on */
    grid_expect(g, "2: drain grace=5000\n"
                   "4: drain_answer node accepted \n"
                   "1: accepted job=10 below=1\n");
    pass(g, S);
    grid_forget(g);
    m = drain("node", -1);
    grid_say(g, 4, &m); /* again */
    grid_expect(g, "2: drain grace=-1\n"
                   "4: drain_answer node accepted \n");
}

static void
only_operators_drain_and_only_workers_that_there_are(void **state)
{
    struct grid *g = with_client(state);
    struct message m = drain("moon", -1);

    operator_comes(g, 4);
    grid_say(g, 4, &m);
    grid_expect(g, "4: drain_answer moon refused no worker is called moon: none is connected\n");
    worker_with(g, 2, "node", 1, 0, 0);
    worker_with(g, 3, "node", 1, 0, 0);
    grid_forget(g);
    grid_say(g, 4, &m);
    assert_non_null(strstr(grid_tape(g), "4: drain_answer moon refused no worker is called moon: "
                                         "there are node, node-2\n"));
    m = drain("node", -1);
    assert_int_equal(grid_say(g, 1, &m), -1);
    assert_non_null(strstr(grid_tape(g), "1: refused: only operators drain workers\n"));
}

static void
what_a_worker_that_said_goodbye_had_costs_nothing(void **state)
{
    struct grid *g = with_client(state);
    char expected[100];

    job_of(g, 10, 1, 0, 0, "square");
    for (uint64_t lease = 1; lease <= 20; lease++) {
        worker_with(g, 2, "node", 1, 0, 0);
        snprintf(expected, sizeof(expected), "2: slice %u job=1 0+1 attempt=1\n", (unsigned)lease);
        assert_non_null(strstr(grid_tape(g), expected));
        grid_say(g, 2, &(struct message){.type = MESSAGE_BYE, .text = "drained"});
    }
}

int
main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, grid_setup, grid_teardown)
    const struct CMUnitTest tests[] = {
        STORY(a_task_goes_where_there_is_memory_for_it),
        STORY(a_worker_is_given_what_fits_and_one_to_wait),
        STORY(what_waits_for_memory_is_taken_for_a_worker_that_has_it),
        STORY(who_got_memory_back_is_found_among_many),
        STORY(who_got_memory_back_is_found_among_many_with_labels_of_their_own),
        STORY(who_comes_with_memory_is_found_behind_many),
        STORY(parked_tasks_leave_their_memory),
        STORY(notice_tells_of_too_little_memory),
        STORY(what_cannot_end_in_time_is_not_begun),
        STORY(time_runs_out_while_a_task_waits),
        STORY(a_function_whose_time_is_known_needs_that),
        STORY(an_unknown_function_is_tried_in_the_first_half),
        STORY(who_will_not_wait_is_rejected),
        STORY(slices_end_in_time_too),
        STORY(an_operator_drains_a_worker),
        STORY(only_operators_drain_and_only_workers_that_there_are),
        STORY(what_a_worker_that_said_goodbye_had_costs_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
