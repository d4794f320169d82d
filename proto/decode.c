/* Protobuf's structs to ours, checked: what passes here is in range and within the limits. */
#include "codec.h"
#include "text.h"

#include <string.h>

#define LONGEST_MS ((uint64_t)INT64_MAX / 1000000) /* may be added to a clock in microseconds */

static void
fault(struct decoder *d, const char *what)
{
    if (d->fault == NULL)
        d->fault = what;
}

static const char *
fit(struct decoder *d, const char *s, size_t limit, bool lines)
{
    size_t size;

    /* The block ends with the NUL that protobuf-c adds; a peer's own NUL would come earlier. */
    if (region_owns(d->region, s, &size))
        size--;
    else
        size = strlen(s);
    if (size > limit)
        fault(d, "a name or text that is too long");
    else if (!text_fits(s, size, lines))
        fault(d, "a name or text with control characters or broken UTF-8");
    return s;
}

static const char *
name(struct decoder *d, const char *s)
{
    return fit(d, s, LIMIT_NAME, false);
}

static const char *
list(struct decoder *d, const char *s)
{
    return fit(d, s, LIMIT_TEXT, false);
}

static const char *
text(struct decoder *d, const char *s)
{
    return fit(d, s, LIMIT_TEXT, true);
}

static uint64_t
identifier(struct decoder *d, uint64_t id)
{
    if (id == 0)
        fault(d, "an identifier is missing");
    return id;
}

static bool
is_digest(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static const char *
digest(struct decoder *d, const char *s)
{
    name(d, s);
    if (!is_digest(s))
        fault(d, "a digest that is not 64 hexadecimal digits in lower case");
    return s;
}

static void
range(struct decoder *d, uint64_t first, uint64_t count)
{
    if (count > UINT64_MAX - first)
        fault(d, "a range of tasks that is too large");
}

/* Sizes and data have to agree: everyone behind reads the data by these numbers. */
static void
check_length(struct decoder *d, const struct columns *c)
{
    uint64_t sum = 0;

    if (c->sizes == NULL)
        sum = (uint64_t)c->count * c->size; /* 32 bits times 32: no overflow */
    else
        for (uint32_t i = 0; i < c->count; i++)
            sum += c->sizes[i]; /* LIMIT_SIZES of 32 bits: no overflow */
    if (sum != c->length)
        fault(d, "sizes that do not add up to the data");
}

/* `least` and `most` items. */
static void
columns(struct decoder *d, const Ladle__V1__Columns *in, uint32_t least, uint32_t most,
        struct columns *c)
{
    size_t length = d->data == NULL ? 0 : d->data->size;

    if (in == NULL || (in->count == 0 && in->n_sizes == 0 && in->outcomes.len == 0)) {
        if (least > 0 || length > 0)
            fault(d, "no columns");
        return;
    }
    if (in->count < least || in->count > most)
        fault(d, "a wrong number of items");
    else if (in->n_sizes > 0 && (in->n_sizes != in->count || in->n_sizes > LIMIT_SIZES))
        fault(d, "a wrong number of sizes");
    else if (in->n_sizes > 0 && in->size != 0)
        fault(d, "one size and many");
    else if (in->outcomes.len > 0 && in->outcomes.len != in->count)
        fault(d, "a wrong number of outcomes");
    if (d->fault != NULL)
        return;
    for (size_t i = 0; i < in->outcomes.len; i++)
        if (in->outcomes.data[i] >= OUTCOME_LIMIT)
            fault(d, "an unknown outcome");
    *c = (struct columns){
        .count = in->count,
        .size = in->size,
        .sizes = in->n_sizes == 0 ? NULL : in->sizes,
        .outcomes = in->outcomes.len == 0 ? NULL : in->outcomes.data,
        .data = length == 0 ? NULL : d->data,
        .length = length,
    };
    check_length(d, c);
}

static void
decode_hello(struct decoder *d, const Ladle__V1__Hello *in, struct message_hello *m)
{
    if (in->role <= (int)ROLE_NONE || in->role > (int)ROLE_OPERATOR)
        fault(d, "an unknown role");
    if (in->protocol == 0)
        fault(d, "no protocol version");
    if (in->role == (int)ROLE_WORKER && in->slots == 0)
        fault(d, "a worker without slots");
    if (in->n_names > LIMIT_FUNCTIONS)
        fault(d, "too many functions or programs");
    if (in->session.len == sizeof(m->session))
        memcpy(m->session, in->session.data, sizeof(m->session));
    else if (in->session.len > 0 || in->role == (int)ROLE_CLIENT || in->role == (int)ROLE_WORKER)
        fault(d, "a session that is not 16 bytes");
    m->role = (enum role)in->role;
    m->protocol = in->protocol;
    m->software = name(d, in->software);
    m->name = name(d, in->name);
    m->host = name(d, in->host);
    m->pid = in->pid;
    m->window = in->window;
    m->slots = in->slots;
    m->machine = name(d, in->machine);
    m->labels = list(d, in->labels);
    m->names = (const char *const *)in->names;
    m->nnames = (uint32_t)in->n_names;
    m->tasks = in->tasks;
    m->keep_ms = in->keep_ms;
    m->instance = in->instance;
    m->memory = in->memory;
    m->left_ms = in->left_ms < LONGEST_MS ? in->left_ms : LONGEST_MS;
    for (size_t i = 0; i < in->n_names && d->fault == NULL; i++)
        name(d, in->names[i]);
}

static void
decode_welcome(struct decoder *d, const Ladle__V1__Welcome *in, struct message_welcome *m)
{
    if (in->protocol == 0)
        fault(d, "no protocol version");
    m->protocol = in->protocol;
    m->software = name(d, in->software);
    m->name = name(d, in->name);
    m->instance = in->instance;
    m->beat_ms = in->beat_ms;
    m->lost_ms = in->lost_ms;
    m->window = in->window;
    m->workers = in->workers;
    m->slots = in->slots;
}

static void
decode_program(struct decoder *d, const Ladle__V1__Program *in, struct program *p)
{
    if (in == NULL) {
        fault(d, "no program");
        return;
    }
    name(d, in->digest);
    if (is_digest(in->digest))
        memcpy(p->digest, in->digest, sizeof(p->digest));
    else if (in->digest[0] != 0 || in->name[0] == 0)
        fault(d, "a program with neither digest nor name");
    if (in->arguments.len > LIMIT_ARGUMENTS)
        fault(d, "too long arguments");
    else if (in->arguments.len > 0 && in->arguments.data[in->arguments.len - 1] != 0)
        fault(d, "arguments without their last NUL");
    if (in->size > LIMIT_PROGRAM)
        fault(d, "a program that is too large");
    p->name = name(d, in->name);
    p->machine = name(d, in->machine);
    p->arguments = (const char *)in->arguments.data;
    p->arguments_size = (uint32_t)in->arguments.len;
    p->size = in->size;
    if (in->environment.len > LIMIT_ENVIRONMENT)
        fault(d, "too long an environment");
    else if (in->environment.len > 0 && in->environment.data[in->environment.len - 1] != 0)
        fault(d, "an environment without its last NUL");
    p->environment = (const char *)in->environment.data;
    p->environment_size = (uint32_t)in->environment.len;
    p->directory = list(d, in->directory);
}

static void
decode_shared(struct decoder *d, const Ladle__V1__Job *in, struct spec *spec)
{
    struct shared *shared;

    if (in->n_shared > LIMIT_SHARED ||
        (shared = region_take(d->region, in->n_shared * sizeof(*shared))) == NULL) {
        fault(d, "too many shared constants");
        return;
    }
    for (size_t i = 0; i < in->n_shared && d->fault == NULL; i++) {
        shared[i] = (struct shared){.name = name(d, in->shared[i]->name),
                                    .size = in->shared[i]->size,
                                    .path = text(d, in->shared[i]->path)};
        digest(d, in->shared[i]->digest);
        if (d->fault == NULL)
            memcpy(shared[i].digest, in->shared[i]->digest, sizeof(shared[i].digest));
        if (*shared[i].name == '\0' || shared[i].size > LIMIT_PROGRAM)
            fault(d, "a shared constant without a name, or too large");
    }
    spec->shared = shared;
    spec->nshared = (uint32_t)in->n_shared;
}

static void
decode_spec(struct decoder *d, const Ladle__V1__Job *in)
{
    struct spec *spec = &d->spec;

    decode_program(d, in->program, &spec->program);
    if (in->cpus == 0)
        fault(d, "tasks that take no slot");
    if (in->timeout_ms > LONGEST_MS || in->deadline_ms > LONGEST_MS)
        fault(d, "a timeout that is too long");
    spec->function = name(d, in->function);
    spec->name = name(d, in->name);
    spec->needs = list(d, in->needs);
    spec->priority = in->priority;
    spec->timeout_ms = (int64_t)in->timeout_ms;
    spec->deadline_ms = (int64_t)in->deadline_ms;
    spec->retries = in->attempts_case == LADLE__V1__JOB__ATTEMPTS_RETRIES ? in->retries : 2;
    spec->cpus = in->cpus;
    spec->retry_failed = in->retry_failed;
    spec->once = in->once;
    spec->fail_if_unknown = in->fail_if_unknown;
    spec->singles = in->singles;
    spec->seed = in->seed;
    spec->base = in->base_index;
    spec->apart = in->apart;
    spec->memory = in->memory;
    if (in->n_shared > 0)
        decode_shared(d, in, spec);
    if (d->fault == NULL && spec_bytes(spec) > LIMIT_JOB)
        fault(d, "arguments, environment, constants and needs that are too long together");
}

static void
decode_id(struct decoder *d, const ProtobufCBinaryData *in, uint8_t id[16])
{
    if (in->len != 16)
        fault(d, "a name of a detached job that has not 16 bytes");
    else
        memcpy(id, in->data, 16);
}

static void
decode_job(struct decoder *d, const Ladle__V1__Job *in, struct message_job *m)
{
    m->job = identifier(d, in->job);
    decode_spec(d, in);
    m->detached = in->detached.len > 0;
    if (m->detached)
        decode_id(d, &in->detached, m->id);
}

static void
decode_inputs(struct decoder *d, const Ladle__V1__Inputs *in, struct message_inputs *m)
{
    m->job = identifier(d, in->job);
    m->first = in->first;
    m->again = in->again;
    m->charged = in->charged;
    m->running = in->running;
    columns(d, in->columns, 1, LIMIT_ITEMS, &m->columns);
    range(d, m->first, m->columns.count);
}

static void
decode_ended(struct decoder *d, const Ladle__V1__Ended *in, struct message_ended *m)
{
    if (in->outcome <= (int)OUTCOME_DONE || in->outcome >= (int)OUTCOME_LIMIT)
        fault(d, "an unknown outcome");
    m->job = identifier(d, in->job);
    m->first = in->first;
    m->count = in->count;
    m->outcome = (enum outcome)in->outcome;
    m->attempt = in->attempt;
    m->worker = name(d, in->worker);
    m->text = text(d, in->text);
    range(d, m->first, m->count);
}

/* Attempts are counted from 1, and this one is not among those that were charged. */
static void
attempts(struct decoder *d, uint32_t attempt, uint32_t charged)
{
    if (attempt == 0)
        fault(d, "attempts are counted from 1");
    else if (charged >= attempt)
        fault(d, "more attempts charged than there were");
}

static void
decode_slice(struct decoder *d, const Ladle__V1__Slice *in, struct message_slice *m)
{
    attempts(d, in->attempt, in->charged);
    m->lease = identifier(d, in->lease);
    m->job = identifier(d, in->job);
    m->first = in->first;
    m->attempt = in->attempt;
    m->charged = in->charged;
    columns(d, in->columns, 1, LIMIT_ITEMS, &m->columns);
    range(d, m->first, m->columns.count);
}

static void
decode_returned(struct decoder *d, const Ladle__V1__GivenBack *in, struct message_returned *m)
{
    if (in->why < (int)RETURNED_REVOKED || in->why > (int)RETURNED_UNSTARTED)
        fault(d, "an unknown reason");
    m->lease = identifier(d, in->lease);
    m->first = in->first;
    m->count = in->count;
    m->why = (enum returned)in->why;
    range(d, m->first, m->count);
}

static void
decode_results(struct decoder *d, const Ladle__V1__Results *in, struct message_results *m)
{
    m->job = identifier(d, in->job);
    m->lease = in->lease;
    m->first = in->first;
    m->attempt = in->attempt;
    m->worker = name(d, in->worker);
    m->run_us = in->run_us;
    m->wait_us = in->wait_us;
    m->serial = in->serial;
    m->charged = in->charged;
    columns(d, in->columns, 1, LIMIT_ITEMS, &m->columns);
    range(d, m->first, m->columns.count);
}

static void
decode_running(struct decoder *d, const Ladle__V1__Running *in, struct message_running *m)
{
    m->job = identifier(d, in->job);
    m->lease = in->lease;
    m->index = in->index;
    m->attempt = in->attempt;
    m->worker = name(d, in->worker);
}

static void
decode_progress(struct decoder *d, const Ladle__V1__Progress *in, struct message_progress *m)
{
    m->job = identifier(d, in->job);
    m->lease = in->lease;
    m->index = in->index;
    m->done = in->done;
    m->total = in->total;
}

static void
decode_partial(struct decoder *d, const Ladle__V1__Partial *in, struct message_partial *m)
{
    m->job = identifier(d, in->job);
    m->lease = in->lease;
    m->index = in->index;
    columns(d, in->columns, 1, 1, &m->columns);
}

static void
decode_output(struct decoder *d, const Ladle__V1__Output *in, struct message_output *m)
{
    if (in->stream != 1 && in->stream != 2)
        fault(d, "an unknown stream");
    m->job = in->job;
    m->worker = name(d, in->worker);
    m->stream = in->stream;
    columns(d, in->columns, 1, 1, &m->columns);
}

static void
decode_program_part(struct decoder *d, const Ladle__V1__ProgramPart *in,
                    struct message_program_part *m)
{
    m->digest = digest(d, in->digest);
    m->offset = in->offset;
    m->size = in->size;
    m->text = text(d, in->text);
    columns(d, in->columns, in->size > 0, 1, &m->columns);
    if (m->size > LIMIT_PROGRAM || m->columns.length > LIMIT_PART || m->offset > m->size ||
        m->columns.length > m->size - m->offset)
        fault(d, "a part that is not within the program");
}

static void
decode_worker_row(struct decoder *d, const Ladle__V1__WorkerRow *in, struct worker_row *row)
{
    *row = (struct worker_row){
        .name = name(d, in->name),
        .host = name(d, in->host),
        .machine = name(d, in->machine),
        .labels = name(d, in->labels),
        .slots = in->slots,
        .busy = in->busy,
        .queued = in->queued,
        .parked = in->parked,
        .done = in->done,
        .failed = in->failed,
        .silent_ms = in->silent_ms,
        .draining = in->draining,
        .memory = in->memory,
        .memory_busy = in->memory_busy,
        .left_ms = in->left_ms,
    };
}

static void
decode_job_row(struct decoder *d, const Ladle__V1__JobRow *in, struct job_row *row)
{
    *row = (struct job_row){
        .job = in->job,
        .client = name(d, in->client),
        .function = name(d, in->function),
        .name = name(d, in->name),
        .priority = in->priority,
        .waiting = in->waiting,
        .running = in->running,
        .parked = in->parked,
        .done = in->done,
        .failed = in->failed,
        .notice = text(d, in->notice),
    };
}

static void
decode_rows(struct decoder *d, const Ladle__V1__Status *in, struct message_status *m)
{
    struct worker_row *workers = NULL;
    struct job_row *jobs = NULL;

    if (in->n_worker_rows > LIMIT_ROWS || in->n_job_rows > LIMIT_ROWS ||
        (workers = region_take(d->region, in->n_worker_rows * sizeof(*workers))) == NULL ||
        (jobs = region_take(d->region, in->n_job_rows * sizeof(*jobs))) == NULL) {
        fault(d, "too many rows");
        return;
    }
    for (size_t i = 0; i < in->n_worker_rows; i++)
        decode_worker_row(d, in->worker_rows[i], &workers[i]);
    for (size_t i = 0; i < in->n_job_rows; i++)
        decode_job_row(d, in->job_rows[i], &jobs[i]);
    m->worker_rows = workers;
    m->nworker_rows = (uint32_t)in->n_worker_rows;
    m->job_rows = jobs;
    m->njob_rows = (uint32_t)in->n_job_rows;
}

static void
decode_status(struct decoder *d, const Ladle__V1__Status *in, struct message_status *m)
{
    *m = (struct message_status){
        .software = name(d, in->software),
        .uptime_ms = in->uptime_ms,
        .clients = in->clients,
        .workers = in->workers,
        .slots = in->slots,
        .jobs = in->jobs,
        .tasks_accepted = in->tasks_accepted,
        .tasks_done = in->tasks_done,
        .tasks_failed = in->tasks_failed,
        .tasks_cancelled = in->tasks_cancelled,
        .retries = in->retries,
        .late_results = in->late_results,
        .workers_lost = in->workers_lost,
        .peers_cut = in->peers_cut,
        .bytes_held = in->bytes_held,
        .clients_away = in->clients_away,
        .leases_adopted = in->leases_adopted,
    };
    decode_rows(d, in, m);
}

static enum kept_error
kept_error(struct decoder *d, int error)
{
    if (error < 0 || error >= (int)KEPT_LIMIT)
        fault(d, "an unknown reason");
    return (enum kept_error)error;
}

static void
decode_attached(struct decoder *d, const Ladle__V1__Attached *in, struct message_attached *m)
{
    *m = (struct message_attached){.job = identifier(d, in->job),
                                   .total = in->total,
                                   .sealed = in->sealed,
                                   .function = name(d, in->function),
                                   .name = name(d, in->name),
                                   .error = kept_error(d, (int)in->error),
                                   .text = text(d, in->text)};
}

static void
decode_kept(struct decoder *d, const Ladle__V1__Kept *in, struct message_kept *m)
{
    struct kept_row *rows;

    m->error = kept_error(d, (int)in->error);
    m->text = text(d, in->text);
    m->more = in->more;
    if (in->n_rows > LIMIT_KEPT_ROWS ||
        (rows = region_take(d->region, in->n_rows * sizeof(*rows))) == NULL) {
        fault(d, "too many rows");
        return;
    }
    for (size_t i = 0; i < in->n_rows; i++) {
        const Ladle__V1__KeptRow *from = in->rows[i];

        rows[i] = (struct kept_row){.id = name(d, from->id),
                                    .function = name(d, from->function),
                                    .name = name(d, from->name),
                                    .client = name(d, from->client),
                                    .notice = text(d, from->notice),
                                    .total = from->total,
                                    .done = from->done,
                                    .failed = from->failed,
                                    .cancelled = from->cancelled,
                                    .sealed = from->sealed,
                                    .created_s = from->created_s,
                                    .ended_s = from->ended_s,
                                    .bytes = from->bytes};
    }
    m->rows = rows;
    m->nrows = (uint32_t)in->n_rows;
}

static void
decode_kept_task(struct decoder *d, const Ladle__V1__KeptTask *in, struct message_kept_task *m)
{
    m->error = kept_error(d, (int)in->error);
    m->text = text(d, in->text);
    m->id = name(d, in->id);
    m->index = in->index;
    columns(d, in->columns, in->job != NULL, 1, &m->columns);
    m->outcome = (enum outcome)in->outcome;
    m->worker = name(d, in->worker);
    m->attempt = in->attempt;
    if (in->job == NULL)
        return;
    decode_spec(d, in->job);
    m->spec = &d->spec; /* wire_decode() makes it one that can be kept */
}

static void
decode_range(struct decoder *d, uint64_t job, uint64_t first, uint64_t count,
             struct message_range *m)
{
    *m = (struct message_range){.job = identifier(d, job), .first = first, .count = count};
    range(d, first, count);
}

/* Of any message that is one. */
#define RANGE(d, in, m) decode_range(d, (in)->job, (in)->first, (in)->count, m)

static void
decode_ack(struct decoder *d, const Ladle__V1__Ack *in, struct message_ack *m)
{
    if (in->n_serials % 2 != 0 || in->n_serials > LIMIT_RUNS)
        fault(d, "a wrong number of serials");
    m->serials = in->serials;
    m->count = (uint32_t)in->n_serials;
}

/* In order, and none empty: each task is in one run at most. */
static void
decode_held(struct decoder *d, const Ladle__V1__Held *in, struct message_held *m)
{
    uint64_t end = 0, count = 0;

    attempts(d, in->attempt, in->charged);
    if (in->n_runs == 0 || in->n_runs % 2 != 0 || in->n_runs > LIMIT_RUNS)
        fault(d, "a wrong number of runs");
    for (size_t i = 0; i + 1 < in->n_runs && d->fault == NULL; i += 2) {
        if (in->runs[i] < end || in->runs[i + 1] == 0 || in->runs[i + 1] > LIMIT_ITEMS)
            fault(d, "runs that are not in order, or empty");
        end = (uint64_t)in->runs[i] + in->runs[i + 1];
        count += in->runs[i + 1];
    }
    if (count > LIMIT_ITEMS)
        fault(d, "more tasks than a slice has");
    m->lease = identifier(d, in->lease);
    m->job = identifier(d, in->job);
    m->first = in->first;
    m->attempt = in->attempt;
    m->charged = in->charged;
    m->cpus = in->cpus;
    m->parked = in->parked;
    m->runs = in->runs;
    m->nruns = (uint32_t)in->n_runs;
    range(d, m->first, end);
}

/* The short ones. */
static void
decode_small(struct decoder *d, const Ladle__V1__Message *top, struct message *m)
{
    switch (m->type) {
    case MESSAGE_BYE:
        m->text = text(d, top->bye->text);
        break;
    case MESSAGE_REFUSED:
        m->text = text(d, top->refused->text);
        break;
    case MESSAGE_DRAINING:
        m->text = text(d, top->draining->text);
        break;
    case MESSAGE_JOB_END:
        m->job_end.job = identifier(d, top->job_end->job);
        m->job_end.total = top->job_end->total;
        break;
    case MESSAGE_CANCEL:
        RANGE(d, top->cancel, &m->range);
        break;
    case MESSAGE_BEGINS:
        RANGE(d, top->begins, &m->range);
        break;
    case MESSAGE_NOTED:
        RANGE(d, top->noted, &m->range);
        break;
    case MESSAGE_CHARGED:
        if (top->charged->charged == 0)
            fault(d, "nothing charged");
        m->charged.job = identifier(d, top->charged->job);
        m->charged.index = top->charged->index;
        m->charged.charged = top->charged->charged;
        break;
    case MESSAGE_ACCEPTED:
        RANGE(d, top->accepted, &m->range);
        break;
    case MESSAGE_TAKEN:
        m->taken.bytes = top->taken->bytes;
        break;
    case MESSAGE_NOTICE:
        m->notice.job = top->notice->job;
        m->notice.text = text(d, top->notice->text);
        m->notice.reason =
            top->notice->reason == (int)NOTICE_NO_WORKER ? NOTICE_NO_WORKER : NOTICE_OTHER;
        break;
    case MESSAGE_GRID:
        m->grid.workers = top->grid->workers;
        m->grid.slots = top->grid->slots;
        m->grid.idle = top->grid->idle;
        m->grid.grant = top->grid->grant;
        break;
    case MESSAGE_PARKED:
        m->parked.lease = identifier(d, top->parked->lease);
        m->parked.index = top->parked->index;
        m->parked.parked = top->parked->parked;
        break;
    case MESSAGE_SHARE:
        m->share.digest = digest(d, top->share->digest);
        m->share.size = top->share->size;
        break;
    case MESSAGE_UNSHARE:
        m->share.digest = digest(d, top->unshare->digest);
        m->share.size = top->unshare->size;
        break;
    case MESSAGE_REVOKE:
        m->revoke.lease = identifier(d, top->revoke->lease);
        m->revoke.count = top->revoke->count;
        break;
    case MESSAGE_PROGRAM_WANTED:
        m->program_wanted.digest = digest(d, top->program_wanted->digest);
        m->program_wanted.offset = top->program_wanted->offset;
        break;
    case MESSAGE_PROGRAM_FAILED:
        m->program_failed.digest = name(d, top->program_failed->digest);
        m->program_failed.text = text(d, top->program_failed->text);
        m->program_failed.job = top->program_failed->job;
        break;
    case MESSAGE_STATUS_WANTED:
        m->status_wanted.first_worker = top->status_wanted->first_worker;
        m->status_wanted.first_job = top->status_wanted->first_job;
        break;
    case MESSAGE_ADOPTED:
        m->adopted.lease = identifier(d, top->adopted->lease);
        m->adopted.wanted = top->adopted->wanted;
        break;
    case MESSAGE_REPLAY:
        if ((unsigned)top->replay->outcome >= OUTCOME_LIMIT)
            fault(d, "an unknown outcome");
        m->replay.outcome = (enum outcome)top->replay->outcome;
        m->replay.path = list(d, top->replay->path);
        m->replay.directory = list(d, top->replay->directory);
        m->replay.worker = name(d, top->replay->worker);
        m->replay.text = text(d, top->replay->text);
        m->replay.when_ms = top->replay->when_ms;
        break;
    case MESSAGE_DRAIN:
        m->drain.worker = name(d, top->drain->worker);
        m->drain.grace_ms = -1;
        if (top->drain->patience_case == LADLE__V1__DRAIN__PATIENCE_GRACE_MS)
            m->drain.grace_ms =
                (int64_t)(top->drain->grace_ms < LONGEST_MS ? top->drain->grace_ms : LONGEST_MS);
        break;
    case MESSAGE_DRAIN_ANSWER:
        m->drain_answer.worker = name(d, top->drain_answer->worker);
        m->drain_answer.accepted = top->drain_answer->accepted;
        m->drain_answer.text = text(d, top->drain_answer->text);
        break;
    case MESSAGE_ATTACH:
        m->attach.job = identifier(d, top->attach->job);
        decode_id(d, &top->attach->id, m->attach.id);
        break;
    case MESSAGE_FETCH:
        m->fetch.job = identifier(d, top->fetch->job);
        m->fetch.bytes = top->fetch->bytes;
        m->fetch.after = top->fetch->after;
        break;
    case MESSAGE_FETCHED:
        m->fetch.job = identifier(d, top->fetched->job);
        m->fetch.after = top->fetched->after;
        break;
    case MESSAGE_KEPT_WANTED:
        if (top->kept_wanted->action < (int)KEPT_LIST || top->kept_wanted->action > (int)KEPT_TASK)
            fault(d, "an unknown action");
        m->kept_wanted.action = (enum kept_action)top->kept_wanted->action;
        m->kept_wanted.id = name(d, top->kept_wanted->id);
        m->kept_wanted.index = top->kept_wanted->index;
        m->kept_wanted.first = top->kept_wanted->first;
        break;
    default: /* a beat has nothing in it */
        break;
    }
}

static enum message_type
type_of(const Ladle__V1__Message *top)
{
#define BODY(x) [LADLE__V1__MESSAGE__BODY_##x] = MESSAGE_##x
    static const uint8_t types[] = {
        BODY(BEAT),         BODY(INPUTS),         BODY(SLICE),         BODY(RESULTS),
        BODY(TAKEN),        BODY(ACCEPTED),       BODY(RUNNING),       BODY(PROGRESS),
        BODY(PARTIAL),      BODY(OUTPUT),         BODY(JOB),           BODY(JOB_END),
        BODY(REVOKE),       BODY(RETURNED),       BODY(ENDED),         BODY(HELLO),
        BODY(WELCOME),      BODY(REFUSED),        BODY(BYE),           BODY(CANCEL),
        BODY(NOTICE),       BODY(GRID),           BODY(DRAINING),      BODY(PROGRAM_WANTED),
        BODY(PROGRAM_PART), BODY(PROGRAM_FAILED), BODY(STATUS_WANTED), BODY(STATUS),
        BODY(PARKED),       BODY(SHARE),          BODY(UNSHARE),       BODY(TOLD),
        BODY(ACK),          BODY(HELD),           BODY(ADOPTED),       BODY(REPLAY),
        BODY(DRAIN),        BODY(DRAIN_ANSWER),   BODY(ATTACH),        BODY(ATTACHED),
        BODY(FETCH),        BODY(FETCHED),        BODY(KEPT_WANTED),   BODY(KEPT),
        BODY(KEPT_TASK),    BODY(BEGINS),         BODY(NOTED),         BODY(CHARGED),
    };
#undef BODY
    unsigned i = (unsigned)top->body_case;

    return i < sizeof(types) ? (enum message_type)types[i] : MESSAGE_NONE;
}

void
decode_body(struct decoder *d, const Ladle__V1__Message *top, struct message *m)
{
    m->client = top->client;
    switch (m->type = type_of(top)) {
    case MESSAGE_NONE:
        fault(d, "a kind of message that this version does not know");
        break;
    case MESSAGE_HELLO:
        decode_hello(d, top->hello, &m->hello);
        break;
    case MESSAGE_WELCOME:
        decode_welcome(d, top->welcome, &m->welcome);
        break;
    case MESSAGE_JOB:
        decode_job(d, top->job, &m->job);
        break;
    case MESSAGE_INPUTS:
        decode_inputs(d, top->inputs, &m->inputs);
        break;
    case MESSAGE_ENDED:
        decode_ended(d, top->ended, &m->ended);
        break;
    case MESSAGE_SLICE:
        decode_slice(d, top->slice, &m->slice);
        break;
    case MESSAGE_RETURNED:
        decode_returned(d, top->returned, &m->returned);
        break;
    case MESSAGE_RESULTS:
        decode_results(d, top->results, &m->results);
        break;
    case MESSAGE_RUNNING:
        decode_running(d, top->running, &m->running);
        break;
    case MESSAGE_PROGRESS:
        decode_progress(d, top->progress, &m->progress);
        break;
    case MESSAGE_PARTIAL:
        decode_partial(d, top->partial, &m->partial);
        break;
    case MESSAGE_OUTPUT:
        decode_output(d, top->output, &m->output);
        break;
    case MESSAGE_PROGRAM_PART:
        decode_program_part(d, top->program_part, &m->program_part);
        break;
    case MESSAGE_STATUS:
        decode_status(d, top->status, &m->status);
        break;
    case MESSAGE_ACK:
        decode_ack(d, top->ack, &m->ack);
        break;
    case MESSAGE_HELD:
        decode_held(d, top->held, &m->held);
        break;
    case MESSAGE_ATTACHED:
        decode_attached(d, top->attached, &m->attached);
        break;
    case MESSAGE_KEPT:
        decode_kept(d, top->kept, &m->kept);
        break;
    case MESSAGE_KEPT_TASK:
        decode_kept_task(d, top->kept_task, &m->kept_task);
        break;
    default:
        decode_small(d, top, m);
    }
}
