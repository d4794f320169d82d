#include "poller.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BATCH = 64 };

struct poller {
    int epoll;
    struct epoll_event ready[BATCH];
    int nready; /* of the batch being called back; else 0 */
};

struct poller *
poller_new(void)
{
    struct poller *self;

    if ((self = calloc(1, sizeof(*self))) == NULL)
        return NULL;
    if ((self->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) {
        free(self);
        return NULL;
    }
    return self;
}

void
poller_free(struct poller *self)
{
    if (self == NULL)
        return;
    close(self->epoll);
    free(self);
}

int
poller_watch(struct poller *self, struct watch *w, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = w};

    if (w->added && w->events == events)
        return 0;
    if (epoll_ctl(self->epoll, w->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, w->fd, &e) != 0)
        return -1;
    w->added = 1;
    w->events = events;
    return 0;
}

void
poller_unwatch(struct poller *self, struct watch *w)
{
    if (!w->added)
        return;
    epoll_ctl(self->epoll, EPOLL_CTL_DEL, w->fd, NULL);
    w->added = 0;
    /* It may stand later in the batch that is being called back. */
    for (int i = 0; i < self->nready; i++)
        if (self->ready[i].data.ptr == w)
            self->ready[i].data.ptr = NULL;
}

int
poller_wait(struct poller *self, int timeout)
{
    int n;

    assert(self->nready == 0); /* not from inside a callback */
    n = epoll_wait(self->epoll, self->ready, BATCH, timeout);
    if (n < 0)
        return errno == EINTR ? 0 : -1;
    self->nready = n;
    for (int i = 0; i < n; i++) {
        struct watch *w = self->ready[i].data.ptr;

        if (w != NULL)
            w->ready(w->arg, self->ready[i].events);
    }
    self->nready = 0;
    return n;
}
