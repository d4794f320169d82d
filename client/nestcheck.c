/* The invariants of the nest, for its tests. */
#include "nesting.h"

#include <assert.h>

#ifdef NDEBUG
#undef assert
#include <stdlib.h>
#define assert(condition) ((condition) ? (void)0 : abort())
#endif

static void
check_job(const struct nest *n, const struct nest_job *j)
{
    const struct nest_session *s = j->session;
    const struct nest_export *x;
    const struct nest_piece *p;
    const struct nest_task *t;
    unsigned refs = n->batch.session != NULL && n->batch.job == j;

    TAILQ_FOREACH (p, &s->pieces, link) {
        refs += p->job == j;
    }
    TAILQ_FOREACH (t, &s->running, link) {
        refs += t->job == j;
    }
    LIST_FOREACH (x, &s->exports, link) {
        refs += x->job == j;
    }
    assert(j->refs == refs && (refs > 0 || !j->ended));
}

void
nest_check(const struct nest *n)
{
    const struct nest_session *s;
    const struct nest_piece *p;
    const struct nest_job *j;
    uint64_t all = 0, age = 0;

    TAILQ_FOREACH (s, &n->sessions, link) {
        uint64_t tasks = 0;

        assert(s->age > age && s->queued > 0);
        age = s->age;
        TAILQ_FOREACH (p, &s->pieces, link) {
            assert(p->count > 0 && p->job->session == s && p->job->stays);
            tasks += p->count;
        }
        TAILQ_FOREACH (j, &s->jobs, link) {
            check_job(n, j);
        }
        assert(s->queued == tasks);
        all += tasks;
    }
    assert(n->queued == all);
    core_check(n->exporter);
}
