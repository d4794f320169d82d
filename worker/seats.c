/* seats.c - the hands of the runner: executors, and what they print. */
#include "seats.h"

#include "environment.h"

#include "../base/clock.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARK_US 10000 /* between two words about what was dropped, if tasks are short */

/* ---- the hands of the runner --------------------------------------------------------------------
 */

const char *
seats_path(struct supervisor *s, const struct program *program)
{
    if (s->config.local_program != NULL)
        return s->config.local_program;
    if (*program->digest != '\0')
        return programs_path(s->cache, CONTENT_PROGRAM, program->digest);
    for (unsigned i = 0; i < s->config.nprograms; i++)
        if (strcmp(s->named[i].name, program->name) == 0)
            return s->named[i].path;
    return NULL;
}

/* Does it speak of the program, for which there is no hope then? Else of this machine, which may
 * recover. */
static bool
is_hopeless(int error)
{
    switch (error) {
    case ENOEXEC:
    case ENOENT:
    case EACCES:
    case EPERM:
    case ELIBBAD:
    case EINVAL:
    case EISDIR:
    case ENOTDIR:
    case ELOOP:
    case E2BIG:
        return true;
    default:
        return false;
    }
}

static void
tell_start(struct supervisor *s, const char *path, int error)
{
    const char *hint = "";

    if (error == ENOENT && access(path, F_OK) == 0)
        hint = ": its dynamic loader is missing here; it was built for another system";
    else if (error == EACCES && access(path, X_OK) == 0)
        hint = ": the directory may be mounted noexec; see ladle-worker --directory";
    snprintf(s->why, sizeof(s->why), "%s%s", strerror(error), hint);
}

/* NULL if executors can work in it; else why not, in a sentence. */
static const char *
bad_directory(struct supervisor *s, const char *directory)
{
    struct stat st;

    if (stat(directory, &st) == 0 && !S_ISDIR(st.st_mode))
        errno = ENOTDIR;
    else if (access(directory, X_OK) == 0)
        return NULL;
    snprintf(
        s->why, sizeof(s->why),
        "directory %s cannot be worked in on worker %s: %s; the session's config names it, and "
        "each worker must have it",
        directory, s->config.name, strerror(errno));
    return s->why;
}

static void process_message(void *arg, unsigned number, const struct message *m);
static void process_output(void *arg, unsigned number, int stream, const char *bytes, size_t size);
static void process_gone(void *arg, unsigned number);

static const struct process_events events = {process_message, process_output, process_gone};

/* Where its executor works. -1: nowhere now; with *why, never. */
static int
find_place(struct supervisor *s, struct seat *seat, const struct program *program,
           const char **directory_p, const char **why)
{
    if (program->directory != NULL && *program->directory != '\0') {
        *directory_p = program->directory;
        return (*why = bad_directory(s, program->directory)) == NULL ? 0 : -1;
    }
    if (s->places == NULL)
        return 0;
    *directory_p = seat->place = places_make(s->places);
    return seat->place == NULL ? -1 : 0;
}

static struct process *
start_process(struct supervisor *s, struct process_config *config, const struct program *program)
{
    struct process *process;
    char **envp = NULL;
    int error;

    if (program->environment_size > 0) {
        envp = environment_with(s->envp, program->environment, program->environment_size,
                                s->libraries);
        if (envp == NULL)
            return NULL;
        config->envp = envp;
    }
    process = process_start(config);
    error = errno;
    environment_free(envp);
    errno = error;
    return process;
}

static struct board *
hand_start(void *arg, unsigned number, const struct program *program, const char **why)
{
    struct supervisor *s = arg;
    struct seat *seat = &s->seats[number];
    const char *path = seats_path(s, program);
    struct process_config config = {
        .poller = s->config.poller,
        .receiving = s->receiving,
        .sending = s->sending,
        .events = &events,
        .arg = s,
        .number = number,
        .frames = s->frames,
        .path = path,
        .name = *program->name != '\0' ? program->name : "program",
        .arguments = program->arguments,
        .arguments_size = program->arguments_size,
        .envp = s->envp,
        .hold = s->hold,
        .groups = s->groups,
    };

    assert(seat->process == NULL);
    if (path == NULL) {
        *why = "the program's file went away from this worker's cache";
        return NULL;
    }
    *seat = (struct seat){0};
    throttle_init(&seat->throttle, s->now);
    if (find_place(s, seat, program, &config.directory, why) != 0)
        return NULL;
    if ((seat->process = start_process(s, &config, program)) != NULL)
        return process_board(seat->process);
    if (is_hopeless(errno)) {
        tell_start(s, path, errno);
        *why = s->why;
    }
    if (seat->place != NULL)
        places_remove(seat->place);
    free(seat->place);
    seat->place = NULL;
    return NULL;
}

static void
hand_send(void *arg, unsigned number, const struct message *m)
{
    struct supervisor *s = arg;

    if (m->type == MESSAGE_SLICE)
        s->seats[number].job = m->slice.job;
    process_send(s->seats[number].process, m);
}

static void
hand_hang_up(void *arg, unsigned number)
{
    struct supervisor *s = arg;

    process_hang_up(s->seats[number].process);
}

static void
hand_signal(void *arg, unsigned number, int signal)
{
    struct supervisor *s = arg;

    process_signal(s->seats[number].process, signal);
}

static void
hand_limit(void *arg, unsigned number, uint64_t bytes)
{
    struct supervisor *s = arg;
    int64_t at = process_limit(s->seats[number].process, bytes, s->now);

    if (at < s->deadline)
        s->deadline = at;
}

static uint64_t
hand_usage(void *arg, unsigned number)
{
    struct supervisor *s = arg;

    return process_usage(s->seats[number].process);
}

static void
hand_sweep(void *arg, unsigned number)
{
    struct supervisor *s = arg;

    process_sweep(s->seats[number].process);
}

static void
want(struct supervisor *s, const struct spec *spec, bool constant)
{
    struct want *want = calloc(1, sizeof(*want));

    if (want == NULL || (want->spec = spec_new(spec)) == NULL) {
        free(want);
        return; /* the broker takes the slice back when it finds nothing done */
    }
    want->constant = constant;
    want->next = s->wants;
    s->wants = want;
}

static void
hand_want(void *arg, const struct program *program)
{
    want(arg, &(struct spec){.program = *program}, false);
}

static void
hand_want_shared(void *arg, const struct shared *shared)
{
    want(arg, &(struct spec){.shared = shared, .nshared = 1}, true);
}

static void
hand_drop_shared(void *arg, const char *digest)
{
    struct supervisor *s = arg;

    if (s->cache != NULL)
        programs_drop(s->cache, CONTENT_CONSTANT, digest);
}

const struct runner_hands seats_hands = {
    .start = hand_start,
    .send = hand_send,
    .hang_up = hand_hang_up,
    .signal = hand_signal,
    .limit = hand_limit,
    .usage = hand_usage,
    .sweep = hand_sweep,
    .want = hand_want,
    .want_shared = hand_want_shared,
    .drop_shared = hand_drop_shared,
};

/* ---- what executors do
 * ---------------------------------------------------------------------------- */

static void
say_output(struct supervisor *s, const struct seat *seat, int stream, const char *bytes,
           size_t size)
{
    struct message m = {.type = MESSAGE_OUTPUT};
    struct blob *data = blob_copy(bytes, size);

    if (data == NULL)
        return;
    m.output.job = seat->job;
    m.output.worker = s->config.name;
    m.output.stream = (uint32_t)stream;
    m.output.columns =
        (struct columns){.count = 1, .size = (uint32_t)size, .data = data, .length = size};
    (void)runner_say(s->runner, &m);
    blob_unref(data);
}

/* How much was left out. */
static void
say_dropped(struct supervisor *s, struct seat *seat, int stream)
{
    char marker[80];
    size_t n = throttle_marker(&seat->throttle, marker, sizeof(marker));

    if (n == 0)
        return;
    say_output(s, seat, stream, marker, n);
    seat->marked = clock_us();
}

static void
process_message(void *arg, unsigned number, const struct message *m)
{
    struct supervisor *s = arg;
    struct seat *seat = &s->seats[number];

    s->now = clock_us();
    if (m->type == MESSAGE_HELLO && m->client == 0)
        seat->met = true;
    /* Before its task has ended, after which nobody may listen any more. */
    if (m->type == MESSAGE_RESULTS && m->client == 0 && s->now - seat->marked >= MARK_US)
        say_dropped(s, seat, seat->dropped);
    runner_heard(s->runner, number, m, s->now);
}

static void
process_output(void *arg, unsigned number, int stream, const char *bytes, size_t size)
{
    struct supervisor *s = arg;
    struct seat *seat = &s->seats[number];
    uint64_t before = seat->throttle.dropped, dropped;
    size_t pass;

    if (!seat->met || seat->job == 0)
        return; /* before futures_new(): kept for the case that it does not start */
    (void)runner_job_of(s->runner, number, &seat->job);
    pass = s->hold ? 0 : throttle_pass(&seat->throttle, size, clock_us());
    if (s->hold)
        seat->throttle.dropped += size;
    if (pass < size)
        seat->dropped = stream;
    if (pass == 0)
        return;
    if (before > 0) {
        /* What was dropped before comes before; what of this piece, after. */
        dropped = seat->throttle.dropped - before;
        seat->throttle.dropped = before;
        say_dropped(s, seat, stream);
        seat->throttle.dropped = dropped;
    }
    say_output(s, seat, stream, bytes, pass);
}

static void
process_gone(void *arg, unsigned number)
{
    struct supervisor *s = arg;

    s->seats[number].gone = true;
    s->any_gone = true;
}

static void
bury(struct supervisor *s, unsigned number)
{
    struct seat *seat = &s->seats[number];
    struct process_end how;
    struct runner_end end;

    process_finish(seat->process, &how);
    say_dropped(s, seat, seat->dropped);
    end = (struct runner_end){how.cause, how.words, how.where, how.killed, how.clean};
    runner_ended(s->runner, number, &end, s->now);
    process_free(seat->process);
    if (seat->place != NULL)
        places_remove(seat->place);
    free(seat->place);
    *seat = (struct seat){0};
}

void
seats_bury(struct supervisor *s)
{
    if (!s->any_gone)
        return;
    s->any_gone = false;
    for (unsigned i = 0; i < s->nseats; i++)
        if (s->seats[i].gone)
            bury(s, i);
}
