#include "conversation.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HELLO_US 5000000          /* a broker that does not answer HELLO by then is tried again */
#define EXPLAIN_US 3000000        /* without a broker, until that is explained ... */
#define EXPLAIN_AGAIN_US 60000000 /* ... and once more */

void
conversation_init(struct conversation *c, const uint8_t session[16], int64_t keep_us, int64_t now)
{
    *c = (struct conversation){.keep_us = keep_us < 0 ? CLOCK_NEVER : keep_us,
                               .forsaken = CLOCK_NEVER,
                               .unexplained = now + EXPLAIN_US};
    memcpy(c->session, session, sizeof(c->session));
}

void
conversation_introduce(const struct conversation *c, struct message_hello *hello)
{
    hello->protocol = LADLE_PROTOCOL;
    memcpy(hello->session, c->session, sizeof(c->session));
    hello->instance = c->instance;
}

/* ---- its beginning and its end ------------------------------------------------------------------
 */

static void
ask(struct conversation *c, enum conversation_event event)
{
    c->pending |= 1u << event;
}

static void
forget(struct conversation *c, enum conversation_event event)
{
    c->pending &= ~(1u << event);
}

static int64_t
after(int64_t now, int64_t us)
{
    return us > CLOCK_NEVER - now ? CLOCK_NEVER : now + us;
}

static void
end(struct conversation *c, enum conversation_event how, const char *why, int64_t now)
{
    forget(c, CONVERSATION_HELLO);
    forget(c, CONVERSATION_BEAT);
    forget(c, CONVERSATION_LISTEN);
    ask(c, how);
    snprintf(c->why, sizeof(c->why), "%s", why);
    c->was_open |= c->open;
    if (c->open) {
        c->forsaken = after(now, c->keep_us);
        c->unexplained = now + EXPLAIN_US;
    }
    c->up = c->open = c->deaf = false;
}

static void
give_up(struct conversation *c, enum conversation_event how, const char *why, int64_t now)
{
    end(c, how, why, now);
    ask(c, CONVERSATION_RESTART);
}

void
conversation_up(struct conversation *c, int64_t now)
{
    if (c->over)
        return;
    assert(!c->up);
    forget(c, CONVERSATION_RESTART); /* it came about by itself */
    ask(c, CONVERSATION_HELLO);
    c->up = true;
    c->since = now;
}

void
conversation_down(struct conversation *c, int64_t now)
{
    forget(c, CONVERSATION_RESTART);
    if (c->up) /* else it was given up, and that was told */
        end(c, CONVERSATION_LOST, "the connection was lost", now);
}

void
conversation_fail(struct conversation *c, const char *why, int64_t now)
{
    if (c->up)
        give_up(c, CONVERSATION_LOST, why, now);
}

/* A connection that has ended may have last words, which say why: its end is told after them. */
void
conversation_unsent(struct conversation *c, int error, int64_t now)
{
    if (error == ENOTCONN)
        c->deaf = true;
    else
        conversation_fail(c, strerror(error), now);
}

bool
conversation_leave(struct conversation *c)
{
    bool open = conversation_is_open(c);

    c->up = c->open = false;
    c->over = true;
    c->pending = 0;
    c->forsaken = c->unexplained = CLOCK_NEVER;
    return open;
}

/* ---- messages -----------------------------------------------------------------------------------
 */

static bool
welcome(struct conversation *c, const struct message_welcome *m, int64_t now)
{
    if (c->open) {
        give_up(c, CONVERSATION_LOST, "it said WELCOME twice", now);
        return false;
    }
    forget(c, CONVERSATION_FORSAKEN);
    forget(c, CONVERSATION_UNEXPLAINED);
    c->open = true;
    c->instance = m->instance;
    c->beat_us = (m->beat_ms > 0 ? m->beat_ms : BEAT_MS) * 1000LL;
    c->lost_us = m->lost_ms > 0 ? m->lost_ms * 1000LL : c->beat_us * BEATS_MISSED;
    c->beat = now + c->beat_us;
    c->forsaken = c->unexplained = CLOCK_NEVER;
    return true;
}

bool
conversation_input(struct conversation *c, const struct message *m, int64_t now)
{
    if (!c->up) /* of a connection that was given up */
        return false;
    c->heard = now;
    if (m->client != 0) /* to a client in an executor, whose conversation is its own */
        return c->open;
    switch (m->type) {
    case MESSAGE_WELCOME:
        return welcome(c, &m->welcome, now);
    case MESSAGE_REFUSED:
        give_up(c, CONVERSATION_REFUSED, m->text, now);
        return false;
    case MESSAGE_BYE:
        give_up(c, CONVERSATION_LOST,
                m->text == NULL || *m->text == '\0' ? "it said goodbye" : m->text, now);
        return false;
    case MESSAGE_BEAT:
        return false;
    default:
        return c->open;
    }
}

void
conversation_bytes(struct conversation *c, int64_t at, int64_t now)
{
    if (!c->open)
        return;
    if (at > c->heard)
        c->heard = at < now ? at : now;
    if (now - c->heard >= c->lost_us)
        give_up(c, CONVERSATION_LOST, "it is silent", now);
}

/* ---- time ---------------------------------------------------------------------------------------
 */

static void
tick_broken(struct conversation *c, int64_t now)
{
    if (now >= c->forsaken) {
        ask(c, CONVERSATION_FORSAKEN);
        c->forsaken = CLOCK_NEVER;
        c->instance = 0; /* nothing is left of what it gave */
    }
    if (now >= c->unexplained) {
        ask(c, CONVERSATION_UNEXPLAINED);
        c->unexplained = now + EXPLAIN_AGAIN_US;
    }
}

void
conversation_tick(struct conversation *c, int64_t now)
{
    if (!c->open)
        tick_broken(c, now);
    if (c->up && !c->open && now - c->since >= HELLO_US) {
        give_up(c, CONVERSATION_LOST, "it does not answer the hello", now);
    } else if (c->open && now - c->heard >= c->lost_us) {
        ask(c, CONVERSATION_LISTEN); /* a large message may be under way for long */
    } else if (conversation_is_open(c) && now >= c->beat) {
        ask(c, CONVERSATION_BEAT);
        c->beat = now + c->beat_us;
    }
}

int64_t
conversation_deadline(const struct conversation *c)
{
    int64_t at = c->forsaken < c->unexplained ? c->forsaken : c->unexplained;

    if (c->pending != 0)
        return INT64_MIN;
    if (c->up && !c->open && c->since + HELLO_US < at)
        at = c->since + HELLO_US;
    if (c->open && c->heard + c->lost_us < at)
        at = c->heard + c->lost_us;
    if (conversation_is_open(c) && c->beat < at)
        at = c->beat;
    return at;
}

bool
conversation_output(struct conversation *c, struct conversation_effect *e)
{
    *e = (struct conversation_effect){.event = CONVERSATION_NOTHING, .why = c->why};
    for (int i = 0; i < CONVERSATION_NOTHING && c->pending != 0; i++) {
        if ((c->pending & 1u << i) == 0)
            continue;
        forget(c, (enum conversation_event)i);
        e->event = (enum conversation_event)i;
        if (i == CONVERSATION_REFUSED || i == CONVERSATION_LOST) {
            e->was_open = c->was_open;
            c->was_open = false;
        }
        return true;
    }
    return false;
}

bool
conversation_is_open(const struct conversation *c)
{
    return c->open && !c->deaf;
}
