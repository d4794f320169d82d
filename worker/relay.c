/* relay.c - clients in executors: what tasks that submit tasks say to the broker, and it to them.
 *
 * An executor has one such client at most. Here it gets a number that is never used again in the
 * worker's session, so what comes late for one that is gone reaches nobody else. */
#include "state.h"

#include <stddef.h>

void
relay_end(struct runner *r, struct executor *e)
{
    struct message m = {.type = MESSAGE_BYE, .client = e->client, .text = "the executor has ended"};

    if (e->client != 0)
        runner_put(r, &m);
    e->client = 0;
}

void
relay_stop(struct runner *r, struct executor *e)
{
    struct message m = {
        .type = MESSAGE_BYE, .client = e->client_there, .text = "the worker has lost its broker"};

    if (e->client != 0)
        r->hands->send(r->arg, e->number, &m);
    e->client = 0;
}

void
relay_up(struct runner *r, struct executor *e, const struct message *from)
{
    struct message m = *from;

    switch (m.type) {
    case MESSAGE_HELLO:
        if (e->state != EXECUTOR_IDLE && e->state != EXECUTOR_BUSY)
            return;
        relay_end(r, e); /* it begins anew */
        e->client = ++r->last_client;
        e->client_there = m.client;
        break;
    case MESSAGE_BYE:
    case MESSAGE_BEAT:
    case MESSAGE_JOB:
    case MESSAGE_INPUTS:
    case MESSAGE_CANCEL:
    case MESSAGE_JOB_END:
    case MESSAGE_TAKEN:
    case MESSAGE_SHARE:
    case MESSAGE_UNSHARE:
    case MESSAGE_PROGRAM_PART:
    case MESSAGE_TOLD:
    case MESSAGE_NOTED:
        break;
    default:
        return; /* no client says that */
    }
    if (e->client == 0)
        return;
    m.client = e->client;
    runner_put(r, &m);
    if (m.type == MESSAGE_BYE)
        e->client = 0;
}

void
relay_down(struct runner *r, const struct message *from)
{
    struct message m = *from;

    for (unsigned i = 0; i < r->nexecutors; i++) {
        struct executor *e = &r->executors[i];

        if (e->client != m.client)
            continue;
        m.client = e->client_there;
        r->hands->send(r->arg, i, &m);
        if (m.type == MESSAGE_BYE || m.type == MESSAGE_REFUSED)
            e->client = 0;
        return;
    }
}
