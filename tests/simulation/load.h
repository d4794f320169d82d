/* load.h - what virtual tasks do: it follows from their input, and from nothing else.
 *
 * An input has eight bytes that say all, and others that only take room. The lower half is a serial
 * number: of tasks that clients submit, their place in the history.
 */
#ifndef LADLE_SIM_LOAD_H
#define LADLE_SIM_LOAD_H

#include "sim.h"

enum fate { FATE_DONE, FATE_FAILS, FATE_CRASHES, FATE_CRASHES_ONCE, FATE_HANGS };

/* What the tasks of a job have in common; `timeout`: some of them never return. */
uint64_t load_kind(uint64_t chance, bool timeout);
bool load_nests(uint64_t kind);    /* some of them spawn others */
bool load_spawned(uint64_t input); /* it was spawned by a task */

enum fate load_fate(const struct sim *s, uint64_t input);
int64_t load_time(const struct sim *s,
                  uint64_t input); /* us, of all its running; HANGS: not asked */
bool load_polite(uint64_t input);  /* it looks whether it was cancelled */

/* The result. */
uint64_t load_value(uint64_t input);
uint32_t load_size(uint64_t input); /* bytes of it: at least 8 */
struct blob *load_result(uint64_t input);
bool load_is_result(uint64_t input, const uint8_t *bytes, size_t size);

/* How often it waits for children of its own, and how many it has then. */
unsigned load_rounds(uint64_t input);
uint32_t load_children(uint64_t input);
uint64_t load_child(uint64_t input, unsigned round, uint32_t i);
bool load_forgets(uint64_t input); /* it returns without waiting for the last ones */

#endif
