/* chaos.h - what goes wrong, and when.
 *
 * In two steps: each kind of fault is on or off in a seed, and then strikes at a rate of its own.
 * So some seeds have one fault a second of one kind, and others a little of all.
 */
#ifndef LADLE_SIM_CHAOS_H
#define LADLE_SIM_CHAOS_H

#include "sim.h"

enum fault {
    FAULT_CUT,         /* a connection ends, and both sides are told */
    FAULT_HOLE,        /* a connection goes dead in one direction, or both: nobody is told */
    FAULT_STALL,       /* it passes nothing on for a while */
    FAULT_AWAY,        /* the network does not reach a peer for a while */
    FAULT_DELAY,       /* some messages take far longer */
    FAULT_TWICE,       /* what may be said twice is */
    FAULT_STOP_BROKER, /* SIGSTOP, and SIGCONT later */
    FAULT_STOP_WORKER,
    FAULT_STOP_CLIENT,
    FAULT_STOP_EXECUTOR,
    FAULT_KILL_BROKER, /* another one starts, which knows nothing */
    FAULT_KILL_WORKER,
    FAULT_KILL_CLIENT,
    FAULT_KILL_EXECUTOR,
    FAULT_MUTE_WORKER, /* it takes work and says nothing but BEAT, for a while */
    FAULT_DRAIN,       /* a worker is asked to end */
    FAULT_START,       /* executors cannot be started, for a while */
    FAULT_PARTS,       /* clients cannot give their programs, now and then */
    FAULT_CANCEL,      /* a client does not want some tasks any more */
    FAULT_LEAVE,       /* it leaves, and says so */
    FAULT_DISK_FULL,   /* nothing can be written to the store, for a while: now and then */
    FAULT_DISK_FAIL,   /* an fsync fails, and the broker ends */
    FAULT_DISK_KILL,   /* the broker is killed while it writes */
    FAULT_KINDS
};

struct chaos *chaos_new(struct sim *s);
void chaos_begin(struct chaos *c);
void chaos_free(struct chaos *c);
/* Of those that are not planned, but asked for: does it happen now? */
bool chaos_strikes(struct sim *s, enum fault f);
bool chaos_is_on(const struct sim *s, enum fault f);
int64_t chaos_delay(struct sim *s, int64_t usual);
bool chaos_twice(struct sim *s, const struct message *m);

#endif
