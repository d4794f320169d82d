/* frames.h - messages to and from ZeroMQ's frames, without copying columns. */
#ifndef LADLE_FRAMES_H
#define LADLE_FRAMES_H

#include "../proto/wire.h"
#include <zmq.h>

/* An encoded message that waits for its turn to be sent. */
struct frames {
    zmq_msg_t header;
    zmq_msg_t data;
    bool has_data;
    size_t bytes; /* of both */
};

/* The data frame borrows from the columns' blob: a reference is held until ZeroMQ is done with it
 * (small ones are copied: that is cheaper). -1 with ENOMEM, or EMSGSIZE as wire_encode(). */
int frames_encode(struct arena *a, const struct message *m, struct frames *f);
void frames_close(struct frames *f);
/* Send on a DEALER, or after a routing id was sent with ZMQ_SNDMORE. 0, or -1 with zmq's errno:
 * nothing was sent. */
int frames_send(struct frames *f, void *socket);

/* A received data frame as a blob: takes the message over (by zmq_msg_move). NULL with ENOMEM. */
struct blob *frames_blob(zmq_msg_t *data);

/* Receive one whole multipart message, without waiting: 1; 0 if there is none; -1 with EPROTO if it
 * has too many or too large frames (all of it was read and dropped), or with zmq's errno. `id` is
 * of a ROUTER's peer: NULL on a DEALER. Both messages must have been initialised, and may be used
 * again and again; after EPROTO `id` is that of the culprit. *data_p is NULL if there was no data
 * frame; else the caller owns it. */
int frames_receive(void *socket, zmq_msg_t *id, zmq_msg_t *header, struct blob **data_p);

/* Options that every socket of Ladle has: limits, no linger, handshake time. -1 with
 * errno. */
int frames_configure(void *socket);

#endif
