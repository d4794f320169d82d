/* Every invariant that can be stated about the scheduler at rest. It walks all there is: for tests.
 */
#include "capacity.h"
#include "chunks.h"
#include "contents.h"
#include "demands.h"
#include "leases.h"
#include "require.h"

/* ---- tasks: each is ready, leased or ended, and that once
 * -----------------------------------------
 */

struct owners {
    const struct chunk *chunk;
    uint8_t *count; /* of each task */
};

static void
own_ranges(const struct range_list *ranges, struct owners *o, uint64_t *ready)
{
    const struct chunk *c = o->chunk;
    const struct range *r;

    TAILQ_FOREACH (r, ranges, link) {
        if (r->chunk != c)
            continue;
        REQUIRE(r->count > 0 && r->offset + r->count <= c->count);
        REQUIRE((r->until > 0) == (ranges == &c->job->aside));
        REQUIRE(r->at == chunk_length(c, 0, r->offset));
        REQUIRE(r->attempt >= 1 && r->attempt - 1 >= r->losses && r->losses <= LOSSES_MAX);
        for (uint32_t i = r->offset; i < r->offset + r->count; i++) {
            if (chunk_live_from(c, i, i + 1) == i) {
                o->count[i]++;
                ++*ready;
            }
        }
    }
}

static void
own_leases(const struct job *j, struct owners *o, uint64_t *leased, uint64_t *parked)
{
    const struct chunk *c = o->chunk;
    const struct lease *l;
    uint32_t begin, end;

    LIST_FOREACH (l, &c->leases, beside) {
        uint32_t left = 0;
        uint64_t bytes = 0;

        REQUIRE(l->chunk == c && l->range->chunk == c && l->left > 0);
        REQUIRE(l->offset <= l->low && l->low <= l->high && l->high <= l->offset + l->given);
        REQUIRE(l->range->attempt - l->range->losses <= j->spec->retries + 1);
        REQUIRE(!j->spec->once || (l->range->attempt == 1 && l->given == 1));
        for (uint32_t at = l->low; lease_next(l, at, l->high, &begin, &end); at = end) {
            for (uint32_t i = begin; i < end; i++)
                o->count[i]++;
            left += end - begin;
            bytes += chunk_cost(c, begin, end - begin);
        }
        REQUIRE(left == l->left && bytes == l->bytes);
        *leased += left;
        *parked += l->parked ? left : 0;
        REQUIRE(l->waited || !l->parked);
    }
}

static uint64_t
check_chunk(const struct job *j, const struct chunk *c, uint64_t *ready, uint64_t *aside,
            uint64_t *leased, uint64_t *parked)
{
    struct owners o = {.chunk = c, .count = calloc(c->count + 1, 1)};
    uint64_t cost = 0;

    REQUIRE(o.count != NULL);
    REQUIRE(c->job == j && c->count <= c->room && c->refs > 0);
    REQUIRE(c->left == chunk_live(c, 0, c->count));
    REQUIRE(c->left > 0 || c == j->open);
    own_ranges(&j->ranges, &o, ready);
    own_ranges(&j->aside, &o, aside);
    own_leases(j, &o, leased, parked);
    for (uint32_t i = 0; i < c->count; i++) {
        bool live = chunk_live_from(c, i, i + 1) == i;

        REQUIRE(o.count[i] == (live ? 1 : 0));
        if (live)
            cost += chunk_cost(c, i, 1);
    }
    free(o.count);
    return cost;
}

static uint64_t
check_job(const struct scheduler *s, const struct job *j)
{
    uint64_t ready = 0, aside = 0, leased = 0, parked = 0, cost = 0, next = 0;
    size_t gone = 0;

    for (size_t i = j->chunks_at; i < j->chunks_end; i++) {
        const struct chunk *c = j->chunks[i].chunk;

        REQUIRE(j->chunks[i].first >= next);
        next = j->chunks[i].first + 1;
        gone += c == NULL;
        if (c == NULL)
            continue;
        REQUIRE(c->first == j->chunks[i].first && c->first + c->count <= j->next);
        cost += check_chunk(j, c, &ready, &aside, &leased, &parked);
    }
    REQUIRE(gone == j->chunks_gone);
    REQUIRE(ready == j->ready && leased == j->leased && parked == j->parked);
    REQUIRE(aside == j->naside);
    REQUIRE(!j->ended || ready + aside + leased > 0);
    REQUIRE(j->queued == (ready > 0 && !j->asking) && j->queue->key.demand == j->demand);
    REQUIRE((j->heap > 0) == (j->deadline != CLOCK_NEVER));
    REQUIRE(j->heap == 0 || s->deadlines[j->heap - 1] == j);
    return cost;
}

/* ---- clients and their queues -------------------------------------------------------------------
 */

static void
check_queues(const struct client *c)
{
    struct queue *q, *next, *other;

    HASH_ITER (hh, c->queues, q, next) {
        const struct job *j;
        bool found = false;

        REQUIRE(q->client == c && q->refs > 0);
        REQUIRE(q->linked == (!TAILQ_EMPTY(&q->jobs) && !c->paused));
        TAILQ_FOREACH (j, &q->jobs, of_queue) {
            REQUIRE(j->queue == q && j->queued);
        }
        TAILQ_FOREACH (other, &q->level->queues, link) {
            found = found || other == q;
        }
        REQUIRE(found == q->linked);
        REQUIRE(!q->linked || (q->level->linked && q->key.demand->active));
    }
}

/* One whose tasks all wait may send the next, and a part of the window is always left. */
static void
check_grant(const struct scheduler *s, const struct client *c)
{
    uint64_t parked = 0;
    const struct worker *w;
    const struct lease *l;

    TAILQ_FOREACH (w, &s->workers, link) {
        TAILQ_FOREACH (l, &w->leases, link) {
            if (l->parked && l->chunk->job->client == c)
                parked += l->bytes;
        }
    }
    REQUIRE(parked == c->parked && parked <= c->bytes);
    if (c->carrier == NULL)
        return;
    REQUIRE(c->peer->carrier->worker == c->carrier);
    REQUIRE(parked <= c->grant ||
            (parked < c->bytes && parked - c->grant < s->config.client_window / 4));
}

static void
check_clients(const struct scheduler *s)
{
    const struct client *c;
    const struct job *j;
    uint64_t bytes = 0, cost, njobs = 0, nclients = 0, ncarried = 0, naway = 0;

    TAILQ_FOREACH (c, &s->clients, link) {
        uint64_t held = 0, unread = 0, messages = 0;
        const struct outgoing *o;

        cost = 0;
        TAILQ_FOREACH (j, &c->jobs, of_client) {
            REQUIRE(j->client == c);
            cost += check_job(s, j);
            njobs++;
        }
        STAILQ_FOREACH (o, &c->held, link) {
            held += o->cost;
            messages++;
        }
        STAILQ_FOREACH (o, &c->unread, by_client) {
            REQUIRE(o->refs > 0);
            unread += o->cost;
            messages++;
        }
        REQUIRE(messages == c->said - c->gone);
        REQUIRE(cost == c->bytes && held == c->held_bytes);
        REQUIRE(c->read <= c->taken && unread == c->sent - c->read);
        REQUIRE((c->peer == NULL) == (c->away_until != CLOCK_NEVER));
        REQUIRE(c->peer != NULL || (STAILQ_EMPTY(&c->unread) && c->carrier == NULL));
        check_grant(s, c);
        REQUIRE(c->taken <= c->sent);
        check_queues(c);
        bytes += cost;
        nclients += c->carrier == NULL && c->peer != NULL && !c->peer->own;
        naway += c->peer == NULL;
        ncarried += c->carrier != NULL;
    }
    REQUIRE(bytes == s->bytes && njobs == s->njobs);
    REQUIRE(nclients == s->nclients && naway == s->naway && ncarried == s->ncarried &&
            s->idle_news <= ncarried);
}

/* ---- workers ------------------------------------------------------------------------------------
 */

static void
check_worker(const struct scheduler *s, const struct worker *w)
{
    uint64_t bytes = 0, tasks = 0, busy = 0, memory = 0, items = 0, parked = 0, fresh = 0;
    const struct lease *l;
    const struct worker *other;
    unsigned nleases = 0;
    bool found = false;

    TAILQ_FOREACH (l, &w->leases, link) {
        const struct lease *known = lease_find(s, l->id);

        REQUIRE(l->worker == w && (known == l || (l->split && known->worker == w)));
        REQUIRE(demand_fits(l->chunk->job->demand, w->offer) ||
                l->chunk->job->program->failing > 0);
        nleases++;
        if (l->parked) {
            parked += l->left;
            continue;
        }
        bytes += l->bytes;
        tasks += l->left;
        busy += l->cpus;
        memory += l->memory;
        if (l->waited || l->adopted)
            continue;
        /* What goes on after a wait may be too much together; what was handed over is not. */
        fresh += l->bytes;
        items += l->given;
    }
    busy += w->claimed;
    REQUIRE(bytes == w->bytes && tasks == w->tasks && busy == w->busy && nleases == w->nleases);
    REQUIRE(parked == w->parked && memory == w->memory_busy);
    REQUIRE(fresh <= w->window || items == 1);
    REQUIRE(w->idle == (w->draining || busy >= w->slots ? 0 : w->slots - busy));
    REQUIRE(w->tasks > 0 || w->work == 0);
    if (w->place != PLACE_NONE) {
        TAILQ_FOREACH (other,
                       w->place == PLACE_SPARE ? &w->offer->spare : &w->offer->free[w->place],
                       of_place) {
            found = found || other == w;
        }
        REQUIRE(found && !w->draining && !w->telling);
    }
    REQUIRE(w->load < 0 || w->tasks > w->slots || (worker_is_tight(w) && w->tasks > 1));
}

static void
check_fits(const struct scheduler *s, const struct demand *d)
{
    const struct offer *o, *next;
    const struct fit *f;
    uint32_t mask = 0;
    size_t fit = 0, fits = 0;

    HASH_ITER (hh, s->offers, o, next) {
        REQUIRE(o->top == (o->mask == 0 ? PLACE_NONE : 31 - __builtin_clz(o->mask)));
        REQUIRE(o->spares == !TAILQ_EMPTY(&o->spare));
        fit += demand_fits(d, o);
    }
    LIST_FOREACH (f, &d->fits, of_demand) {
        REQUIRE(f->demand == d && f->top == f->offer->top && f->spare == f->offer->spares);
        mask |= f->top == PLACE_NONE ? 0 : 1u << f->top;
        fits++;
    }
    REQUIRE(fit == fits && mask == d->mask);
}

static void
check_demands(const struct scheduler *s)
{
    struct demand *d, *next;
    const struct worker *w;

    HASH_ITER (hh, s->demands, d, next) {
        uint64_t workers = 0, slots = 0;

        TAILQ_FOREACH (w, &s->workers, link) {
            if (w->draining || !worker_able(w, d) || !demand_fits(d, w->offer))
                continue;
            workers++;
            slots += w->slots;
        }
        REQUIRE(workers == d->workers && slots == d->slots && d->refs > 0);
        REQUIRE(d->active == !TAILQ_EMPTY(&d->levels));
        check_fits(s, d);
    }
}

void
scheduler_check(const struct scheduler *s)
{
    const struct worker *w;
    uint64_t nworkers = 0, slots = 0, nleases = 0, nfree = 0, idle = 0;

    check_clients(s);
    TAILQ_FOREACH (w, &s->workers, link) {
        check_worker(s, w);
        nleases += w->nleases;
        nworkers += !w->draining;
        nfree += w->place >= 0;
        idle += w->idle;
        slots += w->draining ? 0 : w->slots;
    }
    REQUIRE(nworkers == s->nworkers && slots == s->slots && nfree == s->nfree && idle == s->idle);
    REQUIRE(nleases == s->leases.count);
    check_demands(s);
    contents_check(s);
    for (size_t i = 1; i < s->ndeadlines; i++)
        REQUIRE(s->deadlines[i]->deadline >= s->deadlines[(i - 1) / 2]->deadline);
}
