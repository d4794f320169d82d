/* crash.h - what is left of an executor that dies of a signal: where it was.
 *
 * A handler for the signals that kill, SIGTERM included, walks the stack and writes addresses on
 * the board, with the lines of /proc/self/maps that say what they belong to. Then the process dies
 * of the signal as it would have without it. Its worker finds names for the addresses.
 * A program, or a sanitizer, that has a handler of its own keeps it: it knows better.
 */
#ifndef LADLE_CRASH_H
#define LADLE_CRASH_H

#include "../proto/board.h"

/* From now on. Frames end with the one that `below`, a function, has called. `describe` says, in
 * the handler, what runs, for the words about a stack that is full; or NULL. */
void crash_open(struct board_death *death, void (*below)(void), const char *(*describe)(void));

#endif
