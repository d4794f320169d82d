/* The first tasks that failed, with their inputs: so that they can be run again. */
#include "core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Different in each session, and the same for no two tasks of it. */
static void
name_it(struct core *core, struct failure *f)
{
    uint64_t z = core->failure_seed + (uint64_t)core->nfailures * 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    snprintf(f->id, sizeof(f->id), "%08x", (unsigned)(z >> 32));
}

static void
free_failure(struct failure *f)
{
    spec_unref(f->spec);
    blob_unref(f->input);
    blob_unref(f->text);
    free(f);
}

static void
note(struct core *core, const struct chunk *c, uint32_t i, const struct segment *s)
{
    struct failure *f = calloc(1, sizeof(*f));
    const uint8_t *words;
    size_t size;

    if (f == NULL)
        return;
    words = segment_item(s, i, &size);
    f->spec = spec_ref(c->job->spec);
    f->job = c->job->number;
    f->index = c->first + i;
    f->outcome = segment_outcome(s, i);
    f->attempt = s->attempt;
    f->worker = s->worker;
    f->text = blob_copy(words, size);
    /* A copy: else it would keep the inputs of its neighbours, too. */
    if (chunk_size(c, i) > 0)
        f->input = blob_copy(c->data->bytes + inputs_bytes(c, 0, i), chunk_size(c, i));
    if (f->text == NULL || (chunk_size(c, i) > 0 && f->input == NULL)) {
        free_failure(f);
        return;
    }
    name_it(core, f);
    core->nfailures++;
    core->unkept++;
    TAILQ_INSERT_TAIL(&core->failures, f, link);
}

/* What the broker's store has need not be here any more: `ladle retry-failed` runs that again. */
void
core_note_failures(struct core *core, const struct chunk *c, uint32_t from, uint32_t count,
                   const struct segment *s)
{
    for (uint32_t i = from; i < from + count && core->nfailures < core->failures_wanted; i++) {
        enum outcome outcome = segment_outcome(s, i);

        if ((outcome == OUTCOME_FAILED || outcome == OUTCOME_CRASHED ||
             outcome == OUTCOME_TIMED_OUT) &&
            s->attempt > 0 && c->data != NULL && chunk_size(c, i) <= FAILURE_INPUT)
            note(core, c, i, s);
    }
}

struct failure *
core_unkept(const struct core *core)
{
    struct failure *f;

    TAILQ_FOREACH (f, &core->failures, link)
        if (f->state == FAILURE_NEW)
            return f;
    return NULL;
}

void
core_kept(struct core *core, struct failure *f, bool kept)
{
    f->state = kept ? FAILURE_KEPT : FAILURE_GONE;
    core->unkept--;
    spec_unref(f->spec);
    blob_unref(f->input);
    blob_unref(f->text);
    f->spec = NULL;
    f->input = f->text = NULL;
}

const struct failure *
core_failure(const struct core *core, uint64_t job, uint64_t index)
{
    const struct failure *f;

    TAILQ_FOREACH (f, &core->failures, link)
        if (f->job == job && f->index == index)
            return f;
    return NULL;
}

void
core_free_failures(struct core *core)
{
    struct failure *f;

    while ((f = TAILQ_FIRST(&core->failures)) != NULL) {
        TAILQ_REMOVE(&core->failures, f, link);
        free_failure(f);
    }
}
