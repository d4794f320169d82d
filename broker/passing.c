#include "passing.h"

#include "jobs.h"
#include "leases.h"
#include "peers.h"
#include "underway.h"
#include "workers.h"

/* The lease if this task of it has not ended; else NULL. */
static struct lease *
running(struct scheduler *s, const struct worker *w, uint64_t id, uint64_t index)
{
    struct lease *l = lease_of_worker(s, w, id);
    uint32_t offset, begin, end;

    if (l != NULL && l->split)
        l = lease_with(l->chunk->job, w, id, index);
    if (l == NULL || index < l->chunk->first || index - l->chunk->first >= l->chunk->count)
        return NULL;
    offset = (uint32_t)(index - l->chunk->first);
    return lease_next(l, offset, offset + 1, &begin, &end) ? l : NULL;
}

void
pass_on_index(struct scheduler *s, struct worker *w, const struct message *m)
{
    uint64_t id = m->type == MESSAGE_RUNNING    ? m->running.lease
                  : m->type == MESSAGE_PROGRESS ? m->progress.lease
                                                : m->partial.lease;
    uint64_t index = m->type == MESSAGE_RUNNING    ? m->running.index
                     : m->type == MESSAGE_PROGRESS ? m->progress.index
                                                   : m->partial.index;
    struct lease *l = running(s, w, id, index);
    struct outgoing *o;
    struct job *j;

    if (l == NULL)
        return;
    j = l->chunk->job;
    /* They do not count in the window: a client that reads slowly goes without. */
    if (client_backlog(j->client) > j->client->window ||
        (o = peer_say(s, j->client->peer, m->type)) == NULL)
        return;
    o->m = *m;
    if (m->type == MESSAGE_RUNNING) {
        outgoing_keep(o, w->name);
        o->m.running.job = j->id;
        o->m.running.lease = 0;
        o->m.running.worker = words(w->name);
    } else if (m->type == MESSAGE_PROGRESS) {
        o->m.progress.job = j->id;
        o->m.progress.lease = 0;
    } else {
        outgoing_keep(o, m->partial.columns.data);
        o->m.partial.job = j->id;
        o->m.partial.lease = 0;
        o->m.partial.columns.sizes = NULL;
        o->m.partial.columns.size = (uint32_t)m->partial.columns.length;
        o->m.partial.columns.outcomes = NULL;
    }
    outbox_put(&s->outbox, o);
}

void
pass_on_output(struct scheduler *s, struct worker *w, const struct message_output *m)
{
    struct job *j = job_find(s, m->job);
    struct outgoing *o;

    /* What a task prints is the first that a client does without if it reads slowly. */
    if (j == NULL || !worker_knows(w, j) || j->client->paused)
        return;
    if ((o = peer_say(s, j->client->peer, MESSAGE_OUTPUT)) == NULL)
        return;
    outgoing_keep(o, m->columns.data);
    outgoing_keep(o, w->name);
    o->m.output = *m;
    o->m.output.job = j->id;
    o->m.output.worker = words(w->name);
    o->m.output.columns.sizes = NULL;
    o->m.output.columns.size = (uint32_t)m->columns.length;
    o->m.output.columns.outcomes = NULL;
    outbox_put(&s->outbox, o);
}
