/* The store's files: torn, flipped, missing, full, held by another. No processes but this one; the
 * rows of the fault matrix that need a broker are in test_store_faults.c. */
#include "harness.h"

#include "../../base/log.h"
#include "../../broker/store.h"
#include "../../broker/walcheck.h"

#include <errno.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TURNS = 6, ROWS = 5 }; /* transactions, and rows in each */

static char why[1024];

static const char *
store(const char *name)
{
    return harness_path(name);
}

static uint8_t
byte_of(uint64_t row, size_t i)
{
    return (uint8_t)(row * 131 + i * 7);
}

static void
add_turn(struct store *s, uint64_t turn)
{
    assert_int_equal(store_begin(s), 0);
    for (uint64_t i = 1; i <= ROWS; i++) {
        uint64_t number = turn * ROWS + i;
        struct row row = {.number = number,
                          .job = 1,
                          .kind = number == 1 ? ROW_JOB : ROW_INPUTS,
                          .first = number * 10,
                          .count = 10,
                          .header = "a header",
                          .header_size = 8,
                          .size = 500 * i};

        assert_non_null(row.data = blob_new(row.size));
        for (size_t k = 0; k < row.size; k++)
            row.data->bytes[k] = byte_of(number, k);
        assert_int_equal(store_add(s, &row), 0);
        blob_unref(row.data);
    }
    assert_int_equal(store_commit(s), 0);
}

/* With all of it in the log, or, `carried` over, in the database. */
static void
make_store(const char *path, bool carried)
{
    struct store *s = store_open(path, false, why, sizeof(why));
    char database[512];
    sqlite3 *db;

    assert_non_null(s);
    for (uint64_t turn = 0; turn < TURNS; turn++)
        add_turn(s, turn);
    store_close(s);
    if (!carried)
        return;
    snprintf(database, sizeof(database), "%s/store.db", path);
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
}

/* A store with these files, and nothing else. */
static void
put_files(const char *path, const char *db, size_t db_size, const char *wal, size_t wal_size)
{
    char name[512];

    mkdir(path, 0700);
    snprintf(name, sizeof(name), "%s/store.db", path);
    file_write(name, db, db_size, 0600);
    snprintf(name, sizeof(name), "%s/store.db-wal", path);
    unlink(name);
    if (wal_size > 0)
        file_write(name, wal, wal_size, 0600);
}

static char *
get_file(const char *path, const char *file, size_t *size_p)
{
    char name[512];

    snprintf(name, sizeof(name), "%s/%s", path, file);
    *size_p = 0;
    return file_read(name, size_p);
}

static int
check_row(void *arg, const struct row *row)
{
    uint64_t *count = arg;

    ++*count;
    assert_int_equal(row->first, row->number * 10);
    assert_int_equal(row->size, 500 * ((row->number - 1) % ROWS + 1));
    assert_non_null(row->data);
    for (size_t k = 0; k < row->size; k++)
        assert_int_equal(row->data->bytes[row->at + k], byte_of(row->number, k));
    return 0;
}

/* Rows that are there, all of them right; -1: it was refused, and `why` says so. */
static int
rows_of(const char *path, bool salvage)
{
    struct store *s = store_open(path, salvage, why, sizeof(why));
    uint64_t count = 0;
    int failed;

    if (s == NULL)
        return -1;
    failed = store_load(s, check_row, &count, why, sizeof(why));
    store_close(s);
    return failed != 0 ? -1 : (int)count;
}

static void
what_was_committed_is_there_again(void **state)
{
    (void)state;
    make_store(store("a"), false);
    assert_int_equal(rows_of(store("a"), false), TURNS * ROWS);
    make_store(store("b"), true);
    assert_int_equal(rows_of(store("b"), false), TURNS * ROWS);
}

/* ---- row 14 --------------------------------------------------------------------------------- */

/* Where the last transaction begins, and the size of it all. */
static size_t
last_begins(const char *wal, size_t size)
{
    const size_t frame = 24 + 16384;
    size_t last = 32, before = 32;

    for (size_t at = 32; at + frame <= size; at += frame) {
        if (memcmp(wal + at + 4, "\0\0\0\0", 4) == 0)
            continue;
        before = last;
        last = at + frame;
    }
    assert_int_equal(last, size);
    return before;
}

static void
row_14_torn_tail_keeps_the_prefix(void **state)
{
    size_t db_size, wal_size, begin;
    struct walcheck check;
    char *db, *wal, log[512];

    (void)state;
    make_store(store("whole"), false);
    db = get_file(store("whole"), "store.db", &db_size);
    wal = get_file(store("whole"), "store.db-wal", &wal_size);
    assert_non_null(db);
    assert_non_null(wal);
    begin = last_begins(wal, wal_size);
    snprintf(log, sizeof(log), "%s", store("log"));
    file_write(log, wal, wal_size, 0600);
    /* From the end on, byte by byte: what is whole stays, and the rest is counted. */
    for (size_t cut = wal_size - 1; cut >= begin; cut--) {
        assert_int_equal(truncate(log, (off_t)cut), 0);
        assert_int_equal(walcheck(log, &check), 0);
        assert_int_equal(check.verdict, cut == begin ? WAL_WHOLE : WAL_TORN);
        assert_int_equal(check.dropped, cut - begin);
        if (cut % 509 != 0 && cut - begin > 40 && wal_size - cut > 40)
            continue;
        put_files(store("torn"), db, db_size, wal, cut);
        assert_int_equal(rows_of(store("torn"), false), (TURNS - 1) * ROWS);
    }
    /* And it goes on, with nothing old behind its end: there the next last frame is written header
     * first, and a broker may be killed between that and its page. */
    put_files(store("torn"), db, db_size, wal, wal_size - 100);
    struct store *s = store_open(store("torn"), false, why, sizeof(why));
    assert_non_null(s);
    free(get_file(store("torn"), "store.db-wal", &wal_size));
    assert_true(wal_size <= begin);
    add_turn(s, TURNS - 1);
    store_close(s);
    assert_int_equal(rows_of(store("torn"), false), TURNS * ROWS);
    free(db);
    free(wal);
}

/* ---- row 15 --------------------------------------------------------------------------------- */

static void
row_15_flipped_bit_in_the_log_is_refused(void **state)
{
    size_t db_size, wal_size;
    char *db, *wal;
    unsigned n = 0;

    (void)state;
    make_store(store("whole"), false);
    db = get_file(store("whole"), "store.db", &db_size);
    wal = get_file(store("whole"), "store.db-wal", &wal_size);
    for (size_t at = 0; at < wal_size; at += at % 16408 < 96 ? 1 : 97, n++) {
        char bit = (char)(1 << n % 8);

        wal[at] ^= bit;
        put_files(store("flipped"), db, db_size, wal, wal_size);
        if (rows_of(store("flipped"), false) != -1)
            fail_msg("a flip at %zu, bit %u, was not seen", at, n % 8);
        assert_non_null(strstr(why, "offset"));
        assert_non_null(strstr(why, "--salvage"));
        wal[at] ^= bit;
    }
    free(db);
    free(wal);
}

static void
row_15_flipped_bit_in_the_database_is_refused(void **state)
{
    size_t db_size, wal_size;
    unsigned refused = 0, n = 0;
    char *db;

    (void)state;
    make_store(store("whole"), true);
    db = get_file(store("whole"), "store.db", &db_size);
    for (size_t at = 0; at < db_size;
         at += at % 16384 < 128 || (at < 16384 && at > 15900) ? 1 : 113, n++) {
        char bit = (char)(1 << n % 8);
        int rows;

        db[at] ^= bit;
        put_files(store("flipped"), db, db_size, NULL, 0);
        rows = rows_of(store("flipped"), false);
        /* Not all bytes of a database mean something; but rows are never silently fewer. */
        if (rows >= 0 && rows != TURNS * ROWS)
            fail_msg("with a flip at %zu, bit %u, there were %d rows", at, n % 8, rows);
        if (rows < 0) {
            refused++;
            if (strstr(why, "later version") == NULL && strstr(why, "offset") == NULL)
                fail_msg("a flip at %zu: %s", at, why);
            if (strstr(why, "later version") == NULL) {
                assert_non_null(strstr(why, "offset"));
                assert_non_null(strstr(why, "--salvage"));
            }
        }
        db[at] ^= bit;
    }
    (void)wal_size;
    assert_true(refused > n / 4);
    free(db);
}

static void
row_15_salvage_keeps_what_verifies(void **state)
{
    size_t db_size, wal_size;
    char *db, *wal;

    (void)state;
    make_store(store("a"), true);
    db = get_file(store("a"), "store.db", &db_size);
    for (size_t at = 2 * 16384; at < db_size; at += 1777) {
        int rows;

        db[at] ^= 16;
        put_files(store("flipped"), db, db_size, NULL, 0);
        rows = rows_of(store("flipped"), true);
        assert_true(rows >= 0);
        if (rows < TURNS * ROWS) /* in a page there are a few rows */
            assert_true(rows >= TURNS * ROWS / 2);
        assert_int_equal(rows_of(store("flipped"), false), rows); /* and now it is whole */
        db[at] ^= 16;
    }
    free(db);
    make_store(store("b"), false);
    db = get_file(store("b"), "store.db", &db_size);
    wal = get_file(store("b"), "store.db-wal", &wal_size);
    wal[wal_size / 2] ^= 1;
    put_files(store("flipped"), db, db_size, wal, wal_size);
    assert_int_equal(rows_of(store("flipped"), false), -1);
    int rows = rows_of(store("flipped"), true);
    assert_true(rows > 0 && rows < TURNS * ROWS && rows % ROWS == 0);
    assert_true(access(harness_path("flipped/store.db-wal.damaged"), F_OK) == 0);
    free(db);
    free(wal);
}

/* ---- others --------------------------------------------------------------------------------- */

static void
two_on_one_store_the_second_is_refused(void **state)
{
    struct store *s = store_open(store("a"), false, why, sizeof(why));
    char pid[32];

    (void)state;
    assert_non_null(s);
    assert_null(store_open(store("a"), false, why, sizeof(why)));
    snprintf(pid, sizeof(pid), "process %d on ", (int)getpid());
    assert_non_null(strstr(why, "in use by another broker"));
    assert_non_null(strstr(why, pid));
    store_close(s);
    s = store_open(store("a"), false, why, sizeof(why));
    assert_non_null(s);
    store_close(s);
}

static void
empty_and_missing_files_are_a_new_store(void **state)
{
    (void)state;
    put_files(store("a"), "", 0, NULL, 0);
    assert_int_equal(rows_of(store("a"), false), 0);
    assert_int_equal(rows_of(store("b"), false), 0);
}

static void
a_later_version_is_not_touched(void **state)
{
    char database[512];
    sqlite3 *db;

    (void)state;
    make_store(store("a"), true);
    snprintf(database, sizeof(database), "%s/store.db", store("a"));
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(rows_of(store("a"), false), -1);
    assert_non_null(strstr(why, "later version"));
    assert_int_equal(rows_of(store("a"), true), -1);
}

static void
what_is_no_directory_is_said(void **state)
{
    (void)state;
    file_write(store("a"), "", 0, 0600);
    assert_int_equal(rows_of(store("a"), false), -1);
    assert_non_null(strstr(why, "which is a directory"));
}

/* The next frames shall not be written over old ones. */
static void
a_long_log_is_cut_to_nothing(void **state)
{
    struct store *s = store_open(store("long"), false, why, sizeof(why));
    struct blob *data = blob_new(8 << 20);
    struct row row = {
        .job = 1, .kind = ROW_JOB, .header = "a header", .header_size = 8, .data = data};
    size_t size = 0, longest = 0;

    (void)state;
    assert_non_null(s);
    row.size = data->size;
    memset(data->bytes, 7, data->size);
    for (row.number = 1; row.number < 20 && size >= longest; row.number++) {
        longest = size;
        assert_int_equal(store_begin(s), 0);
        assert_int_equal(store_add(s, &row), 0);
        assert_int_equal(store_commit(s), 0);
        free(get_file(store("long"), "store.db-wal", &size));
        row.kind = ROW_INPUTS;
    }
    assert_true(longest > 16 << 20);
    assert_int_equal(size, 0);
    store_close(s);
    blob_unref(data);
}

static void
rows_that_were_removed_stay_away(void **state)
{
    struct store *s;
    struct row row;

    (void)state;
    make_store(store("a"), false);
    s = store_open(store("a"), false, why, sizeof(why));
    assert_int_equal(store_begin(s), 0);
    assert_int_equal(store_remove(s, 7), 0);
    assert_int_equal(store_commit(s), 0);
    assert_int_equal(store_read(s, 7, &row), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(store_read(s, 8, &row), 0);
    assert_int_equal(row.data->bytes[3], byte_of(8, 3));
    blob_unref(row.data);
    store_close(s);
    assert_int_equal(rows_of(store("a"), false), TURNS * ROWS - 1);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_committed_is_there_again),
        TEST(row_14_torn_tail_keeps_the_prefix),
        TEST(row_15_flipped_bit_in_the_log_is_refused),
        TEST(row_15_flipped_bit_in_the_database_is_refused),
        TEST(row_15_salvage_keeps_what_verifies),
        TEST(two_on_one_store_the_second_is_refused),
        TEST(empty_and_missing_files_are_a_new_store),
        TEST(a_later_version_is_not_touched),
        TEST(what_is_no_directory_is_said),
        TEST(a_long_log_is_cut_to_nothing),
        TEST(rows_that_were_removed_stay_away),
    };

    log_open("test_store", LOG_ERROR);
    if (sodium_init() < 0)
        return 1;
    if (argc > 1) /* one of them */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
