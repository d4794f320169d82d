#include "queues.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- levels and queues as such ------------------------------------------------------------------
 */

static struct level *
level_get(struct demand *d, int64_t rank)
{
    struct level *l = table_find(&d->levels_by_rank, (uint64_t)rank);

    if (l != NULL) {
        l->refs++;
        return l;
    }
    if ((l = calloc(1, sizeof(*l))) == NULL)
        return NULL;
    l->rank = rank;
    l->demand = d;
    l->refs = 1;
    TAILQ_INIT(&l->queues);
    if (table_add(&d->levels_by_rank, (uint64_t)rank, l) != 0) {
        free(l);
        return NULL;
    }
    return l;
}

static void
level_put(struct level *l)
{
    if (--l->refs > 0)
        return;
    assert(!l->linked);
    table_remove(&l->demand->levels_by_rank, (uint64_t)l->rank, l);
    free(l);
}

struct queue *
queue_get(struct client *c, struct demand *d, int64_t priority)
{
    /* What a task waits for goes before other work of the same priority: what began shall end. */
    int64_t rank = priority * 2 + c->nested;
    struct queue *q, key;

    memset(&key, 0, sizeof(key));
    key.key.demand = d;
    key.key.rank = rank;
    HASH_FIND(hh, c->queues, &key.key, sizeof(key.key), q);
    if (q != NULL) {
        q->refs++;
        return q;
    }
    if ((q = calloc(1, sizeof(*q))) == NULL)
        return NULL;
    q->key.demand = d;
    q->key.rank = rank;
    q->client = c;
    q->refs = 1;
    TAILQ_INIT(&q->jobs);
    if ((q->level = level_get(d, rank)) == NULL) {
        free(q);
        return NULL;
    }
    HASH_ADD(hh, c->queues, key, sizeof(q->key), q);
    if (q->hh.tbl == NULL) {
        level_put(q->level);
        free(q);
        return NULL;
    }
    return q;
}

/* ---- links --------------------------------------------------------------------------------------
 */

static void
link_demand(struct scheduler *s, struct demand *d)
{
    bool active = !TAILQ_EMPTY(&d->levels);

    if (active == d->active)
        return;
    d->active = active;
    if (active)
        TAILQ_INSERT_TAIL(&s->active, d, link);
    else
        TAILQ_REMOVE(&s->active, d, link);
}

static void
link_level(struct scheduler *s, struct level *l)
{
    struct demand *d = l->demand;
    bool linked = !TAILQ_EMPTY(&l->queues);
    struct level *other;

    if (linked == l->linked)
        return;
    l->linked = linked;
    if (!linked) {
        TAILQ_REMOVE(&d->levels, l, link);
    } else {
        TAILQ_FOREACH (other, &d->levels, link) {
            if (other->rank < l->rank)
                break;
        }
        if (other != NULL)
            TAILQ_INSERT_BEFORE(other, l, link);
        else
            TAILQ_INSERT_TAIL(&d->levels, l, link);
    }
    link_demand(s, d);
}

/* A queue that was empty comes in by the turn that it had: who was served long ago comes first. */
static void
link_queue(struct scheduler *s, struct queue *q)
{
    bool linked = !TAILQ_EMPTY(&q->jobs) && !q->client->paused;
    struct queue *first;

    if (linked == q->linked)
        return;
    q->linked = linked;
    if (linked && q->turn < q->client->turn)
        q->turn = q->client->turn;
    first = TAILQ_FIRST(&q->level->queues);
    if (!linked)
        TAILQ_REMOVE(&q->level->queues, q, link);
    else if (first != NULL && first->turn > q->turn)
        TAILQ_INSERT_HEAD(&q->level->queues, q, link);
    else
        TAILQ_INSERT_TAIL(&q->level->queues, q, link);
    link_level(s, q->level);
}

void
queue_put(struct scheduler *s, struct queue *q)
{
    if (q == NULL || --q->refs > 0)
        return;
    assert(TAILQ_EMPTY(&q->jobs));
    link_queue(s, q);
    HASH_DELETE(hh, q->client->queues, q);
    level_put(q->level);
    free(q);
}

/* Depth first: in a tree of tasks the newest job is the one that others wait for, and going from
 * the oldest on would have a whole level of the tree waiting at once. */
static void
link_nested_job(struct queue *q, struct job *j)
{
    struct job *other;

    TAILQ_FOREACH (other, &q->jobs, of_queue) {
        if (other->order < j->order)
            break;
    }
    if (other != NULL)
        TAILQ_INSERT_BEFORE(other, j, of_queue);
    else
        TAILQ_INSERT_TAIL(&q->jobs, j, of_queue);
}

static void
link_job(struct queue *q, struct job *j)
{
    struct job *other = TAILQ_LAST(&q->jobs, job_list);

    if (q->client->nested) {
        link_nested_job(q, j);
        return;
    }
    if (other == NULL || other->order < j->order) {
        TAILQ_INSERT_TAIL(&q->jobs, j, of_queue);
        return;
    }
    /* One that comes back, after a loss say, is among the oldest. */
    TAILQ_FOREACH (other, &q->jobs, of_queue) {
        if (other->order > j->order)
            break;
    }
    TAILQ_INSERT_BEFORE(other, j, of_queue);
}

void
queue_update(struct scheduler *s, struct job *j)
{
    bool queued = j->ready > 0 && !j->passed && !j->asking;

    if (queued == j->queued)
        return;
    j->queued = queued;
    if (queued)
        link_job(j->queue, j);
    else
        TAILQ_REMOVE(&j->queue->jobs, j, of_queue);
    link_queue(s, j->queue);
}

void
queue_update_client(struct scheduler *s, struct client *c)
{
    struct queue *q, *next;

    HASH_ITER (hh, c->queues, q, next) {
        link_queue(s, q);
    }
    s->match = true;
}

/* ---- turns --------------------------------------------------------------------------------------
 */

struct job *
queue_next(struct scheduler *s)
{
    struct queue *best = NULL, *q;
    struct demand *d;

    TAILQ_FOREACH (d, &s->active, link) {
        if (d->blocked == s->pass)
            continue;
        q = TAILQ_FIRST(&TAILQ_FIRST(&d->levels)->queues);
        if (best == NULL || q->key.rank > best->key.rank ||
            (q->key.rank == best->key.rank && q->turn < best->turn))
            best = q;
    }
    return best == NULL ? NULL : TAILQ_FIRST(&best->jobs);
}

void
queue_served(struct scheduler *s, struct job *j)
{
    struct queue *q = j->queue;

    q->turn = q->client->turn = ++s->turn;
    if (!q->linked)
        return;
    TAILQ_REMOVE(&q->level->queues, q, link);
    TAILQ_INSERT_TAIL(&q->level->queues, q, link);
}
