/* Tasks that may run once only: their client knows before they begin, so that they are LOST if they
 * may have begun, and only then. */
#include "lasting.h"

#include <string.h>

#define SECOND 1000000

static struct spec
once(void)
{
    struct spec spec = grid_spec();

    spec.once = true;
    return spec;
}

static void
client(struct grid *g, uint32_t peer)
{
    struct spec spec = once();

    grid_client_kept(g, peer, 9, 60000);
    grid_job(g, peer, 1, &spec);
}

static void
pass(struct grid *g, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        grid_pass(g, SECOND);
        grid_beat(g, 1);
        grid_beat(g, 3);
    }
}

static void
a_task_begins_when_its_client_has_noted_it(void **state)
{
    struct grid *g = *state;

    client(g, 1);
    lasting_worker(g, 3, 2, 2, 0);
    grid_forget(g);
    grid_inputs(g, 1, 1, 0, 5);
    lasting_expect(g, "1: accepted job=1 below=5\n1: begins job=1 0+2\n");
    lasting_noted(g, 1, 0, 2);
    lasting_expect(g, "3: job N square\n3: slice 100 job=N 0+1 attempt=1\n"
                      "3: slice 101 job=N 1+1 attempt=1\n");
    lasting_results(g, 3, 100, 0, 1, 1); /* it took a second */
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=1\n1: begins job=1 2+1\n");
    lasting_noted(g, 1, 2, 1);
    lasting_expect(g, "3: slice 102 job=N 2+1 attempt=1\n");
}

static void
others_do_not_wait_with_it(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    client(g, 1);
    lasting_worker(g, 3, 2, 1, 0);
    grid_job(g, 1, 2, &spec);
    grid_inputs(g, 1, 1, 0, 1);
    grid_forget(g);
    grid_inputs(g, 1, 2, 0, 1);
    assert_non_null(strstr(grid_tape(g), "3: slice 100"));
    lasting_noted(g, 1, 0, 1);
    lasting_expect(g, ""); /* when there is a slot */
}

/* As many as begin within the way there and back. */
static void
of_short_tasks_many_are_noted_ahead(void **state)
{
    struct grid *g = *state;
    uint64_t job;

    client(g, 1);
    lasting_worker(g, 3, 2, 1, 0);
    grid_inputs(g, 1, 1, 0, 200);
    grid_forget(g);
    lasting_noted(g, 1, 0, 1);
    job = lasting_number();
    grid_forget(g);
    grid_results(g, 3, 100, job, 0, 1, 100, NULL);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=1\n1: begins job=1 1+100\n");
    lasting_noted(g, 1, 1, 100);
    for (uint64_t i = 0; i < 100; i++) {
        assert_null(strstr(grid_tape(g), "begins"));
        grid_results(g, 3, 101 + i, job, 1 + i, 1, 100, NULL);
    }
    assert_non_null(strstr(grid_tape(g), "1: begins job=1 101+99"));
}

/* ---- the next broker --------------------------------------------------------------------------
 */

static void
what_had_not_begun_runs(void **state)
{
    struct grid *g = *state;

    client(g, 1);
    lasting_worker(g, 3, 2, 1, 0);
    grid_forget(g);
    grid_inputs_again(g, 1, 1, 0, 1, false);
    lasting_expect(g, "1: accepted job=1 below=1\n1: begins job=1 0+1\n");
    lasting_noted(g, 1, 0, 1);
    lasting_expect(g, "3: job N square\n3: slice 100 job=N 0+1 attempt=1\n");
}

static void
what_may_have_begun_is_waited_for_and_lost(void **state)
{
    struct grid *g = *state;

    client(g, 1);
    lasting_worker(g, 3, 2, 1, 0);
    grid_inputs_again(g, 1, 1, 0, 1, true);
    grid_forget(g);
    pass(g, 9);
    lasting_expect(g, "");
    pass(g, 2);
    lasting_expect(g, "1: ended job=1 0+1 LOST attempt=1 : it may have begun before its broker was "
                      "restarted, and the task may run only once\n");
    pass(g, 4);
    grid_inputs_again(g, 1, 1, 1, 1, true); /* when no worker is waited for any more */
    lasting_expect(g, "1: accepted job=1 below=2\n1: ended job=1 1+1 LOST attempt=1 : it may have "
                      "begun before its broker was restarted, and the task may run only once\n");
    grid_inputs(g, 1, 1, 2, 1);
    lasting_expect(g, "1: accepted job=1 below=3\n1: begins job=1 2+1\n");
}

static void
what_its_worker_brings_goes_on(void **state)
{
    struct grid *g = *state;

    client(g, 1);
    grid_inputs_again(g, 1, 1, 0, 1, true);
    grid_forget(g);
    lasting_worker(g, 2, 1, 1, 6);
    lasting_held(g, 2, 55, 1, 1, 0, 1);
    grid_told(g, 2);
    grid_forget(g);
    lasting_results(g, 2, 55, 0, 1, 1);
    lasting_expect(g, "1: results 0 job=1 0+1 attempt=1\n");
}

/* ---- a client that is away --------------------------------------------------------------------
 */

static void
nothing_begins_while_its_client_is_away(void **state)
{
    struct grid *g = *state;

    client(g, 1);
    lasting_worker(g, 3, 2, 1, 0);
    grid_inputs(g, 1, 1, 0, 2);
    grid_forget(g);
    scheduler_gone(g->scheduler, 1, g->now); /* with the answer on its way */
    grid_pass(g, SECOND / 2);
    lasting_expect(g, "");
    grid_client_kept(g, 4, 9, 60000);
    lasting_expect(g, "4: welcome program workers=1 slots=1\n4: begins job=1 0+1\n");
    lasting_noted(g, 4, 0, 1);
    assert_non_null(strstr(grid_tape(g), "3: slice 100"));
}

static void
what_is_noted_of_no_such_tasks_is_nothing(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    client(g, 1);
    grid_inputs(g, 1, 1, 0, 2);
    grid_job(g, 1, 2, &spec);
    grid_forget(g);
    lasting_noted(g, 1, 1, UINT64_MAX - 1);
    assert_int_equal(grid_say(g, 1, &(struct message){.type = MESSAGE_NOTED, .range = {.job = 2}}),
                     0);
    assert_int_equal(grid_say(g, 1, &(struct message){.type = MESSAGE_NOTED, .range = {.job = 77}}),
                     0);
    grid_inputs(g, 1, 1, 2, 1);
    lasting_worker(g, 3, 2, 4, 0); /* two of them may begin, of the third it does not know */
    assert_non_null(strstr(grid_tape(g), "1: begins job=1 2+1"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lasting_setup, grid_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_task_begins_when_its_client_has_noted_it),
        TEST(others_do_not_wait_with_it),
        TEST(of_short_tasks_many_are_noted_ahead),
        TEST(what_had_not_begun_runs),
        TEST(what_may_have_begun_is_waited_for_and_lost),
        TEST(what_its_worker_brings_goes_on),
        TEST(nothing_begins_while_its_client_is_away),
        TEST(what_is_noted_of_no_such_tasks_is_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
