/* The whole grid: a client, a broker, workers and executors, and what happens when one of them
 * dies. */
#include "../../proto/limits.h"
#include "harness.h"
#include "talker.h"

#include <dirent.h>
#include <elf.h>
#include <limits.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char endpoint[256];
static struct process *broker;

static int
setup(void **state)
{
    if (harness_setup(state) != 0)
        return -1;
    mkdir(harness_path("traces"), 0700);
    broker = broker_start("tcp://127.0.0.1:0", endpoint);
    return 0;
}

static struct process *
client(const char *command, const char *first, const char *second)
{
    char variable[300];

    snprintf(variable, sizeof(variable), "LADLE_BROKER=%s", endpoint);
    return process_start((const char *const[]){harness_binary("tasks"), harness_path("traces"),
                                               command, first, second, NULL},
                         (const char *const[]){variable, NULL});
}

static void
assert_ends_right(struct process *p)
{
    int status = process_await(p, 4 * SOON);

    if (status != 0)
        print_error("exit status %d\n%s%s\n", status, process_output(p), process_errors(p));
    assert_int_equal(status, 0);
    assert_true(starts_with(process_output(p), "right "));
}

/* ---- traces of tasks --------------------------------------------------------------------------
 */

struct trace {
    pid_t pid;
    unsigned long long index;
    int attempt;
};

static int
traces(struct trace *list, int max)
{
    DIR *dir = opendir(harness_path("traces"));
    struct dirent *entry;
    struct trace t;
    int n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (sscanf(entry->d_name, "task-%d-%llu-%d", &t.pid, &t.index, &t.attempt) != 3)
            continue;
        if (n < max)
            list[n] = t;
        n++;
    }
    closedir(dir);
    return n;
}

static int
retried(void)
{
    struct trace list[1024];
    int n = traces(list, 1024), count = 0;

    for (int i = 0; i < n && i < 1024; i++)
        count += list[i].attempt > 1;
    return count;
}

/* An executor that has run a task lately and still lives; 0 if there is none. */
static pid_t
living_executor(void)
{
    struct trace list[1024];
    int n = traces(list, 1024);

    for (int i = 0; i < n && i < 1024; i++)
        if (kill(list[i].pid, 0) == 0)
            return list[i].pid;
    return 0;
}

/* ---- work -------------------------------------------------------------------------------------
 */

static void
a_map_runs_on_two_workers(void **state)
{
    long long first, second;

    (void)state;
    worker_start(endpoint, "one", 1);
    worker_start(endpoint, "two", 1);
    assert_ends_right(client("map", "100", "10"));
    await((first = status_worker(endpoint, "one", "done")) +
                  (second = status_worker(endpoint, "two", "done")) >=
              100,
          SOON);
    assert_true(first >= 25);
    assert_true(second >= 25);
}

static void
a_large_map_of_short_tasks_is_right(void **state)
{
    (void)state;
    worker_start(endpoint, "one", 2);
    assert_ends_right(client("map", "200000", "0"));
    assert_int_equal(status_number(endpoint, "tasks_done"), 200000);
    await(status_number(endpoint, "bytes_held") == 0, SOON);
}

static void
a_worker_may_come_after_the_work(void **state)
{
    struct process *p = client("map", "10", "1");

    (void)state;
    await(status_number(endpoint, "tasks_accepted") == 10, SOON);
    await(process_wrote(p, "worker"), SOON); /* it is told why nothing happens */
    worker_start(endpoint, "late", 1);
    assert_ends_right(p);
}

static void
start_talkative_broker(void)
{
    process_kill(broker);
    broker = process(harness_binary("ladle-broker"), "--bind", endpoint, "--log-level", "debug");
    await(process_wrote(broker, "ready"), SOON);
}

static void
a_program_is_sent_to_a_worker_once(void **state)
{
    struct process *one;

    (void)state;
    start_talkative_broker();
    one = worker_start(endpoint, "one", 1);
    assert_ends_right(client("map", "10", "1"));
    assert_true(process_wrote(broker, "program_part"));

    start_talkative_broker(); /* itself it keeps parts of programs too */
    await(status_worker(endpoint, "one", "slots") == 1, 2 * SOON);
    assert_ends_right(client("map", "10", "1"));
    assert_false(process_wrote(broker, "program_part"));

    process_kill(one); /* nor does another worker in the same directory need it */
    await(status_number(endpoint, "workers_connected") == 0, SOON);
    worker_start(endpoint, "one", 1);
    assert_ends_right(client("map", "10", "1"));
    assert_false(process_wrote(broker, "program_part"));
}

static void
ladle_run_runs_a_map(void **state)
{
    struct process *p = process(harness_binary("ladle"), "run", "-n", "2", harness_binary("tasks"),
                                harness_path("traces"), "map", "1000", "1");

    (void)state;
    assert_ends_right(p);
    assert_string_equal(process_errors(p), "");
}

static void
tasks_print_to_their_client(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 1);
    p = client("call", "chatty", "3");
    assert_int_equal(process_await(p, SOON), 0);
    assert_true(process_wrote(p, "result 9"));
    assert_true(process_wrote(p, "hello from a task"));
}

/* ---- deaths -----------------------------------------------------------------------------------
 */

static void
a_killed_executor_loses_no_task(void **state)
{
    struct process *p;
    pid_t pid;

    (void)state;
    worker_start(endpoint, "one", 2);
    p = client("map", "60", "50");
    await((pid = living_executor()) != 0, SOON);
    kill(pid, SIGKILL);
    assert_ends_right(p);
}

static void
a_killed_worker_loses_no_task_and_leaves_no_executor(void **state)
{
    struct process *one, *p;
    int64_t killed;

    (void)state;
    one = worker_start(endpoint, "one", 2);
    p = client("map", "60", "50");
    await(traces(NULL, 0) >= 4, SOON);
    worker_start(endpoint, "two", 2);
    process_kill(one);
    killed = harness_now();
    await(status_number(endpoint, "workers_connected") == 1, SOON);
    assert_true(harness_now() - killed < 4000); /* not by silence: that takes six seconds */
    assert_ends_right(p);
    assert_int_equal(status_number(endpoint, "workers_lost"), 1);
}

static void
executors_die_with_their_worker(void **state)
{
    struct process *one;

    (void)state;
    one = worker_start(endpoint, "one", 2);
    client("each", "endless", "2");
    await(traces(NULL, 0) == 2, SOON);
    assert_true(living_executor() != 0);
    process_kill(one);
    await(living_executor() == 0, SOON);
}

static void
a_stopped_worker_loses_no_task(void **state)
{
    struct process *one, *p;

    (void)state;
    one = worker_start(endpoint, "one", 1);
    p = client("map", "40", "50");
    await(traces(NULL, 0) >= 2, SOON);
    worker_start(endpoint, "two", 1);
    kill(one->pid, SIGSTOP);
    assert_ends_right(p);
    kill(one->pid, SIGCONT);
    await(status_number(endpoint, "workers_connected") == 2, 2 * SOON);
    assert_ends_right(client("map", "10", "0"));
}

static void
a_killed_client_leaves_nothing_running(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 2);
    p = client("each", "endless", "10");
    await(traces(NULL, 0) == 2, SOON);
    process_kill(p);
    await(living_executor() == 0, SOON);
    await(status_number(endpoint, "jobs_open") == 0, SOON);
    assert_int_equal(traces(NULL, 0), 2); /* the eight others never ran */
    assert_ends_right(client("map", "10", "0"));
}

static void
a_killed_broker_loses_no_task(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 1);
    worker_start(endpoint, "two", 1);
    p = client("map", "100", "30");
    await(status_number(endpoint, "tasks_done") > 10, SOON);
    process_kill(broker);
    broker = broker_start(endpoint, NULL);
    assert_ends_right(p);
    assert_int_equal(status_number(endpoint, "workers_connected"), 2);
}

static void
a_drained_worker_finishes_what_runs(void **state)
{
    struct process *one, *p;

    (void)state;
    one = worker_start(endpoint, "one", 2);
    p = client("map", "40", "100");
    await(traces(NULL, 0) >= 2, SOON);
    worker_start(endpoint, "two", 2);
    kill(one->pid, SIGTERM);
    assert_int_equal(process_await(one, SOON), 0);
    assert_ends_right(p);
    assert_int_equal(retried(), 0);
    assert_int_equal(status_number(endpoint, "retries"), 0);
    assert_int_equal(status_number(endpoint, "workers_lost"), 0);
}

static void
a_worker_without_a_broker_can_be_stopped(void **state)
{
    struct process *one = worker_start(endpoint, "one", 1);

    (void)state;
    process_kill(broker);
    kill(one->pid, SIGTERM);
    assert_int_equal(process_await(one, SOON), 0);
}

/* ---- tasks that fail --------------------------------------------------------------------------
 */

static void
a_crash_is_tried_again(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 1);
    p = client("call", "fragile", "7");
    assert_int_equal(process_await(p, SOON), 0);
    assert_string_equal(process_output(p), "result 49\n");
    assert_int_equal(retried(), 1);
}

static void
poison_costs_its_own_results_only(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 2);
    p = client("each", "mixed", "6");
    assert_int_equal(process_await(p, 2 * SOON), 0);
    assert_non_null(strstr(process_output(p), "0: 0\n1: 1\n2: "));
    assert_non_null(strstr(process_output(p), "\n3: 9\n4: 16\n5: "));
    assert_non_null(strstr(process_output(p), "\nend\n"));
    assert_non_null(strstr(process_output(p), "mixed[2]"));
    assert_non_null(strstr(process_output(p), "signal 11"));
    assert_ends_right(client("map", "10", "0")); /* the worker is as good as before */
}

static void
a_failure_tells_the_words_of_its_task(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 1);
    p = client("call", "sour", "1");
    assert_int_equal(process_await(p, SOON), 1);
    assert_string_equal(process_errors(p), "sour on worker one, attempt 1: the milk is sour\n");
}

static void
an_unknown_function_is_named_among_those_there_are(void **state)
{
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 1);
    p = client("call", "sqare", "1");
    assert_int_equal(process_await(p, SOON), 1);
    assert_non_null(strstr(process_errors(p), "sqare"));
    assert_non_null(strstr(process_errors(p), "square"));
}

/* ---- programs that do not start ----------------------------------------------------------------
 */

static void
a_missing_library_is_told_in_the_words_of_the_loader(void **state)
{
    char broker_variable[300];
    struct process *p;

    (void)state;
    worker_start(endpoint, "one", 1);
    snprintf(broker_variable, sizeof(broker_variable), "LADLE_BROKER=%s", endpoint);
    p = process_start(
        (const char *const[]){harness_binary("lacking"), NULL},
        (const char *const[]){broker_variable, "LD_LIBRARY_PATH=" LADLE_HIDDEN, NULL});
    await(process_wrote(p, "libthing.so"), 2 * SOON);
    assert_true(process_wrote(p, "cannot open shared object file"));
    assert_int_equal(process_await(p, SOON), 0);
    assert_ends_right(client("map", "10", "0"));
}

static void
announce(struct talker *t, const char *digest, uint64_t size)
{
    struct spec spec = {.program = {.name = "foreign",
                                    .machine = "x86_64", /* so it says */
                                    .arguments = "foreign",
                                    .arguments_size = 8,
                                    .size = size},
                        .function = "square",
                        .name = "",
                        .needs = "",
                        .cpus = 1};
    struct message m = {.type = MESSAGE_JOB, .job = {.job = 1, .spec = &spec}};

    snprintf(spec.program.digest, sizeof(spec.program.digest), "%s", digest);
    talker_send(t, &m);
    m = (struct message){.type = MESSAGE_INPUTS, .inputs = {.job = 1, .columns.count = 1}};
    talker_send(t, &m);
    m = (struct message){.type = MESSAGE_JOB_END, .job_end = {.job = 1, .total = 1}};
    talker_send(t, &m);
}

static void
hand_out(struct talker *t, const char *digest, const char *program, size_t size)
{
    const struct message *wanted = talker_await(t, MESSAGE_PROGRAM_WANTED, SOON);
    struct message m = {.type = MESSAGE_PROGRAM_PART};
    size_t length;

    assert_non_null(wanted);
    assert_string_equal(wanted->program_wanted.digest, digest);
    assert_true(wanted->program_wanted.offset < size);
    length = size - wanted->program_wanted.offset;
    length = length > LIMIT_PART ? LIMIT_PART : length;
    m.program_part = (struct message_program_part){
        .digest = digest,
        .offset = wanted->program_wanted.offset,
        .size = size,
        .text = "",
        .columns = {.count = 1,
                    .size = (uint32_t)length,
                    .data = blob_copy(program + wanted->program_wanted.offset, length),
                    .length = length}};
    assert_non_null(m.program_part.columns.data);
    talker_send(t, &m);
    blob_unref(m.program_part.columns.data);
}

static void
digest_of(const char *program, size_t size, char digest[65])
{
    unsigned char hash[crypto_hash_sha256_BYTES];

    crypto_hash_sha256(hash, (const unsigned char *)program, size);
    sodium_bin2hex(digest, 65, hash, sizeof(hash));
}

static void
a_program_for_another_machine_is_refused_by_name(void **state)
{
    const struct message *ended = NULL;
    char digest[65], *program;
    struct talker *t;
    size_t size;

    (void)state;
    assert_non_null(program = file_read(harness_binary("tasks"), &size));
    ((Elf64_Ehdr *)(void *)program)->e_machine = EM_AARCH64;
    digest_of(program, size, digest);
    worker_start(endpoint, "one", 1);
    t = talker_new(endpoint);
    talker_join(t, ROLE_CLIENT, "foreign", 0);
    announce(t, digest, size);
    for (size_t sent = 0; sent < size; sent += LIMIT_PART)
        hand_out(t, digest, program, size);
    assert_non_null(ended = talker_await(t, MESSAGE_ENDED, SOON));
    assert_int_equal(ended->ended.outcome, OUTCOME_REJECTED);
    assert_non_null(strstr(ended->ended.text, "aarch64"));
    talker_free(t);
    free(program);
    assert_ends_right(client("map", "10", "0"));
}

/* ---- what a user gets wrong --------------------------------------------------------------------
 */

static void
a_wrong_endpoint_is_explained(void **state)
{
    struct process *p;

    (void)state;
    snprintf(endpoint, sizeof(endpoint), "tpc://127.0.0.1:5570");
    p = client("map", "1", "0");
    assert_int_equal(process_await(p, SOON), 1);
    assert_non_null(strstr(process_errors(p), "tpc://127.0.0.1:5570"));
    assert_non_null(strstr(process_errors(p), "tcp://"));
}

static void
a_broker_that_does_not_run_is_told(void **state)
{
    struct process *p;

    (void)state;
    process_kill(broker);
    p = client("map", "1", "0");
    assert_int_equal(process_await(p, SOON), 1);
    assert_non_null(strstr(process_errors(p), endpoint));
    assert_non_null(strstr(process_errors(p), "refused"));
}

static void
bad_options_of_a_worker_are_explained(void **state)
{
    static const char *const bad[][2] = {
        {"--slots", "none"},     {"--slots", "0"},        {"--broker", "nowhere"},
        {"--label", "=1"},       {"--program", "tool"},   {"--program", "tool=/no/such/program"},
        {"--cache-size", "big"}, {"--log-level", "loud"},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct process *p =
            process(harness_binary("ladle-worker"), "--broker", endpoint, bad[i][0], bad[i][1]);
        const char *errors;

        assert_int_not_equal(process_await(p, SOON), 0);
        assert_true(WIFEXITED(p->status));
        errors = process_errors(p);
        if (strstr(errors, bad[i][1]) == NULL)
            print_error("%s %s: %s\n", bad[i][0], bad[i][1], errors);
        assert_non_null(strstr(errors, bad[i][1]));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)

int
main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_map_runs_on_two_workers),
        TEST(a_large_map_of_short_tasks_is_right),
        TEST(a_worker_may_come_after_the_work),
        TEST(a_program_is_sent_to_a_worker_once),
        TEST(ladle_run_runs_a_map),
        TEST(tasks_print_to_their_client),
        TEST(a_killed_executor_loses_no_task),
        TEST(a_killed_worker_loses_no_task_and_leaves_no_executor),
        TEST(executors_die_with_their_worker),
        TEST(a_stopped_worker_loses_no_task),
        TEST(a_killed_client_leaves_nothing_running),
        TEST(a_killed_broker_loses_no_task),
        TEST(a_drained_worker_finishes_what_runs),
        TEST(a_worker_without_a_broker_can_be_stopped),
        TEST(a_crash_is_tried_again),
        TEST(poison_costs_its_own_results_only),
        TEST(a_failure_tells_the_words_of_its_task),
        TEST(an_unknown_function_is_named_among_those_there_are),
        TEST(a_missing_library_is_told_in_the_words_of_the_loader),
        TEST(a_program_for_another_machine_is_refused_by_name),
        TEST(a_wrong_endpoint_is_explained),
        TEST(a_broker_that_does_not_run_is_told),
        TEST(bad_options_of_a_worker_are_explained),
    };

    if (argc > 1) /* a pattern: only these */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("grid", tests, NULL, NULL);
}
