/* Tasks of the nest that run here, and their results: told together where they come fast. */
#include "nesting.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH_TASKS = 256, BATCH_LARGE = 2048 };

/* ---- tasks that run here ----------------------------------------------------------------------
 */

bool
nest_next(struct nest *n, struct nest_task *t)
{
    struct nest_session *s;

    while ((s = TAILQ_LAST(&n->sessions, nest_session_list)) != NULL) {
        struct nest_piece *p = TAILQ_FIRST(&s->pieces);
        struct nest_job *j = p->job;
        bool wanted = !s->holes || nest_wants(j, p->first);

        *t = (struct nest_task){.job = j,
                                .index = p->first,
                                .attempt = p->attempt,
                                .offset = p->offset,
                                .size = piece_bytes(p, 0, 1)};
        if (wanted) {
            t->data = blob_ref(p->data);
            j->refs++;
            TAILQ_INSERT_TAIL(&s->running, t, link);
        }
        piece_skip_first(p);
        nest_count(n, s, -1);
        if (!wanted)
            nest_end_tasks(n, j, t->index, 1, OUTCOME_CANCELLED, NULL);
        if (p->count == 0) {
            TAILQ_REMOVE(&s->pieces, p, link);
            piece_free(p);
        }
        if (wanted)
            return true;
    }
    return false;
}

static void
tell_results(struct nest *n, struct nest_job *j, struct message_results *r)
{
    struct message m = {.type = MESSAGE_RESULTS, .results = *r};

    m.results.job = j->number;
    m.results.worker = n->worker;
    if (core_input(j->session->core, &m, 0) != 0)
        nest_end_tasks(n, j, r->first, r->columns.count, OUTCOME_FAILED,
                       "there was no memory for its result");
    nest_look_at(n, j->session);
}

static bool
all_done(const uint8_t *outcomes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (outcomes[i] != OUTCOME_DONE)
            return false;
    return true;
}

void
nest_flush(struct nest *n)
{
    struct nest_batch *b = &n->batch;
    struct nest_job *j = b->job;
    struct message_results r = {.first = b->first, .attempt = b->attempt};
    struct columns *c = &r.columns;
    bool equal = true;

    if (b->session == NULL)
        return;
    b->session = NULL;
    for (uint32_t i = 1; i < b->count; i++)
        equal = equal && b->sizes[i] == b->sizes[0];
    r.run_us = (uint64_t)b->run_ns / 1000;
    c->count = b->count;
    c->size = equal ? b->sizes[0] : 0;
    c->sizes = equal ? NULL : b->sizes;
    c->outcomes = all_done(b->outcomes, b->count) ? NULL : b->outcomes;
    c->length = b->length;
    if (b->length > 0 && (c->data = blob_copy(b->bytes, b->length)) == NULL)
        nest_end_tasks(n, j, b->first, b->count, OUTCOME_FAILED,
                       "there was no memory for its result");
    else
        tell_results(n, j, &r);
    blob_unref(c->data);
    nest_unref_job(j);
}

static void
tell_alone(struct nest *n, const struct nest_task *t, enum outcome outcome, const void *result,
           size_t size, struct blob *blob, int64_t run_ns)
{
    uint8_t outcomes[1] = {(uint8_t)outcome};
    struct message_results r = {.first = t->index,
                                .attempt = t->attempt,
                                .run_us = (uint64_t)run_ns / 1000,
                                .columns = {.count = 1,
                                            .size = (uint32_t)size,
                                            .outcomes = outcome == OUTCOME_DONE ? NULL : outcomes,
                                            .length = size}};

    nest_flush(n);
    blob = blob != NULL ? blob_ref(blob) : blob_copy(result, size);
    r.columns.data = blob;
    if (blob == NULL)
        nest_end_tasks(n, t->job, t->index, 1, OUTCOME_FAILED,
                       "there was no memory for its result");
    else
        tell_results(n, t->job, &r);
    blob_unref(blob);
}

static void
add_to_batch(struct nest *n, const struct nest_task *t, enum outcome outcome, const void *result,
             size_t size, int64_t run_ns, int64_t now)
{
    struct nest_batch *b = &n->batch;

    if (b->session != NULL &&
        (b->job != t->job || b->first + b->count != t->index || b->attempt != t->attempt ||
         b->count == BATCH_TASKS || b->length + size > sizeof(b->bytes)))
        nest_flush(n);
    if (b->session == NULL) {
        b->session = t->job->session;
        b->job = t->job;
        b->job->refs++;
        b->first = t->index;
        b->attempt = t->attempt;
        b->count = 0;
        b->length = 0;
        b->run_ns = 0;
        b->since = now;
    }
    if (size > 0)
        memcpy(b->bytes + b->length, result, size);
    b->sizes[b->count] = (uint32_t)size;
    b->outcomes[b->count++] = (uint8_t)outcome;
    b->length += size;
    b->run_ns += run_ns;
}

/* Will the next task to run here be the neighbour, and end soon? */
static bool
goes_on(const struct nest *n, const struct nest_task *t, int64_t now)
{
    const struct nest_session *s = TAILQ_LAST(&n->sessions, nest_session_list);
    const struct nest_piece *p = s == NULL ? NULL : TAILQ_FIRST(&s->pieces);

    return p != NULL && p->job == t->job && p->first == t->index + 1 && p->attempt == t->attempt &&
           now - n->batch.since + t->job->function->mean_ns / 1000 < NEST_BATCH_US;
}

/* True if it is to run once more. */
static bool
try_again(struct nest *n, struct nest_task *t, enum outcome outcome)
{
    const struct spec *spec = t->job->spec;
    const struct message_inputs m = {.first = t->index,
                                     .columns = {.count = 1,
                                                 .size = (uint32_t)t->size,
                                                 .data = t->data,
                                                 .at = t->offset,
                                                 .length = t->size}};
    struct nest_piece *p;

    if (outcome != OUTCOME_FAILED || !spec->retry_failed || t->attempt > spec->retries ||
        t->cancelled || t->job->session->ended || (p = piece_new(t->job, &m)) == NULL)
        return false;
    p->attempt = t->attempt + 1;
    piece_queue(n, p);
    return true;
}

/* To the base of 2, in 256ths; between powers of two it is taken for a straight line. */
static int32_t
logarithm(uint64_t x)
{
    int power = 63 - __builtin_clzll(x | 1);
    uint64_t rest = power >= 8 ? x >> (power - 8) : x << (8 - power);

    return power << 8 | (int32_t)(rest & 255);
}

static int64_t
power_of_two(int32_t exponent)
{
    int power = exponent >> 8;
    uint64_t x = 256 + (exponent & 255);

    return (int64_t)(power >= 8 ? x << (power - 8) : x >> (8 - power));
}

static void
measure(struct nest_function *f, int64_t run_ns)
{
    int32_t now = logarithm((uint64_t)run_ns);

    f->logarithm = f->mean_ns < 0 ? now : f->logarithm + (now - f->logarithm) / 8;
    f->mean_ns = power_of_two(f->logarithm);
}

void
nest_result(struct nest *n, struct nest_task *t, enum outcome outcome, const void *result,
            size_t size, struct blob *blob, int64_t run_ns, int64_t now)
{
    struct nest_function *f = t->job->function;

    measure(f, run_ns);
    TAILQ_REMOVE(&t->job->session->running, t, link);
    t->job->session->ended_here++;
    if (!try_again(n, t, outcome)) {
        if (size > BATCH_LARGE)
            tell_alone(n, t, outcome, result, size, blob, run_ns);
        else
            add_to_batch(n, t, outcome, result, size, run_ns, now);
    }
    if (n->batch.session != NULL && !goes_on(n, t, now))
        nest_flush(n);
    blob_unref(t->data);
    nest_unref_job(t->job);
}

void
nest_tell(struct nest_task *t, struct message *m)
{
    if (m->type == MESSAGE_PROGRESS) {
        m->progress.job = t->job->number;
        m->progress.index = t->index;
    } else {
        m->partial.job = t->job->number;
        m->partial.index = t->index;
    }
    (void)core_input(t->job->session->core, m, 0);
}

void
nest_tell_running(struct nest *n, struct nest_session *s)
{
    const struct nest_task *t;

    TAILQ_FOREACH (t, &s->running, link) {
        struct message m = {.type = MESSAGE_RUNNING,
                            .running = {.job = t->job->number,
                                        .index = t->index,
                                        .attempt = t->attempt,
                                        .worker = n->worker}};

        (void)core_input(s->core, &m, 0);
    }
}
