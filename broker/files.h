/* files.h - programs and shared constants that detached jobs need, in a folder, by their digest.
 *
 * Their clients may be gone when a worker asks for them. A file is written under another name,
 * checked against its digest, synced, and then given its own: what has a digest for a name is
 * whole.
 */
#ifndef LADLE_FILES_H
#define LADLE_FILES_H

#include "../base/blob.h"

#include <stdbool.h>

struct files;

struct files *files_open(const char *path); /* makes the folder; NULL with errno */
void files_close(struct files *f);          /* NULL is allowed */

bool files_have(const struct files *f, const char *digest);
/* The bytes from `offset` on; at 0 it begins anew. -1 with errno: what was written is gone. */
int files_write(struct files *f, const char *digest, uint64_t offset, const void *data,
                size_t size);
/* All are there. -1 with errno EILSEQ if they are not those of the digest. */
int files_finish(struct files *f, const char *digest);
/* Up to `most` bytes from `offset` on, and the size of it all; NULL with errno. */
struct blob *files_read(const struct files *f, const char *digest, uint64_t offset, size_t most,
                        uint64_t *size_p);
/* Remove those that nobody wants. */
void files_sweep(struct files *f, bool (*wanted)(void *arg, const char *digest), void *arg);

#endif
