/* ladle run: a program with a grid of its own. */
#include "command.h"
#include "grid.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct options {
    unsigned slots;
    char **program; /* argv of the program */
};

static const struct argp_option options[] = {
    {"slots", 'n', "N", 0,
     "Tasks that run at the same time. Default: one for each core that ladle may use", 0},
    {0}};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    unsigned long n;
    char *end;

    switch (key) {
    case 'n':
        errno = 0;
        n = strtoul(arg, &end, 10);
        if (arg[0] < '0' || arg[0] > '9' || *end != '\0' || errno != 0 || n < 1 || n > 65535)
            argp_error(state, "'%s' is no number of slots: 1 to 65535", arg);
        o->slots = (unsigned)n;
        return 0;
    case ARGP_KEY_ARG: /* the program; what follows is for it */
        o->program = &state->argv[state->next - 1];
        state->next = state->argc;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which program?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- the program --------------------------------------------------------------------------- */

static void
execute(char **argv, const char *endpoint, pid_t parent, int failure)
{
    sigset_t none;
    int error;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* The grid goes away with ladle, and nothing is to be left behind. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent &&
        setenv("LADLE_BROKER", endpoint, 1) == 0)
        execvp(argv[0], argv);
    error = errno;
    if (write(failure, &error, sizeof(error)) < 0)
        _exit(126);
    _exit(127);
}

static int
complain(const char *program, int error)
{
    if (error == ENOENT && strchr(program, '/') == NULL)
        fprintf(stderr, "ladle run: no program '%s' in PATH; one in this directory is ./%s\n",
                program, program);
    else if (error == ENOENT)
        fprintf(stderr, "ladle run: no program '%s', or the interpreter that it names is missing\n",
                program);
    else
        fprintf(stderr, "ladle run: cannot execute '%s': %s\n", program, strerror(error));
    return error == ENOENT ? 127 : 126;
}

/* 0 and its process id; or the exit status of a program that cannot start. */
static int
spawn(char **argv, const char *endpoint, pid_t *pid_p)
{
    pid_t parent = getpid();
    int pipes[2], error = 0;

    if (pipe2(pipes, O_CLOEXEC) != 0)
        return complain(argv[0], errno);
    if ((*pid_p = fork()) == 0)
        execute(argv, endpoint, parent, pipes[1]);
    close(pipes[1]);
    if (*pid_p < 0)
        error = errno;
    else if (read(pipes[0], &error, sizeof(error)) == sizeof(error))
        waitpid(*pid_p, NULL, 0);
    close(pipes[0]);
    return error == 0 ? 0 : complain(argv[0], error);
}

/* What the terminal sends, it sends to the program too: that is in the same process group. */
static void
forward(const struct signalfd_siginfo *info, pid_t pid)
{
    if (info->ssi_signo != SIGCHLD && info->ssi_code != SI_KERNEL)
        kill(pid, (int)info->ssi_signo);
}

static int
await(const char *program, pid_t pid, int signals)
{
    struct signalfd_siginfo info;
    int status, number;

    while (waitpid(pid, &status, WNOHANG) == 0)
        if (read(signals, &info, sizeof(info)) == sizeof(info))
            forward(&info, pid);
    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    number = WTERMSIG(status);
    if (number != SIGINT && number != SIGPIPE)
        fprintf(stderr, "ladle run: %s was killed by signal %d (%s)\n", program, number,
                strsignal(number));
    return 128 + number;
}

/* ---- the command --------------------------------------------------------------------------- */

/* Those that end a run, before the program is there to decide that; with the ends of children too,
 * once it is. All are blocked from the start, so none is missed. */
static int
watch_signals(int fd, bool children)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    sigset_t set, blocked;

    sigemptyset(&set);
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        sigaddset(&set, numbers[i]);
    blocked = set;
    sigaddset(&blocked, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &blocked, NULL) != 0)
        return -1;
    return signalfd(fd, children ? &blocked : &set, SFD_CLOEXEC);
}

static int
run(const struct options *o, int signals)
{
    struct signalfd_siginfo info;
    char why[1024];
    struct grid *grid;
    pid_t pid = -1;
    int status;

    if ((grid = grid_start(o->slots, signals, why, sizeof(why))) == NULL) {
        if (why[0] != '\0') {
            fprintf(stderr, "ladle run: %s\n", why);
            return 1;
        }
        return read(signals, &info, sizeof(info)) == sizeof(info) ? 128 + (int)info.ssi_signo : 1;
    }
    watch_signals(signals, true);
    if ((status = spawn(o->program, grid_endpoint(grid), &pid)) == 0)
        status = await(o->program[0], pid, signals);
    grid_stop(grid);
    return status;
}

int
command_run(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "[--] PROGRAM [ARGUMENT...]",
        "Run a program with a broker and a worker of its own on this machine, and take them down "
        "after it.\vThe program finds its broker in LADLE_BROKER. The exit status is the "
        "program's; 128 + N if it was killed by signal N; 126 or 127 if it could not be executed "
        "or found; 1 if the broker or the worker did not start.",
        NULL,
        NULL,
        NULL};
    struct options o = {0};
    int signals;

    argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &o);
    if ((signals = watch_signals(-1, false)) < 0) {
        fprintf(stderr, "ladle run: cannot start: %s\n", strerror(errno));
        return 1;
    }
    return run(&o, signals);
}
