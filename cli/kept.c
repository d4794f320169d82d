#include "kept.h"

#include "talk.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- options ------------------------------------------------------------------------------- */

enum { OPTION_JSON = 256, OPTION_TIMEOUT, OPTION_INDEX };

static const struct argp_option all_options[] = {
    {"broker", 'b', "ENDPOINT", 0,
     "tcp://host:port or ipc://path. Default: $LADLE_BROKER, else tcp://127.0.0.1:5570", 0},
    {"json", OPTION_JSON, NULL, 0, "Print one JSON array", 0},
    {"timeout", OPTION_TIMEOUT, "SECONDS", 0, "Wait no longer than this. Default: for ever", 0},
    {"index", OPTION_INDEX, "N", 0, "Only the result of task N, counted from 0", 0},
    {"output", 'o', "FILE", 0, "Write to this file. Default: standard output", 0},
    {0}};

struct parsing {
    struct kept_options o;
    int which;
};

static long
whole_number(struct argp_state *state, const char *arg, long most)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(arg, &end, 10);
    if (errno != 0 || end == arg || *end != '\0' || n < 0 || n > most)
        argp_error(state, "'%s' is no number from 0 to %ld", arg, most);
    return n;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct parsing *p = state->input;

    switch (key) {
    case 'b':
        p->o.broker = arg;
        return 0;
    case 'o':
        p->o.output = arg;
        return 0;
    case OPTION_JSON:
        p->o.json = true;
        return 0;
    case OPTION_TIMEOUT:
        p->o.wait = (int)whole_number(state, arg, 2000000) * 1000;
        return 0;
    case OPTION_INDEX:
        p->o.index = whole_number(state, arg, INT64_MAX / 2);
        return 0;
    case ARGP_KEY_ARG:
        if (p->o.id != NULL)
            argp_error(state, "unexpected argument '%s': one id is enough", arg);
        p->o.id = arg;
        return 0;
    case ARGP_KEY_END:
        if (p->o.id == NULL && (p->which & KEPT_ID) != 0)
            argp_error(state, "which job? `ladle jobs` lists them");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct kept_options
kept_parse(int argc, char **argv, int which, const char *about)
{
    struct argp_option options[sizeof(all_options) / sizeof(*all_options)] = {all_options[0]};
    struct parsing p = {
        .o = {.broker = getenv("LADLE_BROKER"), .timeout = 5000, .wait = -1, .index = -1},
        .which = which};
    const struct argp argp = {options, parse, which & KEPT_ID ? "ID" : "[ID]", about, NULL,
                              NULL,    NULL};
    int n = 1;

    for (int i = 0; i < 4; i++) {
        if ((which & 1 << i) != 0)
            options[n++] = all_options[1 + i];
    }
    argp_parse(&argp, argc, argv, 0, NULL, &p);
    if (p.o.broker == NULL || p.o.broker[0] == '\0')
        p.o.broker = "tcp://127.0.0.1:5570";
    return p.o;
}

/* ---- about jobs ---------------------------------------------------------------------------- */

struct question {
    struct message_kept_wanted wanted;
    json_t *rows;
    char *text;
    size_t size;
};

static json_t *
string(const char *text)
{
    json_t *value = json_string(text);

    return value != NULL ? value : json_string("?");
}

static json_t *
row_of(const struct kept_row *r)
{
    return json_pack("{ss so so so so sI sb sI sI sI sI sI sI}", "id", r->id, "function",
                     string(r->function), "name", string(r->name), "client", string(r->client),
                     "notice", string(r->notice), "total", (json_int_t)r->total, "sealed",
                     r->sealed, "done", (json_int_t)r->done, "failed", (json_int_t)r->failed,
                     "cancelled", (json_int_t)r->cancelled, "created_s", (json_int_t)r->created_s,
                     "ended_s", (json_int_t)r->ended_s, "bytes", (json_int_t)r->bytes);
}

static void
ask(struct talk *q)
{
    struct question *k = q->arg;

    k->wanted.first = json_array_size(k->rows);
    talk_say(q, &(struct message){.type = MESSAGE_KEPT_WANTED, .kept_wanted = k->wanted});
}

static void
take(struct talk *q, const struct message *m)
{
    struct question *k = q->arg;

    if (m->type != MESSAGE_KEPT)
        return;
    for (uint32_t i = 0; i < m->kept.nrows; i++)
        json_array_append_new(k->rows, row_of(&m->kept.rows[i]));
    snprintf(k->text, k->size, "%s", m->kept.text);
    if (m->kept.error != KEPT_NONE)
        talk_fail(q, "%s", m->kept.text);
    else if (m->kept.more)
        ask(q);
    else
        talk_end(q);
}

json_t *
kept_ask(const struct kept_options *o, enum kept_action action, const char *id, char *text,
         size_t size)
{
    struct question k = {
        .wanted = {.action = action, .id = id}, .rows = json_array(), .text = text, .size = size};
    struct talk q = {.endpoint = o->broker,
                     .name = "ladle",
                     .ask = ask,
                     .answer = take,
                     .arg = &k,
                     .why = text,
                     .size = size};

    if (talk_run(&q, o->timeout) == 0)
        return k.rows;
    json_decref(k.rows);
    return NULL;
}

json_t *
kept_find(const struct kept_options *o, char *text, size_t size)
{
    json_t *rows = kept_ask(o, KEPT_LIST, o->id, text, size), *row = NULL;

    if (rows == NULL)
        return NULL;
    if (json_array_size(rows) == 1)
        row = json_incref(json_array_get(rows, 0));
    else if (json_array_size(rows) == 0)
        snprintf(text, size,
                 "no job's id begins with \"%s\": `ladle jobs` lists those that the broker at %s "
                 "keeps",
                 o->id, o->broker);
    else
        snprintf(text, size, "%zu jobs' ids begin with \"%s\": give more of it",
                 json_array_size(rows), o->id);
    json_decref(rows);
    return row;
}
