#include "stored.h"

#include "../proto/limits.h"
#include "../proto/replay.h"
#include "keeper.h"
#include "talk.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT 5000 /* ms; of an answer */
#define PATH 4096

bool
stored_name(const char *what, char job[33], uint64_t *index)
{
    size_t n = strspn(what, "0123456789abcdef");
    const char *digits = what + n + 1;

    if (n == 0 || n > 32 || what[n] != '.' || !isdigit((unsigned char)*digits) ||
        digits[strspn(digits, "0123456789")] != '\0')
        return false;
    snprintf(job, 33, "%.*s", (int)n, what);
    errno = 0;
    *index = strtoull(digits, NULL, 10);
    return errno == 0;
}

/* ---- the folder ----------------------------------------------------------------------------- */

static void __attribute__((noreturn)) remove_at_end(int pidfd, const char *directory)
{
    struct pollfd end = {.fd = pidfd, .events = POLLIN};

    while (poll(&end, 1, -1) < 0 && errno == EINTR) {
    }
    keeper_remove(directory);
    _exit(0);
}

/* By a process that is nobody's child, lest the program waits for it, and holds no file open that
 * somebody waits for the end of. */
static int
remove_afterwards(const char *directory)
{
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0), status, null;
    pid_t pid;

    if (pidfd < 0)
        return -1;
    if ((pid = fork()) == 0) {
        if (setsid() < 0 || chdir("/") != 0 || (null = open("/dev/null", O_RDWR)) < 0)
            _exit(1);
        for (int fd = 0; fd < 3; fd++)
            (void)dup2(null, fd);
        if ((pid = fork()) == 0)
            remove_at_end(pidfd, directory);
        _exit(pid < 0);
    }
    close(pidfd);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return status == 0 ? 0 : -1;
}

static int
make_directory(char directory[PATH], char *why, size_t size)
{
    const char *base = getenv("TMPDIR");

    if (base == NULL || base[0] != '/' || strlen(base) > PATH / 2)
        base = "/tmp";
    snprintf(directory, PATH, "%s/ladle-replay-XXXXXX", base);
    if (mkdtemp(directory) == NULL) {
        snprintf(why, size, "cannot make a folder in %s: %s; set TMPDIR", base, strerror(errno));
        return -1;
    }
    if (remove_afterwards(directory) == 0)
        return 0;
    snprintf(why, size, "cannot start a process that removes %s: %s", directory, strerror(errno));
    keeper_remove(directory);
    return -1;
}

/* ---- the task -------------------------------------------------------------------------------- */

struct fetching {
    struct message_kept_wanted wanted;
    const char *directory;
    char program[PATH + LIMIT_NAME + 8];
    struct spec *spec; /* NULL: not there yet */
    struct replay_writer *w;
    FILE *executable;
    uint32_t constant; /* 0: the program comes; 1 ...: the constants, in their order */
    uint64_t offset;   /* in that */
};

static void
ask(struct talk *q)
{
    const struct fetching *f = q->arg;

    if (f->spec != NULL)
        talk_fail(q, "the link to the broker at %s broke; try once more", q->endpoint);
    else
        talk_say(q, &(struct message){.type = MESSAGE_KEPT_WANTED, .kept_wanted = f->wanted});
}

/* The same bytes may have several names. */
static bool
is_known(const struct spec *spec, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++) {
        if (strcmp(spec->shared[k].digest, spec->shared[i].digest) == 0)
            return true;
    }
    return false;
}

/* What is missing yet. */
static void
ask_part(struct talk *q)
{
    struct fetching *f = q->arg;
    const struct spec *spec = f->spec;
    uint32_t *i = &f->constant;

    while (*i > 0 && *i <= spec->nshared && f->offset == 0 &&
           (spec->shared[*i - 1].size == 0 || is_known(spec, *i - 1)))
        ++*i;
    if (*i > spec->nshared)
        talk_end(q);
    else
        talk_say(
            q, &(struct message){.type = MESSAGE_PROGRAM_WANTED,
                                 .program_wanted = {.digest = *i == 0 ? spec->program.digest
                                                                      : spec->shared[*i - 1].digest,
                                                    .offset = f->offset}});
}

static void
cannot_write(struct talk *q)
{
    const struct fetching *f = q->arg;

    talk_fail(q, "cannot write in %s: %s", f->directory, strerror(errno));
}

/* Its own name, for people, beside the task. */
static FILE *
create_program(struct fetching *f)
{
    const char *name = f->spec->program.name, *slash = strrchr(name, '/');
    int fd;

    if (slash != NULL)
        name = slash + 1;
    snprintf(f->program, sizeof(f->program), "%s/bin", f->directory);
    if (mkdir(f->program, 0700) != 0)
        return NULL;
    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        name = "program";
    snprintf(f->program, sizeof(f->program), "%s/bin/%s", f->directory, name);
    fd = open(f->program, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    return fd < 0 ? NULL : fdopen(fd, "w");
}

static int
put_task(struct fetching *f, const struct message_kept_task *m)
{
    struct message about = {.type = MESSAGE_REPLAY,
                            .replay = {.path = f->program,
                                       .directory = "",
                                       .outcome = m->outcome,
                                       .worker = m->worker,
                                       .text = ""}};
    struct message job = {.type = MESSAGE_JOB, .job = {.job = 1, .spec = f->spec}};
    struct message slice = {
        .type = MESSAGE_SLICE,
        .slice = {
            .lease = 1, .job = 1, .first = m->index, .attempt = m->attempt, .columns = m->columns}};

    return replay_put(f->w, &about) == 0 && replay_put(f->w, &job) == 0 ? replay_put(f->w, &slice)
                                                                        : -1;
}

static void
take_task(struct talk *q, const struct message_kept_task *m)
{
    struct fetching *f = q->arg;

    if (m->error != KEPT_NONE || m->spec == NULL) {
        talk_fail(q, "%s", m->text);
        return;
    }
    f->spec = spec_ref(m->spec);
    if (f->spec->program.digest[0] == '\0')
        talk_fail(q,
                  "its program is \"%s\" of the workers that offer it by this name; the broker's "
                  "store has only those that clients brought",
                  f->spec->program.name);
    else if ((f->executable = create_program(f)) == NULL || put_task(f, m) != 0)
        cannot_write(q);
    else
        ask_part(q);
}

static void
take_part(struct talk *q, struct message *part)
{
    struct fetching *f = q->arg;
    const struct message_program_part *m = &part->program_part;
    const struct columns *c = &m->columns;
    int failed = 0;

    if (f->spec == NULL || m->offset != f->offset)
        return;
    if (m->size == 0 || c->length == 0) {
        talk_fail(q, "the %s of the task cannot be had: %s",
                  f->constant == 0 ? "program" : "constants", m->text);
        return;
    }
    if (f->constant > 0)
        failed = replay_put(f->w, part);
    else if (fwrite(c->data->bytes + c->at, c->length, 1, f->executable) != 1)
        failed = -1;
    f->offset += c->length;
    if (failed == 0 && f->offset >= m->size) {
        if (f->constant++ == 0) {
            failed = fclose(f->executable);
            f->executable = NULL;
        }
        f->offset = 0;
    }
    if (failed != 0)
        cannot_write(q);
    else
        ask_part(q);
}

static void
take(struct talk *q, const struct message *m)
{
    struct message part;

    if (m->type == MESSAGE_KEPT) { /* there is no such job, or no store */
        talk_fail(q, "%s", m->kept.text);
    } else if (m->type == MESSAGE_KEPT_TASK) {
        take_task(q, &m->kept_task);
    } else if (m->type == MESSAGE_PROGRAM_PART) {
        part = *m;
        take_part(q, &part);
    }
}

int
stored_fetch(const char *broker, const char *job, uint64_t index, char *path, size_t path_size,
             char *why, size_t size)
{
    struct fetching f = {.wanted = {.action = KEPT_TASK, .id = job, .index = index}};
    struct talk q = {.endpoint = broker,
                     .name = "ladle",
                     .ask = ask,
                     .answer = take,
                     .arg = &f,
                     .why = why,
                     .size = size};
    char directory[PATH];
    FILE *file = NULL;
    int failed = -1;

    if (make_directory(directory, why, size) != 0)
        return -1;
    f.directory = directory;
    snprintf(path, path_size, "%s/task" REPLAY_SUFFIX, directory);
    if ((file = fopen(path, "wxe")) == NULL || (f.w = replay_begin(file)) == NULL) {
        cannot_write(&q);
    } else {
        failed = talk_run(&q, TIMEOUT);
        if (replay_end(f.w, failed) != 0 && failed == 0) {
            cannot_write(&q);
            failed = -1;
        }
    }
    if (file != NULL)
        fclose(file);
    if (f.executable != NULL)
        fclose(f.executable);
    spec_unref(f.spec);
    return failed;
}
