#include "clients.h"

#include "carried.h"
#include "contents.h"
#include "endings.h"
#include "jobs.h"
#include "leases.h"
#include "notices.h"
#include "peers.h"
#include "programs.h"
#include "queues.h"

#include <stdlib.h>

/* ---- coming and going ---------------------------------------------------------------------------
 */

struct client *
client_new(struct scheduler *s, struct peer *p, const struct message_hello *m)
{
    struct client *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->peer = p;
    c->carrier = p->carrier != NULL ? p->carrier->worker : NULL;
    c->window = m->window > 0 ? m->window : WINDOW_RESULT;
    c->turn = s->turn;
    STAILQ_INIT(&c->held);
    TAILQ_INIT(&c->jobs);
    LIST_INIT(&c->sources);
    TAILQ_INSERT_TAIL(&s->clients, c, link);
    if (c->carrier != NULL)
        carried_join(s, c);
    else
        s->nclients++;
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

    s->cancelled += j->ready + j->leased;
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
    outbox_drop_all(&s->outbox, &c->held);
    contents_forget_client(s, c);
    programs_forget_client(s, c);
    TAILQ_REMOVE(&s->clients, c, link);
    if (c->carrier != NULL)
        carried_leave(s, c);
    else
        s->nclients--;
    free(c);
}

/* ---- results under way --------------------------------------------------------------------------
 */

uint64_t
client_backlog(const struct client *c)
{
    return c->carrier != NULL ? c->carrier->peer->backlog : c->peer->backlog;
}

void
client_update(struct scheduler *s, struct client *c)
{
    bool paused = c->sent - c->taken + c->held_bytes >= c->window || c->held_bytes > 0 ||
                  client_backlog(c) > c->window;

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
    return c->sent - c->taken < c->window && (c->carrier == NULL || carried_has_room(c));
}

static void
put_out(struct scheduler *s, struct client *c, struct outgoing *o)
{
    c->sent += o->cost;
    if (c->carrier != NULL)
        c->carrier->carrying += o->cost;
    outbox_put(&s->outbox, o);
}

void
client_deliver(struct scheduler *s, struct client *c, struct outgoing *o, uint64_t cost)
{
    o->cost = cost;
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

static void
taken(struct scheduler *s, struct client *c, uint64_t bytes)
{
    if (bytes > c->sent)
        bytes = c->sent;
    if (bytes > c->taken)
        c->taken = bytes;
    client_release(s, c);
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
    if (job_of_client(c, m->job) != NULL)
        return broke(s, "a job with the number of another one");
    if (c->njobs >= JOBS_MAX)
        return broke(s, "too many jobs at once");
    if (job_new(s, c, m->job, m->spec) == NULL)
        return broke(s, "the broker is out of memory");
    return 0;
}

static int
inputs(struct scheduler *s, struct client *c, const struct message_inputs *m)
{
    struct job *j = job_of_client(c, m->job);
    uint64_t count = m->columns.count, cost = m->columns.length + count * TASK_COST;

    if (j == NULL || j->ended)
        return broke(s, "inputs of a job that is not open");
    if (m->first < j->next || m->first > UINT64_MAX - count)
        return broke(s, "inputs of tasks that were there already");
    if (c->bytes + cost > s->config.client_window + c->grant && (c->bytes > c->grant || count > 1))
        return broke(s, "more inputs than the window allows");
    if (count == 0)
        return 0;
    if (job_accept(s, j, m) != 0) {
        tell_ended(
            s, j, m->first, count,
            &(struct ending){.outcome = OUTCOME_REJECTED, .text = "the broker is out of memory"});
        j->next = m->first + count;
        j->failed += count;
        return 0;
    }
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
    j->ended = true;
    (void)job_finish(s, j);
    return 0;
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
        taken(s, c, m->taken.bytes);
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
