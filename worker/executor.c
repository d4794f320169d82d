#include "executor.h"

#include "backstop.h"
#include "cgroups.h"
#include "channel.h"
#include "frames.h"
#include "output.h"
#include "spawn.h"
#include "usage.h"

#include "../base/clock.h"
#include "../base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
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
#define PIPE_READS 3 /* in which a full pipe is empty */
/* Its memory is looked at before it can have used up what is left, and no more often than that. */
#define BYTES_US 4096 /* that may be written to in a microsecond */
#define LOOK_LEAST 2000
#define LOOK_MOST 50000

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
    struct tail tails[2]; /* since it has sent results last */
    char *path, *name;
    char *directory;
    int64_t closed_at;        /* when process_tick() saw that the channel was closed */
    const char *fault;        /* for which it was killed */
    struct cgroup *group;     /* NULL: none */
    uint64_t limit;           /* bytes that it may use; 0: any */
    bool watched;             /* by us: its group does not limit it */
    struct backstop backstop; /* of one that is watched */
    int64_t look_at;
    uint64_t used; /* more than its limit: it was killed for that */
};

/* ---- messages ----------------------------------------------------------------------------------
 */

static bool read_stream(struct stream *s);

static void
on_message(void *arg, const struct message *m)
{
    struct process *p = arg;

    if (m->type == MESSAGE_RESULTS || m->type == MESSAGE_HELLO) {
        /* What was printed comes first: with the last result, the client may be gone. */
        for (int i = 0; i < 2; i++) {
            for (int k = 0; k < PIPE_READS && read_stream(&p->streams[i]); k++)
                ;
            tail_clear(&p->tails[i]); /* others have printed that */
        }
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
    tail_add(&p->tails[s->number - 1], bytes, (size_t)n);
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

    if (config->groups != NULL && (p->group = cgroup_new(config->groups)) == NULL)
        log_debug("an executor runs without a control group: %s", strerror(errno));
    for (unsigned i = 0; p->group != NULL && i < SPAWN_GROUPS; i++)
        request.groups[i] = cgroup_path(p->group, i);

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
        (p->path = strdup(config->path)) == NULL || (p->name = strdup(config->name)) == NULL ||
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
    spawn_signal(p->spawn, signal, true);
}

/* For what it could fill before the next look. */
static void
limit_data(struct process *p, uint64_t used)
{
    if (spawn_ended(p->spawn))
        return;
    if (p->watched)
        backstop_set(&p->backstop, spawn_pid(p->spawn), p->limit, used);
    else
        backstop_lift(&p->backstop, spawn_pid(p->spawn));
}

int64_t
process_limit(struct process *p, uint64_t bytes, int64_t now)
{
    bool limited = p->group != NULL && cgroup_limit(p->group, bytes) == 0;

    p->limit = bytes;
    p->watched = bytes > 0 && !limited;
    p->look_at = p->watched ? now : CLOCK_NEVER;
    limit_data(p, 0);
    return p->look_at;
}

uint64_t
process_usage(const struct process *p)
{
    return usage_of(spawn_pid(p->spawn));
}

void
process_sweep(struct process *p)
{
    spawn_sweep(p->spawn);
}

static int64_t
watch_memory(struct process *p, int64_t now)
{
    uint64_t used;
    int64_t us;

    if (!p->watched || p->used > 0 || now < p->look_at)
        return p->watched && p->used == 0 ? p->look_at : CLOCK_NEVER;
    used = usage_below(spawn_keeper(p->spawn), p->limit);
    if (used > p->limit) {
        p->used = used;
        spawn_signal(p->spawn, SIGKILL, true);
        return CLOCK_NEVER;
    }
    limit_data(p, used);
    us = (int64_t)((p->limit - used) / BYTES_US);
    p->look_at = now + (us < LOOK_LEAST ? LOOK_LEAST : us > LOOK_MOST ? LOOK_MOST : us);
    return p->look_at;
}

static int64_t
watch_channel(struct process *p, int64_t now)
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

int64_t
process_tick(struct process *p, int64_t now)
{
    int64_t memory = watch_memory(p, now), channel = watch_channel(p, now);

    return memory < channel ? memory : channel;
}

/* Was it killed for its use of memory? Then how much that was, as far as is known. */
static bool
overran(const struct process *p, const struct spawn_end *how, uint64_t *used_p)
{
    *used_p = p->used;
    if (p->used > 0 || p->limit == 0 || p->group == NULL || how->signal != SIGKILL)
        return p->used > 0;
    if (!cgroup_overrun(p->group, used_p))
        return false;
    if (*used_p > p->limit) /* before it was limited, or unknown */
        *used_p = p->limit;
    return true;
}

static void __attribute__((format(printf, 4, 5)))
append(char *text, size_t size, size_t *at_p, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text + *at_p, size - *at_p, format, args);
    va_end(args);
    if (n > 0)
        *at_p = *at_p + (size_t)n < size ? *at_p + (size_t)n : size - 1;
}

/* In one sentence, which is the first line of what people read. */
static void
describe_cause(const struct process *p, const struct spawn_end *how, struct process_end *end)
{
    const struct board_death *death = &p->board->death;
    const char *fault = p->channel.fault != NULL ? p->channel.fault : p->fault;
    bool told = how->signal != 0 && frames_known(death) && death->signal == (uint32_t)how->signal;
    unsigned long long peak_kib = told ? death->peak_kib : (unsigned long long)how->peak_kib;
    char *text = end->cause;
    size_t size = sizeof(end->cause), at = 0;

    if (fault != NULL) {
        snprintf(text, size, "%s", fault);
        return;
    }
    if (end->out_of_memory)
        append(text, size, &at, "out of memory: it used %llu MiB of its %llu MiB",
               (unsigned long long)end->memory_used >> 20,
               (unsigned long long)end->memory_limit >> 20);
    else if (how->signal != 0)
        append(text, size, &at, "killed by signal %d (%s)", how->signal, strsignal(how->signal));
    else
        append(text, size, &at, "exited with status %d", how->status);
    if (told && death->stack_size > 0)
        append(text, size, &at, ", as its stack of %llu KiB is full",
               (unsigned long long)death->stack_size >> 10);
    else if (told && death->has_address)
        append(text, size, &at, " at address 0x%llx", (unsigned long long)death->address);
    if (told && death->elsewhere)
        append(text, size, &at, " in a thread of its own");
    if (how->core)
        append(text, size, &at, ", core dumped");
    if (peak_kib > 0 && !end->out_of_memory)
        append(text, size, &at, "; it used %s %llu MiB of memory",
               !told && how->inherited ? "at most" : "up to", (peak_kib >> 10) + 1);
    if (end->memory_limit > 0 && !end->out_of_memory)
        append(text, size, &at, "; its memory was limited to %llu MiB",
               (unsigned long long)end->memory_limit >> 20);
    if (how->signal == SIGKILL && !end->out_of_memory)
        append(text, size, &at, ": out of memory?");
}

static void
describe_output(const struct process *p, int stream, unsigned lines, size_t room, char *text,
                size_t size, size_t *at_p)
{
    char words[1024];

    if (tail_lines(&p->tails[stream - 1], lines, words,
                   room < sizeof(words) ? room : sizeof(words)) > 0)
        append(text, size, at_p, "\n  the last of its standard %s:\n%s",
               stream == 2 ? "error" : "output", words);
    if (*at_p > 0 && text[*at_p - 1] == '\n')
        text[--*at_p] = '\0';
}

static void
describe_where(const struct process *p, const struct spawn_end *how, struct process_end *end)
{
    const struct board_death *death = &p->board->death;
    char *text = end->where, lines[2048];
    size_t size = sizeof(end->where), at = 0;

    describe_output(p, 2, 8, 800, text, size, &at);
    describe_output(p, 1, 4, 400, text, size, &at);
    if (how->signal == 0 || p->config.frames == NULL || !frames_known(death))
        return;
    frames_describe(p->config.frames, death, p->path, p->name, lines, sizeof(lines));
    if (*lines != '\0')
        append(text, size, &at, "\n  where it was:\n%.*s", (int)strlen(lines) - 1, lines);
}

static void
describe(const struct process *p, const struct spawn_end *how, struct process_end *end)
{
    uint64_t used;

    /* A program does that to itself hardly ever: the system, or an operator. */
    end->killed = how->signal == SIGKILL || how->signal == SIGTERM || how->signal == SIGHUP;
    end->clean = how->signal == 0 && how->status == 0;
    end->out_of_memory = overran(p, how, &used);
    end->memory_used = used;
    end->memory_limit = p->limit;
    describe_cause(p, how, end);
    describe_where(p, how, end);
    tail_words(&p->tails[1], 4, end->words, sizeof(end->words));
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
    cgroup_free(p->group);
    channel_close(&p->channel);
    close_stream(p, &p->streams[0]);
    close_stream(p, &p->streams[1]);
    if (p->board != NULL)
        munmap(p->board, sizeof(*p->board));
    free(p->directory);
    free(p->path);
    free(p->name);
    free(p);
}
