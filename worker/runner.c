#include "state.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct runner *
runner_new(const struct runner_config *config)
{
    struct runner *r = calloc(1, sizeof(*r));

    assert(config->slots > 0);
    if (r == NULL)
        return NULL;
    r->slots = config->slots;
    r->tasks_per_executor = config->tasks_per_executor;
    r->grace_us = config->grace_us;
    r->local = config->local;
    snprintf(r->name, sizeof(r->name), "%s", config->name);
    r->hands = config->hands;
    r->arg = config->arg;
    TAILQ_INIT(&r->queue);
    r->nexecutors = 2 * r->slots + 2;
    r->executors = calloc(r->nexecutors, sizeof(*r->executors));
    r->out = reports_new();
    if (r->executors == NULL || r->out == NULL)
        goto fail;
    for (unsigned i = 0; i < r->nexecutors; i++)
        r->executors[i].number = i;
    if (config->local) {
        struct spec spec = {.program = *config->program};

        if ((r->codes = calloc(1, sizeof(*r->codes))) == NULL ||
            (r->codes->spec = spec_new(&spec)) == NULL)
            goto fail;
        r->codes->state = CODE_READY;
    }
    return r;
fail:
    runner_free(r);
    return NULL;
}

static void
free_code(struct code *c)
{
    if (c == NULL)
        return;
    free(c->key);
    free(c->why);
    spec_unref(c->spec);
    free(c);
}

void
runner_code_unused(struct runner *r, struct code *c)
{
    /* One that failed is remembered as long as there are jobs of it. */
    if (r->local || c->jobs > 0 || c->state == CODE_WANTED)
        return;
    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].code == c)
            return;
    HASH_DEL(r->codes, c);
    free_code(c);
}

static void
free_job(struct runner *r, struct runner_job *job)
{
    HASH_DEL(r->jobs, job);
    job->code->jobs--;
    runner_code_unused(r, job->code);
    spec_unref(job->spec);
    free(job->known);
    free(job);
}

void
runner_free(struct runner *r)
{
    struct runner_job *job, *next_job;
    struct code *code, *next_code;
    struct piece *p;

    if (r == NULL)
        return;
    while ((p = TAILQ_FIRST(&r->queue)) != NULL) {
        TAILQ_REMOVE(&r->queue, p, next);
        piece_free(p);
    }
    for (unsigned i = 0; r->executors != NULL && i < r->nexecutors; i++)
        for (unsigned k = 0; k < r->executors[i].nwork; k++)
            piece_free(r->executors[i].work[k].piece);
    HASH_ITER (hh, r->jobs, job, next_job)
        free_job(r, job);
    if (r->local) {
        free_code(r->codes);
    } else {
        HASH_ITER (hh, r->codes, code, next_code) {
            HASH_DEL(r->codes, code);
            free_code(code);
        }
    }
    reports_free(r->out);
    free(r->executors);
    free(r);
}

unsigned
runner_executors(const struct runner *r)
{
    return r->nexecutors;
}

/* ---- what is said ------------------------------------------------------------------------------
 */

int
runner_say(struct runner *r, const struct message *m)
{
    return reports_put(r->out, m);
}

void
runner_put(struct runner *r, const struct message *m)
{
    /* Without memory for a message the broker hears nothing: it will take the worker for lost when
     * that goes on, and run the tasks elsewhere. */
    (void)reports_put(r->out, m);
}

bool
runner_output(struct runner *r, struct message *m)
{
    return reports_get(r->out, m);
}

static void
say_returned(struct runner *r, uint64_t lease, uint64_t first, uint32_t count, enum returned why)
{
    struct message m = {.type = MESSAGE_RETURNED};

    m.returned = (struct message_returned){lease, first, count, why};
    runner_put(r, &m);
}

void
runner_end_tasks(struct runner *r, const struct piece *p, uint32_t from, uint32_t count,
                 enum outcome outcome, const char *text)
{
    struct message m = {.type = MESSAGE_RESULTS};
    size_t size = strnlen(text, LIMIT_TEXT);
    struct blob *data = blob_new(size * count);
    uint8_t *outcomes = malloc(count);

    if (data != NULL && outcomes != NULL) {
        memset(outcomes, outcome, count);
        for (uint32_t i = 0; i < count; i++)
            memcpy(data->bytes + i * size, text, size);
        m.results.job = p->job->id;
        m.results.lease = p->lease;
        m.results.first = p->first + from;
        m.results.attempt = p->attempt;
        m.results.worker = r->name;
        m.results.columns = (struct columns){.count = count,
                                             .size = (uint32_t)size,
                                             .outcomes = outcomes,
                                             .data = data,
                                             .length = size * count};
        runner_put(r, &m);
    }
    blob_unref(data);
    free(outcomes);
}

/* ---- pieces ------------------------------------------------------------------------------------
 */

void
runner_drop(struct runner *r, struct piece *p)
{
    struct runner_job *job = p->job;

    piece_free(p);
    if (--job->pieces == 0 && job->ended)
        free_job(r, job);
}

void
runner_return(struct runner *r, struct piece *p, enum returned why)
{
    say_returned(r, p->lease, p->first, p->count, why);
    runner_drop(r, p);
}

void
runner_enqueue(struct runner *r, struct piece *p, bool front)
{
    assert(p->done == 0 && p->count > 0);
    if (p->job->code->state == CODE_FAILED) {
        runner_return(r, p, RETURNED_PROGRAM);
        return;
    }
    if (r->draining) {
        runner_return(r, p, RETURNED_DRAIN);
        return;
    }
    if (front)
        TAILQ_INSERT_HEAD(&r->queue, p, next);
    else
        TAILQ_INSERT_TAIL(&r->queue, p, next);
}

/* ---- programs ----------------------------------------------------------------------------------
 */

static const char *
program_name(const struct program *p)
{
    return *p->digest != '\0' ? p->digest : p->name;
}

static const char *
code_name(const struct code *c)
{
    return program_name(&c->spec->program);
}

static struct code *
find_code(struct runner *r, struct spec *spec)
{
    const struct program *p = &spec->program;
    const char *name = *p->digest != '\0' ? p->digest : p->name;
    size_t size = strlen(name) + 1 + p->arguments_size;
    struct code *code;
    char *key;

    if (r->local)
        return r->codes;
    if ((key = malloc(size)) == NULL)
        return NULL;
    strcpy(key, name);
    if (p->arguments_size > 0)
        memcpy(key + strlen(name) + 1, p->arguments, p->arguments_size);
    HASH_FIND(hh, r->codes, key, size, code);
    if (code != NULL) {
        free(key);
        return code;
    }
    if ((code = calloc(1, sizeof(*code))) == NULL) {
        free(key);
        return NULL;
    }
    code->key = key;
    code->spec = spec_ref(spec);
    HASH_ADD_KEYPTR(hh, r->codes, code->key, size, code);
    return code;
}

static void
say_failed(struct runner *r, const struct code *c, const char *text)
{
    struct message m = {.type = MESSAGE_PROGRAM_FAILED};

    m.program_failed.digest = code_name(c);
    if (r->local && r->jobs != NULL) /* the pool has its path, jobs have its name */
        m.program_failed.digest = program_name(&r->jobs->spec->program);
    m.program_failed.text = text;
    runner_put(r, &m);
}

void
runner_code_failed(struct runner *r, struct code *c, const char *text, bool again)
{
    struct piece *p, *after;

    free(c->why);
    c->why = again ? NULL : strdup(text);
    c->state = again ? CODE_UNKNOWN : CODE_FAILED;
    c->barren = 0;
    say_failed(r, c, text);
    for (p = TAILQ_FIRST(&r->queue); p != NULL; p = after) {
        after = TAILQ_NEXT(p, next);
        if (p->job->code == c) {
            TAILQ_REMOVE(&r->queue, p, next);
            runner_return(r, p, RETURNED_PROGRAM);
        }
    }
}

void
runner_program_ready(struct runner *r, const char *digest, int64_t now)
{
    (void)now;
    for (struct code *c = r->codes; c != NULL; c = c->hh.next)
        if (c->state == CODE_WANTED && strcmp(code_name(c), digest) == 0)
            c->state = CODE_READY;
}

void
runner_program_failed(struct runner *r, const char *digest, const char *text, bool again,
                      int64_t now)
{
    (void)now;
    for (struct code *c = r->codes; c != NULL; c = c->hh.next)
        if (c->state == CODE_WANTED && strcmp(code_name(c), digest) == 0)
            runner_code_failed(r, c, text, again);
}

bool
runner_program_used(const struct runner *r, const char *digest)
{
    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].state != EXECUTOR_NONE &&
            strcmp(code_name(r->executors[i].code), digest) == 0)
            return true;
    for (struct runner_job *job = r->jobs; job != NULL; job = job->hh.next)
        if (job->pieces > 0 && strcmp(code_name(job->code), digest) == 0)
            return true;
    return false;
}

/* ---- messages of the broker
 * ---------------------------------------------------------------------- */

static struct runner_job *
find_job(struct runner *r, uint64_t id)
{
    struct runner_job *job;

    HASH_FIND(hh, r->jobs, &id, sizeof(id), job);
    return job;
}

static void
on_job(struct runner *r, const struct message_job *m)
{
    struct runner_job *job = find_job(r, m->job);

    if (job != NULL) {
        job->ended = false;
        return;
    }
    if ((job = calloc(1, sizeof(*job))) == NULL ||
        (job->known = calloc(r->nexecutors / 8 + 1, 1)) == NULL ||
        (job->code = find_code(r, m->spec)) == NULL) {
        /* Its slices will be returned. */
        if (job != NULL)
            free(job->known);
        free(job);
        return;
    }
    job->code->jobs++;
    job->id = m->job;
    job->spec = spec_ref(m->spec);
    HASH_ADD(hh, r->jobs, id, sizeof(job->id), job);
}

static void
on_slice(struct runner *r, const struct message_slice *m)
{
    struct runner_job *job = find_job(r, m->job);
    struct piece *p;

    if (m->columns.count == 0)
        return;
    if (job == NULL || (p = piece_new(job, m)) == NULL) {
        say_returned(r, m->lease, m->first, m->columns.count, RETURNED_UNSTARTED);
        return;
    }
    job->pieces++;
    if (job->code->state == CODE_FAILED)
        say_failed(r, job->code, job->code->why != NULL ? job->code->why : "cannot start here");
    if (job->code->state == CODE_UNKNOWN && !r->draining) {
        job->code->state = CODE_WANTED;
        r->hands->want(r->arg, &job->code->spec->program);
    }
    runner_enqueue(r, p, false);
}

/* From the queue's end: what came last waits longest. */
static uint32_t
revoke_queued(struct runner *r, const struct message_revoke *m)
{
    uint32_t left = m->count;
    struct piece *p, *before, *rest;

    for (p = TAILQ_LAST(&r->queue, piece_list); p != NULL && left > 0; p = before) {
        before = TAILQ_PREV(p, piece_list, next);
        if (p->lease != m->lease)
            continue;
        if (p->count > left) {
            if ((rest = piece_cut(p, p->count - left)) == NULL)
                continue;
            rest->job->pieces++;
            left = 0;
            runner_return(r, rest, RETURNED_REVOKED);
        } else {
            left -= p->count;
            TAILQ_REMOVE(&r->queue, p, next);
            runner_return(r, p, RETURNED_REVOKED);
        }
    }
    return left;
}

static uint32_t
revoke_from(struct runner *r, struct executor *e, uint64_t lease, uint32_t left, int64_t now)
{
    struct piece *p;

    for (unsigned i = e->nwork; i-- > 0 && left > 0;) {
        if (e->work[i].piece->lease != lease || (p = executor_take(r, e, i, left)) == NULL)
            continue;
        left -= p->count;
        runner_return(r, p, RETURNED_REVOKED);
        if (e->work[i].piece->done == e->work[i].piece->count)
            executor_finish(r, e, i, now);
    }
    return left;
}

static void
on_revoke(struct runner *r, const struct message_revoke *m, int64_t now)
{
    uint32_t left = revoke_queued(r, m);

    for (unsigned i = 0; i < r->nexecutors && left > 0; i++)
        if (r->executors[i].state == EXECUTOR_BUSY)
            left = revoke_from(r, &r->executors[i], m->lease, left, now);
    if (left == m->count)
        say_returned(r, m->lease, 0, 0, RETURNED_REVOKED);
}

/* Cut [first, first + count) of the job out of a queued piece, and end it. */
static void
cancel_queued(struct runner *r, struct piece *p, uint64_t first, uint64_t count)
{
    uint64_t end = count > UINT64_MAX - first ? UINT64_MAX : first + count;
    uint64_t from = first > p->first ? first : p->first;
    uint64_t to = end < p->first + p->count ? end : p->first + p->count;
    struct piece *rest;

    if (from >= to)
        return;
    if (to < p->first + p->count) {
        if ((rest = piece_cut(p, (uint32_t)(to - p->first))) == NULL)
            return;
        rest->job->pieces++;
        TAILQ_INSERT_AFTER(&r->queue, p, rest, next);
    }
    if (from > p->first) {
        if ((rest = piece_cut(p, (uint32_t)(from - p->first))) == NULL)
            return;
        rest->job->pieces++;
        TAILQ_INSERT_AFTER(&r->queue, p, rest, next);
        p = rest;
    }
    runner_end_tasks(r, p, 0, p->count, OUTCOME_CANCELLED, "");
    TAILQ_REMOVE(&r->queue, p, next);
    runner_drop(r, p);
}

static void
on_cancel(struct runner *r, const struct message_range *m, int64_t now)
{
    struct piece *p, *after;

    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].state == EXECUTOR_BUSY)
            executor_cancel(r, &r->executors[i], m->job, m->first, m->count, now);
    for (p = TAILQ_FIRST(&r->queue); p != NULL; p = after) {
        after = TAILQ_NEXT(p, next);
        if (p->job->id == m->job)
            cancel_queued(r, p, m->first, m->count);
    }
}

static void
tell_executors(struct runner *r, struct runner_job *job)
{
    struct message m = {.type = MESSAGE_JOB_END, .job_end = {job->id, 0}};

    for (unsigned i = 0; i < r->nexecutors; i++) {
        struct executor *e = &r->executors[i];

        if (!(job->known[i / 8] & 1u << i % 8))
            continue;
        job->known[i / 8] &= (uint8_t) ~(1u << i % 8);
        if (e->state == EXECUTOR_IDLE || e->state == EXECUTOR_BUSY)
            r->hands->send(r->arg, i, &m);
    }
}

static void
on_job_end(struct runner *r, uint64_t id, int64_t now)
{
    struct message_range all = {id, 0, UINT64_MAX};
    struct runner_job *job = find_job(r, id);

    if (job == NULL)
        return;
    on_cancel(r, &all, now);
    tell_executors(r, job);
    job->ended = true;
    if (job->pieces == 0)
        free_job(r, job);
}

void
runner_input(struct runner *r, const struct message *m, int64_t now)
{
    switch (m->type) {
    case MESSAGE_WELCOME:
        if (m->welcome.name != NULL && *m->welcome.name != '\0')
            snprintf(r->name, sizeof(r->name), "%s", m->welcome.name);
        break;
    case MESSAGE_JOB:
        on_job(r, &m->job);
        break;
    case MESSAGE_SLICE:
        on_slice(r, &m->slice);
        break;
    case MESSAGE_REVOKE:
        on_revoke(r, &m->revoke, now);
        break;
    case MESSAGE_CANCEL:
        on_cancel(r, &m->range, now);
        break;
    case MESSAGE_JOB_END:
        on_job_end(r, m->job_end.job, now);
        break;
    default:
        break;
    }
}
