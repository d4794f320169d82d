/* spawn.h - processes that the rest of this program does not notice.
 *
 * Executors are started inside programs of other people, who have their own SIGCHLD handlers and
 * wait() calls. Any child that calls exec() is one that wait() finds (exec() makes its exit signal
 * SIGCHLD again). So each executor has a keeper for a parent: a child of ours without exit signal,
 * which shares our memory, never calls exec(), and does nothing but wait for the executor.
 * What tasks leave behind, daemons in sessions of their own too, becomes the keeper's child. When
 * the executor ends, the keeper kills all that, writes down how it ended, and ends itself: that is
 * seen by its pidfd. When we die, by SIGKILL say, the keeper does the same and removes the
 * executor's control groups. If the keeper itself is killed, the executor gets a SIGHUP for it.
 */
#ifndef LADLE_SPAWN_H
#define LADLE_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#define SPAWN_GROUPS 2

struct spawn;

struct spawn_request {
    const char *path;
    char *const *argv;
    char *const *envp;
    const char *directory; /* to run in; NULL: where we are */
    int fds[5];            /* that become 0 to 4; all other descriptors are closed */
    /* Directories of control groups to run in; NULL: none. */
    const char *groups[SPAWN_GROUPS];
};

/* Start it, as the leader of a process group of its own, with default signal dispositions. Returns
 * once exec() has succeeded; NULL with errno of what failed, exec() included. */
struct spawn *spawn_start(const struct spawn_request *request);

int spawn_fd(const struct spawn *s); /* readable when it has ended; owned by `s` */
pid_t spawn_pid(const struct spawn *s);
pid_t spawn_keeper(const struct spawn *s); /* its parent, and that of all it loses */
bool spawn_ended(const struct spawn *s);
/* To the process, or to its whole group; nothing if it has ended. */
void spawn_signal(const struct spawn *s, int signal, bool group);

/* Kill what tasks that are over have detached from it. */
void spawn_sweep(const struct spawn *s);

struct spawn_end {
    int signal; /* that killed it; 0: it exited */
    int status; /* with this */
    bool core;
    long peak_kib;  /* of its memory */
    bool inherited; /* that was ours: it had no more, and perhaps much less */
};
/* Waits for the end if need be, and frees `s`. */
void spawn_finish(struct spawn *s, struct spawn_end *end);

#endif
