/* carried.h - clients in executors, which speak through their worker's connection.
 *
 * They are clients like others, and some things more: they are told when slots have nothing to do,
 * so that they pass work on; their window grows with what waits, since a task may wait for another
 * one of the same client; and they share a connection, so that their results wait together.
 */
#ifndef LADLE_CARRIED_H
#define LADLE_CARRIED_H

#include "state.h"

void carried_join(struct scheduler *s, struct client *c);
void carried_leave(struct scheduler *s, struct client *c);
/* How the grid is now: after its welcome, and when its grant has grown. */
void carried_tell(struct scheduler *s, struct client *c);

/* Tasks of it have parked, or ended: its window of inputs may have to grow. */
void carried_grant(struct scheduler *s, struct client *c);

/* May its worker's connection be given one more result? If not, carried_flush() is due later. */
bool carried_has_room(const struct client *c);
/* The connection has taken something. */
void carried_flush(struct scheduler *s, struct worker *w);

/* After each matching pass: who is to be told of idle slots? */
void carried_tick(struct scheduler *s);
int64_t carried_deadline(const struct scheduler *s);

#endif
