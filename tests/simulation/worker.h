/* worker.h - a worker's process: the real runner, and what its supervisor does around it. */
#ifndef LADLE_SIM_WORKER_H
#define LADLE_SIM_WORKER_H

#include "network.h"

#define WORKER_MEMORY 1000ull /* bytes for each slot: what tasks may ask for */

/* Programs are not the same on all workers. */
enum program_fate { PROGRAM_STARTS, PROGRAM_UNKNOWN_LIBRARY, PROGRAM_ENDS };

/* `able`: it has all that tasks need, nothing ever happens to it, and it comes when all is calm. */
struct actor *worker_new(struct sim *s, unsigned number, bool able);
enum program_fate worker_program(const struct actor *a, const char *digest);

void worker_kill(struct actor *a); /* with its executors; started again later */
void worker_drain(struct actor *a);
void worker_mute(struct actor *a, int64_t until);    /* it says nothing but BEAT */
struct actor *worker_some_executor(struct actor *a); /* NULL: it has none */
struct connection *worker_connection(struct actor *a);
bool worker_is_able(const struct actor *a);
bool worker_is_empty(struct actor *a, const char **what);
/* What clients in its executors may have at the broker, if each has `each` and what it was granted.
 */
uint64_t worker_carried_bytes(const struct actor *a, uint64_t each);

#endif
