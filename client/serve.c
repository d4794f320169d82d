/* serve.c - an executor: its life, and its messages on fd 3. The board is on fd 4.
 *
 * There are no threads: while a task runs, nothing else here does, unless the task waits.
 */
#include "ladle.h"
#include "server.h"
#include "shared.h"
#include "uplink.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SOCKET = 3, BOARD = 4 };

struct server server;

int64_t
server_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- jobs -------------------------------------------------------------------------------------
 */

static struct known_job *
find_job(uint64_t id)
{
    struct known_job **at = &server.jobs, *job;

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
add_job(const struct message_job *m)
{
    struct known_job *job = find_job(m->job);
    char words[LIMIT_TEXT];

    if (job != NULL)
        return;
    if ((job = calloc(1, sizeof(*job))) == NULL)
        uplink_fail("out of memory");
    job->job = m->job;
    job->function = registry_find(m->spec->function);
    job->spec = spec_ref(m->spec);
    job->constants = constants_open(m->spec);
    if (m->spec->nshared > 0 && job->constants == NULL)
        uplink_fail("out of memory");
    if (job->function == NULL) {
        registry_unknown(m->spec->function, words, sizeof(words));
        job->words = strdup(words);
    }
    job->refs = 1;
    job->next = server.jobs;
    server.jobs = job;
}

void
serve_forget(struct known_job *job)
{
    if (--job->refs > 0)
        return;
    constants_close(job->constants);
    spec_unref(job->spec);
    free(job->words);
    free(job);
}

static void
end_job(uint64_t id)
{
    struct known_job *job = find_job(id);

    if (job == NULL)
        return;
    server.jobs = job->next;
    serve_forget(job); /* tasks of it may wait still */
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
say_hello(const futures_config_t *config)
{
    struct message m = {.type = MESSAGE_HELLO};
    uint32_t count;
    size_t bytes = 0;

    m.hello.role = ROLE_EXECUTOR;
    m.hello.protocol = LADLE_PROTOCOL;
    m.hello.software = "ladle " LADLE_VERSION;
    m.hello.pid = (uint64_t)getpid();
    m.hello.tasks = (uint32_t)config->tasks_per_executor;
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

    uplink_open(SOCKET);
    open_board();
    slices_open();
    pthread_atfork(NULL, NULL, in_child);
}

/* What the program wants done in each executor, before it is taken for fit. */
static void
initialize(const futures_config_t *config)
{
    int returned;

    if (config->initializer == NULL)
        return;
    if ((returned = config->initializer(config->initializer_arg)) == 0)
        return;
    fflush(stdout);
    fprintf(stderr, "initializer returned %d\n", returned);
    fflush(stderr);
    _exit(1);
}

static void
take_slice(const struct message_slice *m)
{
    struct known_job *job = find_job(m->job);

    if (job == NULL)
        uplink_fail("the worker sent a slice of an unknown job");
    slices_add(m, job);
}

void
serve_message(void)
{
    struct message m;

    uplink_next(&m);
    server.heard++;
    if (m.client != 0) {
        parking_carried(&m);
        return;
    }
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
        take_slice(&m.slice);
        break;
    case MESSAGE_CANCEL:
        parking_cancel(&m.range);
        break;
    case MESSAGE_JOB_END:
        end_job(m.job_end.job);
        break;
    default:
        break;
    }
}

void
serve(const futures_config_t *config)
{
    start();
    initialize(config);
    parking_open(config);
    say_hello(config);
    parking_serve();
}
