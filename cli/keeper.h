/* keeper.h - the process that keeps a private grid; see grid.h. */
#ifndef LADLE_KEEPER_H
#define LADLE_KEEPER_H

/* Start the grid, write "ready ENDPOINT" or a sentence to the descriptor `report`, and keep the
 * grid until `life` is hung up. To be called in a process of its own. */
void keeper_run(unsigned slots, int life, int report) __attribute__((noreturn));

/* Remove a directory and all in it. */
void keeper_remove(const char *directory);

#endif
