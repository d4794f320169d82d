#include "../../base/duration.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void
is(const char *text, int64_t ms)
{
    int64_t got = -7;

    if (duration_parse(text, &got) != 0 || got != ms)
        print_error("'%s'\n", text);
    assert_int_equal(duration_parse(text, &got), 0);
    assert_int_equal(got, ms);
}

static void
is_none(const char *text)
{
    int64_t ms = 7;

    if (duration_parse(text, &ms) != -1)
        print_error("'%s'\n", text);
    assert_int_equal(duration_parse(text, &ms), -1);
    assert_int_equal(ms, 7);
}

static void
numbers_with_units(void **state)
{
    (void)state;
    is("0", 0);
    is("90", 90000);
    is("30s", 30000);
    is("250ms", 250);
    is("10m", 600000);
    is("10min", 600000);
    is("2h", 7200000);
    is("3d", 3 * 86400000LL);
}

static void
hours_minutes_and_seconds(void **state)
{
    (void)state;
    is("1:30:00", 5400000);
    is("00:00:30", 30000);
    is("48:00:01", 172801000);
    is("1-12:00:00", 36 * 3600000LL);
}

static void
nothing_else(void **state)
{
    (void)state;
    is_none("");
    is_none("s");
    is_none("-1");
    is_none("1.5h");
    is_none("10 m");
    is_none("10x");
    is_none("30:00");
    is_none("1:60:00");
    is_none("1:00:60");
    is_none("1:00:00s");
    is_none("1-12");
    is_none("99999999999");
    is_none("9999999999h");
    is_none("4000d");
    is_none("99999999999999999999999999");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_with_units),
        cmocka_unit_test(hours_minutes_and_seconds),
        cmocka_unit_test(nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
