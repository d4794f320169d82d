#include "status.h"

#include <stdlib.h>
#include <string.h>

/* All rows must fit into one header. */
#define ROWS_BYTES (LIMIT_HEADER - (8u << 10))
#define ROW_BYTES 140 /* numbers of a row, encoded, at most */

static void
fill_worker(const struct scheduler *s, const struct worker *w, struct worker_row *row)
{
    *row = (struct worker_row){
        .name = words(w->name),
        .host = words(w->host),
        .machine = words(w->machine),
        .labels = words(w->labels),
        .slots = w->slots,
        .busy = w->busy < w->slots ? (uint32_t)w->busy : w->slots,
        .queued = w->tasks,
        .parked = w->parked,
        .done = w->done,
        .failed = w->failed,
        .silent_ms = (uint64_t)(s->now - s->stopped - w->peer->heard) / 1000,
        .draining = w->draining,
        .memory = w->memory,
        .memory_busy = w->memory_busy < w->memory ? w->memory_busy : w->memory,
        .left_ms = w->ends_at == CLOCK_NEVER ? 0
                   : w->ends_at > s->now     ? 1 + (uint64_t)(w->ends_at - s->now) / 1000
                                             : 1,
    };
}

static void
fill_job(const struct job *j, struct job_row *row)
{
    *row = (struct job_row){
        .job = j->number,
        .client = words(j->client->name),
        .function = j->spec->function,
        .name = j->spec->name,
        .priority = j->spec->priority,
        .waiting = j->ready + j->naside,
        .running = j->leased - j->parked,
        .parked = j->parked,
        .done = j->done,
        .failed = j->failed + j->cancelled,
        .notice = j->ready > 0 && (j->demand->workers == 0 || j->late) ? words(j->notice) : "",
    };
}

static uint32_t
fill_workers(struct scheduler *s, uint32_t first, size_t *room)
{
    uint32_t count = 0, at = 0;
    struct worker *w;

    TAILQ_FOREACH (w, &s->workers, link) {
        struct worker_row *row = &s->worker_rows[count];
        size_t size;

        if (at++ < first)
            continue;
        fill_worker(s, w, row);
        size = ROW_BYTES + strlen(row->name) + strlen(row->host) + strlen(row->machine) +
               strlen(row->labels);
        if (count == LIMIT_ROWS || size > *room)
            break;
        *room -= size;
        count++;
    }
    return count;
}

static uint32_t
fill_jobs(struct scheduler *s, uint32_t first, size_t *room)
{
    uint32_t count = 0, at = 0;
    struct job *j;

    TAILQ_FOREACH (j, &s->jobs, link) {
        struct job_row *row = &s->job_rows[count];
        size_t size;

        if (at++ < first)
            continue;
        fill_job(j, row);
        size = ROW_BYTES + strlen(row->client) + strlen(row->function) + strlen(row->name) +
               strlen(row->notice);
        if (count == LIMIT_ROWS || size > *room)
            break;
        *room -= size;
        count++;
    }
    return count;
}

void
status_fill(struct scheduler *s, const struct message_status_wanted *wanted,
            struct message_status *m)
{
    size_t room = ROWS_BYTES / 2;

    *m = (struct message_status){
        .software = s->config.software,
        .uptime_ms = (uint64_t)(s->now - s->started) / 1000,
        .clients = (uint32_t)s->nclients,
        .workers = (uint32_t)s->nworkers,
        .slots = (uint32_t)s->slots,
        .jobs = s->njobs,
        .tasks_accepted = s->accepted,
        .tasks_done = s->done,
        .tasks_failed = s->failed,
        .tasks_cancelled = s->cancelled,
        .retries = s->retries,
        .late_results = s->late,
        .workers_lost = s->lost,
        .peers_cut = s->cut,
        .bytes_held = s->bytes,
        .clients_away = (uint32_t)s->naway,
        .leases_adopted = s->adopted,
    };
    /* One more than is told: the row that turns out not to fit. */
    if (s->worker_rows == NULL)
        s->worker_rows = calloc(LIMIT_ROWS + 1, sizeof(*s->worker_rows));
    if (s->job_rows == NULL)
        s->job_rows = calloc(LIMIT_ROWS + 1, sizeof(*s->job_rows));
    if (s->worker_rows == NULL || s->job_rows == NULL)
        return;
    m->nworker_rows = fill_workers(s, wanted->first_worker, &room);
    m->worker_rows = s->worker_rows;
    room += ROWS_BYTES / 2;
    m->njob_rows = fill_jobs(s, wanted->first_job, &room);
    m->job_rows = s->job_rows;
}
