#include "lasting.h"

#include "../../proto/limits.h"

#include <stdio.h>
#include <string.h>

int
lasting_setup(void **state)
{
    return grid_setup_with(state, &(struct scheduler_config){.software = "test",
                                                             .instance = LASTING_INSTANCE,
                                                             .lasting = true,
                                                             .first_lease = 100});
}

void
lasting_worker(struct grid *g, uint32_t peer, uint8_t session, uint32_t slots, uint64_t instance)
{
    grid_say(g, peer,
             &(struct message){.type = MESSAGE_HELLO,
                               .hello = {.role = ROLE_WORKER,
                                         .protocol = LADLE_PROTOCOL,
                                         .name = "w",
                                         .host = "there",
                                         .session = {session, 2},
                                         .slots = slots,
                                         .machine = "x86_64",
                                         .labels = "",
                                         .instance = instance}});
}

uint64_t
lasting_number(void)
{
    struct scheduler *s =
        scheduler_new(&(struct scheduler_config){.software = "", .lasting = true}, 1000);
    struct spec spec = grid_spec();
    struct grid other = {.scheduler = s, .now = 1000};
    struct message m;
    uint64_t number = 0;
    uint32_t peer;

    grid_client_kept(&other, 1, 9, 60000);
    grid_worker(&other, 2, "w", 1);
    grid_job(&other, 1, 1, &spec);
    grid_inputs(&other, 1, 1, 0, 1);
    scheduler_tick(s, 1000);
    while (scheduler_output(s, &peer, &m))
        number = m.type == MESSAGE_SLICE ? m.slice.job : number;
    scheduler_free(s);
    assert_int_not_equal(number, 0);
    return number;
}

void
lasting_held_charged(struct grid *g, uint32_t peer, uint64_t lease, uint32_t attempt,
                     uint32_t charged, uint32_t cpus, uint32_t first, uint32_t count)
{
    uint32_t runs[] = {first, count};

    assert_int_equal(grid_say(g, peer,
                              &(struct message){.type = MESSAGE_HELD,
                                                .held = {.lease = lease,
                                                         .job = lasting_number(),
                                                         .attempt = attempt,
                                                         .charged = charged,
                                                         .cpus = cpus,
                                                         .runs = runs,
                                                         .nruns = 2}}),
                     0);
}

void
lasting_held(struct grid *g, uint32_t peer, uint64_t lease, uint32_t attempt, uint32_t cpus,
             uint32_t first, uint32_t count)
{
    lasting_held_charged(g, peer, lease, attempt, 0, cpus, first, count);
}

void
lasting_ends(struct grid *g, uint32_t peer, uint64_t lease, uint32_t first, uint32_t attempt,
             enum outcome outcome)
{
    uint8_t outcomes = (uint8_t)outcome;

    assert_int_equal(
        grid_say(g, peer,
                 &(struct message){.type = MESSAGE_RESULTS,
                                   .results = {.job = lasting_number(),
                                               .lease = lease,
                                               .first = first,
                                               .attempt = attempt,
                                               .worker = "",
                                               .columns = {.count = 1, .outcomes = &outcomes}}}),
        0);
}

void
lasting_results_numbered(struct grid *g, uint32_t peer, uint64_t lease, uint32_t first,
                         uint32_t count, uint32_t attempt, uint64_t serial)
{
    struct blob *data = blob_new(count * 8);
    struct message m = {
        .type = MESSAGE_RESULTS,
        .results = {.job = lasting_number(),
                    .lease = lease,
                    .first = first,
                    .attempt = attempt,
                    .worker = "",
                    .run_us = 1000000,
                    .serial = serial,
                    .columns = {.count = count, .size = 8, .data = data, .length = count * 8}}};

    memset(data->bytes, 0, data->size);
    assert_int_equal(grid_say(g, peer, &m), 0);
    blob_unref(data);
}

void
lasting_results(struct grid *g, uint32_t peer, uint64_t lease, uint32_t first, uint32_t count,
                uint32_t attempt)
{
    lasting_results_numbered(g, peer, lease, first, count, attempt, 0);
}

void
lasting_noted(struct grid *g, uint32_t peer, uint64_t first, uint64_t count)
{
    struct message m = {.type = MESSAGE_NOTED, .range = {1, first, count}};

    assert_int_equal(grid_say(g, peer, &m), 0);
}

void
lasting_client_tells(struct grid *g, uint32_t peer, uint64_t first, uint32_t count, bool running)
{
    struct spec spec = grid_spec();

    grid_client_kept(g, peer, 9, 60000);
    grid_job(g, peer, 1, &spec);
    grid_inputs_again(g, peer, 1, first, count, running);
}

void
lasting_expect(struct grid *g, const char *text)
{
    char seen[4096], hash[40];
    char *at;

    snprintf(seen, sizeof(seen), "%s", grid_tape(g));
    snprintf(hash, sizeof(hash), "%llu", (unsigned long long)lasting_number());
    while ((at = strstr(seen, hash)) != NULL) {
        *at = 'N';
        memmove(at + 1, at + strlen(hash), strlen(at + strlen(hash)) + 1);
    }
    assert_string_equal(seen, text);
}
