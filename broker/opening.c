/* opening.c - the beginning and the end of a broker's shell. */
#include "inside.h"

#include "../base/clock.h"
#include "../base/log.h"
#include "../client/ladle.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define LINGER_MS 500
#define MONITOR "inproc://monitor"

static void
woken(void *arg, uint32_t ready)
{
    (void)arg; /* every turn looks at all there is */
    (void)ready;
}

static void
on_signal(void *arg, uint32_t ready)
{
    struct shell *s = arg;
    struct signalfd_siginfo info;

    (void)ready;
    while (read(s->signal_watch.fd, &info, sizeof(info)) == sizeof(info)) {
        log_info("stopping: %s", sigdescr_np((int)info.ssi_signo));
        s->stop = true;
    }
}

static int
watch(struct shell *s, struct watch *w, int fd, void (*ready)(void *, uint32_t))
{
    *w = (struct watch){.fd = fd, .ready = ready, .arg = s};
    return fd < 0 ? -1 : poller_watch(s->poller, w, EPOLLIN);
}

static int
zmq_fd(void *socket)
{
    int fd = -1;
    size_t size = sizeof(fd);

    return zmq_getsockopt(socket, ZMQ_FD, &fd, &size) == 0 ? fd : -1;
}

static int
open_sockets(struct shell *s)
{
    const int one = 1, zero = 0, backlog = 1024;
    const int wanted =
        ZMQ_EVENT_LISTENING | ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_ACCEPT_FAILED;

    if ((s->context = zmq_ctx_new()) == NULL ||
        (s->router = zmq_socket(s->context, ZMQ_ROUTER)) == NULL ||
        frames_configure(s->router) != 0 ||
        zmq_setsockopt(s->router, ZMQ_ROUTER_MANDATORY, &one, sizeof(one)) != 0 ||
        zmq_setsockopt(s->router, ZMQ_BACKLOG, &backlog, sizeof(backlog)) != 0)
        return -1;
    /* Unbounded: with a full pipe, the I/O thread would wait for the one that waits for it. */
    if (zmq_socket_monitor(s->router, MONITOR, wanted) != 0 ||
        (s->monitor = zmq_socket(s->context, ZMQ_PAIR)) == NULL ||
        zmq_setsockopt(s->monitor, ZMQ_RCVHWM, &zero, sizeof(zero)) != 0 ||
        zmq_setsockopt(s->monitor, ZMQ_LINGER, &zero, sizeof(zero)) != 0 ||
        zmq_connect(s->monitor, MONITOR) != 0)
        return -1;
    routes_init(&s->routes, s->router);
    return 0;
}

static int
open_scheduler(struct shell *s)
{
    struct scheduler_config config = {
        .software = "ladle " LADLE_VERSION, .lasting = true, .own_peers = DEPOT_PEERS};

    if (getrandom(&config.first_lease, sizeof(config.first_lease), 0) !=
            sizeof(config.first_lease) ||
        getrandom(&config.instance, sizeof(config.instance), 0) != sizeof(config.instance) ||
        getrandom(&config.seed, sizeof(config.seed), 0) != sizeof(config.seed))
        return -1;
    config.first_lease = config.first_lease >> 2 | 1; /* room to count on */
    if ((s->in = arena_new()) == NULL || (s->out = arena_new()) == NULL)
        return -1;
    return (s->scheduler = scheduler_new(&config, clock_us())) == NULL ? -1 : 0;
}

static int
open_watches(struct shell *s)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || (s->poller = poller_new()) == NULL ||
        (fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return -1;
    return watch(s, &s->signal_watch, fd, on_signal);
}

/* Of descriptors. */
static int
allowance(struct budget *budget, char *why, size_t size)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && budget_init(budget, limit.rlim_cur) == 0)
        return 0;
    snprintf(why, size,
             "this process may open %llu files, and a broker needs %d, and one more for each peer: "
             "raise the limit (ulimit -n, LimitNOFILE=)",
             (unsigned long long)limit.rlim_cur, BUDGET_LEAST);
    return -1;
}

struct shell *
shell_new(const char *const *endpoints, unsigned count, bool insecure,
          const struct depot_config *store, char *why, size_t size)
{
    struct budget budget;
    struct shell *s;

    if (allowance(&budget, why, size) != 0)
        return NULL;
    for (unsigned i = 0; i < count; i++)
        if (binding_check(endpoints[i], insecure, why, size) != 0)
            return NULL;
    if ((s = calloc(1, sizeof(*s))) == NULL)
        goto fail;
    s->signal_watch.fd = -1;
    gate_init(&s->gate, &budget);
    if ((s->endpoints = calloc(count, sizeof(*s->endpoints))) == NULL || open_watches(s) != 0 ||
        open_sockets(s) != 0 || open_scheduler(s) != 0 ||
        watch(s, &s->router_watch, zmq_fd(s->router), woken) != 0 ||
        watch(s, &s->monitor_watch, zmq_fd(s->monitor), woken) != 0)
        goto fail;
    /* Before anybody can connect: what is kept is there first. */
    if ((s->depot = depot_new(store, clock_us(), time(NULL), why, size)) == NULL) {
        shell_free(s);
        return NULL;
    }
    s->exchange = (struct exchange){
        .scheduler = s->scheduler, .depot = s->depot, .pass = shell_pass, .arg = s};
    for (unsigned i = 0; i < count; i++) {
        if (binding_bind(s->router, endpoints[i], s->endpoints[i], why, size) != 0) {
            shell_free(s);
            return NULL;
        }
        s->nendpoints++;
    }
    return s;
fail:
    snprintf(why, size, "cannot start: %s", zmq_strerror(errno));
    shell_free(s);
    return NULL;
}

const char *
shell_endpoint(const struct shell *s, unsigned i)
{
    return s->endpoints[i];
}

static void
say_goodbye(struct shell *s)
{
    struct message bye = {.type = MESSAGE_BYE, .text = "the broker stops"};
    struct route *r, *next;

    for (r = TAILQ_FIRST(&s->routes.all); r != NULL; r = next) {
        next = TAILQ_NEXT(r, link);
        if (r->state == ROUTE_OPEN && r->joined)
            shell_send(s, r, &bye, clock_us());
    }
}

void
shell_free(struct shell *s)
{
    const int linger = LINGER_MS;

    if (s == NULL)
        return;
    if (s->scheduler != NULL && s->router != NULL)
        say_goodbye(s);
    if (s->router != NULL) {
        routes_clear(&s->routes);
        gate_clear(&s->gate);
        zmq_setsockopt(s->router, ZMQ_LINGER, &linger, sizeof(linger));
        zmq_socket_monitor(s->router, NULL, 0);
        zmq_close(s->router);
    }
    if (s->monitor != NULL)
        zmq_close(s->monitor);
    if (s->context != NULL)
        zmq_ctx_term(s->context);
    for (unsigned i = 0; i < s->nendpoints; i++)
        binding_remove(s->endpoints[i]);
    depot_free(s->depot);
    scheduler_free(s->scheduler);
    arena_free(s->in);
    arena_free(s->out);
    poller_free(s->poller);
    if (s->signal_watch.fd >= 0)
        close(s->signal_watch.fd);
    free(s->endpoints);
    free(s);
}
