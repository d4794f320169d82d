/* sweep.c - one command line, many parameters: a task runs anything that a shell can run.
 *
 *     sweep 'gzip -{} < data | wc -c' 1 2 3 4 5 6 7 8 9
 *
 * Prints the output of all, in the order of the parameters. One that fails costs its own line only.
 */
#include "options.h"

#include <ladle.h>
#include <sys/wait.h>

static uint64_t timeout; /* s; 0: none */
static bool tell_status;

static const struct option_row option_rows[] = {
    {'t', "timeout", "SECONDS", "Stop a command that runs longer", .number = &timeout, 1, 1000000},
    {'s', "status", NULL, "Tell every exit status, also 0", .flag = &tell_status},
    {0},
};
static const struct command command = {
    "sweep", "COMMAND PARAMETER...",
    "Run COMMAND in a shell for each PARAMETER, with {} replaced by it, and print all output in\n"
    "order. On a grid, COMMAND runs in an empty directory of a worker.",
    option_rows};

/* ---- the task: a command line in, its wait status and its output out ------------------------- */

static char *
read_all(FILE *stream, size_t *size_p)
{
    char buffer[65536], *all = NULL;
    FILE *out = open_memstream(&all, size_p);
    size_t n;

    while (out != NULL && (n = fread(buffer, 1, sizeof(buffer), stream)) > 0)
        fwrite(buffer, 1, n, out);
    if (out != NULL && fclose(out) == 0)
        return all;
    free(all);
    return NULL;
}

static int
run_command(task_t *task)
{
    const char *line = task_input(task);
    size_t length = task_input_size(task), size = 0;
    char *output, *result;
    FILE *stream;
    int status;

    if (length == 0 || line[length - 1] != '\0')
        return task_fail(task, "expected a command line");
    if ((stream = popen(line, "r")) == NULL)
        return task_fail(task, "cannot start a shell");
    output = read_all(stream, &size);
    status = pclose(stream);
    if (output == NULL || (result = task_output(task, sizeof(status) + size)) == NULL) {
        free(output);
        return task_fail(task, "no room for %zu bytes of output", size);
    }
    memcpy(result, &status, sizeof(status));
    memcpy(result + sizeof(status), output, size);
    free(output);
    return 0;
}
TASK(run_command)

/* ---- the client ------------------------------------------------------------------------------ */

/* The line with every {} replaced, in memory that belongs to the caller. */
static char *
fill_in(const char *line, const char *parameter)
{
    char *filled = NULL;
    size_t size;
    FILE *out = open_memstream(&filled, &size);

    for (const char *hole; out != NULL && (hole = strstr(line, "{}")) != NULL; line = hole + 2)
        fprintf(out, "%.*s%s", (int)(hole - line), line, parameter);
    if (out == NULL || fputs(line, out) == EOF || fclose(out) != 0) {
        perror("sweep");
        exit(1);
    }
    return filled;
}

/* Returns 0 if the command ended well. */
static int
show(const char *parameter, const char *result, size_t size)
{
    int status;

    if (size < sizeof(status))
        return -1;
    memcpy(&status, result, sizeof(status));
    fwrite(result + sizeof(status), 1, size - sizeof(status), stdout);
    fflush(stdout);
    if (WIFSIGNALED(status))
        fprintf(stderr, "sweep: %s: killed by signal %d (%s)\n", parameter, WTERMSIG(status),
                strsignal(WTERMSIG(status)));
    else if (tell_status || status != 0)
        fprintf(stderr, "sweep: %s: exit status %d\n", parameter, WEXITSTATUS(status));
    return status == 0 ? 0 : -1;
}

static int
run(futures_t *futures, const char *line, char **parameters, size_t count)
{
    struct iovec *inputs = calloc(count, sizeof(*inputs));
    results_t *results;
    int failed = 0;

    if (inputs == NULL) {
        perror("sweep");
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        inputs[i].iov_base = fill_in(line, parameters[i]);
        inputs[i].iov_len = strlen(inputs[i].iov_base) + 1;
    }
    results = futures_mapv(futures, "run_command", inputs, count,
                           &(task_options_t){.name = "sweep", .timeout = (int)timeout * 1000});
    if (results == NULL) {
        fprintf(stderr, "sweep: %s\n", futures_error());
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const char *result = results_next(results, &size);

        if (result == NULL)
            fprintf(stderr, "sweep: %s: %s\n", parameters[i], results_error(results));
        if (result == NULL || show(parameters[i], result, size) != 0)
            failed++;
    }
    results_destroy(&results);
    for (size_t i = 0; i < count; i++)
        free(inputs[i].iov_base);
    free(inputs);
    return failed == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
    int argument = options_parse(&command, argc, argv), status;
    futures_t *futures;

    if (argument == argc)
        options_fail(&command, "which command?");
    if (strstr(argv[argument], "{}") == NULL)
        options_fail(&command, "no {} in '%s': where does the parameter belong?", argv[argument]);
    if (argument + 1 == argc)
        options_fail(&command, "which parameters?");
    if ((futures = futures_new(NULL)) == NULL) {
        fprintf(stderr, "sweep: %s\n", futures_error());
        return 1;
    }
    status = run(futures, argv[argument], argv + argument + 1, (size_t)(argc - argument - 1));
    futures_destroy(&futures);
    return status;
}
