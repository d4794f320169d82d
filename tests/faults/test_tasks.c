/* Rows of the fault matrix: what tasks do. */
#include "faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED "AddressSanitizer"
#elif defined(__SANITIZE_THREAD__)
#define SANITIZED "ThreadSanitizer"
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED "AddressSanitizer"
#elif __has_feature(thread_sanitizer)
#define SANITIZED "ThreadSanitizer"
#endif
#endif

#define T 1000 /* ms for an attempt, as the row says */

static void
assert_says(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        print_error("not there: %s\nin:\n%s\n", part, text);
    assert_non_null(strstr(text, part));
}

static struct process *
client(const char *const *argv)
{
    return process_start(argv,
                         (const char *const[]){format("LADLE_BROKER=%s", grid_endpoint()), NULL});
}

/* A task segfaults: only that task is CRASHED, with signal and frames; other slots of its worker do
 * not notice; it is tried again up to its limit, each time within a second. */
static void
row_04_task_segfaults(void **state)
{
    struct process *others, *crash;
    int64_t since;

    (void)state;
    grid_broker();
    grid_worker("one", 3);
    mkdir(harness_path("traces"), 0700);
    others = client((const char *const[]){harness_binary("tasks"), harness_path("traces"), "map",
                                          "2", "4000", NULL});
    await(directory_entries(harness_path("traces")) == 2, SOON); /* both run */
    since = harness_now();
    crash = client((const char *const[]){harness_binary("dying"), "segv", "retries=2", NULL});
    assert_int_equal(process_await(crash, 4 * SOON), 0);
#ifndef SANITIZED
    assert_in_range(harness_now() - since, 0, 3 * T + 1000); /* and the client's own start */
#else
    (void)since;
#endif
#ifndef SANITIZED
    assert_says(process_output(crash), "die on worker one, attempt 3: killed by signal 11 (");
    assert_says(process_output(crash), "where it was:\n");
    assert_says(process_output(crash), " die at ");
#else
    assert_says(process_output(crash), "die on worker one, attempt 3: ");
    assert_says(process_output(crash), SANITIZED);
#endif
    assert_false(process_ended(others));
    assert_int_equal(process_await(others, 4 * SOON), 0);
    assert_true(starts_with(process_output(others), "right 2"));
    assert_int_equal(directory_entries(harness_path("traces")), 2); /* each ran once */
    assert_int_equal(status_number(grid_endpoint(), "workers_lost"), 0);
    assert_int_equal(status_worker(grid_endpoint(), "one", "slots"), 3);
}

/* In KiB. */
static long
resident(pid_t pid)
{
    char path[64], *text, *at;
    size_t size;
    long kib;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    assert_non_null(text = file_read(path, &size));
    assert_non_null(at = strstr(text, "VmHWM:"));
    kib = strtol(at + 6, NULL, 10);
    free(text);
    return kib;
}

/* A task prints 1 GB: the client sees some of it, and how much was left out; the task ends well,
 * and memory stays flat. */
static void
row_09_task_prints_a_gigabyte(void **state)
{
    struct process *broker = grid_broker();
    struct process *worker = grid_worker("one", 1), *p;
    long before, worker_before;
    static const char marker[] = "[ladle: ";
    unsigned long long dropped = 0;
    const char *text;

    (void)state;
    p = client((const char *const[]){harness_binary("dying"), "1", "function=print", NULL});
    assert_int_equal(process_await(p, 4 * SOON), 0);
    before = resident(broker->pid);
    worker_before = resident(worker->pid);
    p = client((const char *const[]){harness_binary("dying"), "1000", "function=print", NULL});
    assert_int_equal(process_await(p, 12 * SOON), 0);
    text = process_output(p);
    assert_in_range(strlen(text), 256 << 10, 16 << 20);
    assert_says(text, "\nDONE\n");
    for (; (text = strstr(text, marker)) != NULL; text += strlen(marker))
        dropped += strtoull(text + strlen(marker), NULL, 10);
    /* All of it is told of, or there. */
    assert_in_range(dropped + strlen(process_output(p)), 950ull << 20, 1001ull << 20);
    assert_true(resident(broker->pid) - before < 8 << 10);
    assert_true(resident(worker->pid) - worker_before < 8 << 10);
}

static const struct CMUnitTest rows[] = {
    ROW(row_04_task_segfaults),
    ROW(row_09_task_prints_a_gigabyte),
};

FAULTS_MAIN("tasks")
