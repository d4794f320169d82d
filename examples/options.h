/* options.h - the command lines of the examples: nothing in here is about Ladle. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct option_row {
    int letter;
    const char *name;
    const char *value; /* what --help calls its value; NULL: it has none */
    const char *help;
    bool *flag; /* where to put what was said: one of these three */
    const char **text;
    uint64_t *number;
    uint64_t least, most;
};

struct command {
    const char *name, *arguments, *purpose;
    const struct option_row *options; /* ends with a row of zeros */
};

static inline void
options_help(const struct command *c)
{
    printf("Usage: %s [OPTION]... %s\n%s\n\n", c->name, c->arguments, c->purpose);
    for (const struct option_row *o = c->options; o->name != NULL; o++) {
        int width = printf("  -%c, --%s%s%s", o->letter, o->name, o->value == NULL ? "" : "=",
                           o->value == NULL ? "" : o->value);

        printf("%*s%s\n", width < 28 ? 28 - width : 1, "", o->help);
    }
    printf("  -h, --help%*sThis text\n", 16, "");
    exit(0);
}

/* A sentence, and the end, with exit status 2. */
#define options_fail(command, ...)                                                                 \
    do {                                                                                           \
        fprintf(stderr, "%s: ", (command)->name);                                                  \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fprintf(stderr, "; '%s --help' tells more\n", (command)->name);                            \
        exit(2);                                                                                   \
    } while (0)

static inline uint64_t
options_number(const struct command *c, const char *what, const char *text, uint64_t least,
               uint64_t most)
{
    char *end;
    uint64_t n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || errno != 0 || n < least || n > most)
        options_fail(c, "%s: '%s' is not a whole number from %" PRIu64 " to %" PRIu64, what, text,
                     least, most);
    return n;
}

/* Returns the index in argv of the first argument that is no option. */
static inline int
options_parse(const struct command *c, int argc, char **argv)
{
    struct option longs[16] = {{0}};
    char shorts[40] = "+:h"; /* options end where the arguments begin */
    char *end = shorts + strlen(shorts);
    int n = 0, letter;

    for (; c->options[n].name != NULL; n++) {
        const struct option_row *o = &c->options[n];

        longs[n] = (struct option){o->name, o->value != NULL, NULL, o->letter};
        *end++ = (char)o->letter;
        if (o->value != NULL)
            *end++ = ':';
    }
    longs[n] = (struct option){"help", 0, NULL, 'h'};
    while ((letter = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        const struct option_row *o = c->options;

        if (letter == ':')
            options_fail(c, "%s needs a value", argv[optind - 1]);
        if (letter == '?')
            options_fail(c, "there is no option '%s'", argv[optind - 1]);
        if (letter == 'h')
            options_help(c);
        while (o->letter != letter)
            o++;
        if (o->flag != NULL)
            *o->flag = true;
        else if (o->text != NULL)
            *o->text = optarg;
        else
            *o->number = options_number(c, o->name, optarg, o->least, o->most);
    }
    return optind;
}

#endif
