#include "stranger.h"

#include "../../net/frames.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void *
serve_once(void *arg)
{
    struct stranger *s = arg;
    int fd = accept(s->fd, NULL, NULL);
    char part[64];
    ssize_t n;

    /* Waits for a line, as such servers do. */
    while (s->words != NULL && (n = recv(fd, part, sizeof(part), 0)) > 0)
        if (memchr(part, '\n', (size_t)n) != NULL) {
            send(fd, s->words, strlen(s->words), MSG_NOSIGNAL);
            break;
        }
    close(fd);
    return NULL;
}

void
stranger_listen(struct stranger *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);

    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, size), 0);
    assert_int_equal(listen(s->fd, 5), 0);
    getsockname(s->fd, (struct sockaddr *)&a, &size);
    snprintf(s->endpoint, sizeof(s->endpoint), "tcp://127.0.0.1:%d", ntohs(a.sin_port));
}

void
stranger_serve(struct stranger *s)
{
    assert_int_equal(pthread_create(&s->thread, NULL, serve_once, s), 0);
}

void
stranger_join(struct stranger *s)
{
    pthread_join(s->thread, NULL);
}

void
stranger_close(struct stranger *s)
{
    close(s->fd);
}

static void
route(int out)
{
    void *context = zmq_ctx_new(), *router = zmq_socket(context, ZMQ_ROUTER);
    char mine[128] = "", part[64];
    size_t length = sizeof(mine);

    frames_configure(router);
    zmq_bind(router, "tcp://127.0.0.1:*");
    zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, mine, &length);
    if (write(out, mine, sizeof(mine)) != sizeof(mine))
        _exit(1);
    for (;;)
        zmq_recv(router, part, sizeof(part), 0);
}

pid_t
router_start(char *endpoint, size_t size)
{
    int ends[2];
    pid_t child;
    ssize_t n;

    if (pipe(ends) != 0 || (child = fork()) < 0)
        return -1;
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        route(ends[1]);
    }
    close(ends[1]);
    n = read(ends[0], endpoint, size);
    close(ends[0]);
    return n > 0 ? child : -1;
}
