/* ladle replay: a failed task again, here and now. */
#include "../proto/replay.h"
#include "command.h"
#include "stored.h"

#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATH 4096

struct options {
    const char *what; /* an id, a file, or JOB.INDEX */
    const char *debugger, *output, *broker;
    bool list;
};

enum { OPTION_LIST = 256 };

static const struct argp_option options[] = {
    {"debugger", 'd', "COMMAND", 0,
     "Run it under this: gdb, lldb, valgrind, \"gdb -batch -ex run -ex bt\"", 0},
    {"output", 'o', "FILE", 0, "Write its result there", 0},
    {"broker", 'b', "ENDPOINT", 0,
     "Of a detached job: tcp://host:port or ipc://path. Default: $LADLE_BROKER, else "
     "tcp://127.0.0.1:5570",
     0},
    {"list", OPTION_LIST, NULL, 0, "List the tasks that can be replayed, the latest first", 0},
    {0}};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'd':
        o->debugger = arg;
        return 0;
    case 'o':
        o->output = arg;
        return 0;
    case 'b':
        o->broker = arg;
        return 0;
    case OPTION_LIST:
        o->list = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->what != NULL)
            argp_error(state, "one task at a time: '%s' is too many", arg);
        o->what = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->what == NULL && !o->list)
            argp_error(state, "which task? `ladle replay --list` shows them");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- words --------------------------------------------------------------------------------- */

static const char *
task_name(const struct replay *r, char *text, size_t size)
{
    unsigned long long number = r->spec->base + r->index;

    if (r->spec->singles)
        snprintf(text, size, "%s", r->spec->function);
    else
        snprintf(text, size, "%s[%llu]", r->spec->function, number);
    return text;
}

static const char *
time_of(const struct replay *r, char *text, size_t size)
{
    time_t seconds = (time_t)(r->when_ms / 1000);
    struct tm tm;

    if (localtime_r(&seconds, &tm) == NULL || strftime(text, size, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(text, size, "?");
    return text;
}

/* ---- the list ------------------------------------------------------------------------------ */

/* The latest first. */
static int
by_time(const struct dirent **a, const struct dirent **b)
{
    char directory[PATH], path[2 * PATH];
    struct stat x = {0}, y = {0};

    if (!replay_directory(directory, sizeof(directory)))
        return 0;
    snprintf(path, sizeof(path), "%s/%s", directory, (*a)->d_name);
    (void)stat(path, &x);
    snprintf(path, sizeof(path), "%s/%s", directory, (*b)->d_name);
    (void)stat(path, &y);
    if (x.st_mtim.tv_sec != y.st_mtim.tv_sec)
        return x.st_mtim.tv_sec > y.st_mtim.tv_sec ? -1 : 1;
    return (x.st_mtim.tv_nsec < y.st_mtim.tv_nsec) - (x.st_mtim.tv_nsec > y.st_mtim.tv_nsec);
}

static int
is_replay(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);

    return n > strlen(REPLAY_SUFFIX) &&
           strcmp(entry->d_name + n - strlen(REPLAY_SUFFIX), REPLAY_SUFFIX) == 0;
}

static void
print_row(const char *directory, const char *name)
{
    char path[2 * PATH], task[512], when[32];
    int id = (int)(strlen(name) - strlen(REPLAY_SUFFIX));
    const char *why, *slash;
    struct replay *r;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    if ((r = replay_read(path, false, &why)) == NULL) {
        printf("%-8.*s  (%s)\n", id, name, why);
        return;
    }
    slash = strrchr(r->path, '/');
    printf("%-8.*s  %s  %-9s  %s of %s: %.*s\n", id, name, time_of(r, when, sizeof(when)),
           outcome_name(r->outcome), task_name(r, task, sizeof(task)),
           slash == NULL ? r->path : slash + 1, (int)strcspn(r->text, "\n"), r->text);
    replay_free(r);
}

static int
list(void)
{
    char directory[PATH];
    struct dirent **all;
    int n;

    if (!replay_directory(directory, sizeof(directory))) {
        fprintf(stderr, "ladle replay: no tasks are kept: LADLE_REPLAY_DIR is empty, or there is "
                        "no home directory\n");
        return 1;
    }
    if ((n = scandir(directory, &all, is_replay, by_time)) < 0 && errno != ENOENT) {
        fprintf(stderr, "ladle replay: cannot read %s: %s\n", directory, strerror(errno));
        return 1;
    }
    for (int i = 0; i < n; i++) {
        print_row(directory, all[i]->d_name);
        free(all[i]);
    }
    if (n >= 0)
        free(all);
    return 0;
}

/* ---- the program --------------------------------------------------------------------------- */

static bool
digest_is(const char *path, const char *expected)
{
    unsigned char hash[crypto_hash_sha256_BYTES], bytes[64 << 10];
    char digest[2 * sizeof(hash) + 1];
    crypto_hash_sha256_state state;
    FILE *file = fopen(path, "re");
    size_t n;

    if (file == NULL)
        return false;
    crypto_hash_sha256_init(&state);
    while ((n = fread(bytes, 1, sizeof(bytes), file)) > 0)
        crypto_hash_sha256_update(&state, bytes, n);
    fclose(file);
    crypto_hash_sha256_final(&state, hash);
    sodium_bin2hex(digest, sizeof(digest), hash, sizeof(hash));
    return strcmp(digest, expected) == 0;
}

static int
check_program(const struct replay *r)
{
    if (access(r->path, X_OK) != 0) {
        fprintf(stderr, "ladle replay: %s: %s; it is the program that has to be run\n", r->path,
                strerror(errno));
        return -1;
    }
    if (!digest_is(r->path, r->spec->program.digest))
        fprintf(stderr,
                "ladle replay: %s is not the same any more as when the task failed: it may "
                "do something else now\n",
                r->path);
    return 0;
}

/* Where its client worked, or its executors, if that was said. */
static void
enter_directory(const struct replay *r)
{
    const char *directory = r->spec->program.directory;

    if (*directory == '\0')
        directory = r->directory;
    if (*directory != '\0' && chdir(directory) != 0)
        fprintf(stderr, "ladle replay: cannot work in %s: %s; going on here\n", directory,
                strerror(errno));
}

static int
set_environment(const struct replay *r, const char *file, const char *output)
{
    const struct program *p = &r->spec->program;
    const char *at = p->environment, *end = at + p->environment_size;
    char *variable;

    for (; at < end; at += strlen(at) + 1)
        if ((variable = strdup(at)) == NULL || putenv(variable) != 0)
            return -1;
    unsetenv("LADLE_EXECUTOR");
    if (output != NULL && setenv("LADLE_REPLAY_OUTPUT", output, 1) != 0)
        return -1;
    return setenv("LADLE_REPLAY", file, 1);
}

/* What stands between the debugger and the program. */
static const char *
separator(const char *debugger)
{
    size_t n = strcspn(debugger, " \t");
    char name[64];
    const char *slash;

    snprintf(name, sizeof(name), "%.*s", (int)n, debugger);
    slash = strrchr(name, '/');
    slash = slash == NULL ? name : slash + 1;
    if (strstr(slash, "gdb") != NULL)
        return "--args ";
    return strstr(slash, "lldb") != NULL ? "-- " : "";
}

/* The shell takes the debugger's command line apart: `sh -c 'exec gdb --args "$@"' sh PROGRAM ...`
 */
static void
execute(const struct replay *r, const char *debugger)
{
    const struct program *p = &r->spec->program;
    const char **argv = calloc(p->arguments_size + 6, sizeof(*argv));
    union {
        const char **from;
        char *const *argv;
    } all = {argv};
    char *script;
    size_t n = 0;

    if (argv == NULL)
        return;
    if (debugger != NULL) {
        if (asprintf(&script, "exec %s %s\"$@\"", debugger, separator(debugger)) < 0)
            return;
        argv[n++] = "sh";
        argv[n++] = "-c";
        argv[n++] = script;
        argv[n++] = "sh";
        argv[n++] = r->path;
    }
    for (const char *at = p->arguments, *end = at + p->arguments_size; at < end;
         at += strlen(at) + 1)
        if (debugger == NULL || at != p->arguments) /* the debugger calls it by its path */
            argv[n++] = at;
    if (n == 0)
        argv[n++] = r->path;
    execv(debugger != NULL ? "/bin/sh" : r->path, all.argv);
}

/* A broker does not know when it was, and there may have been no worker. */
static void
say_what(const struct replay *r)
{
    char task[512], when[32];

    fprintf(stderr, "ladle replay: %s of %s, which ended %s", task_name(r, task, sizeof(task)),
            r->path, outcome_name(r->outcome));
    if (r->worker[0] != '\0')
        fprintf(stderr, " on worker %s", r->worker);
    if (r->when_ms != 0)
        fprintf(stderr, " at %s", time_of(r, when, sizeof(when)));
    if (r->attempt > 0)
        fprintf(stderr, ", in attempt %u", r->attempt);
    fputc('\n', stderr);
}

static int
run(const char *file, const struct options *o)
{
    char output[PATH];
    const char *why;
    struct replay *r = replay_read(file, false, &why);

    if (r == NULL) {
        fprintf(stderr, "ladle replay: %s: %s\n", file, why);
        return 1;
    }
    if (check_program(r) != 0)
        return 1;
    say_what(r);
    if (o->output != NULL) {
        if (o->output[0] != '/' && getcwd(output, sizeof(output)) != NULL &&
            strlen(output) + strlen(o->output) + 2 < sizeof(output))
            snprintf(output + strlen(output), sizeof(output) - strlen(output), "/%s", o->output);
        else
            snprintf(output, sizeof(output), "%s", o->output);
    }
    enter_directory(r);
    if (set_environment(r, file, o->output != NULL ? output : NULL) == 0)
        execute(r, o->debugger);
    fprintf(stderr, "ladle replay: cannot start %s: %s\n",
            o->debugger != NULL ? "/bin/sh" : r->path, strerror(errno));
    return 1;
}

static int
fetch(const struct options *o, const char *job, uint64_t index, char path[PATH])
{
    const char *broker = o->broker != NULL ? o->broker : getenv("LADLE_BROKER");
    char why[1024];

    if (broker == NULL || broker[0] == '\0')
        broker = "tcp://127.0.0.1:5570";
    if (stored_fetch(broker, job, index, path, PATH, why, sizeof(why)) == 0)
        return 0;
    fprintf(stderr, "ladle replay: %s\n", why);
    return -1;
}

/* An id stands for a file in the folder; what has a slash in it, or is there, is a file; else it
 * may be a task of a detached job. */
static int
find_file(const struct options *o, char path[PATH])
{
    char directory[PATH - 300], job[33], *full;
    const char *what = o->what;
    uint64_t index;

    if (replay_directory(directory, sizeof(directory)) && strchr(what, '/') == NULL &&
        strlen(what) < 256) {
        snprintf(path, PATH, "%s/%s" REPLAY_SUFFIX, directory, what);
        if (access(path, F_OK) == 0)
            return 0;
    }
    if ((full = realpath(what, NULL)) != NULL && strlen(full) < PATH) {
        strcpy(path, full);
        free(full);
        return 0;
    }
    free(full);
    if (stored_name(what, job, &index))
        return fetch(o, job, index, path);
    fprintf(stderr,
            "ladle replay: there is no task '%s'; `ladle replay --list` shows those that are "
            "kept: the latest %d, if they are not too large. Those of detached jobs are called "
            "JOB.INDEX, by the ids that `ladle jobs` shows\n",
            what, 100);
    return -1;
}

int
command_replay(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "ID|JOB.INDEX",
        "Run a failed task again, in the foreground: its program with the same arguments and "
        "input, "
        "without a worker and without a timeout.\vThe last line of a failed task's error tells its "
        "ID; a broker with a store keeps those of detached jobs, as JOB.INDEX: the beginning of "
        "the "
        "job's id, and the task's index, counted from 0. The exit status is 0 if the task ends "
        "well this time, and 1 if it fails; if it is "
        "killed by a signal, so is this command.",
        NULL,
        NULL,
        NULL};
    struct options o = {0};
    char path[PATH];

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (sodium_init() < 0) {
        fprintf(stderr, "ladle replay: libsodium does not work here\n");
        return 1;
    }
    if (o.list)
        return list();
    return find_file(&o, path) == 0 ? run(path, &o) : 1;
}
