/* spin_peer.c - the least that uneven work can take here: processes that take tasks from one shared
 * counter, without any message.
 *
 *     spin-peer SLOTS FILE cpu|wall|sleep    busy for the seconds that the lines of FILE say
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

#define MAX_TASKS 100000

static double tasks[MAX_TASKS];

static clockid_t clock_of_tasks = CLOCK_THREAD_CPUTIME_ID;
static int sleeps;

static double
task_clock(void)
{
    struct timespec ts;

    clock_gettime(clock_of_tasks, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void
spin(atomic_size_t *next, size_t count)
{
    size_t i;

    while ((i = atomic_fetch_add(next, 1)) < count) {
        double end = task_clock() + tasks[i];

        if (sleeps)
            usleep((useconds_t)(1e6 * tasks[i]));
        while (task_clock() < end)
            ;
    }
    _exit(0);
}

int
main(int argc, char **argv)
{
    unsigned slots = argc == 4 ? (unsigned)number(argv[1]) : 0;
    FILE *file = argc == 4 ? fopen(argv[2], "r") : NULL;
    atomic_size_t *next =
        mmap(NULL, sizeof(*next), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t count = 0;
    double sum = 0, start, took;

    if (file == NULL || slots == 0 || next == MAP_FAILED) {
        fprintf(stderr, "usage: spin-peer SLOTS FILE cpu|wall|sleep\n");
        return 2;
    }
    sleeps = strcmp(argv[3], "sleep") == 0;
    if (strcmp(argv[3], "cpu") != 0)
        clock_of_tasks = CLOCK_MONOTONIC;
    while (count < MAX_TASKS && fscanf(file, "%lf", &tasks[count]) == 1)
        sum += tasks[count++];
    fclose(file);
    start = seconds_now();
    for (unsigned i = 0; i < slots; i++)
        if (fork() == 0)
            spin(next, count);
    while (wait(NULL) > 0)
        ;
    took = seconds_now() - start;
    tell("seconds", took);
    tell("over", took * slots / sum);
    return 0;
}
