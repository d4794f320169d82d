#include "acks.h"

#include "peers.h"

#define ACKS_MOST 256 /* messages; then the worker is told at once */

void
acks_flush(struct scheduler *s, struct worker *w)
{
    struct outgoing *o;
    struct blob *serials;

    if (w->nacks == 0 || (serials = blob_copy(w->acks, w->nacks * sizeof(*w->acks))) == NULL)
        return;
    if ((o = peer_say(s, w->peer, MESSAGE_ACK)) != NULL) {
        outgoing_keep(o, serials);
        o->m.ack = (struct message_ack){.serials = (const uint64_t *)(const void *)serials->bytes,
                                        .count = w->nacks};
        outbox_put(&s->outbox, o);
    }
    blob_unref(serials);
    w->nacks = w->nacked = 0;
}

void
ack(struct scheduler *s, uint64_t worker, uint64_t serial)
{
    struct worker *w;

    if (serial == 0 || (w = table_find(&s->workers_by_number, worker)) == NULL)
        return;
    if (w->nacks > 0 && w->acks[w->nacks - 1] + 1 == serial) {
        w->acks[w->nacks - 1] = serial;
    } else {
        if (w->nacks == 2 * ACK_RANGES)
            acks_flush(s, w);
        if (w->nacks == 2 * ACK_RANGES)
            return; /* out of memory: it keeps them for longer */
        w->acks[w->nacks++] = serial;
        w->acks[w->nacks++] = serial;
    }
    if (++w->nacked >= ACKS_MOST)
        acks_flush(s, w);
}
