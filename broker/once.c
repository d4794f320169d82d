#include "once.h"

#include "jobs.h"
#include "peers.h"
#include "queues.h"

#define AHEAD_US 10000 /* so much work is noted before there is a slot for it: hides the way */
#define AHEAD_MOST 1024

bool
once_may_begin(struct scheduler *s, struct job *j)
{
    const struct range *r;

    /* Where the scheduler is the client's own, they end together. */
    if (!j->spec->once || !s->config.lasting)
        return true;
    r = job_first_range(s, j);
    return r == NULL || r->chunk->first + r->offset < j->noted;
}

/* How many are going to begin at once, or before long? */
static uint64_t
ahead(const struct scheduler *s, const struct job *j)
{
    const struct estimate *e = &j->function->estimate;
    uint64_t slots = j->demand->slots / j->demand->cpus, count = s->idle / j->demand->cpus;
    double each = estimate_each(e);

    count = count < slots ? count : slots;
    if (estimate_known(e) && each * AHEAD_MOST < (double)slots * AHEAD_US)
        count = AHEAD_MOST;
    else if (estimate_known(e) && each * (double)count < (double)slots * AHEAD_US)
        count = (uint64_t)((double)slots * AHEAD_US / each);
    return count < 1 ? 1 : count < AHEAD_MOST ? count : AHEAD_MOST;
}

void
once_ask(struct scheduler *s, struct job *j)
{
    const struct range *r = job_first_range(s, j);
    uint64_t count = ahead(s, j);
    struct outgoing *o = peer_say(s, j->client->peer, MESSAGE_BEGINS);

    j->asking = true;
    queue_update(s, j);
    if (o == NULL) /* it is away, or about to be: asked when it is back */
        return;
    o->m.range = (struct message_range){.job = j->id,
                                        .first = r->chunk->first + r->offset,
                                        .count = count < r->count ? count : r->count};
    outbox_put(&s->outbox, o);
}

static void
go_on(struct scheduler *s, struct job *j)
{
    j->asking = false;
    s->match = true;
    queue_update(s, j);
}

void
once_noted(struct scheduler *s, struct client *c, const struct message_range *m)
{
    struct job *j = job_of_client(c, m->job);
    uint64_t end = m->first + m->count;

    if (j == NULL || !j->spec->once) /* it ended meanwhile */
        return;
    end = end < j->next ? end : j->next;
    j->noted = end > j->noted ? end : j->noted;
    go_on(s, j);
}

void
once_client_back(struct scheduler *s, struct client *c)
{
    struct job *j;

    TAILQ_FOREACH (j, &c->jobs, of_client) {
        if (j->asking)
            go_on(s, j);
    }
}
