/* A client for the system tests: tasks DIRECTORY COMMAND [ARGUMENT...]
 *
 *     map COUNT MS         squares of 0 .. COUNT-1, each after MS milliseconds; says "right COUNT"
 *     counted COUNT MS     the same; each run appends its task's index, 8 bytes, to DIRECTORY/runs
 *     once COUNT MS        counted, and none may run twice; says "done N lost N"
 *     fan COUNT MS         one task that has `counted` run so many tasks; says "right COUNT"
 *     call FUNCTION X      one task; says its result, or its error on standard error
 *     each FUNCTION COUNT  a map; says each result, or its error, on a line
 *     slots N              waits until the grid has N slots; says so
 *
 * Each task leaves a file DIRECTORY/task-PID-INDEX-ATTEMPT, so that a test knows whom to kill.
 */
#include <ladle.h>

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct order {
    uint64_t x;
    uint32_t ms;
    uint32_t reserved;
};

static const char *directory;

static void
leave_trace(task_t *task)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/task-%d-%llu-%d", directory, (int)getpid(),
             (unsigned long long)task_index(task), task_attempt(task));
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int
square(task_t *task)
{
    struct order order;

    if (task_read(task, &order, sizeof(order)) != 0)
        return task_fail(task, "no order");
    if (order.ms > 0) {
        leave_trace(task);
        usleep(order.ms * 1000);
    }
    order.x *= order.x;
    return task_return(task, &order.x, sizeof(order.x));
}
TASK(square)

static int
counted(task_t *task)
{
    char path[PATH_MAX];
    uint64_t index = task_index(task);
    int fd;

    snprintf(path, sizeof(path), "%s/runs", directory);
    if ((fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0 ||
        write(fd, &index, sizeof(index)) != sizeof(index))
        return task_fail(task, "cannot write to %s", path);
    close(fd);
    return square(task);
}
TASK(counted)

/* Its input is how many tasks, and how long each takes. */
static int
fan(task_t *task)
{
    uint64_t outputs[4096] = {0}, sum = 0;
    struct order order, inputs[4096];
    results_t *results;

    if (task_read(task, &order, sizeof(order)) != 0 || order.x > 4096)
        return -1;
    for (uint64_t i = 0; i < order.x; i++)
        inputs[i] = (struct order){.x = i, .ms = order.ms};
    results = futures_map(task_futures(task), "counted", inputs, order.x, sizeof(*inputs), NULL);
    if (results == NULL || results_collect(&results, outputs, sizeof(*outputs)) != 0)
        return task_fail(task, "%s", futures_error());
    for (uint64_t i = 0; i < order.x; i++)
        sum += outputs[i] == i * i;
    results_destroy(&results);
    return task_return(task, &sum, sizeof(sum));
}
TASK(fan)

static void
crash(void)
{
    signal(SIGSEGV, SIG_DFL); /* sanitizers have a handler */
    raise(SIGSEGV);
}

/* Dies the first time. */
static int
fragile(task_t *task)
{
    leave_trace(task);
    if (task_attempt(task) == 1)
        crash();
    return square(task);
}
TASK(fragile)

static int
poison(task_t *task)
{
    leave_trace(task);
    crash();
    return -1;
}
TASK(poison)

/* Every third is poison. */
static int
mixed(task_t *task)
{
    if (task_index(task) % 3 == 2)
        return poison(task);
    return square(task);
}
TASK(mixed)

static int
endless(task_t *task)
{
    leave_trace(task);
    while (pause() != 0)
        continue;
    return -1;
}
TASK(endless)

static int
sour(task_t *task)
{
    return task_fail(task, "the milk is %s", "sour");
}
TASK(sour)

static int
chatty(task_t *task)
{
    printf("hello from a task\n");
    fflush(stdout);
    return square(task);
}
TASK(chatty)

static int
complain(void)
{
    fprintf(stderr, "%s\n", futures_error());
    return 1;
}

static struct order *
orders(size_t count, uint32_t ms)
{
    struct order *list = calloc(count, sizeof(*list));

    for (size_t i = 0; list != NULL && i < count; i++)
        list[i] = (struct order){.x = i, .ms = ms};
    return list;
}

static int
map(futures_t *futures, const char *function, size_t count, uint32_t ms)
{
    struct order *inputs = orders(count, ms);
    uint64_t *outputs = calloc(count, sizeof(*outputs));
    results_t *results = futures_map(futures, function, inputs, count, sizeof(*inputs), NULL);
    int rc = 0;

    if (results == NULL || results_collect(&results, outputs, sizeof(*outputs)) != 0)
        rc = complain();
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (outputs[i] != (uint64_t)i * i) {
            printf("wrong: %zu\n", i);
            rc = 1;
        }
    }
    if (rc == 0)
        printf("right %zu\n", count);
    free(inputs);
    free(outputs);
    return rc;
}

static int
once(futures_t *futures, size_t count, uint32_t ms)
{
    struct order *inputs = orders(count, ms);
    results_t *results = futures_map(futures, "counted", inputs, count, sizeof(*inputs),
                                     &(task_options_t){.once = true});
    size_t done = 0, lost = 0;

    if (results == NULL)
        return complain();
    while (results_next(results, NULL) != NULL || !results_at_end(results)) {
        done += results_status(results) == FUTURE_DONE;
        lost += results_status(results) == FUTURE_LOST;
    }
    printf("done %zu lost %zu\n", done, lost);
    results_destroy(&results);
    free(inputs);
    return 0;
}

static int
fan_out(futures_t *futures, uint64_t count, uint32_t ms)
{
    struct order order = {.x = count, .ms = ms};
    uint64_t *right = NULL;
    size_t size;

    if (futures_call(futures, "fan", &order, sizeof(order), (void **)&right, &size, NULL) != 0)
        return complain();
    printf("right %llu\n", (unsigned long long)*right);
    free(right);
    return 0;
}

static int
call(futures_t *futures, const char *function, uint64_t x)
{
    struct order order = {.x = x};
    void *result = NULL;
    size_t size = 0;

    if (futures_call(futures, function, &order, sizeof(order), &result, &size, NULL) != 0)
        return complain();
    if (size == sizeof(x)) {
        memcpy(&x, result, sizeof(x));
        printf("result %llu\n", (unsigned long long)x);
    }
    free(result);
    return 0;
}

static int
each(futures_t *futures, const char *function, size_t count)
{
    struct order *inputs = orders(count, 0);
    results_t *results = futures_map(futures, function, inputs, count, sizeof(*inputs), NULL);
    const uint64_t *result;

    if (results == NULL)
        return complain();
    for (;;) {
        result = results_next(results, NULL);
        if (results_at_end(results))
            break;
        if (result != NULL)
            printf("%llu: %llu\n", (unsigned long long)results_index(results),
                   (unsigned long long)*result);
        else
            printf("%llu: %s\n", (unsigned long long)results_index(results),
                   results_error(results));
    }
    printf("end\n");
    results_destroy(&results);
    free(inputs);
    return 0;
}

static int
slots(futures_t *futures, int count)
{
    if (futures_wait_for_slots(futures, count, -1) != 0)
        return complain();
    printf("slots %d\n", futures_slots(futures));
    return 0;
}

int
main(int argc, char **argv)
{
    futures_config_t config = {.connect_timeout = 3000};
    futures_t *futures;
    int rc = 2;

    if (argc < 4)
        return 64;
    directory = argv[1];
    if ((futures = futures_open(&config)) == NULL)
        return complain();
    if (strcmp(argv[2], "map") == 0 && argc == 5)
        rc = map(futures, "square", strtoul(argv[3], NULL, 10),
                 (uint32_t)strtoul(argv[4], NULL, 10));
    else if (strcmp(argv[2], "counted") == 0 && argc == 5)
        rc = map(futures, "counted", strtoul(argv[3], NULL, 10),
                 (uint32_t)strtoul(argv[4], NULL, 10));
    else if (strcmp(argv[2], "once") == 0 && argc == 5)
        rc = once(futures, strtoul(argv[3], NULL, 10), (uint32_t)strtoul(argv[4], NULL, 10));
    else if (strcmp(argv[2], "fan") == 0 && argc == 5)
        rc = fan_out(futures, strtoul(argv[3], NULL, 10), (uint32_t)strtoul(argv[4], NULL, 10));
    else if (strcmp(argv[2], "call") == 0 && argc == 5)
        rc = call(futures, argv[3], strtoul(argv[4], NULL, 10));
    else if (strcmp(argv[2], "each") == 0 && argc == 5)
        rc = each(futures, argv[3], strtoul(argv[4], NULL, 10));
    else if (strcmp(argv[2], "slots") == 0)
        rc = slots(futures, atoi(argv[3]));
    futures_destroy(&futures);
    return rc;
}
