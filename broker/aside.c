#include "aside.h"

#include "chunks.h"
#include "endings.h"
#include "jobs.h"
#include "notices.h"
#include "queues.h"

#include <assert.h>

int64_t
aside_until(const struct scheduler *s, const struct message_inputs *in, bool once)
{
    int64_t until = s->started + RESTART_US;

    if (!s->config.lasting || !in->again)
        return 0;
    if (in->running && s->now < until + RUNNING_US)
        return s->now + RUNNING_US;
    if (once) /* what its client had not noted cannot have begun */
        return in->running ? s->now : 0;
    return s->now < until ? until : 0;
}

int64_t
aside_until_next(const struct scheduler *s)
{
    int64_t until = s->started + RUNNING_US;

    return s->now < until ? until : 0;
}

int64_t
aside_keep_us(const struct scheduler *s, enum parting how)
{
    if (!s->config.lasting || how == PARTING_FOR_GOOD || how == PARTING_SILENT)
        return 0;
    if (s->resumed != CLOCK_NEVER && s->now < s->resumed + RESUME_US)
        return RESUME_US;
    return how == PARTING_REPLACED ? REPLACED_LEASE_US : BROKEN_LEASE_US;
}

/* ---- the lists ----------------------------------------------------------------------------------
 */

static uint32_t
live(const struct range *r)
{
    return chunk_live(r->chunk, r->offset, r->offset + r->count);
}

void
aside_put(struct scheduler *s, struct range *r, int64_t until, struct blob *why)
{
    struct range *before = TAILQ_LAST(&s->aside, range_list);
    struct job *j = r->chunk->job;

    assert(r->why == NULL);
    r->until = until;
    r->blameless = false;
    r->why = blob_ref(why);
    TAILQ_INSERT_TAIL(&j->aside, r, link);
    j->naside += live(r);
    while (before != NULL && before->until > until)
        before = TAILQ_PREV(before, range_list, of_aside);
    if (before == NULL)
        TAILQ_INSERT_HEAD(&s->aside, r, of_aside);
    else
        TAILQ_INSERT_AFTER(&s->aside, before, r, of_aside);
}

void
aside_take(struct scheduler *s, struct range *r)
{
    struct job *j = r->chunk->job;

    TAILQ_REMOVE(&j->aside, r, link);
    TAILQ_REMOVE(&s->aside, r, of_aside);
    j->naside -= live(r);
    r->until = 0;
    r->holder = 0;
    blob_unref(r->why);
    blob_unref(r->where);
    r->why = r->where = NULL;
}

uint32_t
aside_lose(struct job *j, const struct chunk *c, uint32_t from, uint32_t to)
{
    const struct range *r;
    uint32_t lost = 0;

    if (j->naside == 0)
        return 0;
    TAILQ_FOREACH (r, &j->aside, link) {
        uint32_t begin = r->offset > from ? r->offset : from;
        uint32_t end = r->offset + r->count < to ? r->offset + r->count : to;

        if (r->chunk == c && begin < end)
            lost += chunk_live(c, begin, end);
    }
    j->naside -= lost;
    return lost;
}

void
aside_free(struct scheduler *s, struct job *j)
{
    struct range *r;

    while ((r = TAILQ_FIRST(&j->aside)) != NULL) {
        aside_take(s, r);
        range_free(s, r);
    }
}

/* ---- nobody came for them -----------------------------------------------------------------------
 */

/* Its attempt may have begun, and may not be the last. */
static bool
may_go_again(const struct range *r)
{
    return !r->chunk->job->spec->once && (r->blameless || r->losses + 1 < LOSSES_MAX);
}

static void
end_lost(struct scheduler *s, const struct range *r, struct blob *why, struct blob *where)
{
    struct chunk *c = r->chunk;
    uint32_t from = r->offset, last = r->offset + r->count;
    struct blob *text =
        c->job->spec->once
            ? sentence("%s, and the task may run only once", words(why))
            : sentence("%s, as were those of %u attempts before", words(why), r->losses);
    struct ending e = {
        .outcome = OUTCOME_LOST, .attempt = r->attempt, .worker = where, .text = words(text)};

    while ((from = chunk_live_from(c, from, last)) < last) {
        uint32_t end = chunk_ended_from(c, from, last);

        c->job->ready += end - from; /* end_tasks() finds them there */
        end_tasks(s, c, from, end, &e);
        from = end;
    }
    blob_unref(text);
}

static void
release(struct scheduler *s, struct range *r)
{
    struct chunk *c = chunk_ref(r->chunk);
    struct job *j = c->job;
    struct blob *why = blob_ref(r->why), *where = blob_ref(r->where);
    uint32_t count = live(r);

    aside_take(s, r);
    if (count == 0 || (why != NULL && !may_go_again(r))) {
        end_lost(s, r, why, where);
        range_free(s, r);
        (void)job_finish(s, j);
    } else {
        if (why != NULL && !r->blameless) {
            r->attempt++;
            r->losses++;
            r->alone = r->alone || r->losses >= LOSSES_SUSPECT;
            s->retries += count;
        }
        job_ready_again(s, j, r, count);
    }
    blob_unref(why);
    blob_unref(where);
    chunk_unref(c);
}

void
aside_release(struct scheduler *s, uint64_t holder, bool began)
{
    struct range *r, *next;

    for (r = TAILQ_FIRST(&s->aside); r != NULL; r = next) {
        next = TAILQ_NEXT(r, of_aside);
        if (r->holder != holder)
            continue;
        TAILQ_REMOVE(&s->aside, r, of_aside);
        r->until = s->now;
        if (!began) {
            blob_unref(r->why);
            r->why = NULL;
        }
        TAILQ_INSERT_HEAD(&s->aside, r, of_aside);
    }
    aside_tick(s);
}

void
aside_tick(struct scheduler *s)
{
    struct range *r;

    while ((r = TAILQ_FIRST(&s->aside)) != NULL && r->until <= s->now)
        release(s, r);
}

int64_t
aside_deadline(const struct scheduler *s)
{
    const struct range *r = TAILQ_FIRST(&s->aside);

    return r == NULL ? CLOCK_NEVER : r->until;
}
