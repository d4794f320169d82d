/* constants.c - the constants that the tasks of jobs may ask for: a job's pieces wait until all of
 * them are on this worker, as they wait for its program. */
#include "state.h"

#include "../proto/limits.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct constant {
    char digest[65];
    enum code_state state;
    char *path;       /* READY */
    char *why;        /* FAILED */
    unsigned jobs;    /* that may ask for it */
    unsigned working; /* of these, jobs that have pieces: as long it stays where it is */
    bool dropped;     /* the broker wants it gone: with the last job */
    UT_hash_handle hh;
};

static struct constant *
find(const struct runner *r, const char *digest)
{
    struct constant *x;

    HASH_FIND_STR(r->constants, digest, x);
    return x;
}

static struct constant *
get(struct runner *r, const struct shared *shared)
{
    struct constant *x = find(r, shared->digest);

    if (x != NULL)
        return x;
    if ((x = calloc(1, sizeof(*x))) == NULL)
        return NULL;
    memcpy(x->digest, shared->digest, sizeof(x->digest));
    HASH_ADD_STR(r->constants, digest, x);
    return x;
}

int
constants_join(struct runner *r, struct runner_job *job)
{
    const struct spec *spec = job->spec;

    if (r->local || spec->nshared == 0)
        return 0;
    if ((job->constants = calloc(spec->nshared, sizeof(struct constant *))) == NULL)
        return -1;
    for (uint32_t i = 0; i < spec->nshared; i++) {
        struct constant *x;

        if (spec->shared[i].size == 0)
            continue; /* it is here already */
        if ((x = get(r, &spec->shared[i])) == NULL)
            return -1;
        x->jobs++;
        x->dropped = false;
        job->constants[job->nconstants++] = x;
    }
    return 0;
}

static void
put(struct runner *r, struct constant *x)
{
    if (--x->jobs > 0)
        return;
    assert(x->working == 0);
    if (x->dropped)
        r->hands->drop_shared(r->arg, x->digest);
    HASH_DEL(r->constants, x);
    free(x->path);
    free(x->why);
    free(x);
}

void
constants_leave(struct runner *r, struct runner_job *job)
{
    while (job->nconstants > 0)
        put(r, job->constants[--job->nconstants]);
    free(job->constants);
    spec_unref(job->shown);
    job->constants = NULL;
    job->shown = NULL;
}

/* ---- waiting for them --------------------------------------------------------------------------
 */

static const struct shared *
shared_of(const struct runner_job *job, const struct constant *x)
{
    const struct shared *shared = job->spec->shared;

    while (strcmp(shared->digest, x->digest) != 0)
        shared++;
    return shared;
}

void
constants_work(struct runner *r, struct runner_job *job)
{
    for (uint32_t i = 0; i < job->nconstants; i++) {
        struct constant *x = job->constants[i];

        x->working++;
        if (x->state != CODE_UNKNOWN || r->draining)
            continue;
        x->state = CODE_WANTED;
        r->hands->want_shared(r->arg, shared_of(job, x));
    }
}

void
constants_rest(struct runner_job *job)
{
    for (uint32_t i = 0; i < job->nconstants; i++) {
        struct constant *x = job->constants[i];

        assert(x->working > 0);
        if (--x->working == 0 && x->state == CODE_READY)
            x->state = CODE_UNKNOWN; /* it may have to make room for others */
    }
}

void
constants_lost(struct runner *r)
{
    for (struct constant *x = r->constants; x != NULL; x = x->hh.next)
        if (x->state == CODE_WANTED)
            x->state = CODE_UNKNOWN;
}

bool
constants_ready(const struct runner_job *job)
{
    for (uint32_t i = 0; i < job->nconstants; i++)
        if (job->constants[i]->state != CODE_READY)
            return false;
    return true;
}

static void
say_failed(struct runner *r, const struct constant *x, const char *text)
{
    struct message m = {.type = MESSAGE_PROGRAM_FAILED, .program_failed = {x->digest, text, 0}};

    runner_put(r, &m);
}

bool
constants_failed(struct runner *r, const struct runner_job *job, bool tell)
{
    for (uint32_t i = 0; i < job->nconstants; i++) {
        const struct constant *x = job->constants[i];

        if (x->state != CODE_FAILED)
            continue;
        if (tell)
            say_failed(r, x, x->why != NULL ? x->why : "a constant cannot be had");
        return true;
    }
    return false;
}

struct spec *
constants_spec(struct runner_job *job)
{
    struct shared shared[LIMIT_SHARED];
    struct spec spec = *job->spec;

    if (spec.nshared == 0 || job->constants == NULL)
        return job->spec;
    if (job->shown != NULL)
        return job->shown;
    for (uint32_t i = 0; i < spec.nshared; i++) {
        shared[i] = spec.shared[i];
        shared[i].path = "";
        for (uint32_t k = 0; k < job->nconstants; k++)
            if (strcmp(job->constants[k]->digest, shared[i].digest) == 0)
                shared[i].path = job->constants[k]->path;
    }
    spec.shared = shared;
    if (spec_bytes(&spec) > LIMIT_JOB) /* what an executor needs only to have tasks run elsewhere */
        spec.program.arguments_size = spec.program.environment_size = 0;
    job->shown = spec_new(&spec);
    return job->shown;
}

/* ---- answers -----------------------------------------------------------------------------------
 */

static bool
needs(const struct runner_job *job, const struct constant *x)
{
    for (uint32_t i = 0; i < job->nconstants; i++)
        if (job->constants[i] == x)
            return true;
    return false;
}

static void
fail(struct runner *r, struct constant *x, const char *text, bool again)
{
    struct piece *p, *after;

    free(x->why);
    x->why = again ? NULL : strdup(text);
    x->state = again ? CODE_UNKNOWN : CODE_FAILED;
    say_failed(r, x, text);
    x->jobs++; /* the last one may go with its pieces */
    for (p = TAILQ_FIRST(&r->queue); p != NULL; p = after) {
        after = TAILQ_NEXT(p, next);
        if (!needs(p->job, x))
            continue;
        TAILQ_REMOVE(&r->queue, p, next);
        runner_return(r, p, RETURNED_PROGRAM);
    }
    put(r, x);
}

void
runner_shared_ready(struct runner *r, const char *digest, const char *path, int64_t now)
{
    struct constant *x = find(r, digest);

    (void)now;
    if (x == NULL || x->state != CODE_WANTED)
        return;
    if (x->path == NULL && (x->path = strdup(path)) == NULL)
        fail(r, x, "the worker is out of memory", true);
    else
        x->state = x->working > 0 ? CODE_READY : CODE_UNKNOWN;
}

void
runner_shared_failed(struct runner *r, const char *digest, const char *text, bool again,
                     int64_t now)
{
    struct constant *x = find(r, digest);

    (void)now;
    if (x != NULL && x->state == CODE_WANTED)
        fail(r, x, text, again);
}

bool
runner_shared_used(const struct runner *r, const char *digest)
{
    const struct constant *x = find(r, digest);

    return x != NULL && x->working > 0;
}

void
constants_drop(struct runner *r, const char *digest)
{
    struct constant *x = find(r, digest);

    if (x != NULL)
        x->dropped = true;
    else
        r->hands->drop_shared(r->arg, digest);
}
