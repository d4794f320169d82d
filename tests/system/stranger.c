#include "stranger.h"

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

/* A ZeroMQ peer that begins a message of a megabyte, and sends it in drops. */
static void
trickle(int listener)
{
    static const unsigned char greeting[64] = {[0] = 0xff, [9] = 0x7f, [10] = 3, [12] = 'N',
                                               'U',        'L',        'L'};
    static const char ready[] = "\4\x1c\5READY\13Socket-Type\0\0\0\6ROUTER";
    static const unsigned char start[] = {2, 0, 0, 0, 0, 0, 0x10, 0, 0};
    int fd = accept(listener, NULL, NULL);

    send(fd, greeting, sizeof(greeting), MSG_NOSIGNAL);
    send(fd, ready, sizeof(ready) - 1, MSG_NOSIGNAL);
    send(fd, start, sizeof(start), MSG_NOSIGNAL);
    for (;;) {
        send(fd, "drop", 4, MSG_NOSIGNAL);
        usleep(20000);
    }
}

pid_t
trickler_start(char *endpoint, size_t size)
{
    struct stranger s = {0};
    pid_t child;

    stranger_listen(&s);
    snprintf(endpoint, size, "%s", s.endpoint);
    if ((child = fork()) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        trickle(s.fd);
    }
    stranger_close(&s);
    return child;
}
