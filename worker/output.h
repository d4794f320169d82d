/* output.h - what an executor prints: read, kept in bounds, and passed on. */
#ifndef LADLE_OUTPUT_H
#define LADLE_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#define OUTPUT_BURST (256u << 10) /* bytes that may come at once ... */
#define OUTPUT_RATE (64u << 10)   /* ... and each second after that */
#define OUTPUT_TAIL 2048          /* the last bytes, kept for error texts */

/* How much may pass; shared by both streams of an executor. */
struct throttle {
    int64_t tokens; /* bytes */
    int64_t filled; /* when they were last topped up */
    uint64_t dropped;
};

void throttle_init(struct throttle *t, int64_t now);
/* How many of `size` bytes may pass now; counts the others as dropped. */
size_t throttle_pass(struct throttle *t, size_t size, int64_t now);
/* A marker for what was dropped, once something passes again, or at the end. Returns its length; 0
 * if there is nothing to say. */
size_t throttle_marker(struct throttle *t, char *text, size_t size);

/* The last bytes of a stream. */
struct tail {
    char text[OUTPUT_TAIL + 1];
    size_t size;
};

void tail_add(struct tail *t, const char *bytes, size_t size);
void tail_clear(struct tail *t);
/* Its last lines, at most `lines`, without control characters, joined by "; ", NUL-ended. */
void tail_words(const struct tail *t, unsigned lines, char *text, size_t size);
/* The same, each line indented by four spaces and ended by a newline; what does not fit of a long
 * line is left out of its beginning. Returns the length; 0: nothing was printed. */
size_t tail_lines(const struct tail *t, unsigned lines, char *text, size_t size);

#endif
