#include "../../worker/backstop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MIB (1ull << 20)

static void
what_is_left_may_be_mapped_and_some_more(void **state)
{
    (void)state;
    assert_int_equal(backstop_bytes(300 * MIB, 100 * MIB, 0, 32 * MIB),
                     (300 + 100 + 50 + 32 + 64) * MIB);
    assert_int_equal(backstop_bytes(300 * MIB, 100 * MIB, 80 * MIB, 32 * MIB),
                     (300 + 20 + 50 + 32 + 64) * MIB);
}

static void
what_is_over_its_limit_already_is_left_to_the_watcher(void **state)
{
    (void)state;
    assert_int_equal(backstop_bytes(300 * MIB, 100 * MIB, 400 * MIB, 0), (300 + 50 + 64) * MIB);
}

/* As of a sanitizer. */
static void
what_is_reserved_already_does_not_matter(void **state)
{
    uint64_t shadow = 20ull << 40;

    (void)state;
    assert_int_equal(backstop_bytes(shadow + MIB, 100 * MIB, 50 * MIB, 0) - shadow,
                     backstop_bytes(MIB, 100 * MIB, 50 * MIB, 0));
}

static void
no_limit_is_too_large(void **state)
{
    (void)state;
    assert_true(backstop_bytes(MIB, UINT64_MAX, 0, MIB) == UINT64_MAX);
    assert_true(backstop_bytes(MIB, UINT64_MAX - MIB, MIB, MIB) == UINT64_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_may_be_mapped_and_some_more),
        cmocka_unit_test(what_is_over_its_limit_already_is_left_to_the_watcher),
        cmocka_unit_test(what_is_reserved_already_does_not_matter),
        cmocka_unit_test(no_limit_is_too_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
