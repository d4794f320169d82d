/* ladle-worker: options, start and stop. */
#include "machine.h"
#include "shell.h"
#include "slots.h"

#include "../base/clock.h"
#include "../base/duration.h"
#include "../base/log.h"
#include "../client/ladle.h"
#include "../net/link.h"
#include "../proto/limits.h"

#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BROKER "tcp://127.0.0.1:5570"
#define MOST_SLOTS 4096
#define MOST_PROGRAMS 64
#define KEEP_S 120
#define MOST_KEEP_S (7 * 24 * 3600)
#define GRACE_MS 5000
#define DRAIN_MS 30000
#define EXIT_MS 1000 /* before a time limit: to say goodbye, and to clean up */

struct options {
    const char *broker;
    unsigned slots;
    char name[LIMIT_NAME + 1];
    char labels[LIMIT_TEXT + 1];
    struct supervisor_program programs[MOST_PROGRAMS];
    unsigned nprograms;
    char directory[PATH_MAX];
    uint64_t cache_bytes;
    unsigned long keep_s;
    uint64_t memory;
    int64_t grace_ms, drain_ms;
    int64_t limit_ms; /* of its time; 0: none */
    bool no_groups;
    enum log_level level;
    bool with_parent;
};

enum {
    OPTION_LABEL = 256,
    OPTION_PROGRAM,
    OPTION_DIRECTORY,
    OPTION_CACHE_SIZE,
    OPTION_LOG_LEVEL,
    OPTION_WITH_PARENT,
    OPTION_NAME,
    OPTION_KEEP,
    OPTION_MEMORY,
    OPTION_NO_CGROUP,
    OPTION_GRACE,
    OPTION_DRAIN_GRACE,
    OPTION_TIME_LIMIT,
};

static const struct argp_option options[] = {
    {"broker", 'b', "ENDPOINT", 0,
     "The broker, as tcp://host:port or ipc://path. Default: $LADLE_BROKER, or " BROKER, 0},
    {"slots", 'n', "N", 0,
     "Tasks to run at once. Default: the cores that this process may use, by affinity and control "
     "group",
     0},
    {"memory", OPTION_MEMORY, "BYTES", 0,
     "What tasks that ask for memory may have together, with K, M, G or T. Default: that of this "
     "machine or control group",
     0},
    {"no-cgroup", OPTION_NO_CGROUP, NULL, 0,
     "Make no control groups for executors: their memory is watched instead", 0},
    {"grace", OPTION_GRACE, "DURATION", 0,
     "From SIGTERM to SIGKILL, for a task that is out of its time, or cancelled. Default: 5s", 0},
    {"drain-grace", OPTION_DRAIN_GRACE, "DURATION", 0,
     "How long what runs may go on in a drain. Default: 30s", 0},
    {"time-limit", OPTION_TIME_LIMIT, "DURATION", 0,
     "End before that, and start nothing that cannot end in time: 30s, 10m, 2h, HH:MM:SS. Default: "
     "up to $SLURM_JOB_END_TIME, if that is set",
     0},
    {"name", OPTION_NAME, "NAME", 0, "Default: the host's name. The broker makes it unique", 0},
    {"label", OPTION_LABEL, "KEY[=VALUE],...", 0,
     "What this node has, for tasks that need it; may be given several times. arch and host are "
     "there by themselves",
     0},
    {"program", OPTION_PROGRAM, "NAME=PATH", 0,
     "Offer an installed program by name; may be given several times", 0},
    {"directory", OPTION_DIRECTORY, "PATH", 0,
     "Where programs are kept and executors work. Default: ladle below $XDG_CACHE_HOME or "
     "~/.cache",
     0},
    {"cache-size", OPTION_CACHE_SIZE, "BYTES", 0,
     "Of kept programs, with K, M or G; the least recently used go first. Default: 4G", 0},
    {"keep", OPTION_KEEP, "SECONDS", 0,
     "Without a broker, go on running for so long, and keep the results for it. Default: 120", 0},
    {"log-level", OPTION_LOG_LEVEL, "LEVEL", 0, "error, warn, info (default) or debug", 0},
    {"verbose", 'v', NULL, 0, "The same as --log-level=debug", 0},
    {"with-parent", OPTION_WITH_PARENT, NULL, OPTION_HIDDEN, NULL, 0},
    {0}};

/* Visible, or else argp does not find it. */
__attribute__((visibility("default"))) const char *argp_program_version =
    "ladle-worker " LADLE_VERSION;

static bool
is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    return true;
}

static void
parse_slots(struct options *o, const char *arg, struct argp_state *state)
{
    char *end;
    unsigned long n = strtoul(arg, &end, 10);

    if (*arg < '0' || *arg > '9' || *end != '\0' || n < 1 || n > MOST_SLOTS)
        argp_error(state, "'%s' is no number of slots: from 1 to %d", arg, MOST_SLOTS);
    o->slots = (unsigned)n;
}

static void
parse_name(struct options *o, const char *arg, struct argp_state *state)
{
    if (*arg == '\0' || strlen(arg) > LIMIT_NAME || !is_plain(arg))
        argp_error(state, "'%s' is no name: from 1 to %d bytes, without control characters", arg,
                   LIMIT_NAME);
    snprintf(o->name, sizeof(o->name), "%s", arg);
}

static bool
add_labels(struct options *o, const char *labels)
{
    size_t have = strlen(o->labels);
    int n =
        snprintf(o->labels + have, sizeof(o->labels) - have, "%s%s", have > 0 ? "," : "", labels);

    return n >= 0 && (size_t)n < sizeof(o->labels) - have;
}

static void
parse_labels(struct options *o, const char *arg, struct argp_state *state)
{
    bool key = false;

    for (const char *c = arg;; c++) {
        if (*c == '\0' || *c == ',' || *c == '=') {
            if (!key)
                argp_error(state, "'%s' is no label: key, key=value, or several with commas", arg);
            key = *c == '=';
            if (*c == '\0')
                break;
            if (*c == '=')
                c += strcspn(c, ",") - 1;
        } else if (*c != ' ') {
            key = true;
        }
    }
    if (!is_plain(arg) || !add_labels(o, arg))
        argp_error(state, "'%s' is no label: too long, or with control characters", arg);
}

static void
parse_program(struct options *o, const char *arg, struct argp_state *state)
{
    const char *equals = strchr(arg, '=');
    char *name, *path;
    struct stat st;

    if (equals == NULL || equals == arg || equals[1] == '\0' || equals - arg > LIMIT_NAME ||
        !is_plain(arg))
        argp_error(state, "'%s' is no program to offer: --program NAME=PATH", arg);
    if (o->nprograms == MOST_PROGRAMS)
        argp_error(state, "'%s' is one program too many: at most %d", arg, MOST_PROGRAMS);
    name = strndup(arg, (size_t)(equals - arg));
    path = realpath(equals + 1, NULL);
    if (name == NULL || path == NULL || stat(path, &st) != 0)
        argp_failure(state, 64, errno, "program '%s' cannot be offered", arg);
    else if (!S_ISREG(st.st_mode) || access(path, X_OK) != 0)
        argp_failure(state, 64, 0, "program '%s' cannot be offered: it is no executable file", arg);
    o->programs[o->nprograms++] = (struct supervisor_program){name, path};
}

static uint64_t
parse_size(const char *arg, struct argp_state *state)
{
    static const char units[] = "KMGT";
    char *end;
    unsigned long long n;
    const char *unit;
    int shift = 0;

    errno = 0;
    n = strtoull(arg, &end, 10);
    if (*end != '\0' && (unit = strchr(units, *end & ~0x20)) != NULL && *unit != '\0') {
        shift = 10 * (int)(unit - units + 1);
        end++;
    }
    if (*arg < '0' || *arg > '9' || *end != '\0' || errno != 0 || n == 0 || n > UINT64_MAX >> shift)
        argp_error(state, "'%s' is no size: bytes, or with K, M, G or T behind", arg);
    return n << shift;
}

static int64_t
parse_duration(const char *arg, int64_t least, struct argp_state *state)
{
    int64_t ms = -1;

    if (duration_parse(arg, &ms) != 0 || ms < least)
        argp_error(state, "'%s' is no duration: 500ms, 30s, 10m, 2h, 1d or HH:MM:SS", arg);
    return ms;
}

static void
parse_keep(struct options *o, const char *arg, struct argp_state *state)
{
    char *end;

    o->keep_s = strtoul(arg, &end, 10);
    if (*arg < '0' || *arg > '9' || *end != '\0' || o->keep_s > MOST_KEEP_S)
        argp_error(state, "'%s' is no number of seconds: from 0 to %d", arg, MOST_KEEP_S);
}

static void
parse_directory(struct options *o, const char *arg, struct argp_state *state)
{
    if (*arg == '\0' || strlen(arg) >= sizeof(o->directory) - 256)
        argp_error(state, "'%s' is no directory", arg);
    strcpy(o->directory, arg);
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    char why[512];

    switch (key) {
    case 'b':
        if (endpoint_check(arg, why, sizeof(why)) != 0)
            argp_error(state, "broker '%s': %s", arg, why);
        o->broker = arg;
        return 0;
    case 'n':
        parse_slots(o, arg, state);
        return 0;
    case OPTION_NAME:
        parse_name(o, arg, state);
        return 0;
    case OPTION_LABEL:
        parse_labels(o, arg, state);
        return 0;
    case OPTION_PROGRAM:
        parse_program(o, arg, state);
        return 0;
    case OPTION_KEEP:
        parse_keep(o, arg, state);
        return 0;
    case OPTION_DIRECTORY:
        parse_directory(o, arg, state);
        return 0;
    case OPTION_CACHE_SIZE:
        o->cache_bytes = parse_size(arg, state);
        return 0;
    case OPTION_MEMORY:
        o->memory = parse_size(arg, state);
        return 0;
    case OPTION_NO_CGROUP:
        o->no_groups = true;
        return 0;
    case OPTION_GRACE:
        o->grace_ms = parse_duration(arg, 1, state);
        return 0;
    case OPTION_DRAIN_GRACE:
        o->drain_ms = parse_duration(arg, 0, state);
        return 0;
    case OPTION_TIME_LIMIT:
        o->limit_ms = parse_duration(arg, 1, state);
        return 0;
    case OPTION_LOG_LEVEL:
        if (log_level_parse(arg, &o->level) != 0)
            argp_error(state, "no log level '%s': it is error, warn, info or debug", arg);
        return 0;
    case 'v':
        o->level = LOG_DEBUG;
        return 0;
    case OPTION_WITH_PARENT:
        o->with_parent = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'; the broker is given with --broker", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What was not given. -1, and a sentence was said. */
static int
complete(struct options *o)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char host[LIMIT_NAME + 1] = "", why[512], own[LIMIT_NAME + 64];

    if (o->broker == NULL) {
        o->broker = getenv("LADLE_BROKER");
        if (o->broker == NULL || *o->broker == '\0')
            o->broker = BROKER;
        if (endpoint_check(o->broker, why, sizeof(why)) != 0) {
            fprintf(stderr, "ladle-worker: LADLE_BROKER is '%s': %s\n", o->broker, why);
            return -1;
        }
    }
    if (o->slots == 0)
        o->slots = slots_offered();
    if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0' || !is_plain(host))
        strcpy(host, "unknown");
    if (o->name[0] == '\0')
        strcpy(o->name, host);
    snprintf(own, sizeof(own), "arch=%s,host=%s", machine_host(), host);
    if (!add_labels(o, own)) {
        fprintf(stderr, "ladle-worker: too many labels: %d bytes at most\n", LIMIT_TEXT);
        return -1;
    }
    if (o->directory[0] != '\0')
        return 0;
    if (cache != NULL && *cache == '/')
        snprintf(o->directory, sizeof(o->directory), "%s/ladle", cache);
    else if (home != NULL && *home == '/')
        snprintf(o->directory, sizeof(o->directory), "%s/.cache/ladle", home);
    else
        snprintf(o->directory, sizeof(o->directory), "/var/tmp/ladle-%ld", (long)getuid());
    return 0;
}

/* Make it, and what is above it; and make it absolute, since executors work elsewhere. */
static int
make_directory(struct options *o)
{
    char real[PATH_MAX];

    for (char *c = o->directory + 1; *c != '\0'; c++) {
        if (*c != '/')
            continue;
        *c = '\0';
        (void)mkdir(o->directory, 0777);
        *c = '/';
    }
    if ((mkdir(o->directory, 0777) != 0 && errno != EEXIST) ||
        realpath(o->directory, real) == NULL) {
        fprintf(stderr,
                "ladle-worker: cannot make the directory %s: %s; choose another with "
                "--directory\n",
                o->directory, strerror(errno));
        return -1;
    }
    strcpy(o->directory, real);
    return 0;
}

/* An executor takes seven descriptors. */
static void
allow_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void
block_signals(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL); /* before there are threads: they inherit it */
}

/* As a batch system told, if nobody told otherwise: seconds since 1970. */
static int64_t
limit_of_batch(void)
{
    const char *text = getenv("SLURM_JOB_END_TIME");
    char *end;
    long long at, left;

    if (text == NULL || *text == '\0')
        return 0;
    at = strtoll(text, &end, 10);
    left = at - (long long)time(NULL);
    if (*end == '\0' && left > 0 && left < 10LL * 366 * 86400)
        return left * 1000;
    log_warn("SLURM_JOB_END_TIME is '%s', which is no time to come: without a time limit", text);
    return 0;
}

/* When nothing may run any more: then there is time for SIGTERM and SIGKILL, and to leave. */
static int64_t
end_of(const struct options *o, int64_t now)
{
    int64_t limit = o->limit_ms > 0 ? o->limit_ms : limit_of_batch();
    int64_t reserve = o->grace_ms + EXIT_MS;

    if (limit == 0)
        return 0;
    if (reserve > limit / 4)
        reserve = limit / 4;
    return now + (limit - reserve) * 1000;
}

static int
run(const struct options *o)
{
    struct supervisor_config config = {
        .slots = o->slots,
        .name = o->name,
        .labels = o->labels,
        .directory = o->directory,
        .cache_bytes = o->cache_bytes,
        .programs = o->programs,
        .nprograms = o->nprograms,
        .grace_ms = (unsigned)(o->grace_ms < UINT_MAX ? o->grace_ms : UINT_MAX),
        .memory = o->memory,
        .no_groups = o->no_groups,
        .ends_at = end_of(o, clock_us()),
    };
    struct shell *shell;
    char why[1024];
    int rc;

    if ((shell = shell_new(o->broker, &config, (int64_t)o->keep_s * 1000000, o->drain_ms, why,
                           sizeof(why))) == NULL) {
        fprintf(stderr, "ladle-worker: %s\n", why);
        return 1;
    }
    rc = shell_run(shell);
    shell_free(shell);
    return rc == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        NULL,
        "The daemon on every node that shall work: it fetches the programs whose tasks it is "
        "given, starts them as executors, a process for each slot, and runs tasks in them."
        "\vOnce a broker took it in it says `ladle-worker: ready, NAME with N slots at ENDPOINT` "
        "on standard output; its log goes to standard error. SIGTERM and SIGUSR1 drain it: no more "
        "tasks, what runs is finished or given back. A second SIGTERM ends it at once.",
        NULL,
        NULL,
        NULL};
    static struct options o = {
        .level = LOG_INFO, .keep_s = KEEP_S, .grace_ms = GRACE_MS, .drain_ms = DRAIN_MS};
    pid_t parent = getppid();

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    log_open("ladle-worker", o.level);
    /* Whoever started us for one run is gone: there is nobody to drain for. */
    if (o.with_parent && (prctl(PR_SET_PDEATHSIG, SIGHUP) != 0 || getppid() != parent))
        return 1;
    if (complete(&o) != 0 || make_directory(&o) != 0)
        return 1;
    block_signals();
    allow_descriptors();
    return run(&o);
}
