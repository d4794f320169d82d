/* hierarchy.h - where this process stands among the control groups.
 *
 * Version 2 has one tree for all controllers, version 1 one for each; both may be mounted at once.
 */
#ifndef LADLE_HIERARCHY_H
#define LADLE_HIERARCHY_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

struct hierarchy {
    char path[PATH_MAX]; /* the directory of our own group */
    size_t top;          /* so many bytes of it are the mount */
};

/* The tree of version 2 if `controller` is NULL, or that of a controller of version 1, with the
 * file systems below `root` ("" for the real ones). 0, or -1 if there is none. */
int hierarchy_find(struct hierarchy *h, const char *root, const char *controller);

/* Bytes of memory that this process and those that it starts may use together: those of the
 * machine, or of the tightest of its control groups. */
uint64_t memory_offered(void);
uint64_t memory_under(const char *root, uint64_t machine);

/* A file in a group's directory: its text, cut to `size`, with a NUL. -1 with errno. */
int group_read(const char *group, const char *name, char *text, size_t size);
int group_write(const char *group, const char *name, const char *text);
/* The number in a file; or behind `key` in one of lines "key number". UINT64_MAX if there is none,
 * or it says "max". */
uint64_t group_number(const char *group, const char *name, const char *key);

#endif
