#include "rows.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

static void
hash(uint8_t sum[SUM], const void *data, size_t size)
{
    crypto_generichash(sum, SUM, data, size, NULL, 0);
}

void
row_sums(const struct row *row, uint8_t sums[SUMS])
{
    uint64_t numbers[] = {row->number, row->job, row->kind, row->first, row->count, row->size};
    crypto_generichash_state state;

    if (row->data != NULL && row->size > 0)
        hash(sums + SUM, row->data->bytes + row->at, row->size);
    else
        hash(sums + SUM, "", 0);
    crypto_generichash_init(&state, NULL, 0, SUM);
    crypto_generichash_update(&state, (const uint8_t *)numbers, sizeof(numbers));
    crypto_generichash_update(&state, row->header, row->header_size);
    crypto_generichash_update(&state, sums + SUM, SUM);
    crypto_generichash_final(&state, sums, SUM);
}

/* Without a copy: the header's sum covers the other one. */
static bool
header_verifies(const struct row *row, const uint8_t *sums)
{
    uint64_t numbers[] = {row->number, row->job, row->kind, row->first, row->count, row->size};
    crypto_generichash_state state;
    uint8_t sum[SUM];

    crypto_generichash_init(&state, NULL, 0, SUM);
    crypto_generichash_update(&state, (const uint8_t *)numbers, sizeof(numbers));
    crypto_generichash_update(&state, row->header, row->header_size);
    crypto_generichash_update(&state, sums + SUM, SUM);
    crypto_generichash_final(&state, sum, SUM);
    return memcmp(sum, sums, SUM) == 0;
}

int
row_of(sqlite3_stmt *statement, bool data, struct row *row)
{
    const uint8_t *sums = sqlite3_column_blob(statement, 5);
    const void *bytes;
    uint8_t sum[SUM];

    *row = (struct row){.number = (uint64_t)sqlite3_column_int64(statement, 0),
                        .job = (uint64_t)sqlite3_column_int64(statement, 1),
                        .kind = (enum row_kind)sqlite3_column_int(statement, 2),
                        .first = (uint64_t)sqlite3_column_int64(statement, 3),
                        .count = (uint64_t)sqlite3_column_int64(statement, 4),
                        .header_size = (size_t)sqlite3_column_bytes(statement, 6),
                        .size = (size_t)sqlite3_column_bytes(statement, 7)};
    row->header = sqlite3_column_blob(statement, 6);
    errno = EILSEQ;
    if (sqlite3_column_bytes(statement, 5) != SUMS || row->kind < ROW_JOB ||
        row->kind >= ROW_LIMIT || !header_verifies(row, sums))
        return -1;
    if (!data || row->size == 0)
        return 0;
    if ((bytes = sqlite3_column_blob(statement, 7)) == NULL)
        return -1;
    hash(sum, bytes, row->size);
    if (memcmp(sum, sums + SUM, SUM) != 0)
        return -1;
    return (row->data = blob_copy(bytes, row->size)) == NULL ? -1 : 0;
}

uint64_t
file_size(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}
