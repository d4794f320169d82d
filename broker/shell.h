/* shell.h - the broker around its scheduler: sockets, timers, connections; no policy.
 *
 * Messages go from the ROUTER socket into the scheduler, or the depot if they are about detached
 * jobs, and what the scheduler puts out goes to
 * the peers, through their outboxes. Ends of connections, which ROUTER does not tell, are found by
 * the socket's monitor. Belongs to one thread.
 */
#ifndef LADLE_SHELL_H
#define LADLE_SHELL_H

#include "depot.h"

#include <stdbool.h>
#include <stddef.h>

struct shell;

/* NULL, and a sentence in `why`. The endpoints are bound in order; shell_endpoint() says to what,
 * as others should connect. Blocks SIGTERM and SIGINT in the calling thread: they end shell_run().
 */
struct shell *shell_new(const char *const *endpoints, unsigned count, bool insecure,
                        const struct depot_config *store, char *why, size_t size);
const char *shell_endpoint(const struct shell *s, unsigned i);

/* Serve until SIGTERM or SIGINT: 0; or -1 with errno if this cannot go on. */
int shell_run(struct shell *s);

/* Says goodbye to all peers, and lets go of everything; NULL is allowed. */
void shell_free(struct shell *s);

#endif
