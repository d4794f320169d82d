/* "serial" sessions: tasks run in this very process, inside the calls that wait or dispatch.
 *
 * The core is told that there is a broker with one slot; what it sends is run here, one task at a
 * time, in the order in which it came, by whichever thread waits.
 */
#include "session.h"

#include "serve.h"
#include "shared.h"

#include "../proto/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct serial {
    futures_t *session;
    bool have; /* an INPUTS of which tasks [at, count) are left */
    uint64_t job, first;
    uint32_t at, count;
    uint32_t size, *sizes;
    struct blob *data;
    size_t offset;

    unsigned running; /* nested: a task that waits for others runs them */
    pthread_t runner;
    uint64_t task_job, task_index; /* of the innermost one */
    uint8_t *aligned;

    struct constants *constants; /* of the job that ran last, whose spec is `shown` */
    struct spec *shown;
};

struct serial *
serial_new(futures_t *s)
{
    struct message m = {
        .type = MESSAGE_WELCOME,
        .welcome = {.instance = 1, .window = UINT64_MAX / 2, .workers = 1, .slots = 1}};
    struct serial *self;

    if ((self = calloc(1, sizeof(*self))) == NULL)
        return NULL;
    self->session = s;
    (void)core_input(s->core, &m, 0);
    return self;
}

static void
drop_inputs(struct serial *self)
{
    blob_unref(self->data);
    free(self->sizes);
    self->data = NULL;
    self->sizes = NULL;
    self->have = false;
}

void
serial_free(struct serial *self)
{
    if (self == NULL)
        return;
    drop_inputs(self);
    constants_close(self->constants);
    spec_unref(self->shown);
    free(self);
}

static void
take_inputs(struct serial *self, const struct message_inputs *m)
{
    const struct columns *c = &m->columns;

    self->sizes = NULL;
    if (c->sizes != NULL) {
        if ((self->sizes = malloc(c->count * sizeof(*c->sizes))) == NULL)
            return;
        memcpy(self->sizes, c->sizes, c->count * sizeof(*c->sizes));
    }
    self->have = true;
    self->job = m->job;
    self->first = m->first;
    self->at = 0;
    self->count = c->count;
    self->size = c->size;
    self->data = blob_ref(c->data);
    self->offset = c->at;
}

static bool
task_is_wanted(const struct serial *self, uint64_t job, uint64_t index)
{
    const struct job *j = core_find(self->session->core, job);
    const struct chunk *c = j == NULL ? NULL : job_chunk(j, index);

    return c != NULL && c->first <= index && !(c->state[index - c->first] & STATE_OUTCOME);
}

static void
accept(struct serial *self, const struct message_inputs *m, int64_t now)
{
    struct message accepted = {.type = MESSAGE_ACCEPTED,
                               .range = {.job = m->job, .first = m->first + m->columns.count}};

    take_inputs(self, m);
    (void)core_input(self->session->core, &accepted, now);
}

/* A task of one INPUTS message, copied out of it. */
struct task_of {
    uint64_t job, index;
    struct blob *data;
    size_t offset, size;
    uint32_t attempt;
};

/* The next task that somebody wants. False: there is none. */
static bool
next_task(struct serial *self, struct task_of *t)
{
    struct core *core = self->session->core;
    int64_t now = clock_us();
    struct message m;

    core_tick(core, now);
    for (;;) {
        while (self->have && self->at < self->count) {
            *t = (struct task_of){.job = self->job,
                                  .index = self->first + self->at,
                                  .data = self->data,
                                  .offset = self->offset,
                                  .size = self->sizes == NULL ? self->size : self->sizes[self->at]};
            self->at++;
            self->offset += t->size;
            if (!task_is_wanted(self, t->job, t->index)) {
                struct message e = {.type = MESSAGE_ENDED,
                                    .ended = {.job = t->job,
                                              .first = t->index,
                                              .count = 1,
                                              .outcome = OUTCOME_CANCELLED,
                                              .worker = "",
                                              .text = "cancelled"}};

                (void)core_input(core, &e, now); /* settled, as a broker would say */
                continue;
            }
            blob_ref(t->data);
            return true;
        }
        drop_inputs(self);
        if (!core_output(core, &m, now))
            return false;
        if (m.type == MESSAGE_INPUTS)
            accept(self, &m.inputs, now);
    }
}

bool
serial_has_work(futures_t *s)
{
    const struct serial *self = s->serial;

    return (self->have && self->at < self->count) || !TAILQ_EMPTY(&s->core->ready);
}

/* ---- what a running task may call -------------------------------------------------------------
 */

struct running {
    struct serial *self;
    uint64_t job, index;
};

static bool
cancelled(void *arg)
{
    struct running *r = arg;
    bool wanted;

    session_lock(r->self->session);
    wanted = task_is_wanted(r->self, r->job, r->index);
    session_unlock(r->self->session);
    return !wanted;
}

static void
progress(void *arg, uint64_t done, uint64_t total)
{
    struct running *r = arg;
    struct message m = {
        .type = MESSAGE_PROGRESS,
        .progress = {.job = r->job, .index = r->index, .done = done, .total = total}};

    session_lock(r->self->session);
    (void)core_input(r->self->session->core, &m, 0);
    session_unlock(r->self->session);
}

static int
emit(void *arg, const void *data, size_t size)
{
    struct running *r = arg;
    futures_t *s = r->self->session;
    struct blob *copy = blob_copy(data, size);
    struct message m = {
        .type = MESSAGE_PARTIAL,
        .partial = {.job = r->job,
                    .index = r->index,
                    .columns = {.count = 1, .size = (uint32_t)size, .data = copy, .length = size}}};
    int failed;

    if (copy == NULL)
        return -1;
    session_lock(s);
    failed = core_input(s->core, &m, 0);
    session_dispatch(s); /* as it streams */
    session_unlock(s);
    blob_unref(copy);
    return failed;
}

/* ---- running ----------------------------------------------------------------------------------
 */

static void
tell_running(futures_t *s, const struct task_of *t)
{
    struct message m = {
        .type = MESSAGE_RUNNING,
        .running = {.job = t->job, .index = t->index, .attempt = t->attempt, .worker = "serial"}};

    (void)core_input(s->core, &m, 0);
}

static void
tell_result(futures_t *s, const struct task_of *t, enum outcome outcome, struct blob *result,
            int64_t run)
{
    uint8_t outcomes[1] = {(uint8_t)outcome};
    struct message m = {.type = MESSAGE_RESULTS,
                        .results = {.job = t->job,
                                    .first = t->index,
                                    .attempt = t->attempt,
                                    .worker = "serial",
                                    .run_us = (uint64_t)run,
                                    .columns = {.count = 1, .outcomes = outcomes}}};
    static struct blob *const none = NULL;

    m.results.columns.data = result == NULL ? none : result;
    m.results.columns.length = result == NULL ? 0 : result->size;
    m.results.columns.size = (uint32_t)m.results.columns.length;
    if (core_input(s->core, &m, 0) != 0) {
        /* No memory for the result: that much is told. */
        outcomes[0] = OUTCOME_FAILED;
        m.results.columns.data = NULL;
        m.results.columns.length = m.results.columns.size = 0;
        (void)core_input(s->core, &m, 0);
    }
    session_news(s);
}

/* An input that is aligned for any type: in place, or a copy in *copy_p. NULL: ENOMEM. */
static const void *
input_of(const struct task_of *t, void **copy_p)
{
    const uint8_t *input = t->data == NULL ? (const uint8_t *)"" : t->data->bytes + t->offset;

    *copy_p = NULL;
    if (t->size > 0 && (uintptr_t)input % 16 == 0)
        return input;
    if ((*copy_p = malloc(t->size > 0 ? t->size : 16)) == NULL)
        return NULL;
    return t->size > 0 ? memcpy(*copy_p, input, t->size) : *copy_p;
}

void
serial_forget(futures_t *s)
{
    struct serial *self = s->serial;

    constants_close(self->constants);
    spec_unref(self->shown);
    self->constants = NULL;
    self->shown = NULL;
}

/* The constants of a job: kept for its next task. To be closed. */
static struct constants *
constants_of(struct serial *self, struct spec *spec)
{
    if (self->shown != spec) {
        constants_close(self->constants);
        spec_unref(self->shown);
        self->constants = constants_open(spec);
        self->shown = spec_ref(spec);
    }
    return constants_ref(self->constants);
}

/* Without the lock. */
static enum outcome
run_task(futures_t *s, const struct task_of *t, const struct spec *spec,
         const struct constants *constants, struct blob **result_p)
{
    struct running running = {.self = s->serial, .job = t->job, .index = t->index};
    struct task_run run = {.function = registry_find(spec->function),
                           .size = t->size,
                           .seed = spec->seed,
                           .stream = t->index,
                           .index = spec->singles ? 0 : t->index,
                           .attempt = t->attempt,
                           .priority = spec->priority,
                           .worker = "serial",
                           .constants = s->nested != NULL ? nested_constants(s) : constants,
                           .session = s,
                           .cancelled = cancelled,
                           .progress = progress,
                           .emit = emit,
                           .arg = &running};
    enum outcome outcome = OUTCOME_FAILED;
    void *copy;

    *result_p = NULL;
    if ((run.input = input_of(t, &copy)) != NULL)
        outcome = task_run(&run, result_p);
    if (*result_p == NULL)
        *result_p = blob_copy("out of memory", 13);
    free(copy);
    return outcome;
}

/* Is there to be another attempt? A crash would have been this process's. */
static bool
again(const struct serial *self, const struct task_of *t, const struct spec *spec,
      enum outcome outcome)
{
    return outcome == OUTCOME_FAILED && spec->retry_failed && !spec->once &&
           t->attempt <= spec->retries && task_is_wanted(self, t->job, t->index);
}

bool
serial_step(futures_t *s)
{
    struct serial *self = s->serial;
    struct constants *constants;
    struct blob *result;
    struct spec *spec;
    enum outcome outcome;
    struct task_of t;
    pthread_t before;
    int64_t since;

    if (self->running > 0 && !pthread_equal(self->runner, pthread_self()))
        return false; /* another thread runs one; who waits is told of its end */
    if (!next_task(self, &t)) {
        bool news = s->core->news; /* of a deadline */

        if (news)
            session_news(s);
        return news;
    }
    spec = spec_ref(core_find(s->core, t.job)->spec);
    constants = constants_of(self, spec);
    before = self->runner;
    self->runner = pthread_self();
    self->running++;
    for (t.attempt = 1;; t.attempt++) {
        tell_running(s, &t);
        session_unlock(s);
        since = clock_us();
        outcome = run_task(s, &t, spec, constants, &result);
        since = clock_us() - since;
        session_lock(s);
        if (!again(self, &t, spec, outcome))
            break;
        blob_unref(result);
    }
    constants_close(constants);
    self->running--;
    self->runner = before;
    tell_result(s, &t, outcome, result, since);
    blob_unref(result);
    blob_unref(t.data);
    spec_unref(spec);
    return true;
}
