#include "gauge.h"

#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct gauge {
    int listener, stop[2];
    struct sockaddr_in to;
    pthread_t thread;
    _Atomic uint64_t down;
};

/* -1: the connection has ended. */
static ssize_t
pass(int from, int to)
{
    static _Thread_local char bytes[64 << 10];
    ssize_t n = recv(from, bytes, sizeof(bytes), 0);

    for (ssize_t done = 0, m; done < n; done += m)
        if ((m = send(to, bytes + done, (size_t)(n - done), MSG_NOSIGNAL)) <= 0)
            return -1;
    return n > 0 ? n : -1;
}

/* False when it is told to stop. */
static bool
carry(struct gauge *self, int near)
{
    int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pollfd p[3] = {{self->stop[0], POLLIN, 0}, {near, POLLIN, 0}, {far, POLLIN, 0}};
    bool open = connect(far, (struct sockaddr *)&self->to, sizeof(self->to)) == 0;
    ssize_t n;

    while (open && poll(p, 3, -1) > 0 && p[0].revents == 0) {
        if (p[1].revents != 0)
            open = pass(near, far) > 0;
        if (open && p[2].revents != 0) {
            if ((n = pass(far, near)) > 0)
                self->down += (uint64_t)n;
            open = n > 0;
        }
    }
    close(far);
    return p[0].revents == 0;
}

static void *
run(void *arg)
{
    struct gauge *self = arg;
    struct pollfd p[2] = {{self->stop[0], POLLIN, 0}, {self->listener, POLLIN, 0}};
    bool goes_on = true;
    int near;

    while (goes_on && poll(p, 2, -1) > 0 && p[0].revents == 0) {
        if ((near = accept4(self->listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
            continue;
        goes_on = carry(self, near);
        close(near);
    }
    return NULL;
}

struct gauge *
gauge_new(const char *endpoint, char own[64])
{
    struct gauge *self = calloc(1, sizeof(*self));
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof(at);
    const char *port = strrchr(endpoint, ':');

    assert_non_null(self);
    assert_non_null(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    self->to = at;
    self->to.sin_port = htons((uint16_t)atoi(port + 1));
    self->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(self->listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(self->listener, 16), 0);
    assert_int_equal(getsockname(self->listener, (struct sockaddr *)&at, &size), 0);
    assert_int_equal(pipe(self->stop), 0);
    assert_int_equal(pthread_create(&self->thread, NULL, run, self), 0);
    snprintf(own, 64, "tcp://127.0.0.1:%d", ntohs(at.sin_port));
    return self;
}

void
gauge_free(struct gauge *self)
{
    assert_int_equal(write(self->stop[1], "x", 1), 1);
    pthread_join(self->thread, NULL);
    close(self->listener);
    close(self->stop[0]);
    close(self->stop[1]);
    free(self);
}

uint64_t
gauge_down(const struct gauge *self)
{
    return self->down;
}
