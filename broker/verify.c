/* What is looked at before anything may change: who has the store, and whether it is whole. */
#include "../base/log.h"
#include "rows.h"
#include "salvage.h"
#include "walcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECKED_BYTES                                                                              \
    (2ull << 30) /* read through at the start; what is more, when it is needed                     \
                  */
/* ---- the directory and its lock ----------------------------------------------------------------
 */

static void
tell_holder(const char *path, int fd, char *why, size_t size)
{
    char holder[256];
    ssize_t n = pread(fd, holder, sizeof(holder) - 1, 0);

    holder[n > 0 ? n : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    snprintf(why, size,
             "the store %s is in use by another broker (%s): stop that one, or give this one a "
             "store of its own",
             path, holder[0] != '\0' ? holder : "which has not said who it is");
}

static void
write_holder(int fd)
{
    char host[128] = "?", line[256];
    int n;

    (void)gethostname(host, sizeof(host) - 1);
    n = snprintf(line, sizeof(line), "process %d on %s\n", (int)getpid(), host);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, line, (size_t)n, 0) != n)
        log_warn("cannot write who holds the store: %s", strerror(errno));
}

int
store_prepare(struct store *s, const char *path, char *why, size_t size)
{
    char lock[PATH_MAX + 16];

    if (snprintf(s->path, sizeof(s->path), "%s", path) >= (int)sizeof(s->path)) {
        snprintf(why, size, "the store's path is too long");
        return -1;
    }
    snprintf(s->database, sizeof(s->database), "%s/store.db", s->path);
    snprintf(s->log, sizeof(s->log), "%s/store.db-wal", s->path);
    snprintf(lock, sizeof(lock), "%s/lock", s->path);
    if (mkdir(s->path, 0700) != 0 && errno != EEXIST) {
        snprintf(why, size, "cannot make the store %s: %s", s->path, strerror(errno));
        return -1;
    }
    if ((s->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0) {
        snprintf(why, size, "cannot use the store %s, which is a directory: %s", s->path,
                 strerror(errno));
        return -1;
    }
    if (flock(s->lock, LOCK_EX | LOCK_NB) != 0) {
        tell_holder(s->path, s->lock, why, size);
        return -1;
    }
    write_holder(s->lock);
    return 0;
}

/* ---- the database ------------------------------------------------------------------------------
 */

static int
read_version(void *arg, int count, char **values, char **names)
{
    struct store *s = arg;

    (void)count, (void)names;
    s->version = values[0] != NULL ? atoi(values[0]) : 0;
    return 0;
}

int
database_open(struct store *s, const char *path)
{
    int rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);

    if (rc == SQLITE_OK) {
        /* Whoever fails must leave the files as they are. */
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        sqlite3_exec(s->db, "PRAGMA locking_mode=EXCLUSIVE", NULL, NULL, NULL);
        rc = sqlite3_exec(s->db, "PRAGMA user_version", read_version, s, NULL);
    }
    if (rc == SQLITE_OK)
        return 0;
    snprintf(s->error, sizeof(s->error), "%.200s: %.250s", path,
             s->db != NULL ? sqlite3_errmsg(s->db) : "out of memory");
    return -1;
}

static int
keep_complaint(void *arg, int count, char **values, char **names)
{
    char *text = arg;

    (void)count, (void)names;
    if (text[0] == '\0' && values[0] != NULL)
        snprintf(text, 256, "%s", values[0]);
    return 0;
}

/* A database that says it has no log would be read without it. */
static bool
header_is_whole(const struct store *s)
{
    uint8_t header[20];
    int fd = open(s->database, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, header, sizeof(header), 0);

    if (fd >= 0)
        close(fd);
    return n != sizeof(header) || (header[18] == 2 && header[19] == 2);
}

/* The tree of pages. "" in `complaint`: it is whole. */
static void
check_tree(struct store *s, char complaint[256])
{
    char *at;
    int rc;

    complaint[0] = '\0';
    if (file_size(s->database) > CHECKED_BYTES) {
        log_info("the store has %llu MiB: it is checked as it is read",
                 (unsigned long long)(file_size(s->database) >> 20));
        return;
    }
    rc = sqlite3_exec(s->db, "PRAGMA quick_check(1)", keep_complaint, complaint, NULL);
    if (rc != SQLITE_OK)
        snprintf(complaint, 256, "%s", sqlite3_errmsg(s->db));
    else if (strcmp(complaint, "ok") == 0)
        complaint[0] = '\0';
    for (char *c = complaint; *c != '\0'; c++)
        *c = *c == '\n' ? ' ' : *c;
    /* In pages, which nobody can look at with a hex editor. */
    if ((at = strcasestr(complaint, "page ")) != NULL && atoi(at + 5) > 0)
        snprintf(complaint + strlen(complaint), 256 - strlen(complaint), ", at offset %lld",
                 (atoi(at + 5) - 1LL) * 16384);
    else if (complaint[0] != '\0')
        snprintf(complaint + strlen(complaint), 256 - strlen(complaint), ", offset unknown");
}

static int
look_at_table(void *arg, int count, char **values, char **names)
{
    struct store *s = arg;

    (void)count, (void)names;
    if (!s->has_table && values[0] != NULL && strcmp(values[0], ROW_TABLE) == 0)
        s->has_table = true;
    else
        s->version = -1;
    return 0;
}

/* Is there the table, and nothing else; or nothing yet? With another name, rows would be gone. */
static bool
tables_are_whole(struct store *s)
{
    int version = s->version;
    bool whole;

    s->has_table = false;
    whole =
        sqlite3_exec(s->db, "SELECT sql FROM sqlite_schema", look_at_table, s, NULL) == SQLITE_OK &&
        s->version == version && (s->has_table || version == 0);
    s->version = version;
    return whole;
}

/* Where in a file these bytes are; -1. */
static long long
find_bytes(const char *path, const uint8_t *bytes, size_t size)
{
    uint64_t length = file_size(path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    const uint8_t *found = NULL;
    long long offset = -1;
    void *map;

    if (fd < 0)
        return -1;
    map = length == 0 ? MAP_FAILED : mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return -1;
    if ((found = memmem(map, length, bytes, size)) != NULL)
        offset = found - (const uint8_t *)map;
    munmap(map, length);
    return offset;
}

static void
tell_bad_row(const struct store *s, sqlite3_stmt *statement, char *why, size_t size)
{
    const uint8_t *sums = sqlite3_column_blob(statement, 5);
    const char *file = s->log;
    long long offset = -1;

    if (sums != NULL && sqlite3_column_bytes(statement, 5) == SUMS) {
        if ((offset = find_bytes(s->database, sums, SUMS)) >= 0)
            file = s->database;
        else
            offset = find_bytes(s->log, sums, SUMS);
    }
    snprintf(why, size, "the store is damaged: row %lld of %s, at offset %lld, does not verify%s",
             sqlite3_column_int64(statement, 0), file, offset, STORE_ADVICE);
}

static int
look(struct store *s, bool salvage, const struct walcheck *log, char *why, size_t size)
{
    char complaint[256] = "";
    int failed = 0;

    if (log->verdict == WAL_DAMAGED)
        snprintf(why, size,
                 "the store is damaged: %s does not verify at offset %llu, and %llu later "
                 "transactions with it%s",
                 s->log, (unsigned long long)log->offset, (unsigned long long)log->commits,
                 STORE_ADVICE);
    else if (!header_is_whole(s))
        snprintf(why, size, "the store is damaged: %s does not verify at offset 18%s", s->database,
                 STORE_ADVICE);
    else if (database_open(s, s->database) != 0)
        snprintf(why, size, "the store is damaged at its beginning, offset 0: %s%s", s->error,
                 STORE_ADVICE);
    else if (s->version > STORE_VERSION)
        snprintf(why, size,
                 "the store %s was written by a later version of Ladle (its format is %d, this "
                 "broker's %d): use that one",
                 s->path, s->version, STORE_VERSION);
    else if (check_tree(s, complaint), complaint[0] != '\0')
        snprintf(why, size, "the store is damaged: %s: %s%s", s->database, complaint, STORE_ADVICE);
    else if (!tables_are_whole(s))
        snprintf(why, size,
                 "the store is damaged: %s has other tables than it should, offset "
                 "unknown%s",
                 s->database, STORE_ADVICE);
    else
        why[0] = '\0';
    if (why[0] != '\0' && (!salvage || s->version > STORE_VERSION))
        failed = -1;
    sqlite3_close(s->db);
    s->db = NULL;
    return failed;
}

/* Nothing old shall stand behind the last commit: else a broker that is killed between the header
 * and the page of its last frame would leave one that is whole in size, and looks damaged. */
static int
cut_log(const struct store *s, uint64_t end)
{
    return end > 0 && (uint64_t)file_size(s->log) > end ? truncate(s->log, (off_t)end) : 0;
}

int
store_verify(struct store *s, bool salvage, char *why, size_t size)
{
    struct walcheck log;

    if (walcheck(s->log, &log) != 0) {
        snprintf(why, size, "cannot read %s: %s", s->log, strerror(errno));
        return -1;
    }
    if (log.verdict == WAL_TORN)
        log_warn("%s ended within a transaction, which was not acknowledged: %llu bytes from "
                 "offset %llu on are dropped",
                 s->log, (unsigned long long)log.dropped, (unsigned long long)log.offset);
    if (log.verdict != WAL_DAMAGED && cut_log(s, log.end) != 0) {
        snprintf(why, size, "cannot cut %s at its last transaction: %s", s->log, strerror(errno));
        return -1;
    }
    if (file_size(s->database) == 0 && log.verdict != WAL_DAMAGED)
        return 0; /* new, or killed before anything was in it */
    if (look(s, salvage, &log, why, size) != 0)
        return -1;
    return salvage ? salvage_store(s, &log, why, size) : 0;
}

/* ---- all rows ----------------------------------------------------------------------------------
 */

int
store_load(struct store *s, store_visitor *visit, void *arg, char *why, size_t size)
{
    sqlite3_stmt *statement = NULL;
    uint64_t read = 0;
    int rc, failed = 0;

    rc = sqlite3_prepare_v2(s->db, ROW_COLUMNS " ORDER BY number", -1, &statement, NULL);
    while (failed == 0 && rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW) {
        struct row row;

        rc = SQLITE_OK;
        if ((failed = row_of(statement, read < CHECKED_BYTES, &row)) != 0) {
            if (errno == EILSEQ)
                tell_bad_row(s, statement, why, size);
            else
                snprintf(why, size, "out of memory");
            break;
        }
        read += row.size;
        if ((failed = visit(arg, &row)) != 0)
            snprintf(why, size, "cannot load the store: row %llu: %s",
                     (unsigned long long)row.number, strerror(errno));
        blob_unref(row.data);
    }
    if (failed == 0 && rc != SQLITE_DONE) {
        snprintf(why, size, "the store is damaged: %s: %s, offset unknown%s", s->database,
                 sqlite3_errmsg(s->db), STORE_ADVICE);
        failed = -1;
    }
    sqlite3_finalize(statement);
    return failed;
}
