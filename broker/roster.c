#include "roster.h"

#include "aside.h"
#include "claims.h"
#include "contents.h"
#include "demands.h"
#include "endings.h"
#include "jobs.h"
#include "leases.h"
#include "notices.h"
#include "peers.h"
#include "programs.h"
#include "workers.h"

#include <stdlib.h>
#include <string.h>

/* ---- names --------------------------------------------------------------------------------------
 */

static struct worker *
by_name(const struct scheduler *s, const char *name)
{
    struct worker *w;

    HASH_FIND(by_name, s->workers_by_name, name, strlen(name), w);
    return w;
}

/* "node", or "node-2" if there is one already, ... */
static struct blob *
unique_name(struct scheduler *s, const struct message_hello *m)
{
    const char *wish = m->name[0] != '\0' ? m->name : m->host[0] != '\0' ? m->host : "worker";
    struct worker *first = by_name(s, wish);
    char name[LIMIT_NAME + 1];

    if (first == NULL)
        return sentence("%.*s", LIMIT_NAME, wish);
    do {
        /* Those that came later had the lower numbers: no need to try them again. */
        snprintf(name, sizeof(name), "%.*s-%u", LIMIT_NAME - 12, wish, ++first->namesakes + 1);
    } while (by_name(s, name) != NULL);
    return sentence("%s", name);
}

static struct blob *
join_names(const struct message_hello *m)
{
    size_t size = 1;
    struct blob *b;
    char *at;

    for (uint32_t i = 0; i < m->nnames; i++)
        size += strlen(m->names[i]) + 1;
    if ((b = blob_new(size)) == NULL)
        return NULL;
    at = (char *)b->bytes;
    *at = '\0';
    for (uint32_t i = 0; i < m->nnames; i++) {
        at = stpcpy(at, m->names[i]);
        at = stpcpy(at, ",");
    }
    return b;
}

/* ---- coming -------------------------------------------------------------------------------------
 */

static void
release(struct scheduler *s, struct worker *w)
{
    offer_leave(s, w);
    programs_forget_worker(s, w);
    contents_forget_worker(s, w);
    blob_unref(w->name);
    blob_unref(w->host);
    blob_unref(w->machine);
    blob_unref(w->labels);
    blob_unref(w->names);
    table_clear(&w->knows_by_job);
    free(w);
}

struct worker *
worker_new(struct scheduler *s, struct peer *p, const struct message_hello *m)
{
    struct worker *w = lines_new(sizeof(*w));

    if (w == NULL)
        return NULL;
    w->peer = p;
    w->number = s->next_worker++;
    w->slots = m->slots;
    w->memory = m->memory;
    w->ends_at = m->left_ms > 0 ? s->now + (int64_t)m->left_ms * 1000 : CLOCK_NEVER;
    w->span = m->left_ms > 0 ? (int64_t)m->left_ms * 1000 : 0;
    w->window = m->window > 0 ? m->window : WINDOW_WORKER;
    w->speed = 1;
    w->place = PLACE_NONE;
    w->load = -1;
    w->progress = s->now;
    w->telling = m->instance != 0;
    /* Young brokers do not know all their clients yet. */
    w->same = m->instance != 0 && m->instance == s->config.instance &&
              s->now > s->started + RESTART_US + CLAIM_US;
    TAILQ_INIT(&w->leases);
    TAILQ_INIT(&w->claims);
    LIST_INIT(&w->knows);
    table_init(&w->knows_by_job, s->config.seed);
    LIST_INIT(&w->holds);
    w->name = unique_name(s, m);
    w->host = blob_ref(p->host);
    w->machine = sentence("%.*s", LIMIT_NAME, m->machine);
    w->labels = sentence("%s", m->labels);
    w->names = join_names(m);
    if (w->name == NULL || w->machine == NULL || w->labels == NULL || w->names == NULL ||
        offer_join(s, w) != 0) {
        release(s, w);
        return NULL;
    }
    if (table_add(&s->workers_by_number, w->number, w) != 0) {
        release(s, w);
        return NULL;
    }
    HASH_ADD_KEYPTR(by_name, s->workers_by_name, words(w->name), strlen(words(w->name)), w);
    if (w->by_name.tbl == NULL) {
        table_remove(&s->workers_by_number, w->number, w);
        release(s, w);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&s->workers, w, link);
    s->nworkers++;
    s->slots += w->slots;
    grid_changed(s);
    notices_recheck(s);
    return w;
}

struct worker *
worker_find(const struct scheduler *s, const char *name)
{
    return by_name(s, name);
}

/* ---- going --------------------------------------------------------------------------------------
 */

static void
leave_grid(struct scheduler *s, struct worker *w)
{
    if (w->draining)
        return;
    s->nworkers--;
    s->slots -= w->slots;
    grid_changed(s);
}

uint64_t
worker_holder(const struct peer *p)
{
    uint64_t first, second;

    memcpy(&first, p->session, sizeof(first));
    memcpy(&second, p->session + sizeof(first), sizeof(second));
    return scatter(first ^ scatter(second)) | 1;
}

void
worker_free_lost(struct scheduler *s, struct worker *w, int64_t keep_us, const char *why)
{
    struct loss loss = {.until = s->now + keep_us,
                        .holder = worker_holder(w->peer),
                        .why = sentence("the worker was lost (%s)", why),
                        .where = blob_ref(w->name),
                        .blameless = w->left};
    struct lease *l;

    leave_grid(s, w);
    offer_drain(s, w); /* it is given nothing while its leases go */
    claims_forget_worker(s, w);
    /* From the last one: what was handed over first becomes ready first. */
    while ((l = TAILQ_LAST(&w->leases, lease_list)) != NULL)
        lease_lose(s, l, &loss);
    blob_unref(loss.why);
    blob_unref(loss.where);
    if (keep_us == 0)
        aside_tick(s);
    while (!LIST_EMPTY(&w->knows))
        knowledge_free(LIST_FIRST(&w->knows));
    HASH_DELETE(by_name, s->workers_by_name, w);
    table_remove(&s->workers_by_number, w->number, w);
    TAILQ_REMOVE(&s->workers, w, link);
    release(s, w);
    notices_recheck(s);
}

void
worker_drain(struct scheduler *s, struct worker *w)
{
    leave_grid(s, w);
    offer_drain(s, w);
    notices_recheck(s);
}
