/* keeping.h - brokers with stores, and jobs in them, for the tests of both. */
#ifndef LADLE_TESTS_KEEPING_H
#define LADLE_TESTS_KEEPING_H

#include "harness.h"

#include <ladle.h>

/* A broker with the store "store" in the test's directory, at an endpoint that stays the same; up
 * to 8 more arguments, then NULL. */
struct process *store_broker(const char *const *arguments);
/* The same with these variables; not awaited. */
struct process *store_broker_begin(const char *const *arguments, const char *const *variables);
void store_broker_ready(struct process *p);
/* From here on, another store and another endpoint: those of this name. */
void store_use(const char *name);
const char *store_endpoint(void);
const char *store_directory(void);

futures_t *store_session(void);
/* A detached map of "square" over 0 .. count - 1, all of it on disk; the id in a buffer of the
 * caller's. */
void submit_squares(futures_t *f, long count, char id[33]);
/* All results are right, none twice, none missing. */
void assert_squares(futures_t *f, const char *id, long count);
/* What `ladle jobs --json ID` says of a number; -1. */
long long job_number(const char *id, const char *key);
/* Of these, how many have all their tasks, each of them done, and counted once. */
int jobs_ended(char (*ids)[33], int count, long tasks);
/* The exit status of `ladle COMMAND ID ...`, with its output in a buffer of its own. */
int ladle_run(const char *output[2], const char *const *arguments);

#endif
