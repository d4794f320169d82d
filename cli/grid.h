/* grid.h - a broker and a worker of its own for one run, in a private directory.
 *
 * A keeper process starts them, stops them and removes the directory: when told to, and also when
 * whoever asked for the grid is killed. They in turn end with their keeper.
 */
#ifndef LADLE_GRID_H
#define LADLE_GRID_H

#include <stddef.h>

struct grid;

/* Returns once the worker is ready. `slots` 0: all cores this process may use. NULL, and a sentence
 * in `why`; with an empty one if `stop_fd` became readable meanwhile. */
struct grid *grid_start(unsigned slots, int stop_fd, char *why, size_t size);
const char *grid_endpoint(const struct grid *g);
void grid_stop(struct grid *g); /* waits until nothing of it is left; NULL is allowed */

#endif
