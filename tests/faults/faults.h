/* faults.h - what the rows of the fault matrix (docs/faults.md) share.
 *
 * A row is a test `row_NN_what` that injects one fault into real processes. Its grid is made with
 * the calls below; faults_teardown() ends what is left of it and checks that nothing stays behind
 * (I8): no process, no descriptor of a broker, no working directory of a worker.
 */
#ifndef LADLE_FAULTS_H
#define LADLE_FAULTS_H

#include "../system/harness.h"
#include "history.h"

#include <limits.h>

int faults_setup(void **state);
int faults_teardown(void **state);
#define ROW(name) cmocka_unit_test_setup_teardown(name, faults_setup, faults_teardown)

/* Only the row that the first argument names; else all. */
int faults_main(const char *group, const struct CMUnitTest *rows, size_t count, int argc,
                char **argv);
#define FAULTS_MAIN(group)                                                                         \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return faults_main(group, rows, sizeof(rows) / sizeof(*rows), argc, argv);                 \
    }

/* Says why, and skips the row. */
void faults_skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- the grid ---------------------------------------------------------------------------------
 */

/* A broker on loopback; its endpoint is grid_endpoint(). Options end with NULL; so do all lists
 * below. */
#define grid_broker(...) grid_broker_with((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
struct process *grid_broker_with(const char *const *options);
const char *grid_endpoint(void);
void grid_set_endpoint(const char *endpoint);
/* The same broker once more, at the same endpoint, after its end. */
struct process *grid_broker_again(void);
struct process *grid_worker(const char *name, int slots); /* and wait until it has joined */
/* As above, with more options, and words before it: of a command that starts it. It is not waited
 * for. Any of the three may be NULL. */
struct process *grid_worker_with(const char *name, int slots, const char *endpoint,
                                 const char *const *before, const char *const *options);
/* The program `known`, see there: known("submit", "count=10", "ms=100"). Another program may be
 * the name of one of this build, or a path. */
#define known(...) known_with(NULL, NULL, NULL, (const char *const[]){__VA_ARGS__, NULL})
struct process *known_with(const char *program, const char *endpoint, const char *const *before,
                           const char *const *words);

void assert_succeeds(struct process *p, int ms); /* or shows what it wrote */
bool process_said(struct process *p, const char *text, int ms);

/* ---- what processes cost ----------------------------------------------------------------------
 */

bool is_alive(pid_t pid); /* neither ended, nor a zombie that nobody misses */
int descriptors_of(const struct process *p);
size_t memory_of(const struct process *p); /* resident, in bytes */
int64_t cpu_of(const struct process *p);   /* ms of processor time so far */

void sleep_ms(int ms); /* only to let a fault last as long as its row says */
/* Bytes of a decimal number or so: harness-like buffers, used in turn. */
const char *format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
