#include "revoking.h"

#include "peers.h"
#include "workers.h"

#define VICTIMS 4         /* looked at in one pass */
#define WORTH_US 3000.0   /* less than this is over before it has moved */
#define AGAIN_US 5000     /* look again after */
#define PAUSE_LEAST 10000 /* us: leave one in peace that had nothing to give, and ever longer */
#define PAUSE_MOST 1000000

/* Tasks that wait there: for slots, or for memory. */
static uint64_t
excess(const struct worker *w)
{
    return w->tasks > w->slots ? w->tasks - w->slots : 1;
}

/* Us that tasks of `w` will wait at least before they start, as far as is known. */
static double
worth(const struct scheduler *s, const struct worker *w, const struct lease *l)
{
    double expected = (double)excess(w) * worker_each(w, l->chunk->job->function);
    double stuck = (double)(s->now - w->progress); /* behind tasks that take so long already */

    return expected > stuck ? expected : stuck;
}

static bool
revocable(const struct lease *l)
{
    const struct job *j = l->chunk->job;

    return l->left > 0 && !l->parked && !j->client->paused && !j->spec->once;
}

/* What was handed over last is the least likely to have started. */
static struct lease *
newest(const struct worker *w)
{
    struct lease *l = TAILQ_LAST(&w->leases, lease_list);

    for (int i = 0; l != NULL && i < VICTIMS; i++) {
        if (revocable(l))
            return l;
        l = TAILQ_PREV(l, lease_list, link);
    }
    return NULL;
}

static void
revoke(struct scheduler *s, struct worker *w, struct lease *l)
{
    uint64_t half = (excess(w) + 1) / 2;
    struct outgoing *o = peer_say(s, w->peer, MESSAGE_REVOKE);

    if (o == NULL)
        return;
    o->m.revoke =
        (struct message_revoke){.lease = l->id, .count = half < l->left ? (uint32_t)half : l->left};
    outbox_put(&s->outbox, o);
    w->revoking = l->id;
    worker_update(s, w);
}

/* True if `w` may have something for others later. */
static bool
consider(struct scheduler *s, struct worker *w)
{
    struct lease *l = newest(w);
    bool late;

    if (l == NULL || worker_free(s, l->chunk->job, w, &late) == NULL)
        return false;
    if (s->now >= w->revoke_at && worth(s, w, l) >= WORTH_US)
        revoke(s, w, l);
    return true;
}

void
revoke_pass(struct scheduler *s)
{
    uint32_t mask = s->nfree > 0 ? s->loaded_mask : 0; /* for nobody: nothing */
    bool again = false;
    int seen = 0;

    while (mask != 0 && seen < VICTIMS) {
        int bucket = 31 - __builtin_clz(mask);
        struct worker *w = TAILQ_FIRST(&s->loaded[bucket]), *next;

        for (; w != NULL && seen < VICTIMS; w = next, seen++) {
            next = TAILQ_NEXT(w, of_load);
            again = consider(s, w) || again;
            if (w->load != bucket)
                continue;
            /* Another one's turn the next time. */
            TAILQ_REMOVE(&s->loaded[bucket], w, of_load);
            TAILQ_INSERT_TAIL(&s->loaded[bucket], w, of_load);
        }
        mask &= ~(1u << bucket);
    }
    s->revoke_at = again ? s->now + AGAIN_US : CLOCK_NEVER;
}

void
revoke_answered(struct scheduler *s, struct worker *w, uint64_t lease, uint32_t count)
{
    if (w->revoking == 0 || w->revoking != lease)
        return;
    w->revoking = 0;
    if (count > 0) {
        w->revoke_pause = 0;
    } else {
        w->revoke_pause = w->revoke_pause == 0 ? PAUSE_LEAST : w->revoke_pause * 2;
        if (w->revoke_pause > PAUSE_MOST)
            w->revoke_pause = PAUSE_MOST;
    }
    w->revoke_at = s->now + w->revoke_pause;
    if (w->revoke_at < s->revoke_at)
        s->revoke_at = w->revoke_at;
    worker_update(s, w);
}
