/* nesting.h - what the sources of the nest share: nest.c (sessions, and what they say), exports.c
 * (to the grid and back), batches.c (tasks that run here, and their results). */
#ifndef LADLE_NESTING_H
#define LADLE_NESTING_H

#include "nest.h"

void nest_look_at(struct nest *n, struct nest_session *s); /* has its core news? */
void nest_unref_job(struct nest_job *j);
bool nest_wants(const struct nest_job *j, uint64_t index); /* somebody waits for this task */
/* These tasks end with one sentence; NULL: it is known. */
void nest_end_tasks(struct nest *n, struct nest_job *j, uint64_t first, uint64_t count,
                    enum outcome outcome, const char *text);

/* NULL: ENOMEM. */
struct nest_piece *piece_new(struct nest_job *j, const struct message_inputs *m);
void piece_free(struct nest_piece *p);
void piece_queue(struct nest *n, struct nest_piece *p);
void piece_skip_first(struct nest_piece *p);
size_t piece_bytes(const struct nest_piece *p, uint32_t from, uint32_t count);
/* So many tasks more, or less, are queued in the session. */
void nest_count(struct nest *n, struct nest_session *s, int64_t more);

/* How many tasks of the piece are to stay here. */
uint32_t export_keeps(const struct nest *n, const struct nest_piece *p);
/* Export tasks [from, count) of a piece, which keeps the others. -1: ENOMEM, nothing happened. */
int export_tasks(struct nest *n, struct nest_piece *p, uint32_t from, int64_t now);
/* While others are idle: half of what is oldest, as that spawns most. */
void export_share(struct nest *n, int64_t now);
void export_cancel(struct nest *n, struct nest_session *s, uint64_t job, uint64_t first,
                   uint64_t end);
void exports_close(struct nest *n, struct nest_session *s);

#endif
