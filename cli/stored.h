/* stored.h - a failed task of a detached job, out of its broker's store, for `ladle replay`. */
#ifndef LADLE_CLI_STORED_H
#define LADLE_CLI_STORED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is it "JOB.INDEX"? JOB: up to 32 hexadecimal digits. */
bool stored_name(const char *what, char job[33], uint64_t *index);

/* The task as a file of proto/replay.h, its path in `path`, and beside it the program that it
 * names. Both are removed when this process has ended, whatever program it is by then, and however
 * it ends. 0; -1 with a sentence in `why`. */
int stored_fetch(const char *broker, const char *job, uint64_t index, char *path, size_t path_size,
                 char *why, size_t size);

#endif
