/* sim - runs seeds of the simulation: see script/simulate, which builds it first. */
#include "herd.h"
#include "scale.h"
#include "sim.h"

#include "../../base/log.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct options {
    struct herd_config herd;
    bool one, trace;
    unsigned storm;
    struct scale_config scale;
};

enum {
    KEY_SEED = 256,
    KEY_SEEDS,
    KEY_TRACE,
    KEY_MINUTES,
    KEY_JOBS,
    KEY_WORKERS,
    KEY_TASKS,
    KEY_STORM
};

static const struct argp_option options[] = {
    {"seed", KEY_SEED, "N", 0, "Run this one", 0},
    {"trace", KEY_TRACE, NULL, 0, "With all that happens, and all checks after each step", 0},
    {"seeds", KEY_SEEDS, "FROM-TO", 0, "Run these", 0},
    {"minutes", KEY_MINUTES, "M", 0, "Run seeds for so long", 0},
    {"jobs", KEY_JOBS, "N", 0, "So many processes at a time; else one for each core", 0},
    {"storm", KEY_STORM, "N", 0, "The broker of so many workers goes and comes back", 0},
    {"workers", KEY_WORKERS, "N", 0, "How does cost grow up to so many workers ...", 0},
    {"tasks", KEY_TASKS, "N", 0, "... and so many queued tasks?", 0},
    {0},
};

static uint64_t
number(struct argp_state *state, const char *text, char **end_p)
{
    uint64_t n;

    errno = 0;
    n = strtoull(text, end_p, 10);
    if (*end_p == text || errno != 0)
        argp_error(state, "'%s' is no number", text);
    return n;
}

static uint64_t
whole_number(struct argp_state *state, const char *text)
{
    char *end;
    uint64_t n = number(state, text, &end);

    if (*end != '\0')
        argp_error(state, "'%s' is no number", text);
    return n;
}

static void
range(struct argp_state *state, const char *text, struct herd_config *herd)
{
    char *end;

    herd->first = number(state, text, &end);
    herd->last = *end == '-' ? whole_number(state, end + 1) : herd->first;
    if ((*end != '-' && *end != '\0') || herd->first == 0 || herd->last < herd->first)
        argp_error(state, "'%s' is no range of seeds: 1-500", text);
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case KEY_SEED:
        o->one = true;
        o->herd.first = o->herd.last = whole_number(state, arg);
        break;
    case KEY_SEEDS:
        range(state, arg, &o->herd);
        break;
    case KEY_TRACE:
        o->trace = true;
        break;
    case KEY_MINUTES:
        o->herd.seconds = (int64_t)(atof(arg) * 60);
        if (o->herd.seconds <= 0)
            argp_error(state, "'%s' is no time", arg);
        break;
    case KEY_JOBS:
        o->herd.jobs = (unsigned)whole_number(state, arg);
        if (o->herd.jobs < 1 || o->herd.jobs > 64)
            argp_error(state, "1 to 64 jobs");
        break;
    case KEY_STORM:
        o->storm = (unsigned)whole_number(state, arg);
        if (o->storm < 1 || o->storm > SIM_MOST)
            argp_error(state, "1 to %d workers", SIM_MOST);
        break;
    case KEY_WORKERS:
        o->scale.workers = (unsigned)whole_number(state, arg);
        break;
    case KEY_TASKS:
        o->scale.tasks = whole_number(state, arg);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Runs whole grids on a virtual clock, with faults that follow from the seed.\v"
               "Without options it runs seeds until it is interrupted, and begins with another one "
               "each time.",
    };
    struct options o = {.herd = {.last = UINT64_MAX}};

    if (argp_parse(&argp, argc, argv, 0, NULL, &o) != 0)
        return 2;
    log_open("sim", LOG_NOTHING);
    if (o.scale.workers > 0 || o.scale.tasks > 0)
        return scale_run(&o.scale);
    if (o.storm > 0) {
        sim_storm(o.storm);
        return 0;
    }
    if (o.one) {
        uint64_t steps = sim_run(o.herd.first, o.trace);

        printf("seed %" PRIu64 ": all is well after %" PRIu64 " events\n", o.herd.first, steps);
        return 0;
    }
    if (o.herd.first == 0)
        o.herd.first = 1 + (uint64_t)time(NULL) % 1000000000 * 1000;
    if (o.herd.jobs == 0)
        o.herd.jobs =
            sysconf(_SC_NPROCESSORS_ONLN) > 1 ? (unsigned)sysconf(_SC_NPROCESSORS_ONLN) : 1;
    if (o.herd.jobs > 64)
        o.herd.jobs = 64;
    o.herd.progress = o.herd.last == UINT64_MAX;
    return herd_run(&o.herd) == 0 ? 0 : 1;
}
