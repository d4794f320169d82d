/* replay.h - a task that did not end well, with all that it takes to run it again: a file.
 *
 * Eight bytes, "ladle 1\n", then messages as they stand on an executor's fd 3 (two little-endian
 * 32-bit lengths, header, data): a REPLAY, the JOB, a SLICE of this one task, a PROGRAM_PART for
 * each MiB of each constant in the job, a BYE; last, 32 bytes of BLAKE2b over all that stands
 * before. A file without its BYE was cut off, one whose sum is another is damaged: neither is
 * replayed. Files may come from anywhere: what is read is checked as what peers say, too.
 */
#ifndef LADLE_REPLAY_H
#define LADLE_REPLAY_H

#include "message.h"

#include <stdio.h>

#define REPLAY_SUFFIX ".replay"
#define REPLAY_ID 8 /* hexadecimal digits, by which people call it */

/* Writing: the messages in their order, from replay_begin() on. -1 with errno. */
struct replay_writer;
struct replay_writer *replay_begin(FILE *file); /* NULL with errno */
int replay_put(struct replay_writer *w, struct message *m);
int replay_end(struct replay_writer *w, int failed); /* says BYE, unless it failed, and frees it */

/* Reading. */
struct replay {
    struct spec *spec; /* whose constants have no path */
    uint64_t index;    /* of the task */
    uint32_t attempt;
    struct blob *input; /* NULL: it is empty */
    char *path, *directory, *worker, *text;
    enum outcome outcome;
    uint64_t when_ms;
    int *constants; /* of each in the spec, a memfd with its bytes; empty ones have none: -1 */
};

/* NULL, with a sentence in *why. Without `constants`, these are not kept. */
struct replay *replay_read(const char *path, bool constants, const char **why);
void replay_free(struct replay *self); /* NULL is allowed */

/* The folder for such files: $LADLE_REPLAY_DIR, else below $XDG_STATE_HOME or the home directory.
 * False: none are to be written. */
bool replay_directory(char *path, size_t size);

#endif
