/* One future. */
#include "detached.h"
#include "session.h"

#include "../proto/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what is known about it -------------------------------------------------------------------
 */

future_status_t
status_of(enum outcome outcome)
{
    switch (outcome) {
    case OUTCOME_DONE:
        return FUTURE_DONE;
    case OUTCOME_FAILED:
        return FUTURE_FAILED;
    case OUTCOME_CRASHED:
        return FUTURE_CRASHED;
    case OUTCOME_TIMED_OUT:
        return FUTURE_TIMED_OUT;
    case OUTCOME_CANCELLED:
        return FUTURE_CANCELLED;
    case OUTCOME_LOST:
        return FUTURE_LOST;
    default:
        return FUTURE_REJECTED;
    }
}

/* With the lock held, which may be let go for a moment when all but the session was read. */
static char *
whole_sentence(futures_t *session, const struct job *j, uint64_t index, const struct segment *s,
               uint32_t offset)
{
    char where[2 * LIMIT_NAME], which[32] = "", kept[64];
    const uint8_t *words = (const uint8_t *)"";
    uint64_t number = j->number;
    char *sentence, *all = NULL;
    size_t size = 0;

    where[0] = '\0';
    if (s != NULL)
        words = segment_item(s, offset, &size);
    if (size > LIMIT_TEXT)
        size = LIMIT_TEXT;
    if (!j->spec->singles)
        snprintf(which, sizeof(which), "[%llu]", (unsigned long long)index);
    if (s != NULL && *s->worker != '\0')
        snprintf(where, sizeof(where), " on worker %s", s->worker);
    if (s != NULL && s->attempt > 0)
        snprintf(where + strlen(where), sizeof(where) - strlen(where), ", attempt %u", s->attempt);
    if (asprintf(&sentence, "%s%s%s: %.*s", j->spec->function, which, where, (int)size,
                 (const char *)words) < 0)
        return NULL;
    if (*session_kept(session, number, index, kept) == '\0')
        return sentence;
    if (asprintf(&all, "%s%s", sentence, kept) < 0)
        all = NULL;
    free(sentence);
    return all;
}

char *
session_sentence(futures_t *session, const struct job *j, uint64_t index, const struct segment *s,
                 uint32_t offset)
{
    char *sentence;

    session_lock(session);
    sentence = whole_sentence(session, j, index, s, offset);
    session_unlock(session);
    return sentence;
}

/* Is there a future, of this process? With the lock held then. */
static bool
enter(const future_t *f)
{
    if (f == NULL) {
        error_no_handle("there is no future: it is NULL");
        return false;
    }
    if (!session_usable(f->session))
        return false;
    session_lock(f->session);
    return true;
}

static enum outcome
outcome_of(const future_t *f)
{
    return (enum outcome)((f->chunk->state[f->offset] & STATE_OUTCOME) - 1);
}

static struct extras *
extras(future_t *f)
{
    struct extras *x = f->extras;

    if (x != NULL || (x = calloc(1, sizeof(*x))) == NULL)
        return x;
    TAILQ_INIT(&x->calls);
    x->future = f;
    f->extras = x;
    return x;
}

static future_status_t
status(const future_t *f)
{
    struct chunk *c = f->chunk;
    struct note *n;

    if (future_ended(f))
        return status_of(outcome_of(f));
    if ((n = chunk_note(c, f->offset, false)) != NULL && n->running)
        return FUTURE_RUNNING;
    return c->first + f->offset < c->job->accepted ? FUTURE_QUEUED : FUTURE_PENDING;
}

future_status_t
future_status(future_t *self)
{
    future_status_t found;

    if (!enter(self))
        return FUTURE_LOST;
    found = status(self);
    session_unlock(self->session);
    return found;
}

const char *
future_status_name(future_status_t which)
{
    static const char *const names[] = {"PENDING", "QUEUED",    "RUNNING",   "DONE", "FAILED",
                                        "CRASHED", "TIMED_OUT", "CANCELLED", "LOST", "REJECTED"};

    return (unsigned)which < sizeof(names) / sizeof(*names) ? names[which] : "UNKNOWN";
}

bool
future_done(future_t *self)
{
    return future_status(self) >= FUTURE_DONE && self != NULL;
}

bool
future_running(future_t *self)
{
    return future_status(self) == FUTURE_RUNNING;
}

bool
future_cancelled(future_t *self)
{
    return future_status(self) == FUTURE_CANCELLED;
}

bool
future_successful(future_t *self)
{
    return future_status(self) == FUTURE_DONE;
}

/* With the lock held. */
static const char *
sentence(future_t *f)
{
    struct chunk *c = f->chunk;
    struct extras *x;

    if (!future_ended(f) || outcome_of(f) == OUTCOME_DONE)
        return NULL;
    if ((x = extras(f)) == NULL)
        return "out of memory";
    if (x->error == NULL)
        x->error = whole_sentence(f->session, c->job, c->first + f->offset,
                                  chunk_segment(c, f->offset), f->offset);
    return x->error == NULL ? "out of memory" : x->error;
}

const char *
future_error(future_t *self)
{
    const char *text;

    if (!enter(self))
        return NULL;
    text = sentence(self);
    session_unlock(self->session);
    return text;
}

const char *
future_worker(future_t *self)
{
    const char *worker = "";
    struct segment *s;

    if (!enter(self))
        return worker;
    if ((s = chunk_segment(self->chunk, self->offset)) != NULL)
        worker = s->worker;
    session_unlock(self->session);
    return worker;
}

int
future_attempts(future_t *self)
{
    struct segment *s;
    struct note *n;
    int attempts = 0;

    if (!enter(self))
        return -1;
    if ((s = chunk_segment(self->chunk, self->offset)) != NULL)
        attempts = (int)s->attempt;
    else if ((n = chunk_note(self->chunk, self->offset, false)) != NULL)
        attempts = (int)n->attempt;
    session_unlock(self->session);
    return attempts;
}

static double
time_of(future_t *f, bool run)
{
    struct segment *s;
    double t = 0;

    if (!enter(f))
        return -1;
    if ((s = chunk_segment(f->chunk, f->offset)) != NULL)
        t = run ? s->run : s->wait;
    session_unlock(f->session);
    return t;
}

double
future_wait_time(future_t *self)
{
    return time_of(self, false);
}

double
future_run_time(future_t *self)
{
    return time_of(self, true);
}

int
future_progress(future_t *self, uint64_t *done_p, uint64_t *total_p)
{
    struct note *n;

    if (!enter(self))
        return -1;
    n = chunk_note(self->chunk, self->offset, false);
    if (done_p != NULL)
        *done_p = n == NULL ? 0 : n->done;
    if (total_p != NULL)
        *total_p = n == NULL ? 0 : n->total;
    session_unlock(self->session);
    return 0;
}

/* ---- waiting for it ---------------------------------------------------------------------------
 */

/* With the lock held. 0 once it has ended; -1 at the deadline. */
static int
wait_for(future_t *f, int64_t deadline)
{
    while (!future_ended(f))
        if (session_wait(f->session, deadline) != 0 && !future_ended(f))
            return -1;
    return 0;
}

int
future_wait(future_t *self, int timeout)
{
    int64_t deadline = session_deadline(timeout);
    futures_t *s;
    int failed;

    if (!enter(self))
        return -1;
    s = self->session;
    if ((failed = wait_for(self, deadline)) != 0)
        session_timed_out(s, self->chunk->job, timeout);
    else
        session_dispatch(s);
    session_unlock(s);
    return failed;
}

/* The bytes are where they came: move them if they could not be read as what they are. */
static const void *
aligned(future_t *f, const uint8_t *item, size_t size)
{
    struct extras *x;

    if ((uintptr_t)item % 16 == 0 || size == 0)
        return item;
    if ((x = extras(f)) == NULL)
        return NULL;
    if (x->aligned == NULL && (x->aligned = malloc(size)) != NULL)
        memcpy(x->aligned, item, size);
    return x->aligned;
}

/* With the lock held; lets it go. */
static const void *
result(future_t *f, size_t *size_p)
{
    futures_t *s = f->session;
    const void *found = NULL;
    size_t size = 0;

    if (outcome_of(f) == OUTCOME_DONE) {
        const struct segment *seg = chunk_segment(f->chunk, f->offset);
        const uint8_t *item = segment_item(seg, f->offset, &size);

        if ((found = aligned(f, item, size)) == NULL)
            error_set(ENOMEM, "out of memory for a result of %zu bytes", size);
    } else {
        error_set(outcome_of(f) == OUTCOME_CANCELLED ? ECANCELED : EIO, "%s", sentence(f));
    }
    session_dispatch(s);
    session_unlock(s);
    if (size_p != NULL)
        *size_p = size;
    return found;
}

const void *
future_result(future_t *self, size_t *size_p)
{
    const void *found;
    int error;

    if (!enter(self))
        return NULL;
    (void)wait_for(self, CLOCK_NEVER);
    error = errno;
    errno = 0;
    if ((found = result(self, size_p)) != NULL)
        errno = error;
    return found;
}

/* ---- callbacks --------------------------------------------------------------------------------
 */

int
future_on_done(future_t *self, future_fn *fn, void *arg)
{
    struct extras *x;
    struct call *call;
    futures_t *s;

    if (!enter(self))
        return -1;
    s = self->session;
    if (future_ended(self) && (self->extras == NULL || TAILQ_EMPTY(&self->extras->calls))) {
        session_unlock(s);
        fn(self, arg);
        return 0;
    }
    if ((x = extras(self)) == NULL || (call = malloc(sizeof(*call))) == NULL ||
        chunk_watch(self->chunk, self->offset, &x->watcher) != 0) {
        session_unlock(s);
        return error_set(ENOMEM, "out of memory");
    }
    *call = (struct call){.fn = fn, .arg = arg};
    TAILQ_INSERT_TAIL(&x->calls, call, link);
    if (future_ended(self)) { /* behind those that wait for their turn */
        if (!x->watcher.queued)
            TAILQ_INSERT_TAIL(&s->core->woken, &x->watcher, link);
        x->watcher.queued = true;
        session_dispatch(s);
    }
    session_unlock(s);
    return 0;
}

int
future_on_partial(future_t *self, future_partial_fn *fn, void *arg)
{
    struct extras *x;
    struct chunk *c;
    futures_t *s;

    if (!enter(self))
        return -1;
    s = self->session;
    c = self->chunk;
    if ((x = extras(self)) == NULL || chunk_watch(c, self->offset, &x->watcher) != 0) {
        session_unlock(s);
        return error_set(ENOMEM, "out of memory");
    }
    x->partial = fn;
    x->partial_arg = arg;
    x->watcher.partials = fn != NULL;
    if (fn != NULL)
        core_claim(s->core, c->job->number, c->first + self->offset, false);
    if (s->core->news)
        session_news(s);
    session_unlock(s);
    return 0;
}

/* ---- the end of it ----------------------------------------------------------------------------
 */

int
future_cancel(future_t *self)
{
    struct chunk *c;
    futures_t *s;
    int failed = 0;

    if (!enter(self))
        return -1;
    s = self->session;
    c = self->chunk;
    if (!future_ended(self)) {
        core_cancel(s->core, c->job, c->first + self->offset, 1);
        session_news(s);
    } else if (outcome_of(self) != OUTCOME_CANCELLED) {
        failed = error_set(EALREADY, "it has ended already: %s",
                           future_status_name(status_of(outcome_of(self))));
    }
    session_unlock(s);
    return failed;
}

static void
free_extras(futures_t *s, struct extras *x)
{
    struct call *call;

    if (x->watcher.queued)
        TAILQ_REMOVE(&s->core->woken, &x->watcher, link);
    while ((call = TAILQ_FIRST(&x->calls)) != NULL) {
        TAILQ_REMOVE(&x->calls, call, link);
        free(call);
    }
    free(x->error);
    free(x->aligned);
    free(x);
}

void
future_drop_extras(struct future *f)
{
    free_extras(f->session, f->extras);
}

void
future_destroy(future_t **self_p)
{
    int error = errno;
    struct chunk *c;
    future_t *f;
    futures_t *s;

    if (self_p == NULL || (f = *self_p) == NULL)
        return;
    *self_p = NULL;
    if (!enter(f)) {
        errno = error;
        return; /* in a fork()ed child: it belongs to the parent */
    }
    s = f->session;
    session_await_callback(s, f);
    c = f->chunk;
    if (f->extras != NULL) {
        chunk_unwatch(c, f->offset, &f->extras->watcher);
        free_extras(s, f->extras);
    }
    if (keys_let_go(s, f) && !future_ended(f)) {
        struct job *j = c->job;
        uint64_t index = c->first + f->offset;

        /* No handle, no segment: nobody will read why. The chunk may be gone after either. */
        j->refs++;
        c->handles--;
        if (j->detached) {
            j->dropped = true;
            core_leave(s->core, j);
        } else {
            core_cancel(s->core, j, index, 1);
        }
        if ((c = job_chunk(j, index)) != NULL && c->first <= index)
            core_release_tasks(s->core, c, 0);
        core_release(s->core, j);
    } else {
        core_release_tasks(s->core, c, 1);
    }
    free(f->job_id);
    future_free(f);
    session_unref(s);
    errno = error;
}
