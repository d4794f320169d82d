#include "hierarchy.h"

#include "slots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files of groups ----------------------------------------------------------------------------
 */

static int
open_file(const char *group, const char *name, int flags)
{
    char path[PATH_MAX + 64];

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", group, name) >= sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(path, flags | O_CLOEXEC);
}

int
group_read(const char *group, const char *name, char *text, size_t size)
{
    int fd = open_file(group, name, O_RDONLY);
    ssize_t n;

    if (fd < 0)
        return -1;
    n = read(fd, text, size - 1);
    close(fd);
    if (n < 0)
        return -1;
    text[n] = '\0';
    return 0;
}

int
group_write(const char *group, const char *name, const char *text)
{
    int fd = open_file(group, name, O_WRONLY), error;
    ssize_t n;

    if (fd < 0)
        return -1;
    n = write(fd, text, strlen(text));
    error = errno;
    close(fd);
    errno = error;
    return n == (ssize_t)strlen(text) ? 0 : -1;
}

uint64_t
group_number(const char *group, const char *name, const char *key)
{
    size_t length = key == NULL ? 0 : strlen(key);
    char text[4096];
    const char *line = text;

    if (group_read(group, name, text, sizeof(text)) != 0)
        return UINT64_MAX;
    while (key != NULL && (strncmp(line, key, length) != 0 || line[length] != ' ')) {
        if ((line = strchr(line, '\n')) == NULL)
            return UINT64_MAX;
        line++;
    }
    line += length + (key != NULL);
    return *line < '0' || *line > '9' ? UINT64_MAX : strtoull(line, NULL, 10);
}

/* ---- where we are -------------------------------------------------------------------------------
 */

static int
has_option(const char *options, const char *option)
{
    size_t length = strlen(option);

    for (const char *at = options; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, option, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return 1;
    }
    return 0;
}

/* The mount point of the tree, from /proc/self/mounts. */
static int
find_mount(const char *root, const char *controller, char *mount, size_t size)
{
    char path[PATH_MAX], line[4096], point[2048], type[64], options[2048];
    int rc = -1;
    FILE *f;

    if ((size_t)snprintf(path, sizeof(path), "%s/proc/self/mounts", root) >= sizeof(path) ||
        (f = fopen(path, "re")) == NULL)
        return -1;
    while (rc != 0 && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%*s %2047s %63s %2047s", point, type, options) != 3)
            continue;
        if (strcmp(type, controller == NULL ? "cgroup2" : "cgroup") == 0 &&
            (controller == NULL || has_option(options, controller)) &&
            (size_t)snprintf(mount, size, "%s%s", root, point) < size)
            rc = 0;
    }
    fclose(f);
    return rc;
}

int
hierarchy_find(struct hierarchy *h, const char *root, const char *controller)
{
    char text[8192], cgroup[PATH_MAX], own[PATH_MAX];
    struct stat st;

    if (find_mount(root, controller, h->path, sizeof(h->path)) != 0 ||
        (size_t)snprintf(own, sizeof(own), "%s/proc/self", root) >= sizeof(own) ||
        group_read(own, "cgroup", text, sizeof(text)) != 0 ||
        slots_cgroup(text, controller, cgroup, sizeof(cgroup)) != 0)
        return -1;
    h->top = strlen(h->path);
    if (strcmp(cgroup, "/") == 0 || h->top + strlen(cgroup) >= sizeof(h->path))
        return 0;
    strcpy(h->path + h->top, cgroup);
    /* A container may see the path that its host sees, and below the mount only its own: then that
     * is at the mount. */
    if (stat(h->path, &st) != 0)
        h->path[h->top] = '\0';
    return 0;
}

/* ---- how much memory ----------------------------------------------------------------------------
 */

static uint64_t
tightest(struct hierarchy *h, const char *name, uint64_t least)
{
    uint64_t limit;
    char *slash;

    for (;;) {
        if ((limit = group_number(h->path, name, NULL)) < least)
            least = limit;
        if (strlen(h->path) <= h->top || (slash = strrchr(h->path, '/')) == NULL)
            return least;
        *slash = '\0';
    }
}

uint64_t
memory_under(const char *root, uint64_t machine)
{
    struct hierarchy h;

    if (hierarchy_find(&h, root, NULL) == 0)
        machine = tightest(&h, "memory.max", machine);
    if (hierarchy_find(&h, root, "memory") == 0)
        machine = tightest(&h, "memory.limit_in_bytes", machine);
    return machine;
}

uint64_t
memory_offered(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

    return memory_under("", pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0);
}
