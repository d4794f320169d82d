#include "shell.h"

#include "../base/clock.h"
#include "../base/log.h"
#include "../net/conversation.h"
#include "../net/link.h"
#include "../proto/limits.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MESSAGES 256             /* in one turn, before timers */
#define BACKLOG_HIGH (16u << 20) /* the broker reads slowly: executors wait */
#define BACKLOG_LOW (4u << 20)
#define DIAGNOSE_MS 1000
#define LINGER_MS 2000

struct shell {
    struct poller *poller;
    struct link *link;
    struct supervisor *supervisor;
    char *endpoint;
    unsigned slots;
    struct watch signals;
    struct conversation talk;
    bool was_ready;
    uint64_t dropped; /* results; as was said last */
    unsigned stops;   /* signals that asked for it */
    int64_t drain_ms; /* what runs may go on so long */
    int64_t ends_at;  /* nothing may run then; CLOCK_NEVER */
    bool draining;
    bool hurry;
    bool refused;
    bool holding;
    bool linger; /* what was sent last is worth some time */
};

static void
on_signal(void *arg, uint32_t events)
{
    struct shell *s = arg;
    struct signalfd_siginfo info;

    (void)events;
    while (read(s->signals.fd, &info, sizeof(info)) == sizeof(info)) {
        /* A batch system sends SIGUSR1 early, and SIGTERM when it means it. */
        s->hurry |= info.ssi_signo == SIGHUP || (s->stops > 0 && info.ssi_signo != SIGUSR1);
        s->stops++;
    }
}

static int
watch_signals(struct shell *s)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGHUP);
    s->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    s->signals.ready = on_signal;
    s->signals.arg = s;
    return s->signals.fd < 0 ? -1 : poller_watch(s->poller, &s->signals, EPOLLIN);
}

struct shell *
shell_new(const char *endpoint, const struct supervisor_config *config, int64_t keep_us,
          int64_t drain_ms, char *why, size_t size)
{
    struct supervisor_config with_poller = *config;
    struct shell *s = calloc(1, sizeof(*s));
    int64_t now = clock_us();
    uint8_t session[16];

    snprintf(why, size, "out of memory");
    if (s == NULL)
        return NULL;
    s->signals.fd = -1;
    s->slots = config->slots;
    s->drain_ms = drain_ms;
    s->ends_at = config->ends_at > 0 ? config->ends_at : CLOCK_NEVER;
    if (getrandom(session, sizeof(session), 0) != sizeof(session)) {
        snprintf(why, size, "no random numbers: %s", strerror(errno));
        goto fail;
    }
    conversation_init(&s->talk, session, keep_us, now);
    if ((s->endpoint = strdup(endpoint)) == NULL)
        goto fail;
    if ((s->poller = poller_new()) == NULL || watch_signals(s) != 0) {
        snprintf(why, size, "cannot wait for events: %s", strerror(errno));
        goto fail;
    }
    with_poller.poller = s->poller;
    if ((s->supervisor = supervisor_new(&with_poller, now)) == NULL) {
        snprintf(why, size, "%s", supervisor_error());
        goto fail;
    }
    log_info("%s", supervisor_groups(s->supervisor));
    if ((s->link = link_new(s->poller, endpoint, now)) == NULL) {
        snprintf(why, size, "cannot connect to %s: %s", endpoint, strerror(errno));
        goto fail;
    }
    return s;
fail:
    shell_free(s);
    return NULL;
}

void
shell_free(struct shell *s)
{
    if (s == NULL)
        return;
    supervisor_free(s->supervisor);
    if (s->link != NULL)
        link_free(s->link, s->linger ? LINGER_MS : 0);
    if (s->signals.fd >= 0) {
        poller_unwatch(s->poller, &s->signals);
        close(s->signals.fd);
    }
    poller_free(s->poller);
    free(s->endpoint);
    free(s);
}

/* ---- the connection
 * ------------------------------------------------------------------------------ */

static void
say_hello(struct shell *s, int64_t now)
{
    struct message hello;

    supervisor_hello(s->supervisor, &hello);
    conversation_introduce(&s->talk, &hello.hello);
    if (link_send(s->link, &hello) != 0)
        conversation_unsent(&s->talk, errno, now);
}

static void
beat(struct shell *s, int64_t now)
{
    static const struct message m = {.type = MESSAGE_BEAT};

    if (link_send(s->link, &m) != 0)
        conversation_unsent(&s->talk, errno, now);
}

static void
lose(struct shell *s, const struct conversation_effect *e, int64_t now)
{
    if (!e->was_open)
        return;
    log_warn("the broker at %s is lost (%s): its work is kept for %g s", s->endpoint, e->why,
             (double)s->talk.keep_us / 1e6);
    supervisor_lost(s->supervisor, now);
}

static void
refuse(struct shell *s, const char *why)
{
    fprintf(stderr, "ladle-worker: the broker at %s refused this worker: %s\n", s->endpoint, why);
    s->refused = true;
}

/* Nobody can want it any more. */
static void
drop_work(struct shell *s, int64_t now)
{
    log_warn("no broker at %s for %g s: its work is dropped", s->endpoint,
             (double)s->talk.keep_us / 1e6);
    supervisor_reset(s->supervisor, now);
}

static void
explain(struct shell *s)
{
    char text[512];

    if (s->draining)
        return;
    link_diagnose(s->endpoint, DIAGNOSE_MS, text, sizeof(text));
    fprintf(stderr, "ladle-worker: waiting for the broker at %s: %s\n", s->endpoint, text);
}

static void
converse(struct shell *s, int64_t now)
{
    struct conversation_effect e;

    conversation_tick(&s->talk, now);
    while (conversation_output(&s->talk, &e)) {
        switch (e.event) {
        case CONVERSATION_REFUSED:
            refuse(s, e.why);
            break;
        case CONVERSATION_LOST:
            lose(s, &e, now);
            break;
        case CONVERSATION_RESTART:
            link_restart(s->link, now);
            break;
        case CONVERSATION_HELLO:
            say_hello(s, now);
            break;
        case CONVERSATION_BEAT:
            beat(s, now);
            break;
        case CONVERSATION_LISTEN:
            conversation_bytes(&s->talk, link_heard(s->link, now), now);
            break;
        case CONVERSATION_FORSAKEN:
            drop_work(s, now);
            break;
        case CONVERSATION_UNEXPLAINED:
            explain(s);
            break;
        case CONVERSATION_NOTHING:
            break;
        }
    }
}

static void
follow_link(struct shell *s, int64_t now)
{
    enum link_event event;

    while ((event = link_event(s->link)) != LINK_NONE) {
        if (event == LINK_UP)
            conversation_up(&s->talk, now);
        else
            conversation_down(&s->talk, now);
    }
}

static void
welcome(struct shell *s, const struct message_welcome *m)
{
    if (supervisor_dropped(s->supervisor) > s->dropped)
        log_warn("%llu results were too many to be kept: their tasks will run again",
                 (unsigned long long)(supervisor_dropped(s->supervisor) - s->dropped));
    s->dropped = supervisor_dropped(s->supervisor);
    if (!s->was_ready) {
        printf("ladle-worker: ready, %s with %u slots at %s\n", m->name, s->slots, s->endpoint);
        fflush(stdout);
    } else {
        log_info("connected again to the broker at %s, as %s", s->endpoint, m->name);
    }
    s->was_ready = true;
}

static void
drain(struct shell *s, int64_t grace_ms, const char *why, int64_t now)
{
    log_info("%s: what runs may go on for %g s, a second signal ends it at once", why,
             (double)grace_ms / 1e3);
    s->draining = true;
    supervisor_drain(s->supervisor, grace_ms, why, now);
}

static void
drain_when_due(struct shell *s, int64_t now)
{
    if (s->stops > 0 && !s->draining)
        drain(s, s->hurry ? 0 : s->drain_ms, "stopped by its operator", now);
    if (now >= s->ends_at) {
        s->ends_at = CLOCK_NEVER;
        drain(s, 0, "its time limit is near", now);
    }
}

static void
take(struct shell *s, const struct message *m, int64_t now)
{
    if (!conversation_input(&s->talk, m, now))
        return;
    if (m->client == 0 && m->type == MESSAGE_WELCOME)
        welcome(s, &m->welcome);
    if (m->client == 0 && m->type == MESSAGE_DRAIN)
        drain(s, m->drain.grace_ms >= 0 ? m->drain.grace_ms : s->drain_ms, "an operator drains it",
              now);
    else
        supervisor_input(s->supervisor, m, now);
}

static void
receive(struct shell *s, int64_t now)
{
    struct message m;
    const char *why;
    int got;

    for (int i = 0; i < MESSAGES && (got = link_receive(s->link, &m, &why)) != 0; i++) {
        if (got > 0)
            take(s, &m, now);
        else
            conversation_fail(&s->talk, why, now);
    }
}

/* ---- what goes out
 * ------------------------------------------------------------------------------- */

static void
send_out(struct shell *s, int64_t now)
{
    size_t backlog = link_backlog(s->link);
    struct message m;

    while (conversation_is_open(&s->talk) && backlog < BACKLOG_HIGH &&
           supervisor_output(s->supervisor, &m)) {
        if (link_send(s->link, &m) != 0)
            conversation_unsent(&s->talk, errno, now);
        backlog = link_backlog(s->link);
    }
    if (s->holding ? backlog < BACKLOG_LOW : backlog >= BACKLOG_HIGH) {
        s->holding = !s->holding;
        supervisor_hold(s->supervisor, s->holding);
    }
}

/* ---- the loop
 * ------------------------------------------------------------------------------------- */

static int64_t
deadline(const struct shell *s)
{
    int64_t at = supervisor_deadline(s->supervisor), link = link_deadline(s->link);
    int64_t talk = conversation_deadline(&s->talk);

    if (link < at)
        at = link;
    if (s->ends_at < at)
        at = s->ends_at;
    return talk < at ? talk : at;
}

static bool
stopped(const struct shell *s)
{
    if (s->hurry || s->refused)
        return true;
    return s->draining && (!conversation_is_open(&s->talk) ||
                           (supervisor_idle(s->supervisor) && link_backlog(s->link) == 0));
}

static void
say_goodbye(struct shell *s)
{
    struct message m = {.type = MESSAGE_BYE, .text = s->hurry ? "ended at once" : "it was drained"};

    if (conversation_leave(&s->talk) && link_send(s->link, &m) == 0)
        s->linger = !s->hurry;
}

int
shell_run(struct shell *s)
{
    int64_t now = clock_us();

    while (!stopped(s)) {
        if (poller_wait(s->poller, clock_poll_timeout(deadline(s), now)) < 0) {
            log_error("cannot wait for events: %s", strerror(errno));
            return -1;
        }
        now = clock_us();
        drain_when_due(s, now);
        link_tick(s->link, now);
        follow_link(s, now);
        receive(s, now);
        converse(s, now);
        supervisor_tick(s->supervisor, now);
        send_out(s, now);
        now = clock_us();
    }
    say_goodbye(s);
    return s->hurry || s->refused ? -1 : 0;
}
