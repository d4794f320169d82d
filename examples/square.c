#include <ladle.h>
#include <stdio.h>

static int
square(task_t *task)
{
    double x;

    if (task_read(task, &x, sizeof(x)) != 0)
        return task_fail(task, "expected one double, got %zu bytes", task_input_size(task));
    x *= x;
    return task_return(task, &x, sizeof(x));
}
TASK(square)

int
main(void)
{
    futures_t *futures = futures_new(NULL); /* $LADLE_BROKER, else all cores of this machine */
    double numbers[1000], sum = 0;

    if (futures == NULL) {
        fprintf(stderr, "square: %s\n", futures_error());
        return 1;
    }
    for (int i = 0; i < 1000; i++)
        numbers[i] = i;
    results_t *results = futures_map(futures, "square", numbers, 1000, sizeof(*numbers), NULL);
    if (results_collect(&results, numbers, sizeof(*numbers)) != 0) {
        fprintf(stderr, "square: %s\n", futures_error());
        return 1;
    }
    for (int i = 0; i < 1000; i++)
        sum += numbers[i];
    printf("the squares of 0 to 999 add up to %.0f\n", sum);
    futures_destroy(&futures);
    return 0;
}
