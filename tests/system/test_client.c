/* Every call of futures.h, in this very program: argv[1] is the endpoint. The program is its own
 * executor. */
#include "client.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

const char *endpoint;
bool serial;

/* ---- tasks ------------------------------------------------------------------------------------
 */

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

static int
echo(task_t *task)
{
    return task_return(task, task_input(task), task_input_size(task));
}
TASK(echo)

/* Fails if the input, an int, is odd. */
static int
even(task_t *task)
{
    int x;

    if (task_read(task, &x, sizeof(x)) != 0)
        return -1;
    if (x % 2 != 0)
        return task_fail(task, "%d is odd", x);
    return task_return(task, &x, sizeof(x));
}
TASK(even)

static int
crash(task_t *task)
{
    (void)task;
    signal(SIGSEGV, SIG_DFL); /* a sanitizer would make a failed exit of it */
    raise(SIGSEGV);
    return 0;
}
TASK(crash)

void
pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

/* Runs until it is cancelled, or for so many ms. */
static int
linger(task_t *task)
{
    int ms;

    if (task_read(task, &ms, sizeof(ms)) != 0)
        return task_fail(task, "how long?");
    for (; ms > 0; ms -= 5) {
        if (task_cancelled(task))
            return task_fail(task, "nobody wants it");
        pause_ms(5);
    }
    return task_return(task, "done", 4);
}
TASK(linger)

static int
numbers(task_t *task)
{
    uint64_t x[3] = {task_random(task), task_random(task), task_index(task)};

    return task_return(task, x, sizeof(x));
}
TASK(numbers)

/* Gives out three partial results, and its progress. */
static int
stream(task_t *task)
{
    for (int i = 0; i < 3; i++)
        if (task_emit(task, &i, sizeof(i)) != 0 || task_progress(task, (uint64_t)i + 1, 3) != 0)
            return task_fail(task, "cannot emit");
    return task_return(task, "", 0);
}
TASK(stream)

static int
chatter(task_t *task)
{
    printf("words from a task\n");
    fflush(stdout);
    return task_return(task, "", 0);
}
TASK(chatter)

/* ---- fixture ----------------------------------------------------------------------------------
 */

futures_t *
open_one(void)
{
    futures_t *f = futures_open(&(futures_config_t){.endpoint = endpoint, .quiet = true});

    if (f == NULL)
        fprintf(stderr, "%s\n", futures_error());
    assert_non_null(f);
    return f;
}

int
setup(void **state)
{
    *state = open_one();
    return 0;
}

int
teardown(void **state)
{
    futures_t *f = *state;

    futures_destroy(&f);
    assert_null(f);
    return 0;
}

future_t *
submit_int(futures_t *f, const char *function, int x, const task_options_t *options)
{
    future_t *u = futures_submit(f, function, &x, sizeof(x), options);

    assert_non_null(u);
    return u;
}

int64_t
now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void
on_partial(uint64_t index, const void *data, size_t size, void *arg)
{
    struct partials *p = arg;
    int i;

    assert_int_equal(size, sizeof(i));
    memcpy(&i, data, sizeof(i));
    p->n++;
    p->sum += i;
    p->index = index;
}

int
main(int argc, char **argv)
{
    futures_t *barrier = open_barrier(); /* executors go no further */

    futures_destroy(&barrier);
    setenv("LADLE_REPLAY_DIR", "", 1); /* tasks fail on purpose: nobody will look at them again */
    endpoint = argc > 1 ? argv[1] : getenv("LADLE_BROKER_TEST");
    if (endpoint == NULL)
        return 77; /* no grid to test with */
    serial = strcmp(endpoint, "serial") == 0;
    if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    return api_tests() + session_tests() + future_tests() + list_tests() + map_tests() +
                       reduce_tests() + scan_tests() + message_tests() + exact_tests() +
                       race_tests() + key_tests() + config_tests() + meter_tests() +
                       shared_tests() + nested_tests() + nested_end_tests() >
                   0
               ? 1
               : 0;
}
