/* test_runner.c - histories of the deciding half of a worker. Executors are boards in memory, and
 * what the runner orders and says is written down. */
#include "../../worker/boards.h"
#include "../../worker/runner.h"

#include "../../base/clock.h"
#include "../../proto/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 16
#define MS 1000

struct bench {
    struct runner *runner;
    int64_t now;
    struct board *boards[MOST];
    uint64_t leases[MOST]; /* of the last slice that each was sent */
    uint32_t firsts[MOST];
    bool unattached;
    const char *why; /* why no executor can start */
    bool refuse;     /* none can now */
    char failed[16]; /* the program that was told to */
    char history[8192];
    size_t at;
};

static void __attribute__((format(printf, 2, 3))) tell(struct bench *b, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    b->at += (size_t)vsnprintf(b->history + b->at, sizeof(b->history) - b->at, format, args);
    va_end(args);
    assert_true(b->at < sizeof(b->history));
}

static void
forget(struct bench *b)
{
    b->at = 0;
    b->history[0] = '\0';
}

/* ---- hands -------------------------------------------------------------------------------------
 */

static struct board *
start(void *arg, unsigned executor, const struct program *program, const char **why)
{
    struct bench *b = arg;

    if (b->why != NULL || b->refuse) {
        *why = b->why;
        tell(b, "no start\n");
        return NULL;
    }
    assert_true(executor < MOST && b->boards[executor] == NULL);
    b->boards[executor] = aligned_alloc(64, sizeof(struct board));
    memset(b->boards[executor], 0, sizeof(struct board));
    b->boards[executor]->attached = !b->unattached;
    tell(b, "start %u %s\n", executor, program->name);
    return b->boards[executor];
}

static void
send_to(void *arg, unsigned executor, const struct message *m)
{
    struct bench *b = arg;

    if (m->type == MESSAGE_SLICE) {
        b->leases[executor] = m->slice.lease;
        b->firsts[executor] = (uint32_t)m->slice.first;
        tell(b, "%u: slice %u+%u\n", executor, (unsigned)m->slice.first, m->slice.columns.count);
        /* Inputs are four bytes, each its own index. */
        for (uint32_t i = 0; i < m->slice.columns.count; i++) {
            uint32_t index;

            memcpy(&index, m->slice.columns.data->bytes + m->slice.columns.at + i * sizeof(index),
                   sizeof(index));
            assert_int_equal(index, m->slice.first + i);
        }
    } else {
        tell(b, "%u: %s\n", executor, message_name(m->type));
    }
}

static void
hang_up(void *arg, unsigned executor)
{
    tell(arg, "hang up %u\n", executor);
}

static void
send_signal(void *arg, unsigned executor, int signal)
{
    tell(arg, "signal %d to %u\n", signal, executor);
}

static void
want(void *arg, const struct program *program)
{
    tell(arg, "want %s\n", program->name);
}

static const struct runner_hands hands = {start, send_to, hang_up, send_signal, want};

/* ---- what is done to it -------------------------------------------------------------------------
 */

static void
hear(struct bench *b)
{
    struct message m;

    while (runner_output(b->runner, &m)) {
        switch (m.type) {
        case MESSAGE_RESULTS:
            for (uint32_t i = 0; i < m.results.columns.count; i++) {
                const struct columns *c = &m.results.columns;
                size_t size = columns_length(c, i, 1);
                size_t at = c->at + columns_length(c, 0, i);

                tell(b, "-> lease %u: %u %s%s%.*s\n", (unsigned)m.results.lease,
                     (unsigned)m.results.first + i,
                     outcome_name(c->outcomes != NULL ? c->outcomes[i] : OUTCOME_DONE),
                     size > 0 ? " " : "", (int)size,
                     size > 0 ? (const char *)c->data->bytes + at : "");
            }
            break;
        case MESSAGE_RETURNED:
            tell(b, "-> lease %u: returned %u+%u why %d\n", (unsigned)m.returned.lease,
                 (unsigned)m.returned.first, m.returned.count, (int)m.returned.why);
            break;
        case MESSAGE_RUNNING:
            tell(b, "-> lease %u: %u runs\n", (unsigned)m.running.lease, (unsigned)m.running.index);
            break;
        case MESSAGE_PROGRAM_FAILED:
            tell(b, "-> program failed: %s\n", m.program_failed.text);
            snprintf(b->failed, sizeof(b->failed), "%s", m.program_failed.digest);
            break;
        default:
            tell(b, "-> %s\n", message_name(m.type));
        }
    }
    runner_check(b->runner);
}

static void
after(struct bench *b, int64_t ms)
{
    b->now += ms * MS;
    runner_tick(b->runner, b->now);
    hear(b);
}

static void
give(struct bench *b, const struct message *m)
{
    runner_input(b->runner, m, b->now);
    hear(b);
    after(b, 0);
}

static void
job_with(struct bench *b, uint64_t id, struct spec spec)
{
    struct message m = {.type = MESSAGE_JOB, .job = {id, NULL}};

    if (spec.cpus == 0)
        spec.cpus = 1;
    if (spec.program.name == NULL)
        spec.program.name = "p";
    spec.function = "f";
    m.job.spec = spec_new(&spec);
    give(b, &m);
    spec_unref(m.job.spec);
}

static void
slice_of(struct bench *b, uint64_t job, uint64_t lease, uint32_t first, uint32_t count)
{
    struct message m = {.type = MESSAGE_SLICE};
    struct blob *data = blob_new(count * sizeof(uint32_t));

    for (uint32_t i = 0; i < count; i++)
        memcpy(data->bytes + i * sizeof(i), &(uint32_t){first + i}, sizeof(i));
    m.slice = (struct message_slice){.lease = lease, .job = job, .first = first, .attempt = 1};
    m.slice.columns = (struct columns){
        .count = count, .size = sizeof(uint32_t), .data = data, .length = count * sizeof(uint32_t)};
    give(b, &m);
    blob_unref(data);
}

static void
slice(struct bench *b, uint64_t lease, uint32_t first, uint32_t count)
{
    slice_of(b, 1, lease, first, count);
}

static void
cancel(struct bench *b, uint64_t first, uint64_t count)
{
    give(b, &(struct message){.type = MESSAGE_CANCEL, .range = {1, first, count}});
}

static void
revoke(struct bench *b, uint64_t lease, uint32_t count)
{
    give(b, &(struct message){.type = MESSAGE_REVOKE, .revoke = {lease, count}});
}

/* ---- what executors do
 * --------------------------------------------------------------------------- */

static void
hello(struct bench *b, unsigned executor)
{
    struct message m = {.type = MESSAGE_HELLO};

    m.hello.role = ROLE_EXECUTOR;
    m.hello.protocol = LADLE_PROTOCOL;
    runner_heard(b->runner, executor, &m, b->now);
    after(b, 0);
}

/* It starts the task with this offset in its slice, as the board says. */
static void
starts(struct bench *b, unsigned executor, uint32_t offset)
{
    struct board *board = b->boards[executor];
    uint64_t lease = b->leases[executor];
    _Atomic uint64_t *range = &board->ranges[lease % BOARD_SLICES];
    uint64_t was = atomic_load(range);

    assert_true(was >> 32 == lease && offset < BOARD_LIMIT(was));
    atomic_store(range, BOARD_RANGE(lease, offset + 1, BOARD_LIMIT(was)));
    atomic_store(&board->lease, lease);
    atomic_store(&board->started, b->now);
    atomic_store(&board->running, offset + 1);
}

static void
ends_as(struct bench *b, unsigned executor, uint32_t offset, uint32_t count, uint64_t run_us,
        enum outcome outcome)
{
    struct message m = {.type = MESSAGE_RESULTS};
    _Atomic uint64_t *range = &b->boards[executor]->ranges[b->leases[executor] % BOARD_SLICES];
    uint64_t was = atomic_load(range);
    uint8_t outcomes[64];

    memset(outcomes, outcome, sizeof(outcomes));
    m.results.job = 1;
    m.results.lease = b->leases[executor];
    m.results.first = b->firsts[executor] + offset;
    m.results.run_us = run_us;
    m.results.columns =
        (struct columns){.count = count, .outcomes = outcome == OUTCOME_DONE ? NULL : outcomes};
    if (offset + count > BOARD_NEXT(was))
        atomic_store(range, BOARD_RANGE(m.results.lease, offset + count, BOARD_LIMIT(was)));
    runner_heard(b->runner, executor, &m, b->now);
    hear(b);
    after(b, 0);
}

static void
ends(struct bench *b, unsigned executor, uint32_t offset, uint32_t count)
{
    ends_as(b, executor, offset, count, count * 100 * MS, OUTCOME_DONE);
}

/* A result that was made and not sent. */
static void
commits(struct bench *b, unsigned executor, uint32_t offset, const char *result)
{
    struct board *board = b->boards[executor];
    uint32_t n = atomic_load(&board->committed);
    struct board_record record = {offset, OUTCOME_DONE, (uint32_t)strlen(result), 10};
    uint8_t *at = board->results;

    for (uint32_t i = 0; i < n; i++)
        at += BOARD_ROOM(((struct board_record *)(void *)at)->size);
    memcpy(at, &record, sizeof(record));
    memcpy(at + sizeof(record), result, strlen(result));
    atomic_store(&board->committed, n + 1);
}

static void
dies(struct bench *b, unsigned executor, const char *cause)
{
    struct runner_end end = {.cause = cause, .words = ""};

    runner_ended(b->runner, executor, &end, b->now);
    free(b->boards[executor]);
    b->boards[executor] = NULL;
    hear(b);
    after(b, 0);
}

/* ---- histories
 * ----------------------------------------------------------------------------------- */

static void
expect(struct bench *b, const char *history)
{
    assert_string_equal(b->history, history);
    forget(b);
}

static struct bench *
open_bench(struct runner_config config)
{
    static const struct program program = {.name = "p", .machine = "", .arguments = ""};
    struct bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    config.program = &program;
    if (config.slots == 0)
        config.slots = 1;
    config.grace_us = 5000 * MS;
    config.name = "node1";
    config.hands = &hands;
    config.arg = b;
    b->now = 1000 * MS;
    b->runner = runner_new(&config);
    assert_non_null(b->runner);
    return b;
}

/* With executors that have said hello. */
static struct bench *
open_local(struct runner_config config)
{
    struct bench *b;

    config.local = true;
    b = open_bench(config);
    runner_warm(b->runner, config.slots > 0 ? config.slots : 1, b->now);
    for (unsigned i = 0; i < (config.slots > 0 ? config.slots : 1); i++)
        hello(b, i);
    job_with(b, 1, (struct spec){.timeout_ms = 0});
    forget(b);
    return b;
}

static void
close_bench(struct bench *b)
{
    runner_check(b->runner);
    runner_free(b->runner);
    for (int i = 0; i < MOST; i++)
        free(b->boards[i]);
    free(b);
}

static void
slice_is_run_by_an_executor_that_starts_for_it(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 2);
    expect(b, "start 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 0+2\n");
    ends(b, 0, 0, 1);
    ends(b, 0, 1, 1);
    expect(b, "-> lease 1: 0 DONE\n-> lease 1: 1 DONE\n");
    slice(b, 2, 2, 1);
    expect(b, "0: slice 2+1\n"); /* it knows the job by now */
    close_bench(b);
}

static void
first_come_is_first_served(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    slice(b, 2, 1, 1);
    slice(b, 3, 2, 1);
    expect(b, "0: job\n0: slice 0+1\n");
    ends(b, 0, 0, 1);
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n0: slice 1+1\n-> lease 2: 1 DONE\n0: slice 2+1\n");
    close_bench(b);
}

static void
short_slices_wait_in_the_executor(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    ends_as(b, 0, 0, 1, 1, OUTCOME_DONE); /* a microsecond */
    forget(b);
    slice(b, 2, 1, 10);
    slice(b, 3, 11, 10);
    slice(b, 4, 21, 10);
    expect(b, "0: slice 1+10\n0: slice 11+10\n");
    revoke(b, 3, 10); /* it can be taken from there all the same */
    expect(b, "-> lease 3: returned 11+10 why 0\n0: slice 21+10\n");
    dies(b, 0, "crash");
    expect(b, "start 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 1+10\n0: slice 21+10\n");
    close_bench(b);
}

static void
crash_is_charged_to_the_running_task_alone(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 7, 10, 5);
    ends(b, 0, 0, 1);
    starts(b, 0, 1);
    commits(b, 0, 1, "kept");
    starts(b, 0, 2);
    forget(b);
    dies(b, 0, "killed by signal 11 (Segmentation fault)");
    expect(b, "-> lease 7: 11 DONE kept\n"
              "-> lease 7: 12 CRASHED killed by signal 11 (Segmentation fault)\n"
              "start 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 13+2\n");
    close_bench(b);
}

static void
result_that_was_sent_and_is_on_the_board_counts_once(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    starts(b, 0, 0);
    commits(b, 0, 0, "one");
    starts(b, 0, 1);
    commits(b, 0, 1, "two");
    ends(b, 0, 0, 1);
    starts(b, 0, 2);
    forget(b);
    dies(b, 0, "exited with status 3");
    expect(b, "-> lease 1: 1 DONE two\n-> lease 1: 2 CRASHED exited with status 3\n");
    close_bench(b);
}

static void
results_behind_a_long_task_are_read_from_the_board(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    starts(b, 0, 0);
    commits(b, 0, 0, "one");
    starts(b, 0, 1);
    forget(b);
    after(b, 4);
    expect(b, "");
    after(b, 2);
    expect(b, "-> lease 1: 0 DONE one\n");
    ends(b, 0, 0, 2); /* and sent later, with the next */
    expect(b, "-> lease 1: 1 DONE\n");
    close_bench(b);
}

static void
garbage_on_a_board_is_not_believed(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    starts(b, 0, 1);
    memset(b->boards[0]->results, 0xff, BOARD_RESULTS);
    atomic_store(&b->boards[0]->committed, UINT32_MAX);
    forget(b);
    dies(b, 0, "crash");
    /* Its results are gone with its board: task 0 runs again, and has no part in it. */
    expect(b, "-> lease 1: 1 CRASHED crash\nstart 0 p\n");
    hello(b, 0);
    assert_non_null(strstr(b->history, "0: slice 0+1\n"));
    ends(b, 0, 0, 1);
    assert_non_null(strstr(b->history, "0: slice 2+1\n"));
    close_bench(b);
}

static void
executor_that_dies_between_tasks_is_nobodys_fault_three_times(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 2);
    for (int i = 0; i < 3; i++) {
        if (i > 0)
            hello(b, 0);
        forget(b);
        dies(b, 0, "exited with status 1");
    }
    expect(b, "-> program failed: its executors end before they run a task: exited with status 1\n"
              "-> lease 1: returned 0+2 why 2\n");
    close_bench(b);
}

static void
failed_start_in_a_pool_is_told_of_the_program_of_its_jobs(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){.program = {.name = "q", .machine = "", .arguments = ""}});
    slice(b, 1, 0, 1);
    dies(b, 0, "exited with status 2");
    assert_string_equal(b->failed, "q"); /* the pool itself knows it as "p" */
    close_bench(b);
}

static void
task_that_spoils_the_connection_is_found_among_its_neighbours(void **state)
{
    static const char cause[] = "sent what is no message to its worker";
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 4);
    starts(b, 0, 3);
    atomic_store(&b->boards[0]->running, 0); /* all are over, and their results went nowhere */
    forget(b);
    dies(b, 0, cause);
    expect(b, "start 0 p\n");
    hello(b, 0);
    assert_non_null(strstr(b->history, "0: slice 0+2\n"));
    ends(b, 0, 0, 2);
    assert_non_null(strstr(b->history, "0: slice 2+2\n"));
    starts(b, 0, 1);
    atomic_store(&b->boards[0]->running, 0);
    dies(b, 0, cause);
    hello(b, 0);
    assert_non_null(strstr(b->history, "0: slice 2+1\n"));
    starts(b, 0, 0);
    atomic_store(&b->boards[0]->running, 0);
    forget(b);
    dies(b, 0, cause);
    expect(b, "-> lease 1: 2 CRASHED sent what is no message to its worker\nstart 0 p\n");
    hello(b, 0);
    ends(b, 0, 0, 1);
    assert_non_null(strstr(b->history, "-> lease 1: 3 DONE\n"));
    close_bench(b);
}

static void
revoke_takes_from_the_end_and_from_the_queue_first(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 10);
    slice(b, 2, 10, 4);
    starts(b, 0, 0);
    forget(b);
    revoke(b, 2, 1);
    revoke(b, 2, 10);
    revoke(b, 1, 4);
    revoke(b, 1, 100);
    revoke(b, 1, 100);
    revoke(b, 99, 1);
    expect(b, "-> lease 2: returned 13+1 why 0\n"
              "-> lease 2: returned 10+3 why 0\n"
              "-> lease 1: returned 6+4 why 0\n"
              "-> lease 1: returned 1+5 why 0\n"
              "-> lease 1: returned 0+0 why 0\n"
              "-> lease 99: returned 0+0 why 0\n");
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n");
    assert_true(runner_idle(b->runner));
    close_bench(b);
}

static void
slice_that_is_revoked_before_it_began_leaves_its_executor_idle(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    forget(b);
    revoke(b, 1, 3);
    expect(b, "-> lease 1: returned 0+3 why 0\n");
    slice(b, 2, 0, 1);
    expect(b, "0: slice 0+1\n");
    close_bench(b);
}

static void
cancel_cuts_queued_tasks_out(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    slice(b, 2, 1, 5);
    forget(b);
    cancel(b, 3, 2);
    expect(b, "-> lease 2: 3 CANCELLED\n-> lease 2: 4 CANCELLED\n");
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n0: slice 1+2\n");
    ends(b, 0, 0, 2);
    expect(b, "-> lease 2: 1 DONE\n-> lease 2: 2 DONE\n0: slice 5+1\n");
    close_bench(b);
}

static void
cancelled_task_is_asked_then_told_then_killed(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    starts(b, 0, 0);
    forget(b);
    cancel(b, 0, 1);
    assert_int_equal(atomic_load(&b->boards[0]->cancel), b->leases[0] << 32 | 1);
    expect(b, "");
    after(b, 199);
    expect(b, "-> lease 1: 0 runs\n");
    after(b, 1);
    expect(b, "signal 15 to 0\n");
    after(b, 4999);
    expect(b, "");
    after(b, 1);
    expect(b, "signal 9 to 0\n");
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "-> lease 1: 0 CANCELLED\nstart 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 1+2\n");
    close_bench(b);
}

static void
cancelled_task_that_gives_up_is_cancelled(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    cancel(b, 0, 1);
    forget(b);
    ends_as(b, 0, 0, 1, 10, OUTCOME_FAILED);
    expect(b, "-> lease 1: 0 CANCELLED\n");
    after(b, 10000);
    expect(b, ""); /* and nobody is killed for it */
    close_bench(b);
}

static void
cancelled_task_that_was_faster_is_done(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    cancel(b, 0, 1);
    forget(b);
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n");
    close_bench(b);
}

static void
timeout_is_of_one_task_not_of_its_slice(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){.timeout_ms = 500});
    slice(b, 1, 0, 3);
    hello(b, 0);
    starts(b, 0, 0);
    after(b, 400);
    ends(b, 0, 0, 1);
    starts(b, 0, 1);
    after(b, 400);
    forget(b);
    after(b, 99);
    expect(b, "");
    after(b, 1);
    expect(b, "signal 15 to 0\n");
    dies(b, 0, "killed by signal 15 (Terminated)");
    expect(b, "-> lease 1: 1 TIMED_OUT ran longer than its timeout of 500 ms\nstart 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 2+1\n");
    close_bench(b);
}

static void
idle_executor_steals_half_of_what_takes_long(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    slice(b, 1, 0, 9);
    expect(b, "0: job\n0: slice 0+9\n");
    starts(b, 0, 0);
    after(b, 1);
    expect(b, "1: job\n1: slice 5+4\n");
    after(b, 1);
    expect(b, "");
    close_bench(b);
}

/* Its input is still on the way: whoever took the task would have it taken away in the same state.
 */
static void
task_that_is_about_to_start_is_not_stolen(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    slice(b, 1, 0, 1);
    ends_as(b, 0, 0, 1, 60000000, OUTCOME_DONE); /* a minute: well worth it */
    forget(b);
    slice(b, 2, 0, 1);
    expect(b, "0: slice 0+1\n");
    after(b, 1000);
    expect(b, "");
    starts(b, 0, 0);
    ends(b, 0, 0, 1);
    forget(b);
    slice(b, 3, 0, 3);
    expect(b, "0: slice 0+3\n1: job\n1: slice 2+1\n");
    after(b, 1000);
    expect(b, "");
    close_bench(b);
}

static void
short_work_is_not_worth_stealing(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    slice(b, 1, 0, 1);
    ends_as(b, 0, 0, 1, 1, OUTCOME_DONE); /* a microsecond */
    forget(b);
    slice(b, 2, 0, 100);
    expect(b, "0: slice 0+100\n");
    close_bench(b);
}

static void
wide_tasks_take_several_slots(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 4, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){.cpus = 3});
    job_with(b, 2, (struct spec){.cpus = 1});
    slice(b, 1, 0, 1);
    slice(b, 2, 1, 1);
    slice_of(b, 2, 3, 0, 1);
    expect(b, "start 0 p\n");
    hello(b, 0);
    expect(b, "0: welcome\n0: job\n0: slice 0+1\n"); /* one slot is left, for nobody yet */
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n0: slice 1+1\nstart 1 p\n");
    hello(b, 1);
    expect(b, "1: welcome\n1: job\n1: slice 0+1\n");
    close_bench(b);
}

static void
executor_without_a_board_gets_one_task_at_a_time(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    b->unattached = true;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 3);
    hello(b, 0);
    expect(b, "start 0 p\n0: welcome\n0: job\n0: slice 0+1\n");
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n0: slice 1+1\n");
    dies(b, 0, "crash");
    expect(b, "-> lease 1: 1 CRASHED crash\nstart 0 p\n");
    close_bench(b);
}

static void
executor_is_replaced_after_its_share(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1, .tasks_per_executor = 2});

    (void)state;
    slice(b, 1, 0, 3);
    expect(b, "0: job\n0: slice 0+2\n");
    ends(b, 0, 0, 2);
    expect(b, "hang up 0\n-> lease 1: 0 DONE\n-> lease 1: 1 DONE\nstart 1 p\n");
    hello(b, 1);
    dies(b, 0, "exited with status 0");
    expect(b, "1: welcome\n1: job\n1: slice 2+1\n");
    close_bench(b);
}

static void
programs_are_fetched_before_they_start_and_make_room(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1});

    (void)state;
    job_with(b, 1, (struct spec){.program = {.name = "one"}});
    job_with(b, 2, (struct spec){.program = {.name = "two"}});
    slice_of(b, 1, 1, 0, 1);
    slice_of(b, 2, 2, 0, 1);
    expect(b, "want one\nwant two\n");
    runner_program_ready(b->runner, "two", b->now);
    after(b, 0);
    expect(b, "start 0 two\n");
    hello(b, 0);
    ends(b, 0, 0, 1);
    expect(b, "0: welcome\n0: job\n0: slice 0+1\n-> lease 2: 0 DONE\n");
    runner_program_ready(b->runner, "one", b->now);
    after(b, 0);
    expect(b, "hang up 0\nstart 1 one\n"); /* it was idle, and in the way */
    runner_program_failed(b->runner, "two", "late", false, b->now);
    after(b, 0);
    expect(b, "");
    close_bench(b);
}

static void
program_that_cannot_start_returns_its_tasks(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 2});

    (void)state;
    job_with(b, 1, (struct spec){.program = {.name = "one"}});
    slice(b, 1, 0, 2);
    slice(b, 2, 2, 2);
    forget(b);
    runner_program_failed(b->runner, "one", "is for aarch64", false, b->now);
    after(b, 0);
    slice(b, 3, 4, 1);
    expect(b, "-> program failed: is for aarch64\n"
              "-> lease 1: returned 0+2 why 2\n"
              "-> lease 2: returned 2+2 why 2\n"
              "-> program failed: is for aarch64\n"
              "-> lease 3: returned 4+1 why 2\n");
    close_bench(b);
}

static void
program_that_cannot_be_executed_is_told_at_once(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 2});

    (void)state;
    job_with(b, 1, (struct spec){.program = {.name = "one"}});
    slice(b, 1, 0, 1);
    slice(b, 2, 1, 1);
    b->why = "Exec format error";
    forget(b);
    runner_program_ready(b->runner, "one", b->now);
    after(b, 0);
    expect(b, "no start\n"
              "-> program failed: Exec format error\n"
              "-> lease 1: returned 0+1 why 2\n"
              "-> lease 2: returned 1+1 why 2\n");
    close_bench(b);
}

static void
machine_without_room_is_tried_again(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    b->refuse = true;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    after(b, 50);
    expect(b, "no start\n");
    assert_int_equal(runner_deadline(b->runner, b->now), b->now + 50 * MS);
    b->refuse = false;
    after(b, 50);
    expect(b, "start 0 p\n");
    close_bench(b);
}

static void
executor_that_never_says_hello_is_a_program_that_failed(void **state)
{
    struct bench *b = open_bench((struct runner_config){.slots = 1, .local = true});

    (void)state;
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    after(b, 29999);
    expect(b, "start 0 p\n");
    after(b, 1);
    expect(b, "signal 9 to 0\n");
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "-> program failed: did not come to futures_new() within 30 s\n"
              "-> lease 1: returned 0+1 why 2\n");
    close_bench(b);
}

static void
drain_returns_what_did_not_start(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 3);
    slice(b, 2, 3, 1);
    starts(b, 0, 0);
    forget(b);
    runner_drain(b->runner, b->now);
    slice(b, 3, 4, 1);
    expect(b, "-> draining\n"
              "-> lease 1: returned 1+2 why 1\n"
              "-> lease 2: returned 3+1 why 1\n"
              "-> lease 3: returned 4+1 why 1\n");
    assert_false(runner_idle(b->runner));
    ends(b, 0, 0, 1);
    assert_true(runner_idle(b->runner));
    close_bench(b);
}

static void
reset_kills_what_runs_and_keeps_what_is_idle(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 2});

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    slice(b, 2, 1, 1);
    ends(b, 1, 0, 1);
    forget(b);
    runner_reset(b->runner, b->now);
    hear(b);
    expect(b, "signal 9 to 0\n1: job_end\n");
    job_with(b, 1, (struct spec){0});
    slice(b, 1, 0, 1);
    expect(b, "1: job\n1: slice 0+1\n");
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "");
    close_bench(b);
}

static void
end_of_a_job_is_the_end_of_its_tasks(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});
    struct message m = {.type = MESSAGE_JOB_END, .job_end = {1, 2}};

    (void)state;
    slice(b, 1, 0, 1);
    starts(b, 0, 0);
    slice(b, 2, 1, 1);
    forget(b);
    give(b, &m);
    expect(b, "0: job_end\n-> lease 2: 1 CANCELLED\n");
    ends(b, 0, 0, 1);
    expect(b, "-> lease 1: 0 DONE\n");
    slice(b, 3, 2, 1);
    expect(b, "-> lease 3: returned 2+1 why 3\n"); /* of a job that is forgotten */
    close_bench(b);
}

static void
results_that_nobody_asked_for_end_the_executor(void **state)
{
    struct bench *b = open_local((struct runner_config){.slots = 1});

    (void)state;
    slice(b, 1, 0, 2);
    starts(b, 0, 0);
    forget(b);
    ends(b, 0, 1, 1); /* the second before the first */
    expect(b, "signal 9 to 0\n");
    dies(b, 0, "killed by signal 9 (Killed)");
    expect(b, "-> lease 1: 0 CRASHED sent results of tasks that it did not have\nstart 0 p\n");
    close_bench(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slice_is_run_by_an_executor_that_starts_for_it),
        cmocka_unit_test(first_come_is_first_served),
        cmocka_unit_test(short_slices_wait_in_the_executor),
        cmocka_unit_test(crash_is_charged_to_the_running_task_alone),
        cmocka_unit_test(result_that_was_sent_and_is_on_the_board_counts_once),
        cmocka_unit_test(results_behind_a_long_task_are_read_from_the_board),
        cmocka_unit_test(garbage_on_a_board_is_not_believed),
        cmocka_unit_test(executor_that_dies_between_tasks_is_nobodys_fault_three_times),
        cmocka_unit_test(failed_start_in_a_pool_is_told_of_the_program_of_its_jobs),
        cmocka_unit_test(task_that_spoils_the_connection_is_found_among_its_neighbours),
        cmocka_unit_test(revoke_takes_from_the_end_and_from_the_queue_first),
        cmocka_unit_test(slice_that_is_revoked_before_it_began_leaves_its_executor_idle),
        cmocka_unit_test(cancel_cuts_queued_tasks_out),
        cmocka_unit_test(cancelled_task_is_asked_then_told_then_killed),
        cmocka_unit_test(cancelled_task_that_gives_up_is_cancelled),
        cmocka_unit_test(cancelled_task_that_was_faster_is_done),
        cmocka_unit_test(timeout_is_of_one_task_not_of_its_slice),
        cmocka_unit_test(idle_executor_steals_half_of_what_takes_long),
        cmocka_unit_test(task_that_is_about_to_start_is_not_stolen),
        cmocka_unit_test(short_work_is_not_worth_stealing),
        cmocka_unit_test(wide_tasks_take_several_slots),
        cmocka_unit_test(executor_without_a_board_gets_one_task_at_a_time),
        cmocka_unit_test(executor_is_replaced_after_its_share),
        cmocka_unit_test(programs_are_fetched_before_they_start_and_make_room),
        cmocka_unit_test(program_that_cannot_start_returns_its_tasks),
        cmocka_unit_test(program_that_cannot_be_executed_is_told_at_once),
        cmocka_unit_test(machine_without_room_is_tried_again),
        cmocka_unit_test(executor_that_never_says_hello_is_a_program_that_failed),
        cmocka_unit_test(drain_returns_what_did_not_start),
        cmocka_unit_test(reset_kills_what_runs_and_keeps_what_is_idle),
        cmocka_unit_test(end_of_a_job_is_the_end_of_its_tasks),
        cmocka_unit_test(results_that_nobody_asked_for_end_the_executor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
