/* bench.h - a runner without processes: executors are boards in memory, and what the runner orders
 * and says is written down. runner_check() runs after every step.
 */
#ifndef LADLE_TESTS_BENCH_H
#define LADLE_TESTS_BENCH_H

#include "../../worker/boards.h"
#include "../../worker/runner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MOST 64 /* executors */
#define MS 1000

struct bench {
    struct runner *runner;
    int64_t now;
    struct board *boards[MOST];
    uint64_t leases[MOST]; /* of the last slice that each was sent */
    uint32_t firsts[MOST];
    bool unattached;
    const char *why;      /* why no executor can start */
    bool refuse;          /* none can now */
    uint64_t usage[MOST]; /* bytes that executors use */
    bool sweeps;          /* that idle executors are swept is written down */
    char failed[16];      /* the program that was told to */
    char history[8192];
    size_t at;
};

struct bench *open_bench(struct runner_config config);
/* A local pool with executors that have said hello, and job 1. */
struct bench *open_local(struct runner_config config);
void close_bench(struct bench *b);

/* The history since the last time, whole. */
void expect(struct bench *b, const char *history);
void forget(struct bench *b);
void tell(struct bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void hear(struct bench *b);              /* what the runner says */
void after(struct bench *b, int64_t ms); /* a turn, so much later */

/* ---- the broker ---- */
void give(struct bench *b, const struct message *m);
void job_with(struct bench *b, uint64_t id, struct spec spec);
void slice_of(struct bench *b, uint64_t job, uint64_t lease, uint32_t first, uint32_t count);
void slice(struct bench *b, uint64_t lease, uint32_t first, uint32_t count); /* of job 1 */
void cancel(struct bench *b, uint64_t first, uint64_t count);
void revoke(struct bench *b, uint64_t lease, uint32_t count);

/* ---- executors ---- */
void says(struct bench *b, unsigned executor, const struct message *m);
void hello(struct bench *b, unsigned executor);
void hello_tasks(struct bench *b, unsigned executor, uint32_t tasks);
/* It starts the task with this offset in its slice, as the board says. */
void starts(struct bench *b, unsigned executor, uint32_t offset);
void ends_as(struct bench *b, unsigned executor, uint32_t offset, uint32_t count, uint64_t run_us,
             enum outcome outcome);
/* One task, with a result of so many bytes. */
void ends_large(struct bench *b, unsigned executor, uint32_t offset, size_t size);
void ends(struct bench *b, unsigned executor, uint32_t offset, uint32_t count);
/* A result that was made and not sent. */
void commits(struct bench *b, unsigned executor, uint32_t offset, const char *result);
void dies(struct bench *b, unsigned executor, const char *cause);
void dies_as(struct bench *b, unsigned executor, struct runner_end end);
/* The task of this index waits; goes on; ends. The lease is the executor's. */
void parks(struct bench *b, unsigned executor, uint64_t lease, uint64_t index);
void wakes(struct bench *b, unsigned executor, uint64_t lease, uint64_t index);
void ends_parked(struct bench *b, unsigned executor, uint64_t lease, uint64_t index,
                 enum outcome outcome);
/* As the board says: for that lease, itself or by a nested task. */
void works_for(struct bench *b, unsigned executor, uint64_t lease, const char *nested);
/* The client in it, which calls itself 7. */
void client_says(struct bench *b, unsigned executor, enum message_type type);

#endif
