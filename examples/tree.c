/* tree.c - tasks that spawn tasks: a tree of them.
 *
 * Each task above the leaves maps over its children, waits for them, and adds up what they counted.
 * While it waits its slot is free for others. There is nothing to tune: small subtrees stay in the
 * process in which they were spawned, large ones go to slots that are idle.
 */
#include "options.h"

#include <ladle.h>
#include <time.h>

enum { MOST = 64 }; /* children of one task */

struct node {
    uint32_t depth, branches; /* below it */
};

static uint64_t depth = 12, branches = 2;

static const struct option_row option_rows[] = {{0}};
static const struct command command = {
    "tree", "[DEPTH [BRANCHES]]",
    "Count the leaves of a tree of tasks: DEPTH levels (default 12) below the root, with BRANCHES\n"
    "(default 2) children each.",
    option_rows};

static int
count_leaves(task_t *task)
{
    struct node node, children[MOST];
    uint64_t counts[MOST], leaves = 0;
    results_t *results;

    if (task_read(task, &node, sizeof(node)) != 0 || node.branches > MOST)
        return task_fail(task, "expected a node with at most %d branches", MOST);
    if (node.depth == 0) {
        leaves = 1;
        return task_return(task, &leaves, sizeof(leaves));
    }
    for (uint32_t i = 0; i < node.branches; i++)
        children[i] = (struct node){node.depth - 1, node.branches};
    results = futures_map(task_futures(task), "count_leaves", children, node.branches,
                          sizeof(*children), NULL);
    if (results_collect(&results, counts, sizeof(*counts)) != 0)
        return task_fail(task, "%s", futures_error());
    for (uint32_t i = 0; i < node.branches; i++)
        leaves += counts[i];
    return task_return(task, &leaves, sizeof(leaves));
}
TASK(count_leaves)

static uint64_t
tasks_in_tree(void)
{
    uint64_t level = 1, sum = 1;

    for (uint64_t i = 0; i < depth; i++)
        sum += level *= branches;
    return sum;
}

static double
seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
    int argument = options_parse(&command, argc, argv);
    struct node root;
    futures_t *futures;
    void *leaves;
    double time;

    if (argument < argc)
        depth = options_number(&command, "DEPTH", argv[argument++], 0, 24);
    if (argument < argc)
        branches = options_number(&command, "BRANCHES", argv[argument++], 1, MOST);
    if (argument < argc)
        options_fail(&command, "too many arguments: '%s'", argv[argument]);
    if (tasks_in_tree() > UINT64_C(1) << 32)
        options_fail(&command, "that would be %" PRIu64 " tasks", tasks_in_tree());

    if ((futures = futures_new(NULL)) == NULL) {
        fprintf(stderr, "tree: %s\n", futures_error());
        return 1;
    }
    root = (struct node){(uint32_t)depth, (uint32_t)branches};
    time = seconds();
    if (futures_call(futures, "count_leaves", &root, sizeof(root), &leaves, NULL, NULL) != 0) {
        fprintf(stderr, "tree: %s\n", futures_error());
        return 1;
    }
    time = seconds() - time;
    printf("a tree of %" PRIu64 " tasks has %" PRIu64 " leaves\n", tasks_in_tree(),
           *(uint64_t *)leaves);
    printf("%.3f s: %.0f tasks/s\n", time, (double)tasks_in_tree() / time);
    free(leaves);
    futures_destroy(&futures);
    return 0;
}
