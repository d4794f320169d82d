#include "keeper.h"

#include "broker.h"
#include "deposits.h"
#include "disk.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define LONGER_US 3000000 /* when all is calm already */
#define BEHIND_US 2000000 /* a broker tries a full disk again once a second */

struct keeper {
    struct actor actor;
    struct deposit *about; /* what was asked for */
    enum kept_action action;
    uint64_t index;
    /* Of that job, before. */
    unsigned rounds;
    struct kept_row row;
};

/* ---- answers ------------------------------------------------------------------------------------
 */

static uint64_t
count_of(const struct deposit *d, enum outcome o)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < d->inputs; i++)
        n += d->outcomes[i] == o;
    return n;
}

static struct kept_row
row_of(const struct deposit *d)
{
    uint64_t done = count_of(d, OUTCOME_DONE);

    return (struct kept_row){.total = d->inputs,
                             .done = done,
                             .failed = d->ended - done,
                             .cancelled = count_of(d, OUTCOME_CANCELLED),
                             .sealed = d->sealed};
}

static void
check_row(const struct keeper *k, const struct message_kept *m)
{
    const struct sim *s = k->actor.sim;
    const struct kept_row *is = &k->row, *row = m->rows;

    if (m->error != KEPT_NONE || m->nrows != 1 || strcmp(row->id, k->about->hex) != 0)
        sim_fail(s, "job %.8s is not in the list: %s", k->about->hex, m->text);
    if (disk_was_full(s->disk, s->now - BEHIND_US)) /* it knows of more than is on disk */
        return;
    if (row->total != is->total || row->done != is->done || row->failed != is->failed ||
        row->cancelled != is->cancelled || row->sealed != is->sealed)
        sim_fail(s,
                 "job %.8s is listed with %" PRIu64 " tasks, %" PRIu64 " done, %" PRIu64
                 " failed; on disk it has %" PRIu64 ", %" PRIu64 " done, %" PRIu64 " failed",
                 k->about->hex, row->total, row->done, row->failed, is->total, is->done,
                 is->failed);
}

static void
check_task(const struct sim *s, const struct deposit *d, uint64_t index,
           const struct message_kept_task *m)
{
    const struct record *r = d->tasks[index];
    const struct columns *c = &m->columns;

    if (m->error == KEPT_DAMAGED)
        sim_fail(s, "job %.8s: the input of task %" PRIu64 " cannot be had", d->hex, index);
    if (m->error != KEPT_NONE)
        return;
    if (d->outcomes[index] != m->outcome)
        sim_fail(s, "job %.8s: task %" PRIu64 " is said to have ended %s, which is not on disk",
                 d->hex, index, outcome_name(m->outcome));
    if (memcmp(c->data->bytes + c->at, &r->input, sizeof(r->input)) != 0)
        sim_fail(s, "job %.8s: another input is given for task %" PRIu64, d->hex, index);
}

void
keeper_answer(struct keeper *k, const struct message *m)
{
    struct sim *s = k->actor.sim;
    struct deposit *d = k->about;

    if (m->type == MESSAGE_KEPT_TASK) {
        check_task(s, d, k->index, &m->kept_task);
        return;
    }
    if (m->kept.error == KEPT_UNKNOWN)
        sim_fail(s, "job %.8s is there, and is said not to be", d->hex);
    sim_trace(s, "the keeper hears about job %.8s: %s", d->hex,
              m->kept.error == KEPT_NONE ? "it is so" : m->kept.text);
    if (k->action == KEPT_LIST)
        check_row(k, &m->kept);
    else if (m->kept.error == KEPT_NONE && k->action == KEPT_CANCEL)
        deposit_told_cancelled(s, d);
    else if (m->kept.error == KEPT_NONE)
        deposit_told_retried(s, d, k->rounds);
}

/* ---- questions ----------------------------------------------------------------------------------
 */

static void
ask(struct keeper *k)
{
    static const enum kept_action actions[] = {KEPT_LIST,  KEPT_LIST,  KEPT_TASK,
                                               KEPT_RETRY, KEPT_RETRY, KEPT_CANCEL};
    struct sim *s = k->actor.sim;
    struct message m = {.type = MESSAGE_KEPT_WANTED};

    if ((k->about = deposits_some(s)) == NULL)
        return;
    k->action = actions[random_below(&s->random, 6)];
    k->index = random_below(&s->random, k->about->most + 1);
    k->rounds = k->about->rounds;
    k->row = row_of(k->about);
    if (k->action == KEPT_TASK && k->index >= k->about->most)
        return;
    if (k->action == KEPT_CANCEL) {
        sim_trace(s, "the keeper cancels job %.8s", k->about->hex);
        for (uint64_t i = 0; i < k->about->most; i++)
            k->about->tasks[i]->cancelled = true;
    }
    m.kept_wanted =
        (struct message_kept_wanted){.action = k->action, .id = k->about->hex, .index = k->index};
    broker_ask(s->broker, &m);
}

static void
wake(struct actor *a, uint64_t what)
{
    struct sim *s = a->sim;

    (void)what;
    if (s->now > s->calm + LONGER_US) {
        s->clients_left--;
        return;
    }
    ask((struct keeper *)a);
    sim_wake(a, s->now + random_between(&s->random, 1000, 2000000), 0);
}

static void
destroy(struct actor *a)
{
    free(a);
}

static const struct actor_class class = {.wake = wake, .free = destroy};

struct keeper *
keeper_new(struct sim *s)
{
    struct keeper *k = calloc(1, sizeof(*k));

    assert(k != NULL);
    k->actor.class = &class;
    k->actor.sim = s;
    snprintf(k->actor.name, sizeof(k->actor.name), "keeper");
    s->clients_left++;
    sim_wake(&k->actor, s->now + random_between(&s->random, 0, 2000000), 0);
    sim_add(s, &k->actor);
    return k;
}
