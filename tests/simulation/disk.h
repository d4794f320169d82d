/* disk.h - the broker's disk: the rows of its store and the files of its programs, in memory.
 *
 * It stands behind broker/store.h and broker/files.h, so that the real depot writes to it. What was
 * committed is there for the next broker; what was not is gone with its process. It can be full, an
 * fsync can fail, and a broker can be killed between any two steps of writing.
 */
#ifndef LADLE_SIM_DISK_H
#define LADLE_SIM_DISK_H

#include "sim.h"

struct disk *disk_new(struct sim *s);
void disk_free(struct disk *d);
/* Whose brokers store_open() and files_open() serve from now on. */
void disk_use(struct disk *d);

bool disk_was_full(const struct disk *d, int64_t since);
void disk_fail(struct disk *d); /* the next fsync does */
void disk_crash(struct disk *d, unsigned steps);
/* Its broker was killed at such a step: it says nothing any more. */
bool disk_killed(const struct disk *d);

#endif
