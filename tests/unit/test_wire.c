#include "wiring.h"

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

        /* The body's length comes first, so every cut shows, but one before the client behind it.
         */
        for (size_t cut = 0; cut < size - (sample(i)->client != 0 ? 3 : 0); cut++)
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

/* Each who passes a job on does so under numbers of its own: one that is accepted must fit with any
 * of them, or a client could have the broker fail at every worker. */
static void
accepted_jobs_can_be_passed_on(void **state)
{
    static char arguments[LIMIT_ARGUMENTS], environment[LIMIT_ENVIRONMENT], list[LIMIT_TEXT + 1];
    struct shared shared[LIMIT_SHARED];
    struct spec spec = {.cpus = 1, .function = "f", .needs = list, .shared = shared};
    struct message m = {.type = MESSAGE_JOB, .job = {.job = 1, .spec = &spec}}, got;
    char name[LIMIT_NAME + 1] = "";
    unsigned refused = 0, accepted = 0;
    const uint8_t *header;
    const char *why;

    (void)state;
    memset(list, 'x', LIMIT_TEXT);
    spec.program = (struct program){.name = "p",
                                    .arguments = arguments,
                                    .arguments_size = sizeof(arguments),
                                    .environment = environment,
                                    .environment_size = sizeof(environment),
                                    .directory = list};
    for (int i = 0; i < LIMIT_SHARED; i++) {
        shared[i] = (struct shared){.name = name, .size = 1, .path = ""};
        memset(shared[i].digest, 'a', 64);
    }
    for (unsigned length = LIMIT_NAME; length > 2; length -= 3) {
        memset(name, 'n', length);
        name[length] = '\0';
        for (spec.nshared = 0; spec.nshared <= LIMIT_SHARED; spec.nshared++) {
            size_t size = wire_encode(sender, &m, &header);

            if (size == 0 || wire_decode(receiver, header, size, NULL, &got, &why) != 0) {
                refused += size > 0;
                continue;
            }
            accepted++;
            assert_true(spec_bytes(got.job.spec) <= LIMIT_JOB);
            got.client = UINT32_MAX;
            got.job.job = UINT64_MAX;
            assert_true(wire_encode(sender, &got, &header) > 0);
        }
    }
    assert_true(refused > 0 && accepted > 1000);
}

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

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
        cmocka_unit_test(largest_messages_fit_into_a_header),
        cmocka_unit_test(accepted_jobs_can_be_passed_on),
        cmocka_unit_test(sent_texts_are_cut_and_cleaned),
        cmocka_unit_test(spec_outlives_the_arenas_next_use),
        cmocka_unit_test(full_status_fits_the_budget),
        cmocka_unit_test(rows_that_do_not_fit_are_left_out),
        cmocka_unit_test(hello_with_too_many_long_names_is_not_sent),
        cmocka_unit_test(decoded_message_can_be_passed_on_by_its_arena),
    };

    return cmocka_run_group_tests(tests, wiring_setup, wiring_teardown);
}
