/* acks.h - RESULTS that workers need not keep any longer.
 *
 * A worker keeps what it sent until it hears that it is in safe hands: with the client, who told
 * that with TAKEN, or with nobody, as nobody waits for it. Who holds results holds the number of
 * the worker and the serial of the message, and gives them back here in the end. The word goes out
 * for many messages at once, with the next beat at the latest.
 */
#ifndef LADLE_ACKS_H
#define LADLE_ACKS_H

#include "state.h"

/* A worker that is gone, and serial 0, are fine. */
void ack(struct scheduler *s, uint64_t worker, uint64_t serial);
void acks_flush(struct scheduler *s, struct worker *w);

#endif
