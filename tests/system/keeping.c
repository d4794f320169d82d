#include "keeping.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int
square(task_t *task)
{
    long x;

    if (task_read(task, &x, sizeof(x)) != 0)
        return -1;
    x *= x;
    return task_return(task, &x, sizeof(x));
}
TASK(square)

/* Fails while the file that is its input is there. */
static int
blocked(task_t *task)
{
    const char *path = task_input(task);

    return access(path, F_OK) == 0 ? task_fail(task, "%s is in the way", path)
                                   : task_return(task, "well", 4);
}
TASK(blocked)

/* Ends when the file that is its input is gone. */
static int
gate(task_t *task)
{
    const char *path = task_input(task);

    while (access(path, F_OK) == 0 && !task_cancelled(task))
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    return task_return(task, "open", 4);
}
TASK(gate)

static char used[32];

void
store_use(const char *name)
{
    snprintf(used, sizeof(used), "%s", name);
}

const char *
store_endpoint(void)
{
    static char endpoint[PATH_MAX];
    char name[64];

    snprintf(name, sizeof(name), "broker%s", used);
    snprintf(endpoint, sizeof(endpoint), "ipc://%s", harness_path(name));
    return endpoint;
}

const char *
store_directory(void)
{
    static char path[PATH_MAX];
    char name[64];

    snprintf(name, sizeof(name), "store%s", used);
    snprintf(path, sizeof(path), "%s", harness_memory(name));
    return path;
}

struct process *
store_broker_begin(const char *const *arguments, const char *const *variables)
{
    const char *argv[20] = {harness_binary("ladle-broker"), "--bind", store_endpoint(), "--store",
                            store_directory()};

    for (int i = 0; arguments != NULL && arguments[i] != NULL; i++)
        argv[5 + i] = arguments[i];
    return process_start(argv, variables);
}

void
store_broker_ready(struct process *p)
{
    await(process_ended(p) || strstr(process_output(p), ": ready") != NULL, SOON);
    if (process_ended(p))
        print_error("%s\n", process_errors(p));
    assert_false(process_ended(p));
}

struct process *
store_broker(const char *const *arguments)
{
    struct process *p = store_broker_begin(arguments, NULL);

    store_broker_ready(p);
    return p;
}

futures_t *
store_session(void)
{
    futures_t *f = futures_open(
        &(futures_config_t){.endpoint = store_endpoint(), .quiet = true, .connect_timeout = SOON});

    if (f == NULL)
        print_error("%s\n", futures_error());
    assert_non_null(f);
    return f;
}

void
submit_squares(futures_t *f, long count, char id[33])
{
    long *inputs = malloc((size_t)(count + 1) * sizeof(*inputs));
    const char *told;
    results_t *r;

    assert_non_null(inputs);
    for (long i = 0; i < count; i++)
        inputs[i] = i;
    r = futures_map(f, "square", inputs, (size_t)count, sizeof(*inputs),
                    &(task_options_t){.detached = true});
    free(inputs);
    if (r == NULL || (told = results_job(r)) == NULL)
        fail_msg("%s", futures_error());
    snprintf(id, 33, "%s", told);
    results_destroy(&r);
}

void
assert_squares(futures_t *f, const char *id, long count)
{
    results_t *r = futures_attach(f, id, &(task_options_t){.as_completed = true});
    bool *seen = calloc((size_t)count + 1, sizeof(*seen));
    long n = 0;

    if (r == NULL)
        print_error("%s\n", futures_error());
    assert_non_null(r);
    assert_non_null(seen);
    for (;; n++) {
        const long *x = results_next_within(r, NULL, 3 * SOON);
        long i = (long)results_index(r);

        if (x == NULL && !results_at_end(r))
            fail_msg("task %ld: %s", n, futures_error());
        if (x == NULL)
            break;
        assert_true(i < count && !seen[i]);
        assert_int_equal(*x, i * i);
        seen[i] = true;
    }
    assert_int_equal(n, count);
    free(seen);
    results_destroy(&r);
}

/* What `ladle jobs --json ID` says; NULL. */
static json_t *
rows_of(const char *id)
{
    char command[PATH_MAX + 512];
    json_t *rows;
    FILE *pipe;

    snprintf(command, sizeof(command), "exec %s jobs --json --broker %s %s 2>/dev/null",
             harness_binary("ladle"), store_endpoint(), id);
    if ((pipe = popen(command, "re")) == NULL)
        return NULL;
    rows = json_loadf(pipe, 0, NULL);
    pclose(pipe);
    return rows;
}

long long
job_number(const char *id, const char *key)
{
    json_t *rows = rows_of(id), *value = json_object_get(json_array_get(rows, 0), key);
    long long n = json_is_integer(value) ? (long long)json_integer_value(value) : -1;

    json_decref(rows);
    return n;
}

int
jobs_ended(char (*ids)[33], int count, long tasks)
{
    json_t *rows = rows_of(""), *row;
    size_t at;
    int n = 0;

    json_array_foreach(rows, at, row)
    {
        const char *id = json_string_value(json_object_get(row, "id"));

        for (int i = 0; id != NULL && i < count; i++)
            n += strcmp(ids[i], id) == 0 &&
                 json_integer_value(json_object_get(row, "total")) == tasks &&
                 json_integer_value(json_object_get(row, "done")) == tasks &&
                 json_integer_value(json_object_get(row, "failed")) == 0;
    }
    json_decref(rows);
    return n;
}

int
ladle_run(const char *output[2], const char *const *arguments)
{
    static char texts[2][65536];
    const char *argv[20] = {harness_binary("ladle")};
    struct process *p;
    int n = 1, rc;

    for (; arguments[n - 1] != NULL; n++)
        argv[n] = arguments[n - 1];
    argv[n++] = "--broker";
    argv[n] = store_endpoint();
    p = process_start(argv, NULL);
    rc = process_await(p, 3 * SOON);
    snprintf(texts[0], sizeof(texts[0]), "%s", process_output(p));
    snprintf(texts[1], sizeof(texts[1]), "%s", process_errors(p));
    output[0] = texts[0];
    output[1] = texts[1];
    return rc;
}
