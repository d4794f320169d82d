#include "executor.h"

#include "channel.h"
#include "output.h"
#include "spawn.h"

#include "../base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSED_US 500000 /* to end, after the socket was closed */
#define OUTPUT_READ (32u << 10)

struct stream { /* stdout or stderr */
    struct process *process;
    struct watch watch; /* its fd is -1 once it is closed */
    int number;
};

struct process {
    struct process_config config; /* path, arguments and envp are not kept */
    struct spawn *spawn;
    struct board *board;
    struct channel channel;
    struct watch end;
    struct stream streams[2];
    struct tail tail; /* of stderr */
    char *directory;
    int64_t closed_at; /* when process_tick() saw that the channel was closed */
    const char *fault; /* for which it was killed */
};

/* ---- messages ----------------------------------------------------------------------------------
 */

static bool read_stream(struct stream *s);

static void
on_message(void *arg, const struct message *m)
{
    struct process *p = arg;

    if (m->type == MESSAGE_RESULTS) {
        /* What was printed comes first: with the last result, the client may be gone. */
        read_stream(&p->streams[0]);
        read_stream(&p->streams[1]);
    }
    p->config.events->message(p->config.arg, p->config.number, m);
}

void
process_send(struct process *p, const struct message *m)
{
    if (channel_send(&p->channel, m))
        atomic_fetch_add_explicit(&p->board->mail, 1, memory_order_release);
}

void
process_hang_up(struct process *p)
{
    channel_hang_up(&p->channel);
}

void
process_hold(struct process *p, bool hold)
{
    channel_hold(&p->channel, hold);
}

/* ---- output ------------------------------------------------------------------------------------
 */

static void
close_stream(struct process *p, struct stream *s)
{
    if (s->watch.fd < 0)
        return;
    poller_unwatch(p->config.poller, &s->watch);
    close(s->watch.fd);
    s->watch.fd = -1;
}

/* True if there may be more. */
static bool
read_stream(struct stream *s)
{
    struct process *p = s->process;
    char bytes[OUTPUT_READ];
    ssize_t n;

    if (s->watch.fd < 0)
        return false;
    n = read(s->watch.fd, bytes, sizeof(bytes));
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            close_stream(p, s);
        return false;
    }
    if (s->number == 2)
        tail_add(&p->tail, bytes, (size_t)n);
    p->config.events->output(p->config.arg, p->config.number, s->number, bytes, (size_t)n);
    return true;
}

static void
on_stream(void *arg, uint32_t events)
{
    (void)events;
    read_stream(arg);
}

static void
on_end(void *arg, uint32_t events)
{
    struct process *p = arg;

    (void)events;
    poller_unwatch(p->config.poller, &p->end);
    p->config.events->gone(p->config.arg, p->config.number);
}

/* ---- starting ----------------------------------------------------------------------------------
 */

static char **
make_argv(const struct process_config *config)
{
    size_t n = 0, i = 0;
    char **argv;
    union {
        const char *from;
        char *argument;
    } at = {config->arguments};

    for (size_t k = 0; k < config->arguments_size; k++)
        n += config->arguments[k] == '\0';
    if ((argv = calloc(n + 2, sizeof(*argv))) == NULL)
        return NULL;
    if (n == 0) {
        at.from = config->path;
        argv[0] = at.argument;
    }
    for (; i < n; i++) {
        argv[i] = at.argument;
        at.from += strlen(at.from) + 1;
    }
    return argv;
}

/* Above those that it becomes in the executor, and closed there by itself. */
static int
lift(int fd)
{
    int lifted, error;

    if (fd < 0)
        return -1;
    lifted = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    error = errno;
    close(fd);
    errno = error;
    return lifted;
}

static int
make_board(struct process *p)
{
    int fd = lift(memfd_create("ladle-board", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    void *at;

    if (fd < 0)
        return -1;
    if (ftruncate(fd, sizeof(struct board)) != 0)
        goto fail;
    /* A task that shortened it would kill us with SIGBUS. */
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    at = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        goto fail;
    p->board = at;
    p->board->version = BOARD_VERSION;
    return fd;
fail:
    close(fd);
    return -1;
}

static int
make_pipe(struct process *p, int number)
{
    struct stream *s = &p->streams[number - 1];
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    s->process = p;
    s->number = number;
    s->watch = (struct watch){.fd = lift(ends[0]), .ready = on_stream, .arg = s};
    if (s->watch.fd < 0) {
        close(ends[1]);
        return -1;
    }
    return lift(ends[1]);
}

static int
make_socket(struct process *p)
{
    int ends[2], ours;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return -1;
    p->channel = (struct channel){
        .poller = p->config.poller,
        .receiving = p->config.receiving,
        .sending = p->config.sending,
        .message = on_message,
        .arg = p,
    };
    if ((ours = lift(ends[0])) < 0 || channel_open(&p->channel, ours) != 0) {
        close(ends[1]);
        return -1;
    }
    return lift(ends[1]);
}

static int
spawn(struct process *p, const struct process_config *config)
{
    struct spawn_request request = {
        .path = config->path, .envp = config->envp, .directory = config->directory};
    char **argv = make_argv(config);
    int error;

    request.argv = argv;
    request.fds[0] = lift(open("/dev/null", O_RDONLY | O_CLOEXEC));
    request.fds[1] = make_pipe(p, 1);
    request.fds[2] = make_pipe(p, 2);
    request.fds[3] = make_socket(p);
    request.fds[4] = make_board(p);
    if (argv == NULL)
        errno = ENOMEM;
    else if (request.fds[0] >= 0 && request.fds[1] >= 0 && request.fds[2] >= 0 &&
             request.fds[3] >= 0 && request.fds[4] >= 0)
        p->spawn = spawn_start(&request);
    error = errno;
    for (int i = 0; i < 5; i++)
        if (request.fds[i] >= 0)
            close(request.fds[i]);
    free(argv);
    errno = error;
    return p->spawn == NULL ? -1 : 0;
}

struct process *
process_start(const struct process_config *config)
{
    struct process *p = calloc(1, sizeof(*p));
    int error;

    if (p == NULL)
        return NULL;
    p->config = *config;
    p->streams[0].watch.fd = p->streams[1].watch.fd = -1;
    if ((config->directory != NULL && (p->directory = strdup(config->directory)) == NULL) ||
        spawn(p, config) != 0)
        goto fail;
    p->end = (struct watch){.fd = spawn_fd(p->spawn), .ready = on_end, .arg = p};
    if (poller_watch(config->poller, &p->end, EPOLLIN) != 0 ||
        poller_watch(config->poller, &p->streams[0].watch, EPOLLIN) != 0 ||
        poller_watch(config->poller, &p->streams[1].watch, EPOLLIN) != 0)
        goto fail;
    channel_hold(&p->channel, config->hold);
    return p;
fail:
    error = errno;
    process_free(p);
    errno = error;
    return NULL;
}

/* ---- ending ------------------------------------------------------------------------------------
 */

struct board *
process_board(struct process *p)
{
    return p->board;
}

const char *
process_directory(const struct process *p)
{
    return p->directory;
}

void
process_signal(struct process *p, int signal)
{
    spawn_signal(p->spawn, signal, signal == SIGKILL);
}

int64_t
process_tick(struct process *p, int64_t now)
{
    if (!p->channel.closed || p->fault != NULL)
        return CLOCK_NEVER;
    if (p->closed_at == 0)
        p->closed_at = now;
    /* Most often it has just died: give its end time to be seen, before a kill would hide its
     * cause. */
    if (p->channel.fault == NULL && now - p->closed_at < CLOSED_US)
        return p->closed_at + CLOSED_US;
    p->fault = p->channel.fault != NULL ? p->channel.fault
                                        : "closed descriptor 3, its connection to the worker";
    spawn_signal(p->spawn, SIGKILL, true);
    return CLOCK_NEVER;
}

static void
describe(const struct process *p, const struct spawn_end *how, struct process_end *end)
{
    const char *fault = p->channel.fault != NULL ? p->channel.fault : p->fault;

    /* A program does that to itself hardly ever: the system, or an operator. */
    end->killed = how->signal == SIGKILL || how->signal == SIGTERM || how->signal == SIGHUP;
    end->clean = how->signal == 0 && how->status == 0;
    if (fault != NULL)
        snprintf(end->cause, sizeof(end->cause), "%s", fault);
    else if (how->signal == SIGKILL)
        snprintf(end->cause, sizeof(end->cause),
                 "killed by signal 9 (Killed) with %ld MiB of memory in use: out of memory?",
                 how->peak_kib >> 10);
    else if (how->signal != 0)
        snprintf(end->cause, sizeof(end->cause), "killed by signal %d (%s%s)", how->signal,
                 strsignal(how->signal), how->core ? ", core dumped" : "");
    else
        snprintf(end->cause, sizeof(end->cause), "exited with status %d", how->status);
    tail_words(&p->tail, 4, end->words, sizeof(end->words));
}

void
process_finish(struct process *p, struct process_end *end)
{
    struct spawn_end how;

    poller_unwatch(p->config.poller, &p->end);
    channel_drain(&p->channel);
    for (int i = 0; i < 2; i++)
        while (read_stream(&p->streams[i]))
            ;
    spawn_finish(p->spawn, &how);
    p->spawn = NULL;
    memset(end, 0, sizeof(*end));
    describe(p, &how, end);
}

void
process_free(struct process *p)
{
    struct spawn_end how;

    if (p == NULL)
        return;
    poller_unwatch(p->config.poller, &p->end);
    if (p->spawn != NULL) {
        spawn_signal(p->spawn, SIGKILL, true);
        spawn_finish(p->spawn, &how);
    }
    channel_close(&p->channel);
    close_stream(p, &p->streams[0]);
    close_stream(p, &p->streams[1]);
    if (p->board != NULL)
        munmap(p->board, sizeof(*p->board));
    free(p->directory);
    free(p);
}
