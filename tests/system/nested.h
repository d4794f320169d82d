/* nested.h - what the tests of tasks that spawn tasks share. */
#ifndef LADLE_TESTS_NESTED_H
#define LADLE_TESTS_NESTED_H

#include "client.h"

/* Fails unless the condition holds: an assertion would end the executor. */
#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return task_fail(task, "line %d: not so: %s; %s", __LINE__, #condition,                \
                             futures_error());                                                     \
    } while (0)

static inline int
input_of(task_t *task)
{
    int x = -1;

    (void)task_read(task, &x, sizeof(x));
    return x;
}

static inline int
return_int(task_t *task, int x)
{
    return task_return(task, &x, sizeof(x));
}

static inline future_t *
spawn(task_t *task, const char *function, int x, const task_options_t *options)
{
    return futures_submit(task_futures(task), function, &x, sizeof(x), options);
}

static inline int
ask(futures_t *f, const char *function, int x)
{
    int *result, answer;

    if (futures_call(f, function, &x, sizeof(x), (void **)&result, NULL, NULL) != 0)
        fail_msg("%s: %s", function, futures_error());
    answer = *result;
    free(result);
    return answer;
}

#endif
