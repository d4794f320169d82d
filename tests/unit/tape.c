#include "tape.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int
head(const struct message *m, char *text, size_t size)
{
    return snprintf(text, size, "%s", message_name(m->type));
}

static void
outcomes(const struct columns *c, char *text, size_t size)
{
    size_t at = 0;

    if (c->outcomes == NULL)
        return;
    at += (size_t)snprintf(text, size, " outcomes=");
    for (uint32_t i = 0; i < c->count && at + 1 < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%u", c->outcomes[i]);
}

static void
describe_work(const struct message *m, char *at, size_t size)
{
    int length = 0;

    switch (m->type) {
    case MESSAGE_JOB:
        snprintf(at, size, " %" PRIu64 " %s", m->job.job, m->job.spec->function);
        break;
    case MESSAGE_INPUTS:
        snprintf(at, size, " job=%" PRIu64 " %" PRIu64 "+%u", m->inputs.job, m->inputs.first,
                 m->inputs.columns.count);
        break;
    case MESSAGE_SLICE:
        length = snprintf(at, size, " %" PRIu64 " job=%" PRIu64 " %" PRIu64 "+%u attempt=%u",
                          m->slice.lease, m->slice.job, m->slice.first, m->slice.columns.count,
                          m->slice.attempt);
        if (m->slice.charged > 0 && length < (int)size)
            snprintf(at + length, size - (size_t)length, " charged=%u", m->slice.charged);
        break;
    case MESSAGE_CHARGED:
        snprintf(at, size, " job=%" PRIu64 " %" PRIu64 " charged=%u", m->charged.job,
                 m->charged.index, m->charged.charged);
        break;
    case MESSAGE_REVOKE:
        snprintf(at, size, " %" PRIu64 " count=%u", m->revoke.lease, m->revoke.count);
        break;
    case MESSAGE_RETURNED:
        snprintf(at, size, " %" PRIu64 " %" PRIu64 "+%u why=%d", m->returned.lease,
                 m->returned.first, m->returned.count, (int)m->returned.why);
        break;
    case MESSAGE_ACK:
        for (uint32_t i = 0; i + 1 < m->ack.count && length < (int)size; i += 2)
            length += snprintf(at + length, size - (size_t)length, " %" PRIu64 "-%" PRIu64,
                               m->ack.serials[i], m->ack.serials[i + 1]);
        break;
    case MESSAGE_HELD:
        length =
            snprintf(at, size, " %" PRIu64 " job=%" PRIu64 " attempt=%u cpus=%u%s", m->held.lease,
                     m->held.job, m->held.attempt, m->held.cpus, m->held.parked ? " parked" : "");
        for (uint32_t i = 0; i + 1 < m->held.nruns && length < (int)size; i += 2)
            length += snprintf(at + length, size - (size_t)length, " %" PRIu64 "+%u",
                               m->held.first + m->held.runs[i], m->held.runs[i + 1]);
        break;
    case MESSAGE_ADOPTED:
        snprintf(at, size, " %" PRIu64 " %s", m->adopted.lease,
                 m->adopted.wanted ? "wanted" : "unwanted");
        break;
    case MESSAGE_PARKED:
        snprintf(at, size, " %" PRIu64 " %s", m->parked.lease, m->parked.parked ? "yes" : "no");
        break;
    case MESSAGE_RESULTS:
        size -= (size_t)snprintf(at, size, " %" PRIu64 " job=%" PRIu64 " %" PRIu64 "+%u attempt=%u",
                                 m->results.lease, m->results.job, m->results.first,
                                 m->results.columns.count, m->results.attempt);
        outcomes(&m->results.columns, at + strlen(at), size);
        break;
    default:
        break;
    }
}

static void
describe_news(const struct message *m, char *at, size_t size)
{
    int length;

    switch (m->type) {
    case MESSAGE_WELCOME:
        snprintf(at, size, " %s workers=%u slots=%u", m->welcome.name, m->welcome.workers,
                 m->welcome.slots);
        break;
    case MESSAGE_REFUSED:
    case MESSAGE_BYE:
        snprintf(at, size, ": %s", m->text);
        break;
    case MESSAGE_ACCEPTED:
        snprintf(at, size, " job=%" PRIu64 " below=%" PRIu64, m->range.job, m->range.first);
        break;
    case MESSAGE_ATTACH:
        snprintf(at, size, " job=%" PRIu64, m->attach.job);
        break;
    case MESSAGE_ATTACHED:
        snprintf(at, size, " job=%" PRIu64 " total=%" PRIu64 "%s%s%s", m->attached.job,
                 m->attached.total, m->attached.sealed ? " sealed" : "",
                 m->attached.error != KEPT_NONE ? ": " : "", m->attached.text);
        break;
    case MESSAGE_FETCH:
    case MESSAGE_FETCHED:
        snprintf(at, size, " job=%" PRIu64 " after=%" PRIu64, m->fetch.job, m->fetch.after);
        break;
    case MESSAGE_BEGINS:
    case MESSAGE_NOTED:
    case MESSAGE_CANCEL:
        snprintf(at, size, " job=%" PRIu64 " %" PRIu64 "+%" PRIu64, m->range.job, m->range.first,
                 m->range.count);
        break;
    case MESSAGE_JOB_END:
        snprintf(at, size, " %" PRIu64 " total=%" PRIu64, m->job_end.job, m->job_end.total);
        break;
    case MESSAGE_TAKEN:
        snprintf(at, size, " %" PRIu64, m->taken.bytes);
        break;
    case MESSAGE_ENDED:
        snprintf(at, size, " job=%" PRIu64 " %" PRIu64 "+%" PRIu64 " %s attempt=%u %s: %s",
                 m->ended.job, m->ended.first, m->ended.count, outcome_name(m->ended.outcome),
                 m->ended.attempt, m->ended.worker, m->ended.text);
        break;
    case MESSAGE_NOTICE:
        snprintf(at, size, " job=%" PRIu64 ": %s", m->notice.job, m->notice.text);
        break;
    case MESSAGE_GRID:
        length = snprintf(at, size, " workers=%u slots=%u", m->grid.workers, m->grid.slots);
        if (m->client != 0)
            snprintf(at + length, size - (size_t)length, " idle=%u grant=%" PRIu64, m->grid.idle,
                     m->grid.grant);
        break;
    default:
        break;
    }
}

static void
describe_more(const struct message *m, char *at, size_t size)
{
    switch (m->type) {
    case MESSAGE_HELLO:
        snprintf(at, size, " role=%d %s slots=%u", (int)m->hello.role, m->hello.name,
                 m->hello.slots);
        break;
    case MESSAGE_RUNNING:
        snprintf(at, size, " job=%" PRIu64 " %" PRIu64 " attempt=%u", m->running.job,
                 m->running.index, m->running.attempt);
        break;
    case MESSAGE_PROGRESS:
        snprintf(at, size, " job=%" PRIu64 " %" PRIu64 " %" PRIu64 "/%" PRIu64, m->progress.job,
                 m->progress.index, m->progress.done, m->progress.total);
        break;
    case MESSAGE_PARTIAL:
        snprintf(at, size, " job=%" PRIu64 " %" PRIu64 " bytes=%zu", m->partial.job,
                 m->partial.index, m->partial.columns.length);
        break;
    case MESSAGE_OUTPUT:
        snprintf(at, size, " job=%" PRIu64 " %s bytes=%zu", m->output.job, m->output.worker,
                 m->output.columns.length);
        break;
    case MESSAGE_PROGRAM_WANTED:
        snprintf(at, size, " %s at=%" PRIu64, m->program_wanted.digest, m->program_wanted.offset);
        break;
    case MESSAGE_PROGRAM_PART:
        snprintf(at, size, " %s at=%" PRIu64 " bytes=%zu of=%" PRIu64 " %s", m->program_part.digest,
                 m->program_part.offset, m->program_part.columns.length, m->program_part.size,
                 m->program_part.text);
        break;
    case MESSAGE_SHARE:
    case MESSAGE_UNSHARE:
        snprintf(at, size, " %s", m->share.digest);
        break;
    case MESSAGE_PROGRAM_FAILED:
        snprintf(at, size, " %s: %s", m->program_failed.digest, m->program_failed.text);
        break;
    case MESSAGE_DRAIN:
        snprintf(at, size, " grace=%" PRId64, m->drain.grace_ms);
        break;
    case MESSAGE_DRAIN_ANSWER:
        snprintf(at, size, " %s %s %s", m->drain_answer.worker,
                 m->drain_answer.accepted ? "accepted" : "refused", m->drain_answer.text);
        break;
    case MESSAGE_STATUS:
        snprintf(at, size, " workers=%u rows=%u jobs=%u", m->status.workers, m->status.nworker_rows,
                 m->status.njob_rows);
        break;
    default:
        break;
    }
}

void
tape_describe(const struct message *m, char *text, size_t size)
{
    int length = head(m, text, size);

    describe_work(m, text + length, size - (size_t)length);
    describe_news(m, text + length, size - (size_t)length);
    describe_more(m, text + length, size - (size_t)length);
}
