#include "keeper.h"

#include "../base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    START_MS = 15000, /* until a daemon has said that it is ready */
    STOP_MS = 2000,   /* from the first SIGTERM to the second, and from there to SIGKILL */
    SHORT_MS = 1000,  /* one that ended sooner is not started again */
};

struct daemon {
    const char *name; /* "ladle-worker" */
    const char *word; /* "worker" */
    char *argv[16];
    pid_t pid; /* 0: does not run */
    int pidfd;
    int out; /* its standard output */
    int64_t started;
};

struct keeper {
    int life, report;
    char directory[PATH_MAX];
    char bind[PATH_MAX + 16];
    char slots[16];
    char cache[PATH_MAX + 16];
    struct daemon broker, worker;
};

/* ---- processes ----------------------------------------------------------------------------- */

static void
describe(int status, char *text, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(text, size, "was killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(text, size, "ended with exit status %d", WEXITSTATUS(status));
}

/* Those of the same build first: beside this very executable. */
static void
execute(const struct daemon *d)
{
    char path[PATH_MAX], *slash;
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (n > 0) {
        path[n] = '\0';
        slash = strrchr(path, '/');
        if (slash != NULL && (size_t)(slash + 1 - path) + strlen(d->name) < sizeof(path)) {
            strcpy(slash + 1, d->name);
            execv(path, d->argv);
        }
    }
    execvp(d->name, d->argv);
}

static void
child(const struct daemon *d, pid_t parent, int out)
{
    sigset_t none;

    setpgid(0, 0);
    /* SIGTERM, not SIGKILL: the broker has a socket to unlink, the worker has executors. */
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent)
        _exit(1);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(out, STDOUT_FILENO) < 0)
        _exit(1);
    execute(d);
    fprintf(stderr, "ladle run: cannot start %s: %s; it is looked for beside ladle and in PATH\n",
            d->name, strerror(errno));
    _exit(127);
}

static int
spawn(struct daemon *d)
{
    pid_t parent = getpid();
    int pipes[2];

    if (pipe2(pipes, O_CLOEXEC) != 0)
        return -1;
    if ((d->pid = fork()) == 0)
        child(d, parent, pipes[1]);
    close(pipes[1]);
    if (d->pid < 0) {
        d->pid = 0;
        close(pipes[0]);
        return -1;
    }
    d->out = pipes[0];
    d->pidfd = (int)syscall(SYS_pidfd_open, d->pid, 0);
    d->started = clock_us();
    return 0;
}

static int
reap(struct daemon *d)
{
    int status = 0;

    while (waitpid(d->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    close(d->pidfd);
    close(d->out);
    d->pid = 0;
    return status;
}

/* And how it ended. */
static int
stop(struct daemon *d)
{
    struct pollfd p = {.fd = d->pidfd, .events = POLLIN};

    if (d->pid == 0)
        return 0;
    kill(d->pid, SIGTERM);
    if (poll(&p, 1, STOP_MS) <=
        0) { /* a worker finishes what runs; at the second one it does not */
        kill(d->pid, SIGTERM);
        if (poll(&p, 1, STOP_MS) <= 0)
            kill(d->pid, SIGKILL);
    }
    return reap(d);
}

/* ---- the directory ------------------------------------------------------------------------- */

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    remove(path);
    return 0;
}

void
keeper_remove(const char *directory)
{
    struct stat st;

    /* Twice: a dying executor may have written something behind our back. */
    for (int i = 0; i < 2 && lstat(directory, &st) == 0; i++)
        nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int
make_directory(struct keeper *k)
{
    const char *base = getenv("TMPDIR");

    /* The path of a socket has at most 107 bytes. */
    if (base == NULL || base[0] != '/' || strlen(base) > 64)
        base = "/tmp";
    snprintf(k->directory, sizeof(k->directory), "%s/ladle-XXXXXX", base);
    if (mkdtemp(k->directory) == NULL) {
        k->directory[0] = '\0';
        return -1;
    }
    snprintf(k->bind, sizeof(k->bind), "ipc://%s/broker", k->directory);
    snprintf(k->cache, sizeof(k->cache), "%s/worker", k->directory);
    return 0;
}

/* ---- the grid ------------------------------------------------------------------------------ */

static void
leave(struct keeper *k, int status)
{
    stop(&k->worker);
    stop(&k->broker);
    if (k->directory[0] != '\0')
        keeper_remove(k->directory);
    _exit(status);
}

__attribute__((format(printf, 2, 3))) static void
give_up(struct keeper *k, const char *format, ...)
{
    char text[1024];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n >= (int)sizeof(text))
        n = (int)sizeof(text) - 1;
    if (write(k->report, text, (size_t)n) < 0)
        leave(k, 2);
    leave(k, 1);
}

/* Wait for its line "NAME: ready ...". */
static void
await_ready(struct keeper *k, struct daemon *d)
{
    int64_t deadline = clock_us() + START_MS * 1000;
    char line[1024], wanted[64], what[128];
    size_t have = 0;

    snprintf(wanted, sizeof(wanted), "%s: ready", d->name);
    for (;;) {
        struct pollfd p[] = {{.fd = d->out, .events = POLLIN}, {.fd = k->life, .events = POLLIN}};
        ssize_t n;

        if (poll(p, 2, clock_poll_timeout(deadline, clock_us())) == 0)
            give_up(k, "the %s was not ready within %d seconds", d->word, START_MS / 1000);
        if (p[1].revents != 0)
            leave(k, 0);
        n = read(d->out, line + have, sizeof(line) - 1 - have);
        if (n <= 0 || have + (size_t)n == sizeof(line) - 1) {
            describe(stop(d), what, sizeof(what));
            give_up(k, "the %s did not start: it %s", d->word, what);
        }
        have += (size_t)n;
        line[have] = '\0';
        if (strncmp(line, wanted, strlen(wanted)) == 0 && strchr(line, '\n') != NULL)
            return;
    }
}

static void
start(struct keeper *k, struct daemon *d)
{
    if (spawn(d) != 0)
        give_up(k, "cannot start the %s: %s", d->word, strerror(errno));
    await_ready(k, d);
}

/* One that ended although nobody told it to: once more, unless it cannot live at all. */
static void
mend(struct daemon *d)
{
    bool again = clock_us() - d->started > SHORT_MS * 1000;
    char what[128];

    describe(reap(d), what, sizeof(what));
    fprintf(stderr, "ladle run: the %s %s%s\n", d->word, what, again ? "; starting another" : "");
    if (again && spawn(d) != 0)
        fprintf(stderr, "ladle run: cannot start the %s: %s\n", d->word, strerror(errno));
}

static void
keep(struct keeper *k)
{
    for (;;) {
        struct pollfd p[] = {
            {.fd = k->life, .events = POLLIN},
            {.fd = k->broker.pid != 0 ? k->broker.pidfd : -1, .events = POLLIN},
            {.fd = k->worker.pid != 0 ? k->worker.pidfd : -1, .events = POLLIN},
        };

        if (poll(p, 3, -1) < 0)
            continue;
        if (p[0].revents != 0)
            leave(k, 0);
        if (p[1].revents != 0)
            mend(&k->broker);
        if (p[2].revents != 0)
            mend(&k->worker);
    }
}

static void
detach(void)
{
    static const int numbers[] = {SIGINT, SIGHUP, SIGTERM, SIGQUIT, SIGPIPE};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t blocked;

    setsid(); /* the terminal's signals are for the program */
    prctl(PR_SET_NAME, "ladle-keeper");
    /* Blocked, not ignored: what a daemon is sent before it is one is not lost. */
    sigemptyset(&blocked);
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        sigaddset(&blocked, numbers[i]);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        signal(numbers[i], SIG_DFL);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO); /* whoever reads the program's output waits for its end */
    close(null);
}

void
keeper_run(unsigned slots, int life, int report)
{
    static struct keeper k;
    static char with_parent[] = "--with-parent", log_level[] = "--log-level=warn";
    static char bind[] = "--bind", broker[] = "--broker", directory[] = "--directory",
                slots_option[] = "--slots", broker_name[] = "ladle-broker",
                worker_name[] = "ladle-worker";

    detach();
    k.life = life;
    k.report = report;
    if (make_directory(&k) != 0)
        give_up(&k, "cannot make a directory in %s: %s",
                getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp", strerror(errno));
    dprintf(report, "%s\n", k.directory);
    k.broker = (struct daemon){.name = broker_name,
                               .word = "broker",
                               .argv = {broker_name, bind, k.bind, with_parent, log_level}};
    k.worker =
        (struct daemon){.name = worker_name,
                        .word = "worker",
                        .argv = {worker_name, broker, k.bind, directory, k.cache, with_parent,
                                 log_level, slots > 0 ? slots_option : NULL, k.slots}};
    snprintf(k.slots, sizeof(k.slots), "%u", slots);
    start(&k, &k.broker);
    start(&k, &k.worker);
    dprintf(report, "ready %s", k.bind);
    close(report);
    keep(&k);
    _exit(0);
}
