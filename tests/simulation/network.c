#include "network.h"

#include "chaos.h"

#include "../../proto/wire.h"
#include "../unit/tape.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct connection *
connection_new(struct actor *broker, struct actor *peer, int64_t delay)
{
    struct connection *c = calloc(1, sizeof(*c));

    assert(c != NULL);
    c->ends[SIDE_BROKER] = broker;
    c->ends[SIDE_PEER] = peer;
    for (int i = 0; i < 2; i++)
        STAILQ_INIT(&c->ways[i].packets);
    c->delay = delay;
    c->since = peer->sim->now;
    c->refs = 2;
    return c;
}

static void
packet_free(struct packet *p)
{
    blob_unref(p->data);
    free(p);
}

static void
drop(struct way *w)
{
    struct packet *p;

    while ((p = STAILQ_FIRST(&w->packets)) != NULL) {
        STAILQ_REMOVE_HEAD(&w->packets, link);
        packet_free(p);
    }
}

void
connection_unref(struct connection *c)
{
    if (c == NULL || --c->refs > 0)
        return;
    drop(&c->ways[0]);
    drop(&c->ways[1]);
    free(c);
}

/* ---- messages -----------------------------------------------------------------------------------
 */

static void
trace(const struct sim *s, const struct connection *c, enum side from, const struct message *m)
{
    const struct actor *a = c->ends[from], *b = c->ends[!from];
    char text[512], client[32] = "";

    if (!s->trace || m->type == MESSAGE_BEAT)
        return;
    tape_describe(m, text, sizeof(text));
    if (m->client != 0)
        snprintf(client, sizeof(client), "of client %u: ", m->client);
    sim_trace(s, "%s -> %s: %s%s", a->name, b != NULL ? b->name : "nobody", client, text);
}

static void
release_view(struct blob *self)
{
    blob_unref(self->owner);
}

static struct blob *
data_of(const struct columns *c)
{
    struct blob *view;

    if (c == NULL || c->length == 0)
        return NULL;
    if (c->at == 0 && c->length == c->data->size)
        return blob_ref(c->data);
    view = blob_wrap(c->data->bytes + c->at, c->length, release_view, c->data);
    assert(view != NULL);
    blob_ref(c->data);
    return view;
}

static struct packet *
packet_new(struct sim *s, const struct message *m)
{
    struct message copy = *m;
    const uint8_t *header;
    size_t size = wire_encode(s->arena, m, &header);
    struct packet *p = malloc(sizeof(*p) + size);

    assert(p != NULL && size > 0);
    p->closes = false;
    p->size = size;
    memcpy(p->header, header, size);
    p->data = data_of(message_columns(&copy));
    return p;
}

static void
put(struct sim *s, struct connection *c, enum side to, struct packet *p)
{
    struct way *w = &c->ways[to];
    int64_t at = s->now + random_between(&s->random, 1, c->delay);

    if (!c->local)
        at += chaos_delay(s, c->delay);
    if (at <= w->last)
        at = w->last + 1;
    w->last = at;
    p->at = at;
    STAILQ_INSERT_TAIL(&w->packets, p, link);
    c->refs++;
    sim_deliver(s, c, to, at);
}

void
connection_send(struct connection *c, enum side side, const struct message *m)
{
    struct sim *s = c->ends[side]->sim;
    struct way *w = &c->ways[!side];

    trace(s, c, side, m);
    if (w->hole || w->closed)
        return;
    put(s, c, !side, packet_new(s, m));
    if (!c->local && side == SIDE_PEER && chaos_twice(s, m))
        put(s, c, !side, packet_new(s, m));
}

static void
put_end(struct sim *s, struct connection *c, enum side to)
{
    struct packet *p = calloc(1, sizeof(*p));

    assert(p != NULL);
    p->closes = true;
    if (!c->ways[to].closed && !c->ways[to].hole)
        put(s, c, to, p);
    else
        free(p);
    c->ways[to].closed = true;
}

/* A random number of those that were said last. */
static void
lose_some(struct sim *s, struct way *w)
{
    struct packet *p, *next;
    uint64_t n = 0, keep;

    STAILQ_FOREACH (p, &w->packets, link)
        n++;
    keep = random_below(&s->random, n + 1);
    for (p = STAILQ_FIRST(&w->packets); p != NULL; p = next) {
        next = STAILQ_NEXT(p, link);
        if (keep > 0) {
            keep--;
            continue;
        }
        STAILQ_REMOVE(&w->packets, p, packet, link);
        packet_free(p);
    }
}

void
connection_close(struct connection *c, enum side side, bool died)
{
    struct sim *s = c->ends[side]->sim;

    c->ends[side] = NULL;
    drop(&c->ways[side]);
    c->ways[side].closed = true;
    if (died && !c->local && !c->ways[!side].closed)
        lose_some(s, &c->ways[!side]);
    if (c->ends[!side] != NULL)
        put_end(s, c, !side);
    connection_unref(c);
}

void
connection_finish(struct connection *c, enum side side)
{
    put_end(c->ends[side]->sim, c, !side);
}

void
connection_cut(struct connection *c)
{
    struct sim *s = c->ends[SIDE_BROKER] != NULL ? c->ends[SIDE_BROKER]->sim
                    : c->ends[SIDE_PEER] != NULL ? c->ends[SIDE_PEER]->sim
                                                 : NULL;

    for (int i = 0; i < 2 && s != NULL; i++) {
        if (c->ends[i] == NULL || c->ways[i].closed)
            continue;
        lose_some(s, &c->ways[i]);
        put_end(s, c, i);
    }
}

void
connection_hole(struct connection *c, enum side side)
{
    lose_some(c->ends[side]->sim, &c->ways[side]);
    c->ways[side].hole = true;
    c->faulty = INT64_MAX;
}

void
connection_stall(struct connection *c, enum side side, int64_t until)
{
    if (until > c->ways[side].stalled)
        c->ways[side].stalled = until;
    if (until > c->faulty)
        c->faulty = until;
}

/* ---- arrival ------------------------------------------------------------------------------------
 */

int64_t
connection_ready(const struct connection *c, enum side side)
{
    const struct actor *a = c->ends[side];
    int64_t at = c->ways[side].stalled;

    return a != NULL && a->asleep > at ? a->asleep : at;
}

int64_t
connection_heard(const struct connection *c, enum side side)
{
    const struct way *w = &c->ways[side];
    int64_t now = c->ends[side]->sim->now, heard = INT64_MIN;
    const struct packet *p;

    if (w->stalled > now)
        return INT64_MIN;
    STAILQ_FOREACH (p, &w->packets, link) {
        if (p->at <= now)
            heard = p->at;
    }
    return heard;
}

static void
take(struct connection *c, enum side side)
{
    struct packet *p = STAILQ_FIRST(&c->ways[side].packets);
    struct actor *a = c->ends[side];
    struct message m;
    const char *why;

    STAILQ_REMOVE_HEAD(&c->ways[side].packets, link);
    if (p->closes)
        a->class->closed(a, c);
    else if (wire_decode(a->sim->arena, p->header, p->size, p->data, &m, &why) != 0)
        sim_fail(a->sim, "%s got what is no message: %s", a->name, why);
    else
        a->class->message(a, c, &m);
    packet_free(p);
}

void
connection_arrive(struct connection *c, enum side side)
{
    struct actor *a = c->ends[side];

    if (a == NULL || a->gone || STAILQ_EMPTY(&c->ways[side].packets))
        return;
    if (!c->pulled || side != SIDE_PEER) {
        take(c, side);
        return;
    }
    c->ways[side].arrived++;
    a->class->wake(a, 0);
}

bool
connection_take(struct connection *c, bool all)
{
    struct way *w = &c->ways[SIDE_PEER];

    if ((w->arrived == 0 && !all) || STAILQ_EMPTY(&w->packets))
        return false;
    w->arrived -= w->arrived > 0;
    take(c, SIDE_PEER);
    return true;
}
