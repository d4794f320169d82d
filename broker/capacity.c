#include "capacity.h"

#include "demands.h"
#include "workers.h"

#define MARGIN 2 /* a task may take so many times what its like take on the average */

/* ---- slots and memory ---------------------------------------------------------------------------
 */

bool
worker_able(const struct worker *w, const struct demand *d)
{
    return w->slots >= d->cpus && w->memory >= d->memory;
}

bool
worker_has_memory(const struct worker *w, const struct demand *d)
{
    return d->memory == 0 ||
           (w->memory_busy <= w->memory && d->memory <= w->memory - w->memory_busy);
}

bool
worker_has_room(const struct worker *w, const struct demand *d)
{
    return w->busy < w->slots && w->slots - w->busy >= d->cpus && worker_has_memory(w, d);
}

bool
worker_is_tight(const struct worker *w)
{
    return w->memory_busy > w->memory;
}

/* ---- time ---------------------------------------------------------------------------------------
 */

int64_t
job_need(const struct job *j)
{
    const struct estimate *e = &j->function->estimate;

    if (j->spec->timeout_ms > 0)
        return j->spec->timeout_ms * 1000;
    return estimate_known(e) ? 1 + (int64_t)(MARGIN * estimate_each(e)) : 0;
}

bool
worker_in_time(const struct scheduler *s, const struct worker *w, const struct job *j, int64_t wait)
{
    int64_t need, left;

    if (w->ends_at == CLOCK_NEVER)
        return true;
    left = w->ends_at - s->now - wait;
    need = job_need(j);
    /* Of what nobody knows, something has to be tried: early, when there is most to lose else. */
    return need > 0 ? left >= need : left >= w->span / 2;
}

uint32_t
worker_count_in_time(const struct scheduler *s, const struct worker *w, const struct job *j,
                     uint32_t count)
{
    double each = MARGIN * worker_each(w, j->function), left;

    if (w->ends_at == CLOCK_NEVER || each <= 0)
        return count;
    left = (double)(w->ends_at - s->now);
    return left >= each * count ? count : left > each ? (uint32_t)(left / each) : 1;
}

struct blob *
capacity_late_reason(const struct scheduler *s, const struct job *j)
{
    int64_t need = job_need(j);
    const struct worker *w;
    bool any = false;

    TAILQ_FOREACH (w, &s->workers, link) {
        if (w->draining || !worker_able(w, j->demand) || !demand_fits(j->demand, w->offer))
            continue;
        if (worker_in_time(s, w, j, 0))
            return NULL;
        any = true;
    }
    if (!any)
        return NULL;
    if (need == 0)
        return sentence(
            "nobody knows how long %.*s takes, and all workers that fit are in the last "
            "half of their time limits",
            LIMIT_NAME, j->spec->function);
    return sentence("no worker that fits has the %lld s left that a task of it may take%s",
                    (long long)((need + 999999) / 1000000),
                    j->spec->timeout_ms > 0 ? " by its timeout" : "");
}
