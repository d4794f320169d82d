/* The row about clocks. */
#include "faults.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int64_t *wall; /* seconds that all processes see the wall clock off by */

static void
preload_clock(void)
{
    const char *path = harness_path("wallclock");
    const char *options = getenv("ASAN_OPTIONS");
    int fd;

    file_write(path, &(int64_t){0}, sizeof(*wall), 0600);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    wall = mmap(NULL, sizeof(*wall), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(wall, MAP_FAILED);
    close(fd);
    setenv("WALLCLOCK", path, 1);
    setenv("ASAN_OPTIONS",
           format("%s:verify_asan_link_order=0", options != NULL ? options : "detect_leaks=1"), 1);
    setenv("LD_PRELOAD", LADLE_WALLCLOCK, 1);
}

/* The hours and minutes of the last line that the broker wrote. */
static int
minute_of_last_line(struct process *p)
{
    const char *text = process_errors(p), *at = text + strlen(text);
    int hours = -1, minutes = -1;

    while (at > text && (at == text + strlen(text) || at[-1] != '\n'))
        at--;
    assert_int_equal(sscanf(at, "%d:%d", &hours, &minutes), 2);
    return 60 * hours + minutes;
}

static void
row_30_wall_clock_steps(void **state)
{
    static const int64_t steps[] = {86400, 0, -86400, 1, 0, 13 * 3600, -1, 5, 86400, 13 * 3600};
    enum { COUNT = 30, N = sizeof(steps) / sizeof(*steps), EVERY = 1000, STORM = 1500 };
    struct process *broker, *one, *client, *late;
    int64_t began, before;

    (void)state;
    preload_clock();
    broker = grid_broker();
    one = grid_worker("one", 2);
    began = minute_of_last_line(broker);
    client =
        known("submit", "count=30", "ms=1000", "deadline=60000", "timeout=20000", "retries=-1");
    await(history_ended(history()) >= 2, SOON);
    before = cpu_of(broker) + cpu_of(one) + cpu_of(client);
    for (int i = 0; i < N; i++) {
        *wall = steps[i];
        sleep_ms(EVERY);
    }
    assert_in_range(cpu_of(broker) + cpu_of(one) + cpu_of(client) - before, 0, STORM);
    late = known("submit", "base=1000", "retries=-1"); /* writes a line in the log, at its time */
    assert_succeeds(late, SOON);
    before = (began + 13 * 60) % (24 * 60);
    assert_in_range((minute_of_last_line(broker) - before + 24 * 60) % (24 * 60), 0, 2);
    assert_succeeds(client, 6 * SOON);
    assert_int_equal(status_number(grid_endpoint(), "workers_lost"), 0);
    assert_int_equal(status_number(grid_endpoint(), "retries"), 0);
    assert_int_equal(status_number(grid_endpoint(), "tasks_failed"), 0);
    history_check(COUNT + 1, 0, 1);
    unsetenv("LD_PRELOAD");
    munmap(wall, sizeof(*wall));
}

static const struct CMUnitTest rows[] = {
    ROW(row_30_wall_clock_steps),
};

FAULTS_MAIN("clock")
