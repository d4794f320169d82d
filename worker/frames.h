/* frames.h - where an executor was when it died, for people: what its handler left on the board
 * (struct board_death), with names.
 *
 * Not thread-safe; one for each supervisor. What was found is kept for a while, as the tasks of a
 * map tend to die in the same place.
 */
#ifndef LADLE_FRAMES_H
#define LADLE_FRAMES_H

#include "../proto/board.h"

#include <stdbool.h>
#include <stddef.h>

struct frames;

/* With `apart` files are read in a process of its own: they are those of other people. */
struct frames *frames_new(bool apart); /* NULL: ENOMEM */
void frames_free(struct frames *self); /* NULL is allowed */

/* Is there something to tell? What is on a board is not believed, but checked. */
bool frames_known(const struct board_death *death);
/* "    #0 weigh at simulate.c:41\n" and so on. The file at `path` is called `name`. */
void frames_describe(struct frames *self, const struct board_death *death, const char *path,
                     const char *name, char *text, size_t size);

#endif
