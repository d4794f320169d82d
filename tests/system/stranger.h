/* stranger.h - peers that are no broker. */
#ifndef LADLE_STRANGER_H
#define LADLE_STRANGER_H

#include <pthread.h>
#include <sys/types.h>

/* A TCP server of one connection: says `words` (NULL: nothing), and hangs up. */
struct stranger {
    int fd;
    const char *words;
    pthread_t thread;
    char endpoint[64];
};

/* Makes it listen on a free port of loopback; clients wait until somebody accepts. */
void stranger_listen(struct stranger *s);
/* Accepts one client, in a thread of its own. */
void stranger_serve(struct stranger *s);
void stranger_join(struct stranger *s);
void stranger_close(struct stranger *s);

/* A ZeroMQ peer that sends one endless message in drops, in a process of its own that ends with
 * this one. Call it before this process has threads, which a fork would cut off in the middle of
 * something. -1 with errno. */
pid_t trickler_start(char *endpoint, size_t size);

#endif
