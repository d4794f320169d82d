/* The scheduler, one story a test: whole histories of what it says are compared. */
#include "grid.h"

#include <string.h>

static void
map_runs_on_the_only_worker(void **state)
{
    struct grid *g = *state;
    struct spec spec = grid_spec();

    grid_client(g, 1);
    grid_worker(g, 2, "node", 2);
    grid_expect(g, "1: welcome program workers=0 slots=0\n"
                   "2: welcome node workers=1 slots=2\n"
                   "1: grid workers=1 slots=2\n");
    grid_job(g, 1, 10, &spec);
    grid_inputs(g, 1, 10, 0, 3);
    grid_end(g, 1, 10, 3);
    grid_expect(g, "1: accepted job=10 below=3\n"
                   "2: job 1 square\n"
                   "2: slice 1 job=1 0+1 attempt=1\n"
                   "2: slice 2 job=1 1+1 attempt=1\n");
    grid_results(g, 2, 1, 1, 0, 1, 1000, NULL);
    grid_expect(g, "1: results 0 job=10 0+1 attempt=1\n"
                   "2: slice 3 job=1 2+1 attempt=1\n");
    grid_results(g, 2, 2, 1, 1, 1, 1000, NULL);
    grid_results(g, 2, 3, 1, 2, 1, 1000, NULL);
    grid_expect(g, "1: results 0 job=10 1+1 attempt=1\n"
                   "1: results 0 job=10 2+1 attempt=1\n"
                   "2: job_end 1 total=3\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(map_runs_on_the_only_worker, grid_setup, grid_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
