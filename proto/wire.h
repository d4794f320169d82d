/* wire.h - messages to bytes and back: the only place that knows protobuf.
 *
 * A message is one header (an encoded ladle.v1.Message) and, if it has columns with bytes, one data
 * frame. All limits of limits.h are enforced here, on arrival: what comes out of wire_decode() is
 * in range, its strings are free of control characters and NUL, its columns fit their data.
 */
#ifndef LADLE_WIRE_H
#define LADLE_WIRE_H

#include "message.h"

/* Scratch memory for one decoded message at a time, within a byte budget. Not thread-safe. */
struct arena;
struct arena *arena_new(void);
void arena_free(struct arena *self);

/* The header of `m`: returns its size, and its bytes in *header_p, owned by the arena until its
 * next use. The data frame is message_columns(m): data->bytes[at .. at + length), absent if length
 * is 0. Texts and names that are too long are cut, and what cannot travel in them becomes '?'; rows
 * of a status that do not fit are left out. 0 with errno EMSGSIZE if the header is too large all
 * the same: only a HELLO with very many or long names can be. Encoding columns or a job that break
 * a limit is our bug: assert. `m` may have been decoded by this arena. */
size_t wire_encode(struct arena *a, const struct message *m, const uint8_t **header_p);

/* Decode a header, with the data frame that came with it (NULL if none did; no reference is taken).
 * What `m` points to lives in the arena until its next use, or in `data`.
 * -1 with errno EPROTO (malformed or over a limit; *why is a sentence without the peer's bytes) or
 * ENOMEM. */
int wire_decode(struct arena *a, const void *header, size_t size, struct blob *data,
                struct message *m, const char **why);

#endif
