/* Failed tasks are kept in files, and run again by `ladle replay`. */
#include "harness.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
#define LINE "\n  replay it: ladle replay "

enum { MOST = 10 };

static const char *
folder(void)
{
    return harness_path("state/replay");
}

static const char *
variable(const char *name, const char *value)
{
    static char texts[4][600];
    static unsigned next;
    char *text = texts[next++ % 4];

    snprintf(text, sizeof(texts[0]), "%s=%s", name, value);
    return text;
}

static struct process *
start(const char *program, const char *const *arguments)
{
    const char *argv[MOST + 2] = {strchr(program, '/') != NULL ? program : harness_binary(program)};

    for (int i = 0; i < MOST && arguments[i] != NULL; i++)
        argv[i + 1] = arguments[i];
    return process_start(argv, (const char *const[]){"LADLE_BROKER=local:2",
                                                     variable("LADLE_REPLAY_DIR", folder()), NULL});
}
#define start(program, ...) (start)(program, (const char *const[MOST]){__VA_ARGS__})

/* The id in what a client said; "" if there is none. */
static const char *
id_in(struct process *p)
{
    static char id[16];
    const char *at = strstr(process_output(p), LINE);

    snprintf(id, sizeof(id), "%.*s", at == NULL ? 0 : 8, at == NULL ? "" : at + strlen(LINE));
    return id;
}

/* Of a task that failed so. */
static const char *
failed(const char *kind, const char *option, const char *other)
{
    struct process *p = start("dying", kind, option, other);

    assert_int_equal(process_await(p, 3 * SOON), 0);
    assert_int_equal(strlen(id_in(p)), 8);
    return id_in(p);
}

static void
assert_says(struct process *p, const char *part)
{
    if (!process_wrote(p, part))
        print_error("not there: %s\nin:\n%s%s\n", part, process_output(p), process_errors(p));
    assert_true(process_wrote(p, part));
}

static char *
file_of(const char *id, char path[512])
{
    snprintf(path, 512, "%s/%s.replay", folder(), id);
    return path;
}

/* ---- running again ---------------------------------------------------------------------------
 */

static void
task_fails_again_in_the_foreground(void **state)
{
    struct process *p = start("ladle", "replay", failed("fail", NULL, NULL));

    (void)state;
    assert_int_equal(process_await(p, 3 * SOON), 1);
    assert_says(p, "die ended FAILED: it was asked to");
    assert_says(p, "about to die: fail");
}

static void
task_dies_of_the_same_signal(void **state)
{
    struct process *p = start("ladle", "replay", failed("abort", NULL, NULL));

    (void)state;
    assert_int_equal(process_await(p, 3 * SOON), 128 + SIGABRT);
    assert_says(p, "which ended CRASHED on worker local at ");
    p = start("ladle", "replay", failed("exit", NULL, NULL));
    assert_int_equal(process_await(p, 3 * SOON), 3);
}

static void
there_is_no_timeout(void **state)
{
    struct process *p = start("ladle", "replay", failed("nap", "timeout=100", NULL));

    (void)state;
    assert_int_equal(process_await(p, 3 * SOON), 0);
    assert_says(p, "die is DONE, with a result of 3 bytes");
}

/* Constants, random numbers, the attempt, and variables are those that it had. */
static void
task_finds_what_it_had(void **state)
{
    struct process *p = start("dying", "fail", "function=say", "share=hello");
    char line[128];

    (void)state;
    assert_int_equal(process_await(p, 3 * SOON), 0);
    snprintf(line, sizeof(line), "%.*s", (int)strcspn(process_output(p), "\n"), process_output(p));
    assert_true(starts_with(line, "hello, attempt 1, random "));
    assert_non_null(strstr(line, ", mood grim"));
    p = start("ladle", "replay", id_in(p));
    assert_int_equal(process_await(p, 3 * SOON), 1);
    assert_says(p, line);
}

static void
task_of_a_map_and_of_a_grid(void **state)
{
    char endpoint[256];
    const char *argv[] = {harness_binary("dying"), "fail", "count=12", "share=word", NULL};
    struct process *p;
    int told = 0;

    (void)state;
    broker_start("tcp://127.0.0.1:0", endpoint);
    worker_start(endpoint, "one", 2);
    p = process_start(argv, (const char *const[]){variable("LADLE_BROKER", endpoint),
                                                  variable("LADLE_REPLAY_DIR", folder()), NULL});
    assert_int_equal(process_await(p, 3 * SOON), 0);
    for (const char *at = process_output(p); (at = strstr(at, LINE)) != NULL; at++)
        told++;
    assert_int_equal(told, 8); /* of a session, no more */
    assert_int_equal(directory_entries(folder()), 8);
    p = start("ladle", "replay", id_in(p));
    assert_int_equal(process_await(p, 3 * SOON), 1);
    assert_says(p, "on worker one at ");
    assert_says(p, "die ended FAILED: it was asked to");
}

static void
task_that_submits_others_runs_them_itself(void **state)
{
    struct process *p = start("ladle", "replay", failed("fail", "function=delegate", NULL));

    (void)state;
    assert_int_equal(process_await(p, 3 * SOON), 1);
    assert_says(p, "delegate ended FAILED: below: die on worker serial");
}

static void
its_result_goes_to_a_file(void **state)
{
    char path[512];
    struct process *p;
    size_t size;
    char *text;

    (void)state;
    snprintf(path, sizeof(path), "%s", harness_path("result"));
    p = start("ladle", "replay", "--output", path, failed("nap", "timeout=100", NULL));
    assert_int_equal(process_await(p, 3 * SOON), 0);
    assert_non_null(text = file_read(path, &size));
    assert_int_equal(size, 3);
    assert_memory_equal(text, "nap", 3);
    free(text);
}

static void
debugger_shows_where_it_dies(void **state)
{
    const char *id = failed("abort", NULL, NULL);
    struct process *p;

    (void)state;
    if (access("/usr/bin/gdb", X_OK) != 0)
        skip();
    p = start("ladle", "replay", "--debugger", "gdb -batch -ex run -ex bt", id);
    (void)process_await(p, 6 * SOON);
    assert_says(p, "received signal SIGABRT");
    assert_says(p, " in die (task=");
}

/* ---- files -----------------------------------------------------------------------------------
 */

static void
files_are_their_owners_alone(void **state)
{
    char path[512];
    struct stat st;

    (void)state;
    assert_int_equal(stat(file_of(failed("fail", NULL, NULL), path), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(folder(), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void
list_tells_what_there_is(void **state)
{
    struct process *p;
    char id[16];

    (void)state;
    p = start("ladle", "replay", "--list");
    assert_int_equal(process_await(p, SOON), 0);
    assert_string_equal(process_output(p), "");
    snprintf(id, sizeof(id), "%s", failed("fail", NULL, NULL));
    p = start("ladle", "replay", "--list");
    assert_int_equal(process_await(p, SOON), 0);
    assert_true(starts_with(process_output(p), id));
    assert_says(p, "FAILED     die of dying: it was asked to\n");
}

static void
quiet_sessions_and_an_empty_variable_keep_nothing(void **state)
{
    const char *argv[] = {harness_binary("dying"), "fail", NULL};
    struct process *p = start("dying", "fail", "quiet=1");

    (void)state;
    assert_int_equal(process_await(p, 3 * SOON), 0);
    assert_string_equal(id_in(p), "");
    p = process_start(argv, (const char *const[]){"LADLE_REPLAY_DIR=", NULL});
    assert_int_equal(process_await(p, 3 * SOON), 0);
    assert_string_equal(id_in(p), "");
    assert_int_equal(directory_entries(folder()), -1);
}

static void
folder_is_below_the_state_of_the_user(void **state)
{
    const char *argv[] = {"/usr/bin/env",          "-u",   "LADLE_REPLAY_DIR",
                          harness_binary("dying"), "fail", NULL};
    struct process *p = process_start(argv, NULL); /* the harness sets XDG_STATE_HOME */

    (void)state;
    assert_int_equal(process_await(p, 3 * SOON), 0);
    assert_int_equal(directory_entries(harness_path("ladle/replay")), 1);
}

static void
folder_that_cannot_be_written_is_no_trouble(void **state)
{
    const char *argv[] = {harness_binary("dying"), "fail", NULL};
    struct process *p =
        process_start(argv, (const char *const[]){"LADLE_REPLAY_DIR=/proc/nowhere/at/all", NULL});

    (void)state;
    assert_int_equal(process_await(p, 3 * SOON), 0);
    assert_string_equal(process_output(p), "die on worker local, attempt 1: it was asked to\n");
}

static void
oldest_files_make_room(void **state)
{
    char path[512];

    (void)state;
    (void)failed("fail", NULL, NULL);
    for (int i = 0; i < 120; i++) {
        snprintf(path, sizeof(path), "%s/old%d.replay", folder(), i);
        file_write(path, "x", 1, 0600);
    }
    file_of(failed("fail", NULL, NULL), path);
    assert_int_equal(directory_entries(folder()), 100);
    assert_int_equal(access(path, F_OK), 0);
}

/* ---- what is wrong ---------------------------------------------------------------------------
 */

static void
assert_refused(const char *what, const char *why)
{
    struct process *p = start("ladle", "replay", what);

    assert_int_equal(process_await(p, 3 * SOON), 1);
    assert_says(p, why);
    assert_false(process_wrote(p, ", which ended ")); /* as is said of a task that runs again */
}

static void
missing_and_foreign_files_are_refused(void **state)
{
    (void)state;
    assert_refused("01234567", "there is no task '01234567'");
    file_write(harness_path("foreign"), "hello, world\n", 13, 0600);
    assert_refused(harness_path("foreign"), "it is no file of `ladle replay`");
}

static void
file_that_was_cut_off_anywhere_is_refused(void **state)
{
    char path[512], cut[512];
    size_t size;
    char *bytes;

    (void)state;
    bytes = file_read(file_of(failed("fail", "share=hello", NULL), path), &size);
    assert_non_null(bytes);
    snprintf(cut, sizeof(cut), "%s", harness_path("cut"));
    for (size_t n = 0; n < size; n += size / 23 + 1) {
        file_write(cut, bytes, n, 0600);
        assert_refused(cut, "ladle replay: ");
    }
    free(bytes);
}

/* Also a flipped bit of an input, a result or a name, which only its checksum knows of. */
static void
file_that_is_damaged_anywhere_is_refused(void **state)
{
    char path[512], damaged[512];
    size_t size;
    char *bytes;

    (void)state;
    bytes = file_read(file_of(failed("fail", "share=hello", NULL), path), &size);
    assert_non_null(bytes);
    snprintf(damaged, sizeof(damaged), "%s", harness_path("damaged"));
    for (size_t i = 0; i < size; i += size / 61 + 1) {
        bytes[i] = (char)(bytes[i] ^ 1 << i % 8);
        file_write(damaged, bytes, size, 0600);
        assert_refused(damaged, "ladle replay: ");
        bytes[i] = (char)(bytes[i] ^ 1 << i % 8);
    }
    assert_non_null(bytes = realloc(bytes, size + 1));
    bytes[size] = 0;
    file_write(damaged, bytes, size + 1, 0600);
    assert_refused(damaged, "its checksum is that of other bytes");
    free(bytes);
}

static void
program_that_changed_or_went_is_told(void **state)
{
    char program[512];
    struct process *p;
    size_t size;
    char *bytes;
    char id[16];

    (void)state;
    snprintf(program, sizeof(program), "%s", harness_path("copy"));
    assert_non_null(bytes = file_read(harness_binary("dying"), &size));
    file_write(program, bytes, size, 0700);
    p = start(program, "fail");
    assert_int_equal(process_await(p, 3 * SOON), 0);
    snprintf(id, sizeof(id), "%s", id_in(p));

    p = start("ladle", "replay", id);
    assert_int_equal(process_await(p, 3 * SOON), 1);
    assert_false(process_wrote(p, "not the same any more"));
    unlink(program);
    p = start("ladle", "replay", id);
    assert_int_equal(process_await(p, 3 * SOON), 1);
    assert_says(p, "No such file or directory");
    bytes = realloc(bytes, size + 1);
    assert_non_null(bytes);
    bytes[size] = 'x';
    file_write(program, bytes, size + 1, 0700);
    p = start("ladle", "replay", id);
    assert_int_equal(process_await(p, 3 * SOON), 1);
    assert_says(p, "is not the same any more as when the task failed");
    assert_says(p, "die ended FAILED: it was asked to");
    free(bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(task_fails_again_in_the_foreground),
        TEST(task_dies_of_the_same_signal),
        TEST(there_is_no_timeout),
        TEST(task_finds_what_it_had),
        TEST(task_of_a_map_and_of_a_grid),
        TEST(task_that_submits_others_runs_them_itself),
        TEST(its_result_goes_to_a_file),
        TEST(debugger_shows_where_it_dies),
        TEST(files_are_their_owners_alone),
        TEST(list_tells_what_there_is),
        TEST(quiet_sessions_and_an_empty_variable_keep_nothing),
        TEST(folder_is_below_the_state_of_the_user),
        TEST(folder_that_cannot_be_written_is_no_trouble),
        TEST(oldest_files_make_room),
        TEST(missing_and_foreign_files_are_refused),
        TEST(file_that_was_cut_off_anywhere_is_refused),
        TEST(file_that_is_damaged_anywhere_is_refused),
        TEST(program_that_changed_or_went_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
