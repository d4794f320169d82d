/* A session with a grid: the core at one end of a link, the broker at the other. */
#include "session.h"

#include "ladle.h"
#include "zmqload.h"

#include "../net/conversation.h"
#include "../net/link.h"
#include "../proto/limits.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { AT_ONCE = 256 };     /* messages received before others are looked after */
enum { BACKLOG = 4 << 20 }; /* bytes that wait in the link before no more are made */
enum { WANTED_MAX = 1024 }; /* parts that workers wait for; for what is more they ask again */
enum { FLUSH_MS = 2000 };   /* what futures_destroy() gives the last messages */

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
    char host[LIMIT_NAME + 1];

    struct conversation talk;
    bool told; /* that there is no broker */

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
say(struct grid *g, const struct message *m, int64_t now)
{
    if (link_send(g->link, m) != 0)
        conversation_unsent(&g->talk, errno, now);
}

static void
say_hello(struct grid *g, int64_t now)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_CLIENT,
                                  .software = "ladle " LADLE_VERSION,
                                  .name = g->session->program.name,
                                  .host = g->host,
                                  .pid = (uint64_t)getpid(),
                                  .window = WINDOW_RESULT,
                                  .keep_ms = keep_ms(g)}};

    conversation_introduce(&g->talk, &m.hello);
    say(g, &m, now);
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
gone(struct grid *g, const char *why)
{
    futures_t *s = g->session;
    char text[1024];

    drop_wanted(g);
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
welcome(struct grid *g)
{
    futures_t *s = g->session;

    if (g->told)
        io_say(s, "the broker at %s is back", s->endpoint);
    g->told = false;
    session_lock(s);
    set_away(s, NULL);
    s->lost = false;
    s->phase = PHASE_OPEN;
    session_news(s);
    session_unlock(s);
}

static void
refused(struct grid *g, const char *why)
{
    futures_t *s = g->session;
    char text[LIMIT_TEXT];

    snprintf(text, sizeof(text), "the broker at %s refused this session: %s", s->endpoint, why);
    if (s->phase == PHASE_OPENING)
        io_failed(s, EPROTO, text);
    gone(g, why);
}

/* No broker for too long: whoever waits is told so. */
static void
give_up(struct grid *g)
{
    futures_t *s = g->session;
    char text[512];

    snprintf(text, sizeof(text), "the broker at %s has not answered for %g s", s->endpoint,
             s->config.lost_timeout / 1e3);
    session_lock(s);
    set_away(s, text);
    s->lost = true;
    core_end_all(s->core, OUTCOME_LOST, text, false);
    session_news(s);
    session_unlock(s);
}

static void
converse(struct grid *g, int64_t now)
{
    static const struct message beat = {.type = MESSAGE_BEAT};
    struct conversation_effect e;

    conversation_tick(&g->talk, now);
    while (conversation_output(&g->talk, &e)) {
        switch (e.event) {
        case CONVERSATION_REFUSED:
            refused(g, e.why);
            break;
        case CONVERSATION_LOST:
            gone(g, e.why);
            break;
        case CONVERSATION_RESTART:
            link_restart(g->link, now);
            break;
        case CONVERSATION_HELLO:
            say_hello(g, now);
            break;
        case CONVERSATION_BEAT:
            say(g, &beat, now);
            break;
        case CONVERSATION_LISTEN:
            conversation_bytes(&g->talk, link_heard(g->link, now), now);
            break;
        case CONVERSATION_FORSAKEN:
            give_up(g);
            break;
        case CONVERSATION_UNEXPLAINED: /* who opens a session is told in the end: see io.c */
        case CONVERSATION_NOTHING:
            break;
        }
    }
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
    say(g, &m, now);
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

    while (conversation_is_open(&g->talk) && (w = TAILQ_FIRST(&g->wanted)) != NULL &&
           link_backlog(g->link) < BACKLOG) {
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

    if (!conversation_input(&g->talk, m, now))
        return;
    switch (m->type) {
    case MESSAGE_PROGRAM_WANTED:
        want_part(g, &m->program_wanted);
        return;
    case MESSAGE_OUTPUT:
        io_print(s, &m->output);
        return;
    case MESSAGE_NOTICE:
        failed = io_notice(s, &m->notice, now);
        break;
    default:
        session_lock(s);
        failed = core_input(s->core, m, now);
        session_unlock(s);
        break;
    }
    if (failed != 0) /* there will be another time for it */
        conversation_fail(&g->talk, "out of memory here", now);
    else if (m->type == MESSAGE_WELCOME)
        welcome(g);
}

static void
receive(struct grid *g, int64_t now)
{
    struct message m;
    const char *why;
    int n = 0, got;

    while (n++ < AT_ONCE && (got = link_receive(g->link, &m, &why)) != 0) {
        if (got > 0)
            take(g, &m, now);
        else
            conversation_fail(&g->talk, why, now);
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

    while (conversation_is_open(&g->talk) && link_backlog(g->link) < BACKLOG && sent < AT_ONCE) {
        bool any;

        session_lock(s);
        if ((any = core_output(s->core, &m, now)))
            say(g, &m, now);
        if (s->core->news)
            session_news(s);
        session_unlock(s);
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
            conversation_up(&g->talk, now);
        else
            conversation_down(&g->talk, now);
    }
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
    int64_t deadline = earlier(link_deadline(g->link), conversation_deadline(&g->talk));

    session_lock(s);
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
    converse(g, now);
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
    int linger_ms = 0;

    while (conversation_is_open(&g->talk) && (now = clock_us()) < end) {
        bool more = send_some(g, now);

        link_tick(g->link, now);
        events(g, now);
        if (!more && link_backlog(g->link) == 0)
            break;
        if (!more)
            (void)poller_wait(g->poller, clock_poll_timeout(end, now));
    }
    now = clock_us();
    if (conversation_leave(&g->talk) && link_send(g->link, &bye) == 0 && now < end)
        linger_ms = (int)((end - now) / 1000);
    link_free(g->link, linger_ms);
}

void
grid_run(futures_t *s)
{
    struct grid g = {.session = s};
    uint8_t id[16];
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
    randombytes_buf(id, sizeof(id));
    conversation_init(&g.talk, id, (int64_t)s->config.lost_timeout * 1000, clock_us());
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
