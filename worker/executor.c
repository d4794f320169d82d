#include "executor.h"

#include "output.h"
#include "spawn.h"

#include "../base/clock.h"
#include "../proto/limits.h"
#include "../proto/wire.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define STAGE (16u << 10) /* read at once */
#define TURN (512u << 10) /* bytes that one executor may send before others have a turn */
#define CLOSED_US 500000  /* to end, after the socket was closed */
#define OUTPUT_READ (32u << 10)

struct outgoing { /* what the socket did not take at once */
    TAILQ_ENTRY(outgoing) next;
    struct blob *data;
    size_t at, left; /* of the data */
    size_t head_at, head_size;
    uint8_t head[]; /* prefix and header */
};

struct stream { /* stdout or stderr */
    struct process *process;
    struct watch watch; /* its fd is -1 once it is closed */
    int number;
};

struct process {
    struct process_config config; /* path, arguments and envp are not kept */
    struct spawn *spawn;
    struct board *board;
    struct watch socket, end;
    struct stream streams[2];
    struct tail tail; /* of stderr */
    char *directory;

    /* The message that comes in: bytes [begin, end) of the stage, and its data if these do not fit.
     */
    uint8_t *stage;
    size_t room, begin, filled;
    struct blob *data;
    size_t have; /* bytes of the data */

    TAILQ_HEAD(, outgoing) out;
    bool hold;
    bool closed;       /* the socket was closed from the other side, or is of no more use */
    int64_t closed_at; /* seen by process_tick() */
    const char *fault; /* it sent what is no message */
};

/* ---- sending -----------------------------------------------------------------------------------
 */

static void
update_watch(struct process *p)
{
    uint32_t events =
        (p->hold || p->closed ? 0 : EPOLLIN) | (TAILQ_EMPTY(&p->out) || p->closed ? 0 : EPOLLOUT);

    if (p->closed || poller_watch(p->config.poller, &p->socket, events) != 0)
        poller_unwatch(p->config.poller, &p->socket);
}

static void
free_outgoing(struct process *p)
{
    struct outgoing *o;

    while ((o = TAILQ_FIRST(&p->out)) != NULL) {
        TAILQ_REMOVE(&p->out, o, next);
        blob_unref(o->data);
        free(o);
    }
}

static void
broken(struct process *p)
{
    if (p->closed)
        return;
    /* Most often the executor has just died: give its end time to be seen before a kill would
     * hide its cause. */
    p->closed = true;
    update_watch(p);
}

static void
condemn(struct process *p, const char *fault)
{
    if (p->fault == NULL)
        p->fault = fault;
    broken(p);
    if (p->spawn != NULL)
        spawn_signal(p->spawn, SIGKILL, true);
}

/* Write as much as the socket takes; moves the offsets. -1 if it is broken. */
static int
write_some(struct process *p, struct outgoing *o)
{
    struct iovec iov[2] = {
        {o->head + o->head_at, o->head_size - o->head_at},
        {o->left > 0 ? o->data->bytes + o->at : NULL, o->left},
    };
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n = sendmsg(p->socket.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    size_t head = o->head_size - o->head_at, sent;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    sent = (size_t)n;
    if (sent < head) {
        o->head_at += sent;
        return 0;
    }
    o->head_at = o->head_size;
    o->at += sent - head;
    o->left -= sent - head;
    return 0;
}

static void
write_out(struct process *p)
{
    struct outgoing *o;

    while ((o = TAILQ_FIRST(&p->out)) != NULL) {
        if (write_some(p, o) != 0) {
            broken(p);
            return;
        }
        if (o->head_at < o->head_size || o->left > 0)
            break;
        TAILQ_REMOVE(&p->out, o, next);
        blob_unref(o->data);
        free(o);
    }
    update_watch(p);
}

static void
put_number(uint8_t *to, size_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

void
process_send(struct process *p, const struct message *from)
{
    struct message m = *from;
    struct columns *c = message_columns(&m);
    bool idle = TAILQ_EMPTY(&p->out);
    const uint8_t *header;
    struct outgoing *o;
    size_t size = wire_encode(p->config.arena, from, &header);

    if (p->closed)
        return;
    if (size == 0 || (o = malloc(sizeof(*o) + 8 + size)) == NULL) {
        condemn(p, "out of memory on its worker");
        return;
    }
    *o = (struct outgoing){.head_size = 8 + size};
    if (c != NULL && c->length > 0) {
        o->data = blob_ref(c->data);
        o->at = c->at;
        o->left = c->length;
    }
    put_number(o->head, size);
    put_number(o->head + 4, o->left);
    memcpy(o->head + 8, header, size);
    TAILQ_INSERT_TAIL(&p->out, o, next);
    if (idle)
        write_out(p);
}

void
process_hang_up(struct process *p)
{
    shutdown(p->socket.fd, SHUT_WR);
}

/* ---- receiving ---------------------------------------------------------------------------------
 */

static uint32_t
get_number(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

static int
make_room(struct process *p, size_t size)
{
    uint8_t *stage;

    if (p->begin > 0) {
        memmove(p->stage, p->stage + p->begin, p->filled - p->begin);
        p->filled -= p->begin;
        p->begin = 0;
    }
    if (size <= p->room)
        return 0;
    if ((stage = realloc(p->stage, size)) == NULL)
        return -1;
    p->stage = stage;
    p->room = size;
    return 0;
}

static int
hand_over(struct process *p, const uint8_t *header, size_t size)
{
    struct message m;
    const char *why;
    int ok = wire_decode(p->config.arena, header, size, p->data, &m, &why);

    if (ok == 0)
        p->config.events->message(p->config.arg, p->config.number, &m);
    blob_unref(p->data);
    p->data = NULL;
    p->have = 0;
    return ok;
}

/* Hand over the message in the stage: 1; 0 if it is not all there; -1 if it is none. */
static int
take_message(struct process *p)
{
    const uint8_t *at = p->stage + p->begin;
    size_t there = p->filled - p->begin, size, length, more;

    if (there < 8)
        return make_room(p, STAGE);
    size = get_number(at);
    length = get_number(at + 4);
    if (size > LIMIT_HEADER || length > LIMIT_DATA)
        return -1;
    if (there < 8 + size)
        return make_room(p, 8 + size + STAGE);
    if (p->data == NULL && length > 0) {
        if ((p->data = blob_new(length)) == NULL)
            return -1;
        more = there - 8 - size < length ? there - 8 - size : length;
        memcpy(p->data->bytes, at + 8 + size, more);
        /* The header stays in front of what comes behind the data. */
        memmove(p->stage + p->begin + 8 + size, at + 8 + size + more, there - 8 - size - more);
        p->filled -= more;
        p->have = more;
    }
    if (p->have < length)
        return 0;
    if (hand_over(p, p->stage + p->begin + 8, size) != 0)
        return -1;
    p->begin += 8 + size;
    if (p->begin == p->filled)
        p->begin = p->filled = 0;
    return 1;
}

/* One read: to the data of the message at hand, or to the stage. The bytes read; 0: nothing more
 * now; -1: closed. */
static ssize_t
read_some(struct process *p)
{
    bool direct = p->data != NULL && p->have < p->data->size;
    uint8_t *to = direct ? p->data->bytes + p->have : p->stage + p->filled;
    size_t most = direct ? p->data->size - p->have : p->room - p->filled;
    ssize_t n = recv(p->socket.fd, to, most, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (n == 0)
        return -1;
    if (direct)
        p->have += (size_t)n;
    else
        p->filled += (size_t)n;
    return n;
}

/* Read and hand over, up to `most` bytes. */
static void
read_messages(struct process *p, size_t most)
{
    ssize_t n = 1;
    int took = 0;

    for (size_t sum = 0; sum < most && n > 0 && took >= 0; sum += n > 0 ? (size_t)n : 0) {
        if ((n = read_some(p)) > 0)
            while ((took = take_message(p)) > 0)
                ;
    }
    if (took < 0)
        condemn(p, "sent what is no message to its worker");
    if (n < 0)
        broken(p);
}

static void
on_socket(void *arg, uint32_t events)
{
    struct process *p = arg;

    if (events & EPOLLOUT)
        write_out(p);
    if (!p->closed && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        read_messages(p, TURN);
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
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return -1;
    p->socket = (struct watch){.fd = lift(ends[0]), .ready = on_socket, .arg = p};
    if (p->socket.fd < 0) {
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
    p->hold = config->hold;
    TAILQ_INIT(&p->out);
    p->socket.fd = p->streams[0].watch.fd = p->streams[1].watch.fd = -1;
    p->room = STAGE;
    if ((p->stage = malloc(p->room)) == NULL ||
        (config->directory != NULL && (p->directory = strdup(config->directory)) == NULL) ||
        spawn(p, config) != 0)
        goto fail;
    p->end = (struct watch){.fd = spawn_fd(p->spawn), .ready = on_end, .arg = p};
    if (poller_watch(config->poller, &p->end, EPOLLIN) != 0 ||
        poller_watch(config->poller, &p->streams[0].watch, EPOLLIN) != 0 ||
        poller_watch(config->poller, &p->streams[1].watch, EPOLLIN) != 0)
        goto fail;
    update_watch(p);
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

void
process_hold(struct process *p, bool hold)
{
    p->hold = hold;
    update_watch(p);
}

int64_t
process_tick(struct process *p, int64_t now)
{
    if (!p->closed || p->fault != NULL)
        return CLOCK_NEVER;
    if (p->closed_at == 0)
        p->closed_at = now;
    if (now - p->closed_at < CLOSED_US)
        return p->closed_at + CLOSED_US;
    condemn(p, "closed descriptor 3, its connection to the worker");
    return CLOCK_NEVER;
}

static void
describe(const struct process *p, const struct spawn_end *how, struct process_end *end)
{
    end->killed = how->signal == SIGKILL;
    end->clean = how->signal == 0 && how->status == 0;
    if (p->fault != NULL)
        snprintf(end->cause, sizeof(end->cause), "%s", p->fault);
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
    if (p->fault == NULL)
        read_messages(p, SIZE_MAX);
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
    if (p->socket.fd >= 0) {
        poller_unwatch(p->config.poller, &p->socket);
        close(p->socket.fd);
    }
    close_stream(p, &p->streams[0]);
    close_stream(p, &p->streams[1]);
    free_outgoing(p);
    if (p->board != NULL)
        munmap(p->board, sizeof(*p->board));
    blob_unref(p->data);
    free(p->stage);
    free(p->directory);
    free(p);
}
