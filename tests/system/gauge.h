/* gauge.h - a way through for one TCP connection at a time that counts what passes. */
#ifndef LADLE_GAUGE_H
#define LADLE_GAUGE_H

#include <stdint.h>

struct gauge;

/* From a port of its own to that of `endpoint` ("tcp://127.0.0.1:N"); the test fails if it cannot.
 * Its own endpoint goes to `own`. It takes the next connection when one has ended. */
struct gauge *gauge_new(const char *endpoint, char own[64]);
void gauge_free(struct gauge *self);
uint64_t gauge_down(const struct gauge *self); /* bytes that came from `endpoint`, so far */

#endif
