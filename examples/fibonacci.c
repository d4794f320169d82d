/* fibonacci.c - recursion in tasks: each call is one that submits two and waits for both.
 *
 * Nobody would compute these numbers so. It shows what a task costs: there is nothing else in it.
 */
#include "options.h"

#include <ladle.h>
#include <time.h>

static uint64_t number = 20;

static const struct option_row option_rows[] = {{0}};
static const struct command command = {
    "fibonacci", "[N]", "Compute the Nth (default 20) Fibonacci number by naive recursion.",
    option_rows};

struct answer {
    uint64_t value, tasks;
};

static int
fibonacci(task_t *task)
{
    struct answer answer = {.tasks = 1};
    future_t *parts[2];
    uint64_t n;

    if (task_read(task, &n, sizeof(n)) != 0)
        return task_fail(task, "expected a number, got %zu bytes", task_input_size(task));
    if (n < 2) {
        answer.value = n;
        return task_return(task, &answer, sizeof(answer));
    }
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t smaller = n - 1 - i;

        parts[i] = futures_submit(task_futures(task), "fibonacci", &smaller, sizeof(smaller), NULL);
    }
    for (int i = 0; i < 2; i++) {
        const struct answer *part = future_result(parts[i], NULL);

        if (part == NULL)
            return task_fail(task, "%s", futures_error());
        answer.value += part->value;
        answer.tasks += part->tasks;
    }
    return task_return(task, &answer, sizeof(answer)); /* the futures go with the task */
}
TASK(fibonacci)

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
    const struct answer *answer;
    futures_t *futures;
    future_t *future;
    double time;

    if (argument < argc)
        number = options_number(&command, "N", argv[argument++], 0, 40);
    if (argument < argc)
        options_fail(&command, "too many arguments: '%s'", argv[argument]);

    if ((futures = futures_new(NULL)) == NULL) {
        fprintf(stderr, "fibonacci: %s\n", futures_error());
        return 1;
    }
    time = seconds();
    future = futures_submit(futures, "fibonacci", &number, sizeof(number), NULL);
    if ((answer = future_result(future, NULL)) == NULL) {
        fprintf(stderr, "fibonacci: %s\n", futures_error());
        return 1;
    }
    time = seconds() - time;
    printf("fibonacci(%" PRIu64 ") is %" PRIu64 ", by %" PRIu64 " tasks\n", number, answer->value,
           answer->tasks);
    printf("%.3f s: %.0f tasks/s\n", time, (double)answer->tasks / time);
    future_destroy(&future);
    futures_destroy(&futures);
    return 0;
}
