#include "bench.h"

#include "../../proto/limits.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
tell(struct bench *b, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    b->at += (size_t)vsnprintf(b->history + b->at, sizeof(b->history) - b->at, format, args);
    va_end(args);
    assert_true(b->at < sizeof(b->history));
}

void
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

    if (m->client != 0) {
        tell(b, "%u: client %u: %s\n", executor, m->client, message_name(m->type));
    } else if (m->type == MESSAGE_CANCEL) {
        tell(b, "%u: cancel %u+%u\n", executor, (unsigned)m->range.first, (unsigned)m->range.count);
    } else if (m->type == MESSAGE_SLICE) {
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
        tell(b, "%u: %s", executor, message_name(m->type));
        for (uint32_t i = 0; m->type == MESSAGE_JOB && i < m->job.spec->nshared; i++)
            tell(b, " %s=%s", m->job.spec->shared[i].name, m->job.spec->shared[i].path);
        tell(b, "\n");
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
limit(void *arg, unsigned executor, uint64_t bytes)
{
    tell(arg, "limit %u to %u\n", executor, (unsigned)bytes);
}

static uint64_t
usage(void *arg, unsigned executor)
{
    const struct bench *b = arg;

    return b->usage[executor];
}

static void
sweep(void *arg, unsigned executor)
{
    struct bench *b = arg;

    if (b->sweeps)
        tell(b, "sweep %u\n", executor);
}

static void
want(void *arg, const struct program *program)
{
    tell(arg, "want %s\n", program->name);
}

static void
want_shared(void *arg, const struct shared *shared)
{
    tell(arg, "want shared %.8s\n", shared->digest);
}

static void
drop_shared(void *arg, const char *digest)
{
    tell(arg, "drop shared %.8s\n", digest);
}

static const struct runner_hands hands = {.start = start,
                                          .send = send_to,
                                          .hang_up = hang_up,
                                          .signal = send_signal,
                                          .limit = limit,
                                          .usage = usage,
                                          .sweep = sweep,
                                          .want = want,
                                          .want_shared = want_shared,
                                          .drop_shared = drop_shared};

/* ---- what is done to it -------------------------------------------------------------------------
 */

void
hear(struct bench *b)
{
    struct message m;

    while (runner_output(b->runner, &m)) {
        if (m.client != 0) {
            tell(b, "-> client %u: %s\n", m.client, message_name(m.type));
            continue;
        }
        switch (m.type) {
        case MESSAGE_PARKED:
            tell(b, "-> lease %u: %s\n", (unsigned)m.parked.lease,
                 m.parked.parked ? "parked" : "awake");
            break;
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
        case MESSAGE_HELD:
            tell(b, "-> held %u of job %u attempt %u cpus %u%s:", (unsigned)m.held.lease,
                 (unsigned)m.held.job, m.held.attempt, m.held.cpus, m.held.parked ? " parked" : "");
            for (uint32_t i = 0; i < m.held.nruns; i += 2)
                tell(b, " %u+%u", (unsigned)m.held.first + m.held.runs[i], m.held.runs[i + 1]);
            tell(b, "\n");
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

void
after(struct bench *b, int64_t ms)
{
    b->now += ms * MS;
    runner_tick(b->runner, b->now);
    hear(b);
}

void
give(struct bench *b, const struct message *m)
{
    runner_input(b->runner, m, b->now);
    hear(b);
    after(b, 0);
}

void
job_with(struct bench *b, uint64_t id, struct spec spec)
{
    struct message m = {.type = MESSAGE_JOB, .job = {.job = id}};

    if (spec.cpus == 0)
        spec.cpus = 1;
    if (spec.program.name == NULL)
        spec.program.name = "p";
    spec.function = "f";
    m.job.spec = spec_new(&spec);
    give(b, &m);
    spec_unref(m.job.spec);
}

void
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

void
slice(struct bench *b, uint64_t lease, uint32_t first, uint32_t count)
{
    slice_of(b, 1, lease, first, count);
}

void
cancel(struct bench *b, uint64_t first, uint64_t count)
{
    give(b, &(struct message){.type = MESSAGE_CANCEL, .range = {1, first, count}});
}

void
revoke(struct bench *b, uint64_t lease, uint32_t count)
{
    give(b, &(struct message){.type = MESSAGE_REVOKE, .revoke = {lease, count}});
}

/* ---- what executors do
 * --------------------------------------------------------------------------- */

void
says(struct bench *b, unsigned executor, const struct message *m)
{
    runner_heard(b->runner, executor, m, b->now);
    hear(b);
    after(b, 0);
}

void
hello_tasks(struct bench *b, unsigned executor, uint32_t tasks)
{
    struct message m = {.type = MESSAGE_HELLO};

    m.hello.role = ROLE_EXECUTOR;
    m.hello.protocol = LADLE_PROTOCOL;
    m.hello.tasks = tasks;
    says(b, executor, &m);
}

void
hello(struct bench *b, unsigned executor)
{
    hello_tasks(b, executor, 0);
}

void
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
ends_with(struct bench *b, unsigned executor, uint32_t offset, const struct columns *c,
          uint64_t run_us)
{
    struct message m = {.type = MESSAGE_RESULTS};
    _Atomic uint64_t *range = &b->boards[executor]->ranges[b->leases[executor] % BOARD_SLICES];
    uint64_t was = atomic_load(range);

    m.results.job = 1;
    m.results.lease = b->leases[executor];
    m.results.first = b->firsts[executor] + offset;
    m.results.run_us = run_us;
    m.results.columns = *c;
    if (offset + c->count > BOARD_NEXT(was))
        atomic_store(range, BOARD_RANGE(m.results.lease, offset + c->count, BOARD_LIMIT(was)));
    runner_heard(b->runner, executor, &m, b->now);
    hear(b);
    after(b, 0);
}

void
ends_as(struct bench *b, unsigned executor, uint32_t offset, uint32_t count, uint64_t run_us,
        enum outcome outcome)
{
    uint8_t outcomes[64];

    memset(outcomes, outcome, sizeof(outcomes));
    ends_with(
        b, executor, offset,
        &(struct columns){.count = count, .outcomes = outcome == OUTCOME_DONE ? NULL : outcomes},
        run_us);
}

void
ends_large(struct bench *b, unsigned executor, uint32_t offset, size_t size)
{
    struct blob *data = blob_new(size);

    memset(data->bytes, 0, size); /* it is written down, up to there */
    ends_with(
        b, executor, offset,
        &(struct columns){.count = 1, .size = (uint32_t)size, .data = data, .length = data->size},
        100 * MS);
    blob_unref(data);
}

void
ends(struct bench *b, unsigned executor, uint32_t offset, uint32_t count)
{
    ends_as(b, executor, offset, count, count * 100 * MS, OUTCOME_DONE);
}

void
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

void
dies_as(struct bench *b, unsigned executor, struct runner_end end)
{
    runner_ended(b->runner, executor, &end, b->now);
    free(b->boards[executor]);
    b->boards[executor] = NULL;
    hear(b);
    after(b, 0);
}

void
dies(struct bench *b, unsigned executor, const char *cause)
{
    dies_as(b, executor, (struct runner_end){.cause = cause, .words = ""});
}

/* ---- waiting -----------------------------------------------------------------------------------
 */

void
parks(struct bench *b, unsigned executor, uint64_t lease, uint64_t index)
{
    struct message m = {.type = MESSAGE_PARKED, .parked = {lease, index, true}};
    _Atomic uint64_t *range = &b->boards[executor]->ranges[lease % BOARD_SLICES];
    uint64_t was = atomic_load(range);

    uint64_t begun = lease == b->leases[executor] ? index - b->firsts[executor] + 1 : 1;

    if (was >> 32 == lease && BOARD_NEXT(was) < begun)
        atomic_store(range, BOARD_RANGE(lease, begun, BOARD_LIMIT(was)));
    atomic_store(&b->boards[executor]->lease, 0);
    atomic_store(&b->boards[executor]->owner, 0);
    says(b, executor, &m);
}

void
wakes(struct bench *b, unsigned executor, uint64_t lease, uint64_t index)
{
    struct message m = {.type = MESSAGE_PARKED, .parked = {lease, index, false}};

    works_for(b, executor, lease, "");
    says(b, executor, &m);
}

void
works_for(struct bench *b, unsigned executor, uint64_t lease, const char *nested)
{
    struct board *board = b->boards[executor];

    snprintf(board->nested, sizeof(board->nested), "%s", nested);
    atomic_store(&board->owner, lease);
}

void
ends_parked(struct bench *b, unsigned executor, uint64_t lease, uint64_t index,
            enum outcome outcome)
{
    struct message m = {.type = MESSAGE_RESULTS};
    uint8_t outcomes[1] = {(uint8_t)outcome};

    m.results.lease = lease;
    m.results.first = index;
    m.results.run_us = 100;
    m.results.columns = (struct columns){.count = 1, .outcomes = outcomes};
    atomic_store(&b->boards[executor]->owner, 0);
    says(b, executor, &m);
}

void
client_says(struct bench *b, unsigned executor, enum message_type type)
{
    struct message m = {.type = type, .client = 7};

    if (type == MESSAGE_BYE)
        m.text = "done";
    says(b, executor, &m);
}

/* ---- histories
 * ----------------------------------------------------------------------------------- */

void
expect(struct bench *b, const char *history)
{
    assert_string_equal(b->history, history);
    forget(b);
}

struct bench *
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

struct bench *
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

void
close_bench(struct bench *b)
{
    runner_check(b->runner);
    runner_free(b->runner);
    for (int i = 0; i < MOST; i++)
        free(b->boards[i]);
    free(b);
}
