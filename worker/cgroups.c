#include "cgroups.h"

#include "hierarchy.h"
#include "spawn.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum kind { KIND_NONE, KIND_V1, KIND_V2 };

LIST_HEAD(cgroup_list, cgroup);

struct cgroups {
    /* Where groups are made: to limit them, and to kill what is in them, which may be one tree. */
    struct hierarchy limits, kills;
    enum kind kind; /* of limits */
    bool apart;     /* two trees */
    bool moved;     /* this process is in a leaf of limits */
    unsigned made;
    struct cgroup_list emptying; /* freed, but the kernel had not let go of them */
};

struct cgroup {
    LIST_ENTRY(cgroup) next;
    struct cgroups *all;
    enum kind kind;
    char paths[SPAWN_GROUPS][PATH_MAX]; /* the first one limits, unless kind is NONE */
    uint64_t kills;                     /* when the limit was set */
};

static int
join(char *path, size_t size, const char *group, const char *name, unsigned number)
{
    int n = name != NULL ? snprintf(path, size, "%s/ladle-%ld-%s", group, (long)getpid(), name)
                         : snprintf(path, size, "%s/ladle-%ld-%u", group, (long)getpid(), number);

    if (n > 0 && (size_t)n < size)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

/* ---- what can be had ----------------------------------------------------------------------------
 */

static int
leaf_of(const struct cgroups *g, char path[PATH_MAX])
{
    return join(path, PATH_MAX, g->limits.path, "worker", 0);
}

static void
move_back(struct cgroups *g)
{
    char leaf[PATH_MAX];

    if (!g->moved || leaf_of(g, leaf) != 0)
        return;
    (void)group_write(g->limits.path, "cgroup.subtree_control", "-memory");
    (void)group_write(g->limits.path, "cgroup.procs", "0");
    (void)rmdir(leaf);
    g->moved = false;
}

static bool
controls_memory(const char *group)
{
    char text[512];
    const char *at = text;

    if (group_read(group, "cgroup.subtree_control", text, sizeof(text)) != 0)
        return false;
    while ((at = strstr(at, "memory")) != NULL) {
        if ((at == text || at[-1] == ' ') && (at[6] == ' ' || at[6] == '\n' || at[6] == '\0'))
            return true;
        at++;
    }
    return false;
}

/* A group that controls its children has no processes: we go into a child of it, and back if others
 * are there. */
static bool
control_memory(struct cgroups *g)
{
    char leaf[PATH_MAX];

    if (controls_memory(g->limits.path) ||
        group_write(g->limits.path, "cgroup.subtree_control", "+memory") == 0)
        return true;
    if (errno != EBUSY || leaf_of(g, leaf) != 0 || mkdir(leaf, 0755) != 0)
        return false;
    g->moved = true;
    if (group_write(leaf, "cgroup.procs", "0") == 0 &&
        group_write(g->limits.path, "cgroup.subtree_control", "+memory") == 0)
        return true;
    move_back(g);
    return false;
}

/* Can a group be made in this tree? And does it have this file? */
static bool
try_group(const struct hierarchy *h, const char *file)
{
    char path[PATH_MAX], name[PATH_MAX + 64];
    bool found;

    if (join(path, sizeof(path), h->path, "try", 0) != 0 || mkdir(path, 0755) != 0)
        return false;
    snprintf(name, sizeof(name), "%s/%s", path, file);
    found = access(name, W_OK) == 0;
    rmdir(path);
    return found;
}

static bool
open_v2(struct cgroups *g, const char *root)
{
    char text[512];

    if (hierarchy_find(&g->limits, root, NULL) != 0 ||
        group_read(g->limits.path, "cgroup.controllers", text, sizeof(text)) != 0 ||
        strstr(text, "memory") == NULL || !control_memory(g))
        return false;
    if (try_group(&g->limits, "memory.max")) {
        g->kind = KIND_V2;
        return true;
    }
    move_back(g);
    return false;
}

struct cgroups *
cgroups_open(const char *root, const char **why)
{
    struct cgroups *g = calloc(1, sizeof(*g));
    bool kills;

    *why = "out of memory";
    if (g == NULL)
        return NULL;
    LIST_INIT(&g->emptying);
    *why = "executors are in control groups of version 2, which limit their memory";
    if (open_v2(g, root))
        return g;
    kills = hierarchy_find(&g->kills, root, NULL) == 0 && try_group(&g->kills, "cgroup.kill");
    if (hierarchy_find(&g->limits, root, "memory") == 0 &&
        try_group(&g->limits, "memory.limit_in_bytes")) {
        g->kind = KIND_V1;
        g->apart = kills;
        *why = "executors are in control groups of version 1, which limit their memory";
        return g;
    }
    if (kills) {
        g->limits = g->kills;
        *why = "executors are in control groups, which may not limit their memory: it is watched";
        return g;
    }
    *why = "no control groups can be made for executors: their memory is watched";
    free(g);
    return NULL;
}

/* ---- one executor's -----------------------------------------------------------------------------
 */

struct cgroup *
cgroup_new(struct cgroups *g)
{
    struct cgroup *c = calloc(1, sizeof(*c));
    int error;

    if (c == NULL)
        return NULL;
    c->all = g;
    c->kind = g->kind;
    g->made++;
    if (join(c->paths[0], PATH_MAX, g->limits.path, NULL, g->made) != 0 ||
        mkdir(c->paths[0], 0755) != 0)
        goto fail;
    if (g->apart && (join(c->paths[1], PATH_MAX, g->kills.path, NULL, g->made) != 0 ||
                     mkdir(c->paths[1], 0755) != 0)) {
        error = errno;
        rmdir(c->paths[0]);
        errno = error;
        goto fail;
    }
    if (c->kind == KIND_V2) /* a task is one thing, with what it has forked */
        (void)group_write(c->paths[0], "memory.oom.group", "1");
    return c;
fail:
    error = errno;
    free(c);
    errno = error;
    return NULL;
}

const char *
cgroup_path(const struct cgroup *c, unsigned i)
{
    return i < SPAWN_GROUPS && c->paths[i][0] != '\0' ? c->paths[i] : NULL;
}

static uint64_t
kills_of(const struct cgroup *c)
{
    uint64_t n = group_number(
        c->paths[0], c->kind == KIND_V2 ? "memory.events" : "memory.oom_control", "oom_kill");

    return n == UINT64_MAX ? 0 : n;
}

/* Swap would let a task go on, slowly, in what it must not use. Not all kernels count it. */
static int
limit_v1(const struct cgroup *c, const char *text)
{
    bool less = group_write(c->paths[0], "memory.limit_in_bytes", text) == 0;

    (void)group_write(c->paths[0], "memory.memsw.limit_in_bytes", text);
    /* More than before must be allowed there first. */
    return less || group_write(c->paths[0], "memory.limit_in_bytes", text) == 0 ? 0 : -1;
}

int
cgroup_limit(struct cgroup *c, uint64_t bytes)
{
    char text[32];

    if (c->kind == KIND_NONE)
        return -1;
    c->kills = kills_of(c);
    snprintf(text, sizeof(text), "%" PRIu64, bytes);
    if (c->kind == KIND_V1)
        return limit_v1(c, bytes == 0 ? "-1" : text);
    (void)group_write(c->paths[0], "memory.swap.max", bytes == 0 ? "max" : "0");
    return group_write(c->paths[0], "memory.max", bytes == 0 ? "max" : text);
}

bool
cgroup_overrun(const struct cgroup *c, uint64_t *peak_p)
{
    if (c->kind == KIND_NONE || kills_of(c) <= c->kills)
        return false;
    *peak_p = group_number(c->paths[0],
                           c->kind == KIND_V2 ? "memory.peak" : "memory.max_usage_in_bytes", NULL);
    return true;
}

/* Zombies may hold it for a moment. */
static bool
remove_group(struct cgroup *c)
{
    bool gone = true;

    for (int i = 0; i < SPAWN_GROUPS; i++) {
        if (c->paths[i][0] == '\0')
            continue;
        if (rmdir(c->paths[i]) == 0 || errno != EBUSY)
            c->paths[i][0] = '\0';
        else
            gone = false;
    }
    return gone;
}

static void
remove_emptied(struct cgroups *g)
{
    struct cgroup *c, *next;

    for (c = LIST_FIRST(&g->emptying); c != NULL; c = next) {
        next = LIST_NEXT(c, next);
        if (!remove_group(c))
            continue;
        LIST_REMOVE(c, next);
        free(c);
    }
}

void
cgroup_free(struct cgroup *c)
{
    if (c == NULL)
        return;
    remove_emptied(c->all);
    if (remove_group(c))
        free(c);
    else
        LIST_INSERT_HEAD(&c->all->emptying, c, next);
}

void
cgroups_close(struct cgroups *g)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    struct cgroup *c;

    if (g == NULL)
        return;
    for (int i = 0; i < 100 && (remove_emptied(g), !LIST_EMPTY(&g->emptying)); i++)
        nanosleep(&pause, NULL);
    while ((c = LIST_FIRST(&g->emptying)) != NULL) {
        LIST_REMOVE(c, next);
        free(c);
    }
    move_back(g);
    free(g);
}
