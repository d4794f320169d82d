/* quicksort.c - divide and conquer: a task splits its numbers, has one part sorted by another task,
 * and sorts the other part itself.
 *
 * The part that was given away is sorted wherever there is room, while this task goes on; only then
 * it waits. Small parts are not worth a task.
 */
#include "options.h"

#include <ladle.h>

static uint64_t count = 1000000, seed = 1;

static const struct option_row option_rows[] = {
    {'r', "seed", "N", "Other numbers (default 1)", .number = &seed, 1, UINT64_MAX},
    {0},
};
static const struct command command = {
    "quicksort", "[COUNT]", "Sort COUNT (default 1000000) random numbers by tasks.", option_rows};

enum { SMALL = 20000 }; /* numbers: sorted by one task */

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Hoare's: what stands below the returned place is not larger than what does not. */
static size_t
partition(double *x, size_t n)
{
    double pivot = x[n / 2];
    size_t i = 0, j = n - 1;

    for (;; i++, j--) {
        while (x[i] < pivot)
            i++;
        while (x[j] > pivot)
            j--;
        if (i >= j)
            return j + 1 < n ? j + 1 : n - 1;
        double swapped = x[i];

        x[i] = x[j];
        x[j] = swapped;
    }
}

/* Sort in place; -1 if a task below failed. */
static int
sort(task_t *task, double *x, size_t n)
{
    future_t *future;
    const void *sorted;
    size_t below;

    if (n <= SMALL) {
        qsort(x, n, sizeof(*x), compare);
        return 0;
    }
    below = partition(x, n);
    future = futures_submit(task_futures(task), "quicksort", x, below * sizeof(*x), NULL);
    if (future == NULL || sort(task, x + below, n - below) != 0 ||
        (sorted = future_result(future, NULL)) == NULL)
        return -1;
    memcpy(x, sorted, below * sizeof(*x));
    future_destroy(&future);
    return 0;
}

static int
quicksort(task_t *task)
{
    size_t size = task_input_size(task);
    double *x = task_output(task, size);

    if (x == NULL)
        return task_fail(task, "no memory for %zu bytes", size);
    if (size > 0)
        memcpy(x, task_input(task), size);
    return sort(task, x, size / sizeof(*x)) == 0 ? 0 : task_fail(task, "%s", futures_error());
}
TASK(quicksort)

static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static int
check(const double *x, size_t size, double expected)
{
    double sum = 0;

    if (size != count * sizeof(*x))
        return fprintf(stderr, "quicksort: %zu bytes came back\n", size), 1;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && x[i - 1] > x[i])
            return fprintf(stderr, "quicksort: number %zu is out of order\n", i), 1;
        sum += x[i];
    }
    if (sum != expected)
        return fprintf(stderr, "quicksort: these are other numbers\n"), 1;
    printf("%" PRIu64 " numbers in order, from %.0f to %.0f\n", count, x[0], x[count - 1]);
    return 0;
}

int
main(int argc, char **argv)
{
    int argument = options_parse(&command, argc, argv), status;
    double *numbers, sum = 0;
    futures_t *futures;
    uint64_t state;
    void *sorted;
    size_t size;

    if (argument < argc)
        count = options_number(&command, "COUNT", argv[argument++], 1, 30000000);
    if (argument < argc)
        options_fail(&command, "too many arguments: '%s'", argv[argument]);
    if ((futures = futures_new(NULL)) == NULL) {
        fprintf(stderr, "quicksort: %s\n", futures_error());
        return 1;
    }
    if ((numbers = malloc(count * sizeof(*numbers))) == NULL) {
        perror("quicksort");
        return 1;
    }
    state = seed;
    for (uint64_t i = 0; i < count; i++) /* whole numbers: their sum does not depend on order */
        sum += numbers[i] = (double)(next_random(&state) % 1000000);
    if (futures_call(futures, "quicksort", numbers, count * sizeof(*numbers), &sorted, &size,
                     NULL) != 0) {
        fprintf(stderr, "quicksort: %s\n", futures_error());
        return 1;
    }
    status = check(sorted, size, sum);
    free(sorted);
    free(numbers);
    futures_destroy(&futures);
    return status;
}
