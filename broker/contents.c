#include "contents.h"

#include "peers.h"
#include "require.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct content {
    char digest[65];
    struct source_list sources; /* longest there first */
    struct holder_list holders;
    bool orphaned; /* in s->orphans: no source, but one may come back */
    int64_t since;
    TAILQ_ENTRY(content) of_orphans;
    UT_hash_handle hh;
};

struct source { /* a client has it */
    struct {
        struct content *content;
        struct client *client;
    } key;
    unsigned jobs; /* of the client, that need it */
    bool shared;   /* it said so */
    TAILQ_ENTRY(source) of_content;
    LIST_ENTRY(source) of_client;
    UT_hash_handle hh;
};

struct holder { /* a worker may keep it */
    struct {
        struct content *content;
        struct worker *worker;
    } key;
    LIST_ENTRY(holder) of_content, of_worker;
    UT_hash_handle hh;
};

/* ---- contents -----------------------------------------------------------------------------------
 */

static struct content *
find(const struct scheduler *s, const char *digest)
{
    struct content *x;

    HASH_FIND_STR(s->contents, digest, x);
    return x;
}

static struct content *
get(struct scheduler *s, const char *digest)
{
    struct content *x = find(s, digest);

    if (x != NULL)
        return x;
    if ((x = calloc(1, sizeof(*x))) == NULL)
        return NULL;
    snprintf(x->digest, sizeof(x->digest), "%s", digest);
    TAILQ_INIT(&x->sources);
    LIST_INIT(&x->holders);
    HASH_ADD_STR(s->contents, digest, x);
    if (x->hh.tbl != NULL)
        return x;
    free(x);
    return NULL;
}

static void
free_holder(struct scheduler *s, struct holder *h)
{
    LIST_REMOVE(h, of_content);
    LIST_REMOVE(h, of_worker);
    HASH_DELETE(hh, s->holders, h);
    free(h);
}

static void
take_from(struct scheduler *s, struct worker *w, const struct content *x)
{
    struct outgoing *o = peer_say(s, w->peer, MESSAGE_UNSHARE);
    struct blob *digest;

    if (o == NULL)
        return;
    digest = sentence("%s", x->digest);
    outgoing_keep(o, digest);
    o->m.share = (struct message_share){.digest = words(digest)};
    blob_unref(digest);
    if (o->keeps[0] == NULL)
        outbox_drop(&s->outbox, o); /* it goes when the worker needs room */
    else
        outbox_put(&s->outbox, o);
}

/* Nobody has it any more: workers need not keep it. */
static void
drop(struct scheduler *s, struct content *x)
{
    struct holder *h;

    if (x->orphaned)
        TAILQ_REMOVE(&s->orphans, x, of_orphans);
    while ((h = LIST_FIRST(&x->holders)) != NULL) {
        take_from(s, h->key.worker, x);
        free_holder(s, h);
    }
    HASH_DELETE(hh, s->contents, x);
    free(x);
}

/* Its last client vanished, and may be back soon: it need not be sent again then. */
static void
orphan(struct scheduler *s, struct content *x)
{
    x->orphaned = true;
    x->since = s->now;
    TAILQ_INSERT_TAIL(&s->orphans, x, of_orphans);
}

static int64_t
orphan_deadline(const struct scheduler *s, const struct content *x)
{
    return x->since + (int64_t)s->config.lost_ms * 1000;
}

void
contents_tick(struct scheduler *s)
{
    struct content *x;

    while ((x = TAILQ_FIRST(&s->orphans)) != NULL && orphan_deadline(s, x) <= s->now)
        drop(s, x);
}

int64_t
contents_deadline(const struct scheduler *s)
{
    const struct content *x = TAILQ_FIRST(&s->orphans);

    return x == NULL ? CLOCK_NEVER : orphan_deadline(s, x);
}

void
contents_free(struct scheduler *s)
{
    while (!TAILQ_EMPTY(&s->orphans))
        drop(s, TAILQ_FIRST(&s->orphans));
}

/* ---- clients ------------------------------------------------------------------------------------
 */

static struct source *
find_source(const struct scheduler *s, struct content *x, struct client *c)
{
    struct source key, *source;

    memset(&key, 0, sizeof(key));
    key.key.content = x;
    key.key.client = c;
    HASH_FIND(hh, s->sources, &key.key, sizeof(key.key), source);
    return source;
}

static struct source *
get_source(struct scheduler *s, struct client *c, const char *digest)
{
    struct content *x = get(s, digest);
    struct source *source;

    if (x == NULL || (source = find_source(s, x, c)) != NULL)
        return x == NULL ? NULL : source;
    if ((source = calloc(1, sizeof(*source))) != NULL) {
        source->key.content = x;
        source->key.client = c;
        HASH_ADD(hh, s->sources, key, sizeof(source->key), source);
    }
    if (source == NULL || source->hh.tbl == NULL) {
        free(source);
        if (TAILQ_EMPTY(&x->sources) && !x->orphaned)
            drop(s, x);
        return NULL;
    }
    if (x->orphaned)
        TAILQ_REMOVE(&s->orphans, x, of_orphans);
    x->orphaned = false;
    TAILQ_INSERT_TAIL(&x->sources, source, of_content);
    LIST_INSERT_HEAD(&c->sources, source, of_client);
    return source;
}

static void
put_source(struct scheduler *s, struct source *source)
{
    struct content *x = source->key.content;
    bool vanished = source->key.client->vanished;

    if (source->jobs > 0 || source->shared)
        return;
    TAILQ_REMOVE(&x->sources, source, of_content);
    LIST_REMOVE(source, of_client);
    HASH_DELETE(hh, s->sources, source);
    free(source);
    if (TAILQ_EMPTY(&x->sources) && vanished && !LIST_EMPTY(&x->holders))
        orphan(s, x);
    else if (TAILQ_EMPTY(&x->sources))
        drop(s, x);
}

static int
join(struct scheduler *s, struct job *j, const char *digest)
{
    struct source *source = get_source(s, j->client, digest);

    if (source == NULL)
        return -1;
    source->jobs++;
    j->sources[j->nsources++] = source;
    return 0;
}

int
contents_join(struct scheduler *s, struct job *j)
{
    const struct spec *spec = j->spec;

    if ((j->sources = calloc(1 + spec->nshared, sizeof(struct source *))) == NULL)
        return -1;
    if (spec->program.digest[0] != '\0' && join(s, j, spec->program.digest) != 0)
        goto fail;
    for (uint32_t i = 0; i < spec->nshared; i++) {
        if (join(s, j, spec->shared[i].digest) != 0)
            goto fail;
    }
    return 0;
fail:
    contents_leave(s, j);
    return -1;
}

void
contents_leave(struct scheduler *s, struct job *j)
{
    while (j->nsources > 0) {
        struct source *source = j->sources[--j->nsources];

        assert(source->jobs > 0);
        source->jobs--;
        put_source(s, source);
    }
    free(j->sources);
    j->sources = NULL;
}

int
content_shared(struct scheduler *s, struct client *c, const struct message_share *m)
{
    struct source *source = get_source(s, c, m->digest);

    if (source == NULL) {
        snprintf(s->why, sizeof(s->why), "the broker is out of memory");
        return -1;
    }
    if (!source->shared && c->nshared == LIMIT_SHARED) {
        put_source(s, source);
        snprintf(s->why, sizeof(s->why), "more than %d shared constants at once", LIMIT_SHARED);
        return -1;
    }
    c->nshared += !source->shared;
    source->shared = true;
    return 0;
}

void
content_unshared(struct scheduler *s, struct client *c, const char *digest)
{
    struct content *x = find(s, digest);
    struct source *source = x == NULL ? NULL : find_source(s, x, c);

    if (source == NULL || !source->shared)
        return;
    c->nshared--;
    source->shared = false;
    put_source(s, source);
}

struct client *
content_source(const struct scheduler *s, const char *digest, const struct client *before)
{
    const struct content *x = find(s, digest);
    const struct source *source;
    struct client *away = NULL;

    if (x == NULL)
        return NULL;
    TAILQ_FOREACH (source, &x->sources, of_content) {
        /* An executor cannot answer: the program whose task it runs has what that needs. */
        if (source->key.client == before || source->key.client->nested)
            continue;
        if (source->key.client->peer != NULL)
            return source->key.client;
        if (away == NULL)
            away = source->key.client;
    }
    return away;
}

void
contents_forget_client(struct scheduler *s, struct client *c)
{
    struct source *source;

    while ((source = LIST_FIRST(&c->sources)) != NULL) {
        assert(source->jobs == 0); /* they went before */
        source->shared = false;
        put_source(s, source);
    }
    c->nshared = 0;
}

/* ---- workers ------------------------------------------------------------------------------------
 */

static int
hold(struct scheduler *s, struct worker *w, const char *digest)
{
    struct holder key, *h;

    memset(&key, 0, sizeof(key));
    key.key.content = find(s, digest);
    key.key.worker = w;
    assert(key.key.content != NULL); /* a job has it */
    HASH_FIND(hh, s->holders, &key.key, sizeof(key.key), h);
    if (h != NULL)
        return 0;
    if ((h = calloc(1, sizeof(*h))) == NULL)
        return -1;
    h->key = key.key;
    HASH_ADD(hh, s->holders, key, sizeof(h->key), h);
    if (h->hh.tbl == NULL) {
        free(h);
        return -1;
    }
    LIST_INSERT_HEAD(&h->key.content->holders, h, of_content);
    LIST_INSERT_HEAD(&w->holds, h, of_worker);
    return 0;
}

int
contents_held(struct scheduler *s, struct worker *w, const struct job *j)
{
    for (uint32_t i = 0; i < j->spec->nshared; i++) {
        if (hold(s, w, j->spec->shared[i].digest) != 0)
            return -1;
    }
    return 0;
}

void
contents_forget_worker(struct scheduler *s, struct worker *w)
{
    while (!LIST_EMPTY(&w->holds))
        free_holder(s, LIST_FIRST(&w->holds));
}

/* ---- checks -------------------------------------------------------------------------------------
 */

void
contents_check(const struct scheduler *s)
{
    size_t sources = 0, holders = 0, needs = 0, needed = 0;
    const struct content *x, *next;
    const struct source *source;
    const struct holder *h;
    const struct job *j;

    TAILQ_FOREACH (j, &s->jobs, link) {
        REQUIRE(j->nsources == j->spec->nshared + (j->spec->program.digest[0] != '\0'));
        needs += j->nsources;
    }
    HASH_ITER (hh, s->contents, x, next) {
        REQUIRE(TAILQ_EMPTY(&x->sources) == x->orphaned);
        TAILQ_FOREACH (source, &x->sources, of_content) {
            REQUIRE(source->key.content == x && (source->jobs > 0 || source->shared));
            needed += source->jobs;
            sources++;
        }
        LIST_FOREACH (h, &x->holders, of_content)
            holders++;
    }
    REQUIRE(sources == HASH_COUNT(s->sources) && holders == HASH_COUNT(s->holders));
    REQUIRE(needs == needed);
}
