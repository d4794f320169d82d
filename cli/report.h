/* report.h - a broker's status, as JSON. */
#ifndef LADLE_REPORT_H
#define LADLE_REPORT_H

#include <jansson.h>
#include <stddef.h>

/* Ask the broker at `endpoint`, page by page: an object with its facts, and "workers" and "jobs" as
 * arrays of objects. NULL, and a sentence in `why`. */
json_t *report_fetch(const char *endpoint, int timeout_ms, char *why, size_t size);

#endif
