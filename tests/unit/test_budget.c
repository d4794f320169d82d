/* How many descriptors the broker gives to its peers. */
#include "../../broker/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void
too_few_are_refused(void **state)
{
    struct budget b;

    (void)state;
    assert_int_equal(budget_init(&b, 0), -1);
    assert_int_equal(budget_init(&b, BUDGET_LEAST - 1), -1);
    assert_int_equal(budget_init(&b, BUDGET_LEAST), 0);
    assert_int_equal(budget_init(&b, UINT64_MAX), 0);
    assert_true(b.open < b.shut && b.alarm <= b.shut && b.shut < b.limit);
}

static void
four_fifths_are_worth_a_word_a_minute(void **state)
{
    struct budget b;

    (void)state;
    assert_int_equal(budget_init(&b, 1000), 0);
    assert_int_equal(budget_used(&b, 799, 0), BUDGET_FINE);
    assert_int_equal(budget_used(&b, 800, 1), BUDGET_WARN);
    assert_int_equal(budget_used(&b, 850, 2), BUDGET_FINE);
    assert_int_equal(budget_used(&b, 700, BUDGET_WORD), BUDGET_FINE);
    assert_int_equal(budget_used(&b, 850, BUDGET_WORD), BUDGET_FINE);
    assert_int_equal(budget_used(&b, 850, BUDGET_WORD + 1), BUDGET_WARN);
}

static void
the_doors_are_shut_before_the_end_and_opened_later(void **state)
{
    struct budget b;

    (void)state;
    assert_int_equal(budget_init(&b, 1000), 0);
    assert_int_equal(budget_used(&b, 1000 - BUDGET_RESERVE - 1, 0), BUDGET_WARN);
    assert_int_equal(budget_used(&b, 1000 - BUDGET_RESERVE, 0), BUDGET_SHUT);
    assert_int_equal(budget_used(&b, 1000, 0), BUDGET_FINE); /* they are */
    assert_int_equal(budget_used(&b, 1000 - BUDGET_RESERVE - 1, 0), BUDGET_FINE);
    assert_int_equal(budget_used(&b, b.open + 1, 0), BUDGET_FINE);
    assert_int_equal(budget_used(&b, b.open, 0), BUDGET_OPEN);
    assert_int_equal(budget_used(&b, b.open, 0), BUDGET_FINE);
    assert_int_equal(budget_used(&b, 1000, 0), BUDGET_SHUT);
}

static void
the_smallest_broker_warns_before_it_shuts(void **state)
{
    struct budget b;

    (void)state;
    assert_int_equal(budget_init(&b, BUDGET_LEAST), 0);
    assert_true(b.shut >= BUDGET_LEAST / 2);
    assert_true(b.open >= BUDGET_LEAST / 2);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(too_few_are_refused),
        cmocka_unit_test(four_fifths_are_worth_a_word_a_minute),
        cmocka_unit_test(the_doors_are_shut_before_the_end_and_opened_later),
        cmocka_unit_test(the_smallest_broker_warns_before_it_shuts),
    };

    return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
