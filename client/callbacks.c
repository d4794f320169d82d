/* Callbacks of what ended or gave out a part: in threads of the program, one at a time, unlocked.
 */
#include "session.h"

#include <assert.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

/* Let the lock go, as a callback begins. */
static void
begin_call(futures_t *s, struct calling *c, const void *whose)
{
    *c = (struct calling){whose, s->calling};
    s->calling = c;
    session_unlock(s);
}

static void
end_call(futures_t *s, struct calling *c)
{
    session_lock(s);
    assert(s->calling == c);
    s->calling = c->outer;
    if (s->waiters > 0)
        pthread_cond_broadcast(&s->changed); /* one may wait for just that */
}

static struct calling *
find_call(const futures_t *s, const void *whose)
{
    struct calling *c = s->calling;

    while (c != NULL && c->whose != whose)
        c = c->outer;
    return c;
}

void
session_await_callback(futures_t *s, const void *whose)
{
    struct calling *c;

    while ((c = find_call(s, whose)) != NULL) {
        if (pthread_equal(s->dispatcher, pthread_self())) {
            c->whose = NULL; /* goes in its own callback: its address may be another's next */
            continue;
        }
        s->waiters++;
        pthread_cond_wait(&s->changed, &s->lock);
        s->waiters--;
    }
}

/* The next callback that a partial result is for, behind the one called last: others may have come
 * or gone since. NULL: no more. */
static future_partial_fn *
partial_target(const futures_t *s, const struct partial *p, uint32_t *ordinal_p, void **arg_p,
               const void **whose_p)
{
    const struct job *j = core_find(s->core, p->job);
    const struct chunk *c;
    struct watcher *w;
    struct extras *x;

    if (j == NULL)
        return NULL;
    *whose_p = j->owner;
    if (j->owner != NULL)
        return (*ordinal_p)++ == 0 ? results_partial(j->owner, arg_p) : NULL;
    if ((c = job_chunk(j, p->index)) == NULL || c->first > p->index)
        return NULL;
    w = chunk_watchers(c, (uint32_t)(p->index - c->first));
    while (w != NULL && (w->ordinal <= *ordinal_p || !w->partials))
        w = w->next;
    if (w == NULL)
        return NULL;
    *ordinal_p = w->ordinal;
    x = (struct extras *)((char *)w - offsetof(struct extras, watcher));
    *arg_p = x->partial_arg;
    *whose_p = x->future;
    return x->partial;
}

static int
run_partial(futures_t *s, struct partial *p)
{
    const struct job *j = core_find(s->core, p->job);
    uint64_t index = j != NULL && j->spec->singles ? 0 : p->index;
    future_partial_fn *fn;
    uint32_t ordinal = 0;
    struct calling c;
    const void *whose = NULL;
    void *arg = NULL;
    int n = 0;

    for (; (fn = partial_target(s, p, &ordinal, &arg, &whose)) != NULL; n++) {
        begin_call(s, &c, whose);
        fn(index, p->data == NULL ? (const void *)"" : p->data->bytes + p->at, p->size, arg);
        end_call(s, &c);
    }
    partial_free(p);
    return n;
}

/* The first callback of a future that ended; the future may be gone after it. */
static int
run_woken(futures_t *s, struct watcher *w)
{
    struct extras *x = (struct extras *)((char *)w - offsetof(struct extras, watcher));
    struct call *call = TAILQ_FIRST(&x->calls);
    struct future *f = x->future;
    struct calling c;

    if (call == NULL) {
        TAILQ_REMOVE(&s->core->woken, w, link);
        w->queued = false;
        return 0;
    }
    TAILQ_REMOVE(&x->calls, call, link);
    begin_call(s, &c, f);
    call->fn(f, call->arg);
    free(call);
    end_call(s, &c);
    return 1;
}

int
session_dispatch(futures_t *s)
{
    struct core *core = s->core;
    int n = 0;

    if (TAILQ_EMPTY(&core->partials) && TAILQ_EMPTY(&core->woken))
        return 0;
    if (s->dispatching > 0 && !pthread_equal(s->dispatcher, pthread_self()))
        return 0; /* that thread goes on, in order */
    s->dispatcher = pthread_self();
    s->dispatching++;
    for (;;) {
        struct watcher *w;
        struct partial *p;

        if ((p = core_partial(core)) != NULL)
            n += run_partial(s, p);
        else if ((w = TAILQ_FIRST(&core->woken)) != NULL)
            n += run_woken(s, w);
        else
            break;
    }
    s->dispatching--;
    return n;
}
