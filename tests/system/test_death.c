/* What a user is told of a task that died: which, where, how, where it was, what it said last. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED "AddressSanitizer"
#elif defined(__SANITIZE_THREAD__)
#define SANITIZED "ThreadSanitizer"
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED "AddressSanitizer"
#elif __has_feature(thread_sanitizer)
#define SANITIZED "ThreadSanitizer"
#endif
#endif

enum { MOST = 8 };

/* What `program` says with these arguments, in a pool of two. */
static const char *
told(const char *program, const char *const *arguments)
{
    const char *argv[MOST + 2] = {harness_binary(program)};
    struct process *p;

    for (int i = 0; i < MOST && arguments[i] != NULL; i++)
        argv[i + 1] = arguments[i];
    p = process_start(argv, (const char *const[]){"LADLE_BROKER=local:2", NULL});
    assert_int_equal(process_await(p, 3 * SOON), 0);
    return process_output(p);
}
#define told(program, ...) (told)(program, (const char *const[MOST]){__VA_ARGS__})

static void
assert_says(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        print_error("not there: %s\nin:\n%s\n", part, text);
    assert_non_null(strstr(text, part));
}

static void
assert_silent(const char *text, const char *part)
{
    if (strstr(text, part) != NULL)
        print_error("there: %s\nin:\n%s\n", part, text);
    assert_null(strstr(text, part));
}

/* ---- where it was ----------------------------------------------------------------------------
 */

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

/* Kinds of death that a sanitizer does not see before us, and then those that it does. */
static const struct death {
    const char *kind, *cause, *frames[3];
} deaths[] = {
    {"abort", "killed by signal 6 (Aborted", {" die at ", "/dying.c:"}},
    {"assert", "killed by signal 6 (Aborted", {" fail_assertion at ", " die at "}},
    {"trap", "killed by signal 4 (Illegal instruction", {" die at "}},
#ifndef SANITIZED
    {"null",
     "killed by signal 11 (Segmentation fault) at address 0x0",
     {"#0 step_on_null at ", "#1 die at "}},
    {"divide", "killed by signal 8 (Floating point exception)", {"#0 divide at ", "#1 die at "}},
    {"call",
     "killed by signal 11 (Segmentation fault) at address 0x0",
     {"#0 0x0, where no code is", "#1 call_null at ", "#2 die at "}},
    {"stack", ", as its stack of ", {"#0 dive at ", "... and ", " die at "}},
    {"inline",
     "killed by signal 11 (Segmentation fault)",
     {"#0 inlined at ", "#0 with_inlined at ", "#1 die at "}},
    {"thread", " in a thread of its own", {"#0 step_on_null at ", "#1 in_thread at "}},
    {"heap", "killed by signal 6 (Aborted", {" corrupt_heap at ", " die at "}},
#endif
};

static void
each_signal_tells_where_the_task_was(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(deaths) / sizeof(*deaths); i++) {
        const struct death *d = &deaths[i];
        const char *text = told("dying", d->kind);
        char last[64];

        assert_true(starts_with(text, "die on worker local, attempt 1: "));
        assert_says(text, d->cause);
        assert_says(text, "; it used up to ");
        snprintf(last, sizeof(last), "standard error:\n    about to die: %s\n", d->kind);
        assert_says(text, last);
        assert_says(text, "\n  where it was:\n");
        for (int k = 0; k < 3 && d->frames[k] != NULL; k++)
            assert_says(text, d->frames[k]);
        assert_silent(text, "task_execute"); /* the library's own */
    }
}

static void
line_of_the_fault_is_told(void **state)
{
    const char *text = told("dying", "assert"), *line;
    char place[64];

    (void)state;
    assert_says(text, "Assertion `zero == 1 && \"zero is one\"' failed");
    assert_says(text, "fail_assertion at ");
    assert_non_null(line = strstr(text, "dying.c:")); /* as assert() says it */
    snprintf(place, sizeof(place), "/dying.c:%ld\n", strtol(line + strlen("dying.c:"), NULL, 10));
    assert_says(text, place); /* and as the frame does */
}

static void
end_without_a_signal_has_no_frames(void **state)
{
    const char *text;

    (void)state;
    assert_says(told("dying", "exit"), "exited with status 3; it used ");
    assert_says(told("dying", "_exit"), "exited with status 4; it used ");
    text = told("dying", "kill");
    assert_says(text, "killed by signal 9 (Killed); it used ");
    assert_silent(text, "where it was");
}

static void
program_without_debug_information_tells_functions(void **state)
{
    const char *text = told("dying-nodebug", "abort");

    (void)state;
    assert_says(text, " die+0x");
    assert_says(text, " in dying-nodebug\n");
}

static void
stripped_program_tells_addresses(void **state)
{
    const char *text = told("dying-stripped", "abort");

    (void)state;
    assert_says(text, " dying-stripped+0x");
    assert_silent(text, " die at ");
}

static void
program_at_a_fixed_address_tells_lines(void **state)
{
    (void)state;
    assert_says(told("dying-fixed", "abort"), " die at ");
}

static void
handler_of_the_program_wins(void **state)
{
    const char *text = told("dying", "raise", "handler=1");

    (void)state;
    assert_says(text, "exited with status 51;"); /* 40 + SIGSEGV */
    assert_silent(text, "where it was");
}

static void
task_out_of_time_tells_where_it_was(void **state)
{
    const char *text = told("dying", "sleep", "timeout=200");

    (void)state;
    assert_says(text, "ran longer than its timeout of 200 ms\n");
    assert_says(text, "about to die: sleep\n");
    assert_says(text, " die at ");
}

static void
nested_task_tells_its_own_frames(void **state)
{
    const char *text = told("dying", "abort", "function=delegate");

    (void)state;
    assert_true(starts_with(text, "delegate on worker local, attempt 1: its nested task die: "
                                  "killed by signal 6 (Aborted"));
    assert_says(text, " die at ");
    assert_silent(text, " delegate at "); /* it waits, on another stack */
}

static void
output_of_others_is_not_told(void **state)
{
    const char *text = told("dying", "abort", "count=3");
    int n = 0;

    (void)state;
    for (const char *at = text; (at = strstr(at, "about to die")) != NULL; at++)
        n++;
    assert_int_equal(n, 3); /* in each text once */
}

#ifdef SANITIZED
static void
report_of_a_sanitizer_is_told(void **state)
{
    const char *text = told("dying", "null");

    (void)state;
    assert_true(strstr(text, SANITIZED) != NULL || strstr(text, "runtime error") != NULL);
}
#endif

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(each_signal_tells_where_the_task_was),
        TEST(line_of_the_fault_is_told),
        TEST(end_without_a_signal_has_no_frames),
        TEST(program_without_debug_information_tells_functions),
        TEST(stripped_program_tells_addresses),
        TEST(program_at_a_fixed_address_tells_lines),
        TEST(handler_of_the_program_wins),
        TEST(task_out_of_time_tells_where_it_was),
        TEST(nested_task_tells_its_own_frames),
        TEST(output_of_others_is_not_told),
#ifdef SANITIZED
        TEST(report_of_a_sanitizer_is_told),
#endif
    };

    if (argc > 1) /* a pattern: only these */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
