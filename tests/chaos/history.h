/* history.h - what the client did and saw, a line each, for checker.py; before each the
 * time of day.
 *
 *   invoke ID KIND AMOUNT VALUE WAY     before the task is submitted
 *   ok ID VALUE ATTEMPTS                its result; ATTEMPTS is 0 where nobody tells
 *   fail ID STATUS ATTEMPTS WORDS       any other end
 *   unknown ID WORDS                    given up without an end
 *   sum NAME FIRST COUNT VALUE          a reduction over those orders
 *   wrong WORDS                         what must not be
 */
#ifndef CHAOS_HISTORY_H
#define CHAOS_HISTORY_H

#include "orders.h"

int history_open(const char *path);
void history_invoke(const struct order *o, const char *way);
/* The end of `o`, as the client was told. */
void history_result(const struct order *o, const void *data, size_t size, int attempts);
void history_failure(const struct order *o, future_status_t status, int attempts,
                     const char *words);
void history_unknown(const struct order *o, const char *words);
void history_sum(const char *name, uint64_t first, uint64_t count, uint64_t value);
void history_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
