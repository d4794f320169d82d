/* ladle result: what a detached job came to. */
#include "../client/ladle.h"
#include "command.h"
#include "kept.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Results one after the other, in the order of the inputs. */
static int
write_results(results_t *results, const struct kept_options *o, FILE *to)
{
    const void *data;
    size_t size;
    int failed = 0;
    bool found = false;

    while (!found && ((data = results_next(results, &size)) != NULL || !results_at_end(results))) {
        if (o->index >= 0 && results_index(results) != (uint64_t)o->index)
            continue;
        found = o->index >= 0;
        if (data == NULL) {
            fprintf(stderr, "ladle result: %s\n", futures_error());
            failed = 1;
        } else if (fwrite(data, 1, size, to) != size) {
            fprintf(stderr, "ladle result: cannot write: %s\n", strerror(errno));
            return 1;
        }
    }
    if (o->index >= 0 && !found) {
        fprintf(stderr, "ladle result: the job has no task %lld\n", (long long)o->index);
        failed = 1;
    }
    return failed;
}

static int
fetch(const struct kept_options *o, const char *id)
{
    futures_t *futures = futures_open(
        &(futures_config_t){.endpoint = o->broker, .connect_timeout = o->timeout, .quiet = true});
    results_t *results = futures == NULL ? NULL : futures_attach(futures, id, NULL);
    FILE *to = stdout;
    int rc = 1;

    if (results == NULL)
        fprintf(stderr, "ladle result: %s\n", futures_error());
    else if (o->output != NULL && (to = fopen(o->output, "we")) == NULL)
        fprintf(stderr, "ladle result: cannot write %s: %s\n", o->output, strerror(errno));
    else
        rc = write_results(results, o, to);
    if (to != NULL && (to == stdout ? fflush(to) : fclose(to)) != 0) {
        fprintf(stderr, "ladle result: cannot write: %s\n", strerror(errno));
        rc = 1;
    }
    results_destroy(&results);
    futures_destroy(&futures);
    return rc;
}

int
command_result(int argc, char **argv)
{
    struct kept_options o = kept_parse(
        argc, argv, KEPT_ID | KEPT_INDEX | KEPT_OUTPUT,
        "Write the results of a detached job, one after the other in the order of the inputs, "
        "bytes as the tasks returned them; wait for those that have not ended.\vThe beginning of "
        "the ID is enough. What went wrong with a task is said on standard error. The exit status "
        "is 0 if all that was asked for ended well.");
    char text[1024];
    json_t *row = kept_find(&o, text, sizeof(text));
    int rc;

    if (row == NULL) {
        fprintf(stderr, "ladle result: %s\n", text);
        return 1;
    }
    rc = fetch(&o, json_string_value(json_object_get(row, "id")));
    json_decref(row);
    return rc;
}
