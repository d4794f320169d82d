/* zloop.c - results in an event loop of CZMQ, beside a timer: poll.c, for programs that have a
 * zloop.
 *
 * Needs libczmq, on the workers' nodes too.
 */
#include <ladle.h>

#include <czmq.h>

enum { TASKS = 40, STEP = 50000 };

static int
count_primes(task_t *task)
{
    uint64_t from, count = 0;

    if (task_read(task, &from, sizeof(from)) != 0)
        return task_fail(task, "expected where to begin");
    for (uint64_t n = from < 2 ? 2 : from; n < from + STEP; n++) {
        uint64_t d = 2;

        while (d * d <= n && n % d != 0)
            d++;
        count += d * d > n;
    }
    return task_return(task, &count, sizeof(count));
}
TASK(count_primes)

struct tally {
    futures_t *futures;
    uint64_t primes;
    int ended, failed;
};

static void
on_done(future_t *future, void *arg)
{
    const uint64_t *count = future_result(future, NULL);
    struct tally *tally = (struct tally *)arg;

    tally->ended++;
    if (count != NULL) {
        tally->primes += *count;
    } else {
        tally->failed++;
        fprintf(stderr, "zloop: %s\n", future_error(future));
    }
    future_destroy(&future);
}

/* The session's descriptor is readable: something has ended. -1 ends the loop. */
static int
on_results(zloop_t *loop, zmq_pollitem_t *item, void *arg)
{
    struct tally *tally = (struct tally *)arg;

    (void)loop, (void)item;
    futures_dispatch(tally->futures);
    return tally->ended < TASKS ? 0 : -1;
}

static int
on_timer(zloop_t *loop, int timer, void *arg)
{
    const struct tally *tally = (const struct tally *)arg;

    (void)loop, (void)timer;
    fprintf(stderr, "%d of %d\n", tally->ended, TASKS);
    return 0;
}

static int
submit(struct tally *tally)
{
    for (uint64_t i = 0; i < TASKS; i++) {
        uint64_t from = i * STEP;
        future_t *future =
            futures_submit(tally->futures, "count_primes", &from, sizeof(from), NULL);

        if (future == NULL || future_on_done(future, on_done, tally) != 0)
            return -1;
    }
    return 0;
}

int
main(void)
{
    struct tally tally = {.futures = futures_new(NULL)};
    zmq_pollitem_t item = {.events = ZMQ_POLLIN};
    zloop_t *loop;

    if (tally.futures == NULL || submit(&tally) != 0) {
        fprintf(stderr, "zloop: %s\n", futures_error());
        return 1;
    }
    item.fd = futures_fd(tally.futures);
    loop = zloop_new();
    zloop_poller(loop, &item, on_results, &tally);
    zloop_timer(loop, 100, 0, on_timer, &tally);
    zloop_start(loop);
    zloop_destroy(&loop);
    futures_destroy(&tally.futures);
    if (tally.ended < TASKS || tally.failed > 0)
        return 1;
    printf("%" PRIu64 " primes below %d\n", tally.primes, TASKS * STEP);
    return 0;
}
