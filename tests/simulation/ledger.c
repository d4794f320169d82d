#include "ledger.h"

#include "../../broker/needs.h"
#include "../../proto/limits.h"
#include "worker.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct known { /* a job that was introduced */
    uint64_t job;
    struct spec *spec;
    TAILQ_ENTRY(known) link;
};

struct held { /* a lease */
    uint64_t id, job, first;
    uint32_t count, attempt, left;
    uint32_t *costs; /* in the window */
    bool *over;
    bool waited;   /* it was told once that all that is left waits */
    bool unwanted; /* it may come back, or not */
    TAILQ_ENTRY(held) link;
};

struct ledger {
    struct sim *sim;
    struct ledger_worker worker;
    TAILQ_HEAD(, known) jobs;
    TAILQ_HEAD(held_list, held) leases;
};

struct ledger *
ledger_new(struct sim *s, const struct ledger_worker *w)
{
    struct ledger *l = calloc(1, sizeof(*l));

    assert(l != NULL);
    l->sim = s;
    l->worker = *w;
    TAILQ_INIT(&l->jobs);
    TAILQ_INIT(&l->leases);
    return l;
}

static void
drop(struct ledger *l, struct held *h)
{
    TAILQ_REMOVE(&l->leases, h, link);
    free(h->costs);
    free(h->over);
    free(h);
}

static void
forget(struct ledger *l, struct known *k)
{
    TAILQ_REMOVE(&l->jobs, k, link);
    spec_unref(k->spec);
    free(k);
}

void
ledger_clear(struct ledger *l)
{
    while (!TAILQ_EMPTY(&l->leases))
        drop(l, TAILQ_FIRST(&l->leases));
    while (!TAILQ_EMPTY(&l->jobs))
        forget(l, TAILQ_FIRST(&l->jobs));
}

void
ledger_free(struct ledger *l)
{
    ledger_clear(l);
    free(l);
}

static struct known *
find_job(const struct ledger *l, uint64_t job)
{
    struct known *k;

    TAILQ_FOREACH (k, &l->jobs, link) {
        if (k->job == job)
            return k;
    }
    return NULL;
}

static struct held *
find_lease(const struct ledger *l, uint64_t id)
{
    struct held *h;

    TAILQ_FOREACH_REVERSE(h, &l->leases, held_list, link)
    {
        if (h->id == id)
            return h;
    }
    return NULL;
}

/* ---- from the broker ----------------------------------------------------------------------------
 */

static void
check_fit(const struct ledger *l, const struct spec *spec)
{
    const struct ledger_worker *w = &l->worker;
    struct labels *have = labels_new(w->labels), *need = labels_new(spec->needs);

    if (labels_missing(have, need) != NULL)
        sim_fail(l->sim, "%s (%s) was given a task that needs %s", w->name, w->labels, spec->needs);
    if (spec->program.machine[0] != '\0' && strcmp(spec->program.machine, w->machine) != 0)
        sim_fail(l->sim, "%s was given a program for another machine", w->name);
    if (spec->cpus > w->slots)
        sim_fail(l->sim, "%s was given a task of %u slots", w->name, spec->cpus);
    if (spec->memory > w->slots * WORKER_MEMORY)
        sim_fail(l->sim, "%s was given a task of %u bytes", w->name, (unsigned)spec->memory);
    labels_free(have);
    labels_free(need);
}

/* Of what has not waited yet: that does not count. */
static void
check_window(const struct ledger *l)
{
    const struct held *h;
    uint64_t bytes = 0, before;
    unsigned leases = 0;

    TAILQ_FOREACH (h, &l->leases, link) {
        if (h->waited)
            continue;
        before = bytes;
        for (uint32_t i = 0; i < h->count; i++)
            bytes += h->over[i] ? 0 : h->costs[i];
        leases += bytes > before; /* what was cancelled does not count */
    }
    if (bytes > l->worker.window && leases > 1)
        sim_fail(l->sim, "the window of %s is overrun", l->worker.name);
}

static void
hold(struct ledger *l, const struct message_slice *m)
{
    const struct known *k = find_job(l, m->job);
    struct held *h = calloc(1, sizeof(*h));

    assert(h != NULL);
    if (k == NULL)
        sim_fail(l->sim, "%s was given a slice of a job it does not know", l->worker.name);
    if (find_lease(l, m->lease) != NULL)
        sim_fail(l->sim, "lease %" PRIu64 " was given twice", m->lease);
    if (k->spec->once && (m->attempt != 1 || m->columns.count != 1))
        sim_fail(l->sim, "a task that may run once is in lease %" PRIu64, m->lease);
    check_fit(l, k->spec);
    *h = (struct held){.id = m->lease,
                       .job = m->job,
                       .first = m->first,
                       .count = m->columns.count,
                       .left = m->columns.count,
                       .attempt = m->attempt,
                       /* It may be over already, by the attempt before. */
                       .waited = m->attempt > 1,
                       .costs = calloc(m->columns.count, sizeof(uint32_t)),
                       .over = calloc(m->columns.count, sizeof(bool))};
    assert(h->costs != NULL && h->over != NULL);
    for (uint32_t i = 0; i < h->count; i++)
        h->costs[i] =
            TASK_COST + (m->columns.sizes != NULL ? m->columns.sizes[i] : m->columns.size);
    TAILQ_INSERT_TAIL(&l->leases, h, link);
    check_window(l);
}

static void
adopted(struct ledger *l, const struct message_adopted *m)
{
    struct held *h = find_lease(l, m->lease);

    if (h != NULL && !m->wanted)
        h->unwanted = true;
}

/* What is cancelled does not count any more, but comes back still. */
static void
cancel(struct ledger *l, const struct message_range *m)
{
    struct held *h;

    TAILQ_FOREACH (h, &l->leases, link) {
        for (uint32_t i = 0; i < h->count && h->job == m->job; i++)
            if (h->first + i >= m->first && h->first + i - m->first < m->count)
                h->costs[i] = 0;
    }
}

static void
introduce(struct ledger *l, const struct message_job *m)
{
    struct known *k = calloc(1, sizeof(*k));

    assert(k != NULL);
    if (find_job(l, m->job) != NULL)
        sim_fail(l->sim, "%s was told of a job twice", l->worker.name);
    k->job = m->job;
    k->spec = spec_ref(m->spec);
    TAILQ_INSERT_TAIL(&l->jobs, k, link);
}

static void
end_job(struct ledger *l, uint64_t job)
{
    struct known *k = find_job(l, job);

    if (k == NULL)
        sim_fail(l->sim, "%s was told the end of a job it does not know", l->worker.name);
    cancel(l, &(struct message_range){.job = job, .count = UINT64_MAX});
    forget(l, k);
}

void
ledger_down(struct ledger *l, const struct message *m)
{
    if (m->client != 0)
        return;
    switch (m->type) {
    case MESSAGE_JOB:
        introduce(l, &m->job);
        break;
    case MESSAGE_SLICE:
        hold(l, &m->slice);
        break;
    case MESSAGE_CANCEL:
        cancel(l, &m->range);
        break;
    case MESSAGE_JOB_END:
        end_job(l, m->job_end.job);
        break;
    case MESSAGE_ADOPTED:
        adopted(l, &m->adopted);
        break;
    default:
        break;
    }
}

/* ---- from the worker ----------------------------------------------------------------------------
 */

static void
give_back(struct ledger *l, uint64_t lease, uint64_t first, uint32_t count)
{
    struct held *h = find_lease(l, lease);

    if (count == 0)
        return;
    if (h == NULL || first < h->first || first - h->first + count > h->count)
        sim_fail(l->sim, "%s speaks of tasks that it was not given", l->worker.name);
    for (uint64_t i = first - h->first; i < first - h->first + count; i++) {
        if (h->over[i])
            sim_fail(l->sim, "%s gives task %" PRIu64 " of lease %" PRIu64 " back twice",
                     l->worker.name, h->first + i, h->id);
        h->over[i] = true;
    }
    h->left -= count;
    if (h->left == 0)
        drop(l, h);
}

/* What a worker brings with it is as if given again. */
static void
bring(struct ledger *l, const struct message_held *m)
{
    uint32_t count = m->runs[m->nruns - 2] + m->runs[m->nruns - 1];
    struct held *h = calloc(1, sizeof(*h));

    assert(h != NULL);
    if (find_lease(l, m->lease) != NULL)
        sim_fail(l->sim, "%s tells lease %" PRIu64 " twice", l->worker.name, m->lease);
    *h = (struct held){.id = m->lease,
                       .job = m->job,
                       .first = m->first,
                       .count = count,
                       .attempt = m->attempt,
                       .waited = true,
                       .costs = calloc(count, sizeof(uint32_t)),
                       .over = calloc(count, sizeof(bool))};
    assert(h->costs != NULL && h->over != NULL);
    memset(h->over, true, count * sizeof(bool));
    for (uint32_t i = 0; i < m->nruns; i += 2) {
        memset(h->over + m->runs[i], false, m->runs[i + 1] * sizeof(bool));
        h->left += m->runs[i + 1];
    }
    TAILQ_INSERT_TAIL(&l->leases, h, link);
}

static void
results(struct ledger *l, const struct message_results *m)
{
    const struct held *h = find_lease(l, m->lease);

    if (h != NULL && (h->attempt != m->attempt || h->job != m->job))
        sim_fail(l->sim, "%s has results of another attempt of lease %" PRIu64, l->worker.name,
                 m->lease);
    give_back(l, m->lease, m->first, m->columns.count);
}

/* Word of a task that has come back would be of no use. */
static void
running(struct ledger *l, const struct message_running *m)
{
    const struct held *h = find_lease(l, m->lease);

    if (h == NULL || m->index < h->first || m->index - h->first >= h->count ||
        h->over[m->index - h->first] || h->job != m->job || h->attempt != m->attempt)
        sim_fail(l->sim, "%s says that task %" PRIu64 " of lease %" PRIu64 " runs in attempt %u",
                 l->worker.name, m->index, m->lease, m->attempt);
}

static void
parked(struct ledger *l, const struct message_parked *m)
{
    struct held *h = find_lease(l, m->lease);

    if (h != NULL && m->parked)
        h->waited = true;
}

void
ledger_up(struct ledger *l, const struct message *m)
{
    if (m->client != 0)
        return;
    switch (m->type) {
    case MESSAGE_RESULTS:
        results(l, &m->results);
        break;
    case MESSAGE_RETURNED:
        give_back(l, m->returned.lease, m->returned.first, m->returned.count);
        break;
    case MESSAGE_RUNNING:
        running(l, &m->running);
        break;
    case MESSAGE_PARKED:
        parked(l, &m->parked);
        break;
    case MESSAGE_HELD:
        bring(l, &m->held);
        break;
    default:
        break;
    }
}

bool
ledger_is_empty(const struct ledger *l, const char **what)
{
    const struct held *h;

    *what = "a lease at a worker";
    TAILQ_FOREACH (h, &l->leases, link) {
        if (!h->unwanted)
            return false;
    }
    *what = "a job at a worker";
    return TAILQ_EMPTY(&l->jobs);
}
