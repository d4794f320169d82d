/* redial.h - when to try again, after a connection ended or did not come about. Pure. */
#ifndef LADLE_REDIAL_H
#define LADLE_REDIAL_H

#include <stdint.h>

struct redial {
    int64_t interval; /* us: before the next attempt, at least; at most twice that */
    uint32_t random;
};

void redial_init(struct redial *d, uint32_t random);
/* A connection that lasted so long has ended, or, with 0, did not come about: when to try again. */
int64_t redial_at(struct redial *d, int64_t lasted, int64_t now);

#endif
