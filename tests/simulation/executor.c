#include "inside.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FLUSH_US 1000 /* no result waits longer, if its executor can help it */

static struct executor *
of(struct actor *a)
{
    return (struct executor *)a;
}

void
executor_say(struct executor *e, const struct message *m)
{
    connection_send(e->pipe, SIDE_PEER, m);
}

/* ---- its end ------------------------------------------------------------------------------------
 */

void
known_unref(struct known_job *k)
{
    if (--k->refs > 0)
        return;
    spec_unref(k->spec);
    free(k);
}

static struct record *
record_of(const struct executor *e, uint64_t input)
{
    return history_of(e->actor.sim->history, input);
}

/* Whom can its worker blame? */
static void
blame(struct executor *e, bool crash)
{
    const struct stack *k, *blamed = e->current != NULL ? e->current->root : NULL;
    bool anybody = blamed == NULL || !e->board->attached || e->config.plain;
    const struct slice *s;

    if (blamed == NULL)
        history_barren(e->actor.sim->history);
    TAILQ_FOREACH (k, &e->stacks, link) {
        struct record *r = k->root == k ? record_of(e, k->input) : NULL;

        if (r == NULL)
            continue;
        if (k == blamed)
            sim_trace(e->actor.sim, "it ran task %u, %s", (unsigned)(uint32_t)k->input,
                      e->current == k ? "itself" : "or one below it");
        if (k == blamed && crash)
            r->crashed++;
        else if (k == blamed || anybody)
            r->killed++;
        else
            r->casualties++;
    }
    TAILQ_FOREACH (s, &e->slices, link) {
        for (uint32_t i = 0; i < s->count && e->config.plain && !load_spawned(s->inputs[i]); i++)
            record_of(e, s->inputs[i])->killed++;
    }
}

/* Its worker ends it, for one of them: the others begin anew. */
static void
forgive(struct executor *e)
{
    const struct stack *k;

    TAILQ_FOREACH (k, &e->stacks, link) {
        if (k->root == k && !load_spawned(k->input))
            record_of(e, k->input)->casualties++;
    }
}

static void
drop_all(struct executor *e)
{
    struct known_job *k;
    struct slice *s;

    while (!TAILQ_EMPTY(&e->stacks))
        stack_free(e, TAILQ_LAST(&e->stacks, stack_list));
    while ((s = TAILQ_FIRST(&e->slices)) != NULL) {
        TAILQ_REMOVE(&e->slices, s, link);
        slice_unref(s);
    }
    if (e->slice != NULL)
        slice_unref(e->slice);
    e->slice = NULL;
    while ((k = e->jobs) != NULL) {
        e->jobs = k->next;
        known_unref(k);
    }
    if (e->nest != NULL) {
        nest_fini(e->nest);
        free(e->nest);
    }
    e->nest = NULL;
}

/* All that it said is heard before its end. */
static void
end(struct executor *e, const char *cause)
{
    if (!e->alive)
        return;
    sim_trace(e->actor.sim, "%s ends: %s", e->actor.name, cause);
    e->alive = false;
    e->cause = cause;
    while (connection_take(e->pipe, true)) /* what it was sent, and never read */
        continue;
    if (e->ordered)
        forgive(e);
    else
        blame(e, !e->killed);
    connection_close(e->pipe, SIDE_PEER, false);
    e->pipe = NULL;
    e->actor.gone = true;
    drop_all(e);
}

void
executor_die(struct executor *e, const char *cause)
{
    end(e, cause);
}

void
executor_kill(struct actor *a)
{
    struct executor *e = of(a);

    sim_trace(a->sim, "%s is killed", a->name);
    e->killed = true;
    end(e, "killed by signal 9 (Killed)");
}

void
executor_signal(struct actor *a, int signal)
{
    struct executor *e = of(a);
    struct sim *s = a->sim;

    if (!e->alive || (signal == SIGTERM && e->config.deaf))
        return;
    if (signal == SIGKILL)
        a->asleep = 0;
    sim_wake(a, s->now + random_between(&s->random, 10, 500),
             signal == SIGKILL ? WAKE_KILL : WAKE_TERM);
}

/* ---- messages -----------------------------------------------------------------------------------
 */

static struct known_job *
find_job(const struct executor *e, uint64_t job)
{
    struct known_job *k = e->jobs;

    while (k != NULL && k->job != job)
        k = k->next;
    return k;
}

static void
add_job(struct executor *e, const struct message_job *m)
{
    struct known_job *k = calloc(1, sizeof(*k));

    assert(k != NULL);
    if (find_job(e, m->job) != NULL)
        sim_fail(e->actor.sim, "%s was told of a job twice", e->actor.name);
    k->job = m->job;
    k->spec = spec_ref(m->spec);
    k->refs = 1;
    k->next = e->jobs;
    e->jobs = k;
}

static void
end_job(struct executor *e, uint64_t job)
{
    struct known_job **at = &e->jobs, *k;

    while ((k = *at) != NULL && k->job != job)
        at = &k->next;
    if (k == NULL)
        sim_fail(e->actor.sim, "%s was told the end of a job it does not know", e->actor.name);
    *at = k->next;
    known_unref(k);
}

static void
take_slice(struct executor *e, const struct message_slice *m)
{
    struct known_job *job = find_job(e, m->job);

    if (job == NULL)
        sim_fail(e->actor.sim, "%s was given a slice of a job it does not know", e->actor.name);
    if (!e->board->attached && m->columns.count > 1)
        sim_fail(e->actor.sim, "%s leaves the board alone, and has a slice of %u tasks",
                 e->actor.name, m->columns.count);
    slice_add(e, m, job);
}

static void
message(struct actor *a, struct connection *c, const struct message *m)
{
    struct executor *e = of(a);

    (void)c;
    if (m->client != 0) {
        if (e->alive)
            stacks_carried(e, m);
        return;
    }
    switch (m->type) {
    case MESSAGE_REFUSED:
        sim_fail(a->sim, "%s was refused: %s", a->name, m->text);
    case MESSAGE_JOB:
        add_job(e, &m->job);
        break;
    case MESSAGE_SLICE:
        take_slice(e, &m->slice);
        break;
    case MESSAGE_CANCEL:
        if (e->alive)
            stacks_cancel(e, &m->range);
        break;
    case MESSAGE_JOB_END:
        end_job(e, m->job_end.job);
        break;
    default:
        break;
    }
}

/* Its worker has no more for it, or is dead. */
static void
closed(struct actor *a, struct connection *c)
{
    struct executor *e = of(a);

    (void)c;
    if (!e->alive)
        return;
    e->ordered = true;
    end(e, "exit status 0");
}

/* ---- what it does next --------------------------------------------------------------------------
 */

static void
leave_loop_of_slice(struct executor *e, bool over)
{
    stacks_rest(e);
    area_flush(e);
    if (over)
        slice_leave(e);
    e->in_slice = false;
}

/* The next task of the slice at hand. False: something else is to be done first. */
static bool
go_on_with_slice(struct executor *e)
{
    uint32_t offset;

    if (e->actor.sim->now - e->area.flushed >= FLUSH_US)
        area_flush(e);
    if (stacks_call(e)) {
        leave_loop_of_slice(e, false);
        return false;
    }
    if (!slice_claim(e, &offset)) {
        leave_loop_of_slice(e, true);
        return false;
    }
    stack_begin(e, e->slice, offset);
    return true;
}

/* False: nothing is to be done. */
static bool
step(struct executor *e)
{
    struct stack *k;

    if (e->in_slice)
        return go_on_with_slice(e) || true;
    if (e->nest != NULL) {
        while (e->alive && connection_take(e->pipe, false))
            continue;
        if (!e->alive)
            return false;
        stacks_look_around(e);
    }
    if ((k = TAILQ_FIRST(&e->ready)) != NULL) {
        stack_resume(e, k);
        return true;
    }
    if (stack_begin_spawned(e))
        return true;
    stacks_work_for(e, NULL);
    if (e->slice != NULL || slice_next(e)) {
        e->in_slice = true;
        e->area.flushed = e->actor.sim->now;
        return true;
    }
    return connection_take(e->pipe, false);
}

void
executor_advance(struct executor *e)
{
    while (e->alive && e->met && e->current == NULL && step(e))
        continue;
    if (e->alive && e->nest != NULL)
        stacks_send_out(e);
}

static void
say_hello(struct executor *e)
{
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_EXECUTOR,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "sim",
                                  .name = "",
                                  .host = "",
                                  .machine = "",
                                  .labels = "",
                                  .tasks = e->config.tasks}};

    if (e->config.ends) {
        e->ordered = true; /* nobody is there to be blamed */
        executor_die(e, "exit status 1");
        return;
    }
    e->met = true;
    executor_say(e, &m);
    executor_advance(e);
}

static void
wake(struct actor *a, uint64_t what)
{
    struct executor *e = of(a);

    switch ((enum executor_wake)(what & 0xff)) {
    case WAKE_MAIL:
        executor_advance(e);
        break;
    case WAKE_RUN:
        if (what >> 8 != e->run || e->current == NULL)
            break;
        stack_ran(e);
        executor_advance(e);
        break;
    case WAKE_HELLO:
        say_hello(e);
        break;
    case WAKE_TERM:
        e->ordered = true;
        executor_die(e, "killed by signal 15 (Terminated)");
        break;
    case WAKE_KILL:
        e->ordered = true;
        executor_die(e, "killed by signal 9 (Killed)");
        break;
    case WAKE_NEST:
        e->told_at = INT64_MAX;
        if (e->current == NULL)
            executor_advance(e);
        break;
    case WAKE_TIMED:
        if (e->alive && e->nest != NULL) {
            stacks_out_of_time(e);
            executor_advance(e);
        }
        break;
    }
}

/* ---- for its worker -----------------------------------------------------------------------------
 */

/* Boards are large, and used little: a page is there once it is touched. */
static struct board *
board_new(void)
{
    struct board *b =
        mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert(b != MAP_FAILED);
    b->version = BOARD_VERSION;
    return b;
}

struct board *
executor_board(struct actor *a)
{
    return of(a)->shared;
}

void
executor_bury(struct actor *a)
{
    struct executor *e = of(a);

    if (e->alive) { /* its worker is dead, and takes it along */
        e->ordered = true;
        end(e, "its worker is dead");
    }
    if (e->board != e->shared)
        munmap(e->board, sizeof(*e->board));
    munmap(e->shared, sizeof(*e->shared));
    e->board = e->shared = NULL;
}

/* Its worker cannot see whether it began before it died. */
void
executor_given(struct actor *a, const struct message_slice *m)
{
    struct executor *e = of(a);
    size_t at = m->columns.at;

    if (e->alive || !e->config.plain)
        return;
    for (uint32_t i = 0; i < m->columns.count; i++) {
        uint64_t input;

        memcpy(&input, m->columns.data->bytes + at, sizeof(input));
        at += m->columns.sizes != NULL ? m->columns.sizes[i] : m->columns.size;
        if (!load_spawned(input))
            record_of(e, input)->killed++;
    }
}

const char *
executor_cause(const struct actor *a)
{
    return ((const struct executor *)a)->cause;
}

bool
executor_was_killed(const struct actor *a)
{
    return ((const struct executor *)a)->killed;
}

bool
executor_is_empty(const struct actor *a)
{
    const struct executor *e = (const struct executor *)a;

    return TAILQ_EMPTY(&e->stacks) && TAILQ_EMPTY(&e->slices) && e->slice == NULL &&
           e->jobs == NULL && (e->nest == NULL || e->nest->exporter->unended == 0);
}

uint64_t
executor_carried_bytes(const struct actor *a, uint64_t each)
{
    const struct executor *e = (const struct executor *)a;

    return e->nest == NULL ? 0 : each + e->nest->exporter->grant;
}

static void
destroy(struct actor *a)
{
    struct executor *e = of(a);

    if (e->shared != NULL)
        executor_bury(a);
    free(e);
}

static const struct actor_class class = {
    .message = message, .closed = closed, .wake = wake, .free = destroy};

struct actor *
executor_new(struct sim *s, const struct executor_config *config, struct connection **pipe_p)
{
    struct executor *e = calloc(1, sizeof(*e));

    assert(e != NULL);
    e->actor.class = &class;
    e->actor.sim = s;
    e->config = *config;
    snprintf(e->worker, sizeof(e->worker), "%s", config->name);
    snprintf(e->actor.name, sizeof(e->actor.name), "%.16s.e%u", config->name, config->number);
    e->alive = true;
    e->told_at = INT64_MAX;
    e->board = e->shared = board_new();
    if (config->plain)
        e->board = board_new();
    else
        e->board->attached = 1;
    TAILQ_INIT(&e->slices);
    TAILQ_INIT(&e->stacks);
    TAILQ_INIT(&e->ready);
    e->pipe = connection_new(config->worker, &e->actor, 50);
    e->pipe->local = e->pipe->pulled = true;
    *pipe_p = e->pipe;
    sim_trace(s, "%s starts", e->actor.name);
    sim_wake(&e->actor, s->now + random_between(&s->random, 500, 20000), WAKE_HELLO);
    sim_add(s, &e->actor);
    return &e->actor;
}
