/* samples.h - one message of every kind, no field left at its default, no two fields alike. */
#ifndef LADLE_SAMPLES_H
#define LADLE_SAMPLES_H

#include "../../proto/message.h"

/* Kinds with two shapes of columns stand there twice. */
unsigned sample_count(void);
/* Borrowed; lives until samples_free(). */
const struct message *sample(unsigned i);
void samples_free(void);

/* NULL if they say the same; else the name of a field that differs. */
const char *message_differs(const struct message *a, const struct message *b);

#endif
