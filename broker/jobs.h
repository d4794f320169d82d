/* jobs.h - jobs, and the ranges of their tasks that are ready.
 *
 * A job lives from JOB until all its tasks have ended and JOB_END has come, or its client is gone.
 */
#ifndef LADLE_JOBS_H
#define LADLE_JOBS_H

#include "chunks.h"

/* A job without tasks; NULL: ENOMEM. Takes a reference of the spec. */
struct job *job_new(struct scheduler *s, struct client *c, uint64_t id, struct spec *spec);
/* Free it if nothing can come any more, and let the workers forget it. True if it was freed. */
bool job_finish(struct scheduler *s, struct job *j);
void job_free(struct scheduler *s, struct job *j); /* whatever is left of it */

struct job *job_find(struct scheduler *s, uint64_t number);
struct job *job_of_client(struct client *c, uint64_t id);

/* A range with `count` live tasks that was in no list: they are the next to go out. */
void job_ready_again(struct scheduler *s, struct job *j, struct range *r, uint32_t count);

/* Tasks that came; they become ready. -1: ENOMEM, and nothing has changed. */
int job_accept(struct scheduler *s, struct job *j, const struct message_inputs *in);
/* Some of them again, by a client that came back: it wants to hear that they are here. */
void job_told_again(struct scheduler *s, struct job *j);
/* Tell the client now what was accepted so far, if it does not know. */
void job_announce(struct scheduler *s, struct job *j);
/* The same, before the outcomes of `count` tasks go to the client: if they are all that the job has
 * here, they say so themselves. */
void job_announce_unless(struct scheduler *s, struct job *j, uint32_t count);
void jobs_announce(struct scheduler *s); /* those that cannot wait for results */

struct piece { /* tasks of a job that are in one chunk */
    struct chunk *chunk;
    uint32_t from, to;    /* as the chunk counts them, */
    uint64_t first, last; /* and as the job does */
};
/* The first tasks of [first, last) that are here, as many as one chunk has of them. False if none
 * are: they have ended, or have not come. */
bool job_piece(const struct job *j, uint64_t first, uint64_t last, struct piece *piece);

/* Tasks [from, to) of a chunk, none of which had ended, have. Their owner was seen to. */
void job_tasks_ended(struct scheduler *s, struct chunk *c, uint32_t from, uint32_t to);

/* Tasks become ready again, before all others. False: ENOMEM, nothing has changed. */
bool job_requeue(struct scheduler *s, struct chunk *c, const struct range *as);
/* The range that is next, with a task at its front that has not ended; NULL if no task is ready. */
struct range *job_first_range(struct scheduler *s, struct job *j);
struct range *range_new(struct scheduler *s, struct chunk *c); /* NULL: ENOMEM */
void range_free(struct scheduler *s, struct range *r);
/* Attempts that count against its tasks. */
static inline uint32_t
range_charged(const struct range *r)
{
    return r->attempt - 1 - r->losses;
}
/* Leave out the first `count` tasks. */
void range_skip(struct range *r, uint32_t count);

#endif
