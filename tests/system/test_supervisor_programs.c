/* test_supervisor_programs.c - programs that come to a worker, and how their executors start. */
#include "supervised.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* ---- where and how they start ------------------------------------------------------------------
 */

static const char variables[] = "GREETING=hello\0LADLE_WORKER=liar\0PATH=/nowhere\0EMPTY=";

static void
check_surroundings(struct bench *b, const char *place)
{
    char text[200];

    slice(b, 1, 0, 1, NULL, 0);
    until(b, b->nended == 1 || b->nreturned > 0);
    snprintf(text, sizeof(text), "%s hello node1 /nowhere ''", place);
    expect(b, 0, OUTCOME_DONE, text);
}

static void
executors_have_the_variables_and_the_directory_of_their_session(void **state)
{
    char directory[64] = "", place[] = "/tmp/ladle-place-XXXXXX";
    struct bench *b = open_worker(directory, (struct supervisor_config){.slots = 1});
    struct spec spec = chores("surroundings", "chores", 7);

    (void)state;
    assert_non_null(mkdtemp(place));
    b->serve_file = CHORES;
    spec.program.environment = variables;
    spec.program.environment_size = sizeof(variables);
    spec.program.directory = place;
    job_with(b, spec);
    check_surroundings(b, place);
    close_bench(b);
    assert_int_equal(rmdir(place), 0); /* it is not ours to remove, or to fill */

    assert_non_null(mkdtemp(strcpy(place, "/tmp/ladle-place-XXXXXX")));
    b = open_local((struct supervisor_config){.slots = 1,
                                              .local_environment = variables,
                                              .local_environment_size = sizeof(variables),
                                              .local_directory = place,
                                              .warm = 1});
    job(b, "surroundings");
    check_surroundings(b, place);
    close_bench(b);
    assert_int_equal(rmdir(place), 0);
    remove_directory(directory);
}

static void
directory_that_is_not_here_is_named(void **state)
{
    static const char *const rows[][2] = {{"/nowhere/at all", "No such file or directory"},
                                          {"/dev/null", "Not a directory"}};
    char directory[64] = "", text[200];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct bench *b = open_worker(directory, (struct supervisor_config){.slots = 1});
        struct spec spec = chores("who", "chores", 7);

        b->serve_file = CHORES;
        spec.program.directory = rows[i][0];
        job_with(b, spec);
        slice(b, 1, 0, 2, NULL, 0);
        until(b, b->returned == 2);
        assert_int_equal(b->why, RETURNED_PROGRAM);
        snprintf(text, sizeof(text), "directory %s cannot be worked in on worker node1: %s;",
                 rows[i][0], rows[i][1]);
        assert_ptr_equal(strstr(b->failed, text), b->failed);
        close_bench(b);
    }
    remove_directory(directory);
}

/* A program that ends itself by the signals in turn, one for each start, and then starts. */
static struct bench *
open_mortal(char directory[64], const char *signals)
{
    struct supervisor_program programs[] = {{"mortal", NULL}};
    struct bench *b;
    char path[96];
    FILE *f;

    strcpy(directory, "/tmp/ladle-test-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/mortal", directory);
    assert_non_null(f = fopen(path, "w"));
    fprintf(f,
            "#!/bin/sh\nfor s in %s; do mkdir %s/$s.was 2>/dev/null && kill -${s%%.*} $$; done\n",
            signals, directory);
    fprintf(f, "exec " CHORES "\n");
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
    programs[0].path = path;
    b = open_worker(directory,
                    (struct supervisor_config){.slots = 1, .programs = programs, .nprograms = 1});
    job_with(b, (struct spec){.function = "who", .program = {.name = "mortal"}});
    slice(b, 1, 0, 1, NULL, 0);
    return b;
}

/* By an operator, or the system: that says nothing of the program. */
static void
executor_that_is_ended_while_it_starts_is_started_again(void **state)
{
    static const char *const signals[] = {"TERM HUP", "HUP KILL", "KILL TERM"};
    char directory[64];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct bench *b = open_mortal(directory, signals[i]);

        until(b, b->nended == 1 || b->returned == 1);
        expect(b, 0, OUTCOME_DONE, NULL);
        close_bench(b);
        remove_directory(directory);
    }
}

static void
program_that_is_ended_each_time_it_starts_has_failed(void **state)
{
    static const struct {
        const char *signals, *text;
    } rows[] = {
        {"TERM HUP TERM.2", "killed by signal 15 (Terminated)"},
        {"SEGV", "killed by signal 11 (Segmentation fault)"}, /* that is its own doing */
    };
    char directory[64];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct bench *b = open_mortal(directory, rows[i].signals);

        until(b, b->nended == 1 || b->returned == 1);
        assert_int_equal(b->nended, 0);
        assert_ptr_equal(strstr(b->failed, rows[i].text), b->failed);
        close_bench(b);
        remove_directory(directory);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program_is_fetched_once_and_kept),
        cmocka_unit_test(programs_that_do_not_start_are_told_with_their_words),
        cmocka_unit_test(installed_program_is_run_by_its_name),
        cmocka_unit_test(working_directories_are_removed_even_of_the_dead),
        cmocka_unit_test(executors_have_the_variables_and_the_directory_of_their_session),
        cmocka_unit_test(directory_that_is_not_here_is_named),
        cmocka_unit_test(executor_that_is_ended_while_it_starts_is_started_again),
        cmocka_unit_test(program_that_is_ended_each_time_it_starts_has_failed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
