/* seats.c - the hands of the runner: executors, and what they print. */
#include "seats.h"
#include "spawn.h"

#include "../base/clock.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the hands of the runner --------------------------------------------------------------------
 */

const char *
seats_path(struct supervisor *s, const struct program *program)
{
    if (s->config.local_program != NULL)
        return s->config.local_program;
    if (*program->digest != '\0')
        return programs_path(s->cache, program->digest);
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

static void process_message(void *arg, unsigned number, const struct message *m);
static void process_output(void *arg, unsigned number, int stream, const char *bytes, size_t size);
static void process_gone(void *arg, unsigned number);

static const struct process_events events = {process_message, process_output, process_gone};

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
        .path = path,
        .arguments = program->arguments,
        .arguments_size = program->arguments_size,
        .envp = s->envp,
        .hold = s->hold,
    };

    assert(seat->process == NULL);
    if (path == NULL) {
        *why = "the program's file went away from this worker's cache";
        return NULL;
    }
    *seat = (struct seat){0};
    throttle_init(&seat->throttle, s->now);
    if (s->places != NULL) {
        if ((seat->place = places_make(s->places)) == NULL)
            return NULL;
        config.directory = seat->place;
    }
    if ((seat->process = process_start(&config)) != NULL)
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
hand_want(void *arg, const struct program *program)
{
    struct supervisor *s = arg;
    struct spec spec = {.program = *program};
    struct want *want = calloc(1, sizeof(*want));

    if (want == NULL || (want->spec = spec_new(&spec)) == NULL) {
        free(want);
        return; /* the broker takes the slice back when it finds nothing done */
    }
    want->next = s->wants;
    s->wants = want;
}

const struct runner_hands seats_hands = {hand_start, hand_send, hand_hang_up, hand_signal,
                                         hand_want};

/* ---- what executors do
 * ---------------------------------------------------------------------------- */

static void
process_message(void *arg, unsigned number, const struct message *m)
{
    struct supervisor *s = arg;

    if (m->type == MESSAGE_HELLO)
        s->seats[number].met = true;
    s->now = clock_us();
    runner_heard(s->runner, number, m, s->now);
}

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

static void
process_output(void *arg, unsigned number, int stream, const char *bytes, size_t size)
{
    struct supervisor *s = arg;
    struct seat *seat = &s->seats[number];
    uint64_t before = seat->throttle.dropped, dropped;
    char marker[80];
    size_t pass, n;

    if (!seat->met || seat->job == 0)
        return; /* before futures_new(): kept for the case that it does not start */
    (void)runner_job_of(s->runner, number, &seat->job);
    pass = s->hold ? 0 : throttle_pass(&seat->throttle, size, clock_us());
    if (s->hold)
        seat->throttle.dropped += size;
    if (pass == 0)
        return;
    if (before > 0) {
        /* What was dropped before comes before; what of this piece, after. */
        dropped = seat->throttle.dropped - before;
        seat->throttle.dropped = before;
        if ((n = throttle_marker(&seat->throttle, marker, sizeof(marker))) > 0)
            say_output(s, seat, stream, marker, n);
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
    char marker[80];
    size_t n;

    process_finish(seat->process, &how);
    if ((n = throttle_marker(&seat->throttle, marker, sizeof(marker))) > 0)
        say_output(s, seat, 2, marker, n);
    end = (struct runner_end){how.cause, how.words, how.killed, how.clean};
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
    spawn_sweep();
}
