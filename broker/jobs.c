#include "jobs.h"

#include "aside.h"
#include "carried.h"
#include "contents.h"
#include "deadlines.h"
#include "demands.h"
#include "endings.h"
#include "functions.h"
#include "notices.h"
#include "peers.h"
#include "programs.h"
#include "queues.h"
#include "tails.h"
#include "workers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_LEAST 8

/* ---- ranges -------------------------------------------------------------------------------------
 */

struct range *
range_new(struct scheduler *s, struct chunk *c)
{
    struct range *r = TAILQ_FIRST(&s->unused_ranges);

    if (r != NULL)
        TAILQ_REMOVE(&s->unused_ranges, r, link);
    else if ((r = lines_new(sizeof(*r))) == NULL)
        return NULL;
    *r = (struct range){.chunk = chunk_ref(c), .attempt = 1};
    return r;
}

void
range_free(struct scheduler *s, struct range *r)
{
    assert(r->why == NULL && r->where == NULL);
    chunk_unref(r->chunk);
    r->chunk = NULL;
    TAILQ_INSERT_HEAD(&s->unused_ranges, r, link);
}

void
range_skip(struct range *r, uint32_t count)
{
    assert(count <= r->count);
    r->at += chunk_length(r->chunk, r->offset, count);
    r->offset += count;
    r->count -= count;
}

/* Does `b` go on where `a` ends, with the same past? */
static bool
adjacent(const struct range *a, const struct range *b)
{
    return a->chunk == b->chunk && a->offset + a->count == b->offset && a->attempt == b->attempt &&
           a->losses == b->losses && !a->alone && !b->alone;
}

bool
job_requeue(struct scheduler *s, struct chunk *c, const struct range *as)
{
    struct job *j = c->job;
    struct range *first = TAILQ_FIRST(&j->ranges), *r;

    if (first != NULL && adjacent(as, first)) {
        /* Given back from the end of a slice, piece by piece: one range again. */
        first->offset = as->offset;
        first->at = as->at;
        first->count += as->count;
    } else {
        if ((r = range_new(s, c)) == NULL)
            return false;
        *r = *as;
        r->chunk = c;
        TAILQ_INSERT_HEAD(&j->ranges, r, link);
    }
    j->ready += chunk_live(c, as->offset, as->offset + as->count);
    s->match = true;
    queue_update(s, j);
    if (!demand_able(j->demand)) /* its program failed on the last worker meanwhile */
        notices_recheck(s);
    return true;
}

void
job_ready_again(struct scheduler *s, struct job *j, struct range *r, uint32_t count)
{
    /* From the last one on, as they come back: then the first is the next to go out. */
    TAILQ_INSERT_HEAD(&j->ranges, r, link);
    j->ready += count;
    s->match = true;
    queue_update(s, j);
    if (!demand_able(j->demand))
        notices_recheck(s);
}

struct range *
job_first_range(struct scheduler *s, struct job *j)
{
    struct range *r;

    while ((r = TAILQ_FIRST(&j->ranges)) != NULL) {
        uint32_t live = chunk_live_from(r->chunk, r->offset, r->offset + r->count);

        if (live < r->offset + r->count) {
            range_skip(r, live - r->offset);
            return r;
        }
        TAILQ_REMOVE(&j->ranges, r, link);
        range_free(s, r);
    }
    return NULL;
}

/* ---- chunks -------------------------------------------------------------------------------------
 */

/* The place in j->chunks of the first chunk with a task from `index` on; chunks_end if none is. */
static size_t
chunk_at(const struct job *j, uint64_t index)
{
    size_t low = j->chunks_at, high = j->chunks_end;

    /* The last place whose chunk starts at or before `index` ... */
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (j->chunks[middle].first <= index)
            low = middle + 1;
        else
            high = middle;
    }
    /* ... may end before it; then the next one is right. */
    if (low > j->chunks_at) {
        const struct chunk *c = j->chunks[low - 1].chunk;

        if (c != NULL && index < c->first + c->count)
            low--;
    }
    return low;
}

bool
job_piece(const struct job *j, uint64_t first, uint64_t last, struct piece *piece)
{
    size_t at = chunk_at(j, first);
    struct chunk *c;

    while (at < j->chunks_end && j->chunks[at].chunk == NULL)
        at++;
    if (first >= last || at == j->chunks_end || j->chunks[at].first >= last)
        return false;
    c = j->chunks[at].chunk;
    piece->chunk = c;
    piece->from = first > c->first ? (uint32_t)(first - c->first) : 0;
    piece->to = last - c->first < c->count ? (uint32_t)(last - c->first) : c->count;
    piece->first = c->first + piece->from;
    piece->last = c->first + piece->to;
    return true;
}

static int
reserve_chunk(struct job *j)
{
    size_t live = j->chunks_end - j->chunks_at, room;
    struct chunk_slot *slots;

    if (j->chunks_end < j->chunks_room)
        return 0;
    if (j->chunks_at > live) { /* more than half is unused: move instead of growing */
        memmove(j->chunks, j->chunks + j->chunks_at, live * sizeof(*j->chunks));
        j->chunks_at = 0;
        j->chunks_end = live;
        return 0;
    }
    room = j->chunks_room == 0 ? SLOTS_LEAST : j->chunks_room * 2;
    if ((slots = realloc(j->chunks, room * sizeof(*slots))) == NULL)
        return -1;
    j->chunks = slots;
    j->chunks_room = room;
    return 0;
}

static void
compact(struct job *j)
{
    size_t to = 0;

    for (size_t i = j->chunks_at; i < j->chunks_end; i++) {
        if (j->chunks[i].chunk != NULL)
            j->chunks[to++] = j->chunks[i];
    }
    j->chunks_at = 0;
    j->chunks_end = to;
    j->chunks_gone = 0;
}

/* No task of `c` will be asked for any more. */
static void
retire(struct job *j, struct chunk *c)
{
    size_t at = chunk_at(j, c->first);

    assert(at < j->chunks_end && j->chunks[at].chunk == c);
    j->chunks[at].chunk = NULL;
    j->chunks_gone++;
    while (j->chunks_at < j->chunks_end && j->chunks[j->chunks_at].chunk == NULL) {
        j->chunks_at++;
        j->chunks_gone--;
    }
    if (j->chunks_at == j->chunks_end)
        j->chunks_at = j->chunks_end = 0;
    else if (j->chunks_gone > 64 && j->chunks_gone > (j->chunks_end - j->chunks_at) / 2)
        compact(j);
    if (j->open == c)
        j->open = NULL;
    blob_unref(c->data); /* ranges may keep the chunk for a while, but nobody needs its bytes */
    c->data = NULL;
    chunk_unref(c);
}

void
job_tasks_ended(struct scheduler *s, struct chunk *c, uint32_t from, uint32_t to)
{
    uint64_t cost = chunk_cost(c, from, to - from);
    struct job *j = c->job;

    assert(from < to && to - from <= c->left && chunk_live(c, from, to) == to - from);
    chunk_mark(c, from, to);
    c->left -= to - from;
    s->bytes -= cost;
    j->client->bytes -= cost;
    carried_grant(s, j->client);
    if (c->left == 0 && j->open != c)
        retire(j, c);
}

/* ---- accepting ----------------------------------------------------------------------------------
 */

static struct chunk *
add_chunk(struct scheduler *s, struct job *j, const struct message_inputs *in)
{
    bool open = chunk_mergeable(j, &in->columns);
    struct chunk *c;

    if (reserve_chunk(j) != 0)
        return NULL;
    c = open ? chunk_new_open(j, in->first, &in->columns, s->now)
             : chunk_new(j, in->first, in->columns.count, s->now);
    if (c == NULL)
        return NULL;
    if (open ? !chunk_append(c, &in->columns) : chunk_adopt(c, &in->columns) != 0) {
        chunk_unref(c);
        return NULL;
    }
    return c;
}

static void
close_open(struct job *j)
{
    struct chunk *c = j->open;

    j->open = NULL;
    if (c != NULL && c->left == 0)
        retire(j, c);
}

/* They had been handed over, by a broker that is no more. */
static void
set_aside(struct scheduler *s, struct range *r, int64_t until, bool running)
{
    struct blob *why = NULL;

    if (running && r->chunk->job->spec->once)
        why = sentence("it may have begun before its broker was restarted");
    else if (running)
        why = sentence("the broker was restarted while it ran");
    aside_put(s, r, until, why);
    blob_unref(why);
}

/* Put the tasks at the end of the ready ones; or aside, if `until` is not 0. */
static int
append_range(struct scheduler *s, struct job *j, struct chunk *c, uint32_t offset, size_t at,
             uint32_t count, int64_t until, const struct message_inputs *in)
{
    uint32_t charged = in->charged < j->spec->retries ? in->charged : j->spec->retries;
    struct range *last = TAILQ_LAST(&j->ranges, range_list), *r;

    if (until == 0 && last != NULL && last->chunk == c && last->offset + last->count == offset &&
        last->attempt == 1 && charged == 0 && !last->alone) {
        last->count += count;
        j->ready += count;
        return 0;
    }
    if ((r = range_new(s, c)) == NULL)
        return -1;
    r->offset = offset;
    r->at = at;
    r->count = count;
    r->attempt = 1 + charged;
    r->alone = charged > 0;
    if (until > 0) {
        set_aside(s, r, until, in->running);
        return 0;
    }
    TAILQ_INSERT_TAIL(&j->ranges, r, link);
    j->ready += count;
    return 0;
}

void
job_told_again(struct scheduler *s, struct job *j)
{
    /* In an executor nobody asks how far its tasks are, so that waking it for that is in vain. */
    if (j->announce || j->client->nested)
        return;
    j->announce = true;
    j->announce_at = s->now + ANNOUNCE_US;
    TAILQ_INSERT_TAIL(&s->announce, j, of_announce);
}

static void
accepted(struct scheduler *s, struct job *j, const struct message_inputs *in)
{
    uint32_t count = in->columns.count;
    uint64_t cost = in->columns.length + (uint64_t)count * TASK_COST;

    j->next = in->first + count;
    j->client->bytes += cost;
    s->bytes += cost;
    s->accepted += count;
    s->match = true;
    job_told_again(s, j);
    queue_update(s, j);
    deadline_update(s, j);
}

int
job_accept(struct scheduler *s, struct job *j, const struct message_inputs *in)
{
    int64_t until = aside_until(s, in, j->spec->once);
    struct chunk *c = j->open;
    bool merged = c != NULL && c->first + c->count == in->first &&
                  chunk_mergeable(j, &in->columns) && chunk_append(c, &in->columns);

    if (!merged) {
        if ((c = add_chunk(s, j, in)) == NULL)
            return -1;
        if (append_range(s, j, c, 0, 0, c->count, until, in) != 0) {
            chunk_unref(c);
            return -1;
        }
        j->chunks[j->chunks_end++] = (struct chunk_slot){.first = c->first, .chunk = c};
        close_open(j);
        j->open = c->count < c->room ? c : NULL;
    } else if (append_range(s, j, c, c->count - in->columns.count, c->length - in->columns.length,
                            in->columns.count, until, in) != 0) {
        c->count -= in->columns.count;
        c->left -= in->columns.count;
        c->length -= in->columns.length;
        return -1;
    } else if (c->count == c->room) {
        j->open = NULL;
    }
    accepted(s, j, in);
    return 0;
}

static void
announced(struct scheduler *s, struct job *j)
{
    j->announce = false;
    TAILQ_REMOVE(&s->announce, j, of_announce);
}

void
job_announce_unless(struct scheduler *s, struct job *j, uint32_t count)
{
    if (j->announce && !j->client->paused && j->ready + j->naside + j->leased == count)
        announced(s, j);
    else
        job_announce(s, j);
}

/* Are results so near that they can bring the word? Then the client is woken once, not twice. */
static bool
results_are_near(const struct job *j)
{
    const struct estimate *e = &j->function->estimate;

    return estimate_known(e) &&
           estimate_each(e) * (double)(j->ready + j->naside + j->leased) < (double)ANNOUNCE_US;
}

void
jobs_announce(struct scheduler *s)
{
    struct job *j, *next;

    for (j = TAILQ_FIRST(&s->announce); j != NULL; j = next) {
        next = TAILQ_NEXT(j, of_announce);
        if (s->now >= j->announce_at || !results_are_near(j))
            job_announce(s, j);
    }
}

void
job_announce(struct scheduler *s, struct job *j)
{
    struct outgoing *o;

    if (!j->announce)
        return;
    announced(s, j);
    if ((o = peer_say(s, j->client->peer, MESSAGE_ACCEPTED)) == NULL)
        return;
    o->m.range = (struct message_range){.job = j->id, .first = j->next};
    outbox_put(&s->outbox, o);
}

/* ---- the whole job ------------------------------------------------------------------------------
 */

struct job *
job_find(struct scheduler *s, uint64_t number)
{
    return table_find(&s->jobs_by_number, number);
}

struct job *
job_of_client(struct client *c, uint64_t id)
{
    return table_find(&c->jobs_by_id, id);
}

static int
add_to_tables(struct scheduler *s, struct job *j)
{
    if (table_add(&s->jobs_by_number, j->number, j) != 0)
        return -1;
    if (table_add(&j->client->jobs_by_id, j->id, j) == 0)
        return 0;
    table_remove(&s->jobs_by_number, j->number, j);
    return -1;
}

/* The same for the same job told to another broker: workers know it by this number. */
static uint64_t
lasting_number(struct scheduler *s, const struct client *c, uint64_t id)
{
    static const uint8_t none[sizeof(c->session)];
    uint64_t number = scatter(id), part;

    if (memcmp(c->session, none, sizeof(none)) == 0) /* it does not say who it is */
        number = scatter(s->next_lease ^ s->next_job);
    for (size_t i = 0; i < sizeof(c->session); i += sizeof(part)) {
        memcpy(&part, c->session + i, sizeof(part));
        number = scatter(number ^ part);
    }
    while (number == 0 || job_find(s, number) != NULL)
        number = scatter(number + 1);
    return number;
}

struct job *
job_new(struct scheduler *s, struct client *c, uint64_t id, struct spec *spec)
{
    struct job *j = calloc(1, sizeof(*j));

    if (j == NULL)
        return NULL;
    j->order = s->next_job;
    j->number = s->config.lasting ? lasting_number(s, c, id) : s->next_job;
    j->id = id;
    j->client = c;
    j->since = s->now;
    j->deadline = CLOCK_NEVER;
    TAILQ_INIT(&j->ranges);
    TAILQ_INIT(&j->aside);
    LIST_INIT(&j->knowers);
    j->spec = spec_ref(spec);
    if ((j->function = function_get(s, spec)) == NULL || program_join(s, j) != 0 ||
        contents_join(s, j) != 0 || demand_join(s, j) != 0 ||
        (spec->deadline_ms > 0 && deadlines_reserve(s) != 0) || add_to_tables(s, j) != 0) {
        demand_leave(s, j);
        contents_leave(s, j);
        program_leave(s, j);
        function_put(s, j->function);
        spec_unref(j->spec);
        free(j);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&s->jobs, j, link);
    TAILQ_INSERT_TAIL(&c->jobs, j, of_client);
    s->next_job++;
    s->njobs++;
    c->njobs++;
    return j;
}

static void
forget_at_workers(struct scheduler *s, struct job *j)
{
    struct knowledge *k;
    struct outgoing *o;

    while ((k = LIST_FIRST(&j->knowers)) != NULL) {
        if ((o = peer_say(s, k->worker->peer, MESSAGE_JOB_END)) != NULL) {
            o->m.job_end = (struct message_job_end){.job = j->number, .total = j->next};
            outbox_put(&s->outbox, o);
        }
        knowledge_free(k);
    }
}

void
job_free(struct scheduler *s, struct job *j)
{
    struct range *r;

    assert(j->leased == 0);
    if (j->announce)
        TAILQ_REMOVE(&s->announce, j, of_announce);
    if (j->waiting)
        TAILQ_REMOVE(&s->waiting, j, of_waiting);
    j->ready = 0;
    queue_update(s, j);
    forget_at_workers(s, j);
    while ((r = TAILQ_FIRST(&j->ranges)) != NULL) {
        TAILQ_REMOVE(&j->ranges, r, link);
        range_free(s, r);
    }
    aside_free(s, j);
    for (size_t i = j->chunks_at; i < j->chunks_end; i++) {
        if (j->chunks[i].chunk != NULL)
            chunk_unref(j->chunks[i].chunk);
    }
    free(j->chunks);
    deadlines_remove(s, j);
    demand_leave(s, j);
    contents_leave(s, j);
    program_leave(s, j);
    function_put(s, j->function);
    table_remove(&s->jobs_by_number, j->number, j);
    table_remove(&j->client->jobs_by_id, j->id, j);
    TAILQ_REMOVE(&s->jobs, j, link);
    TAILQ_REMOVE(&j->client->jobs, j, of_client);
    j->client->njobs--;
    s->njobs--;
    blob_unref(j->notice);
    spec_unref(j->spec);
    free(j);
}

bool
job_finish(struct scheduler *s, struct job *j)
{
    if (!j->ended || j->ready > 0 || j->naside > 0 || j->leased > 0)
        return false;
    job_announce(s, j);
    tail_keep(s, j);
    job_free(s, j);
    return true;
}
