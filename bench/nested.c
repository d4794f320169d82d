/* nested.c - tasks that spawn tasks: the figures of ladle-bench tree, fibonacci and parked. */
#include "nested.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "peers/measure.h"

static void __attribute__((noreturn)) give_up(const char *what)
{
    fprintf(stderr, "ladle-bench: %s: %s\n", what, futures_error());
    exit(1);
}

/* ---- task functions ---------------------------------------------------------------------------
 */

struct node {
    uint32_t depth, fan;
};

/* SCOOP's full_tree: each node maps over its children; the result is how many nodes there were. */
static int
grow(task_t *task)
{
    struct node node, child;
    struct node children[64];
    uint64_t sum = 1, counts[64];
    results_t *results;

    if (task_read(task, &node, sizeof(node)) != 0 || node.fan > 64)
        return task_fail(task, "expected a node with up to 64 children");
    if (node.depth == 0)
        return task_return(task, &sum, sizeof(sum));
    child = (struct node){node.depth - 1, node.fan};
    for (uint32_t i = 0; i < node.fan; i++)
        children[i] = child;
    results = futures_map(task_futures(task), "grow", children, node.fan, sizeof(child), NULL);
    if (results == NULL || results_collect(&results, counts, sizeof(*counts)) != 0)
        return task_fail(task, "%s", futures_error());
    for (uint32_t i = 0; i < node.fan; i++)
        sum += counts[i];
    return task_return(task, &sum, sizeof(sum));
}
TASK(grow)

/* Naive recursion: each call is a task. The result counts the calls, too. */
struct fibonacci {
    uint64_t value, calls;
};

static int
fibonacci(task_t *task)
{
    struct fibonacci mine = {.calls = 1};
    future_t *futures[2];
    uint32_t n;

    if (task_read(task, &n, sizeof(n)) != 0)
        return task_fail(task, "expected a number");
    if (n < 2) {
        mine.value = n;
        return task_return(task, &mine, sizeof(mine));
    }
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t smaller = n - 1 - i;

        futures[i] =
            futures_submit(task_futures(task), "fibonacci", &smaller, sizeof(smaller), NULL);
        if (futures[i] == NULL)
            return task_fail(task, "%s", futures_error());
    }
    for (int i = 0; i < 2; i++) {
        const struct fibonacci *part = future_result(futures[i], NULL);

        if (part == NULL)
            return task_fail(task, "%s", future_error(futures[i]));
        mine.value += part->value;
        mine.calls += part->calls;
    }
    future_destroy(&futures[0]);
    future_destroy(&futures[1]);
    return task_return(task, &mine, sizeof(mine));
}
TASK(fibonacci)

static double
resident(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double kib = NAN;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "VmRSS: %lf kB", &kib) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return kib / 1024;
}

/* Each waits for the next: when the last one runs, all others are parked. It tells the memory. */
static int
descend(task_t *task)
{
    future_t *next;
    const double *found;
    double mib;
    uint32_t left;

    if (task_read(task, &left, sizeof(left)) != 0)
        return task_fail(task, "expected a number");
    if (left == 0) {
        mib = resident();
        return task_return(task, &mib, sizeof(mib));
    }
    left--;
    next = futures_submit(task_futures(task), "descend", &left, sizeof(left), NULL);
    if (next == NULL || (found = future_result(next, NULL)) == NULL)
        return task_fail(task, "%s", next == NULL ? futures_error() : future_error(next));
    mib = *found;
    future_destroy(&next);
    return task_return(task, &mib, sizeof(mib));
}
TASK(descend)

/* ---- figures ----------------------------------------------------------------------------------
 */

static void *
call(futures_t *futures, const char *function, const void *input, size_t size, double *seconds_p)
{
    double start = seconds_now();
    void *result;

    if (futures_call(futures, function, input, size, &result, NULL, NULL) != 0)
        give_up(function);
    *seconds_p = seconds_now() - start;
    return result;
}

void
measure_tree(futures_t *futures, uint32_t depth, uint32_t fan)
{
    struct node root = {depth, fan};
    uint64_t expected = 0, width = 1, *nodes;
    double seconds;

    for (uint32_t i = 0; i <= depth; i++, width *= fan)
        expected += width;
    nodes = call(futures, "grow", &root, sizeof(root), &seconds);
    if (*nodes != expected) {
        fprintf(stderr, "ladle-bench: %llu nodes, expected %llu\n", (unsigned long long)*nodes,
                (unsigned long long)expected);
        exit(1);
    }
    tell("tasks", (double)*nodes);
    tell("rate", (double)*nodes / seconds);
    free(nodes);
}

void
measure_fibonacci(futures_t *futures, uint32_t n)
{
    uint64_t a = 0, b = 1, next;
    struct fibonacci *root;
    double seconds;

    for (uint32_t i = 0; i < n; i++, a = b, b = next)
        next = a + b;
    root = call(futures, "fibonacci", &n, sizeof(n), &seconds);
    if (root->value != a) {
        fprintf(stderr, "ladle-bench: fibonacci(%u) is %llu, not %llu\n", n, (unsigned long long)a,
                (unsigned long long)root->value);
        exit(1);
    }
    tell("tasks", (double)root->calls);
    tell("rate", (double)root->calls / seconds);
    free(root);
}

void
measure_parked(futures_t *futures, uint32_t count)
{
    double seconds, *mib, *few;
    uint32_t one = 1;

    few = call(futures, "descend", &one, sizeof(one), &seconds);
    mib = call(futures, "descend", &count, sizeof(count), &seconds);
    tell("mib", *mib);
    tell("each", (*mib - *few) * 1024 / count);
    tell("rate", count / seconds);
    free(mib);
    free(few);
}
