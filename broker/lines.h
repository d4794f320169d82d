/* lines.h - memory for what is touched for each slice, of which there are many.
 *
 * Among thousands of workers hardly any of it is in the processor's cache, so what counts is how
 * many lines of it are fetched.
 */
#ifndef LADLE_LINES_H
#define LADLE_LINES_H

#include <stdlib.h>
#include <string.h>

#define LINE 64

/* Whole lines, all zeros; NULL: ENOMEM. free() takes it. */
static inline void *
lines_new(size_t size)
{
    size_t whole = (size + LINE - 1) / LINE * LINE;
    void *memory = aligned_alloc(LINE, whole);

    return memory == NULL ? NULL : memset(memory, 0, whole);
}

#endif
