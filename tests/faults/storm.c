#include "storm.h"

#include "../../base/clock.h"
#include "../../net/link.h"
#include "../../proto/limits.h"
#include "../system/harness.h"
#include "../system/talker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

struct idler {
    struct link *link;
    struct message hello;
    char name[32];
    int64_t beat;
};

static void
turn(struct idler *d, int64_t now)
{
    static const struct message beat = {.type = MESSAGE_BEAT};
    enum link_event event;
    struct message m;
    const char *why;

    link_tick(d->link, now);
    while ((event = link_event(d->link)) != LINK_NONE)
        if (event == LINK_UP)
            (void)link_send(d->link, &d->hello);
    while (link_receive(d->link, &m, &why) == 1)
        if (m.type == MESSAGE_BYE)
            link_restart(d->link, now);
    if (now >= d->beat) {
        d->beat = now + BEAT_MS * 1000;
        (void)link_send(d->link, &beat);
    }
}

static void
run(const char *endpoint, int count, int number)
{
    struct idler *all = calloc((size_t)count, sizeof(*all));
    struct poller *poller = poller_new();

    for (int i = 0; i < count; i++) {
        snprintf(all[i].name, sizeof(all[i].name), "idle-%d-%d", number, i);
        all[i].hello = talker_hello(ROLE_WORKER, all[i].name, 1);
        all[i].link = link_new(poller, endpoint, clock_us());
    }
    for (;;) {
        int64_t now = clock_us(), at = now + 500000;

        for (int i = 0; i < count; i++) {
            turn(&all[i], now);
            at = link_deadline(all[i].link) < at ? link_deadline(all[i].link) : at;
        }
        poller_wait(poller, clock_poll_timeout(at, clock_us()));
    }
}

pid_t
storm_start(const char *endpoint, int count, int number)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(endpoint, count, number);
    }
    assert_true(pid > 0);
    return pid;
}
