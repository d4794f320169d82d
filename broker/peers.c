#include "peers.h"

#include "acks.h"
#include "aside.h"
#include "carried.h"
#include "clients.h"
#include "demands.h"
#include "roster.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static uint64_t
key_of(uint32_t id, uint32_t number)
{
    return (uint64_t)number << 32 | id;
}

struct peer *
peer_find(const struct scheduler *s, uint32_t id, uint32_t number)
{
    return table_find(&s->peers_by_id, key_of(id, number));
}

/* ---- messages -----------------------------------------------------------------------------------
 */

struct outgoing *
peer_say(struct scheduler *s, struct peer *p, enum message_type type)
{
    struct outgoing *o;

    if (p == NULL)
        return NULL;
    /* After one that is missing none may come. */
    o = p->doomed ? NULL : outbox_new(&s->outbox, p->id, type);

    if (o == NULL) {
        p->doomed = true;
        s->dooming = true;
    } else {
        o->client = p->number;
    }
    return o;
}

void
peer_last_words(struct scheduler *s, uint32_t id, uint32_t number, enum message_type type,
                const char *text)
{
    struct outgoing *o = outbox_new(&s->outbox, id, type);
    struct blob *blob;

    if (o == NULL)
        return;
    o->client = number;
    blob = sentence("%s", text);
    outgoing_keep(o, blob);
    o->m.text = words(blob);
    o->last = true;
    blob_unref(blob);
    outbox_put(&s->outbox, o);
}

/* ---- hello --------------------------------------------------------------------------------------
 */

static bool
has_session(const uint8_t *session)
{
    for (int i = 0; i < 16; i++) {
        if (session[i] != 0)
            return true;
    }
    return false;
}

static int
refuse(struct scheduler *s, uint32_t id, uint32_t number)
{
    peer_last_words(s, id, number, MESSAGE_REFUSED, s->why);
    return -1;
}

static int
check_hello(struct scheduler *s, const struct peer *carrier, const struct message_hello *m)
{
    int64_t apart = (int64_t)m->protocol - LADLE_PROTOCOL;

    if (apart < -1 || apart > 1)
        snprintf(s->why, sizeof(s->why),
                 "you speak protocol %u (%.60s), this broker %u (%.60s): take versions of Ladle "
                 "that are closer together",
                 m->protocol, m->software, (unsigned)LADLE_PROTOCOL, s->config.software);
    else if (carrier != NULL && m->role != ROLE_CLIENT)
        snprintf(s->why, sizeof(s->why), "only clients are to be reached through a worker");
    else if (carrier != NULL && carrier->ncarried >= CARRIED_MAX(carrier->worker->slots))
        snprintf(s->why, sizeof(s->why), "more clients in executors than this worker may have: %u",
                 carrier->ncarried);
    else if (m->role == ROLE_EXECUTOR)
        snprintf(s->why, sizeof(s->why), "an executor speaks with its worker, not with the broker");
    else if (m->role != ROLE_CLIENT && m->role != ROLE_WORKER && m->role != ROLE_OPERATOR)
        snprintf(s->why, sizeof(s->why), "a hello without a role");
    else if (m->role == ROLE_WORKER && (m->slots == 0 || m->slots > SLOTS_MAX))
        snprintf(s->why, sizeof(s->why), "a worker has 1 to %u slots, not %u", SLOTS_MAX, m->slots);
    else
        return 0;
    return -1;
}

static void
link_peer(struct scheduler *s, struct peer *p)
{
    p->linked = true;
    TAILQ_INSERT_TAIL(&s->peers, p, link);
    if (p->carrier != NULL) {
        LIST_INSERT_HEAD(&p->carrier->carried, p, of_carrier);
        p->carrier->ncarried++;
        return;
    }
    if (p->own)
        return;
    TAILQ_INSERT_TAIL(&s->by_heard, p, by_heard);
    TAILQ_INSERT_TAIL(&s->by_beat, p, by_beat);
}

static void
unlink_peer(struct scheduler *s, struct peer *p)
{
    TAILQ_REMOVE(&s->peers, p, link);
    if (p->carrier != NULL) {
        LIST_REMOVE(p, of_carrier);
        p->carrier->ncarried--;
        return;
    }
    if (p->own)
        return;
    TAILQ_REMOVE(&s->by_heard, p, by_heard);
    TAILQ_REMOVE(&s->by_beat, p, by_beat);
}

static void
peer_free(struct scheduler *s, struct peer *p)
{
    assert(LIST_EMPTY(&p->carried));
    if (p->linked) {
        table_remove(&s->peers_by_id, key_of(p->id, p->number), p);
        unlink_peer(s, p);
    }
    if (p->by_session.tbl != NULL)
        HASH_DELETE(by_session, s->peers_by_session, p);
    blob_unref(p->name);
    blob_unref(p->host);
    free(p);
}

static struct peer *
peer_new(struct scheduler *s, uint32_t id, struct peer *carrier, uint32_t number,
         const struct message_hello *m)
{
    struct peer *p = lines_new(sizeof(*p));

    if (p == NULL)
        return NULL;
    p->id = id;
    p->number = number;
    p->carrier = carrier;
    p->own = s->config.own_peers != 0 && id >= s->config.own_peers;
    LIST_INIT(&p->carried);
    p->role = m->role;
    p->protocol = m->protocol < LADLE_PROTOCOL ? m->protocol : LADLE_PROTOCOL;
    p->heard = s->now - s->stopped;
    p->beat = s->now;
    memcpy(p->session, m->session, sizeof(p->session));
    p->name = carrier == NULL ? sentence("%.*s", LIMIT_NAME, m->name)
                              : sentence("%.*s@%.*s", LIMIT_NAME / 2, m->name, LIMIT_NAME / 2,
                                         words(carrier->worker->name));
    p->host = sentence("%.*s", LIMIT_NAME, m->host);
    if (p->name == NULL || p->host == NULL)
        goto fail;
    if (carrier == NULL && has_session(p->session)) { /* its worker's number says who it is */
        HASH_ADD(by_session, s->peers_by_session, session, sizeof(p->session), p);
        if (p->by_session.tbl == NULL)
            goto fail;
    }
    if (table_add(&s->peers_by_id, key_of(id, number), p) != 0)
        goto fail;
    link_peer(s, p);
    return p;
fail:
    peer_free(s, p);
    return NULL;
}

static void
welcome(struct scheduler *s, struct peer *p)
{
    struct outgoing *o = peer_say(s, p, MESSAGE_WELCOME);
    struct blob *name = p->worker != NULL ? p->worker->name : p->name;

    if (o == NULL)
        return;
    outgoing_keep(o, name);
    o->m.welcome =
        (struct message_welcome){.protocol = p->protocol,
                                 .software = s->config.software,
                                 .name = words(name),
                                 .instance = s->config.instance,
                                 .beat_ms = s->config.beat_ms,
                                 .lost_ms = s->config.lost_ms,
                                 .window = p->client != NULL ? s->config.client_window : 0,
                                 .workers = (uint32_t)s->nworkers,
                                 .slots = (uint32_t)s->slots};
    outbox_put(&s->outbox, o);
}

/* The same process on another connection, or on this one: what it was is over. But a client's jobs
 * go on. */
static void
replace(struct scheduler *s, uint32_t id, uint32_t number, const struct message_hello *m)
{
    struct peer *old = peer_find(s, id, number);

    if (old != NULL)
        peer_gone(s, old, number != 0 ? PARTING_FOR_GOOD : PARTING_REPLACED,
                  "its worker started anew");
    if (number != 0 || !has_session(m->session))
        return;
    HASH_FIND(by_session, s->peers_by_session, m->session, sizeof(m->session), old);
    if (old == NULL)
        return;
    peer_last_words(s, old->id, 0, MESSAGE_BYE, "your session said hello on another connection");
    peer_gone(s, old, PARTING_REPLACED, "its worker connected anew");
}

/* The one that was away, or a new one; NULL: ENOMEM. */
static struct client *
client_of(struct scheduler *s, struct peer *p, const struct message_hello *m)
{
    struct client *c =
        has_session(p->session) ? client_away(s, p->session, p->carrier != NULL) : NULL;

    if (c == NULL)
        return client_new(s, p, m);
    client_back(s, c, p, m);
    return c;
}

int
peer_hello(struct scheduler *s, uint32_t id, struct peer *carrier, uint32_t number,
           const struct message_hello *m)
{
    struct peer *p;

    if (check_hello(s, carrier, m) != 0)
        return refuse(s, id, number);
    replace(s, id, number, m);
    if ((p = peer_new(s, id, carrier, number, m)) == NULL)
        goto fail;
    if (p->role == ROLE_CLIENT && (p->client = client_of(s, p, m)) == NULL)
        goto fail;
    if (p->role == ROLE_WORKER && (p->worker = worker_new(s, p, m)) == NULL)
        goto fail;
    welcome(s, p);
    if (p->worker != NULL && m->instance == 0 && has_session(m->session))
        aside_release(s, worker_holder(p), true);
    if (p->worker != NULL && m->instance == s->config.instance && has_session(m->session))
        clients_carrier_back(s, worker_holder(p));
    if (carrier != NULL)
        carried_tell(s, p->client);
    if (p->client != NULL && p->client->telling)
        client_catch_up(s, p->client);
    return 0;
fail:
    if (p != NULL)
        peer_free(s, p);
    snprintf(s->why, sizeof(s->why), "the broker is out of memory");
    return refuse(s, id, number);
}

/* ---- goodbye ------------------------------------------------------------------------------------
 */

/* How long it may be away. One that dies closes its connection; one that is cut off falls silent
 * before somebody, a firewall say, closes it. */
static int64_t
keep_us(const struct scheduler *s, const struct peer *p, enum parting how)
{
    int64_t keep = p->client->keep_us;
    int64_t silent = s->now - s->stopped - p->heard;

    if (p->carrier != NULL) /* as long as the leases of its worker */
        return has_session(p->session) ? aside_keep_us(s, how) : 0;
    if (how == PARTING_FOR_GOOD)
        return 0;
    if (how == PARTING_SILENT || 2 * silent >= 3 * (int64_t)s->config.beat_ms * 1000)
        return keep;
    if (s->resumed != CLOCK_NEVER &&
        s->now < s->resumed + RESUME_US) /* it was we who were silent */
        return keep;
    return keep < BROKEN_US ? keep : BROKEN_US;
}

void
peer_gone(struct scheduler *s, struct peer *p, enum parting how, const char *why)
{
    while (!LIST_EMPTY(&p->carried)) /* first: their tasks need not run elsewhere */
        peer_gone(s, LIST_FIRST(&p->carried), how, why);
    if (p->client != NULL)
        client_part(s, p->client, keep_us(s, p, how));
    if (p->worker != NULL)
        worker_free_lost(s, p->worker, aside_keep_us(s, how), why);
    peer_free(s, p);
}

/* ---- signs of life ------------------------------------------------------------------------------
 */

void
peer_heard(struct scheduler *s, struct peer *p)
{
    if (p->own)
        return;
    p->heard = s->now - s->stopped;
    TAILQ_REMOVE(&s->by_heard, p, by_heard);
    TAILQ_INSERT_TAIL(&s->by_heard, p, by_heard);
}

void
peer_heard_at(struct scheduler *s, struct peer *p, int64_t at)
{
    struct peer *before;

    if (at > s->now)
        at = s->now;
    if (at - s->stopped <= p->heard)
        return;
    p->heard = at - s->stopped;
    TAILQ_REMOVE(&s->by_heard, p, by_heard);
    before = TAILQ_LAST(&s->by_heard, peer_list);
    while (before != NULL && before->heard > p->heard)
        before = TAILQ_PREV(before, peer_list, by_heard);
    if (before != NULL)
        TAILQ_INSERT_AFTER(&s->by_heard, before, p, by_heard);
    else
        TAILQ_INSERT_HEAD(&s->by_heard, p, by_heard);
}

const struct peer *
peer_silent(const struct scheduler *s, const struct peer *p, int64_t now)
{
    const struct peer *next = p != NULL ? TAILQ_NEXT(p, by_heard) : TAILQ_FIRST(&s->by_heard);
    int64_t limit = (int64_t)s->config.lost_ms * 1000;

    return next != NULL && next->heard + limit <= now - s->stopped ? next : NULL;
}

static void
beat(struct scheduler *s)
{
    int64_t interval = (int64_t)s->config.beat_ms * 1000;
    struct outgoing *o;
    struct peer *p;

    while ((p = TAILQ_FIRST(&s->by_beat)) != NULL && p->beat + interval <= s->now) {
        if (p->worker != NULL)
            acks_flush(s, p->worker);
        p->beat = s->now;
        TAILQ_REMOVE(&s->by_beat, p, by_beat);
        TAILQ_INSERT_TAIL(&s->by_beat, p, by_beat);
        if ((o = peer_say(s, p, MESSAGE_BEAT)) != NULL)
            outbox_put(&s->outbox, o);
    }
}

static void
drop_silent(struct scheduler *s)
{
    int64_t limit = (int64_t)s->config.lost_ms * 1000;
    struct peer *p;
    char text[80];

    while ((p = TAILQ_FIRST(&s->by_heard)) != NULL && p->heard + limit <= s->now - s->stopped) {
        snprintf(text, sizeof(text), "silent for %g s", (double)s->config.lost_ms / 1e3);
        s->lost += p->worker != NULL;
        peer_last_words(s, p->id, 0, MESSAGE_BYE, text);
        peer_gone(s, p, PARTING_SILENT, text);
    }
}

static void
drop_doomed(struct scheduler *s)
{
    struct peer *p, *next;

    s->dooming = false;
    /* Those in executors first: with a worker others would go, perhaps the next one to look at. So
     * a worker that is doomed only meanwhile has to wait: dooming is true again then. */
    for (int pass = 0; pass < 2; pass++) {
        for (p = TAILQ_FIRST(&s->peers); p != NULL; p = next) {
            next = TAILQ_NEXT(p, link);
            if (!(p->doomed || (p->carrier != NULL && p->carrier->doomed)) ||
                (p->carrier == NULL) != pass || !LIST_EMPTY(&p->carried))
                continue;
            peer_last_words(s, p->id, p->number, MESSAGE_BYE, "the broker ran out of memory");
            peer_gone(s, p, PARTING_FOR_GOOD, "the broker ran out of memory");
        }
    }
}

static void
tell_grid(struct scheduler *s)
{
    struct outgoing *o;
    struct client *c;

    s->grid_changed = false;
    s->grid_at = s->now + GRID_US;
    TAILQ_FOREACH (c, &s->clients, link) {
        if (c->carrier != NULL) {
            carried_tell(s, c);
            continue;
        }
        if (c->peer == NULL || c->peer->own || (o = peer_say(s, c->peer, MESSAGE_GRID)) == NULL)
            continue;
        o->m.grid =
            (struct message_grid){.workers = (uint32_t)s->nworkers, .slots = (uint32_t)s->slots};
        outbox_put(&s->outbox, o);
    }
}

void
grid_changed(struct scheduler *s)
{
    s->grid_changed = true;
}

void
peers_tick(struct scheduler *s)
{
    drop_silent(s);
    clients_tick(s);
    if (s->dooming)
        drop_doomed(s);
    beat(s);
    if (s->grid_changed && s->now >= s->grid_at)
        tell_grid(s);
}

int64_t
peers_deadline(const struct scheduler *s)
{
    const struct peer *heard = TAILQ_FIRST(&s->by_heard), *beaten = TAILQ_FIRST(&s->by_beat);
    int64_t deadline = s->grid_changed ? s->grid_at : CLOCK_NEVER, at;

    if (s->dooming)
        return s->now;
    if (!TAILQ_EMPTY(&s->away)) {
        at = TAILQ_FIRST(&s->away)->away_until;
        deadline = at < deadline ? at : deadline;
    }
    if (heard != NULL) {
        at = heard->heard + s->stopped + (int64_t)s->config.lost_ms * 1000;
        deadline = at < deadline ? at : deadline;
    }
    if (beaten != NULL) {
        at = beaten->beat + (int64_t)s->config.beat_ms * 1000;
        deadline = at < deadline ? at : deadline;
    }
    return deadline;
}
