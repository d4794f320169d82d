#include "samples.h"

#include <stdlib.h>
#include <string.h>

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const uint32_t sizes[] = {3, 0, 300, 1};
static const uint8_t outcomes[] = {OUTCOME_DONE, OUTCOME_FAILED, OUTCOME_CRASHED, OUTCOME_REJECTED};
static const char *const names[] = {"square", "cube", "h\xc3\xb6he"};
static const struct worker_row worker_rows[] = {
    {"node1", "host1", "x86_64", "gpu=1", 8, 7, 61, 65, 62, 63, 64, true, 1ull << 35, 66, 67},
    {"node2", "host2", "aarch64", "zone=b", 9, 6, 71, 75, 72, 73, 74, true, 77, 76, 0},
};
static const struct job_row job_rows[] = {
    {81, "client1", "square", "render", -4, 82, 83, 86, 84, 85, "no worker has gpu"},
    {91, "client2", "cube", "sweep", 5, 92, 93, 96, 94, 95, "no worker yet"},
};
static const struct shared shared[] = {
    {"weights", DIGEST, 1234, "/cache/weights"},
    {"d\xc3\xa4ta", DIGEST, 0, "/cache/data"},
};
static const struct spec spec = {
    .program = {.digest = DIGEST,
                .name = "a.out",
                .machine = "x86_64",
                .arguments = "a.out\0--fast\0",
                .arguments_size = 13,
                .size = 123456,
                .environment = "OMP_NUM_THREADS=1\0A=\0",
                .environment_size = 21,
                .directory = "/data/run 1"},
    .function = "square",
    .name = "render",
    .needs = "gpu=1, arch=aarch64",
    .priority = -5,
    .timeout_ms = 30000,
    .deadline_ms = 60000,
    .retries = 7,
    .cpus = 4,
    .retry_failed = true,
    .once = true,
    .fail_if_unknown = true,
    .singles = true,
    .seed = 0xfedcba9876543210,
    .base = 1ull << 41,
    .apart = true,
    .shared = shared,
    .nshared = 2,
    .memory = 3ull << 33,
};

static const uint64_t serials[] = {1, 1, 3, 1ull << 40};
static const uint32_t runs[] = {0, 2, 5, 1};

enum { COUNT = 80 };
static struct message all[COUNT];
static struct blob *data;
static unsigned made;

static struct message *
add(enum message_type type)
{
    struct message *m = &all[made++];

    if (made > COUNT)
        abort();
    m->type = type;
    return m;
}

static struct columns
equal(void)
{
    return (struct columns){.count = 5, .size = 8, .data = data, .at = 16, .length = 40};
}

static struct columns
uneven(void)
{
    return (struct columns){.count = 4, .sizes = sizes, .data = data, .at = 4, .length = 304};
}

static struct columns
one(void)
{
    return (struct columns){.count = 1, .size = 77, .data = data, .length = 77};
}

static void
add_peers(void)
{
    add(MESSAGE_HELLO)->hello = (struct message_hello){
        .role = ROLE_WORKER,
        .protocol = 1,
        .software = "ladle 0.1.0",
        .name = "node1",
        .host = "head.example",
        .pid = 4711,
        .session = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
        .window = 8 << 20,
        .slots = 16,
        .machine = "x86_64",
        .labels = "gpu=1,zone=b",
        .names = names,
        .nnames = 3,
        .tasks = 99,
        .keep_ms = 60000,
        .instance = 0xfedcba9876543210,
        .memory = 1ull << 40,
        .left_ms = 1800000,
    };
    add(MESSAGE_BEAT);
    add(MESSAGE_BYE)->text = "done\nfor today";
    add(MESSAGE_WELCOME)->welcome = (struct message_welcome){
        2, "ladle 0.1.0", "node1-2", 0x123456789abcdef0, 2000, 6000, 32, 3, 48};
    add(MESSAGE_REFUSED)->text = "version 1 here, 7 there";
    add(MESSAGE_DRAINING)->text = "SIGTERM";
    add(MESSAGE_NOTICE)->notice = (struct message_notice){7, NOTICE_NO_WORKER, "no worker"};
    add(MESSAGE_GRID)->grid = (struct message_grid){3, 48, 5, 1ull << 34};
    all[made - 1].client = 7;
    add(MESSAGE_DRAIN)->drain = (struct message_drain){"node1", 60000};
    add(MESSAGE_DRAIN)->drain = (struct message_drain){"", -1};
    add(MESSAGE_DRAIN_ANSWER)->drain_answer =
        (struct message_drain_answer){"node9", true, "no worker is called node9"};
    add(MESSAGE_STATUS_WANTED)->status_wanted = (struct message_status_wanted){256, 512};
    add(MESSAGE_STATUS)->status = (struct message_status){
        "ladle 0.1.0", 1, 2,        3, 4,  5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
        worker_rows,   2, job_rows, 2, 15, 16};
}

static void
add_jobs(void)
{
    static struct spec mine; /* its count of references is not the constant's */

    memcpy(&mine, &spec, sizeof(mine));
    add(MESSAGE_JOB)->job = (struct message_job){.job = 7, .spec = &mine};
    add(MESSAGE_INPUTS)->inputs = (struct message_inputs){7, 1000, equal(), true, true, 2};
    add(MESSAGE_INPUTS)->inputs = (struct message_inputs){8, 1ull << 40, uneven(), false, false, 2};
    add(MESSAGE_JOB_END)->job_end = (struct message_job_end){7, 1005};
    add(MESSAGE_CANCEL)->range = (struct message_range){7, 1, UINT64_MAX - 1};
    add(MESSAGE_BEGINS)->range = (struct message_range){7, 1, 2};
    add(MESSAGE_NOTED)->range = (struct message_range){7, 3, 4};
    add(MESSAGE_CHARGED)->charged = (struct message_charged){7, 3, 4};
    add(MESSAGE_SHARE)->share = (struct message_share){DIGEST, 1ull << 29};
    add(MESSAGE_UNSHARE)->share = (struct message_share){DIGEST, 1234};
    add(MESSAGE_TAKEN)->taken = (struct message_taken){1ull << 33};
    add(MESSAGE_ACCEPTED)->range = (struct message_range){7, 1005, 5};
    add(MESSAGE_ENDED)->ended =
        (struct message_ended){7, 3, 2, OUTCOME_LOST, 4, "node1", "its worker went away"};
    add(MESSAGE_PROGRAM_WANTED)->program_wanted = (struct message_program_wanted){DIGEST, 1 << 20};
    add(MESSAGE_PROGRAM_PART)->program_part =
        (struct message_program_part){DIGEST, 100, 177, "as asked", one()};
    add(MESSAGE_PROGRAM_FAILED)->program_failed =
        (struct message_program_failed){DIGEST, "libm.so.7: cannot open\n", 7};
    add(MESSAGE_REPLAY)->replay =
        (struct message_replay){"/opt/simulate",         "/home/ada", OUTCOME_CRASHED, "node1",
                                "killed\n  by a signal", 1ull << 41};
}

static void
add_work(void)
{
    struct columns results = uneven();

    results.outcomes = outcomes;
    add(MESSAGE_SLICE)->slice = (struct message_slice){11, 7, 1000, 4, 3, equal()};
    add(MESSAGE_SLICE)->slice = (struct message_slice){12, 7, 1005, 1, 0, uneven()};
    add(MESSAGE_PARKED)->parked = (struct message_parked){11, 1001, true};
    add(MESSAGE_REVOKE)->revoke = (struct message_revoke){11, 3};
    add(MESSAGE_RETURNED)->returned = (struct message_returned){11, 1003, 2, RETURNED_PROGRAM};
    add(MESSAGE_RESULTS)->results =
        (struct message_results){7, 11, 1000, 2, 1, "node1", 55, 66, results, 1ull << 40};
    add(MESSAGE_RESULTS)->results = (struct message_results){7, 12, 1, 1, 0, "n", 5, 6, equal(), 0};
    add(MESSAGE_RUNNING)->running = (struct message_running){7, 11, 1001, 2, "node1"};
    add(MESSAGE_PROGRESS)->progress = (struct message_progress){7, 11, 1001, 30, 100};
    add(MESSAGE_PARTIAL)->partial = (struct message_partial){7, 11, 1002, one()};
    add(MESSAGE_TOLD);
    add(MESSAGE_ACK)->ack = (struct message_ack){serials, 4};
    add(MESSAGE_HELD)->held = (struct message_held){11, 7, 1000, 3, 2, 1, true, runs, 4};
    add(MESSAGE_ADOPTED)->adopted = (struct message_adopted){11, true};
    add(MESSAGE_OUTPUT)->output = (struct message_output){7, "node1", 2, one()};
}

static const struct kept_row kept_rows[] = {
    {"00ff", "square", "render", "a.out", "no worker", 101, 102, 103, 104, true, 105, 106, 107},
    {"0100", "cube", "sweep", "b.out", "no gpu", 111, 112, 113, 114, true, 115, 116, 117},
};

static void
add_kept(void)
{
    static struct spec mine;

    memcpy(&mine, &spec, sizeof(mine));
    add(MESSAGE_JOB)->job = (struct message_job){7, &mine, true, "fifteen letters"};
    add(MESSAGE_ATTACH)->attach = (struct message_attach){7, "and 15 of these"};
    add(MESSAGE_ATTACHED)->attached =
        (struct message_attached){7, 8, true, "square", "render", KEPT_OVER, "it is sealed"};
    add(MESSAGE_FETCH)->fetch = (struct message_fetch){7, 1ull << 34, 9};
    add(MESSAGE_FETCHED)->fetch = (struct message_fetch){7, 0, 9};
    add(MESSAGE_KEPT_WANTED)->kept_wanted =
        (struct message_kept_wanted){KEPT_TASK, "00ff", 1ull << 35, 32};
    add(MESSAGE_KEPT)->kept =
        (struct message_kept){KEPT_UNKNOWN, "there is none", kept_rows, 2, true};
    add(MESSAGE_KEPT_TASK)->kept_task = (struct message_kept_task){
        KEPT_DAMAGED, "some of it", "00ff", 5, &mine, one(), OUTCOME_CRASHED, "node3", 2};
}

unsigned
sample_count(void)
{
    if (made == 0) {
        if ((data = blob_new(400)) == NULL)
            abort();
        for (size_t i = 0; i < data->size; i++)
            data->bytes[i] = (uint8_t)(i * 7);
        add_peers();
        add_jobs();
        add_work();
        add_kept();
    }
    return made;
}

const struct message *
sample(unsigned i)
{
    return i < sample_count() ? &all[i] : NULL;
}

void
samples_free(void)
{
    blob_unref(data);
    data = NULL;
    made = 0;
}

#define NUMBER(f)                                                                                  \
    if (a->f != b->f)                                                                              \
    return #f
#define STRING(f)                                                                                  \
    if (strcmp(a->f, b->f) != 0)                                                                   \
    return #f

static const char *
columns_differ(const struct columns *a, const struct columns *b)
{
    NUMBER(count);
    NUMBER(size);
    NUMBER(length);
    if ((a->sizes == NULL) != (b->sizes == NULL) ||
        (a->sizes != NULL && memcmp(a->sizes, b->sizes, a->count * sizeof(*a->sizes)) != 0))
        return "sizes";
    if ((a->outcomes == NULL) != (b->outcomes == NULL) ||
        (a->outcomes != NULL && memcmp(a->outcomes, b->outcomes, a->count) != 0))
        return "outcomes";
    if (a->length > 0 && memcmp(a->data->bytes + a->at, b->data->bytes + b->at, a->length) != 0)
        return "data";
    return NULL;
}

static const char *
hello_differs(const struct message_hello *a, const struct message_hello *b)
{
    NUMBER(role);
    NUMBER(protocol);
    STRING(software);
    STRING(name);
    STRING(host);
    NUMBER(pid);
    NUMBER(window);
    NUMBER(slots);
    STRING(machine);
    STRING(labels);
    NUMBER(nnames);
    NUMBER(tasks);
    NUMBER(keep_ms);
    NUMBER(instance);
    NUMBER(memory);
    NUMBER(left_ms);
    for (uint32_t i = 0; i < a->nnames; i++)
        STRING(names[i]);
    return memcmp(a->session, b->session, sizeof(a->session)) != 0 ? "session" : NULL;
}

static const char *
welcome_differs(const struct message_welcome *a, const struct message_welcome *b)
{
    NUMBER(protocol);
    STRING(software);
    STRING(name);
    NUMBER(instance);
    NUMBER(beat_ms);
    NUMBER(lost_ms);
    NUMBER(window);
    NUMBER(workers);
    NUMBER(slots);
    return NULL;
}

static const char *
spec_differs(const struct spec *a, const struct spec *b)
{
    STRING(program.digest);
    STRING(program.name);
    STRING(program.machine);
    NUMBER(program.arguments_size);
    NUMBER(program.size);
    NUMBER(program.environment_size);
    STRING(program.directory);
    STRING(function);
    STRING(name);
    STRING(needs);
    NUMBER(priority);
    NUMBER(timeout_ms);
    NUMBER(deadline_ms);
    NUMBER(retries);
    NUMBER(cpus);
    NUMBER(retry_failed);
    NUMBER(once);
    NUMBER(fail_if_unknown);
    NUMBER(singles);
    NUMBER(seed);
    NUMBER(base);
    NUMBER(apart);
    NUMBER(memory);
    NUMBER(nshared);
    for (uint32_t i = 0; i < a->nshared; i++) {
        STRING(shared[i].name);
        STRING(shared[i].digest);
        STRING(shared[i].path);
        NUMBER(shared[i].size);
    }
    if (a->program.environment_size > 0 &&
        memcmp(a->program.environment, b->program.environment, a->program.environment_size) != 0)
        return "environment";
    return memcmp(a->program.arguments, b->program.arguments, a->program.arguments_size) != 0
               ? "arguments"
               : NULL;
}

static const char *
worker_row_differs(const struct worker_row *a, const struct worker_row *b)
{
    STRING(name);
    STRING(host);
    STRING(machine);
    STRING(labels);
    NUMBER(slots);
    NUMBER(busy);
    NUMBER(queued);
    NUMBER(parked);
    NUMBER(done);
    NUMBER(failed);
    NUMBER(silent_ms);
    NUMBER(draining);
    NUMBER(memory);
    NUMBER(memory_busy);
    NUMBER(left_ms);
    return NULL;
}

static const char *
job_row_differs(const struct job_row *a, const struct job_row *b)
{
    NUMBER(job);
    STRING(client);
    STRING(function);
    STRING(name);
    NUMBER(priority);
    NUMBER(waiting);
    NUMBER(running);
    NUMBER(parked);
    NUMBER(done);
    NUMBER(failed);
    STRING(notice);
    return NULL;
}

static const char *
status_differs(const struct message_status *a, const struct message_status *b)
{
    const char *d = NULL;

    STRING(software);
    NUMBER(uptime_ms);
    NUMBER(clients);
    NUMBER(workers);
    NUMBER(slots);
    NUMBER(jobs);
    NUMBER(tasks_accepted);
    NUMBER(tasks_done);
    NUMBER(tasks_failed);
    NUMBER(tasks_cancelled);
    NUMBER(retries);
    NUMBER(late_results);
    NUMBER(workers_lost);
    NUMBER(peers_cut);
    NUMBER(bytes_held);
    NUMBER(clients_away);
    NUMBER(leases_adopted);
    NUMBER(nworker_rows);
    NUMBER(njob_rows);
    for (uint32_t i = 0; i < a->nworker_rows && d == NULL; i++)
        d = worker_row_differs(&a->worker_rows[i], &b->worker_rows[i]);
    for (uint32_t i = 0; i < a->njob_rows && d == NULL; i++)
        d = job_row_differs(&a->job_rows[i], &b->job_rows[i]);
    return d;
}

static const char *
work_differs(const struct message *a, const struct message *b)
{
    switch (a->type) {
    case MESSAGE_SLICE:
        NUMBER(slice.lease);
        NUMBER(slice.job);
        NUMBER(slice.first);
        NUMBER(slice.attempt);
        NUMBER(slice.charged);
        break;
    case MESSAGE_REVOKE:
        NUMBER(revoke.lease);
        NUMBER(revoke.count);
        break;
    case MESSAGE_RETURNED:
        NUMBER(returned.lease);
        NUMBER(returned.first);
        NUMBER(returned.count);
        NUMBER(returned.why);
        break;
    case MESSAGE_RESULTS:
        NUMBER(results.job);
        NUMBER(results.lease);
        NUMBER(results.first);
        NUMBER(results.attempt);
        NUMBER(results.charged);
        STRING(results.worker);
        NUMBER(results.run_us);
        NUMBER(results.wait_us);
        NUMBER(results.serial);
        break;
    case MESSAGE_RUNNING:
        NUMBER(running.job);
        NUMBER(running.lease);
        NUMBER(running.index);
        NUMBER(running.attempt);
        STRING(running.worker);
        break;
    case MESSAGE_PROGRESS:
        NUMBER(progress.job);
        NUMBER(progress.lease);
        NUMBER(progress.index);
        NUMBER(progress.done);
        NUMBER(progress.total);
        break;
    case MESSAGE_PARTIAL:
        NUMBER(partial.job);
        NUMBER(partial.lease);
        NUMBER(partial.index);
        break;
    case MESSAGE_OUTPUT:
        NUMBER(output.job);
        STRING(output.worker);
        NUMBER(output.stream);
        break;
    default:
        return "a type that is not compared";
    }
    return NULL;
}

static const char *
rest_differs(const struct message *a, const struct message *b)
{
    switch (a->type) {
    case MESSAGE_BEAT:
        break;
    case MESSAGE_BYE:
    case MESSAGE_REFUSED:
    case MESSAGE_DRAINING:
        STRING(text);
        break;
    case MESSAGE_INPUTS:
        NUMBER(inputs.job);
        NUMBER(inputs.first);
        NUMBER(inputs.again);
        NUMBER(inputs.running);
        NUMBER(inputs.charged);
        break;
    case MESSAGE_CHARGED:
        NUMBER(charged.job);
        NUMBER(charged.index);
        NUMBER(charged.charged);
        break;
    case MESSAGE_JOB_END:
        NUMBER(job_end.job);
        NUMBER(job_end.total);
        break;
    case MESSAGE_CANCEL:
    case MESSAGE_BEGINS:
    case MESSAGE_NOTED:
    case MESSAGE_ACCEPTED:
        NUMBER(range.job);
        NUMBER(range.first);
        NUMBER(range.count);
        break;
    case MESSAGE_TAKEN:
        NUMBER(taken.bytes);
        break;
    case MESSAGE_ENDED:
        NUMBER(ended.job);
        NUMBER(ended.first);
        NUMBER(ended.count);
        NUMBER(ended.outcome);
        NUMBER(ended.attempt);
        STRING(ended.worker);
        STRING(ended.text);
        break;
    case MESSAGE_NOTICE:
        NUMBER(notice.job);
        NUMBER(notice.reason);
        STRING(notice.text);
        break;
    case MESSAGE_GRID:
        NUMBER(grid.workers);
        NUMBER(grid.slots);
        NUMBER(grid.idle);
        NUMBER(grid.grant);
        break;
    case MESSAGE_PARKED:
        NUMBER(parked.lease);
        NUMBER(parked.index);
        NUMBER(parked.parked);
        break;
    case MESSAGE_SHARE:
    case MESSAGE_UNSHARE:
        STRING(share.digest);
        NUMBER(share.size);
        break;
    case MESSAGE_PROGRAM_WANTED:
        STRING(program_wanted.digest);
        NUMBER(program_wanted.offset);
        break;
    case MESSAGE_PROGRAM_PART:
        STRING(program_part.digest);
        NUMBER(program_part.offset);
        NUMBER(program_part.size);
        STRING(program_part.text);
        break;
    case MESSAGE_PROGRAM_FAILED:
        STRING(program_failed.digest);
        STRING(program_failed.text);
        NUMBER(program_failed.job);
        break;
    case MESSAGE_STATUS_WANTED:
        NUMBER(status_wanted.first_worker);
        NUMBER(status_wanted.first_job);
        break;
    case MESSAGE_TOLD:
        break;
    case MESSAGE_ACK:
        NUMBER(ack.count);
        return memcmp(a->ack.serials, b->ack.serials, a->ack.count * sizeof(*a->ack.serials)) != 0
                   ? "serials"
                   : NULL;
    case MESSAGE_HELD:
        NUMBER(held.lease);
        NUMBER(held.job);
        NUMBER(held.first);
        NUMBER(held.attempt);
        NUMBER(held.charged);
        NUMBER(held.cpus);
        NUMBER(held.parked);
        NUMBER(held.nruns);
        return memcmp(a->held.runs, b->held.runs, a->held.nruns * sizeof(*a->held.runs)) != 0
                   ? "runs"
                   : NULL;
    case MESSAGE_ADOPTED:
        NUMBER(adopted.lease);
        NUMBER(adopted.wanted);
        break;
    case MESSAGE_REPLAY:
        STRING(replay.path);
        STRING(replay.directory);
        NUMBER(replay.outcome);
        STRING(replay.worker);
        STRING(replay.text);
        NUMBER(replay.when_ms);
        break;
    case MESSAGE_DRAIN:
        STRING(drain.worker);
        NUMBER(drain.grace_ms);
        break;
    case MESSAGE_DRAIN_ANSWER:
        STRING(drain_answer.worker);
        NUMBER(drain_answer.accepted);
        STRING(drain_answer.text);
        break;
    default:
        return work_differs(a, b);
    }
    return NULL;
}

static const char *
kept_rows_differ(const struct message_kept *m, const struct message_kept *n)
{
    if (m->nrows != n->nrows)
        return "nrows";
    for (uint32_t i = 0; i < m->nrows; i++) {
        const struct kept_row *a = &m->rows[i], *b = &n->rows[i];

        STRING(id);
        STRING(function);
        STRING(name);
        STRING(client);
        STRING(notice);
        NUMBER(total);
        NUMBER(done);
        NUMBER(failed);
        NUMBER(cancelled);
        NUMBER(sealed);
        NUMBER(created_s);
        NUMBER(ended_s);
        NUMBER(bytes);
    }
    return NULL;
}

static const char *
kept_differs(const struct message *a, const struct message *b)
{
    switch (a->type) {
    case MESSAGE_ATTACH:
        NUMBER(attach.job);
        return memcmp(a->attach.id, b->attach.id, 16) != 0 ? "id" : NULL;
    case MESSAGE_ATTACHED:
        NUMBER(attached.job);
        NUMBER(attached.total);
        NUMBER(attached.sealed);
        STRING(attached.function);
        STRING(attached.name);
        NUMBER(attached.error);
        STRING(attached.text);
        return NULL;
    case MESSAGE_FETCH:
    case MESSAGE_FETCHED:
        NUMBER(fetch.job);
        NUMBER(fetch.bytes);
        NUMBER(fetch.after);
        return NULL;
    case MESSAGE_KEPT_WANTED:
        NUMBER(kept_wanted.action);
        STRING(kept_wanted.id);
        NUMBER(kept_wanted.index);
        NUMBER(kept_wanted.first);
        return NULL;
    case MESSAGE_KEPT:
        NUMBER(kept.error);
        STRING(kept.text);
        NUMBER(kept.more);
        return kept_rows_differ(&a->kept, &b->kept);
    default:
        NUMBER(kept_task.error);
        STRING(kept_task.text);
        STRING(kept_task.id);
        NUMBER(kept_task.index);
        NUMBER(kept_task.outcome);
        STRING(kept_task.worker);
        NUMBER(kept_task.attempt);
        return spec_differs(a->kept_task.spec, b->kept_task.spec);
    }
}

const char *
message_differs(const struct message *a, const struct message *b)
{
    const struct columns *ca = message_columns((struct message *)(uintptr_t)a);
    const struct columns *cb = message_columns((struct message *)(uintptr_t)b);
    const char *d = ca != NULL && cb != NULL ? columns_differ(ca, cb) : NULL;

    NUMBER(type);
    NUMBER(client);
    if (d != NULL)
        return d;
    switch (a->type) {
    case MESSAGE_HELLO:
        return hello_differs(&a->hello, &b->hello);
    case MESSAGE_WELCOME:
        return welcome_differs(&a->welcome, &b->welcome);
    case MESSAGE_JOB:
        if (a->job.job != b->job.job || a->job.detached != b->job.detached ||
            memcmp(a->job.id, b->job.id, sizeof(a->job.id)) != 0)
            return "job";
        return spec_differs(a->job.spec, b->job.spec);
    case MESSAGE_STATUS:
        return status_differs(&a->status, &b->status);
    default:
        return a->type >= MESSAGE_ATTACH ? kept_differs(a, b) : rest_differs(a, b);
    }
}
