#include "proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAIRS 32

static struct { /* connections: [0] came to us, [1] goes on */
    int fd[2];
} pairs[PAIRS];
static int npairs;
static volatile sig_atomic_t cut;

static void
on_cut(int signal)
{
    (void)signal;
    cut = 1;
}

static void
end_pair(int i)
{
    close(pairs[i].fd[0]);
    close(pairs[i].fd[1]);
    pairs[i] = pairs[--npairs];
}

static void
accept_one(int listener, const struct sockaddr_in *to)
{
    int in = accept(listener, NULL, NULL), out = socket(AF_INET, SOCK_STREAM, 0);

    if (in < 0 || out < 0 || npairs == PAIRS ||
        connect(out, (const struct sockaddr *)to, sizeof(*to)) != 0) {
        close(in);
        close(out);
        return;
    }
    pairs[npairs].fd[0] = in;
    pairs[npairs++].fd[1] = out;
}

/* False at the end of the connection. What a slow reader does not take blocks all: so be it. */
static int
pump(int from, int to)
{
    char bytes[65536];
    ssize_t n = read(from, bytes, sizeof(bytes)), done = 0, w;

    while (n > 0 && done < n && (w = write(to, bytes + done, (size_t)(n - done))) > 0)
        done += w;
    return n > 0 && done == n;
}

static void __attribute__((noreturn)) run(int listener, const struct sockaddr_in *to)
{
    for (;;) {
        struct pollfd fds[1 + 2 * PAIRS] = {{.fd = listener, .events = POLLIN}};
        int n = npairs;

        for (int i = 0; i < n; i++)
            for (int k = 0; k < 2; k++)
                fds[1 + 2 * i + k] = (struct pollfd){.fd = pairs[i].fd[k], .events = POLLIN};
        (void)poll(fds, 1 + 2 * (nfds_t)n, 100);
        for (int i = n; i-- > 0;) {
            if (cut || (fds[1 + 2 * i].revents && !pump(pairs[i].fd[0], pairs[i].fd[1])) ||
                (fds[2 + 2 * i].revents && !pump(pairs[i].fd[1], pairs[i].fd[0])))
                end_pair(i);
        }
        cut = 0;
        if (fds[0].revents & POLLIN)
            accept_one(listener, to);
    }
}

pid_t
proxy_start(const char *endpoint, char real[256])
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in own = to;
    socklen_t size = sizeof(own);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pid_t pid, parent = getpid();

    to.sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1));
    if (listener < 0 || bind(listener, (struct sockaddr *)&own, sizeof(own)) != 0 ||
        listen(listener, 64) != 0 || getsockname(listener, (struct sockaddr *)&own, &size) != 0)
        abort();
    snprintf(real, 256, "tcp://127.0.0.1:%d", ntohs(own.sin_port));
    if ((pid = fork()) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGUSR1, on_cut);
        run(listener, &to);
    }
    close(listener);
    return pid;
}

void
proxy_cut(pid_t proxy)
{
    kill(proxy, SIGUSR1);
}

void
proxy_stop(pid_t proxy)
{
    if (proxy <= 0)
        return;
    kill(proxy, SIGKILL);
    waitpid(proxy, NULL, 0);
}
