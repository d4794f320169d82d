/* test_supervisor.c - tasks in real executors. */
#include "supervised.h"

#include "../../proto/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
slices_are_run(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 2});
    double x[5000];

    (void)state;
    for (int i = 0; i < 5000; i++)
        x[i] = i;
    job(b, "square");
    for (unsigned i = 0; i < 5; i++)
        slice(b, i + 1, i * 1000, 1000, x + i * 1000, sizeof(*x));
    until(b, b->nended == 5000);
    for (int i = 0; i < 5000; i++) {
        double y;

        memcpy(&y, b->ended[i].text, sizeof(y));
        expect(b, (unsigned)i, OUTCOME_DONE, NULL);
        assert_true(y == (double)i * i);
    }
    assert_int_equal(b->returned, 0);
    close_bench(b);
}

static void
items_of_all_sizes_come_back_as_they_were(void **state)
{
    static const uint32_t sizes[] = {0,     1,     15,     16,      17,      65535, 65536,
                                     65537, 70000, 262144, 1000000, 4 << 20, 3,     0};
    enum { N = sizeof(sizes) / sizeof(*sizes) };
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    struct message m = {.type = MESSAGE_SLICE};
    size_t sum = 0;

    (void)state;
    for (int i = 0; i < N; i++)
        sum += sizes[i];
    m.slice = (struct message_slice){.lease = 1, .job = 1, .attempt = 1};
    m.slice.columns =
        (struct columns){.count = N, .sizes = sizes, .data = blob_new(sum), .length = sum};
    for (size_t i = 0, at = 0; i < N; at += sizes[i++])
        memset(m.slice.columns.data->bytes + at, 'a' + (int)i, sizes[i]);
    job(b, "echo");
    supervisor_input(b->s, &m, clock_us());
    blob_unref(m.slice.columns.data);
    until(b, b->nended == N);
    for (unsigned i = 0; i < N; i++) {
        expect(b, i, OUTCOME_DONE, NULL);
        assert_int_equal(b->ended[i].size, sizes[i]);
        if (sizes[i] > 0)
            assert_int_equal(b->ended[i].text[0], 'a' + (int)i);
    }
    close_bench(b);
}

static void
failures_are_told_in_words(void **state)
{
    static const struct {
        const char *function;
        enum outcome outcome;
        const char *text;
    } rows[] = {
        {"fail", OUTCOME_FAILED, "no luck"},
        {"square", OUTCOME_FAILED, "expected one double, got 4 bytes"},
        {"no_result", OUTCOME_FAILED, "returned 0 without a result: call task_return() first"},
        {"silent", OUTCOME_FAILED, "returned 3 without saying why"},
        {"exit3", OUTCOME_CRASHED, "exited with status 3"},
    };
    int input = 1;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct bench *b = open_local((struct supervisor_config){.slots = 1});

        one(b, rows[i].function, &input, sizeof(input));
        expect(b, 0, rows[i].outcome, rows[i].text);
        close_bench(b);
    }
}

static void
unknown_function_is_rejected_with_those_that_are_known(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int inputs[3] = {0};

    (void)state;
    job(b, "sqare");
    slice(b, 1, 0, 3, inputs, sizeof(int));
    until(b, b->nended == 3);
    for (unsigned i = 0; i < 3; i++) {
        expect(b, i, OUTCOME_REJECTED, NULL);
        assert_non_null(strstr(b->ended[i].text, "no function 'sqare'; this program has: big_"));
    }
    close_bench(b);
}

static void
crash_costs_nobody_else_a_result(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int inputs[20];

    (void)state;
    for (int i = 0; i < 20; i++)
        inputs[i] = i == 7 || i == 13;
    job(b, "crash_odd");
    slice(b, 1, 0, 20, inputs, sizeof(int));
    until(b, b->nended == 20);
    for (unsigned i = 0; i < 20; i++)
        if (inputs[i])
            assert_non_null(strstr(b->ended[i].text, "killed by signal 11 (Segmentation fault"));
        else
            expect(b, i, OUTCOME_DONE, NULL);
    expect(b, 7, OUTCOME_CRASHED, NULL);
    expect(b, 13, OUTCOME_CRASHED, NULL);
    assert_int_equal(b->returned, 0);
    close_bench(b);
}

static void
task_out_of_time_is_stopped_and_its_neighbours_are_not(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int inputs[3] = {1, 60000, 1};

    (void)state;
    job_with(b, (struct spec){.function = "sleep_ms", .timeout_ms = 300});
    slice(b, 1, 0, 3, inputs, sizeof(int));
    until(b, b->nended == 3);
    expect(b, 0, OUTCOME_DONE, NULL);
    expect(b, 1, OUTCOME_TIMED_OUT, "ran longer than its timeout of 300 ms");
    expect(b, 2, OUTCOME_DONE, NULL);
    close_bench(b);
}

static void
task_that_ignores_sigterm_is_killed_after_the_grace(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1, .grace_ms = 200});

    (void)state;
    job_with(b, (struct spec){.function = "stubborn", .timeout_ms = 100});
    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->nended == 1);
    expect(b, 0, OUTCOME_TIMED_OUT, "ran longer than its timeout of 100 ms");
    assert_false(is_alive(b->partial_pid));
    close_bench(b);
}

static void
cancel(struct bench *b, uint64_t first, uint64_t count)
{
    struct message m = {.type = MESSAGE_CANCEL, .range = {1, first, count}};

    supervisor_input(b->s, &m, clock_us());
}

static void
queued_and_running_tasks_are_cancelled(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    job(b, "endless");
    slice(b, 1, 0, 3, NULL, 0);
    slice(b, 2, 3, 3, NULL, 0);
    until(b, b->partial_pid != 0);
    cancel(b, 1, 4);
    until(b, b->nended == 4);
    for (unsigned i = 1; i < 5; i++)
        expect(b, i, OUTCOME_CANCELLED, "");
    b->partial_pid = 0;
    cancel(b, 0, 1);
    until(b, b->nended == 5);
    expect(b, 0, OUTCOME_CANCELLED, "");
    until(b, b->partial_pid != 0); /* the last one runs, elsewhere */
    cancel(b, 5, 1);
    until(b, b->nended == 6);
    until(b, supervisor_idle(b->s));
    assert_int_equal(b->returned, 0);
    close_bench(b);
}

static void
task_that_asks_ends_by_itself_when_cancelled(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    job(b, "polite");
    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->npartials == 1);
    cancel(b, 0, 1);
    until(b, b->nended == 1);
    expect(b, 0, OUTCOME_CANCELLED, "");
    close_bench(b);
}

static void
unstarted_tasks_are_given_back(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    struct message m = {.type = MESSAGE_REVOKE, .revoke = {1, 2}};

    (void)state;
    job(b, "endless");
    slice(b, 1, 0, 5, NULL, 0);
    until(b, b->npartials == 1);
    supervisor_input(b->s, &m, clock_us());
    until(b, b->returned == 2);
    assert_int_equal(b->why, RETURNED_REVOKED);
    m.revoke.count = 10;
    supervisor_input(b->s, &m, clock_us());
    until(b, b->returned == 4);
    supervisor_input(b->s, &m, clock_us());
    until(b, b->nreturned == 3); /* nothing left: told all the same */
    assert_int_equal(b->returned, 4);
    close_bench(b);
}

static void
idle_executor_takes_tasks_from_a_busy_one(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 2, .warm = 2});
    int inputs[8];
    unsigned differ = 0;

    (void)state;
    for (int i = 0; i < 8; i++)
        inputs[i] = 100;
    job(b, "sleep_ms");
    slice(b, 1, 0, 8, inputs, sizeof(int));
    until(b, b->nended == 8);
    for (unsigned i = 1; i < 8; i++)
        differ += memcmp(b->ended[i].text, b->ended[0].text, sizeof(pid_t)) != 0;
    assert_true(differ >= 2);
    assert_true(b->nrunning > 0);
    close_bench(b);
}

static void
results_behind_a_long_task_are_not_kept_waiting(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int inputs[3] = {0, 0, 60000};

    (void)state;
    job(b, "sleep_ms");
    slice(b, 1, 0, 3, inputs, sizeof(int));
    until(b, b->nended == 2);
    until(b, b->nrunning == 1);
    cancel(b, 2, 1);
    until(b, b->nended == 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(b->ended[i].times, 1);
    close_bench(b);
}

static void
executors_are_replaced_after_so_many_tasks(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1, .tasks_per_executor = 2});

    (void)state;
    job(b, "who");
    slice(b, 1, 0, 6, NULL, 0);
    until(b, b->nended == 6);
    for (unsigned i = 0; i < 6; i++)
        for (unsigned k = 0; k < i; k++)
            assert_int_equal(memcmp(b->ended[i].text, b->ended[k].text, sizeof(pid_t)) == 0,
                             i / 2 == k / 2);
    close_bench(b);
}

static void
progress_and_partial_results_are_passed_on(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    one(b, "steps", NULL, 0);
    expect(b, 0, OUTCOME_DONE, "whole");
    assert_int_equal(b->npartials, 1);
    assert_int_equal(b->nprogress, 2);
    close_bench(b);
}

/* ---- output
 * ---------------------------------------------------------------------------------------- */

static void
output_of_tasks_is_passed_on_and_that_of_main_is_not(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    one(b, "print", "hello\n", 6);
    until(b, strstr(b->output, "hello\n") != NULL && strstr(b->output, "worker node1\n") != NULL);
    assert_null(strstr(b->output, "barrier"));
    close_bench(b);
}

static void
flood_of_output_is_cut_with_a_marker(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int lines = 2000;

    (void)state;
    one(b, "flood", &lines, sizeof(lines));
    slice(b, 2, 1, 1, NULL, 0);
    until(b, b->nended == 2);
    cancel(b, 0, 1);
    job(b, "exit3");
    supervisor_reset(b->s, clock_us());
    job(b, "exit3");
    slice(b, 3, 2, 1, NULL, 0); /* the executor ends: then at the latest it is told */
    until(b, b->nended == 3);
    until(b, strstr(b->output, "bytes of output dropped]") != NULL);
    assert_true(b->noutput < 600 << 10);
    close_bench(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_are_run),
        cmocka_unit_test(items_of_all_sizes_come_back_as_they_were),
        cmocka_unit_test(failures_are_told_in_words),
        cmocka_unit_test(unknown_function_is_rejected_with_those_that_are_known),
        cmocka_unit_test(crash_costs_nobody_else_a_result),
        cmocka_unit_test(task_out_of_time_is_stopped_and_its_neighbours_are_not),
        cmocka_unit_test(task_that_ignores_sigterm_is_killed_after_the_grace),
        cmocka_unit_test(queued_and_running_tasks_are_cancelled),
        cmocka_unit_test(task_that_asks_ends_by_itself_when_cancelled),
        cmocka_unit_test(unstarted_tasks_are_given_back),
        cmocka_unit_test(idle_executor_takes_tasks_from_a_busy_one),
        cmocka_unit_test(results_behind_a_long_task_are_not_kept_waiting),
        cmocka_unit_test(executors_are_replaced_after_so_many_tasks),
        cmocka_unit_test(progress_and_partial_results_are_passed_on),
        cmocka_unit_test(output_of_tasks_is_passed_on_and_that_of_main_is_not),
        cmocka_unit_test(flood_of_output_is_cut_with_a_marker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
