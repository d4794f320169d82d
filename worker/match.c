/* match.c - who runs what: pieces to executors, and tasks from busy executors to idle ones. */
#include "state.h"

#include "../base/clock.h"
#include "../proto/limits.h"

#include <assert.h>
#include <string.h>

unsigned
runner_cpus(const struct runner *r, const struct piece *p)
{
    unsigned cpus = p->job->spec->cpus;

    return cpus < 1 ? 1 : cpus > r->slots ? r->slots : cpus;
}

unsigned
runner_free_slots(const struct runner *r)
{
    return r->used < r->slots ? r->slots - r->used : 0;
}

bool
executor_spent(const struct executor *e)
{
    return e->limit > 0 && e->given >= e->limit;
}

void
executor_end(struct runner *r, struct executor *e)
{
    assert(e->nwork == 0 && e->parked == NULL);
    relay_end(r, e); /* it reads no more */
    if (e->state == EXECUTOR_STARTING)
        e->code->starting--;
    e->state = EXECUTOR_ENDING;
    e->sweep_at = CLOCK_NEVER;
    r->hands->hang_up(r->arg, e->number);
}

void
executor_settle(struct runner *r, struct executor *e, int64_t now)
{
    unsigned cpus = e->nwork > 0 ? runner_cpus(r, e->work[0].piece) : 0;
    uint64_t memory = e->nwork > 0 ? runner_memory(r, e->work[0].piece) : 0;

    if (e->awake > 0 && e->awake_cpus > cpus)
        cpus = e->awake_cpus;
    if (e->awake > 0 && e->awake_memory > memory)
        memory = e->awake_memory;
    r->used += cpus - e->cpus;
    e->cpus = cpus;
    r->memory_used += memory - e->memory;
    e->memory = memory;
    if (cpus > 0) {
        e->state = EXECUTOR_BUSY;
        e->sweep_at = CLOCK_NEVER;
        return;
    }
    if (e->state == EXECUTOR_BUSY) {
        e->state = EXECUTOR_IDLE;
        e->since = now;
        /* While it works it cannot be told whose the daemons are. */
        e->sweep_at = e->parked == NULL ? now + SWEEP_US : CLOCK_NEVER;
    }
    if (e->state == EXECUTOR_IDLE && e->parked == NULL && (e->doomed || executor_spent(e))) {
        e->kill_at = e->kill_at < now + r->grace_us ? e->kill_at : now + r->grace_us;
        executor_end(r, e);
    }
}

void
executor_finish(struct runner *r, struct executor *e, unsigned i, int64_t now)
{
    struct piece *p = e->work[i].piece;

    assert(i < e->nwork);
    e->nwork--;
    if (i == 0) {
        e->work[0] = e->work[1];
        e->work[0].since = now;
    }
    runner_drop(r, p);
    executor_settle(r, e, now);
}

/* ---- giving -----------------------------------------------------------------------------------
 */

static void
introduce(struct runner *r, struct executor *e, struct runner_job *job)
{
    uint8_t bit = (uint8_t)(1u << e->number % 8);
    struct message m = {.type = MESSAGE_JOB, .job = {.job = job->id}};

    if (job->known[e->number / 8] & bit)
        return;
    if ((m.job.spec = constants_spec(job)) == NULL)
        m.job.spec = job->spec; /* no memory: it says that it finds no constants */
    job->known[e->number / 8] |= bit;
    r->hands->send(r->arg, e->number, &m);
}

/* How many tasks of a piece it may get at once. */
static uint32_t
allowance(const struct executor *e, const struct piece *p)
{
    uint32_t most = e->board->attached && !p->job->nests ? p->count : 1;

    if (executor_spent(e))
        return 1;
    if (e->limit > 0 && e->limit - e->given < most)
        most = (uint32_t)(e->limit - e->given);
    return most;
}

/* Give it the piece, or what it may get of it. Returns the rest, which stays in its place in the
 * queue; NULL if there is none. */
static struct piece *
give(struct runner *r, struct executor *e, struct piece *p, int64_t now)
{
    uint32_t most = allowance(e, p);
    struct piece *rest = NULL;
    struct message m;

    assert(most > 0 && e->nwork < 2);
    if (most < p->count) {
        if ((rest = piece_cut(p, most)) == NULL)
            return NULL; /* when there is memory again */
        rest->job->pieces++;
        TAILQ_INSERT_AFTER(&r->queue, p, rest, next);
    }
    TAILQ_REMOVE(&r->queue, p, next);
    introduce(r, e, p->job);
    if (e->last_lease == 0)
        e->fresh = r->hands->usage(r->arg, e->number);
    e->last_lease++;
    /* Those in between were taken back before it looked: the one that waits keeps its place. */
    if (e->nwork > 0 && e->last_lease % BOARD_SLICES == e->work[0].lease % BOARD_SLICES)
        e->last_lease++;
    e->work[e->nwork++] = (struct work){p, e->last_lease, now};
    e->given += p->count;
    executor_settle(r, e, now);
    executor_limit(r, e);
    board_offer(e->board, e->last_lease, p->count);
    piece_slice(p, e->last_lease, p->job->id, &m);
    r->hands->send(r->arg, e->number, &m);
    return rest;
}

/* ---- starting ---------------------------------------------------------------------------------
 */

/* Whom to ask; each asks those before it first. */
enum choice {
    CHOOSE_CLEAN, /* no task waits in it: it would come to harm, or be kept waiting */
    CHOOSE_ANY,
    CHOOSE_SPENT, /* it should have no more tasks, but is kept by those that wait in it */
};

/* One that may be stopped, or crash, had better not be where others wait. */
static enum choice
choice_for(const struct piece *p)
{
    const struct spec *spec = p->job->spec;

    return spec->apart || spec->memory > 0 ? CHOOSE_CLEAN : CHOOSE_ANY;
}

static struct executor *
find_idle(struct runner *r, const struct code *code, enum choice choice, uint64_t memory)
{
    struct executor *best = NULL;
    enum choice found = CHOOSE_SPENT;

    /* The first one: so the last ones are idle for longest, and make room for other programs. */
    for (unsigned i = 0; i < r->nexecutors; i++) {
        struct executor *e = &r->executors[i];
        enum choice is = executor_spent(e)   ? CHOOSE_SPENT
                         : e->parked != NULL ? CHOOSE_ANY
                                             : CHOOSE_CLEAN;

        if (e->state != EXECUTOR_IDLE || e->code != code || e->doomed || is > choice ||
            (best != NULL && is >= found) || executor_swollen(r, e, memory))
            continue;
        best = e;
        found = is;
    }
    return best;
}

/* Processes that count: not those which only wait, or whose last tasks run. */
static unsigned
count_alive(const struct runner *r)
{
    unsigned alive = 0;

    for (unsigned i = 0; i < r->nexecutors; i++) {
        const struct executor *e = &r->executors[i];

        alive += e->state != EXECUTOR_NONE && e->state != EXECUTOR_ENDING && !executor_spent(e) &&
                 !(e->state == EXECUTOR_IDLE && e->parked != NULL);
    }
    return alive;
}

/* The last seats are for programs that have no executor yet: what waits in those of one program may
 * wait for what cannot come, since work of another one that has no seat takes the slots. */
static struct executor *
find_seat(struct runner *r, const struct code *code)
{
    struct executor *seat = NULL;
    unsigned free = 0;
    bool has_one = false;

    for (unsigned i = r->nexecutors; i-- > 0;) {
        struct executor *e = &r->executors[i];

        if (e->state == EXECUTOR_NONE) {
            seat = e;
            free++;
        } else if (e->state != EXECUTOR_ENDING) {
            has_one |= e->code == code;
        }
    }
    return has_one && free <= r->slots && !r->local ? NULL : seat;
}

/* Room for one more process: end one of another program that has been idle for longest. */
static bool
make_room(struct runner *r, const struct code *code, int64_t now)
{
    struct executor *oldest = NULL;
    bool seat = find_seat(r, code) != NULL;

    if (count_alive(r) < r->slots && seat)
        return true;
    for (unsigned i = 0; i < r->nexecutors; i++) {
        struct executor *e = &r->executors[i];

        if (e->state == EXECUTOR_ENDING && !seat)
            return false; /* its seat will do */
        if (e->state == EXECUTOR_IDLE && e->code != code && e->parked == NULL &&
            (oldest == NULL || e->since < oldest->since))
            oldest = e;
    }
    if (oldest == NULL)
        return false;
    oldest->kill_at = now + r->grace_us;
    executor_end(r, oldest);
    return seat;
}

/* It has kept too much for the task that is to come: one is started in its place. */
static void
end_swollen(struct runner *r, const struct code *code, uint64_t memory, int64_t now)
{
    for (unsigned i = 0; i < r->nexecutors && memory > 0; i++) {
        struct executor *e = &r->executors[i];

        if (e->state != EXECUTOR_IDLE || e->code != code || e->parked != NULL ||
            !executor_swollen(r, e, memory))
            continue;
        e->kill_at = now + r->grace_us;
        executor_end(r, e);
        return;
    }
}

static bool
start(struct runner *r, struct code *code, int64_t now)
{
    struct executor *e;
    const char *why = NULL;
    struct board *board;

    if (now < r->retry_at || !make_room(r, code, now) || (e = find_seat(r, code)) == NULL)
        return false;
    board = r->hands->start(r->arg, e->number, &code->spec->program, &why);
    if (board == NULL && why != NULL) {
        runner_code_failed(r, code, why, false);
        return false;
    }
    if (board == NULL) {
        r->retry_us = r->retry_us == 0 ? 100000 : r->retry_us < 5000000 ? 2 * r->retry_us : 5000000;
        r->retry_at = now + r->retry_us;
        return false;
    }
    r->retry_us = 0;
    r->retry_at = 0;
    *e = (struct executor){.number = e->number,
                           .state = EXECUTOR_STARTING,
                           .code = code,
                           .board = board,
                           .limit = r->tasks_per_executor,
                           .since = now,
                           .sweep_at = CLOCK_NEVER,
                           .term_at = CLOCK_NEVER,
                           .kill_at = CLOCK_NEVER};
    code->starting++;
    return true;
}

void
runner_warm(struct runner *r, unsigned count, int64_t now)
{
    struct code *code = r->codes;

    assert(r->local && code != NULL);
    for (unsigned i = 0; i < count && i < r->slots; i++)
        if (!start(r, code, now))
            return;
}

/* ---- taking back ------------------------------------------------------------------------------
 */

struct piece *
executor_take(struct runner *r, struct executor *e, unsigned i, uint32_t most)
{
    struct work *w = &e->work[i];
    struct piece *p = w->piece, *taken;
    uint32_t limit;

    if (!e->board->attached || board_take_back(e->board, w->lease, most, &limit) == 0)
        return NULL;
    /* What was taken back cannot be offered again: if it cannot be cut off, the executor ends. */
    if (limit >= p->count || limit < p->done) {
        executor_kill(r, e, "wrote where it must not: on the board of its executor");
        return NULL;
    }
    if ((taken = piece_cut(p, limit)) == NULL) {
        executor_kill(r, e, "out of memory on its worker");
        return NULL;
    }
    taken->job->pieces++;
    e->given -= taken->count;
    e->succeeded = false;
    return taken;
}

static void
finish_emptied(struct runner *r, struct executor *e, int64_t now)
{
    for (unsigned i = e->nwork; i-- > 0;)
        if (e->work[i].piece->done == e->work[i].piece->count)
            executor_finish(r, e, i, now);
}

void
executor_take_back(struct runner *r, struct executor *e, int64_t now)
{
    struct piece *p;

    for (unsigned i = e->nwork; i-- > 0;)
        if ((p = executor_take(r, e, i, UINT32_MAX)) != NULL)
            runner_enqueue(r, p, true);
    finish_emptied(r, e, now);
}

/* ---- stealing ---------------------------------------------------------------------------------
 */

static int64_t
mean_us_x16(const struct executor *e, int64_t now)
{
    const struct work *w = &e->work[0];
    const struct runner_job *job = w->piece->job;
    uint32_t offset, begun = w->piece->count - board_unstarted(e->board, w->lease);
    int64_t started, mean = job->mean_ns * 16 / 1000;

    if (mean == 0)
        mean = (now - w->since) * 16 / (begun > 0 ? begun : 1);
    /* What has been running for long says that the mean is no guide here. */
    if (board_running(e->board, w->lease, &offset, &started) && offset >= w->piece->done &&
        started >= w->since && (now - started) * 16 > mean)
        mean = (now - started) * 16;
    return mean;
}

/* Tasks of the slice at work that another executor may have. One that runs nothing is on its way to
 * the next, were it only that a large input is still being read: taking that away would have it
 * sent to and fro for ever. */
static uint32_t
spare(const struct executor *e)
{
    const struct work *w = &e->work[0];
    uint32_t offset, left = board_unstarted(e->board, w->lease);
    int64_t started;

    if (left > 0 && !(board_running(e->board, w->lease, &offset, &started) &&
                      offset >= w->piece->done && offset < w->piece->count))
        left--;
    return left;
}

/* The executor with most left to start, and in *us_p how long that takes. */
static struct executor *
richest(struct runner *r, int64_t now, int64_t *us_p)
{
    struct executor *best = NULL;

    *us_p = 0;
    for (unsigned i = 0; i < r->nexecutors; i++) {
        struct executor *e = &r->executors[i];
        int64_t left = 0;

        if (e->nwork == 0 || !e->board->attached || e->cpus > runner_free_slots(r) ||
            e->memory > runner_free_memory(r))
            continue;
        left = spare(e);
        for (unsigned k = 1; k < e->nwork; k++)
            left += board_unstarted(e->board, e->work[k].lease);
        if (left > 0 && (left = left * mean_us_x16(e, now) / 16) > *us_p) {
            *us_p = left;
            best = e;
        }
    }
    return best;
}

static struct piece *
steal_from(struct runner *r, struct executor *e, int64_t now)
{
    unsigned i = e->nwork - 1; /* all that waits behind, or half of what is at work */
    uint32_t left = i > 0 ? board_unstarted(e->board, e->work[i].lease) : spare(e);
    struct piece *p = executor_take(r, e, i, i > 0 ? left : (left + 1) / 2);

    if (p != NULL) {
        runner_enqueue(r, p, true);
        finish_emptied(r, e, now);
    }
    return p;
}

/* Slots are free and nothing is queued for them: take from the busy. */
static void
steal(struct runner *r, int64_t now)
{
    struct executor *idle, *rich;
    struct piece *p;
    int64_t us;

    for (unsigned n = 0; n < r->slots && r->used < r->slots; n++) {
        if ((rich = richest(r, now, &us)) == NULL || us < STEAL_US)
            return;
        p = rich->work[rich->nwork - 1].piece;
        idle = find_idle(r, rich->code, choice_for(p), p->job->spec->memory);
        if (idle == NULL) {
            if (rich->code->starting > 0 || us < STEAL_START_US || !start(r, rich->code, now))
                return;
            continue; /* it steals for itself, once it is there */
        }
        if ((p = steal_from(r, rich, now)) == NULL)
            return;
        give(r, idle, p, now);
    }
}

/* ---- the match --------------------------------------------------------------------------------
 */

static bool
is_short(const struct piece *p)
{
    return p->job->mean_ns > 0 && !p->job->nests &&
           (int64_t)(p->count - p->done) * p->job->mean_ns < PREFETCH_US * 1000LL;
}

/* A short piece waits behind a short one: then the executor need not wait for us in between. */
static void
prefetch(struct runner *r, int64_t now)
{
    struct piece *p;

    for (unsigned i = 0; i < r->nexecutors; i++) {
        struct executor *e = &r->executors[i];

        if (e->nwork != 1 || e->awake > 0 || e->doomed || e->victim_lease != 0 ||
            executor_spent(e) || !e->board->attached || !is_short(e->work[0].piece))
            continue;
        if ((p = TAILQ_FIRST(&r->queue)) == NULL)
            return;
        if (p->job->code == e->code && constants_ready(p->job) && runner_cpus(r, p) == e->cpus &&
            p->job->spec->memory == e->work[0].piece->job->spec->memory && is_short(p) &&
            !(choice_for(p) == CHOOSE_CLEAN && e->parked != NULL))
            give(r, e, p, now);
    }
}

/* An executor that has its last tasks is replaced while it runs them, not after: by one for those
 * who wait, or else by its like. */
static void
replace_spent(struct runner *r, int64_t now)
{
    struct code *code;

    for (unsigned i = 0; i < r->nexecutors && !r->draining; i++) {
        struct executor *e = &r->executors[i];

        if (e->state != EXECUTOR_BUSY || !executor_spent(e) || e->succeeded ||
            count_alive(r) >= r->slots)
            continue;
        code = TAILQ_EMPTY(&r->queue) ? e->code : TAILQ_FIRST(&r->queue)->job->code;
        if (code->state == CODE_READY)
            e->succeeded = start(r, code, now);
    }
}

/* No executor is idle. 1: one for this piece is on its way; 0: none can be now, and the piece goes
 * to *e_p, or waits if that is NULL; -1: the program failed, and its pieces are gone. */
static int
start_for(struct runner *r, const struct piece *p, struct executor **e_p, int64_t now)
{
    struct code *code = p->job->code;
    uint64_t memory = p->job->spec->memory;

    *e_p = NULL;
    if (code->reserved >= code->starting)
        end_swollen(r, code, memory, now);
    if (code->reserved < code->starting || start(r, code, now)) {
        code->reserved++;
        return 1;
    }
    if (code->state == CODE_FAILED)
        return -1;
    /* Better there than never: what waits in them may wait for this. */
    *e_p = find_idle(r, code, find_seat(r, code) == NULL ? CHOOSE_SPENT : CHOOSE_ANY, 0);
    return 0;
}

void
runner_match(struct runner *r, int64_t now)
{
    unsigned free_slots;
    uint64_t free_memory;
    struct piece *p, *after, *rest;
    struct executor *e;
    struct code *code;
    bool tight; /* one waits for memory, and those behind it that ask for some wait too */
    int coming;

    /* Without a broker what was made is kept, and there is a limit to that. */
    if (r->lost && reports_full(r->out))
        return;
again:
    tight = false;
    free_slots = runner_free_slots(r);
    free_memory = runner_free_memory(r);
    for (code = r->codes; code != NULL; code = code->hh.next)
        code->reserved = 0;
    for (p = TAILQ_FIRST(&r->queue); p != NULL && free_slots > 0; p = after) {
        unsigned cpus = runner_cpus(r, p);
        uint64_t memory = runner_memory(r, p);

        code = p->job->code;
        after = TAILQ_NEXT(p, next);
        if (code->state != CODE_READY || !constants_ready(p->job))
            continue;
        if (cpus > free_slots)
            break; /* those behind it wait too, or it never gets its slots */
        if (memory > 0 && (tight || memory > free_memory)) {
            tight = true;
            continue;
        }
        coming = 0;
        e = find_idle(r, code, choice_for(p), p->job->spec->memory);
        if (e == NULL && (coming = start_for(r, p, &e, now)) < 0)
            goto again;
        if (e == NULL && coming == 0 && find_seat(r, code) == NULL)
            continue; /* until tasks that wait have ended: perhaps for those behind it */
        if (e == NULL && coming == 0)
            break;
        if (e != NULL && (rest = give(r, e, p, now)) != NULL)
            after = rest;
        free_slots -= cpus;
        free_memory -= memory;
    }
    if (!TAILQ_EMPTY(&r->queue))
        prefetch(r, now);
    else if (r->used > 0 && r->used < r->slots)
        steal(r, now);
    replace_spent(r, now);
}
