/* The local pool: the very scheduler and supervisor of a grid, driven by the client's I/O thread.
 *
 * No sockets between them: what one puts out is handed to the other as it is. Executors are
 * children of this thread, and die with it.
 */
#include "session.h"

#include "ladle.h"

#include "../broker/scheduler.h"
#include "../proto/limits.h"
#include "../worker/supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CLIENT = 1, WORKER = 2 };
enum { ROUNDS = 64 };       /* of handing over, until the descriptors are looked at again */
#define NEVER_MS (1u << 30) /* neither can be lost: it is this thread */

struct local {
    futures_t *session;
    struct poller *poller;
    struct scheduler *scheduler;
    struct supervisor *supervisor;
    struct watch wake;
    bool broken;
};

static void
broken(struct local *l, const char *why)
{
    futures_t *s = l->session;
    char text[512];

    snprintf(text, sizeof(text), "the local pool has ended: %s", why);
    session_lock(s);
    l->broken = true;
    s->lost = true;
    free(s->away);
    s->away = strdup(text);
    core_gone(s->core);
    core_end_all(s->core, OUTCOME_LOST, text, false);
    session_news(s);
    session_unlock(s);
}

/* ---- handing over -----------------------------------------------------------------------------
 */

/* From the core to the scheduler. True if there was something. */
static bool
from_client(struct local *l, int64_t now)
{
    futures_t *s = l->session;
    const char *why = NULL;
    struct message m;
    bool any = false;

    session_lock(s);
    core_tick(s->core, now);
    while (why == NULL && core_output(s->core, &m, now)) {
        any = true;
        if (scheduler_input(l->scheduler, CLIENT, &m, now) != 0)
            why = scheduler_why(l->scheduler);
    }
    if (s->core->news)
        session_news(s);
    session_unlock(s);
    if (why != NULL)
        broken(l, why);
    return any;
}

static bool
from_worker(struct local *l, int64_t now)
{
    struct message m;
    bool any = false;

    while (!l->broken && supervisor_output(l->supervisor, &m)) {
        any = true;
        if (scheduler_input(l->scheduler, WORKER, &m, now) != 0)
            broken(l, scheduler_why(l->scheduler));
    }
    return any;
}

/* To the core, with the lock held. What is about no job is told by now. */
static void
to_client(struct local *l, const struct message *m, int64_t now)
{
    struct timespec pause = {.tv_nsec = 10000000};

    while (core_input(l->session->core, m, now) != 0) {
        /* Out of memory: the program has to let go of some first. */
        session_unlock(l->session);
        nanosleep(&pause, NULL);
        session_lock(l->session);
        if (l->session->stop)
            return;
    }
}

static bool
from_scheduler(struct local *l, int64_t now)
{
    futures_t *s = l->session;
    bool locked = false, any = false;
    struct message m;
    uint32_t peer;

    while (scheduler_output(l->scheduler, &peer, &m)) {
        bool core = peer == CLIENT && m.type != MESSAGE_OUTPUT && m.type != MESSAGE_NOTICE;

        any = true;
        if (core && !locked)
            session_lock(s);
        if (!core && locked) {
            session_news(s);
            session_unlock(s);
        }
        locked = core;
        if (core)
            to_client(l, &m, now);
        else if (peer == WORKER)
            supervisor_input(l->supervisor, &m, now);
        else if (m.type == MESSAGE_OUTPUT)
            io_print(s, &m.output);
        else
            (void)io_notice(s, &m.notice, now);
    }
    if (locked) {
        session_news(s);
        session_unlock(s);
    }
    return any;
}

static void
hand_over(struct local *l)
{
    bool any = true;

    for (int i = 0; any && i < ROUNDS && !l->broken; i++) {
        int64_t now = clock_us();

        supervisor_tick(l->supervisor, now);
        any = from_worker(l, now);
        any |= from_client(l, now);
        scheduler_tick(l->scheduler, now);
        any |= from_scheduler(l, now);
    }
}

/* ---- life -------------------------------------------------------------------------------------
 */

static int
greet(struct local *l, int64_t now)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_CLIENT,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "ladle " LADLE_VERSION,
                                  .name = l->session->program.name,
                                  .host = "",
                                  .window = WINDOW_RESULT}};

    if (scheduler_input(l->scheduler, CLIENT, &m, now) != 0)
        return -1;
    supervisor_hello(l->supervisor, &m);
    m.hello.protocol = LADLE_PROTOCOL;
    return scheduler_input(l->scheduler, WORKER, &m, now);
}

static int
make(struct local *l, int64_t now)
{
    futures_t *s = l->session;
    struct scheduler_config scheduler = {.software = "ladle " LADLE_VERSION,
                                         .instance = 1,
                                         .beat_ms = NEVER_MS,
                                         .lost_ms = NEVER_MS,
                                         .seed = 1};
    struct supervisor_config supervisor = {.slots = (unsigned)s->config.slots,
                                           .name = "local",
                                           .labels = "",
                                           .local_program = executable_path(s->executable),
                                           .tasks_per_executor =
                                               (unsigned)s->config.tasks_per_executor,
                                           .local_environment = s->program.environment,
                                           .local_environment_size = s->program.environment_size,
                                           .local_directory = s->program.directory,
                                           .warm = (unsigned)s->config.slots};

    if ((l->poller = poller_new()) == NULL || io_watch(s, l->poller, &l->wake) != 0 ||
        (l->scheduler = scheduler_new(&scheduler, now)) == NULL) {
        io_failed(s, errno, strerror(errno));
        return -1;
    }
    supervisor.poller = l->poller;
    if ((l->supervisor = supervisor_new(&supervisor, now)) == NULL) {
        io_failed(s, errno, supervisor_error());
        return -1;
    }
    if (greet(l, now) != 0) {
        io_failed(s, EPROTO, scheduler_why(l->scheduler));
        return -1;
    }
    return 0;
}

static int64_t
deadline_of(struct local *l)
{
    int64_t deadline = scheduler_deadline(l->scheduler);
    int64_t at = supervisor_deadline(l->supervisor);

    deadline = at < deadline ? at : deadline;
    session_lock(l->session);
    at = core_deadline(l->session->core);
    session_unlock(l->session);
    return at < deadline ? at : deadline;
}

void
local_run(futures_t *s)
{
    struct local l = {.session = s};

    if (make(&l, clock_us()) == 0) {
        hand_over(&l);
        io_opened(s);
        while (!io_stopping(s)) {
            io_sleep(s, l.poller, l.broken ? CLOCK_NEVER : deadline_of(&l));
            hand_over(&l);
        }
    }
    if (l.supervisor != NULL)
        supervisor_free(l.supervisor);
    scheduler_free(l.scheduler);
    if (l.poller != NULL)
        poller_unwatch(l.poller, &l.wake);
    poller_free(l.poller);
}
