#include "aside.h"
#include "carried.h"
#include "claims.h"
#include "clients.h"
#include "contents.h"
#include "endings.h"
#include "functions.h"
#include "jobs.h"
#include "matching.h"
#include "notices.h"
#include "parts.h"
#include "peers.h"
#include "programs.h"
#include "results.h"
#include "revoking.h"
#include "status.h"
#include "workers.h"

#include "deadlines.h"
#include "draining.h"

#include <stdlib.h>

#define SLICE_US 25000
#define STARVED_US 10000
#define LATE_US 500000 /* called so much later than asked for: the process was stopped */

/* ---- life ---------------------------------------------------------------------------------------
 */

static void
set_config(struct scheduler *s, const struct scheduler_config *config)
{
    struct scheduler_config *c = &s->config;

    *c = *config;
    if (c->software == NULL)
        c->software = "";
    if (c->client_window == 0)
        c->client_window = WINDOW_CLIENT;
    if (c->beat_ms == 0)
        c->beat_ms = BEAT_MS;
    if (c->lost_ms == 0)
        c->lost_ms = c->beat_ms * BEATS_MISSED;
    if (c->slice_us == 0)
        c->slice_us = SLICE_US;
}

struct scheduler *
scheduler_new(const struct scheduler_config *config, int64_t now)
{
    struct scheduler *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    set_config(s, config);
    s->now = s->started = now;
    s->grid_at = now;
    s->revoke_at = CLOCK_NEVER;
    s->next_job = s->next_worker = 1;
    s->next_lease = config->first_lease > 0 ? config->first_lease : 1;
    s->resumed = CLOCK_NEVER;
    TAILQ_INIT(&s->aside);
    TAILQ_INIT(&s->claims);
    TAILQ_INIT(&s->peers);
    TAILQ_INIT(&s->by_heard);
    TAILQ_INIT(&s->by_beat);
    TAILQ_INIT(&s->clients);
    TAILQ_INIT(&s->away);
    TAILQ_INIT(&s->carried);
    TAILQ_INIT(&s->orphans);
    TAILQ_INIT(&s->workers);
    TAILQ_INIT(&s->jobs);
    TAILQ_INIT(&s->unused_ranges);
    TAILQ_INIT(&s->unused_leases);
    TAILQ_INIT(&s->functions);
    TAILQ_INIT(&s->active);
    TAILQ_INIT(&s->announce);
    TAILQ_INIT(&s->waiting);
    TAILQ_INIT(&s->passed);
    for (int i = 0; i < BUCKETS; i++)
        TAILQ_INIT(&s->loaded[i]);
    outbox_init(&s->outbox);
    table_init(&s->peers_by_id, s->config.seed);
    table_init(&s->workers_by_number, s->config.seed);
    table_init(&s->tails, s->config.seed);
    table_init(&s->jobs_by_number, s->config.seed);
    table_init(&s->leases, s->config.seed);
    table_init(&s->claimed, s->config.seed);
    if (parts_init(s) != 0) {
        scheduler_free(s);
        return NULL;
    }
    return s;
}

void
scheduler_free(struct scheduler *s)
{
    struct peer *p, *next;
    struct range *r;
    struct lease *l;

    if (s == NULL)
        return;
    while (!TAILQ_EMPTY(&s->away))
        client_free(s, TAILQ_FIRST(&s->away));
    for (p = TAILQ_FIRST(&s->peers); p != NULL; p = next) {
        next = TAILQ_NEXT(p, link);
        if (p->client != NULL)
            peer_gone(s, p, PARTING_FOR_GOOD, "");
    }
    while ((p = TAILQ_FIRST(&s->peers)) != NULL)
        peer_gone(s, p, PARTING_FOR_GOOD, "");
    functions_free(s);
    contents_free(s);
    parts_free(s);
    outbox_clear(&s->outbox);
    while ((r = TAILQ_FIRST(&s->unused_ranges)) != NULL) {
        TAILQ_REMOVE(&s->unused_ranges, r, link);
        free(r);
    }
    while ((l = TAILQ_FIRST(&s->unused_leases)) != NULL) {
        TAILQ_REMOVE(&s->unused_leases, l, link);
        free(l);
    }
    table_clear(&s->peers_by_id);
    table_clear(&s->workers_by_number);
    table_clear(&s->tails);
    table_clear(&s->jobs_by_number);
    table_clear(&s->leases);
    table_clear(&s->claimed);
    free(s->deadlines);
    free(s->worker_rows);
    free(s->job_rows);
    free(s);
}

/* ---- in -----------------------------------------------------------------------------------------
 */

/* Time in which this process did not run says nothing about its peers. */
static void
arrive(struct scheduler *s, int64_t now)
{
    int64_t due = peers_deadline(s);

    outbox_return(&s->outbox);
    if (due < s->now)
        due = s->now;
    if (due != CLOCK_NEVER && now - due > LATE_US)
        s->stopped += now - due;
    if (due != CLOCK_NEVER && now - due > ((int64_t)s->config.lost_ms - s->config.beat_ms) * 1000)
        s->resumed = now;
    if (now > s->now)
        s->now = now;
}

static void
want_status(struct scheduler *s, struct peer *p, const struct message_status_wanted *m)
{
    struct outgoing *o = peer_say(s, p, MESSAGE_STATUS_WANTED); /* filled in when it goes out */

    if (o == NULL)
        return;
    o->m.status_wanted = *m;
    outbox_put(&s->outbox, o);
}

static int
known_input(struct scheduler *s, struct peer *p, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_BEAT:
        return 0;
    case MESSAGE_BYE:
        if (p->client != NULL)
            p->client->left = true;
        if (p->worker != NULL)
            p->worker->left = true;
        peer_gone(s, p, PARTING_FOR_GOOD, "it said goodbye");
        return 0;
    case MESSAGE_STATUS_WANTED:
        want_status(s, p, &m->status_wanted);
        return 0;
    case MESSAGE_DRAIN:
        return drain_wanted(s, p, &m->drain);
    default:
        break;
    }
    if (p->client != NULL)
        return client_input(s, p->client, m);
    if (p->worker != NULL)
        return worker_input(s, p->worker, m);
    snprintf(s->why, sizeof(s->why), "a message that is not for operators to send");
    return -1;
}

static void
cut(struct scheduler *s, struct peer *p)
{
    s->cut++;
    peer_last_words(s, p->id, p->number, MESSAGE_REFUSED, s->why);
    peer_gone(s, p, PARTING_FOR_GOOD, "it broke the protocol");
}

/* A message of a client in an executor, which its worker passed on without looking at it: what is
 * wrong with it is no fault of the worker's. -1: `carrier` is none. */
static int
carried_input(struct scheduler *s, struct peer *carrier, const struct message *m)
{
    struct peer *p;

    if (carrier->worker == NULL) {
        snprintf(s->why, sizeof(s->why), "only workers pass messages of other clients on");
        return -1;
    }
    if (m->type == MESSAGE_HELLO) {
        s->cut += peer_hello(s, carrier->id, carrier, m->client, &m->hello) != 0;
        return 0;
    }
    if ((p = peer_find(s, carrier->id, m->client)) == NULL) {
        if (m->type != MESSAGE_BYE)
            peer_last_words(s, carrier->id, m->client, MESSAGE_BYE, "say hello first");
        return 0;
    }
    if (known_input(s, p, m) != 0)
        cut(s, p);
    return 0;
}

int
scheduler_input(struct scheduler *s, uint32_t peer, const struct message *m, int64_t now)
{
    struct peer *p;

    arrive(s, now);
    p = peer_find(s, peer, 0);
    if (m->type == MESSAGE_HELLO && m->client == 0)
        return peer_hello(s, peer, NULL, 0, &m->hello);
    if (p == NULL) {
        /* One that we forgot: it starts over. */
        if (m->type != MESSAGE_BYE)
            peer_last_words(s, peer, 0, MESSAGE_BYE, "say hello first");
        return 0;
    }
    peer_heard(s, p);
    if ((m->client != 0 ? carried_input(s, p, m) : known_input(s, p, m)) == 0)
        return 0;
    cut(s, p);
    return -1;
}

const char *
scheduler_why(const struct scheduler *s)
{
    return s->why;
}

void
scheduler_gone(struct scheduler *s, uint32_t peer, int64_t now)
{
    struct peer *p;

    arrive(s, now);
    if ((p = peer_find(s, peer, 0)) == NULL)
        return;
    s->lost += p->worker != NULL && !p->worker->draining;
    peer_gone(s, p, PARTING_BROKEN, "its connection ended");
}

void
scheduler_backlog(struct scheduler *s, uint32_t peer, uint64_t bytes)
{
    struct peer *p = peer_find(s, peer, 0);

    outbox_return(&s->outbox);
    if (p == NULL || p->backlog == bytes)
        return;
    p->backlog = bytes;
    if (p->worker != NULL) {
        worker_update(s, p->worker);
        carried_flush(s, p->worker);
    }
    if (p->client != NULL)
        client_update(s, p->client);
}

void
scheduler_count_cut(struct scheduler *s)
{
    s->cut++;
}

/* ---- time ---------------------------------------------------------------------------------------
 */

void
scheduler_tick(struct scheduler *s, int64_t now)
{
    arrive(s, now);
    peers_tick(s);
    claims_tick(s);
    aside_tick(s);
    deadlines_expire(s);
    jobs_announce(s);
    notices_tick(s);
    contents_tick(s);
    if (s->match || s->now >= s->revoke_at) {
        match_pass(s);
        revoke_pass(s);
        if (s->starved) /* memory may come back */
            s->revoke_at = s->now + STARVED_US;
        s->starved = false;
    }
    carried_tick(s);
}

int64_t
scheduler_deadline(const struct scheduler *s)
{
    int64_t deadline = peers_deadline(s), at = notices_deadline(s);
    const struct job *j = deadlines_first(s);

    if (s->match)
        return s->now;
    if (!TAILQ_EMPTY(&s->announce) && TAILQ_FIRST(&s->announce)->announce_at < deadline)
        deadline = TAILQ_FIRST(&s->announce)->announce_at;
    deadline = at < deadline ? at : deadline;
    at = carried_deadline(s);
    deadline = at < deadline ? at : deadline;
    at = aside_deadline(s);
    deadline = at < deadline ? at : deadline;
    at = claims_deadline(s);
    deadline = at < deadline ? at : deadline;
    at = contents_deadline(s);
    deadline = at < deadline ? at : deadline;
    deadline = s->revoke_at < deadline ? s->revoke_at : deadline;
    return j != NULL && j->deadline < deadline ? j->deadline : deadline;
}

uint32_t
scheduler_silent(const struct scheduler *s, uint32_t after, int64_t now)
{
    const struct peer *p = after != 0 ? peer_find(s, after, 0) : NULL;

    if (after != 0 && p == NULL)
        return 0;
    p = peer_silent(s, p, now);
    return p != NULL ? p->id : 0;
}

void
scheduler_heard(struct scheduler *s, uint32_t peer, int64_t at)
{
    struct peer *p = peer_find(s, peer, 0);

    if (p != NULL)
        peer_heard_at(s, p, at);
}

/* ---- out ----------------------------------------------------------------------------------------
 */

/* A result for a client in an executor is on its way: is there room for the next one? */
static void
carry(struct scheduler *s, const struct outgoing *o)
{
    const struct peer *carrier = peer_find(s, o->peer, 0);
    struct worker *w = carrier != NULL ? carrier->worker : NULL;

    if (w == NULL)
        return;
    w->carrying -= o->cost < w->carrying ? o->cost : w->carrying;
    carried_flush(s, w);
}

bool
scheduler_output(struct scheduler *s, uint32_t *peer, struct message *m)
{
    struct outgoing *o;

    while ((o = outbox_take(&s->outbox)) != NULL) {
        if (o->client != 0 && o->cost > 0)
            carry(s, o);
        if (!o->last && peer_find(s, o->peer, o->client) == NULL)
            continue; /* gone meanwhile */
        *peer = o->peer;
        *m = o->m;
        m->client = o->client;
        if (o->m.type == MESSAGE_STATUS_WANTED) {
            m->type = MESSAGE_STATUS;
            status_fill(s, &o->m.status_wanted, &m->status);
        }
        return true;
    }
    return false;
}
