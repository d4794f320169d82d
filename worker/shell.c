#include "shell.h"

#include "../base/clock.h"
#include "../base/log.h"
#include "../net/link.h"
#include "../proto/limits.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MESSAGES 256             /* in one turn, before timers */
#define BACKLOG_HIGH (16u << 20) /* the broker reads slowly: executors wait */
#define BACKLOG_LOW (4u << 20)
#define SILENT_FIRST_US 3000000  /* without a broker, until that is explained ... */
#define SILENT_AGAIN_US 60000000 /* ... and once more */
#define DIAGNOSE_MS 1000
#define LINGER_MS 2000

struct shell {
    struct poller *poller;
    struct link *link;
    struct supervisor *supervisor;
    char *endpoint;
    unsigned slots;
    struct watch signals;
    bool welcomed; /* on this connection */
    bool was_ready;
    int64_t keep_us;  /* how long work is kept without a broker */
    int64_t drop_at;  /* so it is dropped at; CLOCK_NEVER: there is a broker, or nothing is kept */
    uint64_t dropped; /* results; as was said last */
    int64_t beat_us, lost_us;
    int64_t heard, beat; /* when; when the next one is due */
    int64_t explain;     /* when to say that nobody answers */
    unsigned stops;      /* signals that asked for it */
    int64_t drain_ms;    /* what runs may go on so long */
    int64_t ends_at;     /* nothing may run then; CLOCK_NEVER */
    bool draining;
    bool hurry;
    bool refused;
    bool holding;
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

    snprintf(why, size, "out of memory");
    if (s == NULL)
        return NULL;
    s->signals.fd = -1;
    s->slots = config->slots;
    s->keep_us = keep_us;
    s->drop_at = CLOCK_NEVER;
    s->drain_ms = drain_ms;
    s->ends_at = config->ends_at > 0 ? config->ends_at : CLOCK_NEVER;
    s->lost_us = BEAT_MS * BEATS_MISSED * 1000LL;
    s->explain = now + SILENT_FIRST_US;
    s->heard = now;
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
        link_free(s->link, s->hurry || !s->welcomed ? 0 : LINGER_MS);
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
lose(struct shell *s, int64_t now)
{
    if (s->welcomed) {
        log_warn("the connection to the broker at %s is lost: its work is kept for %g s",
                 s->endpoint, (double)s->keep_us / 1e6);
        supervisor_lost(s->supervisor, now);
        s->drop_at = now + s->keep_us;
    }
    s->welcomed = false;
    s->explain = now + SILENT_FIRST_US;
}

static void
start_over(struct shell *s, const char *why, int64_t now)
{
    log_warn("%s: connecting again", why);
    lose(s, now);
    link_restart(s->link, now);
    s->heard = now;
}

/* No broker for so long: nobody can want it any more. */
static void
drop_work(struct shell *s, int64_t now)
{
    if (s->welcomed || now < s->drop_at)
        return;
    log_warn("no broker at %s for %g s: its work is dropped", s->endpoint,
             (double)s->keep_us / 1e6);
    supervisor_reset(s->supervisor, now);
    s->drop_at = CLOCK_NEVER;
}

static void
follow_link(struct shell *s, int64_t now)
{
    enum link_event event;
    struct message hello;

    while ((event = link_event(s->link)) != LINK_NONE) {
        if (event == LINK_DOWN) {
            lose(s, now);
            continue;
        }
        s->heard = now;
        s->welcomed = false;
        supervisor_hello(s->supervisor, &hello);
        if (link_send(s->link, &hello) != 0)
            log_warn("cannot say hello to the broker: %s", strerror(errno));
    }
}

static void
welcome(struct shell *s, const struct message *m, int64_t now)
{
    s->welcomed = true;
    s->beat_us = (m->welcome.beat_ms > 0 ? m->welcome.beat_ms : BEAT_MS) * 1000LL;
    s->lost_us = (m->welcome.lost_ms > 0 ? m->welcome.lost_ms : BEAT_MS * BEATS_MISSED) * 1000LL;
    s->beat = now + s->beat_us;
    s->explain = CLOCK_NEVER;
    s->drop_at = CLOCK_NEVER;
    if (supervisor_dropped(s->supervisor) > s->dropped)
        log_warn("%llu results were too many to be kept: their tasks will run again",
                 (unsigned long long)(supervisor_dropped(s->supervisor) - s->dropped));
    s->dropped = supervisor_dropped(s->supervisor);
    supervisor_input(s->supervisor, m, now);
    if (!s->was_ready) {
        printf("ladle-worker: ready, %s with %u slots at %s\n", m->welcome.name, s->slots,
               s->endpoint);
        fflush(stdout);
    } else {
        log_info("connected again to the broker at %s, as %s", s->endpoint, m->welcome.name);
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
    s->heard = now;
    if (m->client != 0) {
        if (s->welcomed)
            supervisor_input(s->supervisor, m, now);
        return;
    }
    switch (m->type) {
    case MESSAGE_WELCOME:
        welcome(s, m, now);
        break;
    case MESSAGE_REFUSED:
        fprintf(stderr, "ladle-worker: the broker at %s refused this worker: %s\n", s->endpoint,
                m->text);
        s->refused = true;
        break;
    case MESSAGE_BYE:
        start_over(s, "the broker said goodbye", now);
        break;
    case MESSAGE_BEAT:
        break;
    case MESSAGE_DRAIN:
        drain(s, m->drain.grace_ms >= 0 ? m->drain.grace_ms : s->drain_ms, "an operator drains it",
              now);
        break;
    default:
        if (s->welcomed)
            supervisor_input(s->supervisor, m, now);
        break;
    }
}

static void
receive(struct shell *s, int64_t now)
{
    struct message m;
    const char *why;
    int got = 1;

    for (int i = 0; i < MESSAGES && got != 0 && !s->refused; i++) {
        if ((got = link_receive(s->link, &m, &why)) > 0)
            take(s, &m, now);
        else if (got < 0)
            log_warn("the broker sent what is no message: %s", why);
    }
}

/* ---- what goes out
 * ------------------------------------------------------------------------------- */

static void
send_out(struct shell *s)
{
    size_t backlog = link_backlog(s->link);
    struct message m;

    while (s->welcomed && backlog < BACKLOG_HIGH && supervisor_output(s->supervisor, &m)) {
        if (link_send(s->link, &m) != 0)
            break; /* lost: that is told by an event */
        backlog = link_backlog(s->link);
    }
    if (s->holding ? backlog < BACKLOG_LOW : backlog >= BACKLOG_HIGH) {
        s->holding = !s->holding;
        supervisor_hold(s->supervisor, s->holding);
    }
}

static void
beat(struct shell *s, int64_t now)
{
    struct message m = {.type = MESSAGE_BEAT};

    if (s->welcomed && now >= s->beat) {
        (void)link_send(s->link, &m);
        s->beat = now + s->beat_us;
    }
    if (link_is_up(s->link) && now - s->heard >= s->lost_us) {
        int64_t bytes = link_heard(s->link, now); /* of what is long under way */

        s->heard = bytes > s->heard ? bytes : s->heard;
    }
    if (link_is_up(s->link) && now - s->heard >= s->lost_us)
        start_over(s, "the broker is silent", now);
}

static void
explain(struct shell *s, int64_t now)
{
    char text[512];

    if (s->welcomed || now < s->explain || s->draining)
        return;
    link_diagnose(s->endpoint, DIAGNOSE_MS, text, sizeof(text));
    fprintf(stderr, "ladle-worker: waiting for the broker at %s: %s\n", s->endpoint, text);
    s->explain = clock_us() + SILENT_AGAIN_US;
}

/* ---- the loop
 * ------------------------------------------------------------------------------------- */

static int64_t
deadline(const struct shell *s)
{
    int64_t at = supervisor_deadline(s->supervisor), next = link_deadline(s->link);

    if (next < at)
        at = next;
    if (!s->welcomed && s->drop_at < at)
        at = s->drop_at;
    if (s->welcomed && s->beat < at)
        at = s->beat;
    if (s->ends_at < at)
        at = s->ends_at;
    if (link_is_up(s->link) && s->heard + s->lost_us < at)
        at = s->heard + s->lost_us;
    return !s->welcomed && s->explain < at ? s->explain : at;
}

static bool
stopped(const struct shell *s)
{
    if (s->hurry || s->refused)
        return true;
    return s->draining &&
           (!s->welcomed || (supervisor_idle(s->supervisor) && link_backlog(s->link) == 0));
}

static void
say_goodbye(struct shell *s)
{
    struct message m = {.type = MESSAGE_BYE, .text = s->hurry ? "ended at once" : "it was drained"};

    if (s->welcomed && !s->refused)
        (void)link_send(s->link, &m);
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
        drop_work(s, now);
        supervisor_tick(s->supervisor, now);
        send_out(s);
        beat(s, now);
        explain(s, now);
        now = clock_us();
    }
    say_goodbye(s);
    return s->hurry || s->refused ? -1 : 0;
}
