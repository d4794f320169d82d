/* results.h - what the sources of results_t share: results.c (one after the other) and collect.c
 * (all at once). */
#ifndef LADLE_RESULTS_H
#define LADLE_RESULTS_H

#include "meter.h"
#include "session.h"

struct results {
    futures_t *session;
    struct job *job;
    bool as_completed;

    /* The segment being read is ours alone: no lock is needed inside it. */
    struct segment *segment;
    uint64_t base;   /* index of its chunk's first task */
    uint32_t offset; /* the next one to give; its end is segment->first + count */
    uint64_t next;   /* in input order: the first index behind the segment */
    uint64_t given;

    /* The last one given. */
    uint64_t index;
    enum outcome outcome;
    bool at_end;
    char *error;
    uint32_t last; /* its offset, in a segment that is there while its result is borrowed */
    const char *worker;
    void *aligned;
    size_t aligned_room;

    /* futures_imap() */
    futures_next_fn *draw;
    void *draw_arg;
    bool drawing;      /* in draw(), without the lock */
    uint64_t consumed; /* since inputs were drawn last */

    struct combine *scan; /* of a futures_map_scan(); NULL */

    future_partial_fn *partial;
    void *partial_arg;
    struct meter meter;
    char *job_id; /* told by results_job(); NULL */
};

/* Get the next segment. 0; -1 with errno 0 (there are no more), ETIMEDOUT, or ENOMEM. */
int results_fetch(results_t *r, int timeout);

#endif
