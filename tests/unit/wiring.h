/* wiring.h - two arenas, and messages from one to the other; for tests of the codec. */
#ifndef LADLE_WIRING_H
#define LADLE_WIRING_H

#include "../../proto/arena.h"
#include "../../proto/limits.h"
#include "../../proto/wire.h"
#include "ladle.pb-c.h"
#include "samples.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

extern struct arena *sender, *receiver;
extern uint8_t packet[2 * LIMIT_HEADER];

int wiring_setup(void **state);
int wiring_teardown(void **state);

/* The data frame of a message: its own bytes only. */
struct blob *data_of(const struct message *m);

/* From memory of just that size, so that the sanitizer sees a byte too far. */
int decode_exactly(const uint8_t *bytes, size_t size, struct blob *data, struct message *m);

/* Packs a message made by hand, with `length` bytes of data, and decodes it. */
int decode_top(Ladle__V1__Message *top, size_t length, struct message *m);

#define TOP(CASE, field, value)                                                                    \
    &(Ladle__V1__Message)                                                                          \
    {                                                                                              \
        .base = PROTOBUF_C_MESSAGE_INIT(&ladle__v1__message__descriptor),                          \
        .body_case = LADLE__V1__MESSAGE__BODY_##CASE, .field = value                               \
    }

#endif
