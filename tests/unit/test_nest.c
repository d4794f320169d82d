#include "../../client/nest.h"

#include "../../base/clock.h"
#include "../../client/serve.h"
#include "../../proto/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MS = 1000, NS = 1000 };

static int
work(task_t *task)
{
    (void)task;
    return 0;
}
TASK(work)

static int
play(task_t *task)
{
    (void)task;
    return 0;
}
TASK(play)

/* ---- sessions ---------------------------------------------------------------------------------
 */

static struct spec root = {.program = {.digest = "d1",
                                       .name = "prog",
                                       .machine = "x86_64",
                                       .arguments = "prog",
                                       .arguments_size = 5},
                           .function = "work"};

struct fixture {
    struct nest nest;
    struct nest_session sessions[4];
    int64_t now;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_int_equal(nest_init(&f->nest), 0);
    strcpy(f->nest.worker, "here");
    for (int i = 0; i < 4; i++)
        nest_open(&f->nest, &f->sessions[i], core_new(), &root, false);
    f->now = 1000;
    *state = f;
    return 0;
}

static void
close_session(struct fixture *f, int i)
{
    struct core *core = f->sessions[i].core;

    if (core == NULL)
        return;
    nest_close(&f->nest, &f->sessions[i]);
    core_free(core);
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    nest_check(&f->nest);
    for (int i = 0; i < 4; i++)
        close_session(f, i);
    nest_check(&f->nest);
    nest_fini(&f->nest);
    free(f);
    return 0;
}

/* A map of `count` tasks in session i; its inputs are the numbers from 0 on. */
static struct job *
map(struct fixture *f, int i, uint32_t count, const struct spec *options)
{
    struct spec spec = *options;
    struct blob *data = blob_new(count * sizeof(uint32_t));
    struct job *j;

    if (spec.function == NULL)
        spec.function = "work";
    for (uint32_t k = 0; k < count; k++)
        memcpy(data->bytes + k * sizeof(k), &k, sizeof(k));
    j = core_job(f->sessions[i].core, &spec, f->now);
    j->keep_arrived = true;
    assert_int_equal(
        core_append_blob(f->sessions[i].core, j, data, data->size, count, sizeof(uint32_t), NULL),
        0);
    core_close(f->sessions[i].core, j);
    nest_pull(&f->nest, &f->sessions[i], f->now);
    nest_check(&f->nest);
    return j;
}

static const struct spec plain = {.cpus = 1};

/* Run the next task for so long; its result is its input. Returns the index. */
static uint64_t
run_as(struct fixture *f, int session, int64_t ns, enum outcome outcome)
{
    struct nest_task t;
    uint64_t index;

    assert_true(nest_next(&f->nest, &t));
    assert_ptr_equal(t.job->session, &f->sessions[session]);
    assert_int_equal(*(uint32_t *)(void *)(t.data->bytes + t.offset), t.index);
    f->now += ns / 1000;
    index = t.index;
    nest_result(&f->nest, &t, outcome, t.data->bytes + t.offset, t.size, NULL, ns, f->now);
    nest_check(&f->nest);
    return index;
}

static uint64_t
run(struct fixture *f, int session, int64_t ns)
{
    return run_as(f, session, ns, OUTCOME_DONE);
}

static void
tell(struct fixture *f, const struct message *m)
{
    assert_int_equal(nest_input(&f->nest, m, f->now), 0);
    nest_check(&f->nest);
}

static void
welcome(struct fixture *f, uint32_t slots)
{
    tell(f, &(struct message){
                .type = MESSAGE_WELCOME,
                .welcome = {.instance = 7, .window = WINDOW_CLIENT, .workers = 1, .slots = slots}});
}

static void
grid(struct fixture *f, uint32_t slots, uint32_t idle)
{
    tell(f, &(struct message){.type = MESSAGE_GRID,
                              .grid = {.workers = 1, .slots = slots, .idle = idle}});
}

/* The next message to the broker is of this type. */
static struct message
expect(struct fixture *f, enum message_type type)
{
    struct message m;

    assert_true(nest_output(&f->nest, &m, f->now));
    assert_string_equal(message_name(m.type), message_name(type));
    return m;
}

static void
expect_nothing(struct fixture *f)
{
    struct message m;

    if (nest_output(&f->nest, &m, f->now))
        fail_msg("there is a %s", message_name(m.type));
}

/* An exported job: its number, with the first task and how many there are. */
static uint64_t
expect_export(struct fixture *f, uint64_t base, uint32_t count)
{
    struct message m = expect(f, MESSAGE_JOB);
    uint64_t job = m.job.job;
    uint32_t first;

    assert_string_equal(m.job.spec->program.digest, "d1");
    assert_int_equal(m.job.spec->program.arguments_size, 5);
    assert_int_equal(m.job.spec->base, base);
    m = expect(f, MESSAGE_INPUTS);
    assert_int_equal(m.inputs.job, job);
    assert_int_equal(m.inputs.first, 0);
    assert_int_equal(m.inputs.columns.count, count);
    memcpy(&first, m.inputs.columns.data->bytes + m.inputs.columns.at, sizeof(first));
    assert_int_equal(first, base);
    m = expect(f, MESSAGE_JOB_END);
    assert_int_equal(m.job_end.total, count);
    return job;
}

static void
answer(struct fixture *f, uint64_t job, uint64_t first, uint32_t count)
{
    struct blob *data = blob_new(count);

    memset(data->bytes, 'r', count);
    tell(f,
         &(struct message){
             .type = MESSAGE_RESULTS,
             .results = {.job = job,
                         .first = first,
                         .attempt = 1,
                         .worker = "there",
                         .columns = {.count = count, .size = 1, .data = data, .length = count}}});
    blob_unref(data);
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void
newest_session_goes_first(void **state)
{
    struct fixture *f = *state;
    struct nest_task t;

    map(f, 0, 2, &plain);
    map(f, 2, 1, &plain);
    map(f, 1, 2, &plain);
    assert_int_equal(run(f, 2, 10 * NS), 0);
    assert_int_equal(run(f, 1, 10 * NS), 0);
    assert_int_equal(run(f, 1, 10 * NS), 1);
    assert_int_equal(run(f, 0, 10 * NS), 0);
    assert_int_equal(run(f, 0, 10 * NS), 1);
    assert_false(nest_next(&f->nest, &t));
    expect_nothing(f);
}

static void
larger_priority_goes_first(void **state)
{
    struct fixture *f = *state;
    struct job *low = map(f, 0, 2, &plain), *high;

    high = map(f, 0, 1, &(struct spec){.cpus = 1, .priority = 3});
    assert_int_equal(run(f, 0, 10 * NS), 0);
    nest_flush(&f->nest);
    assert_int_equal(high->ended, 1);
    assert_int_equal(low->ended, 0);
}

static void
results_of_neighbours_are_told_together(void **state)
{
    struct fixture *f = *state;
    struct job *j = map(f, 0, 3, &plain);

    run(f, 0, 10 * NS);
    run(f, 0, 10 * NS);
    assert_int_equal(j->ended, 0);
    assert_null(nest_news(&f->nest));
    run(f, 0, 10 * NS);
    assert_int_equal(j->ended, 3);
    assert_ptr_equal(nest_news(&f->nest), &f->sessions[0]);
    assert_int_equal(TAILQ_FIRST(&j->arrived)->count, 3);
}

static void
slow_results_are_told_at_once(void **state)
{
    struct fixture *f = *state;
    struct job *j = map(f, 0, 3, &plain);

    run(f, 0, 2000 * NS);
    assert_int_equal(j->ended, 1);
    run(f, 0, 10 * NS); /* the mean is still large */
    assert_int_equal(j->ended, 2);
}

static void
nothing_is_exported_to_a_grid_of_one_slot(void **state)
{
    struct fixture *f = *state;

    welcome(f, 1);
    map(f, 0, 100, &plain);
    grid(f, 1, 1);
    expect_nothing(f);
    assert_int_equal(f->nest.queued, 100);
}

static void
what_takes_unknown_time_goes_but_for_one(void **state)
{
    struct fixture *f = *state;
    struct job *j;
    uint64_t job;

    welcome(f, 4);
    j = map(f, 0, 10, &plain);
    assert_int_equal(f->nest.queued, 1);
    job = expect_export(f, 1, 9);
    expect_nothing(f);
    answer(f, job, 3, 2);
    assert_int_equal(j->ended, 2);
    assert_int_equal(job_chunk(j, 4)->state[4] & STATE_OUTCOME, 1 + OUTCOME_DONE);
    assert_int_equal(job_chunk(j, 4)->state[3] & STATE_OUTCOME, 0);
    answer(f, job, 5, 4);
    answer(f, job, 0, 3);
    run(f, 0, 10 * NS);
    assert_int_equal(j->ended, 10);
    assert_int_equal(f->nest.exporter->unended, 0);
    assert_null(f->nest.exports);
}

static void
kept_until_the_grid_is_known(void **state)
{
    struct fixture *f = *state;

    map(f, 0, 10, &plain);
    assert_int_equal(f->nest.queued, 10);
    expect_nothing(f);
    welcome(f, 4);
    assert_int_equal(f->nest.queued, 1);
    expect_export(f, 1, 9);
}

static void
short_tasks_stay_while_nobody_is_idle(void **state)
{
    struct fixture *f = *state;

    welcome(f, 4);
    map(f, 0, 1, &plain);
    run(f, 0, 100 * MS * NS / 1000);
    map(f, 0, 1000, &plain);
    expect_nothing(f);
    assert_int_equal(f->nest.queued, 1000);
}

static void
five_milliseconds_stay_when_others_are_idle(void **state)
{
    struct fixture *f = *state;

    welcome(f, 4);
    map(f, 0, 1, &plain);
    run(f, 0, 100 * NS); /* 100 us */
    grid(f, 4, 3);
    map(f, 0, 1000, &plain);
    assert_int_equal(f->nest.queued, 50);
    expect_export(f, 50, 950);
}

static void
long_tasks_go_but_for_one(void **state)
{
    struct fixture *f = *state;

    welcome(f, 4);
    map(f, 0, 1, &plain);
    run(f, 0, 6 * MS * NS);
    map(f, 0, 7, &plain);
    assert_int_equal(f->nest.queued, 1);
    expect_export(f, 1, 6);
}

/* Single tasks, as a task submits them one by one: the stream is closed when they have ended. */
static void
a_job_that_is_closed_late_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct nest_session *s = &f->sessions[0];
    struct job *j = core_job(s->core, &(struct spec){.function = "work", .cpus = 1}, f->now);
    struct chunk *c;
    uint32_t zero = 0;

    assert_int_equal(core_append(s->core, j, &zero, sizeof(zero), &c), 0);
    nest_pull(&f->nest, s, f->now);
    run(f, 0, 10 * NS);
    nest_flush(&f->nest);
    assert_false(TAILQ_EMPTY(&s->jobs));
    core_close(s->core, j);
    nest_pull(&f->nest, s, f->now);
    assert_true(TAILQ_EMPTY(&s->jobs));
}

/* Its worker keeps a result until then, and the broker, too. */
static void
results_from_elsewhere_are_acknowledged_though_nothing_else_is_said(void **state)
{
    struct fixture *f = *state;
    struct message m;
    uint64_t job;

    welcome(f, 4);
    f->now += 10000 * MS;
    map(f, 0, 1, &plain);
    run(f, 0, 6 * MS * NS);
    map(f, 0, 3, &plain);
    job = expect_export(f, 1, 2);
    assert_true(nest_deadline(&f->nest) == CLOCK_NEVER);
    answer(f, job, 0, 1);
    (void)expect(f, MESSAGE_TAKEN);
    answer(f, job, 1, 1);
    expect_nothing(f);
    assert_int_equal(nest_deadline(&f->nest), f->now + 1000 * MS);
    f->now += 1000 * MS;
    m = expect(f, MESSAGE_TAKEN);
    assert_int_equal(m.taken.bytes, 2 * (1 + TASK_COST));
    assert_true(nest_deadline(&f->nest) == CLOCK_NEVER);
}

/* Half of the oldest session's, as often as slots are idle. */
static void
idle_slots_get_what_is_oldest(void **state)
{
    struct fixture *f = *state;

    welcome(f, 4);
    map(f, 0, 1, &plain);
    run(f, 0, 1 * NS);
    map(f, 2, 100, &plain);
    map(f, 1, 3, &plain);
    expect_nothing(f);
    f->now += 10 * MS;
    grid(f, 4, 2);
    expect_export(f, 1, 2); /* of session 1 */
    expect_nothing(f);
    grid(f, 4, 1);
    expect_export(f, 0, 1);
    grid(f, 4, 1);
    expect_export(f, 50, 50); /* of session 2 */
    grid(f, 4, 0);
    expect_nothing(f);
}

/* The average says that they are short; the time that their neighbours take says it better. */
static void
what_is_not_worth_its_messages_stays(void **state)
{
    struct fixture *f = *state;

    welcome(f, 4);
    map(f, 0, 1, &plain);
    run(f, 0, 1 * NS);
    map(f, 1, 2, &plain);
    grid(f, 4, 3);
    expect_nothing(f);
    f->now += NEST_WORTH_US - 1;
    grid(f, 4, 3);
    expect_nothing(f);
    f->now += 1;
    grid(f, 4, 3);
    expect_export(f, 1, 1);
}

/* A tree's root took long: that says nothing of the leaves of the next. */
static void
few_long_ones_do_not_make_a_function_long(void **state)
{
    struct fixture *f = *state;

    welcome(f, 4);
    map(f, 0, 1, &plain);
    run(f, 0, 2000);
    map(f, 0, 40, &plain);
    for (int i = 0; i < 39; i++)
        run(f, 0, 2000);
    assert_in_range(f->nest.functions->mean_ns, 1900, 2100);
    run(f, 0, 1000 * MS * NS);
    assert_in_range(f->nest.functions->mean_ns, 2000, 100 * NS);
    map(f, 0, 10, &plain);
    expect_nothing(f);
    assert_int_equal(f->nest.queued, 10);
}

static void
the_last_task_stays(void **state)
{
    struct fixture *f = *state;

    welcome(f, 4);
    map(f, 0, 1, &plain);
    grid(f, 4, 4);
    expect_nothing(f);
    run(f, 0, 10 * NS);
}

static void
what_cannot_run_here_goes_at_once(void **state)
{
    struct fixture *f = *state;
    struct message m;

    map(f, 0, 1, &(struct spec){.cpus = 2});
    map(f, 0, 1, &(struct spec){.cpus = 1, .needs = "gpu"});
    map(f, 0, 1, &(struct spec){.cpus = 1, .deadline_ms = 1000});
    assert_int_equal(f->nest.queued, 0);
    map(f, 0, 1, &(struct spec){.cpus = 1, .timeout_ms = 1000});
    welcome(f, 1);
    for (int i = 0; i < 4; i++) {
        m = expect(f, MESSAGE_JOB);
        assert_true(m.job.spec->apart);
        expect(f, MESSAGE_INPUTS);
        expect(f, MESSAGE_JOB_END);
    }
    expect_nothing(f);
}

static void
tasks_of_a_second_attempt_run_apart(void **state)
{
    struct fixture *f = *state;
    struct core *core = core_new();

    close_session(f, 0);
    nest_open(&f->nest, &f->sessions[0], core, &root, true);
    map(f, 0, 2, &plain);
    assert_int_equal(f->nest.queued, 0);
    welcome(f, 2);
    assert_true(expect(f, MESSAGE_JOB).job.spec->apart);
}

static void
cancelled_tasks_do_not_run(void **state)
{
    struct fixture *f = *state;
    struct job *j = map(f, 0, 10, &plain);

    core_cancel(f->sessions[0].core, j, 0, 3);
    core_cancel(f->sessions[0].core, j, 5, 1);
    core_cancel(f->sessions[0].core, j, 8, 2);
    nest_pull(&f->nest, &f->sessions[0], f->now);
    nest_check(&f->nest);
    assert_int_equal(f->nest.queued, 5);
    assert_int_equal(run(f, 0, 10 * NS), 3);
    assert_int_equal(run(f, 0, 10 * NS), 4);
    assert_int_equal(run(f, 0, 10 * NS), 6);
    assert_int_equal(run(f, 0, 10 * NS), 7);
    assert_int_equal(f->nest.queued, 0);
    nest_flush(&f->nest);
    assert_int_equal(j->ended, 10);
    assert_int_equal(j->failed, 6);
    assert_int_equal(j->unsettled, 0);
}

static void
cancelling_reaches_exported_tasks(void **state)
{
    struct fixture *f = *state;
    struct message m;
    struct job *j;
    uint64_t job;

    welcome(f, 4);
    j = map(f, 0, 10, &plain);
    job = expect_export(f, 1, 9);
    core_cancel(f->sessions[0].core, j, 4, 2);
    nest_pull(&f->nest, &f->sessions[0], f->now);
    m = expect(f, MESSAGE_CANCEL);
    assert_int_equal(m.range.job, job);
    assert_int_equal(m.range.first, 3);
    assert_int_equal(m.range.count, 2);
    close_session(f, 0);
    m = expect(f, MESSAGE_CANCEL);
    assert_int_equal(m.range.first, 0);
    assert_int_equal(m.range.count, 3);
    m = expect(f, MESSAGE_CANCEL);
    assert_int_equal(m.range.first, 5);
    assert_int_equal(m.range.count, 4);
    answer(f, job, 0, 9); /* too late */
    expect_nothing(f);
}

/* A task of session 0 runs, and has session 1; one of that runs, and has session 2. */
static void
cancelling_reaches_sessions_below(void **state)
{
    struct fixture *f = *state;
    struct job *a = map(f, 0, 1, &plain), *b;
    struct nest_task t, u;

    assert_true(nest_next(&f->nest, &t));
    t.below = &f->sessions[1];
    b = map(f, 1, 5, &plain);
    assert_true(nest_next(&f->nest, &u));
    u.below = &f->sessions[2];
    map(f, 2, 5, &plain);
    while (nest_news(&f->nest) != NULL)
        ;
    core_cancel(f->sessions[0].core, a, 0, 1);
    nest_pull(&f->nest, &f->sessions[0], f->now);
    nest_check(&f->nest);
    assert_true(t.cancelled && u.cancelled);
    assert_true(f->sessions[1].ended && f->sessions[2].ended && !f->sessions[0].ended);
    assert_int_equal(f->nest.queued, 0);
    assert_int_equal(b->ended, 5);
    assert_ptr_equal(nest_news(&f->nest), &f->sessions[1]);
    assert_ptr_equal(nest_news(&f->nest), &f->sessions[2]);
    nest_result(&f->nest, &u, OUTCOME_DONE, "late", 4, NULL, 1, f->now);
    nest_result(&f->nest, &t, OUTCOME_FAILED, "late", 4, NULL, 1, f->now);
    nest_flush(&f->nest);
    assert_int_equal(a->failed, 1);
    assert_int_equal(a->unsettled, 0);
}

static void
failed_tasks_are_tried_again(void **state)
{
    struct fixture *f = *state;
    struct job *j = map(f, 0, 2, &(struct spec){.cpus = 1, .retry_failed = true, .retries = 1});

    assert_int_equal(run_as(f, 0, 10 * NS, OUTCOME_FAILED), 0);
    assert_int_equal(run_as(f, 0, 10 * NS, OUTCOME_FAILED), 0);
    nest_flush(&f->nest);
    assert_int_equal(j->failed, 1);
    assert_int_equal(chunk_segment(job_chunk(j, 0), 0)->attempt, 2);
    assert_int_equal(run_as(f, 0, 10 * NS, OUTCOME_FAILED), 1);
    assert_int_equal(run(f, 0, 10 * NS), 1);
    nest_flush(&f->nest);
    assert_int_equal(j->ended, 2);
    assert_int_equal(j->failed, 1);
    map(f, 1, 1, &(struct spec){.cpus = 1, .retries = 3});
    run_as(f, 1, 10 * NS, OUTCOME_FAILED);
    assert_int_equal(f->nest.queued, 0);
}

static void
what_is_out_is_told_to_the_next_broker(void **state)
{
    struct fixture *f = *state;
    struct job *j;
    uint64_t job;

    welcome(f, 4);
    assert_true(nest_gone(&f->nest)); /* a session may have more for it */
    welcome(f, 4);
    j = map(f, 0, 10, &plain);
    expect(f, MESSAGE_TOLD);
    job = expect_export(f, 1, 9);
    answer(f, job, 0, 4);
    assert_true(nest_gone(&f->nest));
    expect_nothing(f);
    welcome(f, 4);
    assert_int_equal(expect(f, MESSAGE_JOB).job.job, job);
    assert_int_equal(expect(f, MESSAGE_INPUTS).inputs.first, 4);
    expect(f, MESSAGE_TOLD);
    expect(f, MESSAGE_JOB_END);
    answer(f, job, 4, 5);
    assert_int_equal(j->ended, 9);
    assert_true(nest_gone(&f->nest)); /* a session may have more for it */
}

static void
large_results_are_not_copied(void **state)
{
    struct fixture *f = *state;
    struct job *j = map(f, 0, 1, &plain);
    struct blob *blob = blob_new(100000);
    struct nest_task t;

    assert_true(nest_next(&f->nest, &t));
    memset(blob->bytes, 'x', blob->size);
    nest_result(&f->nest, &t, OUTCOME_DONE, blob->bytes, blob->size, blob, 1, f->now);
    assert_ptr_equal(TAILQ_FIRST(&j->arrived)->data, blob);
    blob_unref(blob);
}

static void
progress_and_partial_results_find_their_way(void **state)
{
    struct fixture *f = *state;
    struct job *j = map(f, 0, 10, &plain);
    struct message m = {.type = MESSAGE_PARTIAL, .partial = {.columns = {.count = 1}}};
    struct nest_task t;

    j->partials = true;
    assert_true(nest_next(&f->nest, &t));
    nest_tell(&t, &m);
    assert_int_equal(TAILQ_FIRST(&f->sessions[0].core->partials)->index, 0);
    welcome(f, 4);
    m.partial.job = expect_export(f, 2, 8);
    m.partial.index = 3;
    tell(f, &m);
    assert_int_equal(TAILQ_LAST(&f->sessions[0].core->partials, partial_list)->index, 5);
    nest_result(&f->nest, &t, OUTCOME_DONE, "", 0, NULL, 1, f->now);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(newest_session_goes_first),
        TEST(larger_priority_goes_first),
        TEST(results_of_neighbours_are_told_together),
        TEST(slow_results_are_told_at_once),
        TEST(nothing_is_exported_to_a_grid_of_one_slot),
        TEST(what_takes_unknown_time_goes_but_for_one),
        TEST(kept_until_the_grid_is_known),
        TEST(short_tasks_stay_while_nobody_is_idle),
        TEST(five_milliseconds_stay_when_others_are_idle),
        TEST(a_job_that_is_closed_late_leaves_nothing),
        TEST(results_from_elsewhere_are_acknowledged_though_nothing_else_is_said),
        TEST(long_tasks_go_but_for_one),
        TEST(idle_slots_get_what_is_oldest),
        TEST(what_is_not_worth_its_messages_stays),
        TEST(few_long_ones_do_not_make_a_function_long),
        TEST(the_last_task_stays),
        TEST(what_cannot_run_here_goes_at_once),
        TEST(tasks_of_a_second_attempt_run_apart),
        TEST(cancelled_tasks_do_not_run),
        TEST(cancelling_reaches_exported_tasks),
        TEST(cancelling_reaches_sessions_below),
        TEST(failed_tasks_are_tried_again),
        TEST(what_is_out_is_told_to_the_next_broker),
        TEST(large_results_are_not_copied),
        TEST(progress_and_partial_results_find_their_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
