#include "raw.h"

#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MORE = 1, LONG = 2, COMMAND = 4 };

static struct sockaddr_in
address(const char *endpoint)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    a.sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1));
    return a;
}

int
raw_connect_soon(const char *endpoint)
{
    struct sockaddr_in a = address(endpoint);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_true(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS);
    return fd;
}

int
raw_connect(const char *endpoint)
{
    struct sockaddr_in a = address(endpoint);
    struct timeval limit = {.tv_sec = SOON / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    return fd;
}

bool
raw_send(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;

    while (size > 0) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

static size_t
head(unsigned char *to, size_t size, int flags)
{
    size_t n = size > 255 ? 9 : 2;

    to[0] = (unsigned char)(flags | (n == 9 ? LONG : 0));
    for (size_t i = 1; i < n; i++)
        to[i] = (unsigned char)((uint64_t)size >> 8 * (n - 1 - i));
    return n;
}

bool
raw_frame(int fd, const void *bytes, size_t size, bool more)
{
    unsigned char start[9];
    size_t n = head(start, size, more ? MORE : 0);

    return raw_send(fd, start, n) && raw_send(fd, bytes, size);
}

/* Exactly so many bytes; returns the last one. */
static size_t
receive(int fd, size_t size)
{
    unsigned char bytes[256] = {0};

    assert_true(size > 0 && size < sizeof(bytes));
    assert_int_equal(recv(fd, bytes, size, MSG_WAITALL), (ssize_t)size);
    return bytes[size - 1];
}

void
raw_greet(int fd)
{
    static const unsigned char greeting[64] = {[0] = 0xff, [9] = 0x7f, [10] = 3, [12] = 'N',
                                               'U',        'L',        'L'};
    static const char ready[] = "\5READY\13Socket-Type\0\0\0\6DEALER\10Identity\0\0\0";
    unsigned char start[9];
    size_t n = head(start, sizeof(ready), COMMAND);

    assert_true(raw_send(fd, greeting, sizeof(greeting)));
    assert_true(raw_send(fd, start, n) && raw_send(fd, ready, sizeof(ready)));
    /* Its greeting, and its READY: libzmq does not read on before it has said them. */
    receive(fd, 64);
    receive(fd, receive(fd, 2));
}

bool
raw_has_ended(int fd)
{
    char part[4096];
    ssize_t n;

    while ((n = recv(fd, part, sizeof(part), MSG_DONTWAIT)) > 0)
        continue;
    return n == 0 || (errno != EAGAIN && errno != EINTR);
}
