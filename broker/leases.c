#include "leases.h"

#include "aside.h"
#include "endings.h"
#include "jobs.h"
#include "peers.h"
#include "queues.h"
#include "workers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct lease *
lease_new(struct scheduler *s, struct worker *w, struct range *r, double each, uint64_t id)
{
    struct lease *l = TAILQ_FIRST(&s->unused_leases);
    struct job *j = r->chunk->job;

    if (l != NULL)
        TAILQ_REMOVE(&s->unused_leases, l, link);
    else if ((l = lines_new(sizeof(*l))) == NULL)
        return NULL;
    memset(l, 0, sizeof(*l));
    l->id = id > 0 ? id : s->next_lease;
    if (table_add(&s->leases, l->id, l) != 0) {
        free(l);
        return NULL;
    }
    s->next_lease += id == 0;
    l->worker = w;
    l->chunk = r->chunk;
    l->range = r;
    l->offset = l->low = r->offset;
    l->given = l->left = r->count;
    l->high = r->offset + r->count;
    l->bytes = chunk_cost(r->chunk, r->offset, r->count);
    l->each = each;
    l->cpus = j->demand->cpus;
    l->memory = j->demand->memory;
    if (w->tasks == 0)
        w->progress = s->now;
    TAILQ_INSERT_TAIL(&w->leases, l, link);
    LIST_INSERT_HEAD(&r->chunk->leases, l, beside);
    w->nleases++;
    w->bytes += l->bytes;
    w->busy += l->cpus;
    w->memory_busy += l->memory;
    w->tasks += l->left;
    w->work += l->left * l->each;
    j->leased += l->left;
    return l;
}

struct lease *
lease_find(const struct scheduler *s, uint64_t id)
{
    return table_find(&s->leases, id);
}

struct lease *
lease_of_worker(struct scheduler *s, const struct worker *w, uint64_t id)
{
    struct lease *l = lease_find(s, id);

    return l != NULL && l->worker == w ? l : NULL;
}

/* `count` tasks of it are none that its worker runs, or is going to run. */
static void
unload(struct lease *l, uint32_t count, uint64_t bytes)
{
    struct worker *w = l->worker;

    w->tasks -= count;
    w->bytes -= bytes;
    w->work -= count * l->each;
    if (w->tasks == 0 || w->work < 0) /* sums of fractions drift */
        w->work = 0;
}

static void
unpark(struct lease *l, uint32_t count, uint64_t bytes)
{
    struct job *j = l->chunk->job;

    l->worker->parked -= count;
    j->parked -= count;
    j->client->parked -= bytes;
}

/* The worker has `count` tasks less. */
static void
lessen(struct lease *l, uint32_t count, uint64_t bytes)
{
    assert(count <= l->left && bytes <= l->bytes);
    l->left -= count;
    l->bytes -= bytes;
    l->chunk->job->leased -= count;
    if (l->parked)
        unpark(l, count, bytes);
    else
        unload(l, count, bytes);
}

static void
park(struct scheduler *s, struct lease *l)
{
    struct job *j = l->chunk->job;
    struct worker *w = l->worker;

    unload(l, l->left, l->bytes);
    w->busy -= l->cpus;
    w->memory_busy -= l->memory;
    w->parked += l->left;
    w->progress = s->now;
    j->parked += l->left;
    j->client->parked += l->bytes;
    l->waited = true;
    s->match = true;
}

static void
resume(struct scheduler *s, struct lease *l)
{
    struct worker *w = l->worker;

    unpark(l, l->left, l->bytes);
    if (w->tasks == 0)
        w->progress = s->now;
    w->busy += l->cpus;
    w->memory_busy += l->memory;
    w->tasks += l->left;
    w->bytes += l->bytes;
    w->work += l->left * l->each;
}

void
lease_park(struct scheduler *s, struct lease *l, bool parked)
{
    if (parked == l->parked)
        return;
    if (parked)
        park(s, l);
    else
        resume(s, l);
    l->parked = parked;
    worker_update(s, l->worker);
}

/* Of a lease and its siblings one takes the slots. */
static void
pass_slots(struct lease *l)
{
    struct worker *w = l->worker;
    struct lease *other;

    TAILQ_FOREACH (other, &w->leases, link) {
        if (other == l || other->id != l->id)
            continue;
        other->cpus = l->cpus;
        w->busy += other->parked ? 0 : other->cpus;
        other->memory = l->memory;
        w->memory_busy += other->parked ? 0 : other->memory;
        return;
    }
}

void
lease_free(struct scheduler *s, struct lease *l)
{
    struct worker *w = l->worker;

    if (l->split && l->cpus > 0)
        pass_slots(l);
    lessen(l, l->left, l->bytes);
    if (!l->parked) {
        w->busy -= l->cpus;
        w->memory_busy -= l->memory;
    }
    w->nleases--;
    TAILQ_REMOVE(&w->leases, l, link);
    LIST_REMOVE(l, beside);
    table_remove(&s->leases, l->id, l);
    if (l->range != NULL)
        range_free(s, l->range);
    s->match = true; /* there is more room, even if its place stays the same */
    worker_update(s, w);
    if (l->memory > 0)
        worker_freed(w);
    free(l->holes);
    TAILQ_INSERT_HEAD(&s->unused_leases, l, link);
}

size_t
lease_at(const struct lease *l, uint32_t offset)
{
    return l->range->at + chunk_length(l->chunk, l->offset, offset - l->offset);
}

bool
lease_next(const struct lease *l, uint32_t from, uint32_t to, uint32_t *begin, uint32_t *end)
{
    if (from < l->low)
        from = l->low;
    if (to > l->high)
        to = l->high;
    while (from < to) {
        uint32_t live = chunk_live_from(l->chunk, from, to);
        uint32_t last = chunk_ended_from(l->chunk, live, to);

        if (live == to)
            return false;
        if (l->holes != NULL) {
            uint32_t base = l->offset;
            uint32_t held = base + bits_next(l->holes, live - base, last - base, false);

            if (held == last) { /* all of these are elsewhere */
                from = last;
                continue;
            }
            last = base + bits_next(l->holes, held - base, last - base, true);
            live = held;
        }
        *begin = live;
        *end = last;
        return true;
    }
    return false;
}

bool
lease_release(struct scheduler *s, struct lease *l, uint32_t from, uint32_t to)
{
    assert(l->low <= from && from < to && to <= l->high);
    l->low = chunk_live_from(l->chunk, l->low, l->high);
    if (to < l->high && from > l->low && l->holes == NULL &&
        (l->holes = calloc(bits_words(l->given), sizeof(uint64_t))) == NULL)
        return false;
    lessen(l, to - from, chunk_cost(l->chunk, from, to - from));
    if (to == l->high)
        l->high = from;
    else if (from <= l->low)
        l->low = to;
    else
        bits_set(l->holes, from - l->offset, to - l->offset);
    worker_update(s, l->worker);
    return true;
}

/* How many of the tasks [from, to) it loses. */
static uint32_t
lose(struct lease *l, uint32_t from, uint32_t to)
{
    uint32_t begin, end, lost = 0;

    for (uint32_t at = from; lease_next(l, at, to, &begin, &end); at = end) {
        lessen(l, end - begin, chunk_cost(l->chunk, begin, end - begin));
        lost += end - begin;
    }
    return lost;
}

void
lease_stop(struct scheduler *s, const struct lease *l, uint32_t from, uint32_t to)
{
    const struct chunk *c = l->chunk;
    struct outgoing *o = peer_say(s, l->worker->peer, MESSAGE_CANCEL);

    if (o == NULL)
        return;
    o->m.range =
        (struct message_range){.job = c->job->number, .first = c->first + from, .count = to - from};
    outbox_put(&s->outbox, o);
}

void
leases_lose(struct scheduler *s, struct chunk *c, uint32_t from, uint32_t to, struct lease *keep,
            bool stop)
{
    uint32_t rest = to - from, lost;
    struct lease *l, *next;

    if (keep != NULL) /* nearly always it has them all */
        rest -= lose(keep, from, to);
    for (l = LIST_FIRST(&c->leases); l != NULL && rest > 0; l = next) {
        next = LIST_NEXT(l, beside);
        if (l == keep || (lost = lose(l, from, to)) == 0)
            continue;
        rest -= lost;
        if (stop)
            lease_stop(s, l, from, to);
        if (l->left == 0)
            lease_free(s, l);
        else
            worker_update(s, l->worker);
    }
    if (rest > 0)
        rest -= aside_lose(c->job, c, from, to);
    assert(rest <= c->job->ready);
    c->job->ready -= rest;
}

void
range_put_aside(struct scheduler *s, struct range *r, const struct loss *loss)
{
    aside_put(s, r, loss->until, loss->why);
    r->where = blob_ref(loss->where);
    r->holder = loss->holder;
    r->blameless = loss->blameless;
}

/* Pieces that lie between what was given back before: each becomes a range of its own. */
static void
lose_pieces(struct scheduler *s, struct lease *l, const struct loss *loss)
{
    struct range as = *l->range, *r;
    uint32_t end;

    while (lease_next(l, l->low, l->high, &as.offset, &end)) {
        as.count = end - as.offset;
        as.at = lease_at(l, as.offset);
        l->low = end;
        lessen(l, as.count, chunk_cost(l->chunk, as.offset, as.count));
        if ((r = range_new(s, l->chunk)) != NULL) {
            *r = as;
            range_put_aside(s, r, loss);
            continue;
        }
        l->chunk->job->ready += as.count;
        end_tasks(s, l->chunk, as.offset, end,
                  &(struct ending){.outcome = OUTCOME_LOST,
                                   .attempt = as.attempt,
                                   .text = "the broker had no memory to keep it"});
    }
}

void
lease_lose(struct scheduler *s, struct lease *l, const struct loss *loss)
{
    struct range *r = l->range;
    struct chunk *c = chunk_ref(l->chunk);

    l->low = chunk_live_from(c, l->low, l->high);
    if (l->holes != NULL) {
        lose_pieces(s, l, loss);
    } else if (l->left > 0) {
        /* The range that it was cut from goes back: nothing to be allocated, nothing can fail. */
        range_skip(r, l->low - r->offset);
        r->count = l->high - l->low;
        range_put_aside(s, r, loss);
        l->range = NULL;
    }
    lease_free(s, l);
    s->match = true;
    chunk_unref(c);
}

struct lease *
lease_beside(const struct chunk *c, const struct worker *w, uint64_t id, uint32_t offset)
{
    struct lease *l;

    LIST_FOREACH (l, &c->leases, beside) {
        if (l->id == id && l->worker == w && offset >= l->offset && offset < l->offset + l->given)
            return l;
    }
    return NULL;
}

struct lease *
lease_with(const struct job *j, const struct worker *w, uint64_t id, uint64_t index)
{
    struct piece p;

    return job_piece(j, index, index + 1, &p) ? lease_beside(p.chunk, w, id, p.from) : NULL;
}

uint32_t
lease_after(const struct chunk *c, const struct worker *w, uint64_t id, uint32_t from, uint32_t to)
{
    const struct lease *l;

    LIST_FOREACH (l, &c->leases, beside) {
        if (l->id == id && l->worker == w && l->offset > from && l->offset < to)
            to = l->offset;
    }
    return to;
}
