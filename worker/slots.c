#include "slots.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PERIOD 100000 /* us: what the kernel takes for one that is not given */

unsigned long
slots_quota_v2(const char *cpu_max)
{
    unsigned long quota, period = PERIOD;

    if (sscanf(cpu_max, "%lu %lu", &quota, &period) < 1 || quota == 0 || period == 0)
        return 0; /* "max 100000" */
    return quota > ULONG_MAX / 1000 ? 0 : (quota * 1000 + period - 1) / period;
}

unsigned long
slots_quota_v1(const char *quota_us, const char *period_us)
{
    long quota, period;

    if (sscanf(quota_us, "%ld", &quota) != 1 || sscanf(period_us, "%ld", &period) != 1 ||
        quota <= 0 || period <= 0 || quota > LONG_MAX / 1000)
        return 0; /* -1: no limit */
    return ((unsigned long)quota * 1000 + (unsigned long)period - 1) / (unsigned long)period;
}

/* Is `controller` among "cpu,cpuacct"? */
static int
lists(const char *controllers, size_t size, const char *controller)
{
    const char *at = controllers, *end = controllers + size, *comma;

    for (; at <= end; at = comma + 1) {
        comma = memchr(at, ',', (size_t)(end - at));
        if (comma == NULL)
            comma = end;
        if ((size_t)(comma - at) == strlen(controller) &&
            strncmp(at, controller, (size_t)(comma - at)) == 0)
            return 1;
    }
    return 0;
}

int
slots_cgroup(const char *text, const char *controller, char *path, size_t size)
{
    /* Lines are "hierarchy:controllers:path"; that of v2 is "0::path". */
    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        const char *first = memchr(line, ':', length);
        const char *second =
            first == NULL ? NULL : memchr(first + 1, ':', length - (size_t)(first + 1 - line));

        if (second != NULL) {
            size_t listed = (size_t)(second - first - 1);
            size_t rest = length - (size_t)(second + 1 - line);

            if ((controller == NULL ? listed == 0 && *line == '0'
                                    : lists(first + 1, listed, controller)) &&
                rest < size) {
                memcpy(path, second + 1, rest);
                path[rest] = '\0';
                return 0;
            }
        }
        line += length;
        line += *line == '\n';
    }
    return -1;
}

unsigned
slots_of(unsigned cores, unsigned long limit)
{
    unsigned long paid = (limit + 999) / 1000;

    if (cores < 1)
        cores = 1;
    return limit > 0 && paid < cores ? (unsigned)paid : cores;
}

static int
read_text(const char *root, const char *path, const char *name, char *text, size_t size)
{
    char whole[PATH_MAX];
    size_t n;
    FILE *f;

    if ((size_t)snprintf(whole, sizeof(whole), "%s%s%s", root, path, name) >= sizeof(whole) ||
        (f = fopen(whole, "re")) == NULL)
        return -1;
    n = fread(text, 1, size - 1, f);
    text[n] = '\0';
    fclose(f);
    return 0;
}

static unsigned long
limit_v2(const char *root, const char *path)
{
    char text[128];

    return read_text(root, path, "/cpu.max", text, sizeof(text)) == 0 ? slots_quota_v2(text) : 0;
}

static unsigned long
limit_v1(const char *root, const char *path)
{
    char quota[64], period[64];

    if (read_text(root, path, "/cpu.cfs_quota_us", quota, sizeof(quota)) != 0 ||
        read_text(root, path, "/cpu.cfs_period_us", period, sizeof(period)) != 0)
        return 0;
    return slots_quota_v1(quota, period);
}

/* The tightest limit of a cgroup and those above it, up to the mount at `top`. */
static unsigned long
tightest(const char *root, const char *top, const char *cgroup,
         unsigned long (*limit)(const char *root, const char *path))
{
    unsigned long least = 0, found;
    char path[PATH_MAX];
    size_t top_size = strlen(top);
    char *slash;

    /* A container sees the path that its host sees, and below the mount only its own: then that is
     * at the mount. */
    if ((size_t)snprintf(path, sizeof(path), "%s%s", top, cgroup) >= sizeof(path))
        return 0;
    for (;;) {
        if ((found = limit(root, path)) > 0 && (least == 0 || found < least))
            least = found;
        if ((slash = strrchr(path, '/')) == NULL || (size_t)(slash - path) < top_size)
            return least;
        *slash = '\0';
    }
}

unsigned
slots_under(const char *root, unsigned cores)
{
    static const char *const mounts[] = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"};
    char text[8192], cgroup[PATH_MAX];
    unsigned long limit = 0;

    if (read_text(root, "/proc/self", "/cgroup", text, sizeof(text)) != 0)
        return slots_of(cores, 0);
    if (slots_cgroup(text, NULL, cgroup, sizeof(cgroup)) == 0)
        limit = tightest(root, "/sys/fs/cgroup", cgroup, limit_v2);
    if (limit == 0 && slots_cgroup(text, "cpu", cgroup, sizeof(cgroup)) == 0)
        for (size_t i = 0; i < 2 && limit == 0; i++)
            limit = tightest(root, mounts[i], cgroup, limit_v1);
    return slots_of(cores, limit);
}

unsigned
slots_offered(void)
{
    cpu_set_t *set = NULL;
    long configured = sysconf(_SC_NPROCESSORS_CONF);
    unsigned cores = 0;

    for (int room = configured > 1024 ? (int)configured : 1024; room <= 1 << 20; room *= 2) {
        size_t size = CPU_ALLOC_SIZE(room);

        if ((set = CPU_ALLOC(room)) == NULL)
            break;
        if (sched_getaffinity(0, size, set) == 0)
            cores = (unsigned)CPU_COUNT_S(size, set);
        CPU_FREE(set);
        if (cores > 0)
            break;
    }
    if (cores == 0)
        cores = sysconf(_SC_NPROCESSORS_ONLN) > 0 ? (unsigned)sysconf(_SC_NPROCESSORS_ONLN) : 1;
    return slots_under("", cores);
}
