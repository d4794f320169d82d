/* talk.h - one question to a broker, as an operator. */
#ifndef LADLE_TALK_H
#define LADLE_TALK_H

#include "../proto/message.h"

struct talk {
    const char *endpoint;
    const char *name;            /* of the command, for the broker's people */
    void (*ask)(struct talk *t); /* the broker said welcome */
    void (*answer)(struct talk *t, const struct message *m); /* any but those about the talk */
    void *arg;
    char *why; /* a sentence, if it fails */
    size_t size;
    /* set by talk_end() */
    bool done;
    /* talk.c's own */
    int timeout_ms;
    int64_t deadline;
    bool failed, linked;
    struct link *link;
};

/* A question: there is as much time for its answer as there was for the first. */
void talk_say(struct talk *t, const struct message *m);
void talk_end(struct talk *t);
void talk_fail(struct talk *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Until the end. 0, or -1 with a sentence in `why`: also when an answer took longer. */
int talk_run(struct talk *t, int timeout_ms);

#endif
