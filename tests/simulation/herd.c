#include "herd.h"

#include "sim.h"

#include "../../base/clock.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS_MOST = 64, HANG_S = 300, FAILED_MOST = 1000 };

struct pen {               /* what a process tells, in memory that it shares with us */
    _Atomic uint64_t seed; /* that runs; 0: none */
    _Atomic uint64_t passed, events;
    pid_t pid; /* 0: it has ended, and is not needed any more */
    uint64_t watched;
    int64_t since; /* that seed was seen first */
};

struct herd {
    struct herd_config config;
    struct pen *pens;
    _Atomic uint64_t *next; /* the next seed */
    uint64_t failed[FAILED_MOST], nfailed;
    int64_t began, end, said;
};

static volatile sig_atomic_t interrupted;

static void
interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

/* ---- a process ----------------------------------------------------------------------------------
 */

static void __attribute__((noreturn)) run_seeds(struct herd *h, struct pen *pen)
{
    uint64_t seed;

    signal(SIGINT, SIG_DFL);
    while (clock_us() < h->end && (seed = (*h->next)++) <= h->config.last) {
        pen->seed = seed;
        pen->events += sim_run(seed, false);
        pen->passed++;
        pen->seed = 0;
    }
    _exit(0);
}

static void
start(struct herd *h, struct pen *pen)
{
    pid_t pid;

    fflush(NULL);
    pen->seed = 0;
    pen->watched = 0;
    pid = fork();
    assert(pid >= 0);
    if (pid == 0)
        run_seeds(h, pen);
    pen->pid = pid;
}

/* ---- all of them --------------------------------------------------------------------------------
 */

static void
count_failure(struct herd *h, uint64_t seed, const char *how)
{
    fprintf(stderr, "seed %" PRIu64 " %s: script/simulate --seed %" PRIu64 " --trace\n", seed, how,
            seed);
    if (h->nfailed < FAILED_MOST)
        h->failed[h->nfailed] = seed;
    h->nfailed++;
}

static void
reap(struct herd *h, pid_t pid, int status)
{
    for (unsigned i = 0; i < h->config.jobs; i++) {
        struct pen *pen = &h->pens[i];

        if (pen->pid != pid)
            continue;
        pen->pid = 0;
        if (pen->seed == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0) || interrupted)
            return;
        count_failure(h, pen->seed, "failed");
        start(h, pen);
    }
}

static void
watch(struct herd *h)
{
    int64_t now = clock_us();

    for (unsigned i = 0; i < h->config.jobs; i++) {
        struct pen *pen = &h->pens[i];

        if (pen->pid == 0 || pen->seed != pen->watched) {
            pen->watched = pen->seed;
            pen->since = now;
        } else if (pen->seed != 0 && now - pen->since > HANG_S * 1000000LL) {
            count_failure(h, pen->seed, "does not end");
            pen->seed = 0;
            kill(pen->pid, SIGKILL);
            waitpid(pen->pid, NULL, 0);
            start(h, pen);
        }
    }
}

static uint64_t
count(const struct herd *h, uint64_t *events_p)
{
    uint64_t passed = 0;

    *events_p = 0;
    for (unsigned i = 0; i < h->config.jobs; i++) {
        passed += h->pens[i].passed;
        *events_p += h->pens[i].events;
    }
    return passed;
}

static void
say_progress(struct herd *h)
{
    int64_t now = clock_us();
    uint64_t events, passed;

    if (!h->config.progress || now < h->said + 5000000)
        return;
    h->said = now;
    passed = count(h, &events);
    printf("%" PRId64 " s: %" PRIu64 " seeds passed, %" PRIu64 " failed, %" PRIu64 " events\n",
           (now - h->began) / 1000000, passed, h->nfailed, events);
    fflush(stdout);
}

static bool
any_left(const struct herd *h)
{
    for (unsigned i = 0; i < h->config.jobs; i++)
        if (h->pens[i].pid != 0)
            return true;
    return false;
}

static void
end_all(struct herd *h)
{
    for (unsigned i = 0; i < h->config.jobs; i++)
        if (h->pens[i].pid != 0)
            kill(h->pens[i].pid, SIGTERM);
}

static void *
shared(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert(at != MAP_FAILED);
    return at;
}

static uint64_t
conclude(const struct herd *h)
{
    uint64_t events, passed = count(h, &events);

    for (uint64_t i = 0; i < h->nfailed && i < FAILED_MOST; i++)
        printf("replay: script/simulate --seed %" PRIu64 " --trace\n", h->failed[i]);
    printf("%" PRIu64 " events in %.1f s\n", events, (double)(clock_us() - h->began) / 1e6);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, h->nfailed);
    return h->nfailed;
}

uint64_t
herd_run(const struct herd_config *config)
{
    struct herd h = {.config = *config, .began = clock_us()};
    int status;
    pid_t pid;

    assert(config->jobs > 0 && config->jobs <= JOBS_MOST);
    h.end = config->seconds > 0 ? h.began + config->seconds * 1000000 : CLOCK_NEVER;
    h.pens = shared(config->jobs * sizeof(*h.pens));
    h.next = shared(sizeof(*h.next));
    *h.next = config->first;
    signal(SIGINT, interrupt);
    signal(SIGTERM, interrupt);
    for (unsigned i = 0; i < config->jobs; i++)
        start(&h, &h.pens[i]);
    while (any_left(&h)) {
        if (interrupted)
            end_all(&h);
        if ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            reap(&h, pid, status);
            continue;
        }
        watch(&h);
        say_progress(&h);
        usleep(20000);
    }
    return conclude(&h);
}
