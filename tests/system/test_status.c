/* ladle status, and the rest of the command line. */
#include "harness.h"
#include "talker.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char endpoint[256];

static json_t *
status(void)
{
    struct process *p = process(harness_binary("ladle"), "status", "--json", "--broker", endpoint);
    json_t *report;

    assert_int_equal(process_await(p, SOON), 0);
    report = json_loads(process_output(p), 0, NULL);
    assert_non_null(report);
    return report;
}

static long long
number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value))
        print_error("no number '%s'\n", key);
    assert_true(json_is_integer(value));
    return (long long)json_integer_value(value);
}

static const char *
word(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));

    if (value == NULL)
        print_error("no string '%s'\n", key);
    assert_non_null(value);
    return value;
}

static void
an_empty_grid_is_told_as_such(void **state)
{
    struct process *p;
    json_t *report;

    (void)state;
    broker_start("tcp://127.0.0.1:0", endpoint);
    report = status();
    assert_string_equal(word(report, "endpoint"), endpoint);
    assert_int_equal(number(report, "slots"), 0);
    assert_int_equal(number(report, "workers_connected"), 0);
    assert_int_equal(number(report, "clients"), 0); /* whoever asks is no client */
    assert_int_equal(number(report, "tasks_accepted"), 0);
    assert_int_equal(json_array_size(json_object_get(report, "workers")), 0);
    json_decref(report);

    p = process(harness_binary("ladle"), "status", "--broker", endpoint);
    assert_int_equal(process_await(p, SOON), 0);
    assert_non_null(strstr(process_output(p), "0 workers"));
    assert_non_null(strstr(process_output(p), "ladle-worker --broker"));
}

static void
shows_workers_and_jobs(void **state)
{
    struct talker *client, *worker;
    struct process *p;
    json_t *report, *row;

    (void)state;
    broker_start("tcp://127.0.0.1:0", endpoint);
    client = talker_new(endpoint);
    worker = talker_new(endpoint);
    talker_join(client, ROLE_CLIENT, "simulate", 0);
    talker_join(worker, ROLE_WORKER, "node7", 4);
    talker_submit(client, 1, "evaluate", 1000, 8);
    assert_non_null(talker_await(client, MESSAGE_ACCEPTED, SOON));

    report = status();
    assert_int_equal(number(report, "clients"), 1);
    assert_int_equal(number(report, "slots"), 4);
    assert_int_equal(number(report, "jobs_open"), 1);
    assert_int_equal(number(report, "tasks_accepted"), 1000);
    assert_true(number(report, "bytes_held") >= 8000);
    row = json_array_get(json_object_get(report, "workers"), 0);
    assert_string_equal(word(row, "name"), "node7");
    assert_string_equal(word(row, "host"), "here");
    assert_int_equal(number(row, "slots"), 4);
    assert_int_equal(number(row, "done"), 0);
    row = json_array_get(json_object_get(report, "jobs"), 0);
    assert_string_equal(word(row, "function"), "evaluate");
    assert_string_equal(word(row, "client"), "simulate");
    assert_int_equal(number(row, "waiting") + number(row, "running"), 1000);
    json_decref(report);

    p = process(harness_binary("ladle"), "status", "-b", endpoint);
    assert_int_equal(process_await(p, SOON), 0);
    assert_non_null(strstr(process_output(p), "node7"));
    assert_non_null(strstr(process_output(p), "evaluate"));
    talker_free(client);
    talker_free(worker);
}

static void
shows_more_rows_than_fit_in_one_answer(void **state)
{
    enum { JOBS = 700 };
    struct talker *client;
    bool seen[JOBS + 1] = {false};
    json_t *report, *jobs, *row;
    struct process *p;
    size_t i;

    (void)state;
    broker_start("tcp://127.0.0.1:0", endpoint);
    client = talker_new(endpoint);
    talker_join(client, ROLE_CLIENT, "many", 0);
    for (uint64_t j = 1; j <= JOBS; j++)
        talker_submit(client, j, "evaluate", 1, 8);
    await(status_number(endpoint, "tasks_accepted") == JOBS, SOON);
    report = status();
    jobs = json_object_get(report, "jobs");
    assert_int_equal(json_array_size(jobs), JOBS);
    json_array_foreach(jobs, i, row)
    {
        long long job = number(row, "job");

        assert_true(job >= 0);
        assert_int_equal(number(row, "waiting"), 1);
        if (job <= JOBS) {
            assert_false(seen[job]);
            seen[job] = true;
        }
    }
    json_decref(report);
    p = process(harness_binary("ladle"), "status", "-b", endpoint);
    assert_int_equal(process_await(p, SOON), 0);
    assert_non_null(strstr(process_output(p), "and 600 more: --json shows all of them\n"));
    talker_free(client);
}

static void
assert_fails(const char *broker, const char *words)
{
    struct process *p =
        process(harness_binary("ladle"), "status", "--timeout", "500", "--broker", broker);

    assert_int_equal(process_await(p, SOON), 1);
    if (strstr(process_errors(p), words) == NULL)
        print_error("'%s' is not in: %s", words, process_errors(p));
    assert_non_null(strstr(process_errors(p), words));
    assert_string_equal(process_output(p), "");
}

static void
tells_why_there_is_no_answer(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    char deaf[64], unused[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    snprintf(unused, sizeof(unused), "tcp://127.0.0.1:%d", ntohs(a.sin_port));
    assert_fails(unused, "refused");
    assert_int_equal(listen(fd, 8), 0);
    snprintf(deaf, sizeof(deaf), "%s", unused);
    assert_fails(deaf, deaf);
    close(fd);

    assert_fails("tcp://no-such-host.invalid:5570", "no-such-host.invalid");
    assert_fails("ipc:///nonexistent/broker", "/nonexistent/broker");
    assert_fails("nonsense", "tcp://");
}

static void
a_stopped_broker_is_told_as_not_answering(void **state)
{
    struct process *p = broker_start("tcp://127.0.0.1:0", endpoint);

    (void)state;
    kill(p->pid, SIGSTOP);
    assert_fails(endpoint, endpoint);
    kill(p->pid, SIGCONT);
    await(status_number(endpoint, "slots") == 0, SOON);
}

static void
finds_the_broker_in_the_environment(void **state)
{
    char variable[300];
    struct process *p;

    (void)state;
    broker_start("tcp://127.0.0.1:0", endpoint);
    snprintf(variable, sizeof(variable), "LADLE_BROKER=%s", endpoint);
    p = process_start((const char *const[]){harness_binary("ladle"), "status", NULL},
                      (const char *const[]){variable, NULL});
    assert_int_equal(process_await(p, SOON), 0);
    assert_non_null(strstr(process_output(p), endpoint));
}

/* ---- ladle itself -----------------------------------------------------------------------------
 */

static void
help_lists_and_explains_commands(void **state)
{
    struct process *p = process(harness_binary("ladle"), "--help");

    (void)state;
    assert_int_equal(process_await(p, SOON), 0);
    assert_non_null(strstr(process_output(p), "  run "));
    assert_non_null(strstr(process_output(p), "  status "));
    p = process(harness_binary("ladle"), "help", "run");
    assert_int_equal(process_await(p, SOON), 0);
    assert_non_null(strstr(process_output(p), "ladle run [OPTION...] [--] PROGRAM"));
    p = process(harness_binary("ladle"), "help", "help");
    assert_int_equal(process_await(p, SOON), 0);
    p = process(harness_binary("ladle"), "version");
    assert_int_equal(process_await(p, SOON), 0);
    assert_true(starts_with(process_output(p), "ladle "));
}

static void
unknown_commands_are_named(void **state)
{
    struct process *p = process(harness_binary("ladle"), "rum");

    (void)state;
    assert_int_equal(process_await(p, SOON), 64);
    assert_non_null(strstr(process_errors(p), "'rum'"));
    p = process(harness_binary("ladle"), "help", "rum");
    assert_int_equal(process_await(p, SOON), 64);
    p = process(harness_binary("ladle"));
    assert_int_equal(process_await(p, SOON), 64);
    p = process(harness_binary("ladle"), "status", "--timeout", "soon");
    assert_int_equal(process_await(p, SOON), 64);
    assert_non_null(strstr(process_errors(p), "soon"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)

int
main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(an_empty_grid_is_told_as_such),
        TEST(shows_workers_and_jobs),
        TEST(shows_more_rows_than_fit_in_one_answer),
        TEST(tells_why_there_is_no_answer),
        TEST(a_stopped_broker_is_told_as_not_answering),
        TEST(finds_the_broker_in_the_environment),
        TEST(help_lists_and_explains_commands),
        TEST(unknown_commands_are_named),
    };

    if (argc > 1) /* a pattern: only these */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
