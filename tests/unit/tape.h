/* tape.h - messages as lines of text, so that tests compare whole histories. */
#ifndef LADLE_TEST_TAPE_H
#define LADLE_TEST_TAPE_H

#include "../../proto/message.h"

/* "slice lease=1 job=1 first=0 count=2 attempt=1": without a new line. */
void tape_describe(const struct message *m, char *text, size_t size);

#endif
