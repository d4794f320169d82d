/* How many cores may this process use? */
#include "session.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
by_affinity(void)
{
    int room = 1024;

    /* The kernel's set may be larger than cpu_set_t: ask with more room until it fits. */
    for (; room <= 1 << 18; room *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)room);
        size_t size = CPU_ALLOC_SIZE((size_t)room);
        int n = 0;

        if (set == NULL)
            break;
        if (sched_getaffinity(0, size, set) == 0)
            n = CPU_COUNT_S(size, set);
        CPU_FREE(set);
        if (n > 0)
            return n;
    }
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* The first line of a file under a cgroup's directory; -1 if there is none. */
static int
read_line(const char *directory, const char *file, char *line, size_t size)
{
    char path[4400];
    FILE *f;
    int found;

    snprintf(path, sizeof(path), "%s/%s", directory, file);
    if ((f = fopen(path, "re")) == NULL)
        return -1;
    found = fgets(line, (int)size, f) == NULL ? -1 : 0;
    fclose(f);
    return found;
}

/* The quota of one cgroup as cores, rounded up; 0: none. */
static int
quota_of(const char *directory)
{
    long long quota, period;
    char line[128];

    if (read_line(directory, "cpu.max", line, sizeof(line)) == 0) {
        if (sscanf(line, "%lld %lld", &quota, &period) != 2)
            return 0;
    } else {
        if (read_line(directory, "cpu.cfs_quota_us", line, sizeof(line)) != 0)
            return 0;
        quota = atoll(line);
        if (read_line(directory, "cpu.cfs_period_us", line, sizeof(line)) != 0)
            return 0;
        period = atoll(line);
    }
    if (quota <= 0 || period <= 0)
        return 0;
    return (int)((quota + period - 1) / period);
}

/* The smallest quota of the cgroup at `path` under `root` and those above it. */
static int
quota_along(const char *root, char *path, int least)
{
    for (;;) {
        char directory[4300];
        char *slash;
        int n;

        snprintf(directory, sizeof(directory), "%s%s", root, path);
        if ((n = quota_of(directory)) > 0 && n < least)
            least = n;
        if ((slash = strrchr(path, '/')) == NULL)
            return least;
        *slash = '\0';
    }
}

int
cores_usable(void)
{
    int n = by_affinity();
    char line[4200];
    FILE *f;

    if (n < 1)
        n = 1;
    if ((f = fopen("/proc/self/cgroup", "re")) == NULL)
        return n;
    while (fgets(line, sizeof(line), f) != NULL) {
        /* "0::/path" of version 2, "4:cpu,cpuacct:/path" of version 1 */
        char *names = strchr(line, ':'), *path = names == NULL ? NULL : strchr(names + 1, ':');

        if (path == NULL)
            continue;
        *path++ = '\0';
        names++;
        path[strcspn(path, "\n")] = '\0';
        if (*names == '\0')
            n = quota_along("/sys/fs/cgroup", path, n);
        else if (strstr(names, "cpu") != NULL && strstr(names, "cpuset") == NULL)
            n = quota_along("/sys/fs/cgroup/cpu", path, n);
    }
    fclose(f);
    return n;
}
