/* text.h - which strings may travel; private to proto/. */
#ifndef LADLE_TEXT_H
#define LADLE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* UTF-8 without control characters; with `lines`, newlines and tabs are welcome. */
bool text_fits(const char *text, size_t size, bool lines);

/* What can travel of `text` in at most `limit` bytes (at least 4), with '?' for what cannot, and
 * "..." for what is cut off. `room` has limit + 1 bytes. */
void text_fit(char *room, const char *text, size_t limit, bool lines);

#endif
