/* A session with a grid: the core at one end of a link, the broker at the other. */
#include "session.h"

#include "ladle.h"
#include "zmqload.h"

#include "../net/link.h"
#include "../proto/limits.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AT_ONCE = 256 };      /* messages received before others are looked after */
enum { BACKLOG = 4 << 20 };  /* bytes that wait in the link before no more are made */
enum { WANTED_MAX = 1024 };  /* parts that workers wait for; for what is more they ask again */
enum { FLUSH_MS = 2000 };    /* what futures_destroy() gives the last messages */
enum { HELLO_US = 5000000 }; /* a broker that does not answer HELLO by then is tried again */

struct wanted { /* a part of a program or of a constant */
    TAILQ_ENTRY(wanted) link;
    char digest[65];
    uint64_t offset;
};

struct grid {
    futures_t *session;
    struct poller *poller;
    struct link *link;
    struct watch wake;
    uint8_t id[16];
    char host[LIMIT_NAME + 1];

    bool welcome;
    int64_t hello;  /* when it was said; CLOCK_NEVER */
    int64_t heard;  /* last sign of life */
    int64_t beaten; /* our last one */
    int64_t beat_us, lost_us;
    int64_t gone; /* since when there is no broker; CLOCK_NEVER: there is */
    bool told;    /* that it is gone */

    TAILQ_HEAD(, wanted) wanted; /* they are made when the link has room: each is large */
    unsigned nwanted;
};

/* ---- the broker comes and goes ----------------------------------------------------------------
 */

/* Futures are kept for as long, and the broker has its own limit. */
static uint64_t
keep_ms(const struct grid *g)
{
    int lost = g->session->config.lost_timeout;

    return lost < 0 ? INT32_MAX : (uint64_t)lost;
}

static void
say_hello(struct grid *g, int64_t now)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_CLIENT,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "ladle " LADLE_VERSION,
                                  .name = g->session->program.name,
                                  .host = g->host,
                                  .pid = (uint64_t)getpid(),
                                  .window = WINDOW_RESULT,
                                  .keep_ms = keep_ms(g)}};

    memcpy(m.hello.session, g->id, sizeof(g->id));
    g->hello = now;
    g->heard = now;
    if (link_send(g->link, &m) != 0)
        link_restart(g->link, now);
}

static void
set_away(futures_t *s, const char *text)
{
    free(s->away);
    s->away = text == NULL ? NULL : strdup(text);
}

static void
drop_wanted(struct grid *g)
{
    struct wanted *w;

    while ((w = TAILQ_FIRST(&g->wanted)) != NULL) {
        TAILQ_REMOVE(&g->wanted, w, link);
        free(w);
    }
    g->nwanted = 0;
}

/* The broker does not answer (any more). */
static void
gone(struct grid *g, int64_t now, const char *why)
{
    futures_t *s = g->session;
    char text[512];

    g->hello = CLOCK_NEVER;
    g->welcome = false;
    drop_wanted(g);
    if (g->gone == CLOCK_NEVER)
        g->gone = now;
    snprintf(text, sizeof(text), "the broker at %s does not answer (%s); trying again", s->endpoint,
             why);
    session_lock(s);
    core_gone(s->core);
    if (s->phase == PHASE_OPEN && !s->lost)
        set_away(s, text);
    session_news(s);
    session_unlock(s);
    if (s->phase == PHASE_OPEN && !g->told) {
        io_say(s, "%s", text);
        g->told = true;
    }
}

static void
restart(struct grid *g, int64_t now, const char *why)
{
    gone(g, now, why);
    link_restart(g->link, now);
}

static void
welcome(struct grid *g, const struct message *m, int64_t now)
{
    futures_t *s = g->session;

    g->welcome = true;
    g->hello = CLOCK_NEVER;
    g->gone = CLOCK_NEVER;
    g->beaten = now;
    g->beat_us = (int64_t)(m->welcome.beat_ms > 0 ? m->welcome.beat_ms : BEAT_MS) * 1000;
    g->lost_us =
        m->welcome.lost_ms > 0 ? (int64_t)m->welcome.lost_ms * 1000 : g->beat_us * BEATS_MISSED;
    if (g->told)
        io_say(s, "the broker at %s is back", s->endpoint);
    g->told = false;
    session_lock(s);
    (void)core_input(s->core, m, now);
    set_away(s, NULL);
    s->lost = false;
    s->phase = PHASE_OPEN;
    session_news(s);
    session_unlock(s);
}

static void
refused(struct grid *g, const char *why, int64_t now)
{
    futures_t *s = g->session;
    char text[LIMIT_TEXT];

    snprintf(text, sizeof(text), "the broker at %s refused this session: %s", s->endpoint, why);
    if (s->phase == PHASE_OPENING)
        io_failed(s, EPROTO, text);
    restart(g, now, why);
}

/* No broker for too long: whoever waits is told so. */
static void
give_up(struct grid *g, int64_t now)
{
    futures_t *s = g->session;
    char text[512];

    if (g->gone == CLOCK_NEVER || s->config.lost_timeout < 0 ||
        now < g->gone + (int64_t)s->config.lost_timeout * 1000)
        return;
    snprintf(text, sizeof(text), "the broker at %s has not answered for %g s", s->endpoint,
             s->config.lost_timeout / 1e3);
    session_lock(s);
    if (s->phase == PHASE_OPEN) {
        if (!s->lost)
            set_away(s, text);
        s->lost = true;
        core_end_all(s->core, OUTCOME_LOST, text, false);
        if (s->core->news)
            session_news(s);
    }
    session_unlock(s);
}

/* ---- messages ---------------------------------------------------------------------------------
 */

static void
send_part(struct grid *g, const struct message_program_wanted *wanted, int64_t now)
{
    struct message m = {.type = MESSAGE_PROGRAM_PART};

    if (!session_shared_part(g->session, wanted, &m.program_part)) {
        if (g->session->executable == NULL)
            return; /* workers have it */
        executable_part(g->session->executable, wanted, &m.program_part);
    }
    if (link_send(g->link, &m) != 0)
        restart(g, now, "out of memory");
    blob_unref(m.program_part.columns.data);
}

static void
want_part(struct grid *g, const struct message_program_wanted *m)
{
    struct wanted *w;

    if (g->nwanted >= WANTED_MAX || (w = malloc(sizeof(*w))) == NULL)
        return;
    snprintf(w->digest, sizeof(w->digest), "%s", m->digest);
    w->offset = m->offset;
    TAILQ_INSERT_TAIL(&g->wanted, w, link);
    g->nwanted++;
}

static void
send_parts(struct grid *g, int64_t now)
{
    struct wanted *w;

    while ((w = TAILQ_FIRST(&g->wanted)) != NULL && link_backlog(g->link) < BACKLOG) {
        struct message_program_wanted m = {.digest = w->digest, .offset = w->offset};

        TAILQ_REMOVE(&g->wanted, w, link);
        g->nwanted--;
        send_part(g, &m, now);
        free(w);
    }
}

static void
take(struct grid *g, const struct message *m, int64_t now)
{
    futures_t *s = g->session;
    int failed;

    switch (m->type) {
    case MESSAGE_WELCOME:
        welcome(g, m, now);
        return;
    case MESSAGE_REFUSED:
        refused(g, m->text, now);
        return;
    case MESSAGE_BYE:
        restart(g, now, m->text == NULL || *m->text == '\0' ? "it said goodbye" : m->text);
        return;
    case MESSAGE_PROGRAM_WANTED:
        want_part(g, &m->program_wanted);
        return;
    case MESSAGE_OUTPUT:
        io_print(s, &m->output);
        return;
    case MESSAGE_NOTICE:
        if (g->welcome)
            (void)io_notice(s, &m->notice, now);
        return;
    default:
        break;
    }
    if (!g->welcome)
        return;
    session_lock(s);
    failed = core_input(s->core, m, now);
    session_unlock(s);
    if (failed != 0) /* there will be another time for it */
        restart(g, now, "out of memory here");
}

static void
receive(struct grid *g, int64_t now)
{
    struct message m;
    const char *why;
    int n = 0, got;

    while (n++ < AT_ONCE && (got = link_receive(g->link, &m, &why)) != 0) {
        if (got < 0) {
            restart(g, now, why);
            break;
        }
        g->heard = now;
        take(g, &m, now);
    }
    session_lock(g->session);
    if (g->session->core->news)
        session_news(g->session);
    session_unlock(g->session);
}

/* True if there may be more to send at once. */
static bool
send_some(struct grid *g, int64_t now)
{
    futures_t *s = g->session;
    struct message m;
    int sent = 0;

    while (g->welcome && link_backlog(g->link) < BACKLOG && sent < AT_ONCE) {
        int failed = 0;
        bool any;

        session_lock(s);
        if ((any = core_output(s->core, &m, now)))
            failed = link_send(g->link, &m);
        if (s->core->news)
            session_news(s);
        session_unlock(s);
        if (failed != 0) {
            restart(g, now, strerror(errno));
            return false;
        }
        if (!any)
            return false;
        sent++;
    }
    return sent == AT_ONCE;
}

static void
events(struct grid *g, int64_t now)
{
    enum link_event e;

    while ((e = link_event(g->link)) != LINK_NONE) {
        if (e == LINK_UP)
            say_hello(g, now);
        else
            gone(g, now, "the connection was lost");
    }
}

static void
signs_of_life(struct grid *g, int64_t now)
{
    static const struct message beat = {.type = MESSAGE_BEAT};

    if (g->hello != CLOCK_NEVER && now >= g->hello + HELLO_US)
        restart(g, now, "it does not answer the hello");
    if (!g->welcome)
        return;
    if (now >= g->heard + g->lost_us) {
        int64_t bytes = link_heard(g->link, now); /* of what is long under way */

        g->heard = bytes > g->heard ? bytes : g->heard;
    }
    if (now >= g->heard + g->lost_us) {
        restart(g, now, "it is silent");
        return;
    }
    if (now < g->beaten + g->beat_us)
        return;
    g->beaten = now;
    if (link_send(g->link, &beat) != 0)
        restart(g, now, strerror(errno));
}

static int64_t
earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t
deadline_of(const struct grid *g)
{
    futures_t *s = g->session;
    int64_t deadline = link_deadline(g->link);

    if (g->hello != CLOCK_NEVER)
        deadline = earlier(deadline, g->hello + HELLO_US);
    if (g->welcome)
        deadline = earlier(deadline, earlier(g->heard + g->lost_us, g->beaten + g->beat_us));
    session_lock(s);
    if (g->gone != CLOCK_NEVER && s->config.lost_timeout >= 0 && !s->lost)
        deadline = earlier(deadline, g->gone + (int64_t)s->config.lost_timeout * 1000);
    deadline = earlier(deadline, core_deadline(s->core));
    deadline = earlier(deadline, core_taken_deadline(s->core));
    session_unlock(s);
    return deadline;
}

static void
turn(struct grid *g)
{
    futures_t *s = g->session;
    int64_t now = clock_us();

    link_tick(g->link, now);
    receive(g, now); /* before the end of the connection that it came by */
    events(g, now);
    signs_of_life(g, now);
    give_up(g, now);
    session_lock(s);
    core_tick(s->core, now);
    if (s->core->news)
        session_news(s);
    session_unlock(s);
    send_parts(g, now);
    if (send_some(g, now)) {
        session_lock(s);
        s->core->wants_output = true;
        session_unlock(s);
    }
}

/* ---- life -------------------------------------------------------------------------------------
 */

/* Pass on what is left, within a bound, and say goodbye. */
static void
flush(struct grid *g)
{
    static const struct message bye = {.type = MESSAGE_BYE, .text = "the session was closed"};
    int64_t end = clock_us() + FLUSH_MS * 1000;
    int64_t now;

    while (g->welcome && (now = clock_us()) < end) {
        bool more = send_some(g, now);

        link_tick(g->link, now);
        events(g, now);
        if (!more && link_backlog(g->link) == 0)
            break;
        if (!more)
            (void)poller_wait(g->poller, clock_poll_timeout(end, now));
    }
    if (g->welcome)
        (void)link_send(g->link, &bye);
    now = clock_us();
    link_free(g->link, g->welcome && now < end ? (int)((end - now) / 1000) : 0);
}

void
grid_run(futures_t *s)
{
    struct grid g = {.session = s, .hello = CLOCK_NEVER, .gone = CLOCK_NEVER};
    char why[512];

    TAILQ_INIT(&g.wanted);
    if (zmqload(why, sizeof(why)) != 0) {
        io_failed(s, ENOSYS, why);
        return;
    }
    if (sodium_init() < 0) {
        io_failed(s, ENOSYS, "libsodium does not work here");
        return;
    }
    randombytes_buf(g.id, sizeof(g.id));
    if (gethostname(g.host, sizeof(g.host) - 1) != 0)
        strcpy(g.host, "?");
    if ((g.poller = poller_new()) == NULL || io_watch(s, g.poller, &g.wake) != 0 ||
        (g.link = link_new(g.poller, s->endpoint, clock_us())) == NULL) {
        io_failed(s, errno, strerror(errno));
    } else if (s->executable != NULL && executable_digest(s->executable) != 0) {
        io_failed(s, errno, futures_error());
    } else {
        if (s->executable != NULL)
            session_program(s);
        while (!io_stopping(s)) {
            turn(&g);
            io_sleep(s, g.poller, deadline_of(&g));
        }
    }
    drop_wanted(&g);
    if (g.link != NULL)
        flush(&g);
    if (g.poller != NULL)
        poller_unwatch(g.poller, &g.wake);
    poller_free(g.poller);
}
