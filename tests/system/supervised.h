/* supervised.h - a supervisor with real executors of programs/chores.c, fed by hand. */
#ifndef LADLE_TESTS_SUPERVISED_H
#define LADLE_TESTS_SUPERVISED_H

#include "../../base/clock.h"
#include "../../worker/supervisor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <sys/types.h>

#define PATIENCE_US 5000000
#define MOST 20000

struct ended { /* what became of a task */
    unsigned times;
    enum outcome outcome;
    char text[200]; /* the item, cut */
    uint32_t size;
    uint32_t attempt;
};

struct bench {
    struct poller *poller;
    struct supervisor *s;
    struct ended ended[MOST]; /* of job 1 */
    unsigned nended;
    unsigned returned; /* tasks */
    enum returned why;
    unsigned nreturned; /* messages */
    char output[4 << 20];
    size_t noutput;
    unsigned nrunning, npartials, nprogress;
    pid_t partial_pid;
    char failed[4096]; /* PROGRAM_FAILED */
    unsigned nwanted;
    const char *serve_file; /* answer PROGRAM_WANTED from here */
    char directory[64];
};

struct bench *open_bench(struct supervisor_config config);
struct bench *open_local(struct supervisor_config config); /* a pool of chores */
/* With a directory, which is made if it is "". */
struct bench *open_worker(char directory[64], struct supervisor_config config);
void remove_directory(const char *directory);
void close_bench(struct bench *b);

void turn(struct bench *b, int most_ms);
#define until(b, condition)                                                                        \
    do {                                                                                           \
        int64_t end_ = clock_us() + PATIENCE_US;                                                   \
        while (!(condition)) {                                                                     \
            if (clock_us() > end_)                                                                 \
                fail_msg("never came true: %s", #condition);                                       \
            turn(b, 50);                                                                           \
        }                                                                                          \
    } while (0)

/* What the broker says. */
void job_with(struct bench *b, struct spec spec);
void job(struct bench *b, const char *function);
void slice(struct bench *b, uint64_t lease, uint64_t first, uint32_t count, const void *inputs,
           uint32_t size);
void one(struct bench *b, const char *function, const void *input, uint32_t size); /* and its end */
/* Of the program, with its digest, and these arguments. */
struct spec chores(const char *function, const char *arguments, uint32_t size);

void expect(const struct bench *b, unsigned task, enum outcome outcome, const char *text);
bool is_alive(pid_t pid);

#endif
