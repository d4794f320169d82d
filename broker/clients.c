#include "clients.h"

#include "carried.h"
#include "claims.h"
#include "contents.h"
#include "endings.h"
#include "jobs.h"
#include "leases.h"
#include "notices.h"
#include "once.h"
#include "parts.h"
#include "peers.h"
#include "programs.h"
#include "queues.h"
#include "roster.h"
#include "underway.h"

#include <stdlib.h>
#include <string.h>

/* ---- coming and going ---------------------------------------------------------------------------
 */

static void
set_keep(struct client *c, const struct message_hello *m)
{
    uint64_t keep_ms = m->keep_ms < KEEP_MOST_MS ? m->keep_ms : KEEP_MOST_MS;

    /* One in an executor goes with its worker. */
    c->keep_us = c->nested ? 0 : (int64_t)keep_ms * 1000;
}

/* It may ask for less than there is for each, not for more. */
static void
set_window(struct client *c, const struct message_hello *m)
{
    c->window = m->window > 0 && m->window < WINDOW_RESULT ? m->window : WINDOW_RESULT;
}

static void
come(struct scheduler *s, struct client *c, struct peer *p)
{
    c->peer = p;
    if (!c->nested) {
        s->nclients += !p->own;
        return;
    }
    c->carrier = p->carrier->worker;
    c->holder = worker_holder(p->carrier);
    c->grant = c->parked > c->grant ? c->parked : c->grant; /* told with the WELCOME */
    carried_join(s, c);
}

static void
go(struct scheduler *s, struct client *c)
{
    if (c->nested)
        carried_leave(s, c);
    else
        s->nclients -= !c->peer->own;
    c->carrier = NULL;
    c->peer = NULL;
}

struct client *
client_new(struct scheduler *s, struct peer *p, const struct message_hello *m)
{
    struct client *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->name = blob_ref(p->name);
    c->away_until = CLOCK_NEVER;
    memcpy(c->session, m->session, sizeof(c->session));
    c->nested = p->carrier != NULL;
    set_keep(c, m);
    set_window(c, m);
    c->turn = s->turn;
    underway_init(c);
    TAILQ_INIT(&c->jobs);
    table_init(&c->jobs_by_id, s->config.seed);
    LIST_INIT(&c->sources);
    TAILQ_INSERT_TAIL(&s->clients, c, link);
    come(s, c, p);
    return c;
}

static void
stop_at_workers(struct scheduler *s, struct job *j)
{
    struct knowledge *k;
    struct outgoing *o;

    LIST_FOREACH (k, &j->knowers, of_job) {
        if ((o = peer_say(s, k->worker->peer, MESSAGE_CANCEL)) == NULL)
            continue;
        o->m.range = (struct message_range){.job = j->number, .count = j->next};
        outbox_put(&s->outbox, o);
    }
}

static void
abandon(struct scheduler *s, struct job *j)
{
    struct chunk *c;

    s->cancelled += j->ready + j->naside + j->leased;
    if (j->leased > 0)
        stop_at_workers(s, j);
    for (size_t i = j->chunks_at; i < j->chunks_end; i++) {
        if ((c = j->chunks[i].chunk) == NULL)
            continue;
        while (!LIST_EMPTY(&c->leases))
            lease_free(s, LIST_FIRST(&c->leases));
    }
    job_free(s, j);
}

void
client_free(struct scheduler *s, struct client *c)
{
    s->bytes -= c->bytes;
    c->vanished = !c->left;
    while (!TAILQ_EMPTY(&c->jobs))
        abandon(s, TAILQ_FIRST(&c->jobs));
    underway_drop(s, c);
    contents_forget_client(s, c);
    programs_forget_client(s, c);
    TAILQ_REMOVE(&s->clients, c, link);
    if (c->peer == NULL) {
        TAILQ_REMOVE(&s->away, c, of_away);
        s->naway--;
    } else {
        go(s, c);
    }
    blob_unref(c->name);
    table_clear(&c->jobs_by_id);
    free(c);
}

/* ---- away ---------------------------------------------------------------------------------------
 */

static void
leave_until(struct scheduler *s, struct client *c, int64_t until)
{
    struct client *before = TAILQ_LAST(&s->away, client_list);

    c->away_until = until;
    while (before != NULL && before->away_until > until)
        before = TAILQ_PREV(before, client_list, of_away);
    if (before == NULL)
        TAILQ_INSERT_HEAD(&s->away, c, of_away);
    else
        TAILQ_INSERT_AFTER(&s->away, before, c, of_away);
}

void
client_part(struct scheduler *s, struct client *c, int64_t keep_us)
{
    if (keep_us == 0) {
        client_free(s, c);
        return;
    }
    underway_hold(s, c);
    go(s, c);
    leave_until(s, c, s->now + keep_us);
    if (++s->naway > AWAY_MOST)
        client_free(s, TAILQ_FIRST(&s->away));
    else
        client_update(s, c);
}

struct client *
client_away(const struct scheduler *s, const uint8_t *session, bool nested)
{
    struct client *c;

    TAILQ_FOREACH (c, &s->away, of_away) {
        if (c->nested == nested && memcmp(c->session, session, sizeof(c->session)) == 0)
            return c;
    }
    return NULL;
}

void
clients_carrier_back(struct scheduler *s, uint64_t holder)
{
    struct client *c, *next;

    for (c = TAILQ_FIRST(&s->away); c != NULL; c = next) {
        next = TAILQ_NEXT(c, of_away);
        if (!c->nested || c->holder != holder || c->away_until >= s->now + NESTED_US)
            continue;
        TAILQ_REMOVE(&s->away, c, of_away);
        leave_until(s, c, s->now + NESTED_US);
    }
}

void
client_back(struct scheduler *s, struct client *c, struct peer *p, const struct message_hello *m)
{
    struct job *j;

    TAILQ_REMOVE(&s->away, c, of_away);
    s->naway--;
    come(s, c, p);
    c->away_until = CLOCK_NEVER;
    blob_unref(c->name);
    c->name = blob_ref(p->name);
    set_window(c, m);
    set_keep(c, m);
    c->telling = true;
    c->told = false;
    TAILQ_FOREACH (j, &c->jobs, of_client) {
        j->again = false;
    }
}

void
client_catch_up(struct scheduler *s, struct client *c)
{
    once_client_back(s, c);
    parts_client_back(s, c);
    client_release(s, c);
}

void
clients_tick(struct scheduler *s)
{
    struct client *c;

    while ((c = TAILQ_FIRST(&s->away)) != NULL && c->away_until <= s->now)
        client_free(s, c);
}

struct outgoing *
client_say(struct scheduler *s, struct client *c, enum message_type type)
{
    struct outgoing *o =
        c->peer != NULL ? peer_say(s, c->peer, type) : outbox_new(&s->outbox, 0, type);

    if (o == NULL)
        client_spoil(s, c);
    return o;
}

void
client_spoil(struct scheduler *s, struct client *c)
{
    if (c->peer != NULL) {
        c->peer->doomed = s->dooming = true;
        return;
    }
    TAILQ_REMOVE(&s->away, c, of_away);
    leave_until(s, c, s->now);
}

/* ---- messages -----------------------------------------------------------------------------------
 */

static int
broke(struct scheduler *s, const char *what)
{
    snprintf(s->why, sizeof(s->why), "%s", what);
    return -1;
}

static int
new_job(struct scheduler *s, struct client *c, const struct message_job *m)
{
    struct job *j = job_of_client(c, m->job);

    if (m->detached) /* who has a store takes it before it comes here */
        return broke(s, "a detached job, which nobody here can keep");
    if (j != NULL && c->telling && !j->again) { /* we have it; its tasks follow, and its end */
        j->again = true;
        j->told = 0;
        j->ended = false;
        return 0;
    }
    if (j != NULL)
        return broke(s, "a job with the number of another one");
    if (c->njobs >= JOBS_MAX)
        return broke(s, "too many jobs at once");
    if ((j = job_new(s, c, m->job, m->spec)) == NULL)
        return broke(s, "the broker is out of memory");
    j->again = c->telling;
    return 0;
}

/* A client tells anew, in order, what has not ended for it: the tasks up to `first` that it left
 * out have, and they need not go on. */
static void
left_out(struct scheduler *s, struct job *j, uint64_t first)
{
    uint64_t last = first < j->next ? first : j->next;

    if (!j->again || j->told >= last)
        return;
    end_range(s, j, j->told, last, &(struct ending){.outcome = OUTCOME_CANCELLED, .text = ""});
    j->told = last;
    deadline_update(s, j);
}

/* How many of these tasks are here already, told by a client that came back; -1: it may not tell
 * them. What has ended meanwhile is on its way to it. */
static int64_t
told_before(struct scheduler *s, struct job *j, const struct message_inputs *m)
{
    uint64_t count = m->columns.count, known;

    left_out(s, j, m->first);
    if (m->first >= j->next)
        return 0;
    if (!j->again || m->first < j->told)
        return -1;
    known = j->next - m->first < count ? j->next - m->first : count;
    j->told = m->first + known;
    job_told_again(s, j);
    return (int64_t)known;
}

/* While it tells what it told before, some of that may count twice. */
static bool
overruns(const struct scheduler *s, const struct client *c, uint64_t cost, uint64_t count)
{
    uint64_t window = (s->config.client_window + c->grant) * (c->telling ? 2 : 1);

    return c->bytes + cost > window && (c->bytes > c->grant || count > 1);
}

/* Tasks that are new here. */
static int
accept(struct scheduler *s, struct client *c, struct job *j, const struct message_inputs *m)
{
    uint64_t count = m->columns.count, cost = m->columns.length + count * TASK_COST;

    if (overruns(s, c, cost, count))
        return broke(s, "more inputs than the window allows");
    if (job_accept(s, j, m) == 0)
        return 0;
    tell_ended(
        s, j, m->first, count,
        &(struct ending){.outcome = OUTCOME_REJECTED, .text = "the broker is out of memory"});
    j->next = m->first + count;
    j->failed += count;
    return 0;
}

/* The same of a client that came back: but for those that ended before it went. */
static int
accept_again(struct scheduler *s, struct client *c, struct job *j, const struct message_inputs *m)
{
    uint64_t bits[LIMIT_ITEMS / 64] = {0};
    uint32_t at = 0, count = m->columns.count;

    underway_told(c, m, bits);
    while ((at = bits_next(bits, at, count, false)) < count) {
        uint32_t end = bits_next(bits, at, count, true);
        struct message_inputs part = *m;

        part.first = m->first + at;
        part.columns = columns_part(&m->columns, at, end - at, columns_length(&m->columns, 0, at));
        if (accept(s, c, j, &part) != 0)
            return -1;
        at = end;
    }
    j->next = m->first + count;
    return 0;
}

static int
inputs(struct scheduler *s, struct client *c, const struct message_inputs *m)
{
    struct job *j = job_of_client(c, m->job);
    struct message_inputs rest = *m;
    uint32_t count = m->columns.count, known;
    int64_t before;

    if (j == NULL || j->ended)
        return broke(s, "inputs of a job that is not open");
    if (m->first > UINT64_MAX - count || (before = told_before(s, j, m)) < 0)
        return broke(s, "inputs of tasks that were there already");
    known = (uint32_t)before;
    if (known == count)
        return 0;
    rest.first += known;
    rest.columns =
        columns_part(&m->columns, known, count - known, columns_length(&m->columns, 0, known));
    if ((c->telling ? accept_again(s, c, j, &rest) : accept(s, c, j, &rest)) != 0)
        return -1;
    j->told = j->next;
    claims_look_at(s, j, false);
    notices_job_ready(s, j);
    return 0;
}

static int
job_end(struct scheduler *s, struct client *c, const struct message_job_end *m)
{
    struct job *j = job_of_client(c, m->job);

    if (j == NULL || j->ended)
        return broke(s, "the end of a job that is not open");
    if (m->total < j->next)
        return broke(s, "a job that ends before its tasks");
    left_out(s, j, j->next);
    j->ended = true;
    claims_look_at(s, j, true);
    (void)job_finish(s, j);
    return 0;
}

/* It has told everything: jobs that it left out have ended for it. */
static void
told(struct scheduler *s, struct client *c)
{
    struct job *j, *next;

    for (j = TAILQ_FIRST(&c->jobs); j != NULL; j = next) {
        next = TAILQ_NEXT(j, of_client);
        claims_look_at(s, j, true);
        if (!c->telling)
            continue;
        if (!j->again) {
            j->again = j->ended = true;
            j->told = 0;
        }
        left_out(s, j, j->next);
        j->again = false;
        (void)job_finish(s, j);
    }
    c->telling = false;
    c->told = true;
}

static void
cancel(struct scheduler *s, struct client *c, const struct message_range *m)
{
    struct job *j = job_of_client(c, m->job);
    uint64_t last = m->count < UINT64_MAX - m->first ? m->first + m->count : UINT64_MAX;

    if (j == NULL) /* it ended meanwhile */
        return;
    end_range(s, j, m->first, last < j->next ? last : j->next,
              &(struct ending){.outcome = OUTCOME_CANCELLED, .text = ""});
    deadline_update(s, j);
    (void)job_finish(s, j);
}

int
client_input(struct scheduler *s, struct client *c, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_JOB:
        return new_job(s, c, &m->job);
    case MESSAGE_INPUTS:
        return inputs(s, c, &m->inputs);
    case MESSAGE_JOB_END:
        return job_end(s, c, &m->job_end);
    case MESSAGE_CANCEL:
        cancel(s, c, &m->range);
        return 0;
    case MESSAGE_TAKEN:
        underway_taken(s, c, m->taken.bytes);
        return 0;
    case MESSAGE_TOLD:
        told(s, c);
        return 0;
    case MESSAGE_NOTED:
        once_noted(s, c, &m->range);
        return 0;
    case MESSAGE_PROGRAM_PART:
        return program_part(s, c, &m->program_part);
    case MESSAGE_SHARE:
        return content_shared(s, c, &m->share);
    case MESSAGE_UNSHARE:
        content_unshared(s, c, m->share.digest);
        return 0;
    default:
        return broke(s, "a message that is not for clients to send");
    }
}
