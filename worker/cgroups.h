/* cgroups.h - a control group for each executor: its memory is limited, and all in it end together.
 *
 * With version 2 where its controller of memory may be used, else with version 1's; killing is done
 * in version 2's tree even where memory is not (spawn.c does it). Two groups of one executor, in
 * two trees, are one struct cgroup. Nothing here is needed: where no group may be made, executors
 * run without, and their memory is watched (usage.h).
 */
#ifndef LADLE_CGROUPS_H
#define LADLE_CGROUPS_H

#include <stdbool.h>
#include <stdint.h>

struct cgroups;
struct cgroup;

/* Below `root` ("" for the real file systems). In version 2 this process moves into a group of its
 * own below the one where it is, since one with processes must not control its children. NULL, and
 * a sentence in *why, if no group can be had; else in *why what can. The sentence is static. */
struct cgroups *cgroups_open(const char *root, const char **why);
void cgroups_close(struct cgroups *g); /* moves back; NULL is allowed */

struct cgroup *cgroup_new(struct cgroups *g); /* NULL with errno */
/* The directories that its processes have to enter: at most SPAWN_GROUPS; NULL behind the last. */
const char *cgroup_path(const struct cgroup *c, unsigned i);
/* From now on; 0: no limit. -1 if that cannot be, as memory cannot be limited here or more is in
 * use. */
int cgroup_limit(struct cgroup *c, uint64_t bytes);
/* Was a process of it killed for the limit, since that was set? Then *peak_p is the most that was
 * in use. */
bool cgroup_overrun(const struct cgroup *c, uint64_t *peak_p);
void cgroup_free(struct cgroup *c); /* its processes are gone; NULL is allowed */

#endif
