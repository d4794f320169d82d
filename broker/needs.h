/* needs.h - labels that workers have, and labels that jobs need.
 *
 * "gpu=1, zone=b": a comma between, a key or a key=value each. A need that is a bare word asks for
 * the label's presence, one with a value for that very value.
 */
#ifndef LADLE_NEEDS_H
#define LADLE_NEEDS_H

#include <stdbool.h>
#include <stddef.h>

struct label {
    const char *key;
    const char *value; /* NULL: a bare word */
};

struct labels {
    size_t count;
    struct label *list; /* by key, then value; no two are the same */
    char *text;         /* normal form: "gpu=1,zone=b" */
    /* private */
    char *words;
};

struct labels *labels_new(const char *text); /* NULL: ENOMEM */
void labels_free(struct labels *self);       /* NULL is allowed */

bool label_found(const struct labels *have, const struct label *need);
/* The first need that is not met; NULL if all are. */
const struct label *labels_missing(const struct labels *have, const struct labels *needs);

#endif
