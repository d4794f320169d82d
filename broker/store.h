/* store.h - rows on disk, of jobs that outlive their clients and this broker.
 *
 * A directory with an SQLite database in WAL mode, a lock, and the programs' folder (files.h). The
 * database is a journal: a row is a message as it goes over the wire, header and data, and belongs
 * to a job. Rows are written once and deleted as a whole. Each carries checksums of all that is in
 * it, which are looked at whenever it is read.
 *
 * What was committed is on disk: store_commit() returns after the fsync. After an error other than
 * ENOSPC nothing may be written any more: what the kernel then holds is unknown, and asking again
 * would be told that all is well. Belongs to one thread.
 */
#ifndef LADLE_STORE_H
#define LADLE_STORE_H

#include "../base/blob.h"

#include <stdbool.h>

struct store;

enum row_kind {              /* the numbers are those on disk */
                ROW_JOB = 1, /* JOB; the data is its client's name, `first` when it was submitted */
                ROW_INPUTS = 2, /* INPUTS */
                ROW_SEAL = 3,   /* the job has `first` tasks, and no more */
                ROW_ENDS = 4,   /* RESULTS or ENDED */
                ROW_RETRY = 5,  /* tasks that failed before this row run once more */
                ROW_CANCEL = 6, /* no task runs any more */
                ROW_OVER = 7,   /* all tasks have ended, at `first` seconds since 1970 */
                ROW_BEGUN = 8,  /* these tasks, which may run once only, may have begun */
                ROW_LIMIT
};

struct row {
    uint64_t number; /* of the row, from 1; later rows have larger ones */
    uint64_t job;    /* the number of the job's first row */
    enum row_kind kind;
    uint64_t first, count;
    const void *header;
    size_t header_size;
    struct blob *data; /* NULL: none */
    size_t at, size;
};

/* Opens or makes the store at `path` and takes its lock. NULL with a sentence in `why`: somebody
 * else has it, or it does not verify; a torn tail is logged, and no reason. With `salvage` what
 * does not verify is moved away, and what is lost logged, line by line. */
struct store *store_open(const char *path, bool salvage, char *why, size_t size);
void store_close(struct store *s); /* NULL is allowed */
const char *store_path(const struct store *s);

/* All rows, in order; those of jobs that are over without their data if there is very much. The
 * row is borrowed for the call. -1 with a sentence if the visitor returned other than 0, or a row
 * does not verify (then with errno EILSEQ). */
typedef int store_visitor(void *arg, const struct row *row);
int store_load(struct store *s, store_visitor *visit, void *arg, char *why, size_t size);

/* One row. The data is the caller's to unref; the header is borrowed until the next call. -1 with
 * errno ENOENT, EILSEQ (it does not verify), EIO or ENOMEM. */
int store_read(struct store *s, uint64_t number, struct row *row);

/* Changes, between store_begin() and store_commit() or store_rollback(). -1 with errno ENOSPC, and
 * the changes since store_begin() are gone; or EIO: see above. */
int store_begin(struct store *s);
int store_add(struct store *s, const struct row *row);
int store_remove(struct store *s, uint64_t number);
int store_commit(struct store *s);

uint64_t store_bytes(const struct store *s);    /* of its files now */
const char *store_error(const struct store *s); /* a sentence about the last EIO */

/* For tests: kill this process at the n-th step of writing, from now on; 0: never. */
void store_crash_at(uint64_t n);
void store_step(void); /* such a step, of whoever else writes */

#endif
