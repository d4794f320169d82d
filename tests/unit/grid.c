#include "grid.h"

#include "../../proto/limits.h"
#include "tape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_US 100000

int
grid_setup_with(void **state, const struct scheduler_config *config)
{
    struct grid *g = calloc(1, sizeof(*g));

    assert_non_null(g);
    g->now = 1000;
    g->scheduler = scheduler_new(config, g->now);
    assert_non_null(g->scheduler);
    *state = g;
    return 0;
}

int
grid_setup(void **state)
{
    return grid_setup_with(state, &(struct scheduler_config){.software = "test", .instance = 7});
}

int
grid_teardown(void **state)
{
    struct grid *g = *state;

    scheduler_check(g->scheduler);
    scheduler_free(g->scheduler);
    free(g);
    return 0;
}

static void
drain(struct grid *g)
{
    struct message m;
    uint32_t peer;
    char text[512], number[16];

    while (scheduler_output(g->scheduler, &peer, &m)) {
        if ((m.type == MESSAGE_BEAT && !g->beats) ||
            (m.type == MESSAGE_GRID && m.client != 0 && !g->idle))
            continue;
        tape_describe(&m, text, sizeof(text));
        number[0] = '\0';
        if (m.client != 0)
            snprintf(number, sizeof(number), ".%u", m.client);
        g->length += (size_t)snprintf(g->tape + g->length, sizeof(g->tape) - g->length,
                                      "%u%s: %s\n", peer, number, text);
        assert_true(g->length < sizeof(g->tape));
    }
}

int
grid_say(struct grid *g, uint32_t peer, const struct message *m)
{
    struct message copy = *m;
    int result;

    copy.client = peer / CARRIED(0, 1);
    result = scheduler_input(g->scheduler, peer % CARRIED(0, 1), &copy, g->now);
    scheduler_check(g->scheduler);
    return result;
}

void
grid_tick(struct grid *g)
{
    scheduler_tick(g->scheduler, g->now);
    scheduler_check(g->scheduler);
    drain(g);
}

void
grid_pass(struct grid *g, int64_t us)
{
    while (us > 0) {
        int64_t step = us < STEP_US ? us : STEP_US;

        g->now += step;
        us -= step;
        grid_tick(g);
    }
}

const char *
grid_tape(struct grid *g)
{
    grid_tick(g);
    g->tape[g->length] = '\0';
    g->length = 0;
    return g->tape;
}

void
grid_forget(struct grid *g)
{
    (void)grid_tape(g);
}

static void
hello_as(struct grid *g, uint32_t peer, uint32_t session, struct message_hello *hello)
{
    struct message m = {.type = MESSAGE_HELLO};

    hello->protocol = LADLE_PROTOCOL;
    hello->software = "test";
    hello->session[0] = (uint8_t)session;
    hello->session[1] = 1;
    hello->session[2] = (uint8_t)(session >> 8);
    m.hello = *hello;
    assert_int_equal(grid_say(g, peer, &m), 0);
}

static void
hello(struct grid *g, uint32_t peer, struct message_hello *hello)
{
    hello_as(g, peer, peer, hello);
}

void
grid_client_kept(struct grid *g, uint32_t peer, uint32_t session, uint64_t keep_ms)
{
    hello_as(g, peer, session,
             &(struct message_hello){.role = ROLE_CLIENT,
                                     .name = "program",
                                     .host = "here",
                                     .machine = "",
                                     .labels = "",
                                     .keep_ms = keep_ms});
}

void
grid_client(struct grid *g, uint32_t peer)
{
    hello(g, peer,
          &(struct message_hello){
              .role = ROLE_CLIENT, .name = "program", .host = "here", .machine = "", .labels = ""});
}

void
grid_worker_with(struct grid *g, uint32_t peer, const char *name, uint32_t slots,
                 const char *machine, const char *labels)
{
    hello(g, peer,
          &(struct message_hello){.role = ROLE_WORKER,
                                  .name = name,
                                  .host = "there",
                                  .slots = slots,
                                  .machine = machine,
                                  .labels = labels});
}

void
grid_worker(struct grid *g, uint32_t peer, const char *name, uint32_t slots)
{
    grid_worker_with(g, peer, name, slots, "x86_64", "");
}

void
grid_beat(struct grid *g, uint32_t peer)
{
    assert_int_equal(grid_say(g, peer, &(struct message){.type = MESSAGE_BEAT}), 0);
}

struct spec
grid_spec(void)
{
    return (struct spec){.program = {.digest = "d", .name = "program", .machine = "x86_64"},
                         .function = "square",
                         .name = "",
                         .needs = "",
                         .retries = 2,
                         .cpus = 1};
}

void
grid_job(struct grid *g, uint32_t peer, uint64_t job, const struct spec *spec)
{
    struct spec *copy = spec_new(spec);

    assert_int_equal(
        grid_say(g, peer,
                 &(struct message){.type = MESSAGE_JOB, .job = {.job = job, .spec = copy}}),
        0);
    spec_unref(copy);
}

static struct blob *
numbers(uint64_t first, uint32_t count)
{
    struct blob *b = blob_new(count * sizeof(uint64_t));

    assert_non_null(b);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number = first + i;

        memcpy(b->bytes + i * sizeof(number), &number, sizeof(number));
    }
    return b;
}

static void
inputs(struct grid *g, uint32_t peer, struct message_inputs of, uint32_t count)
{
    struct message m = {.type = MESSAGE_INPUTS, .inputs = of};

    m.inputs.columns = (struct columns){.count = count,
                                        .size = sizeof(uint64_t),
                                        .data = numbers(m.inputs.first, count),
                                        .length = count * sizeof(uint64_t)};
    assert_int_equal(grid_say(g, peer, &m), 0);
    blob_unref(m.inputs.columns.data);
}

void
grid_taken(struct grid *g, uint32_t peer, uint64_t bytes)
{
    assert_int_equal(
        grid_say(g, peer, &(struct message){.type = MESSAGE_TAKEN, .taken = {.bytes = bytes}}), 0);
}

void
grid_told(struct grid *g, uint32_t peer)
{
    assert_int_equal(grid_say(g, peer, &(struct message){.type = MESSAGE_TOLD}), 0);
}

void
grid_inputs(struct grid *g, uint32_t peer, uint64_t job, uint64_t first, uint32_t count)
{
    inputs(g, peer, (struct message_inputs){.job = job, .first = first}, count);
}

void
grid_inputs_again(struct grid *g, uint32_t peer, uint64_t job, uint64_t first, uint32_t count,
                  bool running)
{
    inputs(g, peer,
           (struct message_inputs){.job = job, .first = first, .again = true, .running = running},
           count);
}

void
grid_inputs_charged(struct grid *g, uint32_t peer, uint64_t job, uint64_t first, uint32_t count,
                    uint32_t charged)
{
    inputs(g, peer,
           (struct message_inputs){.job = job, .first = first, .again = true, .charged = charged},
           count);
}

void
grid_end(struct grid *g, uint32_t peer, uint64_t job, uint64_t total)
{
    assert_int_equal(grid_say(g, peer,
                              &(struct message){.type = MESSAGE_JOB_END,
                                                .job_end = {.job = job, .total = total}}),
                     0);
}

void
grid_cancel(struct grid *g, uint32_t peer, uint64_t job, uint64_t first, uint64_t count)
{
    assert_int_equal(
        grid_say(g, peer,
                 &(struct message){.type = MESSAGE_CANCEL,
                                   .range = {.job = job, .first = first, .count = count}}),
        0);
}

int
grid_results(struct grid *g, uint32_t peer, uint64_t lease, uint64_t job, uint64_t first,
             uint32_t count, uint64_t run_us, const char *outcomes)
{
    uint8_t list[64];
    struct message m = {.type = MESSAGE_RESULTS,
                        .results = {.job = job,
                                    .lease = lease,
                                    .first = first,
                                    .attempt = 1,
                                    .worker = "",
                                    .run_us = run_us}};
    int result;

    for (uint32_t i = 0; outcomes != NULL && i < count; i++)
        list[i] = (uint8_t)(outcomes[i] - '0');
    m.results.columns = (struct columns){.count = count,
                                         .size = sizeof(uint64_t),
                                         .outcomes = outcomes == NULL ? NULL : list,
                                         .data = numbers(first, count),
                                         .length = count * sizeof(uint64_t)};
    result = grid_say(g, peer, &m);
    blob_unref(m.results.columns.data);
    return result;
}

int
grid_returned(struct grid *g, uint32_t peer, uint64_t lease, uint64_t first, uint32_t count,
              enum returned why)
{
    return grid_say(g, peer,
                    &(struct message){
                        .type = MESSAGE_RETURNED,
                        .returned = {.lease = lease, .first = first, .count = count, .why = why}});
}

void
grid_park(struct grid *g, uint32_t peer, uint64_t lease, bool parked)
{
    assert_int_equal(grid_say(g, peer,
                              &(struct message){.type = MESSAGE_PARKED,
                                                .parked = {.lease = lease, .parked = parked}}),
                     0);
}
