/* The table of the API, row by row: the program is its own executor. argv[1] is the endpoint. */
#include "api.h"

#include <signal.h>
#include <unistd.h>

static int
hold(task_t *task)
{
    int x = 7;

    if (task_progress(task, 1, 4) != 0 || task_emit(task, &x, sizeof(x)) != 0)
        return task_fail(task, "cannot emit");
    while (!task_cancelled(task))
        pause_ms(1);
    return task_fail(task, "was told to stop");
}
TASK(hold)

static int
once_more(task_t *task)
{
    if (task_attempt(task) == 1) {
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would make a failed exit of it */
        raise(SIGSEGV);
    }
    return task_return(task, "again", 6);
}
TASK(once_more)

static int
facts(task_t *task)
{
    struct facts f = {.index = task_index(task), .attempt = task_attempt(task)};

    f.random[0] = task_random(task);
    f.random[1] = task_random(task);
    f.real = task_random_double(task);
    snprintf(f.worker, sizeof(f.worker), "%s", task_worker(task));
    return task_return(task, &f, sizeof(f));
}
TASK(facts)

static int
half(task_t *task)
{
    const int *x = task_input(task);
    int *result = task_output(task, sizeof(*result));

    if (task_input_size(task) != sizeof(*x) || result == NULL)
        return task_fail(task, "expected an int");
    *result = *x / 2;
    return 0;
}
TASK(half)

static int
sum_of(task_t *task)
{
    const double *x = task_input(task);
    double sum;

    if (task_input_size(task) != 2 * sizeof(*x))
        return task_fail(task, "expected two doubles");
    sum = x[0] + x[1];
    return task_return(task, &sum, sizeof(sum));
}
TASK(sum_of)

int
api_tests(void)
{
    return api_session_tests() + api_submit_tests() + api_future_tests() + api_results_tests() +
           api_task_tests();
}
