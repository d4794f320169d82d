#include "conversation.h"

#include "../../base/clock.h"
#include "../../proto/limits.h"

enum {
    HELLO_US = 5000000,       /* a broker that does not answer HELLO by then is tried again */
    AGAIN_MOST = 1500 * 1000, /* a broker that is back is found within three seconds */
};

void
conversation_init(struct conversation *c)
{
    *c = (struct conversation){.beat_us = BEAT_MS * 1000LL,
                               .lost_us = BEAT_MS * BEATS_MISSED * 1000LL};
}

void
conversation_hello(struct conversation *c, int64_t now)
{
    c->up = true;
    c->welcome = false;
    c->heard = now;
}

void
conversation_over(struct conversation *c)
{
    c->up = c->welcome = false;
}

void
conversation_heard(struct conversation *c, const struct message *m, int64_t now)
{
    c->heard = now;
    if (m->type != MESSAGE_WELCOME || m->client != 0)
        return;
    c->welcome = true;
    c->beat_us = (m->welcome.beat_ms > 0 ? m->welcome.beat_ms : BEAT_MS) * 1000LL;
    c->lost_us = m->welcome.lost_ms > 0 ? m->welcome.lost_ms * 1000LL : c->beat_us * BEATS_MISSED;
    c->beat = now + c->beat_us;
}

static int64_t
patience(const struct conversation *c)
{
    return c->welcome ? c->lost_us : HELLO_US;
}

enum conversation_due
conversation_tick(struct conversation *c, int64_t now, const char **why)
{
    if (!c->up)
        return CONVERSATION_GOES_ON;
    if (now - c->heard >= patience(c)) {
        *why = c->welcome ? "it is silent" : "it does not answer the hello";
        return CONVERSATION_DEAD;
    }
    if (!c->welcome || now < c->beat)
        return CONVERSATION_GOES_ON;
    c->beat = now + c->beat_us;
    return CONVERSATION_BEAT;
}

int64_t
conversation_deadline(const struct conversation *c)
{
    int64_t at = c->heard + patience(c);

    if (!c->up)
        return CLOCK_NEVER;
    return c->welcome && c->beat < at ? c->beat : at;
}
