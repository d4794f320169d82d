#include "../../client/fold.h"
#include "../../client/parcel.h"
#include "../../client/running.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
same(task_t *task)
{
    return task_return(task, task_input(task), task_input_size(task));
}
TASK(same)

/* "(ab)" of "a" and "b": shows how they were combined. */
static int
wrap(task_t *task)
{
    const void *left, *right;
    size_t l, r;
    char text[4096];

    if (task_pair(task, &left, &l, &right, &r) != 0)
        return task_fail(task, "no pair");
    snprintf(text, sizeof(text), "(%.*s%.*s)", (int)l, (const char *)left, (int)r,
             (const char *)right);
    return task_return(task, text, strlen(text));
}
TASK(wrap)

static uint8_t *
pack(const struct parcel *p, const char *data, size_t *size_p)
{
    size_t head = parcel_head(p);
    uint8_t *bytes = malloc(head + strlen(data) + 1);

    assert_non_null(bytes);
    parcel_write(p, bytes);
    strcpy((char *)bytes + head, data);
    *size_p = head + strlen(data);
    return bytes;
}

static enum outcome
run(const uint8_t *input, size_t size, struct blob **result_p)
{
    const struct task_run r = {.function = fold_find(FOLD_JOIN),
                               .input = input,
                               .size = size,
                               .attempt = 1,
                               .worker = "node1"};

    assert_non_null(r.function);
    return task_run(&r, result_p);
}

static void
expect(const struct parcel *p, const char *data, const char *expected)
{
    size_t size;
    uint8_t *input = pack(p, data, &size);
    struct blob *result;

    assert_int_equal(run(input, size, &result), OUTCOME_DONE);
    if (result->size != strlen(expected) || memcmp(result->bytes, expected, result->size) != 0)
        fail_msg("%s became %.*s, not %s", data, (int)result->size, (char *)result->bytes,
                 expected);
    blob_unref(result);
    free(input);
}

static void
the_left_part_is_a_power_of_two(void **state)
{
    struct parcel p = {.map = "same", .reduce = "wrap", .width = 1, .size = 1};
    static const char *const expected[] = {"a",
                                           "(ab)",
                                           "((ab)c)",
                                           "((ab)(cd))",
                                           "(((ab)(cd))e)",
                                           "(((ab)(cd))(ef))",
                                           "(((ab)(cd))((ef)g))"};
    char letters[] = "abcdefg";

    (void)state;
    for (uint32_t n = 7; n > 0; n--) {
        letters[n] = '\0';
        p.count = n;
        p.end = n;
        expect(&p, letters, expected[n - 1]);
    }
}

static void
each_prefix_is_given_back(void **state)
{
    struct parcel p = {.flags = PARCEL_EACH | PARCEL_BEFORE,
                       .map = "",
                       .reduce = "wrap",
                       .first = 3,
                       .width = 1,
                       .end = 6,
                       .count = 4,
                       .size = 1};
    struct parcel out;
    struct blob *result;
    size_t size;
    uint8_t *input;

    (void)state;
    for (int apart = 0; apart < 2; apart++) {
        p.flags |= apart != 0 ? PARCEL_APART : 0;
        input = pack(&p, "xabc", &size);
        assert_int_equal(run(input, size, &result), OUTCOME_DONE);
        assert_int_equal(parcel_read(&out, result->bytes, result->size), 0);
        assert_int_equal(out.count, 3);
        if (apart != 0) {
            assert_memory_equal(out.data, "(xa)(xb)(xc)", 12);
        } else {
            assert_memory_equal(out.data, "(xa)((xa)b)(((xa)b)c)", 21);
            assert_int_equal(parcel_size(&out, 2), 10);
        }
        blob_unref(result);
        free(input);
    }
}

static void
values_may_differ_in_size(void **state)
{
    const uint32_t sizes[] = {2, 0, 3};
    const struct parcel p = {.map = "",
                             .reduce = "wrap",
                             .width = 1,
                             .end = 3,
                             .count = 3,
                             .sizes = (const uint8_t *)sizes};

    (void)state;
    expect(&p, "aaccc", "((aa)ccc)");
}

/* Whatever comes, the task ends: with a result or with words. */
static void
what_is_no_parcel_is_refused(void **state)
{
    const uint32_t sizes[] = {1, 2, 3};
    const struct parcel p = {.flags = PARCEL_BEFORE | PARCEL_EACH,
                             .map = "",
                             .reduce = "wrap",
                             .first = 1,
                             .width = 1,
                             .end = 3,
                             .count = 3,
                             .sizes = (const uint8_t *)sizes};
    struct blob *result;
    struct parcel out;
    size_t size;
    uint8_t *input = pack(&p, "abbccc", &size);

    (void)state;
    for (size_t n = 0; n < size; n++) {
        uint8_t *cut = malloc(n > 0 ? n : 1); /* exactly so much: a sanitizer looks */

        assert_non_null(cut);
        memcpy(cut, input, n);
        assert_int_equal(parcel_read(&out, cut, n), -1);
        assert_int_equal(run(cut, n, &result), OUTCOME_FAILED);
        blob_unref(result);
        free(cut);
    }
    for (size_t i = 0; i < size * 8; i++) {
        uint8_t *flipped = malloc(size);

        assert_non_null(flipped);
        memcpy(flipped, input, size);
        flipped[i / 8] ^= (uint8_t)(1 << i % 8);
        (void)run(flipped, size, &result);
        assert_non_null(result);
        blob_unref(result);
        free(flipped);
    }
    free(input);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_left_part_is_a_power_of_two),
        cmocka_unit_test(each_prefix_is_given_back),
        cmocka_unit_test(values_may_differ_in_size),
        cmocka_unit_test(what_is_no_parcel_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
