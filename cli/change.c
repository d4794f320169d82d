/* ladle cancel, ladle retry-failed: of detached jobs. */
#include "command.h"
#include "kept.h"

#include <stdio.h>

static int
change(const struct kept_options *o, enum kept_action action, const char *title)
{
    char text[1024];
    json_t *rows = kept_ask(o, action, o->id, text, sizeof(text));

    if (rows == NULL) {
        fprintf(stderr, "%s: %s\n", title, text);
        return 1;
    }
    printf("%s%s%s\n", json_string_value(json_object_get(json_array_get(rows, 0), "id")),
           text[0] != '\0' ? ": " : "", text);
    json_decref(rows);
    return 0;
}

int
command_cancel(int argc, char **argv)
{
    struct kept_options o = kept_parse(argc, argv, KEPT_ID,
                                       "Cancel a detached job: what has not ended never will, and "
                                       "what runs is stopped.\vThe beginning of the ID is enough. "
                                       "Results that are there stay.");

    return change(&o, KEPT_CANCEL, "ladle cancel");
}

int
command_retry_failed(int argc, char **argv)
{
    struct kept_options o =
        kept_parse(argc, argv, KEPT_ID,
                   "Run the tasks of a detached job that failed, crashed, timed out or were lost "
                   "once more.\vThe beginning of the ID is enough. The job must have ended.");

    return change(&o, KEPT_RETRY, "ladle retry-failed");
}
