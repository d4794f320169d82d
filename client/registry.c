/* registry.c - the functions of this program, by name. */
#include "serve.h"

#include "fold.h"

#include "../proto/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const char **names;
    task_fn **functions;
    uint32_t count;
} registry;

static int
grow(void)
{
    const char **names;
    task_fn **functions;

    /* Room is made in steps: TASK() registers one at a time, before main(). */
    if (registry.count % 16 != 0)
        return 0;
    names = realloc(registry.names, (registry.count + 16) * sizeof(*names));
    if (names == NULL)
        return -1;
    registry.names = names;
    functions = realloc(registry.functions, (registry.count + 16) * sizeof(*functions));
    if (functions == NULL)
        return -1;
    registry.functions = functions;
    return 0;
}

int
task_register(const char *name, task_fn *function)
{
    task_fn *known;
    char *copy;

    if (name == NULL || function == NULL || *name == '\0' || strlen(name) > LIMIT_NAME) {
        errno = EINVAL;
        return -1;
    }
    if (strncmp(name, FOLD_PREFIX, strlen(FOLD_PREFIX)) == 0) {
        errno = EINVAL;
        return -1;
    }
    for (const char *c = name; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            errno = EINVAL;
            return -1;
        }
    if ((known = registry_find(name)) != NULL) {
        if (known == function)
            return 0;
        errno = EEXIST;
        return -1;
    }
    if (grow() != 0 || (copy = strdup(name)) == NULL) {
        errno = ENOMEM;
        return -1;
    }
    registry.names[registry.count] = copy;
    registry.functions[registry.count++] = function;
    return 0;
}

task_fn *
registry_find(const char *name)
{
    for (uint32_t i = 0; i < registry.count; i++)
        if (strcmp(registry.names[i], name) == 0)
            return registry.functions[i];
    return fold_find(name);
}

const char *const *
registry_names(uint32_t *count_p)
{
    *count_p = registry.count;
    return registry.names;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void
registry_unknown(const char *name, char *text, size_t size)
{
    const char **sorted = malloc((registry.count + 1) * sizeof(*sorted));
    size_t at;
    int n;

    n = snprintf(text, size, "no function '%s'; this program has%s", name,
                 registry.count == 0 ? " none: name them with TASK(function)" : ":");
    at = n < 0 ? 0 : (size_t)n;
    if (sorted == NULL || registry.count == 0) {
        free(sorted);
        return;
    }
    memcpy(sorted, registry.names, registry.count * sizeof(*sorted));
    qsort(sorted, registry.count, sizeof(*sorted), by_name);
    for (uint32_t i = 0; i < registry.count && at < size; i++) {
        n = snprintf(text + at, size - at, "%s%s", i == 0 ? " " : ", ", sorted[i]);
        at += n < 0 ? size : (size_t)n;
    }
    free(sorted);
}
