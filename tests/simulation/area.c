/* area.c - slices, and the results of their tasks on the board. */
#include "inside.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define AREA_FULL (BOARD_RESULTS / 2)
#define LARGE (64u << 10)

/* ---- results ------------------------------------------------------------------------------------
 */

void
area_begin(struct executor *e)
{
    e->area.count = 0;
    e->area.at = 0;
    e->area.run_us = 0;
}

static void
say_results(struct executor *e, const struct slice *s, uint32_t first, struct columns *c,
            int64_t run_us)
{
    struct message m = {.type = MESSAGE_RESULTS};

    m.results.job = s->job->job;
    m.results.lease = s->lease;
    m.results.first = s->first + first;
    m.results.attempt = s->attempt;
    m.results.run_us = (uint64_t)run_us;
    m.results.columns = *c;
    executor_say(e, &m);
}

void
area_flush(struct executor *e)
{
    const uint8_t *record = e->board->results;
    struct columns c = {
        .count = e->area.count, .sizes = e->area.sizes, .outcomes = e->area.outcomes};
    uint8_t *to;

    e->area.flushed = e->actor.sim->now;
    if (e->area.count == 0)
        return;
    for (uint32_t i = 0; i < c.count; i++)
        c.length += e->area.sizes[i];
    c.data = blob_new(c.length);
    assert(c.data != NULL);
    to = c.data->bytes;
    for (uint32_t i = 0; i < c.count; i++) {
        memcpy(to, record + sizeof(struct board_record), e->area.sizes[i]);
        to += e->area.sizes[i];
        record += BOARD_ROOM(e->area.sizes[i]);
    }
    say_results(e, e->slice, e->area.first, &c, e->area.run_us);
    blob_unref(c.data);
    atomic_store(&e->board->committed, 0);
    atomic_fetch_add(&e->board->flushes, 1);
    area_begin(e);
}

static struct blob *
result_of(const struct stack *k, enum outcome o)
{
    return o == OUTCOME_DONE ? load_result(k->input) : blob_copy("it failed", 9);
}

static void
send_alone(struct executor *e, const struct stack *k, enum outcome o, struct blob *result)
{
    uint8_t outcomes[1] = {(uint8_t)o};
    struct columns c = {.count = 1,
                        .size = (uint32_t)result->size,
                        .outcomes = o == OUTCOME_DONE ? NULL : outcomes,
                        .data = result,
                        .length = result->size};

    say_results(e, k->slice, k->offset, &c, e->actor.sim->now - k->began);
}

void
area_send_alone(struct executor *e, const struct stack *k, enum outcome o)
{
    struct blob *result = result_of(k, o);

    send_alone(e, k, o, result);
    blob_unref(result);
}

static void
put_record(struct executor *e, const struct stack *k, enum outcome o, const struct blob *result)
{
    int64_t run_us = e->actor.sim->now - k->began;
    struct board_record record = {.offset = k->offset,
                                  .outcome = (uint32_t)o,
                                  .size = (uint32_t)result->size,
                                  .run_us = (uint32_t)run_us};
    uint32_t n = e->area.count;

    memcpy(e->board->results + e->area.at, &record, sizeof(record));
    memcpy(e->board->results + e->area.at + sizeof(record), result->bytes, result->size);
    atomic_store(&e->board->committed, n + 1);
    if (n == 0)
        e->area.first = k->offset;
    e->area.sizes[n] = (uint32_t)result->size;
    e->area.outcomes[n] = (uint8_t)o;
    e->area.run_us += run_us;
    e->area.at += BOARD_ROOM(result->size);
    e->area.count = n + 1;
}

void
area_commit(struct executor *e, const struct stack *k, enum outcome o)
{
    struct blob *result = result_of(k, o);

    if (result->size > LARGE) {
        area_flush(e);
        send_alone(e, k, o, result);
    } else {
        if (e->area.count == AREA_RECORDS || e->area.at + BOARD_ROOM(result->size) > AREA_FULL)
            area_flush(e);
        put_record(e, k, o, result);
    }
    blob_unref(result);
}

/* ---- slices -------------------------------------------------------------------------------------
 */

void
slice_add(struct executor *e, const struct message_slice *m, struct known_job *job)
{
    struct slice *s = calloc(1, sizeof(*s));
    size_t at = m->columns.at;

    assert(s != NULL);
    *s = (struct slice){.job = job,
                        .lease = m->lease,
                        .first = m->first,
                        .attempt = m->attempt,
                        .count = m->columns.count,
                        .inputs = calloc(m->columns.count, sizeof(uint64_t)),
                        .refs = 1};
    assert(s->inputs != NULL);
    for (uint32_t i = 0; i < s->count; i++) {
        memcpy(&s->inputs[i], m->columns.data->bytes + at, sizeof(uint64_t));
        at += m->columns.sizes != NULL ? m->columns.sizes[i] : m->columns.size;
    }
    if (at != m->columns.at + m->columns.length)
        sim_fail(e->actor.sim, "the sizes of a slice are not its length");
    job->refs++;
    TAILQ_INSERT_TAIL(&e->slices, s, link);
}

void
slice_unref(struct slice *s)
{
    if (--s->refs > 0)
        return;
    known_unref(s->job);
    free(s->inputs);
    free(s);
}

bool
slice_next(struct executor *e)
{
    struct slice *s = TAILQ_FIRST(&e->slices);

    if (s == NULL)
        return false;
    TAILQ_REMOVE(&e->slices, s, link);
    e->slice = s;
    if (!e->board->attached)
        atomic_store(&e->board->ranges[s->lease % BOARD_SLICES],
                     BOARD_RANGE(s->lease, 0, s->count));
    atomic_store(&e->board->running, 0);
    atomic_store(&e->board->lease, s->lease);
    return true;
}

void
slice_leave(struct executor *e)
{
    struct slice *s = e->slice;

    atomic_store(&e->board->running, 0);
    atomic_store(&e->board->lease, 0);
    e->slice = NULL;
    slice_unref(s);
}

bool
slice_claim(struct executor *e, uint32_t *offset_p)
{
    const struct slice *s = e->slice;
    _Atomic uint64_t *range = &e->board->ranges[s->lease % BOARD_SLICES];
    uint64_t now = atomic_load(range);

    if (now >> 32 != (s->lease & UINT32_MAX) || BOARD_NEXT(now) >= BOARD_LIMIT(now) ||
        BOARD_NEXT(now) >= s->count)
        return false;
    *offset_p = BOARD_NEXT(now);
    atomic_store(range, now + 1);
    return true;
}
