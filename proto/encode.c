/* Our structs to protobuf's. Nothing is copied but strings that could not travel as they are. */
#include "codec.h"
#include "text.h"

#include <assert.h>
#include <string.h>

_Static_assert((int)ROLE_OPERATOR == LADLE__V1__ROLE__ROLE_OPERATOR, "the numbers are the wire's");
_Static_assert((int)OUTCOME_REJECTED == LADLE__V1__OUTCOME__OUTCOME_REJECTED && OUTCOME_LIMIT == 7,
               "the numbers are the wire's");
_Static_assert((int)RETURNED_UNSTARTED == LADLE__V1__RETURNED__RETURNED_UNSTARTED,
               "the numbers are the wire's");

/* Makes `field` the body of e->top; `type` is its message's name as protoc-c writes it. */
#define OPEN(e, field, type, FIELD)                                                                \
    (ladle__v1__##type##__init(&(e)->body.field),                                                  \
     (e)->top.body_case = LADLE__V1__MESSAGE__BODY_##FIELD, (e)->top.field = &(e)->body.field)

/* The same for a message that is a range of tasks. */
#define RANGE(e, field, FIELD, range)                                                              \
    (OPEN(e, field, field, FIELD)->job = (range)->job, (e)->body.field.first = (range)->first,     \
     (e)->body.field.count = (range)->count)

/* protobuf-c's structs are not const, but packing only reads. */
static void *
borrow(const void *p)
{
    return (void *)(uintptr_t)p;
}

static char *
fit(struct encoder *e, const char *s, size_t limit, bool lines)
{
    size_t size = s == NULL ? 0 : strlen(s);
    char *room;

    if (size == 0)
        return borrow("");
    if (size <= limit && text_fits(s, size, lines))
        return borrow(s);
    if ((room = region_take(e->region, limit + 1)) == NULL)
        return borrow("");
    text_fit(room, s, limit, lines);
    return room;
}

static char *
name(struct encoder *e, const char *s)
{
    return fit(e, s, LIMIT_NAME, false);
}

static char *
list(struct encoder *e, const char *s)
{
    return fit(e, s, LIMIT_TEXT, false);
}

static char *
text(struct encoder *e, const char *s)
{
    return fit(e, s, LIMIT_TEXT, true);
}

static ProtobufCBinaryData
bytes(const void *p, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = size == 0 ? NULL : borrow(p)};
}

static Ladle__V1__Columns *
columns(struct encoder *e, const struct columns *c)
{
    Ladle__V1__Columns *out = &e->columns;

    if (c->count == 0)
        return NULL;
    assert(c->count <= (c->sizes == NULL ? LIMIT_ITEMS : LIMIT_SIZES));
    assert(c->length <= LIMIT_DATA && c->length == columns_length(c, 0, c->count));
    assert(c->length == 0 || (c->data != NULL && c->at + c->length <= c->data->size));
    ladle__v1__columns__init(out);
    out->count = c->count;
    if (c->sizes == NULL) {
        out->size = c->size;
    } else {
        out->sizes = borrow(c->sizes);
        out->n_sizes = c->count;
    }
    if (c->outcomes != NULL)
        out->outcomes = bytes(c->outcomes, c->count);
    return out;
}

static void
encode_hello(struct encoder *e, const struct message_hello *m)
{
    Ladle__V1__Hello *out = OPEN(e, hello, hello, HELLO);
    char **names = NULL;

    if (m->nnames > 0 && (names = region_take(e->region, m->nnames * sizeof(*names))) == NULL)
        return;
    for (uint32_t i = 0; i < m->nnames; i++)
        names[i] = name(e, m->names[i]);
    out->role = (Ladle__V1__Role)m->role;
    out->protocol = m->protocol;
    out->software = name(e, m->software);
    out->name = name(e, m->name);
    out->host = name(e, m->host);
    out->pid = m->pid;
    out->session = bytes(m->session, sizeof(m->session));
    out->window = m->window;
    out->slots = m->slots;
    out->machine = name(e, m->machine);
    out->labels = list(e, m->labels);
    out->names = names;
    out->n_names = m->nnames;
    out->tasks = m->tasks;
    out->keep_ms = m->keep_ms;
    out->instance = m->instance;
    out->memory = m->memory;
    out->left_ms = m->left_ms;
}

static void
encode_welcome(struct encoder *e, const struct message_welcome *m)
{
    Ladle__V1__Welcome *out = OPEN(e, welcome, welcome, WELCOME);

    out->protocol = m->protocol;
    out->software = name(e, m->software);
    out->name = name(e, m->name);
    out->instance = m->instance;
    out->beat_ms = m->beat_ms;
    out->lost_ms = m->lost_ms;
    out->window = m->window;
    out->workers = m->workers;
    out->slots = m->slots;
}

static Ladle__V1__Program *
encode_program(struct encoder *e, const struct program *p)
{
    Ladle__V1__Program *out = &e->program;

    assert(p->arguments_size <= LIMIT_ARGUMENTS && p->environment_size <= LIMIT_ENVIRONMENT);
    ladle__v1__program__init(out);
    out->digest = borrow(p->digest);
    out->name = name(e, p->name);
    out->machine = name(e, p->machine);
    out->arguments = bytes(p->arguments, p->arguments_size);
    out->size = p->size;
    out->environment = bytes(p->environment, p->environment_size);
    out->directory = list(e, p->directory);
    return out;
}

static void
encode_shared(struct encoder *e, const struct spec *spec, Ladle__V1__Job *out)
{
    Ladle__V1__Shared **rows = region_take(e->region, spec->nshared * sizeof(*rows));
    Ladle__V1__Shared *row = region_take(e->region, spec->nshared * sizeof(*row));

    assert(spec->nshared <= LIMIT_SHARED);
    if (rows == NULL || row == NULL)
        return;
    for (uint32_t i = 0; i < spec->nshared; i++, row++) {
        ladle__v1__shared__init(row);
        row->name = name(e, spec->shared[i].name);
        row->digest = borrow(spec->shared[i].digest);
        row->size = spec->shared[i].size;
        row->path = text(e, spec->shared[i].path);
        rows[i] = row;
    }
    out->shared = rows;
    out->n_shared = spec->nshared;
}

static void
encode_spec(struct encoder *e, const struct spec *spec, Ladle__V1__Job *out)
{
    assert(spec->timeout_ms >= 0 && spec->deadline_ms >= 0 && spec->cpus >= 1);
    out->program = encode_program(e, &spec->program);
    out->function = name(e, spec->function);
    out->name = name(e, spec->name);
    out->needs = list(e, spec->needs);
    out->priority = spec->priority;
    out->timeout_ms = (uint64_t)spec->timeout_ms;
    out->deadline_ms = (uint64_t)spec->deadline_ms;
    out->attempts_case = LADLE__V1__JOB__ATTEMPTS_RETRIES;
    out->retries = spec->retries;
    out->cpus = spec->cpus;
    out->retry_failed = spec->retry_failed;
    out->once = spec->once;
    out->fail_if_unknown = spec->fail_if_unknown;
    out->singles = spec->singles;
    out->seed = spec->seed;
    out->base_index = spec->base;
    out->apart = spec->apart;
    out->memory = spec->memory;
    if (spec->nshared > 0)
        encode_shared(e, spec, out);
}

static void
encode_job(struct encoder *e, const struct message_job *m)
{
    Ladle__V1__Job *out = OPEN(e, job, job, JOB);

    encode_spec(e, m->spec, out);
    out->job = m->job;
    if (m->detached)
        out->detached = bytes(m->id, sizeof(m->id));
}

static void
encode_inputs(struct encoder *e, const struct message_inputs *m)
{
    Ladle__V1__Inputs *out = OPEN(e, inputs, inputs, INPUTS);

    out->job = m->job;
    out->first = m->first;
    out->columns = columns(e, &m->columns);
    out->again = m->again;
    out->running = m->running;
    out->charged = m->charged;
}

static void
encode_job_end(struct encoder *e, const struct message_job_end *m)
{
    Ladle__V1__JobEnd *out = OPEN(e, job_end, job_end, JOB_END);

    out->job = m->job;
    out->total = m->total;
}

static void
encode_charged(struct encoder *e, const struct message_charged *m)
{
    Ladle__V1__Charged *out = OPEN(e, charged, charged, CHARGED);

    out->job = m->job;
    out->index = m->index;
    out->charged = m->charged;
}

static void
encode_ended(struct encoder *e, const struct message_ended *m)
{
    Ladle__V1__Ended *out = OPEN(e, ended, ended, ENDED);

    out->job = m->job;
    out->first = m->first;
    out->count = m->count;
    out->outcome = (Ladle__V1__Outcome)m->outcome;
    out->attempt = m->attempt;
    out->worker = name(e, m->worker);
    out->text = text(e, m->text);
}

static void
encode_slice(struct encoder *e, const struct message_slice *m)
{
    Ladle__V1__Slice *out = OPEN(e, slice, slice, SLICE);

    out->lease = m->lease;
    out->job = m->job;
    out->first = m->first;
    out->attempt = m->attempt;
    out->charged = m->charged;
    out->columns = columns(e, &m->columns);
}

static void
encode_revoke(struct encoder *e, const struct message_revoke *m)
{
    Ladle__V1__Revoke *out = OPEN(e, revoke, revoke, REVOKE);

    out->lease = m->lease;
    out->count = m->count;
}

static void
encode_returned(struct encoder *e, const struct message_returned *m)
{
    Ladle__V1__GivenBack *out = OPEN(e, returned, given_back, RETURNED);

    out->lease = m->lease;
    out->first = m->first;
    out->count = m->count;
    out->why = (Ladle__V1__Returned)m->why;
}

static void
encode_results(struct encoder *e, const struct message_results *m)
{
    Ladle__V1__Results *out = OPEN(e, results, results, RESULTS);

    out->job = m->job;
    out->lease = m->lease;
    out->first = m->first;
    out->attempt = m->attempt;
    out->worker = name(e, m->worker);
    out->run_us = m->run_us;
    out->wait_us = m->wait_us;
    out->columns = columns(e, &m->columns);
    out->serial = m->serial;
    out->charged = m->charged;
}

static void
encode_running(struct encoder *e, const struct message_running *m)
{
    Ladle__V1__Running *out = OPEN(e, running, running, RUNNING);

    out->job = m->job;
    out->lease = m->lease;
    out->index = m->index;
    out->attempt = m->attempt;
    out->worker = name(e, m->worker);
}

static void
encode_progress(struct encoder *e, const struct message_progress *m)
{
    Ladle__V1__Progress *out = OPEN(e, progress, progress, PROGRESS);

    out->job = m->job;
    out->lease = m->lease;
    out->index = m->index;
    out->done = m->done;
    out->total = m->total;
}

static void
encode_partial(struct encoder *e, const struct message_partial *m)
{
    Ladle__V1__Partial *out = OPEN(e, partial, partial, PARTIAL);

    out->job = m->job;
    out->lease = m->lease;
    out->index = m->index;
    out->columns = columns(e, &m->columns);
}

static void
encode_output(struct encoder *e, const struct message_output *m)
{
    Ladle__V1__Output *out = OPEN(e, output, output, OUTPUT);

    out->job = m->job;
    out->worker = name(e, m->worker);
    out->stream = m->stream;
    out->columns = columns(e, &m->columns);
}

static void
encode_program_part(struct encoder *e, const struct message_program_part *m)
{
    Ladle__V1__ProgramPart *out = OPEN(e, program_part, program_part, PROGRAM_PART);

    out->digest = name(e, m->digest);
    out->offset = m->offset;
    out->size = m->size;
    out->text = text(e, m->text);
    out->columns = columns(e, &m->columns);
}

/* Rows that still fit: each kind has half of the header, less a kibibyte for the rest. The reader
 * asks again for what is missing. */
#define ROOM ((LIMIT_HEADER - 1024) / 2)

static void
encode_worker_rows(struct encoder *e, const struct message_status *m, Ladle__V1__Status *out)
{
    uint32_t n = m->nworker_rows < LIMIT_ROWS ? m->nworker_rows : LIMIT_ROWS;
    size_t used = 0;

    if ((out->worker_rows = region_take(e->region, n * sizeof(*out->worker_rows))) == NULL)
        return;
    for (uint32_t i = 0; i < n; i++) {
        const struct worker_row *from = &m->worker_rows[i];
        Ladle__V1__WorkerRow *row = region_take(e->region, sizeof(*row));

        if (row == NULL)
            return;
        ladle__v1__worker_row__init(row);
        row->name = name(e, from->name);
        row->host = name(e, from->host);
        row->machine = name(e, from->machine);
        row->labels = name(e, from->labels);
        row->slots = from->slots;
        row->busy = from->busy;
        row->queued = from->queued;
        row->parked = from->parked;
        row->done = from->done;
        row->failed = from->failed;
        row->silent_ms = from->silent_ms;
        row->draining = from->draining;
        row->memory = from->memory;
        row->memory_busy = from->memory_busy;
        row->left_ms = from->left_ms;
        used += ladle__v1__worker_row__get_packed_size(row) + 5; /* and its tag and length */
        if (used > ROOM)
            return;
        out->worker_rows[out->n_worker_rows++] = row;
    }
}

static void
encode_job_rows(struct encoder *e, const struct message_status *m, Ladle__V1__Status *out)
{
    uint32_t n = m->njob_rows < LIMIT_ROWS ? m->njob_rows : LIMIT_ROWS;
    size_t used = 0;

    if ((out->job_rows = region_take(e->region, n * sizeof(*out->job_rows))) == NULL)
        return;
    for (uint32_t i = 0; i < n; i++) {
        const struct job_row *from = &m->job_rows[i];
        Ladle__V1__JobRow *row = region_take(e->region, sizeof(*row));

        if (row == NULL)
            return;
        ladle__v1__job_row__init(row);
        row->job = from->job;
        row->client = name(e, from->client);
        row->function = name(e, from->function);
        row->name = name(e, from->name);
        row->priority = from->priority;
        row->waiting = from->waiting;
        row->running = from->running;
        row->parked = from->parked;
        row->done = from->done;
        row->failed = from->failed;
        row->notice = fit(e, from->notice, LIMIT_NAME, true);
        used += ladle__v1__job_row__get_packed_size(row) + 5;
        if (used > ROOM)
            return;
        out->job_rows[out->n_job_rows++] = row;
    }
}

static void
encode_status(struct encoder *e, const struct message_status *m)
{
    Ladle__V1__Status *out = OPEN(e, status, status, STATUS);

    out->software = name(e, m->software);
    out->uptime_ms = m->uptime_ms;
    out->clients = m->clients;
    out->workers = m->workers;
    out->slots = m->slots;
    out->jobs = m->jobs;
    out->tasks_accepted = m->tasks_accepted;
    out->tasks_done = m->tasks_done;
    out->tasks_failed = m->tasks_failed;
    out->tasks_cancelled = m->tasks_cancelled;
    out->retries = m->retries;
    out->late_results = m->late_results;
    out->workers_lost = m->workers_lost;
    out->peers_cut = m->peers_cut;
    out->bytes_held = m->bytes_held;
    encode_worker_rows(e, m, out);
    encode_job_rows(e, m, out);
    out->clients_away = m->clients_away;
    out->leases_adopted = m->leases_adopted;
}

static void
encode_held(struct encoder *e, const struct message_held *m)
{
    Ladle__V1__Held *out = OPEN(e, held, held, HELD);

    assert(m->nruns % 2 == 0 && m->nruns <= LIMIT_RUNS);
    out->lease = m->lease;
    out->job = m->job;
    out->first = m->first;
    out->attempt = m->attempt;
    out->charged = m->charged;
    out->cpus = m->cpus;
    out->parked = m->parked;
    out->runs = borrow(m->runs);
    out->n_runs = m->nruns;
}

static void
encode_attached(struct encoder *e, const struct message_attached *m)
{
    Ladle__V1__Attached *out = OPEN(e, attached, attached, ATTACHED);

    out->job = m->job;
    out->total = m->total;
    out->sealed = m->sealed;
    out->function = name(e, m->function);
    out->name = name(e, m->name);
    out->error = (Ladle__V1__KeptError)m->error;
    out->text = text(e, m->text);
}

static void
encode_kept_row(struct encoder *e, const struct kept_row *from, Ladle__V1__KeptRow *row)
{
    ladle__v1__kept_row__init(row);
    row->id = name(e, from->id);
    row->function = name(e, from->function);
    row->name = name(e, from->name);
    row->client = name(e, from->client);
    row->total = from->total;
    row->sealed = from->sealed;
    row->done = from->done;
    row->failed = from->failed;
    row->cancelled = from->cancelled;
    row->created_s = from->created_s;
    row->ended_s = from->ended_s;
    row->bytes = from->bytes;
    row->notice = fit(e, from->notice, LIMIT_NAME, true);
}

static void
encode_kept(struct encoder *e, const struct message_kept *m)
{
    Ladle__V1__Kept *out = OPEN(e, kept, kept, KEPT);

    assert(m->nrows <= LIMIT_KEPT_ROWS);
    out->error = (Ladle__V1__KeptError)m->error;
    out->text = text(e, m->text);
    out->more = m->more;
    if ((out->rows = region_take(e->region, m->nrows * sizeof(*out->rows))) == NULL)
        return;
    for (uint32_t i = 0; i < m->nrows; i++) {
        Ladle__V1__KeptRow *row = region_take(e->region, sizeof(*row));

        if (row == NULL)
            return;
        encode_kept_row(e, &m->rows[i], row);
        out->rows[out->n_rows++] = row;
    }
}

static void
encode_kept_task(struct encoder *e, const struct message_kept_task *m)
{
    Ladle__V1__KeptTask *out = OPEN(e, kept_task, kept_task, KEPT_TASK);

    out->error = (Ladle__V1__KeptError)m->error;
    out->text = text(e, m->text);
    out->id = name(e, m->id);
    out->index = m->index;
    out->columns = columns(e, &m->columns);
    out->outcome = (Ladle__V1__Outcome)m->outcome;
    out->worker = name(e, m->worker);
    out->attempt = m->attempt;
    if (m->spec == NULL)
        return;
    ladle__v1__job__init(&e->job);
    encode_spec(e, m->spec, &e->job);
    out->job = &e->job;
}

/* The short ones. */
static void
encode_small(struct encoder *e, const struct message *m)
{
    switch (m->type) {
    case MESSAGE_BEAT:
        OPEN(e, beat, beat, BEAT);
        break;
    case MESSAGE_BYE:
        OPEN(e, bye, bye, BYE)->text = text(e, m->text);
        break;
    case MESSAGE_REFUSED:
        OPEN(e, refused, refused, REFUSED)->text = text(e, m->text);
        break;
    case MESSAGE_DRAINING:
        OPEN(e, draining, draining, DRAINING)->text = text(e, m->text);
        break;
    case MESSAGE_TAKEN:
        OPEN(e, taken, taken, TAKEN)->bytes = m->taken.bytes;
        break;
    case MESSAGE_NOTICE:
        OPEN(e, notice, notice, NOTICE)->job = m->notice.job;
        e->body.notice.text = text(e, m->notice.text);
        e->body.notice.reason = (Ladle__V1__Reason)m->notice.reason;
        break;
    case MESSAGE_GRID:
        OPEN(e, grid, grid, GRID)->workers = m->grid.workers;
        e->body.grid.slots = m->grid.slots;
        e->body.grid.idle = m->grid.idle;
        e->body.grid.grant = m->grid.grant;
        break;
    case MESSAGE_PARKED:
        OPEN(e, parked, parked, PARKED)->lease = m->parked.lease;
        e->body.parked.index = m->parked.index;
        e->body.parked.parked = m->parked.parked;
        break;
    case MESSAGE_SHARE:
        OPEN(e, share, share, SHARE)->size = m->share.size;
        e->body.share.digest = name(e, m->share.digest);
        break;
    case MESSAGE_UNSHARE:
        OPEN(e, unshare, unshare, UNSHARE)->size = m->share.size;
        e->body.unshare.digest = name(e, m->share.digest);
        break;
    case MESSAGE_PROGRAM_WANTED:
        OPEN(e, program_wanted, program_wanted, PROGRAM_WANTED)->offset = m->program_wanted.offset;
        e->body.program_wanted.digest = name(e, m->program_wanted.digest);
        break;
    case MESSAGE_PROGRAM_FAILED:
        OPEN(e, program_failed, program_failed, PROGRAM_FAILED);
        e->body.program_failed.digest = name(e, m->program_failed.digest);
        e->body.program_failed.text = text(e, m->program_failed.text);
        e->body.program_failed.job = m->program_failed.job;
        break;
    case MESSAGE_STATUS_WANTED:
        OPEN(e, status_wanted, status_wanted, STATUS_WANTED);
        e->body.status_wanted.first_worker = m->status_wanted.first_worker;
        e->body.status_wanted.first_job = m->status_wanted.first_job;
        break;
    case MESSAGE_TOLD:
        OPEN(e, told, told, TOLD);
        break;
    case MESSAGE_ACK:
        OPEN(e, ack, ack, ACK)->serials = borrow(m->ack.serials);
        e->body.ack.n_serials = m->ack.count;
        break;
    case MESSAGE_ADOPTED:
        OPEN(e, adopted, adopted, ADOPTED)->lease = m->adopted.lease;
        e->body.adopted.wanted = m->adopted.wanted;
        break;
    case MESSAGE_REPLAY:
        OPEN(e, replay, replay, REPLAY)->outcome = (Ladle__V1__Outcome)m->replay.outcome;
        e->body.replay.path = list(e, m->replay.path);
        e->body.replay.directory = list(e, m->replay.directory);
        e->body.replay.worker = name(e, m->replay.worker);
        e->body.replay.text = text(e, m->replay.text);
        e->body.replay.when_ms = m->replay.when_ms;
        break;
    case MESSAGE_DRAIN:
        OPEN(e, drain, drain, DRAIN)->worker = name(e, m->drain.worker);
        if (m->drain.grace_ms >= 0) {
            e->body.drain.patience_case = LADLE__V1__DRAIN__PATIENCE_GRACE_MS;
            e->body.drain.grace_ms = (uint64_t)m->drain.grace_ms;
        }
        break;
    case MESSAGE_DRAIN_ANSWER:
        OPEN(e, drain_answer, drain_answer, DRAIN_ANSWER)->accepted = m->drain_answer.accepted;
        e->body.drain_answer.worker = name(e, m->drain_answer.worker);
        e->body.drain_answer.text = text(e, m->drain_answer.text);
        break;
    case MESSAGE_ATTACH:
        OPEN(e, attach, attach, ATTACH)->job = m->attach.job;
        e->body.attach.id = bytes(m->attach.id, sizeof(m->attach.id));
        break;
    case MESSAGE_FETCH:
        OPEN(e, fetch, fetch, FETCH)->job = m->fetch.job;
        e->body.fetch.bytes = m->fetch.bytes;
        e->body.fetch.after = m->fetch.after;
        break;
    case MESSAGE_FETCHED:
        OPEN(e, fetched, fetched, FETCHED)->job = m->fetch.job;
        e->body.fetched.after = m->fetch.after;
        break;
    case MESSAGE_KEPT_WANTED:
        OPEN(e, kept_wanted, kept_wanted, KEPT_WANTED)->index = m->kept_wanted.index;
        e->body.kept_wanted.action = (Ladle__V1__KeptAction)m->kept_wanted.action;
        e->body.kept_wanted.id = name(e, m->kept_wanted.id);
        e->body.kept_wanted.first = m->kept_wanted.first;
        break;
    default:
        assert(!"no message of this type can be encoded");
    }
}

void
encode_body(struct encoder *e, const struct message *m)
{
    ladle__v1__message__init(&e->top);
    e->top.client = m->client;
    switch (m->type) {
    case MESSAGE_HELLO:
        encode_hello(e, &m->hello);
        break;
    case MESSAGE_WELCOME:
        encode_welcome(e, &m->welcome);
        break;
    case MESSAGE_JOB:
        encode_job(e, &m->job);
        break;
    case MESSAGE_INPUTS:
        encode_inputs(e, &m->inputs);
        break;
    case MESSAGE_JOB_END:
        encode_job_end(e, &m->job_end);
        break;
    case MESSAGE_CANCEL:
        RANGE(e, cancel, CANCEL, &m->range);
        break;
    case MESSAGE_BEGINS:
        RANGE(e, begins, BEGINS, &m->range);
        break;
    case MESSAGE_NOTED:
        RANGE(e, noted, NOTED, &m->range);
        break;
    case MESSAGE_CHARGED:
        encode_charged(e, &m->charged);
        break;
    case MESSAGE_ACCEPTED:
        RANGE(e, accepted, ACCEPTED, &m->range);
        break;
    case MESSAGE_ENDED:
        encode_ended(e, &m->ended);
        break;
    case MESSAGE_SLICE:
        encode_slice(e, &m->slice);
        break;
    case MESSAGE_REVOKE:
        encode_revoke(e, &m->revoke);
        break;
    case MESSAGE_RETURNED:
        encode_returned(e, &m->returned);
        break;
    case MESSAGE_RESULTS:
        encode_results(e, &m->results);
        break;
    case MESSAGE_RUNNING:
        encode_running(e, &m->running);
        break;
    case MESSAGE_PROGRESS:
        encode_progress(e, &m->progress);
        break;
    case MESSAGE_PARTIAL:
        encode_partial(e, &m->partial);
        break;
    case MESSAGE_OUTPUT:
        encode_output(e, &m->output);
        break;
    case MESSAGE_PROGRAM_PART:
        encode_program_part(e, &m->program_part);
        break;
    case MESSAGE_STATUS:
        encode_status(e, &m->status);
        break;
    case MESSAGE_HELD:
        encode_held(e, &m->held);
        break;
    case MESSAGE_ATTACHED:
        encode_attached(e, &m->attached);
        break;
    case MESSAGE_KEPT:
        encode_kept(e, &m->kept);
        break;
    case MESSAGE_KEPT_TASK:
        encode_kept_task(e, &m->kept_task);
        break;
    default:
        encode_small(e, m);
    }
}
