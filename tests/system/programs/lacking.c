/* A client that needs a shared library which its workers do not have. */
#include <ladle.h>

#include <stdio.h>

int thing(void);

static int
thingy(task_t *task)
{
    int x = thing();

    return task_return(task, &x, sizeof(x));
}
TASK(thingy)

int
main(void)
{
    futures_t *futures = futures_new(NULL);

    if (futures == NULL || futures_call(futures, "thingy", NULL, 0, NULL, NULL, NULL) != 0)
        fprintf(stderr, "%s\n", futures_error());
    futures_destroy(&futures);
    return 0;
}
