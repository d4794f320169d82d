#include "supervised.h"

#include "../../base/clock.h"
#include "../../proto/limits.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void
answer_wanted(struct bench *b, const struct message *wanted)
{
    struct message m = {.type = MESSAGE_PROGRAM_PART};
    struct blob *data = blob_new(LIMIT_PART);
    struct stat st;
    int fd = open(b->serve_file, O_RDONLY);
    ssize_t n;

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    n = pread(fd, data->bytes, LIMIT_PART, (off_t)wanted->program_wanted.offset);
    close(fd);
    assert_true(n > 0);
    m.program_part.digest = wanted->program_wanted.digest;
    m.program_part.offset = wanted->program_wanted.offset;
    m.program_part.size = (uint64_t)st.st_size;
    m.program_part.columns =
        (struct columns){.count = 1, .size = (uint32_t)n, .data = data, .length = (size_t)n};
    supervisor_input(b->s, &m, clock_us());
    blob_unref(data);
}

static void
note_results(struct bench *b, const struct message_results *r)
{
    const struct columns *c = &r->columns;
    const uint8_t *at = c->data == NULL ? NULL : c->data->bytes + c->at;

    assert_int_equal(r->job, 1);
    for (uint32_t i = 0; i < c->count; i++) {
        struct ended *e = &b->ended[r->first + i];
        uint32_t size = c->sizes != NULL ? c->sizes[i] : c->size;

        assert_true(r->first + i < MOST);
        e->times++;
        e->outcome = c->outcomes != NULL ? c->outcomes[i] : OUTCOME_DONE;
        e->size = size;
        e->attempt = r->attempt;
        if (size > 0)
            memcpy(e->text, at, size < sizeof(e->text) - 1 ? size : sizeof(e->text) - 1);
        at += size;
        b->nended++;
    }
}

static void
note(struct bench *b, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_RESULTS:
        note_results(b, &m->results);
        break;
    case MESSAGE_RETURNED:
        b->nreturned++;
        b->returned += m->returned.count;
        b->why = m->returned.why;
        break;
    case MESSAGE_OUTPUT:
        assert_true(b->noutput + m->output.columns.length < sizeof(b->output));
        memcpy(b->output + b->noutput, m->output.columns.data->bytes, m->output.columns.length);
        b->noutput += m->output.columns.length;
        break;
    case MESSAGE_RUNNING:
        b->nrunning++;
        break;
    case MESSAGE_PARTIAL:
        b->npartials++;
        if (m->partial.columns.length == sizeof(pid_t))
            memcpy(&b->partial_pid, m->partial.columns.data->bytes, sizeof(pid_t));
        break;
    case MESSAGE_PROGRESS:
        b->nprogress++;
        break;
    case MESSAGE_PROGRAM_FAILED:
        snprintf(b->failed, sizeof(b->failed), "%s", m->program_failed.text);
        break;
    case MESSAGE_PROGRAM_WANTED:
        b->nwanted++;
        if (b->serve_file != NULL)
            answer_wanted(b, m);
        break;
    default:
        break;
    }
}

void
turn(struct bench *b, int most_ms)
{
    int64_t now = clock_us();
    int wait = clock_poll_timeout(supervisor_deadline(b->s), now);
    struct message m;

    assert_true(poller_wait(b->poller, wait < 0 || wait > most_ms ? most_ms : wait) >= 0);
    supervisor_tick(b->s, clock_us());
    while (supervisor_output(b->s, &m))
        note(b, &m);
}

struct bench *
open_bench(struct supervisor_config config)
{
    struct bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    b->poller = poller_new();
    config.poller = b->poller;
    config.name = "node1";
    if (config.slots == 0)
        config.slots = 2;
    b->s = supervisor_new(&config, clock_us());
    if (b->s == NULL)
        fail_msg("%s", supervisor_error());
    return b;
}

struct bench *
open_local(struct supervisor_config config)
{
    config.local_program = CHORES;
    return open_bench(config);
}

void
close_bench(struct bench *b)
{
    supervisor_free(b->s);
    poller_free(b->poller);
    free(b);
}

void
job_with(struct bench *b, struct spec spec)
{
    struct message m = {.type = MESSAGE_JOB, .job = {.job = 1}};

    if (spec.cpus == 0)
        spec.cpus = 1;
    if (spec.program.name == NULL)
        spec.program.name = "chores";
    m.job.spec = spec_new(&spec);
    supervisor_input(b->s, &m, clock_us());
    spec_unref(m.job.spec);
}

void
job(struct bench *b, const char *function)
{
    job_with(b, (struct spec){.function = function});
}

void
slice(struct bench *b, uint64_t lease, uint64_t first, uint32_t count, const void *inputs,
      uint32_t size)
{
    struct message m = {.type = MESSAGE_SLICE};
    struct blob *data = blob_copy(inputs, (size_t)count * size);

    m.slice.lease = lease;
    m.slice.job = 1;
    m.slice.first = first;
    m.slice.attempt = 1;
    m.slice.columns = (struct columns){
        .count = count, .size = size, .data = data, .length = (size_t)count * size};
    supervisor_input(b->s, &m, clock_us());
    blob_unref(data);
}

void
one(struct bench *b, const char *function, const void *input, uint32_t size)
{
    job(b, function);
    slice(b, 1, 0, 1, input, size);
    until(b, b->nended == 1);
}

void
expect(const struct bench *b, unsigned task, enum outcome outcome, const char *text)
{
    char cause[256];

    assert_int_equal(b->ended[task].times, 1);
    assert_string_equal(outcome_name(b->ended[task].outcome), outcome_name(outcome));
    if (text == NULL)
        return;
    snprintf(cause, sizeof(cause), "%s", b->ended[task].text);
    if (outcome == OUTCOME_CRASHED || outcome == OUTCOME_TIMED_OUT)
        cause[strcspn(cause, ";\n")] = '\0'; /* the rest is not the same each time */
    assert_string_equal(cause, text);
}

bool
is_alive(pid_t pid)
{
    char path[64], text[256] = "";
    const char *state;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if ((f = fopen(path, "r")) == NULL)
        return false;
    if (fgets(text, sizeof(text), f) == NULL)
        text[0] = '\0';
    fclose(f);
    state = strrchr(text, ')'); /* a zombie is dead, and its parent's business */
    return state != NULL && state[2] != 'Z' && state[2] != 'X';
}

static void
digest_of(const char *path, char digest[65])
{
    crypto_hash_sha256_state hash;
    unsigned char bytes[65536], sum[32];
    FILE *f = fopen(path, "r");
    size_t n;

    assert_non_null(f);
    crypto_hash_sha256_init(&hash);
    while ((n = fread(bytes, 1, sizeof(bytes), f)) > 0)
        crypto_hash_sha256_update(&hash, bytes, n);
    fclose(f);
    crypto_hash_sha256_final(&hash, sum);
    sodium_bin2hex(digest, 65, sum, sizeof(sum));
}

struct bench *
open_worker(char directory[64], struct supervisor_config config)
{
    if (*directory == '\0') {
        strcpy(directory, "/tmp/ladle-test-XXXXXX");
        assert_non_null(mkdtemp(directory));
    }
    config.directory = directory;
    return open_bench(config);
}

void
remove_directory(const char *directory)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    assert_int_equal(system(command), 0);
}

struct spec
chores(const char *function, const char *arguments, uint32_t size)
{
    struct spec spec = {.function = function};

    digest_of(CHORES, spec.program.digest);
    spec.program.name = "chores";
    spec.program.arguments = arguments;
    spec.program.arguments_size = size;
    return spec;
}
