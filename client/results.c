/* The results of a map: one after the other, or all at once. */
#include "results.h"

#include "combine.h"

#include "../proto/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PULL_US 10000 /* drawing inputs may keep a result waiting for so long */
enum { PULL_AT_LEAST = 64 };

results_t *
results_new(futures_t *s, struct job *j, const task_options_t *options)
{
    results_t *r;

    if ((r = calloc(1, sizeof(*r))) == NULL)
        return NULL;
    r->session = s;
    r->job = j;
    r->as_completed = options != NULL && options->as_completed;
    r->worker = "";
    j->owner = r;
    j->keep_arrived = true;
    s->refs++;
    return r;
}

void
results_lazy(results_t *r, futures_next_fn *next, void *arg)
{
    r->draw = next;
    r->draw_arg = arg;
}

void
results_scan(results_t *r, struct combine *c)
{
    r->scan = c;
}

struct job *
results_own_job(const results_t *r)
{
    return r->job;
}

future_partial_fn *
results_partial(const results_t *r, void **arg_p)
{
    *arg_p = r->partial_arg;
    return r->partial;
}

/* With the lock held, if there are results, of this process. */
static bool
enter(const results_t *r)
{
    if (r == NULL) {
        error_no_handle("there are no results: results is NULL");
        return false;
    }
    if (!session_usable(r->session))
        return false;
    session_lock(r->session);
    return true;
}

/* ---- drawing inputs ---------------------------------------------------------------------------
 */

static bool
room_for_more(const results_t *r)
{
    const futures_t *s = r->session;
    const struct job *j = r->job;

    return j->held < s->config.window || j->total - j->ended < 2 * (uint64_t)s->core->slots;
}

/* The next segment in the order of this map; NULL if it is not there yet. */
static struct segment *
next_segment(const results_t *r)
{
    const struct chunk *c;

    if (r->as_completed)
        return TAILQ_FIRST(&r->job->arrived);
    c = job_chunk(r->job, r->next);
    return c == NULL ? NULL : chunk_segment(c, (uint32_t)(r->next - c->first));
}

static void
close_drawing(results_t *r)
{
    r->draw = NULL;
    core_close(r->session->core, r->job);
}

/* Append what was drawn. -1: ENOMEM. */
static int
take_input(results_t *r, const void *input, size_t size)
{
    futures_t *s = r->session;
    struct job *j = r->job;
    struct ending e = {.outcome = OUTCOME_REJECTED, .worker = ""};
    static const char over[] = "its input is over the limit of 256 MiB";
    struct chunk *c;

    if (core_append(s->core, j, input, size > LIMIT_DATA ? 0 : size, &c) != 0)
        return -1;
    session_reject_unknown(s, j, j->total - 1, 1);
    if (size > LIMIT_DATA) {
        e.text = blob_copy(over, sizeof(over) - 1);
        (void)core_end_range(s->core, j, j->total - 1, 1, &e, false);
        blob_unref(e.text);
    }
    return 0;
}

/* Draw inputs while there is room for them; when a result is ready, not many more than were
 * consumed, and not for long. With the lock held, but for the calls of the program. -1: ENOMEM. */
static int
draw_inputs(results_t *r)
{
    futures_t *s = r->session;
    uint64_t least = 2 * r->consumed + PULL_AT_LEAST;
    int64_t since = clock_us();
    int failed = 0;

    r->consumed = 0;
    for (uint64_t n = 0; r->draw != NULL && failed == 0 && room_for_more(r); n++) {
        const void *input = NULL;
        size_t size = 0;
        int end;

        if (next_segment(r) != NULL && (n >= least || clock_us() - since > PULL_US))
            break;
        if (s->stopped || s->lost || r->job->expired) {
            close_drawing(r);
            break;
        }
        r->drawing = true;
        session_unlock(s);
        end = r->draw(r->draw_arg, &input, &size);
        session_lock(s);
        r->drawing = false;
        if (end != 0 || r->draw == NULL)
            close_drawing(r);
        else if ((failed = take_input(r, input, size)) != 0)
            close_drawing(r);
    }
    if (failed != 0)
        error_set(ENOMEM, "out of memory for an input: the map ends here");
    return failed;
}

/* ---- iterating --------------------------------------------------------------------------------
 */

/* Equal results that lie where they could not be read as what they are: move them all. */
static int
align(struct segment *s)
{
    size_t unit = s->size & -(size_t)s->size;
    struct blob *data;

    if (s->shared || s->offsets != NULL || s->data == NULL || s->size == 0)
        return 0;
    if (unit > 16)
        unit = 16;
    if ((uintptr_t)(s->data->bytes + s->at) % unit == 0)
        return 0;
    if ((data = blob_copy(s->data->bytes + s->at, s->length)) == NULL)
        return -1;
    blob_unref(s->data);
    s->data = data;
    s->at = 0;
    return 0;
}

static void
drop_segment(results_t *r)
{
    segment_free(r->segment);
    r->segment = NULL;
}

/* With the lock held: take over the segment. */
static void
read_segment(results_t *r, struct segment *s)
{
    r->base = s->chunk->first;
    r->offset = s->first;
    r->segment = s;
    r->next = r->base + s->first + s->count;
    r->consumed += s->count;
    core_read_segment(r->session->core, s);
}

static bool
all_given(const results_t *r)
{
    return r->draw == NULL && r->job->closed && r->given == r->job->total;
}

int
results_fetch(results_t *r, int timeout)
{
    int64_t deadline = session_deadline(timeout);
    futures_t *s = r->session;
    struct segment *next;
    int failed = 0, error;

    drop_segment(r);
    session_lock(s);
    for (;;) {
        if (r->draw != NULL && !r->drawing)
            failed = draw_inputs(r);
        if ((next = next_segment(r)) != NULL || failed != 0)
            break;
        if (all_given(r)) {
            r->at_end = true;
            errno = 0;
            failed = -1;
            break;
        }
        if (meter_wait(&r->meter, s, r->job, deadline) != 0 && next_segment(r) == NULL) {
            failed = session_timed_out(s, r->job, timeout);
            break;
        }
    }
    if (next != NULL && failed == 0)
        read_segment(r, next);
    error = errno;
    meter_show(&r->meter, s, r->job, r->at_end);
    session_dispatch(s);
    session_unlock(s);
    errno = error;
    if (failed != 0)
        return -1;
    return align(r->segment) == 0 ? 0 : error_set(ENOMEM, "out of memory for results");
}

/* An item among others of other sizes: by itself, if it could not be read where it is. */
static const void *
aligned(results_t *r, const uint8_t *item, size_t size)
{
    void *room;

    if (r->segment->offsets == NULL || (uintptr_t)item % 16 == 0 || size == 0)
        return item;
    if (size > r->aligned_room) {
        if ((room = realloc(r->aligned, size)) == NULL)
            return error_null(ENOMEM, "out of memory for a result of %zu bytes", size);
        r->aligned = room;
        r->aligned_room = size;
    }
    return memcpy(r->aligned, item, size);
}

/* The sentence about the last one given, made when it is asked for, or told as the call's error. */
static const char *
sentence(results_t *r)
{
    if (r->error == NULL && r->outcome != OUTCOME_DONE && r->segment != NULL)
        r->error = session_sentence(r->session, r->job, r->index, r->segment, r->last);
    return r->error == NULL ? "out of memory" : r->error;
}

const void *
results_next_within(results_t *self, size_t *size_p, int timeout)
{
    const uint8_t *item;
    results_t *r = self;
    size_t size = 0;

    if (size_p != NULL)
        *size_p = 0;
    if (r == NULL) {
        error_no_handle("there are no results: results is NULL");
        return NULL;
    }
    if (!session_usable(r->session))
        return NULL;
    if (r->error != NULL) {
        free(r->error);
        r->error = NULL;
    }
    if ((r->segment == NULL || r->offset == r->segment->first + r->segment->count) &&
        results_fetch(r, timeout) != 0) {
        r->outcome = OUTCOME_DONE;
        return NULL;
    }
    r->last = r->offset++;
    r->given++;
    r->index = r->base + r->last;
    r->outcome = segment_outcome(r->segment, r->last);
    r->worker = r->segment->worker;
    item = segment_item(r->segment, r->last, &size);
    if (r->outcome != OUTCOME_DONE)
        return error_null(EIO, "%s", sentence(r));
    if (size_p != NULL)
        *size_p = size;
    return aligned(r, item, size);
}

const void *
results_next(results_t *self, size_t *size_p)
{
    return results_next_within(self, size_p, -1);
}

bool
results_at_end(results_t *self)
{
    return self == NULL || self->at_end;
}

uint64_t
results_index(results_t *self)
{
    return self == NULL ? 0 : self->index;
}

future_status_t
results_status(results_t *self)
{
    if (self == NULL)
        return FUTURE_LOST;
    if (self->given == 0)
        return FUTURE_PENDING;
    return status_of(self->outcome);
}

const char *
results_error(results_t *self)
{
    if (self == NULL || self->outcome == OUTCOME_DONE)
        return NULL;
    return sentence(self);
}

const char *
results_worker(results_t *self)
{
    return self == NULL ? "" : self->worker;
}

/* ---- until all have ended ----------------------------------------------------------------------
 */

int
results_wait(results_t *self, int timeout)
{
    int64_t deadline = session_deadline(timeout);
    futures_t *s;
    int failed = 0;

    if (!enter(self))
        return -1;
    s = self->session;
    for (;;) {
        if (self->draw != NULL && !self->drawing && draw_inputs(self) != 0)
            failed = -1;
        if (failed != 0 || (self->job->closed && self->job->ended == self->job->total))
            break;
        /* Endless inputs: all that there is room for have ended, and nobody reads them. */
        if (self->draw != NULL && self->job->ended == self->job->total && !room_for_more(self))
            break;
        if (meter_wait(&self->meter, s, self->job, deadline) != 0 &&
            self->job->ended < self->job->total)
            failed = session_timed_out(s, self->job, timeout);
    }
    meter_show(&self->meter, s, self->job, self->job->closed && failed == 0);
    session_dispatch(s);
    session_unlock(s);
    return failed;
}

/* ---- the rest ---------------------------------------------------------------------------------
 */

void
results_progress(results_t *self, uint64_t *done_p, uint64_t *failed_p, uint64_t *total_p)
{
    uint64_t done = 0, failed = 0, total = 0;

    if (enter(self)) {
        done = self->job->ended - self->job->failed;
        failed = self->job->failed;
        total = self->draw != NULL ? UINT64_MAX : self->job->total;
        session_unlock(self->session);
    }
    if (done_p != NULL)
        *done_p = done;
    if (failed_p != NULL)
        *failed_p = failed;
    if (total_p != NULL)
        *total_p = total;
}

void
results_show_progress(results_t *self, FILE *stream)
{
    if (!enter(self))
        return;
    meter_open(&self->meter, self->session, self->job, stream);
    session_unlock(self->session);
}

int
results_on_partial(results_t *self, future_partial_fn *fn, void *arg)
{
    futures_t *s;

    if (!enter(self))
        return -1;
    s = self->session;
    self->partial = fn;
    self->partial_arg = arg;
    self->job->partials = fn != NULL;
    if (fn != NULL)
        core_claim(s->core, self->job->number, 0, true);
    if (s->core->news)
        session_news(s);
    session_unlock(s);
    return 0;
}

void
results_cancel(results_t *self)
{
    futures_t *s;

    if (!enter(self))
        return;
    s = self->session;
    self->draw = NULL;
    if (!self->drawing) /* else who draws closes it */
        core_close(s->core, self->job);
    if (self->scan != NULL)
        combine_cancel(self->scan);
    core_cancel(s->core, self->job, 0, self->job->total);
    session_news(s);
    session_unlock(s);
}

void
results_destroy(results_t **self_p)
{
    int error = errno;
    results_t *r;
    futures_t *s;

    if (self_p == NULL || (r = *self_p) == NULL)
        return;
    *self_p = NULL;
    if (!enter(r)) {
        errno = error;
        return; /* in a fork()ed child: it belongs to the parent */
    }
    s = r->session;
    session_await_callback(s, r);
    meter_close(&r->meter, s, r->job);
    drop_segment(r);
    combine_free(r->scan);
    r->job->owner = NULL;
    r->job->partials = false;
    core_close(s->core, r->job);
    core_drop(s->core, r->job);
    free(r->error);
    free(r->aligned);
    free(r->job_id);
    free(r);
    session_unref(s);
    errno = error;
}
