#include "matching.h"

#include "capacity.h"
#include "contents.h"
#include "demands.h"
#include "jobs.h"
#include "leases.h"
#include "notices.h"
#include "once.h"
#include "peers.h"
#include "queues.h"
#include "workers.h"

#define ASIDE 4096 /* jobs in a pass */

/* How many of the items from `offset` on have at most `most` bytes, each counting `extra` more? */
static uint32_t
fit(const struct chunk *c, uint32_t offset, uint32_t count, uint64_t most, uint64_t extra)
{
    const uint32_t *sizes;
    uint64_t sum = 0;

    if (c->sizes == NULL) {
        uint64_t each = c->size + extra;

        return each == 0 || count <= most / each ? count : (uint32_t)(most / each);
    }
    sizes = (const uint32_t *)(const void *)c->sizes->bytes + offset;
    for (uint32_t i = 0; i < count; i++) {
        sum += sizes[i] + extra;
        if (sum > most)
            return i;
    }
    return count;
}

/* Of the range's first tasks, as many as make the next slice for `w`; 0: its window is too full. */
static uint32_t
slice_count(const struct scheduler *s, const struct worker *w, const struct job *j,
            const struct range *r)
{
    const struct estimate *e = &j->function->estimate;
    struct slicing in = {.each = worker_each(w, j->function),
                         .known = estimate_known(e),
                         .cap = e->cap,
                         .slice_us = s->config.slice_us,
                         .ready = j->ready,
                         .slots = j->demand->slots / j->demand->cpus};
    uint32_t count = slicing_count(&in), most;

    if (r->alone || j->spec->once || j->function->nests)
        count = 1;
    if (r->chunk->sizes != NULL && count > LIMIT_SIZES)
        count = LIMIT_SIZES;
    if (count > r->count)
        count = r->count;
    count = chunk_ended_from(r->chunk, r->offset, r->offset + count) - r->offset;
    most = fit(r->chunk, r->offset, count, LIMIT_CHUNK, 0);
    count = most > 0 ? most : 1; /* a larger one goes alone */
    count = worker_count_in_time(s, w, j, count);
    most = fit(r->chunk, r->offset, count, w->window - w->bytes, TASK_COST);
    return most == 0 && w->bytes == 0 ? 1 : most;
}

/* The first `count` tasks of the job's first range as a range of their own, out of its list. */
static struct range *
cut(struct scheduler *s, struct job *j, struct range *r, uint32_t count)
{
    struct range *part;

    if (count == r->count) {
        TAILQ_REMOVE(&j->ranges, r, link);
        return r;
    }
    if ((part = range_new(s, r->chunk)) == NULL)
        return NULL;
    part->offset = r->offset;
    part->count = count;
    part->at = r->at;
    part->attempt = r->attempt;
    part->losses = r->losses;
    part->alone = r->alone;
    range_skip(r, count);
    return part;
}

static void
put_back(struct scheduler *s, struct job *j, struct range *part)
{
    struct range *r = TAILQ_FIRST(&j->ranges);

    if (r != NULL && r->chunk == part->chunk && r->offset == part->offset + part->count &&
        r->attempt == part->attempt) {
        r->offset = part->offset;
        r->at = part->at;
        r->count += part->count;
        range_free(s, part);
    } else {
        TAILQ_INSERT_HEAD(&j->ranges, part, link);
    }
}

int
match_introduce(struct scheduler *s, struct worker *w, struct job *j)
{
    struct outgoing *o;

    if (worker_knows(w, j))
        return 0;
    if (contents_held(s, w, j) != 0 || knowledge_new(w, j) == NULL)
        return -1;
    if ((o = peer_say(s, w->peer, MESSAGE_JOB)) == NULL)
        return -1;
    o->spec = spec_ref(j->spec);
    o->m.job = (struct message_job){.job = j->number, .spec = j->spec};
    outbox_put(&s->outbox, o);
    return 0;
}

static int
send_slice(struct scheduler *s, const struct lease *l)
{
    const struct range *r = l->range;
    struct chunk *c = l->chunk;
    struct outgoing *o = peer_say(s, l->worker->peer, MESSAGE_SLICE);

    if (o == NULL)
        return -1;
    outgoing_keep(o, c->data);
    outgoing_keep(o, c->sizes);
    o->m.slice = (struct message_slice){.lease = l->id,
                                        .job = c->job->number,
                                        .first = c->first + r->offset,
                                        .attempt = r->attempt,
                                        .charged = range_charged(r),
                                        .columns = chunk_columns(c, r->offset, r->count, r->at)};
    outbox_put(&s->outbox, o);
    return 0;
}

static struct lease *
lease_first(struct scheduler *s, struct worker *w, struct job *j, uint32_t count)
{
    struct range *r;
    struct lease *l;

    if (match_introduce(s, w, j) != 0 || (r = cut(s, j, TAILQ_FIRST(&j->ranges), count)) == NULL)
        return NULL;
    if ((l = lease_new(s, w, r, worker_each(w, j->function), 0)) == NULL)
        put_back(s, j, r);
    return l;
}

/* False if nothing could be handed over. */
static bool
hand_over(struct scheduler *s, struct worker *w, struct job *j)
{
    uint32_t count = slice_count(s, w, j, job_first_range(s, j));
    struct lease *l;

    if (count == 0)
        return false;
    if ((l = lease_first(s, w, j, count)) == NULL) {
        s->starved = true;
        return false;
    }
    j->ready -= count;
    j->late = false;
    queue_served(s, j);
    queue_update(s, j);
    worker_served(s, w);
    (void)send_slice(s, l); /* if not, the next tick lets go of the worker, and of the lease */
    return true;
}

/* What a task submitted need not travel if there is room where it came from. */
static struct worker *
free_at_home(const struct scheduler *s, const struct job *j)
{
    struct worker *w = j->client->carrier;

    return w != NULL && w->place >= 0 && worker_has_room(w, j->demand) &&
                   demand_fits(j->demand, w->offer) && worker_in_time(s, w, j, 0)
               ? w
               : NULL;
}

/* ---- time ---------------------------------------------------------------------------------------
 */

/* Was it found in this pass that none of those with room has the time? Nobody has come since. */
static bool
known_late(const struct scheduler *s, const struct job *j)
{
    const struct demand *d = j->demand;
    int64_t need = job_need(j);

    if (d->late != s->pass)
        return false;
    return need > 0 ? need >= d->late_need : d->late_unknown;
}

static void
learn_late(const struct scheduler *s, const struct job *j)
{
    struct demand *d = j->demand;
    int64_t need = job_need(j);

    if (d->late != s->pass) {
        d->late = s->pass;
        d->late_need = CLOCK_NEVER;
        d->late_unknown = false;
    }
    if (need == 0)
        d->late_unknown = true;
    else if (need < d->late_need)
        d->late_need = need;
}

/* Out of the way of those behind it until this pass is over: they may be shorter. */
static void
pass_over(struct scheduler *s, struct job *j)
{
    j->passed = j->late = true;
    s->npassed++;
    TAILQ_INSERT_HEAD(&s->passed, j, of_passed);
    queue_update(s, j);
    notices_job_late(s, j);
}

static void
bring_back(struct scheduler *s)
{
    struct job *j;

    while ((j = TAILQ_FIRST(&s->passed)) != NULL) {
        TAILQ_REMOVE(&s->passed, j, of_passed);
        j->passed = false;
        queue_update(s, j);
    }
    s->npassed = 0;
}

/* ---- the pass -----------------------------------------------------------------------------------
 */

enum placed { PLACED, ASKED, NO_ROOM, NO_TIME };

/* A worker whose window is too full for a large input must not keep it from the next one. */
static enum placed
place(struct scheduler *s, struct job *j)
{
    struct worker *w = free_at_home(s, j), *spare = NULL;
    bool late = known_late(s, j), later;

    if (w == NULL && !late)
        w = worker_free(s, j, NULL, &late);
    if (w == NULL && (spare = worker_spare(s, j)) != NULL && !worker_prefetches(s, spare, j))
        spare = NULL;
    if ((w != NULL || spare != NULL) && !once_may_begin(s, j)) {
        once_ask(s, j);
        return ASKED;
    }
    if (w != NULL)
        return hand_over(s, w, j) ||
                       ((w = worker_free(s, j, w, &later)) != NULL && hand_over(s, w, j))
                   ? PLACED
                   : NO_ROOM;
    if (spare != NULL && hand_over(s, spare, j))
        return PLACED;
    if (!late || s->npassed == ASIDE)
        return NO_ROOM;
    learn_late(s, j);
    return NO_TIME;
}

void
match_pass(struct scheduler *s)
{
    struct job *j;

    s->pass++;
    while ((j = queue_next(s)) != NULL) {
        /* The job whose turn it is waits, and others that ask for the same with it: going ahead of
         * it they would take every slot that becomes free. */
        switch (place(s, j)) {
        case PLACED:
        case ASKED:
            break;
        case NO_ROOM:
            j->demand->blocked = s->pass;
            break;
        case NO_TIME:
            pass_over(s, j);
            break;
        }
    }
    bring_back(s);
    s->match = false;
}
