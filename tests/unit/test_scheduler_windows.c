/* What may be under way: inputs of clients in executors, at the broker and at workers, and results
 * for them. */
#include "grid.h"

#include "../../proto/limits.h"

#include <string.h>

#define CHILD CARRIED(2, 7) /* the client in an executor of worker 2 */
#define OTHER CARRIED(2, 8)

/* Worker 2, in an executor of which is a client. */
static struct grid *
executor(void **state, uint32_t slots)
{
    struct grid *g = *state;

    grid_worker(g, 2, "node", slots);
    grid_client(g, CHILD);
    grid_forget(g);
    return g;
}

static void
job(struct grid *g, uint32_t client, uint64_t number, uint32_t count)
{
    struct spec spec = grid_spec();

    grid_job(g, client, number, &spec);
    grid_inputs(g, client, number, 0, count);
}

/* One task with an input of this size. */
static int
large(struct grid *g, uint32_t client, uint64_t number, size_t size)
{
    struct spec spec = grid_spec();
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = number}};
    int result;

    grid_job(g, client, number, &spec);
    m.inputs.columns = (struct columns){
        .count = 1, .size = (uint32_t)size, .data = blob_new(size), .length = size};
    assert_non_null(m.inputs.columns.data);
    memset(m.inputs.columns.data->bytes, 0, size);
    result = grid_say(g, client, &m);
    blob_unref(m.inputs.columns.data);
    return result;
}

/* ---- windows ------------------------------------------------------------------------------------
 */

static int
small_windows(void **state)
{
    return grid_setup_with(state, &(struct scheduler_config){
                                      .software = "test", .instance = 7, .client_window = 10000});
}

/* Each waits for the next one, which would not fit beside it. */
static void
a_chain_may_be_longer_than_the_window(void **state)
{
    struct grid *g = executor(state, 1);

    g->idle = true;
    for (uint64_t i = 1; i <= 50; i++) {
        size_t size = i % 10 == 0 ? 50000 : 9000; /* one that is too large goes alone: so it may */

        assert_int_equal(large(g, CHILD, i, size), 0);
        grid_tick(g);
        grid_park(g, 2, i, true);
        assert_null(strstr(grid_tape(g), "refused"));
    }
    grid_forget(g);
    assert_int_equal(large(g, CHILD, 51, 9000), 0);
    grid_tick(g);
    grid_park(g, 2, 51, true);
    assert_non_null(strstr(grid_tape(g), "2.7: grid workers=1 slots=1 idle=1 grant="));
}

static void
the_grant_is_no_more_than_what_waits(void **state)
{
    struct grid *g = executor(state, 1);

    g->idle = true;
    assert_int_equal(large(g, CHILD, 1, 9000), 0);
    grid_tick(g);
    grid_park(g, 2, 1, true);
    assert_non_null(strstr(grid_tape(g), " grant=9064\n"));
    assert_int_equal(large(g, CHILD, 2, 9000), 0);
    grid_tick(g);
    assert_int_equal(large(g, CHILD, 3, 9000), 0);
    assert_non_null(strstr(grid_tape(g), "2.7: refused: more inputs than the window allows\n"));
}

static void
while_others_run_a_part_of_the_window_does(void **state)
{
    struct grid *g = executor(state, 2);

    g->idle = true;
    assert_int_equal(large(g, CHILD, 1, 2000), 0);
    assert_int_equal(large(g, CHILD, 2, 2000), 0);
    grid_forget(g);
    grid_park(g, 2, 1, true);
    assert_null(strstr(grid_tape(g), "grant=2064"));
    grid_results(g, 2, 2, 1, 0, 1, 1, NULL); /* the older one; now all wait */
    assert_non_null(strstr(grid_tape(g), " grant=2064\n"));
    grid_park(g, 2, 1, false);
    assert_int_equal(large(g, CHILD, 3, 9900), 0); /* what was granted stays so */
    assert_null(strstr(grid_tape(g), "refused"));
}

/* What waits does not keep from the worker what it waits for. */
static void
parked_inputs_leave_the_workers_window(void **state)
{
    enum { ROOTS = 10000, SIZE = 1024 };
    struct grid *g = executor(state, 1);
    struct spec spec = grid_spec();
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = 10}};

    grid_client(g, 1);
    grid_job(g, 1, 10, &spec);
    for (uint32_t i = 0; i < ROOTS; i += 100) {
        m.inputs.first = i;
        m.inputs.columns = (struct columns){
            .count = 100, .size = SIZE, .data = blob_new(100 * SIZE), .length = 100 * SIZE};
        assert_non_null(m.inputs.columns.data);
        memset(m.inputs.columns.data->bytes, 0, 100 * SIZE);
        assert_int_equal(scheduler_input(g->scheduler, 1, &m, g->now), 0);
        blob_unref(m.inputs.columns.data);
    }
    for (uint64_t lease = 1; lease <= ROOTS; lease++) {
        uint32_t to;

        scheduler_tick(g->scheduler, g->now);
        while (scheduler_output(g->scheduler, &to, &m))
            continue;
        m = (struct message){.type = MESSAGE_PARKED, .parked = {.lease = lease, .parked = true}};
        assert_int_equal(scheduler_input(g->scheduler, 2, &m, g->now), 0);
    }
    grid_forget(g);
    job(g, CHILD, 1, 1);
    assert_non_null(strstr(grid_tape(g), "2: slice 10001 job=2 0+1 attempt=1\n"));
}

/* A large input waits for room, and gets it although the worker has as many free slots as before.
 */
static void
room_is_seen_when_slots_stay_the_same(void **state)
{
    struct grid *g = *state;

    grid_client(g, 1);
    grid_worker(g, 2, "node", 3);
    assert_int_equal(large(g, 1, 10, 5u << 20), 0);
    assert_int_equal(large(g, 1, 11, 5u << 20), 0);
    assert_null(strstr(grid_tape(g), "slice 2 "));
    grid_results(g, 2, 1, 1, 0, 1, 1000, NULL);
    assert_non_null(strstr(grid_tape(g), "2: slice 2 "));
}

/* ---- results ------------------------------------------------------------------------------------
 */

/* Its worker's connection takes no more: the results wait here, and no more are made. */
static void
results_wait_for_the_connection(void **state)
{
    struct grid *g = executor(state, 1);
    const char *tape;

    grid_worker(g, 3, "other", 1);
    job(g, CHILD, 1, 4);
    grid_forget(g);
    scheduler_backlog(g->scheduler, 2, WINDOW_RESULT);
    grid_results(g, 3, 2, 1, 1, 1, 60000000, NULL);
    grid_results(g, 2, 1, 1, 0, 1, 60000000, NULL);
    grid_expect(g, "");
    scheduler_backlog(g->scheduler, 2, WINDOW_RESULT - 1);
    scheduler_check(g->scheduler);
    tape = grid_tape(g); /* one, and with it the connection is full; but it took that at once */
    assert_non_null(strstr(tape, "2.7: results 0 job=1 1+1 attempt=1\n"));
    assert_non_null(strstr(tape, "2.7: results 0 job=1 0+1 attempt=1\n"));
    assert_non_null(strstr(grid_tape(g), "3: slice 3 job=1 2+1 attempt=1\n"));
}

static void
a_large_result_holds_the_others_up_until_it_is_gone(void **state)
{
    struct grid *g = executor(state, 2);
    struct message m = {.type = MESSAGE_RESULTS,
                        .results = {.job = 1, .lease = 1, .attempt = 1, .worker = ""}};
    size_t size = WINDOW_RESULT;
    uint32_t to;

    grid_client(g, OTHER);
    job(g, CHILD, 1, 1);
    job(g, OTHER, 1, 1);
    grid_forget(g);
    m.results.columns = (struct columns){
        .count = 1, .size = (uint32_t)size, .data = blob_new(size), .length = size};
    assert_non_null(m.results.columns.data);
    assert_int_equal(scheduler_input(g->scheduler, 2, &m, g->now), 0);
    blob_unref(m.results.columns.data);
    grid_results(g, 2, 2, 2, 0, 1, 1000, NULL);
    assert_true(scheduler_output(g->scheduler, &to, &m));
    assert_int_equal(m.type, MESSAGE_RESULTS);
    assert_int_equal(m.client, 7);
    /* With it gone from here, the next one may go; the shell says only then how full it is. */
    scheduler_backlog(g->scheduler, 2, size);
    scheduler_check(g->scheduler);
    grid_expect(g, "2.8: results 0 job=1 0+1 attempt=1\n");
}

/* It was full when the client acknowledged: that is no reason to stop for ever. */
static void
clients_pause_only_while_the_connection_is_full(void **state)
{
    struct grid *g = executor(state, 1);
    struct message m = {.type = MESSAGE_TAKEN};

    scheduler_backlog(g->scheduler, 2, WINDOW_RESULT + 1);
    assert_int_equal(grid_say(g, CHILD, &m), 0);
    job(g, CHILD, 1, 1);
    grid_forget(g);
    scheduler_backlog(g->scheduler, 2, 0);
    scheduler_check(g->scheduler);
    assert_non_null(strstr(grid_tape(g), "2: slice 1 job=1 0+1 attempt=1\n"));
}

/* What a client offers to take is no promise of the broker's to keep as much for it. */
static void
a_client_cannot_offer_more_than_there_is_for_each(void **state)
{
    enum { TASKS = 64, SIZE = 1 << 20 };
    struct grid *g = *state;
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_CLIENT,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "",
                                  .name = "greedy",
                                  .host = "",
                                  .machine = "",
                                  .labels = "",
                                  .window = UINT64_MAX / 2}};
    const char *tape;
    int results = 0;

    assert_int_equal(grid_say(g, 1, &m), 0);
    grid_worker(g, 2, "node", TASKS);
    job(g, 1, 1, TASKS);
    grid_forget(g);
    for (uint64_t i = 0; i < TASKS; i++) {
        m = (struct message){
            .type = MESSAGE_RESULTS,
            .results = {.job = 1, .lease = i + 1, .first = i, .attempt = 1, .worker = ""}};
        m.results.columns =
            (struct columns){.count = 1, .size = SIZE, .data = blob_new(SIZE), .length = SIZE};
        assert_non_null(m.results.columns.data);
        (void)grid_say(g, 2, &m);
        blob_unref(m.results.columns.data);
        tape = grid_tape(g);
        results += strstr(tape, "1: results") != NULL;
    }
    assert_in_range(results, 1, WINDOW_RESULT / SIZE + 1);
}

int
main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, grid_setup, grid_teardown)
#define SMALL(name) cmocka_unit_test_setup_teardown(name, small_windows, grid_teardown)
    const struct CMUnitTest tests[] = {
        SMALL(a_chain_may_be_longer_than_the_window),
        SMALL(the_grant_is_no_more_than_what_waits),
        SMALL(while_others_run_a_part_of_the_window_does),
        STORY(parked_inputs_leave_the_workers_window),
        STORY(room_is_seen_when_slots_stay_the_same),
        STORY(results_wait_for_the_connection),
        STORY(a_large_result_holds_the_others_up_until_it_is_gone),
        STORY(clients_pause_only_while_the_connection_is_full),
        STORY(a_client_cannot_offer_more_than_there_is_for_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
