/* parking.c - tasks on stacks: those that wait are left where they are, and others run.
 *
 * Each stack runs the same loop: it takes what there is to do next, and does it. When a task waits,
 * a new stack goes on with the loop; when its wait is over, the loop that finds that leaves its own
 * stack for good, and enters the task's. Tasks that never wait run one after the other on one
 * stack, and pay nothing for all this.
 */
#include "parking.h"

#include "carried.h"
#include "crash.h"
#include "server.h"
#include "shared.h"
#include "stacks.h"
#include "uplink.h"

#include "../base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LOOK_NS = 1000000, /* between two looks for messages, if the board does not tell */
    TRIM_US = 100000,  /* without work, until stacks give back what they used */
};

static struct nest nest;
static struct {
    bool open; /* a task has asked for a session */
    struct work_list ready;
    struct work_list yielding;
    struct work_list timed;  /* wait until some time, the earliest first */
    struct work_list leased; /* tasks of slices that wait */
    int64_t looked_ns;
} parking;

/* ---- what the worker is told ----------------------------------------------------------------- */

static void
tell_parked(struct work *root, bool parked)
{
    struct message m = {.type = MESSAGE_PARKED,
                        .parked = {.lease = root->slice->lease,
                                   .index = root->slice->first + root->offset,
                                   .parked = parked}};

    if (parked) {
        if (root->slice == server.slice)
            slices_flush();
        slices_hold_output(root);
        root->alone = true;
    }
    root->told = parked;
    uplink_send(&m);
    if (parked)
        slices_leave(root);
}

/* The executor works for this task from now on; NULL: for none. */
static void
work_for(struct work *root)
{
    if (server.awake == root)
        return;
    if (server.awake != NULL)
        tell_parked(server.awake, true);
    server.awake = root;
    atomic_store_explicit(&server.board->owner, root == NULL ? 0 : root->slice->lease,
                          memory_order_relaxed);
    if (root == NULL)
        return;
    if (root->told)
        tell_parked(root, false);
    slices_restore_output(root);
}

void
parking_rest(void)
{
    server.current = server.awake = NULL;
    atomic_store_explicit(&server.board->owner, 0, memory_order_relaxed);
}

/* Which task it is, for whoever finds this process dead. */
static void
describe(const struct work *w)
{
    char *to = server.board->nested, digits[24], *digit = digits + sizeof(digits);
    const struct nest_job *j = w->spawned.job;
    uint64_t index = w->spawned.index;
    size_t n;

    if (w == w->root) {
        *to = '\0';
        return;
    }
    n = strlen(j->function->name);
    if (n > BOARD_NESTED - sizeof(digits))
        n = BOARD_NESTED - sizeof(digits);
    memcpy(to, j->function->name, n);
    if (!j->spec->singles) {
        *--digit = ']';
        do
            *--digit = (char)('0' + index % 10);
        while ((index /= 10) > 0);
        *--digit = '[';
        memcpy(to + n, digit, (size_t)(digits + sizeof(digits) - digit));
        n += (size_t)(digits + sizeof(digits) - digit);
    }
    to[n] = '\0';
}

void
parking_begin(struct work *w)
{
    server.current = w;
    work_for(w->root);
    describe(w);
}

/* ---- cancelling ------------------------------------------------------------------------------ */

static bool
board_cancels(const struct work *root)
{
    return atomic_load_explicit(&server.board->cancel, memory_order_relaxed) ==
           (root->slice->lease << 32 | (root->offset + 1));
}

static void
cancel_root(struct work *root)
{
    root->cancelled = true;
    if (root->nests)
        nest_cancel(&nest, &root->nest, clock_us());
}

void
parking_cancel(const struct message_range *m)
{
    struct work *w, *next;

    for (w = TAILQ_FIRST(&parking.leased); w != NULL; w = next) {
        uint64_t index = w->slice->first + w->offset;

        next = TAILQ_NEXT(w, leased_link);
        if (w->slice->job->job == m->job && index >= m->first && index - m->first < m->count)
            cancel_root(w);
    }
    if ((w = server.awake) != NULL && w->slice->job->job == m->job &&
        w->slice->first + w->offset >= m->first &&
        w->slice->first + w->offset - m->first < m->count)
        cancel_root(w);
}

static void
look_at_board(void)
{
    if (server.awake != NULL && !server.awake->cancelled && board_cancels(server.awake))
        cancel_root(server.awake);
}

/* ---- messages -------------------------------------------------------------------------------- */

static bool
has_mail(void)
{
    if (server.board->attached)
        return (int32_t)(atomic_load_explicit(&server.board->mail, memory_order_acquire) -
                         server.heard) > 0;
    return server.now_ns - parking.looked_ns > LOOK_NS;
}

static void
read_mail(void)
{
    parking.looked_ns = server.now_ns;
    while (uplink_wait(0))
        serve_message();
}

void
parking_carried(const struct message *m)
{
    carried_message(&nest, m);
}

static void
send_out(void)
{
    if (nest.broken)
        uplink_fail("out of memory");
    if (nest.exporter->wants_output || server.now_ns / 1000 >= nest_deadline(&nest))
        carried_send(&nest);
}

bool
parking_cancelled(void *arg)
{
    const struct work *w = arg;

    if (parking.open && !server.forked && has_mail())
        read_mail();
    return w->spawned.cancelled || w->root->cancelled || board_cancels(w->root);
}

/* ---- who goes on ----------------------------------------------------------------------------- */

static void
make_ready(struct work *w, bool late)
{
    if (w->ready || !w->waits)
        return;
    w->ready = true;
    w->late = late;
    if (w->until != CLOCK_NEVER)
        TAILQ_REMOVE(w->yields ? &parking.yielding : &parking.timed, w, timed_link);
    if (w->root == w)
        TAILQ_REMOVE(&parking.leased, w, leased_link);
    TAILQ_INSERT_TAIL(&parking.ready, w, ready_link);
}

static struct work *
work_of(struct nest_session *s)
{
    return (struct work *)(void *)((char *)s - offsetof(struct work, nest));
}

static void
take_news(void)
{
    struct nest_session *s;

    while ((s = nest_news(&nest)) != NULL) {
        struct work *w = work_of(s);

        if (w->waits && !w->ending)
            make_ready(w, false);
        if (s->core->wants_output)
            nest_pull(&nest, s, server.now_ns / 1000);
    }
}

static void
wait_in_time(struct work *w)
{
    struct work *before;

    if (w->until == CLOCK_NEVER)
        return;
    if (w->yields) {
        TAILQ_INSERT_TAIL(&parking.yielding, w, timed_link);
        return;
    }
    TAILQ_FOREACH_REVERSE(before, &parking.timed, work_list, timed_link)
    {
        if (before->until <= w->until)
            break;
    }
    if (before == NULL)
        TAILQ_INSERT_HEAD(&parking.timed, w, timed_link);
    else
        TAILQ_INSERT_AFTER(&parking.timed, before, w, timed_link);
}

static void
end_waits(int64_t now)
{
    struct work *w;

    while ((w = TAILQ_FIRST(&parking.timed)) != NULL && w->until <= now)
        make_ready(w, true);
}

bool
parking_calls(void)
{
    const struct work *w;

    if (!parking.open)
        return false;
    if (nest.queued > 0 || !TAILQ_EMPTY(&parking.ready) || !TAILQ_EMPTY(&parking.yielding) ||
        !TAILQ_EMPTY(&nest.news) || has_mail())
        return true;
    w = TAILQ_FIRST(&parking.timed);
    return w != NULL && w->until <= server.now_ns / 1000;
}

/* ---- tasks of tasks -------------------------------------------------------------------------- */

static void
progress(void *arg, uint64_t done, uint64_t total)
{
    struct message m = {.type = MESSAGE_PROGRESS, .progress = {.done = done, .total = total}};
    struct work *w = arg;

    if (!server.forked)
        nest_tell(&w->spawned, &m);
}

static int
emit(void *arg, const void *bytes, size_t size)
{
    struct message m = {.type = MESSAGE_PARTIAL};
    struct work *w = arg;
    struct blob *data;

    if (server.forked) {
        errno = EINVAL;
        return -1;
    }
    if ((data = blob_copy(bytes, size)) == NULL)
        return -1;
    m.partial.columns =
        (struct columns){.count = 1, .size = (uint32_t)size, .data = data, .length = size};
    nest_tell(&w->spawned, &m);
    blob_unref(data);
    return 0;
}

/* Aligned for any type: in place, or as a copy. */
static const void *
input_of(struct work *w)
{
    const struct nest_task *t = &w->spawned;
    const uint8_t *input = t->size == 0 ? NULL : t->data->bytes + t->offset;

    if (((uintptr_t)input & 15) == 0)
        return input;
    if (t->size <= sizeof(w->input))
        return memcpy(w->input, input, t->size);
    if ((w->aligned = malloc(t->size)) == NULL)
        uplink_fail("out of memory for an input");
    return memcpy(w->aligned, input, t->size);
}

static bool
run_spawned(void)
{
    struct work w, *by;
    const struct spec *spec;
    enum outcome outcome;
    int64_t start;

    memset(&w, 0, offsetof(struct work, room));
    if (!nest_next(&nest, &w.spawned))
        return false;
    spec = w.spawned.job->spec;
    by = work_of(w.spawned.job->session);
    w.root = by->root;
    w.run = (struct task_run){
        .function = w.spawned.job->function->function,
        .input = input_of(&w),
        .size = w.spawned.size,
        .seed = spec->seed,
        .stream = spec->base + w.spawned.index,
        .index = spec->singles ? 0 : w.spawned.index,
        .attempt = w.spawned.attempt,
        .priority = spec->priority,
        .worker = server.worker,
        .constants = w.root->run.constants,
        .cancelled = parking_cancelled,
        .progress = progress,
        .emit = emit,
        .arg = &w,
    };
    parking_begin(&w);
    start = server.now_ns;
    task_init(&w.task, &w.run, w.room, sizeof(w.room));
    outcome = task_execute(&w.task);
    if (server.forked)
        _exit(0); /* the task forked, and its child came back: it is no executor */
    if (__fpending(stdout) > 0)
        fflush(stdout);
    server.current = NULL;
    server.now_ns = server_clock();
    nest_result(&nest, &w.spawned, outcome, w.task.result, w.task.size, w.task.blob,
                server.now_ns - start, server.now_ns / 1000);
    if (w.task.blob != NULL || w.task.words != NULL)
        task_release(&w.task);
    free(w.aligned);
    if (by->ending && TAILQ_EMPTY(&by->nest.running))
        make_ready(by, false);
    return true;
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* There is nothing to do: wait for a message, or until somebody has waited long enough, be it the
 * broker for word of its results. */
static void
idle(void)
{
    const struct work *w = TAILQ_FIRST(&parking.timed);
    int64_t until = parking.open ? nest_deadline(&nest) : CLOCK_NEVER;
    int64_t trim = parking.open && stacks_used() ? clock_us() + TRIM_US : CLOCK_NEVER;

    if (w != NULL && w->until < until)
        until = w->until;
    if (uplink_wait(trim < until ? trim : until))
        serve_message();
    else if (trim < until)
        stacks_trim();
    server.now_ns = server_clock();
}

static void
let_yielding_go_on(void)
{
    struct work *w;

    while ((w = TAILQ_FIRST(&parking.yielding)) != NULL)
        make_ready(w, true);
}

static void
look_around(void)
{
    if (has_mail())
        read_mail();
    look_at_board();
    take_news();
    if (!TAILQ_EMPTY(&parking.timed))
        end_waits(server.now_ns / 1000);
    send_out();
}

static void
loop(void)
{
    for (;;) {
        struct work *w;

        if (parking.open)
            look_around();
        if ((w = TAILQ_FIRST(&parking.ready)) != NULL) {
            TAILQ_REMOVE(&parking.ready, w, ready_link);
            stacks_abandon(w->stack);
        }
        if (!TAILQ_EMPTY(&parking.yielding)) {
            let_yielding_go_on(); /* when one of those below has had its turn */
            (void)run_spawned();
            continue;
        }
        if (run_spawned())
            continue;
        work_for(NULL);
        if (!slices_run())
            idle();
    }
}

/* In a signal handler: which task it is. */
static const char *
running(void)
{
    const struct work *w = server.current;

    if (w == NULL)
        return NULL;
    return w == w->root ? w->slice->job->spec->function : w->spawned.job->function->name;
}

void
parking_open(const futures_config_t *config)
{
    TAILQ_INIT(&parking.ready);
    TAILQ_INIT(&parking.yielding);
    TAILQ_INIT(&parking.timed);
    TAILQ_INIT(&parking.leased);
    stacks_open(config->stack_size, loop);
    crash_open(&server.board->death, (void (*)(void))task_execute, running);
    if (nest_init(&nest) != 0 || stacks_reserve() != 0)
        uplink_fail("out of memory");
}

void
parking_serve(void)
{
    stacks_switch_to_new();
    abort(); /* nobody enters this stack again */
}

/* ---- what sessions in tasks call ------------------------------------------------------------- */

struct work *
parking_work(struct task *task)
{
    return task->run->arg;
}

bool
parking_runs(const struct work *w)
{
    return server.current == w;
}

int
parking_nest(struct work *w, struct core *core)
{
    if (server.forked) {
        errno = EINVAL;
        return -1;
    }
    if (stacks_reserve() != 0)
        return -1;
    if (!parking.open) {
        parking.open = true;
        memcpy(nest.worker, server.worker, sizeof(nest.worker));
    }
    carried_open(&nest);
    nest_open(&nest, &w->nest, core, w->root->slice->job->spec, w->root->slice->attempt > 1);
    w->spawned.below = &w->nest;
    w->nest.ended = w->spawned.cancelled || w->root->cancelled;
    w->nests = true;
    return 0;
}

bool
parking_ended(struct work *w)
{
    if (w->nest.ended)
        return true;
    if (board_cancels(w->root) && !w->root->cancelled)
        cancel_root(w->root);
    return w->nest.ended;
}

void
parking_submitted(struct work *w)
{
    if (has_mail())
        read_mail();
    if (nest.credit == 0 || nest.slots <= 1)
        return;
    nest_pull(&nest, &w->nest, clock_us());
    send_out();
}

/* Leave this stack until the task is made ready. */
static void
park(struct work *w, int64_t until)
{
    int error = errno;

    w->waits = true;
    w->ready = w->late = false;
    w->until = until;
    wait_in_time(w);
    if (w->root == w) {
        slices_keep_input(w);
        TAILQ_INSERT_TAIL(&parking.leased, w, leased_link);
    }
    nest_flush(&nest);
    w->stack = stacks_current();
    server.current = NULL;
    stacks_switch_to_new();
    w->waits = false;
    (void)stacks_reserve();
    parking_begin(w);
    errno = error;
}

int
parking_wait(struct work *w, int64_t deadline)
{
    struct core *core = w->nest.core;

    server.now_ns = server_clock();
    nest_pull(&nest, &w->nest, server.now_ns / 1000);
    (void)parking_ended(w);
    if (core->news) {
        core->news = false;
        return 0;
    }
    w->yields = deadline <= server.now_ns / 1000;
    park(w, deadline);
    core->news = false;
    if (w->late)
        nest_tell_running(&nest, &w->nest);
    return w->late ? -1 : 0;
}

void
parking_close(struct work *w)
{
    if (!w->nests || server.forked)
        return;
    if (w->nest.core->unended > 0 || w->nest.core->wants_output)
        nest_cancel(&nest, &w->nest, clock_us());
    w->ending = true;
    while (!TAILQ_EMPTY(&w->nest.running))
        park(w, CLOCK_NEVER);
    w->ending = false;
    w->spawned.below = NULL;
    nest_close(&nest, &w->nest);
    w->nests = false;
    send_out();
}
