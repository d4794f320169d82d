#include "bounded.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

char endpoint[256];
static futures_t *opened;

static void
sleep_ms(int ms)
{
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000L};

    nanosleep(&pause, NULL);
}

static void
touch(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
}

/* ---- tasks -------------------------------------------------------------------------------------
 */

static int
return_number(task_t *task, int32_t n)
{
    return task_return(task, &n, sizeof(n));
}

static int
whoami(task_t *task)
{
    return return_number(task, getpid());
}
TASK(whoami)

static int
attempt(task_t *task)
{
    return return_number(task, task_attempt(task));
}
TASK(attempt)

static int
nap(task_t *task)
{
    struct order o;

    if (task_read(task, &o, sizeof(o)) != 0)
        return task_fail(task, "no order");
    sleep_ms(o.n);
    return return_number(task, task_attempt(task));
}
TASK(nap)

static int
gate(task_t *task)
{
    char path[200];
    struct order o;

    if (task_read(task, &o, sizeof(o)) != 0)
        return task_fail(task, "no order");
    snprintf(path, sizeof(path), "%s.%d.%d", o.path, (int)getpid(), task_attempt(task));
    touch(path);
    while (access(o.path, F_OK) != 0)
        sleep_ms(2);
    return return_number(task, task_attempt(task));
}
TASK(gate)

static int
eat_up(int mib)
{
    char *all;

    for (int i = 0; i < mib; i++) {
        if ((all = malloc(1 << 20)) == NULL)
            return -1;
        for (int k = 0; k < 1 << 20; k += 1024)
            ((volatile char *)all)[k] = 1;
    }
    return 0;
}

static int
eat(task_t *task)
{
    struct order o;

    if (task_read(task, &o, sizeof(o)) != 0 || eat_up(o.n) != 0)
        return task_fail(task, "no more");
    return return_number(task, getpid());
}
TASK(eat)

/* A sanitizer's malloc returns NULL then, as others do. It asks before it can look after anything.
 */
#define ASKED __attribute__((visibility("default"), no_sanitize("address", "thread", "undefined")))
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

ASKED const char *
__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

ASKED const char *
__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static int
grab(task_t *task)
{
    volatile char *all;
    struct order o;

    if (task_read(task, &o, sizeof(o)) != 0)
        return task_fail(task, "no order");
    if ((all = malloc((size_t)o.n << 20)) == NULL)
        return task_fail(task, "no memory");
    *all = 1;
    free((void *)(uintptr_t)all);
    return return_number(task, getpid());
}
TASK(grab)

static int
deep(task_t *task)
{
    const int32_t *below;
    future_t *future;
    struct order o;

    if (task_read(task, &o, sizeof(o)) != 0)
        return task_fail(task, "no order");
    if (o.n == 0)
        return return_number(task, 0);
    o.n--;
    future = futures_submit(task_futures(task), "deep", &o, sizeof(o), NULL);
    if (future == NULL || (below = future_result(future, NULL)) == NULL)
        return task_fail(task, "nothing from below");
    return return_number(task, *below + 1);
}
TASK(deep)

static int
crash(task_t *task)
{
    (void)task;
    abort();
}
TASK(crash)

static int
fork_eat(task_t *task)
{
    struct order o;
    int status;
    pid_t child;

    if (task_read(task, &o, sizeof(o)) != 0)
        return task_fail(task, "no order");
    if ((child = fork()) == 0)
        _exit(eat_up(o.n) != 0);
    while (waitpid(child, &status, 0) < 0)
        ;
    return return_number(task, status);
}
TASK(fork_eat)

static char terminated[200];

static void
on_term(int signal)
{
    (void)signal;
    touch(terminated);
}

static int
stubborn(task_t *task)
{
    struct sigaction action = {.sa_handler = on_term};
    char path[200];
    struct order o;
    bool child;
    pid_t pid;
    int fd;

    if (task_read(task, &o, sizeof(o)) != 0)
        return task_fail(task, "no order");
    child = fork() == 0;
    snprintf(terminated, sizeof(terminated), "%s.%s", o.path, child ? "child" : "task");
    sigaction(SIGTERM, &action, NULL);
    snprintf(path, sizeof(path), "%s-pids", o.path);
    pid = getpid();
    if ((fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) >= 0 &&
        write(fd, &pid, sizeof(pid)) == sizeof(pid))
        close(fd);
    for (;;)
        sleep_ms(1000);
    return 0;
}
TASK(stubborn)

static int
daemonize(task_t *task)
{
    int ends[2];
    int32_t pid = 0;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return task_fail(task, "no pipe");
    if (fork() == 0) {
        setsid();
        if (fork() != 0)
            _exit(0);
        pid = getpid();
        signal(SIGTERM, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        if (write(ends[1], &pid, sizeof(pid)) != sizeof(pid))
            _exit(1);
        close(ends[1]);
        for (;;)
            sleep_ms(1000);
    }
    wait(NULL);
    if (read(ends[0], &pid, sizeof(pid)) != sizeof(pid))
        return task_fail(task, "no daemon");
    close(ends[0]);
    close(ends[1]);
    return return_number(task, pid);
}
TASK(daemonize)

static int
poison(task_t *task)
{
    (void)task;
    raise(SIGKILL);
    return 0;
}
TASK(poison)

/* ---- a grid ------------------------------------------------------------------------------------
 */

int
grid_setup(void **state)
{
    if (harness_setup(state) != 0)
        return -1;
    broker_start("tcp://127.0.0.1:0", endpoint);
    return 0;
}

int
grid_teardown(void **state)
{
    futures_destroy(&opened);
    return harness_teardown(state);
}

futures_t *
session(void)
{
    futures_config_t config = {.endpoint = endpoint, .quiet = true};

    opened = futures_open(&config);
    assert_non_null(opened);
    return opened;
}

future_t *
submit(futures_t *f, const char *function, int32_t n, const char *path,
       const task_options_t *options)
{
    struct order o = {.n = n};
    future_t *future;

    snprintf(o.path, sizeof(o.path), "%s", path != NULL ? path : "");
    future = futures_submit(f, function, &o, sizeof(o), options);
    assert_non_null(future);
    return future;
}

void
expect_status(future_t *future, future_status_t status)
{
    assert_int_equal(future_wait(future, 3 * SOON), 0);
    if (future_status(future) != status)
        print_error("%s: %s\n", future_status_name(future_status(future)), future_error(future));
    assert_int_equal(future_status(future), status);
}

int32_t
result_of(future_t *future)
{
    const int32_t *result;
    int32_t n;

    expect_status(future, FUTURE_DONE);
    result = future_result(future, NULL);
    assert_non_null(result);
    n = *result;
    future_destroy(&future);
    return n;
}

bool
file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

int
files_like(const char *path)
{
    const char *name = strrchr(path, '/') + 1;
    const struct dirent *d;
    char folder[256];
    int n = 0;
    DIR *dir;

    snprintf(folder, sizeof(folder), "%.*s", (int)(name - path), path);
    dir = opendir(folder);
    assert_non_null(dir);
    while ((d = readdir(dir)) != NULL)
        n += starts_with(d->d_name, name) && d->d_name[strlen(name)] == '.';
    closedir(dir);
    return n;
}

bool
pid_alive(pid_t pid)
{
    char path[64], line[512], *at;
    FILE *f;
    bool alive;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if ((f = fopen(path, "re")) == NULL)
        return false;
    alive = fgets(line, sizeof(line), f) != NULL && (at = strrchr(line, ')')) != NULL &&
            at[2] != 'Z' && at[2] != 'X';
    fclose(f);
    return alive;
}
