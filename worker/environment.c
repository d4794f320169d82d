#include "environment.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef LADLE_LIBDIR
#define LADLE_LIBDIR "lib" /* where the build installs libraries, below the prefix */
#endif

static const char library_path[] = "LD_LIBRARY_PATH=";

static bool
is_ours(const char *variable)
{
    static const char *const ours[] = {"LADLE_EXECUTOR=", "LADLE_WORKER="};

    for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
        if (strncmp(variable, ours[i], strlen(ours[i])) == 0)
            return true;
    return false;
}

char **
environment_new(const char *worker, const char *library)
{
    const char *before = library != NULL ? getenv("LD_LIBRARY_PATH") : NULL;
    size_t n = 0, at = 0;
    char **envp;

    while (environ[n] != NULL)
        n++;
    if ((envp = calloc(n + 4, sizeof(*envp))) == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (is_ours(environ[i]) ||
            (library != NULL && strncmp(environ[i], library_path, strlen(library_path)) == 0))
            continue;
        if ((envp[at++] = strdup(environ[i])) == NULL)
            goto fail;
    }
    if ((envp[at++] = strdup("LADLE_EXECUTOR=1")) == NULL ||
        asprintf(&envp[at++], "LADLE_WORKER=%s", worker) < 0)
        goto fail;
    if (library != NULL &&
        asprintf(&envp[at++], "%s%s%s%s", library_path, before != NULL ? before : "",
                 before != NULL && *before != '\0' ? ":" : "", library) < 0)
        goto fail;
    return envp;
fail:
    envp[at - 1] = NULL;
    environment_free(envp);
    return NULL;
}

/* Put `variable` in the place of the one with its name, or at the end, where there is room. */
static int
put(char **envp, const char *variable, const char *library)
{
    size_t name = strcspn(variable, "=") + 1, at = 0;
    char *copy;

    while (envp[at] != NULL && strncmp(envp[at], variable, name) != 0)
        at++;
    if (library != NULL && strncmp(variable, library_path, name) == 0) {
        if (asprintf(&copy, "%s%s%s", variable, variable[name] != '\0' ? ":" : "", library) < 0)
            return -1;
    } else if ((copy = strdup(variable)) == NULL) {
        return -1;
    }
    free(envp[at]);
    envp[at] = copy;
    return 0;
}

char **
environment_with(char *const *envp, const char *variables, size_t size, const char *library)
{
    size_t n = 0, more = 0;
    char **all;

    while (envp[n] != NULL)
        n++;
    for (size_t i = 0; i < size; i++)
        more += variables[i] == '\0';
    if ((all = calloc(n + more + 1, sizeof(*all))) == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if ((all[i] = strdup(envp[i])) == NULL)
            goto fail;
    for (const char *v = variables; v < variables + size; v += strlen(v) + 1)
        if (*v != '=' && strchr(v, '=') != NULL && !is_ours(v) && put(all, v, library) != 0)
            goto fail;
    return all;
fail:
    environment_free(all);
    return NULL;
}

void
environment_free(char **envp)
{
    if (envp == NULL)
        return;
    for (size_t i = 0; envp[i] != NULL; i++)
        free(envp[i]);
    free(envp);
}

char *
environment_libraries(void)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash, *libraries;

    if (n <= 0)
        return NULL;
    self[n] = '\0';
    for (int i = 0; i < 2; i++) { /* prefix/bin/program: to the prefix */
        if ((slash = strrchr(self, '/')) == NULL)
            return NULL;
        *slash = '\0';
    }
    if (asprintf(&libraries, "%s/lib:%s/" LADLE_LIBDIR, self, self) < 0)
        return NULL;
    return libraries;
}
