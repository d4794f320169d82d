/* One task again, in this very process: for `ladle replay`.
 *
 * The program comes to its first session, as an executor would, with LADLE_REPLAY in its
 * environment. The task runs there on a stack like those of executors, in a "serial" session, where
 * a debugger sees all of it and nothing stops it.
 */
#include "session.h"

#include "serve.h"
#include "shared.h"
#include "stacks.h"

#include "../proto/limits.h"
#include "../proto/replay.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_VARIABLE "LADLE_REPLAY"
#define OUTPUT_VARIABLE "LADLE_REPLAY_OUTPUT"

static struct {
    futures_t *session;
    struct replay *replay;
    struct spec *spec; /* with the paths of its constants */
    struct constants *constants;
    struct blob *result;
    char *path, *output;
} again;

bool
rerun_wanted(void)
{
    const char *path = getenv(FILE_VARIABLE);

    return path != NULL && *path != '\0';
}

/* The program is in its middle: what it does at its end, and what looks for leaks there, has no
 * business yet. */
static void __attribute__((noreturn)) leave(int status)
{
    fflush(NULL);
    _exit(status);
}

static void __attribute__((noreturn, format(printf, 1, 2))) give_up(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fprintf(stderr, "ladle replay: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    leave(1);
}

/* Executors map files: here these are in memory. */
static struct spec *
spec_with_constants(const struct replay *replay)
{
    static struct shared shared[LIMIT_SHARED];
    static char paths[LIMIT_SHARED][32];
    struct spec spec;

    memcpy(&spec, replay->spec, sizeof(spec));
    for (uint32_t i = 0; i < spec.nshared; i++) {
        snprintf(paths[i], sizeof(paths[i]), "/proc/self/fd/%d", replay->constants[i]);
        shared[i] = spec.shared[i];
        shared[i].path = replay->constants[i] < 0 ? "" : paths[i];
    }
    spec.shared = shared;
    return spec_new(&spec);
}

static void
write_output(const struct blob *result)
{
    FILE *file = fopen(again.output, "we");
    size_t size = result == NULL ? 0 : result->size;

    if (file == NULL || (size > 0 && fwrite(result->bytes, size, 1, file) != 1) ||
        fclose(file) != 0)
        give_up("cannot write %s: %s", again.output, strerror(errno));
}

static void
run(void)
{
    const struct replay *replay = again.replay;
    const struct spec *spec = again.spec;
    uint64_t number = spec->base + replay->index;
    struct task_run task = {.function = registry_find(spec->function),
                            .input = replay->input == NULL ? NULL : replay->input->bytes,
                            .size = replay->input == NULL ? 0 : replay->input->size,
                            .seed = spec->seed,
                            .stream = number,
                            .index = spec->singles ? 0 : number,
                            .attempt = replay->attempt,
                            .priority = spec->priority,
                            .worker = replay->worker,
                            .constants = again.constants,
                            .session = again.session};
    enum outcome outcome;
    char words[LIMIT_TEXT];

    if (task.function == NULL) {
        registry_unknown(spec->function, words, sizeof(words));
        give_up("%s", words);
    }
    outcome = task_run(&task, &again.result);
    if (outcome != OUTCOME_DONE)
        give_up("%s ended %s: %.*s", spec->function, outcome_name(outcome),
                again.result == NULL ? 0 : (int)again.result->size,
                again.result == NULL ? "" : (const char *)again.result->bytes);
    fflush(stdout);
    if (again.output != NULL)
        write_output(again.result);
    fprintf(stderr, "ladle replay: %s is DONE, with a result of %zu bytes\n", spec->function,
            again.result == NULL ? (size_t)0 : again.result->size);
    leave(0);
}

void
rerun(futures_t *s, const futures_config_t *config)
{
    const char *why = "", *output = getenv(OUTPUT_VARIABLE);
    futures_config_t serial = *config;

    again.path = strdup(getenv(FILE_VARIABLE));
    again.output = output == NULL ? NULL : strdup(output);
    /* Programs that the task starts are programs of their own. */
    unsetenv(FILE_VARIABLE);
    unsetenv(OUTPUT_VARIABLE);
    if (again.path == NULL || s == NULL)
        give_up("out of memory");
    if ((again.replay = replay_read(again.path, true, &why)) == NULL)
        give_up("%s cannot be read: %s", again.path, why);
    serial.endpoint = "serial";
    serial.program = NULL;
    again.session = s;
    again.spec = spec_with_constants(again.replay);
    if (session_open(s, &serial) != 0)
        give_up("%s", futures_error());
    stacks_open(s->config.stack_size, run);
    if (again.spec == NULL || stacks_reserve() != 0)
        give_up("out of memory");
    again.constants = constants_open(again.spec);
    stacks_switch_to_new();
    abort(); /* nobody enters this stack again */
}
