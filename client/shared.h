/* shared.h - the constants that the tasks of a job may ask for, mapped into this process.
 *
 * Each content is mapped once, whatever it is called and however many jobs have it, read-only, and
 * unmapped when no job has it any more. Thread-safe.
 */
#ifndef LADLE_SHARED_H
#define LADLE_SHARED_H

#include "../proto/message.h"

struct constants;

/* Those of a job: its spec tells their paths. NULL: it has none. Without memory, or without a file,
 * there are constants that cannot be had: constants_find() says why. */
struct constants *constants_open(struct spec *spec);
struct constants *constants_ref(struct constants *self); /* NULL is allowed */
void constants_close(struct constants *self);            /* likewise */

/* NULL with errno and a sentence for futures_error(); ENOENT: there is none of that name. */
const void *constants_find(const struct constants *self, const char *name, size_t *size_p);

#endif
