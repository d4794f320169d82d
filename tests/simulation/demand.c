#include "demand.h"

#include "load.h"

#include "../../client/detached.h"
#include "../../proto/limits.h"
#include "worker.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MOST 300

/* ---- what it asks for ---------------------------------------------------------------------------
 */

static void
choose_spec(struct sim *s, struct spec *spec)
{
    static const char *const needs[] = {"", "", "", "gpu", "zone=b", "gpu=1, zone=b", "big"};
    static const char *const machines[] = {"", "x86_64", "x86_64", "aarch64"};
    struct random *r = &s->random;

    *spec = (struct spec){
        .program = {.name = "program",
                    .machine = machines[random_below(r, 4)],
                    .size = 7,
                    .arguments = "",
                    .directory = ""},
        .function = "leaf",
        .name = "",
        .needs = needs[random_below(r, 7)],
        .priority = (int32_t)random_between(r, -1, 1),
        .retries = (uint32_t)random_below(r, 4),
        .cpus = random_chance(r, 80) || s->narrow ? 1 : 1 + (uint32_t)random_below(r, 4),
        .retry_failed = random_chance(r, 20),
        .once = random_chance(r, 10),
        .singles = random_chance(r, 40)};
    memset(spec->program.digest, "abc"[random_below(r, 3)], sizeof(spec->program.digest) - 1);
    if (random_chance(r, 20))
        spec->memory = (uint64_t)random_between(r, 1, WORKER_MEMORY);
    if (random_chance(r, 15))
        spec->deadline_ms = random_between(r, 1, 5000);
    if (random_chance(r, 15))
        spec->timeout_ms = random_between(r, 20, 3000);
    if (random_chance(r, 10))
        spec->fail_if_unknown = true;
    /* What no worker has is asked for only if it ends on its own. */
    if ((spec->deadline_ms > 0 || spec->fail_if_unknown) && random_chance(r, 30))
        spec->needs = "moon=1";
}

/* In a narrow grid all must go through one slot in time. */
static uint64_t
choose_count(struct sim *s)
{
    if (s->storm > 0)
        return 2000;
    return random_below(&s->random, random_chance(&s->random, 20) && !s->narrow ? 2000 : 100);
}

static void
watch_all(struct demand *d)
{
    d->singles = calloc(d->count + 1, sizeof(*d->singles));
    assert(d->singles != NULL);
    for (uint64_t i = 0; i < d->count; i++) {
        d->singles[i].demand = d;
        d->singles[i].index = i;
    }
}

static void
begin(struct demand *d, const struct spec *spec, unsigned client, uint64_t kind)
{
    d->tasks = calloc(d->count + 1, sizeof(struct record *));
    d->job = core_job(d->core, spec, d->sim->now);
    assert(d->tasks != NULL && d->job != NULL);
    for (uint64_t i = 0; i < d->count; i++)
        d->tasks[i] = history_submit(d->sim->history, client, kind, d->spec);
}

static void
begin_detached(struct demand *d, const struct spec *spec, unsigned client, uint64_t kind)
{
    d->deposit = deposit_new(d->sim, client, kind, d->spec, d->count);
    d->tasks = d->deposit->tasks;
    d->leaves = random_chance(&d->sim->random, 40);
    d->job = core_job_detached(d->core, spec, d->deposit->id, false, d->sim->now);
    assert(d->job != NULL);
}

struct demand *
demand_new(struct sim *s, struct core *core, unsigned client, bool welcome)
{
    struct demand *d = calloc(1, sizeof(*d));
    bool detached = s->store && random_chance(&s->random, 50);
    struct random *r = &s->random;
    struct spec spec;
    uint64_t kind;

    assert(d != NULL);
    (void)welcome;
    choose_spec(s, &spec);
    spec.singles = spec.singles && !detached; /* a detached future is a job of its own */
    kind = load_kind(random_next(r), spec.timeout_ms > 0);
    if (load_nests(kind))
        spec.function = "tree";
    d->sim = s;
    d->core = core;
    d->spec = spec_new(&spec);
    d->count = choose_count(s);
    d->parts = 1 + (unsigned)random_below(r, 4);
    d->size = random_chance(r, 50) ? 8 + (uint32_t)random_below(r, 100) : 0;
    assert(d->spec != NULL);
    if (detached)
        begin_detached(d, &spec, client, kind);
    else
        begin(d, &spec, client, kind);
    d->number = d->job->number;
    if (spec.singles)
        watch_all(d);
    else
        d->job->keep_arrived = true;
    history_largest(s->history, SIZE_MOST);
    return d;
}

struct demand *
demand_attach(struct sim *s, struct core *core, struct deposit *deposit)
{
    struct spec spec = {.function = "?", .cpus = 1};
    struct demand *d = calloc(1, sizeof(*d));

    assert(d != NULL);
    *d = (struct demand){.sim = s,
                         .core = core,
                         .spec = spec_ref(deposit->spec),
                         .tasks = deposit->tasks,
                         .deposit = deposit,
                         .attached = true};
    d->job = core_job_detached(core, &spec, deposit->id, true, s->now);
    assert(d->job != NULL);
    d->number = d->job->number;
    d->job->keep_arrived = true;
    return d;
}

void
demand_free(struct demand *d)
{
    spec_unref(d->spec);
    if (d->deposit == NULL)
        free(d->tasks);
    free(d->singles);
    free(d);
}

struct demand *
demand_find(struct demand_list *list, uint64_t number)
{
    struct demand *d;

    TAILQ_FOREACH (d, list, link) {
        if (d->number == number)
            return d;
    }
    return NULL;
}

/* ---- submitting ---------------------------------------------------------------------------------
 */

static uint32_t
size_of(const struct demand *d)
{
    return d->size != 0 ? d->size : 8 + (uint32_t)random_below(&d->sim->random, SIZE_MOST - 8);
}

static void
give_single(struct demand *d)
{
    struct single *one = &d->singles[d->given];
    uint8_t input[SIZE_MOST];
    struct chunk *c;

    memset(input, 0x5a, sizeof(input));
    memcpy(input, &d->tasks[d->given]->input, sizeof(uint64_t));
    if (core_append(d->core, d->job, input, size_of(d), &c) != 0 ||
        chunk_watch(c, (uint32_t)(d->job->total - 1 - c->first), &one->watcher) != 0)
        sim_fail(d->sim, "out of memory");
    one->chunk = c;
    one->offset = (uint32_t)(d->job->total - 1 - c->first);
    d->given++;
}

static void
give_part(struct demand *d, uint32_t count)
{
    uint32_t *sizes = malloc((count + 1) * sizeof(*sizes));
    size_t length = 0, at = 0;
    struct blob *data;

    assert(sizes != NULL && count > 0);
    for (uint32_t i = 0; i < count; i++)
        length += sizes[i] = size_of(d);
    data = blob_new(length);
    assert(data != NULL);
    memset(data->bytes, 0x5a, length);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(data->bytes + at, &d->tasks[d->given + i]->input, sizeof(uint64_t));
        at += sizes[i];
    }
    if (d->size != 0) {
        free(sizes);
        sizes = NULL;
    }
    if (core_append_blob(d->core, d->job, data, length, count, d->size, sizes) != 0)
        sim_fail(d->sim, "out of memory");
    d->given += count;
}

/* What cannot come to be is not submitted any more. */
static bool
is_cut_short(const struct demand *d)
{
    return d->deposit != NULL && (d->gave_up || d->job->sealed || d->job->cancelling ||
                                  d->job->error != KEPT_NONE || d->job->refused);
}

bool
demand_more(struct demand *d, bool welcome)
{
    struct random *r = &d->sim->random;
    uint64_t from = d->given, count = d->count - d->given;

    if (d->job == NULL)
        return false;
    if (is_cut_short(d))
        d->count = d->given;
    count = d->count - d->given;
    if (d->singles != NULL) {
        for (uint64_t n = 1 + random_below(r, 10); n > 0 && d->given < d->count; n--)
            give_single(d);
    } else if (count > 0) {
        give_part(d, (uint32_t)(--d->parts == 0 ? count : 1 + random_below(r, count)));
    }
    for (uint64_t i = from; i < d->given; i++)
        d->tasks[i]->lives = welcome;
    if (d->given < d->count)
        return true;
    core_close(d->core, d->job);
    if (d->leaves) { /* it goes on without us, once it is on disk */
        core_drop(d->core, d->job);
        d->job = NULL;
    }
    return false;
}

void
demand_cancel(struct demand *d, const char *client)
{
    struct random *r = &d->sim->random;
    uint64_t first, count;

    if (d->job == NULL || (d->given == 0 && !d->attached))
        return;
    if (d->deposit != NULL) {
        sim_trace(d->sim, "%s cancels job %.8s", client, d->deposit->hex);
        for (uint64_t i = 0; i < d->deposit->most; i++)
            d->tasks[i]->cancelled = true;
        core_cancel(d->core, d->job, 0, UINT64_MAX);
        return;
    }
    first = random_below(r, d->given);
    count = 1 + random_below(r, d->given - first);
    sim_trace(d->sim, "%s cancels %" PRIu64 "+%" PRIu64 " of job %" PRIu64, client, first, count,
              d->number);
    for (uint64_t i = first; i < first + count; i++)
        d->tasks[i]->cancelled = true;
    core_cancel(d->core, d->job, first, count);
}

/* ---- reading ------------------------------------------------------------------------------------
 */

void
demand_noted(struct demand *d, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count && i < d->given; i++)
        d->tasks[i]->noted = true;
}

void
demand_told(struct demand *d, uint64_t index, enum outcome o, uint32_t attempt, uint32_t life)
{
    if (d->deposit != NULL) {
        deposit_told(d->sim, d->deposit, index, o);
        return;
    }
    if (index >= d->given)
        sim_fail(d->sim, "an outcome of a task that was not submitted");
    history_told(d->sim->history, d->tasks[index], o, attempt, life);
}

static void
read_task(struct demand *d, uint64_t index, const struct segment *s, uint32_t offset)
{
    size_t size;
    const uint8_t *bytes = segment_item(s, offset, &size);

    enum outcome o = segment_outcome(s, offset);

    if (d->deposit != NULL)
        deposit_read(d->sim, d->deposit, index, o, d->gave_up, bytes, size);
    else
        history_ended(d->sim->history, d->tasks[index], o, s->attempt, bytes, size);
    d->read++;
}

static void
release_if_over(struct demand *d)
{
    if (d->job != NULL && d->attached && d->gave_up) { /* a program that was told so lets go */
        core_close(d->core, d->job);
        core_drop(d->core, d->job);
        d->job = NULL;
    }
    if (d->job == NULL || !d->job->closed || d->read < (d->attached ? d->job->total : d->count))
        return;
    core_release(d->core, d->job);
    d->job = NULL;
}

void
demand_read(struct demand *d)
{
    struct segment *s;

    if (d->attached && d->job != NULL && d->job->error != KEPT_NONE)
        sim_fail(d->sim, "job %.8s cannot be attached to: %s", d->deposit->hex, d->job->refusal);
    while (d->job != NULL && d->singles == NULL && (s = TAILQ_FIRST(&d->job->arrived)) != NULL) {
        uint64_t first = s->chunk->first;

        for (uint32_t i = s->first; i < s->first + s->count; i++)
            read_task(d, first + i, s, i);
        core_read_segment(d->core, s);
        segment_free(s);
    }
    release_if_over(d);
}

void
demand_read_singles(struct core *core)
{
    struct watcher *w;

    while ((w = TAILQ_FIRST(&core->woken)) != NULL) {
        struct single *one = (struct single *)(void *)w;
        struct chunk *c = one->chunk;
        struct segment *s = chunk_segment(c, one->offset);

        TAILQ_REMOVE(&core->woken, w, link);
        w->queued = false;
        if (s == NULL)
            sim_fail(one->demand->sim, "a task ended without a result");
        read_task(one->demand, one->index, s, one->offset);
        chunk_unwatch(c, one->offset, w);
        one->chunk = NULL;
        core_release_tasks(core, c, 1);
    }
}

bool
demand_is_over(const struct demand *d)
{
    return d->job == NULL;
}

/* ---- its client ---------------------------------------------------------------------------------
 */

void
demand_tell_anew(struct demand *d)
{
    for (uint64_t i = 0; i < d->given; i++)
        d->tasks[i]->lives += d->tasks[i]->outcome == NO_OUTCOME;
}

void
demand_give_up(struct demand *d)
{
    d->gave_up = true;
    for (uint64_t i = 0; i < d->given && d->deposit == NULL; i++)
        d->tasks[i]->gave_up |= d->tasks[i]->outcome == NO_OUTCOME;
}

void
demand_forsake(struct demand *d)
{
    for (uint64_t i = 0; i < d->count && d->deposit == NULL; i++)
        d->tasks[i]->unknown |= d->tasks[i]->outcome == NO_OUTCOME;
    d->job = NULL;
}
