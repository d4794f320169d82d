#include "disk.h"

#include "chaos.h"
#include "deposits.h"

#include "../../broker/files.h"
#include "../../broker/store.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct disk_row {
    struct row row; /* with a header of its own */
    TAILQ_ENTRY(disk_row) link;
};
TAILQ_HEAD(row_list, disk_row);

struct disk_file {
    char name[65];
    bool whole;
    size_t size;
    uint8_t bytes[64];
    TAILQ_ENTRY(disk_file) link;
};

struct disk {
    struct sim *sim;
    struct row_list rows; /* by number */
    TAILQ_HEAD(, disk_file) files;
    int64_t full; /* until then */
    bool fails;
    unsigned left; /* steps before the broker is killed; 0: it is not */
    bool killed;
};

struct store { /* a broker's hold on it */
    struct disk *disk;
    bool begun, failed; /* failed: after an fsync that did, nothing may be written */
    struct row_list added;
    uint64_t *removed;
    size_t nremoved, room;
};

static struct disk *used;

static void
row_free(struct row_list *list, struct disk_row *r)
{
    TAILQ_REMOVE(list, r, link);
    blob_unref(r->row.data);
    free((void *)(uintptr_t)r->row.header);
    free(r);
}

struct disk *
disk_new(struct sim *s)
{
    struct disk *d = calloc(1, sizeof(*d));

    assert(d != NULL);
    d->sim = s;
    TAILQ_INIT(&d->rows);
    TAILQ_INIT(&d->files);
    return d;
}

void
disk_free(struct disk *d)
{
    struct disk_file *f;

    while (!TAILQ_EMPTY(&d->rows))
        row_free(&d->rows, TAILQ_FIRST(&d->rows));
    while ((f = TAILQ_FIRST(&d->files)) != NULL) {
        TAILQ_REMOVE(&d->files, f, link);
        free(f);
    }
    free(d);
}

void
disk_use(struct disk *d)
{
    used = d;
}

/* ---- what goes wrong ----------------------------------------------------------------------------
 */

bool
disk_was_full(const struct disk *d, int64_t since)
{
    return d->full > since;
}

void
disk_fail(struct disk *d)
{
    d->fails = true;
}

void
disk_crash(struct disk *d, unsigned steps)
{
    d->left = steps;
}

bool
disk_killed(const struct disk *d)
{
    return d->killed;
}

/* False: the broker does not come to the next one. */
static bool
step(struct disk *d)
{
    if (d->left > 0 && --d->left == 0) {
        sim_trace(d->sim, "the broker is killed while it writes");
        d->killed = true;
    }
    if (d->killed)
        errno = EIO;
    return !d->killed;
}

/* It is found to be full when it is written to, and no sooner. */
static void
maybe_fill(struct disk *d)
{
    struct sim *s = d->sim;

    if (s->now < d->full || !chaos_strikes(s, FAULT_DISK_FULL))
        return;
    d->full = s->now + random_between(&s->random, 1, 2000000);
    sim_trace(s, "the disk is full until %" PRId64, d->full);
}

static bool
has_room(struct disk *d)
{
    if (d->sim->now >= d->full)
        return true;
    errno = ENOSPC;
    return false;
}

/* ---- transactions -------------------------------------------------------------------------------
 */

static int
undo(struct store *s)
{
    int error = errno;

    while (!TAILQ_EMPTY(&s->added))
        row_free(&s->added, TAILQ_FIRST(&s->added));
    s->nremoved = 0;
    s->begun = false;
    errno = error;
    return -1;
}

int
store_begin(struct store *s)
{
    if (s->failed)
        sim_fail(s->disk->sim, "the store is written to after its disk failed");
    assert(!s->begun);
    if (!step(s->disk))
        return -1;
    s->begun = true;
    maybe_fill(s->disk);
    return 0;
}

int
store_add(struct store *s, const struct row *row)
{
    struct disk_row *r = calloc(1, sizeof(*r));
    void *header = malloc(row->header_size + 1);

    assert(s->begun && r != NULL && header != NULL);
    r->row = *row;
    if (row->header_size > 0)
        memcpy(header, row->header, row->header_size);
    r->row.header = header;
    r->row.at = 0;
    r->row.data = row->size > 0 ? blob_copy(row->data->bytes + row->at, row->size) : NULL;
    TAILQ_INSERT_TAIL(&s->added, r, link);
    return step(s->disk) && has_room(s->disk) ? 0 : undo(s);
}

int
store_remove(struct store *s, uint64_t number)
{
    assert(s->begun);
    if (s->nremoved == s->room) {
        s->room = s->room == 0 ? 64 : 2 * s->room;
        s->removed = realloc(s->removed, s->room * sizeof(*s->removed));
        assert(s->removed != NULL);
    }
    s->removed[s->nremoved++] = number;
    return step(s->disk) && has_room(s->disk) ? 0 : undo(s);
}

static void
insert(struct disk *d, struct disk_row *r)
{
    struct disk_row *before = TAILQ_LAST(&d->rows, row_list);

    while (before != NULL && before->row.number >= r->row.number) {
        if (before->row.number == r->row.number)
            sim_fail(d->sim, "row %" PRIu64 " is written twice", r->row.number);
        before = TAILQ_PREV(before, row_list, link);
    }
    if (before == NULL)
        TAILQ_INSERT_HEAD(&d->rows, r, link);
    else
        TAILQ_INSERT_AFTER(&d->rows, before, r, link);
}

/* From here on it is on disk, whoever hears of it. */
static void
apply(struct store *s)
{
    struct disk *d = s->disk;
    struct disk_row *r, *next;

    while ((r = TAILQ_FIRST(&s->added)) != NULL) {
        TAILQ_REMOVE(&s->added, r, link);
        insert(d, r);
        deposits_written(d->sim, &r->row);
    }
    for (size_t i = 0; i < s->nremoved; i++) {
        for (r = TAILQ_FIRST(&d->rows); r != NULL; r = next) {
            next = TAILQ_NEXT(r, link);
            if (r->row.number != s->removed[i])
                continue;
            deposits_removed(d->sim, &r->row);
            row_free(&d->rows, r);
        }
    }
    s->nremoved = 0;
    s->begun = false;
}

int
store_commit(struct store *s)
{
    struct disk *d = s->disk;

    assert(s->begun);
    if (!step(d) || !has_room(d))
        return undo(s);
    if (d->fails) {
        bool there = random_chance(&d->sim->random, 50);

        sim_trace(d->sim, "an fsync fails; what was written is %s", there ? "there" : "gone");
        d->fails = false;
        s->failed = true;
        if (there)
            apply(s);
        errno = EIO;
        return undo(s);
    }
    apply(s);
    return step(d) ? 0 : -1;
}

/* ---- reading ------------------------------------------------------------------------------------
 */

int
store_read(struct store *s, uint64_t number, struct row *row)
{
    const struct disk_row *r;

    TAILQ_FOREACH_REVERSE(r, &s->disk->rows, row_list, link)
    {
        if (r->row.number != number)
            continue;
        *row = r->row;
        row->data = row->data == NULL ? NULL : blob_ref(row->data);
        return 0;
    }
    errno = ENOENT;
    return -1;
}

int
store_load(struct store *s, store_visitor *visit, void *arg, char *why, size_t size)
{
    const struct disk_row *r;

    TAILQ_FOREACH (r, &s->disk->rows, link) {
        if (visit(arg, &r->row) == 0)
            continue;
        snprintf(why, size, "row %" PRIu64 ": %s", r->row.number, strerror(errno));
        return -1;
    }
    return 0;
}

struct store *
store_open(const char *path, bool salvage, char *why, size_t size)
{
    struct store *s = calloc(1, sizeof(*s));

    (void)path, (void)salvage, (void)why, (void)size;
    assert(s != NULL && used != NULL);
    s->disk = used;
    TAILQ_INIT(&s->added);
    used->killed = used->fails = false;
    used->left = 0;
    return s;
}

void
store_close(struct store *s)
{
    if (s == NULL)
        return;
    (void)undo(s);
    free(s->removed);
    free(s);
}

const char *
store_path(const struct store *s)
{
    (void)s;
    return "store";
}

const char *
store_error(const struct store *s)
{
    (void)s;
    return "the disk failed";
}

/* ---- files --------------------------------------------------------------------------------------
 */

struct files {
    struct disk *disk;
};

static struct disk_file *
file_find(const struct disk *d, const char *name)
{
    struct disk_file *f;

    TAILQ_FOREACH (f, &d->files, link) {
        if (strcmp(f->name, name) == 0)
            return f;
    }
    return NULL;
}

static void
file_remove(struct disk *d, struct disk_file *f)
{
    TAILQ_REMOVE(&d->files, f, link);
    free(f);
}

struct files *
files_open(const char *path)
{
    struct files *f = calloc(1, sizeof(*f));
    struct disk_file *file, *next;

    (void)path;
    assert(f != NULL);
    f->disk = used;
    for (file = TAILQ_FIRST(&used->files); file != NULL; file = next) {
        next = TAILQ_NEXT(file, link);
        if (!file->whole)
            file_remove(used, file);
    }
    return f;
}

void
files_close(struct files *f)
{
    free(f);
}

bool
files_have(const struct files *f, const char *digest)
{
    const struct disk_file *file = file_find(f->disk, digest);

    return file != NULL && file->whole;
}

int
files_write(struct files *f, const char *digest, uint64_t offset, const void *data, size_t size)
{
    struct disk_file *file = file_find(f->disk, digest);

    if (!step(f->disk) || !has_room(f->disk))
        return -1;
    if (file == NULL) {
        file = calloc(1, sizeof(*file));
        assert(file != NULL);
        snprintf(file->name, sizeof(file->name), "%s", digest);
        TAILQ_INSERT_TAIL(&f->disk->files, file, link);
    }
    assert(!file->whole && offset + size <= sizeof(file->bytes));
    memcpy(file->bytes + offset, data, size);
    file->size = offset + size;
    return 0;
}

int
files_finish(struct files *f, const char *digest)
{
    struct disk_file *file = file_find(f->disk, digest);

    if (!step(f->disk))
        return -1;
    assert(file != NULL);
    file->whole = true;
    return step(f->disk) ? 0 : -1;
}

struct blob *
files_read(const struct files *f, const char *digest, uint64_t offset, size_t most,
           uint64_t *size_p)
{
    const struct disk_file *file = file_find(f->disk, digest);
    size_t left;

    if (file == NULL || !file->whole)
        sim_fail(f->disk->sim, "the store does not have a program that its jobs need");
    left = offset < file->size ? file->size - offset : 0;
    *size_p = file->size;
    return blob_copy(file->bytes + file->size - left, left < most ? left : most);
}

void
files_sweep(struct files *f, bool (*wanted)(void *arg, const char *digest), void *arg)
{
    struct disk_file *file, *next;

    for (file = TAILQ_FIRST(&f->disk->files); file != NULL; file = next) {
        next = TAILQ_NEXT(file, link);
        if (!wanted(arg, file->name))
            file_remove(f->disk, file);
    }
}
