/* duration.h - a length of time, as people write it. */
#ifndef LADLE_DURATION_H
#define LADLE_DURATION_H

#include <stdint.h>

/* "90" and "90s", "500ms", "10m", "2h", "1d", "1:30:00", "1-12:00:00": hours, minutes and seconds,
 * perhaps days before them. 0, or -1 if it is none of these, or longer than ten years. */
int duration_parse(const char *text, int64_t *ms_p);

#endif
