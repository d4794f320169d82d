/* sim: runs seeds of the simulation.
 *
 *     sim --seeds 2000        the seeds 1 .. 2000
 *     sim --seed 17 --trace   one of them, with all that happens
 */
#include "sim.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile uint64_t seed; /* that runs now */

/* A broken invariant aborts: the seed is what matters then. */
static void
tell_seed(int signal_number)
{
    char text[64];
    int length = snprintf(text, sizeof(text), "replay: sim --seed %" PRIu64 " --trace\n", seed);

    (void)!write(STDERR_FILENO, text, (size_t)length);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

int
main(int argc, char **argv)
{
    uint64_t first = 1, last = 100, steps = 0;
    bool trace = false;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0) {
            trace = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
            last = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
            first = last = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--from") == 0 && i + 1 < argc) {
            first = strtoull(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: sim [--from N] [--seeds LAST] | --seed N [--trace]\n");
            return 2;
        }
    }
    signal(SIGABRT, tell_seed);
    signal(SIGSEGV, tell_seed);
    for (seed = first; seed <= last; seed++)
        steps += sim_run(seed, trace);
    printf("seeds %" PRIu64 " to %" PRIu64 ": all well after %" PRIu64 " events\n", first, last,
           steps);
    return 0;
}
