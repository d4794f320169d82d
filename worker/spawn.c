#include "spawn.h"

#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE 2
#endif
#define STACK (32u << 10)
#define ROUNDS 500 /* of 10 ms, until what cannot be killed is left alone */

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
    const struct spawn_request *request;
    pid_t host, keeper, pid;
    int pidfd;           /* of the keeper */
    int error;           /* errno of what failed before exec(), or of exec() */
    _Atomic int started; /* a futex: exec() is done, or failed */
    _Atomic int ended;
    bool forsaken; /* the host is dead: nobody will ask how it ended */
    siginfo_t how;
    long host_kib; /* our own peak: exec() hands it down */
    struct rusage usage;
    char groups[SPAWN_GROUPS][PATH_MAX]; /* the keeper needs them when the request is gone */
    _Alignas(64) char keeper_stack[STACK];
    _Alignas(64) char child_stack[STACK];
};

/* What runs in the keeper and in its child shares our memory and our thread-local storage, at the
 * same time as we do: system calls only, no libc that keeps anything, not even errno, and no
 * sanitizer. */
#define ALONE __attribute__((noinline, no_sanitize("address", "undefined", "thread")))

static const unsigned long nothing[32]; /* an empty signal set, a default disposition */

ALONE static void
reset_signals(void)
{
    for (int i = 1; i <= 64; i++)
        kernel(SYS_rt_sigaction, i, nothing, NULL, 8);
}

/* ---- files, without libc ----------------------------------------------------------------------
 */

/* `name` in the directory of a control group. Returns the descriptor. */
ALONE static int
open_in(const char *group, const char *name, int flags)
{
    char path[PATH_MAX + 32];
    size_t n = 0;

    while (group[n] != '\0') {
        path[n] = group[n];
        n++;
    }
    path[n++] = '/';
    while ((path[n] = *name++) != '\0')
        n++;
    return (int)kernel(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0);
}

ALONE static int
write_in(const char *group, const char *name, const char *digit)
{
    int fd = open_in(group, name, O_WRONLY), rc;

    if (fd < 0)
        return -1;
    rc = kernel(SYS_write, fd, digit, 1) == 1 ? 0 : -1;
    kernel(SYS_close, fd);
    return rc;
}

/* Kill all whose numbers the file lists, but `except`. Closes it. */
ALONE static void
kill_listed(int fd, pid_t except)
{
    char text[1024];
    pid_t pid = 0;
    long n;

    if (fd < 0)
        return;
    while ((n = kernel(SYS_read, fd, text, sizeof(text))) > 0) {
        for (long i = 0; i < n; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (text[i] - '0');
                continue;
            }
            if (pid > 0 && pid != except)
                kernel(SYS_kill, pid, SIGKILL);
            pid = 0;
        }
    }
    if (pid > 0 && pid != except)
        kernel(SYS_kill, pid, SIGKILL);
    kernel(SYS_close, fd);
}

/* ---- the executor, before exec() ----------------------------------------------------------------
 */

ALONE static int
run(void *arg)
{
    struct spawn *s = arg;
    const struct spawn_request *request = s->request;
    long rc;

    kernel(SYS_prctl, PR_SET_PDEATHSIG, SIGHUP, 0, 0, 0);
    if (kernel(SYS_getppid) != s->keeper) {
        s->error = ESRCH;
        return 127;
    }
    reset_signals();
    if ((rc = kernel(SYS_setpgid, 0, 0)) != 0)
        goto failed;
    for (int i = 0; i < SPAWN_GROUPS; i++) {
        if (s->groups[i][0] == '\0' || write_in(s->groups[i], "cgroup.procs", "0") == 0)
            continue;
        s->error = EAGAIN; /* that says nothing of the program */
        return 127;
    }
    for (int i = 0; i < 5; i++)
        if ((rc = kernel(SYS_dup3, request->fds[i], i, 0)) < 0)
            goto failed;
    kernel(SYS_close_range, 5, ~0u, 0);
    if (request->directory != NULL && (rc = kernel(SYS_chdir, request->directory)) != 0)
        goto failed;
    kernel(SYS_rt_sigprocmask, SIG_SETMASK, nothing, NULL, 8);
    rc = kernel(SYS_execve, request->path, request->argv, request->envp);
failed:
    s->error = (int)-rc;
    return 127;
}

/* ---- the keeper --------------------------------------------------------------------------------
 */

/* Of its signals, all blocked: SIGCHLD, and these two. */
#define ORPHANED 64 /* its host is dead */
#define SWEEP 63    /* spawn_sweep() */
#define BIT(signal) (1ull << ((signal)-1))

ALONE static int
await_signal(long ms)
{
    const uint64_t set = BIT(SIGCHLD) | BIT(ORPHANED) | BIT(SWEEP);
    const struct timespec patience = {.tv_nsec = ms * 1000000};

    return (int)kernel(SYS_rt_sigtimedwait, &set, NULL, ms > 0 ? &patience : NULL, 8);
}

/* Its children are the executor, and what descends from that and has lost its parents, whatever
 * session it fled to. They are killed by their parent, so that no number can be another's. */
ALONE static void
kill_children(pid_t except)
{
    kill_listed(
        (int)kernel(SYS_openat, AT_FDCWD, "/proc/thread-self/children", O_RDONLY | O_CLOEXEC, 0),
        except);
}

ALONE static void
kill_groups(const struct spawn *s)
{
    for (int i = 0; i < SPAWN_GROUPS; i++)
        if (s->groups[i][0] != '\0' && write_in(s->groups[i], "cgroup.kill", "1") == 0)
            return;
    for (int i = 0; i < SPAWN_GROUPS; i++)
        if (s->groups[i][0] != '\0')
            kill_listed(open_in(s->groups[i], "cgroup.procs", O_RDONLY), 0);
}

/* Until the executor has ended, or there is nobody any more for whom it runs. */
ALONE static void
watch(struct spawn *s)
{
    siginfo_t *how = &s->how;
    int signal = 0;

    for (;;) {
        how->si_pid = 0;
        while (kernel(SYS_waitid, P_ALL, 0, how, WEXITED | WNOWAIT | WNOHANG | __WALL, NULL) == 0 &&
               how->si_pid != 0) {
            if (how->si_pid == s->pid)
                return;
            kernel(SYS_waitid, P_PID, how->si_pid, how, WEXITED | WNOHANG | __WALL, NULL);
            how->si_pid = 0;
        }
        s->forsaken = signal == ORPHANED || kernel(SYS_getppid) != s->host;
        if (s->forsaken)
            return;
        if ((signal = await_signal(0)) == SWEEP)
            kill_children(s->pid);
    }
}

/* What it left behind; what that leaves behind becomes ours in turn. */
ALONE static void
clear(struct spawn *s)
{
    siginfo_t info;

    for (int i = 0; i < ROUNDS; i++) {
        kill_groups(s);
        kill_children(0);
        do {
            info.si_pid = 0;
            if (kernel(SYS_waitid, P_ALL, 0, &info, WEXITED | WNOHANG | __WALL, NULL) != 0)
                return; /* there are none */
        } while (info.si_pid != 0);
        await_signal(10);
    }
}

ALONE static void
bury(struct spawn *s)
{
    if (s->error == 0) /* while its leader is not reaped, the group's number is not another's */
        kernel(SYS_kill, -s->pid, SIGKILL);
    if (s->forsaken) {
        kernel(SYS_kill, s->pid, SIGKILL);
        /* The host's connections: its peers shall see at once that it is gone. */
        kernel(SYS_close_range, 0, ~0u, CLOSE_RANGE_UNSHARE);
    }
    atomic_store(&s->ended, 1);
    kernel(SYS_waitid, P_PID, s->pid, &s->how, WEXITED, &s->usage);
    clear(s);
    for (int i = 0; i < SPAWN_GROUPS && s->forsaken; i++)
        if (s->groups[i][0] != '\0')
            kernel(SYS_unlinkat, AT_FDCWD, s->groups[i], AT_REMOVEDIR);
}

ALONE static int
keep(void *arg)
{
    struct spawn *s = arg;

    kernel(SYS_prctl, PR_SET_PDEATHSIG, ORPHANED, 0, 0, 0);
    kernel(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    kernel(SYS_prctl, PR_SET_NAME, "ladle-keeper", 0, 0, 0);
    if (kernel(SYS_getppid) != s->host)
        kernel(SYS_exit_group, 0);
    s->keeper = (pid_t)kernel(SYS_getpid);
    /* Ignored in the program, SIGCHLD would have our child reaped by itself. */
    kernel(SYS_rt_sigaction, SIGCHLD, nothing, NULL, 8);
    s->pid = clone(run, s->child_stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, s);
    if (s->pid < 0)
        s->error = errno; /* of clone() alone: the host waits for our start */
    atomic_store(&s->started, 1);
    kernel(SYS_futex, &s->started, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    if (s->pid > 0) {
        watch(s);
        bury(s);
    }
    kernel(SYS_exit_group, 0);
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
    for (int i = 0; i < SPAWN_GROUPS; i++)
        if (request->groups[i] != NULL)
            snprintf(s->groups[i], sizeof(s->groups[i]), "%s", request->groups[i]);
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
    if (s->error == 0)
        return s;
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

pid_t
spawn_keeper(const struct spawn *s)
{
    return s->keeper;
}

bool
spawn_ended(const struct spawn *s)
{
    return atomic_load(&s->ended) != 0;
}

void
spawn_signal(const struct spawn *s, int signal, bool group)
{
    if (!atomic_load(&s->ended))
        kill(group ? -s->pid : s->pid, signal);
}

void
spawn_sweep(const struct spawn *s)
{
    if (!atomic_load(&s->ended))
        kill(s->keeper, SWEEP);
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
    release(s);
}
