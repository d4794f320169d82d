/* programs.h - the cache of programs on disk: directory/programs/<digest>.
 *
 * A program comes in parts, in any order, into a file of its own, is checked against its digest,
 * and gets its name in one step: several workers may share a directory. The cache stays within its
 * budget by forgetting what was not used for longest, but nothing that is in use.
 */
#ifndef LADLE_PROGRAMS_H
#define LADLE_PROGRAMS_H

#include "../proto/message.h"

struct programs;

/* Makes the directories. NULL with errno. `used` tells whether a program must stay; it may be NULL.
 */
struct programs *programs_open(const char *directory, uint64_t cache_bytes,
                               bool (*used)(void *arg, const char *digest), void *arg);
void programs_close(struct programs *s); /* drops what has come of unfinished ones */

/* The file of a program that is here and whole, to be executed; NULL if it is not. Borrowed until
 * the next call. The first time it is read and checked; it counts as used now. */
const char *programs_path(struct programs *s, const char *digest);

/* Begin to fetch a program. 0; also if that goes on already. -1 with ENOMEM. */
int programs_fetch(struct programs *s, const struct program *program, int64_t now);
/* The next part to ask for; false if enough are under way. */
bool programs_wanted(struct programs *s, const char **digest_p, uint64_t *offset_p, int64_t now);
int64_t programs_deadline(const struct programs *s); /* when to ask again for what did not come */

/* A part came. 1: the program is here; 0: more are to come, or it is of no fetch that goes on;
 * -1: it failed, *why says so: the fetch is over. */
int programs_part(struct programs *s, const struct message_program_part *part, int64_t now,
                  const char **why);
void programs_stop(struct programs *s); /* end all fetches */

#endif
