#include "gate.h"

#include "../base/clock.h"
#include "../base/log.h"
#include "../net/tcp.h"

#include <dirent.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#define LOOK_US 50000 /* at guests */

void
gate_init(struct gate *self, const struct budget *budget)
{
    *self = (struct gate){.budget = *budget, .look_at = CLOCK_NEVER};
    TAILQ_INIT(&self->guests);
}

static void
forget(struct gate *self, struct guest *g)
{
    HASH_DELETE(hh, self->by_fd, g);
    TAILQ_REMOVE(&self->guests, g, link);
    free(g);
}

void
gate_clear(struct gate *self)
{
    while (!TAILQ_EMPTY(&self->guests))
        forget(self, TAILQ_FIRST(&self->guests));
}

/* ---- the doors ----------------------------------------------------------------------------- */

/* A listener that drops whatever comes: to those outside the network seems slow, and they try
 * again. (To unbind would end all connections that came by it.) */
static void
shut(struct gate *self)
{
    struct sock_filter nothing = {.code = BPF_RET | BPF_K, .k = 0};
    struct sock_fprog program = {.len = 1, .filter = &nothing};

    for (unsigned i = 0; i < self->nlisteners; i++)
        (void)setsockopt(self->listeners[i], SOL_SOCKET, SO_ATTACH_FILTER, &program,
                         sizeof(program));
}

static void
open_again(struct gate *self)
{
    for (unsigned i = 0; i < self->nlisteners; i++)
        (void)setsockopt(self->listeners[i], SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, sizeof(int));
}

static void
look_by(struct gate *self, int64_t at)
{
    if (at < self->look_at)
        self->look_at = at;
}

static void
count(struct gate *self, unsigned used, int64_t now)
{
    unsigned limit = self->budget.limit;

    switch (budget_used(&self->budget, used, now)) {
    case BUDGET_WARN:
        log_warn("%u of %u descriptors are in use: raise the limit of open files (ulimit -n, "
                 "LimitNOFILE=), or peers will have to wait",
                 used, limit);
        break;
    case BUDGET_SHUT:
        log_warn("%u of %u descriptors are in use: new connections have to wait; raise the limit "
                 "of open files (ulimit -n, LimitNOFILE=)",
                 used, limit);
        shut(self);
        look_by(self, now + LOOK_US);
        break;
    case BUDGET_OPEN:
        log_info("%u of %u descriptors are in use: new connections are accepted again", used,
                 limit);
        open_again(self);
        break;
    case BUDGET_FINE:
        break;
    }
}

static unsigned
descriptors(const struct gate *self)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    if (dir == NULL) /* not even for this */
        return self->budget.limit;
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n - 3; /* ., .. and its own */
}

void
gate_listening(struct gate *self, int fd)
{
    if (self->nlisteners < GATE_LISTENERS)
        self->listeners[self->nlisteners++] = fd;
}

/* ---- guests -------------------------------------------------------------------------------- */

void
gate_accepted(struct gate *self, int fd, int64_t now)
{
    struct guest *g;
    struct stat st;

    gate_ended(self, fd);
    if (fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode)) /* it has ended already */
        return;
    /* The kernel gives the lowest number that is free: those below are all in use. */
    count(self, (unsigned)fd + 1, now);
    if ((unsigned)fd >= self->budget.shut) {
        shutdown(fd, SHUT_RDWR);
        return;
    }
    if ((g = calloc(1, sizeof(*g))) == NULL)
        return; /* libzmq's own handshake is watched by itself */
    *g = (struct guest){.fd = fd, .inode = st.st_ino, .since = now, .received = tcp_received(fd)};
    HASH_ADD_INT(self->by_fd, fd, g);
    if (g->hh.tbl == NULL) {
        free(g);
        return;
    }
    TAILQ_INSERT_TAIL(&self->guests, g, link);
    look_by(self, now + LOOK_US);
}

void
gate_failed(struct gate *self, int64_t now)
{
    count(self, self->budget.limit, now);
}

void
gate_ended(struct gate *self, int fd)
{
    struct guest *g = NULL;

    HASH_FIND_INT(self->by_fd, &fd, g);
    if (g != NULL)
        forget(self, g);
}

static bool
is_there(const struct guest *g)
{
    struct stat st;

    return fstat(g->fd, &st) == 0 && st.st_ino == g->inode;
}

unsigned
gate_tick(struct gate *self, bool (*is_welcome)(void *arg, int fd, ino_t inode), void *arg,
          int64_t now)
{
    int64_t patience = self->budget.is_shut ? GATE_CROWDED_US : GATE_US;
    struct guest *g, *next;
    unsigned n = 0;

    if (now < self->look_at)
        return 0;
    for (g = TAILQ_FIRST(&self->guests); g != NULL; g = next) {
        next = TAILQ_NEXT(g, link);
        if (is_welcome(arg, g->fd, g->inode) || !is_there(g)) {
            forget(self, g);
        } else if (now >= g->since + patience || tcp_received(g->fd) - g->received > GATE_BYTES) {
            shutdown(g->fd, SHUT_RDWR);
            forget(self, g);
            n++;
        }
    }
    if (self->budget.is_shut)
        count(self, descriptors(self), now);
    self->look_at =
        TAILQ_EMPTY(&self->guests) && !self->budget.is_shut ? CLOCK_NEVER : now + LOOK_US;
    return n;
}

int64_t
gate_deadline(const struct gate *self)
{
    return self->look_at;
}
