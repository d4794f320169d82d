/* poll.c - results in an event loop: poll() waits for them and for a timer at once.
 *
 * futures_fd() is readable when something has ended; futures_dispatch() then runs the callbacks of
 * all that did. Any loop that watches descriptors will do: see zloop.c for the same with CZMQ's.
 */
#include <ladle.h>

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/timerfd.h>
#include <unistd.h>

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
    uint64_t primes;
    int ended, failed;
};

/* Called by futures_dispatch(), in this thread. */
static void
on_done(future_t *future, void *arg)
{
    const uint64_t *count = future_result(future, NULL);
    struct tally *tally = arg;

    tally->ended++;
    if (count != NULL) {
        tally->primes += *count;
    } else {
        tally->failed++;
        fprintf(stderr, "poll: %s\n", future_error(future));
    }
    future_destroy(&future);
}

static int
submit(futures_t *futures, struct tally *tally)
{
    for (uint64_t i = 0; i < TASKS; i++) {
        uint64_t from = i * STEP;
        future_t *future = futures_submit(futures, "count_primes", &from, sizeof(from), NULL);

        if (future == NULL || future_on_done(future, on_done, tally) != 0)
            return -1;
    }
    return 0;
}

static int
loop(futures_t *futures, struct tally *tally)
{
    const struct itimerspec tenth = {.it_value.tv_nsec = 100000000,
                                     .it_interval.tv_nsec = 100000000};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct pollfd watched[2] = {{.fd = futures_fd(futures), .events = POLLIN},
                                {.fd = timer, .events = POLLIN}};
    uint64_t ticks;

    if (timer < 0 || timerfd_settime(timer, 0, &tenth, NULL) != 0) {
        perror("poll: timer");
        return -1;
    }
    while (tally->ended < TASKS) {
        if (poll(watched, 2, -1) < 0)
            break;
        if (watched[0].revents != 0)
            futures_dispatch(futures);
        if (watched[1].revents != 0 && read(timer, &ticks, sizeof(ticks)) > 0)
            fprintf(stderr, "%d of %d\n", tally->ended, TASKS);
    }
    close(timer);
    return tally->ended == TASKS && tally->failed == 0 ? 0 : -1;
}

int
main(void)
{
    futures_t *futures = futures_new(NULL); /* $LADLE_BROKER, else all cores of this machine */
    struct tally tally = {0};
    int status = 1;

    if (futures == NULL || submit(futures, &tally) != 0)
        fprintf(stderr, "poll: %s\n", futures_error());
    else
        status = loop(futures, &tally) == 0 ? 0 : 1;
    if (status == 0)
        printf("%" PRIu64 " primes below %d\n", tally.primes, TASKS * STEP);
    futures_destroy(&futures);
    return status;
}
