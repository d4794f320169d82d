/* salvage.h - keep what verifies of a damaged store.
 *
 * All rows that verify go into a new database, which takes the old one's place; the old files stay
 * beside it under names that end in ".damaged". Each loss is a line of the log.
 */
#ifndef LADLE_SALVAGE_H
#define LADLE_SALVAGE_H

#include "rows.h"
#include "walcheck.h"

/* Does nothing if all is whole. -1 with a sentence. */
int salvage_store(struct store *s, const struct walcheck *log, char *why, size_t size);

#endif
