/* The invariants of the core, for its tests. */
#include "core.h"

#include "../proto/limits.h"

#include <assert.h>

#ifdef NDEBUG
#undef assert
#include <stdlib.h>
#define assert(condition) ((condition) ? (void)0 : abort())
#endif

static void
check_segments(const struct chunk *c)
{
    uint32_t end = 0;

    assert(c->handles > 0 || c->nsegments == 0);
    for (uint32_t i = 0; i < c->nsegments; i++) {
        const struct segment *s = c->segments[i];

        assert(s->chunk == c && s->count > 0 && s->first >= end);
        end = s->first + s->count;
        assert(end <= c->count);
        for (uint32_t k = s->first; k < end; k++)
            assert((c->state[k] & STATE_OUTCOME) == 1 + segment_outcome(s, k));
    }
}

/* Returns what the chunk's tasks count in the window. */
static uint64_t
check_chunk(const struct chunk *c)
{
    uint32_t ended = 0, unsettled = 0;
    uint64_t cost = 0;

    assert(c->sent <= c->count && c->count <= c->room);
    for (uint32_t i = 0; i < c->count; i++) {
        bool settled = c->state[i] & STATE_SETTLED;

        ended += (c->state[i] & STATE_OUTCOME) != 0;
        if (i < c->sent && !settled) {
            unsettled++;
            cost += chunk_size(c, i) + TASK_COST;
        }
    }
    assert(ended == c->ended && unsettled == c->unsettled);
    assert(c->open || c->data != NULL || c->ended == c->count || c->job->detached);
    assert(c->open || c->ended < c->count || c->handles > 0 || c->unsettled > 0 || c->count == 0);
    assert(c->sent_bytes == inputs_bytes(c, 0, c->sent));
    assert(c->length == inputs_bytes(c, 0, c->count));
    check_segments(c);
    return cost;
}

static uint64_t
check_job(const struct job *j)
{
    uint64_t cost = 0, end = 0, unended = 0, unsettled = 0;
    size_t live = 0;

    for (size_t i = j->head; i < j->ntable; i++) {
        const struct chunk *c = j->table[i].chunk;

        if (c == NULL)
            continue;
        assert(c->job == j && c->first == j->table[i].first && c->first >= end);
        assert(c->open == (c == j->open));
        end = c->first + c->count;
        cost += check_chunk(c);
        unended += c->count - c->ended;
        unsettled += c->unsettled;
        live++;
    }
    assert(live == j->live && end <= j->total);
    assert(unended == j->total - j->ended && unsettled == j->unsettled);
    assert(j->cursor <= j->total && j->failed <= j->ended);
    assert(!j->closed || j->open == NULL);
    assert(!j->end_sent || (j->closed && j->announced) || j->detached);
    return cost;
}

static void
check_unclaimed(const struct core *core)
{
    const struct partial *p;
    const struct job *j;
    uint64_t listed = 0, counted = 0;
    size_t bytes = 0;

    TAILQ_FOREACH (p, &core->unclaimed, link) {
        assert(core_find(core, p->job) != NULL);
        bytes += p->size + TASK_COST;
        listed++;
    }
    for (j = core->jobs; j != NULL; j = j->hh.next)
        counted += j->unclaimed;
    assert(bytes == core->unclaimed_bytes && listed == counted);
}

void
core_check(const struct core *core)
{
    uint64_t cost = 0, unended = 0, at_disk;
    const struct job *j;

    for (j = core->jobs; j != NULL; j = j->hh.next) {
        at_disk = check_job(j);
        cost += j->detached ? 0 : at_disk;
        unended += j->total - j->ended;
    }
    assert(!core->welcome || cost == core->under_way);
    assert(unended == core->unended);
    assert(core->taken <= core->received);
    check_unclaimed(core);
    TAILQ_FOREACH (j, &core->ready, ready)
        assert(j->is_ready);
}
