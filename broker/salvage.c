#include "salvage.h"

#include "../base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE = 65536 }; /* places tried one by one behind a page that cannot be read */

struct salvage {
    struct store *store; /* the damaged one */
    sqlite3 *to;
    sqlite3_stmt *add;
    uint64_t kept, lost;
    bool unreadable; /* some pages were */
};

static const char *
kind_words(int kind)
{
    static const char *const words[ROW_LIMIT] = {
        [ROW_JOB] = "the job itself",    [ROW_INPUTS] = "inputs",
        [ROW_SEAL] = "its end",          [ROW_ENDS] = "outcomes",
        [ROW_RETRY] = "a retry",         [ROW_CANCEL] = "its cancellation",
        [ROW_OVER] = "when it was over", [ROW_BEGUN] = "the beginning",
    };

    return kind >= ROW_JOB && kind < ROW_LIMIT ? words[kind] : "something unknown";
}

static void
tell_loss(const struct row *row)
{
    if (row->kind == ROW_INPUTS || row->kind == ROW_ENDS || row->kind == ROW_BEGUN)
        log_warn("lost: row %llu: %s of tasks %llu to %llu of the job that began in row %llu",
                 (unsigned long long)row->number, kind_words(row->kind),
                 (unsigned long long)row->first, (unsigned long long)(row->first + row->count - 1),
                 (unsigned long long)row->job);
    else
        log_warn("lost: row %llu: %s, of the job that began in row %llu",
                 (unsigned long long)row->number, kind_words(row->kind),
                 (unsigned long long)row->job);
}

static int
keep(struct salvage *v, sqlite3_stmt *from)
{
    int rc;

    for (int i = 0; i < 8; i++)
        sqlite3_bind_value(v->add, i + 1, sqlite3_column_value(from, i));
    rc = sqlite3_step(v->add);
    sqlite3_reset(v->add);
    v->kept++;
    return rc == SQLITE_DONE ? 0 : -1;
}

static int
take(struct salvage *v, sqlite3_stmt *from)
{
    struct row row;

    if (row_of(from, true, &row) == 0) {
        blob_unref(row.data);
        return keep(v, from);
    }
    if (errno == ENOMEM)
        return -1;
    v->lost++;
    tell_loss(&row);
    return 0;
}

/* Over pages that cannot be read: the next row that can be found behind them. */
static int
scan(struct salvage *v)
{
    sqlite3_stmt *from = NULL;
    uint64_t after = 0, skip = 0;
    int rc, failed = 0;

    if ((rc = sqlite3_prepare_v2(v->store->db, ROW_COLUMNS " WHERE number>? ORDER BY number", -1,
                                 &from, NULL)) != SQLITE_OK) {
        log_warn("lost: everything: %s", sqlite3_errmsg(v->store->db));
        v->unreadable = true;
        return 0;
    }
    while (failed == 0 && after < INT64_MAX / 2) {
        sqlite3_bind_int64(from, 1, (int64_t)after);
        while (failed == 0 && (rc = sqlite3_step(from)) == SQLITE_ROW) {
            if (skip > 0)
                log_warn("lost: what stood between rows %llu and %lld",
                         (unsigned long long)(after - skip), sqlite3_column_int64(from, 0));
            after = (uint64_t)sqlite3_column_int64(from, 0);
            skip = 0;
            failed = take(v, from);
        }
        sqlite3_reset(from);
        if (rc == SQLITE_DONE)
            break;
        v->unreadable = true;
        after += skip < PATIENCE ? 1 : skip;
        skip += skip < PATIENCE ? 1 : skip;
    }
    if (skip > 0)
        log_warn("lost: what stood behind row %llu", (unsigned long long)(after - skip));
    sqlite3_finalize(from);
    return failed;
}

static int
open_new(struct salvage *v, const char *path)
{
    static const char setup[] =
        "PRAGMA page_size=16384; PRAGMA journal_mode=OFF;"
        "PRAGMA synchronous=OFF;" ROW_TABLE "; PRAGMA user_version=1; BEGIN;";

    _Static_assert(STORE_VERSION == 1, "the version that is written here");
    unlink(path);
    return sqlite3_open(path, &v->to) == SQLITE_OK &&
                   sqlite3_exec(v->to, setup, NULL, NULL, NULL) == SQLITE_OK &&
                   sqlite3_prepare_v2(v->to, "INSERT INTO rows VALUES (?,?,?,?,?,?,?,?)", -1,
                                      &v->add, NULL) == SQLITE_OK
               ? 0
               : -1;
}

static int
sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC), failed;

    if (fd < 0)
        return -1;
    failed = fsync(fd);
    close(fd);
    return failed;
}

static int
move_away(const char *path)
{
    char to[PATH_MAX + 32];

    snprintf(to, sizeof(to), "%s.damaged", path);
    return rename(path, to) == 0 || errno == ENOENT ? 0 : -1;
}

static int
replace(const struct store *s, const char *path)
{
    return sync_path(path, O_RDONLY) == 0 && move_away(s->log) == 0 &&
                   move_away(s->database) == 0 && rename(path, s->database) == 0 &&
                   sync_path(s->path, O_RDONLY | O_DIRECTORY) == 0
               ? 0
               : -1;
}

int
salvage_store(struct store *s, const struct walcheck *log, char *why, size_t size)
{
    bool damaged = why[0] != '\0'; /* as was found out before */
    struct salvage v = {.store = s};
    char path[PATH_MAX + 32];
    int failed;

    snprintf(path, sizeof(path), "%s.salvaged", s->database);
    if (log->verdict == WAL_DAMAGED)
        log_warn("lost: %llu transactions in %s, from offset %llu on: %llu bytes",
                 (unsigned long long)log->commits, s->log, (unsigned long long)log->offset,
                 (unsigned long long)log->dropped);
    failed = open_new(&v, path);
    if (database_open(s, s->database) != 0)
        log_warn("lost: everything: %s", s->error);
    else if (failed == 0)
        failed = scan(&v);
    if (failed == 0)
        failed = sqlite3_exec(v.to, "COMMIT", NULL, NULL, NULL) == SQLITE_OK ? 0 : -1;
    sqlite3_finalize(v.add);
    sqlite3_close(v.to);
    sqlite3_close(s->db);
    s->db = NULL;
    if (failed == 0 && (damaged || v.lost > 0 || v.unreadable)) {
        failed = replace(s, path);
        s->has_table = true;
        log_warn("salvaged %llu rows of the store; %llu are lost, and the damaged files are %s*"
                 ".damaged",
                 (unsigned long long)v.kept, (unsigned long long)v.lost, s->database);
    } else {
        unlink(path);
        log_info("the store is whole: there was nothing to salvage");
    }
    if (failed != 0)
        snprintf(why, size, "cannot salvage the store into %s: %s", path, strerror(errno));
    return failed;
}
