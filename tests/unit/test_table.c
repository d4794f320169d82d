/* What is found by a number: against a plain list, and where entries stand. */
#include "../../broker/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

#define NUMBERS 3000

static int values[NUMBERS];

static int
setup(void **state)
{
    static struct table t;

    table_init(&t, 7);
    *state = &t;
    return 0;
}

static int
teardown(void **state)
{
    table_clear(*state);
    return 0;
}

static void
add(struct table *t, uint64_t number, int *value)
{
    assert_int_equal(table_add(t, number, value), 0);
}

static void
nothing_is_found_in_an_empty_table(void **state)
{
    struct table *t = *state;

    assert_null(table_find(t, 0));
    add(t, 1, values);
    table_remove(t, 1, values);
    assert_null(table_find(t, 1));
    assert_null(table_find(t, 0));
    assert_int_equal(t->count, 0);
}

static void
any_number_may_be_one(void **state)
{
    struct table *t = *state;

    add(t, 0, &values[0]);
    add(t, UINT64_MAX, &values[1]);
    add(t, (uint64_t)1 << 32, &values[2]);
    assert_ptr_equal(table_find(t, 0), &values[0]);
    assert_ptr_equal(table_find(t, UINT64_MAX), &values[1]);
    assert_ptr_equal(table_find(t, (uint64_t)1 << 32), &values[2]);
}

/* Numbers in runs, as we give them out, from a start that is anywhere. */
static uint64_t
number_of(size_t i)
{
    return scatter(i / 100) + i % 100;
}

static void
require_all(const struct table *t, const bool *there)
{
    size_t count = 0;

    for (size_t i = 0; i < NUMBERS; i++) {
        assert_ptr_equal(table_find(t, number_of(i)), there[i] ? &values[i] : NULL);
        count += there[i];
    }
    assert_int_equal(t->count, count);
}

static void
what_was_added_is_found_until_it_is_removed(void **state)
{
    static bool there[NUMBERS];
    struct table *t = *state;
    uint64_t dice = 1;

    for (int step = 0; step < 40000; step++) {
        size_t i = (dice = scatter(dice)) % NUMBERS;

        /* Three of four first: it grows; then one of four. */
        if (!there[i] && (dice >> 32) % 4 >= (step < 20000 ? 1 : 3)) {
            add(t, number_of(i), &values[i]);
            there[i] = true;
        } else if (there[i]) {
            table_remove(t, number_of(i), &values[i]);
            there[i] = false;
        }
        if (step % 100 == 0)
            require_all(t, there);
    }
    require_all(t, there);
}

static bool
holds(const struct table *t, const int *value)
{
    for (size_t at = 0; at <= t->mask; at++) {
        if (t->entries[at].value == value)
            return true;
    }
    return false;
}

static void
entries_that_share_a_number_go_one_by_one(void **state)
{
    struct table *t = *state;

    for (int i = 0; i < 40; i++)
        add(t, 5, &values[i]);
    add(t, 6, &values[40]);
    for (int i = 0; i < 40; i++) {
        assert_non_null(table_find(t, 5));
        table_remove(t, 5, &values[(i + 17) % 40]);
        for (int k = 0; k < 40; k++)
            assert_int_equal(holds(t, &values[(k + 17) % 40]), k > i);
    }
    assert_null(table_find(t, 5));
    assert_ptr_equal(table_find(t, 6), &values[40]);
}

static void
four_that_follow_each_other_share_a_line(void **state)
{
    struct table *t = *state;

    for (int i = 0; i < NUMBERS; i++)
        add(t, 1000 + (uint64_t)i, &values[i]);
    assert_int_equal((uintptr_t)t->entries % 64, 0);
    for (uint64_t n = 1000; n < 1000 + NUMBERS; n++) {
        assert_int_equal(table_home(t, n) / 4, table_home(t, n / 4 * 4) / 4);
        assert_int_equal(table_home(t, n) % 4, n % 4);
    }
}

/* How many entries are looked at for all that are there. */
static size_t
looks(const struct table *t)
{
    size_t sum = 0;

    for (size_t at = 0; at <= t->mask; at++) {
        if (t->entries[at].value != NULL)
            sum += 1 + ((at - table_home(t, t->entries[at].number)) & t->mask);
    }
    return sum;
}

static void
numbers_that_meet_with_one_seed_do_not_with_another(void **state)
{
    struct table *t = *state, other;
    uint64_t n = 0;

    t->mask = 8191;
    table_init(&other, 8);
    for (int i = 0; i < 400; i++) { /* all of one place */
        do
            n += 4;
        while (table_home(t, n) != 0);
        add(&other, n, &values[i]);
    }
    assert_true(looks(&other) < 2 * 400);
    table_clear(&other);
}

static void
a_look_up_takes_few_looks_however_many_there_are(void **state)
{
    struct table *t = *state;

    for (uint64_t i = 0; i < 300000; i++) {
        /* One of eight stays for long, as slices of slow tasks do. */
        add(t, i, values);
        if (i >= 40000 && (i - 40000) % 8 != 0)
            table_remove(t, i - 40000, values);
    }
    assert_true(t->count * 2 <= t->mask + 1);
    assert_true(looks(t) < 3 * t->count);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_found_in_an_empty_table, setup, teardown),
        cmocka_unit_test_setup_teardown(any_number_may_be_one, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_added_is_found_until_it_is_removed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(entries_that_share_a_number_go_one_by_one, setup, teardown),
        cmocka_unit_test_setup_teardown(four_that_follow_each_other_share_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_that_meet_with_one_seed_do_not_with_another, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_look_up_takes_few_looks_however_many_there_are, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
