/* pi.c - pi by throwing darts: a map of random tasks.
 *
 * Each task throws its own share of darts at the unit square and counts those that hit the quarter
 * of a circle. task_random_double() gives every task a stream that depends on the seed and the
 * task's index alone: the digits are the same on one slot, on eight, and on a grid.
 */
#include "options.h"

#include <ladle.h>
#include <math.h>

static uint64_t tasks = 100, samples = 1000000, seed = 1;
static uint64_t slots; /* 0: wherever the session leads */

static const struct option_row option_rows[] = {
    {'s', "slots", "N", "Use a pool of N slots on this machine", .number = &slots, 1, 1024},
    {'r', "seed", "N", "Another stream of random numbers (default 1)", .number = &seed, 1,
     UINT64_MAX},
    {0},
};
static const struct command command = {
    "pi", "[TASKS [SAMPLES]]",
    "Estimate pi from TASKS (default 100) times SAMPLES (default 1000000) random points.",
    option_rows};

/* The task: runs on any slot of any worker. */
static int
throw_darts(task_t *task)
{
    uint64_t share, hits = 0;

    if (task_read(task, &share, sizeof(share)) != 0)
        return task_fail(task, "expected a number of samples, got %zu bytes",
                         task_input_size(task));
    for (uint64_t i = 0; i < share; i++) {
        double x = task_random_double(task);
        double y = task_random_double(task);

        hits += x * x + y * y < 1;
    }
    return task_return(task, &hits, sizeof(hits));
}
TASK(throw_darts)

/* Inputs and results share one array: results_collect() writes when the inputs have been copied. */
static int
estimate(futures_t *futures, uint64_t *numbers)
{
    double total = (double)tasks * (double)samples;
    results_t *results;
    uint64_t sum = 0;
    double pi;

    for (uint64_t i = 0; i < tasks; i++)
        numbers[i] = samples;
    results = futures_map(futures, "throw_darts", numbers, tasks, sizeof(*numbers),
                          &(task_options_t){.name = "pi", .seed = seed});
    if (results == NULL || results_collect(&results, numbers, sizeof(*numbers)) != 0) {
        fprintf(stderr, "pi: %s\n", futures_error());
        return 1;
    }
    for (uint64_t i = 0; i < tasks; i++)
        sum += numbers[i];
    pi = 4 * (double)sum / total;
    printf("pi is about %.9f (%.0f samples, off by %.1e)\n", pi, total, fabs(pi - M_PI));
    return 0;
}

int
main(int argc, char **argv)
{
    int argument = options_parse(&command, argc, argv), status;
    char endpoint[32];
    futures_t *futures;
    uint64_t *numbers;

    if (argument < argc)
        tasks = options_number(&command, "TASKS", argv[argument++], 1, 10000000);
    if (argument < argc)
        samples = options_number(&command, "SAMPLES", argv[argument++], 1, UINT64_C(1) << 40);
    if (argument < argc)
        options_fail(&command, "too many arguments: '%s'", argv[argument]);

    snprintf(endpoint, sizeof(endpoint), "local:%" PRIu64, slots);
    if ((futures = futures_new(slots > 0 ? endpoint : NULL)) == NULL) {
        fprintf(stderr, "pi: %s\n", futures_error());
        return 1;
    }
    if ((numbers = calloc(tasks, sizeof(*numbers))) == NULL) {
        perror("pi");
        return 1;
    }
    status = estimate(futures, numbers);
    free(numbers);
    futures_destroy(&futures);
    return status;
}
