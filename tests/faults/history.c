#include "history.h"

#include "../system/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct history last;

/* Ids are few, and those of a client follow each other. */
static struct deed *
deed(uint64_t id)
{
    struct deed *d;

    for (size_t i = last.n; i-- > 0;)
        if (last.deeds[i].id == id)
            return &last.deeds[i];
    if (last.n % 64 == 0)
        last.deeds = realloc(last.deeds, (last.n + 64) * sizeof(*last.deeds));
    assert_non_null(last.deeds);
    d = &last.deeds[last.n++];
    *d = (struct deed){.id = id};
    return d;
}

static void
begin(struct deed *d, int64_t at, pid_t pid, int attempt, const char *worker)
{
    struct run *r = &d->runs[d->nruns];

    if (d->nruns++ >= RUNS_SEEN)
        return;
    *r = (struct run){.pid = pid, .attempt = attempt, .begun = at};
    snprintf(r->worker, sizeof(r->worker), "%.*s", (int)strcspn(worker, "\n"), worker);
}

static void
end(struct deed *d, int64_t at, pid_t pid, int attempt)
{
    for (int i = 0; i < d->nruns && i < RUNS_SEEN; i++)
        if (d->runs[i].pid == pid && d->runs[i].attempt == attempt && d->runs[i].ended == 0)
            d->runs[i].ended = at;
}

static void
conclude(struct deed *d, int *count, int64_t at, int attempts, const char *text)
{
    ++*count;
    d->outcome_at = at;
    d->attempts = attempts;
    snprintf(d->text, sizeof(d->text), "%.*s", (int)strcspn(text, "\n"), text);
}

static void
take(const char *line)
{
    unsigned long long id;
    int pid, attempt, at = 0;
    struct deed *d;
    long long ms;
    char word[16];

    if (sscanf(line, "%lld %d %15s %llu %d %n", &ms, &pid, word, &id, &attempt, &at) < 5)
        return; /* a line that is being written */
    if (strcmp(word, "late") == 0) {
        last.late++;
        return;
    }
    d = deed(id);
    if (strcmp(word, "begin") == 0)
        begin(d, ms, pid, attempt, line + at);
    else if (strcmp(word, "end") == 0)
        end(d, ms, pid, attempt);
    else if (strcmp(word, "ok") == 0)
        conclude(d, &d->ok, ms, attempt, "");
    else if (strcmp(word, "wrong") == 0)
        conclude(d, &d->wrong, ms, attempt, "");
    else if (strcmp(word, "fail") == 0)
        conclude(d, &d->failed, ms, attempt, line + at);
    else if (strcmp(word, "refused") == 0)
        conclude(d, &d->refused, ms, attempt, line + at);
    else if (strcmp(word, "invoke") == 0 && d->invoked++ == 0)
        d->invoked_at = ms;
}

const struct history *
history(void)
{
    char *text = file_read(harness_path("history"), NULL);

    free(last.deeds);
    last = (struct history){0};
    for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1) {
        if (strchr(line, '\n') == NULL)
            break;
        take(line);
    }
    free(text);
    return &last;
}

const struct deed *
history_of(const struct history *h, uint64_t id)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->deeds[i].id == id)
            return &h->deeds[i];
    return NULL;
}

static int
outcomes(const struct deed *d)
{
    return d->ok + d->failed + d->wrong + d->refused;
}

size_t
history_begun(const struct history *h)
{
    size_t n = 0;

    for (size_t i = 0; i < h->n; i++)
        n += h->deeds[i].nruns > 0;
    return n;
}

size_t
history_ended(const struct history *h)
{
    size_t n = 0;

    for (size_t i = 0; i < h->n; i++)
        n += outcomes(&h->deeds[i]) > 0;
    return n;
}

size_t
history_running(const struct history *h)
{
    size_t n = 0;

    for (size_t i = 0; i < h->n; i++)
        for (int j = 0; j < h->deeds[i].nruns && j < RUNS_SEEN; j++)
            n += h->deeds[i].runs[j].ended == 0;
    return n;
}

int
history_most_runs(const struct history *h)
{
    int most = 0;

    for (size_t i = 0; i < h->n; i++)
        most = h->deeds[i].nruns > most ? h->deeds[i].nruns : most;
    return most;
}

static bool
complain(const struct deed *d, const char *what)
{
    print_error("task %llu %s: invoked %d, ok %d, failed %d, wrong %d, refused %d, runs %d%s%s\n",
                (unsigned long long)d->id, what, d->invoked, d->ok, d->failed, d->wrong, d->refused,
                d->nruns, d->text[0] != '\0' ? ": " : "", d->text);
    for (int i = 0; i < d->nruns && i < RUNS_SEEN; i++)
        print_error("    attempt %d on %s in process %d, %lld to %lld\n", d->runs[i].attempt,
                    d->runs[i].worker, (int)d->runs[i].pid, (long long)d->runs[i].begun,
                    (long long)d->runs[i].ended);
    return false;
}

void
history_check(size_t count, size_t failures, int runs)
{
    const struct history *h = history();
    size_t invoked = 0, failed = 0;
    bool good = true;

    for (size_t i = 0; i < h->n; i++) {
        const struct deed *d = &h->deeds[i];

        invoked += d->invoked > 0;
        failed += d->failed + d->refused > 0;
        if (outcomes(d) > 1)
            good = complain(d, "has more than one outcome");
        if (outcomes(d) == 0)
            good = complain(d, "has no outcome");
        if (d->wrong > 0)
            good = complain(d, "has a wrong result");
        if (d->nruns > runs)
            good = complain(d, "ran too often");
        if (d->failed + d->refused > 0 && failures == 0)
            good = complain(d, "failed");
    }
    assert_true(good);
    assert_int_equal(invoked, count);
    assert_int_equal(failed, failures);
}
