#include "../../client/running.h"
#include "../../proto/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int
do_nothing(task_t *task)
{
    (void)task;
    return 0;
}
TASK(do_nothing)

static struct blob *
run(task_fn *function, const void *input, size_t size, enum outcome expected)
{
    struct task_run r = {.function = function,
                         .input = input,
                         .size = size,
                         .seed = 42,
                         .stream = 7,
                         .index = 5,
                         .attempt = 2,
                         .worker = "node1"};
    struct blob *result = NULL;

    assert_int_equal(task_run(&r, &result), expected);
    assert_non_null(result);
    return result;
}

static void
expect(task_fn *function, enum outcome outcome, const char *text)
{
    struct blob *result = run(function, "abc", 3, outcome);

    assert_int_equal(result->size, strlen(text));
    assert_memory_equal(result->bytes, text, strlen(text));
    blob_unref(result);
}

static int
return_input(task_t *task)
{
    return task_return(task, task_input(task), task_input_size(task));
}

static int
return_twice(task_t *task)
{
    return task_return(task, "first and long", 14) == 0 ? task_return(task, "last", 4) : -1;
}

static int
return_part_of_output(task_t *task)
{
    char *output = task_output(task, 8);

    memcpy(output, "12345678", 8);
    return task_return(task, output + 2, 3);
}

static int
fill_output(task_t *task)
{
    memcpy(task_output(task, 4), "four", 4);
    return 0;
}

static void
result_is_what_was_returned_last(void **state)
{
    (void)state;
    expect(return_input, OUTCOME_DONE, "abc");
    expect(return_twice, OUTCOME_DONE, "last");
    expect(return_part_of_output, OUTCOME_DONE, "345");
    expect(fill_output, OUTCOME_DONE, "four");
}

static int
return_empty(task_t *task)
{
    return task_return(task, NULL, 0);
}

static void
empty_result_is_a_result(void **state)
{
    (void)state;
    expect(return_empty, OUTCOME_DONE, "");
}

static int
fail_plainly(task_t *task)
{
    return task_fail(task, "%d is too many", task_attempt(task));
}

static int
fail_after_return(task_t *task)
{
    task_return(task, "half", 4);
    return task_fail(task, "then it broke");
}

static int
return_after_fail(task_t *task)
{
    (void)task_fail(task, "not yet");
    return task_return(task, "well", 4);
}

static int
fail_and_claim_success(task_t *task)
{
    (void)task_fail(task, "no");
    return 0;
}

static int
say_nothing(task_t *task)
{
    (void)task;
    return -7;
}

static void
failure_has_words(void **state)
{
    (void)state;
    expect(fail_plainly, OUTCOME_FAILED, "2 is too many");
    expect(fail_after_return, OUTCOME_FAILED, "then it broke");
    expect(return_after_fail, OUTCOME_DONE, "well");
    expect(fail_and_claim_success, OUTCOME_FAILED, "no");
    expect(say_nothing, OUTCOME_FAILED, "returned -7 without saying why");
    expect(do_nothing, OUTCOME_FAILED, "returned 0 without a result: call task_return() first");
}

static int
fail_at_length(task_t *task)
{
    return task_fail(task, "%10000s", "end");
}

static void
words_are_cut_at_the_limit(void **state)
{
    struct blob *words = run(fail_at_length, NULL, 0, OUTCOME_FAILED);

    (void)state;
    assert_int_equal(words->size, LIMIT_TEXT);
    blob_unref(words);
}

static int
look_around(task_t *task)
{
    double x;

    assert_int_equal(task_index(task), 5);
    assert_int_equal(task_attempt(task), 2);
    assert_string_equal(task_worker(task), "node1");
    assert_false(task_cancelled(task));
    assert_int_equal(task_progress(task, 1, 2), 0);
    assert_int_equal(task_emit(task, "x", 1), 0);
    assert_int_equal(task_read(task, &x, sizeof(x)), -1);
    assert_int_equal(errno, EPROTO);
    assert_int_equal(task_return(task, "", (size_t)LIMIT_DATA + 1), -1);
    assert_int_equal(errno, E2BIG);
    assert_null(task_output(task, (size_t)LIMIT_DATA + 1));
    return task_return(task, "seen", 4);
}

static void
task_knows_where_it_is(void **state)
{
    (void)state;
    expect(look_around, OUTCOME_DONE, "seen");
}

static int
return_input_place(task_t *task)
{
    return task_input(task) != NULL && task_input_size(task) == 0 ? task_return(task, "ok", 2) : -1;
}

static void
empty_input_is_not_null(void **state)
{
    struct blob *result = run(return_input_place, NULL, 0, OUTCOME_DONE);

    (void)state;
    blob_unref(result);
}

static struct task
stream(struct task_run *r, uint64_t seed, uint64_t index)
{
    struct task task;

    *r = (struct task_run){.seed = seed, .stream = index};
    task_init(&task, r, NULL, 0);
    return task;
}

static void
random_numbers_are_the_same_for_ever(void **state)
{
    static const struct {
        uint64_t seed, index, bits[3];
    } rows[] = {
        {0, 0, {0xfb5405f7bd79c540, 0x780c98e26cea5883, 0x2a146e0980febc66}},
        {42, 0, {0x19e479e2aaa77bfb, 0x5e3efe753be27527, 0xc3ed7125b780200a}},
        {42, 1, {0x0cee3ac9ad457c96, 0x719a1abe9d3f4270, 0x7256f0ab739bfce7}},
        {UINT64_MAX, 1ULL << 40, {0xaa03686f7debfb05, 0xf6fa1d2260ada1db, 0x61a1ec37aa814e23}},
    };
    struct task_run r;
    struct task task;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        task = stream(&r, rows[i].seed, rows[i].index);
        for (int k = 0; k < 3; k++)
            assert_true(task_random(&task) == rows[i].bits[k]);
    }
    task = stream(&r, 42, 7);
    assert_true(task_random_double(&task) == 0.2551310757920989);
}

static int
other(task_t *task)
{
    (void)task;
    return 0;
}

static void
functions_are_found_by_name(void **state)
{
    char text[200], longest[LIMIT_NAME + 2];
    uint32_t count;

    (void)state;
    memset(longest, 'n', sizeof(longest));
    longest[LIMIT_NAME + 1] = '\0';
    assert_int_equal(task_register("alpha", other), 0);
    assert_int_equal(task_register("alpha", other), 0);
    assert_int_equal(task_register("alpha", do_nothing), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(task_register("", other), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(task_register("a\nb", other), -1);
    assert_int_equal(task_register(longest, other), -1);
    longest[LIMIT_NAME] = '\0';
    assert_ptr_equal(registry_find("alpha"), other);
    assert_ptr_equal(registry_find("do_nothing"), do_nothing);
    assert_null(registry_find("alph"));
    assert_string_equal(registry_names(&count)[0], "do_nothing");
    assert_int_equal(count, 2);
    registry_unknown("alfa", text, sizeof(text));
    assert_string_equal(text, "no function 'alfa'; this program has: alpha, do_nothing");
    registry_unknown("alfa", text, 20); /* cut, and no further */
    assert_int_equal(strlen(text), 19);
    for (int i = 0; i < 40; i++) {
        text[0] = 'f';
        text[1] = (char)('a' + i / 10);
        text[2] = (char)('a' + i % 10);
        text[3] = '\0';
        assert_int_equal(task_register(text, other), 0);
    }
    assert_ptr_equal(registry_find("fdj"), other);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(result_is_what_was_returned_last),
        cmocka_unit_test(empty_result_is_a_result),
        cmocka_unit_test(failure_has_words),
        cmocka_unit_test(words_are_cut_at_the_limit),
        cmocka_unit_test(task_knows_where_it_is),
        cmocka_unit_test(empty_input_is_not_null),
        cmocka_unit_test(random_numbers_are_the_same_for_ever),
        cmocka_unit_test(functions_are_found_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
