/* programs.h - the cache on disk: programs in directory/programs/<digest>, shared constants in
 * directory/programs/shared.<digest>.
 *
 * A content comes in parts, in any order, into a file of its own, is checked against its digest,
 * and gets its name in one step: several workers may share a directory. The cache stays within its
 * budget by forgetting what was not used for longest, but nothing that is in use.
 */
#ifndef LADLE_PROGRAMS_H
#define LADLE_PROGRAMS_H

#include "../proto/message.h"

struct programs;

enum content { CONTENT_PROGRAM, CONTENT_CONSTANT };

/* Makes the directories. NULL with errno. `used` tells whether a content must stay; it may be NULL.
 */
struct programs *programs_open(const char *directory, uint64_t cache_bytes,
                               bool (*used)(void *arg, const char *digest), void *arg);
void programs_close(struct programs *s); /* drops what has come of unfinished ones */

/* The file of a content that is here and whole; NULL if it is not. Borrowed until the next call.
 * A program is read and checked the first time; a constant is fetched, which does that in steps, if
 * it was there before. It counts as used now. */
const char *programs_path(struct programs *s, enum content kind, const char *digest);

/* Begin to fetch it; `name` is for people. 0; also if that goes on already. -1 with ENOMEM. */
int programs_fetch(struct programs *s, enum content kind, const char *digest, const char *name,
                   int64_t now);
/* The next part to ask for; false if enough are under way. */
bool programs_wanted(struct programs *s, const char **digest_p, uint64_t *offset_p, int64_t now);
int64_t programs_deadline(const struct programs *s); /* when to ask again for what did not come */
/* Of a fetch nothing has come for so long that it is over: which, and *why. Its tasks must not keep
 * the slots of others for ever. False if there is none (any more). */
bool programs_given_up(struct programs *s, enum content *kind_p, char digest[65], int64_t now,
                       const char **why);

/* A step in looking through a constant that was there before. True: this one is whole. */
bool programs_check(struct programs *s, char digest[65]);

/* A part came. 1: the content is here; 0: more are to come, or it is of no fetch that goes on;
 * -1: it failed, *why says so: the fetch is over. */
int programs_part(struct programs *s, enum content kind, const struct message_program_part *part,
                  int64_t now, const char **why);
void programs_drop(struct programs *s, enum content kind, const char *digest); /* nobody needs it */
void programs_stop(struct programs *s);                                        /* end all fetches */

#endif
