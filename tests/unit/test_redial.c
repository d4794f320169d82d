#include "../../base/clock.h"
#include "../../net/redial.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS 1000
#define SECOND 1000000

static int64_t
pause_after(struct redial *d, int64_t lasted, int64_t *now)
{
    redial_begin(d, *now);
    if (lasted > 0)
        redial_answered(d);
    *now += lasted;
    redial_over(d, *now);
    return redial_deadline(d) - *now;
}

static void
the_first_attempt_is_due_at_once(void **state)
{
    struct redial d;

    (void)state;
    redial_init(&d, 1, 77);
    assert_int_equal(redial_deadline(&d), 77);
}

static void
intervals_grow_up_to_three_seconds(void **state)
{
    int64_t now = 0, pause, last = 0;
    struct redial d;

    (void)state;
    redial_init(&d, 1, 0);
    pause = pause_after(&d, 0, &now);
    assert_in_range(pause, 50 * MS, 100 * MS);
    for (int i = 0; i < 100; i++) {
        now = redial_deadline(&d);
        last = pause_after(&d, 0, &now);
        assert_true(last <= 3 * SECOND);
    }
    assert_true(last >= 1500 * MS);
}

static void
only_a_connection_that_lasted_starts_them_over(void **state)
{
    int64_t now = 0;
    struct redial d;

    (void)state;
    redial_init(&d, 1, 0);
    for (int i = 0; i < 20; i++)
        pause_after(&d, 0, &now);
    assert_true(pause_after(&d, SECOND, &now) >= 1500 * MS);
    assert_in_range(pause_after(&d, 5 * SECOND, &now), 50 * MS, 100 * MS);
}

static void
an_attempt_that_does_not_end_is_given_more_time_each_time(void **state)
{
    static const int64_t patience[] = {1, 2, 4, 8, 10, 10};
    int64_t now = 0;
    struct redial d;

    (void)state;
    redial_init(&d, 1, 0);
    for (size_t i = 0; i < sizeof(patience) / sizeof(*patience); i++) {
        redial_begin(&d, now);
        assert_int_equal(redial_deadline(&d), now + patience[i] * SECOND);
        now = redial_deadline(&d);
        redial_over(&d, now);
        now = redial_deadline(&d);
    }
    pause_after(&d, SECOND, &now); /* there was one: from the beginning */
    redial_begin(&d, now);
    assert_int_equal(redial_deadline(&d), now + SECOND);
}

static void
an_attempt_that_is_refused_needs_no_more_time(void **state)
{
    int64_t now = 0;
    struct redial d;

    (void)state;
    redial_init(&d, 1, 0);
    pause_after(&d, 0, &now);
    pause_after(&d, 0, &now);
    redial_begin(&d, now);
    assert_int_equal(redial_deadline(&d), now + SECOND);
}

static void
what_the_system_has_begun_has_its_limits(void **state)
{
    struct redial d;

    (void)state;
    redial_init(&d, 1, 0);
    redial_begin(&d, 0);
    redial_reached(&d);
    assert_int_equal(redial_deadline(&d), 10 * SECOND);
    redial_answered(&d);
    assert_int_equal(redial_deadline(&d), CLOCK_NEVER);
}

static void
peers_do_not_come_back_in_step(void **state)
{
    struct redial d[2];
    int64_t now = 0;

    (void)state;
    redial_init(&d[0], 1, 0);
    redial_init(&d[1], 0x80000000, 0);
    assert_int_not_equal(pause_after(&d[0], 0, &now), pause_after(&d[1], 0, &now));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_attempt_is_due_at_once),
        cmocka_unit_test(intervals_grow_up_to_three_seconds),
        cmocka_unit_test(only_a_connection_that_lasted_starts_them_over),
        cmocka_unit_test(an_attempt_that_does_not_end_is_given_more_time_each_time),
        cmocka_unit_test(an_attempt_that_is_refused_needs_no_more_time),
        cmocka_unit_test(what_the_system_has_begun_has_its_limits),
        cmocka_unit_test(peers_do_not_come_back_in_step),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
