/* impostor.h - a bare ROUTER in the place of a broker, that says what a test wants. */
#ifndef LADLE_IMPOSTOR_H
#define LADLE_IMPOSTOR_H

#include "../../proto/message.h"

struct impostor;

struct impostor *impostor_new(char endpoint[256]);
void impostor_free(struct impostor *i); /* NULL is allowed */
/* The next message of a type, of anybody, within `ms`: others are dropped. NULL if none came.
 * Borrowed until the next call. */
const struct message *impostor_await(struct impostor *i, enum message_type type, int ms);
/* To who was heard last. */
void impostor_say(struct impostor *i, const struct message *m);
void impostor_say_bytes(struct impostor *i, const void *bytes, size_t size);
/* Await a HELLO, and answer it: signs of life as the numbers say. */
void impostor_welcome(struct impostor *i, uint32_t beat_ms, uint32_t lost_ms);

#endif
