/* grid.h - a scheduler under test: peers that say what the test wants, and a tape of all that it
 * answers. */
#ifndef LADLE_TEST_GRID_H
#define LADLE_TEST_GRID_H

#include "../../broker/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct grid {
    struct scheduler *scheduler;
    int64_t now;
    char tape[1 << 16];
    size_t length;
    bool beats; /* also on the tape; else left out */
    bool idle;  /* what clients in executors are told of the grid: likewise */
};

/* As a peer of the calls below: the client of this number in an executor of a worker. On the tape
 * it is "worker.number". */
#define CARRIED(worker, number) ((uint32_t)(number) << 16 | (worker))

int grid_setup(void **state);
int grid_setup_with(void **state, const struct scheduler_config *config);
int grid_teardown(void **state); /* checks the invariants first */

int grid_say(struct grid *g, uint32_t peer, const struct message *m);
/* Time passes in small steps; peers that were heard stay alive only if `alive`. */
void grid_pass(struct grid *g, int64_t us);
void grid_tick(struct grid *g);
/* All that came out since the last call, after one tick: lines of "peer: message". */
#define grid_expect(g, text) assert_string_equal(grid_tape(g), text)
const char *grid_tape(struct grid *g);
void grid_forget(struct grid *g); /* what came out so far is not of interest */

void grid_client(struct grid *g, uint32_t peer);
/* One that may be silent for so long; the session is that of peer `session`. */
void grid_client_kept(struct grid *g, uint32_t peer, uint32_t session, uint64_t keep_ms);
void grid_worker(struct grid *g, uint32_t peer, const char *name, uint32_t slots);
void grid_worker_with(struct grid *g, uint32_t peer, const char *name, uint32_t slots,
                      const char *machine, const char *labels);
void grid_beat(struct grid *g, uint32_t peer);
void grid_job(struct grid *g, uint32_t peer, uint64_t job, const struct spec *spec);
struct spec grid_spec(void); /* function "square" of program "d", 2 retries */
void grid_inputs(struct grid *g, uint32_t peer, uint64_t job, uint64_t first, uint32_t count);
void grid_end(struct grid *g, uint32_t peer, uint64_t job, uint64_t total);
void grid_taken(struct grid *g, uint32_t peer, uint64_t bytes);
/* Tasks that were told before, on another connection. */
void grid_inputs_again(struct grid *g, uint32_t peer, uint64_t job, uint64_t first, uint32_t count,
                       bool running);
/* The same, of tasks against each of which so many attempts count. */
void grid_inputs_charged(struct grid *g, uint32_t peer, uint64_t job, uint64_t first,
                         uint32_t count, uint32_t charged);
void grid_told(struct grid *g, uint32_t peer);
void grid_cancel(struct grid *g, uint32_t peer, uint64_t job, uint64_t first, uint64_t count);
/* `outcomes` is a digit per task, or NULL: all are DONE. */
int grid_results(struct grid *g, uint32_t peer, uint64_t lease, uint64_t job, uint64_t first,
                 uint32_t count, uint64_t run_us, const char *outcomes);
void grid_park(struct grid *g, uint32_t peer, uint64_t lease, bool parked);
int grid_returned(struct grid *g, uint32_t peer, uint64_t lease, uint64_t first, uint32_t count,
                  enum returned why);

#endif
