/* uplink.h - an executor's messages to and from its worker. There is one, and nobody else to tell:
 * when it breaks, the process ends. */
#ifndef LADLE_UPLINK_H
#define LADLE_UPLINK_H

#include "../proto/message.h"

void uplink_open(int fd);

void uplink_send(struct message *m); /* blocks */
/* The next message, valid until the next call; a reference keeps its data frame for longer. */
void uplink_next(struct message *m);
/* Wait until `deadline` (as clock_us) for the next message to begin. False: none did. */
bool uplink_wait(int64_t deadline);

/* At least `size` bytes in a buffer, aligned for any type; what was in it is lost. */
void uplink_room(uint8_t **buffer, size_t *room, size_t size);

/* Say why on standard error, and end. */
void uplink_fail(const char *why) __attribute__((noreturn));

#endif
