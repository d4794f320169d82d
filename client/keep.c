/* Failed tasks of a session, in files: `ladle replay` runs them again. */
#include "session.h"

#include "../proto/limits.h"
#include "../proto/replay.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TASKS = 8,        /* of a session */
    FILES = 100,      /* in the folder */
    BYTES = 64 << 20, /* likewise */
};

/* ---- the folder ------------------------------------------------------------------------------
 */

static int
make_directory(char *path)
{
    struct stat st;

    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    if (mkdir(path, 0700) == 0)
        return 0;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? 0 : -1;
}

static bool
is_ours(const char *name)
{
    size_t n = strlen(name);

    return n > strlen(REPLAY_SUFFIX) &&
           strcmp(name + n - strlen(REPLAY_SUFFIX), REPLAY_SUFFIX) == 0;
}

struct old {
    char name[64];
    struct timespec time;
    off_t size;
};

static int
by_age(const void *a, const void *b)
{
    const struct timespec *x = &((const struct old *)a)->time, *y = &((const struct old *)b)->time;

    if (x->tv_sec != y->tv_sec)
        return x->tv_sec < y->tv_sec ? -1 : 1;
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

/* What is there, the oldest first. To be freed. */
static struct old *
list(int directory, size_t *count_p)
{
    int copy = fcntl(directory, F_DUPFD_CLOEXEC, 0);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    struct old *all = NULL, *more;
    const struct dirent *entry;
    size_t n = 0, room = 0;
    struct stat st;

    *count_p = 0;
    if (dir == NULL) {
        if (copy >= 0)
            close(copy);
        return NULL;
    }
    rewinddir(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (!is_ours(entry->d_name) || strlen(entry->d_name) >= sizeof(all->name) ||
            fstatat(directory, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        if (n == room) {
            room = room == 0 ? 128 : 2 * room;
            if ((more = realloc(all, room * sizeof(*all))) == NULL)
                break;
            all = more;
        }
        all[n].time = st.st_mtim;
        all[n].size = st.st_size;
        strcpy(all[n++].name, entry->d_name);
    }
    closedir(dir);
    if (n > 0)
        qsort(all, n, sizeof(*all), by_age);
    *count_p = n;
    return all;
}

/* Room for one more file of `size` bytes: the oldest ones go. */
static void
make_room(int directory, size_t size)
{
    size_t count, total = size;
    struct old *all = list(directory, &count);

    for (size_t i = 0; i < count; i++)
        total += (size_t)all[i].size;
    for (size_t i = 0; i < count && (total > BYTES || count - i >= FILES); i++) {
        (void)unlinkat(directory, all[i].name, 0);
        total -= (size_t)all[i].size;
    }
    free(all);
}

/* ---- one task --------------------------------------------------------------------------------
 */

static size_t
bytes_of(const struct failure *f)
{
    size_t size = 4096 + (f->input == NULL ? 0 : f->input->size);

    for (uint32_t i = 0; i < f->spec->nshared; i++)
        size += f->spec->shared[i].size;
    return size;
}

static int
put_about(struct replay_writer *w, const futures_t *s, const struct failure *f)
{
    char directory[LIMIT_TEXT], text[LIMIT_TEXT + 1] = "";
    struct message m = {.type = MESSAGE_REPLAY};

    if (getcwd(directory, sizeof(directory)) == NULL)
        directory[0] = '\0';
    if (f->text != NULL)
        snprintf(text, sizeof(text), "%.*s", (int)f->text->size, (const char *)f->text->bytes);
    m.replay = (struct message_replay){.path = executable_path(s->executable),
                                       .directory = directory,
                                       .outcome = f->outcome,
                                       .worker = f->worker,
                                       .text = text,
                                       .when_ms = (uint64_t)clock_wall_ms()};
    return replay_put(w, &m);
}

static int
put_task(struct replay_writer *w, const futures_t *s, const struct failure *f)
{
    struct message job = {.type = MESSAGE_JOB}, slice = {.type = MESSAGE_SLICE};
    size_t size = f->input == NULL ? 0 : f->input->size;
    struct program program = f->spec->program;
    struct spec spec;

    memcpy(&spec, f->spec, sizeof(spec)); /* the count of references is not ours */
    memcpy(program.digest, executable_program(s->executable)->digest, sizeof(program.digest));
    spec.program = program;
    job.job = (struct message_job){.job = 1, .spec = &spec};
    slice.slice = (struct message_slice){
        .lease = 1,
        .job = 1,
        .first = f->index,
        .attempt = f->attempt,
        .columns = {.count = 1, .size = (uint32_t)size, .data = f->input, .length = size}};
    return replay_put(w, &job) == 0 ? replay_put(w, &slice) : -1;
}

static int
put_constants(struct replay_writer *w, futures_t *s, const struct failure *f)
{
    struct message m = {.type = MESSAGE_PROGRAM_PART};
    int failed = 0;

    for (uint32_t i = 0; failed == 0 && i < f->spec->nshared; i++) {
        const struct shared *shared = &f->spec->shared[i];
        struct message_program_wanted wanted = {.digest = shared->digest};
        bool known = false; /* the same bytes may have several names */

        for (uint32_t k = 0; k < i; k++)
            known |= strcmp(f->spec->shared[k].digest, shared->digest) == 0;
        while (!known && failed == 0 && wanted.offset < shared->size) {
            if (!session_shared_part(s, &wanted, &m.program_part))
                return -1;
            wanted.offset += m.program_part.columns.length;
            failed = m.program_part.columns.length == 0 ? -1 : replay_put(w, &m);
            blob_unref(m.program_part.columns.data);
        }
    }
    return failed;
}

static int
write_file(futures_t *s, const struct failure *f, FILE *file)
{
    struct replay_writer *w = replay_begin(file);

    if (w == NULL)
        return -1;
    return replay_end(w, put_about(w, s, f) == 0 && put_task(w, s, f) == 0 ? put_constants(w, s, f)
                                                                           : -1);
}

/* In full, or not at all: under another name first. */
static int
write_in(int directory, futures_t *s, const struct failure *f)
{
    char name[32], draft[32];
    int fd, failed = -1;
    FILE *file;

    snprintf(name, sizeof(name), "%s" REPLAY_SUFFIX, f->id);
    snprintf(draft, sizeof(draft), "%s.draft", f->id);
    fd = openat(directory, draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    if ((file = fdopen(fd, "w")) == NULL) {
        close(fd);
    } else {
        failed = write_file(s, f, file);
        if (fclose(file) != 0)
            failed = -1;
    }
    if (failed == 0)
        failed = renameat(directory, draft, directory, name);
    if (failed != 0)
        (void)unlinkat(directory, draft, 0);
    return failed;
}

static int
keep(futures_t *s, const struct failure *f)
{
    char path[4096];
    int directory, failed;

    if (bytes_of(f) > BYTES || strcmp(executable_path(s->executable), "/proc/self/exe") == 0 ||
        !replay_directory(path, sizeof(path)))
        return -1;
    if (executable_digest(s->executable) != 0 || make_directory(path) != 0 ||
        (directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return -1;
    make_room(directory, bytes_of(f));
    failed = write_in(directory, s, f);
    close(directory);
    return failed;
}

/* ---- the session -----------------------------------------------------------------------------
 */

void
session_keep_open(futures_t *s)
{
    char path[4096];

    if (s->executable == NULL || s->config.quiet || !replay_directory(path, sizeof(path)) ||
        getrandom(&s->core->failure_seed, sizeof(s->core->failure_seed), 0) !=
            sizeof(s->core->failure_seed))
        return;
    s->core->failures_wanted = TASKS;
}

void
session_keep(futures_t *s)
{
    struct failure *f;
    bool kept;

    session_lock(s);
    while ((f = core_unkept(s->core)) != NULL) {
        session_unlock(s); /* it stays as it is */
        kept = keep(s, f) == 0;
        session_lock(s);
        core_kept(s->core, f, kept);
        if (s->waiters > 0)
            pthread_cond_broadcast(&s->changed);
    }
    session_unlock(s);
}

const char *
session_kept(futures_t *s, uint64_t job, uint64_t index, char text[64])
{
    const struct failure *f = core_failure(s->core, job, index);

    text[0] = '\0';
    while (f != NULL && f->state == FAILURE_NEW) { /* it is being written */
        s->waiters++;
        pthread_cond_wait(&s->changed, &s->lock);
        s->waiters--;
    }
    if (f != NULL && f->state == FAILURE_KEPT)
        snprintf(text, 64, "\n  replay it: ladle replay %s", f->id);
    return text;
}
