#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MARK "LADLE_TEST_MARK"
#define PROCESSES 256
#define ROOM (1ull << 30)

static struct process *all[PROCESSES];
static int nall;
static char directory[256], in_memory[256]; /* the second is made when it is asked for */
static char mark[64];

int64_t
harness_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void
harness_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
}

void
harness_fail(const char *file, int line, const char *text)
{
    for (int i = 0; i < nall; i++) {
        const char *errors = process_errors(all[i]);

        if (errors[0] != '\0')
            print_error("process %d wrote:\n%s\n", (int)all[i]->pid, errors);
    }
    print_error("%s:%d: not in time: %s\n", file, line, text);
    _fail(file, line);
}

bool
starts_with(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* ---- paths and files ------------------------------------------------------------------------- */

const char *
harness_directory(void)
{
    return directory;
}

const char *
harness_path(const char *name)
{
    static char buffers[8][PATH_MAX];
    static unsigned next;
    char *path = buffers[next++ % 8];

    snprintf(path, PATH_MAX, "%s/%s", directory, name);
    return path;
}

const char *
harness_memory(const char *name)
{
    static char path[PATH_MAX];
    struct statvfs fs;

    if (in_memory[0] == '\0') {
        snprintf(in_memory, sizeof(in_memory), "/dev/shm/ladle-test-%s",
                 strrchr(directory, '-') + 1);
        if (statvfs("/dev/shm", &fs) != 0 || fs.f_bavail * fs.f_frsize < ROOM ||
            mkdir(in_memory, 0700) != 0)
            snprintf(in_memory, sizeof(in_memory), "%s", directory);
    }
    snprintf(path, sizeof(path), "%s/%s", in_memory, name);
    return path;
}

const char *
harness_binary(const char *name)
{
    static char buffers[8][PATH_MAX];
    static unsigned next;
    char *path = buffers[next++ % 8];

    snprintf(path, PATH_MAX, "%s/%s", LADLE_BIN, name);
    return path;
}

void
file_write(const char *path, const void *data, size_t size, int mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    close(fd);
}

char *
file_read(const char *path, size_t *size_p)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0, room = 1 << 16;
    char *data;
    ssize_t n;

    if (fd < 0)
        return NULL;
    data = malloc(room);
    while (data != NULL && (n = read(fd, data + size, room - 1 - size)) > 0) {
        size += (size_t)n;
        if (size + 1 == room)
            data = realloc(data, room *= 2);
    }
    close(fd);
    assert_non_null(data);
    data[size] = '\0';
    if (size_p != NULL)
        *size_p = size;
    return data;
}

int
directory_entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = -2; /* . and .. */

    if (dir == NULL)
        return -1;
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    remove(path);
    return 0;
}

/* ---- processes ------------------------------------------------------------------------------- */

static void
become(const char *const *argv, const char *const *variables, const struct process *p, int in)
{
    int out = open(p->out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int err = open(p->err, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    sigset_t none;

    /* A test that is killed leaves nothing either. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
        _exit(126);
    for (; variables != NULL && *variables != NULL; variables++)
        putenv((char *)(uintptr_t)*variables);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    dprintf(STDERR_FILENO, "cannot execute %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static struct process *
start(const char *const *argv, const char *const *variables, int in)
{
    struct process *p = calloc(1, sizeof(*p));

    assert_non_null(p);
    assert_true(nall < PROCESSES);
    snprintf(p->out, sizeof(p->out), "%s/.out-%d", directory, nall);
    snprintf(p->err, sizeof(p->err), "%s/.err-%d", directory, nall);
    p->in = -1;
    if ((p->pid = fork()) == 0)
        become(argv, variables, p, in);
    assert_true(p->pid > 0);
    all[nall++] = p;
    return p;
}

struct process *
process_start(const char *const *argv, const char *const *variables)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct process *p = start(argv, variables, null);

    close(null);
    return p;
}

struct process *
process_start_with_input(const char *const *argv, const char *const *variables)
{
    struct process *p;
    int pipes[2];

    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    p = start(argv, variables, pipes[0]);
    close(pipes[0]);
    p->in = pipes[1];
    return p;
}

static const char *
contents(const char *path)
{
    static char *last[2];
    static int next;
    char **slot = &last[next++ % 2];

    free(*slot);
    *slot = file_read(path, NULL);
    return *slot != NULL ? *slot : "";
}

const char *
process_output(struct process *p)
{
    return contents(p->out);
}

const char *
process_errors(struct process *p)
{
    return contents(p->err);
}

bool
process_wrote(struct process *p, const char *text)
{
    return strstr(process_output(p), text) != NULL || strstr(process_errors(p), text) != NULL;
}

bool
process_ended(struct process *p)
{
    if (!p->ended && waitpid(p->pid, &p->status, WNOHANG) == p->pid)
        p->ended = true;
    return p->ended;
}

int
process_await(struct process *p, int ms)
{
    await(process_ended(p), ms);
    return WIFSIGNALED(p->status) ? 128 + WTERMSIG(p->status) : WEXITSTATUS(p->status);
}

void
process_kill(struct process *p)
{
    if (process_ended(p))
        return;
    kill(p->pid, SIGKILL);
    waitpid(p->pid, &p->status, 0);
    p->ended = true;
}

static bool
is_marked(pid_t pid)
{
    char path[64], *environment;
    size_t size, length = strlen(mark);
    bool found = false;

    snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    if ((environment = file_read(path, &size)) == NULL)
        return false;
    for (char *at = environment; !found && at < environment + size; at += strlen(at) + 1)
        found = strncmp(at, mark, length) == 0 && at[length] == '\0';
    free(environment);
    return found;
}

static bool
has_name(pid_t pid, const char *name)
{
    char path[64], *comm;
    bool same;

    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    if ((comm = file_read(path, NULL)) == NULL)
        return false;
    comm[strcspn(comm, "\n")] = '\0';
    same = strncmp(comm, name, 15) == 0 && strlen(comm) == (strlen(name) > 15 ? 15 : strlen(name));
    free(comm);
    return same;
}

int
processes_named(const char *name, pid_t *pids, int max)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    int n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        pid_t pid = (pid_t)atoi(entry->d_name);

        if (pid <= 0 || pid == getpid() || !is_marked(pid))
            continue;
        if (name != NULL && !has_name(pid, name))
            continue;
        if (n < max)
            pids[n] = pid;
        n++;
    }
    closedir(dir);
    return n;
}

int
processes_left(void)
{
    for (int i = 0; i < nall; i++)
        process_ended(all[i]); /* a zombie's environment is empty, but it need not stay one */
    return processes_named(NULL, NULL, 0);
}

/* ---- fixture --------------------------------------------------------------------------------- */

int
harness_setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    snprintf(directory, sizeof(directory), "/tmp/ladle-test-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(mark, sizeof(mark), MARK "=%s", strrchr(directory, '-') + 1);
    putenv(mark);
    in_memory[0] = '\0';
    setenv("XDG_CACHE_HOME", directory, 1);
    setenv("XDG_STATE_HOME", directory, 1);
    setenv("LADLE_REPLAY_DIR", "", 1); /* most tasks here fail on purpose */
    unsetenv("LADLE_BROKER");
    nall = 0;
    return 0;
}

int
harness_teardown(void **state)
{
    int64_t until;
    pid_t left[PROCESSES];
    int n;

    (void)state;
    /* The last one started depends on the first one: not the other way round. */
    for (int i = nall - 1; i >= 0; i--) {
        process_kill(all[i]);
        if (all[i]->in >= 0)
            close(all[i]->in);
        free(all[i]);
    }
    nall = 0;
    until = harness_now() + SOON;
    while (processes_named(NULL, NULL, 0) > 0 && harness_now() < until)
        harness_pause();
    n = processes_named(NULL, left, PROCESSES);
    for (int i = 0; i < n && i < PROCESSES; i++) {
        print_error("orphan: process %d\n", (int)left[i]);
        kill(left[i], SIGKILL);
    }
    nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    if (in_memory[0] != '\0')
        nftw(in_memory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return n == 0 ? 0 : -1;
}

/* ---- daemons --------------------------------------------------------------------------------- */

static bool
is_ready(struct process *p)
{
    if (process_ended(p)) {
        print_error("it ended: %s\n", process_errors(p));
        _fail(__FILE__, __LINE__);
    }
    return strstr(process_output(p), ": ready") != NULL && strchr(process_output(p), '\n') != NULL;
}

struct process *
broker_start(const char *endpoint, char real[256])
{
    struct process *p = process(harness_binary("ladle-broker"), "--bind", endpoint);

    await(is_ready(p), SOON);
    if (real != NULL)
        assert_int_equal(sscanf(process_output(p), "ladle-broker: ready at %255s", real), 1);
    return p;
}

struct process *
worker_start_with(const char *endpoint, const char *name, int slots, const char *const *more)
{
    char directory_option[PATH_MAX], slots_option[16];
    const char *argv[20] = {harness_binary("ladle-worker"),
                            "--broker",
                            endpoint,
                            "--name",
                            name,
                            "--slots",
                            slots_option,
                            "--directory",
                            directory_option};
    struct process *p;

    snprintf(directory_option, sizeof(directory_option), "%s/worker-%s", directory, name);
    snprintf(slots_option, sizeof(slots_option), "%d", slots);
    for (int i = 0; i < 8 && more[i] != NULL; i++)
        argv[9 + i] = more[i];
    p = process_start(argv, NULL);
    await(is_ready(p), SOON);
    await(status_worker(endpoint, name, "slots") == slots, SOON);
    return p;
}

struct process *
worker_start(const char *endpoint, const char *name, int slots)
{
    return worker_start_with(endpoint, name, slots, (const char *const[]){NULL});
}

static json_t *
status(const char *endpoint)
{
    const char *binary = harness_binary("ladle");
    char command[PATH_MAX + 512];
    json_t *report;
    FILE *pipe;

    snprintf(command, sizeof(command), "exec %s status --json --broker %s 2>/dev/null", binary,
             endpoint);
    if ((pipe = popen(command, "re")) == NULL)
        return NULL;
    report = json_loadf(pipe, 0, NULL);
    pclose(pipe);
    return report;
}

long long
status_number(const char *endpoint, const char *key)
{
    json_t *report = status(endpoint);
    json_t *value = json_object_get(report, key);
    long long n = json_is_integer(value) ? (long long)json_integer_value(value) : -1;

    json_decref(report);
    return n;
}

long long
status_worker(const char *endpoint, const char *name, const char *key)
{
    json_t *report = status(endpoint), *row, *value;
    long long n = -1;
    size_t i;

    json_array_foreach(json_object_get(report, "workers"), i, row)
    {
        const char *found = json_string_value(json_object_get(row, "name"));

        if (found == NULL || strcmp(found, name) != 0)
            continue;
        value = json_object_get(row, key);
        n = json_is_boolean(value) ? json_is_true(value) : (long long)json_integer_value(value);
    }
    json_decref(report);
    return n;
}
