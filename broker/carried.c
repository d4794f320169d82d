#include "carried.h"

#include "clients.h"
#include "peers.h"

#define IDLE_US 1000 /* least time between two rounds of news about idle slots */
#define TOLD_ONCE                                                                                  \
    32 /* clients that are told in one: not all of a large grid in every millisecond */

/* ---- coming and going ---------------------------------------------------------------------------
 */

void
carried_join(struct scheduler *s, struct client *c)
{
    TAILQ_INSERT_TAIL(&s->carried, c, of_carried);
    s->ncarried++;
}

void
carried_leave(struct scheduler *s, struct client *c)
{
    TAILQ_REMOVE(&s->carried, c, of_carried);
    s->ncarried--;
    if (s->idle_news > s->ncarried)
        s->idle_news = s->ncarried;
}

void
carried_tell(struct scheduler *s, struct client *c)
{
    struct outgoing *o = peer_say(s, c->peer, MESSAGE_GRID);

    if (o == NULL)
        return;
    o->m.grid = (struct message_grid){.workers = (uint32_t)s->nworkers,
                                      .slots = (uint32_t)s->slots,
                                      .idle = (uint32_t)s->idle,
                                      .grant = c->grant};
    outbox_put(&s->outbox, o);
}

/* ---- inputs -------------------------------------------------------------------------------------
 */

void
carried_grant(struct scheduler *s, struct client *c)
{
    if (c->carrier == NULL || c->parked <= c->grant)
        return;
    /* If all wait, the next one must fit, however large; else a part of the window does no harm. */
    if (c->parked < c->bytes && c->parked - c->grant < s->config.client_window / 4)
        return;
    c->grant = c->parked;
    carried_tell(s, c);
}

/* ---- results ------------------------------------------------------------------------------------
 */

bool
carried_has_room(const struct client *c)
{
    struct worker *w = c->carrier;

    if (w->peer->backlog + w->carrying < WINDOW_RESULT)
        return true;
    w->holding = true;
    return false;
}

void
carried_flush(struct scheduler *s, struct worker *w)
{
    struct peer *p;

    if (!w->holding || w->peer->backlog + w->carrying >= WINDOW_RESULT)
        return;
    w->holding = false;
    LIST_FOREACH (p, &w->peer->carried, of_carrier) {
        client_release(s, p->client);
    }
}

/* ---- idle slots ---------------------------------------------------------------------------------
 */

/* It is news when slots become idle, and when none is any more; not each that finds work. */
static void
notice_idle(struct scheduler *s)
{
    bool some = s->idle > 0;

    if (s->idle > s->idle_least || some != s->idle_told) {
        s->idle_news = s->ncarried;
        s->idle_least = s->idle;
        s->idle_told = some;
    } else if (s->idle < s->idle_least) {
        s->idle_least = s->idle;
    }
}

void
carried_tick(struct scheduler *s)
{
    struct client *c;

    notice_idle(s);
    if (s->idle_news == 0 || s->now < s->idle_at)
        return;
    s->idle_at = s->now + IDLE_US;
    for (int i = 0; i < TOLD_ONCE && s->idle_news > 0; i++, s->idle_news--) {
        c = TAILQ_FIRST(&s->carried);
        TAILQ_REMOVE(&s->carried, c, of_carried);
        TAILQ_INSERT_TAIL(&s->carried, c, of_carried);
        carried_tell(s, c);
    }
}

int64_t
carried_deadline(const struct scheduler *s)
{
    return s->idle_news == 0 ? CLOCK_NEVER : s->idle_at;
}
