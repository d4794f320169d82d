/* zmqload.h - libzmq on demand: see zmqload.c for why. */
#ifndef LADLE_ZMQLOAD_H
#define LADLE_ZMQLOAD_H

#include <stdbool.h>
#include <stddef.h>

/* Load libzmq, if that has not been done. Called before a connection is made, to be told why it
 * cannot be. -1 with errno ENOSYS and a sentence. Thread-safe. */
int zmqload(char *why, size_t size);

#endif
