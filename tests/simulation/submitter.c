#include "submitter.h"

#include "../../proto/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void
submitter_init(struct submitter *c, struct actor *a, uint32_t number)
{
    memset(c, 0, sizeof(*c));
    c->actor = a;
    c->number = number;
    TAILQ_INIT(&c->jobs);
    if (number == 0)
        snprintf(c->name, sizeof(c->name), "%s", a->name);
    else
        snprintf(c->name, sizeof(c->name), "%.10s.%" PRIu32, a->name, number);
}

static void
free_work(struct submitter *c, struct work *j)
{
    TAILQ_REMOVE(&c->jobs, j, link);
    spec_unref(j->spec);
    free(j->tasks);
    free(j);
}

void
submitter_free(struct submitter *c)
{
    while (!TAILQ_EMPTY(&c->jobs))
        free_work(c, TAILQ_FIRST(&c->jobs));
}

static void
say(struct submitter *c, const struct message *m)
{
    struct message copy = *m;

    copy.client = c->number;
    sim_send(c->actor, &copy);
}

void
submitter_hello(struct submitter *c)
{
    struct message m = {.type = MESSAGE_HELLO};

    submitter_gone(c);
    m.hello = (struct message_hello){.role = ROLE_CLIENT,
                                     .protocol = LADLE_PROTOCOL,
                                     .software = "sim",
                                     .name = c->name,
                                     .host = "sim",
                                     .machine = "",
                                     .labels = "",
                                     .window = c->result_window};
    memcpy(m.hello.session, c->session, sizeof(m.hello.session));
    say(c, &m);
}

void
submitter_gone(struct submitter *c)
{
    struct work *j;

    c->welcome = false;
    c->received = c->taken = c->under_way = c->grant = 0;
    TAILQ_FOREACH (j, &c->jobs, link) {
        j->announced = j->end_sent = false;
        j->sent = 0;
    }
}

/* ---- what it sends ------------------------------------------------------------------------------
 */

static void
send_inputs(struct submitter *c, struct work *j, uint64_t count)
{
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = j->id, .first = j->sent}};
    uint32_t sizes[LIMIT_SIZES];
    size_t length = 0, at = 0;
    bool same = true;

    for (uint64_t i = 0; i < count; i++) {
        sizes[i] = j->tasks[j->sent + i].size;
        same = same && sizes[i] == sizes[0];
        length += sizes[i];
    }
    m.inputs.columns = (struct columns){.count = (uint32_t)count,
                                        .size = same ? sizes[0] : 0,
                                        .sizes = same ? NULL : sizes,
                                        .data = blob_new(length),
                                        .length = length};
    assert(m.inputs.columns.data != NULL);
    memset(m.inputs.columns.data->bytes, 0x5a, length);
    for (uint64_t i = 0; i < count; i++) {
        memcpy(m.inputs.columns.data->bytes + at, &j->tasks[j->sent + i].input, sizeof(uint64_t));
        at += sizes[i];
    }
    say(c, &m);
    blob_unref(m.inputs.columns.data);
    c->under_way += length + count * TASK_COST;
    j->sent += count;
}

/* As many of the next tasks as the window and chance allow. */
static uint64_t
fit(const struct submitter *c, const struct work *j)
{
    uint64_t most = 1 + random_below(&c->actor->sim->random, 300), count = 0, cost = 0;

    while (count < most && j->sent + count < j->ready &&
           j->tasks[j->sent + count].outcome == NONE) {
        cost += j->tasks[j->sent + count].size + TASK_COST;
        if (c->under_way + cost > c->window + c->grant && (c->under_way > c->grant || count > 0))
            break;
        count++;
    }
    return count;
}

static void
send_job(struct submitter *c, struct work *j)
{
    uint64_t count;

    if (!j->announced)
        say(c, &(struct message){.type = MESSAGE_JOB, .job = {.job = j->id, .spec = j->spec}});
    j->announced = true;
    for (;;) {
        while (j->sent < j->ready && j->tasks[j->sent].outcome != NONE)
            j->sent++; /* it ended in a session before */
        if (j->sent == j->ready || (count = fit(c, j)) == 0)
            break;
        send_inputs(c, j, count);
    }
    if (j->sent == j->count && !j->end_sent) {
        j->end_sent = true;
        say(c, &(struct message){.type = MESSAGE_JOB_END,
                                 .job_end = {.job = j->id, .total = j->count}});
    }
}

void
submitter_pump(struct submitter *c)
{
    struct work *j, *next;

    if (!c->welcome)
        return;
    if (c->received - c->taken >= c->result_window / 4) {
        c->taken = c->received;
        say(c, &(struct message){.type = MESSAGE_TAKEN, .taken = {.bytes = c->taken}});
    }
    for (j = TAILQ_FIRST(&c->jobs); j != NULL; j = next) {
        next = TAILQ_NEXT(j, link);
        send_job(c, j);
        if (j->left == 0 && j->end_sent)
            free_work(c, j);
    }
}

struct work *
submitter_add(struct submitter *c, struct spec *spec, struct task *tasks, uint64_t count,
              uint64_t ready)
{
    struct work *j = calloc(1, sizeof(*j));

    assert(j != NULL && spec != NULL && tasks != NULL);
    j->id = ++c->next_job;
    j->spec = spec;
    j->tasks = tasks;
    j->count = j->left = count;
    j->ready = ready;
    TAILQ_INSERT_TAIL(&c->jobs, j, link);
    sim_trace(c->actor->sim, "%s submits job %" PRIu64 " of %" PRIu64 " tasks", c->name, j->id,
              count);
    return j;
}

struct work *
submitter_find(struct submitter *c, uint64_t id)
{
    struct work *j;

    TAILQ_FOREACH (j, &c->jobs, link) {
        if (j->id == id)
            return j;
    }
    return NULL;
}

void
submitter_cancel(struct submitter *c, struct work *j, uint64_t first, uint64_t last)
{
    if (last > j->sent) /* those that were not sent are its own business */
        last = j->sent;
    if (first >= last)
        return;
    for (uint64_t i = first; i < last; i++)
        j->tasks[i].cancelled = true;
    say(c, &(struct message){.type = MESSAGE_CANCEL,
                             .range = {.job = j->id, .first = first, .count = last - first}});
}

/* ---- what it gets -------------------------------------------------------------------------------
 */

static bool
may_be_rejected(const struct sim *s, const struct spec *spec)
{
    struct actor *a;

    TAILQ_FOREACH (a, &s->actors, link) {
        if (a->name[0] == 'w' && !program_starts(s, a, spec->program.digest))
            return true;
    }
    return spec->fail_if_unknown;
}

static bool
plausible(const struct sim *s, const struct spec *spec, const struct task *t, enum outcome o,
          uint32_t attempt)
{
    enum fate fate = fate_of(s, t->input);

    switch (o) {
    case OUTCOME_DONE:
        return fate == FATE_DONE || (fate == FATE_CRASHES_ONCE && attempt > 1);
    case OUTCOME_FAILED:
        return fate == FATE_FAILS && (!spec->retry_failed || spec->once || attempt > spec->retries);
    case OUTCOME_CRASHED:
        return (fate == FATE_CRASHES && (spec->once || attempt > spec->retries)) ||
               (fate == FATE_CRASHES_ONCE && (spec->once || spec->retries == 0));
    case OUTCOME_CANCELLED:
        return t->cancelled;
    case OUTCOME_TIMED_OUT:
        return spec->deadline_ms > 0;
    case OUTCOME_LOST:
        return spec->once || attempt >= 10;
    case OUTCOME_REJECTED:
        return may_be_rejected(s, spec);
    default:
        return false;
    }
}

static void
end(struct submitter *c, struct work *j, uint64_t index, enum outcome o, uint32_t attempt)
{
    struct sim *s = c->actor->sim;
    struct task *t = &j->tasks[index];

    if (index >= j->sent)
        sim_fail(s, "%s got an outcome of a task it did not send", c->name);
    if (t->outcome != NONE)
        sim_fail(s, "%s: task %" PRIu64 " of job %" PRIu64 " ended twice", c->name, index, j->id);
    if (!plausible(s, j->spec, t, o, attempt))
        sim_fail(s, "%s: task %" PRIu64 " of job %" PRIu64 " cannot have ended %s in attempt %u",
                 c->name, index, j->id, outcome_name(o), attempt);
    t->outcome = (uint8_t)o;
    c->under_way -= t->size + TASK_COST;
    if (--j->left == 0 && j->waiter != NULL) {
        void *waiter = j->waiter;

        j->waiter = NULL;
        c->over(c, waiter);
    }
}

static void
results(struct submitter *c, const struct message_results *m)
{
    struct work *j = submitter_find(c, m->job);
    const uint8_t *item = m->columns.data->bytes + m->columns.at;

    if (c->received - c->taken >= c->result_window)
        sim_fail(c->actor->sim, "the window of %s is overrun", c->name);
    c->received += m->columns.length + (uint64_t)m->columns.count * TASK_COST;
    if (j == NULL || m->first + m->columns.count > j->count)
        sim_fail(c->actor->sim, "%s got results of no task of its", c->name);
    for (uint32_t i = 0; i < m->columns.count; i++) {
        enum outcome o =
            m->columns.outcomes == NULL ? OUTCOME_DONE : (enum outcome)m->columns.outcomes[i];
        uint64_t value;

        memcpy(&value, item + i * sizeof(value), sizeof(value));
        if (o == OUTCOME_DONE && value != TASK_VALUE(j->tasks[m->first + i].input))
            sim_fail(c->actor->sim, "%s got a wrong result", c->name);
        end(c, j, m->first + i, o, m->attempt);
    }
}

static void
ended(struct submitter *c, const struct message_ended *m)
{
    struct work *j = submitter_find(c, m->job);

    if (j == NULL || m->first + m->count > j->count)
        sim_fail(c->actor->sim, "%s was told the end of no task of its", c->name);
    for (uint64_t i = m->first; i < m->first + m->count; i++)
        end(c, j, i, m->outcome, m->attempt);
}

static void
program_wanted(struct submitter *c, const struct message_program_wanted *m)
{
    struct blob *data = blob_copy("program", 7);
    struct message answer = {
        .type = MESSAGE_PROGRAM_PART,
        .program_part = {
            .digest = m->digest, .offset = m->offset, .text = "", .columns = {.count = 1}}};

    assert(data != NULL);
    if (c->number != 0)
        sim_fail(c->actor->sim, "%s was asked for a program", c->name);
    if (random_chance(&c->actor->sim->random, 70)) {
        answer.program_part.size = 7;
        answer.program_part.columns =
            (struct columns){.count = 1, .size = 7, .data = data, .length = 7};
    }
    say(c, &answer);
    blob_unref(data);
}

void
submitter_input(struct submitter *c, const struct message *m)
{
    struct sim *s = c->actor->sim;

    if (!c->welcome && m->type != MESSAGE_WELCOME && m->type != MESSAGE_REFUSED &&
        m->type != MESSAGE_BYE)
        return; /* of a conversation that is over */
    switch (m->type) {
    case MESSAGE_WELCOME:
        c->welcome = true;
        c->window = m->welcome.window;
        break;
    case MESSAGE_RESULTS:
        results(c, &m->results);
        break;
    case MESSAGE_ENDED:
        ended(c, &m->ended);
        break;
    case MESSAGE_PROGRAM_WANTED:
        program_wanted(c, &m->program_wanted);
        break;
    case MESSAGE_GRID:
        if (m->grid.grant < c->grant)
            sim_fail(s, "the window of %s shrank", c->name);
        c->grant = m->grid.grant;
        break;
    case MESSAGE_REFUSED:
        sim_fail(s, "%s was refused: %s", c->name, m->text);
    case MESSAGE_ACCEPTED:
    case MESSAGE_NOTICE:
    case MESSAGE_RUNNING:
    case MESSAGE_PROGRESS:
    case MESSAGE_BEAT:
    case MESSAGE_BYE:
        break;
    default:
        sim_fail(s, "%s got a %s", c->name, message_name(m->type));
    }
    submitter_pump(c);
}
