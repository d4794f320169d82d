/* executor.h - one executor: its process, its socket, its board, and what it prints.
 *
 * Events are told through callbacks, from the poller's: they may call process_send(), _hang_up()
 * and _signal(), but not process_free().
 */
#ifndef LADLE_EXECUTOR_H
#define LADLE_EXECUTOR_H

#include "../base/poller.h"
#include "../proto/board.h"
#include "../proto/message.h"

struct process;
struct arena;
struct cgroups;
struct frames;

struct process_events {
    void (*message)(void *arg, unsigned number, const struct message *m);
    void (*output)(void *arg, unsigned number, int stream, const char *bytes, size_t size);
    void (*gone)(void *arg, unsigned number); /* it has ended: call process_finish() soon */
};

struct process_config {
    struct poller *poller;
    struct arena *receiving, *sending; /* for one message at a time; shared */
    const struct process_events *events;
    void *arg;
    unsigned number;
    struct frames *frames; /* shared; finds out where it died */
    const char *path;
    const char *name;      /* of the program, for people */
    const char *arguments; /* argv, each ended by NUL; none: the path alone */
    size_t arguments_size;
    char *const *envp;
    const char *directory; /* to run in; NULL: this process's own */
    bool hold;
    struct cgroups *groups; /* to make one for it; NULL: its memory is watched */
};

/* NULL with errno: ENOEXEC, ENOENT, EACCES ... speak of the program, others of this machine. */
struct process *process_start(const struct process_config *config);

struct board *process_board(struct process *p);
const char *process_directory(const struct process *p);
void process_send(struct process *p, const struct message *m);
void process_hang_up(struct process *p);
void process_signal(struct process *p, int signal); /* to its whole group */
/* What it may use from now on, with all that it started; 0: any. Beyond that it is killed. Returns
 * when process_tick() wants to be called. */
int64_t process_limit(struct process *p, uint64_t bytes, int64_t now);
uint64_t process_usage(const struct process *p); /* bytes, of it alone */
void process_sweep(struct process *p);           /* kill what has detached itself from it */
void process_hold(struct process *p, bool hold); /* with true, read no messages */
/* Once per turn of the loop; returns when it wants to be called again. */
int64_t process_tick(struct process *p, int64_t now);

/* After `gone`: tells all that it still sent or printed, and how it ended. */
struct process_end {
    char cause[256];       /* "killed by signal 11 (Segmentation fault) at address 0x0; ..." */
    char words[1024];      /* the last that it wrote on standard error, in one line */
    char where[3328];      /* lines, each behind a newline: what it printed last, where it was */
    bool killed;           /* from outside, so perhaps not by its own fault */
    bool clean;            /* exit status 0 */
    bool out_of_memory;    /* killed for it: it had more than it may have */
    uint64_t memory_limit; /* bytes that it may have; 0: no limit */
    uint64_t memory_used;  /* bytes that it had then */
};
void process_finish(struct process *p, struct process_end *end);
/* Kills it first, if it has not ended. */
void process_free(struct process *p);

#endif
