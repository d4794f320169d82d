#include "backstop.h"

#include "usage.h"

#include "../base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SPARE (64ull << 20) /* what allocators reserve ahead */
#define STACK (8ull << 20)  /* of a thread, as a rule */
#define STACK_MOST (1ull << 30)

static uint64_t
add(uint64_t a, uint64_t b)
{
    return b > UINT64_MAX - a ? UINT64_MAX : a + b;
}

uint64_t
backstop_bytes(uint64_t data, uint64_t limit, uint64_t used, uint64_t threads)
{
    uint64_t left = limit > used ? limit - used : 0;

    return add(add(add(data, left), limit / 2), add(threads, SPARE));
}

/* Twice what their stacks take: a program may have two libraries with threads of their own. */
static uint64_t
thread_bytes(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t stack = STACK;
    struct rlimit limit;

    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur <= STACK_MOST &&
        limit.rlim_cur > STACK)
        stack = limit.rlim_cur;
    return 2 * stack * (uint64_t)(cores > 0 ? cores : 1);
}

/* Leaves its hard limit alone: without that it could not be lifted again. */
static int
apply(struct backstop *b, pid_t pid, uint64_t bytes)
{
    struct rlimit limit;

    if (prlimit(pid, RLIMIT_DATA, NULL, &limit) != 0)
        goto fail;
    if (!b->set)
        b->before = limit.rlim_cur;
    limit.rlim_cur = bytes < b->before ? bytes : b->before;
    if (prlimit(pid, RLIMIT_DATA, &limit, NULL) == 0)
        return 0;
fail:
    if (errno != ESRCH) /* it has ended */
        log_debug("executor %ld: no limit behind the watching of its memory: %s", (long)pid,
                  strerror(errno));
    b->failed = true;
    return -1;
}

void
backstop_set(struct backstop *b, pid_t pid, uint64_t limit, uint64_t used)
{
    uint64_t data;

    if (b->failed)
        return;
    if ((data = usage_data_of(pid)) == 0) {
        backstop_lift(b, pid);
        return;
    }
    if (b->threads == 0)
        b->threads = thread_bytes();
    if (apply(b, pid, backstop_bytes(data, limit, used, b->threads)) == 0)
        b->set = true;
}

void
backstop_lift(struct backstop *b, pid_t pid)
{
    if (b->set && apply(b, pid, UINT64_MAX) == 0)
        b->set = false;
}
