/* Submitting: checks, options, jobs, and the streams of single tasks. */
#include "session.h"

#include "detached.h"
#include "serve.h"

#include "../proto/limits.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const task_options_t defaults;

/* ---- options ----------------------------------------------------------------------------------
 */

static bool
printable(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            return false;
    return true;
}

static int
name_check(const char *what, const char *name)
{
    if (strlen(name) > LIMIT_NAME)
        return error_set(EINVAL, "the %s has %zu bytes: at most %d are allowed", what, strlen(name),
                         LIMIT_NAME);
    if (!printable(name))
        return error_set(EINVAL, "the %s has control characters in it", what);
    return 0;
}

static bool
label_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_-.:/+@", c) != NULL);
}

/* "gpu=1, arch=aarch64, zone=b" */
static int
needs_check(const char *needs)
{
    const char *at = needs + strspn(needs, " ");
    size_t n;

    if (name_check("list of needs", needs) != 0)
        return -1;
    while (*at != '\0') {
        for (n = 0; label_char(at[n]); n++)
            ;
        if (n == 0)
            break;
        at += n;
        if (*at == '=') {
            at++;
            for (n = 0; label_char(at[n]); n++)
                ;
            if (n == 0)
                break;
            at += n;
        }
        at += strspn(at, " ");
        if (*at == '\0')
            return 0;
        if (*at != ',')
            break;
        at += 1 + strspn(at + 1, " ");
        if (*at == '\0')
            break;
    }
    if (at == needs + strspn(needs, " ") && *at == '\0')
        return 0;
    return error_set(EINVAL,
                     "needs \"%s\": expected labels of workers with commas between them, as in "
                     "\"gpu=1, arch=aarch64\"",
                     needs);
}

int
options_check(const char *function, const task_options_t *options)
{
    const task_options_t *o = options == NULL ? &defaults : options;

    if (function == NULL || *function == '\0')
        return error_set(EINVAL, "no function was named");
    if (name_check("function's name", function) != 0)
        return -1;
    if (options == NULL)
        return 0;
    if (o->timeout < 0 || o->deadline < 0)
        return error_set(EINVAL,
                         "timeout is %d, deadline is %d: neither may be negative; 0 is none",
                         o->timeout, o->deadline);
    if (o->retries < -1)
        return error_set(EINVAL, "retries is %d: expected -1 (none), 0 (the default) or more",
                         o->retries);
    if (o->cpus < 0 || o->cpus > 65536)
        return error_set(EINVAL, "cpus is %d: expected 0 to 65536", o->cpus);
    if (o->name != NULL && name_check("job's name", o->name) != 0)
        return -1;
    if (o->key != NULL && (*o->key == '\0' || strlen(o->key) > LIMIT_NAME))
        return error_set(EINVAL, "the key has %zu bytes: expected 1 to %d", strlen(o->key),
                         LIMIT_NAME);
    return o->needs != NULL ? needs_check(o->needs) : 0;
}

int
detached_check(const futures_t *s, const task_options_t *options, bool here)
{
    if (options == NULL || !options->detached)
        return 0;
    if (s->kind == KIND_NESTED)
        return error_set(EINVAL, "a task cannot submit detached jobs: its program can");
    if (s->kind != KIND_GRID)
        return error_set(EINVAL,
                         "\"%s\" ends with this program, and a detached job does not: it needs a "
                         "broker that was started with --store",
                         s->endpoint);
    if (here)
        return error_set(EINVAL, "this call works on its results itself, so that it cannot be "
                                 "detached: futures_map() can");
    if (options->key != NULL)
        return error_set(EINVAL, "a key is for tasks of this session: a detached job has its id");
    return 0;
}

static uint32_t
retries_of(const task_options_t *o)
{
    return o->retries < 0 || o->once ? 0 : o->retries == 0 ? 2 : (uint32_t)o->retries;
}

static uint32_t
cpus_of(const task_options_t *o)
{
    return o->cpus == 0 ? 1 : (uint32_t)o->cpus;
}

static int32_t
priority_of(const futures_t *s, const task_options_t *o)
{
    return o->priority == 0 && s->nested != NULL ? nested_priority(s) : o->priority;
}

static struct spec
spec_of(const futures_t *s, const char *function, const task_options_t *options, bool singles)
{
    const task_options_t *o = options == NULL ? &defaults : options;
    const struct shared *shared;
    uint32_t nshared;

    shared = session_shared(s, &nshared);
    return (struct spec){
        .program = s->program,
        .function = function,
        .name = o->name == NULL ? "" : o->name,
        .needs = o->needs == NULL ? "" : o->needs,
        .priority = priority_of(s, o),
        .timeout_ms = o->timeout,
        .deadline_ms = o->deadline,
        .retries = retries_of(o),
        .cpus = cpus_of(o),
        .retry_failed = o->retry_failed,
        .once = o->once,
        .fail_if_unknown = o->fail_if_unknown,
        .singles = singles,
        .seed = o->seed,
        .shared = shared,
        .nshared = nshared,
        .memory = o->memory,
    };
}

/* splitmix64's finish: neighbours get seeds that have nothing in common. */
static uint64_t
mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The order of submission alone decides over the seed: not the grid, nor the number of slots. */
struct job *
session_job(futures_t *s, const char *function, const task_options_t *options, bool singles)
{
    struct spec spec = spec_of(s, function, options, singles);
    uint8_t id[16];

    if (spec.seed == 0)
        spec.seed = mix(mix(s->config.seed) + s->ordinal);
    s->ordinal++;
    if (options != NULL && options->detached) {
        if (getrandom(id, sizeof(id), 0) != sizeof(id))
            return NULL;
        return core_job_detached(s->core, &spec, id, false, spec.deadline_ms > 0 ? clock_us() : 0);
    }
    return core_job(s->core, &spec, spec.deadline_ms > 0 ? clock_us() : 0);
}

int
session_accepts(futures_t *s)
{
    if (s->closed)
        return error_set(ESHUTDOWN, "the session was closed: it takes no more work");
    if (s->lost)
        return error_set(EPIPE, "the grid is lost: %s", s->away != NULL ? s->away : s->endpoint);
    return 0;
}

void
session_reject_unknown(futures_t *s, struct job *j, uint64_t first, uint64_t count)
{
    struct ending e = {.outcome = OUTCOME_REJECTED, .worker = ""};
    char text[1024];

    if (j->known)
        return;
    j->known = s->offered != NULL || registry_find(j->spec->function) != NULL;
    if (j->known)
        return;
    registry_unknown(j->spec->function, text, sizeof(text));
    e.text = blob_copy(text, strlen(text));
    (void)core_end_range(s->core, j, first, count, &e, false);
    blob_unref(e.text);
    session_news(s);
}

/* ---- single tasks -----------------------------------------------------------------------------
 */

static bool
same_text(const char *of_spec, const char *of_option)
{
    return of_option == NULL ? *of_spec == '\0' : strcmp(of_spec, of_option) == 0;
}

/* Does a task of this function, with these options, belong in the stream? */
static bool
joins(const futures_t *s, const struct single *x, const char *function, const task_options_t *o)
{
    const struct spec *a = x->job->spec;

    return strcmp(a->function, function) == 0 && x->seed == o->seed &&
           a->priority == priority_of(s, o) && a->timeout_ms == o->timeout &&
           a->retries == retries_of(o) && a->cpus == cpus_of(o) && a->memory == o->memory &&
           a->retry_failed == o->retry_failed && a->once == o->once &&
           a->fail_if_unknown == o->fail_if_unknown && same_text(a->name, o->name) &&
           same_text(a->needs, o->needs);
}

static void
close_single(futures_t *s, struct single *x)
{
    struct job *j = x->job;

    x->job = NULL;
    core_close(s->core, j);
    core_release(s->core, j);
}

void
session_close_singles(futures_t *s)
{
    for (int i = 0; i < SINGLES; i++)
        if (s->singles[i].job != NULL)
            close_single(s, &s->singles[i]);
}

struct job *
session_single(futures_t *s, const char *function, const task_options_t *options)
{
    const task_options_t *o = options == NULL ? &defaults : options;
    struct single *oldest = &s->singles[0];
    struct job *j;

    for (struct single *x = s->singles; x < s->singles + SINGLES; x++) {
        if (x->job != NULL && joins(s, x, function, o)) {
            x->used = ++s->singles_used;
            return x->job;
        }
        if (oldest->job != NULL && (x->job == NULL || x->used < oldest->used))
            oldest = x;
    }
    if ((j = session_job(s, function, options, true)) == NULL)
        return NULL;
    if (oldest->job != NULL)
        close_single(s, oldest);
    *oldest = (struct single){.job = j, .seed = o->seed, .used = ++s->singles_used};
    return j;
}

/* Append the input to a stream that is open, or, as a deadline counts from now, to a job alone. */
static int
append_single(futures_t *s, const char *function, const void *input, size_t size,
              const task_options_t *options, struct future *f)
{
    bool detached = options != NULL && options->detached;
    bool alone = options != NULL && (options->deadline > 0 || detached);
    struct job *j =
        alone ? session_job(s, function, options, !detached) : session_single(s, function, options);

    if (j == NULL)
        return -1;
    if (core_append(s->core, j, input, size, &f->chunk) != 0) {
        if (alone) {
            core_close(s->core, j);
            core_release(s->core, j);
        }
        return -1;
    }
    f->offset = f->chunk->count - 1;
    session_reject_unknown(s, j, j->total - 1, 1);
    if (alone) {
        core_close(s->core, j);
        core_release(s->core, j);
    }
    return 0;
}

static int
input_check(const void *input, size_t size)
{
    if (input == NULL && size > 0)
        return error_set(EINVAL, "the input is NULL, but has a size of %zu bytes", size);
    if (size > LIMIT_DATA)
        return error_set(E2BIG, "the input has %zu bytes: at most %u (256 MiB) are allowed", size,
                         LIMIT_DATA);
    return 0;
}

/* With the lock held. -1: ENOMEM. */
static int
append_keyed(futures_t *s, const char *function, const void *input, size_t size,
             const task_options_t *options, struct future *f)
{
    struct key *k = keys_find(s, options->key);

    if (k == NULL) {
        if ((k = keys_add(s, options->key)) == NULL)
            return -1;
        if (append_single(s, function, input, size, options, f) != 0) {
            keys_remove(s, k);
            return -1;
        }
    }
    keys_hold(k, f);
    return 0;
}

future_t *
futures_submit(futures_t *self, const char *function, const void *input, size_t size,
               const task_options_t *options)
{
    bool keyed = options != NULL && options->key != NULL;
    struct future *f;

    if (!session_usable(self) || options_check(function, options) != 0 ||
        detached_check(self, options, false) != 0 || input_check(input, size) != 0)
        return NULL;
    if ((f = future_new(self)) == NULL)
        return error_null(ENOMEM, "out of memory");
    session_lock(self);
    if (session_accepts(self) != 0) {
        session_unlock(self);
        future_free(f);
        return NULL;
    }
    if ((keyed ? append_keyed(self, function, input, size, options, f)
               : append_single(self, function, input, size, options, f)) != 0) {
        session_unlock(self);
        future_free(f);
        return error_null(ENOMEM, "out of memory for an input of %zu bytes", size);
    }
    self->refs++;
    if (self->kind == KIND_SERIAL)
        session_news(self);
    session_unlock(self);
    if (self->kind == KIND_NESTED)
        nested_submitted(self);
    return f;
}

int
futures_call(futures_t *self, const char *function, const void *input, size_t size, void **result_p,
             size_t *size_p, const task_options_t *options)
{
    future_t *f = futures_submit(self, function, input, size, options);
    const void *result;
    size_t n;
    int failed = 0;

    if (f == NULL)
        return -1;
    if ((result = future_result(f, &n)) == NULL) {
        failed = -1; /* with the errno and the sentence of future_result() */
    } else if (result_p != NULL) {
        if ((*result_p = malloc(n > 0 ? n : 1)) == NULL)
            failed = error_set(ENOMEM, "out of memory for a result of %zu bytes", n);
        else
            memcpy(*result_p, result, n);
    }
    if (failed == 0 && size_p != NULL)
        *size_p = n;
    future_destroy(&f);
    return failed;
}

/* ---- maps -------------------------------------------------------------------------------------
 */

/* -1: ENOMEM, and nothing was taken over. */
static int
append_blob(futures_t *s, struct job *j, struct blob *data, size_t length, size_t count,
            size_t size, uint32_t *sizes)
{
    int failed;

    session_lock(s);
    failed = core_append_blob(s->core, j, data, length, (uint32_t)count, (uint32_t)size, sizes);
    if (failed == 0)
        session_reject_unknown(s, j, j->total - count, count);
    session_unlock(s);
    if (failed != 0) {
        blob_unref(data);
        free(sizes);
    }
    return failed;
}

/* Chunks of equal inputs, copied without the lock: the first are under way while the last are
 * copied. */
static int
append_equal(futures_t *s, struct job *j, const uint8_t *inputs, size_t count, size_t size)
{
    size_t most = size == 0 ? LIMIT_ITEMS : LIMIT_CHUNK / size;
    size_t done = 0;

    if (most < 1)
        most = 1;
    if (most > LIMIT_ITEMS)
        most = LIMIT_ITEMS;
    while (done < count) {
        size_t n = count - done < most ? count - done : most;
        struct blob *data = size == 0 ? blob_new(0) : blob_copy(inputs + done * size, n * size);

        if (data == NULL || append_blob(s, j, data, n * size, n, size, NULL) != 0)
            return -1;
        done += n;
    }
    return 0;
}

/* One chunk of the next inputs of their own sizes: how many, or 0 with ENOMEM. */
static size_t
append_some(futures_t *s, struct job *j, const struct iovec *inputs, size_t count)
{
    size_t length = 0, n = 0;
    struct blob *data;
    uint32_t *sizes;

    while (n < count && n < LIMIT_SIZES && (n == 0 || length + inputs[n].iov_len <= LIMIT_CHUNK))
        length += inputs[n++].iov_len;
    if ((data = blob_new(length)) == NULL)
        return 0;
    if ((sizes = malloc(n * sizeof(*sizes))) == NULL) {
        blob_unref(data);
        return 0;
    }
    length = 0;
    for (size_t i = 0; i < n; i++) {
        sizes[i] = (uint32_t)inputs[i].iov_len;
        if (sizes[i] > 0)
            memcpy(data->bytes + length, inputs[i].iov_base, sizes[i]);
        length += sizes[i];
    }
    return append_blob(s, j, data, length, n, 0, sizes) == 0 ? n : 0;
}

/* The job of a new map, in its results; NULL with errno and a sentence. */
static results_t *
open_map(futures_t *s, const char *function, const task_options_t *options)
{
    results_t *r = NULL;
    struct job *j;

    if (options_check(function, options) != 0 || detached_check(s, options, false) != 0)
        return NULL;
    if (options != NULL && options->key != NULL)
        return error_null(EINVAL, "a key names one task: it is for futures_submit(), not for maps");
    session_lock(s);
    if (session_accepts(s) == 0) {
        if ((j = session_job(s, function, options, false)) == NULL ||
            (r = results_new(s, j, options)) == NULL) {
            if (j != NULL) {
                core_close(s->core, j);
                core_release(s->core, j);
            }
            error_set(ENOMEM, "out of memory");
        }
    }
    session_unlock(s);
    return r;
}

static results_t *
close_map(futures_t *s, results_t *r, int failed)
{
    struct job *j = results_own_job(r);

    if (failed != 0) {
        results_destroy(&r);
        return error_null(ENOMEM, "out of memory for the inputs");
    }
    session_lock(s);
    if (s->stopped || s->lost) /* since the first of them was copied */
        core_cancel(s->core, j, 0, j->total);
    core_close(s->core, j);
    if (s->kind == KIND_SERIAL)
        session_news(s);
    session_unlock(s);
    if (s->kind == KIND_NESTED)
        nested_submitted(s);
    return r;
}

results_t *
futures_map(futures_t *self, const char *function, const void *inputs, size_t count, size_t size,
            const task_options_t *options)
{
    results_t *r;

    if (!session_usable(self) || input_check(inputs, count == 0 ? 0 : size) != 0)
        return NULL;
    if (size > 0 && count > SIZE_MAX / size)
        return error_null(EINVAL, "%zu inputs of %zu bytes each: no memory holds so many", count,
                          size);
    if ((r = open_map(self, function, options)) == NULL)
        return NULL;
    return close_map(self, r, append_equal(self, results_own_job(r), inputs, count, size));
}

static int
inputs_check(const struct iovec *inputs, size_t count)
{
    if (inputs == NULL && count > 0)
        return error_set(EINVAL, "the inputs are NULL, but there should be %zu", count);
    for (size_t i = 0; i < count; i++) {
        if (inputs[i].iov_base == NULL && inputs[i].iov_len > 0)
            return error_set(EINVAL, "input %zu is NULL, but has a size of %zu bytes", i,
                             inputs[i].iov_len);
        if (inputs[i].iov_len > LIMIT_DATA)
            return error_set(E2BIG, "input %zu has %zu bytes: at most %u (256 MiB) are allowed", i,
                             inputs[i].iov_len, LIMIT_DATA);
    }
    return 0;
}

results_t *
futures_mapv(futures_t *self, const char *function, const struct iovec *inputs, size_t count,
             const task_options_t *options)
{
    size_t done = 0, n = 1;
    results_t *r;

    if (!session_usable(self) || inputs_check(inputs, count) != 0 ||
        (r = open_map(self, function, options)) == NULL)
        return NULL;
    while (done < count &&
           (n = append_some(self, results_own_job(r), inputs + done, count - done)) > 0)
        done += n;
    return close_map(self, r, n == 0 ? -1 : 0);
}

results_t *
futures_imap(futures_t *self, const char *function, futures_next_fn *next, void *arg,
             const task_options_t *options)
{
    results_t *r;

    if (!session_usable(self))
        return NULL;
    if (next == NULL)
        return error_null(EINVAL, "there is no function that gives the inputs: next is NULL");
    if (detached_check(self, options, true) != 0)
        return NULL;
    if ((r = open_map(self, function, options)) != NULL)
        results_lazy(r, next, arg);
    return r;
}
