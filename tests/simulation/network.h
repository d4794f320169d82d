/* network.h - connections: messages pass through the real codec, are late, and get lost as TCP
 * loses them, with the whole connection. */
#ifndef LADLE_SIM_NETWORK_H
#define LADLE_SIM_NETWORK_H

#include "sim.h"

enum side {
    SIDE_BROKER,
    SIDE_PEER
}; /* between a worker and an executor: the worker's is the
      broker's */

struct packet {
    STAILQ_ENTRY(packet) link;
    int64_t at;  /* when it arrives, if nothing stops it */
    bool closes; /* no message: the connection ends */
    size_t size;
    struct blob *data;
    uint8_t header[];
};

struct way { /* to one side */
    STAILQ_HEAD(, packet) packets;
    int64_t last;    /* when the last one arrives */
    int64_t stalled; /* nothing arrives before */
    bool hole;       /* nothing arrives any more, and nobody is told */
    bool closed;
    unsigned arrived; /* and were not taken out */
};

struct connection {
    struct actor *ends[2]; /* NULL: it has let go of it */
    struct way ways[2];
    uint32_t number; /* for the broker, */
    bool joined;     /* which said WELCOME */
    int64_t delay;   /* us, at most, as a rule */
    int64_t since;   /* it is there */
    int64_t faulty;  /* until then, silence is no wonder */
    bool local;      /* a pipe: no network, no faults */
    bool pulled;     /* the peer takes messages out itself: connection_take() */
    unsigned refs;
};

struct connection *connection_new(struct actor *broker, struct actor *peer, int64_t delay);
/* `side` says something. */
void connection_send(struct connection *c, enum side side, const struct message *m);
/* `side` has nothing to do with it any more, and the other side is told in time. If its process
 * died, what it said last may be lost. */
void connection_close(struct connection *c, enum side side, bool died);
/* `side` says nothing any more, but listens. */
void connection_finish(struct connection *c, enum side side);
/* The network ends it: what is under way is lost, and both sides are told. */
void connection_cut(struct connection *c);
/* Nothing arrives at that side any more, and nobody is told. */
void connection_hole(struct connection *c, enum side side);
void connection_stall(struct connection *c, enum side side, int64_t until);
void connection_arrive(struct connection *c, enum side side);
/* When a packet for that side may be looked at, at the earliest. */
int64_t connection_ready(const struct connection *c, enum side side);
/* When bytes came last that this side's process has not looked at; INT64_MIN: there are none. */
int64_t connection_heard(const struct connection *c, enum side side);
/* Look at what has arrived at the peer; with `all`, at what is under way, too. False: nothing. */
bool connection_take(struct connection *c, bool all);
void connection_unref(struct connection *c);

#endif
