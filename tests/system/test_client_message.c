/* Inputs and results that are messages of protobuf-c. */
#include "client.h"

#include "letters.pb-c.h"
#include <ladle-protobuf.h>

#include <stdio.h>

/* ---- tasks ------------------------------------------------------------------------------------
 */

/* A letter becomes an answer, "dear ADDRESSEE, N pages"; none for "nobody". */
static int
answer(task_t *task)
{
    Letters__Letter *letter =
        (Letters__Letter *)task_read_message(task, &letters__letter__descriptor);
    Letters__Answer reply = LETTERS__ANSWER__INIT;
    char text[100];
    int rc;

    if (letter == NULL)
        return task_fail(task, "%s", futures_error());
    snprintf(text, sizeof(text), "dear %s, %d pages", letter->to, letter->pages);
    if (strcmp(letter->to, "nobody") != 0)
        reply.text = text;
    reply.has_cost = true;
    reply.cost = (double)letter->n_lines / 2;
    rc = task_return_message(task, &reply.base);
    protobuf_c_message_free_unpacked(&letter->base, NULL);
    return rc == 0 ? 0 : task_fail(task, "%s", futures_error());
}
TASK(answer)

/* ---- tests ------------------------------------------------------------------------------------
 */

static Letters__Letter
letter_to(char *to, int pages)
{
    Letters__Letter letter = LETTERS__LETTER__INIT;

    letter.to = to;
    letter.has_pages = true;
    letter.pages = pages;
    return letter;
}

static void
check_answer(ProtobufCMessage *message, const char *text, double cost)
{
    Letters__Answer *reply = (Letters__Answer *)message;

    if (reply == NULL)
        fail_msg("%s", futures_error());
    assert_string_equal(reply->text, text);
    assert_true(reply->cost == cost);
    protobuf_c_message_free_unpacked(message, NULL);
}

static void
a_message_is_answered_by_a_message(void **state)
{
    futures_t *f = *state;
    char *lines[3] = {(char[]){"one"}, (char[]){""}, (char[]){"three"}};
    Letters__Letter letter = letter_to((char[]){"Ann"}, 7), inner = letter_to((char[]){"Bob"}, 1);
    future_t *u;

    letter.lines = lines;
    letter.n_lines = 3;
    letter.content_case = LETTERS__LETTER__CONTENT_INNER;
    letter.inner = &inner;
    u = futures_submit_message(f, "answer", &letter.base, NULL);
    letter.to = (char[]){"changed"}; /* it was copied */
    check_answer(future_result_message(u, &letters__answer__descriptor), "dear Ann, 7 pages", 1.5);
    check_answer(future_result_message(u, &letters__answer__descriptor), "dear Ann, 7 pages", 1.5);
    future_destroy(&u);
    letter.to = (char[]){"Cat"};
    check_answer(
        futures_call_message(f, "answer", &letter.base, &letters__answer__descriptor, NULL),
        "dear Cat, 7 pages", 1.5);
}

static void
messages_are_mapped(void **state)
{
    enum { N = 1000 };
    futures_t *f = *state;
    static char names[N][32], nobody[] = "nobody";
    static Letters__Letter letters[N];
    const ProtobufCMessage *messages[N];
    ProtobufCMessage *reply;
    results_t *r;
    char text[100];

    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof(names[i]), "%s", &"a long name of many letters..."[i % 25]);
        letters[i] = letter_to(i == 500 ? nobody : names[i], i);
        messages[i] = &letters[i].base;
    }
    r = futures_map_messages(f, "answer", messages, N, NULL);
    for (int i = 0; i < N; i++) {
        reply = results_next_message(r, &letters__answer__descriptor);
        snprintf(text, sizeof(text), "dear %.31s, %d pages", names[i], i);
        if (i != 500) {
            check_answer(reply, text, 0);
            continue;
        }
        assert_null(reply);
        assert_int_equal(errno, EIO);
        assert_non_null(strstr(results_error(r), "message of type letters.Answer is not complete"));
    }
    assert_null(results_next_message(r, &letters__answer__descriptor));
    assert_int_equal(errno, 0);
    assert_true(results_at_end(r));
    results_destroy(&r);
    r = futures_map_messages(f, "answer", NULL, 0, NULL);
    assert_int_equal(results_collect(&r, NULL, 0), 0);
}

static void
bytes_that_are_no_message_are_told(void **state)
{
    futures_t *f = *state;
    static const char *const wrong[] = {"\xff", "\x0a\x05Ann", "\x0a\xff\xff\xff\xff\xff\x0f",
                                        "\x0b", "\x10\x01" /* without the required one */};
    results_t *r;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_int_equal(futures_call(f, "answer", wrong[i], strlen(wrong[i]), NULL, NULL, NULL),
                         -1);
        assert_int_equal(errno, EIO);
        assert_non_null(strstr(futures_error(), "bytes is no message of type letters.Letter"));
        r = futures_map(f, "echo", wrong[i], 1, strlen(wrong[i]), NULL);
        assert_null(results_next_message(r, &letters__letter__descriptor));
        assert_int_equal(errno, EPROTO);
        assert_false(results_at_end(r));
        assert_non_null(strstr(futures_error(), "is no message of type letters.Letter"));
        assert_null(results_next_message(r, &letters__letter__descriptor));
        assert_true(results_at_end(r));
        results_destroy(&r);
    }
}

/* A letter in a letter in a letter: `depth` of them. Built from the innermost one. */
static uint8_t *
nested(unsigned depth, unsigned field, size_t *size_p)
{
    uint8_t *bytes = malloc(depth * 8 + 8), *at = bytes + depth * 8 + 8;
    size_t size = 3;

    assert_non_null(bytes);
    at -= size;
    memcpy(at, "\x0a\x01x", 3);
    while (depth-- > 0) {
        uint8_t head[16] = {(uint8_t)(field << 3 | 2)};
        size_t n = 1, left = size;

        for (; left >= 0x80; left >>= 7)
            head[n++] = (uint8_t)(left | 0x80);
        head[n++] = (uint8_t)left;
        at -= n;
        memcpy(at, head, n);
        at -= 3;
        memcpy(at, "\x0a\x01x", 3);
        size += n + 3;
    }
    memmove(bytes, at, size);
    *size_p = size;
    return bytes;
}

static void
deep_messages_do_not_end_the_stack(void **state)
{
    futures_t *f = *state;
    static const unsigned fields[] = {5, 6};

    for (int i = 0; i < 2; i++) {
        size_t size;
        uint8_t *bytes = nested(100, fields[i], &size);
        future_t *u = futures_submit(f, "echo", bytes, size, NULL);
        ProtobufCMessage *message = future_result_message(u, &letters__letter__descriptor);

        if (message == NULL)
            fail_msg("%s", futures_error());
        protobuf_c_message_free_unpacked(message, NULL);
        future_destroy(&u);
        free(bytes);
        bytes = nested(60000, fields[i], &size);
        assert_int_equal(futures_call(f, "answer", bytes, size, NULL, NULL, NULL), -1);
        assert_non_null(strstr(futures_error(), "is no message of type letters.Letter"));
        u = futures_submit(f, "echo", bytes, size, NULL);
        assert_null(future_result_message(u, &letters__letter__descriptor));
        assert_int_equal(errno, EPROTO);
        future_destroy(&u);
        free(bytes);
    }
}

static void
what_is_no_message_is_refused(void **state)
{
    futures_t *f = *state;
    Letters__Letter letter = letter_to(NULL, 1), none;
    const ProtobufCMessage *messages[2] = {&letter.base, &letter.base};
    future_t *u;

    assert_null(futures_submit_message(f, "answer", &letter.base, NULL));
    assert_int_equal(errno, EPROTO);
    assert_non_null(strstr(futures_error(), "letters.Letter is not complete"));
    assert_null(futures_map_messages(f, "answer", messages, 2, NULL));
    assert_int_equal(errno, EPROTO);
    assert_non_null(strstr(futures_error(), "message 0: "));
    memset(&none, 0, sizeof(none));
    assert_null(futures_submit_message(f, "answer", &none.base, NULL));
    assert_int_equal(errno, EINVAL);
    assert_null(futures_submit_message(f, "answer", NULL, NULL));
    assert_int_equal(errno, EINVAL);
    assert_null(futures_map_messages(f, "answer", NULL, 2, NULL));
    assert_int_equal(errno, EINVAL);
    letter = letter_to((char[]){"Ann"}, 1);
    assert_null(futures_call_message(f, "answer", &letter.base, NULL, NULL));
    assert_int_equal(errno, EINVAL);
    assert_null(futures_call_message(f, "answr", &letter.base, &letters__answer__descriptor, NULL));
    assert_int_equal(errno, EIO);
    assert_null(future_result_message(NULL, &letters__answer__descriptor));
    assert_null(results_next_message(NULL, &letters__answer__descriptor));
    u = futures_submit_message(f, "answer", &letter.base, NULL);
    assert_null(future_result_message(u, (const ProtobufCMessageDescriptor *)&none));
    assert_int_equal(errno, EINVAL);
    future_destroy(&u);
}

int
message_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_answered_by_a_message), TEST(messages_are_mapped),
        TEST(bytes_that_are_no_message_are_told), TEST(deep_messages_do_not_end_the_stack),
        TEST(what_is_no_message_is_refused),
    };

    return cmocka_run_group_tests_name("messages", tests, NULL, NULL);
}
