/* poller.h - waits for many file descriptors at once, and calls back for those that are ready.
 *
 * A thin coat over epoll: no timers (owners of time state their next deadline), no threads. ZeroMQ
 * sockets join by their ZMQ_FD, and their owner looks at ZMQ_EVENTS after every turn.
 * A watch belongs to its owner and lives inside the owner's struct; while it is added it must not
 * move.
 */
#ifndef LADLE_POLLER_H
#define LADLE_POLLER_H

#include <stdint.h>

struct poller;

struct watch {
    int fd;
    void (*ready)(void *arg, uint32_t events); /* events: EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR */
    void *arg;
    /* private */
    uint32_t events;
    int added;
};

struct poller *poller_new(void); /* NULL with errno */
void poller_free(struct poller *self);

/* Watch for `events` (EPOLLIN, EPOLLOUT; 0: only hang-ups and errors), adding or changing. -1 with
 * errno. */
int poller_watch(struct poller *self, struct watch *w, uint32_t events);
/* Forget it; safe for one that was never added, and inside a callback for any watch. Call before
 * close(). */
void poller_unwatch(struct poller *self, struct watch *w);

/* Wait up to `timeout` milliseconds (-1: for ever), then call back for what is ready: at most 64
 * descriptors a turn. Returns how many; a signal ends the wait early with 0; -1 with errno. */
int poller_wait(struct poller *self, int timeout);

#endif
