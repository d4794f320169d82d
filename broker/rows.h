/* rows.h - what store.c and verify.c share: the database, and rows with their checksums. */
#ifndef LADLE_ROWS_H
#define LADLE_ROWS_H

#include "store.h"

#include <limits.h>
#include <sqlite3.h>

enum { STORE_VERSION = 1, SUM = 16, SUMS = 2 * SUM };

#define STORE_ADVICE                                                                               \
    "; nothing was changed. Restore the store from a copy, or start with --salvage, which keeps "  \
    "what verifies, lists what is lost, and leaves the damaged files beside it"
/* As it stands in the database, and is compared with what stands there. */
#define ROW_TABLE                                                                                  \
    "CREATE TABLE rows (number INTEGER PRIMARY KEY, job INTEGER NOT NULL, kind INTEGER NOT NULL, " \
    "first INTEGER NOT NULL, count INTEGER NOT NULL, sums BLOB NOT NULL, header BLOB NOT NULL, "   \
    "data BLOB NOT NULL)"
#define ROW_COLUMNS "SELECT number,job,kind,first,count,sums,header,data FROM rows"

struct store {
    char path[PATH_MAX], database[PATH_MAX + 16], log[PATH_MAX + 16];
    int lock;
    int version; /* found in the database; 0: it is new */
    bool has_table;
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *add, *remove, *read;
    int frames; /* in the log */
    char error[512];
};

/* Of all but the data, and of the data. */
void row_sums(const struct row *row, uint8_t sums[SUMS]);
/* The row at which the statement stands, verified; `data`: with a copy of its data. -1 with errno
 * EILSEQ or ENOMEM. */
int row_of(sqlite3_stmt *statement, bool data, struct row *row);

uint64_t file_size(const char *path); /* 0: there is none */

int database_open(struct store *s, const char *path); /* -1 with s->error */
/* The directory and its lock. */
int store_prepare(struct store *s, const char *path, char *why, size_t size);
/* All files, before SQLite may change one. */
int store_verify(struct store *s, bool salvage, char *why, size_t size);

#endif
