/* codes.c - the programs whose executors a worker runs, and those that it cannot run. */
#include "state.h"

#include <stdlib.h>
#include <string.h>

static const char *
program_name(const struct program *p)
{
    return *p->digest != '\0' ? p->digest : p->name;
}

static const char *
code_name(const struct code *c)
{
    return program_name(&c->spec->program);
}

/* What makes executors fit for each other's tasks. NULL: ENOMEM. */
static char *
code_key(const struct program *p, size_t *size_p)
{
    const char *name = program_name(p), *directory = p->directory != NULL ? p->directory : "";
    size_t names = strlen(name) + 1 + strlen(directory) + 1;
    char *key, *to;

    /* The size of the arguments says where the environment begins. */
    *size_p = names + sizeof(p->arguments_size) + p->arguments_size + p->environment_size;
    if ((key = malloc(*size_p)) == NULL)
        return NULL;
    to = stpcpy(stpcpy(key, name) + 1, directory) + 1;
    memcpy(to, &p->arguments_size, sizeof(p->arguments_size));
    to += sizeof(p->arguments_size);
    if (p->arguments_size > 0)
        memcpy(to, p->arguments, p->arguments_size);
    to += p->arguments_size;
    if (p->environment_size > 0)
        memcpy(to, p->environment, p->environment_size);
    return key;
}

struct code *
code_find(struct runner *r, struct spec *spec)
{
    struct code *code;
    size_t size;
    char *key;

    if (r->local)
        return r->codes;
    if ((key = code_key(&spec->program, &size)) == NULL)
        return NULL;
    HASH_FIND(hh, r->codes, key, size, code);
    if (code != NULL) {
        free(key);
        return code;
    }
    if ((code = calloc(1, sizeof(*code))) == NULL) {
        free(key);
        return NULL;
    }
    code->key = key;
    code->spec = spec_ref(spec);
    HASH_ADD_KEYPTR(hh, r->codes, code->key, size, code);
    return code;
}

void
code_free(struct code *c)
{
    if (c == NULL)
        return;
    free(c->key);
    free(c->why);
    spec_unref(c->spec);
    free(c);
}

void
runner_code_unused(struct runner *r, struct code *c)
{
    /* One that failed is remembered as long as there are jobs of it. */
    if (r->local || c->jobs > 0 || c->state == CODE_WANTED)
        return;
    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].code == c)
            return;
    HASH_DEL(r->codes, c);
    code_free(c);
}

void
codes_lost(struct runner *r)
{
    struct code *c, *next;

    HASH_ITER (hh, r->codes, c, next) {
        if (c->state != CODE_WANTED)
            continue;
        c->state = CODE_UNKNOWN;
        runner_code_unused(r, c);
    }
}

void
code_say_failed(struct runner *r, const struct code *c, const char *text)
{
    struct message m = {.type = MESSAGE_PROGRAM_FAILED};
    const struct runner_job *job;

    /* Others may have the same program, and start it with what lets it start. */
    for (job = r->jobs; job != NULL; job = job->hh.next)
        if (job->code == c && (m.program_failed.job == 0 || job->pieces > 0))
            m.program_failed.job = job->id;
    if (m.program_failed.job == 0)
        return; /* nobody waits for it: who comes is told */
    m.program_failed.digest = code_name(c);
    if (r->local && r->jobs != NULL) /* the pool has its path, jobs have its name */
        m.program_failed.digest = program_name(&r->jobs->spec->program);
    m.program_failed.text = text;
    runner_put(r, &m);
}

void
runner_code_failed(struct runner *r, struct code *c, const char *text, bool again)
{
    struct piece *p, *after;

    free(c->why);
    c->why = again ? NULL : strdup(text);
    c->state = again ? CODE_UNKNOWN : CODE_FAILED;
    c->barren = 0;
    code_say_failed(r, c, text);
    for (p = TAILQ_FIRST(&r->queue); p != NULL; p = after) {
        after = TAILQ_NEXT(p, next);
        if (p->job->code == c) {
            TAILQ_REMOVE(&r->queue, p, next);
            runner_return(r, p, RETURNED_PROGRAM);
        }
    }
}

void
runner_program_ready(struct runner *r, const char *digest, int64_t now)
{
    (void)now;
    for (struct code *c = r->codes; c != NULL; c = c->hh.next)
        if (c->state == CODE_WANTED && strcmp(code_name(c), digest) == 0)
            c->state = CODE_READY;
}

void
runner_program_failed(struct runner *r, const char *digest, const char *text, bool again,
                      int64_t now)
{
    (void)now;
    for (struct code *c = r->codes; c != NULL; c = c->hh.next)
        if (c->state == CODE_WANTED && strcmp(code_name(c), digest) == 0)
            runner_code_failed(r, c, text, again);
}

bool
runner_program_used(const struct runner *r, const char *digest)
{
    for (unsigned i = 0; i < r->nexecutors; i++)
        if (r->executors[i].state != EXECUTOR_NONE &&
            strcmp(code_name(r->executors[i].code), digest) == 0)
            return true;
    for (struct runner_job *job = r->jobs; job != NULL; job = job->hh.next)
        if (job->pieces > 0 && strcmp(code_name(job->code), digest) == 0)
            return true;
    return false;
}
