/* bounded.h - what the tests of limits and of drains share: tasks that go too far or too long, and
 * a session on a grid of their own.
 *
 * The tasks: whoami (returns its executor's pid), attempt (its number), nap (for so many ms), gate
 * (ends once its file exists, with its attempt; it makes FILE.PID.ATTEMPT before), eat (memory, so
 * many MiB), fork_eat (the same in a child), grab (so many MiB at once, untouched, and gives them
 * back; fails if it gets none), deep (spawns itself, so many times), crash (by abort()), stubborn
 * (never ends, and cares for no SIGTERM; nor does its child; both make a file when they get one,
 * and write their pids to FILE-pids), daemonize (a daemon in a session of its own, whose pid it
 * returns), poison (crashes).
 */
#ifndef LADLE_TESTS_BOUNDED_H
#define LADLE_TESTS_BOUNDED_H

#include "harness.h"

#include <ladle.h>

struct order {
    int32_t n;
    char path[120];
};

extern char endpoint[256];

int grid_setup(void **state); /* a directory and a broker */
int grid_teardown(void **state);

/* A session with the broker, which is destroyed by grid_teardown(). */
futures_t *session(void);
future_t *submit(futures_t *f, const char *function, int32_t n, const char *path,
                 const task_options_t *options);
/* Its result, a number; it must be DONE soon. Destroys it. */
int32_t result_of(future_t *future);
void expect_status(future_t *future, future_status_t status);

bool file_exists(const char *path);
int files_like(const char *path); /* that begin with PATH and a dot */
bool pid_alive(pid_t pid);        /* a zombie is dead */

#define TEST(name) cmocka_unit_test_setup_teardown(name, grid_setup, grid_teardown)

#endif
