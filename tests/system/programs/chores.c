/* chores.c - tasks of every kind, well behaved and not, for the supervisor's test. It is an
 * executor only: the library's session is not needed. */
#include "serve.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

static void
sleep_for(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

    while (nanosleep(&t, &t) != 0)
        ;
}

static int
number(task_t *task)
{
    int n = 0;

    (void)task_read(task, &n, sizeof(n));
    return n;
}

/* The executor's pid, so that a test can look after it. */
static int
return_pid(task_t *task)
{
    pid_t pid = getpid();

    return task_return(task, &pid, sizeof(pid));
}

static int
who(task_t *task)
{
    return return_pid(task);
}
TASK(who)

static int
sleep_ms(task_t *task)
{
    sleep_for(number(task));
    return return_pid(task);
}
TASK(sleep_ms)

static void
die(void)
{
    signal(SIGSEGV, SIG_DFL); /* a sanitizer has a handler of its own */
    raise(SIGSEGV);
}

/* Crashes for odd inputs. */
static int
crash_odd(task_t *task)
{
    if (number(task) % 2 != 0)
        die();
    return return_pid(task);
}
TASK(crash_odd)

static int
crash(task_t *task)
{
    (void)task;
    die();
    return 0;
}
TASK(crash)

static int
exit3(task_t *task)
{
    if (task_index(task) < UINT64_MAX) /* always */
        exit(3);
    return 0;
}
TASK(exit3)

/* Says who it is as a partial result, and never comes back. */
static int
endless(task_t *task)
{
    pid_t pid = getpid();

    task_emit(task, &pid, sizeof(pid));
    for (;;)
        pause();
    return 0; /* for the compiler */
}
TASK(endless)

static int
stubborn(task_t *task)
{
    signal(SIGTERM, SIG_IGN);
    return endless(task);
}
TASK(stubborn)

static int
polite(task_t *task)
{
    task_emit(task, "", 0);
    while (!task_cancelled(task))
        sleep_for(1);
    return task_fail(task, "stopped, as I was asked to");
}
TASK(polite)

static int
print(task_t *task)
{
    printf("%.*s", (int)task_input_size(task), (const char *)task_input(task));
    fprintf(stderr, "worker %s\n", task_worker(task));
    return task_return(task, "", 0);
}
TASK(print)

static int
flood(task_t *task)
{
    char line[1024];

    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (int i = number(task); i > 0; i--)
        fwrite(line, 1, sizeof(line), stdout);
    return task_return(task, "", 0);
}
TASK(flood)

static int
no_result(task_t *task)
{
    (void)task;
    return 0;
}
TASK(no_result)

static int
silent(task_t *task)
{
    (void)task;
    return 3;
}
TASK(silent)

static int
fail(task_t *task)
{
    return task_fail(task, "no %s", "luck");
}
TASK(fail)

static int
big_result(task_t *task)
{
    size_t size = (size_t)number(task);
    char *output = task_output(task, size);

    if (output == NULL)
        return task_fail(task, "no room");
    memset(output, 'b', size);
    return 0;
}
TASK(big_result)

/* Leaves a child behind, and says which. */
static int
fork_child(task_t *task)
{
    pid_t pid = fork();

    if (pid == 0)
        for (;;)
            pause();
    return task_return(task, &pid, sizeof(pid));
}
TASK(fork_child)

/* Leaves a daemon behind: a grandchild in a session of its own. */
static int
daemonize(task_t *task)
{
    int ends[2];
    pid_t pid = 0, child;

    if (pipe(ends) != 0 || (child = fork()) < 0)
        return task_fail(task, "no child");
    if (child == 0) {
        setsid();
        if ((pid = fork()) == 0)
            for (;;)
                pause();
        _exit(write(ends[1], &pid, sizeof(pid)) != sizeof(pid));
    }
    waitpid(child, NULL, 0);
    if (read(ends[0], &pid, sizeof(pid)) != sizeof(pid))
        return task_fail(task, "no daemon");
    return task_return(task, &pid, sizeof(pid));
}
TASK(daemonize)

/* The child comes back from the function, as it must not. */
static int
fork_return(task_t *task)
{
    pid_t pid = fork();

    if (pid == 0)
        return task_return(task, "child", 5);
    return task_return(task, "parent", 6);
}
TASK(fork_return)

static int
steps(task_t *task)
{
    task_progress(task, 1, 2);
    task_emit(task, "half", 4);
    task_progress(task, 2, 2);
    return task_return(task, "whole", 5);
}
TASK(steps)

static int
where(task_t *task)
{
    char text[4200];
    struct stat st;

    if (getcwd(text, 4096) == NULL)
        return task_fail(task, "nowhere");
    if (stat("leftover", &st) == 0)
        strcat(text, " used");
    fclose(fopen("leftover", "w"));
    return task_return(task, text, strlen(text));
}
TASK(where)

static int
surroundings(task_t *task)
{
    static const char *const names[] = {"GREETING", "LADLE_WORKER", "PATH"};
    char text[5000];
    const char *value;
    size_t at;

    if (getcwd(text, 4096) == NULL)
        return task_fail(task, "nowhere");
    at = strlen(text);
    for (int i = 0; i < 3; i++)
        if ((value = getenv(names[i])) != NULL)
            at += (size_t)snprintf(text + at, sizeof(text) - at, " %.200s", value);
    if ((value = getenv("EMPTY")) != NULL)
        at += (size_t)snprintf(text + at, sizeof(text) - at, " '%.200s'", value);
    return task_return(task, text, at);
}
TASK(surroundings)

static int
close_all(task_t *task)
{
    closefrom(3);
    sleep_for(number(task));
    return task_return(task, "", 0);
}
TASK(close_all)

static int
random_bits(task_t *task)
{
    uint64_t bits = task_random(task);

    return task_return(task, &bits, sizeof(bits));
}
TASK(random_bits)

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--never-there") == 0) {
        fprintf(stderr, "chores: I do not feel like it\n");
        return 1;
    }
    if (argc > 1 && strcmp(argv[1], "--done-before") == 0)
        return 0;
    printf("before the barrier\n");
    if (serve_wanted())
        serve(&(futures_config_t){.stack_size = 8 << 20});
    fprintf(stderr, "chores: is for a worker to start\n");
    return 2;
}
