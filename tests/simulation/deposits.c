#include "deposits.h"

#include "broker.h"
#include "load.h"

#include "../../proto/wire.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct told {     /* of a task */
    uint8_t ever; /* bits: these outcomes were on disk */
    bool rejected;
};

struct deposits {
    TAILQ_HEAD(, deposit) all;
    unsigned count;
};

_Static_assert(OUTCOME_REJECTED < 8, "a bit for each outcome");

struct deposits *
deposits_new(void)
{
    struct deposits *d = calloc(1, sizeof(*d));

    assert(d != NULL);
    TAILQ_INIT(&d->all);
    return d;
}

void
deposits_free(struct deposits *all)
{
    struct deposit *d;

    while ((d = TAILQ_FIRST(&all->all)) != NULL) {
        TAILQ_REMOVE(&all->all, d, link);
        spec_unref(d->spec);
        free(d->tasks);
        free(d->outcomes);
        free(d->told);
        free(d);
    }
    free(all);
}

struct deposit *
deposit_new(struct sim *s, unsigned client, uint64_t kind, struct spec *spec, uint64_t most)
{
    struct deposit *d = calloc(1, sizeof(*d));

    assert(d != NULL);
    random_bytes(&s->random, d->id, sizeof(d->id));
    for (int i = 0; i < 16; i++)
        snprintf(d->hex + 2 * i, 3, "%02x", d->id[i]);
    d->client = client;
    d->spec = spec_ref(spec);
    d->most = most;
    d->tasks = calloc(most + 1, sizeof(struct record *));
    d->outcomes = malloc(most + 1);
    d->told = calloc(most + 1, sizeof(*d->told));
    assert(d->tasks != NULL && d->outcomes != NULL && d->told != NULL);
    memset(d->outcomes, NO_OUTCOME, most + 1);
    for (uint64_t i = 0; i < most; i++) {
        d->tasks[i] = history_submit(s->history, client, kind, spec);
        d->tasks[i]->deposit = d;
    }
    TAILQ_INSERT_TAIL(&s->deposits->all, d, link);
    s->deposits->count++;
    return d;
}

unsigned
deposits_count(const struct sim *s)
{
    return s->deposits->count;
}

struct deposit *
deposits_some(struct sim *s)
{
    struct deposit *d, *found = NULL;
    uint64_t n = 0;

    TAILQ_FOREACH (d, &s->deposits->all, link) {
        if (d->known && random_below(&s->random, ++n) == 0)
            found = d;
    }
    return found;
}

static struct deposit *
find_id(const struct sim *s, const uint8_t id[16])
{
    struct deposit *d;

    TAILQ_FOREACH (d, &s->deposits->all, link) {
        if (memcmp(d->id, id, sizeof(d->id)) == 0)
            return d;
    }
    sim_fail(s, "there is a job on the disk that nobody submitted");
}

static struct deposit *
find_row(const struct sim *s, uint64_t row)
{
    struct deposit *d;

    TAILQ_FOREACH (d, &s->deposits->all, link) {
        if (d->row == row)
            return d;
    }
    sim_fail(s, "there is a row on the disk of a job that is not there");
}

/* ---- on disk ------------------------------------------------------------------------------------
 */

static void
decode(const struct sim *s, const struct row *row, struct message *m)
{
    const char *why;

    if (wire_decode(s->arena, row->header, row->header_size, row->data, m, &why) != 0)
        sim_fail(s, "row %" PRIu64 " is no message: %s", row->number, why);
}

static void
write_job(const struct sim *s, const struct row *row)
{
    struct message m;
    struct deposit *d;
    const char *why;

    if (wire_decode(s->arena, row->header, row->header_size, NULL, &m, &why) != 0)
        sim_fail(s, "row %" PRIu64 " is no job: %s", row->number, why);
    d = find_id(s, m.job.id);
    if (d->row != 0)
        sim_fail(s, "job %.8s is on disk twice", d->hex);
    d->row = row->number;
}

static void
write_inputs(const struct sim *s, struct deposit *d, const struct row *row)
{
    const struct columns *c;
    struct message m;
    size_t at = 0;

    decode(s, row, &m);
    c = &m.inputs.columns;
    if (d->sealed || row->first != d->inputs || c->count != row->count ||
        row->first + row->count > d->most)
        sim_fail(s, "job %.8s: inputs on disk that are not the next ones", d->hex);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct record *r = d->tasks[d->inputs + i];

        if (memcmp(c->data->bytes + c->at + at, &r->input, sizeof(r->input)) != 0)
            sim_fail(s, "job %.8s: another input of task %" PRIu64 " on disk", d->hex,
                     d->inputs + i);
        if (d->told[d->inputs + i].rejected)
            sim_fail(s, "job %.8s: task %" PRIu64 " is on disk, and was told to be rejected",
                     d->hex, d->inputs + i);
        at += columns_length(c, i, 1);
    }
    d->inputs += row->count;
}

static void
write_end(const struct sim *s, struct deposit *d, uint64_t index, enum outcome o, uint32_t attempt)
{
    if (index >= d->inputs)
        sim_fail(s, "job %.8s: an outcome on disk of a task that is not there", d->hex);
    if (d->outcomes[index] != NO_OUTCOME)
        sim_fail(s, "job %.8s: task %" PRIu64 " has two outcomes on disk: %s and %s", d->hex, index,
                 outcome_name((enum outcome)d->outcomes[index]), outcome_name(o));
    if (o != OUTCOME_CANCELLED && d->cancelled_in != 0 &&
        d->cancelled_in != broker_lives(s->broker))
        sim_fail(s, "job %.8s was cancelled before its broker was, and task %" PRIu64 " ended %s",
                 d->hex, index, outcome_name(o));
    history_judge(s->history, d->tasks[index], o, attempt);
    d->outcomes[index] = (uint8_t)o;
    d->told[index].ever |= (uint8_t)(1u << o);
    d->ended++;
}

static void
write_results(const struct sim *s, struct deposit *d, const struct message_results *r)
{
    const struct columns *c = &r->columns;
    size_t at = c->at;

    for (uint32_t i = 0; i < c->count; i++) {
        size_t size = columns_length(c, i, 1);
        enum outcome o = c->outcomes == NULL ? OUTCOME_DONE : (enum outcome)c->outcomes[i];

        write_end(s, d, r->first + i, o, r->attempt);
        if (o == OUTCOME_DONE &&
            !load_is_result(d->tasks[r->first + i]->input, c->data->bytes + at, size))
            sim_fail(s, "job %.8s: task %" PRIu64 " has a wrong result on disk", d->hex,
                     r->first + i);
        at += size;
    }
}

static void
write_ends(const struct sim *s, struct deposit *d, const struct row *row)
{
    struct message m;

    decode(s, row, &m);
    if (m.type == MESSAGE_RESULTS) {
        write_results(s, d, &m.results);
        return;
    }
    for (uint64_t i = 0; i < m.ended.count; i++)
        write_end(s, d, m.ended.first + i, m.ended.outcome, m.ended.attempt);
}

static bool
is_final(uint8_t outcome)
{
    return outcome == OUTCOME_DONE || outcome == OUTCOME_CANCELLED;
}

/* Those that failed may end once more; no others. */
static void
write_retry(const struct sim *s, struct deposit *d)
{
    if (!d->over)
        sim_fail(s, "job %.8s is run again, and has not ended", d->hex);
    for (uint64_t i = 0; i < d->inputs; i++) {
        if (is_final(d->outcomes[i]))
            continue;
        d->outcomes[i] = NO_OUTCOME;
        d->tasks[i]->noted = false;
        d->ended--;
    }
    d->over = false;
    d->rounds++;
}

void
deposits_written(struct sim *s, const struct row *row)
{
    struct deposit *d = row->kind == ROW_JOB ? NULL : find_row(s, row->job);

    switch (row->kind) {
    case ROW_JOB:
        write_job(s, row);
        break;
    case ROW_INPUTS:
        write_inputs(s, d, row);
        break;
    case ROW_SEAL:
        if (d->sealed || row->first != d->inputs)
            sim_fail(s, "job %.8s ends on disk where its tasks do not", d->hex);
        d->sealed = true;
        break;
    case ROW_ENDS:
        write_ends(s, d, row);
        break;
    case ROW_RETRY:
        write_retry(s, d);
        break;
    case ROW_CANCEL:
        d->cancelled_in = broker_lives(s->broker);
        break;
    case ROW_OVER:
        if (!d->sealed || d->ended != d->inputs)
            sim_fail(s, "job %.8s is over on disk, and has not ended", d->hex);
        d->over = true;
        break;
    default: /* BEGUN: those before, too */
        for (uint64_t i = 0; i < row->first + row->count && i < d->inputs; i++)
            d->tasks[i]->noted = true;
        break;
    }
}

void
deposits_removed(struct sim *s, const struct row *row)
{
    const struct deposit *d = find_row(s, row->job);

    if (row->kind != ROW_INPUTS)
        sim_fail(s, "job %.8s: a row is removed that is no input", d->hex);
    for (uint64_t i = row->first; i < row->first + row->count; i++)
        if (!is_final(d->outcomes[i]))
            sim_fail(s, "job %.8s: the input of task %" PRIu64 " is removed, and is needed", d->hex,
                     i);
}

/* ---- told ---------------------------------------------------------------------------------------
 */

void
deposit_told_accepted(const struct sim *s, struct deposit *d, uint64_t tasks, bool sealed)
{
    d->known = true;
    if (d->row == 0)
        sim_fail(s, "job %.8s was told to be there, and is not on disk", d->hex);
    if (tasks > d->inputs)
        sim_fail(
            s, "job %.8s: %" PRIu64 " tasks were told to be accepted, and %" PRIu64 " are on disk",
            d->hex, tasks, d->inputs);
    if (sealed && (!d->sealed || tasks != d->inputs))
        sim_fail(s, "job %.8s was told to be whole, and is not on disk", d->hex);
    if (tasks < d->accepted)
        sim_fail(s, "job %.8s: %" PRIu64 " tasks were accepted, and now there are %" PRIu64, d->hex,
                 d->accepted, tasks);
    d->accepted = tasks;
}

void
deposit_told(const struct sim *s, const struct deposit *d, uint64_t index, enum outcome o)
{
    if (index >= d->inputs || (d->told[index].ever & 1u << o) == 0)
        sim_fail(s, "job %.8s: task %" PRIu64 " was told to have ended %s, which is not on disk",
                 d->hex, index, outcome_name(o));
}

void
deposit_read(const struct sim *s, struct deposit *d, uint64_t index, enum outcome o, bool gave_up,
             const uint8_t *bytes, size_t size)
{
    const struct record *r = d->tasks[index];
    bool stored = (d->told[index].ever & 1u << o) != 0, well = false;

    switch (o) {
    case OUTCOME_DONE:
        if (!load_is_result(r->input, bytes, size))
            sim_fail(s, "job %.8s: task %" PRIu64 " has a wrong result", d->hex, index);
        break;
    case OUTCOME_CANCELLED:
        well = r->cancelled;
        break;
    case OUTCOME_TIMED_OUT:
        well = d->spec->deadline_ms > 0;
        break;
    case OUTCOME_LOST:
        well = gave_up;
        break;
    case OUTCOME_REJECTED:
        well = index >= d->inputs;
        d->told[index].rejected = !stored;
        break;
    default:
        break;
    }
    if (!stored && !well)
        sim_fail(s, "job %.8s: task %" PRIu64 " ended %s for its client, which is not on disk",
                 d->hex, index, outcome_name(o));
}

void
deposit_told_cancelled(const struct sim *s, struct deposit *d)
{
    if (d->cancelled_in == 0)
        sim_fail(s, "job %.8s was told to be cancelled, which is not on disk", d->hex);
}

void
deposit_told_retried(const struct sim *s, const struct deposit *d, unsigned rounds)
{
    if (d->rounds <= rounds)
        sim_fail(s, "job %.8s was told to run once more, which is not on disk", d->hex);
}

/* ---- the end ------------------------------------------------------------------------------------
 */

bool
deposits_are_over(const struct sim *s, const char **what)
{
    static char text[120];
    const struct deposit *d;

    TAILQ_FOREACH (d, &s->deposits->all, link) {
        if (d->row == 0 || d->over)
            continue;
        snprintf(text, sizeof(text),
                 "job %.8s, of which %" PRIu64 " of %" PRIu64 " tasks%s have ended on disk", d->hex,
                 d->ended, d->inputs, d->sealed ? "" : " and more");
        *what = text;
        return false;
    }
    return true;
}

void
deposits_check(const struct sim *s)
{
    const struct deposit *d;

    TAILQ_FOREACH (d, &s->deposits->all, link) {
        if (d->known && d->row == 0)
            sim_fail(s, "job %.8s was accepted, and is not there", d->hex);
        if (d->ended != d->inputs)
            sim_fail(s, "job %.8s: a task has no outcome on disk", d->hex);
    }
}
