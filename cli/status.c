/* ladle status: what a broker, its workers and its jobs are doing. */
#include "command.h"
#include "report.h"

#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *broker;
    bool json;
    int timeout;
};

enum { JOBS_SHOWN = 100 }; /* oldest first; tasks that wait for others may have one each */
enum { OPTION_JSON = 256, OPTION_TIMEOUT };

static const struct argp_option options[] = {
    {"broker", 'b', "ENDPOINT", 0,
     "tcp://host:port or ipc://path. Default: $LADLE_BROKER, else tcp://127.0.0.1:5570", 0},
    {"json", OPTION_JSON, NULL, 0, "Print one JSON object", 0},
    {"timeout", OPTION_TIMEOUT, "MS", 0, "Wait so long for the answer. Default: 3000", 0},
    {0}};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    char *end;
    long n;

    switch (key) {
    case 'b':
        o->broker = arg;
        return 0;
    case OPTION_JSON:
        o->json = true;
        return 0;
    case OPTION_TIMEOUT:
        n = strtol(arg, &end, 10);
        if (end == arg || *end != '\0' || n < 1 || n > 86400000)
            argp_error(state, "'%s' is no timeout: 1 to 86400000 milliseconds", arg);
        o->timeout = (int)n;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'; the broker is given with --broker", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- tables -------------------------------------------------------------------------------- */

struct column {
    const char *title;
    const char *key;
    bool right;
};

static const struct column worker_columns[] = {
    {"WORKER", "name", false},   {"HOST", "host", false},     {"MACHINE", "machine", false},
    {"SLOTS", "slots", true},    {"BUSY", "busy", true},      {"QUEUED", "queued", true},
    {"PARKED", "parked", true},  {"DONE", "done", true},      {"FAILED", "failed", true},
    {"SEEN", "silent_ms", true}, {"LABELS", "labels", false}, {"", "draining", false},
    {NULL, NULL, false},
};

static const struct column job_columns[] = {
    {"JOB", "job", true},         {"CLIENT", "client", false},    {"FUNCTION", "function", false},
    {"NAME", "name", false},      {"PRIORITY", "priority", true}, {"WAITING", "waiting", true},
    {"RUNNING", "running", true}, {"PARKED", "parked", true},     {"DONE", "done", true},
    {"FAILED", "failed", true},   {"NOTICE", "notice", false},    {NULL, NULL, false},
};

static const char *
cell(const json_t *row, const struct column *c, char *text, size_t size)
{
    const json_t *value = json_object_get(row, c->key);

    if (json_is_string(value))
        return json_string_value(value);
    if (json_is_boolean(value))
        return json_is_true(value) ? c->key : "";
    if (strcmp(c->key, "silent_ms") == 0)
        snprintf(text, size, "%.1f s ago", (double)json_integer_value(value) / 1000);
    else
        snprintf(text, size, "%lld", (long long)json_integer_value(value));
    return text;
}

static void
print_cell(const char *text, const struct column *c, int width)
{
    bool last = c[1].title == NULL;

    if (c->right)
        printf("%*s%s", width, text, last ? "" : "  ");
    else
        printf("%-*s%s", last ? 0 : width, text, last ? "" : "  ");
}

static void
print_table(const json_t *rows, const struct column *columns, size_t most)
{
    size_t count = json_array_size(rows), shown = count <= most ? count : most;
    char text[32];
    int widths[16];

    for (int c = 0; columns[c].title != NULL; c++) {
        widths[c] = (int)strlen(columns[c].title);
        for (size_t i = 0; i < shown; i++) {
            const json_t *row = json_array_get(rows, i);
            int width = (int)strlen(cell(row, &columns[c], text, sizeof(text)));

            if (width > widths[c])
                widths[c] = width;
        }
    }
    putchar('\n');
    for (int c = 0; columns[c].title != NULL; c++)
        print_cell(columns[c].title, &columns[c], widths[c]);
    putchar('\n');
    for (size_t i = 0; i < shown; i++) {
        const json_t *row = json_array_get(rows, i);

        for (int c = 0; columns[c].title != NULL; c++)
            print_cell(cell(row, &columns[c], text, sizeof(text)), &columns[c], widths[c]);
        putchar('\n');
    }
}

static long long
fact(const json_t *report, const char *key)
{
    return (long long)json_integer_value(json_object_get(report, key));
}

static void
print_uptime(long long ms)
{
    long long seconds = ms / 1000;

    if (seconds >= 86400)
        printf("up %lld d %lld h", seconds / 86400, seconds / 3600 % 24);
    else if (seconds >= 3600)
        printf("up %lld h %lld min", seconds / 3600, seconds / 60 % 60);
    else if (seconds >= 60)
        printf("up %lld min %lld s", seconds / 60, seconds % 60);
    else
        printf("up %lld s", seconds);
}

static void
print_tables(const json_t *report)
{
    const json_t *workers = json_object_get(report, "workers");
    const json_t *jobs = json_object_get(report, "jobs");

    printf("broker   %s, %s, ", json_string_value(json_object_get(report, "endpoint")),
           json_string_value(json_object_get(report, "software")));
    print_uptime(fact(report, "uptime_ms"));
    printf("\ngrid     %lld workers, %lld slots, %lld clients, %lld jobs, %.1f MiB held\n",
           fact(report, "workers_connected"), fact(report, "slots"), fact(report, "clients"),
           fact(report, "jobs_open"), (double)fact(report, "bytes_held") / (1 << 20));
    printf("tasks    %lld accepted, %lld done, %lld failed, %lld cancelled\n",
           fact(report, "tasks_accepted"), fact(report, "tasks_done"), fact(report, "tasks_failed"),
           fact(report, "tasks_cancelled"));
    printf("trouble  %lld retries, %lld late results, %lld workers lost, %lld peers cut\n",
           fact(report, "retries"), fact(report, "late_results"), fact(report, "workers_lost"),
           fact(report, "peers_cut"));
    if (json_array_size(workers) > 0)
        print_table(workers, worker_columns, SIZE_MAX);
    else
        printf("\nNo workers. Start one on each node: ladle-worker --broker %s\n",
               json_string_value(json_object_get(report, "endpoint")));
    if (json_array_size(jobs) > 0)
        print_table(jobs, job_columns, JOBS_SHOWN);
    if (json_array_size(jobs) > JOBS_SHOWN)
        printf("and %zu more: --json shows all of them\n", json_array_size(jobs) - JOBS_SHOWN);
}

static int
print(const json_t *report, bool as_json)
{
    if (!as_json) {
        print_tables(report);
    } else {
        json_dumpf(report, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        putchar('\n');
    }
    if (fflush(stdout) != 0) {
        fprintf(stderr, "ladle status: cannot write: %s\n", strerror(errno));
        return 1;
    }
    return 0;
}

int
command_status(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        NULL,
        "Show what a broker, its workers and its jobs are doing.\vThe exit status is 0 if the "
        "broker answered.",
        NULL,
        NULL,
        NULL};
    struct options o = {.broker = getenv("LADLE_BROKER"), .timeout = 3000};
    char why[1024];
    json_t *report;
    int rc;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.broker == NULL || o.broker[0] == '\0')
        o.broker = "tcp://127.0.0.1:5570";
    if ((report = report_fetch(o.broker, o.timeout, why, sizeof(why))) == NULL) {
        fprintf(stderr, "ladle status: %s\n", why);
        return 1;
    }
    rc = print(report, o.json);
    json_decref(report);
    return rc;
}
