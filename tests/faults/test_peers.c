/* Rows about peers that are slow, or out of their mind. */
#include "../../proto/limits.h"
#include "../../proto/wire.h"
#include "../system/raw.h"
#include "../system/talker.h"
#include "../unit/samples.h"
#include "faults.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- clients that do not read -----------------------------------------------------------------
 */

/* One message through a bare connection. */
static bool
say(int fd, const struct message *m)
{
    const struct columns *c = message_columns((struct message *)(uintptr_t)m);
    bool has_data = c != NULL && c->length > 0;
    struct arena *a = arena_new();
    const uint8_t *header;
    size_t size = wire_encode(a, m, &header);
    bool sent = raw_frame(fd, header, size, has_data) &&
                (!has_data || raw_frame(fd, c->data->bytes + c->at, c->length, false));

    arena_free(a);
    return sent;
}

static void
say_job(int fd)
{
    struct spec spec = {.program = {.name = "known", .machine = ""},
                        .function = "known",
                        .name = "",
                        .needs = "",
                        .cpus = 1};
    char arguments[PATH_MAX + 16];
    unsigned char hash[32];
    size_t length = 0;
    char *program = file_read(harness_binary("known"), &length);

    assert_non_null(program);
    crypto_hash_sha256(hash, (const unsigned char *)program, length);
    sodium_bin2hex(spec.program.digest, sizeof(spec.program.digest), hash, sizeof(hash));
    free(program);
    spec.program.size = length;
    spec.program.arguments = arguments;
    spec.program.arguments_size = 1 + (size_t)snprintf(arguments, sizeof(arguments),
                                                       "known%c%s%cmap", 0, harness_directory(), 0);
    assert_true(say(fd, &(struct message){.type = MESSAGE_JOB, .job = {.job = 1, .spec = &spec}}));
}

/* Input `first` and those that follow, each with so many bytes. */
static bool
say_inputs(int fd, uint64_t first, uint32_t count, uint32_t size)
{
    struct blob *data = blob_new((size_t)count * size);
    const uint32_t order[6] = {0, 0, 0, 0, size, 1}; /* a result of that size, and no trace */
    struct message m = {.type = MESSAGE_INPUTS,
                        .inputs = {.job = 1,
                                   .first = first,
                                   .columns = {.count = count, .size = size, .data = data}}};
    bool sent;

    assert_non_null(data);
    m.inputs.columns.length = data->size;
    memset(data->bytes, 7, data->size);
    for (size_t i = 0; i < count; i++)
        memcpy(data->bytes + i * size, order, sizeof(order));
    sent = say(fd, &m);
    blob_unref(data);
    return sent;
}

enum { HOARD_SIZE = 16 << 10, HOARD = WINDOW_CLIENT / (HOARD_SIZE + TASK_COST) };

/* A client that submits tasks of the program `known`, as many as fill its window, and never reads a
 * word. */
static int
start_hoarder(void)
{
    struct message hello = talker_hello(ROLE_CLIENT, "hoarder", 0);
    int fd = raw_connect(grid_endpoint());

    raw_greet(fd);
    assert_true(say(fd, &hello));
    say_job(fd);
    assert_true(say_inputs(fd, 0, HOARD, HOARD_SIZE));
    return fd;
}

static bool
beats_and_has_done(int fd, long long tasks)
{
    assert_true(say(fd, &(struct message){.type = MESSAGE_BEAT}));
    return status_number(grid_endpoint(), "tasks_done") >= tasks;
}

/* Take slices for `ms`, and beat; answer none. Returns how many tasks came. */
static uint64_t
take_and_beat(struct talker *t, int ms)
{
    static const struct message beat = {.type = MESSAGE_BEAT};
    int64_t until = harness_now() + ms;
    const struct message *m;
    uint64_t tasks = 0;

    while (harness_now() < until) {
        talker_send(t, &beat);
        if ((m = talker_await(t, MESSAGE_SLICE, 500)) != NULL)
            tasks += m->slice.columns.count;
    }
    return tasks;
}

static void
row_22_slow_consumer(void **state)
{
    enum { COUNT = 1000000, MOST = 2 * (WINDOW_CLIENT + WINDOW_RESULT) };
    struct process *broker, *slow, *other;
    long long done, cut;
    size_t before;
    int hoarder;

    (void)state;
    broker = grid_broker();
    grid_worker("one", 2);
    assert_succeeds(known("map", "count=1000", "quiet=1"), SOON);
    before = memory_of(broker);

    /* A program that does not read its results: they are its own, in its memory. Then it does not
     * even run, for a time in which it is not missed. */
    slow = known("map", "count=1000000", "quiet=1", "hold=1");
    await(process_wrote(slow, "mapped"), 6 * SOON);
    await(status_number(grid_endpoint(), "tasks_done") > 100000, 6 * SOON);
    kill(slow->pid, SIGSTOP);
    other = known("submit", "count=20", "base=1", "ms=10", "retries=-1");
    assert_succeeds(other, SOON);
    assert_in_range(memory_of(broker), 0, before + MOST);
    kill(slow->pid, SIGCONT);

    /* One that fills both of its windows and takes nothing: it may not have a byte more. */
    await((done = status_number(grid_endpoint(), "tasks_done")) == 1000 + COUNT + 20, 6 * SOON);
    hoarder = start_hoarder();
    await(beats_and_has_done(hoarder, done + HOARD / 2), SOON);
    other = known("submit", "count=20", "base=101", "ms=10", "retries=-1");
    while (!process_ended(other)) {
        assert_true(say(hoarder, &(struct message){.type = MESSAGE_BEAT}));
        sleep_ms(100);
    }
    assert_succeeds(other, 0);
    assert_in_range(memory_of(broker), 0, before + MOST);
    cut = status_number(grid_endpoint(), "peers_cut");
    (void)say_inputs(hoarder, HOARD, 2 * HOARD, HOARD_SIZE);
    await(status_number(grid_endpoint(), "peers_cut") == cut + 1, SOON);
    await(status_number(grid_endpoint(), "clients") == 1, SOON);
    close(hoarder);

    file_write(harness_path("read"), "", 0, 0600);
    assert_succeeds(slow, 12 * SOON);
    assert_true(process_wrote(slow, format("right %d of %d", COUNT, COUNT)));
    assert_in_range(memory_of(broker), 0, before + MOST);
    history_check(40, 0, 1);
}

/* A client that does not send the program of its tasks: they keep the slots of others for a while,
 * and not for ever. */
static void
row_22_program_never_comes(void **state)
{
    enum { T = 70000 };
    struct process *other;
    struct talker *t;
    int64_t since;

    (void)state;
    grid_broker();
    grid_worker("one", 2);
    t = talker_new(grid_endpoint());
    talker_join(t, ROLE_CLIENT, "mute", 0);
    talker_submit(t, 1, "square", 10, 8);
    assert_non_null(talker_await(t, MESSAGE_PROGRAM_WANTED, SOON));
    since = harness_now();
    other = known("submit", "count=20", "ms=10", "retries=-1");
    while (!process_ended(other)) {
        (void)take_and_beat(t, 500);
        assert_in_range(harness_now() - since, 0, T);
    }
    assert_succeeds(other, 0);
    history_check(20, 0, 1);
    talker_free(t);
}

/* ---- workers that do not work -----------------------------------------------------------------
 */

static void
row_23_worker_never_answers(void **state)
{
    enum { COUNT = 200, SLOTS = 2, CREDIT = 8, DEADLINE = 12000, GRACE = 5000 };
    struct process *client;
    struct talker *t;
    uint64_t held;

    (void)state;
    grid_broker();
    t = talker_new(grid_endpoint());
    talker_join(t, ROLE_WORKER, "mute", SLOTS);
    client = known("submit", "count=200", "deadline=12000");
    held = take_and_beat(t, 4000);
    assert_in_range(held, 1, CREDIT);
    assert_int_equal(history_ended(history()), 0);
    grid_worker("one", 2);
    for (int i = 0; i < 20 && !process_ended(client); i++)
        held += take_and_beat(t, 1000);
    assert_int_equal(process_await(client, 2 * SOON), 1); /* some failed */
    for (size_t i = 0; i < COUNT; i++) {
        const struct deed *d = history_of(history(), i);

        assert_true(d->ok + d->failed == 1);
        if (d->failed == 0)
            continue;
        assert_true(starts_with(d->text, "TIMED_OUT"));
        assert_in_range(d->outcome_at - d->invoked_at, DEADLINE - 500, DEADLINE + GRACE);
        held--;
    }
    assert_int_equal(held, 0); /* just those that it had taken */
    assert_int_equal(status_number(grid_endpoint(), "workers_lost"), 0);
    talker_free(t);
}

/* ---- bytes without a meaning ------------------------------------------------------------------
 */

static uint32_t randomness = 12345;

static uint32_t
random_number(uint32_t below)
{
    return (uint32_t)((uint64_t)((randomness = randomness * 1664525 + 1013904223) >> 8) * below >>
                      24);
}

static void
send_garbage(void)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: ladle\r\n\r\n";
    /* After a proper greeting, a command of 2^63 bytes, and a frame of as many. */
    static const unsigned char huge[2][9] = {{0x06, 0x80}, {0x02, 0x80}};
    unsigned char noise[4096];

    for (int i = 0; i < 40; i++) {
        int fd = raw_connect(grid_endpoint());

        for (size_t j = 0; j < sizeof(noise); j++)
            noise[j] = (unsigned char)random_number(256);
        if (i % 5 == 1 || i % 5 == 2)
            raw_greet(fd);
        if (i % 5 == 2)
            raw_send(fd, huge[i % 2], sizeof(*huge));
        if (i % 5 == 3)
            raw_send(fd, http, sizeof(http));
        else
            raw_send(fd, noise, random_number(sizeof(noise)));
        close(fd); /* some of them in the middle of a frame */
    }
}

/* One message on a connection of its own, which must end. */
static void
assert_cut(const void *header, size_t size, const void *data, size_t length, int frames)
{
    int fd = raw_connect(grid_endpoint());

    raw_greet(fd);
    for (int i = 1; i <= frames; i++)
        raw_frame(fd, i == 1 ? header : data, i == 1 ? size : length, i < frames);
    await(raw_has_ended(fd), SOON);
    close(fd);
}

static void
send_nested(void)
{
    enum { DEPTH = 16000 };
    static unsigned char bytes[64 << 10];
    size_t at = sizeof(bytes);

    /* Built inside out: field 15 of itself, with its length. */
    for (int i = 0; i < DEPTH && at > 8; i++) {
        size_t length = sizeof(bytes) - at;

        if (length >= 16384)
            bytes[--at] = (unsigned char)(length >> 14);
        if (length >= 128)
            bytes[--at] = (unsigned char)(length >> 7 | (length >= 16384 ? 0x80 : 0));
        bytes[--at] = (unsigned char)(length | (length >= 128 ? 0x80 : 0));
        bytes[--at] = 15 << 3 | 2;
    }
    assert_cut(bytes + at, sizeof(bytes) - at, NULL, 0, 1);
}

/* Each kind of message there is, after a HELLO, with some of its bytes changed. */
static void
send_mutations(int rounds)
{
    struct arena *a = arena_new();
    struct message hello = talker_hello(ROLE_WORKER, "mutant", 1);
    const uint8_t *header;

    assert_non_null(a);
    for (int i = 0; i < rounds; i++) {
        const struct message *m = sample((unsigned)i % sample_count());
        const struct columns *c = message_columns((struct message *)(uintptr_t)m);
        bool has_data = c != NULL && c->length > 0;
        int fd = raw_connect(grid_endpoint());
        size_t size;

        raw_greet(fd);
        hello.hello.role = (i / (int)sample_count()) % 2 == 0 ? ROLE_WORKER : ROLE_CLIENT;
        hello.hello.session[0]++;
        size = wire_encode(a, &hello, &header);
        raw_frame(fd, header, size, false);
        size = wire_encode(a, m, &header);
        for (uint32_t n = random_number(4); n > 0 && size > 0; n--)
            ((uint8_t *)(uintptr_t)header)[random_number((uint32_t)size)] =
                (uint8_t)random_number(256);
        raw_frame(fd, header, size - random_number(2), has_data);
        if (has_data)
            raw_frame(fd, c->data->bytes + c->at, c->length, false);
        close(fd);
    }
    samples_free();
    arena_free(a);
}

static void
row_27_malformed_frames(void **state)
{
    static unsigned char large[LIMIT_HEADER + 1];
    struct process *broker, *client;
    long long cut;
    size_t before;

    (void)state;
    broker = grid_broker("--log-level", "error");
    /* Whoever says that he is a worker may be given work: not this. */
    grid_worker_with("one", 2, NULL, NULL, (const char *const[]){"--label", "real=1", NULL});
    client = known("submit", "count=60", "ms=100", "retries=-1", "needs=real=1");
    await(history_ended(history()) >= 2, SOON);
    before = memory_of(broker);
    send_garbage();
    sleep_ms(500);
    cut = status_number(grid_endpoint(), "peers_cut");
    assert_cut("", 0, NULL, 0, 1);
    assert_cut("\xff\xff\xff", 3, NULL, 0, 1);
    assert_cut("\x82\x01\x0b\x08", 4, NULL, 0, 1); /* a HELLO that is cut off */
    memset(large, 0x0a, sizeof(large));
    assert_cut(large, sizeof(large), NULL, 0, 1);
    assert_cut("x", 1, "y", 1, 3);
    assert_cut("x", 1, "y", 1, 300);
    send_nested();
    assert_int_equal(status_number(grid_endpoint(), "peers_cut"), cut + 7);
    send_mutations(600);
    assert_succeeds(client, 6 * SOON);
    assert_succeeds(known("submit", "base=1000", "retries=-1", "needs=real=1"), SOON);
    history_check(61, 0, 1);
    assert_in_range(memory_of(broker), 0, before + (64 << 20));
    assert_false(process_ended(broker));
}

/* Frames of 250 bytes that all say that there are more; returns how many MiB were sent before the
 * connection was cut, and remembers how much memory that took at most. */
static size_t
send_without_end(const struct process *broker, bool hello, size_t *peak_p)
{
    enum { SIZE = 250, ONCE = 256, MOST = 4096 };
    static unsigned char frames[ONCE * (SIZE + 2)];
    struct message m = talker_hello(ROLE_WORKER, "endless", 1);
    int fd = raw_connect(grid_endpoint());
    size_t sent = 0;

    raw_greet(fd);
    m.hello.labels = "useless=1";
    if (hello)
        assert_true(say(fd, &m));
    for (size_t i = 0; i < ONCE; i++) {
        frames[i * (SIZE + 2)] = 1; /* more */
        frames[i * (SIZE + 2) + 1] = SIZE;
    }
    while (sent < (size_t)MOST << 20 && raw_send(fd, frames, sizeof(frames))) {
        sent += sizeof(frames);
        *peak_p = memory_of(broker) > *peak_p ? memory_of(broker) : *peak_p;
    }
    close(fd);
    return sent >> 20;
}

static void
row_27_endless_multipart(void **state)
{
    struct process *broker, *client;
    size_t before, peak = 0, sent;

    (void)state;
    broker = grid_broker();
    grid_worker_with("one", 2, NULL, NULL, (const char *const[]){"--label", "real=1", NULL});
    client = known("submit", "count=100", "ms=100", "retries=-1", "needs=real=1");
    await(history_ended(history()) >= 2, SOON);
    before = memory_of(broker);
    sent = send_without_end(broker, false, &peak);
    print_message("without a hello: cut after %zu MiB, %zu MiB of memory\n", sent,
                  (peak - before) >> 20);
    assert_in_range(sent, 0, 200);
    assert_in_range(peak, 0, before + (400u << 20));
    peak = 0;
    sent = send_without_end(broker, true, &peak);
    print_message("after a hello: cut after %zu MiB, %zu MiB of memory\n", sent,
                  (peak - before) >> 20);
    assert_in_range(sent, 0, 400);
    assert_in_range(peak, 0, before + (1024u << 20));
    await(memory_of(broker) < before + (100u << 20), SOON);
    assert_succeeds(client, 6 * SOON);
    assert_true(status_number(grid_endpoint(), "peers_cut") >= 2);
    history_check(100, 0, 1);
}

static const struct CMUnitTest rows[] = {
    ROW(row_22_slow_consumer),    ROW(row_22_program_never_comes), ROW(row_23_worker_never_answers),
    ROW(row_27_malformed_frames), ROW(row_27_endless_multipart),
};

FAULTS_MAIN("peers")
