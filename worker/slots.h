/* slots.h - how many slots does this machine offer?
 *
 * One for each core that this process may use: those of its affinity, and no more than its cgroup's
 * quota pays for, as in a container.
 */
#ifndef LADLE_SLOTS_H
#define LADLE_SLOTS_H

#include <stddef.h>

/* At least 1. */
unsigned slots_offered(void);

/* The same with the file systems below `root` ("" for the real ones), and so many cores by
 * affinity. */
unsigned slots_under(const char *root, unsigned cores);

/* ---- the pure parts -----
 * In thousandths of a core; 0: no limit, or nothing that can be understood. */
unsigned long slots_quota_v2(const char *cpu_max); /* "150000 100000": 1,500 */
unsigned long slots_quota_v1(const char *quota_us, const char *period_us);
/* Where this process stands, from /proc/self/cgroup: the path of cgroup v2 if `controller` is NULL,
 * or of a controller of v1. 0, or -1 if there is none. */
int slots_cgroup(const char *text, const char *controller, char *path, size_t size);
/* Slots for so many cores with that limit: rounded up, so that a quota of 1.5 cores is used. */
unsigned slots_of(unsigned cores, unsigned long limit);

#endif
