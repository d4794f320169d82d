#include "report.h"

#include "../base/clock.h"
#include "../base/poller.h"
#include "../client/ladle.h"
#include "../net/link.h"
#include "../proto/limits.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

struct inquiry {
    const char *endpoint;
    struct poller *poller;
    struct link *link;
    json_t *report, *workers, *jobs;
    bool done, failed;
    bool linked; /* there was a connection */
    char *why;
    size_t size;
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
    return json_pack("{so so so so so so so so so so so sb}", "name", string(w->name), "host",
                     string(w->host), "machine", string(w->machine), "labels", string(w->labels),
                     "slots", number(w->slots), "busy", number(w->busy), "queued",
                     number(w->queued), "parked", number(w->parked), "done", number(w->done),
                     "failed", number(w->failed), "silent_ms", number(w->silent_ms), "draining",
                     w->draining);
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

__attribute__((format(printf, 2, 3))) static void
fail(struct inquiry *q, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(q->why, q->size, format, args);
    va_end(args);
    q->failed = true;
}

static void
say_hello(struct inquiry *q)
{
    char host[256] = "";
    struct message m = {.type = MESSAGE_HELLO,
                        .hello = {.role = ROLE_OPERATOR,
                                  .protocol = LADLE_PROTOCOL,
                                  .software = "ladle " LADLE_VERSION,
                                  .name = "ladle status",
                                  .host = host,
                                  .pid = (uint64_t)getpid()}};

    gethostname(host, sizeof(host) - 1);
    if (getrandom(m.hello.session, sizeof(m.hello.session), 0) < 0 || link_send(q->link, &m) != 0)
        fail(q, "cannot greet the broker: %s", strerror(errno));
}

static void
ask(struct inquiry *q)
{
    struct message m = {
        .type = MESSAGE_STATUS_WANTED,
        .status_wanted = {.first_worker = (uint32_t)json_array_size(q->workers),
                          .first_job = (uint32_t)json_array_size(q->jobs)},
    };

    if (link_send(q->link, &m) != 0)
        fail(q, "cannot ask the broker: %s", strerror(errno));
}

static void
take(struct inquiry *q, const struct message_status *m)
{
    bool more = m->nworker_rows == LIMIT_ROWS || m->njob_rows == LIMIT_ROWS;

    for (uint32_t i = 0; i < m->nworker_rows; i++)
        json_array_append_new(q->workers, worker(&m->worker_rows[i]));
    for (uint32_t i = 0; i < m->njob_rows; i++)
        json_array_append_new(q->jobs, job(&m->job_rows[i]));
    if (q->report == NULL)
        q->report = facts(q->endpoint, m);
    if (more)
        ask(q);
    else
        q->done = true;
}

static void
receive(struct inquiry *q, int64_t now)
{
    const char *why = NULL;
    struct message m;
    int rc;

    while (!q->done && !q->failed && (rc = link_receive(q->link, &m, &why)) != 0) {
        if (rc < 0)
            fail(q, "the broker at %s sent something that is not understood: %s", q->endpoint,
                 why != NULL ? why : strerror(errno));
        else if (m.type == MESSAGE_WELCOME)
            ask(q);
        else if (m.type == MESSAGE_STATUS)
            take(q, &m.status);
        else if (m.type == MESSAGE_REFUSED)
            fail(q, "the broker at %s refuses: %s", q->endpoint, m.text);
        else if (m.type == MESSAGE_BYE)
            link_restart(q->link, now);
    }
}

static void
converse(struct inquiry *q, int timeout_ms)
{
    int64_t now = clock_us(), deadline = now + (int64_t)timeout_ms * 1000, at;
    enum link_event event;

    while (!q->done && !q->failed && now < deadline) {
        link_tick(q->link, now);
        while ((event = link_event(q->link)) != LINK_NONE) {
            if (event == LINK_UP) {
                q->linked = true;
                say_hello(q);
            }
        }
        receive(q, now);
        if (q->done || q->failed)
            return;
        at = link_deadline(q->link);
        if (poller_wait(q->poller, clock_poll_timeout(at < deadline ? at : deadline, now)) < 0)
            fail(q, "cannot wait: %s", strerror(errno));
        now = clock_us();
    }
}

json_t *
report_fetch(const char *endpoint, int timeout_ms, char *why, size_t size)
{
    struct inquiry q = {.endpoint = endpoint, .why = why, .size = size};

    q.workers = json_array();
    q.jobs = json_array();
    if (endpoint_check(endpoint, why, size) != 0)
        q.failed = true;
    else if ((q.poller = poller_new()) == NULL ||
             (q.link = link_new(q.poller, endpoint, clock_us())) == NULL)
        fail(&q, "cannot connect: %s", strerror(errno));
    if (!q.failed)
        converse(&q, timeout_ms);
    if (q.link != NULL)
        link_free(q.link, 0);
    poller_free(q.poller);
    if (!q.done && !q.failed && q.linked)
        fail(&q, "the broker at %s did not answer within %d ms; it may be overloaded or stopped",
             endpoint, timeout_ms);
    else if (!q.done && !q.failed)
        link_diagnose(endpoint, timeout_ms, why, size);
    if (q.done && (json_object_set_new(q.report, "workers", q.workers) != 0 ||
                   json_object_set_new(q.report, "jobs", q.jobs) != 0))
        snprintf(why, size, "out of memory");
    if (q.done)
        return q.report;
    json_decref(q.report);
    json_decref(q.workers);
    json_decref(q.jobs);
    return NULL;
}
