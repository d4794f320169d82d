/* keeping.c - when the broker is gone: what goes on without it, and what the next one is told. */
#include "state.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <stdlib.h>
#include <string.h>

/* ---- lost ---------------------------------------------------------------------------------------
 */

/* Only the broker could bring what it waits for. */
static bool
is_stuck(const struct piece *p)
{
    return p->job->code->state != CODE_READY || !constants_ready(p->job);
}

void
runner_lost(struct runner *r, int64_t now)
{
    struct runner_job *job, *next_job;
    struct piece *p, *next;

    (void)now;
    for (p = TAILQ_FIRST(&r->queue); p != NULL; p = next) {
        next = TAILQ_NEXT(p, next);
        if (!is_stuck(p))
            continue;
        TAILQ_REMOVE(&r->queue, p, next);
        runner_drop(r, p);
    }
    for (unsigned i = 0; i < r->nexecutors; i++)
        relay_stop(r, &r->executors[i]);
    HASH_ITER (hh, r->jobs, job, next_job) {
        runner_job_over(r, job);
    }
    codes_lost(r);
    constants_lost(r);
    reports_clear(r->first);
    reports_lost(r->out, false);
    r->lost = true;
}

uint64_t
runner_kept(const struct runner *r)
{
    return reports_kept(r->out);
}

uint64_t
runner_dropped(const struct runner *r)
{
    return reports_dropped(r->out);
}

/* ---- found --------------------------------------------------------------------------------------
 */

struct run { /* tasks of a lease that are here, or whose results are */
    uint64_t lease, job, first;
    uint32_t count, attempt, charged, cpus;
    bool parked;
};

struct runs {
    struct run *list;
    size_t count, room;
    bool failed; /* out of memory */
};

static void
add(struct runs *runs, const struct run *run)
{
    size_t room = runs->room == 0 ? 64 : 2 * runs->room;
    struct run *list;

    if (run->count == 0 || runs->failed)
        return;
    if (runs->count == runs->room) {
        if ((list = realloc(runs->list, room * sizeof(*list))) == NULL) {
            runs->failed = true;
            return;
        }
        runs->list = list;
        runs->room = room;
    }
    runs->list[runs->count++] = *run;
}

static void
add_piece(const struct runner *r, struct runs *runs, const struct piece *p)
{
    add(runs, &(struct run){.lease = p->lease,
                            .job = p->job->id,
                            .first = p->first + p->done,
                            .count = p->count - p->done,
                            .attempt = p->attempt,
                            .charged = p->charged,
                            .cpus = p->asleep ? 0 : runner_cpus(r, p),
                            .parked = piece_all_asleep(p, false)});
}

static void
collect(const struct runner *r, struct runs *runs)
{
    const struct message_results *m = NULL;
    const struct piece *p;

    while ((m = reports_waiting(r->out, m)) != NULL)
        add(runs, &(struct run){.lease = m->lease,
                                .job = m->job,
                                .first = m->first,
                                .count = m->columns.count,
                                .attempt = m->attempt,
                                .charged = m->charged});
    TAILQ_FOREACH (p, &r->queue, next) {
        add_piece(r, runs, p);
    }
    for (unsigned i = 0; i < r->nexecutors; i++) {
        const struct executor *e = &r->executors[i];

        for (unsigned k = 0; k < e->nwork; k++)
            add_piece(r, runs, e->work[k].piece);
        for (const struct parked *k = e->parked; k != NULL; k = k->hh.next)
            add_piece(r, runs, k->piece);
    }
}

static int
compare(const void *a, const void *b)
{
    const struct run *x = a, *y = b;

    if (x->lease != y->lease)
        return x->lease < y->lease ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* What neighbours are of one lease, from list[0] on, as one message. Returns how many were put. */
static size_t
say_held(struct runner *r, const struct run *list, size_t count)
{
    uint32_t runs[LIMIT_RUNS];
    struct message m = {.type = MESSAGE_HELD,
                        .held = {.lease = list->lease,
                                 .job = list->job,
                                 .first = list->first,
                                 .attempt = list->attempt,
                                 .charged = list->charged,
                                 .runs = runs}};
    uint64_t end = 0;
    size_t i;

    for (i = 0; i < count && list[i].lease == list->lease; i++) {
        uint64_t offset = list[i].first - list->first;
        bool goes_on =
            i > 0 && offset == end && runs[m.held.nruns - 1] + list[i].count <= LIMIT_ITEMS;

        if (offset < end || offset > UINT32_MAX)
            continue; /* a result that was made twice, as its executor was believed dead */
        if (!goes_on && m.held.nruns == LIMIT_RUNS)
            break;
        if (goes_on) {
            runs[m.held.nruns - 1] += list[i].count;
        } else {
            runs[m.held.nruns++] = (uint32_t)offset;
            runs[m.held.nruns++] = list[i].count;
        }
        end = offset + list[i].count;
        m.held.cpus = list[i].cpus > m.held.cpus ? list[i].cpus : m.held.cpus;
        m.held.parked = m.held.parked || list[i].parked;
    }
    if (reports_put(r->first, &m) == 0)
        reports_ask(r->out, m.held.lease);
    return i;
}

static void
say_drained(struct runner *r)
{
    struct message m = {.type = MESSAGE_DRAINING, .text = "stopped by its operator"};

    if (r->draining)
        (void)reports_put(r->first, &m);
}

void
runner_found(struct runner *r, int64_t now)
{
    const struct message told = {.type = MESSAGE_TOLD};
    struct runs runs = {.list = NULL};

    reports_lost(r->out, true);
    collect(r, &runs);
    if (runs.failed) {
        runner_reset(r, now);
        runs.count = 0;
    }
    if (runs.count > 0)
        qsort(runs.list, runs.count, sizeof(*runs.list), compare);
    for (size_t i = 0; i < runs.count;)
        i += say_held(r, &runs.list[i], runs.count - i);
    free(runs.list);
    if (r->joined)
        (void)reports_put(r->first, &told);
    say_drained(r);
    r->joined = true;
    r->lost = false;
}

/* ---- adopted, or not ----------------------------------------------------------------------------
 */

/* What of the lease has not ended here, as ranges to be cancelled: nobody waits for it. */
static void
drop_lease(struct runner *r, uint64_t lease, int64_t now)
{
    struct runs runs = {.list = NULL};

    collect(r, &runs);
    for (size_t i = 0; i < runs.count; i++) {
        const struct run *run = &runs.list[i];
        struct message_range m = {run->job, run->first, run->count};

        if (run->lease == lease)
            runner_cancel(r, &m, now);
    }
    free(runs.list);
}

void
runner_adopted(struct runner *r, const struct message_adopted *m, int64_t now)
{
    reports_adopted(r->out, m->lease, m->wanted);
    if (!m->wanted)
        drop_lease(r, m->lease, now);
}
