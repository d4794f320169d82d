/* serve.c - an executor: runs the tasks of slices that come on fd 3, with the board on fd 4.
 *
 * The way of a task of a slice: claimed on the board, run on its input in place, its result made in
 * the board's area, and sent with its neighbours within a millisecond. There are no threads: while
 * a task runs, nothing else here does. What must be known or undone meanwhile is on the board.
 */
#include "ladle.h"
#include "running.h"
#include "uplink.h"

#include "../proto/board.h"
#include "../proto/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SOCKET = 3, BOARD = 4 };
#define AREA_FULL (BOARD_RESULTS / 2) /* flush when so much of the area is used */
#define LARGE (64u << 10)             /* results from here on go alone, from where they are */
#define FLUSH_NS 1000000              /* no result waits longer, if its executor can help it */
#define PROGRESS_NS 100000000         /* between two messages about a task's progress */

struct job {
    struct job *next;
    uint64_t job;
    task_fn *function; /* NULL: unknown here, `words` says so */
    char *words;
    uint64_t seed;
    bool singles;
};

static struct {
    struct board *board;
    bool forked; /* a task forked, and this is the child */
    char worker[LIMIT_NAME + 1];
    struct job *jobs; /* the one used last in front */

    uint8_t *aligned; /* a copy of an input that was not aligned */
    size_t aligned_room;

    /* The slice at work. */
    uint64_t lease, job, first;
    uint32_t offset; /* of the running task */
    uint32_t attempt;
    int64_t progressed; /* when its last PROGRESS was sent */

    /* Results not yet sent: `count` records in [0, at) of the board's area. */
    uint32_t count, first_offset;
    size_t at;
    size_t bytes;  /* of the items */
    bool uniform;  /* all of one size */
    bool all_done; /* all OUTCOME_DONE */
    int64_t run_ns;
    int64_t flushed; /* when */
    uint32_t sizes[LIMIT_SIZES];
    uint8_t outcomes[LIMIT_SIZES];
    uint8_t packed[AREA_FULL + LARGE];
} server;

static int64_t
clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- results -------------------------------------------------------------------------------- */

static void
send_results(struct columns *columns, uint32_t first_offset, int64_t run_ns)
{
    struct message m = {.type = MESSAGE_RESULTS};

    m.results.job = server.job;
    m.results.lease = server.lease;
    m.results.first = server.first + first_offset;
    m.results.attempt = server.attempt;
    m.results.run_us = (uint64_t)(run_ns + 500) / 1000;
    m.results.columns = *columns;
    uplink_send(&m);
}

/* Send what the area holds, and begin it anew. */
static void
flush(int64_t now)
{
    struct blob data = {.bytes = server.packed, .size = server.bytes, .refs = 1};
    struct columns c = {
        .count = server.count,
        .size = server.uniform ? server.sizes[0] : 0,
        .sizes = server.uniform ? NULL : server.sizes,
        .outcomes = server.all_done ? NULL : server.outcomes,
        .data = server.bytes > 0 ? &data : NULL,
        .length = server.bytes,
    };
    const uint8_t *record = server.board->results;
    uint8_t *to = server.packed;

    server.flushed = now;
    if (server.count == 0)
        return;
    for (uint32_t i = 0; i < server.count; i++) {
        memcpy(to, record + sizeof(struct board_record), server.sizes[i]);
        to += server.sizes[i];
        record += BOARD_ROOM(server.sizes[i]);
    }
    send_results(&c, server.first_offset, server.run_ns);
    atomic_store_explicit(&server.board->committed, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&server.board->flushes, 1, memory_order_release);
    atomic_thread_fence(memory_order_release); /* before the area is written again */
    server.count = 0;
    server.at = 0;
    server.bytes = 0;
    server.run_ns = 0;
    server.uniform = true;
    server.all_done = true;
}

static void
send_alone(const struct task *task, enum outcome outcome, int64_t start, int64_t end)
{
    uint8_t outcomes[1] = {(uint8_t)outcome};
    union {
        const uint8_t *from;
        uint8_t *bytes;
    } result = {task->result};
    struct blob data = {.bytes = result.bytes, .size = task->size, .refs = 1};
    struct columns c = {
        .count = 1,
        .size = (uint32_t)task->size,
        .outcomes = outcome == OUTCOME_DONE ? NULL : outcomes,
        .data = &data,
        .length = task->size,
    };

    flush(end);
    send_results(&c, server.offset, end - start);
}

/* The task's result becomes the next record of the area. It is there already if it was made in the
 * room behind the last one. */
static void
commit(const struct task *task, enum outcome outcome, int64_t start, int64_t end)
{
    uint32_t n = server.count;
    struct board_record *record;
    int64_t us = (end - start) / 1000;

    if (task->size > LARGE) {
        send_alone(task, outcome, start, end);
        return;
    }
    if (n == LIMIT_SIZES || server.at + BOARD_ROOM(task->size) > AREA_FULL) {
        flush(end);
        n = 0;
    }
    record = (struct board_record *)(void *)(server.board->results + server.at);
    if (task->size > 0 && task->result != (const uint8_t *)(record + 1))
        memmove(record + 1, task->result, task->size);
    record->offset = server.offset;
    record->outcome = (uint32_t)outcome;
    record->size = (uint32_t)task->size;
    record->run_us = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    atomic_store_explicit(&server.board->committed, n + 1, memory_order_release);

    if (n == 0)
        server.first_offset = server.offset;
    server.sizes[n] = (uint32_t)task->size;
    server.outcomes[n] = (uint8_t)outcome;
    server.uniform &= server.sizes[0] == (uint32_t)task->size;
    server.all_done &= outcome == OUTCOME_DONE;
    server.bytes += task->size;
    server.run_ns += end - start;
    server.at += BOARD_ROOM(task->size);
    server.count = n + 1;
}

/* ---- what a task may ask for while it runs --------------------------------------------------- */

static bool
is_cancelled(void *arg)
{
    (void)arg;
    return atomic_load_explicit(&server.board->cancel, memory_order_relaxed) ==
           (server.lease << 32 | (server.offset + 1));
}

static void
progress(void *arg, uint64_t done, uint64_t total)
{
    struct message m = {.type = MESSAGE_PROGRESS};
    int64_t now = clock_ns();

    (void)arg;
    if (server.forked || (done < total && now - server.progressed < PROGRESS_NS))
        return;
    server.progressed = now;
    m.progress.job = server.job;
    m.progress.lease = server.lease;
    m.progress.index = server.first + server.offset;
    m.progress.done = done;
    m.progress.total = total;
    uplink_send(&m);
}

static int
emit(void *arg, const void *bytes, size_t size)
{
    struct message m = {.type = MESSAGE_PARTIAL};
    union {
        const void *from;
        uint8_t *bytes;
    } item = {bytes};
    struct blob data = {.bytes = item.bytes, .size = size, .refs = 1};

    (void)arg;
    if (server.forked) {
        errno = EINVAL;
        return -1;
    }
    m.partial.job = server.job;
    m.partial.lease = server.lease;
    m.partial.index = server.first + server.offset;
    m.partial.columns = (struct columns){
        .count = 1, .size = (uint32_t)size, .data = size > 0 ? &data : NULL, .length = size};
    uplink_send(&m);
    return 0;
}

/* ---- tasks ---------------------------------------------------------------------------------- */

static int
unknown_function(task_t *task)
{
    return task_fail(task, "%s", server.jobs->words);
}

static const void *
align(const uint8_t *input, size_t size)
{
    if (((uintptr_t)input & 15) == 0)
        return input;
    uplink_room(&server.aligned, &server.aligned_room, size);
    memcpy(server.aligned, input, size);
    return server.aligned;
}

/* The next task of the slice, or -1: run or taken back, there is none left. */
static int64_t
claim(_Atomic uint64_t *range, uint32_t count)
{
    uint64_t now = atomic_load_explicit(range, memory_order_relaxed);

    do {
        if (now >> 32 != (server.lease & UINT32_MAX) || BOARD_NEXT(now) >= BOARD_LIMIT(now) ||
            BOARD_NEXT(now) >= count)
            return -1;
    } while (!atomic_compare_exchange_weak_explicit(range, &now, now + 1, memory_order_acq_rel,
                                                    memory_order_relaxed));
    return BOARD_NEXT(now);
}

/* Run the tasks of the slice that nobody takes back. */
static void
run_tasks(const struct job *job, const struct columns *c)
{
    struct board *board = server.board;
    _Atomic uint64_t *range = &board->ranges[server.lease % BOARD_SLICES];
    struct task_run run = {
        .function = job->function != NULL ? job->function : unknown_function,
        .seed = job->seed,
        .attempt = server.attempt,
        .worker = server.worker,
        .cancelled = is_cancelled,
        .progress = progress,
        .emit = emit,
    };
    const uint8_t *input = c->data == NULL ? NULL : c->data->bytes + c->at;
    int64_t start = clock_ns(), end, offset;
    struct task task;
    enum outcome outcome;

    server.flushed = start;
    while ((offset = claim(range, c->count)) >= 0) {
        server.offset = (uint32_t)offset;
        server.progressed = 0;
        run.size = c->sizes != NULL ? c->sizes[offset] : c->size;
        run.input = run.size == 0 ? NULL : align(input, run.size);
        run.stream = server.first + (uint64_t)offset;
        run.index = job->singles ? 0 : run.stream;
        atomic_store_explicit(&board->started, start / 1000, memory_order_relaxed);
        atomic_store_explicit(&board->running, (uint64_t)offset + 1, memory_order_release);
        task_init(&task, &run, board->results + server.at + sizeof(struct board_record),
                  BOARD_RESULTS - server.at - sizeof(struct board_record));
        outcome = task_execute(&task);
        if (server.forked)
            _exit(0); /* the task forked, and its child came back: it is no executor */
        if (job->function == NULL && outcome == OUTCOME_FAILED)
            outcome = OUTCOME_REJECTED;
        if (__fpending(stdout) > 0)
            fflush(stdout);
        end = clock_ns();
        commit(&task, outcome, start, end);
        if (task.blob != NULL || task.words != NULL)
            task_release(&task);
        input += run.size;
        start = end;
        if (end - server.flushed >= FLUSH_NS) {
            flush(end);
            start = clock_ns();
        }
    }
    flush(start);
}

static struct job *
find_job(uint64_t id)
{
    struct job **at = &server.jobs, *job;

    while ((job = *at) != NULL && job->job != id)
        at = &job->next;
    if (job != NULL && job != server.jobs) {
        *at = job->next;
        job->next = server.jobs;
        server.jobs = job;
    }
    return job;
}

static void
run_slice(const struct message_slice *slice)
{
    struct board *board = server.board;
    struct job *job = find_job(slice->job);

    if (job == NULL)
        uplink_fail("the worker sent a slice of an unknown job");
    server.lease = slice->lease;
    server.job = slice->job;
    server.first = slice->first;
    server.attempt = slice->attempt;
    if (!board->attached) /* it is our own: the worker's could not be used */
        atomic_store(&board->ranges[slice->lease % BOARD_SLICES],
                     BOARD_RANGE(slice->lease, 0, slice->columns.count));
    atomic_store_explicit(&board->running, 0, memory_order_relaxed);
    atomic_store_explicit(&board->lease, slice->lease, memory_order_release);
    run_tasks(job, &slice->columns);
    atomic_store_explicit(&board->running, 0, memory_order_relaxed);
    atomic_store_explicit(&board->lease, 0, memory_order_release);
}

static void
add_job(const struct message_job *m)
{
    struct job *job = find_job(m->job);
    char words[LIMIT_TEXT];

    if (job != NULL)
        return;
    if ((job = calloc(1, sizeof(*job))) == NULL)
        uplink_fail("out of memory");
    job->job = m->job;
    job->function = registry_find(m->spec->function);
    job->seed = m->spec->seed;
    job->singles = m->spec->singles;
    if (job->function == NULL) {
        registry_unknown(m->spec->function, words, sizeof(words));
        job->words = strdup(words);
    }
    job->next = server.jobs;
    server.jobs = job;
}

static void
forget_job(uint64_t id)
{
    struct job *job = find_job(id);

    if (job == NULL)
        return;
    server.jobs = job->next;
    free(job->words);
    free(job);
}

/* ---- the life of an executor ------------------------------------------------------------------
 */

static void
on_hangup(int sig)
{
    (void)sig;
    /* The worker is dead: what tasks have started goes with us. */
    if (getpgrp() == getpid())
        kill(0, SIGKILL);
    _exit(0);
}

/* A child that a task forked, and that may come back from the task's function, is no executor: it
 * gets a board of its own to write on, and nothing to send by. */
static void
in_child(void)
{
    void *copy = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    server.forked = true;
    close(SOCKET);
    if (copy == MAP_FAILED)
        _exit(70);
    memcpy(copy, server.board, sizeof(struct board));
    if (mremap(copy, sizeof(struct board), sizeof(struct board), MREMAP_MAYMOVE | MREMAP_FIXED,
               server.board) == MAP_FAILED)
        _exit(70);
}

static void
open_board(void)
{
    struct stat st;
    void *at = MAP_FAILED;

    if (fstat(BOARD, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= (off_t)sizeof(struct board))
        at = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, BOARD, 0);
    if (at != MAP_FAILED && ((struct board *)at)->version == BOARD_VERSION) {
        server.board = at;
        server.board->attached = 1;
        close(BOARD);
        return;
    }
    /* One of our own: then nobody looks, and slices have one task. */
    at = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
              0);
    if (at == MAP_FAILED)
        uplink_fail("out of memory");
    server.board = at;
}

static void
say_hello(void)
{
    struct message m = {.type = MESSAGE_HELLO};
    uint32_t count;
    size_t bytes = 0;

    m.hello.role = ROLE_EXECUTOR;
    m.hello.protocol = LADLE_PROTOCOL;
    m.hello.software = "ladle " LADLE_VERSION;
    m.hello.pid = (uint64_t)getpid();
    m.hello.names = registry_names(&count);
    if (count > LIMIT_FUNCTIONS)
        count = LIMIT_FUNCTIONS;
    for (m.hello.nnames = 0; m.hello.nnames < count; m.hello.nnames++) {
        bytes += strlen(m.hello.names[m.hello.nnames]) + 8;
        if (bytes > LIMIT_HEADER / 2)
            break; /* the rest can be called, it is only not announced */
    }
    uplink_send(&m);
}

bool
serve_wanted(void)
{
    struct stat st;

    return getenv("LADLE_EXECUTOR") != NULL && fstat(SOCKET, &st) == 0 && S_ISSOCK(st.st_mode);
}

static void
start(void)
{
    const char *worker = getenv("LADLE_WORKER");
    struct sigaction hangup = {.sa_handler = on_hangup};

    snprintf(server.worker, sizeof(server.worker), "%s", worker != NULL ? worker : "");
    /* Programs that tasks start are programs of their own. */
    unsetenv("LADLE_EXECUTOR");
    fcntl(SOCKET, F_SETFD, FD_CLOEXEC);
    sigaction(SIGHUP, &hangup, NULL);
    fflush(stdout);
    setvbuf(stdout, NULL, _IOLBF, 0); /* what a long task prints is seen while it runs */

    server.uniform = server.all_done = true;
    uplink_open(SOCKET);
    open_board();
    pthread_atfork(NULL, NULL, in_child);
}

void
serve(void)
{
    struct message m;
    struct blob data;

    start();
    say_hello();
    for (;;) {
        uplink_next(&m, &data);
        switch (m.type) {
        case MESSAGE_WELCOME:
            if (m.welcome.name != NULL && *m.welcome.name != '\0')
                snprintf(server.worker, sizeof(server.worker), "%s", m.welcome.name);
            break;
        case MESSAGE_REFUSED:
            uplink_fail(m.text);
        case MESSAGE_JOB:
            add_job(&m.job);
            break;
        case MESSAGE_SLICE:
            run_slice(&m.slice);
            break;
        case MESSAGE_JOB_END:
            forget_job(m.job_end.job);
            break;
        default:
            break;
        }
    }
}
