#include "usage.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 4096 /* processes that are looked at: a task that has more is beyond help */

uint64_t
usage_of(pid_t pid)
{
    unsigned long long resident, shared;
    char path[64];
    FILE *f;
    int n;

    snprintf(path, sizeof(path), "/proc/%ld/statm", (long)pid);
    if ((f = fopen(path, "re")) == NULL)
        return 0;
    n = fscanf(f, "%*u %llu %llu", &resident, &shared);
    fclose(f);
    return n == 2 && resident > shared
               ? (resident - shared) * (unsigned long long)sysconf(_SC_PAGESIZE)
               : 0;
}

uint64_t
usage_data_of(pid_t pid)
{
    unsigned long long pages;
    char path[64];
    FILE *f;
    int n;

    snprintf(path, sizeof(path), "/proc/%ld/statm", (long)pid);
    if ((f = fopen(path, "re")) == NULL)
        return 0;
    n = fscanf(f, "%*u %*u %*u %*u %*u %llu", &pages);
    fclose(f);
    return n == 1 ? pages * (unsigned long long)sysconf(_SC_PAGESIZE) : 0;
}

/* Of pages that several processes have, each has a part. */
static uint64_t
fair_usage_of(pid_t pid)
{
    unsigned long long kib, sum = 0;
    char path[64], line[256];
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%ld/smaps_rollup", (long)pid);
    if ((f = fopen(path, "re")) == NULL)
        return 0;
    while (fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "Pss_Anon: %llu", &kib) == 1 || sscanf(line, "SwapPss: %llu", &kib) == 1)
            sum += kib;
    fclose(f);
    return sum * 1024;
}

/* The children of all threads of `pid` go behind the `n` processes of the list. */
static unsigned
add_children(pid_t pid, pid_t *list, unsigned n)
{
    const struct dirent *d;
    char path[128];
    int child;
    DIR *dir;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%ld/task", (long)pid);
    if ((dir = opendir(path)) == NULL)
        return n;
    while ((d = readdir(dir)) != NULL) {
        snprintf(path, sizeof(path), "/proc/%ld/task/%.20s/children", (long)pid, d->d_name);
        if (d->d_name[0] == '.' || (f = fopen(path, "re")) == NULL)
            continue;
        while (n < MOST && fscanf(f, "%d", &child) == 1)
            list[n++] = child;
        fclose(f);
    }
    closedir(dir);
    return n;
}

uint64_t
usage_below(pid_t keeper, uint64_t limit)
{
    pid_t list[MOST];
    unsigned n = add_children(keeper, list, 0);
    uint64_t sum = 0, fair = 0;

    for (unsigned i = 0; i < n; i++) {
        n = add_children(list[i], list, n);
        sum += usage_of(list[i]);
    }
    if (sum <= limit || n < 2)
        return sum;
    for (unsigned i = 0; i < n; i++)
        fair += fair_usage_of(list[i]);
    return fair > 0 ? fair : sum;
}
