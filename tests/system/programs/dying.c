/* A program whose tasks die in every way there is: dying KIND [OPTION...]
 *
 * Submits one task that dies so, and says on standard output what its future says. Options:
 * "timeout=MS", "retries=N", "function=NAME", "input=TEXT", "share=TEXT" (a constant that the task
 * says), "count=N" (a map, of which every task dies), "handler=1" (the program's own, for SIGSEGV),
 * "quiet=1".
 */
#include <ladle.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#undef NDEBUG
#include <assert.h>

#ifdef __clang__
#define ALONE __attribute__((noinline))
#else
#define ALONE __attribute__((noinline, noclone))
#endif

static volatile int zero;
static int *volatile nowhere;
static void (*volatile no_function)(void);

ALONE static void
step_on_null(void)
{
    *nowhere = 1; /* the line of the fault */
    zero++;
}

/* Whatever a sanitizer does about faults, this is one, and it is told of it. */
ALONE static void
segfault(void)
{
    raise(SIGSEGV);
    zero++;
}

ALONE static void
divide(void)
{
    zero = 1000 / zero;
}

ALONE static void
call_null(void)
{
    no_function();
    zero++;
}

ALONE static int
dive(int depth)
{
    volatile char room[512];

    room[0] = (char)depth;
    return zero == 0 ? dive(depth + 1) + room[0] : 0; /* it is: without an end */
}

ALONE static void
fail_assertion(void)
{
    assert(zero == 1 && "zero is one");
}

static inline __attribute__((always_inline)) void
inlined(void)
{
    *nowhere = 2;
}

ALONE static void
with_inlined(void)
{
    inlined();
    zero++;
}

static void *
in_thread(void *arg)
{
    step_on_null();
    return arg;
}

ALONE static void
die_in_thread(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, NULL);
}

/* Its handler must do without malloc(). */
ALONE static void
corrupt_heap(void)
{
    char *block = malloc(24), *next = malloc(24);

    memset(block, 0xff, 64);
    free(next);
    free(block);
    free(malloc(5000));
    abort();
}

static const char *
kind_of(task_t *task, char text[64])
{
    size_t size = task_input_size(task);

    snprintf(text, 64, "%.*s", (int)size, (const char *)task_input(task));
    return text;
}

static int
say(task_t *task)
{
    char kind[64];
    size_t size;
    const char *text = task_shared(task, "word", &size);

    printf("%s, attempt %d, random %llx, mood %s\n", text == NULL ? "nothing" : text,
           task_attempt(task), (unsigned long long)task_random(task),
           getenv("MOOD") == NULL ? "?" : getenv("MOOD"));
    if (strcmp(kind_of(task, kind), "fail") == 0)
        return task_fail(task, "it was asked to");
    return task_return(task, task_input(task), task_input_size(task));
}
TASK(say)

static int
die(task_t *task)
{
    char text[64];
    const char *kind = kind_of(task, text);

    fprintf(stderr, "about to die: %s\n", kind);
    if (strcmp(kind, "null") == 0)
        step_on_null();
    else if (strcmp(kind, "divide") == 0)
        divide();
    else if (strcmp(kind, "call") == 0)
        call_null();
    else if (strcmp(kind, "stack") == 0)
        return dive(0);
    else if (strcmp(kind, "abort") == 0)
        abort();
    else if (strcmp(kind, "assert") == 0)
        fail_assertion();
    else if (strcmp(kind, "inline") == 0)
        with_inlined();
    else if (strcmp(kind, "trap") == 0)
        __builtin_trap();
    else if (strcmp(kind, "thread") == 0)
        die_in_thread();
    else if (strcmp(kind, "heap") == 0)
        corrupt_heap();
    else if (strcmp(kind, "raise") == 0)
        raise(SIGSEGV);
    else if (strcmp(kind, "segv") == 0)
        segfault();
    else if (strcmp(kind, "exit") == 0)
        exit(3);
    else if (strcmp(kind, "_exit") == 0)
        _exit(4);
    else if (strcmp(kind, "kill") == 0)
        kill(getpid(), SIGKILL);
    else if (strcmp(kind, "sleep") == 0)
        sleep(60);
    else if (strcmp(kind, "nap") == 0)
        sleep(1);
    else if (strcmp(kind, "fail") == 0)
        return task_fail(task, "it was asked to");
    return task_return(task, kind, strlen(kind));
}
TASK(die)

/* Prints so many MiB, in lines of 64 bytes. */
static int
print(task_t *task)
{
    static char lines[1 << 20];
    char text[64];
    int mib = atoi(kind_of(task, text));

    memset(lines, 'x', sizeof(lines));
    for (size_t i = 63; i < sizeof(lines); i += 64)
        lines[i] = '\n';
    for (int i = 0; i < mib; i++)
        if (fwrite(lines, sizeof(lines), 1, stdout) != 1)
            return task_fail(task, "cannot print");
    return task_return(task, "", 0);
}
TASK(print)

/* Has another task die. */
static int
delegate(task_t *task)
{
    futures_t *futures = task_futures(task);
    void *result;
    size_t size;

    if (futures_call(futures, "die", task_input(task), task_input_size(task), &result, &size,
                     &(task_options_t){.retries = -1}) != 0)
        return task_fail(task, "below: %s", futures_error());
    task_return(task, result, size);
    free(result);
    return 0;
}
TASK(delegate)

/* ---- main ------------------------------------------------------------------------------------
 */

static const char *
option(char **argv, const char *name, const char *otherwise)
{
    size_t n = strlen(name);

    for (char **at = argv; *at != NULL; at++)
        if (strncmp(*at, name, n) == 0 && (*at)[n] == '=')
            return *at + n + 1;
    return otherwise;
}

static void
handle(int sig)
{
    _exit(40 + sig);
}

static void
tell(const char *text)
{
    printf("%s\n", text == NULL ? "DONE" : text);
}

int
main(int argc, char **argv)
{
    futures_t *futures;
    const char *function, *word, *input;
    task_options_t options = {.retries = -1};
    future_t *future;
    results_t *results;
    size_t count;

    if (atoi(option(argv, "handler", "0")) != 0)
        signal(SIGSEGV, handle);
    futures =
        futures_open(&(futures_config_t){.environment = (const char *const[]){"MOOD=grim", NULL},
                                         .quiet = atoi(option(argv, "quiet", "0")) != 0});
    if (argc < 2 || futures == NULL) {
        fprintf(stderr, "usage: dying KIND [OPTION=VALUE...]; %s\n", futures_error());
        return 2;
    }
    word = option(argv, "share", NULL);
    if (word != NULL && futures_share(futures, "word", word, strlen(word) + 1) != 0)
        return 3;
    function = option(argv, "function", "die");
    input = option(argv, "input", argv[1]);
    options.timeout = atoi(option(argv, "timeout", "0"));
    options.retries = atoi(option(argv, "retries", "-1"));
    options.seed = 7;
    count = (size_t)atoi(option(argv, "count", "0"));
    if (count == 0) {
        future = futures_submit(futures, function, input, strlen(input), &options);
        future_wait(future, -1);
        tell(future_error(future));
        future_destroy(&future);
    } else {
        char *all = calloc(count, strlen(input) + 1);

        for (size_t i = 0; i < count; i++)
            memcpy(all + i * strlen(input), input, strlen(input));
        results = futures_map(futures, function, all, count, strlen(input), &options);
        for (const void *result;;) {
            if ((result = results_next(results, NULL)) == NULL && results_at_end(results))
                break;
            tell(result == NULL ? results_error(results) : NULL);
        }
        results_destroy(&results);
        free(all);
    }
    futures_destroy(&futures);
    return 0;
}
