/* A slow, lossy link, for kernels that have no netem: slowlink TO_PORT DELAY_MS LOSS_PERCENT BITS
 *
 * Passes TCP connections on to 127.0.0.1:TO_PORT, both ways alike. All of one direction share BITS
 * a second; each segment is under way for DELAY_MS; one that is lost comes a round trip later, and
 * what follows it on its connection waits for it. Says `slowlink: ready at PORT`.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SEGMENT = 1448, UNDER_WAY = 64 << 10, KERNEL = 16 << 10, CONNECTIONS = 64 };

struct segment {
    int64_t arrives; /* us */
    size_t size, sent;
    STAILQ_ENTRY(segment) next;
    unsigned char bytes[SEGMENT];
};

struct way { /* one direction of a connection */
    int from, to;
    STAILQ_HEAD(, segment) segments;
    size_t bytes;
    int64_t last; /* when its last segment arrives */
    bool ended;   /* nothing more comes in */
};

struct connection {
    struct way ways[2];
};

static struct connection connections[CONNECTIONS];
static int nconnections;
static int64_t delay, bits, is_free[2];
static uint32_t loss, randomness = 4711;

static int64_t
now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static bool
is_lost(void)
{
    randomness = randomness * 1664525 + 1013904223;
    return (randomness >> 8) % 1000 < loss * 10;
}

static void
take_in(struct way *w, int64_t *free_at, int64_t now)
{
    struct segment *s = calloc(1, sizeof(*s));
    ssize_t n = s == NULL ? 0 : recv(w->from, s->bytes, SEGMENT, MSG_DONTWAIT);

    if (n <= 0) {
        free(s);
        w->ended |= n == 0 || (errno != EAGAIN && errno != EINTR);
        return;
    }
    *free_at = (*free_at > now ? *free_at : now) + n * 8 * 1000000 / bits;
    s->size = (size_t)n;
    s->arrives = *free_at + delay + (is_lost() ? 2 * delay : 0);
    if (s->arrives < w->last)
        s->arrives = w->last;
    w->last = s->arrives;
    w->bytes += s->size;
    STAILQ_INSERT_TAIL(&w->segments, s, next);
}

static void
give_out(struct way *w, int64_t now)
{
    struct segment *s;

    while ((s = STAILQ_FIRST(&w->segments)) != NULL && s->arrives <= now) {
        ssize_t n = send(w->to, s->bytes + s->sent, s->size - s->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        s->sent += n < 0 ? s->size - s->sent : (size_t)n; /* nobody is there any more */
        if (s->sent < s->size)
            return;
        w->bytes -= s->size;
        STAILQ_REMOVE_HEAD(&w->segments, next);
        free(s);
    }
    if (w->ended && s == NULL)
        shutdown(w->to, SHUT_WR);
}

static void
limit(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){KERNEL}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){KERNEL}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static void
accept_one(int listener, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct connection *c = &connections[nconnections];
    int in = accept(listener, NULL, NULL), out = socket(AF_INET, SOCK_STREAM, 0);

    limit(in);
    limit(out);
    if (nconnections == CONNECTIONS || connect(out, (struct sockaddr *)&a, sizeof(a)) != 0) {
        close(in);
        close(out);
        return;
    }
    for (int i = 0; i < 2; i++) {
        c->ways[i] = (struct way){.from = i == 0 ? in : out, .to = i == 0 ? out : in};
        STAILQ_INIT(&c->ways[i].segments);
    }
    nconnections++;
}

static bool
is_over(const struct connection *c)
{
    return c->ways[0].ended && c->ways[1].ended && c->ways[0].bytes + c->ways[1].bytes == 0;
}

static void
remove_over(void)
{
    for (int i = nconnections - 1; i >= 0; i--) {
        struct connection *c = &connections[i], *last = &connections[nconnections - 1];

        if (!is_over(c))
            continue;
        close(c->ways[0].from);
        close(c->ways[0].to);
        *c = *last;
        for (int k = 0; k < 2; k++) /* its list is empty, or its end points into the list */
            if (STAILQ_EMPTY(&last->ways[k].segments))
                STAILQ_INIT(&c->ways[k].segments);
        nconnections--;
    }
}

static void
turn(int listener, int port)
{
    struct pollfd fds[1 + 2 * CONNECTIONS] = {{.fd = listener, .events = POLLIN}};
    int before = nconnections, n = 1;
    int64_t now = now_us(), wait = 100000;

    for (int i = 0; i < before; i++)
        for (int k = 0; k < 2; k++) {
            struct way *w = &connections[i].ways[k];
            bool reads = !w->ended && w->bytes < UNDER_WAY;

            fds[n++] = (struct pollfd){.fd = reads ? w->from : -1, .events = POLLIN};
            if (!STAILQ_EMPTY(&w->segments) && STAILQ_FIRST(&w->segments)->arrives - now < wait)
                wait = STAILQ_FIRST(&w->segments)->arrives - now;
        }
    poll(fds, (nfds_t)n, wait <= 0 ? 1 : (int)(wait / 1000) + 1);
    now = now_us();
    for (int i = 0; i < before; i++)
        for (int k = 0; k < 2; k++) {
            if (fds[1 + 2 * i + k].revents != 0)
                take_in(&connections[i].ways[k], &is_free[k], now);
            give_out(&connections[i].ways[k], now);
        }
    if (fds[0].revents != 0)
        accept_one(listener, port);
    remove_over();
}

int
main(int argc, char **argv)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    if (argc != 5)
        return 64;
    delay = atoi(argv[2]) * 1000;
    loss = (uint32_t)atoi(argv[3]);
    bits = atoll(argv[4]);
    limit(listener);
    if (bind(listener, (struct sockaddr *)&a, size) != 0 || listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&a, &size) != 0)
        return 1;
    printf("slowlink: ready at %d\n", ntohs(a.sin_port));
    fflush(stdout);
    for (;;)
        turn(listener, atoi(argv[1]));
}
