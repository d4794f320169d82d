/* nested.c - sessions inside of tasks.
 *
 * A task's session is one like any other, with a core of its own, but for what drives it: in an
 * executor the tasks on stacks (parking.h), in a "serial" session the very call that waits. It ends
 * with the task's function, and takes along the futures and results that were forgotten in it.
 */
#include "session.h"

#include "parking.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_SLAB = 4, LARGEST_SLAB = 512 };

struct slab { /* futures that are made and freed together */
    struct slab *next;
    uint32_t count, used;
    struct future list[];
};

struct nested {
    futures_t *session;
    struct task *task;
    struct work *work; /* NULL: it runs in a "serial" session */
    struct slab *slabs;
    struct future *unused; /* in the slabs, linked by `extras` */
};

/* ---- futures ----------------------------------------------------------------------------------
 */

static struct future *
slab_future(struct nested *n)
{
    struct slab *slab = n->slabs;
    struct future *f = n->unused;
    uint32_t count;

    if (f != NULL) {
        n->unused = (struct future *)(void *)f->extras;
        return f;
    }
    if (slab == NULL || slab->used == slab->count) {
        count = slab == NULL ? FIRST_SLAB : 2 * slab->count;
        if (count > LARGEST_SLAB)
            count = LARGEST_SLAB;
        if ((slab = malloc(sizeof(*slab) + count * sizeof(slab->list[0]))) == NULL)
            return NULL;
        slab->next = n->slabs;
        slab->count = count;
        slab->used = 0;
        n->slabs = slab;
    }
    return &slab->list[slab->used++];
}

struct future *
future_new(futures_t *s)
{
    struct future *f = s->nested != NULL ? slab_future(s->nested) : malloc(sizeof(*f));

    if (f != NULL)
        *f = (struct future){.session = s};
    return f;
}

void
future_free(struct future *f)
{
    struct nested *n = f->session->nested;

    if (n == NULL) {
        free(f);
        return;
    }
    f->session = NULL;
    f->extras = (struct extras *)(void *)n->unused;
    n->unused = f;
}

/* ---- its end ----------------------------------------------------------------------------------
 */

static void
drop_futures(futures_t *s)
{
    struct slab *slab;

    while ((slab = s->nested->slabs) != NULL) {
        for (uint32_t i = 0; i < slab->count && i < slab->used; i++) {
            struct future *f = &slab->list[i];

            if (f->session != NULL && f->extras != NULL)
                future_drop_extras(f);
        }
        s->nested->slabs = slab->next;
        free(slab);
    }
}

static void
drop_results(futures_t *s)
{
    struct job *j, *next;
    results_t *r;

    HASH_ITER (hh, s->core->jobs, j, next) {
        if (j->owner == NULL)
            continue;
        r = j->owner;
        results_destroy(&r);
        next = s->core->jobs; /* others may have gone with it */
    }
}

/* The task's function has returned. */
static void
end(struct task *task)
{
    futures_t *s = task->futures;

    if (!session_same_process(s))
        return; /* a child that the task forked, and that came back */
    s->closed = s->stopped = true;
    if (s->nested->work != NULL)
        parking_close(s->nested->work);
    drop_results(s);
    drop_futures(s);
    task->futures = NULL;
    free(s->nested);
    s->nested = NULL;
    session_free(s);
}

/* ---- its beginning ----------------------------------------------------------------------------
 */

/* The numbers of its tasks depend on nothing but its own. */
static uint64_t
seed_of(const struct task_run *run)
{
    return (run->seed ^ 0xd1b54a32d192ed03u) + (run->stream + 1) * 0x9e3779b97f4a7c15u;
}

static futures_t *
make(struct task *task)
{
    const struct task_run *run = task->run;
    futures_t *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    if (session_init(s, run->session != NULL ? KIND_SERIAL : KIND_NESTED) != 0 ||
        (s->nested = calloc(1, sizeof(*s->nested))) == NULL)
        goto fail;
    s->nested->session = s;
    s->nested->task = task;
    s->nested->work = run->session != NULL ? NULL : parking_work(task);
    s->config.window = 8u << 20;
    s->config.quiet = true;
    s->config.seed = seed_of(run);
    s->program = (struct program){.name = "", .machine = "", .arguments = ""};
    if (run->session != NULL ? (s->serial = serial_new(s)) == NULL
                             : parking_nest(s->nested->work, s->core) != 0)
        goto fail;
    s->phase = PHASE_OPEN;
    return s;
fail:
    free(s->nested);
    s->nested = NULL;
    session_free(s);
    return NULL;
}

futures_t *
task_futures(task_t *self)
{
    if (self->futures != NULL)
        return self->futures;
    if ((self->futures = make(self)) == NULL) {
        error_set(errno == EINVAL ? EINVAL : ENOMEM, "cannot make a session in a task: %s",
                  errno == EINVAL ? "this process was forked from an executor" : "out of memory");
        return NULL;
    }
    self->end = end;
    return self->futures;
}

/* ---- while it is there ------------------------------------------------------------------------
 */

bool
nested_usable(const futures_t *s)
{
    const struct nested *n = s->nested;
    bool ended = n->work != NULL ? parking_ended(n->work) : task_cancelled(n->task);
    futures_t *own = n->session;

    if (n->work != NULL && !parking_runs(n->work)) {
        error_set(EINVAL, "this session belongs to another task: each has its own, task_futures()");
        return false;
    }
    if (!ended || s->stopped)
        return true;
    own->closed = own->stopped = true;
    if (n->work == NULL)
        core_end_all(s->core, OUTCOME_CANCELLED, "cancelled, as the task that spawned it was",
                     true);
    return true;
}

int
nested_wait(futures_t *s, int64_t deadline)
{
    int64_t until = core_deadline(s->core);
    int late;

    session_unlock(s);
    late = parking_wait(s->nested->work, until < deadline ? until : deadline);
    session_lock(s);
    if (until != CLOCK_NEVER)
        core_tick(s->core, clock_us());
    (void)nested_usable(s);
    return late != 0 && deadline != CLOCK_NEVER && clock_us() >= deadline ? -1 : 0;
}

void
nested_submitted(futures_t *s)
{
    if (s->nested->work != NULL)
        parking_submitted(s->nested->work);
}

int
nested_priority(const futures_t *s)
{
    return s->nested->task->run->priority;
}

const struct constants *
nested_constants(const futures_t *s)
{
    return s->nested->task->run->constants;
}
