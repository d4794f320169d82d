/* executor.h - a virtual executor: it has a board and takes tasks from it as client/slices.c does,
 * and what its tasks spawn is in a real nest. Tasks take time, wait, fail, crash and hang as load.h
 * says. */
#ifndef LADLE_SIM_EXECUTOR_H
#define LADLE_SIM_EXECUTOR_H

#include "network.h"

#include "../../proto/board.h"

struct executor_config {
    struct actor *worker;
    const char *name; /* of the worker */
    unsigned number;  /* in its runner */
    char program[65]; /* its digest */
    bool ends;        /* before it comes to futures_new() */
    bool plain;       /* it leaves the board alone */
    bool deaf;        /* to SIGTERM */
    uint32_t tasks;   /* to be replaced after so many; 0: never */
};

/* Its connection to the worker is in *pipe_p. The worker gets `closed` when it has ended, and may
 * then look at the board, until executor_bury(). */
struct actor *executor_new(struct sim *s, const struct executor_config *config,
                           struct connection **pipe_p);
struct board *executor_board(struct actor *a);
void executor_bury(struct actor *a);
void executor_given(struct actor *a, const struct message_slice *m); /* it may be dead already */
const char *executor_cause(const struct actor *a);                   /* how it ended */
bool executor_was_killed(const struct actor *a);                     /* by a signal from outside */

void executor_signal(struct actor *a, int signal); /* of its worker */
void executor_kill(struct actor *a);               /* of somebody else: SIGKILL */
bool executor_is_empty(const struct actor *a);     /* no task of any kind is in it */
uint64_t executor_carried_bytes(const struct actor *a, uint64_t each);

#endif
