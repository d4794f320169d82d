/* running.h - a task while it runs: what is behind a task_t. */
#ifndef LADLE_RUNNING_H
#define LADLE_RUNNING_H

#include "serve.h"

struct pair {      /* the two values in the input of a reduce function */
    size_t left;   /* bytes of the left one */
    uint8_t *copy; /* of the right one, if it was not aligned */
    size_t room;
};

struct task {
    const struct task_run *run;
    /* Where a result that fits is made, so that it need not be copied again; NULL: nowhere. */
    uint8_t *room;
    size_t room_size;
    /* The result: in the room, or in the blob. NULL until there is one. */
    const uint8_t *result;
    size_t size;
    struct blob *blob; /* owned; NULL while the room does */
    char *words;       /* of task_fail(); owned */
    bool silenced;     /* task_fail() had no memory for its words */
    /* Its session, and what ends that when the function has returned; NULL: it asked for none. */
    struct futures *futures;
    void (*end)(struct task *self);
    bool seeded;
    uint64_t random[4];
};

/* Make it ready for `run`; `room` is aligned for any type. */
static inline void
task_init(struct task *self, const struct task_run *run, void *room, size_t room_size)
{
    self->run = run;
    self->room = (uint8_t *)room;
    self->room_size = room_size;
    self->result = NULL;
    self->size = 0;
    self->blob = NULL;
    self->words = NULL;
    self->silenced = false;
    self->futures = NULL;
    self->seeded = false;
}

/* Call the function. The result, or the words of the failure, is at `result` then. */
enum outcome task_execute(struct task *self);
/* Let go of what task_execute() left behind. */
void task_release(struct task *self);

#endif
