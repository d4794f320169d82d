/* What a session is asked to be: its endpoint, and the rest of its config. */
#include "session.h"

#include "serve.h"

#include "../net/link.h"
#include "../proto/limits.h"
#include "../worker/slots.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { STACK_DEFAULT = 8 << 20, STACK_LEAST = 64 << 10, STACK_MOST = 1 << 30 };

/* ---- endpoints --------------------------------------------------------------------------------
 */

static int
parse_local(futures_t *s, const char *endpoint)
{
    char *end;
    long slots;

    s->kind = KIND_LOCAL;
    if (s->config.slots == 0)
        s->config.slots = (int)slots_offered();
    if (endpoint[5] == '\0')
        return 0;
    slots = strtol(endpoint + 6, &end, 10);
    if (end == endpoint + 6 || *end != '\0' || slots < 1 || slots > 65536)
        return error_set(EINVAL,
                         "endpoint \"%s\": after \"local:\" stands the number of slots, from 1 to "
                         "65536, as in \"local:4\"",
                         endpoint);
    s->config.slots = (int)slots;
    return 0;
}

static int
parse_endpoint(futures_t *s, const char *endpoint)
{
    char why[512];

    if (endpoint == NULL || *endpoint == '\0')
        endpoint = getenv("LADLE_BROKER");
    if (endpoint == NULL || *endpoint == '\0')
        endpoint = "local";
    if ((s->endpoint = strdup(endpoint)) == NULL)
        return error_set(ENOMEM, "out of memory");
    if (strcmp(endpoint, "serial") == 0) {
        s->kind = KIND_SERIAL;
        return 0;
    }
    if (strcmp(endpoint, "local") == 0 || strncmp(endpoint, "local:", 6) == 0)
        return parse_local(s, endpoint);
    s->kind = KIND_GRID;
    if (endpoint_check(endpoint, why, sizeof(why)) != 0)
        return error_set(EINVAL, "%s", why);
    return 0;
}

/* ---- of executors -----------------------------------------------------------------------------
 */

/* Variables that say who an executor is are its worker's to set. */
static const char own[] = "LADLE_";

static int
check_variable(const char *variable, size_t nth)
{
    const char *equals = strchr(variable, '=');

    if (equals == NULL || equals == variable)
        return error_set(EINVAL,
                         "variable %zu of the environment is \"%.64s\": expected NAME=VALUE", nth,
                         variable);
    if (strncmp(variable, own, sizeof(own) - 1) == 0)
        return error_set(EINVAL,
                         "variable %.*s of the environment: names that begin with LADLE_ are "
                         "Ladle's own, which executors get from their workers",
                         (int)(equals - variable < 64 ? equals - variable : 64), variable);
    return 0;
}

static int
check_environment(const char *const *environment)
{
    size_t size = 0;

    for (size_t i = 0; environment != NULL && environment[i] != NULL; i++) {
        if (check_variable(environment[i], i) != 0)
            return -1;
        if ((size += strlen(environment[i]) + 1) > LIMIT_ENVIRONMENT)
            return error_set(EINVAL,
                             "the environment has more than %u bytes: give what is longer in a "
                             "file, or as an input",
                             LIMIT_ENVIRONMENT);
    }
    return 0;
}

static int
check_directory(const char *directory)
{
    if (*directory != '/')
        return error_set(EINVAL,
                         "directory \"%.64s\": expected an absolute path, as workers have another "
                         "working directory than this process",
                         directory);
    if (strlen(directory) >= LIMIT_TEXT)
        return error_set(EINVAL, "the directory's path has %zu bytes: at most %d are allowed",
                         strlen(directory), LIMIT_TEXT - 1);
    for (const char *c = directory; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            return error_set(EINVAL, "the directory's path has control characters in it");
    return 0;
}

/* Each variable ended by NUL, as programs travel with them; NULL: ENOMEM. */
static struct blob *
flatten(const char *const *environment)
{
    struct blob *all;
    size_t size = 0;

    for (size_t i = 0; environment[i] != NULL; i++)
        size += strlen(environment[i]) + 1;
    if ((all = blob_new(size)) == NULL)
        return NULL;
    size = 0;
    for (size_t i = 0; environment[i] != NULL; i++) {
        memcpy(all->bytes + size, environment[i], strlen(environment[i]) + 1);
        size += strlen(environment[i]) + 1;
    }
    return all;
}

static int
complete_stack(size_t *size_p)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct rlimit limit;

    if (*size_p == 0) {
        *size_p = STACK_DEFAULT;
        if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur >= STACK_LEAST &&
            limit.rlim_cur <= STACK_MOST)
            *size_p = limit.rlim_cur;
    }
    if (*size_p < STACK_LEAST || *size_p > STACK_MOST)
        return error_set(EINVAL,
                         "stack_size is %zu: expected 0 (as the main thread's), or %d "
                         "(64 KiB) to %d (1 GiB) bytes",
                         *size_p, STACK_LEAST, STACK_MOST);
    *size_p = (*size_p + page - 1) / page * page;
    return 0;
}

/* What can be told from the config alone, with the defaults filled in. */
static int
complete(futures_config_t *c)
{
    if (c->slots < 0 || c->slots > 65536)
        return error_set(EINVAL, "slots is %d: expected 0 (all cores) to 65536", c->slots);
    if (c->connect_timeout < 0 || c->tasks_per_executor < 0 || c->lost_timeout < -1)
        return error_set(EINVAL, "the session's config has a negative timeout or number");
    if (c->connect_timeout == 0)
        c->connect_timeout = 5000;
    if (c->lost_timeout == 0)
        c->lost_timeout = 60000;
    if (c->window == 0)
        c->window = 8u << 20;
    if (c->program != NULL && (*c->program == '\0' || strlen(c->program) > LIMIT_NAME))
        return error_set(EINVAL, "the session's program has no name, or one over %d bytes",
                         LIMIT_NAME);
    if (check_environment(c->environment) != 0 ||
        (c->directory != NULL && check_directory(c->directory) != 0))
        return -1;
    return complete_stack(&c->stack_size);
}

int
session_configure(futures_t *s, const futures_config_t *config)
{
    futures_config_t *c = &s->config;

    *c = *config;
    if (complete(c) != 0)
        return -1;
    if ((c->program != NULL && (s->offered = strdup(c->program)) == NULL) ||
        (c->directory != NULL && (s->directory = strdup(c->directory)) == NULL) ||
        (c->environment != NULL && (s->environment = flatten(c->environment)) == NULL))
        return error_set(ENOMEM, "out of memory");
    if (parse_endpoint(s, config->endpoint) != 0)
        return -1;
    c->endpoint = c->program = c->directory = NULL; /* not ours to keep */
    c->environment = NULL;
    if (s->offered != NULL && s->kind != KIND_GRID)
        return error_set(EINVAL,
                         "program \"%s\" is one that workers of a grid offer: a session "
                         "with \"%s\" runs this program only",
                         s->offered, s->endpoint);
    return 0;
}

void
session_program(futures_t *s)
{
    if (s->offered != NULL)
        s->program = (struct program){.name = s->offered, .machine = "", .arguments = ""};
    else
        s->program = *executable_program(s->executable);
    s->program.environment = s->environment == NULL ? "" : (const char *)s->environment->bytes;
    s->program.environment_size = s->environment == NULL ? 0 : (uint32_t)s->environment->size;
    s->program.directory = s->directory == NULL ? "" : s->directory;
}

void
session_serve(const futures_config_t *config)
{
    futures_config_t c = *config;

    if (complete(&c) != 0) {
        fprintf(stderr, "%s\n", futures_error());
        _exit(78); /* EX_CONFIG */
    }
    serve(&c);
}
