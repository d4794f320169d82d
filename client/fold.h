/* fold.h - the tasks of which a reduction consists, in the executor: each maps a block of inputs,
 * or takes a few values, and combines them here.
 */
#ifndef LADLE_FOLD_H
#define LADLE_FOLD_H

#include "task.h"

/* Names that begin so are the library's own. */
#define FOLD_PREFIX "ladle."
/* They do what their parcel (parcel.h) says; three names, so that people see which it is. */
#define FOLD_BLOCK FOLD_PREFIX "fold"
#define FOLD_JOIN FOLD_PREFIX "join"
#define FOLD_SCAN FOLD_PREFIX "scan"

task_fn *fold_find(const char *name); /* NULL: none of these */

#endif
