#include "bindings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#define TCP "tcp://"
#define IPC "ipc://"

struct address {
    char host[256]; /* without brackets */
    char port[16];
    bool v6;
};

static bool
starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static int
split(const char *endpoint, struct address *a)
{
    const char *host = endpoint + strlen(TCP), *colon = strrchr(host, ':');
    size_t length;
    char *end;

    if (colon == NULL || colon == host)
        return -1;
    length = (size_t)(colon - host);
    a->v6 = host[0] == '[';
    if (a->v6) {
        if (length < 3 || host[length - 1] != ']')
            return -1;
        host++;
        length -= 2;
    }
    if (length >= sizeof(a->host) || strlen(colon + 1) >= sizeof(a->port) || colon[1] == '\0')
        return -1;
    memcpy(a->host, host, length);
    a->host[length] = '\0';
    strcpy(a->port, colon + 1);
    if (!a->v6 && strchr(a->host, ':') != NULL)
        return -1;
    if (strcmp(a->port, "*") == 0)
        return 0;
    if (strspn(a->port, "0123456789") != strlen(a->port))
        return -1;
    return strtoul(a->port, &end, 10) <= 65535 ? 0 : -1;
}

static bool
is_loopback(const struct address *a)
{
    struct in6_addr six;
    struct in_addr four;

    if (a->v6)
        return inet_pton(AF_INET6, a->host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
    if (inet_pton(AF_INET, a->host, &four) == 1)
        return (ntohl(four.s_addr) >> 24) == 127;
    return strcmp(a->host, "localhost") == 0 || strcmp(a->host, "lo") == 0;
}

int
binding_check(const char *endpoint, bool insecure, char *why, size_t size)
{
    struct address a;

    if (starts(endpoint, IPC)) {
        const char *path = endpoint + strlen(IPC);

        if (path[0] == '\0' || strcmp(path, "*") == 0)
            snprintf(why, size, "cannot bind to '%s': ipc:// needs the path of a socket", endpoint);
        else if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
            snprintf(why, size,
                     "cannot bind to '%s': the path is longer than the %zu bytes that the system "
                     "allows; choose a shorter one",
                     endpoint, sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
        else
            return 0;
        return -1;
    }
    if (!starts(endpoint, TCP) || strlen(endpoint) >= BINDING_SIZE || split(endpoint, &a) != 0) {
        snprintf(why, size,
                 "cannot bind to '%s': an endpoint is tcp://address:port (port 0 for any free one) "
                 "or ipc://path",
                 endpoint);
        return -1;
    }
    if (!insecure && !is_loopback(&a)) {
        snprintf(why, size,
                 "refused to bind to %s: keys are not supported yet, so traffic would be neither "
                 "encrypted nor authenticated, and whoever reaches the port could run programs on "
                 "the workers. Bind to 127.0.0.1 or ipc://path, or, in a network that you trust, "
                 "add --insecure",
                 endpoint);
        return -1;
    }
    return 0;
}

/* libzmq unlinks whatever stands at the path of an ipc socket: somebody's file, or the socket of a
 * broker that lives. */
static int
clear_path(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    int fd, found;

    if (path[0] == '@' || lstat(path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode)) {
        errno = EEXIST;
        return -1;
    }
    strncpy(a.sun_path, path, sizeof(a.sun_path) - 1);
    if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0)
        return -1;
    found = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno != ECONNREFUSED;
    close(fd);
    if (found)
        errno = EADDRINUSE;
    return found ? -1 : 0;
}

static void
explain(const char *endpoint, int error, char *why, size_t size)
{
    const char *hint;

    switch (error) {
    case EADDRINUSE:
        hint = "the address is in use, probably by another broker; stop that one, or choose "
               "another port or path with --bind";
        break;
    case EEXIST:
        hint = "there is something else than a socket at that path; choose another one";
        break;
    case EACCES:
    case EPERM:
        hint = "permission denied; choose a port above 1023, or a path in a directory of yours";
        break;
    case EADDRNOTAVAIL:
    case ENODEV:
        hint = "this machine has no such address; see `ip address`";
        break;
    case ENOENT:
        hint = "the directory does not exist";
        break;
    default:
        hint = zmq_strerror(error);
    }
    snprintf(why, size, "cannot bind to %s: %s", endpoint, hint);
}

int
binding_bind(void *socket, const char *endpoint, char real[BINDING_SIZE], char *why, size_t size)
{
    char text[BINDING_SIZE];
    size_t length = BINDING_SIZE;
    struct address a;
    int v6 = 0;

    snprintf(text, sizeof(text), "%s", endpoint);
    if (starts(endpoint, IPC)) {
        if (clear_path(endpoint + strlen(IPC)) != 0)
            goto fail;
    } else if (split(endpoint, &a) == 0) {
        v6 = a.v6;
        if (strcmp(a.host, "localhost") == 0) /* a name that libzmq does not look up to bind */
            snprintf(text, sizeof(text), TCP "127.0.0.1:%s", a.port);
    }
    /* Per endpoint: with it on, 127.0.0.1 would be told to peers as [::ffff:127.0.0.1]. */
    if (zmq_setsockopt(socket, ZMQ_IPV6, &v6, sizeof(v6)) != 0 || zmq_bind(socket, text) != 0 ||
        zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, real, &length) != 0)
        goto fail;
    return 0;
fail:
    explain(endpoint, zmq_errno(), why, size);
    return -1;
}

void
binding_remove(const char *real)
{
    if (starts(real, IPC) && real[strlen(IPC)] != '@')
        unlink(real + strlen(IPC));
}
