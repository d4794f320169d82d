/* conversation.h - what a peer and its broker say to each other beside the work: hello and welcome,
 * signs of life, goodbye; when the broker is taken for lost, and how it goes on afterwards.
 *
 * Pure: the owner has the connection (net/link.h), tells what happens to it and when, and does what
 * conversation_output() asks for. One connection is one conversation: each begins with HELLO, and
 * nothing but BEAT may be said before conversation_is_open(). Times are microseconds.
 */
#ifndef LADLE_CONVERSATION_H
#define LADLE_CONVERSATION_H

#include "../proto/message.h"

#include <stdbool.h>
#include <stdint.h>

enum conversation_event {                       /* in the order in which they are to be done */
                          CONVERSATION_REFUSED, /* as LOST, for good reasons: `why` are the broker's
                                                   words */
                          CONVERSATION_LOST, /* there is no broker (any more), because of `why` */
                          CONVERSATION_RESTART, /* give the connection up, and get another one */
                          CONVERSATION_HELLO,   /* introduce yourself: conversation_introduce() */
                          CONVERSATION_BEAT,    /* say BEAT */
                          CONVERSATION_LISTEN, /* when did the last bytes come? conversation_bytes()
                                                */
                          CONVERSATION_FORSAKEN, /* no broker for so long: what is kept for it is to
                                                    be dropped */
                          CONVERSATION_UNEXPLAINED, /* no broker for a while, of which the user
                                                       should know */
                          CONVERSATION_NOTHING,
};

struct conversation_effect {
    enum conversation_event event;
    const char *why; /* of REFUSED, LOST; valid until the next input */
    bool was_open;   /* of REFUSED, LOST: the broker had said WELCOME */
};

struct conversation {
    uint8_t session[16];
    uint64_t instance;   /* of the last broker, of which we may still have work; 0: none */
    int64_t keep_us;     /* for so long, without a broker; CLOCK_NEVER: for ever */
    bool up;             /* HELLO was said, or is about to be */
    bool open;           /* and answered */
    bool deaf;           /* the connection takes nothing more: only its last words may come */
    bool over;           /* the owner left */
    int64_t since;       /* HELLO */
    int64_t heard, beat; /* the last sign of life; when ours is due */
    int64_t beat_us, lost_us;
    int64_t forsaken, unexplained; /* when it will be so; CLOCK_NEVER */
    unsigned pending;              /* bits of events */
    bool was_open;
    char why[512];
};

/* `keep_us` below 0: for ever. The name of the owner in all its conversations is `session`. */
void conversation_init(struct conversation *c, const uint8_t session[16], int64_t keep_us,
                       int64_t now);
void conversation_introduce(const struct conversation *c, struct message_hello *hello);

/* ---- what happened to the connection ----------------------------------------------------------
 */

void conversation_up(struct conversation *c, int64_t now);
void conversation_down(struct conversation *c, int64_t now); /* and all that came was read */
/* A message came. Is it for the owner? WELCOME is, and what is said after it. */
bool conversation_input(struct conversation *c, const struct message *m, int64_t now);
void conversation_bytes(struct conversation *c, int64_t at, int64_t now);
/* The owner could not send a message, with this errno: so it is lost, and with it the connection.
 */
void conversation_unsent(struct conversation *c, int error, int64_t now);
/* The owner cannot go on with this broker: what came is no message, say. */
void conversation_fail(struct conversation *c, const char *why, int64_t now);

/* ---- what is to be done -----------------------------------------------------------------------
 */

void conversation_tick(struct conversation *c, int64_t now);
int64_t conversation_deadline(const struct conversation *c);
/* The next effect; false: there is none. */
bool conversation_output(struct conversation *c, struct conversation_effect *e);
bool conversation_is_open(const struct conversation *c); /* may the owner speak of its work? */
/* The owner leaves, and nothing more is asked of it. Is there somebody to whom it can say BYE? */
bool conversation_leave(struct conversation *c);

#endif
