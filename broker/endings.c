#include "endings.h"

#include "clients.h"
#include "deadlines.h"
#include "jobs.h"
#include "leases.h"
#include "peers.h"
#include "queues.h"
#include "workers.h"

#include <assert.h>
#include <string.h>

/* ---- the client ---------------------------------------------------------------------------------
 */

/* Can these tasks go into the message that was put out last? */
static bool
join(struct scheduler *s, const struct job *j, uint64_t first, uint64_t count,
     const struct ending *e)
{
    struct outgoing *o = s->outbox.newest;
    struct message_ended *m;

    const struct peer *p = j->client->peer;

    if (o == NULL || p == NULL || o->m.type != MESSAGE_ENDED || o->peer != p->id ||
        o->client != p->number)
        return false;
    m = &o->m.ended;
    if (m->job != j->id || m->first + m->count != first || m->outcome != e->outcome ||
        m->attempt != e->attempt || strcmp(m->worker, words(e->worker)) != 0 ||
        strcmp(m->text, e->text) != 0)
        return false;
    m->count += count;
    return true;
}

void
tell_ended(struct scheduler *s, struct job *j, uint64_t first, uint64_t count,
           const struct ending *e)
{
    struct outgoing *o;
    struct blob *text;

    job_announce(s, j);
    if (join(s, j, first, count, e))
        return;
    if ((o = client_say(s, j->client, MESSAGE_ENDED)) == NULL)
        return;
    text = sentence("%s", e->text);
    outgoing_keep(o, text);
    outgoing_keep(o, e->worker);
    o->m.ended = (struct message_ended){.job = j->id,
                                        .first = first,
                                        .count = count,
                                        .outcome = e->outcome,
                                        .attempt = e->attempt,
                                        .worker = words(e->worker),
                                        .text = words(text)};
    blob_unref(text);
    client_deliver(s, j->client, o, TASK_COST);
}

void
end_tasks(struct scheduler *s, struct chunk *c, uint32_t from, uint32_t to, const struct ending *e)
{
    struct job *j = c->job;

    tell_ended(s, j, c->first + from, to - from, e);
    if (e->outcome == OUTCOME_CANCELLED) {
        j->cancelled += to - from;
        s->cancelled += to - from;
    } else {
        j->failed += to - from;
        s->failed += to - from;
    }
    chunk_ref(c);
    leases_lose(s, c, from, to, NULL, false);
    job_tasks_ended(s, c, from, to);
    chunk_unref(c);
    queue_update(s, j);
}

/* ---- ranges of a job ----------------------------------------------------------------------------
 */

/* The tasks of one lease, with what is known about their attempt. */
static void
end_leased(struct scheduler *s, struct lease *l, uint32_t from, uint32_t to, const struct ending *e)
{
    struct chunk *c = l->chunk;
    struct ending of = *e;
    uint32_t begin, end;
    uint64_t left;

    of.attempt = l->range->attempt;
    of.worker = l->worker->name;
    while (lease_next(l, from, to, &begin, &end)) {
        lease_stop(s, l, begin, end);
        left = l->left - (end - begin);
        end_tasks(s, c, begin, end, &of);
        if (left == 0) /* the lease is gone */
            return;
        from = end;
    }
}

static void
end_in_chunk(struct scheduler *s, struct chunk *c, uint32_t from, uint32_t to,
             const struct ending *e)
{
    struct lease *l, *next;
    uint32_t end;

    chunk_ref(c);
    for (l = LIST_FIRST(&c->leases); l != NULL; l = next) {
        next = LIST_NEXT(l, beside);
        end_leased(s, l, from, to, e);
    }
    while ((from = chunk_live_from(c, from, to)) < to) {
        end = chunk_ended_from(c, from, to);
        end_tasks(s, c, from, end, e);
        from = end;
    }
    chunk_unref(c);
}

void
end_range(struct scheduler *s, struct job *j, uint64_t first, uint64_t last, const struct ending *e)
{
    /* By index, not by place: the list of chunks moves as they end. */
    for (struct piece p; job_piece(j, first, last, &p); first = p.last)
        end_in_chunk(s, p.chunk, p.from, p.to, e);
}

void
end_ready(struct scheduler *s, struct job *j, const struct ending *e)
{
    struct range *r;

    while ((r = job_first_range(s, j)) != NULL) {
        uint32_t last = r->offset + r->count;
        uint32_t end = chunk_ended_from(r->chunk, r->offset, last);
        struct ending of = *e;

        of.attempt = r->attempt - 1;
        end_tasks(s, r->chunk, r->offset, end, &of);
    }
}

/* ---- deadlines ----------------------------------------------------------------------------------
 */

void
deadline_update(struct scheduler *s, struct job *j)
{
    int64_t deadline = CLOCK_NEVER;

    if (j->spec->deadline_ms <= 0)
        return;
    while (j->chunks_at < j->chunks_end && j->chunks[j->chunks_at].chunk == NULL)
        j->chunks_at++;
    if (j->chunks_at < j->chunks_end) {
        /* Tasks submitted one by one have their own time, those of a map its. */
        deadline = j->spec->singles ? j->chunks[j->chunks_at].chunk->accepted : j->since;
        deadline += j->spec->deadline_ms * 1000;
    }
    if (deadline != j->deadline)
        deadlines_set(s, j, deadline);
}

void
deadlines_expire(struct scheduler *s)
{
    struct job *j;

    while ((j = deadlines_first(s)) != NULL && j->deadline <= s->now) {
        struct ending e = {.outcome = OUTCOME_TIMED_OUT};
        struct blob *text = sentence("it had not ended by its deadline of %g s",
                                     (double)j->spec->deadline_ms / 1e3);
        struct chunk *c;

        e.text = words(text);
        if (!j->spec->singles) {
            end_range(s, j, 0, j->next, &e);
        } else {
            while (j->chunks_at < j->chunks_end &&
                   (c = j->chunks[j->chunks_at].chunk)->accepted + j->spec->deadline_ms * 1000 <=
                       s->now)
                end_range(s, j, c->first, c->first + c->count, &e);
        }
        blob_unref(text);
        deadline_update(s, j);
        (void)job_finish(s, j);
    }
}
