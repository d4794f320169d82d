/* ladle wait: until a detached job has ended. */
#include "../base/clock.h"
#include "command.h"
#include "kept.h"

#include <stdio.h>
#include <time.h>

enum { TIMED_OUT = 124 }; /* as timeout(1) has it */
enum { LEAST_MS = 20, MOST_MS = 1000 };

static long long
fact(const json_t *row, const char *key)
{
    return (long long)json_integer_value(json_object_get(row, key));
}

/* -1: it has not ended. */
static int
verdict(const json_t *row)
{
    long long failed = fact(row, "failed");

    if (!json_is_true(json_object_get(row, "sealed")) ||
        fact(row, "done") + failed < fact(row, "total"))
        return -1;
    if (failed > 0)
        fprintf(stderr, "ladle wait: %lld of %lld tasks did not end well\n", failed,
                fact(row, "total"));
    return failed > 0;
}

int
command_wait(int argc, char **argv)
{
    struct kept_options o = kept_parse(
        argc, argv, KEPT_ID | KEPT_WAIT,
        "Wait until a detached job has ended.\vThe beginning of the ID is enough. The exit status "
        "is 0 if all of its tasks ended well, 1 if not, 124 if it has not ended in time.");
    int64_t deadline = o.wait < 0 ? CLOCK_NEVER : clock_us() + (int64_t)o.wait * 1000;
    long pause = LEAST_MS;
    char text[1024];
    json_t *row;
    int rc = -1;

    while (rc < 0) {
        if ((row = kept_find(&o, text, sizeof(text))) == NULL) {
            fprintf(stderr, "ladle wait: %s\n", text);
            return 1;
        }
        rc = verdict(row);
        if (rc < 0 && clock_us() >= deadline) {
            fprintf(stderr, "ladle wait: %lld of %lld tasks have not ended\n",
                    fact(row, "total") - fact(row, "done") - fact(row, "failed"),
                    fact(row, "total"));
            rc = TIMED_OUT;
        }
        json_decref(row);
        if (rc >= 0)
            break;
        nanosleep(&(struct timespec){pause / 1000, pause % 1000 * 1000000L}, NULL);
        pause = pause * 2 < MOST_MS ? pause * 2 : MOST_MS;
    }
    return rc;
}
