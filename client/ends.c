/* How tasks end, in the core: by results, by a sentence for many, by cancelling. */
#include "core.h"

#include "detached.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEADLINE_GRACE = 250000 }; /* us: the broker ends the tasks at the deadline, we soon after */

/* The broker is done with these tasks: they no longer count in its window. */
static void
settle(struct core *core, struct chunk *c, uint32_t from, uint32_t count)
{
    uint32_t end = from + count > c->sent ? c->sent : from + count;
    uint64_t cost = 0;
    uint32_t n = 0;

    for (uint32_t i = from; i < end; i++) {
        if (c->state[i] & STATE_SETTLED)
            continue;
        c->state[i] |= STATE_SETTLED;
        cost += chunk_size(c, i) + TASK_COST;
        n++;
    }
    c->unsettled -= n;
    c->job->unsettled -= n;
    core->under_way -= cost;
    if (n > 0)
        core_look_at(core, c->job);
}

static void
wake(struct core *core, struct chunk *c, uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < from + count && i < c->watchers_room; i++) {
        for (struct watcher *w = c->watchers[i]; w != NULL; w = w->next) {
            if (w->queued)
                continue;
            w->queued = true;
            TAILQ_INSERT_TAIL(&core->woken, w, link);
        }
    }
}

/* Tasks that have not ended do so now. Their results are in `s`; NULL: nobody wants them. */
static void
finish(struct core *core, struct chunk *c, uint32_t from, uint32_t count, enum outcome outcome,
       const uint8_t *outcomes, struct segment *s)
{
    struct job *j = c->job;
    uint32_t failed = 0;

    for (uint32_t i = 0; i < count; i++) {
        enum outcome o = outcomes == NULL ? outcome : (enum outcome)outcomes[i];

        failed += o != OUTCOME_DONE;
        c->state[from + i] = (uint8_t)((c->state[from + i] & STATE_SETTLED) | (1 + o));
    }
    c->ended += count;
    j->ended += count;
    j->failed += failed;
    core->failed += failed;
    core->unended -= count;
    j->held -= inputs_bytes(c, from, count);
    if (s != NULL) {
        s->order = ++core->order;
        chunk_add_segment(c, s);
        if (j->keep_arrived)
            TAILQ_INSERT_TAIL(&j->arrived, s, link);
        j->held += s->shared ? 0 : s->length;
        if (failed > 0 && !j->local && core->nfailures < core->failures_wanted)
            core_note_failures(core, c, from, count, s);
    }
    wake(core, c, from, count);
    core->news = true;
    if (j->nshares > 0 && j->closed && j->ended == j->total)
        core_shares_leave(core, j);
}

static uint32_t
run_of_unended(const struct chunk *c, uint32_t from, uint32_t end)
{
    uint32_t i = from;

    while (i < end && !(c->state[i] & STATE_OUTCOME))
        i++;
    return i - from;
}

int
core_end_with_results(struct core *core, struct chunk *c, uint32_t at, const struct columns *part,
                      const struct message_results *r)
{
    size_t offset = 0;

    settle(core, c, at, part->count);
    for (uint32_t i = 0; i < part->count;) {
        uint32_t n = run_of_unended(c, at + i, at + part->count);
        struct columns run = columns_part(part, i, n > 0 ? n : 1, offset);
        struct segment *s = NULL;

        if (n > 0 && c->handles > 0) {
            if (chunk_reserve_segment(c) != 0 || (s = segment_new(c, at + i, &run)) == NULL)
                return -1;
            s->worker = core_intern(core, r->worker);
            s->attempt = r->attempt;
            s->run = (double)r->run_us / 1e6 / r->columns.count;
            s->wait = (double)r->wait_us / 1e6;
        }
        if (n > 0)
            finish(core, c, at + i, n, OUTCOME_DONE, run.outcomes, s);
        else
            core->late++;
        offset += run.length;
        i += run.count;
    }
    (void)core_chunk_ended(core, c);
    return 0;
}

static int
end_with_text(struct core *core, struct chunk *c, uint32_t at, uint32_t count,
              const struct ending *e)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t n = run_of_unended(c, at + i, at + count);
        struct segment *s = NULL;

        if (n == 0) {
            i++;
            continue;
        }
        if (c->handles > 0) {
            if (chunk_reserve_segment(c) != 0 ||
                (s = segment_new_shared(c, at + i, n, e->outcome, e->text)) == NULL)
                return -1;
            s->worker = e->worker;
            s->attempt = e->attempt;
        }
        finish(core, c, at + i, n, e->outcome, NULL, s);
        i += n;
    }
    return 0;
}

int
core_end_range(struct core *core, struct job *j, uint64_t first, uint64_t count,
               const struct ending *e, bool settled)
{
    uint64_t end = count > j->total || first > j->total - count ? j->total : first + count;
    struct chunk *c;
    int failed = 0;

    j->refs++; /* until the end of the loop */
    while (failed == 0 && first < end && (c = job_chunk(j, first)) != NULL && c->first < end) {
        uint32_t at = c->first < first ? (uint32_t)(first - c->first) : 0;
        uint32_t n = (uint32_t)((end < c->first + c->count ? end : c->first + c->count) - c->first);

        first = c->first + c->count;
        if (settled)
            settle(core, c, at, n - at);
        if ((failed = end_with_text(core, c, at, n - at, e)) == 0)
            (void)core_chunk_ended(core, c);
    }
    core_release(core, j);
    return failed;
}

/* ---- cancelling -------------------------------------------------------------------------------
 */

int
core_say(struct core *core, enum message_type type, uint64_t job, uint64_t first, uint64_t count)
{
    struct word *last = TAILQ_LAST(&core->words, word_list);

    if (last != NULL && last->type == type && last->range.job == job &&
        last->range.first + last->range.count == first) {
        last->range.count += count;
        return 0;
    }
    if ((last = calloc(1, sizeof(*last))) == NULL)
        return -1;
    last->type = type;
    last->range = (struct message_range){.job = job, .first = first, .count = count};
    TAILQ_INSERT_TAIL(&core->words, last, link);
    core->wants_output = true;
    return 0;
}

/* Tell the broker to stop those tasks of the range that are under way. */
static void
cancel_under_way(struct core *core, struct job *j, uint64_t first, uint64_t end)
{
    uint64_t index = first;
    struct chunk *c;

    while (index < end && (c = job_chunk(j, index)) != NULL && c->first < end) {
        uint32_t i = c->first < index ? (uint32_t)(index - c->first) : 0;

        for (; i < c->sent && c->first + i < end; i++)
            if (!(c->state[i] & (STATE_OUTCOME | STATE_SETTLED)))
                /* Without memory the broker is not told: it does work that nobody wants. */
                (void)core_say(core, MESSAGE_CANCEL, j->number, c->first + i, 1);
        index = c->first + c->count;
    }
}

static struct blob *
text_blob(const char *text)
{
    return blob_copy(text, strlen(text));
}

void
core_cancel(struct core *core, struct job *j, uint64_t first, uint64_t count)
{
    uint64_t end = count > j->total || first > j->total - count ? j->total : first + count;
    struct ending e = {.outcome = OUTCOME_CANCELLED, .worker = ""};

    if (j->detached) { /* all of it: what was not sent yet must not leave a gap */
        j->cancelling = true;
        core_look_at(core, j);
    } else {
        cancel_under_way(core, j, first, end);
    }
    e.text = text_blob("cancelled");
    (void)core_end_range(core, j, first, end - first, &e, false);
    blob_unref(e.text);
}

/* For this session only. */
static void
end_detached(struct core *core, struct job *j)
{
    struct ending e = {.outcome = OUTCOME_LOST, .worker = ""};

    e.text = text_blob("this session has ended, or its broker is away: what was accepted goes on, "
                       "and futures_attach() finds it");
    j->refs++;
    j->refused = true;
    (void)core_end_range(core, j, 0, j->total, &e, false);
    core_leave(core, j);
    core_release(core, j);
    blob_unref(e.text);
}

void
core_end_all(struct core *core, enum outcome outcome, const char *text, bool tell)
{
    struct ending e = {.outcome = outcome, .worker = "", .text = text_blob(text)};
    struct job *j, *next;

    HASH_ITER (hh, core->jobs, j, next) {
        if (j->detached) {
            end_detached(core, j);
            continue;
        }
        if (tell)
            cancel_under_way(core, j, 0, j->total);
        (void)core_end_range(core, j, 0, j->total, &e, false);
    }
    blob_unref(e.text);
}

/* In the client's words: the broker was told only what was left of it. */
struct blob *
core_deadline_text(const struct job *j)
{
    char text[80];

    snprintf(text, sizeof(text), "it had not ended by its deadline of %g s",
             (double)j->spec->deadline_ms / 1e3);
    return text_blob(text);
}

void
core_tick(struct core *core, int64_t now)
{
    struct job *j;

    while ((j = TAILQ_FIRST(&core->due)) != NULL && j->deadline + DEADLINE_GRACE <= now) {
        struct ending e = {.outcome = OUTCOME_TIMED_OUT, .worker = ""};

        TAILQ_REMOVE(&core->due, j, due);
        j->deadline = CLOCK_NEVER;
        j->expired = true;
        e.text = core_deadline_text(j);
        j->refs++;
        if (j->detached)
            core_detached_cut(core, j);
        else /* the broker knows it, too */
            cancel_under_way(core, j, 0, j->total);
        (void)core_end_range(core, j, 0, j->total, &e, false);
        core_release(core, j);
        blob_unref(e.text);
    }
}

int64_t
core_deadline(const struct core *core)
{
    const struct job *j = TAILQ_FIRST(&core->due);

    return j == NULL ? CLOCK_NEVER : j->deadline + DEADLINE_GRACE;
}
