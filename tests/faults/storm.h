/* storm.h - many workers that run nothing, on real sockets: they join, beat, and come back. */
#ifndef LADLE_STORM_H
#define LADLE_STORM_H

#include <sys/types.h>

/* A process with `count` of them; ends with the test. */
pid_t storm_start(const char *endpoint, int count, int number);

#endif
