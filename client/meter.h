/* meter.h - the progress line of a map, on a terminal. */
#ifndef LADLE_METER_H
#define LADLE_METER_H

#include "session.h"

struct meter {
    FILE *stream;  /* NULL: nothing is shown */
    int64_t since; /* when it began */
    int64_t next;  /* when to show it again */
    bool dirty;    /* a line without an end is on the screen */
};

/* All with the lock held. */
void meter_open(struct meter *m, futures_t *s, const struct job *j, FILE *stream);
/* A line that is there is left as of now. */
void meter_close(struct meter *m, futures_t *s, const struct job *j);
/* session_wait(), but the line is brought up to date meanwhile. */
int meter_wait(struct meter *m, futures_t *s, const struct job *j, int64_t deadline);
/* Show it, if it is time; `end`: for the last time. The lock is let go meanwhile. */
void meter_show(struct meter *m, futures_t *s, const struct job *j, bool end);

/* The line, without its end: counts, rate, time left. `us`: since it began. */
void meter_line(char *line, size_t size, uint64_t ended, uint64_t failed, uint64_t total,
                int64_t us);

#endif
