#include "../../base/clock.h"
#include "../../net/conversation.h"
#include "../../proto/limits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000LL
#define KEEP (30 * SECOND)

static const uint8_t session[16] = {1, 2, 3};

static struct conversation c;
static char tape[1024];

static int
setup(void **state)
{
    (void)state;
    conversation_init(&c, session, KEEP, 0);
    return 0;
}

/* All that is asked for, in one line. */
static const char *
effects(void)
{
    static const char *const names[] = {
        [CONVERSATION_REFUSED] = "refused",   [CONVERSATION_LOST] = "lost",
        [CONVERSATION_RESTART] = "restart",   [CONVERSATION_HELLO] = "hello",
        [CONVERSATION_BEAT] = "beat",         [CONVERSATION_LISTEN] = "listen",
        [CONVERSATION_FORSAKEN] = "forsaken", [CONVERSATION_UNEXPLAINED] = "unexplained"};
    struct conversation_effect e;
    size_t at = 0;

    tape[0] = '\0';
    while (conversation_output(&c, &e)) {
        at += (size_t)snprintf(tape + at, sizeof(tape) - at, "%s%s", at > 0 ? ", " : "",
                               names[e.event]);
        if (e.event == CONVERSATION_REFUSED || e.event == CONVERSATION_LOST)
            at += (size_t)snprintf(tape + at, sizeof(tape) - at, " %s(%s)",
                                   e.was_open ? "open " : "", e.why);
    }
    return tape;
}

static const char *
tick(int64_t now)
{
    conversation_tick(&c, now);
    return effects();
}

/* Tick when it asks for it, up to `until`: what it wants first, and when. */
static const char *
wait(int64_t until, int64_t *now)
{
    int64_t at = 0;

    while ((at = conversation_deadline(&c)) <= until) {
        *now = at;
        if (*tick(at) != '\0')
            return tape;
    }
    return "";
}

static bool
hear(enum message_type type, int64_t now)
{
    struct message m = {.type = type};

    if (type == MESSAGE_BYE || type == MESSAGE_REFUSED)
        m.text = "";
    return conversation_input(&c, &m, now);
}

static bool
hear_welcome(uint64_t instance, uint32_t beat_ms, uint32_t lost_ms, int64_t now)
{
    struct message m = {.type = MESSAGE_WELCOME,
                        .welcome = {.instance = instance, .beat_ms = beat_ms, .lost_ms = lost_ms}};

    return conversation_input(&c, &m, now);
}

/* Up and welcome at `now`, with beats each second, and 3 s of silence. */
static void
open_at(int64_t now)
{
    conversation_up(&c, now);
    assert_string_equal(effects(), "hello");
    assert_true(hear_welcome(5, 1000, 3000, now));
    assert_string_equal(effects(), "");
}

static uint64_t
instance_told(void)
{
    struct message_hello hello = {.slots = 3};

    conversation_introduce(&c, &hello);
    assert_memory_equal(hello.session, session, sizeof(session));
    assert_int_equal(hello.protocol, LADLE_PROTOCOL);
    assert_int_equal(hello.slots, 3);
    return hello.instance;
}

/* ---- hello --------------------------------------------------------------------------------------
 */

static void
each_connection_begins_with_a_hello(void **state)
{
    (void)state;
    conversation_up(&c, 10);
    assert_string_equal(effects(), "hello");
    assert_false(conversation_is_open(&c));
    conversation_down(&c, 20);
    assert_string_equal(effects(), "lost (the connection was lost)");
    conversation_up(&c, 30);
    assert_string_equal(effects(), "hello");
}

static void
nothing_is_for_the_owner_before_the_welcome(void **state)
{
    (void)state;
    conversation_up(&c, 0);
    assert_false(hear(MESSAGE_SLICE, 1));
    assert_false(conversation_is_open(&c));
    assert_true(hear_welcome(5, 0, 0, 2));
    assert_true(conversation_is_open(&c));
    assert_true(hear(MESSAGE_SLICE, 3));
    assert_false(hear(MESSAGE_BEAT, 4));
}

static void
what_clients_in_executors_are_told_is_not_ours(void **state)
{
    struct message m = {.type = MESSAGE_WELCOME, .client = 7};

    (void)state;
    conversation_up(&c, 0);
    assert_false(conversation_input(&c, &m, 1));
    assert_false(conversation_is_open(&c));
    hear_welcome(5, 0, 0, 2);
    assert_true(conversation_input(&c, &m, 3));
    m.type = MESSAGE_BYE;
    assert_true(conversation_input(&c, &m, 4));
    assert_true(conversation_is_open(&c));
}

static void
a_hello_without_an_answer_is_said_again_elsewhere(void **state)
{
    int64_t now;

    (void)state;
    conversation_up(&c, SECOND);
    effects();
    hear(MESSAGE_BEAT, 5 * SECOND); /* no answer */
    assert_string_equal(wait(4 * SECOND, &now), "unexplained");
    assert_string_equal(wait(20 * SECOND, &now), "lost (it does not answer the hello), restart");
    assert_int_equal(now, 6 * SECOND);
}

static void
a_second_welcome_ends_it(void **state)
{
    (void)state;
    open_at(0);
    assert_false(hear_welcome(6, 0, 0, 1));
    assert_string_equal(effects(), "lost open (it said WELCOME twice), restart");
}

/* ---- signs of life ------------------------------------------------------------------------------
 */

static void
it_beats_as_the_broker_asks(void **state)
{
    int64_t now;

    (void)state;
    open_at(10 * SECOND);
    for (int i = 1; i <= 20; i++) {
        assert_string_equal(wait(CLOCK_NEVER - 1, &now), "beat");
        assert_int_equal(now, (10 + i) * SECOND);
        hear(MESSAGE_BEAT, now);
    }
}

static void
a_broker_that_does_not_say_how_often_has_the_usual(void **state)
{
    int64_t now;

    (void)state;
    conversation_up(&c, 0);
    effects();
    hear_welcome(5, 0, 0, 0);
    assert_string_equal(wait(CLOCK_NEVER - 1, &now), "beat");
    assert_int_equal(now, BEAT_MS * 1000);
    assert_string_equal(wait(CLOCK_NEVER - 1, &now), "beat");
    assert_string_equal(wait(CLOCK_NEVER - 1, &now), "listen");
    assert_int_equal(now, BEAT_MS * BEATS_MISSED * 1000);
}

static void
the_largest_numbers_are_no_trouble(void **state)
{
    (void)state;
    conversation_up(&c, 0);
    effects();
    assert_true(hear_welcome(5, UINT32_MAX, UINT32_MAX, SECOND));
    assert_true(conversation_deadline(&c) > 4000000 * SECOND);
    conversation_init(&c, session, CLOCK_NEVER - 5, 0);
    open_at(SECOND);
    conversation_down(&c, 2 * SECOND);
    effects();
    assert_string_equal(tick(4 * SECOND), "");
}

static void
silence_is_the_end(void **state)
{
    (void)state;
    open_at(0);
    hear(MESSAGE_BEAT, SECOND);
    assert_string_equal(tick(4 * SECOND - 1), "beat");
    assert_string_equal(tick(4 * SECOND), "listen");
    conversation_bytes(&c, INT64_MIN, 4 * SECOND);
    assert_string_equal(effects(), "lost open (it is silent), restart");
    assert_false(conversation_is_open(&c));
}

static void
bytes_of_a_large_message_are_no_silence(void **state)
{
    (void)state;
    open_at(0);
    assert_string_equal(tick(3 * SECOND), "listen");
    conversation_bytes(&c, 2 * SECOND, 3 * SECOND);
    assert_string_equal(effects(), "");
    assert_string_equal(tick(5 * SECOND - 1), "beat");
    assert_string_equal(tick(5 * SECOND), "listen");
    conversation_bytes(&c, 2 * SECOND, 5 * SECOND);
    assert_string_equal(effects(), "lost open (it is silent), restart");
}

static void
bytes_do_not_come_from_the_future(void **state)
{
    (void)state;
    open_at(0);
    assert_string_equal(tick(3 * SECOND), "listen");
    conversation_bytes(&c, 90 * SECOND, 3 * SECOND);
    assert_string_equal(tick(6 * SECOND), "listen");
}

/* ---- the end ------------------------------------------------------------------------------------
 */

static void
goodbye_ends_it_with_its_words(void **state)
{
    struct message m = {.type = MESSAGE_BYE, .text = "the broker stops"};

    (void)state;
    open_at(0);
    assert_false(conversation_input(&c, &m, 1));
    assert_false(conversation_is_open(&c));
    assert_string_equal(effects(), "lost open (the broker stops), restart");
    conversation_up(&c, 2);
    effects();
    hear(MESSAGE_BYE, 3);
    assert_string_equal(effects(), "lost (it said goodbye), restart");
}

static void
a_refusal_is_told_as_such(void **state)
{
    struct message m = {.type = MESSAGE_REFUSED, .text = "version 9"};

    (void)state;
    conversation_up(&c, 0);
    effects();
    assert_false(conversation_input(&c, &m, 1));
    assert_string_equal(effects(), "refused (version 9), restart");
}

/* The reason must not be replaced by the end of the connection that it was given up with. */
static void
an_end_is_told_once(void **state)
{
    (void)state;
    open_at(0);
    conversation_fail(&c, "out of memory here", 1);
    assert_string_equal(effects(), "lost open (out of memory here), restart");
    conversation_down(&c, 2);
    assert_string_equal(effects(), "");
}

static void
what_comes_after_the_end_is_dropped(void **state)
{
    (void)state;
    open_at(0);
    conversation_fail(&c, "no message", 1);
    assert_false(hear(MESSAGE_SLICE, 2));
    assert_false(hear_welcome(6, 0, 0, 3));
    conversation_fail(&c, "no message either", 4);
    assert_string_equal(effects(), "lost open (no message), restart");
    assert_false(conversation_is_open(&c));
}

static void
a_connection_that_ends_by_itself_is_not_given_up_once_more(void **state)
{
    (void)state;
    open_at(0);
    conversation_fail(&c, "no message", 1);
    conversation_down(&c, 2);
    conversation_up(&c, 3);
    assert_string_equal(effects(), "lost open (no message), hello");
}

static void
what_cannot_be_sent_ends_it(void **state)
{
    (void)state;
    open_at(0);
    conversation_unsent(&c, ENOMEM, 1);
    assert_false(conversation_is_open(&c));
    assert_string_equal(effects(), "lost open (Cannot allocate memory), restart");
}

/* A broken connection takes nothing, but the reason may be on it, unread. */
static void
last_words_are_heard_on_a_broken_connection(void **state)
{
    struct message m = {.type = MESSAGE_REFUSED, .text = "you broke the protocol"};

    (void)state;
    open_at(0);
    conversation_unsent(&c, ENOTCONN, 1);
    assert_false(conversation_is_open(&c));
    assert_string_equal(tick(2 * SECOND), ""); /* no beat either */
    assert_true(hear(MESSAGE_RESULTS, 2 * SECOND));
    assert_false(conversation_input(&c, &m, 2 * SECOND));
    assert_string_equal(effects(), "refused open (you broke the protocol), restart");
}

static void
a_broken_connection_ends_when_all_is_read(void **state)
{
    (void)state;
    open_at(0);
    conversation_unsent(&c, ENOTCONN, 1);
    conversation_down(&c, 2);
    assert_string_equal(effects(), "lost open (the connection was lost)");
    open_at(3);
    assert_true(conversation_is_open(&c));
}

/* ---- without a broker ---------------------------------------------------------------------------
 */

static void
work_is_kept_for_so_long(void **state)
{
    int64_t now = 0;

    (void)state;
    open_at(0);
    conversation_down(&c, SECOND);
    effects();
    assert_int_equal(instance_told(), 5);
    while (strcmp(wait(CLOCK_NEVER - 1, &now), "unexplained") == 0)
        continue;
    assert_string_equal(tape, "forsaken");
    assert_int_equal(now, SECOND + KEEP);
    assert_int_equal(instance_told(), 0);
    while (wait(1000 * SECOND, &now)[0] != '\0')
        assert_string_equal(tape, "unexplained");
}

static void
attempts_that_fail_do_not_prolong_it(void **state)
{
    (void)state;
    open_at(0);
    conversation_down(&c, SECOND);
    for (int i = 2; i <= 30; i += 2) {
        conversation_up(&c, i * SECOND);
        conversation_down(&c, (i + 1) * SECOND);
        assert_null(strstr(tick((i + 1) * SECOND - 1), "forsaken"));
    }
    assert_string_equal(tick(SECOND + KEEP), "forsaken");
}

static void
a_broker_in_time_takes_it_over(void **state)
{
    int64_t now;

    (void)state;
    open_at(0);
    conversation_down(&c, SECOND);
    effects();
    conversation_up(&c, 29 * SECOND);
    effects();
    assert_int_equal(instance_told(), 5);
    assert_true(hear_welcome(6, 1000, 3000, 30 * SECOND));
    assert_int_equal(instance_told(), 6);
    assert_string_equal(wait(KEEP + 2 * SECOND, &now), "beat");
    assert_string_equal(tick(KEEP + 2 * SECOND), "beat");
}

/* It was due, and not done yet, when the broker answered. */
static void
a_broker_at_the_last_moment_is_not_forsaken(void **state)
{
    (void)state;
    open_at(0);
    conversation_down(&c, 0);
    conversation_up(&c, KEEP - 1);
    effects();
    conversation_tick(&c, KEEP);
    hear_welcome(6, 1000, 3000, KEEP);
    assert_string_equal(effects(), "");
}

static void
without_a_limit_it_is_kept_for_ever(void **state)
{
    int64_t now;

    (void)state;
    conversation_init(&c, session, -1, 0);
    open_at(0);
    conversation_down(&c, SECOND);
    effects();
    while (wait(100000 * SECOND, &now)[0] != '\0')
        assert_string_equal(tape, "unexplained");
    assert_int_equal(instance_told(), 5);
}

static void
who_never_had_a_broker_is_not_forsaken(void **state)
{
    int64_t now;

    (void)state;
    while (wait(1000 * SECOND, &now)[0] != '\0')
        assert_string_equal(tape, "unexplained");
}

static void
the_absence_is_explained_soon_and_then_each_minute(void **state)
{
    int64_t now;

    (void)state;
    assert_string_equal(wait(CLOCK_NEVER - 1, &now), "unexplained");
    assert_int_equal(now, 3 * SECOND);
    assert_string_equal(wait(CLOCK_NEVER - 1, &now), "unexplained");
    assert_int_equal(now, 63 * SECOND);
    open_at(64 * SECOND);
    assert_null(strstr(tick(124 * SECOND), "unexplained"));
}

/* Something that answers, but is no broker, or one that hangs: each connection comes to nothing. */
static void
connections_without_a_welcome_are_not_explained_each_time(void **state)
{
    int explained = 0;

    (void)state;
    for (int i = 0; i < 60; i++) {
        conversation_up(&c, i * SECOND);
        conversation_tick(&c, i * SECOND);
        conversation_down(&c, i * SECOND);
        explained += strstr(effects(), "unexplained") != NULL;
    }
    assert_int_equal(explained, 1);
}

/* ---- leaving ------------------------------------------------------------------------------------
 */

static void
who_leaves_says_goodbye_if_somebody_hears_it(void **state)
{
    (void)state;
    assert_false(conversation_leave(&c));
    setup(NULL);
    conversation_up(&c, 0);
    assert_false(conversation_leave(&c));
    setup(NULL);
    open_at(0);
    assert_true(conversation_leave(&c));
    assert_false(conversation_leave(&c));
    setup(NULL);
    open_at(0);
    conversation_unsent(&c, ENOTCONN, 1);
    assert_false(conversation_leave(&c));
}

static void
nothing_is_asked_of_who_left(void **state)
{
    (void)state;
    open_at(0);
    conversation_leave(&c);
    assert_false(conversation_is_open(&c));
    assert_int_equal(conversation_deadline(&c), CLOCK_NEVER);
    assert_false(hear(MESSAGE_SLICE, 1));
    conversation_down(&c, 2);
    conversation_up(&c, 3);
    assert_string_equal(tick(1000 * SECOND), "");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(each_connection_begins_with_a_hello),
        TEST(nothing_is_for_the_owner_before_the_welcome),
        TEST(what_clients_in_executors_are_told_is_not_ours),
        TEST(a_hello_without_an_answer_is_said_again_elsewhere),
        TEST(a_second_welcome_ends_it),
        TEST(it_beats_as_the_broker_asks),
        TEST(a_broker_that_does_not_say_how_often_has_the_usual),
        TEST(the_largest_numbers_are_no_trouble),
        TEST(silence_is_the_end),
        TEST(bytes_of_a_large_message_are_no_silence),
        TEST(bytes_do_not_come_from_the_future),
        TEST(goodbye_ends_it_with_its_words),
        TEST(a_refusal_is_told_as_such),
        TEST(an_end_is_told_once),
        TEST(what_comes_after_the_end_is_dropped),
        TEST(a_connection_that_ends_by_itself_is_not_given_up_once_more),
        TEST(what_cannot_be_sent_ends_it),
        TEST(last_words_are_heard_on_a_broken_connection),
        TEST(a_broken_connection_ends_when_all_is_read),
        TEST(work_is_kept_for_so_long),
        TEST(attempts_that_fail_do_not_prolong_it),
        TEST(a_broker_in_time_takes_it_over),
        TEST(a_broker_at_the_last_moment_is_not_forsaken),
        TEST(without_a_limit_it_is_kept_for_ever),
        TEST(who_never_had_a_broker_is_not_forsaken),
        TEST(the_absence_is_explained_soon_and_then_each_minute),
        TEST(connections_without_a_welcome_are_not_explained_each_time),
        TEST(who_leaves_says_goodbye_if_somebody_hears_it),
        TEST(nothing_is_asked_of_who_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
