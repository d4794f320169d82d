/* keeper.h - the process that keeps a private grid; see grid.h. */
#ifndef LADLE_KEEPER_H
#define LADLE_KEEPER_H

/* Start the grid and keep it until `life` is hung up. To the descriptor `report` go a line with its
 * directory, then "ready ENDPOINT" or a sentence, and the end of file. To be called in a process of
 * its own. */
void keeper_run(unsigned slots, int life, int report) __attribute__((noreturn));

/* Remove a directory and all in it. */
void keeper_remove(const char *directory);

#endif
