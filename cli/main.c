/* ladle: finds the command. */
#include "../client/ladle.h"
#include "command.h"

#include <stdio.h>
#include <string.h>

static int command_help(int argc, char **argv);
static int command_version(int argc, char **argv);

static const struct command {
    const char *name;
    const char *title; /* argv[0] of the command */
    const char *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", "ladle run", "run a program with a broker and workers of its own", command_run},
    {"status", "ladle status", "show what a broker, its workers and its jobs are doing",
     command_status},
    {"replay", "ladle replay", "run a failed task again, in the foreground or a debugger",
     command_replay},
    {"drain", "ladle drain", "have a worker finish what it runs, and end", command_drain},
    {"jobs", "ladle jobs", "list the detached jobs that a broker keeps", command_jobs},
    {"wait", "ladle wait", "wait until a detached job has ended", command_wait},
    {"result", "ladle result", "write the results of a detached job", command_result},
    {"cancel", "ladle cancel", "cancel a detached job", command_cancel},
    {"retry-failed", "ladle retry-failed", "run what failed of a detached job once more",
     command_retry_failed},
    {"help", "ladle help", "explain a command", command_help},
    {"version", "ladle version", "print the version", command_version},
};

enum { NCOMMANDS = sizeof(commands) / sizeof(*commands) };

static const struct command *
find(const char *name)
{
    for (int i = 0; i < NCOMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    fprintf(stderr, "ladle: no command '%s'; `ladle --help` lists them\n", name);
    return NULL;
}

static int
start(const struct command *command, int argc, char **argv)
{
    char title[32];

    snprintf(title, sizeof(title), "%s", command->title);
    argv[0] = title;
    return command->run(argc, argv);
}

static void
usage(FILE *stream)
{
    fprintf(stream, "Usage: ladle COMMAND [OPTION...]\n"
                    "Futures for C, on all cores or on a grid.\n\n");
    for (int i = 0; i < NCOMMANDS; i++)
        fprintf(stream, "  %-12s %s\n", commands[i].name, commands[i].summary);
    fprintf(stream, "\n`ladle help COMMAND` tells more about one of them.\n");
}

static int
command_help(int argc, char **argv)
{
    char help[] = "--help";
    char *arguments[] = {argv[0], help, NULL};
    const struct command *command;

    if (argc < 2 || argv[1][0] == '-') {
        usage(stdout);
        return 0;
    }
    if ((command = find(argv[1])) == NULL)
        return 64;
    if (command->run == command_help || command->run == command_version) {
        printf("Usage: %s%s\n%s\n", command->title,
               command->run == command_help ? " [COMMAND]" : "", command->summary);
        return 0;
    }
    return start(command, 2, arguments);
}

static int
command_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("ladle %s\n", LADLE_VERSION);
    return 0;
}

int
main(int argc, char **argv)
{
    const struct command *command;

    if (argc < 2) {
        usage(stderr);
        return 64;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "-?") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return command_version(argc, argv);
    if ((command = find(argv[1])) == NULL)
        return 64;
    return start(command, argc - 1, argv + 1);
}
