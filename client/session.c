/* Sessions: opening, closing, waiting, and the callbacks of what ended. */
#include "session.h"

#include "serve.h"

#include "../proto/limits.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Counts fork()s between the first process and this one: a session serves one process only. */
static unsigned generation;

static void
forked(void)
{
    generation++;
}

static void
watch_forks(void)
{
    pthread_atfork(NULL, NULL, forked);
}

bool
session_same_process(const futures_t *s)
{
    return s->generation == generation;
}

bool
session_usable(const futures_t *s)
{
    if (s == NULL) {
        error_no_handle("there is no session: futures is NULL");
        return false;
    }
    if (s->generation != generation) {
        error_set(EINVAL, "this session belongs to the process that forked this one: open another "
                          "one here, with futures_new()");
        return false;
    }
    return s->nested == NULL || nested_usable(s);
}

void
session_lock(futures_t *s)
{
    pthread_mutex_lock(&s->lock);
}

void
session_unlock(futures_t *s)
{
    bool wake = s->asleep && (s->core->wants_output || s->stop);

    if (wake)
        s->asleep = false;
    pthread_mutex_unlock(&s->lock);
    if (wake)
        (void)!eventfd_write(s->wake_fd, 1);
}

/* ---- end of life ------------------------------------------------------------------------------
 */

void
session_free(futures_t *s)
{
    if (s == NULL)
        return;
    keys_free(s);
    serial_free(s->serial);
    session_free_shares(s);
    core_free(s->core);
    executable_free(s->executable);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    if (s->done_fd >= 0)
        close(s->done_fd);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s->endpoint);
    free(s->offered);
    blob_unref(s->environment);
    free(s->directory);
    free(s->away);
    free(s->said);
    free(s);
}

void
session_unref(futures_t *s)
{
    bool last = --s->refs == 0;

    session_unlock(s);
    if (last)
        session_free(s);
}

void
futures_close(futures_t *self)
{
    if (!session_usable(self))
        return;
    session_lock(self);
    self->closed = true;
    session_close_singles(self);
    session_unlock(self);
}

void
futures_terminate(futures_t *self)
{
    if (!session_usable(self))
        return;
    session_lock(self);
    self->closed = true;
    session_close_singles(self);
    session_deposit(self);
    self->stopped = true;
    core_end_all(self->core, OUTCOME_CANCELLED, "cancelled: the session was terminated", true);
    session_news(self);
    session_unlock(self);
}

void
futures_destroy(futures_t **self_p)
{
    int error = errno;
    futures_t *s;

    if (self_p == NULL || (s = *self_p) == NULL)
        return;
    *self_p = NULL;
    if (s->generation != generation)
        return;              /* a fork()ed child has neither the threads nor the right */
    if (s->nested != NULL) { /* it is the task's, and goes with it */
        futures_terminate(s);
        errno = error;
        return;
    }
    session_lock(s);
    s->closed = true;
    session_close_singles(s);
    session_deposit(s);
    s->stopped = true;
    core_end_all(s->core, OUTCOME_CANCELLED, "cancelled: the session was destroyed", true);
    session_news(s);
    session_unlock(s);
    session_stop(s);
    session_lock(s);
    session_drop_shares(s);
    session_unref(s);
    errno = error;
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static int
find_program(futures_t *s)
{
    if (s->offered == NULL && (s->executable = executable_new(s->kind == KIND_GRID)) == NULL)
        return -1;
    session_program(s);
    return 0;
}

int
session_init(futures_t *s, enum kind kind)
{
    pthread_mutexattr_t mutex;
    pthread_condattr_t cond;

    s->kind = kind;
    s->generation = generation;
    s->refs = 1;
    s->wake_fd = s->done_fd = -1;

    pthread_mutexattr_init(&mutex);
    pthread_mutexattr_settype(&mutex, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(&s->lock, &mutex);
    pthread_mutexattr_destroy(&mutex);
    pthread_condattr_init(&cond);
    pthread_condattr_setclock(&cond, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &cond);
    pthread_condattr_destroy(&cond);
    if ((s->core = core_new()) == NULL)
        return error_set(ENOMEM, "out of memory");
    return 0;
}

static int
make(futures_t *s)
{
    if (session_init(s, KIND_GRID) != 0)
        return -1;
    if ((s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        return error_set(errno, "cannot make a session: %s", strerror(errno));
    return 0;
}

static int
start(futures_t *s)
{
    const futures_config_t *c = &s->config;
    int returned;

    if (s->kind != KIND_SERIAL)
        return session_start(s);
    if (c->initializer != NULL && (returned = c->initializer(c->initializer_arg)) != 0)
        return error_set(ECANCELED, "initializer returned %d", returned);
    if ((s->serial = serial_new(s)) == NULL)
        return error_set(ENOMEM, "out of memory");
    s->phase = PHASE_OPEN;
    return 0;
}

int
session_open(futures_t *s, const futures_config_t *config)
{
    if (make(s) != 0 || session_configure(s, config) != 0 || find_program(s) != 0)
        return -1;
    return start(s);
}

futures_t *
futures_open(const futures_config_t *config)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static const futures_config_t none;
    futures_t *s;
    int error;

    if (config == NULL)
        config = &none;
    pthread_once(&once, watch_forks);
    if (serve_wanted())
        session_serve(config);
    if (rerun_wanted())
        rerun(calloc(1, sizeof(*s)), config);
    if ((s = calloc(1, sizeof(*s))) == NULL)
        return error_null(ENOMEM, "out of memory");
    if (session_open(s, config) != 0) {
        error = errno;
        session_free(s);
        errno = error;
        return NULL;
    }
    return s;
}

futures_t *
futures_new(const char *endpoint)
{
    return futures_open(&(futures_config_t){.endpoint = endpoint});
}

/* ---- for event loops ---------------------------------------------------------------------------
 */

int
futures_dispatch(futures_t *self)
{
    eventfd_t count;
    int n;

    if (!session_usable(self))
        return -1;
    session_lock(self);
    if (self->done_told) {
        self->done_told = false;
        (void)!eventfd_read(self->done_fd, &count);
    }
    (void)session_advance(self);
    if (self->kind == KIND_SERIAL)
        (void)serial_step(self);
    if (self->kind == KIND_NESTED)
        (void)nested_wait(self, 0);
    n = session_dispatch(self);
    if (self->kind == KIND_SERIAL && serial_has_work(self))
        session_news(self);
    session_unlock(self);
    return n;
}

int
futures_fd(futures_t *self)
{
    int fd;

    if (!session_usable(self))
        return -1;
    if (self->kind == KIND_NESTED)
        return error_set(EINVAL, "a task's session has no descriptor, as tasks run while it waits: "
                                 "wait with futures_next() or future_wait()");
    session_lock(self);
    if (self->done_fd < 0) {
        self->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        /* Something may have ended, or wait to be run, by now. */
        if (self->done_fd >= 0 && (self->core->order > 0 || self->kind == KIND_SERIAL))
            session_news(self);
    }
    fd = self->done_fd;
    session_unlock(self);
    return fd < 0 ? error_set(errno, "cannot make a descriptor: %s", strerror(errno)) : fd;
}

void
session_news(futures_t *s)
{
    s->core->news = false;
    if (!TAILQ_EMPTY(&s->core->shares))
        session_sweep_shares(s);
    if (s->waiters > 0)
        pthread_cond_broadcast(&s->changed);
    if (s->done_fd >= 0 && !s->done_told) {
        s->done_told = true;
        (void)!eventfd_write(s->done_fd, 1);
    }
}

/* ---- waiting ----------------------------------------------------------------------------------
 */

int64_t
session_deadline(int timeout)
{
    return timeout < 0 ? CLOCK_NEVER : clock_us() + (int64_t)timeout * 1000;
}

int
session_wait(futures_t *s, int64_t deadline)
{
    struct timespec at = {.tv_sec = deadline / 1000000, .tv_nsec = deadline % 1000000 * 1000};
    int failed = 0;

    if (session_advance(s) || session_dispatch(s) > 0)
        return 0;
    if (s->kind == KIND_NESTED)
        return nested_wait(s, deadline);
    if (deadline != CLOCK_NEVER && clock_us() >= deadline)
        return -1;
    if (s->kind == KIND_SERIAL && serial_step(s))
        return 0;
    s->waiters++;
    if (deadline == CLOCK_NEVER)
        pthread_cond_wait(&s->changed, &s->lock);
    else
        failed = pthread_cond_timedwait(&s->changed, &s->lock, &at);
    s->waiters--;
    return failed == ETIMEDOUT ? -1 : 0;
}

int
session_timed_out(futures_t *s, const struct job *j, int timeout)
{
    char none[512];
    const char *why = s->away;

    if (why == NULL && j != NULL)
        why = j->notice;
    if (why == NULL)
        why = s->core->notice;
    if (why == NULL && s->kind == KIND_GRID && s->core->workers == 0) {
        io_no_worker(s, none, sizeof(none));
        why = none;
    }
    return error_set(ETIMEDOUT, "not yet, after %d ms%s%s", timeout, why == NULL ? "" : ": ",
                     why == NULL ? "" : why);
}

int
futures_join(futures_t *self, int timeout)
{
    int64_t deadline = session_deadline(timeout);

    if (!session_usable(self))
        return -1;
    session_lock(self);
    do {
        while (self->core->unended > 0) {
            if (session_wait(self, deadline) != 0 && self->core->unended > 0) {
                session_timed_out(self, NULL, timeout);
                session_unlock(self);
                return -1;
            }
        }
    } while (session_dispatch(self) > 0 && self->core->unended > 0); /* callbacks submit more */
    session_unlock(self);
    return 0;
}

static int
grid_count(futures_t *s, bool slots)
{
    int n;

    if (!session_usable(s))
        return -1;
    session_lock(s);
    n = (int)(slots ? s->core->slots : s->core->workers);
    session_unlock(s);
    return n;
}

int
futures_slots(futures_t *self)
{
    return grid_count(self, true);
}

int
futures_workers(futures_t *self)
{
    return grid_count(self, false);
}

int
futures_wait_for_slots(futures_t *self, int slots, int timeout)
{
    int64_t deadline = session_deadline(timeout);
    int failed = 0;
    int have;

    if (!session_usable(self))
        return -1;
    session_lock(self);
    while ((have = (int)self->core->slots) < slots && failed == 0) {
        if (self->kind != KIND_GRID)
            failed =
                error_set(EINVAL, "\"%s\" has %d slots and never gets more: %d will not come",
                          self->nested != NULL ? "a task's session" : self->endpoint, have, slots);
        else if (self->stopped)
            failed = error_set(ESHUTDOWN, "the session has ended");
        else if (session_wait(self, deadline) != 0 && (int)self->core->slots < slots)
            failed = error_set(ETIMEDOUT,
                               "the grid at %s has %d slots after %d ms, and not %d: start more "
                               "workers, with ladle-worker",
                               self->endpoint, have, timeout, slots);
    }
    session_unlock(self);
    return failed;
}
