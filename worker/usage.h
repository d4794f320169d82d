/* usage.h - how much memory processes use, as /proc says.
 *
 * What they wrote to, that is: neither files that they map, such as shared constants, nor address
 * space that they only reserved, such as the stacks of tasks.
 */
#ifndef LADLE_USAGE_H
#define LADLE_USAGE_H

#include <stdint.h>
#include <sys/types.h>

/* Bytes of one process, quickly; 0 if it is gone. */
uint64_t usage_of(pid_t pid);
/* Bytes of its data, which it wrote to or only reserved: what RLIMIT_DATA counts, and its main
 * thread's stack. */
uint64_t usage_data_of(pid_t pid);
/* Bytes of all that descend from `keeper` together. What a process shares with one that it forked
 * counts once; that takes longer to find out, and is done only where the quick sum is over
 * `limit`. */
uint64_t usage_below(pid_t keeper, uint64_t limit);

#endif
