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
    r->memory = config->memory;
    r->stop_at = CLOCK_NEVER;
    r->tasks_per_executor = config->tasks_per_executor;
    r->grace_us = config->grace_us;
    r->local = config->local;
    snprintf(r->name, sizeof(r->name), "%s", config->name);
    r->hands = config->hands;
    r->arg = config->arg;
    TAILQ_INIT(&r->queue);
    TAILQ_INIT(&r->timed);
    TAILQ_INIT(&r->untold);
    r->nexecutors = LIMIT_EXECUTORS(r->slots);
    r->executors = calloc(r->nexecutors, sizeof(*r->executors));
    r->out = reports_new(!r->local);
    r->first = reports_new(false);
    if (r->executors == NULL || r->out == NULL || r->first == NULL)
        goto fail;
    for (unsigned i = 0; i < r->nexecutors; i++)
        r->executors[i] = (struct executor){
            .number = i, .sweep_at = CLOCK_NEVER, .term_at = CLOCK_NEVER, .kill_at = CLOCK_NEVER};
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
free_job(struct runner *r, struct runner_job *job)
{
    assert(job->parked == 0);
    HASH_DEL(r->jobs, job);
    job->code->jobs--;
    runner_code_unused(r, job->code);
    if (job->pieces > 0) /* the runner ends */
        constants_rest(job);
    constants_leave(r, job);
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
    for (unsigned i = 0; r->executors != NULL && i < r->nexecutors; i++) {
        for (unsigned k = 0; k < r->executors[i].nwork; k++)
            piece_free(r->executors[i].work[k].piece);
        while (r->executors[i].parked != NULL)
            piece_free(parked_remove(r, r->executors[i].parked));
    }
    HASH_ITER (hh, r->jobs, job, next_job)
        free_job(r, job);
    if (r->local) {
        code_free(r->codes);
    } else {
        HASH_ITER (hh, r->codes, code, next_code) {
            HASH_DEL(r->codes, code);
            code_free(code);
        }
    }
    reports_free(r->out);
    reports_free(r->first);
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
    return reports_get(r->first, m) || reports_get(r->out, m);
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
        m.results.charged = p->charged;
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

/* Pass results on to the broker: those of the tasks from `offset` in the piece. */
void
runner_forward(struct runner *r, const struct piece *p, uint32_t offset, const struct columns *c,
               uint64_t run_us)
{
    struct message m = {.type = MESSAGE_RESULTS};

    m.results.job = p->job->id;
    m.results.lease = p->lease;
    m.results.first = p->first + offset;
    m.results.attempt = p->attempt;
    m.results.charged = p->charged;
    m.results.worker = r->name;
    m.results.run_us = run_us;
    m.results.columns = *c;
    runner_put(r, &m);
}

void
runner_tell_running(struct runner *r, const struct piece *p, uint32_t offset)
{
    struct message m = {.type = MESSAGE_RUNNING};

    m.running.job = p->job->id;
    m.running.lease = p->lease;
    m.running.index = p->first + offset;
    m.running.attempt = p->attempt;
    m.running.worker = r->name;
    runner_put(r, &m);
}

void
runner_tell_parked(struct runner *r, const struct piece *p, bool left_out)
{
    struct message m = {.type = MESSAGE_PARKED};
    bool all = piece_all_asleep(p, left_out), *told = piece_told(p);

    m.parked = (struct message_parked){.lease = p->lease, .parked = all};
    if (all != *told && reports_put(r->out, &m) == 0)
        *told = all;
}

/* ---- pieces ------------------------------------------------------------------------------------
 */

/* Executors that know the job forget it: none of its tasks is there any more. */
static void
tell_executors(struct runner *r, struct runner_job *job)
{
    struct message m = {.type = MESSAGE_JOB_END, .job_end = {job->id, 0}};

    for (unsigned i = 0; i < r->nexecutors; i++) {
        const struct executor *e = &r->executors[i];

        if (job->known[i / 8] & 1u << i % 8 &&
            (e->state == EXECUTOR_IDLE || e->state == EXECUTOR_BUSY))
            r->hands->send(r->arg, i, &m);
    }
}

void
runner_job_over(struct runner *r, struct runner_job *job)
{
    job->ended = true;
    if (job->pieces > 0)
        return;
    tell_executors(r, job);
    free_job(r, job);
}

void
runner_drop(struct runner *r, struct piece *p)
{
    struct runner_job *job = p->job;

    if (piece_all_asleep(p, true))
        runner_tell_parked(r, p, true);
    piece_free(p);
    if (--job->pieces == 0)
        constants_rest(job);
    if (job->pieces == 0 && job->ended) {
        tell_executors(r, job);
        free_job(r, job);
    }
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
    assert(p->done == 0 && p->count > 0 && !p->asleep);
    if (p->job->code->state == CODE_FAILED || constants_failed(r, p->job, false)) {
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
    if ((job = calloc(1, sizeof(*job))) == NULL)
        return; /* its slices will be returned */
    job->spec = spec_ref(m->spec);
    if ((job->known = calloc(r->nexecutors / 8 + 1, 1)) == NULL || constants_join(r, job) != 0 ||
        (job->code = code_find(r, m->spec)) == NULL) {
        constants_leave(r, job);
        spec_unref(job->spec);
        free(job->known);
        free(job);
        return;
    }
    job->code->jobs++;
    job->id = m->job;
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
    if (job->pieces++ == 0)
        constants_work(r, job);
    (void)constants_failed(r, job, true);
    if (job->code->state == CODE_FAILED)
        code_say_failed(r, job->code,
                        job->code->why != NULL ? job->code->why : "cannot start here");
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

void
runner_cancel(struct runner *r, const struct message_range *m, int64_t now)
{
    const struct runner_job *job = find_job(r, m->job);
    bool waits = job != NULL && job->parked > 0;
    struct piece *p, *after;

    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].nwork > 0 || (r->executors[i].parked != NULL && waits))
            executor_cancel(r, &r->executors[i], m->job, m->first, m->count, now);
    for (p = TAILQ_FIRST(&r->queue); p != NULL; p = after) {
        after = TAILQ_NEXT(p, next);
        if (p->job->id == m->job)
            cancel_queued(r, p, m->first, m->count);
    }
}

static void
on_job_end(struct runner *r, uint64_t id, int64_t now)
{
    struct message_range all = {id, 0, UINT64_MAX};
    struct runner_job *job = find_job(r, id);

    if (job == NULL)
        return;
    runner_cancel(r, &all, now);
    runner_job_over(r, job);
}

void
runner_input(struct runner *r, const struct message *m, int64_t now)
{
    if (m->client != 0) {
        relay_down(r, m);
        return;
    }
    switch (m->type) {
    case MESSAGE_WELCOME:
        if (m->welcome.name != NULL && *m->welcome.name != '\0')
            snprintf(r->name, sizeof(r->name), "%s", m->welcome.name);
        if (!r->local)
            runner_found(r, now);
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
        runner_cancel(r, &m->range, now);
        break;
    case MESSAGE_JOB_END:
        on_job_end(r, m->job_end.job, now);
        break;
    case MESSAGE_UNSHARE:
        constants_drop(r, m->share.digest);
        break;
    case MESSAGE_ACK:
        reports_acknowledged(r->out, &m->ack);
        break;
    case MESSAGE_ADOPTED:
        runner_adopted(r, &m->adopted, now);
        break;
    default:
        break;
    }
}
