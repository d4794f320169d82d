#include "spawn.h"

#include <dirent.h>
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#define STACK (32u << 10)

#if defined(__SANITIZE_THREAD__)
#define SANITIZE_THREAD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZE_THREAD 1
#endif
#endif
#ifdef SANITIZE_THREAD
/* The sanitizer takes every clone() for a fork(), and forgets our threads; this name it lets be. */
int __clone(int (*run)(void *), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif

struct spawn {
    LIST_ENTRY(spawn) next;
    const struct spawn_request *request;
    pid_t host, keeper, pid;
    int pidfd;           /* of the keeper */
    int error;           /* errno of what failed before exec(), or of exec() */
    _Atomic int started; /* a futex: exec() is done, or failed */
    _Atomic int ended;
    siginfo_t how;
    long host_kib; /* our own peak: exec() hands it down */
    struct rusage usage;
    _Alignas(64) char keeper_stack[STACK];
    _Alignas(64) char child_stack[STACK];
};

/* Those of an adopting process, which has one thread that spawns. */
static LIST_HEAD(, spawn) family = LIST_HEAD_INITIALIZER(family);
static bool adopting;

/* What runs in the keeper and in its child shares our memory and our thread-local storage, at the
 * same time as we do: system calls only, no libc that keeps anything, no sanitizer. */
#define ALONE __attribute__((noinline, no_sanitize("address", "undefined", "thread")))

static const unsigned long nothing[32]; /* an empty signal set, a default disposition */

ALONE static void
reset_signals(void)
{
    for (int i = 1; i <= 64; i++)
        syscall(SYS_rt_sigaction, i, nothing, NULL, 8);
}

ALONE static int
run(void *arg)
{
    struct spawn *s = arg;
    const struct spawn_request *request = s->request;

    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGHUP, 0, 0, 0);
    if (adopting) /* else a task's daemon would be ours, and swept, while its executor lives */
        syscall(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (syscall(SYS_getppid) != s->keeper) {
        s->error = ESRCH;
        return 127;
    }
    reset_signals();
    if (syscall(SYS_setpgid, 0, 0) != 0)
        goto failed;
    for (int i = 0; i < 5; i++)
        if (syscall(SYS_dup3, request->fds[i], i, 0) < 0)
            goto failed;
    syscall(SYS_close_range, 5, ~0u, 0);
    if (request->directory != NULL && syscall(SYS_chdir, request->directory) != 0)
        goto failed;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, nothing, NULL, 8);
    syscall(SYS_execve, request->path, request->argv, request->envp);
failed:
    s->error = errno;
    return 127;
}

ALONE static int
keep(void *arg)
{
    struct spawn *s = arg;

    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    syscall(SYS_prctl, PR_SET_NAME, "ladle-keeper", 0, 0, 0);
    if (syscall(SYS_getppid) != s->host)
        syscall(SYS_exit_group, 0);
    s->keeper = (pid_t)syscall(SYS_getpid);
    /* Ignored in the program, SIGCHLD would have our child reaped by itself. */
    syscall(SYS_rt_sigaction, SIGCHLD, nothing, NULL, 8);
    s->pid = clone(run, s->child_stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, s);
    if (s->pid < 0)
        s->error = errno;
    atomic_store(&s->started, 1);
    syscall(SYS_futex, &s->started, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    if (s->pid > 0) {
        syscall(SYS_waitid, P_PID, s->pid, &s->how, WEXITED | WNOWAIT, NULL);
        if (s->error == 0) /* while its leader is a zombie, the group's number is not another's */
            syscall(SYS_kill, -s->pid, SIGKILL);
        atomic_store(&s->ended, 1);
        syscall(SYS_waitid, P_PID, s->pid, &s->how, WEXITED, &s->usage);
    }
    syscall(SYS_exit_group, 0);
    return 0;
}

static void
await_start(struct spawn *s)
{
    struct timespec patience = {.tv_nsec = 100000000};
    struct pollfd gone = {.fd = s->pidfd, .events = POLLIN};

    while (!atomic_load(&s->started)) {
        syscall(SYS_futex, &s->started, FUTEX_WAIT_PRIVATE, 0, &patience, NULL, 0);
        if (!atomic_load(&s->started) && poll(&gone, 1, 0) > 0) {
            s->error = ECHILD; /* somebody killed the keeper */
            return;
        }
    }
}

static void
release(struct spawn *s)
{
    while (waitpid(s->keeper, NULL, __WALL) < 0 && errno == EINTR)
        ;
    close(s->pidfd);
    munmap(s, sizeof(*s));
}

struct spawn *
spawn_start(const struct spawn_request *request)
{
    sigset_t all, before;
    struct rusage own;
    struct spawn *s;
    int error;

    s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED)
        return NULL;
    s->request = request;
    s->host = getpid();
    s->host_kib = getrusage(RUSAGE_SELF, &own) == 0 ? own.ru_maxrss : 0;
    s->pidfd = -1;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    s->keeper =
        clone(keep, s->keeper_stack + STACK, CLONE_VM | CLONE_FILES | CLONE_PIDFD, s, &s->pidfd);
    error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (s->keeper < 0) {
        munmap(s, sizeof(*s));
        errno = error;
        return NULL;
    }
    await_start(s);
    s->request = NULL;
    if (s->error == 0) {
        if (adopting)
            LIST_INSERT_HEAD(&family, s, next);
        return s;
    }
    error = s->error;
    release(s);
    errno = error;
    return NULL;
}

int
spawn_fd(const struct spawn *s)
{
    return s->pidfd;
}

pid_t
spawn_pid(const struct spawn *s)
{
    return s->pid;
}

void
spawn_signal(const struct spawn *s, int signal, bool group)
{
    if (!atomic_load(&s->ended))
        kill(group ? -s->pid : s->pid, signal);
}

void
spawn_finish(struct spawn *s, struct spawn_end *end)
{
    struct pollfd gone = {.fd = s->pidfd, .events = POLLIN};

    while (poll(&gone, 1, -1) <= 0)
        ;
    memset(end, 0, sizeof(*end));
    if (!atomic_load(&s->ended)) { /* somebody killed the keeper: the executor died of that */
        end->signal = SIGHUP;
    } else if (s->how.si_code == CLD_EXITED) {
        end->status = s->how.si_status;
    } else {
        end->signal = s->how.si_status;
        end->core = s->how.si_code == CLD_DUMPED;
    }
    end->peak_kib = s->usage.ru_maxrss;
    end->inherited = s->usage.ru_maxrss <= s->host_kib;
    if (adopting)
        LIST_REMOVE(s, next);
    release(s);
}

/* ---- what tasks leave behind -------------------------------------------------------------------
 */

void
spawn_adopt(void)
{
    adopting = prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0;
}

static bool
is_keeper(pid_t pid)
{
    const struct spawn *s;

    LIST_FOREACH (s, &family, next) {
        if (s->keeper == pid)
            return true;
    }
    return false;
}

/* Kill the children of one thread that are no keepers. Returns how many. */
static unsigned
kill_strays(const char *tid)
{
    char path[64];
    unsigned n = 0;
    int pid;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/self/task/%.20s/children", tid);
    if ((f = fopen(path, "re")) == NULL)
        return 0;
    while (fscanf(f, "%d", &pid) == 1) {
        if (is_keeper(pid))
            continue;
        n++;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, __WALL | WNOHANG); /* or in the next round, or sweep */
    }
    fclose(f);
    return n;
}

void
spawn_sweep(void)
{
    const struct dirent *d;
    unsigned n = 1;
    DIR *dir;

    /* The children of those that were killed become ours in turn. */
    for (int i = 0; adopting && n > 0 && i < 100; i++) {
        if ((dir = opendir("/proc/self/task")) == NULL)
            return;
        n = 0;
        while ((d = readdir(dir)) != NULL)
            if (d->d_name[0] != '.')
                n += kill_strays(d->d_name);
        closedir(dir);
    }
}
