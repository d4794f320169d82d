/* walcheck.h - is SQLite's write-ahead log whole?
 *
 * When SQLite opens a log it reads up to the first frame that does not verify, and takes that for
 * the end: right for a tail that was being written when the power went, wrong for a bit that
 * flipped in the middle, where it would forget what was committed behind without a word. So the
 * store looks first. A frame that does not verify is damage if a commit of the same generation
 * stands in it or behind it, or if it verifies with one bit turned; else it is a torn tail.
 */
#ifndef LADLE_WALCHECK_H
#define LADLE_WALCHECK_H

#include <stdint.h>

enum wal { WAL_WHOLE, WAL_TORN, WAL_DAMAGED };

struct walcheck {
    enum wal verdict;
    uint64_t offset;  /* where the torn tail or the damage begins */
    uint64_t dropped; /* bytes from the last commit that verifies to the end of what was written */
    uint64_t commits; /* behind the damage: transactions that would be forgotten */
    uint64_t end;     /* of the last commit that verifies; 0: there is no log */
};

/* A log that does not exist is whole. -1 with errno if it cannot be read. */
int walcheck(const char *path, struct walcheck *out);

#endif
