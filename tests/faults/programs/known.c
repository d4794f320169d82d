/* A client whose results are known: known DIRECTORY COMMAND [NAME=VALUE...]
 *
 *     submit   a future for each task; waits for one after the other
 *     map      one map of all
 *
 *     count=N    tasks (1), with ids from base=N (0) on
 *     ms=N       each runs so long; again=N: second and later attempts do (as the first one)
 *     input=N    bytes of each input beside the order; size=N: of each result (32)
 *     wait=N     ms that a wait may take before it says "late" and waits on (submit)
 *     quiet=1    tasks do not log what they do
 *     hold=1     does not read results before there is a file DIRECTORY/read (map), or
 *                does not leave before that (submit)
 *     retries=N deadline=N timeout=N needs=WORDS lost=N   as in task_options_t, futures_config_t
 *
 * What a task gives back is a function of all bytes of its input; the client knows it, too. Client
 * and tasks append what they do to DIRECTORY/history, a line with one write() each:
 *
 *     MS PID WORD ID ATTEMPT TEXT
 *
 * WORD is begin or end in a task; in the client invoke, then one of ok, wrong, fail, refused and
 * before these any number of late.
 */
#include <ladle.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct order {
    uint64_t id;
    uint32_t ms, again;
    uint32_t size;  /* of the result */
    uint32_t quiet; /* and whatever else follows, up to the end of the input */
};

static const char *directory;
static char **settings;

static long
setting(const char *name, long otherwise)
{
    size_t length = strlen(name);

    for (char **s = settings; *s != NULL; s++)
        if (strncmp(*s, name, length) == 0 && (*s)[length] == '=')
            return strtol(*s + length + 1, NULL, 10);
    return otherwise;
}

static const char *
words(const char *name)
{
    size_t length = strlen(name);

    for (char **s = settings; *s != NULL; s++)
        if (strncmp(*s, name, length) == 0 && (*s)[length] == '=')
            return *s + length + 1;
    return NULL;
}

static void
say(const char *word, uint64_t id, int attempt, const char *text)
{
    char path[PATH_MAX], line[1024];
    struct timespec t;
    int fd, n;

    clock_gettime(CLOCK_MONOTONIC, &t);
    n = snprintf(line, sizeof(line), "%lld %d %s %llu %d %.700s",
                 (long long)t.tv_sec * 1000 + t.tv_nsec / 1000000, (int)getpid(), word,
                 (unsigned long long)id, attempt, text);
    for (int i = 0; i < n; i++)
        if (line[i] == '\n')
            line[i] = ' ';
    line[n++] = '\n';
    snprintf(path, sizeof(path), "%s/history", directory);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, (size_t)n) != n) {
        fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
        _exit(1);
    }
    close(fd);
}

/* ---- what is known ----------------------------------------------------------------------------
 */

static uint64_t
next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static uint64_t
digest(const unsigned char *bytes, size_t size)
{
    uint64_t h = 0xcbf29ce484222325;

    for (size_t i = 0; i < size; i++)
        h = (h ^ bytes[i]) * 0x100000001b3;
    return h;
}

static void
answer(const void *input, size_t input_size, unsigned char *result, size_t size)
{
    uint64_t state = digest(input, input_size);

    for (size_t at = 0; at < size; at += sizeof(state)) {
        uint64_t word = next(&state);

        memcpy(result + at, &word, size - at < sizeof(word) ? size - at : sizeof(word));
    }
}

static int
known(task_t *task)
{
    const struct order *order = task_input(task);
    uint32_t ms;

    if (task_input_size(task) < sizeof(*order))
        return task_fail(task, "no order");
    if (!order->quiet)
        say("begin", order->id, task_attempt(task), task_worker(task));
    if ((ms = task_attempt(task) > 1 ? order->again : order->ms) > 0)
        usleep(ms * 1000);
    answer(order, task_input_size(task), task_output(task, order->size), order->size);
    if (!order->quiet)
        say("end", order->id, task_attempt(task), task_worker(task));
    return 0;
}
TASK(known)

/* ---- the client -------------------------------------------------------------------------------
 */

static size_t input_size, count;
static uint64_t base;
static unsigned char *inputs;
static bool quiet;

static int
make_inputs(void)
{
    struct order order = {.ms = (uint32_t)setting("ms", 0), .size = (uint32_t)setting("size", 32)};

    order.again = (uint32_t)setting("again", (long)order.ms);
    order.quiet = quiet = setting("quiet", 0);
    count = (size_t)setting("count", 1);
    base = (uint64_t)setting("base", 0);
    input_size = sizeof(order) + ((size_t)setting("input", 0) & ~7ul);
    if ((inputs = calloc(count, input_size)) == NULL)
        return -1;
    for (size_t i = 0; i < count; i++) {
        unsigned char *input = inputs + i * input_size;

        order.id = base + i;
        answer(&order, sizeof(order), input, input_size);
        memcpy(input, &order, sizeof(order));
    }
    return 0;
}

static bool
is_right(size_t i, const void *result, size_t size)
{
    unsigned char *right = malloc(size + 1);
    bool same = size == (size_t)setting("size", 32) && right != NULL;

    if (same) {
        answer(inputs + i * input_size, input_size, right, size);
        same = memcmp(right, result, size) == 0;
    }
    free(right);
    return same;
}

static int
conclude(size_t i, const void *result, size_t size, int attempts, const char *status,
         const char *error)
{
    char text[1024];

    if (result != NULL) {
        bool right = is_right(i, result, size);

        if (!quiet || !right)
            say(right ? "ok" : "wrong", base + i, attempts, "");
        return !right;
    }
    snprintf(text, sizeof(text), "%s %s", status, error);
    say("fail", base + i, attempts, text);
    return 1;
}

static task_options_t
options(void)
{
    return (task_options_t){.retries = (int)setting("retries", 0),
                            .deadline = (int)setting("deadline", 0),
                            .timeout = (int)setting("timeout", 0),
                            .needs = words("needs"),
                            .as_completed = true};
}

static void
hold(void)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/read", directory);
    while (setting("hold", 0) && access(path, F_OK) != 0)
        usleep(10000);
}

static int
submit(futures_t *futures)
{
    task_options_t o = options();
    future_t **left = calloc(count, sizeof(future_t *)), **all = calloc(count, sizeof(future_t *));
    size_t nleft = 0, i;
    int rc = 0;

    for (i = 0; i < count; i++) {
        say("invoke", base + i, 0, "");
        all[i] = futures_submit(futures, "known", inputs + i * input_size, input_size, &o);
        if (all[i] != NULL)
            left[nleft++] = all[i];
        else
            say("refused", base + i, 0, futures_error());
    }
    while (nleft > 0) {
        future_t *f = futures_next(left, &nleft, (int)setting("wait", -1));
        const void *result;
        size_t size = 0;

        if (f == NULL) {
            say("late", base, 0, strerror(errno));
            continue;
        }
        for (i = 0; all[i] != f; i++)
            continue;
        result = future_result(f, &size);
        rc |= conclude(i, result, size, future_attempts(f), future_status_name(future_status(f)),
                       result == NULL ? future_error(f) : "");
        future_destroy(&f);
    }
    hold();
    free(left);
    free(all);
    return rc;
}

static int
map(futures_t *futures)
{
    task_options_t o = options();
    results_t *results = futures_map(futures, "known", inputs, count, input_size, &o);
    size_t good = 0;

    if (results == NULL) {
        fprintf(stderr, "%s\n", futures_error());
        return 1;
    }
    for (size_t i = 0; !quiet && i < count; i++)
        say("invoke", base + i, 0, "");
    printf("mapped\n");
    fflush(stdout);
    hold();
    for (;;) {
        size_t size = 0;
        const void *result = results_next(results, &size);

        if (results_at_end(results))
            break;
        good += conclude(results_index(results), result, size, 0,
                         future_status_name(results_status(results)),
                         result == NULL ? results_error(results) : "") == 0;
    }
    results_destroy(&results);
    printf("right %zu of %zu\n", good, count);
    return good == count ? 0 : 1;
}

int
main(int argc, char **argv)
{
    futures_config_t config = {.connect_timeout = 5000};
    futures_t *futures;
    int rc;

    if (argc < 3)
        return 64;
    directory = argv[1];
    settings = argv + 3;
    config.lost_timeout = (int)setting("lost", 0);
    if ((futures = futures_open(&config)) == NULL) {
        fprintf(stderr, "%s\n", futures_error());
        return 1;
    }
    if (make_inputs() != 0)
        return 1;
    rc = strcmp(argv[2], "map") == 0 ? map(futures) : submit(futures);
    free(inputs);
    futures_destroy(&futures);
    return rc;
}
