/* stacks.c - tasks that run in a virtual executor, one at a time, and those that wait: as
 * client/parking.c has them, with the real nest. */
#include "inside.h"

#include "../../client/ladle.h"
#include "../../client/nesting.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_US 20000 /* so often a polite task looks whether it was cancelled */

/* What the nest looks for in the registry. They are never called. */
static int
leaf(task_t *task)
{
    (void)task;
    return -1;
}
TASK(leaf)

static int
tree(task_t *task)
{
    (void)task;
    return -1;
}
TASK(tree)

static struct record *
record_of(const struct executor *e, const struct stack *k)
{
    return k->by != NULL ? NULL : history_of(e->actor.sim->history, k->input);
}

/* ---- what the worker is told --------------------------------------------------------------------
 */

static void
tell_parked(struct executor *e, struct stack *root, bool parked)
{
    struct message m = {.type = MESSAGE_PARKED,
                        .parked = {.lease = root->slice->lease,
                                   .index = root->slice->first + root->offset,
                                   .parked = parked}};

    if (parked) {
        if (root->slice == e->slice)
            area_flush(e);
        root->alone = true;
    }
    root->told = parked;
    executor_say(e, &m);
    if (parked && root->slice == e->slice)
        slice_leave(e);
}

void
stacks_work_for(struct executor *e, struct stack *root)
{
    if (e->awake == root)
        return;
    if (e->awake != NULL)
        tell_parked(e, e->awake, true);
    e->awake = root;
    atomic_store(&e->board->owner, root == NULL ? 0 : root->slice->lease);
    if (root != NULL && root->told)
        tell_parked(e, root, false);
}

void
stacks_rest(struct executor *e)
{
    e->current = e->awake = NULL;
    atomic_store(&e->board->owner, 0);
}

static void
run(struct executor *e, struct stack *k)
{
    struct sim *s = e->actor.sim;
    int64_t stretch = k->left;

    e->current = k;
    stacks_work_for(e, k->root);
    snprintf(e->board->nested, sizeof(e->board->nested), "%s", k->by == NULL ? "" : "nested");
    e->run++;
    if (load_polite(k->input) && stretch > LOOK_US)
        stretch = LOOK_US;
    if (stretch != INT64_MAX)
        sim_wake(&e->actor, s->now + (stretch > 0 ? stretch : 1), WAKE_RUN | e->run << 8);
    if (k->left != INT64_MAX)
        k->left -= stretch;
}

/* ---- beginning ----------------------------------------------------------------------------------
 */

static struct stack *
stack_new(struct executor *e, uint64_t input)
{
    struct stack *k = calloc(1, sizeof(*k));
    struct sim *s = e->actor.sim;

    assert(k != NULL);
    k->input = input;
    k->began = s->now;
    k->left = load_fate(s, input) == FATE_HANGS ? INT64_MAX
                                                : load_time(s, input) / (1 + load_rounds(input));
    TAILQ_INSERT_TAIL(&e->stacks, k, link);
    return k;
}

void
stack_begin(struct executor *e, struct slice *slice, uint32_t offset)
{
    struct stack *k = stack_new(e, slice->inputs[offset]);
    struct record *r;

    k->root = k;
    k->slice = slice;
    k->offset = offset;
    slice->refs++;
    if (!load_spawned(k->input)) {
        r = history_of(e->actor.sim->history, k->input);
        r->starts++;
        if (r->spec->once && !r->noted)
            sim_fail(e->actor.sim, "a task that may run once began, and its client does not know");
        r->running++;
        sim_trace(e->actor.sim, "%s runs task %u in attempt %u", e->actor.name,
                  (unsigned)(uint32_t)k->input, slice->attempt);
    }
    e->awake = NULL; /* the one before has ended */
    run(e, k);
    atomic_store(&e->board->started, e->actor.sim->now);
    atomic_store(&e->board->running, (uint64_t)offset + 1);
}

static struct stack *
stack_of(struct nest_session *s)
{
    return (struct stack *)(void *)((char *)s - offsetof(struct stack, nest));
}

bool
stack_begin_spawned(struct executor *e)
{
    struct stack *k, *by;
    struct nest_task t;
    uint64_t input;

    if (e->nest == NULL || e->nest->queued == 0)
        return false;
    k = calloc(1, sizeof(*k));
    assert(k != NULL);
    if (!nest_next(e->nest, &k->spawned)) {
        free(k);
        return false;
    }
    t = k->spawned;
    memcpy(&input, t.data->bytes + t.offset, sizeof(input));
    by = stack_of(t.job->session);
    k->input = input;
    k->by = by;
    k->root = by->root;
    k->began = e->actor.sim->now;
    k->left = load_fate(e->actor.sim, input) == FATE_HANGS
                  ? INT64_MAX
                  : load_time(e->actor.sim, input) / (1 + load_rounds(input));
    TAILQ_INSERT_TAIL(&e->stacks, k, link);
    run(e, k);
    return true;
}

/* ---- the end ------------------------------------------------------------------------------------
 */

static void
close_session(struct executor *e, struct stack *k)
{
    if (k->core == NULL)
        return;
    nest_close(e->nest, &k->nest);
    core_free(k->core);
    k->core = NULL;
}

/* Wherever it stands: its executor ends, or it does. Those that it spawned are gone. */
void
stack_free(struct executor *e, struct stack *k)
{
    struct record *r = k->by == NULL && !load_spawned(k->input) ? record_of(e, k) : NULL;

    if (r != NULL)
        r->running--;
    if (k->ready)
        TAILQ_REMOVE(&e->ready, k, ready_link);
    if (e->current == k)
        e->current = NULL;
    if (e->awake == k)
        e->awake = NULL;
    close_session(e, k);
    if (k->by != NULL && k->spawned.data != NULL) {
        TAILQ_REMOVE(&k->spawned.job->session->running, &k->spawned, link);
        blob_unref(k->spawned.data);
        nest_unref_job(k->spawned.job);
    }
    if (k->slice != NULL)
        slice_unref(k->slice);
    TAILQ_REMOVE(&e->stacks, k, link);
    free(k);
}

static void
make_ready(struct executor *e, struct stack *k)
{
    if (k->ready || !k->waits)
        return;
    k->ready = true;
    TAILQ_INSERT_TAIL(&e->ready, k, ready_link);
}

static void
end_spawned(struct executor *e, struct stack *k, enum outcome o)
{
    int64_t now = e->actor.sim->now;
    struct stack *by = k->by;
    struct blob *result = o == OUTCOME_DONE ? load_result(k->input) : blob_copy("it failed", 9);

    assert(result != NULL);
    nest_result(e->nest, &k->spawned, o, result->bytes, result->size, NULL, (now - k->began) * 1000,
                now);
    blob_unref(result);
    k->spawned.data = NULL;
    e->current = NULL;
    stack_free(e, k);
    if (by->ending && TAILQ_EMPTY(&by->nest.running))
        make_ready(e, by);
}

static void
end_root(struct executor *e, struct stack *k, enum outcome o)
{
    bool alone = k->alone;

    if (alone)
        area_send_alone(e, k, o);
    else
        area_commit(e, k, o);
    stack_free(e, k);
    if (alone) {
        stacks_rest(e);
        e->in_slice = false;
    }
}

/* It waits: others run, on other stacks. */
static void
leave(struct executor *e, struct stack *k)
{
    nest_flush(e->nest);
    k->waits = true;
    e->current = NULL;
    e->in_slice = false;
}

static bool
is_cancelled(const struct executor *e, const struct stack *k)
{
    const struct stack *root = k->root;

    return k->spawned.cancelled || root->cancelled ||
           atomic_load(&e->board->cancel) == (root->slice->lease << 32 | (root->offset + 1));
}

static void
write_down(struct executor *e, const struct stack *k, enum outcome o, bool noticed)
{
    struct record *r = k->by == NULL && !load_spawned(k->input) ? record_of(e, k) : NULL;

    if (r == NULL)
        return;
    r->noticed += noticed;
    r->failed += o == OUTCOME_FAILED && !noticed;
    r->done += o == OUTCOME_DONE;
}

static void
finish(struct executor *e, struct stack *k)
{
    close_session(e, k);
    k->spawned.below = NULL;
    if (k->by != NULL)
        end_spawned(e, k, k->outcome);
    else
        end_root(e, k, k->outcome);
}

/* Its function returns. What it spawned goes with it, but those that run below are to end first. */
static void
returns(struct executor *e, struct stack *k, enum outcome o)
{
    int64_t now = e->actor.sim->now;

    k->outcome = o;
    if (k->by == NULL && !load_spawned(k->input))
        sim_trace(e->actor.sim, "%s: task %u returns %s", e->actor.name,
                  (unsigned)(uint32_t)k->input, outcome_name(o));
    if (k->core != NULL) {
        if (k->core->unended > 0 || k->core->wants_output)
            nest_cancel(e->nest, &k->nest, now);
        if (!TAILQ_EMPTY(&k->nest.running)) {
            k->ending = true;
            leave(e, k);
            return;
        }
    }
    finish(e, k);
}

/* ---- children -----------------------------------------------------------------------------------
 */

static void
say_hello(struct executor *e)
{
    struct random *r = &e->actor.sim->random;
    struct message m = {.type = MESSAGE_HELLO,
                        .client = 1,
                        .hello = {.role = ROLE_CLIENT,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "sim",
                                  .name = "tree",
                                  .host = "",
                                  .machine = "",
                                  .labels = "",
                                  .window = (uint64_t)random_between(r, 1100000, 4000000)}};

    if (e->greeted)
        return;
    e->greeted = true;
    while (e->session == 0) /* the same the next time */
        e->session = random_next(r);
    memcpy(m.hello.session, &e->session, sizeof(e->session));
    executor_say(e, &m);
}

static void
open_session(struct executor *e, struct stack *k)
{
    if (e->nest == NULL) {
        e->nest = calloc(1, sizeof(*e->nest));
        if (e->nest == NULL || nest_init(e->nest) != 0)
            sim_fail(e->actor.sim, "out of memory");
        snprintf(e->nest->worker, sizeof(e->nest->worker), "%s", e->worker);
    }
    say_hello(e);
    k->core = core_new();
    assert(k->core != NULL);
    nest_open(e->nest, &k->nest, k->core, k->root->slice->job->spec, k->root->slice->attempt > 1);
    k->spawned.below = &k->nest;
    k->nest.ended = is_cancelled(e, k);
}

static void
choose_spec(struct executor *e, const struct stack *k, struct spec *spec)
{
    const struct spec *from = k->root->slice->job->spec;
    struct random *r = &e->actor.sim->random;
    uint64_t child = load_child(k->input, k->rounds, 0);

    *spec = (struct spec){.program = {.name = "", .machine = "", .arguments = "", .directory = ""},
                          .function = load_nests(child) ? "tree" : "leaf",
                          .name = "",
                          .needs = random_chance(r, 85) ? "" : from->needs,
                          .priority = (int32_t)random_between(r, -1, 1),
                          .retries = (uint32_t)random_below(r, 4),
                          .cpus = random_chance(r, 85) ? 1 : from->cpus,
                          .memory = random_chance(r, 85) ? 0 : from->memory,
                          .once = random_chance(r, 5),
                          .singles = random_chance(r, 40),
                          .retry_failed = random_chance(r, 20)};
    if (random_chance(r, 5))
        spec->deadline_ms = random_between(r, 1, 5000);
    if (random_chance(r, 5))
        spec->timeout_ms = random_between(r, 20, 3000);
}

static void
spawn(struct executor *e, struct stack *k)
{
    struct sim *s = e->actor.sim;
    uint32_t count = load_children(k->input);
    uint32_t size =
        8 + (uint32_t)random_below(&s->random, random_chance(&s->random, 10) ? 4000 : 200);
    struct blob *data = blob_new((size_t)size * count);
    struct spec spec;

    assert(data != NULL);
    if (k->core == NULL)
        open_session(e, k);
    choose_spec(e, k, &spec);
    memset(data->bytes, 0x5a, data->size);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t input = load_child(k->input, k->rounds, i);

        memcpy(data->bytes + (size_t)i * size, &input, sizeof(input));
    }
    k->children = core_job(k->core, &spec, s->now);
    assert(k->children != NULL);
    k->children->keep_arrived = true;
    if (core_append_blob(k->core, k->children, data, data->size, count, size, NULL) != 0)
        sim_fail(s, "out of memory");
    core_close(k->core, k->children);
    history_largest(s->history, size);
    k->rounds++;
    nest_pull(e->nest, &k->nest, s->now);
}

static void
read_children(struct executor *e, struct stack *k)
{
    bool cancelled = k->nest.ended || is_cancelled(e, k);
    struct job *j = k->children;
    struct segment *s;

    while ((s = TAILQ_FIRST(&j->arrived)) != NULL) {
        for (uint32_t i = s->first; i < s->first + s->count; i++) {
            uint64_t input = load_child(k->input, k->rounds - 1, (uint32_t)s->chunk->first + i);
            size_t size;
            const uint8_t *bytes = segment_item(s, i, &size);

            history_child_ended(e->actor.sim->history, input, j->spec, e->config.program,
                                segment_outcome(s, i), cancelled, bytes, size);
        }
        core_read_segment(k->core, s);
        segment_free(s);
    }
    core_release(k->core, j);
    k->children = NULL;
}

static void
wait_for_children(struct executor *e, struct stack *k)
{
    int64_t until = core_deadline(k->core);

    leave(e, k);
    if (until != INT64_MAX)
        sim_wake(&e->actor, until, WAKE_TIMED);
    if (k->core->unended == 0)
        make_ready(e, k);
}

void
stack_resume(struct executor *e, struct stack *k)
{
    struct sim *s = e->actor.sim;

    TAILQ_REMOVE(&e->ready, k, ready_link);
    k->ready = k->waits = false;
    e->current = k;
    stacks_work_for(e, k->root);
    e->in_slice = k->by == NULL && !k->alone;
    if (k->ending) {
        if (TAILQ_EMPTY(&k->nest.running)) {
            k->ending = false;
            finish(e, k);
        } else {
            leave(e, k);
        }
        return;
    }
    read_children(e, k);
    k->left = load_time(s, k->input) / (1 + load_rounds(k->input));
    run(e, k);
}

void
stack_ran(struct executor *e)
{
    struct stack *k = e->current;
    struct sim *s = e->actor.sim;
    enum fate fate = load_fate(s, k->input);

    if (load_polite(k->input) && is_cancelled(e, k)) {
        write_down(e, k, OUTCOME_FAILED, true);
        returns(e, k, OUTCOME_FAILED);
        return;
    }
    if (k->left > 0) {
        run(e, k);
        return;
    }
    if (k->rounds < load_rounds(k->input)) {
        spawn(e, k);
        if (k->rounds == load_rounds(k->input) && load_forgets(k->input) && fate == FATE_DONE) {
            write_down(e, k, OUTCOME_DONE, false);
            returns(e, k, OUTCOME_DONE);
        } else {
            wait_for_children(e, k);
        }
        return;
    }
    if (fate == FATE_CRASHES || (fate == FATE_CRASHES_ONCE &&
                                 (k->by != NULL ? k->spawned.attempt : k->slice->attempt) == 1)) {
        executor_die(e, "killed by signal 11 (Segmentation fault)");
        return;
    }
    write_down(e, k, fate == FATE_FAILS ? OUTCOME_FAILED : OUTCOME_DONE, false);
    returns(e, k, fate == FATE_FAILS ? OUTCOME_FAILED : OUTCOME_DONE);
}

/* ---- messages, and time -------------------------------------------------------------------------
 */

static void
cancel_root(struct executor *e, struct stack *root)
{
    root->cancelled = true;
    if (root->core != NULL)
        nest_cancel(e->nest, &root->nest, e->actor.sim->now);
}

void
stacks_cancel(struct executor *e, const struct message_range *m)
{
    struct stack *k;

    TAILQ_FOREACH (k, &e->stacks, link) {
        uint64_t index = k->root == k ? k->slice->first + k->offset : 0;

        if (k->root == k && (k->waits || k == e->awake) && k->slice->job->job == m->job &&
            index >= m->first && index - m->first < m->count)
            cancel_root(e, k);
    }
}

void
stacks_carried(struct executor *e, const struct message *m)
{
    struct sim *s = e->actor.sim;

    if (e->nest == NULL)
        sim_fail(s, "%s is no client, and got a %s", e->actor.name, message_name(m->type));
    switch (m->type) {
    case MESSAGE_REFUSED:
        sim_fail(s, "the client in %s was refused: %s", e->actor.name, m->text);
    case MESSAGE_BYE:
        e->greeted = false;
        if (nest_gone(e->nest))
            say_hello(e);
        break;
    default:
        if (nest_input(e->nest, m, s->now) != 0)
            sim_fail(s, "out of memory");
    }
}

void
stacks_send_out(struct executor *e)
{
    struct message m;

    while (nest_output(e->nest, &m, e->actor.sim->now)) {
        m.client = 1;
        executor_say(e, &m);
    }
    if (nest_deadline(e->nest) != INT64_MAX)
        sim_plan(&e->actor, &e->told_at, nest_deadline(e->nest), WAKE_NEST);
    if (e->actor.sim->thorough)
        nest_check(e->nest);
}

void
stacks_look_around(struct executor *e)
{
    struct nest_session *s;

    if (e->awake != NULL && !e->awake->cancelled && is_cancelled(e, e->awake))
        cancel_root(e, e->awake);
    while ((s = nest_news(e->nest)) != NULL) {
        struct stack *k = stack_of(s);

        if (k->waits && !k->ending && s->core->unended == 0)
            make_ready(e, k);
        s->core->news = false;
        if (s->core->wants_output)
            nest_pull(e->nest, s, e->actor.sim->now);
    }
    stacks_send_out(e);
}

/* Deadlines of children. */
void
stacks_out_of_time(struct executor *e)
{
    struct stack *k;
    int64_t now = e->actor.sim->now;

    TAILQ_FOREACH (k, &e->stacks, link) {
        if (k->core == NULL || core_deadline(k->core) > now)
            continue;
        core_tick(k->core, now);
        nest_pull(e->nest, &k->nest, now);
        if (k->waits && !k->ending && k->core->unended == 0)
            make_ready(e, k);
    }
}

bool
stacks_call(const struct executor *e)
{
    return e->nest != NULL &&
           (e->nest->queued > 0 || !TAILQ_EMPTY(&e->ready) || !TAILQ_EMPTY(&e->nest->news) ||
            e->pipe->ways[SIDE_PEER].arrived > 0);
}
