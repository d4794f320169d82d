#include "programs.h"

#include "aside.h"
#include "capacity.h"
#include "contents.h"
#include "demands.h"
#include "jobs.h"
#include "notices.h"
#include "parts.h"
#include "peers.h"
#include "workers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- what jobs run ------------------------------------------------------------------------------
 */

static uint64_t
hash_bytes(uint64_t hash, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)bytes[i]) * 1099511628211u;
    return (hash ^ size) * 1099511628211u;
}

/* Jobs of a program with the same arguments, environment, directory and constants: what cannot
 * start with these, or be kept, on a worker keeps only them from it. */
static void
key_of(char *key, size_t size, const struct spec *spec, size_t *base_p)
{
    const struct program *p = &spec->program;
    const char *directory = p->directory != NULL ? p->directory : "";
    uint64_t hash = 14695981039346656037u;
    int n;

    n = snprintf(key, size, "%s%.*s", p->digest[0] != '\0' ? p->digest : ":", LIMIT_NAME,
                 p->digest[0] != '\0' ? "" : p->name);
    *base_p = (size_t)n;
    hash = hash_bytes(hash, p->arguments, p->arguments_size);
    hash = hash_bytes(hash, p->environment, p->environment_size);
    hash = hash_bytes(hash, directory, strlen(directory));
    for (uint32_t i = 0; i < spec->nshared; i++)
        hash = hash_bytes(hash, spec->shared[i].digest, strlen(spec->shared[i].digest));
    if (spec->nshared + p->arguments_size + p->environment_size + strlen(directory) > 0)
        snprintf(key + n, size - (size_t)n, "+%016llx", (unsigned long long)hash);
}

static struct executable *
find(const struct scheduler *s, const char *key)
{
    struct executable *p;

    HASH_FIND_STR(s->programs, key, p);
    return p;
}

static struct executable *
get(struct scheduler *s, const char *key, size_t base)
{
    struct executable *p = find(s, key);

    if (p != NULL)
        return p;
    if ((p = calloc(1, sizeof(*p))) == NULL)
        return NULL;
    TAILQ_INIT(&p->jobs);
    LIST_INIT(&p->failings);
    p->base = base;
    if ((p->key = strdup(key)) != NULL)
        HASH_ADD_KEYPTR(hh, s->programs, p->key, strlen(p->key), p);
    if (p->hh.tbl == NULL) {
        free(p->key);
        free(p);
        return NULL;
    }
    return p;
}

static void
put(struct scheduler *s, struct executable *p)
{
    if (--p->refs > 0)
        return;
    HASH_DELETE(hh, s->programs, p);
    free(p->key);
    free(p);
}

static void
move_jobs(struct scheduler *s, struct executable *p)
{
    struct job *j;

    TAILQ_FOREACH (j, &p->jobs, of_program) {
        demand_move(s, j);
    }
}

static void
free_failing(struct scheduler *s, struct failing *f)
{
    struct failing **at = &f->worker->failing;

    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    LIST_REMOVE(f, of_program);
    f->program->failing--;
    put(s, f->program);
    blob_unref(f->text);
    free(f);
}

/* Nothing keeps it from starting, as far as we know. */
static void
may_start(struct scheduler *s, struct executable *p)
{
    struct failing *f;

    if (p->failing == 0)
        return;
    p->refs++;
    while ((f = LIST_FIRST(&p->failings)) != NULL) {
        struct worker *w = f->worker;

        free_failing(s, f);
        (void)offer_join(s, w); /* ENOMEM: with its next failure, or never */
    }
    move_jobs(s, p);
    put(s, p);
}

/* Is it with us only for tasks of tasks, whose client has not come yet? */
static bool
has_no_source(const struct executable *p)
{
    const struct job *j;

    TAILQ_FOREACH (j, &p->jobs, of_program) {
        if (!j->client->nested)
            return false;
    }
    return true;
}

bool
program_may_come(const struct scheduler *s, const struct job *j)
{
    return s->config.lasting && s->now < s->started + RUNNING_US && has_no_source(j->program);
}

int
program_join(struct scheduler *s, struct job *j)
{
    char key[LIMIT_NAME + 24];
    size_t base;

    key_of(key, sizeof(key), j->spec, &base);
    if ((j->program = get(s, key, base)) == NULL)
        return -1;
    j->program->refs++;
    if (!j->client->nested && has_no_source(j->program))
        may_start(s, j->program); /* nobody could give it to the workers until now */
    TAILQ_INSERT_TAIL(&j->program->jobs, j, of_program);
    return 0;
}

void
program_leave(struct scheduler *s, struct job *j)
{
    if (j->program == NULL)
        return;
    TAILQ_REMOVE(&j->program->jobs, j, of_program);
    put(s, j->program);
    j->program = NULL;
}

/* ---- where they cannot start --------------------------------------------------------------------
 */

void
program_failed(struct scheduler *s, struct worker *w, struct executable *p, const char *text)
{
    struct failing **at = &w->failing, *f;

    while (*at != NULL && strcmp((*at)->program->key, p->key) < 0)
        at = &(*at)->next;
    if (*at != NULL && (*at)->program == p) {
        (void)offer_join(s, w); /* there may have been no memory for it the last time */
        return;
    }
    if ((f = calloc(1, sizeof(*f))) == NULL)
        return; /* it will say so again */
    f->program = p;
    f->worker = w;
    f->text = sentence("%s", text);
    f->next = *at;
    *at = f;
    LIST_INSERT_HEAD(&p->failings, f, of_program);
    p->refs++;
    if (p->failing++ == 0)
        move_jobs(s, p);
    (void)offer_join(s, w); /* ENOMEM: it is given tasks again, and says so again */
    notices_recheck(s);
}

static bool
needs(const struct executable *p, const char *digest)
{
    const struct job *j = TAILQ_FIRST(&p->jobs); /* they all have the same constants */

    for (uint32_t i = 0; j != NULL && i < j->spec->nshared; i++) {
        if (strcmp(j->spec->shared[i].digest, digest) == 0)
            return true;
    }
    return false;
}

/* Does the worker speak of it: its digest, its NAME, or one of its constants? */
static bool
is_meant(const struct executable *p, const char *what)
{
    const char *name = p->key[0] == ':' ? p->key + 1 : p->key;
    size_t size = p->base - (size_t)(name - p->key);

    return (strncmp(name, what, size) == 0 && what[size] == '\0') || needs(p, what);
}

void
program_failed_message(struct scheduler *s, struct worker *w,
                       const struct message_program_failed *m)
{
    struct executable *p, *next;
    struct job *j;

    if (m->job != 0) {
        if ((j = job_find(s, m->job)) != NULL && worker_knows(w, j))
            program_failed(s, w, j->program, m->text);
    } else {
        HASH_ITER (hh, s->programs, p, next) {
            if (is_meant(p, m->digest))
                program_failed(s, w, p, m->text);
        }
    }
    parts_forget(s, m->digest);
}

const struct failing *
program_why(const struct job *j)
{
    const struct failing *f;

    LIST_FOREACH (f, &j->program->failings, of_program) {
        struct demand without = *j->demand;

        without.failing = NULL;
        if (worker_able(f->worker, &without) && demand_fits(&without, f->worker->offer))
            return f;
    }
    return NULL;
}

/* What kept it from starting may be over, or lay in the arguments of those who are gone: the next
 * who comes with it finds out anew. */
static void
forget_failings(struct scheduler *s)
{
    struct executable *p, *next;

    HASH_ITER (hh, s->programs, p, next) {
        if (TAILQ_EMPTY(&p->jobs))
            may_start(s, p);
    }
}

/* ---- who is gone --------------------------------------------------------------------------------
 */

void
programs_forget_client(struct scheduler *s, struct client *c)
{
    parts_forget_client(s, c);
    if (!c->nested) /* they come and go all the time, and bring nothing new */
        forget_failings(s);
}

void
programs_forget_worker(struct scheduler *s, struct worker *w)
{
    struct failing *f;

    parts_forget_worker(s, w);
    while ((f = w->failing) != NULL)
        free_failing(s, f);
}
