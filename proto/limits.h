/* limits.h - every size that a peer may reach, in one place. */
#ifndef LADLE_LIMITS_H
#define LADLE_LIMITS_H

/* The protocol spoken here. A peer that speaks PROTOCOL - 1 .. PROTOCOL + 1 is welcome. */
#ifndef LADLE_PROTOCOL
#define LADLE_PROTOCOL 1
#endif

#define LIMIT_HEADER (64u << 10) /* bytes of an encoded header, refused before decoding */
#define LIMIT_DATA (256u << 20)  /* bytes of a data frame: so of one input or result */
#define LIMIT_FRAMES 2           /* header and data; with the routing id 3 */
/* Bytes that decoding may allocate: enough for all names of a HELLO and all rows of a STATUS. */
#define LIMIT_DECODE(size) (4 * (size_t)(size) + (128u << 10))
#define LIMIT_UNKNOWN_FIELDS 16 /* of a newer peer: tolerated in one message */

#define LIMIT_ITEMS 16384 /* tasks in one message, when their sizes are equal */
#define LIMIT_SIZES 8192  /* tasks in one message, when each has its own size */
#define LIMIT_CHUNK                                                                                \
    (256u << 10) /* bytes of columns that a sender puts together; one larger item goes alone */
#define LIMIT_NAME 255                  /* bytes of a function, worker, label or program name */
#define LIMIT_TEXT 4096                 /* bytes of a sentence; longer ones are cut */
#define LIMIT_ARGUMENTS (32u << 10)     /* bytes of a program's arguments together */
#define LIMIT_ENVIRONMENT (8u << 10)    /* bytes of the variables of a session */
#define LIMIT_SHARED 64                 /* constants that the tasks of one job may ask for */
#define LIMIT_JOB (LIMIT_HEADER - 1024) /* spec_bytes(): the rest is for whoever passes it on */
/* Executors that a worker has at once: those that run, those that are ending, and those that do
 * nothing but hold tasks that wait. */
#define LIMIT_EXECUTORS(slots) (4 * (slots) + 16)
#define LIMIT_FUNCTIONS 1024     /* functions that an executor announces */
#define LIMIT_ROWS 256           /* workers, and jobs, in one status reply */
#define LIMIT_RUNS 4096          /* numbers in a HELD or an ACK: two for each range */
#define LIMIT_KEPT_ROWS 32       /* detached jobs in one reply: these fit, whatever their names */
#define LIMIT_PART (1u << 20)    /* bytes of a program in one message */
#define LIMIT_PROGRAM (1u << 30) /* bytes of a program */

#define TASK_COST                                                                                  \
    64 /* what a task counts beside its bytes in every window: empty inputs are not free */

#define WINDOW_CLIENT (32u << 20) /* unfinished inputs that a client may have at the broker */
#define WINDOW_RESULT (32u << 20) /* results under way to a client that it has not acknowledged */
#define WINDOW_WORKER (8u << 20)  /* unfinished inputs that a worker may hold */

#define BEAT_MS 2000   /* sign of life; in both directions */
#define BEATS_MISSED 3 /* after that many silent beats a peer is lost */

#endif
