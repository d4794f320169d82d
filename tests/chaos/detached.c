#include "detached.h"

#include "history.h"
#include "ways.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define JOB_MOST 256

struct entry {
    uint64_t first, count;
    char id[64]; /* "": not known to be in the store */
    bool ended;
};

struct state {
    const struct detached *what;
    pthread_mutex_t lock;
    int ledger;
    struct entry *entries; /* of former processes */
    size_t count, next;
    uint64_t begun; /* tasks below have been */
    double started;
};

static struct entry *
find(struct state *s, uint64_t first)
{
    size_t i = s->count;

    while (i > 0 && s->entries[i - 1].first != first)
        i--;
    return i == 0 ? NULL : &s->entries[i - 1];
}

static int
read_line(struct state *s, const char *line)
{
    struct entry e = {0}, *known, *more;

    line += strcspn(line, " ");
    line += *line == ' ';
    if (sscanf(line, "begin %" SCNu64 " %" SCNu64, &e.first, &e.count) == 2) {
        if ((more = realloc(s->entries, (s->count + 1) * sizeof(e))) == NULL)
            return -1;
        s->entries = more;
        s->entries[s->count++] = e;
        if (s->begun < e.first + e.count)
            s->begun = e.first + e.count;
        return 0;
    }
    if (sscanf(line, "job %" SCNu64 " %63s", &e.first, e.id) == 2 &&
        (known = find(s, e.first)) != NULL)
        memcpy(known->id, e.id, sizeof(e.id));
    else if (sscanf(line, "end %" SCNu64, &e.first) == 1 && (known = find(s, e.first)) != NULL)
        known->ended = true;
    else
        return -1;
    return 0;
}

static int
open_ledger(struct state *s, const char *path)
{
    FILE *file = fopen(path, "re");
    char line[256];
    int bad = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        bad |= read_line(s, line);
    if (file != NULL)
        fclose(file);
    s->ledger = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    return bad != 0 || s->ledger < 0 ? -1 : 0;
}

/* ---- one job
 * ----------------------------------------------------------------------------------- */

static void
fill(const struct state *s, const struct entry *e, struct order *orders)
{
    for (uint64_t i = 0; i < e->count; i++)
        orders[i] = order_make(s->what->seed, e->first + i);
}

static void
read_to_end(struct state *s, const struct entry *e, results_t *results)
{
    struct order orders[JOB_MOST];
    const void *data;
    uint64_t index;
    size_t size;

    fill(s, e, orders);
    while ((data = results_next(results, &size)) != NULL || !results_at_end(results)) {
        if ((index = results_index(results)) >= e->count)
            history_wrong("result %" PRIu64 " of job %s", index, e->id);
        else if (data != NULL)
            history_result(&orders[index], data, size, 0);
        else
            history_failure(&orders[index], results_status(results), 0, results_error(results));
    }
    results_destroy(&results);
    append_line(s->ledger, "end %" PRIu64, e->first);
}

/* Nobody knows whether it was submitted. */
static void
give_up(struct state *s, const struct entry *e, const char *why)
{
    struct order orders[JOB_MOST];

    fill(s, e, orders);
    for (uint64_t i = 0; i < e->count; i++) {
        history_invoke(&orders[i], "detached"); /* perhaps once more */
        history_unknown(&orders[i], why);
    }
    append_line(s->ledger, "end %" PRIu64, e->first);
}

static void
resume(struct state *s, const struct entry *e)
{
    results_t *results;

    if (e->id[0] == '\0') {
        give_up(s, e, "the client was killed before it was accepted");
    } else if ((results = futures_attach(s->what->futures, e->id, NULL)) == NULL) {
        history_wrong("job %s cannot be attached: %s", e->id, futures_error());
        append_line(s->ledger, "end %" PRIu64, e->first);
    } else {
        read_to_end(s, e, results);
    }
}

static void
submit(struct state *s, struct entry *e)
{
    struct order orders[JOB_MOST];
    results_t *results;
    const char *id;

    fill(s, e, orders);
    append_line(s->ledger, "begin %" PRIu64 " %" PRIu64, e->first, e->count);
    for (uint64_t i = 0; i < e->count; i++)
        history_invoke(&orders[i], "detached");
    results = futures_map(s->what->futures, "work", orders, e->count, sizeof(*orders),
                          &(task_options_t){.retries = RETRIES, .detached = true});
    if (results == NULL || (id = results_job(results)) == NULL) {
        history_wrong("a detached job was not accepted: %s", futures_error());
        give_up(s, e, futures_error());
        results_destroy(&results);
        return;
    }
    append_line(s->ledger, "job %" PRIu64 " %s", e->first, id);
    snprintf(e->id, sizeof(e->id), "%s", id);
    read_to_end(s, e, results);
}

/* ---- all of them
 * ------------------------------------------------------------------------------- */

/* What a former process left first, then new ones. False: there is no more. */
static bool
next_job(struct state *s, struct entry *e, bool *old_p)
{
    const struct detached *d = s->what;

    pthread_mutex_lock(&s->lock);
    while (s->next < s->count && s->entries[s->next].ended)
        s->next++;
    *old_p = s->next < s->count;
    memset(e, 0, sizeof(*e));
    if (*old_p) {
        *e = s->entries[s->next++];
    } else if (s->begun < d->tasks) {
        e->first = s->begun;
        e->count = 1 + mix(d->seed + e->first) % JOB_MOST;
        if (e->count > d->tasks - e->first)
            e->count = d->tasks - e->first;
        s->begun += e->count;
    }
    pthread_mutex_unlock(&s->lock);
    return e->count > 0;
}

static void *
run(void *arg)
{
    struct state *s = arg;
    struct entry e;
    bool old;

    while (next_job(s, &e, &old)) {
        if (old) {
            resume(s, &e);
            continue;
        }
        sleep_until(s->started + s->what->seconds * (double)e.first / (double)s->what->tasks);
        submit(s, &e);
    }
    return NULL;
}

int
detached_run(const struct detached *d, const char *ledger)
{
    struct state s = {.what = d, .lock = PTHREAD_MUTEX_INITIALIZER, .ledger = -1};
    pthread_t threads[THREADS];

    if (open_ledger(&s, ledger) != 0)
        return -1;
    /* As if the first process had begun with the first task: what is left keeps its pace. */
    s.started = seconds_now() - d->seconds * (double)s.begun / (double)d->tasks;
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, run, &s) != 0)
            abort();
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    close(s.ledger);
    free(s.entries);
    return 0;
}
