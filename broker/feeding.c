/* The scheduler's side: each job is a client there. */
#include "kept.h"

#include "../base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct outgoing *
say(struct depot *d, uint32_t peer, enum message_type type)
{
    return outbox_new(&d->outbox, peer, type);
}

/* ---- coming and going --------------------------------------------------------------------------
 */

static void
hello(struct depot *d, struct kept *j)
{
    struct outgoing *o;
    struct blob *name;

    if (d->now < j->again_at) {
        d->again_at = d->again_at < j->again_at ? d->again_at : j->again_at;
        return;
    }
    j->peer = DEPOT_PEERS | (++d->last_peer & ~DEPOT_PEERS);
    HASH_ADD(by_peer, d->by_peer, peer, sizeof(j->peer), j);
    if (j->by_peer.tbl == NULL || (o = say(d, j->peer, MESSAGE_HELLO)) == NULL) {
        if (j->by_peer.tbl != NULL)
            HASH_DELETE(by_peer, d->by_peer, j);
        j->peer = 0;
        j->again_at = d->again_at = d->now + RETRY_US;
        return;
    }
    name = sentence("%s (detached)", j->client);
    outgoing_keep(o, name);
    o->m.hello = (struct message_hello){.role = ROLE_CLIENT,
                                        .protocol = LADLE_PROTOCOL,
                                        .software = "",
                                        .name = words(name),
                                        .host = "",
                                        .machine = "",
                                        .labels = "",
                                        .window = RESULTS_BYTES};
    memcpy(o->m.hello.session, j->id, sizeof(j->id));
    blob_unref(name);
    outbox_put(&d->outbox, o);
    j->told = j->end_told = false;
    j->window = 0;
    j->received = j->taken = j->noted = 0;
}

/* It is not there any more: all that has not ended is to be told anew. */
static void
forget(struct depot *d, struct kept *j)
{
    HASH_DELETE(by_peer, d->by_peer, j);
    j->peer = 0;
    d->under_way -= j->under_way;
    j->under_way = 0;
    j->window = 0;
    j->feed = 0;
    for (size_t i = 0; i < j->npieces; i++) {
        if (j->pieces[i].piece != NULL)
            j->pieces[i].piece->sent = 0;
    }
}

void
feed_stop(struct depot *d, struct kept *j)
{
    struct outgoing *o;

    if (j->peer == 0)
        return;
    if ((o = say(d, j->peer, MESSAGE_BYE)) != NULL) {
        o->m.text = "";
        outbox_put(&d->outbox, o);
    }
    forget(d, j);
}

static void
stay_hungry(struct depot *d, struct kept *j)
{
    if (j->hungry)
        return;
    j->hungry = true;
    TAILQ_INSERT_TAIL(&d->hungry, j, of_hungry);
}

/* ---- inputs ------------------------------------------------------------------------------------
 */

static void
tell_job(struct depot *d, struct kept *j)
{
    struct outgoing *o = say(d, j->peer, MESSAGE_JOB);
    struct spec spec = *j->spec;
    int64_t left;

    if (o == NULL)
        return;
    if (spec.deadline_ms > 0) { /* what is left of it */
        left = spec.deadline_ms - (d->wall - j->created) * 1000;
        spec.deadline_ms = left > 0 ? left : 1;
        o->spec = spec_new(&spec);
    } else {
        o->spec = spec_ref(j->spec);
    }
    if (o->spec == NULL) {
        outbox_drop(&d->outbox, o);
        return;
    }
    o->m.job = (struct message_job){.job = j->rounds + 1, .spec = o->spec};
    outbox_put(&d->outbox, o);
    j->told = true;
}

/* How many bytes of it may be with the scheduler: all jobs share what there is, but each may have
 * some, or one that waits in vain would keep the others from running. */
static uint64_t
share(const struct depot *d, const struct kept *j)
{
    uint64_t left = d->under_way < UNDER_WAY_BYTES ? UNDER_WAY_BYTES - d->under_way : 0;
    uint64_t all = j->under_way + left / 4;

    return all < j->window ? all : j->window;
}

/* Of the tasks [from, to) of a loaded piece, as many as there is room for. */
static uint32_t
fit(const struct depot *d, const struct kept *j, const struct piece *p, uint32_t from, uint32_t to,
    uint64_t *cost_p)
{
    uint64_t room = share(d, j), cost = j->under_way;
    uint32_t n = 0;

    for (; from + n < to; n++) {
        uint64_t each = TASK_COST + kept_columns(p, from + n, 1).length;

        if (cost + each > room && (j->under_way > 0 || n > 0))
            break;
        cost += each;
    }
    *cost_p = cost - j->under_way;
    return n;
}

/* What cannot be read any more cannot run. */
static void
lose(struct depot *d, struct kept *j, struct piece *p)
{
    char text[160];

    snprintf(text, sizeof(text), "its input is damaged in the broker's store (row %llu)",
             (unsigned long long)p->row);
    log_error("job %s: tasks %llu to %llu: %s", j->hex, (unsigned long long)p->first,
              (unsigned long long)(p->first + p->count - 1), text);
    (void)end_by_itself(d, j, p->first, p->count, OUTCOME_LOST, text);
}

static bool
send_run(struct depot *d, struct kept *j, struct piece *p, uint32_t from, uint32_t to)
{
    struct outgoing *o;
    struct columns c;
    uint64_t cost;
    uint32_t n = fit(d, j, p, from, to, &cost);
    bool begun;

    if (n == 0 || (o = say(d, j->peer, MESSAGE_INPUTS)) == NULL)
        return false;
    c = kept_columns(p, from, n);
    outgoing_keep(o, p->data);
    outgoing_keep(o, p->sizes);
    begun = p->first + from < j->begun;
    o->m.inputs = (struct message_inputs){.job = j->rounds + 1,
                                          .first = p->first + from,
                                          .columns = c,
                                          .again = j->recovered || begun,
                                          .running = begun};
    outbox_put(&d->outbox, o);
    p->sent = from + n;
    j->under_way += cost;
    d->under_way += cost;
    return n == to - from;
}

/* True if all of it is there now. */
static bool
feed_piece(struct depot *d, struct kept *j, struct piece *p)
{
    while (p->sent < p->count) {
        uint32_t from = p->sent, to;

        while (from < p->count && p->state[from] != 0)
            from++;
        p->sent = from;
        if (from == p->count)
            break;
        if (kept_load_piece(d, j, p) != 0) {
            if (errno == ENOMEM)
                return false;
            lose(d, j, p);
            return true; /* and may be gone */
        }
        for (to = from + 1; to < p->count && p->state[to] == 0 && p->first + to != j->begun;)
            to++;
        if (!send_run(d, j, p, from, to))
            return false;
    }
    kept_unload_piece(p);
    return true;
}

static void
tell_end(struct depot *d, struct kept *j)
{
    struct outgoing *o;

    if (j->end_told || !j->sealed_stored || (o = say(d, j->peer, MESSAGE_JOB_END)) == NULL)
        return;
    o->m.job_end = (struct message_job_end){.job = j->rounds + 1, .total = j->total};
    outbox_put(&d->outbox, o);
    j->end_told = true;
}

void
feed(struct depot *d, struct kept *j)
{
    if (kept_ended(j) || j->stored == 0 || j->cancelled)
        return;
    if (j->peer == 0)
        hello(d, j);
    if (j->peer == 0 || j->window == 0) {
        stay_hungry(d, j);
        return;
    }
    if (!j->told)
        tell_job(d, j);
    while (j->told && j->feed < j->npieces) {
        struct piece *p = j->pieces[j->feed].piece;

        if (p != NULL && !p->stored)
            return;
        if (p != NULL && !feed_piece(d, j, p)) {
            stay_hungry(d, j);
            return;
        }
        j->feed++;
    }
    if (j->told)
        tell_end(d, j);
}

void
feed_hungry(struct depot *d)
{
    struct kept_list all = TAILQ_HEAD_INITIALIZER(all);
    struct kept *j;

    d->again_at = CLOCK_NEVER;
    TAILQ_CONCAT(&all, &d->hungry, of_hungry);
    while ((j = TAILQ_FIRST(&all)) != NULL) {
        TAILQ_REMOVE(&all, j, of_hungry);
        j->hungry = false;
        feed(d, j);
    }
}

/* ---- outcomes ----------------------------------------------------------------------------------
 */

/* Tasks [first, first + count) that have not ended: the first run of them. */
static bool
next_run(const struct kept *j, uint64_t first, uint64_t last, uint64_t *from_p, uint64_t *to_p)
{
    for (uint64_t i = first; i < last; i++) {
        const struct piece *p = kept_piece(j, i);

        if (p == NULL || p->state[i - p->first] != 0)
            continue;
        *from_p = i;
        while (i < last && i - p->first < p->count && p->state[i - p->first] == 0)
            i++;
        *to_p = i;
        return true;
    }
    return false;
}

static void
off_the_way(struct depot *d, struct kept *j, uint64_t bytes)
{
    bytes = bytes < j->under_way ? bytes : j->under_way;
    j->under_way -= bytes;
    d->under_way -= bytes;
}

/* What these tasks, of one piece, count at the scheduler. */
static uint64_t
cost_of(const struct kept *j, uint64_t first, uint32_t count)
{
    const struct piece *p = kept_piece(j, first);
    uint32_t from = (uint32_t)(first - p->first);

    if (from >= p->sent)
        return 0;
    count = count < p->sent - from ? count : p->sent - from;
    return kept_columns(p, from, count).length + (uint64_t)count * TASK_COST;
}

static int
store_results(struct depot *d, struct kept *j, const struct message_results *r, uint64_t from,
              uint64_t to)
{
    uint32_t at = (uint32_t)(from - r->first), count = (uint32_t)(to - from);
    struct message m = {.type = MESSAGE_RESULTS, .results = *r};
    struct columns *c = &m.results.columns;

    *c = columns_part(&r->columns, at, count, columns_length(&r->columns, 0, at));
    m.results.job = 1;
    m.results.first = from;
    m.results.run_us = r->run_us * count / r->columns.count;
    if (writing_add(d, j, ROW_ENDS, from, count, &m, NULL) != 0)
        return -1;
    off_the_way(d, j, cost_of(j, from, count));
    kept_mark(d, j, from, count, c->outcomes, OUTCOME_DONE);
    return 0;
}

static int
store_ended(struct depot *d, struct kept *j, const struct message_ended *e, uint64_t from,
            uint64_t to)
{
    struct message m = {.type = MESSAGE_ENDED, .ended = *e};
    uint32_t count = (uint32_t)(to - from);

    m.ended.job = 1;
    m.ended.first = from;
    m.ended.count = count;
    if (writing_add(d, j, ROW_ENDS, from, count, &m, NULL) != 0)
        return -1;
    off_the_way(d, j, cost_of(j, from, count));
    kept_mark(d, j, from, count, NULL, e->outcome);
    return 0;
}

int
end_by_itself(struct depot *d, struct kept *j, uint64_t first, uint32_t count, enum outcome outcome,
              const char *text)
{
    struct message_ended e = {
        .first = first, .count = count, .outcome = outcome, .worker = "", .text = text};
    uint64_t from = first, to = first, last = first + count;

    while (next_run(j, to, last, &from, &to)) {
        if (store_ended(d, j, &e, from, to) != 0)
            return -1;
    }
    return 0;
}

/* What has an end stays with it: it is on disk, or about to be. */
static void
take_outcomes(struct depot *d, struct kept *j, const struct message *m)
{
    uint64_t first = m->type == MESSAGE_RESULTS ? m->results.first : m->ended.first;
    uint64_t count = m->type == MESSAGE_RESULTS ? m->results.columns.count : m->ended.count;
    uint64_t from = first, to = first, last = first + count;
    int failed = 0;

    if (last > j->total || last < first)
        last = j->total;
    while (failed == 0 && next_run(j, to, last, &from, &to))
        failed = m->type == MESSAGE_RESULTS ? store_results(d, j, &m->results, from, to)
                                            : store_ended(d, j, &m->ended, from, to);
    if (failed != 0) { /* without memory for them: the scheduler shall tell it again */
        log_error("job %s: out of memory for outcomes: its tasks are run again", j->hex);
        feed_stop(d, j);
        dirty(d, j);
        return;
    }
    if (m->type == MESSAGE_RESULTS)
        j->received += m->results.columns.length + count * TASK_COST;
    stay_hungry(d, j);
}

void
feed_taken(struct depot *d, struct kept *j)
{
    struct outgoing *o;

    if (j->peer == 0 || j->received == j->taken || (o = say(d, j->peer, MESSAGE_TAKEN)) == NULL)
        return;
    o->m.taken.bytes = j->taken = j->received;
    outbox_put(&d->outbox, o);
}

/* They go to a worker when the disk knows it: the next broker must not have them run again. */
static void
begins(struct depot *d, struct kept *j, const struct message_range *m)
{
    uint64_t end = m->first + m->count;

    end = end < j->total ? end : j->total;
    if (end > j->begun) {
        if (writing_add(d, j, ROW_BEGUN, m->first, end - m->first, NULL, NULL) != 0) {
            feed_stop(d, j); /* and say hello anew, when there is memory */
            stay_hungry(d, j);
            return;
        }
        j->begun = end;
    }
    j->noted = 0;
    dirty(d, j);
}

void
feed_noted(struct depot *d, struct kept *j)
{
    struct outgoing *o;

    if (j->peer == 0 || j->noted == j->begun || (o = say(d, j->peer, MESSAGE_NOTED)) == NULL)
        return;
    o->m.range = (struct message_range){.job = j->rounds + 1, .count = j->begun};
    outbox_put(&d->outbox, o);
    j->noted = j->begun;
}

void
feed_cancel(struct depot *d, struct kept *j, uint64_t first, uint64_t count)
{
    struct outgoing *o;

    if (j->peer == 0 || !j->told || (o = say(d, j->peer, MESSAGE_CANCEL)) == NULL)
        return;
    o->m.range = (struct message_range){.job = j->rounds + 1, .first = first, .count = count};
    outbox_put(&d->outbox, o);
}

/* ---- messages ----------------------------------------------------------------------------------
 */

void
depot_grid_input(struct depot *d, uint32_t peer, const struct message *m)
{
    struct kept *j;

    HASH_FIND(by_peer, d->by_peer, &peer, sizeof(peer), j);
    if (j == NULL) /* it said goodbye */
        return;
    switch (m->type) {
    case MESSAGE_WELCOME:
        j->window = m->welcome.window;
        stay_hungry(d, j);
        return;
    case MESSAGE_BYE:
    case MESSAGE_REFUSED:
        log_error("job %s: the scheduler would not have it: %s", j->hex, m->text);
        forget(d, j);
        j->again_at = d->now + RETRY_US;
        stay_hungry(d, j);
        return;
    case MESSAGE_RESULTS:
    case MESSAGE_ENDED:
        take_outcomes(d, j, m);
        free(j->notice);
        j->notice = NULL;
        return;
    case MESSAGE_NOTICE:
        free(j->notice);
        j->notice = strdup(m->notice.reason == NOTICE_NO_WORKER ? "no worker is connected"
                                                                : m->notice.text);
        readers_pass_on(d, j, m);
        return;
    case MESSAGE_PROGRAM_WANTED:
        chores_part(d, peer, &m->program_wanted);
        return;
    case MESSAGE_BEGINS:
        begins(d, j, &m->range);
        return;
    case MESSAGE_RUNNING:
    case MESSAGE_PROGRESS:
    case MESSAGE_PARTIAL:
    case MESSAGE_OUTPUT:
        readers_pass_on(d, j, m);
        return;
    default:
        return;
    }
}
