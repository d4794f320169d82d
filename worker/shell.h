/* shell.h - a worker's connection to its broker, around the supervisor. */
#ifndef LADLE_WORKER_SHELL_H
#define LADLE_WORKER_SHELL_H

#include "supervisor.h"

struct shell;

/* The config's poller is the shell's own. Without a broker, work is kept for `keep_us`. A drain
 * lets what runs go on for `drain_ms`; at the config's `ends_at` it is stopped at once. Call with
 * SIGTERM, SIGINT, SIGUSR1 and SIGHUP blocked: they are read here. NULL, and a sentence in `why`.
 */
struct shell *shell_new(const char *endpoint, const struct supervisor_config *config,
                        int64_t keep_us, int64_t drain_ms, char *why, size_t size);
/* Until told to stop. 0 after a drain; -1 if the broker refused us or we were stopped in a hurry.
 */
int shell_run(struct shell *s);
void shell_free(struct shell *s);

#endif
