#include "running.h"

#include "../proto/limits.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const max_align_t nothing; /* what an empty input points to */

const void *
task_input(task_t *self)
{
    return self->run->size == 0 ? &nothing : self->run->input;
}

size_t
task_input_size(task_t *self)
{
    return self->run->size;
}

int
task_read(task_t *self, void *data, size_t size)
{
    if (self->run->size != size) {
        errno = EPROTO;
        return -1;
    }
    if (size > 0)
        memcpy(data, self->run->input, size);
    return 0;
}

void *
task_output(task_t *self, size_t size)
{
    struct blob *blob = NULL;

    if (size > LIMIT_DATA) {
        errno = E2BIG;
        return NULL;
    }
    if ((self->room == NULL || size > self->room_size) && (blob = blob_new(size)) == NULL)
        return NULL;
    blob_unref(self->blob);
    self->blob = blob;
    self->result = blob != NULL ? blob->bytes : self->room;
    self->size = size;
    return blob != NULL ? blob->bytes : self->room;
}

int
task_return(task_t *self, const void *data, size_t size)
{
    struct blob *before = self->blob;
    void *output;

    /* `data` may be the last task_output() itself, or lie within it. */
    self->blob = NULL;
    if ((output = task_output(self, size)) == NULL) {
        self->blob = before;
        return -1;
    }
    if (size > 0 && output != data)
        memmove(output, data, size);
    blob_unref(before);
    return 0;
}

int
task_fail(task_t *self, const char *format, ...)
{
    va_list args;
    char *words;

    va_start(args, format);
    if (vasprintf(&words, format, args) < 0)
        words = NULL;
    va_end(args);
    free(self->words);
    self->words = words;
    self->silenced = words == NULL;
    return -1;
}

uint64_t
task_index(task_t *self)
{
    return self->run->index;
}

int
task_attempt(task_t *self)
{
    return (int)self->run->attempt;
}

const char *
task_worker(task_t *self)
{
    return self->run->worker != NULL ? self->run->worker : "";
}

static uint64_t
splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static uint64_t
rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* The digits are a promise: the same in every release. tests/unit/test_task.c has them. */
static void
seed(struct task *self)
{
    uint64_t state = self->run->seed;

    state = splitmix64(&state) ^ self->run->stream;
    for (int i = 0; i < 4; i++)
        self->random[i] = splitmix64(&state);
    self->seeded = true;
}

uint64_t
task_random(task_t *self)
{
    uint64_t *s = self->random;
    uint64_t result, t;

    if (!self->seeded)
        seed(self);
    result = rotate(s[1] * 5, 7) * 9;
    t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

double
task_random_double(task_t *self)
{
    return (double)(task_random(self) >> 11) * 0x1p-53;
}

bool
task_cancelled(task_t *self)
{
    return self->run->cancelled != NULL && self->run->cancelled(self->run->arg);
}

int
task_progress(task_t *self, uint64_t done, uint64_t total)
{
    if (self->run->progress != NULL)
        self->run->progress(self->run->arg, done, total);
    return 0;
}

int
task_emit(task_t *self, const void *data, size_t size)
{
    if (size > LIMIT_DATA) {
        errno = E2BIG;
        return -1;
    }
    return self->run->emit != NULL ? self->run->emit(self->run->arg, data, size) : 0;
}

static enum outcome
fail(struct task *self, const char *words)
{
    size_t size = strlen(words);

    if (size > LIMIT_TEXT)
        size = LIMIT_TEXT;
    if (task_return(self, words, size) != 0) {
        self->result = (const uint8_t *)"out of memory";
        self->size = strlen("out of memory");
    }
    return OUTCOME_FAILED;
}

enum outcome
task_execute(struct task *self)
{
    int returned = self->run->function(self);
    char text[64];

    if (self->futures != NULL)
        self->end(self);
    if (returned == 0 && self->result != NULL)
        return OUTCOME_DONE;
    if (self->words != NULL)
        return fail(self, self->words);
    if (self->silenced)
        return fail(self, "out of memory");
    if (returned == 0)
        return fail(self, "returned 0 without a result: call task_return() first");
    snprintf(text, sizeof(text), "returned %d without saying why", returned);
    return fail(self, text);
}

void
task_release(struct task *self)
{
    blob_unref(self->blob);
    self->blob = NULL;
    free(self->words);
    self->words = NULL;
}

enum outcome
task_run(const struct task_run *run, struct blob **result_p)
{
    struct task task;
    enum outcome outcome;

    task_init(&task, run, NULL, 0);
    outcome = task_execute(&task);
    if (task.blob != NULL && task.blob->bytes == task.result) {
        *result_p = task.blob;
        task.blob = NULL;
    } else if ((*result_p = blob_copy(task.result, task.size)) == NULL) {
        outcome = OUTCOME_FAILED;
    }
    task_release(&task);
    return outcome;
}
