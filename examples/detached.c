/* detached: submit work and leave; come back for its results later, from anywhere.
 *
 *     $ ladle-broker --store /var/lib/ladle &  ladle-worker &
 *     $ export LADLE_BROKER=tcp://127.0.0.1:5570
 *     $ ./detached 1000
 *     4f1c0d8e5a6b7c8d9e0f102132435465
 *     $ ./detached 1000 4f1c0d8e5a6b7c8d9e0f102132435465
 *     the sum of 1000 squares is 332833500
 *
 * Between the two, the program, the workers and the broker may all have been killed.
 */
#include <ladle.h>

#include <stdio.h>
#include <stdlib.h>

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

static int
submit(futures_t *futures, long count)
{
    long *inputs = malloc((size_t)count * sizeof(*inputs));
    results_t *results;
    const char *id = NULL;

    if (inputs == NULL)
        return -1;
    for (long i = 0; i < count; i++)
        inputs[i] = i;
    results = futures_map(futures, "square", inputs, (size_t)count, sizeof(*inputs),
                          &(task_options_t){.detached = true});
    if (results != NULL && (id = results_job(results)) != NULL) /* it is on the broker's disk */
        puts(id);
    results_destroy(&results); /* of our handle: the job goes on */
    free(inputs);
    return id != NULL ? 0 : -1;
}

static int
collect(futures_t *futures, const char *id)
{
    results_t *results = futures_attach(futures, id, NULL);
    long sum = 0, count = 0;
    const long *x;

    if (results == NULL)
        return -1;
    for (; (x = results_next(results, NULL)) != NULL; count++)
        sum += *x;
    if (results_at_end(results))
        printf("the sum of %ld squares is %ld\n", count, sum);
    x = results_at_end(results) ? &sum : NULL;
    results_destroy(&results);
    return x != NULL ? 0 : -1;
}

int
main(int argc, char **argv)
{
    futures_t *futures = futures_new(NULL); /* $LADLE_BROKER */
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
    int failed;

    if (futures == NULL) {
        fprintf(stderr, "detached: %s\n", futures_error());
        return 1;
    }
    if (count < 1) {
        fprintf(stderr, "usage: detached COUNT [ID]\n");
        return 64;
    }
    failed = argc > 2 ? collect(futures, argv[2]) : submit(futures, count);
    if (failed != 0)
        fprintf(stderr, "detached: %s\n", futures_error());
    futures_destroy(&futures);
    return failed != 0;
}
