/* serve.h - the executor's side of a task: the registry of functions, running one, and serving a
 * worker. */
#ifndef LADLE_SERVE_H
#define LADLE_SERVE_H

#include "../proto/message.h"
#include "futures.h"
#include "task.h"

/* The registry. */
task_fn *registry_find(const char *name);
const char *const *registry_names(uint32_t *count_p); /* in order of registration; borrowed */
/* "no function 'sqare'; this program has: cube, square". Writes at most `size` bytes. */
void registry_unknown(const char *name, char *text, size_t size);

/* True if a worker started this process as an executor. */
bool serve_wanted(void);
/* Serve tasks until the worker hangs up; then exit. The config is that of the session at which the
 * program arrived, checked and with the defaults filled in. */
void serve(const futures_config_t *config) __attribute__((noreturn));

/* Run one task here, in the calling thread: for "serial" sessions, and for serve() itself. The
 * result, or the words of its failure, is one blob that the caller owns (never NULL but for ENOMEM:
 * outcome FAILED). */
struct task_run {
    task_fn *function;
    const void *input;
    size_t size;
    uint64_t seed;
    uint64_t stream; /* index in the job: what task_random() depends on */
    uint64_t index;  /* what task_index() says */
    uint32_t attempt;
    int32_t priority; /* of its job */
    const char *worker;
    const struct constants *constants; /* of the job; NULL: none. See shared.h */
    /* Called inside task_cancelled, task_progress, task_emit; each may be NULL. */
    bool (*cancelled)(void *arg);
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    int (*emit)(void *arg, const void *data, size_t size);
    void *arg;
    struct futures *session; /* "serial": that in which it runs; in an executor NULL */
    struct pair *pair;       /* of a reduce function; else NULL */
};

enum outcome task_run(const struct task_run *run, struct blob **result_p);

#endif
