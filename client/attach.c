/* Detached jobs, for programs: their ids, and their results by these. */
#include "detached.h"
#include "results.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DEPOSIT_MS = 60000 }; /* that a session waits at its end for what is not on disk yet */

/* ---- ids ---------------------------------------------------------------------------------------
 */

static void
write_id(const uint8_t id[16], char hex[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", id[i]);
}

static int
digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int
read_id(const char *hex, uint8_t id[16])
{
    if (hex == NULL || strlen(hex) != 32 || strspn(hex, "0123456789abcdef") != 32)
        return error_set(EINVAL,
                         "\"%.40s\" is no id of a detached job: that has 32 hexadecimal "
                         "digits, as results_job() and `ladle jobs` give them",
                         hex == NULL ? "" : hex);
    for (int i = 0; i < 16; i++)
        id[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    return 0;
}

static int
error_of(enum kept_error error)
{
    switch (error) {
    case KEPT_UNKNOWN:
        return ENOENT;
    case KEPT_NO_STORE:
        return EINVAL;
    case KEPT_FULL:
        return ENOSPC;
    default:
        return EIO;
    }
}

/* ---- on disk -----------------------------------------------------------------------------------
 */

/* With the lock held. 0 once the store has all of it; -1 with errno and a sentence. */
static int
await_deposit(futures_t *s, struct job *j)
{
    if (!j->detached)
        return error_set(EINVAL, "it was not submitted with .detached: there is no id");
    while (!core_detached_settled(j) && !s->lost && !s->stopped)
        (void)session_wait(s, CLOCK_NEVER);
    if (j->error != KEPT_NONE)
        return error_set(error_of(j->error), "%s", j->refusal != NULL ? j->refusal : "rejected");
    if (j->sealed || j->attached)
        return 0;
    if (s->lost)
        return error_set(EPIPE, "the grid is lost: %s", s->away != NULL ? s->away : s->endpoint);
    return error_set(EIO, "it was not accepted by the broker");
}

void
session_deposit(futures_t *s)
{
    int64_t deadline = session_deadline(DEPOSIT_MS);
    struct timespec at = {.tv_sec = deadline / 1000000, .tv_nsec = deadline % 1000000 * 1000};
    int failed = 0;

    if (s->kind != KIND_GRID || !s->started || !core_detached_busy(s->core))
        return;
    if (s->asleep) { /* it has something to send, which session_unlock() would have told it */
        session_unlock(s);
        session_lock(s);
    }
    while (core_detached_busy(s->core) && !s->lost && failed == 0) {
        s->waiters++;
        failed = pthread_cond_timedwait(&s->changed, &s->lock, &at);
        s->waiters--;
    }
    if (core_detached_busy(s->core))
        io_say(s, "the broker at %s did not acknowledge all of the detached jobs of this session",
               s->endpoint);
}

static const char *
id_of(const struct job *j, char **room)
{
    if (*room == NULL && (*room = malloc(33)) == NULL)
        return error_null(ENOMEM, "out of memory");
    write_id(j->id, *room);
    return *room;
}

const char *
future_job(future_t *self)
{
    const char *id = NULL;

    if (self == NULL)
        return error_null(EINVAL, "there is no future: it is NULL");
    if (!session_usable(self->session))
        return NULL;
    session_lock(self->session);
    if (await_deposit(self->session, self->chunk->job) == 0)
        id = id_of(self->chunk->job, &self->job_id);
    session_unlock(self->session);
    return id;
}

const char *
results_job(results_t *self)
{
    const char *id = NULL;

    if (self == NULL)
        return error_null(EINVAL, "there are no results: results is NULL");
    if (!session_usable(self->session))
        return NULL;
    session_lock(self->session);
    if (await_deposit(self->session, self->job) == 0)
        id = id_of(self->job, &self->job_id);
    session_unlock(self->session);
    return id;
}

/* ---- attaching ---------------------------------------------------------------------------------
 */

/* With the lock held, until the broker has said how it stands. */
static int
await_opened(futures_t *s, struct job *j)
{
    int64_t deadline = session_deadline(s->config.connect_timeout);

    while (!j->opened && !s->lost && !s->stopped) {
        if (session_wait(s, deadline) != 0 && !j->opened)
            return session_timed_out(s, j, s->config.connect_timeout);
    }
    if (j->error != KEPT_NONE)
        return error_set(error_of(j->error), "%s", j->refusal != NULL ? j->refusal : "not there");
    if (!j->opened)
        return error_set(EPIPE, "the grid is lost: %s", s->away != NULL ? s->away : s->endpoint);
    return 0;
}

static int
attach_check(const futures_t *s, const char *id, uint8_t bytes[16])
{
    if (!session_usable(s))
        return -1;
    if (s->kind != KIND_GRID)
        return error_set(EINVAL, "detached jobs are with a broker that has a store, and this "
                                 "session is with none");
    return read_id(id, bytes);
}

results_t *
futures_attach(futures_t *self, const char *id, const task_options_t *options)
{
    struct spec spec = {.function = "?", .cpus = 1};
    results_t *r = NULL;
    struct job *j;
    uint8_t bytes[16];
    int error;

    if (attach_check(self, id, bytes) != 0)
        return NULL;
    session_lock(self);
    if (session_accepts(self) != 0) {
        session_unlock(self);
        return NULL;
    }
    if ((j = core_job_detached(self->core, &spec, bytes, true, 0)) == NULL ||
        (r = results_new(self, j, options)) == NULL) {
        if (j != NULL) {
            core_close(self->core, j);
            core_release(self->core, j);
        }
        session_unlock(self);
        return error_null(ENOMEM, "out of memory");
    }
    session_unlock(self); /* and wakes the I/O thread */
    session_lock(self);
    if (await_opened(self, j) == 0) {
        session_unlock(self);
        return r;
    }
    error = errno;
    session_unlock(self);
    results_destroy(&r);
    errno = error;
    return NULL;
}
