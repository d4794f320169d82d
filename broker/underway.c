#include "underway.h"

#include "acks.h"
#include "carried.h"
#include "chunks.h"
#include "queues.h"
#include "tails.h"

#include <stddef.h>

void
underway_init(struct client *c)
{
    STAILQ_INIT(&c->held);
    STAILQ_INIT(&c->unread);
    STAILQ_INIT(&c->tails);
}

/* ---- to the client ------------------------------------------------------------------------------
 */

uint64_t
client_backlog(const struct client *c)
{
    if (c->peer == NULL)
        return 0;
    return c->carrier != NULL ? c->carrier->peer->backlog : c->peer->backlog;
}

void
client_update(struct scheduler *s, struct client *c)
{
    bool paused = c->sent - c->taken + c->held_bytes >= c->window ||
                  (c->held_bytes > 0 && c->peer != NULL) || client_backlog(c) > c->window;

    if (paused && c->carrier != NULL) /* the backlog is its worker's: told when that is less */
        c->carrier->holding = true;
    if (paused == c->paused)
        return;
    c->paused = paused;
    queue_update_client(s, c);
}

/* The one that fills the window may reach over it: a client acknowledges in steps, so that waiting
 * for room of a certain size could be in vain. */
static bool
fits(const struct client *c)
{
    return c->peer != NULL && c->sent - c->taken < c->window &&
           (c->carrier == NULL || carried_has_room(c));
}

static void
put_out(struct scheduler *s, struct client *c, struct outgoing *o)
{
    if (o->m.type == MESSAGE_NONE) {
        STAILQ_INSERT_TAIL(&c->unread, o, by_client);
        return;
    }
    c->sent += o->cost;
    o->peer = c->peer->id;
    o->client = c->peer->number;
    o->refs++;
    STAILQ_INSERT_TAIL(&c->unread, o, by_client);
    if (c->carrier != NULL)
        c->carrier->carrying += o->cost;
    outbox_put(&s->outbox, o);
}

void
client_deliver(struct scheduler *s, struct client *c, struct outgoing *o, uint64_t cost)
{
    o->cost = cost;
    c->said++;
    if (!STAILQ_EMPTY(&c->held) || !fits(c)) {
        STAILQ_INSERT_TAIL(&c->held, o, link);
        c->held_bytes += cost;
    } else {
        put_out(s, c, o);
    }
    client_update(s, c);
}

void
client_release(struct scheduler *s, struct client *c)
{
    struct outgoing *o;

    while ((o = STAILQ_FIRST(&c->held)) != NULL && fits(c)) {
        STAILQ_REMOVE_HEAD(&c->held, link);
        c->held_bytes -= o->cost;
        put_out(s, c, o);
    }
    client_update(s, c);
}

/* ---- it has them --------------------------------------------------------------------------------
 */

/* It need not be told again: it has it, or wants it no more. */
static void
let_go(struct scheduler *s, struct client *c, struct outgoing *o)
{
    for (uint64_t serial = o->serial; serial > 0 && serial <= o->last_serial; serial++)
        ack(s, o->worker, serial);
    c->gone++;
    c->nmarkers -= o->m.type == MESSAGE_NONE;
    outbox_drop(&s->outbox, o);
}

void
underway_taken(struct scheduler *s, struct client *c, uint64_t bytes)
{
    struct outgoing *o;

    if (bytes > c->sent)
        bytes = c->sent;
    if (bytes > c->taken)
        c->taken = bytes;
    while ((o = STAILQ_FIRST(&c->unread)) != NULL && c->read + o->cost <= c->taken) {
        STAILQ_REMOVE_HEAD(&c->unread, by_client);
        c->read += o->cost;
        let_go(s, c, o);
    }
    tails_taken(s, c);
    client_release(s, c);
}

void
underway_drop(struct scheduler *s, struct client *c)
{
    struct outgoing *o;

    while ((o = STAILQ_FIRST(&c->unread)) != NULL) {
        STAILQ_REMOVE_HEAD(&c->unread, by_client);
        let_go(s, c, o);
    }
    while ((o = STAILQ_FIRST(&c->held)) != NULL) {
        STAILQ_REMOVE_HEAD(&c->held, link);
        let_go(s, c, o);
    }
    tails_taken(s, c);
}

/* ---- it does not have them yet ------------------------------------------------------------------
 */

void
underway_hold(struct scheduler *s, struct client *c)
{
    struct outgoing_list all = STAILQ_HEAD_INITIALIZER(all);
    struct outgoing *o;

    outbox_forget(&s->outbox, c->peer->id, c->peer->number);
    while ((o = STAILQ_FIRST(&c->unread)) != NULL) {
        STAILQ_REMOVE_HEAD(&c->unread, by_client);
        STAILQ_INSERT_TAIL(&all, o, link);
        c->held_bytes += o->cost;
    }
    STAILQ_CONCAT(&all, &c->held);
    STAILQ_CONCAT(&c->held, &all);
    c->sent = c->taken = c->read = 0;
}

static void
mark_if_told(const struct outgoing *o, const struct message_inputs *m, uint64_t last,
             uint64_t *bits)
{
    bool results = o->m.type == MESSAGE_RESULTS;
    uint64_t job = results ? o->m.results.job : o->m.ended.job;
    uint64_t from = results ? o->m.results.first : o->m.ended.first;
    uint64_t to = from + (results ? o->m.results.columns.count : o->m.ended.count);

    from = from > m->first ? from : m->first;
    to = to < last ? to : last;
    if (job == m->job && from < to)
        bits_set(bits, (uint32_t)(from - m->first), (uint32_t)(to - m->first));
}

static bool
has_outcomes(const struct outgoing *o)
{
    return o->m.type == MESSAGE_RESULTS || o->m.type == MESSAGE_ENDED;
}

void
underway_told(const struct client *c, const struct message_inputs *m, uint64_t *bits)
{
    const struct outgoing *o;
    uint64_t last = m->first + m->columns.count;

    STAILQ_FOREACH (o, &c->unread, by_client) {
        if (has_outcomes(o))
            mark_if_told(o, m, last, bits);
    }
    STAILQ_FOREACH (o, &c->held, link) {
        if (has_outcomes(o))
            mark_if_told(o, m, last, bits);
    }
}

/* The one whose link to the next is at `link`, which is so far into it. */
static struct outgoing *
owner_of(struct outgoing **link, size_t offset)
{
    return (struct outgoing *)(void *)((char *)(void *)link - offset);
}

/* The last that it has not said to have; NULL. */
static struct outgoing *
untaken(const struct client *c)
{
    if (!STAILQ_EMPTY(&c->held))
        return owner_of(c->held.stqh_last, offsetof(struct outgoing, link));
    if (!STAILQ_EMPTY(&c->unread))
        return owner_of(c->unread.stqh_last, offsetof(struct outgoing, by_client));
    return NULL;
}

bool
client_has_untaken(const struct client *c)
{
    return c->said != c->gone;
}

bool
client_ack_behind(struct scheduler *s, struct client *c, uint64_t worker, uint64_t serial)
{
    struct outgoing *o = untaken(c);

    if (o == NULL || serial == 0)
        return false;
    if (o->worker == worker && o->last_serial + 1 == serial) {
        o->last_serial = serial;
        return true;
    }
    if (o->serial > 0) { /* it speaks of others: a message that is not sent stands behind it */
        if (c->nmarkers >= MARKERS_MOST || (o = outbox_new(&s->outbox, 0, MESSAGE_NONE)) == NULL)
            return false;
        c->nmarkers++;
        c->said++;
        if (!STAILQ_EMPTY(&c->held))
            STAILQ_INSERT_TAIL(&c->held, o, link);
        else
            STAILQ_INSERT_TAIL(&c->unread, o, by_client);
    }
    o->worker = worker;
    o->serial = o->last_serial = serial;
    return true;
}
