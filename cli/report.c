#include "report.h"

#include "talk.h"

#include "../proto/limits.h"

#include <stdio.h>
#include <string.h>

struct inquiry {
    json_t *report, *workers, *jobs;
};

/* ---- rows ---------------------------------------------------------------------------------- */

/* Names are any bytes but control characters; JSON is UTF-8. */
static json_t *
string(const char *text)
{
    json_t *value = json_string(text);
    char plain[LIMIT_TEXT + 1];

    if (value != NULL)
        return value;
    snprintf(plain, sizeof(plain), "%s", text);
    for (char *c = plain; *c != '\0'; c++)
        if ((*c & 0x80) != 0)
            *c = '?';
    return json_string(plain);
}

static json_t *
number(uint64_t n)
{
    return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

static json_t *
worker(const struct worker_row *w)
{
    return json_pack("{so so so so so so so so so so so sb so so so}", "name", string(w->name),
                     "host", string(w->host), "machine", string(w->machine), "labels",
                     string(w->labels), "slots", number(w->slots), "busy", number(w->busy),
                     "queued", number(w->queued), "parked", number(w->parked), "done",
                     number(w->done), "failed", number(w->failed), "silent_ms",
                     number(w->silent_ms), "draining", w->draining, "memory", number(w->memory),
                     "memory_busy", number(w->memory_busy), "left_ms", number(w->left_ms));
}

static json_t *
job(const struct job_row *j)
{
    return json_pack("{so so so so sI so so so so so so}", "job", number(j->job), "client",
                     string(j->client), "function", string(j->function), "name", string(j->name),
                     "priority", (json_int_t)j->priority, "waiting", number(j->waiting), "running",
                     number(j->running), "parked", number(j->parked), "done", number(j->done),
                     "failed", number(j->failed), "notice", string(j->notice));
}

static json_t *
facts(const char *endpoint, const struct message_status *m)
{
    return json_pack(
        "{so so so so so so so so so so so so so so so so so so}", "endpoint", string(endpoint),
        "software", string(m->software), "uptime_ms", number(m->uptime_ms), "clients",
        number(m->clients), "workers_connected", number(m->workers), "slots", number(m->slots),
        "jobs_open", number(m->jobs), "tasks_accepted", number(m->tasks_accepted), "tasks_done",
        number(m->tasks_done), "tasks_failed", number(m->tasks_failed), "tasks_cancelled",
        number(m->tasks_cancelled), "retries", number(m->retries), "late_results",
        number(m->late_results), "workers_lost", number(m->workers_lost), "peers_cut",
        number(m->peers_cut), "bytes_held", number(m->bytes_held), "clients_away",
        number(m->clients_away), "leases_adopted", number(m->leases_adopted));
}

/* ---- the conversation ---------------------------------------------------------------------- */

static void
ask(struct talk *t)
{
    const struct inquiry *q = t->arg;
    struct message m = {
        .type = MESSAGE_STATUS_WANTED,
        .status_wanted = {.first_worker = (uint32_t)json_array_size(q->workers),
                          .first_job = (uint32_t)json_array_size(q->jobs)},
    };

    talk_say(t, &m);
}

static void
answer(struct talk *t, const struct message *message)
{
    const struct message_status *m = &message->status;
    struct inquiry *q = t->arg;

    if (message->type != MESSAGE_STATUS)
        return;
    for (uint32_t i = 0; i < m->nworker_rows; i++)
        json_array_append_new(q->workers, worker(&m->worker_rows[i]));
    for (uint32_t i = 0; i < m->njob_rows; i++)
        json_array_append_new(q->jobs, job(&m->job_rows[i]));
    if (q->report == NULL)
        q->report = facts(t->endpoint, m);
    if (m->nworker_rows == LIMIT_ROWS || m->njob_rows == LIMIT_ROWS)
        ask(t);
    else
        talk_end(t);
}

json_t *
report_fetch(const char *endpoint, int timeout_ms, char *why, size_t size)
{
    struct inquiry q = {.workers = json_array(), .jobs = json_array()};
    struct talk t = {.endpoint = endpoint,
                     .name = "ladle status",
                     .ask = ask,
                     .answer = answer,
                     .arg = &q,
                     .why = why,
                     .size = size};
    int rc = talk_run(&t, timeout_ms);

    if (rc == 0 && (json_object_set_new(q.report, "workers", q.workers) != 0 ||
                    json_object_set_new(q.report, "jobs", q.jobs) != 0))
        snprintf(why, size, "out of memory");
    if (rc == 0)
        return q.report;
    json_decref(q.report);
    json_decref(q.workers);
    json_decref(q.jobs);
    return NULL;
}
