#include "history.h"

#include "broker.h"
#include "chaos.h"
#include "deposits.h"
#include "load.h"
#include "worker.h"

#include "../../proto/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CASUALTIES 50 /* runner: so many, and a waiting task is to blame itself */
#define LOSSES 10     /* scheduler: so many workers were lost with it */

struct history {
    struct sim *sim;
    struct record **records;
    uint32_t count, room;
    unsigned workers_lost;
    bool barren, lost;
    size_t largest;
    char text[200];
};

struct history *
history_new(struct sim *s)
{
    struct history *h = calloc(1, sizeof(*h));

    assert(h != NULL);
    h->sim = s;
    return h;
}

void
history_free(struct history *h)
{
    for (uint32_t i = 0; i < h->count; i++) {
        spec_unref(h->records[i]->spec);
        free(h->records[i]);
    }
    free(h->records);
    free(h);
}

struct record *
history_submit(struct history *h, unsigned client, uint64_t kind, struct spec *spec)
{
    struct record *r = calloc(1, sizeof(*r));

    assert(r != NULL);
    if (h->count == h->room) {
        h->room = h->room == 0 ? 1024 : 2 * h->room;
        h->records = realloc(h->records, h->room * sizeof(struct record *));
        assert(h->records != NULL);
    }
    r->input = kind | h->count;
    r->spec = spec_ref(spec);
    r->client = client;
    r->outcome = r->told = NO_OUTCOME;
    h->records[h->count++] = r;
    return r;
}

struct record *
history_of(struct history *h, uint64_t input)
{
    uint32_t at = (uint32_t)input;

    if (load_spawned(input))
        return NULL;
    if (at >= h->count || h->records[at]->input != input)
        sim_fail(h->sim, "an input that nobody submitted");
    return h->records[at];
}

void
history_worker_lost(struct history *h)
{
    h->workers_lost++;
    h->lost = true;
}

void
history_connection_lost(struct history *h)
{
    h->lost = true;
}

void
history_barren(struct history *h)
{
    h->barren = true;
}

void
history_largest(struct history *h, size_t input)
{
    if (input > h->largest)
        h->largest = input;
}

uint64_t
history_bytes_most(const struct history *h, uint64_t window)
{
    const struct sim *s = h->sim;
    uint64_t each = window + h->largest + TASK_COST;
    uint64_t most = (s->nclients + deposits_count(s)) * each;

    for (unsigned i = 0; i < s->nworkers; i++)
        most += worker_carried_bytes(s->workers[i], each);
    /* Some of whom the broker has not noticed that they are gone, or that they came anew. */
    return 3 * most;
}

/* ---- what may be so -----------------------------------------------------------------------------
 */

static bool
may_be_rejected(const struct history *h, const struct spec *spec, const char *digest)
{
    const struct sim *s = h->sim;

    if (spec->fail_if_unknown || h->barren || chaos_is_on(s, FAULT_PARTS))
        return true;
    for (unsigned i = 0; i < s->nworkers; i++)
        if (worker_program(s->workers[i], digest) != PROGRAM_STARTS)
            return true;
    return false;
}

static const char *
why_not_crashed(const struct record *r, uint32_t attempt)
{
    bool last = r->spec->once || attempt > r->spec->retries;

    if (!last)
        return "it had attempts left";
    if (r->crashed + r->killed == 0 && r->casualties < CASUALTIES)
        return "nothing that could be blamed on it crashed";
    return NULL;
}

/* NULL if a task may have ended so; else why not. */
static const char *
why_not(const struct history *h, const struct record *r, enum outcome o, uint32_t attempt)
{
    const struct spec *spec = r->spec;

    switch (o) {
    case OUTCOME_DONE:
        return r->done > 0 ? NULL : "it never came to its end";
    case OUTCOME_FAILED:
        if (r->failed == 0)
            return "it never failed";
        return !spec->retry_failed || spec->once || attempt > spec->retries
                   ? NULL
                   : "it had attempts left";
    case OUTCOME_CRASHED:
        return why_not_crashed(r, attempt);
    case OUTCOME_CANCELLED:
        /* What its client has ended for its deadline is cancelled, too. */
        return r->cancelled || r->outcome == OUTCOME_TIMED_OUT ? NULL : "nobody cancelled it";
    case OUTCOME_TIMED_OUT:
        return spec->deadline_ms > 0 || spec->timeout_ms > 0 ? NULL : "it had all the time";
    case OUTCOME_LOST:
        if (r->gave_up)
            return NULL;
        if (spec->once && !r->noted)
            return "it cannot have begun";
        if (spec->once && r->casualties + r->killed > 0)
            return NULL;
        if (!h->lost)
            return "no worker was lost";
        return spec->once || attempt >= LOSSES ? NULL : "it had attempts left";
    case OUTCOME_REJECTED:
        return may_be_rejected(h, spec, spec->program.digest) ? NULL : "it can run";
    default:
        return "there is no such outcome";
    }
}

void
history_judge(const struct history *h, const struct record *r, enum outcome o, uint32_t attempt)
{
    const char *why = why_not(h, r, o, attempt);

    if (why != NULL)
        sim_fail(h->sim, "c%u: task %u cannot have ended %s in attempt %u: %s", r->client,
                 (unsigned)(uint32_t)r->input, outcome_name(o), attempt, why);
}

void
history_told(struct history *h, struct record *r, enum outcome o, uint32_t attempt, uint32_t life)
{
    if (r->life == life)
        sim_fail(h->sim, "c%u was told twice how task %u ended", r->client,
                 (unsigned)(uint32_t)r->input);
    r->life = life;
    history_judge(h, r, o, attempt);
    if (r->told == NO_OUTCOME && r->outcome == NO_OUTCOME)
        r->told = (uint8_t)o;
}

void
history_ended(struct history *h, struct record *r, enum outcome o, uint32_t attempt,
              const uint8_t *bytes, size_t size)
{
    struct sim *s = h->sim;
    unsigned serial = (unsigned)(uint32_t)r->input;

    if (r->outcome != NO_OUTCOME)
        sim_fail(s, "c%u: task %u ended twice", r->client, serial);
    r->outcome = (uint8_t)o;
    if (o == OUTCOME_DONE && !load_is_result(r->input, bytes, size))
        sim_fail(s, "c%u: task %u has a wrong result", r->client, serial);
    if (r->told != NO_OUTCOME && r->told != o)
        sim_fail(s, "c%u: task %u ended %s, but the broker said %s", r->client, serial,
                 outcome_name(o), outcome_name((enum outcome)r->told));
    if (r->told == NO_OUTCOME && !(o == OUTCOME_CANCELLED && r->cancelled) &&
        !(o == OUTCOME_LOST && r->gave_up) && !(o == OUTCOME_TIMED_OUT && r->spec->deadline_ms > 0))
        sim_fail(s, "c%u: task %u ended %s, and the broker never said so", r->client, serial,
                 outcome_name(o));
    history_judge(h, r, o, attempt);
}

void
history_child_ended(struct history *h, uint64_t input, const struct spec *spec, const char *digest,
                    enum outcome o, bool cancelled, const uint8_t *bytes, size_t size)
{
    struct sim *s = h->sim;
    enum fate fate = load_fate(s, input);
    bool well = true;

    switch (o) {
    case OUTCOME_DONE:
        well = fate == FATE_DONE || fate == FATE_CRASHES_ONCE;
        if (!load_is_result(input, bytes, size))
            sim_fail(s, "a task that a task spawned has a wrong result");
        break;
    case OUTCOME_FAILED:
        well = fate == FATE_FAILS || cancelled;
        break;
    case OUTCOME_CANCELLED:
        well = cancelled;
        break;
    case OUTCOME_TIMED_OUT:
        well = spec->deadline_ms > 0 || spec->timeout_ms > 0;
        break;
    case OUTCOME_LOST:
        well = h->lost || spec->once;
        break;
    case OUTCOME_REJECTED:
        well = may_be_rejected(h, spec, digest);
        break;
    default:
        break;
    }
    if (!well)
        sim_fail(s, "a task that a task spawned cannot have ended %s", outcome_name(o));
}

/* ---- the end ------------------------------------------------------------------------------------
 */

const char *
history_unended(struct history *h)
{
    uint32_t left = 0, first = 0;

    for (uint32_t i = h->count; i-- > 0;) {
        const struct record *r = h->records[i];

        if (r->outcome != NO_OUTCOME || r->unknown || r->deposit != NULL)
            continue;
        left++;
        first = i;
    }
    if (left == 0)
        return "all tasks have ended";
    snprintf(h->text, sizeof(h->text),
             "%" PRIu32 " tasks, the first is %" PRIu32 " of c%u, which was started %u times", left,
             first, h->records[first]->client, h->records[first]->starts);
    return h->text;
}

static void
check_record(const struct history *h, const struct record *r)
{
    struct sim *s = h->sim;
    unsigned serial = (unsigned)(uint32_t)r->input;
    /* Its brokers tell a detached task anew, not its client; and once more when somebody asks. */
    unsigned runs = r->deposit == NULL ? 1 : 1 + r->deposit->rounds;
    unsigned lives = r->deposit == NULL ? r->lives : broker_lives(s->broker) * runs;
    /* What crashed and was not told, since its worker was lost first, counts for nobody. What the
     * client had not heard when its connection was lost may be counted anew. */
    unsigned crashes = (r->spec->retries + 1) * lives + h->workers_lost;

    if (r->outcome == NO_OUTCOME && !r->unknown && r->deposit == NULL)
        sim_fail(s, "c%u: task %u never ended", r->client, serial);
    if (r->crashed > crashes)
        sim_fail(s, "c%u: task %u crashed %u times, and may do so %u times", r->client, serial,
                 r->crashed, crashes);
    /* What runs, or has run, goes on and is told to the next broker. */
    if (s->restarts && r->starts > runs + r->crashed + r->failed + r->killed + r->casualties)
        sim_fail(s,
                 "c%u: task %u was started %u times, though only connections and brokers were lost",
                 r->client, serial, r->starts);
    if (r->spec->once && r->starts > runs)
        sim_fail(s, "c%u: task %u may run once, and was started %u times", r->client, serial,
                 r->starts);
    if (r->running > 0)
        sim_fail(s, "c%u: task %u still runs somewhere", r->client, serial);
}

void
history_check(struct history *h)
{
    for (uint32_t i = 0; i < h->count; i++)
        check_record(h, h->records[i]);
}
