#include "../../proto/arena.h"
#include "../../proto/limits.h"
#include "../../proto/wire.h"
#include "ladle.pb-c.h"
#include "samples.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct arena *sender, *receiver;
static uint8_t packet[2 * LIMIT_HEADER];

static int
setup(void **state)
{
    (void)state;
    sender = arena_new();
    receiver = arena_new();
    return sender == NULL || receiver == NULL;
}

static int
teardown(void **state)
{
    (void)state;
    arena_free(sender);
    arena_free(receiver);
    samples_free();
    return 0;
}

/* The data frame of a message: its own bytes only. */
static struct blob *
data_of(const struct message *m)
{
    const struct columns *c = message_columns((struct message *)(uintptr_t)m);

    return c == NULL || c->length == 0 ? NULL : blob_copy(c->data->bytes + c->at, c->length);
}

/* From memory of just that size, so that the sanitizer sees a byte too far. */
static int
decode_exactly(const uint8_t *bytes, size_t size, struct blob *data, struct message *m)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    const char *why = NULL;
    int rc;

    memcpy(copy, bytes, size);
    rc = wire_decode(receiver, copy, size, data, m, &why);
    free(copy);
    if (rc != 0) {
        assert_int_equal(errno, EPROTO);
        assert_non_null(why);
    }
    assert_true(receiver->decode.used <= receiver->decode.capacity);
    return rc;
}

/* Packs a body made by hand, with `length` bytes of data, and decodes it. */
static int
decode_top(Ladle__V1__Message *top, size_t length, struct message *m)
{
    struct blob *data = length == 0 ? NULL : blob_new(length);
    size_t size = ladle__v1__message__get_packed_size(top);
    int rc;

    assert_true(size <= sizeof(packet));
    ladle__v1__message__pack(top, packet);
    rc = decode_exactly(packet, size, data, m);
    blob_unref(data);
    return rc;
}

#define TOP(CASE, field, value)                                                                    \
    &(Ladle__V1__Message)                                                                          \
    {                                                                                              \
        .base = PROTOBUF_C_MESSAGE_INIT(&ladle__v1__message__descriptor),                          \
        .body_case = LADLE__V1__MESSAGE__BODY_##CASE, .field = value                               \
    }

static void
every_message_survives_the_wire(void **state)
{
    bool seen[MESSAGE_LIMIT] = {false};

    (void)state;
    for (unsigned i = 0; i < sample_count(); i++) {
        const struct message *m = sample(i);
        struct blob *data = data_of(m);
        const uint8_t *header;
        struct message got;
        const char *differs, *why;
        size_t size = wire_encode(sender, m, &header);

        assert_true(size > 0);
        if (wire_decode(receiver, header, size, data, &got, &why) != 0)
            fail_msg("%s", why);
        if ((differs = message_differs(m, &got)) != NULL)
            fail_msg("%s: %s differs", message_name(m->type), differs);
        seen[m->type] = true;
        blob_unref(data);
    }
    for (int type = MESSAGE_NONE + 1; type < MESSAGE_LIMIT; type++)
        if (!seen[type])
            fail_msg("no sample of %s", message_name((enum message_type)type));
}

static bool
is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    static const uint8_t zero[sizeof(ProtobufCBinaryData)];
    const uint8_t *at = (const uint8_t *)m + f->offset;
    uint32_t chosen;

    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)(const void *)((const uint8_t *)m + f->quantifier_offset) > 0;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        memcpy(&chosen, (const uint8_t *)m + f->quantifier_offset, sizeof(chosen));
        return chosen == f->id;
    }
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        return **(char *const *)(const void *)at != 0;
    case PROTOBUF_C_TYPE_BYTES:
        return memcmp(at, zero, sizeof(size_t)) != 0;
    case PROTOBUF_C_TYPE_MESSAGE:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return memcmp(at, zero, 8) != 0;
    default:
        return memcmp(at, zero, 4) != 0;
    }
}

static const ProtobufCFieldDescriptor *seen[400];
static size_t nseen;

static bool
was_seen(const ProtobufCFieldDescriptor *f)
{
    for (size_t i = 0; i < nseen; i++)
        if (seen[i] == f)
            return true;
    return false;
}

static void
note_fields(const ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const void *at = (const uint8_t *)m + f->offset;

        if (!is_set(m, f))
            continue;
        if (!was_seen(f))
            seen[nseen++] = f;
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (f->label == PROTOBUF_C_LABEL_REPEATED)
            note_fields(**(ProtobufCMessage *const *const *)at);
        else
            note_fields(*(ProtobufCMessage *const *)at);
    }
}

static void
check_fields(const ProtobufCMessageDescriptor *d, unsigned depth)
{
    if (depth > 4)
        fail_msg("%s contains itself, or is nested too deep", d->name);
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];

        if (!was_seen(f))
            fail_msg("%s.%s was never sent", d->name, f->name);
        if (f->type == PROTOBUF_C_TYPE_MESSAGE)
            check_fields(f->descriptor, depth + 1);
    }
}

static void
every_field_is_used_and_no_message_contains_itself(void **state)
{
    (void)state;
    nseen = 0;
    for (unsigned i = 0; i < sample_count(); i++) {
        const uint8_t *header;
        size_t size = wire_encode(sender, sample(i), &header);
        Ladle__V1__Message *top = ladle__v1__message__unpack(NULL, size, header);

        assert_non_null(top);
        note_fields(&top->base);
        ladle__v1__message__free_unpacked(top, NULL);
    }
    check_fields(&ladle__v1__message__descriptor, 0);
}

static void
truncated_messages_are_refused_or_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sample_count(); i++) {
        struct blob *data = data_of(sample(i));
        const uint8_t *header;
        struct message got;
        size_t size = wire_encode(sender, sample(i), &header);

        /* The body's length comes first, so every cut shows. */
        for (size_t cut = 0; cut < size; cut++)
            assert_int_equal(decode_exactly(header, cut, data, &got), -1);
        blob_unref(data);
    }
}

static void
flipped_bits_do_no_harm(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sample_count(); i++) {
        struct blob *data = data_of(sample(i));
        const uint8_t *header, *again;
        struct message got;
        size_t size = wire_encode(sender, sample(i), &header);

        memcpy(packet, header, size);
        for (size_t bit = 0; bit < 8 * size; bit++) {
            packet[bit / 8] ^= (uint8_t)(1u << bit % 8);
            /* What passes keeps all limits: then encoding it asserts nothing. */
            if (decode_exactly(packet, size, data, &got) == 0)
                assert_true(wire_encode(receiver, &got, &again) > 0);
            packet[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        blob_unref(data);
    }
}

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
largest_messages_fit_into_a_header(void **state)
{
    static uint32_t sizes[LIMIT_SIZES];
    static uint8_t outcomes[LIMIT_ITEMS];
    struct columns *c;
    struct message m = {.type = MESSAGE_RESULTS, .results = {.job = UINT64_MAX, .lease = 1}};
    const uint8_t *header;

    (void)state;
    m.results.worker = "node";
    c = &m.results.columns;
    *c = (struct columns){.count = LIMIT_ITEMS, .outcomes = outcomes};
    memset(outcomes, 6, sizeof(outcomes));
    assert_true(wire_encode(sender, &m, &header) > 0);
    c->count = LIMIT_SIZES;
    c->sizes = sizes;
    c->data = blob_new(LIMIT_SIZES * 20000);
    c->length = c->data->size;
    for (int i = 0; i < LIMIT_SIZES; i++)
        sizes[i] = 20000;
    assert_true(wire_encode(sender, &m, &header) > 0);
    blob_unref(c->data);
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

static void
sent_texts_are_cut_and_cleaned(void **state)
{
    static char text[3 * LIMIT_TEXT];
    struct message m = {.type = MESSAGE_BYE, .text = text}, got;
    const uint8_t *header;
    const char *why;
    size_t size;

    (void)state;
    m.text = "\x1b[31mred\xff";
    size = wire_encode(sender, &m, &header);
    assert_int_equal(wire_decode(receiver, header, size, NULL, &got, &why), 0);
    assert_string_equal(got.text, "?[31mred?");

    /* Characters of three bytes: the cut may not go through one. */
    for (size_t i = 0; i + 3 < sizeof(text); i += 3)
        memcpy(text + i, "\xe2\x82\xac", 3);
    for (size_t from = 0; from < 3; from++) {
        memset(text, 'x', from);
        m.text = text;
        if (from > 0)
            memcpy(text + from, "\xe2\x82\xac", 3), text[from + 3] = 'y';
        size = wire_encode(sender, &m, &header);
        assert_int_equal(wire_decode(receiver, header, size, NULL, &got, &why), 0);
        assert_in_range(strlen(got.text), LIMIT_TEXT - 4, LIMIT_TEXT);
        assert_string_equal(got.text + strlen(got.text) - 3, "...");
    }
    m.text = NULL;
    size = wire_encode(sender, &m, &header);
    assert_int_equal(wire_decode(receiver, header, size, NULL, &got, &why), 0);
    assert_string_equal(got.text, "");
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
spec_outlives_the_arenas_next_use(void **state)
{
    static char digest[] = DIGEST, function[] = "square";
    Ladle__V1__Program p = LADLE__V1__PROGRAM__INIT;
    Ladle__V1__Job in = LADLE__V1__JOB__INIT;
    Ladle__V1__Beat beat = LADLE__V1__BEAT__INIT;
    struct message m;
    struct spec *spec;

    (void)state;
    in.job = in.cpus = 1;
    in.program = &p;
    in.function = function;
    p.digest = digest;
    assert_int_equal(decode_top(TOP(JOB, job, &in), 0, &m), 0);
    spec = spec_ref(m.job.spec);
    assert_int_equal(decode_top(TOP(BEAT, beat, &beat), 0, &m), 0);
    assert_string_equal(spec->function, "square");
    spec_unref(spec);
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

static void
full_status_fits_the_budget(void **state)
{
    static struct worker_row workers[LIMIT_ROWS];
    static struct job_row jobs[LIMIT_ROWS];
    struct message m = {.type = MESSAGE_STATUS}, got;
    const uint8_t *header;
    const char *why;
    size_t size;

    (void)state;
    for (int i = 0; i < LIMIT_ROWS; i++) {
        workers[i] = (struct worker_row){.name = "w", .host = "h", .machine = "x86_64", .slots = 1};
        jobs[i] = (struct job_row){.job = 1, .client = "c", .function = "f"};
    }
    m.status = (struct message_status){.worker_rows = workers,
                                       .nworker_rows = LIMIT_ROWS,
                                       .job_rows = jobs,
                                       .njob_rows = LIMIT_ROWS};
    size = wire_encode(sender, &m, &header);
    assert_true(size > 0);
    if (wire_decode(receiver, header, size, NULL, &got, &why) != 0)
        fail_msg("%s", why);
    assert_int_equal(got.status.nworker_rows, LIMIT_ROWS);
    assert_int_equal(got.status.njob_rows, LIMIT_ROWS);
}

static void
rows_that_do_not_fit_are_left_out(void **state)
{
    static struct worker_row workers[LIMIT_ROWS];
    static struct job_row jobs[LIMIT_ROWS];
    static char name[LIMIT_NAME + 1];
    struct message m = {.type = MESSAGE_STATUS}, got;
    const uint8_t *header;
    const char *why;
    size_t size;

    (void)state;
    memset(name, 'x', LIMIT_NAME);
    for (int i = 0; i < LIMIT_ROWS; i++) {
        workers[i] =
            (struct worker_row){.name = name, .host = name, .machine = name, .labels = name};
        jobs[i] = (struct job_row){.client = name, .function = name, .name = name, .notice = name};
    }
    m.status = (struct message_status){.worker_rows = workers,
                                       .nworker_rows = LIMIT_ROWS,
                                       .job_rows = jobs,
                                       .njob_rows = LIMIT_ROWS};
    size = wire_encode(sender, &m, &header);
    assert_in_range(size, LIMIT_HEADER - 4096, LIMIT_HEADER);
    if (wire_decode(receiver, header, size, NULL, &got, &why) != 0)
        fail_msg("%s", why);
    assert_in_range(got.status.nworker_rows, 30, 31);
    assert_in_range(got.status.njob_rows, 30, 31);
}

static void
hello_with_too_many_long_names_is_not_sent(void **state)
{
    static const char *names[LIMIT_FUNCTIONS];
    static char name[LIMIT_NAME + 1];
    struct message m = {.type = MESSAGE_HELLO};
    const uint8_t *header;

    (void)state;
    memset(name, 'x', LIMIT_NAME);
    for (size_t i = 0; i < LIMIT_FUNCTIONS; i++)
        names[i] = name;
    m.hello = (struct message_hello){.role = ROLE_EXECUTOR, .names = names};
    m.hello.nnames = 240;
    assert_true(wire_encode(sender, &m, &header) > 0);
    m.hello.nnames = LIMIT_FUNCTIONS;
    assert_int_equal(wire_encode(sender, &m, &header), 0);
    assert_int_equal(errno, EMSGSIZE);
}

static void
decoded_message_can_be_passed_on_by_its_arena(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sample_count(); i++) {
        struct blob *data = data_of(sample(i));
        const uint8_t *header, *again;
        struct message got;
        const char *why;
        size_t size = wire_encode(sender, sample(i), &header);

        assert_int_equal(wire_decode(receiver, header, size, data, &got, &why), 0);
        assert_int_equal(wire_encode(receiver, &got, &again), size);
        assert_memory_equal(header, again, size);
        blob_unref(data);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_survives_the_wire),
        cmocka_unit_test(every_field_is_used_and_no_message_contains_itself),
        cmocka_unit_test(truncated_messages_are_refused_or_whole),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(data_must_fit_its_columns),
        cmocka_unit_test(columns_have_limits),
        cmocka_unit_test(largest_messages_fit_into_a_header),
        cmocka_unit_test(one_item_means_one),
        cmocka_unit_test(data_without_columns_is_refused),
        cmocka_unit_test(names_are_clean_and_short),
        cmocka_unit_test(texts_have_lines_and_an_end),
        cmocka_unit_test(sent_texts_are_cut_and_cleaned),
        cmocka_unit_test(jobs_must_make_sense),
        cmocka_unit_test(spec_outlives_the_arenas_next_use),
        cmocka_unit_test(hellos_must_make_sense),
        cmocka_unit_test(numbers_out_of_range_are_refused),
        cmocka_unit_test(parts_lie_within_their_program),
        cmocka_unit_test(memory_bombs_stay_in_budget),
        cmocka_unit_test(packed_sizes_stay_in_budget),
        cmocka_unit_test(large_headers_are_not_even_looked_at),
        cmocka_unit_test(fields_of_newer_peers_are_tolerated),
        cmocka_unit_test(full_status_fits_the_budget),
        cmocka_unit_test(rows_that_do_not_fit_are_left_out),
        cmocka_unit_test(hello_with_too_many_long_names_is_not_sent),
        cmocka_unit_test(decoded_message_can_be_passed_on_by_its_arena),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
