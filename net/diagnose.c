/* Why nobody answers: found by knocking at the door, as a ZeroMQ peer would. */
#include "../base/clock.h"
#include "endpoint.h"
#include "link.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REMEDY "start ladle-broker there, or set LADLE_BROKER to where it runs"

enum { GREETING = 64 }; /* bytes: signature, version, mechanism, as-server, filler */

struct knock {
    const char *endpoint;
    struct endpoint parts;
    int64_t end;
    char *text;
    size_t size;
};

static int
wait_for(const struct knock *k, int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    int64_t now;
    int n;

    do {
        now = clock_us();
        n = poll(&p, 1, now < k->end ? clock_poll_timeout(k->end, now) : 0);
    } while (n < 0 && errno == EINTR);
    if (n == 0)
        errno = ETIMEDOUT;
    return n > 0 ? 0 : -1;
}

/* Connected, or -1 with errno. */
static int
try_address(const struct knock *k, int family, const struct sockaddr *address, socklen_t size)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
    socklen_t length = sizeof(error);

    if (fd < 0)
        return -1;
    if (connect(fd, address, size) == 0)
        return fd;
    if (errno != EINPROGRESS || wait_for(k, fd, POLLOUT) != 0) {
        error = errno;
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
        error = errno;
    }
    if (error == 0)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

static void
say_errno(const struct knock *k, int error)
{
    const char *at = k->endpoint;

    switch (error) {
    case ECONNREFUSED:
        snprintf(k->text, k->size, "nothing listens at %s (connection refused): " REMEDY, at);
        break;
    case ENOENT:
        snprintf(k->text, k->size, "there is no socket at %s: " REMEDY, at);
        break;
    case EACCES:
    case EPERM:
        snprintf(k->text, k->size,
                 "you may not connect to %s (%s): ask whoever runs the broker for access", at,
                 strerror(error));
        break;
    case ETIMEDOUT:
    case EAGAIN: /* the backlog of a unix socket is full */
        snprintf(k->text, k->size,
                 "%s does not answer: is that host up, and does no firewall stand between?", at);
        break;
    case EHOSTUNREACH:
    case ENETUNREACH:
        snprintf(k->text, k->size, "there is no way to %s (%s): check the address and the network",
                 at, strerror(error));
        break;
    default:
        snprintf(k->text, k->size, "cannot connect to %s (%s): " REMEDY, at, strerror(error));
    }
}

static int
knock_tcp(const struct knock *k)
{
    struct addrinfo hints = {.ai_family = k->parts.ipv6 ? AF_INET6 : AF_INET,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *all, *a;
    int rc = getaddrinfo(k->parts.host, k->parts.port, &hints, &all), fd = -1;

    if (rc != 0) {
        snprintf(k->text, k->size,
                 "the host '%s' of %s is unknown (%s): check the name, or set LADLE_BROKER to "
                 "where ladle-broker runs",
                 k->parts.host, k->endpoint, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
        return -1;
    }
    for (a = all; a != NULL && fd < 0; a = a->ai_next)
        fd = try_address(k, a->ai_family, a->ai_addr, a->ai_addrlen);
    rc = errno;
    freeaddrinfo(all);
    if (fd < 0)
        say_errno(k, rc);
    return fd;
}

static int
knock_ipc(const struct knock *k)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(k->parts.path);
    int fd;

    memcpy(address.sun_path, k->parts.path, length);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = 0; /* abstract: no file, and the length counts */
    else
        length++;
    fd = try_address(k, AF_UNIX, (struct sockaddr *)&address,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    if (fd < 0)
        say_errno(k, errno);
    return fd;
}

/* Reads on until the greeting is whole, or is none, or nothing comes by `end`: how many bytes there
 * are then. -1: hung up before any. */
static ssize_t
hear(const struct knock *k, int fd, uint8_t *answer, int64_t end)
{
    struct knock patience = *k;
    size_t n = 0;

    patience.end = end;
    while (n < GREETING && (n == 0 || answer[0] == 0xff) && wait_for(&patience, fd, POLLIN) == 0) {
        ssize_t got = recv(fd, answer + n, GREETING - n, 0);

        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return n == 0 ? -1 : (ssize_t)n;
        n += (size_t)got;
    }
    return (ssize_t)n;
}

static ssize_t
greet(const struct knock *k, int fd, uint8_t *answer)
{
    /* Signature and version: enough to be told the mechanism, and not yet the wrong one. */
    static const uint8_t ours[] = {0xff, [8] = 1, [9] = 0x7f, [10] = 3};
    static const char other[] = "\r\n\r\n"; /* for those who wait for lines, like web servers */
    int64_t now = clock_us();
    ssize_t n;

    if (send(fd, ours, sizeof(ours), MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        return -1;
    if ((n = hear(k, fd, answer, now + (k->end - now) / 2)) != 0)
        return n;
    if (send(fd, other, sizeof(other) - 1, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        return -1;
    return hear(k, fd, answer, k->end);
}

static void
say_answer(const struct knock *k, const uint8_t *answer, ssize_t n)
{
    const char *at = k->endpoint;

    if (n < 0)
        snprintf(k->text, k->size,
                 "something listens at %s, but hangs up at once: it is no ladle-broker, or it "
                 "refuses this host; " REMEDY,
                 at);
    else if (n == 0)
        snprintf(k->text, k->size,
                 "something listens at %s, but says nothing: it is no ladle-broker, or one that "
                 "is stopped or overloaded; " REMEDY,
                 at);
    else if (n >= 5 && memcmp(answer, "HTTP/", 5) == 0)
        snprintf(k->text, k->size, "a web server listens at %s, not a ladle-broker: " REMEDY, at);
    else if (answer[0] != 0xff || (n >= 10 && answer[9] != 0x7f))
        snprintf(k->text, k->size,
                 "something listens at %s, but does not speak ZeroMQ, so it is no "
                 "ladle-broker: " REMEDY,
                 at);
    else if (n >= 17 && memcmp(answer + 12, "CURVE", 5) == 0)
        snprintf(k->text, k->size,
                 "%s answers as ZeroMQ does, but only to those who have its keys: ask whoever runs "
                 "it for a key",
                 at);
    else
        snprintf(
            k->text, k->size,
            "%s answers as ZeroMQ does, but not as a ladle-broker: it is another program, or a "
            "broker that is stuck; " REMEDY,
            at);
}

void
link_diagnose(const char *endpoint, int timeout_ms, char *text, size_t size)
{
    struct knock k = {.endpoint = endpoint,
                      .end = clock_us() + (int64_t)timeout_ms * 1000,
                      .text = text,
                      .size = size};
    uint8_t answer[GREETING] = {0};
    int fd;

    if (endpoint_parse(endpoint, &k.parts, text, size) != 0)
        return;
    fd = k.parts.ipc ? knock_ipc(&k) : knock_tcp(&k);
    if (fd < 0)
        return;
    say_answer(&k, answer, greet(&k, fd, answer));
    close(fd);
}
