/* How many tasks make a slice. */
#include "../../broker/slicing.h"
#include "../../proto/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SLICE_US 25000

static struct slicing
known(double each, uint64_t ready, uint64_t slots)
{
    return (struct slicing){.each = each,
                            .known = true,
                            .cap = LIMIT_ITEMS,
                            .slice_us = SLICE_US,
                            .ready = ready,
                            .slots = slots};
}

static void
unknown_function_is_tried_with_one_task(void **state)
{
    struct slicing in = {.slice_us = SLICE_US, .ready = 1000000, .slots = 2};

    (void)state;
    assert_int_equal(slicing_count(&in), 1);
}

static void
slice_takes_about_its_time(void **state)
{
    struct slicing in = known(100, 1000000, 2);

    (void)state;
    assert_int_equal(slicing_count(&in), 250);
}

static void
long_tasks_go_one_by_one(void **state)
{
    struct slicing in = known(1e9, 1000000, 2);

    (void)state;
    assert_int_equal(slicing_count(&in), 1);
}

static void
slices_shrink_towards_the_end(void **state)
{
    struct slicing in = known(1000, 40, 4);

    (void)state;
    assert_int_equal(slicing_count(&in), 5);
    in.ready = 3;
    assert_int_equal(slicing_count(&in), 1);
}

static void
tiny_tasks_are_not_shared_out_one_by_one(void **state)
{
    struct slicing in = known(1, 10, 64);

    (void)state;
    assert_int_equal(slicing_count(&in), 200);
}

static void
no_slice_is_over_the_limit(void **state)
{
    struct slicing in = known(0.05, 100000000, 2);

    (void)state;
    assert_int_equal(slicing_count(&in), LIMIT_ITEMS);
}

static void
no_workers_that_fit_are_no_error(void **state)
{
    struct slicing in = known(100, 10, 0);

    (void)state;
    assert_int_equal(slicing_count(&in), 5);
}

static void
estimate_forgets_a_slow_start(void **state)
{
    struct estimate e = {0};
    unsigned results = 0;

    (void)state;
    assert_false(estimate_known(&e));
    estimate_add(&e, 5000, 1, 1, SLICE_US); /* the first one starts a process */
    assert_true(estimate_known(&e));
    while (estimate_each(&e) > 2 && results++ < 100)
        estimate_add(&e, e.cap, e.cap, e.cap, SLICE_US); /* then 1 us each */
    assert_in_range(results, 1, 15);
}

static void
slices_double_while_they_are_short(void **state)
{
    struct estimate e = {0};

    (void)state;
    estimate_add(&e, 0, 1, 1, SLICE_US);
    for (uint32_t expected = 2; expected <= LIMIT_ITEMS; expected *= 2) {
        assert_int_equal(e.cap, expected);
        estimate_add(&e, 0, e.cap, e.cap, SLICE_US);
    }
    assert_int_equal(e.cap, LIMIT_ITEMS);
}

static void
results_of_small_slices_do_not_let_them_grow(void **state)
{
    struct estimate e = {.us = 64, .tasks = 64, .cap = 64};

    (void)state;
    for (int i = 0; i < 10; i++)
        estimate_add(&e, 8, 8, 8, SLICE_US);
    assert_int_equal(e.cap, 64);
}

static void
long_slices_do_not_grow(void **state)
{
    struct estimate e = {.us = 0, .tasks = 0, .cap = 0};

    (void)state;
    for (int i = 0; i < 10; i++)
        estimate_add(&e, 30000, 1, 1, SLICE_US);
    assert_int_equal(e.cap, 1);
}

static void
mean_of_uneven_tasks_is_by_task(void **state)
{
    struct estimate e = {0};

    (void)state;
    for (int i = 0; i < 200; i++) {
        estimate_add(&e, 1000, 1, 1, SLICE_US); /* one of 1,000 us */
        estimate_add(&e, 900, 9, 9, SLICE_US);  /* nine of 100 us */
    }
    assert_in_range((uint64_t)estimate_each(&e), 170, 210); /* the last ones weigh more */
}

static void
nothing_waits_behind_long_or_unknown_tasks(void **state)
{
    struct prefetch in = {.slice_us = SLICE_US, .slots = 2, .busy = 2};

    (void)state;
    assert_false(prefetch_allowed(&in));
    in.known = true;
    in.each = 60000;
    assert_false(prefetch_allowed(&in));
}

static void
short_tasks_wait_a_slice_per_slot(void **state)
{
    struct prefetch in = {.known = true,
                          .each = 100,
                          .slice_us = SLICE_US,
                          .slots = 2,
                          .busy = 2,
                          .work = 2 * SLICE_US};

    (void)state;
    assert_true(prefetch_allowed(&in));
    in.busy = 4;
    in.work = 3 * SLICE_US;
    assert_false(prefetch_allowed(&in));
}

static void
waiting_work_is_bounded_in_time(void **state)
{
    struct prefetch in = {.known = true,
                          .each = 20000,
                          .slice_us = SLICE_US,
                          .slots = 2,
                          .busy = 3,
                          .work = 4 * SLICE_US};

    (void)state;
    assert_false(prefetch_allowed(&in));
}

static void
crumbs_may_be_more(void **state)
{
    struct prefetch in = {
        .known = true, .each = 1, .slice_us = SLICE_US, .slots = 2, .busy = 5, .work = 50};

    (void)state;
    assert_true(prefetch_allowed(&in));
    in.busy = 8;
    assert_false(prefetch_allowed(&in));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_function_is_tried_with_one_task),
        cmocka_unit_test(slice_takes_about_its_time),
        cmocka_unit_test(long_tasks_go_one_by_one),
        cmocka_unit_test(slices_shrink_towards_the_end),
        cmocka_unit_test(tiny_tasks_are_not_shared_out_one_by_one),
        cmocka_unit_test(no_slice_is_over_the_limit),
        cmocka_unit_test(no_workers_that_fit_are_no_error),
        cmocka_unit_test(estimate_forgets_a_slow_start),
        cmocka_unit_test(slices_double_while_they_are_short),
        cmocka_unit_test(results_of_small_slices_do_not_let_them_grow),
        cmocka_unit_test(long_slices_do_not_grow),
        cmocka_unit_test(mean_of_uneven_tasks_is_by_task),
        cmocka_unit_test(nothing_waits_behind_long_or_unknown_tasks),
        cmocka_unit_test(short_tasks_wait_a_slice_per_slot),
        cmocka_unit_test(waiting_work_is_bounded_in_time),
        cmocka_unit_test(crumbs_may_be_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
