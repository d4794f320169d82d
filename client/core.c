#include "core.h"

#include "detached.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A stream of single tasks is sent in small chunks while few of them are under way: that keeps the
 * grid busy; beyond that, chunks are filled first: that keeps it fast. */
enum { FEW_UNDER_WAY = 2048 };
enum { TAKEN_STEP = 1 << 20 }; /* bytes of results between two TAKEN ... */
enum { TAKEN_US = 1000000 };   /* ... or, if there are some, so much time */

struct intern {
    UT_hash_handle hh;
    char name[];
};

const char *
core_intern(struct core *core, const char *name)
{
    struct intern *i;

    if (name == NULL || *name == '\0')
        return "";
    HASH_FIND_STR(core->names, name, i);
    if (i != NULL)
        return i->name;
    if ((i = malloc(sizeof(*i) + strlen(name) + 1)) == NULL)
        return "";
    memset(&i->hh, 0, sizeof(i->hh));
    strcpy(i->name, name);
    HASH_ADD_STR(core->names, name, i);
    if (i->hh.tbl == NULL) {
        free(i);
        return "";
    }
    return i->name;
}

struct core *
core_new(void)
{
    struct core *core;

    if ((core = calloc(1, sizeof(*core))) == NULL)
        return NULL;
    TAILQ_INIT(&core->ready);
    TAILQ_INIT(&core->due);
    TAILQ_INIT(&core->again);
    TAILQ_INIT(&core->words);
    TAILQ_INIT(&core->shares);
    TAILQ_INIT(&core->woken);
    TAILQ_INIT(&core->partials);
    TAILQ_INIT(&core->unclaimed);
    TAILQ_INIT(&core->failures);
    return core;
}

struct job *
core_find(const struct core *core, uint64_t number)
{
    struct job *j;

    HASH_FIND(hh, core->jobs, &number, sizeof(number), j);
    return j;
}

/* ---- what is to be sent -----------------------------------------------------------------------
 */

static bool
has_inputs_to_send(const struct core *core, const struct job *j)
{
    uint64_t few = 2 * (uint64_t)core->slots;

    if (j->local || j->cursor == j->total)
        return false;
    if (j->open == NULL || j->cursor < j->open->first)
        return true;
    return j->unsettled < (few > FEW_UNDER_WAY ? few : FEW_UNDER_WAY);
}

static bool
has_end_to_send(const struct job *j)
{
    return j->closed && j->cursor == j->total && j->announced && !j->end_sent;
}

void
core_look_at(struct core *core, struct job *j)
{
    struct job *before;

    if (j->is_ready)
        return;
    if (j->detached ? !core_detached_due(core, j)
                    : !(has_inputs_to_send(core, j) || has_end_to_send(j)))
        return;
    TAILQ_FOREACH_REVERSE(before, &core->ready, job_list, ready)
    {
        if (before->spec->priority >= j->spec->priority)
            break;
    }
    if (before == NULL)
        TAILQ_INSERT_HEAD(&core->ready, j, ready);
    else
        TAILQ_INSERT_AFTER(&core->ready, before, j, ready);
    j->is_ready = true;
    core->wants_output = true;
}

static void
not_ready(struct core *core, struct job *j)
{
    if (j->is_ready)
        TAILQ_REMOVE(&core->ready, j, ready);
    j->is_ready = false;
}

/* ---- life of jobs and chunks ------------------------------------------------------------------
 */

static void
forget_chunk(struct core *core, struct chunk *c)
{
    if (c->job->unclaimed > 0)
        core_drop_unclaimed(core, c);
    job_forget(c->job, c);
}

static void
told_again(struct core *core, struct job *j)
{
    if (j->is_again)
        TAILQ_REMOVE(&core->again, j, again);
    j->is_again = false;
}

static void
free_job(struct core *core, struct job *j)
{
    not_ready(core, j);
    told_again(core, j);
    if (j->deadline != CLOCK_NEVER)
        TAILQ_REMOVE(&core->due, j, due);
    core_shares_leave(core, j);
    while (j->head < j->ntable) {
        struct chunk *c = j->table[j->head].chunk;

        if (c == NULL)
            j->head++;
        else
            forget_chunk(core, c);
    }
    HASH_DEL(core->jobs, j);
    spec_unref(j->spec);
    free(j->table);
    free(j->notice);
    free(j->refusal);
    free(j);
}

static void
job_maybe_free(struct core *core, struct job *j)
{
    if (j->detached && !core_detached_settled(j))
        return;
    if (j->closed && j->live == 0 && j->refs == 0 && (j->detached || !j->announced || j->end_sent))
        free_job(core, j);
}

bool
core_chunk_ended(struct core *core, struct chunk *c)
{
    struct job *j = c->job;

    if (c->open || c->ended < c->count)
        return false;
    blob_unref(c->data);
    c->data = NULL;
    if (c->handles > 0 || c->unsettled > 0)
        return false;
    forget_chunk(core, c);
    core_look_at(core, j);
    job_maybe_free(core, j);
    return true;
}

void
core_free(struct core *core)
{
    struct job *j, *next_job;
    struct intern *i, *next;
    struct word *x;
    struct partial *p;

    if (core == NULL)
        return;
    HASH_ITER (hh, core->jobs, j, next_job)
        free_job(core, j);
    HASH_ITER (hh, core->names, i, next) {
        HASH_DEL(core->names, i);
        free(i);
    }
    while ((x = TAILQ_FIRST(&core->words)) != NULL) {
        TAILQ_REMOVE(&core->words, x, link);
        free(x);
    }
    while ((p = core_partial(core)) != NULL)
        partial_free(p);
    core_free_failures(core);
    spec_unref(core->shown);
    free(core->notice);
    free(core);
}

struct job *
core_job(struct core *core, const struct spec *spec, int64_t now)
{
    return core_job_numbered(core, spec, ++core->last_job, now);
}

struct job *
core_job_numbered(struct core *core, const struct spec *spec, uint64_t number, int64_t now)
{
    struct job *j, *before;

    if ((j = calloc(1, sizeof(*j))) == NULL)
        return NULL;
    if ((j->spec = spec_new(spec)) == NULL) {
        free(j);
        return NULL;
    }
    j->number = number;
    j->refs = 1;
    j->deadline = CLOCK_NEVER;
    TAILQ_INIT(&j->arrived);
    if (core_shares_join(core, j) == 0)
        HASH_ADD(hh, core->jobs, number, sizeof(j->number), j);
    if (j->hh.tbl == NULL) {
        core_shares_leave(core, j);
        spec_unref(j->spec);
        free(j);
        return NULL;
    }
    if (spec->deadline_ms > 0) {
        j->deadline = now + spec->deadline_ms * 1000;
        TAILQ_FOREACH_REVERSE(before, &core->due, job_list, due)
        {
            if (before->deadline <= j->deadline)
                break;
        }
        if (before == NULL)
            TAILQ_INSERT_HEAD(&core->due, j, due);
        else
            TAILQ_INSERT_AFTER(&core->due, before, j, due);
    }
    return j;
}

static void
close_chunk(struct core *core, struct job *j)
{
    struct chunk *c = j == NULL ? NULL : j->open;

    if (c == NULL)
        return;
    j->open = NULL;
    c->open = false;
    if (c->ended == c->count)
        (void)core_chunk_ended(core, c);
}

int
core_append(struct core *core, struct job *j, const void *input, size_t size,
            struct chunk **chunk_p)
{
    struct chunk *c = j->open;

    assert(!j->closed);
    if (c == NULL || !inputs_fit(c, size)) {
        /* A job that filled a chunk will fill the next one too. */
        bool full = c != NULL && c->count > 0 && c->length < LIMIT_CHUNK;

        if ((c = job_extend(j, full ? j->open->room : 0, full ? j->open->data->size : size)) ==
            NULL)
            return -1;
        j->refs++; /* closing the old one must not be the end of the job */
        close_chunk(core, j);
        j->refs--;
        c->open = true;
        j->open = c;
    }
    if (inputs_append(c, input, size) != 0)
        return -1;
    c->handles++;
    j->total++;
    j->held += size + TASK_COST;
    core->unended++;
    core_look_at(core, j);
    *chunk_p = c;
    return 0;
}

int
core_append_blob(struct core *core, struct job *j, struct blob *data, size_t length, uint32_t count,
                 uint32_t size, uint32_t *sizes)
{
    struct chunk *c;

    assert(!j->closed && j->open == NULL && count > 0);
    if ((c = job_extend(j, count, 0)) == NULL)
        return -1;
    memset(c->state, 0, count);
    blob_unref(c->data);
    c->data = data;
    c->length = length;
    c->count = c->handles = count;
    c->size = size;
    c->sizes = sizes;
    j->total += count;
    j->held += length + (size_t)count * TASK_COST;
    core->unended += count;
    core_look_at(core, j);
    return 0;
}

void
core_close(struct core *core, struct job *j)
{
    if (j->closed)
        return;
    j->refs++;
    close_chunk(core, j);
    j->refs--;
    j->closed = true;
    if (j->ended == j->total)
        core_shares_leave(core, j);
    core_look_at(core, j);
    job_maybe_free(core, j);
}

void
core_release(struct core *core, struct job *j)
{
    assert(j->refs > 0);
    j->refs--;
    job_maybe_free(core, j);
}

static void
drop_segment(struct chunk *c, struct segment *s)
{
    if (c->job->keep_arrived)
        TAILQ_REMOVE(&c->job->arrived, s, link);
    segment_free(s);
}

void
core_release_tasks(struct core *core, struct chunk *c, uint32_t count)
{
    assert(c->handles >= count);
    c->handles -= count;
    if (c->handles > 0)
        return;
    while (c->nsegments > 0)
        drop_segment(c, c->segments[--c->nsegments]);
    (void)core_chunk_ended(core, c);
}

void
core_drop(struct core *core, struct job *j)
{
    uint64_t index = 0;
    struct chunk *c;

    j->refs++;
    while ((c = job_chunk(j, index)) != NULL) {
        index = c->first + c->count;
        core_release_tasks(core, c, c->handles);
    }
    j->dropped = true;
    if (j->detached)
        core_leave(core, j);
    else
        core_cancel(core, j, 0, j->total);
    j->refs--;
    core_release(core, j);
}

void
core_read_segment(struct core *core, struct segment *s)
{
    struct chunk *c = s->chunk;

    chunk_take_segment(c, s);
    if (c->job->keep_arrived)
        TAILQ_REMOVE(&c->job->arrived, s, link);
    c->job->held -= (s->shared ? 0 : s->length) + (size_t)s->count * TASK_COST;
    s->chunk = NULL;
    core_release_tasks(core, c, s->count);
}

/* ---- messages out -----------------------------------------------------------------------------
 */

static void
announce(struct core *core, struct job *j, struct message *m, int64_t now)
{
    struct spec *spec = j->spec;

    if (j->deadline != CLOCK_NEVER) {
        /* What is left of it: the broker counts from now. */
        struct spec left = *j->spec;

        left.deadline_ms = j->deadline > now ? (j->deadline - now + 999) / 1000 : 1;
        if ((core->shown = spec_new(&left)) != NULL)
            spec = core->shown;
    }
    j->announced = true;
    *m = (struct message){.type = MESSAGE_JOB, .job = {.job = j->number, .spec = spec}};
}

/* How many of `count` tasks from c->sent on may be sent now. */
static uint32_t
fit_window(const struct core *core, const struct chunk *c, uint32_t count, size_t *bytes_p)
{
    uint64_t room = core->window + core->grant, cost = 0;
    bool all_wait = core->under_way <= core->grant; /* for others of ours, perhaps for these */
    uint32_t n = 0;

    room = room > core->under_way ? room - core->under_way : 0;
    if (c->sizes == NULL) {
        uint64_t fit = room / (c->size + TASK_COST);

        n = fit < count ? (uint32_t)fit : count;
        cost = (uint64_t)n * (c->size + TASK_COST);
    } else {
        for (; n < count && cost + c->sizes[c->sent + n] + TASK_COST <= room; n++)
            cost += c->sizes[c->sent + n] + TASK_COST;
    }
    /* Crumbs make small slices: rather wait for more room. One task that is too large goes alone.
     */
    if (all_wait && n == 0) {
        n = 1;
        cost = chunk_size(c, c->sent) + TASK_COST;
    } else if (n < count && cost < core->window / 4 && !all_wait) {
        return 0;
    }
    *bytes_p = cost - (uint64_t)n * TASK_COST;
    return n;
}

/* Tasks from c->sent on that go into one message: those that a broker knew before apart from the
 * others, and of these, those that ran. */
static uint32_t
alike(const struct chunk *c)
{
    uint64_t before = c->job->before;
    uint32_t end = c->count, i = c->sent;
    const uint8_t past = STATE_RUNNING | STATE_CHARGED;
    uint8_t state = c->state[i] & past;
    bool again = c->first + i < before;

    if (again && before < c->first + end)
        end = (uint32_t)(before - c->first);
    while (i < end && !(c->state[i] & STATE_OUTCOME) && (!again || (c->state[i] & past) == state))
        i++;
    return i - c->sent;
}

static void
send_inputs(struct core *core, struct chunk *c, uint32_t n, size_t bytes, struct message *m)
{
    struct job *j = c->job;
    bool again = c->first + c->sent < j->before;

    *m = (struct message){
        .type = MESSAGE_INPUTS,
        .inputs = {.job = j->number,
                   .first = c->first + c->sent,
                   .again = again,
                   .running = again && (c->state[c->sent] & STATE_RUNNING) != 0,
                   .charged =
                       again ? (c->state[c->sent] & STATE_CHARGED) / (uint32_t)STATE_CHARGED_ONE
                             : 0,
                   .columns = {.count = n,
                               .size = c->sizes == NULL ? c->size : 0,
                               .sizes = c->sizes == NULL ? NULL : c->sizes + c->sent,
                               .data = bytes > 0 ? c->data : NULL,
                               .at = bytes > 0 ? c->sent_bytes : 0,
                               .length = bytes}}};
    c->sent += n;
    c->sent_bytes += bytes;
    c->unsettled += n;
    j->unsettled += n;
    j->cursor = c->first + c->sent;
    core->under_way += bytes + (uint64_t)n * TASK_COST;
    close_chunk(core, j->open == c ? j : NULL);
}

/* Skip what ended before it was sent. */
static void
skip_ended(struct chunk *c)
{
    while (c->sent < c->count && (c->state[c->sent] & STATE_OUTCOME)) {
        c->state[c->sent] |= STATE_SETTLED;
        c->sent_bytes += chunk_size(c, c->sent);
        c->sent++;
    }
}

enum sending { SENDING_MESSAGE, SENDING_BLOCKED, SENDING_NOTHING };

static enum sending
output_job(struct core *core, struct job *j, struct message *m, int64_t now)
{
    if (j->detached)
        return core_detached_output(core, j, m) ? SENDING_MESSAGE : SENDING_NOTHING;
    while (j->cursor < j->total) {
        struct chunk *c = job_chunk(j, j->cursor);
        uint32_t n;
        size_t bytes;

        if (c == NULL) {
            j->cursor = j->total;
            break;
        }
        skip_ended(c);
        j->cursor = c->first + c->sent;
        if (c->sent == c->count)
            continue;
        if (!has_inputs_to_send(core, j))
            return SENDING_NOTHING;
        if (!j->announced) {
            announce(core, j, m, now);
            return SENDING_MESSAGE;
        }
        if ((n = fit_window(core, c, alike(c), &bytes)) == 0)
            return SENDING_BLOCKED;
        send_inputs(core, c, n, bytes, m);
        return SENDING_MESSAGE;
    }
    if (!has_end_to_send(j))
        return SENDING_NOTHING;
    *m =
        (struct message){.type = MESSAGE_JOB_END, .job_end = {.job = j->number, .total = j->total}};
    j->end_sent = true;
    not_ready(core, j);
    job_maybe_free(core, j);
    return SENDING_MESSAGE;
}

/* What a broker knew before goes first: it fits into its window, and the broker need not wait for
 * long until it knows what it need not keep. */
static enum sending
output_again(struct core *core, struct message *m, int64_t now)
{
    enum sending sending;
    struct job *j;

    while ((j = TAILQ_FIRST(&core->again)) != NULL) {
        if (j->cursor < j->before && (sending = output_job(core, j, m, now)) != SENDING_NOTHING)
            return sending;
        told_again(core, j);
    }
    if (!core->tell_end)
        return SENDING_NOTHING;
    core->tell_end = false;
    *m = (struct message){.type = MESSAGE_TOLD};
    return SENDING_MESSAGE;
}

static bool
takes_due(const struct core *core, int64_t now)
{
    uint64_t untold = core->received - core->taken;

    return untold >= TAKEN_STEP || (untold > 0 && now >= core->taken_at + TAKEN_US);
}

int64_t
core_taken_deadline(const struct core *core)
{
    return core->welcome && core->received > core->taken ? core->taken_at + TAKEN_US : CLOCK_NEVER;
}

bool
core_output(struct core *core, struct message *m, int64_t now)
{
    struct word *x = TAILQ_FIRST(&core->words);
    enum sending sending;
    struct job *j;

    core->wants_output = false;
    spec_unref(core->shown);
    core->shown = NULL;
    if (!core->welcome)
        return false;
    if (x != NULL) {
        *m = (struct message){.type = x->type, .range = x->range};
        if (x->type == MESSAGE_NOTED)
            core_note(core, &x->range);
        TAILQ_REMOVE(&core->words, x, link);
        free(x);
        return true;
    }
    if (core_shares_output(core, m))
        return true;
    if (takes_due(core, now)) {
        core->taken = core->received;
        core->taken_at = now;
        *m = (struct message){.type = MESSAGE_TAKEN, .taken = {.bytes = core->taken}};
        return true;
    }
    if ((sending = output_again(core, m, now)) != SENDING_NOTHING)
        return sending == SENDING_MESSAGE;
    while ((j = TAILQ_FIRST(&core->ready)) != NULL) {
        sending = output_job(core, j, m, now);
        if (sending != SENDING_NOTHING)
            return sending == SENDING_MESSAGE;
        not_ready(core, j);
        job_maybe_free(core, j);
    }
    return false;
}
