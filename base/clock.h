/* clock.h - the only clocks that Ladle reads; everyone else is told the time. */
#ifndef LADLE_CLOCK_H
#define LADLE_CLOCK_H

#include <stdint.h>

#define CLOCK_NEVER INT64_MAX /* a deadline that does not come */

int64_t clock_us(void);      /* monotonic, in microseconds: for every lease, timeout and measure */
int64_t clock_wall_ms(void); /* since the epoch: for people only */

/* Milliseconds from now until `deadline` (both as clock_us), rounded up, for poll and epoll:
 * 0 if it has passed, -1 for CLOCK_NEVER. */
int clock_poll_timeout(int64_t deadline, int64_t now);

#endif
