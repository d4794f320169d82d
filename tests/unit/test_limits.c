#include "wiring.h"

static void
data_must_fit_its_columns(void **state)
{
    Ladle__V1__Columns c = LADLE__V1__COLUMNS__INIT;
    Ladle__V1__Inputs in = LADLE__V1__INPUTS__INIT;
    uint32_t sizes[] = {10, 0, 6};
    uint8_t outcomes[] = {0, 1, 6};
    struct message m;

    (void)state;
    in.job = 1;
    in.columns = &c;
    c.count = 4;
    c.size = 4;
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 16, &m), 0);
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 15, &m), -1);
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 17, &m), -1);
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 0, &m), -1);
    c.size = 0;
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 0, &m), 0);
    c.size = 1u << 30; /* 4 * 2^30 is 0 in 32 bits */
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 0, &m), -1);

    c.size = 0;
    c.count = 3;
    c.sizes = sizes;
    c.n_sizes = 3;
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 16, &m), 0);
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 15, &m), -1);
    sizes[0] = UINT32_MAX; /* 2^32 - 1 + 6 is 5 in 32 bits */
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 5, &m), -1);
    sizes[0] = 10;
    c.n_sizes = 2;
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 10, &m), -1);
    c.n_sizes = 3;
    c.size = 1;
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 16, &m), -1);

    c.size = 0;
    c.outcomes = (ProtobufCBinaryData){3, outcomes};
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 16, &m), 0);
    c.outcomes.len = 2;
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 16, &m), -1);
    c.outcomes.len = 3;
    outcomes[2] = OUTCOME_LIMIT;
    assert_int_equal(decode_top(TOP(INPUTS, inputs, &in), 16, &m), -1);
}

static void
columns_have_limits(void **state)
{
    static uint32_t sizes[LIMIT_SIZES + 1];
    static uint8_t outcomes[LIMIT_ITEMS + 1];
    Ladle__V1__Columns c = LADLE__V1__COLUMNS__INIT;
    Ladle__V1__Results in = LADLE__V1__RESULTS__INIT;
    struct message m;

    (void)state;
    in.job = 1;
    in.columns = &c;
    c.outcomes.data = outcomes;
    c.count = LIMIT_ITEMS;
    c.outcomes.len = LIMIT_ITEMS;
    assert_int_equal(decode_top(TOP(RESULTS, results, &in), 0, &m), 0);
    c.count++;
    c.outcomes.len++;
    assert_int_equal(decode_top(TOP(RESULTS, results, &in), 0, &m), -1);

    memset(sizes, 0, sizeof(sizes));
    sizes[0] = LIMIT_DATA / 4;
    c.sizes = sizes;
    c.count = c.n_sizes = c.outcomes.len = LIMIT_SIZES;
    assert_int_equal(decode_top(TOP(RESULTS, results, &in), sizes[0], &m), 0);
    c.count = c.n_sizes = c.outcomes.len = LIMIT_SIZES + 1;
    assert_int_equal(decode_top(TOP(RESULTS, results, &in), sizes[0], &m), -1);

    c.count = 0;
    c.n_sizes = c.outcomes.len = 0;
    assert_int_equal(decode_top(TOP(RESULTS, results, &in), 0, &m), -1);
    in.columns = NULL;
    assert_int_equal(decode_top(TOP(RESULTS, results, &in), 0, &m), -1);
    in.columns = &c;
    c.count = 2;
    in.first = UINT64_MAX - 2;
    assert_int_equal(decode_top(TOP(RESULTS, results, &in), 0, &m), 0);
    in.first = UINT64_MAX - 1;
    assert_int_equal(decode_top(TOP(RESULTS, results, &in), 0, &m), -1);
}

static void
one_item_means_one(void **state)
{
    Ladle__V1__Columns c = LADLE__V1__COLUMNS__INIT;
    Ladle__V1__Partial partial = LADLE__V1__PARTIAL__INIT;
    Ladle__V1__Output output = LADLE__V1__OUTPUT__INIT;
    struct message m;

    (void)state;
    partial.job = output.job = 1;
    output.stream = 1;
    partial.columns = output.columns = &c;
    c.count = 1;
    assert_int_equal(decode_top(TOP(PARTIAL, partial, &partial), 0, &m), 0);
    assert_int_equal(decode_top(TOP(OUTPUT, output, &output), 0, &m), 0);
    output.stream = 3;
    assert_int_equal(decode_top(TOP(OUTPUT, output, &output), 0, &m), -1);
    output.stream = 1;
    c.count = 2;
    assert_int_equal(decode_top(TOP(PARTIAL, partial, &partial), 0, &m), -1);
    assert_int_equal(decode_top(TOP(OUTPUT, output, &output), 0, &m), -1);
}

static void
data_without_columns_is_refused(void **state)
{
    Ladle__V1__Beat beat = LADLE__V1__BEAT__INIT;
    struct message m;

    (void)state;
    assert_int_equal(decode_top(TOP(BEAT, beat, &beat), 0, &m), 0);
    assert_int_equal(decode_top(TOP(BEAT, beat, &beat), 1, &m), -1);
}

static int
decode_name(const char *name)
{
    Ladle__V1__Running in = LADLE__V1__RUNNING__INIT;
    char text[LIMIT_NAME + 2];
    struct message m;

    strcpy(text, name);
    in.job = 1;
    in.worker = text;
    return decode_top(TOP(RUNNING, running, &in), 0, &m);
}

static void
names_are_clean_and_short(void **state)
{
    char name[LIMIT_NAME + 2];
    struct message m;
    static const uint8_t nul[] = {0x3a, 7, 0x08, 1, 0x2a, 3, 'a', 0, 'b'};

    (void)state;
    memset(name, 'x', sizeof(name));
    name[LIMIT_NAME] = 0;
    assert_int_equal(decode_name(name), 0);
    name[LIMIT_NAME] = 'x';
    name[LIMIT_NAME + 1] = 0;
    assert_int_equal(decode_name(name), -1);
    assert_int_equal(decode_name("h\xc3\xb6he \xe2\x82\xac \xf0\x9f\x8d\xb2"), 0);
    assert_int_equal(decode_name("two\nlines"), -1);
    assert_int_equal(decode_name("\x1b[31mred"), -1);
    assert_int_equal(decode_name("\x7f"), -1);
    assert_int_equal(decode_name("\xc2\x9b"), -1);     /* a control character of two bytes */
    assert_int_equal(decode_name("\xc3"), -1);         /* cut short */
    assert_int_equal(decode_name("\x80"), -1);         /* a continuation of nothing */
    assert_int_equal(decode_name("\xc1\x81"), -1);     /* 'A', too long */
    assert_int_equal(decode_name("\xe0\x83\xbf"), -1); /* so is this */
    assert_int_equal(decode_name("\xed\xa0\x80"), -1); /* half a pair */
    assert_int_equal(decode_name("\xf4\x90\x80\x80"), -1);
    assert_int_equal(decode_name("\xff"), -1);
    assert_int_equal(decode_exactly(nul, sizeof(nul), NULL, &m), -1);
}

static void
texts_have_lines_and_an_end(void **state)
{
    static char text[LIMIT_TEXT + 2];
    Ladle__V1__Bye bye = LADLE__V1__BYE__INIT;
    struct message m;

    (void)state;
    bye.text = text;
    memset(text, '\n', sizeof(text));
    text[LIMIT_TEXT] = 0;
    assert_int_equal(decode_top(TOP(BYE, bye, &bye), 0, &m), 0);
    text[LIMIT_TEXT] = '\n';
    text[LIMIT_TEXT + 1] = 0;
    assert_int_equal(decode_top(TOP(BYE, bye, &bye), 0, &m), -1);
    strcpy(text, "tab\tand\rreturn");
    assert_int_equal(decode_top(TOP(BYE, bye, &bye), 0, &m), -1);
}

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void
jobs_must_make_sense(void **state)
{
    static char digest[] = DIGEST, arguments[LIMIT_ARGUMENTS + 1];
    Ladle__V1__Program p = LADLE__V1__PROGRAM__INIT;
    Ladle__V1__Job in = LADLE__V1__JOB__INIT;
    struct message m;

    (void)state;
#define TRY() decode_top(TOP(JOB, job, &in), 0, &m)
    in.job = 1;
    in.cpus = 1;
    assert_int_equal(TRY(), -1); /* no program */
    in.program = &p;
    assert_int_equal(TRY(), -1); /* neither digest nor name */
    p.name = digest + 60;
    assert_int_equal(TRY(), 0);
    p.name = digest + 64;
    p.digest = digest;
    assert_int_equal(TRY(), 0);
    assert_int_equal(m.job.spec->retries, 2); /* absent is not 0 */
    in.attempts_case = LADLE__V1__JOB__ATTEMPTS_RETRIES;
    assert_int_equal(TRY(), 0);
    assert_int_equal(m.job.spec->retries, 0);
    digest[3] = 'F';
    assert_int_equal(TRY(), -1);
    digest[3] = '3';
    p.digest = digest + 1;
    assert_int_equal(TRY(), -1);
    p.digest = digest;

    p.arguments = (ProtobufCBinaryData){LIMIT_ARGUMENTS, (uint8_t *)arguments};
    assert_int_equal(TRY(), 0);
    assert_int_equal(m.job.spec->program.arguments_size, LIMIT_ARGUMENTS);
    p.arguments.len++;
    assert_int_equal(TRY(), -1);
    p.arguments.len = 2;
    arguments[1] = 'x';
    assert_int_equal(TRY(), -1);
    p.arguments.len = 0;

    p.size = LIMIT_PROGRAM;
    assert_int_equal(TRY(), 0);
    p.size++;
    assert_int_equal(TRY(), -1);
    p.size = 0;
    in.timeout_ms = INT64_MAX / 1000000;
    assert_int_equal(TRY(), 0);
    in.timeout_ms++;
    assert_int_equal(TRY(), -1);
    in.timeout_ms = 0;
    in.cpus = 0;
    assert_int_equal(TRY(), -1);
    in.cpus = 1;
    in.job = 0;
    assert_int_equal(TRY(), -1);
#undef TRY
}

static void
hellos_must_make_sense(void **state)
{
    static uint8_t session[17];
    static char *names[LIMIT_FUNCTIONS + 1];
    static char name[] = "f";
    Ladle__V1__Hello in = LADLE__V1__HELLO__INIT;
    struct message m;

    (void)state;
#define TRY() decode_top(TOP(HELLO, hello, &in), 0, &m)
    in.protocol = 1;
    in.role = LADLE__V1__ROLE__ROLE_CLIENT;
    in.session = (ProtobufCBinaryData){16, session};
    assert_int_equal(TRY(), 0);
    in.session.len = 17;
    assert_int_equal(TRY(), -1);
    in.session.len = 0;
    assert_int_equal(TRY(), -1);
    in.role = LADLE__V1__ROLE__ROLE_EXECUTOR; /* its connection is its session */
    assert_int_equal(TRY(), 0);
    for (size_t i = 0; i < LIMIT_FUNCTIONS + 1; i++)
        names[i] = name;
    in.names = names;
    in.n_names = LIMIT_FUNCTIONS;
    assert_int_equal(TRY(), 0);
    in.n_names++;
    assert_int_equal(TRY(), -1);
    in.n_names = 0;
    in.session.len = 16;
    in.role = LADLE__V1__ROLE__ROLE_WORKER;
    assert_int_equal(TRY(), -1); /* no slots */
    in.slots = 1;
    assert_int_equal(TRY(), 0);
    in.protocol = 0;
    assert_int_equal(TRY(), -1);
    in.protocol = 1;
    for (int role = -1; role < 7; role++) {
        in.role = (Ladle__V1__Role)role;
        assert_int_equal(TRY(), role >= 1 && role <= 4 ? 0 : -1);
    }
#undef TRY
}

static void
numbers_out_of_range_are_refused(void **state)
{
    Ladle__V1__Ended ended = LADLE__V1__ENDED__INIT;
    Ladle__V1__GivenBack returned = LADLE__V1__GIVEN_BACK__INIT;
    Ladle__V1__Cancel cancel = LADLE__V1__CANCEL__INIT;
    Ladle__V1__Slice slice = LADLE__V1__SLICE__INIT;
    Ladle__V1__Columns c = LADLE__V1__COLUMNS__INIT;
    struct message m;

    (void)state;
    ended.job = returned.lease = cancel.job = slice.job = slice.lease = 1;
    for (int i = -1; i < 9; i++) {
        ended.outcome = (Ladle__V1__Outcome)i;
        assert_int_equal(decode_top(TOP(ENDED, ended, &ended), 0, &m), i > 0 && i < 7 ? 0 : -1);
        returned.why = (Ladle__V1__Returned)i;
        assert_int_equal(decode_top(TOP(RETURNED, returned, &returned), 0, &m),
                         i >= 0 && i < 4 ? 0 : -1);
    }
    cancel.count = UINT64_MAX;
    assert_int_equal(decode_top(TOP(CANCEL, cancel, &cancel), 0, &m), 0);
    cancel.first = 1;
    assert_int_equal(decode_top(TOP(CANCEL, cancel, &cancel), 0, &m), -1);
    c.count = 1;
    slice.columns = &c;
    assert_int_equal(decode_top(TOP(SLICE, slice, &slice), 0, &m), -1); /* attempt 0 */
    slice.attempt = 1;
    assert_int_equal(decode_top(TOP(SLICE, slice, &slice), 0, &m), 0);
    slice.lease = 0;
    assert_int_equal(decode_top(TOP(SLICE, slice, &slice), 0, &m), -1);
}

static void
parts_lie_within_their_program(void **state)
{
    static char digest[] = DIGEST;
    Ladle__V1__Columns c = LADLE__V1__COLUMNS__INIT;
    Ladle__V1__ProgramPart in = LADLE__V1__PROGRAM_PART__INIT;
    struct message m;

    (void)state;
#define TRY(length) (c.size = length, decode_top(TOP(PROGRAM_PART, program_part, &in), length, &m))
    in.digest = digest;
    assert_int_equal(decode_top(TOP(PROGRAM_PART, program_part, &in), 0, &m), 0);
    in.columns = &c;
    c.count = 1;
    in.size = LIMIT_PROGRAM;
    assert_int_equal(TRY(LIMIT_PART), 0);
    assert_int_equal(TRY(LIMIT_PART + 1), -1);
    in.offset = LIMIT_PROGRAM - 10;
    assert_int_equal(TRY(10), 0);
    assert_int_equal(TRY(11), -1);
    in.offset = UINT64_MAX;
    assert_int_equal(TRY(2), -1);
    in.offset = 0;
    in.size++;
    assert_int_equal(TRY(10), -1);
    in.size = 10;
    in.digest = digest + 1;
    assert_int_equal(TRY(10), -1);
#undef TRY
}

/* A body of `field` (below 16) that repeats `pattern`, as large as a header may be. */
static size_t
bomb(unsigned field, const char *pattern, size_t step)
{
    size_t room = LIMIT_HEADER - 5, n = room / step * step, at = 0;

    if (field >= 16)
        packet[at++] = (uint8_t)(0x80 | ((field << 3 | 2) & 0x7f)), packet[at++] = 1;
    else
        packet[at++] = (uint8_t)(field << 3 | 2);
    n = (room - 1) / step * step;
    for (size_t left = n;; left >>= 7) {
        packet[at++] = (uint8_t)((left & 0x7f) | (left >= 0x80 ? 0x80 : 0));
        if (left < 0x80)
            break;
    }
    for (size_t i = 0; i < n; i += step)
        memcpy(packet + at + i, pattern, step);
    return at + n;
}

static void
region_keeps_to_its_budget(void **state)
{
    struct region *r = &receiver->decode;

    (void)state;
    region_reset(r, 100);
    assert_non_null(region_take(r, 40));
    assert_false(r->over);
    assert_null(region_take(r, 45));
    assert_true(r->over);
    assert_non_null(region_take(r, 44));
    assert_null(region_take(r, 0));
    assert_int_equal(r->used, 100);
}

static void
memory_bombs_stay_in_budget(void **state)
{
    static const struct {
        unsigned field;
        const char *pattern;
        size_t step;
    } bombs[] = {
        {28, "\x82\x01\x00", 3},                         /* rows of a status */
        {28, "\x8a\x01\x00", 3},    {16, "\x62\x00", 2}, /* names of a hello */
        {16, "\x3a\x00", 2},                             /* its session, again and again */
        {1, "\x08\x00", 2},                              /* unknown fields */
        {2, "\x1a\x00", 2},                              /* columns, merged */
        {2, "\x1a\x02\x18\x00", 4}, {2, "\x1a\x04\x22\x02\x00\x00", 6},
        {11, "\x12\x00", 2}, /* programs, merged */
    };
    struct message m;

    (void)state;
    for (size_t i = 0; i < sizeof(bombs) / sizeof(*bombs); i++) {
        size_t size = bomb(bombs[i].field, bombs[i].pattern, bombs[i].step);

        assert_true(size <= LIMIT_HEADER);
        assert_int_equal(decode_exactly(packet, size, NULL, &m), -1);
        assert_true(receiver->decode.used <= LIMIT_DECODE(size));
    }
    /* Bodies instead of one body. */
    for (size_t i = 0; i < LIMIT_HEADER; i += 2)
        memcpy(packet + i, "\x12\x00", 2);
    assert_int_equal(decode_exactly(packet, LIMIT_HEADER, NULL, &m), -1);
    assert_true(receiver->decode.used <= LIMIT_DECODE(LIMIT_HEADER));
}

static void
packed_sizes_stay_in_budget(void **state)
{
    static const uint8_t head[] = {0x12, 0xf4, 0xff, 0x03, 0x1a, 0xf0,
                                   0xff, 0x03, 0x1a, 0xec, 0xff, 0x03};
    struct message m;

    (void)state;
    memset(packet, 0, LIMIT_HEADER);
    memcpy(packet, head, sizeof(head));
    assert_int_equal(decode_exactly(packet, sizeof(head) + 0xffec, NULL, &m), -1);
    assert_true(receiver->decode.used <= LIMIT_DECODE(LIMIT_HEADER));
}

static void
large_headers_are_not_even_looked_at(void **state)
{
    static uint8_t header[LIMIT_HEADER + 1];
    struct message m;
    const char *why;

    (void)state;
    region_reset(&receiver->decode, 0);
    assert_int_equal(wire_decode(receiver, header, sizeof(header), NULL, &m, &why), -1);
    assert_int_equal(errno, EPROTO);
    assert_int_equal(receiver->decode.used, 0);
}

static void
fields_of_newer_peers_are_tolerated(void **state)
{
    uint8_t beat[2 + 3 * (LIMIT_UNKNOWN_FIELDS + 1)] = {0x0a};
    static const uint8_t newer[] = {0xfa, 0x01, 0x00}; /* body 31 */
    struct message m;

    (void)state;
    for (unsigned n = 1; n <= LIMIT_UNKNOWN_FIELDS + 1; n++) {
        memcpy(beat + 2 + 3 * (n - 1), "\x98\x06\x01", 3); /* field 99 */
        beat[1] = (uint8_t)(3 * n);
        assert_int_equal(decode_exactly(beat, 2 + 3 * n, NULL, &m),
                         n <= LIMIT_UNKNOWN_FIELDS ? 0 : -1);
    }
    assert_int_equal(decode_exactly(newer, sizeof(newer), NULL, &m), -1);
    assert_int_equal(decode_exactly(newer, 0, NULL, &m), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_must_fit_its_columns),
        cmocka_unit_test(columns_have_limits),
        cmocka_unit_test(one_item_means_one),
        cmocka_unit_test(data_without_columns_is_refused),
        cmocka_unit_test(names_are_clean_and_short),
        cmocka_unit_test(texts_have_lines_and_an_end),
        cmocka_unit_test(jobs_must_make_sense),
        cmocka_unit_test(hellos_must_make_sense),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(parts_lie_within_their_program),
        cmocka_unit_test(region_keeps_to_its_budget),
        cmocka_unit_test(memory_bombs_stay_in_budget),
        cmocka_unit_test(packed_sizes_stay_in_budget),
        cmocka_unit_test(large_headers_are_not_even_looked_at),
        cmocka_unit_test(fields_of_newer_peers_are_tolerated),
    };

    return cmocka_run_group_tests(tests, wiring_setup, wiring_teardown);
}
