#include "notices.h"

#include "capacity.h"
#include "demands.h"
#include "endings.h"
#include "jobs.h"
#include "peers.h"
#include "programs.h"

#include <string.h>

#define LIST_TEXT 300 /* bytes of a list of what there is */

/* ---- the sentence -------------------------------------------------------------------------------
 */

/* Adds a word to "a, b, c", unless it is there already or it would become too long. */
static void
add_word(char *list, const char *word)
{
    size_t length = strlen(list), size = strlen(word);
    const char *at = list;

    while ((at = strstr(at, word)) != NULL) {
        if ((at == list || at[-1] == ' ') && (at[size] == '\0' || at[size] == ','))
            return;
        at += size;
    }
    if (length + size + 3 > LIST_TEXT)
        return;
    snprintf(list + length, LIST_TEXT - length, "%s%s", length > 0 ? ", " : "", word);
}

static struct blob *
machine_reason(const struct scheduler *s, const struct demand *d)
{
    char list[LIST_TEXT] = "";
    struct offer *o, *next;

    HASH_ITER (hh, s->offers, o, next) {
        if (strcmp(o->machine, d->machine) == 0)
            return NULL;
        add_word(list, o->machine);
    }
    return sentence("the program is for %s, and the workers are %s", d->machine, list);
}

static struct blob *
need_reason(const struct scheduler *s, const struct label *need)
{
    char list[LIST_TEXT] = "", word[2 * LIMIT_NAME];
    struct offer *o, *next;

    HASH_ITER (hh, s->offers, o, next) {
        if (label_found(o->labels, need))
            return NULL;
        for (size_t i = 0; i < o->labels->count; i++) {
            const struct label *l = &o->labels->list[i];

            if (strcmp(l->key, need->key) != 0)
                continue;
            snprintf(word, sizeof(word), "%s%s%s", l->key, l->value != NULL ? "=" : "",
                     l->value != NULL ? l->value : "");
            add_word(list, word);
        }
    }
    return sentence("no worker has %.*s%s%.*s%s%s", LIMIT_NAME, need->key,
                    need->value != NULL ? "=" : "", LIMIT_NAME,
                    need->value != NULL ? need->value : "", list[0] != '\0' ? "; there are " : "",
                    list);
}

static struct blob *
slots_reason(const struct scheduler *s, const struct demand *d)
{
    const struct worker *w;
    uint32_t most = 0;

    TAILQ_FOREACH (w, &s->workers, link) {
        if (w->slots > most && !w->draining)
            most = w->slots;
    }
    if (most >= d->cpus)
        return NULL;
    return sentence("no worker has %u slots; the largest has %u", d->cpus, most);
}

/* "1.5 GiB"; "200 MiB" */
static const char *
size_text(uint64_t bytes, char *text, size_t size)
{
    if (bytes >> 30 > 0)
        snprintf(text, size, "%.1f GiB", (double)bytes / (1u << 30));
    else
        snprintf(text, size, "%.1f MiB", (double)bytes / (1u << 20));
    return text;
}

static struct blob *
memory_reason(const struct scheduler *s, const struct demand *d)
{
    char asked[32], had[32];
    const struct worker *w;
    uint64_t most = 0;

    TAILQ_FOREACH (w, &s->workers, link) {
        if (w->memory > most && !w->draining)
            most = w->memory;
    }
    if (most >= d->memory)
        return NULL;
    return sentence("no worker has %s of memory; the largest has %s",
                    size_text(d->memory, asked, sizeof(asked)), size_text(most, had, sizeof(had)));
}

static struct blob *
program_reason(const struct scheduler *s, const struct demand *d)
{
    struct label name = {.key = d->program};
    struct offer *o, *next;

    HASH_ITER (hh, s->offers, o, next) {
        if (label_found(o->names, &name))
            return NULL;
    }
    return sentence("no worker offers the program %.*s: start one with --program", LIMIT_NAME,
                    d->program);
}

struct blob *
notice_reason(const struct scheduler *s, const struct job *j)
{
    const struct demand *d = j->demand;
    const struct failing *f;
    struct blob *reason = NULL;

    if (s->nworkers == 0)
        return sentence("no worker is connected");
    if (d->machine[0] != '\0')
        reason = machine_reason(s, d);
    if (reason == NULL && d->program[0] != '\0')
        reason = program_reason(s, d);
    for (size_t i = 0; reason == NULL && i < d->needs->count; i++)
        reason = need_reason(s, &d->needs->list[i]);
    if (reason == NULL)
        reason = slots_reason(s, d);
    if (reason == NULL)
        reason = memory_reason(s, d);
    if (reason == NULL && (f = program_why(j)) != NULL)
        reason = sentence("the program cannot start on worker %.*s: %.*s", LIMIT_NAME,
                          words(f->worker->name), LIMIT_TEXT / 2, words(f->text));
    if (reason == NULL)
        reason = sentence("no single worker has all that it needs (%.*s)", LIMIT_TEXT / 2,
                          d->needs->text);
    return reason;
}

/* ---- who is told --------------------------------------------------------------------------------
 */

static bool
reject(struct scheduler *s, struct job *j, struct blob *reason)
{
    struct ending e = {.outcome = OUTCOME_REJECTED, .text = words(reason)};

    if (!j->spec->fail_if_unknown && (program_why(j) == NULL || program_may_come(s, j)))
        return false;
    end_ready(s, j, &e);
    deadline_update(s, j);
    (void)job_finish(s, j);
    return true;
}

static void
put_waiting(struct scheduler *s, struct job *j)
{
    j->waiting = true;
    j->waits_since = s->now;
    TAILQ_INSERT_TAIL(&s->waiting, j, of_waiting);
}

void
notices_job_ready(struct scheduler *s, struct job *j)
{
    struct blob *reason;

    if (demand_able(j->demand) || j->ready == 0)
        return;
    if (j->waiting && !j->spec->fail_if_unknown)
        return;
    reason = notice_reason(s, j);
    if (!reject(s, j, reason) && !j->waiting && reason != NULL &&
        strcmp(words(reason), words(j->notice)) != 0) {
        put_waiting(s, j);
    }
    blob_unref(reason);
}

void
notices_job_late(struct scheduler *s, struct job *j)
{
    if (!j->waiting)
        put_waiting(s, j);
}

void
notices_recheck(struct scheduler *s)
{
    s->recheck = true;
}

static void
recheck_demand(struct scheduler *s, struct demand *d)
{
    struct level *l, *next_level;
    struct queue *q, *next_queue;
    struct job *j, *next_job;

    /* Jobs go while this looks at them, and with the last one its queue, level and demand. */
    d->refs++;
    for (l = TAILQ_FIRST(&d->levels); l != NULL; l = next_level) {
        next_level = TAILQ_NEXT(l, link);
        for (q = TAILQ_FIRST(&l->queues); q != NULL; q = next_queue) {
            next_queue = TAILQ_NEXT(q, link);
            for (j = TAILQ_FIRST(&q->jobs); j != NULL; j = next_job) {
                next_job = TAILQ_NEXT(j, of_queue);
                notices_job_ready(s, j);
            }
        }
    }
    demand_release(s, d);
}

/* Takes the reason. */
static void
tell(struct scheduler *s, struct job *j, struct blob *reason)
{
    struct outgoing *o;

    if (reason == NULL || strcmp(words(reason), words(j->notice)) == 0) {
        blob_unref(reason);
        return;
    }
    blob_unref(j->notice);
    j->notice = reason;
    if ((o = peer_say(s, j->client->peer, MESSAGE_NOTICE)) == NULL)
        return;
    outgoing_keep(o, reason);
    o->m.notice =
        (struct message_notice){.job = j->id,
                                .reason = s->nworkers == 0 ? NOTICE_NO_WORKER : NOTICE_OTHER,
                                .text = words(reason)};
    outbox_put(&s->outbox, o);
}

/* Its wait was long enough to be spoken of. */
static void
tell_if_stuck(struct scheduler *s, struct job *j)
{
    bool early = program_may_come(s, j);
    struct blob *reason;

    if (j->ready == 0)
        return;
    if (!demand_able(j->demand)) {
        if ((reason = notice_reason(s, j)) != NULL && reject(s, j, reason)) {
            blob_unref(reason);
            return;
        }
        tell(s, j, reason);
        if (early) /* perhaps it is to be rejected later */
            put_waiting(s, j);
        return;
    }
    if (!j->late || (reason = capacity_late_reason(s, j)) == NULL)
        return;
    blob_ref(reason);
    tell(s, j, reason);
    if (j->spec->fail_if_unknown)
        (void)reject(s, j, reason);
    blob_unref(reason);
}

void
notices_tick(struct scheduler *s)
{
    struct demand *d, *next;
    struct job *j;

    if (s->recheck) {
        s->recheck = false;
        for (d = TAILQ_FIRST(&s->active); d != NULL; d = next) {
            next = TAILQ_NEXT(d, link);
            if (!demand_able(d))
                recheck_demand(s, d);
        }
    }
    while ((j = TAILQ_FIRST(&s->waiting)) != NULL && j->waits_since + NOTICE_US <= s->now) {
        TAILQ_REMOVE(&s->waiting, j, of_waiting);
        j->waiting = false;
        tell_if_stuck(s, j);
    }
}

int64_t
notices_deadline(const struct scheduler *s)
{
    const struct job *j = TAILQ_FIRST(&s->waiting);

    return s->recheck ? s->now : j == NULL ? CLOCK_NEVER : j->waits_since + NOTICE_US;
}
