/* redial.h - attempts to get a connection: when to begin one, when to give it up, and when to try
 * again. Pure: the owner has the sockets, and tells what becomes of them and when. Microseconds. */
#ifndef LADLE_REDIAL_H
#define LADLE_REDIAL_H

#include <stdbool.h>
#include <stdint.h>

enum { REDIAL_CONNECT_MS = 5000 }; /* what the system may take for one attempt */

struct redial {
    bool trying;      /* an attempt is under way */
    bool answered;    /* it led to a connection, which goes on */
    int64_t since;    /* it began */
    int64_t again;    /* without one: begin the next; while trying: give up */
    int64_t interval; /* before the next attempt, at least; at most twice that */
    int64_t patience; /* with an attempt of which nothing is heard */
    uint32_t random;
};

/* The first attempt is due at once. */
void redial_init(struct redial *d, uint32_t random, int64_t now);
void redial_begin(struct redial *d, int64_t now);
void redial_reached(struct redial *d);  /* the system has begun: it has limits of its own */
void redial_answered(struct redial *d); /* there is a connection */
/* It ended, or did not come about, or is given up. */
void redial_over(struct redial *d, int64_t now);
/* When to begin an attempt, or to give one up; CLOCK_NEVER while there is a connection. */
int64_t redial_deadline(const struct redial *d);

#endif
