/* The database itself: opening, rows, transactions. What is looked at before is verify.c's. */
#include "store.h"

#include "../base/log.h"
#include "rows.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHECKPOINT_FRAMES = 2048 }; /* of 16 KiB: then the log is carried over into the database */

static uint64_t steps, crash_step;

void
store_crash_at(uint64_t n)
{
    crash_step = n;
    steps = 0;
}

void
store_step(void)
{
    if (crash_step > 0 && ++steps == crash_step)
        kill(getpid(), SIGKILL);
}

/* ---- errors ------------------------------------------------------------------------------------
 */

/* 0, or -1 with errno. */
static int
result(struct store *s, int rc)
{
    int code = sqlite3_extended_errcode(s->db), error = sqlite3_system_errno(s->db);

    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_FULL:
        errno = ENOSPC;
        return -1;
    case SQLITE_NOMEM:
        errno = ENOMEM;
        return -1;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        errno = EILSEQ;
        break;
    default:
        errno = error == EDQUOT || error == ENOSPC ? ENOSPC : EIO;
        break;
    }
    snprintf(s->error, sizeof(s->error), "%.200s: %s%s%s", s->path, sqlite3_errstr(code),
             error != 0 ? ": " : "", error != 0 ? strerror(error) : "");
    return -1;
}

const char *
store_error(const struct store *s)
{
    return s->error;
}

/* ---- transactions ------------------------------------------------------------------------------
 */

static int
run(struct store *s, sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement), failed = result(s, rc), error = errno;

    sqlite3_reset(statement);
    errno = error;
    return failed;
}

/* Out of space undoes it all, by SQLite's own rollback or by ours. */
static int
undo(struct store *s)
{
    int error = errno;

    if (!sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    errno = error;
    return -1;
}

int
store_begin(struct store *s)
{
    store_step();
    sqlite3_reset(s->read);
    return run(s, s->begin) != 0 ? undo(s) : 0;
}

int
store_add(struct store *s, const struct row *row)
{
    const uint8_t *data = row->size > 0 ? row->data->bytes + row->at : (const uint8_t *)"";
    uint8_t sums[SUMS];
    int failed, error;

    store_step();
    row_sums(row, sums);
    sqlite3_bind_int64(s->add, 1, (int64_t)row->number);
    sqlite3_bind_int64(s->add, 2, (int64_t)row->job);
    sqlite3_bind_int64(s->add, 3, row->kind);
    sqlite3_bind_int64(s->add, 4, (int64_t)row->first);
    sqlite3_bind_int64(s->add, 5, (int64_t)row->count);
    sqlite3_bind_blob64(s->add, 6, sums, sizeof(sums), SQLITE_STATIC);
    sqlite3_bind_blob64(s->add, 7, row->header_size > 0 ? row->header : "", row->header_size,
                        SQLITE_STATIC);
    sqlite3_bind_blob64(s->add, 8, data, row->size, SQLITE_STATIC);
    failed = run(s, s->add);
    error = errno;
    sqlite3_clear_bindings(s->add);
    errno = error;
    return failed != 0 ? undo(s) : 0;
}

int
store_remove(struct store *s, uint64_t number)
{
    store_step();
    sqlite3_bind_int64(s->remove, 1, (int64_t)number);
    return run(s, s->remove) != 0 ? undo(s) : 0;
}

/* Into the database, when the log has become long: by hand, since SQLite's own way would not tell
 * of an fsync that failed. The log is cut to nothing then (see cut_log()). Without space it is
 * kept, and grows. */
static int
checkpoint(struct store *s)
{
    int rc, frames = 0;

    if (s->frames < CHECKPOINT_FRAMES)
        return 0;
    store_step();
    rc = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, &frames, NULL);
    store_step();
    s->frames = 0;
    return result(s, rc) != 0 && errno != ENOSPC ? -1 : 0;
}

int
store_commit(struct store *s)
{
    store_step();
    if (run(s, s->commit) != 0)
        return undo(s);
    store_step();
    return checkpoint(s);
}

static int
count_frames(void *arg, sqlite3 *db, const char *name, int frames)
{
    struct store *s = arg;

    (void)db, (void)name;
    s->frames = frames;
    return SQLITE_OK;
}

/* ---- reading -----------------------------------------------------------------------------------
 */

int
store_read(struct store *s, uint64_t number, struct row *row)
{
    int rc;

    sqlite3_reset(s->read);
    sqlite3_bind_int64(s->read, 1, (int64_t)number);
    rc = sqlite3_step(s->read);
    if (rc == SQLITE_DONE) {
        errno = ENOENT;
        return -1;
    }
    if (result(s, rc) != 0)
        return -1;
    return row_of(s->read, true, row);
}

uint64_t
store_bytes(const struct store *s)
{
    return file_size(s->database) + file_size(s->log);
}

const char *
store_path(const struct store *s)
{
    return s->path;
}

/* ---- opening -----------------------------------------------------------------------------------
 */

static int
prepare(struct store *s, const char *text, sqlite3_stmt **statement)
{
    return result(s,
                  sqlite3_prepare_v3(s->db, text, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL));
}

static int
configure(struct store *s)
{
    static const char setup[] = "PRAGMA locking_mode=EXCLUSIVE;"
                                "PRAGMA page_size=16384;"
                                "PRAGMA journal_mode=WAL;"
                                "PRAGMA synchronous=FULL;"
                                "PRAGMA wal_autocheckpoint=0;"
                                "PRAGMA secure_delete=OFF;"
                                "PRAGMA cache_size=-65536;";
    char version[64];

    snprintf(version, sizeof(version), "PRAGMA user_version=%d", STORE_VERSION);
    if (result(s, sqlite3_exec(s->db, setup, NULL, NULL, NULL)) != 0 ||
        (!s->has_table && result(s, sqlite3_exec(s->db, ROW_TABLE, NULL, NULL, NULL)) != 0) ||
        (s->version == 0 && result(s, sqlite3_exec(s->db, version, NULL, NULL, NULL)) != 0))
        return -1;
    sqlite3_wal_hook(s->db, count_frames, s);
    if (prepare(s, "BEGIN IMMEDIATE", &s->begin) != 0 || prepare(s, "COMMIT", &s->commit) != 0 ||
        prepare(s, "INSERT INTO rows VALUES (?,?,?,?,?,?,?,?)", &s->add) != 0 ||
        prepare(s, "DELETE FROM rows WHERE number=?", &s->remove) != 0 ||
        prepare(s, ROW_COLUMNS " WHERE number=?", &s->read) != 0)
        return -1;
    return 0;
}

struct store *
store_open(const char *path, bool salvage, char *why, size_t size)
{
    struct store *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        snprintf(why, size, "out of memory");
        return NULL;
    }
    s->lock = -1;
    if (store_prepare(s, path, why, size) != 0 || store_verify(s, salvage, why, size) != 0) {
        store_close(s);
        return NULL;
    }
    if (database_open(s, s->database) != 0 || configure(s) != 0) {
        if (errno == EILSEQ)
            snprintf(why, size, "the store is damaged: %s, offset unknown" STORE_ADVICE, s->error);
        else
            snprintf(why, size, "cannot open the store: %s", s->error);
        store_close(s);
        return NULL;
    }
    return s;
}

void
store_close(struct store *s)
{
    if (s == NULL)
        return;
    sqlite3_finalize(s->begin);
    sqlite3_finalize(s->commit);
    sqlite3_finalize(s->add);
    sqlite3_finalize(s->remove);
    sqlite3_finalize(s->read);
    sqlite3_close(s->db);
    if (s->lock >= 0)
        close(s->lock);
    free(s);
}
