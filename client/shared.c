#include "shared.h"

#include "error.h"
#include "running.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

struct mapping {
    LIST_ENTRY(mapping) link;
    char digest[65];
    uint64_t size;
    void *at;
    unsigned refs;
};

struct constants {
    _Atomic unsigned refs;
    struct spec *spec;
    struct constant {
        struct mapping *mapping; /* NULL: it is empty, or cannot be had */
        int error;
    } list[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, mapping) mappings = LIST_HEAD_INITIALIZER(mappings);
static const max_align_t nothing; /* what an empty one is */

/* ---- mappings, with the lock held ----------------------------------------------------------- */

static struct mapping *
map(const struct shared *shared)
{
    int fd = open(shared->path, O_RDONLY | O_CLOEXEC);
    struct mapping *m = NULL;
    struct stat st;
    int error;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) != 0)
        goto done;
    errno = EPROTO;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != shared->size)
        goto done; /* shorter than it is said to be, it would kill its reader */
    if ((m = calloc(1, sizeof(*m))) == NULL)
        goto done;
    m->at = mmap(NULL, shared->size, PROT_READ, MAP_SHARED, fd, 0);
    if (m->at == MAP_FAILED) {
        error = errno;
        free(m);
        m = NULL;
        errno = error;
        goto done;
    }
    memcpy(m->digest, shared->digest, sizeof(m->digest));
    m->size = shared->size;
    LIST_INSERT_HEAD(&mappings, m, link);
done:
    error = errno;
    close(fd);
    errno = error;
    return m;
}

static struct mapping *
get(const struct shared *shared)
{
    struct mapping *m;

    LIST_FOREACH (m, &mappings, link)
        if (m->size == shared->size && strcmp(m->digest, shared->digest) == 0)
            break;
    if (m == NULL && (m = map(shared)) == NULL)
        return NULL;
    m->refs++;
    return m;
}

static void
put(struct mapping *m)
{
    if (m == NULL || --m->refs > 0)
        return;
    LIST_REMOVE(m, link);
    munmap(m->at, m->size);
    free(m);
}

/* ---- the constants of a job ----------------------------------------------------------------- */

struct constants *
constants_open(struct spec *spec)
{
    struct constants *self;

    if (spec->nshared == 0 ||
        (self = calloc(1, sizeof(*self) + spec->nshared * sizeof(self->list[0]))) == NULL)
        return NULL;
    atomic_init(&self->refs, 1);
    self->spec = spec_ref(spec);
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < spec->nshared; i++)
        if (spec->shared[i].size > 0 && (self->list[i].mapping = get(&spec->shared[i])) == NULL)
            self->list[i].error = errno;
    pthread_mutex_unlock(&lock);
    return self;
}

struct constants *
constants_ref(struct constants *self)
{
    if (self != NULL)
        atomic_fetch_add_explicit(&self->refs, 1, memory_order_relaxed);
    return self;
}

void
constants_close(struct constants *self)
{
    if (self == NULL || atomic_fetch_sub_explicit(&self->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < self->spec->nshared; i++)
        put(self->list[i].mapping);
    pthread_mutex_unlock(&lock);
    spec_unref(self->spec);
    free(self);
}

const void *
constants_find(const struct constants *self, const char *name, size_t *size_p)
{
    const struct shared *shared = NULL;
    uint32_t i;

    for (i = 0; self != NULL && i < self->spec->nshared; i++) {
        shared = &self->spec->shared[i];
        if (strcmp(shared->name, name) == 0)
            break;
    }
    if (self == NULL || i == self->spec->nshared)
        return error_null(ENOENT,
                          "no constant \"%s\" was shared when this task was submitted: call "
                          "futures_share() before",
                          name);
    if (self->list[i].error != 0)
        return error_null(self->list[i].error, "the constant \"%s\" cannot be mapped from %s: %s",
                          name, shared->path, strerror(self->list[i].error));
    if (size_p != NULL)
        *size_p = shared->size;
    return shared->size == 0 ? &nothing : self->list[i].mapping->at;
}

const void *
task_shared(task_t *self, const char *name, size_t *size_p)
{
    if (name == NULL)
        return error_null(EINVAL, "the constant has no name");
    return constants_find(self->run->constants, name, size_p);
}
