/* kept.h - what the commands about detached jobs share: options, and what the broker says. */
#ifndef LADLE_CLI_KEPT_H
#define LADLE_CLI_KEPT_H

#include "../proto/message.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kept_options {
    const char *broker;
    const char *id; /* NULL: none was given */
    bool json;
    int timeout;   /* ms; of an answer */
    int wait;      /* ms; -1: for ever */
    int64_t index; /* -1: all */
    const char *output;
};

enum { KEPT_JSON = 1, KEPT_WAIT = 2, KEPT_INDEX = 4, KEPT_OUTPUT = 8, KEPT_ID = 16 };

/* `which` of the options; KEPT_ID: an id must be given. `about` is argp's text. */
struct kept_options kept_parse(int argc, char **argv, int which, const char *about);

/* Ask, about jobs whose id begins so ("": all). The rows as an array of objects, and what was said
 * in `text`. NULL with a sentence in it. */
json_t *kept_ask(const struct kept_options *o, enum kept_action action, const char *id, char *text,
                 size_t size);
/* The one job that is meant by the beginning of its id: its row. NULL with a sentence. */
json_t *kept_find(const struct kept_options *o, char *text, size_t size);

#endif
