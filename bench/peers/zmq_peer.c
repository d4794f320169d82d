/* zmq_peer.c - bare libzmq: a client, zmq_proxy, and echoing workers, each a process.
 *
 *     zmq-peer proxy                        prints "ready FRONT BACK"
 *     zmq-peer worker BACK SIZE             echoes tasks of SIZE bytes, any number a message
 *     zmq-peer latency FRONT COUNT SIZE
 *     zmq-peer stream FRONT MESSAGES TASKS SIZE WINDOW   TASKS tasks a message, WINDOW under way
 *     zmq-peer socketpair COUNT SIZE        no libzmq: the round trip between two processes
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "measure.h"

static void
die(const char *what)
{
    fprintf(stderr, "zmq-peer: %s: %s\n", what, zmq_strerror(errno));
    exit(1);
}

static void *
open_socket(void *ctx, int type, const char *connect_to)
{
    void *s = zmq_socket(ctx, type);
    int none = 0;

    if (s == NULL)
        die("zmq_socket");
    zmq_setsockopt(s, ZMQ_SNDHWM, &none, sizeof(none));
    zmq_setsockopt(s, ZMQ_RCVHWM, &none, sizeof(none));
    zmq_setsockopt(s, ZMQ_LINGER, &none, sizeof(none));
    if (connect_to == NULL) {
        if (zmq_bind(s, "tcp://127.0.0.1:*") != 0)
            die("zmq_bind");
    } else if (zmq_connect(s, connect_to) != 0) {
        die(connect_to);
    }
    return s;
}

static int
proxy(void *ctx)
{
    void *front = open_socket(ctx, ZMQ_ROUTER, NULL);
    void *back = open_socket(ctx, ZMQ_DEALER, NULL);
    char front_at[64], back_at[64];
    size_t front_size = sizeof(front_at), back_size = sizeof(back_at);

    zmq_getsockopt(front, ZMQ_LAST_ENDPOINT, front_at, &front_size);
    zmq_getsockopt(back, ZMQ_LAST_ENDPOINT, back_at, &back_size);
    printf("ready %s %s\n", front_at, back_at);
    fflush(stdout);
    zmq_proxy(front, back, NULL);
    return 0;
}

/* A call for each task, as any library must make: the compiler may not see through it. */
__attribute__((noinline)) static void
noop(const char *input, char *result, size_t size)
{
    memcpy(result, input, size);
}

/* Large tasks go back in the message they came in; small ones are run one by one. */
static void
run_tasks(zmq_msg_t *m, size_t task_size)
{
    size_t size = zmq_msg_size(m);
    const char *input = zmq_msg_data(m);
    zmq_msg_t result;

    if (size == task_size)
        return;
    zmq_msg_init_size(&result, size);
    for (size_t at = 0; at + task_size <= size; at += task_size)
        noop(input + at, (char *)zmq_msg_data(&result) + at, task_size);
    zmq_msg_move(m, &result);
    zmq_msg_close(&result);
}

static int
worker(void *ctx, const char *back, size_t task_size)
{
    void *s = open_socket(ctx, ZMQ_DEALER, back);
    zmq_msg_t client, m;

    printf("ready\n");
    fflush(stdout);
    zmq_msg_init(&client);
    zmq_msg_init(&m);
    while (zmq_msg_recv(&client, s, 0) >= 0 && zmq_msg_recv(&m, s, 0) >= 0) {
        run_tasks(&m, task_size);
        if (zmq_msg_send(&client, s, ZMQ_SNDMORE) < 0 || zmq_msg_send(&m, s, 0) < 0)
            die("send");
    }
    return 0;
}

static int
latency(void *ctx, const char *front, size_t count, size_t size)
{
    void *s = open_socket(ctx, ZMQ_DEALER, front);
    double *took = calloc(count, sizeof(*took));
    char *input = calloc(1, size), *result = calloc(1, size);
    size_t warm = count / 10 + 1;

    if (took == NULL || input == NULL || result == NULL)
        die("calloc");
    for (size_t i = 0; i < warm + count; i++) {
        double start = seconds_now();

        if (zmq_send(s, input, size, 0) < 0 || zmq_recv(s, result, size, 0) != (int)size)
            die("round trip");
        if (i >= warm)
            took[i - warm] = seconds_now() - start;
    }
    tell("us", 1e6 * quantile(took, count, 0.5));
    tell("us99", 1e6 * quantile(took, count, 0.99));
    zmq_close(s);
    return 0;
}

/* Send and receive until `count` messages came back; at most `window` are under way. */
static void
exchange(void *s, const char *input, size_t size, size_t count, size_t window, char *results)
{
    size_t sent = 0, received = 0;
    zmq_msg_t m;

    zmq_msg_init(&m);
    while (received < count) {
        while (sent < count && sent - received < window) {
            if (zmq_send(s, input + (results != NULL ? sent * size : 0), size, 0) < 0)
                die("send");
            sent++;
        }
        if (zmq_msg_recv(&m, s, 0) != (int)size)
            die("receive");
        /* Two workers: not in order. That is left to whoever would build on this. */
        if (results != NULL)
            memcpy(results + received * size, zmq_msg_data(&m), size);
        received++;
    }
    zmq_msg_close(&m);
}

static int
stream(void *ctx, const char *front, size_t messages, size_t tasks, size_t size, size_t window)
{
    void *s = open_socket(ctx, ZMQ_DEALER, front);
    size_t message_size = tasks * size;
    char *inputs = malloc(messages * message_size), *results = malloc(messages * message_size);
    double start, took;

    if (inputs == NULL || results == NULL)
        die("malloc");
    memset(inputs, 1, messages * message_size);
    memset(results, 0, messages * message_size);
    exchange(s, inputs, message_size, messages < 20 ? messages : 20, window, NULL); /* warm */
    start = seconds_now();
    exchange(s, inputs, message_size, messages, window, results);
    took = seconds_now() - start;
    tell("seconds", took);
    tell("rate", (double)(messages * tasks) / took);
    tell("mbs", 1e-6 * (double)(messages * message_size) / took);
    zmq_close(s);
    return 0;
}

static void
echo(int fd, size_t size)
{
    char *data = malloc(size);
    ssize_t n;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (data != NULL && (n = read(fd, data, size)) > 0)
        if (write(fd, data, (size_t)n) != n)
            break;
    _exit(0);
}

static int
socketpair_latency(size_t count, size_t size)
{
    int fds[2];
    double *took = calloc(count, sizeof(*took));
    char *data = calloc(1, size);
    pid_t child;

    if (took == NULL || data == NULL || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
        die("socketpair");
    if ((child = fork()) < 0)
        die("fork");
    if (child == 0) {
        close(fds[0]);
        echo(fds[1], size);
    }
    close(fds[1]);
    for (size_t i = 0; i < count; i++) {
        double start = seconds_now();

        if (write(fds[0], data, size) != (ssize_t)size ||
            recv(fds[0], data, size, MSG_WAITALL) != (ssize_t)size)
            die("round trip");
        took[i] = seconds_now() - start;
    }
    close(fds[0]);
    waitpid(child, NULL, 0);
    tell("us", 1e6 * quantile(took, count, 0.5));
    return 0;
}

int
main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    void *ctx = zmq_ctx_new();

    if (ctx == NULL)
        die("zmq_ctx_new");
    if (strcmp(mode, "proxy") == 0 && argc == 2)
        return proxy(ctx);
    if (strcmp(mode, "worker") == 0 && argc == 4)
        return worker(ctx, argv[2], number(argv[3]));
    if (strcmp(mode, "latency") == 0 && argc == 5)
        return latency(ctx, argv[2], number(argv[3]), number(argv[4]));
    if (strcmp(mode, "stream") == 0 && argc == 7)
        return stream(ctx, argv[2], number(argv[3]), number(argv[4]), number(argv[5]),
                      number(argv[6]));
    if (strcmp(mode, "socketpair") == 0 && argc == 4)
        return socketpair_latency(number(argv[2]), number(argv[3]));
    fprintf(stderr, "usage: see the top of bench/peers/zmq_peer.c\n");
    return 2;
}
