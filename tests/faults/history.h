/* history.h - the oracle: what became of tasks whose results are known.
 *
 * Reads what clients and tasks of the program `known` logged, and judges it by the invariants:
 * I1 no task has two outcomes, I2 each has one in the end, I3 none ran more often than it may,
 * I6 results are right. (I8, that nothing is left behind, is the fixture's in faults.h.)
 */
#ifndef LADLE_HISTORY_H
#define LADLE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RUNS_SEEN 8

struct run {
    pid_t pid;
    int attempt;
    int64_t begun, ended; /* ms, as harness_now(); ended: 0 if it did not end */
    char worker[64];
};

struct deed { /* one task */
    uint64_t id;
    int invoked, ok, failed, wrong, refused;
    int64_t invoked_at, outcome_at;
    int attempts;   /* as the client was told */
    char text[256]; /* of its failure */
    int nruns;
    struct run runs[RUNS_SEEN]; /* the first of them */
};

struct history {
    struct deed *deeds;
    size_t n;
    int late; /* waits that timed out */
};

/* Read DIRECTORY/history; the result is valid until the next call. No history: no deeds. */
const struct history *history(void);
const struct deed *history_of(const struct history *h, uint64_t id); /* NULL: unknown */

size_t history_begun(const struct history *h);   /* tasks that began at least once */
size_t history_ended(const struct history *h);   /* tasks with an outcome */
size_t history_running(const struct history *h); /* runs that began and did not end */
int history_most_runs(const struct history *h);  /* of one task */

/* Fails the test unless `count` tasks were invoked, each has exactly one outcome, `failures` of
 * these are failures, all results are right, and no task began more than `runs` times. */
void history_check(size_t count, size_t failures, int runs);

#endif
