/* bindings.h - where the broker listens: what it may bind to, and why it could not. */
#ifndef LADLE_BINDINGS_H
#define LADLE_BINDINGS_H

#include <stdbool.h>
#include <stddef.h>

#define BINDING_DEFAULT "tcp://127.0.0.1:5570"
#define BINDING_SIZE 512 /* bytes of an endpoint, with its NUL */

/* May the broker bind to `endpoint`? "tcp://host:port" (port 0 or * for any) or "ipc://path"; what
 * other machines reach needs `insecure`. -1 and a sentence if not. */
int binding_check(const char *endpoint, bool insecure, char *why, size_t size);

/* Bind a socket to a checked endpoint; `real` is what others connect to. -1 and a sentence. */
int binding_bind(void *socket, const char *endpoint, char real[BINDING_SIZE], char *why,
                 size_t size);
/* After the socket was closed: remove the socket of an ipc endpoint, which libzmq leaves. */
void binding_remove(const char *real);

#endif
