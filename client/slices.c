/* slices.c - tasks of slices, and their results.
 *
 * The way of a task of a slice: claimed on the board, run on its input in place, its result made in
 * the board's area, and sent with its neighbours within a millisecond. What must be known or undone
 * while it runs is on the board. The result of a task that was parked goes by itself.
 */
#include "server.h"
#include "shared.h"
#include "uplink.h"

#include <errno.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AREA_FULL (BOARD_RESULTS / 2) /* flush when so much of the area is used */
#define LARGE (64u << 10)             /* results from here on go alone, from where they are */
#define FLUSH_NS 1000000              /* no result waits longer, if its executor can help it */
#define PROGRESS_NS 100000000         /* between two messages about a task's progress */

/* Results not yet sent, of the slice at hand: `count` records in [0, at) of the board's area. */
static struct {
    uint32_t count, first_offset;
    size_t at;
    size_t bytes;  /* of the items */
    bool uniform;  /* all of one size */
    bool all_done; /* all OUTCOME_DONE */
    int64_t run_ns;
    int64_t flushed; /* when */
    uint32_t sizes[LIMIT_SIZES];
    uint8_t outcomes[LIMIT_SIZES];
    uint8_t packed[AREA_FULL + LARGE];

    uint8_t *aligned; /* a copy of an input that was not aligned */
    size_t aligned_room;
} area;

/* ---- results -------------------------------------------------------------------------------- */

static void
send_results(const struct slice *s, struct columns *columns, uint32_t first_offset, int64_t run_ns)
{
    struct message m = {.type = MESSAGE_RESULTS};

    m.results.job = s->job->job;
    m.results.lease = s->lease;
    m.results.first = s->first + first_offset;
    m.results.attempt = s->attempt;
    m.results.run_us = (uint64_t)(run_ns + 500) / 1000;
    m.results.columns = *columns;
    uplink_send(&m);
}

static void
begin_area(void)
{
    area.count = 0;
    area.at = 0;
    area.bytes = 0;
    area.run_ns = 0;
    area.uniform = true;
    area.all_done = true;
}

/* Send what the area holds, and begin it anew. */
static void
flush(int64_t now)
{
    struct blob data = {.bytes = area.packed, .size = area.bytes, .refs = 1};
    struct columns c = {
        .count = area.count,
        .size = area.uniform ? area.sizes[0] : 0,
        .sizes = area.uniform ? NULL : area.sizes,
        .outcomes = area.all_done ? NULL : area.outcomes,
        .data = area.bytes > 0 ? &data : NULL,
        .length = area.bytes,
    };
    const uint8_t *record = server.board->results;
    uint8_t *to = area.packed;

    area.flushed = now;
    if (area.count == 0)
        return;
    for (uint32_t i = 0; i < area.count; i++) {
        memcpy(to, record + sizeof(struct board_record), area.sizes[i]);
        to += area.sizes[i];
        record += BOARD_ROOM(area.sizes[i]);
    }
    send_results(server.slice, &c, area.first_offset, area.run_ns);
    atomic_store_explicit(&server.board->committed, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&server.board->flushes, 1, memory_order_release);
    atomic_thread_fence(memory_order_release); /* before the area is written again */
    begin_area();
}

void
slices_flush(void)
{
    flush(server.now_ns);
}

static void
send_alone(const struct work *w, enum outcome outcome, int64_t run_ns)
{
    uint8_t outcomes[1] = {(uint8_t)outcome};
    union {
        const uint8_t *from;
        uint8_t *bytes;
    } result = {w->task.result};
    struct blob data = {.bytes = result.bytes, .size = w->task.size, .refs = 1};
    struct columns c = {
        .count = 1,
        .size = (uint32_t)w->task.size,
        .outcomes = outcome == OUTCOME_DONE ? NULL : outcomes,
        .data = w->task.size > 0 ? &data : NULL,
        .length = w->task.size,
    };

    send_results(w->slice, &c, w->offset, run_ns);
}

/* The task's result becomes the next record of the area. It is there already if it was made in the
 * room behind the last one. */
static void
commit(const struct work *w, enum outcome outcome, int64_t start, int64_t end)
{
    const struct task *task = &w->task;
    uint32_t n = area.count;
    struct board_record *record;
    int64_t us = (end - start) / 1000;

    if (task->size > LARGE) {
        flush(end);
        send_alone(w, outcome, end - start);
        return;
    }
    if (n == LIMIT_SIZES || area.at + BOARD_ROOM(task->size) > AREA_FULL) {
        flush(end);
        n = 0;
    }
    record = (struct board_record *)(void *)(server.board->results + area.at);
    if (task->size > 0 && task->result != (const uint8_t *)(record + 1))
        memmove(record + 1, task->result, task->size);
    record->offset = w->offset;
    record->outcome = (uint32_t)outcome;
    record->size = (uint32_t)task->size;
    record->run_us = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    atomic_store_explicit(&server.board->committed, n + 1, memory_order_release);

    if (n == 0)
        area.first_offset = w->offset;
    area.sizes[n] = (uint32_t)task->size;
    area.outcomes[n] = (uint8_t)outcome;
    area.uniform &= area.sizes[0] == (uint32_t)task->size;
    area.all_done &= outcome == OUTCOME_DONE;
    area.bytes += task->size;
    area.run_ns += end - start;
    area.at += BOARD_ROOM(task->size);
    area.count = n + 1;
}

/* Did the task make its result, so far, in the area? */
static bool
made_in_area(const struct work *w)
{
    const uint8_t *results = server.board->results;

    return w->task.size > 0 && w->task.blob == NULL && w->task.result >= results &&
           w->task.result < results + BOARD_RESULTS;
}

void
slices_hold_output(struct work *w)
{
    if (!made_in_area(w)) { /* nor will it be, when others have used the area */
        w->task.room = NULL;
        w->task.room_size = 0;
        return;
    }
    if (w->aside != NULL)
        return;
    if ((w->aside = malloc(w->task.size)) == NULL)
        uplink_fail("out of memory for the result of a task that waits");
    memcpy(w->aside, w->task.result, w->task.size);
}

void
slices_restore_output(struct work *w)
{
    if (w->aside == NULL)
        return;
    flush(server.now_ns); /* its place may be taken */
    memcpy(server.board->results + (w->task.result - server.board->results), w->aside,
           w->task.size);
    free(w->aside);
    w->aside = NULL;
}

/* ---- what a task may ask for while it runs --------------------------------------------------- */

static void
progress(void *arg, uint64_t done, uint64_t total)
{
    struct message m = {.type = MESSAGE_PROGRESS};
    struct work *w = arg;
    int64_t now = server_clock();

    if (server.forked || (done < total && now - w->progressed < PROGRESS_NS))
        return;
    w->progressed = now;
    m.progress.job = w->slice->job->job;
    m.progress.lease = w->slice->lease;
    m.progress.index = w->slice->first + w->offset;
    m.progress.done = done;
    m.progress.total = total;
    uplink_send(&m);
}

static int
emit(void *arg, const void *bytes, size_t size)
{
    struct message m = {.type = MESSAGE_PARTIAL};
    const struct work *w = arg;
    union {
        const void *from;
        uint8_t *bytes;
    } item = {bytes};
    struct blob data = {.bytes = item.bytes, .size = size, .refs = 1};

    if (server.forked) {
        errno = EINVAL;
        return -1;
    }
    m.partial.job = w->slice->job->job;
    m.partial.lease = w->slice->lease;
    m.partial.index = w->slice->first + w->offset;
    m.partial.columns = (struct columns){
        .count = 1, .size = (uint32_t)size, .data = size > 0 ? &data : NULL, .length = size};
    uplink_send(&m);
    return 0;
}

/* ---- slices --------------------------------------------------------------------------------- */

void
slices_open(void)
{
    TAILQ_INIT(&server.slices);
    begin_area();
}

void
slices_add(const struct message_slice *m, struct known_job *job)
{
    struct slice *s = malloc(sizeof(*s));
    uint32_t *sizes = NULL;
    size_t size = m->columns.count * sizeof(*sizes);

    if (s == NULL || (m->columns.sizes != NULL && (sizes = malloc(size)) == NULL))
        uplink_fail("out of memory");
    if (sizes != NULL)
        memcpy(sizes, m->columns.sizes, size);
    *s = (struct slice){.job = job,
                        .lease = m->lease,
                        .first = m->first,
                        .attempt = m->attempt,
                        .columns = m->columns,
                        .offset = m->columns.at,
                        .refs = 1};
    s->columns.sizes = sizes;
    blob_ref(s->columns.data);
    job->refs++;
    TAILQ_INSERT_TAIL(&server.slices, s, link);
}

static void
slice_unref(struct slice *s)
{
    union {
        const uint32_t *from;
        void *memory;
    } sizes = {s->columns.sizes};

    if (--s->refs > 0)
        return;
    blob_unref(s->columns.data);
    free(sizes.memory);
    serve_forget(s->job);
    free(s);
}

static void
leave_slice(void)
{
    struct slice *s = server.slice;

    atomic_store_explicit(&server.board->running, 0, memory_order_relaxed);
    atomic_store_explicit(&server.board->lease, 0, memory_order_release);
    server.slice = NULL;
    slice_unref(s);
}

void
slices_leave(const struct work *w)
{
    if (server.slice != NULL && w->slice == server.slice)
        leave_slice();
}

static bool
next_slice(void)
{
    struct slice *s = TAILQ_FIRST(&server.slices);
    struct board *board = server.board;

    if (s == NULL)
        return false;
    TAILQ_REMOVE(&server.slices, s, link);
    server.slice = s;
    if (!board->attached) /* it is our own: the worker's could not be used */
        atomic_store(&board->ranges[s->lease % BOARD_SLICES],
                     BOARD_RANGE(s->lease, 0, s->columns.count));
    atomic_store_explicit(&board->running, 0, memory_order_relaxed);
    atomic_store_explicit(&board->lease, s->lease, memory_order_release);
    return true;
}

/* ---- tasks ---------------------------------------------------------------------------------- */

static int
unknown_function(task_t *task)
{
    const struct work *w = task->run->arg;

    return task_fail(task, "%s", w->slice->job->words);
}

static const void *
align(const uint8_t *input, size_t size)
{
    if (((uintptr_t)input & 15) == 0)
        return input;
    uplink_room(&area.aligned, &area.aligned_room, size);
    memcpy(area.aligned, input, size);
    return area.aligned;
}

void
slices_keep_input(struct work *w)
{
    if (w->run.size == 0 || w->run.input != area.aligned)
        return;
    w->aligned = area.aligned;
    area.aligned = NULL;
    area.aligned_room = 0;
}

/* The next task of the slice, or -1: run or taken back, there is none left. */
static int64_t
claim(const struct slice *s)
{
    _Atomic uint64_t *range = &server.board->ranges[s->lease % BOARD_SLICES];
    uint64_t now = atomic_load_explicit(range, memory_order_relaxed);

    do {
        if (now >> 32 != (s->lease & UINT32_MAX) || BOARD_NEXT(now) >= BOARD_LIMIT(now) ||
            BOARD_NEXT(now) >= s->columns.count)
            return -1;
    } while (!atomic_compare_exchange_weak_explicit(range, &now, now + 1, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return BOARD_NEXT(now);
}

static void
prepare(struct work *w, struct slice *s)
{
    memset(w, 0, offsetof(struct work, room));
    w->root = w;
    w->slice = s;
    w->run = (struct task_run){
        .function = s->job->function != NULL ? s->job->function : unknown_function,
        .seed = s->job->spec->seed,
        .attempt = s->attempt,
        .priority = s->job->spec->priority,
        .worker = server.worker,
        .constants = s->job->constants,
        .cancelled = parking_cancelled,
        .progress = progress,
        .emit = emit,
        .arg = w,
    };
    s->refs++;
}

/* Run the task at `offset`; returns how it ended. */
static enum outcome
run_task(struct work *w, uint32_t offset, int64_t start)
{
    const struct columns *c = &w->slice->columns;
    struct board *board = server.board;
    enum outcome outcome;

    w->offset = offset;
    w->progressed = 0;
    w->run.size = c->sizes != NULL ? c->sizes[offset] : c->size;
    w->run.input = w->run.size == 0 ? NULL : align(c->data->bytes + w->slice->offset, w->run.size);
    w->run.stream = w->slice->job->spec->base + w->slice->first + offset;
    w->run.index = w->slice->job->spec->singles ? 0 : w->run.stream;
    atomic_store_explicit(&board->started, start / 1000, memory_order_relaxed);
    atomic_store_explicit(&board->running, (uint64_t)offset + 1, memory_order_release);
    task_init(&w->task, &w->run, board->results + area.at + sizeof(struct board_record),
              BOARD_RESULTS - area.at - sizeof(struct board_record));
    outcome = task_execute(&w->task);
    if (server.forked)
        _exit(0); /* the task forked, and its child came back: it is no executor */
    if (w->slice->job->function == NULL && outcome == OUTCOME_FAILED)
        outcome = OUTCOME_REJECTED;
    if (__fpending(stdout) > 0)
        fflush(stdout);
    w->slice->offset += w->run.size;
    return outcome;
}

bool
slices_run(void)
{
    struct slice *s;
    struct work w;
    int64_t offset, start;

    if (server.slice == NULL && !next_slice())
        return false;
    s = server.slice;
    prepare(&w, s);
    parking_begin(&w);
    area.flushed = start = server.now_ns = server_clock();
    while ((offset = claim(s)) >= 0) {
        enum outcome outcome = run_task(&w, (uint32_t)offset, start);

        server.now_ns = server_clock();
        if (w.alone)
            send_alone(&w, outcome, server.now_ns - start);
        else
            commit(&w, outcome, start, server.now_ns);
        if (w.task.blob != NULL || w.task.words != NULL)
            task_release(&w.task);
        if (w.aligned != NULL) {
            free(w.aligned);
            w.aligned = NULL;
        }
        start = server.now_ns;
        if (w.alone)
            break;
        if (start - area.flushed >= FLUSH_NS) {
            flush(start);
            start = server.now_ns = server_clock();
        }
        if (parking_calls())
            break;
        w.cancelled = false;
    }
    parking_rest();
    if (!w.alone)
        flush(start);
    if (offset < 0)
        leave_slice();
    slice_unref(s);
    return true;
}
