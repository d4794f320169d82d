/* lasting.h - a scheduler whose job numbers last, and peers that come back to it: of a broker
 * before, or of a connection before. */
#ifndef LADLE_TEST_LASTING_H
#define LADLE_TEST_LASTING_H

#include "grid.h"

#define LASTING_INSTANCE 7 /* its own */

int lasting_setup(void **state); /* its first lease is 100 */
uint64_t lasting_number(void);   /* that job 1 of client 9 has with every broker */

/* `instance` is that of the broker that it has work of. */
void lasting_worker(struct grid *g, uint32_t peer, uint8_t session, uint32_t slots,
                    uint64_t instance);
/* The worker says what it has of job 1 of client 9. */
void lasting_held(struct grid *g, uint32_t peer, uint64_t lease, uint32_t attempt, uint32_t cpus,
                  uint32_t first, uint32_t count);
void lasting_held_charged(struct grid *g, uint32_t peer, uint64_t lease, uint32_t attempt,
                          uint32_t charged, uint32_t cpus, uint32_t first, uint32_t count);
void lasting_results(struct grid *g, uint32_t peer, uint64_t lease, uint32_t first, uint32_t count,
                     uint32_t attempt);
/* With the number that is to be acknowledged. */
void lasting_results_numbered(struct grid *g, uint32_t peer, uint64_t lease, uint32_t first,
                              uint32_t count, uint32_t attempt, uint64_t serial);
/* One task, without a result of its own. */
void lasting_ends(struct grid *g, uint32_t peer, uint64_t lease, uint32_t first, uint32_t attempt,
                  enum outcome outcome);
/* Tasks of job 1, if it may run once. */
void lasting_noted(struct grid *g, uint32_t peer, uint64_t first, uint64_t count);
/* Client 9 comes, and tells tasks of job 1 anew. */
void lasting_client_tells(struct grid *g, uint32_t peer, uint64_t first, uint32_t count,
                          bool running);
/* What came out, with N for the job's number. */
void lasting_expect(struct grid *g, const char *text);

#endif
