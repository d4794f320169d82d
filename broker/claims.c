#include "claims.h"

#include "aside.h"
#include "carried.h"
#include "clients.h"
#include "demands.h"
#include "jobs.h"
#include "leases.h"
#include "matching.h"
#include "queues.h"
#include "tails.h"
#include "workers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct claim {
    TAILQ_ENTRY(claim) of_worker, of_job, by_age;
    struct worker *worker;
    struct claimed *claimed;
    int64_t until;
    struct message_held held; /* its runs are ours */
    uint32_t runs[];
};

struct claimed { /* the claims of a job that is not known in full */
    uint64_t job;
    struct claim_list claims;
};

/* ---- the answer ---------------------------------------------------------------------------------
 */

static void
say_adopted(struct scheduler *s, struct worker *w, uint64_t lease, bool wanted)
{
    struct outgoing *o = peer_say(s, w->peer, MESSAGE_ADOPTED);

    if (o == NULL)
        return;
    o->m.adopted = (struct message_adopted){.lease = lease, .wanted = wanted};
    outbox_put(&s->outbox, o);
}

static void
say_cancel(struct scheduler *s, struct worker *w, const struct job *j, uint64_t first,
           uint64_t count)
{
    struct outgoing *o = peer_say(s, w->peer, MESSAGE_CANCEL);

    if (o == NULL)
        return;
    o->m.range = (struct message_range){.job = j->number, .first = first, .count = count};
    outbox_put(&s->outbox, o);
}

/* ---- taking tasks out of ranges -----------------------------------------------------------------
 */

/* The one that the task is in, ready or aside; NULL: it is with a worker. */
static struct range *
range_with(const struct job *j, const struct chunk *c, uint32_t offset)
{
    struct range *r;

    TAILQ_FOREACH (r, &j->aside, link) {
        if (r->chunk == c && offset >= r->offset && offset - r->offset < r->count)
            return r;
    }
    TAILQ_FOREACH (r, &j->ranges, link) {
        if (r->chunk == c && offset >= r->offset && offset - r->offset < r->count)
            return r;
    }
    return NULL;
}

/* A copy of `r` from `offset` on, in no list. */
static struct range *
copy_from(struct scheduler *s, const struct range *r, uint32_t offset, uint32_t count)
{
    struct range *part = range_new(s, r->chunk);

    if (part == NULL)
        return NULL;
    part->offset = offset;
    part->count = count;
    part->at = r->at + chunk_length(r->chunk, r->offset, offset - r->offset);
    part->attempt = r->attempt;
    part->losses = r->losses;
    part->alone = r->alone;
    return part;
}

/* Tasks [from, to) of the range, all live, as a range of their own in no list and no sum; NULL:
 * ENOMEM, and nothing has changed. */
static struct range *
take_out(struct scheduler *s, struct range *r, uint32_t from, uint32_t to)
{
    struct job *j = r->chunk->job;
    uint32_t end = r->offset + r->count;
    struct range *part = copy_from(s, r, from, to - from), *rest = NULL;

    if (part == NULL)
        return NULL;
    if (to < end && (rest = copy_from(s, r, to, end - to)) == NULL) {
        range_free(s, part);
        return NULL;
    }
    if (r->until > 0) {
        struct loss of = {.until = r->until, .holder = r->holder};

        of.why = blob_ref(r->why);
        of.where = blob_ref(r->where);
        aside_take(s, r);
        r->count = from - r->offset;
        if (r->count > 0)
            range_put_aside(s, r, &of);
        else
            range_free(s, r);
        if (rest != NULL)
            range_put_aside(s, rest, &of);
        blob_unref(of.why);
        blob_unref(of.where);
        return part;
    }
    if (rest != NULL)
        TAILQ_INSERT_AFTER(&j->ranges, r, rest, link);
    r->count = from - r->offset;
    if (r->count == 0) {
        TAILQ_REMOVE(&j->ranges, r, link);
        range_free(s, r);
    }
    j->ready -= to - from;
    queue_update(s, j);
    return part;
}

/* What a lease still has of the tasks [from, to), likewise. */
static struct range *
take_back(struct scheduler *s, struct lease *l, uint32_t from, uint32_t to)
{
    struct range *part = copy_from(s, l->range, from, to - from);

    if (part == NULL)
        return NULL;
    if (!lease_release(s, l, from, to)) {
        range_free(s, part);
        return NULL;
    }
    if (l->left == 0)
        lease_free(s, l);
    return part;
}

/* The worker's attempt, with its past. */
static void
set_attempt(struct range *part, const struct claim *x)
{
    uint32_t losses = x->held.attempt - 1 - x->held.charged;

    part->losses = (uint16_t)(losses < LOSSES_MAX ? losses : LOSSES_MAX);
    part->attempt = 1 + x->held.charged + part->losses;
    if (part->chunk->job->spec->once) {
        part->attempt = 1;
        part->losses = 0;
    }
}

/* ---- adopting -----------------------------------------------------------------------------------
 */

struct adoption {
    struct claim *claim;
    struct job *job;
    unsigned leases; /* so far */
    bool wanted;     /* some of it */
};

static void
wait_again(struct scheduler *s, struct lease *l)
{
    lease_park(s, l, true);
    l->chunk->job->function->nests = true;
    carried_grant(s, l->chunk->job->client);
}

/* The tasks of a range that is in no list become a lease. False: ENOMEM. */
static bool
adopt_part(struct scheduler *s, struct adoption *a, struct range *part)
{
    struct claim *x = a->claim;
    struct lease *l;

    if (part == NULL)
        return false;
    if (a->leases >= LEASES_MOST) {
        x->worker->refused = true;
        job_ready_again(s, a->job, part, part->count);
        return false;
    }
    set_attempt(part, x);
    l = lease_new(s, x->worker, part, worker_each(x->worker, a->job->function), x->held.lease);
    if (l == NULL) {
        job_ready_again(s, a->job, part, part->count);
        return false;
    }
    l->adopted = l->split = true;
    if (a->leases++ > 0) { /* one of them takes the slots */
        x->worker->busy -= l->cpus;
        l->cpus = 0;
        x->worker->memory_busy -= l->memory;
        l->memory = 0;
    }
    if (x->held.parked)
        wait_again(s, l);
    worker_update(s, x->worker);
    return true;
}

/* The lease that has the live task `from`, and the end of those behind it that it has, too. */
static struct lease *
leased_until(const struct chunk *c, uint32_t from, uint32_t to, uint32_t *end_p)
{
    struct lease *l;
    uint32_t begin;

    LIST_FOREACH (l, &c->leases, beside) {
        if (lease_next(l, from, to, &begin, end_p) && begin == from)
            return l;
    }
    *end_p = from + 1; /* the job is being freed */
    return NULL;
}

/* What still runs of these tasks there is in vain. */
static void
stop_claimed(struct scheduler *s, const struct adoption *a, uint64_t first, uint64_t last)
{
    const struct message_held *m = &a->claim->held;

    if (first < last && (m->cpus > 0 || m->parked))
        say_cancel(s, a->claim->worker, a->job, first, last - first);
}

/* These have ended here. What their client does not have yet shall not be in this broker only. */
static void
claim_ended(struct scheduler *s, struct adoption *a, uint64_t first, uint64_t last)
{
    stop_claimed(s, a, first, last);
    if (first < last && client_has_untaken(a->job->client))
        a->wanted = true;
}

/* Live tasks [from, to) are leased. First come, first served; unless those of the claim are an
 * attempt after that one, which then is over, and has been charged. */
static bool
adopt_leased(struct scheduler *s, struct adoption *a, struct lease *l, uint32_t from, uint32_t to)
{
    struct worker *other = l->worker;
    uint64_t first = l->chunk->first + from;
    struct range *part;

    if (range_charged(l->range) >= a->claim->held.charged)
        return true;
    if ((part = take_back(s, l, from, to)) != NULL && other != a->claim->worker)
        say_cancel(s, other, a->job, first, to - from);
    return adopt_part(s, a, part);
}

/* Live tasks of the chunk from `from` on that share a fate. Returns their end. */
static uint32_t
adopt_alike(struct scheduler *s, struct adoption *a, struct chunk *c, uint32_t from, uint32_t to)
{
    struct range *r = range_with(a->job, c, from);
    struct lease *l = NULL;
    uint32_t end;

    if (r != NULL)
        end = r->offset + r->count;
    else if ((l = leased_until(c, from, to, &end)) == NULL)
        return end;
    end = a->job->spec->once ? from + 1 : end < to ? end : to;
    if (range_charged(r != NULL ? r : l->range) > a->claim->held.charged) {
        /* That attempt is over, and counted. One before it may have come to something. */
        stop_claimed(s, a, c->first + from, c->first + end);
        a->wanted = true;
    } else if (r != NULL ? adopt_part(s, a, take_out(s, r, from, end))
                         : adopt_leased(s, a, l, from, end)) {
        a->wanted = true;
    }
    return end;
}

static void
adopt_in_chunk(struct scheduler *s, struct adoption *a, struct chunk *c, uint32_t from, uint32_t to)
{
    while (from < to) {
        uint32_t live = chunk_live_from(c, from, to), end = chunk_ended_from(c, live, to);

        claim_ended(s, a, c->first + from, c->first + live);
        for (from = live; from < end;)
            from = adopt_alike(s, a, c, from, end);
    }
}

/* Tasks [first, last) of the job. */
static void
adopt_run(struct scheduler *s, struct adoption *a, uint64_t first, uint64_t last)
{
    for (struct piece p; job_piece(a->job, first, last, &p); first = p.last) {
        claim_ended(s, a, first, p.first);
        adopt_in_chunk(s, a, p.chunk, p.from, p.to);
    }
    claim_ended(s, a, first, last);
}

static void
adopt_runs(struct scheduler *s, struct adoption *a)
{
    const struct message_held *m = &a->claim->held;

    for (uint32_t i = 0; i < m->nruns; i += 2)
        adopt_run(s, a, m->first + m->runs[i], m->first + m->runs[i] + m->runs[i + 1]);
}

static uint64_t
count_of(const struct message_held *m)
{
    uint64_t count = 0;

    for (uint32_t i = 1; i < m->nruns; i += 2)
        count += m->runs[i];
    return count;
}

static bool
fits(const struct claim *x, const struct job *j)
{
    const struct worker *w = x->worker;

    return w->slots >= j->demand->cpus && demand_fits(j->demand, w->offer) &&
           x->held.charged <= j->spec->retries && (!j->spec->once || count_of(&x->held) == 1);
}

/* Nothing more will be known. The job is NULL if there is none. */
static void
settle(struct scheduler *s, struct claim *x, struct job *j)
{
    const struct message_held *m = &x->held;
    struct adoption a = {.claim = x, .job = j};

    if (j != NULL && fits(x, j)) {
        if (match_introduce(s, x->worker, j) == 0)
            adopt_runs(s, &a);
        else
            x->worker->refused = true;
    }
    if (j == NULL && m->cpus == 0 && !m->parked && tail_client(s, m->job) != NULL)
        a.wanted = true;
    if (!a.wanted && m->cpus == 0 && !m->parked) { /* results that nobody needs any more */
        for (uint32_t i = 1; i < m->nruns; i += 2)
            s->late += m->runs[i];
    }
    s->adopted += a.leases > 0;
    say_adopted(s, x->worker, m->lease, a.wanted);
}

/* ---- claims -------------------------------------------------------------------------------------
 */

static void
claim_free(struct scheduler *s, struct claim *x)
{
    struct worker *w = x->worker;

    TAILQ_REMOVE(&s->claims, x, by_age);
    TAILQ_REMOVE(&w->claims, x, of_worker);
    w->nclaims--;
    w->busy -= x->held.cpus;
    w->claimed -= x->held.cpus;
    TAILQ_REMOVE(&x->claimed->claims, x, of_job);
    if (TAILQ_EMPTY(&x->claimed->claims)) {
        table_remove(&s->claimed, x->claimed->job, x->claimed);
        free(x->claimed);
    }
    free(x);
}

static struct claimed *
claimed_get(struct scheduler *s, uint64_t job)
{
    struct claimed *c = table_find(&s->claimed, job);

    if (c != NULL || (c = calloc(1, sizeof(*c))) == NULL)
        return c;
    c->job = job;
    TAILQ_INIT(&c->claims);
    if (table_add(&s->claimed, job, c) != 0) {
        free(c);
        return NULL;
    }
    return c;
}

static struct claim *
claim_new(struct scheduler *s, struct worker *w, const struct message_held *m)
{
    struct claim *x;

    if (w->nclaims >= CLAIMS_MOST || (x = malloc(sizeof(*x) + m->nruns * sizeof(*m->runs))) == NULL)
        return NULL;
    *x = (struct claim){.worker = w, .until = s->now + CLAIM_US, .held = *m};
    memcpy(x->runs, m->runs, m->nruns * sizeof(*m->runs));
    x->held.runs = x->runs;
    if (x->held.cpus > w->slots)
        x->held.cpus = w->slots;
    if ((x->claimed = claimed_get(s, m->job)) == NULL) {
        free(x);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&x->claimed->claims, x, of_job);
    TAILQ_INSERT_TAIL(&w->claims, x, of_worker);
    TAILQ_INSERT_TAIL(&s->claims, x, by_age);
    w->nclaims++;
    w->busy += x->held.cpus;
    w->claimed += x->held.cpus;
    worker_update(s, w);
    return x;
}

static void
claim_settle(struct scheduler *s, struct claim *x, struct job *j)
{
    struct worker *w = x->worker;

    w->busy -= x->held.cpus; /* the leases have them */
    settle(s, x, j);
    w->busy += x->held.cpus;
    claim_free(s, x);
    s->match = true;
    worker_update(s, w);
}

static uint64_t
last_of(const struct message_held *m)
{
    return m->first + m->runs[m->nruns - 2] + m->runs[m->nruns - 1];
}

void
claims_look_at(struct scheduler *s, const struct job *j, bool all)
{
    struct claimed *c = table_find(&s->claimed, j->number);
    struct claim *x, *next;

    for (x = c == NULL ? NULL : TAILQ_FIRST(&c->claims); x != NULL; x = next) {
        next = TAILQ_NEXT(x, of_job);
        if (all || last_of(&x->held) <= j->next)
            claim_settle(s, x, job_find(s, j->number));
    }
}

/* Nothing more will be known about it: it is here, or the client has told all, or we were there. */
static bool
is_known(const struct scheduler *s, const struct worker *w, const struct job *j,
         const struct message_held *m)
{
    if (j == NULL)
        return w->same || tail_client(s, m->job) != NULL;
    return last_of(m) <= j->next || j->ended || j->client->told || (w->same && !j->client->telling);
}

/* A number that we are going to give out before long; nobody has it. */
static bool
is_to_come(const struct scheduler *s, uint64_t lease)
{
    return lease - s->next_lease < UINT32_MAX;
}

int
claim(struct scheduler *s, struct worker *w, const struct message_held *m)
{
    struct job *j = job_find(s, m->job);
    struct lease *l = lease_find(s, m->lease);
    struct claim *x;

    if (l != NULL && l->worker != w && s->config.lasting) {
        snprintf(s->why, sizeof(s->why), "a lease of another worker");
        return -1;
    }
    /* Without lasting numbers it could be a lease of anything. */
    if (!s->config.lasting || is_to_come(s, m->lease) || (x = claim_new(s, w, m)) == NULL) {
        w->refused = true;
        say_adopted(s, w, m->lease, false);
        return 0;
    }
    /* What is here must not wait: after TOLD it would run again. */
    if (is_known(s, w, j, m))
        claim_settle(s, x, j);
    return 0;
}

void
claims_forget_worker(struct scheduler *s, struct worker *w)
{
    while (!TAILQ_EMPTY(&w->claims))
        claim_free(s, TAILQ_FIRST(&w->claims));
}

void
claims_tick(struct scheduler *s)
{
    struct claim *x;

    while ((x = TAILQ_FIRST(&s->claims)) != NULL && x->until <= s->now)
        claim_settle(s, x, job_find(s, x->held.job));
}

int64_t
claims_deadline(const struct scheduler *s)
{
    const struct claim *x = TAILQ_FIRST(&s->claims);

    return x == NULL ? CLOCK_NEVER : x->until;
}
