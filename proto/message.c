#include "message.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const char *
keep(char **room, const char *text)
{
    size_t size = text == NULL ? 1 : strlen(text) + 1;
    char *at = *room;

    memcpy(at, text == NULL ? "" : text, size);
    *room += size;
    return at;
}

static size_t
need(const char *text)
{
    return text == NULL ? 1 : strlen(text) + 1;
}

/* Behind the spec itself; returns where the rest may go. */
static char *
keep_shared(struct spec *self, const struct spec *from)
{
    struct shared *shared = (struct shared *)(void *)(self + 1);
    char *room = (char *)(shared + from->nshared);

    for (uint32_t i = 0; i < from->nshared; i++) {
        shared[i] = from->shared[i];
        shared[i].name = keep(&room, from->shared[i].name);
        shared[i].path = keep(&room, from->shared[i].path);
    }
    self->shared = from->nshared > 0 ? shared : NULL;
    return room;
}

struct spec *
spec_new(const struct spec *from)
{
    const struct program *p = &from->program;
    struct spec *self;
    size_t size = sizeof(*self) + from->nshared * sizeof(*from->shared);
    char *room;

    size += need(p->name) + need(p->machine) + need(p->directory) + p->arguments_size +
            p->environment_size + need(from->function) + need(from->name) + need(from->needs);
    for (uint32_t i = 0; i < from->nshared; i++)
        size += need(from->shared[i].name) + need(from->shared[i].path);
    if ((self = malloc(size)) == NULL)
        return NULL;
    memcpy(self, from, sizeof(*self));
    atomic_init(&self->refs, 1);
    room = keep_shared(self, from);
    self->program.name = keep(&room, p->name);
    self->program.machine = keep(&room, p->machine);
    self->program.arguments = room;
    if (p->arguments_size > 0)
        memcpy(room, p->arguments, p->arguments_size);
    room += p->arguments_size;
    self->program.environment = room;
    if (p->environment_size > 0)
        memcpy(room, p->environment, p->environment_size);
    room += p->environment_size;
    self->program.directory = keep(&room, p->directory);
    self->function = keep(&room, from->function);
    self->name = keep(&room, from->name);
    self->needs = keep(&room, from->needs);
    return self;
}

size_t
spec_bytes(const struct spec *self)
{
    const struct program *p = &self->program;
    size_t size = sizeof(p->digest) + need(p->name) + need(p->machine) + need(p->directory) +
                  p->arguments_size + p->environment_size + need(self->function) +
                  need(self->name) + need(self->needs);

    for (uint32_t i = 0; i < self->nshared; i++)
        size += need(self->shared[i].name) + need(self->shared[i].path) +
                sizeof(self->shared[i].digest) + 32; /* its size, and what stands between */
    return size;
}

struct spec *
spec_ref(struct spec *self)
{
    if (self != NULL)
        atomic_fetch_add_explicit(&self->refs, 1, memory_order_relaxed);
    return self;
}

void
spec_unref(struct spec *self)
{
    if (self != NULL && atomic_fetch_sub_explicit(&self->refs, 1, memory_order_acq_rel) == 1)
        free(self);
}

struct columns *
message_columns(struct message *m)
{
    switch (m->type) {
    case MESSAGE_INPUTS:
        return &m->inputs.columns;
    case MESSAGE_SLICE:
        return &m->slice.columns;
    case MESSAGE_RESULTS:
        return &m->results.columns;
    case MESSAGE_PARTIAL:
        return &m->partial.columns;
    case MESSAGE_OUTPUT:
        return &m->output.columns;
    case MESSAGE_PROGRAM_PART:
        return &m->program_part.columns;
    case MESSAGE_KEPT_TASK:
        return &m->kept_task.columns;
    default:
        return NULL;
    }
}

const char *
message_name(enum message_type type)
{
    static const char *const names[MESSAGE_LIMIT] = {
        [MESSAGE_NONE] = "none",
        [MESSAGE_HELLO] = "hello",
        [MESSAGE_BEAT] = "beat",
        [MESSAGE_BYE] = "bye",
        [MESSAGE_WELCOME] = "welcome",
        [MESSAGE_REFUSED] = "refused",
        [MESSAGE_JOB] = "job",
        [MESSAGE_INPUTS] = "inputs",
        [MESSAGE_JOB_END] = "job_end",
        [MESSAGE_CANCEL] = "cancel",
        [MESSAGE_BEGINS] = "begins",
        [MESSAGE_NOTED] = "noted",
        [MESSAGE_CHARGED] = "charged",
        [MESSAGE_TAKEN] = "taken",
        [MESSAGE_ACCEPTED] = "accepted",
        [MESSAGE_ENDED] = "ended",
        [MESSAGE_NOTICE] = "notice",
        [MESSAGE_GRID] = "grid",
        [MESSAGE_SLICE] = "slice",
        [MESSAGE_REVOKE] = "revoke",
        [MESSAGE_RETURNED] = "returned",
        [MESSAGE_DRAINING] = "draining",
        [MESSAGE_PARKED] = "parked",
        [MESSAGE_SHARE] = "share",
        [MESSAGE_UNSHARE] = "unshare",
        [MESSAGE_RESULTS] = "results",
        [MESSAGE_RUNNING] = "running",
        [MESSAGE_PROGRESS] = "progress",
        [MESSAGE_PARTIAL] = "partial",
        [MESSAGE_OUTPUT] = "output",
        [MESSAGE_PROGRAM_WANTED] = "program_wanted",
        [MESSAGE_PROGRAM_PART] = "program_part",
        [MESSAGE_PROGRAM_FAILED] = "program_failed",
        [MESSAGE_STATUS_WANTED] = "status_wanted",
        [MESSAGE_STATUS] = "status",
        [MESSAGE_TOLD] = "told",
        [MESSAGE_ACK] = "ack",
        [MESSAGE_HELD] = "held",
        [MESSAGE_ADOPTED] = "adopted",
        [MESSAGE_REPLAY] = "replay",
        [MESSAGE_DRAIN] = "drain",
        [MESSAGE_DRAIN_ANSWER] = "drain_answer",
        [MESSAGE_ATTACH] = "attach",
        [MESSAGE_ATTACHED] = "attached",
        [MESSAGE_FETCH] = "fetch",
        [MESSAGE_FETCHED] = "fetched",
        [MESSAGE_KEPT_WANTED] = "kept_wanted",
        [MESSAGE_KEPT] = "kept",
        [MESSAGE_KEPT_TASK] = "kept_task",
    };

    return (unsigned)type < MESSAGE_LIMIT ? names[type] : "unknown";
}

const char *
outcome_name(enum outcome o)
{
    static const char *const names[OUTCOME_LIMIT] = {
        "DONE", "FAILED", "CRASHED", "TIMED_OUT", "CANCELLED", "LOST", "REJECTED",
    };

    return (unsigned)o < OUTCOME_LIMIT ? names[o] : "unknown";
}

size_t
columns_length(const struct columns *c, uint32_t from, uint32_t count)
{
    size_t sum = 0;

    assert(from <= c->count && count <= c->count - from);
    if (c->sizes == NULL)
        return (size_t)c->size * count;
    for (uint32_t i = from; i < from + count; i++)
        sum += c->sizes[i];
    return sum;
}

struct columns
columns_part(const struct columns *c, uint32_t from, uint32_t count, size_t offset)
{
    return (struct columns){
        .count = count,
        .size = c->size,
        .sizes = c->sizes == NULL ? NULL : c->sizes + from,
        .outcomes = c->outcomes == NULL ? NULL : c->outcomes + from,
        .data = c->data,
        .at = c->at + offset,
        .length = columns_length(c, from, count),
    };
}
