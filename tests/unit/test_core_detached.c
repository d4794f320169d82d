/* The client's state machine, and jobs that go to the broker's store: what becomes of those that
 * end here, or there, before all of it is on disk. */
#include "../../client/core.h"
#include "../../client/detached.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000

struct session {
    struct core *core;
    struct job *job;
    char told[1024];
};

static int
setup(void **state_p)
{
    struct session *t = calloc(1, sizeof(*t));

    if (t == NULL || (t->core = core_new()) == NULL)
        return -1;
    *state_p = t;
    return 0;
}

static int
teardown(void **state_p)
{
    struct session *t = *state_p;

    core_check(t->core);
    core_free(t->core);
    free(t);
    return 0;
}

static void
input(struct session *t, const struct message *m)
{
    assert_int_equal(core_input(t->core, m, 0), 0);
    core_check(t->core);
}

static void
welcome(struct session *t)
{
    input(t, &(struct message){.type = MESSAGE_WELCOME,
                               .welcome = {.instance = 1, .window = 1 << 20, .workers = 1}});
}

static void
attached(struct session *t, uint64_t total, bool sealed)
{
    input(t, &(struct message){.type = MESSAGE_ATTACHED,
                               .attached = {.job = t->job->number,
                                            .total = total,
                                            .sealed = sealed,
                                            .function = "f",
                                            .name = "",
                                            .text = ""}});
}

/* What goes out now: the messages' names, and how many tasks they are about. */
static const char *
output(struct session *t)
{
    size_t at = 0;
    struct message m;

    t->told[0] = '\0';
    while (core_output(t->core, &m, 0)) {
        uint64_t n = m.type == MESSAGE_INPUTS    ? m.inputs.columns.count
                     : m.type == MESSAGE_JOB_END ? m.job_end.total
                     : m.type == MESSAGE_TAKEN   ? m.taken.bytes
                                                 : 0;

        at += (size_t)snprintf(t->told + at, sizeof(t->told) - at, "%s %" PRIu64 "\n",
                               message_name(m.type), n);
    }
    core_check(t->core);
    return t->told;
}

static void
add(struct session *t, uint32_t count)
{
    struct blob *data = blob_new(8 * count);

    assert_non_null(data);
    memset(data->bytes, 7, data->size);
    assert_int_equal(core_append_blob(t->core, t->job, data, data->size, count, 8, NULL), 0);
}

static void
submit(struct session *t, uint32_t count, int64_t deadline_ms)
{
    struct spec s = {.program = {.name = "test", .machine = "", .arguments = ""},
                     .function = "f",
                     .name = "",
                     .needs = "",
                     .cpus = 1,
                     .deadline_ms = deadline_ms};

    t->job = core_job_detached(t->core, &s, (const uint8_t[16]){1}, false, 0);
    assert_non_null(t->job);
    t->job->keep_arrived = true;
    add(t, count);
}

/* How many ended so; then nobody asks for them any more. */
static uint32_t
read_all(struct session *t, enum outcome o)
{
    struct segment *s;
    uint32_t n = 0;

    while ((s = TAILQ_FIRST(&t->job->arrived)) != NULL) {
        for (uint32_t i = s->first; i < s->first + s->count; i++)
            n += segment_outcome(s, i) == o;
        core_read_segment(t->core, s);
        segment_free(s);
    }
    return n;
}

static void
what_was_not_told_before_its_deadline_is_over(void **state_p)
{
    struct session *t = *state_p;

    submit(t, 5, 1000);
    core_close(t->core, t->job);
    core_tick(t->core, 2 * SECOND);
    assert_true(core_detached_settled(t->job));
    assert_int_equal(read_all(t, OUTCOME_TIMED_OUT), 5);
    core_release(t->core, t->job);
    assert_null(t->core->jobs);
    welcome(t);
    assert_string_equal(output(t), "");
}

static void
a_deadline_cuts_a_job_short_where_it_was_sent(void **state_p)
{
    struct session *t = *state_p;

    submit(t, 5, 1000);
    welcome(t);
    assert_string_equal(output(t), "job 0\n");
    attached(t, 0, false);
    assert_string_equal(output(t), "fetch 0\ninputs 5\n");
    core_gone(t->core);
    add(t, 3);
    core_close(t->core, t->job);
    core_tick(t->core, 2 * SECOND);
    assert_int_equal(read_all(t, OUTCOME_TIMED_OUT), 8);
    assert_false(core_detached_settled(t->job));

    /* Of these the broker has written down five. */
    t->job->accepted = 5;
    welcome(t);
    assert_string_equal(output(t), "told 0\njob 0\n");
    attached(t, 5, false);
    assert_string_equal(output(t), "job_end 5\n");
    attached(t, 5, true);
    assert_true(core_detached_settled(t->job));
    core_release(t->core, t->job);
    assert_null(t->core->jobs);
}

static void
tasks_of_a_job_that_was_closed_there_are_rejected_and_the_others_fetched(void **state_p)
{
    struct session *t = *state_p;

    submit(t, 4, 0);
    core_close(t->core, t->job);
    welcome(t);
    assert_string_equal(output(t), "job 0\n");
    /* It is known from an earlier conversation, and was cancelled since. */
    attached(t, 3, true);
    assert_string_equal(output(t), "fetch 0\n");
    assert_int_equal(read_all(t, OUTCOME_REJECTED), 1);
    assert_int_equal(t->job->ended, 1);
    assert_true(core_detached_settled(t->job));
}

static void
what_ended_here_goes_when_its_connection_does(void **state_p)
{
    struct session *t = *state_p;

    submit(t, 4, 0);
    core_close(t->core, t->job);
    welcome(t);
    output(t);
    attached(t, 0, false);
    output(t);
    core_cancel(t->core, t->job, 0, UINT64_MAX);
    assert_int_equal(read_all(t, OUTCOME_CANCELLED), 4);
    welcome(t); /* and core_check() finds nothing that waits for a broker that is gone */
    assert_string_equal(output(t), "told 0\njob 0\n");
    attached(t, 0, false);
    assert_string_equal(output(t), "cancel 0\n");
    attached(t, 0, true);
    core_release(t->core, t->job);
    assert_null(t->core->jobs);
}

static void
ends_out_of_the_store_do_not_count_in_the_window(void **state_p)
{
    struct session *t = *state_p;

    submit(t, 1, 0);
    core_close(t->core, t->job);
    welcome(t);
    output(t);
    attached(t, 1, true);
    output(t);
    input(t, &(struct message){.type = MESSAGE_ENDED,
                               .ended = {.job = t->job->number,
                                         .count = 1,
                                         .outcome = OUTCOME_LOST,
                                         .worker = "",
                                         .text = "it was lost"}});
    assert_int_equal(read_all(t, OUTCOME_LOST), 1);
    assert_int_equal(t->core->received, 0);
    core_release(t->core, t->job);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_not_told_before_its_deadline_is_over),
        TEST(a_deadline_cuts_a_job_short_where_it_was_sent),
        TEST(tasks_of_a_job_that_was_closed_there_are_rejected_and_the_others_fetched),
        TEST(what_ended_here_goes_when_its_connection_does),
        TEST(ends_out_of_the_store_do_not_count_in_the_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
