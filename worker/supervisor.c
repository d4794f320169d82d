#include "seats.h"

#include "environment.h"
#include "hierarchy.h"
#include "machine.h"

#include "../base/clock.h"
#include "../client/ladle.h"
#include "../proto/limits.h"
#include "../proto/wire.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define CACHE_BYTES (4ULL << 30)
#define GRACE_MS 5000

static __thread char error_text[512];

const char *
supervisor_error(void)
{
    return error_text;
}

static int __attribute__((format(printf, 1, 2))) fail(const char *format, ...)
{
    int error = errno;
    va_list args;

    va_start(args, format);
    vsnprintf(error_text, sizeof(error_text), format, args);
    va_end(args);
    errno = error;
    return -1;
}

/* ---- programs
 * ------------------------------------------------------------------------------------- */

static bool
is_used(void *arg, const char *digest)
{
    struct supervisor *s = arg;

    return runner_program_used(s->runner, digest) || runner_shared_used(s->runner, digest);
}

static void
look_for(struct supervisor *s, const struct program *program)
{
    const char *machine = program->machine;

    if (*program->digest == '\0') {
        if (seats_path(s, program) != NULL) {
            runner_program_ready(s->runner, program->name, s->now);
            return;
        }
        snprintf(s->why, sizeof(s->why),
                 "worker %s offers no program '%s': see ladle-worker --program", s->config.name,
                 program->name);
        runner_program_failed(s->runner, program->name, s->why, false, s->now);
    } else if (*machine != '\0' && strcmp(machine, machine_host()) != 0) {
        snprintf(s->why, sizeof(s->why), "program '%s' is for %s, this worker is %s", program->name,
                 machine, machine_host());
        runner_program_failed(s->runner, program->digest, s->why, false, s->now);
    } else if (programs_path(s->cache, CONTENT_PROGRAM, program->digest) != NULL) {
        runner_program_ready(s->runner, program->digest, s->now);
    } else if (programs_fetch(s->cache, CONTENT_PROGRAM, program->digest, program->name, s->now) !=
               0) {
        runner_program_failed(s->runner, program->digest, "out of memory", true, s->now);
    }
}

static void
look_for_constant(struct supervisor *s, const struct shared *shared)
{
    const char *path = programs_path(s->cache, CONTENT_CONSTANT, shared->digest);

    if (path != NULL)
        runner_shared_ready(s->runner, shared->digest, path, s->now);
    else if (programs_fetch(s->cache, CONTENT_CONSTANT, shared->digest, shared->name, s->now) != 0)
        runner_shared_failed(s->runner, shared->digest, "out of memory", true, s->now);
}

static void
answer_wants(struct supervisor *s)
{
    struct want *want;

    while ((want = s->wants) != NULL) {
        s->wants = want->next;
        if (want->constant)
            look_for_constant(s, want->spec->shared);
        else
            look_for(s, &want->spec->program);
        spec_unref(want->spec);
        free(want);
    }
}

static void
ask_for_parts(struct supervisor *s)
{
    struct message m = {.type = MESSAGE_PROGRAM_WANTED};

    while (s->cache != NULL &&
           programs_wanted(s->cache, &m.program_wanted.digest, &m.program_wanted.offset, s->now))
        (void)runner_say(s->runner, &m);
}

static void
on_program_part(struct supervisor *s, const struct message_program_part *part)
{
    const char *why;
    int result = programs_part(s->cache, CONTENT_PROGRAM, part, s->now, &why);

    if (result > 0)
        runner_program_ready(s->runner, part->digest, s->now);
    else if (result < 0)
        runner_program_failed(s->runner, part->digest, why, part->size == 0, s->now);
}

static void
give_up_parts(struct supervisor *s)
{
    enum content kind;
    char digest[65];
    const char *why;

    while (s->cache != NULL && programs_given_up(s->cache, &kind, digest, s->now, &why)) {
        if (kind == CONTENT_PROGRAM)
            runner_program_failed(s->runner, digest, why, true, s->now);
        else
            runner_shared_failed(s->runner, digest, why, true, s->now);
    }
}

static void
constant_is_here(struct supervisor *s, const char *digest)
{
    const char *path = programs_path(s->cache, CONTENT_CONSTANT, digest);

    if (path != NULL)
        runner_shared_ready(s->runner, digest, path, s->now);
    else
        runner_shared_failed(s->runner, digest, "a constant was taken out of the cache", true,
                             s->now);
}

static void
on_constant_part(struct supervisor *s, const struct message_program_part *part)
{
    const char *why;
    int result = programs_part(s->cache, CONTENT_CONSTANT, part, s->now, &why);

    if (result < 0)
        runner_shared_failed(s->runner, part->digest, why, part->size == 0, s->now);
    else if (result > 0)
        constant_is_here(s, part->digest);
}

/* Of a run before this one. */
static void
check_constants(struct supervisor *s)
{
    char digest[65];

    if (s->cache != NULL && programs_check(s->cache, digest))
        constant_is_here(s, digest);
}

static void
on_part(struct supervisor *s, const struct message_program_part *part)
{
    if (s->cache == NULL)
        return;
    on_program_part(s, part);
    on_constant_part(s, part);
}

/* ---- beginning and end
 * ------------------------------------------------------------------------------ */

static int
copy_programs(struct supervisor *s, const struct supervisor_config *config)
{
    s->named = calloc(config->nprograms + 1, sizeof(*s->named));
    s->names = calloc(config->nprograms + 1, sizeof(*s->names));
    if (s->named == NULL || s->names == NULL)
        return fail("out of memory");
    for (unsigned i = 0; i < config->nprograms; i++) {
        s->named[i].name = strdup(config->programs[i].name);
        s->named[i].path = strdup(config->programs[i].path);
        if (s->named[i].name == NULL || s->named[i].path == NULL)
            return fail("out of memory");
        s->names[i] = s->named[i].name;
    }
    return 0;
}

static int
copy_config(struct supervisor *s, const struct supervisor_config *config)
{
    s->config = *config;
    s->config.programs = NULL;
    s->config.name = strdup(config->name != NULL ? config->name : "");
    s->config.labels = strdup(config->labels != NULL ? config->labels : "");
    s->config.directory = NULL;
    s->config.local_environment = s->config.local_directory = NULL; /* the runner has them */
    s->config.local_program = config->local_program != NULL ? strdup(config->local_program) : NULL;
    if (s->config.name == NULL || s->config.labels == NULL ||
        (config->local_program != NULL && s->config.local_program == NULL))
        return fail("out of memory");
    if (s->config.cache_bytes == 0)
        s->config.cache_bytes = CACHE_BYTES;
    if (s->config.grace_ms == 0)
        s->config.grace_ms = GRACE_MS;
    if (s->config.memory == 0)
        s->config.memory = memory_offered();
    s->groups_text = "executors are not in control groups: their memory is watched";
    /* Not below the group of somebody's program: it may have plans of its own there. */
    if (!config->no_groups && config->local_program == NULL)
        s->groups = cgroups_open("", &s->groups_text);
    return copy_programs(s, config);
}

static int
open_directory(struct supervisor *s, const char *directory)
{
    if (directory == NULL)
        return s->config.local_program != NULL ? 0 : fail("a worker needs a directory");
    if ((s->cache = programs_open(directory, s->config.cache_bytes, is_used, s)) == NULL ||
        (s->places = places_new(directory)) == NULL)
        return fail("%s cannot be used: %s; see --directory", directory, strerror(errno));
    return 0;
}

/* This program's own arguments: in a local pool its executors get the same. */
static char *
own_arguments(size_t *size_p)
{
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    char *arguments = malloc(LIMIT_ARGUMENTS);
    size_t size = 0;
    ssize_t n;

    while (fd >= 0 && arguments != NULL && size < LIMIT_ARGUMENTS &&
           (n = read(fd, arguments + size, LIMIT_ARGUMENTS - size)) > 0)
        size += (size_t)n;
    if (fd >= 0)
        close(fd);
    while (size > 0 && arguments[size - 1] != '\0')
        size--; /* cut off in the middle of one */
    *size_p = size;
    return arguments;
}

static int
open_runner(struct supervisor *s, const struct supervisor_config *from)
{
    struct program program = {.name = s->config.local_program,
                              .machine = "",
                              .arguments = "",
                              .environment = from->local_environment,
                              .environment_size = from->local_environment_size,
                              .directory = from->local_directory};
    struct runner_config config = {
        .slots = s->config.slots,
        .memory = s->config.memory,
        .local = s->config.local_program != NULL,
        .program = &program,
        .tasks_per_executor = s->config.tasks_per_executor,
        .grace_us = s->config.grace_ms * 1000LL,
        .name = s->config.name,
        .hands = &seats_hands,
        .arg = s,
    };
    char *arguments = NULL;
    size_t size = 0;

    if (config.local)
        arguments = own_arguments(&size);
    if (arguments != NULL) {
        program.arguments = arguments;
        program.arguments_size = (uint32_t)size;
    }
    s->runner = runner_new(&config);
    free(arguments);
    if (s->runner == NULL)
        return fail("out of memory");
    s->nseats = runner_executors(s->runner);
    if ((s->seats = calloc(s->nseats, sizeof(*s->seats))) == NULL)
        return fail("out of memory");
    return 0;
}

static int
open_rest(struct supervisor *s)
{
    if (s->config.local_program == NULL)
        s->libraries = environment_libraries();
    /* A local pool's programs are its own: what their files say is no stranger's. */
    if ((s->frames = frames_new(s->config.local_program == NULL)) == NULL ||
        (s->receiving = arena_new()) == NULL || (s->sending = arena_new()) == NULL ||
        (s->envp = environment_new(s->config.name, s->libraries)) == NULL)
        return fail("out of memory");
    if (gethostname(s->host, sizeof(s->host) - 1) != 0)
        strcpy(s->host, "unknown");
    return 0;
}

struct supervisor *
supervisor_new(const struct supervisor_config *config, int64_t now)
{
    struct supervisor *s = calloc(1, sizeof(*s));
    int error;

    assert(config->slots > 0 && config->poller != NULL);
    if (s == NULL) {
        fail("out of memory");
        return NULL;
    }
    s->now = now;
    s->deadline = CLOCK_NEVER;
    if (copy_config(s, config) != 0 || open_runner(s, config) != 0 ||
        open_directory(s, config->directory) != 0 || open_rest(s) != 0) {
        error = errno;
        supervisor_free(s);
        errno = error;
        return NULL;
    }
    if (config->warm > 0 && s->config.local_program != NULL)
        runner_warm(s->runner, config->warm, now);
    return s;
}

static void
free_config(struct supervisor *s)
{
    union {
        const char *from;
        char *owned;
    } name = {s->config.name}, labels = {s->config.labels}, program = {s->config.local_program};

    free(name.owned);
    free(labels.owned);
    free(program.owned);
    for (unsigned i = 0; s->named != NULL && i < s->config.nprograms; i++) {
        free(s->named[i].name);
        free(s->named[i].path);
    }
    free(s->named);
    free(s->names);
}

static void
free_wants(struct supervisor *s)
{
    struct want *want;

    while ((want = s->wants) != NULL) {
        s->wants = want->next;
        spec_unref(want->spec);
        free(want);
    }
}

void
supervisor_free(struct supervisor *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < s->nseats && s->seats != NULL; i++)
        if (s->seats[i].process != NULL)
            process_signal(s->seats[i].process, SIGKILL);
    for (unsigned i = 0; i < s->nseats && s->seats != NULL; i++) {
        process_free(s->seats[i].process);
        free(s->seats[i].place);
    }
    cgroups_close(s->groups);
    free(s->seats);
    free_wants(s);
    runner_free(s->runner);
    programs_close(s->cache);
    places_free(s->places);
    frames_free(s->frames);
    arena_free(s->receiving);
    arena_free(s->sending);
    environment_free(s->envp);
    free(s->libraries);
    free_config(s);
    free(s);
}

/* ---- the broker's side
 * --------------------------------------------------------------------------------- */

void
supervisor_hello(struct supervisor *s, struct message *m)
{
    memset(m, 0, sizeof(*m));
    m->type = MESSAGE_HELLO;
    m->hello.role = ROLE_WORKER;
    m->hello.software = "ladle " LADLE_VERSION;
    m->hello.name = s->config.name;
    m->hello.host = s->host;
    m->hello.pid = (uint64_t)getpid();
    m->hello.window = WINDOW_WORKER;
    m->hello.slots = s->config.slots;
    m->hello.machine = machine_host();
    m->hello.labels = s->config.labels;
    m->hello.names = s->names;
    m->hello.nnames = s->config.nprograms;
    m->hello.memory = s->config.memory;
    if (s->config.ends_at > 0) {
        int64_t left = s->config.ends_at - clock_us();

        m->hello.left_ms = left > 0 ? 1 + (uint64_t)left / 1000 : 1; /* 0 would be for ever */
    }
}

const char *
supervisor_groups(const struct supervisor *s)
{
    return s->groups_text;
}

/* The broker may have given us another name: executors that start from now on have it in their
 * environment, and the others hear it from the runner. */
static void
rename_worker(struct supervisor *s, const char *name)
{
    union {
        const char *from;
        char *owned;
    } before = {s->config.name};
    char *copy, **envp;

    if (name == NULL || *name == '\0' || strcmp(name, s->config.name) == 0 ||
        (copy = strdup(name)) == NULL)
        return;
    if ((envp = environment_new(copy, s->libraries)) == NULL) {
        free(copy);
        return;
    }
    free(before.owned);
    s->config.name = copy;
    environment_free(s->envp);
    s->envp = envp;
}

void
supervisor_input(struct supervisor *s, const struct message *m, int64_t now)
{
    s->now = now;
    if (m->client != 0) { /* to a client in an executor */
        runner_input(s->runner, m, now);
        return;
    }
    switch (m->type) {
    case MESSAGE_WELCOME:
        rename_worker(s, m->welcome.name);
        break;
    case MESSAGE_PROGRAM_PART:
        on_part(s, &m->program_part);
        break;
    default:
        break;
    }
    runner_input(s->runner, m, now);
    answer_wants(s);
    ask_for_parts(s);
    runner_match(s->runner, now);
}

bool
supervisor_output(struct supervisor *s, struct message *m)
{
    return runner_output(s->runner, m);
}

void
supervisor_hold(struct supervisor *s, bool hold)
{
    if (s->hold == hold)
        return;
    s->hold = hold;
    for (unsigned i = 0; i < s->nseats; i++)
        if (s->seats[i].process != NULL)
            process_hold(s->seats[i].process, hold);
}

void
supervisor_tick(struct supervisor *s, int64_t now)
{
    int64_t at;

    s->now = now;
    s->deadline = CLOCK_NEVER;
    seats_bury(s);
    for (unsigned i = 0; i < s->nseats; i++)
        if (s->seats[i].process != NULL &&
            (at = process_tick(s->seats[i].process, now)) < s->deadline)
            s->deadline = at;
    check_constants(s);
    give_up_parts(s);
    ask_for_parts(s);
    runner_tick(s->runner, now);
}

int64_t
supervisor_deadline(const struct supervisor *s)
{
    int64_t at = runner_deadline(s->runner, s->now);
    int64_t parts = s->cache != NULL ? programs_deadline(s->cache) : CLOCK_NEVER;

    if (s->any_gone)
        return 0;
    if (parts < at)
        at = parts;
    return s->deadline < at ? s->deadline : at;
}

void
supervisor_lost(struct supervisor *s, int64_t now)
{
    s->now = now;
    free_wants(s);
    if (s->cache != NULL)
        programs_stop(s->cache);
    runner_lost(s->runner, now);
}

uint64_t
supervisor_dropped(const struct supervisor *s)
{
    return runner_dropped(s->runner);
}

void
supervisor_reset(struct supervisor *s, int64_t now)
{
    s->now = now;
    free_wants(s);
    if (s->cache != NULL)
        programs_stop(s->cache);
    runner_reset(s->runner, now);
}

void
supervisor_drain(struct supervisor *s, int64_t grace_ms, const char *why, int64_t now)
{
    s->now = now;
    runner_drain(s->runner, grace_ms * 1000, why, now);
}

bool
supervisor_idle(const struct supervisor *s)
{
    return runner_idle(s->runner);
}
