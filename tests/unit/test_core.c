/* The client's state machine: histories of calls and messages, and what it says to the broker. */
#include "../../client/core.h"
#include "../../client/detached.h"

#include "../../base/clock.h"
#include "../../proto/limits.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- a broker made of calls -------------------------------------------------------------------
 */

struct session {
    struct core *core;
    int64_t now;
    char told[8192]; /* what went out, a line each */
};

static struct spec
spec(const char *function)
{
    return (struct spec){.program = {.name = "test", .machine = "", .arguments = ""},
                         .function = function,
                         .name = "",
                         .needs = "",
                         .retries = 2,
                         .cpus = 1,
                         .seed = 1};
}

static void
input(struct session *t, const struct message *m)
{
    assert_int_equal(core_input(t->core, m, t->now), 0);
    core_check(t->core);
}

static void
welcome(struct session *t, uint64_t instance, uint64_t window)
{
    input(t, &(struct message){
                 .type = MESSAGE_WELCOME,
                 .welcome = {.instance = instance, .window = window, .workers = 1, .slots = 2}});
}

static void
tell(struct session *t, const struct message *m)
{
    char line[128] = "";

    switch (m->type) {
    case MESSAGE_JOB:
        snprintf(line, sizeof(line), "job %" PRIu64 " %s", m->job.job, m->job.spec->function);
        break;
    case MESSAGE_INPUTS:
        snprintf(line, sizeof(line), "inputs %" PRIu64 " [%" PRIu64 "+%u] %zu bytes%s%s",
                 m->inputs.job, m->inputs.first, m->inputs.columns.count, m->inputs.columns.length,
                 m->inputs.again ? " again" : "", m->inputs.running ? " running" : "");
        if (m->inputs.charged > 0)
            snprintf(line + strlen(line), sizeof(line) - strlen(line), " charged %u",
                     m->inputs.charged);
        break;
    case MESSAGE_JOB_END:
        snprintf(line, sizeof(line), "end %" PRIu64 " of %" PRIu64, m->job_end.job,
                 m->job_end.total);
        break;
    case MESSAGE_CANCEL:
    case MESSAGE_NOTED:
        snprintf(line, sizeof(line), "%s %" PRIu64 " [%" PRIu64 "+%" PRIu64 "]",
                 message_name(m->type), m->range.job, m->range.first, m->range.count);
        break;
    case MESSAGE_TAKEN:
        snprintf(line, sizeof(line), "taken %" PRIu64, m->taken.bytes);
        break;
    case MESSAGE_TOLD:
        snprintf(line, sizeof(line), "told");
        break;
    default:
        snprintf(line, sizeof(line), "%s", message_name(m->type));
    }
    strncat(t->told, line, sizeof(t->told) - strlen(t->told) - 2);
    strcat(t->told, "\n");
}

/* All that goes out now, as lines. */
static const char *
output(struct session *t)
{
    struct message m;

    t->told[0] = '\0';
    while (core_output(t->core, &m, t->now))
        tell(t, &m);
    core_check(t->core);
    return t->told;
}

#define assert_output(t, expected) assert_string_equal(output(t), expected)

/* Tasks [first, first + count) gave these bytes each; sizes NULL: `size` each. */
static void
results(struct session *t, uint64_t job, uint64_t first, uint32_t count, uint32_t size,
        const uint32_t *sizes, const uint8_t *outcomes, const void *bytes)
{
    struct columns c = {
        .count = count, .size = sizes == NULL ? size : 0, .sizes = sizes, .outcomes = outcomes};

    c.length = columns_length(&c, 0, count);
    c.data = blob_copy(bytes, c.length);
    input(t, &(struct message){.type = MESSAGE_RESULTS,
                               .results = {.job = job,
                                           .first = first,
                                           .attempt = 1,
                                           .worker = "node1",
                                           .run_us = 1000,
                                           .columns = c}});
    blob_unref(c.data);
}

static void
ended(struct session *t, uint64_t job, uint64_t first, uint64_t count, enum outcome outcome)
{
    input(t, &(struct message){.type = MESSAGE_ENDED,
                               .ended = {.job = job,
                                         .first = first,
                                         .count = count,
                                         .outcome = outcome,
                                         .attempt = 2,
                                         .worker = "node1",
                                         .text = "why"}});
}

static struct job *
singles(struct session *t, const char *function)
{
    struct spec s = spec(function);

    s.singles = true;
    return core_job(t->core, &s, t->now);
}

static struct chunk *
append(struct session *t, struct job *j, const char *text)
{
    struct chunk *c;

    assert_int_equal(core_append(t->core, j, text, strlen(text), &c), 0);
    core_check(t->core);
    return c;
}

/* A map of `count` inputs of `size` bytes in one chunk, closed. */
static struct job *
map(struct session *t, uint32_t count, uint32_t size)
{
    struct spec s = spec("map");
    struct job *j = core_job(t->core, &s, t->now);
    struct blob *data = blob_new((size_t)count * size);

    memset(data->bytes, 'i', data->size);
    j->keep_arrived = true;
    assert_int_equal(core_append_blob(t->core, j, data, data->size, count, size, NULL), 0);
    core_close(t->core, j);
    core_check(t->core);
    return j;
}

static int
state(const struct job *j, uint64_t index)
{
    const struct chunk *c = job_chunk(j, index);

    return (c->state[index - c->first] & STATE_OUTCOME) - 1; /* -1: not ended */
}

static const char *
item(const struct job *j, uint64_t index)
{
    static char text[64];
    const struct chunk *c = job_chunk(j, index);
    const struct segment *s = chunk_segment(c, (uint32_t)(index - c->first));
    size_t size;
    const uint8_t *bytes = segment_item(s, (uint32_t)(index - c->first), &size);

    snprintf(text, sizeof(text), "%.*s", (int)size, (const char *)bytes);
    return text;
}

static int
setup(void **state_p)
{
    struct session *t = calloc(1, sizeof(*t));

    t->core = core_new();
    t->now = 1000000;
    welcome(t, 1, WINDOW_CLIENT);
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

/* ---- sending ----------------------------------------------------------------------------------
 */

static void
single_tasks_are_merged_into_one_message(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = singles(t, "f");

    append(t, j, "a");
    append(t, j, "b");
    append(t, j, "ccc");
    assert_output(t, "job 1 f\ninputs 1 [0+3] 5 bytes\n");
    append(t, j, "d");
    assert_output(t, "inputs 1 [3+1] 1 bytes\n");
    assert_output(t, "");
}

static void
nothing_is_said_before_the_welcome(void **state_p)
{
    struct session *t = *state_p;

    core_gone(t->core);
    append(t, singles(t, "f"), "a");
    assert_output(t, "");
    welcome(t, 1, WINDOW_CLIENT);
    assert_output(t, "told\njob 1 f\ninputs 1 [0+1] 1 bytes\n");
}

static void
a_map_is_announced_and_ended(void **state_p)
{
    struct session *t = *state_p;

    map(t, 100, 8);
    assert_output(t, "job 1 map\ninputs 1 [0+100] 800 bytes\nend 1 of 100\n");
}

static void
the_urgent_goes_first(void **state_p)
{
    struct session *t = *state_p;
    struct spec s = spec("late"), u = spec("urgent");
    struct job *late, *urgent;

    u.priority = 5;
    late = core_job(t->core, &s, 0);
    urgent = core_job(t->core, &u, 0);
    append(t, late, "1");
    append(t, urgent, "2");
    assert_output(t, "job 2 urgent\ninputs 2 [0+1] 1 bytes\njob 1 late\ninputs 1 [0+1] 1 bytes\n");
}

/* A result came and there was no memory for it: its task was settled, and did not end. */
static void
what_was_settled_in_vain_counts_again(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 2, 8);

    output(t);
    job_chunk(j, 0)->state[1] |= STATE_SETTLED;
    core_gone(t->core);
    welcome(t, 2, WINDOW_CLIENT);
    output(t);
    assert_int_equal(t->core->under_way, 2 * (8 + TASK_COST));
    results(t, 1, 0, 2, 1, NULL, NULL, "ab");
    assert_int_equal(t->core->under_way, 0);
}

/* The broker would wait for somebody who has the new ones. */
static void
of_a_chunk_only_what_was_told_is_told_again(void **state_p)
{
    struct session *t = *state_p;

    welcome(t, 1, 2 * (8 + TASK_COST));
    map(t, 5, 8);
    assert_output(t, "told\njob 1 map\ninputs 1 [0+2] 16 bytes\n");
    core_gone(t->core);
    welcome(t, 2, WINDOW_CLIENT);
    assert_output(t, "job 1 map\ninputs 1 [0+2] 16 bytes again\ntold\n"
                     "inputs 1 [2+3] 24 bytes\nend 1 of 5\n");
}

static void
the_window_is_kept(void **state_p)
{
    struct session *t = *state_p;
    static const uint8_t bytes[100];

    welcome(t, 1, 100 * (8 + TASK_COST));
    map(t, 250, 8);
    assert_output(t, "told\njob 1 map\ninputs 1 [0+100] 800 bytes\n");
    assert_int_equal(t->core->under_way, 100 * (8 + TASK_COST));
    results(t, 1, 0, 10, 1, NULL, NULL, bytes);
    assert_output(t, ""); /* no crumbs */
    results(t, 1, 10, 40, 1, NULL, NULL, bytes);
    assert_output(t, "inputs 1 [100+50] 400 bytes\n");
    results(t, 1, 50, 100, 1, NULL, NULL, bytes);
    assert_output(t, "inputs 1 [150+100] 800 bytes\nend 1 of 250\n");
}

static void
one_task_over_the_window_goes_alone(void **state_p)
{
    struct session *t = *state_p;

    welcome(t, 1, 1000);
    map(t, 2, 4000);
    assert_output(t, "told\njob 1 map\ninputs 1 [0+1] 4000 bytes\n");
    results(t, 1, 0, 1, 1, NULL, NULL, "r");
    assert_output(t, "inputs 1 [1+1] 4000 bytes\nend 1 of 2\n");
}

static void
the_window_grows_with_what_waits(void **state_p)
{
    struct session *t = *state_p;
    struct message grid = {.type = MESSAGE_GRID, .grid = {.workers = 1, .slots = 2}};

    welcome(t, 1, 1000);
    map(t, 4, 900);
    assert_output(t, "told\njob 1 map\ninputs 1 [0+1] 900 bytes\n");
    grid.grid.grant = 900;
    input(t, &grid);
    assert_output(t, "");
    grid.grid.grant = 964;
    input(t, &grid);
    assert_output(t, "inputs 1 [1+1] 900 bytes\n");
    grid.grid.grant = 500; /* told late */
    input(t, &grid);
    ended(t, 1, 0, 1, OUTCOME_LOST);
    assert_output(t, "inputs 1 [2+1] 900 bytes\n");
    welcome(t, 1, 1000); /* a conversation of its own */
    assert_output(t, "job 1 map\ninputs 1 [1+1] 900 bytes again\n");
}

static void
what_waits_leaves_the_rest_of_the_window(void **state_p)
{
    struct session *t = *state_p;

    welcome(t, 1, 1000);
    map(t, 40, 8);
    assert_output(t, "told\njob 1 map\ninputs 1 [0+13] 104 bytes\n");
    input(t, &(struct message){.type = MESSAGE_GRID, .grid = {.grant = 400}});
    assert_output(t, "inputs 1 [13+6] 48 bytes\n");
}

static void
when_all_wait_one_over_the_window_goes_too(void **state_p)
{
    struct session *t = *state_p;

    welcome(t, 1, 1000);
    map(t, 3, 4000);
    assert_output(t, "told\njob 1 map\ninputs 1 [0+1] 4000 bytes\n");
    input(t, &(struct message){.type = MESSAGE_GRID, .grid = {.grant = 4064}});
    assert_output(t, "inputs 1 [1+1] 4000 bytes\n");
}

static void
a_long_stream_of_singles_fills_its_messages(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = singles(t, "f");
    struct message m;
    uint32_t messages = 0;

    for (int i = 0; i < 12000; i++) {
        append(t, j, "0123456789abcdef");
        if (i % 10 == 0)
            while (core_output(t->core, &m, t->now))
                messages += m.type == MESSAGE_INPUTS;
    }
    /* 2,048 at once, and then whole chunks. */
    assert_in_range(messages, 2048 / 10, 2048 / 10 + 5);
}

static void
results_are_acknowledged_from_time_to_time(void **state_p)
{
    struct session *t = *state_p;
    uint8_t *bytes = calloc(1, 1 << 20);

    map(t, 2, 8);
    output(t);
    results(t, 1, 0, 1, 1 << 20, NULL, NULL, bytes);
    assert_output(t, "taken 1048640\n");
    results(t, 1, 1, 1, 8, NULL, NULL, bytes);
    assert_output(t, "");
    free(bytes);
}

/* ---- ends -------------------------------------------------------------------------------------
 */

static void
results_end_their_tasks(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 4, 8);

    output(t);
    results(t, 1, 1, 2, 0, (uint32_t[]){2, 3}, (uint8_t[]){OUTCOME_DONE, OUTCOME_FAILED}, "okbad");
    assert_int_equal(state(j, 0), -1);
    assert_int_equal(state(j, 1), OUTCOME_DONE);
    assert_int_equal(state(j, 2), OUTCOME_FAILED);
    assert_string_equal(item(j, 1), "ok");
    assert_string_equal(item(j, 2), "bad");
    assert_int_equal(j->ended, 2);
    assert_int_equal(j->failed, 1);
    assert_int_equal(t->core->unended, 2);
}

static void
the_first_end_counts(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 4, 8);

    output(t);
    results(t, 1, 1, 1, 1, NULL, NULL, "A");
    results(t, 1, 0, 4, 1, NULL, NULL, "wxyz");
    ended(t, 1, 0, 4, OUTCOME_LOST);
    assert_string_equal(item(j, 0), "w");
    assert_string_equal(item(j, 1), "A");
    assert_string_equal(item(j, 3), "z");
    assert_int_equal(j->ended, 4);
    assert_int_equal(j->failed, 0);
    assert_int_equal(t->core->late, 1);
}

static void
one_sentence_ends_many(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 5, 8);

    output(t);
    results(t, 1, 2, 1, 1, NULL, NULL, "r");
    ended(t, 1, 0, 5, OUTCOME_REJECTED);
    assert_int_equal(state(j, 0), OUTCOME_REJECTED);
    assert_int_equal(state(j, 2), OUTCOME_DONE);
    assert_string_equal(item(j, 4), "why");
    assert_int_equal(t->core->under_way, 0);
}

static void
results_across_chunks_are_split(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = singles(t, "f");
    struct chunk *a = append(t, j, "1"), *b;

    output(t);
    b = append(t, j, "2");
    append(t, j, "3");
    output(t);
    assert_ptr_not_equal(a, b);
    results(t, 1, 0, 3, 0, (uint32_t[]){1, 2, 3}, NULL, "abbccc");
    assert_string_equal(item(j, 0), "a");
    assert_string_equal(item(j, 1), "bb");
    assert_string_equal(item(j, 2), "ccc");
}

static void
watchers_are_woken_once(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = singles(t, "f");
    struct watcher w = {0};
    struct chunk *c;

    append(t, j, "1");
    c = append(t, j, "2");
    assert_int_equal(chunk_watch(c, 1, &w), 0);
    output(t);
    results(t, 1, 0, 1, 1, NULL, NULL, "a");
    assert_true(TAILQ_EMPTY(&t->core->woken));
    results(t, 1, 1, 1, 1, NULL, NULL, "b");
    assert_ptr_equal(TAILQ_FIRST(&t->core->woken), &w);
    ended(t, 1, 0, 2, OUTCOME_LOST);
    assert_null(TAILQ_NEXT(&w, link));
}

static void
what_was_read_is_let_go(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 3, 8);
    struct segment *s;

    output(t);
    results(t, 1, 0, 2, 1, NULL, NULL, "ab");
    results(t, 1, 2, 1, 1, NULL, NULL, "c");
    assert_int_equal(j->live, 1);
    while ((s = TAILQ_FIRST(&j->arrived)) != NULL) {
        core_read_segment(t->core, s);
        segment_free(s);
        core_check(t->core);
    }
    assert_int_equal(j->live, 0);
    assert_int_equal(j->held, 0);
    core_release(t->core, j);
    assert_null(core_find(t->core, 1));
}

/* ---- cancelling -------------------------------------------------------------------------------
 */

static void
cancelled_before_it_was_sent_is_never_sent(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 10, 8);

    core_cancel(t->core, j, 3, 2);
    assert_output(t, "job 1 map\ninputs 1 [0+3] 24 bytes\ninputs 1 [5+5] 40 bytes\nend 1 of 10\n");
    assert_int_equal(state(j, 4), OUTCOME_CANCELLED);
}

static void
a_job_cancelled_before_it_was_sent_is_not_mentioned(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 10, 8);

    core_cancel(t->core, j, 0, 10);
    assert_output(t, "");
    core_drop(t->core, j);
    assert_null(core_find(t->core, 1));
}

static void
cancelled_under_way_is_told_and_counts_until_settled(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 10, 8);

    output(t);
    core_cancel(t->core, j, 2, 4);
    assert_int_equal(state(j, 2), OUTCOME_CANCELLED);
    assert_output(t, "cancel 1 [2+4]\n");
    assert_int_equal(t->core->under_way, 10 * (8 + TASK_COST));
    results(t, 1, 2, 1, 1, NULL, NULL, "r"); /* it had ended already, there */
    assert_int_equal(state(j, 2), OUTCOME_CANCELLED);
    ended(t, 1, 3, 3, OUTCOME_CANCELLED);
    assert_int_equal(t->core->under_way, 6 * (8 + TASK_COST));
    assert_int_equal(t->core->late, 1);
}

static void
single_cancels_in_a_row_are_one_message(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 10, 8);

    output(t);
    for (uint64_t i = 2; i < 8; i++)
        core_cancel(t->core, j, i, 1);
    assert_output(t, "cancel 1 [2+6]\n");
}

static void
a_dropped_job_goes_once_the_broker_is_done_with_it(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 10, 8);

    output(t);
    core_drop(t->core, j);
    assert_output(t, "cancel 1 [0+10]\n");
    assert_non_null(core_find(t->core, 1));
    ended(t, 1, 0, 10, OUTCOME_CANCELLED);
    assert_null(core_find(t->core, 1));
    assert_int_equal(t->core->under_way, 0);
}

static void
results_for_a_forgotten_job_are_dropped(void **state_p)
{
    struct session *t = *state_p;

    results(t, 77, 0, 2, 1, NULL, NULL, "ab");
    ended(t, 77, 0, 2, OUTCOME_LOST);
    assert_int_equal(t->core->late, 2);
}

/* ---- the broker comes back --------------------------------------------------------------------
 */

static void
what_has_not_ended_is_sent_again(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 6, 8);

    output(t);
    results(t, 1, 1, 2, 1, NULL, NULL, "ab");
    results(t, 1, 5, 1, 1, NULL, NULL, "c");
    core_gone(t->core);
    assert_output(t, "");
    welcome(t, 2, WINDOW_CLIENT);
    assert_output(t, "job 1 map\ninputs 1 [0+1] 8 bytes again\ninputs 1 [3+2] 16 bytes again\n"
                     "end 1 of 6\ntold\n");
    results(t, 1, 0, 6, 1, NULL, NULL, "uvwxyz");
    assert_string_equal(item(j, 0), "u");
    assert_string_equal(item(j, 1), "a");
    assert_string_equal(item(j, 5), "c");
    assert_int_equal(j->ended, 6);
}

static void
what_ran_and_what_is_new_is_sent_apart(void **state_p)
{
    struct session *t = *state_p;
    struct job *other;

    map(t, 5, 8);
    output(t);
    input(t, &(struct message){.type = MESSAGE_RUNNING,
                               .running = {.job = 1, .index = 2, .attempt = 1, .worker = "w"}});
    core_gone(t->core);
    other = singles(t, "g");
    append(t, other, "x");
    welcome(t, 2, WINDOW_CLIENT);
    assert_output(t, "job 1 map\ninputs 1 [0+2] 16 bytes again\n"
                     "inputs 1 [2+1] 8 bytes again running\ninputs 1 [3+2] 16 bytes again\n"
                     "told\njob 2 g\ninputs 2 [0+1] 1 bytes\nend 1 of 5\n");
}

/* An attempt that counts against a task counts with the next broker, too. */
static void
what_was_charged_is_told_so(void **state_p)
{
    struct session *t = *state_p;
    struct message m = {.type = MESSAGE_CHARGED, .charged = {.job = 1, .index = 1, .charged = 1}};

    map(t, 5, 8);
    output(t);
    input(t, &m);
    m.charged.index = 2;
    input(t, &m);
    m.charged.charged = 2;
    input(t, &m);
    m.charged.index = 3;
    m.charged.charged = 77;
    input(t, &m);
    m.charged.index = 99;
    input(t, &m);
    core_gone(t->core);
    welcome(t, 2, WINDOW_CLIENT);
    assert_output(t, "job 1 map\ninputs 1 [0+1] 8 bytes again\n"
                     "inputs 1 [1+1] 8 bytes again charged 1\n"
                     "inputs 1 [2+1] 8 bytes again charged 2\n"
                     "inputs 1 [3+1] 8 bytes again charged 3\n"
                     "inputs 1 [4+1] 8 bytes again\ntold\nend 1 of 5\n");
}

/* The broker asks before it hands them over. */
static void
what_may_have_begun_is_told_so(void **state_p)
{
    struct session *t = *state_p;

    map(t, 5, 8);
    output(t);
    results(t, 1, 2, 1, 1, NULL, NULL, "a");
    input(t, &(struct message){.type = MESSAGE_BEGINS, .range = {1, 1, UINT64_MAX - 1}});
    input(t, &(struct message){.type = MESSAGE_BEGINS, .range = {77, 0, 1}}); /* it has ended */
    assert_output(t, "noted 1 [1+18446744073709551614]\n");
    input(t, &(struct message){.type = MESSAGE_BEGINS, .range = {1, 1, 1}});
    core_gone(t->core); /* before it could answer */
    welcome(t, 2, WINDOW_CLIENT);
    assert_output(t, "job 1 map\ninputs 1 [0+1] 8 bytes again\n"
                     "inputs 1 [1+1] 8 bytes again running\n"
                     "inputs 1 [3+2] 16 bytes again running\ntold\nend 1 of 5\n");
}

/* The broker hands nothing over before it hears that. */
static void
what_the_broker_was_not_answered_about_has_not_begun(void **state_p)
{
    struct session *t = *state_p;

    map(t, 3, 8);
    output(t);
    input(t, &(struct message){.type = MESSAGE_BEGINS, .range = {1, 1, 1}});
    core_gone(t->core);
    welcome(t, 2, WINDOW_CLIENT);
    assert_output(t, "job 1 map\ninputs 1 [0+3] 24 bytes again\ntold\nend 1 of 3\n");
}

/* Other jobs have a larger priority now, but do not fill the window before it. */
static void
what_was_there_before_is_sent_first(void **state_p)
{
    struct session *t = *state_p;
    struct spec s = spec("high");
    struct job *high;

    map(t, 2, 8);
    output(t);
    core_gone(t->core);
    s.priority = 5;
    high = core_job(t->core, &s, t->now);
    append(t, high, "x");
    welcome(t, 2, WINDOW_CLIENT);
    assert_output(t, "job 1 map\ninputs 1 [0+2] 16 bytes again\ntold\n"
                     "job 2 high\ninputs 2 [0+1] 1 bytes\nend 1 of 2\n");
}

static void
results_that_are_few_are_acknowledged_in_time(void **state_p)
{
    struct session *t = *state_p;

    map(t, 3, 8);
    output(t);
    t->now += 10000000;
    results(t, 1, 0, 1, 1, NULL, NULL, "a");
    assert_output(t, "taken 65\n");
    results(t, 1, 1, 1, 1, NULL, NULL, "b");
    assert_output(t, "");
    assert_int_equal(core_taken_deadline(t->core), t->now + 1000000);
    t->now += 1000000;
    assert_output(t, "taken 130\n");
    assert_int_equal(core_taken_deadline(t->core), CLOCK_NEVER);
}

static void
what_has_ended_is_not_mentioned_again(void **state_p)
{
    struct session *t = *state_p;

    map(t, 2, 8);
    output(t);
    results(t, 1, 0, 2, 1, NULL, NULL, "ab");
    welcome(t, 2, WINDOW_CLIENT);
    assert_output(t, "told\n");
}

static void
cancelled_while_the_broker_was_away_is_not_sent_again(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 3, 8);

    output(t);
    core_gone(t->core);
    core_cancel(t->core, j, 0, 2);
    welcome(t, 1, WINDOW_CLIENT);
    assert_output(t, "job 1 map\ninputs 1 [2+1] 8 bytes again\ntold\nend 1 of 3\n");
}

static void
a_dropped_job_is_gone_with_its_broker(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 3, 8);

    output(t);
    core_drop(t->core, j);
    welcome(t, 2, WINDOW_CLIENT);
    assert_null(core_find(t->core, 1));
    assert_output(t, "told\n");
}

static void
without_a_broker_for_too_long_all_end(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 3, 8);

    output(t);
    results(t, 1, 0, 1, 1, NULL, NULL, "a");
    core_gone(t->core);
    core_end_all(t->core, OUTCOME_LOST, "gone for 60 s", false);
    core_check(t->core);
    assert_int_equal(state(j, 0), OUTCOME_DONE);
    assert_int_equal(state(j, 2), OUTCOME_LOST);
    assert_string_equal(item(j, 2), "gone for 60 s");
    assert_int_equal(t->core->unended, 0);
}

/* ---- deadlines --------------------------------------------------------------------------------
 */

static void
a_deadline_ends_what_the_broker_did_not(void **state_p)
{
    struct session *t = *state_p;
    struct spec s = spec("f");
    struct job *j;

    s.deadline_ms = 1000;
    j = core_job(t->core, &s, t->now);
    append(t, j, "x");
    core_close(t->core, j);
    output(t);
    assert_int_equal(core_deadline(t->core), t->now + 1250000);
    core_tick(t->core, t->now + 1249999);
    assert_int_equal(state(j, 0), -1);
    core_tick(t->core, t->now + 1250000);
    assert_int_equal(state(j, 0), OUTCOME_TIMED_OUT);
    assert_output(t, "cancel 1 [0+1]\n");
    assert_int_equal(core_deadline(t->core), CLOCK_NEVER);
}

static void
a_deadline_is_shorter_when_it_is_told_again(void **state_p)
{
    struct session *t = *state_p;
    struct spec s = spec("f");
    struct message m;
    struct job *j;

    s.deadline_ms = 1000;
    j = core_job(t->core, &s, t->now);
    append(t, j, "x");
    assert_true(core_output(t->core, &m, t->now));
    assert_int_equal(m.job.spec->deadline_ms, 1000);
    welcome(t, 2, WINDOW_CLIENT);
    assert_true(core_output(t->core, &m, t->now + 400000) && m.type == MESSAGE_TOLD);
    assert_true(core_output(t->core, &m, t->now + 400000));
    assert_int_equal(m.job.spec->deadline_ms, 600);
}

/* ---- news of tasks under way ------------------------------------------------------------------
 */

static void
a_running_task_is_noted(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = singles(t, "f");
    struct chunk *c = append(t, j, "x");

    output(t);
    assert_null(chunk_note(c, 0, false));
    input(t, &(struct message){.type = MESSAGE_RUNNING,
                               .running = {.job = 1, .index = 0, .attempt = 2, .worker = "node2"}});
    input(t, &(struct message){.type = MESSAGE_PROGRESS,
                               .progress = {.job = 1, .index = 0, .done = 3, .total = 9}});
    assert_true(chunk_note(c, 0, false)->running);
    assert_int_equal(chunk_note(c, 0, false)->attempt, 2);
    assert_int_equal(chunk_note(c, 0, false)->done, 3);
    assert_string_equal(chunk_note(c, 0, false)->worker, "node2");
}

static void
partial_results_wait_for_who_wants_them(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 2, 8);
    struct blob *data = blob_copy("part", 4);
    struct message m = {.type = MESSAGE_PARTIAL,
                        .partial = {.job = 1,
                                    .index = 1,
                                    .columns = {.count = 1, .size = 4, .data = data, .length = 4}}};
    struct partial *p;

    output(t);
    input(t, &m);
    assert_null(core_partial(t->core));
    j->partials = true;
    core_claim(t->core, 1, 0, true);
    assert_non_null(p = core_partial(t->core));
    assert_int_equal(p->index, 1);
    partial_free(p);
    input(t, &m);
    assert_non_null(p = core_partial(t->core));
    partial_free(p);
    blob_unref(data);
}

static void
partial_results_that_nobody_wanted_go_with_their_tasks(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 2, 8);
    struct message m = {.type = MESSAGE_PARTIAL, .partial = {.job = 1, .columns = {.count = 1}}};

    output(t);
    for (m.partial.index = 0; m.partial.index < 3; m.partial.index++)
        input(t, &m);
    assert_int_equal(t->core->unclaimed_bytes, 2 * TASK_COST); /* of those that there are */
    core_drop(t->core, j);
    assert_int_equal(t->core->unclaimed_bytes, 2 * TASK_COST); /* the broker has them still */
    ended(t, 1, 0, 2, OUTCOME_CANCELLED);
    assert_int_equal(t->core->unclaimed_bytes, 0);
    output(t);
}

/* Somebody wants them, but does not dispatch. */
static void
partial_results_that_nobody_reads_are_bounded(void **state_p)
{
    struct session *t = *state_p;
    struct job *j = map(t, 1, 8);
    struct blob *data = blob_new(1 << 20);
    struct message m = {
        .type = MESSAGE_PARTIAL,
        .partial = {.job = 1,
                    .columns = {.count = 1, .size = 1 << 20, .data = data, .length = 1 << 20}}};
    struct partial *p;
    int n = 0;

    output(t);
    j->partials = true;
    for (int i = 0; i < 70; i++)
        input(t, &m);
    while ((p = core_partial(t->core)) != NULL) {
        partial_free(p);
        n++;
    }
    assert_int_equal(n, 63);
    assert_int_equal(t->core->partials_bytes, 0);
    blob_unref(data);
}

static void
partial_results_that_nobody_wants_are_bounded(void **state_p)
{
    struct session *t = *state_p;
    struct blob *data = blob_new(100000);
    struct message m = {
        .type = MESSAGE_PARTIAL,
        .partial = {.job = 1,
                    .columns = {.count = 1, .size = 100000, .data = data, .length = 100000}}};

    map(t, 1, 8);
    memset(data->bytes, 0, data->size);
    for (int i = 0; i < 100; i++)
        input(t, &m);
    assert_in_range(t->core->unclaimed_bytes, 900000, 1 << 20);
    blob_unref(data);
}

static void
a_detached_job_that_cannot_be_is_news_for_who_waits(void **state_p)
{
    struct session *t = *state_p;
    struct spec s = spec("nothing");
    struct job *j = core_job_detached(t->core, &s, (const uint8_t[16]){1}, false, t->now);
    struct ending e = {.outcome = OUTCOME_REJECTED, .worker = ""};
    struct chunk *c;

    assert_int_equal(core_append(t->core, j, "", 0, &c), 0);
    core_close(t->core, j);
    output(t);
    assert_int_equal(core_end_range(t->core, j, 0, 1, &e, false), 0);
    input(t, &(struct message){.type = MESSAGE_ATTACHED, .attached = {.job = j->number}});
    t->core->news = false; /* somebody looked, and waits now */
    assert_false(core_detached_settled(j));
    output(t);
    assert_true(core_detached_settled(j));
    assert_true(t->core->news);
}

/* ---- a long history ---------------------------------------------------------------------------
 */

static uint64_t
dice(uint64_t *seed, uint64_t sides)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % sides;
}

/* A broker that knows nothing but what it was told: it answers some of it, twice at times. */
static void
random_answers(struct session *t, uint64_t *seed, uint64_t *known, size_t n)
{
    uint64_t job = known[2 * dice(seed, n)], first = dice(seed, 400);
    uint32_t count = 1 + (uint32_t)dice(seed, 60);
    uint8_t outcomes[64], bytes[64];

    memset(bytes, 'r', sizeof(bytes));
    for (uint32_t i = 0; i < count; i++)
        outcomes[i] = dice(seed, 10) == 0 ? OUTCOME_FAILED : OUTCOME_DONE;
    if (dice(seed, 3) == 0)
        ended(t, job, first, count, OUTCOME_CRASHED);
    else
        results(t, job, first, count, 1, NULL, dice(seed, 2) ? outcomes : NULL, bytes);
}

static void
any_history_keeps_the_invariants(void **state_p)
{
    struct session *t = *state_p;

    for (uint64_t run = 1; run <= 40; run++) {
        uint64_t seed = run, known[2 * 32] = {0};
        struct job *jobs[32] = {0};
        size_t n = 0;

        for (int step = 0; step < 300; step++) {
            switch (n == 0 ? 0 : dice(&seed, 9)) {
            case 0:
                if (n == 32)
                    break;
                jobs[n] =
                    dice(&seed, 2) ? map(t, 1 + (uint32_t)dice(&seed, 400), 8) : singles(t, "f");
                known[2 * n] = jobs[n]->number;
                n++;
                break;
            case 1: {
                struct job *j = jobs[dice(&seed, n)];

                for (int i = 0; j != NULL && !j->closed && i < 50; i++)
                    append(t, j, &"0123456789"[dice(&seed, 10)]);
                break;
            }
            case 2: {
                struct job *j = jobs[dice(&seed, n)];

                if (j != NULL)
                    core_cancel(t->core, j, dice(&seed, 400), dice(&seed, 100));
                break;
            }
            case 3: {
                size_t k = dice(&seed, n);

                if (jobs[k] != NULL && dice(&seed, 4) == 0) {
                    core_close(t->core, jobs[k]);
                    core_drop(t->core, jobs[k]);
                    jobs[k] = NULL;
                }
                break;
            }
            case 4:
                if (dice(&seed, 5) == 0)
                    welcome(t, step, 1000 + dice(&seed, 100000));
                break;
            case 5:
            case 6:
                output(t);
                break;
            default:
                random_answers(t, &seed, known, n);
            }
            core_check(t->core);
        }
        for (size_t k = 0; k < n; k++) {
            if (jobs[k] == NULL)
                continue;
            core_close(t->core, jobs[k]);
            core_drop(t->core, jobs[k]);
        }
        welcome(t, 1, WINDOW_CLIENT);
        output(t);
        assert_null(t->core->jobs);
        assert_int_equal(t->core->unended, 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(single_tasks_are_merged_into_one_message),
        TEST(nothing_is_said_before_the_welcome),
        TEST(a_map_is_announced_and_ended),
        TEST(the_urgent_goes_first),
        TEST(of_a_chunk_only_what_was_told_is_told_again),
        TEST(what_was_settled_in_vain_counts_again),
        TEST(the_window_is_kept),
        TEST(one_task_over_the_window_goes_alone),
        TEST(the_window_grows_with_what_waits),
        TEST(what_waits_leaves_the_rest_of_the_window),
        TEST(when_all_wait_one_over_the_window_goes_too),
        TEST(a_long_stream_of_singles_fills_its_messages),
        TEST(results_are_acknowledged_from_time_to_time),
        TEST(results_end_their_tasks),
        TEST(the_first_end_counts),
        TEST(one_sentence_ends_many),
        TEST(results_across_chunks_are_split),
        TEST(watchers_are_woken_once),
        TEST(what_was_read_is_let_go),
        TEST(cancelled_before_it_was_sent_is_never_sent),
        TEST(a_job_cancelled_before_it_was_sent_is_not_mentioned),
        TEST(cancelled_under_way_is_told_and_counts_until_settled),
        TEST(single_cancels_in_a_row_are_one_message),
        TEST(a_dropped_job_goes_once_the_broker_is_done_with_it),
        TEST(results_for_a_forgotten_job_are_dropped),
        TEST(what_has_not_ended_is_sent_again),
        TEST(what_ran_and_what_is_new_is_sent_apart),
        TEST(what_was_charged_is_told_so),
        TEST(what_may_have_begun_is_told_so),
        TEST(what_the_broker_was_not_answered_about_has_not_begun),
        TEST(what_was_there_before_is_sent_first),
        TEST(results_that_are_few_are_acknowledged_in_time),
        TEST(what_has_ended_is_not_mentioned_again),
        TEST(cancelled_while_the_broker_was_away_is_not_sent_again),
        TEST(a_dropped_job_is_gone_with_its_broker),
        TEST(without_a_broker_for_too_long_all_end),
        TEST(a_deadline_ends_what_the_broker_did_not),
        TEST(a_deadline_is_shorter_when_it_is_told_again),
        TEST(a_running_task_is_noted),
        TEST(partial_results_wait_for_who_wants_them),
        TEST(partial_results_that_nobody_wanted_go_with_their_tasks),
        TEST(partial_results_that_nobody_reads_are_bounded),
        TEST(partial_results_that_nobody_wants_are_bounded),
        TEST(a_detached_job_that_cannot_be_is_news_for_who_waits),
        TEST(any_history_keeps_the_invariants),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
