/* ladle-broker: options, start and stop. */
#include "../base/log.h"
#include "../client/ladle.h"
#include "bindings.h"
#include "shell.h"
#include "store.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define BINDINGS 16

struct options {
    const char *endpoints[BINDINGS];
    unsigned count;
    bool insecure, with_parent;
    const char *port_file;
    struct depot_config store;
    enum log_level level;
};

enum {
    OPTION_INSECURE = 256,
    OPTION_PORT_FILE,
    OPTION_LOG_LEVEL,
    OPTION_WITH_PARENT,
    OPTION_STORE,
    OPTION_SALVAGE,
    OPTION_KEEP_RESULTS,
    OPTION_STORE_SIZE,
    OPTION_CRASH_AT
};

static const struct argp_option options[] = {
    {"bind", 'b', "ENDPOINT", 0,
     "Listen at tcp://address:port (port 0: any free one) or ipc://path; may be given several "
     "times. Default: " BINDING_DEFAULT,
     0},
    {"insecure", OPTION_INSECURE, NULL, 0,
     "Allow endpoints that other machines can reach, although traffic is neither encrypted nor "
     "authenticated",
     0},
    {"port-file", OPTION_PORT_FILE, "PATH", 0,
     "Write the endpoints, one a line, to this file once they are bound, and remove it at the end",
     0},
    {"store", OPTION_STORE, "PATH", 0,
     "Keep detached jobs in this directory, so that they outlive their clients and this broker. "
     "Without it, detached jobs are rejected",
     0},
    {"keep-results", OPTION_KEEP_RESULTS, "TIME", 0,
     "How long the results of a detached job are kept after its end: 90s, 30m, 12h or 7d (the "
     "default)",
     0},
    {"store-size", OPTION_STORE_SIZE, "SIZE", 0,
     "How large the store may become before the oldest results go: 500M, 10G (the default) or 1T",
     0},
    {"salvage", OPTION_SALVAGE, NULL, 0,
     "If the store is damaged, keep what verifies, list what is lost in the log, and go on", 0},
    {"crash-at", OPTION_CRASH_AT, "STEP", OPTION_HIDDEN, NULL, 0},
    {"log-level", OPTION_LOG_LEVEL, "LEVEL", 0, "error, warn, info (default) or debug", 0},
    {"with-parent", OPTION_WITH_PARENT, NULL, OPTION_HIDDEN, NULL, 0},
    {0}};

struct unit {
    char letter;
    uint64_t factor;
};

/* "12h" and the like; 0: it is no such number. */
static uint64_t
quantity(const char *text, const struct unit *units)
{
    unsigned long long n;
    char *end;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *text == '-')
        return 0;
    for (; units->letter != '\0'; units++) {
        if (*end == units->letter && end[1] == '\0' && n <= UINT64_MAX / 2 / units->factor)
            return n * units->factor;
    }
    return 0;
}

static error_t
parse_store(int key, char *arg, struct argp_state *state)
{
    static const struct unit times[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {0, 0}};
    static const struct unit sizes[] = {
        {'K', 1ull << 10}, {'M', 1ull << 20}, {'G', 1ull << 30}, {'T', 1ull << 40}, {0, 0}};
    struct options *o = state->input;

    switch (key) {
    case OPTION_STORE:
        o->store.path = arg;
        return 0;
    case OPTION_SALVAGE:
        o->store.salvage = true;
        return 0;
    case OPTION_KEEP_RESULTS:
        if ((o->store.keep_s = quantity(arg, times)) == 0)
            argp_error(state, "no time '%s': it is like 90s, 30m, 12h or 7d", arg);
        return 0;
    case OPTION_STORE_SIZE:
        if ((o->store.most_bytes = quantity(arg, sizes)) == 0)
            argp_error(state, "no size '%s': it is like 500M, 10G or 1T", arg);
        return 0;
    case OPTION_CRASH_AT:
        store_crash_at(strtoull(arg, NULL, 10));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Visible, or else argp does not find it. */
__attribute__((visibility("default"))) const char *argp_program_version =
    "ladle-broker " LADLE_VERSION;

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'b':
        if (o->count == BINDINGS)
            argp_error(state, "at most %d endpoints", BINDINGS);
        o->endpoints[o->count++] = arg;
        return 0;
    case OPTION_INSECURE:
        o->insecure = true;
        return 0;
    case OPTION_PORT_FILE:
        o->port_file = arg;
        return 0;
    case OPTION_LOG_LEVEL:
        if (log_level_parse(arg, &o->level) != 0)
            argp_error(state, "no log level '%s': it is error, warn, info or debug", arg);
        return 0;
    case OPTION_WITH_PARENT:
        o->with_parent = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'; endpoints are given with --bind", arg);
        return 0;
    case ARGP_KEY_END:
        if (o->store.path == NULL &&
            (o->store.salvage || o->store.keep_s > 0 || o->store.most_bytes > 0))
            argp_error(state, "there is no store: give it with --store PATH");
        return 0;
    default:
        return parse_store(key, arg, state);
    }
}

/* Every peer is a descriptor; without room for one more, libzmq can only spin. */
static void
allow_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int
write_port_file(const char *path, const struct shell *shell, unsigned count)
{
    char temporary[4096];
    FILE *file;
    int ok;

    /* Whoever waits for the file must not read half of it. */
    if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if ((file = fopen(temporary, "we")) == NULL)
        return -1;
    for (unsigned i = 0; i < count; i++)
        fprintf(file, "%s\n", shell_endpoint(shell, i));
    ok = !ferror(file);
    ok = fclose(file) == 0 && ok;
    return ok ? rename(temporary, path) : -1;
}

static int
run(const struct options *o)
{
    char why[1024];
    struct shell *shell;
    int rc;

    if ((shell = shell_new(o->endpoints, o->count, o->insecure, &o->store, why, sizeof(why))) ==
        NULL) {
        fprintf(stderr, "ladle-broker: %s\n", why);
        return 1;
    }
    if (o->insecure)
        log_warn("traffic is neither encrypted nor authenticated (--insecure)");
    if (o->port_file != NULL && write_port_file(o->port_file, shell, o->count) != 0) {
        fprintf(stderr, "ladle-broker: cannot write %s: %s\n", o->port_file, strerror(errno));
        shell_free(shell);
        return 1;
    }
    for (unsigned i = 0; i < o->count; i++)
        printf("ladle-broker: ready at %s\n", shell_endpoint(shell, i));
    fflush(stdout);
    if ((rc = shell_run(shell)) != 0)
        log_error("cannot go on: %s", strerror(errno));
    shell_free(shell);
    if (o->port_file != NULL)
        unlink(o->port_file);
    return rc == 0 ? 0 : 1;
}

int
main(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        NULL,
        "The broker of a grid: clients and workers connect to it, and it spreads the clients' "
        "tasks over the workers.\vWhen it listens it says `ladle-broker: ready at ENDPOINT` on "
        "standard output, a line for each endpoint; its log goes to standard error. SIGTERM and "
        "SIGINT end it.",
        NULL,
        NULL,
        NULL};
    struct options o = {.level = LOG_INFO};
    pid_t parent = getppid();

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.count == 0)
        o.endpoints[o.count++] = BINDING_DEFAULT;
    log_open("ladle-broker", o.level);
    if (o.with_parent && (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent))
        return 1;
    signal(SIGPIPE, SIG_IGN);
    allow_descriptors();
    return run(&o);
}
