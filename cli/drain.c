/* ladle drain: a worker shall take no more tasks, finish what runs, and end. */
#include "command.h"
#include "report.h"
#include "talk.h"

#include "../base/duration.h"
#include "../proto/limits.h"

#include <argp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    const char *broker, *worker;
    int64_t grace_ms; /* -1: the worker's own */
    bool wait;
};

enum { ANSWER_MS = 3000, LOOK_MS = 200 };
enum { OPTION_GRACE = 256 };

static const struct argp_option options[] = {
    {"broker", 'b', "ENDPOINT", 0,
     "tcp://host:port or ipc://path. Default: $LADLE_BROKER, else tcp://127.0.0.1:5570", 0},
    {"grace", OPTION_GRACE, "DURATION", 0,
     "How long what runs may go on: 30s, 10m, 2h. Default: the worker's own --drain-grace", 0},
    {"wait", 'w', NULL, 0, "Return when the worker is gone", 0},
    {0}};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;

    switch (key) {
    case 'b':
        o->broker = arg;
        return 0;
    case OPTION_GRACE:
        if (duration_parse(arg, &o->grace_ms) != 0)
            argp_error(state, "'%s' is no duration: 500ms, 30s, 10m, 2h, 1d or HH:MM:SS", arg);
        return 0;
    case 'w':
        o->wait = true;
        return 0;
    case ARGP_KEY_ARG:
        if (o->worker != NULL)
            argp_error(state, "one worker at a time: '%s' is one too many", arg);
        if (*arg == '\0' || strlen(arg) > LIMIT_NAME)
            argp_error(state, "'%s' is no name of a worker; `ladle status` lists them", arg);
        o->worker = arg;
        return 0;
    case ARGP_KEY_END:
        if (o->worker == NULL)
            argp_error(state, "which worker? `ladle status` lists them");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void
ask(struct talk *t)
{
    const struct options *o = t->arg;
    struct message m = {.type = MESSAGE_DRAIN,
                        .drain = {.worker = o->worker, .grace_ms = o->grace_ms}};

    talk_say(t, &m);
}

static void
answer(struct talk *t, const struct message *m)
{
    if (m->type != MESSAGE_DRAIN_ANSWER)
        return;
    if (m->drain_answer.accepted)
        talk_end(t);
    else
        talk_fail(t, "%s", m->drain_answer.text);
}

static bool
is_there(const json_t *report, const char *name)
{
    const json_t *workers = json_object_get(report, "workers");

    for (size_t i = 0; i < json_array_size(workers); i++) {
        const char *n = json_string_value(json_object_get(json_array_get(workers, i), "name"));

        if (n != NULL && strcmp(n, name) == 0)
            return true;
    }
    return false;
}

/* 0 once the broker has no such worker any more. */
static int
await_end(const struct options *o, char *why, size_t size)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    json_t *report;
    bool there;

    for (;;) {
        if ((report = report_fetch(o->broker, ANSWER_MS, why, size)) == NULL)
            return -1;
        there = is_there(report, o->worker);
        json_decref(report);
        if (!there)
            return 0;
        nanosleep(&pause, NULL);
    }
}

int
command_drain(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "WORKER",
        "Have a worker take no more tasks, finish what runs within its grace, give back the rest, "
        "and end.\vNothing of that counts against a task. The exit status is 0 if the worker was "
        "told, and with --wait once it is gone.",
        NULL,
        NULL,
        NULL};
    struct options o = {.broker = getenv("LADLE_BROKER"), .grace_ms = -1};
    char why[2048];
    struct talk t = {.name = "ladle drain",
                     .ask = ask,
                     .answer = answer,
                     .arg = &o,
                     .why = why,
                     .size = sizeof(why)};

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    if (o.broker == NULL || o.broker[0] == '\0')
        o.broker = "tcp://127.0.0.1:5570";
    t.endpoint = o.broker;
    if (talk_run(&t, ANSWER_MS) != 0 || (o.wait && await_end(&o, why, sizeof(why)) != 0)) {
        fprintf(stderr, "ladle drain: %s\n", why);
        return 1;
    }
    return 0;
}
