#include "depot.h"

#include "kept.h"

#include "../base/log.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_S (7 * 24 * 3600)
#define MOST_BYTES (10ull << 30)

/* ---- life --------------------------------------------------------------------------------------
 */

static int
open_store(struct depot *d, char *why, size_t size)
{
    char folder[4096];

    if (d->config.path == NULL)
        return 0;
    if (sodium_init() < 0) {
        snprintf(why, size, "libsodium does not work here");
        return -1;
    }
    if ((d->store = store_open(d->config.path, d->config.salvage, why, size)) == NULL)
        return -1;
    snprintf(folder, sizeof(folder), "%s/programs", d->config.path);
    if ((d->files = files_open(folder)) == NULL) {
        snprintf(why, size, "cannot make %s: %s", folder, strerror(errno));
        return -1;
    }
    return depot_load(d, why, size);
}

struct depot *
depot_new(const struct depot_config *config, int64_t now, int64_t wall, char *why, size_t size)
{
    struct depot *d = calloc(1, sizeof(*d));

    if (d == NULL) {
        snprintf(why, size, "out of memory");
        return NULL;
    }
    d->config = *config;
    if (d->config.keep_s == 0)
        d->config.keep_s = KEEP_S;
    if (d->config.most_bytes == 0)
        d->config.most_bytes = MOST_BYTES;
    d->now = now;
    d->wall = wall;
    d->expire_at = d->again_at = CLOCK_NEVER;
    if (config->path != NULL)
        d->expire_at = now;
    TAILQ_INIT(&d->jobs);
    TAILQ_INIT(&d->dirty);
    TAILQ_INIT(&d->hungry);
    TAILQ_INIT(&d->unsealed);
    TAILQ_INIT(&d->over);
    TAILQ_INIT(&d->pending);
    STAILQ_INIT(&d->answers);
    outbox_init(&d->outbox);
    if ((d->in = arena_new()) == NULL || (d->out = arena_new()) == NULL) {
        snprintf(why, size, "out of memory");
        depot_free(d);
        return NULL;
    }
    if (open_store(d, why, size) != 0) {
        depot_free(d);
        return NULL;
    }
    return d;
}

void
depot_free(struct depot *d)
{
    struct fetching *f, *next_fetching;
    struct visitor *v, *next;
    struct kept *j;

    if (d == NULL)
        return;
    HASH_ITER (hh, d->visitors, v, next) {
        depot_gone(d, v->peer);
    }
    HASH_ITER (hh, d->fetching, f, next_fetching) {
        HASH_DELETE(hh, d->fetching, f);
        free(f);
    }
    while ((j = TAILQ_FIRST(&d->jobs)) != NULL) {
        feed_stop(d, j);
        writing_forget(d, j);
        kept_free(d, j);
    }
    outbox_drop_all(&d->outbox, &d->answers);
    outbox_clear(&d->outbox);
    files_close(d->files);
    store_close(d->store);
    arena_free(d->in);
    arena_free(d->out);
    free(d->removals);
    free(d);
}

/* ---- in ----------------------------------------------------------------------------------------
 */

static bool
awaits_part(const struct depot *d, uint32_t peer, const struct message_program_part *m)
{
    struct fetching *f;

    HASH_FIND_STR(d->fetching, m->digest, f);
    return f != NULL && f->peer == peer && f->offset == m->offset;
}

static bool
answers_parts(const struct depot *d, uint32_t peer)
{
    struct visitor *v;

    HASH_FIND(hh, d->visitors, &peer, sizeof(peer), v);
    return v != NULL && v->asks_parts;
}

bool
depot_takes(const struct depot *d, uint32_t peer, const struct message *m)
{
    if (m->client != 0)
        return false;
    switch (m->type) {
    case MESSAGE_JOB:
        return m->job.detached;
    case MESSAGE_ATTACH:
    case MESSAGE_FETCH:
    case MESSAGE_KEPT_WANTED:
        return true;
    case MESSAGE_INPUTS:
        return d->handles != NULL && handle_find(d, peer, m->inputs.job) != NULL;
    case MESSAGE_JOB_END:
        return d->handles != NULL && handle_find(d, peer, m->job_end.job) != NULL;
    case MESSAGE_CANCEL:
        return d->handles != NULL && handle_find(d, peer, m->range.job) != NULL;
    case MESSAGE_PROGRAM_PART:
        return awaits_part(d, peer, &m->program_part);
    case MESSAGE_PROGRAM_WANTED:
        return answers_parts(d, peer);
    default:
        return false;
    }
}

int
depot_input(struct depot *d, uint32_t peer, const char *name, const struct message *m)
{
    outbox_return(&d->outbox);
    return readers_input(d, peer, name, m);
}

const char *
depot_why(const struct depot *d)
{
    return d->why;
}

/* ---- time --------------------------------------------------------------------------------------
 */

static int
over(struct depot *d, struct kept *j)
{
    if (writing_add(d, j, ROW_OVER, (uint64_t)d->wall, 0, NULL, NULL) != 0)
        return -1;
    j->over = true;
    j->over_at = d->wall;
    TAILQ_INSERT_TAIL(&d->over, j, of_over);
    feed_stop(d, j);
    return 0;
}

static void
committed(struct depot *d)
{
    struct kept_list all = TAILQ_HEAD_INITIALIZER(all);
    struct kept *j;

    TAILQ_CONCAT(&all, &d->dirty, of_dirty);
    while ((j = TAILQ_FIRST(&all)) != NULL) {
        TAILQ_REMOVE(&all, j, of_dirty);
        j->dirty = false;
        feed_taken(d, j);
        feed_noted(d, j);
        readers_committed(d, j);
        if (kept_ended(j) && j->sealed_stored && !j->over)
            (void)over(d, j);
        else if (!j->over)
            feed(d, j);
    }
}

int
depot_tick(struct depot *d, int64_t now, int64_t wall)
{
    outbox_return(&d->outbox);
    d->now = now;
    d->wall = wall;
    if (d->store == NULL)
        return 0;
    if (d->broken) {
        snprintf(d->why, sizeof(d->why), "cannot write to the store: an I/O error");
        return -1;
    }
    chores_tick(d);
    if (writing_commit(d) != 0)
        return -1;
    if (!d->full)
        committed(d);
    feed_hungry(d);
    return 0;
}

int64_t
depot_deadline(const struct depot *d)
{
    int64_t at = d->expire_at < d->again_at ? d->expire_at : d->again_at;

    if (d->full)
        return d->retry_at < at ? d->retry_at : at;
    if (!TAILQ_EMPTY(&d->pending) || d->nremovals > 0 || !TAILQ_EMPTY(&d->dirty))
        return d->now;
    return at;
}

/* ---- out ---------------------------------------------------------------------------------------
 */

bool
depot_output(struct depot *d, uint32_t *peer, struct message *m)
{
    struct outgoing *o = outbox_take(&d->outbox);

    if (o == NULL)
        return false;
    *peer = o->peer;
    *m = o->m;
    return true;
}
