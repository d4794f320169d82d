/* Labels that workers have, and those that jobs need. */
#include "../../broker/needs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool
meets(const char *have, const char *need)
{
    struct labels *h = labels_new(have), *n = labels_new(need);
    bool met;

    assert_non_null(h);
    assert_non_null(n);
    met = labels_missing(h, n) == NULL;
    labels_free(h);
    labels_free(n);
    return met;
}

static void
no_needs_are_met_by_all(void **state)
{
    (void)state;
    assert_true(meets("", ""));
    assert_true(meets("gpu=1", ""));
    assert_true(meets("gpu=1", " , ,"));
}

static void
value_must_be_equal(void **state)
{
    (void)state;
    assert_true(meets("gpu=1,zone=b", "zone=b"));
    assert_false(meets("gpu=1,zone=b", "zone=a"));
    assert_false(meets("gpu=10", "gpu=1"));
    assert_false(meets("gpu", "gpu=1"));
    assert_false(meets("", "gpu=1"));
}

static void
bare_word_asks_for_presence(void **state)
{
    (void)state;
    assert_true(meets("gpu=1", "gpu"));
    assert_true(meets("gpu", "gpu"));
    assert_false(meets("gpus", "gpu"));
}

static void
all_needs_must_be_met(void **state)
{
    (void)state;
    assert_true(meets("big,gpu=1,zone=b", "gpu=1, zone=b"));
    assert_false(meets("gpu=1", "gpu=1, zone=b"));
}

static void
key_may_have_several_values(void **state)
{
    (void)state;
    assert_true(meets("zone=a,zone=b", "zone=a, zone=b"));
}

static void
spaces_and_order_do_not_matter(void **state)
{
    struct labels *a = labels_new(" zone = b ,gpu=1,gpu=1"), *b = labels_new("gpu=1,zone=b");

    (void)state;
    assert_string_equal(a->text, "gpu=1,zone=b");
    assert_string_equal(a->text, b->text);
    labels_free(a);
    labels_free(b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_needs_are_met_by_all),
        cmocka_unit_test(value_must_be_equal),
        cmocka_unit_test(bare_word_asks_for_presence),
        cmocka_unit_test(all_needs_must_be_met),
        cmocka_unit_test(key_may_have_several_values),
        cmocka_unit_test(spaces_and_order_do_not_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
