/* test_supervisor.c - a supervisor with real executors, fed by hand. */
#include "../../worker/spawn.h"
#include "../../worker/supervisor.h"

#include "../../base/clock.h"
#include "../../proto/limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_US 5000000
#define MOST 20000

struct ended { /* what became of a task */
    unsigned times;
    enum outcome outcome;
    char text[200]; /* the item, cut */
    uint32_t size;
    uint32_t attempt;
};

struct bench {
    struct poller *poller;
    struct supervisor *s;
    struct ended ended[MOST]; /* of job 1 */
    unsigned nended;
    unsigned returned; /* tasks */
    enum returned why;
    unsigned nreturned; /* messages */
    char output[4 << 20];
    size_t noutput;
    unsigned nrunning, npartials, nprogress;
    pid_t partial_pid;
    char failed[4096]; /* PROGRAM_FAILED */
    unsigned nwanted;
    const char *serve_file; /* answer PROGRAM_WANTED from here */
    char directory[64];
};

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

static void
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

#define until(b, condition)                                                                        \
    do {                                                                                           \
        int64_t end_ = clock_us() + PATIENCE_US;                                                   \
        while (!(condition)) {                                                                     \
            if (clock_us() > end_)                                                                 \
                fail_msg("never came true: %s", #condition);                                       \
            turn(b, 50);                                                                           \
        }                                                                                          \
    } while (0)

static struct bench *
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

static struct bench *
open_local(struct supervisor_config config)
{
    config.local_program = CHORES;
    return open_bench(config);
}

static void
close_bench(struct bench *b)
{
    supervisor_free(b->s);
    poller_free(b->poller);
    free(b);
}

static void
job_with(struct bench *b, struct spec spec)
{
    struct message m = {.type = MESSAGE_JOB, .job = {1, NULL}};

    if (spec.cpus == 0)
        spec.cpus = 1;
    if (spec.program.name == NULL)
        spec.program.name = "chores";
    m.job.spec = spec_new(&spec);
    supervisor_input(b->s, &m, clock_us());
    spec_unref(m.job.spec);
}

static void
job(struct bench *b, const char *function)
{
    job_with(b, (struct spec){.function = function});
}

static void
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

static void
one(struct bench *b, const char *function, const void *input, uint32_t size)
{
    job(b, function);
    slice(b, 1, 0, 1, input, size);
    until(b, b->nended == 1);
}

static void
expect(const struct bench *b, unsigned task, enum outcome outcome, const char *text)
{
    assert_int_equal(b->ended[task].times, 1);
    assert_string_equal(outcome_name(b->ended[task].outcome), outcome_name(outcome));
    if (text != NULL)
        assert_string_equal(b->ended[task].text, text);
}

static bool
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

/* ---- tasks
 * ---------------------------------------------------------------------------------------- */

static void
slices_are_run(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 2});
    double x[5000];

    (void)state;
    for (int i = 0; i < 5000; i++)
        x[i] = i;
    job(b, "square");
    for (unsigned i = 0; i < 5; i++)
        slice(b, i + 1, i * 1000, 1000, x + i * 1000, sizeof(*x));
    until(b, b->nended == 5000);
    for (int i = 0; i < 5000; i++) {
        double y;

        memcpy(&y, b->ended[i].text, sizeof(y));
        expect(b, (unsigned)i, OUTCOME_DONE, NULL);
        assert_true(y == (double)i * i);
    }
    assert_int_equal(b->returned, 0);
    close_bench(b);
}

static void
items_of_all_sizes_come_back_as_they_were(void **state)
{
    static const uint32_t sizes[] = {0,     1,     15,     16,      17,      65535, 65536,
                                     65537, 70000, 262144, 1000000, 4 << 20, 3,     0};
    enum { N = sizeof(sizes) / sizeof(*sizes) };
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    struct message m = {.type = MESSAGE_SLICE};
    size_t sum = 0;

    (void)state;
    for (int i = 0; i < N; i++)
        sum += sizes[i];
    m.slice = (struct message_slice){.lease = 1, .job = 1, .attempt = 1};
    m.slice.columns =
        (struct columns){.count = N, .sizes = sizes, .data = blob_new(sum), .length = sum};
    for (size_t i = 0, at = 0; i < N; at += sizes[i++])
        memset(m.slice.columns.data->bytes + at, 'a' + (int)i, sizes[i]);
    job(b, "echo");
    supervisor_input(b->s, &m, clock_us());
    blob_unref(m.slice.columns.data);
    until(b, b->nended == N);
    for (unsigned i = 0; i < N; i++) {
        expect(b, i, OUTCOME_DONE, NULL);
        assert_int_equal(b->ended[i].size, sizes[i]);
        if (sizes[i] > 0)
            assert_int_equal(b->ended[i].text[0], 'a' + (int)i);
    }
    close_bench(b);
}

static void
failures_are_told_in_words(void **state)
{
    static const struct {
        const char *function;
        enum outcome outcome;
        const char *text;
    } rows[] = {
        {"fail", OUTCOME_FAILED, "no luck"},
        {"square", OUTCOME_FAILED, "expected one double, got 4 bytes"},
        {"no_result", OUTCOME_FAILED, "returned 0 without a result: call task_return() first"},
        {"silent", OUTCOME_FAILED, "returned 3 without saying why"},
        {"exit3", OUTCOME_CRASHED, "exited with status 3"},
    };
    int input = 1;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct bench *b = open_local((struct supervisor_config){.slots = 1});

        one(b, rows[i].function, &input, sizeof(input));
        expect(b, 0, rows[i].outcome, rows[i].text);
        close_bench(b);
    }
}

static void
unknown_function_is_rejected_with_those_that_are_known(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int inputs[3] = {0};

    (void)state;
    job(b, "sqare");
    slice(b, 1, 0, 3, inputs, sizeof(int));
    until(b, b->nended == 3);
    for (unsigned i = 0; i < 3; i++) {
        expect(b, i, OUTCOME_REJECTED, NULL);
        assert_non_null(strstr(b->ended[i].text, "no function 'sqare'; this program has: big_"));
    }
    close_bench(b);
}

static void
crash_costs_nobody_else_a_result(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int inputs[20];

    (void)state;
    for (int i = 0; i < 20; i++)
        inputs[i] = i == 7 || i == 13;
    job(b, "crash_odd");
    slice(b, 1, 0, 20, inputs, sizeof(int));
    until(b, b->nended == 20);
    for (unsigned i = 0; i < 20; i++)
        if (inputs[i])
            assert_non_null(strstr(b->ended[i].text, "killed by signal 11 (Segmentation fault"));
        else
            expect(b, i, OUTCOME_DONE, NULL);
    expect(b, 7, OUTCOME_CRASHED, NULL);
    expect(b, 13, OUTCOME_CRASHED, NULL);
    assert_int_equal(b->returned, 0);
    close_bench(b);
}

static void
task_out_of_time_is_stopped_and_its_neighbours_are_not(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int inputs[3] = {1, 60000, 1};

    (void)state;
    job_with(b, (struct spec){.function = "sleep_ms", .timeout_ms = 300});
    slice(b, 1, 0, 3, inputs, sizeof(int));
    until(b, b->nended == 3);
    expect(b, 0, OUTCOME_DONE, NULL);
    expect(b, 1, OUTCOME_TIMED_OUT, "ran longer than its timeout of 300 ms");
    expect(b, 2, OUTCOME_DONE, NULL);
    close_bench(b);
}

static void
task_that_ignores_sigterm_is_killed_after_the_grace(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1, .grace_ms = 200});

    (void)state;
    job_with(b, (struct spec){.function = "stubborn", .timeout_ms = 100});
    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->nended == 1);
    expect(b, 0, OUTCOME_TIMED_OUT, "ran longer than its timeout of 100 ms");
    assert_false(is_alive(b->partial_pid));
    close_bench(b);
}

static void
cancel(struct bench *b, uint64_t first, uint64_t count)
{
    struct message m = {.type = MESSAGE_CANCEL, .range = {1, first, count}};

    supervisor_input(b->s, &m, clock_us());
}

static void
queued_and_running_tasks_are_cancelled(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    job(b, "endless");
    slice(b, 1, 0, 3, NULL, 0);
    slice(b, 2, 3, 3, NULL, 0);
    until(b, b->partial_pid != 0);
    cancel(b, 1, 4);
    until(b, b->nended == 4);
    for (unsigned i = 1; i < 5; i++)
        expect(b, i, OUTCOME_CANCELLED, "");
    b->partial_pid = 0;
    cancel(b, 0, 1);
    until(b, b->nended == 5);
    expect(b, 0, OUTCOME_CANCELLED, "");
    until(b, b->partial_pid != 0); /* the last one runs, elsewhere */
    cancel(b, 5, 1);
    until(b, b->nended == 6);
    until(b, supervisor_idle(b->s));
    assert_int_equal(b->returned, 0);
    close_bench(b);
}

static void
task_that_asks_ends_by_itself_when_cancelled(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    job(b, "polite");
    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->npartials == 1);
    cancel(b, 0, 1);
    until(b, b->nended == 1);
    expect(b, 0, OUTCOME_CANCELLED, "");
    close_bench(b);
}

static void
unstarted_tasks_are_given_back(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    struct message m = {.type = MESSAGE_REVOKE, .revoke = {1, 2}};

    (void)state;
    job(b, "endless");
    slice(b, 1, 0, 5, NULL, 0);
    until(b, b->npartials == 1);
    supervisor_input(b->s, &m, clock_us());
    until(b, b->returned == 2);
    assert_int_equal(b->why, RETURNED_REVOKED);
    m.revoke.count = 10;
    supervisor_input(b->s, &m, clock_us());
    until(b, b->returned == 4);
    supervisor_input(b->s, &m, clock_us());
    until(b, b->nreturned == 3); /* nothing left: told all the same */
    assert_int_equal(b->returned, 4);
    close_bench(b);
}

static void
idle_executor_takes_tasks_from_a_busy_one(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 2, .warm = 2});
    int inputs[8];
    int64_t start;
    unsigned differ = 0;

    (void)state;
    for (int i = 0; i < 8; i++)
        inputs[i] = 100;
    job(b, "sleep_ms");
    start = clock_us();
    slice(b, 1, 0, 8, inputs, sizeof(int));
    until(b, b->nended == 8);
    for (unsigned i = 1; i < 8; i++)
        differ += memcmp(b->ended[i].text, b->ended[0].text, sizeof(pid_t)) != 0;
    assert_true(differ >= 2);
    assert_true(clock_us() - start < 750000);
    assert_true(b->nrunning > 0);
    close_bench(b);
}

static void
results_behind_a_long_task_are_not_kept_waiting(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int inputs[3] = {0, 0, 60000};

    (void)state;
    job(b, "sleep_ms");
    slice(b, 1, 0, 3, inputs, sizeof(int));
    until(b, b->nended == 2);
    until(b, b->nrunning == 1);
    cancel(b, 2, 1);
    until(b, b->nended == 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(b->ended[i].times, 1);
    close_bench(b);
}

static void
executors_are_replaced_after_so_many_tasks(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1, .tasks_per_executor = 2});

    (void)state;
    job(b, "who");
    slice(b, 1, 0, 6, NULL, 0);
    until(b, b->nended == 6);
    for (unsigned i = 0; i < 6; i++)
        for (unsigned k = 0; k < i; k++)
            assert_int_equal(memcmp(b->ended[i].text, b->ended[k].text, sizeof(pid_t)) == 0,
                             i / 2 == k / 2);
    close_bench(b);
}

static void
progress_and_partial_results_are_passed_on(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    one(b, "steps", NULL, 0);
    expect(b, 0, OUTCOME_DONE, "whole");
    assert_int_equal(b->npartials, 1);
    assert_int_equal(b->nprogress, 2);
    close_bench(b);
}

/* ---- output
 * ---------------------------------------------------------------------------------------- */

static void
output_of_tasks_is_passed_on_and_that_of_main_is_not(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    one(b, "print", "hello\n", 6);
    until(b, strstr(b->output, "hello\n") != NULL && strstr(b->output, "worker node1\n") != NULL);
    assert_null(strstr(b->output, "barrier"));
    close_bench(b);
}

static void
flood_of_output_is_cut_with_a_marker(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int lines = 2000;

    (void)state;
    one(b, "flood", &lines, sizeof(lines));
    slice(b, 2, 1, 1, NULL, 0);
    until(b, b->nended == 2);
    cancel(b, 0, 1);
    job(b, "exit3");
    supervisor_reset(b->s, clock_us());
    job(b, "exit3");
    slice(b, 3, 2, 1, NULL, 0); /* the executor ends: then at the latest it is told */
    until(b, b->nended == 3);
    until(b, strstr(b->output, "bytes of output dropped]") != NULL);
    assert_true(b->noutput < 600 << 10);
    close_bench(b);
}

/* ---- processes
 * ------------------------------------------------------------------------------------- */

static void
children_of_tasks_go_with_their_executor(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    pid_t child;

    (void)state;
    one(b, "fork_child", NULL, 0);
    memcpy(&child, b->ended[0].text, sizeof(child));
    assert_true(is_alive(child));
    close_bench(b);
    for (int64_t end = clock_us() + PATIENCE_US; is_alive(child);)
        assert_true(clock_us() < end);
}

static void
daemons_of_tasks_go_with_their_executor_if_it_is_ours_to_say(void **state)
{
    pid_t daemon, child;
    struct bench *b;
    int ends[2], status;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    if ((child = fork()) == 0) { /* it has no children but executors */
        spawn_adopt();
        b = open_local((struct supervisor_config){.slots = 1, .tasks_per_executor = 2});
        job(b, "daemonize");
        slice(b, 1, 0, 1, NULL, 0);
        until(b, b->nended == 1);
        memcpy(&daemon, b->ended[0].text, sizeof(daemon));
        assert_true(is_alive(daemon)); /* as long as its executor */
        slice(b, 2, 1, 1, NULL, 0);
        until(b, b->nended == 2);
        until(b, !is_alive(daemon));
        memcpy(&daemon, b->ended[1].text, sizeof(daemon));
        close_bench(b);
        _exit(write(ends[1], &daemon, sizeof(daemon)) != sizeof(daemon));
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &daemon, sizeof(daemon)), sizeof(daemon));
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    for (int64_t end = clock_us() + PATIENCE_US; is_alive(daemon);) /* it was killed: it dies */
        assert_true(clock_us() < end);
}

static void
child_that_comes_back_is_no_executor(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    job(b, "fork_return");
    slice(b, 1, 0, 3, NULL, 0);
    until(b, b->nended == 3);
    for (unsigned i = 0; i < 3; i++)
        expect(b, i, OUTCOME_DONE, "parent");
    close_bench(b);
}

static void
executor_without_its_descriptors_is_a_crash(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int ms = 60000;

    (void)state;
    one(b, "close_all", &ms, sizeof(ms));
    expect(b, 0, OUTCOME_CRASHED, "closed descriptor 3, its connection to the worker");
    close_bench(b);
}

static volatile sig_atomic_t signals;

static void
count_signal(int sig)
{
    (void)sig;
    signals++;
}

static void
executors_are_invisible_to_wait_and_sigchld(void **state)
{
    struct bench *b;

    (void)state;
    signals = 0;
    signal(SIGCHLD, count_signal);
    b = open_local((struct supervisor_config){.slots = 2});
    one(b, "exit3", NULL, 0);
    errno = 0;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    close_bench(b);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(signals, 0);
}

static void
ignored_sigchld_hides_no_crash(void **state)
{
    struct bench *b;

    (void)state;
    signal(SIGCHLD, SIG_IGN);
    b = open_local((struct supervisor_config){.slots = 1});
    one(b, "exit3", NULL, 0);
    expect(b, 0, OUTCOME_CRASHED, "exited with status 3");
    close_bench(b);
    signal(SIGCHLD, SIG_DFL);
}

static void
nothing_outlives_a_supervisor_that_is_killed(void **state)
{
    pid_t pids[2], child;
    int ends[2];
    struct bench *b;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    if ((child = fork()) == 0) {
        b = open_local((struct supervisor_config){.slots = 2});
        job(b, "fork_child");
        slice(b, 1, 0, 1, NULL, 0);
        until(b, b->nended == 1);
        memcpy(&pids[0], b->ended[0].text, sizeof(pid_t));
        supervisor_reset(b->s, clock_us());
        job(b, "endless");
        slice(b, 2, 1, 1, NULL, 0);
        until(b, b->partial_pid != 0);
        pids[1] = b->partial_pid;
        if (write(ends[1], pids, sizeof(pids)) != sizeof(pids))
            _exit(1);
        for (;;)
            turn(b, 1000);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], pids, sizeof(pids)), sizeof(pids));
    close(ends[0]);
    assert_true(is_alive(pids[0]) && is_alive(pids[1]));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    for (int64_t end = clock_us() + PATIENCE_US; is_alive(pids[0]) || is_alive(pids[1]);)
        if (clock_us() > end)
            fail_msg("still there: %d %d", is_alive(pids[0]), is_alive(pids[1]));
}

static void
reset_forgets_all_work_and_goes_on(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    pid_t before;
    double x = 3;

    (void)state;
    job(b, "endless");
    slice(b, 1, 0, 4, NULL, 0);
    until(b, b->partial_pid != 0);
    before = b->partial_pid;
    supervisor_reset(b->s, clock_us());
    job(b, "square");
    slice(b, 1, 0, 1, &x, sizeof(x));
    until(b, b->nended == 1);
    expect(b, 0, OUTCOME_DONE, NULL);
    until(b, !is_alive(before));
    assert_int_equal(b->returned, 0);
    close_bench(b);
}

static void
drain_returns_what_has_not_started_and_finishes_the_rest(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});
    int inputs[4] = {400, 1, 1, 1};

    (void)state;
    job(b, "sleep_ms");
    slice(b, 1, 0, 2, inputs, sizeof(int));
    slice(b, 2, 2, 2, inputs + 2, sizeof(int));
    until(b, b->nrunning == 1);
    supervisor_drain(b->s, clock_us());
    until(b, b->returned == 3);
    assert_int_equal(b->why, RETURNED_DRAIN);
    assert_false(supervisor_idle(b->s));
    until(b, supervisor_idle(b->s));
    assert_int_equal(b->nended, 1);
    expect(b, 0, OUTCOME_DONE, NULL);
    close_bench(b);
}

static void
held_supervisor_reads_no_results(void **state)
{
    struct bench *b = open_local((struct supervisor_config){.slots = 1});

    (void)state;
    job(b, "steps");
    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->nended == 1);
    supervisor_hold(b->s, true);
    slice(b, 2, 1, 1, NULL, 0);
    for (int i = 0; i < 10; i++)
        turn(b, 20);
    assert_int_equal(b->nended, 1);
    supervisor_hold(b->s, false);
    until(b, b->nended == 2);
    close_bench(b);
}

/* ---- programs
 * ---------------------------------------------------------------------------------------- */

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

static struct bench *
open_worker(char directory[64], struct supervisor_config config)
{
    if (*directory == '\0') {
        strcpy(directory, "/tmp/ladle-test-XXXXXX");
        assert_non_null(mkdtemp(directory));
    }
    config.directory = directory;
    return open_bench(config);
}

static void
remove_directory(const char *directory)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", directory);
    assert_int_equal(system(command), 0);
}

static struct spec
chores(const char *function, const char *arguments, uint32_t size)
{
    struct spec spec = {.function = function};

    digest_of(CHORES, spec.program.digest);
    spec.program.name = "chores";
    spec.program.arguments = arguments;
    spec.program.arguments_size = size;
    return spec;
}

static void
program_is_fetched_once_and_kept(void **state)
{
    char directory[64] = "";
    struct bench *b = open_worker(directory, (struct supervisor_config){.slots = 2});
    unsigned parts;

    (void)state;
    b->serve_file = CHORES;
    job_with(b, chores("where", "chores", 7));
    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->nended == 1);
    slice(b, 2, 1, 1, NULL, 0);
    until(b, b->nended == 2);
    expect(b, 0, OUTCOME_DONE, NULL);
    assert_ptr_equal(strstr(b->ended[0].text, directory), b->ended[0].text);
    assert_null(strstr(b->ended[0].text, "used"));
    parts = b->nwanted;
    assert_true(parts > 0);
    close_bench(b);

    b = open_worker(directory, (struct supervisor_config){.slots = 2});
    job_with(b, chores("who", "chores", 7));
    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->nended == 1);
    assert_int_equal(b->nwanted, 0);
    close_bench(b);
    remove_directory(directory);
}

static void
programs_that_do_not_start_are_told_with_their_words(void **state)
{
    static const struct {
        const char *arguments;
        uint32_t size;
        const char *text;
    } rows[] = {
        {"chores\0--never-there", 21, "chores: I do not feel like it"},
        {"chores\0--done-before", 21, "ended before it came to futures_new()"},
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char directory[64] = "";
        struct bench *b = open_worker(directory, (struct supervisor_config){.slots = 2});

        b->serve_file = CHORES;
        job_with(b, chores("who", rows[i].arguments, rows[i].size));
        slice(b, 1, 0, 3, NULL, 0);
        until(b, b->returned == 3);
        assert_int_equal(b->why, RETURNED_PROGRAM);
        assert_string_equal(b->failed, rows[i].text);
        slice(b, 2, 3, 1, NULL, 0); /* and not tried again */
        until(b, b->returned == 4);
        assert_int_equal(b->nended, 0);
        close_bench(b);
        remove_directory(directory);
    }
}

static void
installed_program_is_run_by_its_name(void **state)
{
    struct supervisor_program programs[] = {{"tools", CHORES}};
    char directory[64] = "";
    struct bench *b = open_worker(
        directory, (struct supervisor_config){.slots = 1, .programs = programs, .nprograms = 1});
    struct message hello;

    (void)state;
    supervisor_hello(b->s, &hello);
    assert_int_equal(hello.hello.nnames, 1);
    assert_string_equal(hello.hello.names[0], "tools");
    job_with(b, (struct spec){.function = "who", .program = {.name = "tools"}});
    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->nended == 1);
    expect(b, 0, OUTCOME_DONE, NULL);
    close_bench(b);
    remove_directory(directory);
}

static unsigned
entries(const char *directory, const char *below)
{
    char path[128];
    DIR *dir;
    unsigned n = 0;
    const struct dirent *d;

    snprintf(path, sizeof(path), "%s/%s", directory, below);
    assert_non_null(dir = opendir(path));
    while ((d = readdir(dir)) != NULL)
        n += d->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void
working_directories_are_removed_even_of_the_dead(void **state)
{
    char directory[64] = "";
    struct bench *b = open_worker(directory, (struct supervisor_config){.slots = 1});
    int ends[2];
    pid_t child;
    char byte = 'x';

    (void)state;
    b->serve_file = CHORES;
    job_with(b, chores("where", "chores", 7));
    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->nended == 1);
    assert_int_equal(entries(directory, "work"), 1);
    close_bench(b);
    assert_int_equal(entries(directory, "work"), 0);

    assert_int_equal(pipe(ends), 0);
    if ((child = fork()) == 0) {
        b = open_worker(directory, (struct supervisor_config){.slots = 1});
        if (write(ends[1], &byte, 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(entries(directory, "work"), 1);
    b = open_worker(directory, (struct supervisor_config){.slots = 1});
    assert_int_equal(entries(directory, "work"), 1); /* its own */
    close_bench(b);
    assert_int_equal(entries(directory, "work"), 0);
    remove_directory(directory);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_are_run),
        cmocka_unit_test(items_of_all_sizes_come_back_as_they_were),
        cmocka_unit_test(failures_are_told_in_words),
        cmocka_unit_test(unknown_function_is_rejected_with_those_that_are_known),
        cmocka_unit_test(crash_costs_nobody_else_a_result),
        cmocka_unit_test(task_out_of_time_is_stopped_and_its_neighbours_are_not),
        cmocka_unit_test(task_that_ignores_sigterm_is_killed_after_the_grace),
        cmocka_unit_test(queued_and_running_tasks_are_cancelled),
        cmocka_unit_test(task_that_asks_ends_by_itself_when_cancelled),
        cmocka_unit_test(unstarted_tasks_are_given_back),
        cmocka_unit_test(idle_executor_takes_tasks_from_a_busy_one),
        cmocka_unit_test(results_behind_a_long_task_are_not_kept_waiting),
        cmocka_unit_test(executors_are_replaced_after_so_many_tasks),
        cmocka_unit_test(progress_and_partial_results_are_passed_on),
        cmocka_unit_test(output_of_tasks_is_passed_on_and_that_of_main_is_not),
        cmocka_unit_test(flood_of_output_is_cut_with_a_marker),
        cmocka_unit_test(children_of_tasks_go_with_their_executor),
        cmocka_unit_test(daemons_of_tasks_go_with_their_executor_if_it_is_ours_to_say),
        cmocka_unit_test(child_that_comes_back_is_no_executor),
        cmocka_unit_test(executor_without_its_descriptors_is_a_crash),
        cmocka_unit_test(executors_are_invisible_to_wait_and_sigchld),
        cmocka_unit_test(ignored_sigchld_hides_no_crash),
        cmocka_unit_test(nothing_outlives_a_supervisor_that_is_killed),
        cmocka_unit_test(reset_forgets_all_work_and_goes_on),
        cmocka_unit_test(drain_returns_what_has_not_started_and_finishes_the_rest),
        cmocka_unit_test(held_supervisor_reads_no_results),
        cmocka_unit_test(program_is_fetched_once_and_kept),
        cmocka_unit_test(programs_that_do_not_start_are_told_with_their_words),
        cmocka_unit_test(installed_program_is_run_by_its_name),
        cmocka_unit_test(working_directories_are_removed_even_of_the_dead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
