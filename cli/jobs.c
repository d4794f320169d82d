/* ladle jobs: the detached jobs that a broker keeps. */
#include "command.h"
#include "kept.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static long long
fact(const json_t *row, const char *key)
{
    return (long long)json_integer_value(json_object_get(row, key));
}

static const char *
state_of(const json_t *row)
{
    long long total = fact(row, "total"), done = fact(row, "done"), failed = fact(row, "failed");

    if (!json_is_true(json_object_get(row, "sealed")))
        return "submitting";
    if (done + failed < total)
        return "open";
    return failed == 0 ? "done" : fact(row, "cancelled") == failed ? "cancelled" : "failed";
}

static void
print_row(const json_t *row)
{
    time_t created = (time_t)fact(row, "created_s");
    const char *notice = json_string_value(json_object_get(row, "notice"));
    const char *name = json_string_value(json_object_get(row, "name"));
    char when[32] = "?";
    struct tm tm;

    if (localtime_r(&created, &tm) != NULL)
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
    printf("%.32s  %-19s  %-10s  %9lld  %9lld  %9lld  %s%s%s%s%s\n",
           json_string_value(json_object_get(row, "id")), when, state_of(row), fact(row, "total"),
           fact(row, "done"), fact(row, "failed"),
           json_string_value(json_object_get(row, "function")), name[0] != '\0' ? " " : "", name,
           notice[0] != '\0' ? ": " : "", notice);
}

static int
print(const json_t *rows, const struct kept_options *o)
{
    const json_t *row;
    size_t i;

    if (o->json) {
        json_dumpf(rows, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        putchar('\n');
    } else if (json_array_size(rows) == 0) {
        printf("The broker at %s keeps no %sjobs.\n", o->broker, o->id != NULL ? "such " : "");
    } else {
        printf("%-32s  %-19s  %-10s  %9s  %9s  %9s  %s\n", "ID", "SUBMITTED", "STATE", "TASKS",
               "DONE", "FAILED", "FUNCTION");
        json_array_foreach(rows, i, row) print_row(row);
    }
    if (fflush(stdout) == 0)
        return 0;
    fprintf(stderr, "ladle jobs: cannot write: %s\n", strerror(errno));
    return 1;
}

int
command_jobs(int argc, char **argv)
{
    struct kept_options o = kept_parse(argc, argv, KEPT_JSON,
                                       "List the detached jobs that a broker keeps; with an ID, or "
                                       "the beginning of one, those that it is of.");
    char text[1024];
    json_t *rows = kept_ask(&o, KEPT_LIST, o.id != NULL ? o.id : "", text, sizeof(text));
    int rc;

    if (rows == NULL) {
        fprintf(stderr, "ladle jobs: %s\n", text);
        return 1;
    }
    rc = print(rows, &o);
    json_decref(rows);
    return rc;
}
