/* inside.h - what the broker's shell has. Shared by its parts only: shell.c (the loop), opening.c
 * (start and stop). */
#ifndef LADLE_INSIDE_H
#define LADLE_INSIDE_H

#include "../base/poller.h"
#include "bindings.h"
#include "exchange.h"
#include "gate.h"
#include "hoard.h"
#include "routes.h"
#include "scheduler.h"
#include "shell.h"

struct shell {
    void *context, *router, *monitor;
    struct poller *poller;
    struct watch router_watch, monitor_watch, signal_watch;
    struct scheduler *scheduler;
    struct depot *depot;
    struct exchange exchange; /* of both */
    struct arena *in, *out;
    struct routes routes;
    struct gate gate;
    struct hoard hoard;
    int64_t weigh_at;
    bool stop;
    unsigned lines; /* about peers, since lines_from */
    int64_t lines_from;
    unsigned nendpoints;
    char (*endpoints)[BINDING_SIZE];
};

/* To a peer; whom it cannot reach is cut. */
void shell_send(struct shell *s, struct route *r, const struct message *m, int64_t now);
/* What scheduler and depot say to one. */
void shell_pass(void *arg, uint32_t number, const struct message *m, int64_t now);

#endif
