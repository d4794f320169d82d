/* bench.c - Ladle's own figures, through its public API alone. bench.py runs it beside the peers.
 *
 *     ladle-bench ENDPOINT SLOTS map COUNT SIZE REPEAT     median of REPEAT maps
 *     ladle-bench ENDPOINT SLOTS detached COUNT SIZE REPEAT the same, by way of the broker's store
 *     ladle-bench ENDPOINT SLOTS deposit COUNT SIZE JOBS   detached jobs, and nobody waits for them
 *     ladle-bench ENDPOINT SLOTS submit COUNT SIZE REPEAT result|next
 *     ladle-bench ENDPOINT SLOTS latency COUNT SIZE        one submit, awaited
 *     ladle-bench ENDPOINT SLOTS busy FILE cpu|wall|sleep  FILE: seconds, a line a task
 *     ladle-bench ENDPOINT SLOTS sleep COUNT MS            prints "started" before it begins
 *     ladle-bench ENDPOINT SLOTS cold COUNT MS             the same, from before futures_new()
 *     ladle-bench ENDPOINT SLOTS imap COUNT                8-byte inputs
 *     ladle-bench ENDPOINT SLOTS tree DEPTH FAN            nested maps
 *     ladle-bench ENDPOINT SLOTS fibonacci N               nested submits
 *     ladle-bench ENDPOINT SLOTS parked COUNT              a chain of tasks that wait
 *
 * ENDPOINT is that of futures_new(). Results are checked; figures are "name value" lines.
 */
#include <ladle.h>

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "nested.h"
#include "peers/measure.h"

static double
clock_seconds(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

/* ---- task functions ---------------------------------------------------------------------------
 */

static int
noop(task_t *task)
{
    return task_return(task, task_input(task), task_input_size(task));
}
TASK(noop)

static int
nap(task_t *task)
{
    struct timespec ts;

    if (task_read(task, &ts, sizeof(ts)) != 0)
        return task_fail(task, "expected a timespec");
    nanosleep(&ts, NULL);
    return task_return(task, "", 0);
}
TASK(nap)

enum spell_kind { SPELL_CPU, SPELL_WALL, SPELL_SLEEP };

struct spell {
    double seconds;
    enum spell_kind kind;
};

static int
spin(task_t *task)
{
    struct spell spell;
    clockid_t clock;
    double end;

    if (task_read(task, &spell, sizeof(spell)) != 0)
        return task_fail(task, "expected a spell");
    clock = spell.kind == SPELL_CPU ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    end = clock_seconds(clock) + spell.seconds;
    if (spell.kind == SPELL_SLEEP)
        usleep((useconds_t)(1e6 * spell.seconds));
    while (clock_seconds(clock) < end)
        ;
    return task_return(task, "", 0);
}
TASK(spin)

/* ---- the session ------------------------------------------------------------------------------
 */

static void
die(const char *what)
{
    fprintf(stderr, "ladle-bench: %s: %s\n", what, futures_error());
    exit(1);
}

static void *
grab(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size);

    if (p == NULL) {
        fprintf(stderr, "ladle-bench: out of memory\n");
        exit(1);
    }
    return p;
}

static void
run_naps(futures_t *futures, size_t count, size_t ms)
{
    struct timespec nap_time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    struct timespec *inputs = grab(count, sizeof(*inputs));
    results_t *results;

    for (size_t i = 0; i < count; i++)
        inputs[i] = nap_time;
    if ((results = futures_map(futures, "nap", inputs, count, sizeof(*inputs), NULL)) == NULL)
        die("map");
    free(inputs);
    if (results_collect(&results, NULL, 0) != 0)
        die("collect");
}

/* All slots there, and an executor in each. */
static futures_t *
open_warm(const char *endpoint, int slots)
{
    futures_t *futures = futures_new(endpoint);

    if (futures == NULL)
        die("futures_new");
    if (futures_wait_for_slots(futures, slots, 10000) != 0)
        die("wait for slots");
    run_naps(futures, 4 * (size_t)slots, 5);
    return futures;
}

/* Inputs of `size` bytes that say their index, if they have room for it. */
static char *
numbered_inputs(size_t count, size_t size)
{
    char *inputs = grab(count, size);

    for (size_t i = 0; i < count; i++) {
        uint64_t index = i;

        memcpy(inputs + i * size, &index, size < sizeof(index) ? size : sizeof(index));
    }
    return inputs;
}

static void
tell_rates(double *took, size_t repeat, size_t count, size_t size)
{
    double median = quantile(took, repeat, 0.5);

    tell("seconds", median);
    tell("rate", (double)count / median);
    tell("mbs", 1e-6 * (double)(count * size) / median);
}

/* ---- commands ---------------------------------------------------------------------------------
 */

static void
measure_map(futures_t *futures, size_t count, size_t size, size_t repeat,
            const task_options_t *options)
{
    char *inputs = numbered_inputs(count, size), *outputs = grab(count, size);
    double *took = grab(repeat, sizeof(*took));
    size_t warm = size > 4096 ? 4 : 10000; /* large ones: to have their buffers */
    results_t *results =
        futures_map(futures, "noop", inputs, warm < count ? warm : count, size, NULL);

    if (results == NULL || results_wait(results, -1) != 0)
        die("warm up");
    results_destroy(&results);
    for (size_t i = 0; i < repeat; i++) {
        double start;

        memset(outputs, 0xff, count * size); /* also: its pages are there */
        start = seconds_now();
        if ((results = futures_map(futures, "noop", inputs, count, size, options)) == NULL)
            die("map");
        if (results_collect(&results, outputs, size) != 0)
            die("collect");
        took[i] = seconds_now() - start;
        if (memcmp(inputs, outputs, count * size) != 0) {
            fprintf(stderr, "ladle-bench: wrong results\n");
            exit(1);
        }
    }
    tell_rates(took, repeat, count, size);
    free(inputs);
    free(outputs);
    free(took);
}

/* So many tasks in each of so many jobs: the time until they are on disk. */
static void
measure_deposit(futures_t *futures, size_t count, size_t size, size_t jobs)
{
    char *inputs = numbered_inputs(count, size);
    results_t **all = grab(jobs, sizeof(*all));
    double start = seconds_now(), took;

    for (size_t i = 0; i < jobs; i++) {
        all[i] = futures_map(futures, "noop", inputs, count, size,
                             &(task_options_t){.detached = true, .needs = "nobody"});
        if (all[i] == NULL)
            die("map");
    }
    for (size_t i = 0; i < jobs; i++) {
        if (results_job(all[i]) == NULL)
            die("deposit");
        results_destroy(&all[i]);
    }
    took = seconds_now() - start;
    tell("rate", (double)(count * jobs) / took);
    free(all);
    free(inputs);
}

static void
check_result(future_t *future, const char *inputs, size_t index, size_t size)
{
    size_t result_size;
    const void *result = future_result(future, &result_size);

    if (result == NULL) {
        fprintf(stderr, "ladle-bench: task %zu: %s\n", index, future_error(future));
        exit(1);
    }
    if (result_size != size ||
        (inputs != NULL && memcmp(result, inputs + index * size, size) != 0)) {
        fprintf(stderr, "ladle-bench: task %zu: wrong result\n", index);
        exit(1);
    }
}

/* Each by its own futures_submit(), each collected and destroyed by itself. */
static double
submit_once(futures_t *futures, const char *inputs, future_t **list, size_t count, size_t size,
            bool in_order)
{
    double start = seconds_now(), submitted;
    size_t left = count;
    future_t *future;

    for (size_t i = 0; i < count; i++)
        if ((list[i] = futures_submit(futures, "noop", inputs + i * size, size, NULL)) == NULL)
            die("submit");
    submitted = seconds_now() - start;
    for (size_t i = 0; in_order && i < count; i++) {
        check_result(list[i], inputs, i, size);
        future_destroy(&list[i]);
    }
    while (!in_order && (future = futures_next(list, &left, -1)) != NULL) {
        check_result(future, NULL, 0, size);
        future_destroy(&future);
    }
    tell("submitting", submitted);
    return seconds_now() - start;
}

static void
measure_submit(futures_t *futures, size_t count, size_t size, size_t repeat, bool in_order)
{
    char *inputs = numbered_inputs(count, size);
    future_t **list = grab(count, sizeof(future_t *));
    double *took = grab(repeat, sizeof(*took));

    submit_once(futures, inputs, list, count < 1000 ? count : 1000, size, in_order);
    for (size_t i = 0; i < repeat; i++)
        took[i] = submit_once(futures, inputs, list, count, size, in_order);
    tell_rates(took, repeat, count, size);
    free(inputs);
    free(list);
    free(took);
}

static void
measure_latency(futures_t *futures, size_t count, size_t size)
{
    char *input = numbered_inputs(1, size);
    double *took = grab(count, sizeof(*took));
    size_t warm = count / 10 + 1;

    for (size_t i = 0; i < warm + count; i++) {
        double start = seconds_now();
        future_t *future = futures_submit(futures, "noop", input, size, NULL);

        if (future == NULL)
            die("submit");
        check_result(future, input, 0, size);
        future_destroy(&future);
        if (i >= warm)
            took[i - warm] = seconds_now() - start;
    }
    tell("us", 1e6 * quantile(took, count, 0.5));
    tell("us99", 1e6 * quantile(took, count, 0.99));
    free(input);
    free(took);
}

static struct spell *
read_spells(const char *path, enum spell_kind kind, size_t *count_p, double *sum_p)
{
    FILE *file = fopen(path, "r");
    size_t room = 100000;
    struct spell *spells = grab(room, sizeof(*spells));

    if (file == NULL) {
        fprintf(stderr, "ladle-bench: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    for (*count_p = 0, *sum_p = 0; *count_p < room; *count_p += 1) {
        struct spell *spell = &spells[*count_p];

        if (fscanf(file, "%lf", &spell->seconds) != 1)
            break;
        spell->kind = kind;
        *sum_p += spell->seconds;
    }
    fclose(file);
    return spells;
}

static void
measure_busy(futures_t *futures, const char *path, enum spell_kind kind, int slots)
{
    size_t count;
    double sum, start, took;
    struct spell *spells = read_spells(path, kind, &count, &sum);
    results_t *results;

    start = seconds_now();
    if ((results = futures_map(futures, "spin", spells, count, sizeof(*spells), NULL)) == NULL)
        die("map");
    if (results_collect(&results, NULL, 0) != 0)
        die("collect");
    took = seconds_now() - start;
    tell("seconds", took);
    tell("over", took * slots / sum);
    free(spells);
}

static void
measure_naps(futures_t *futures, size_t count, size_t ms, int slots)
{
    double start = seconds_now(), took;

    printf("started\n");
    fflush(stdout);
    run_naps(futures, count, ms);
    took = seconds_now() - start;
    tell("seconds", took);
    tell("share", 1e-3 * (double)(count * ms) / slots / took);
}

struct counter {
    uint64_t next, count;
};

static int
next_number(void *arg, const void **input_p, size_t *size_p)
{
    struct counter *counter = arg;
    static uint64_t input;

    if (counter->next == counter->count)
        return -1;
    input = counter->next++;
    *input_p = &input;
    *size_p = sizeof(input);
    return 0;
}

static double
peak_memory(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    double kib = NAN;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "VmHWM: %lf kB", &kib) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return kib / 1024;
}

static void
measure_imap(futures_t *futures, uint64_t count)
{
    struct counter counter = {0, count};
    double start = seconds_now(), took;
    results_t *results = futures_imap(futures, "noop", next_number, &counter, NULL);
    const void *result;
    uint64_t seen = 0;
    size_t size;

    if (results == NULL)
        die("imap");
    while ((result = results_next(results, &size)) != NULL) {
        if (size != sizeof(seen) || memcmp(result, &seen, size) != 0) {
            fprintf(stderr, "ladle-bench: task %llu: wrong result\n", (unsigned long long)seen);
            exit(1);
        }
        seen++;
    }
    if (seen != count) {
        fprintf(stderr, "ladle-bench: task %llu: %s\n", (unsigned long long)seen,
                results_error(results) != NULL ? results_error(results) : "missing");
        exit(1);
    }
    took = seconds_now() - start;
    results_destroy(&results);
    tell("seconds", took);
    tell("rate", (double)count / took);
    tell("rss", peak_memory());
}

static enum spell_kind
spell_kind(const char *word)
{
    return strcmp(word, "cpu") == 0    ? SPELL_CPU
           : strcmp(word, "wall") == 0 ? SPELL_WALL
                                       : SPELL_SLEEP;
}

static int
usage(void)
{
    fprintf(stderr, "usage: see the top of bench/bench.c\n");
    return 2;
}

/* argv: the command and what it takes. */
static int
run_command(futures_t *futures, int slots, int argc, char **argv)
{
    const char *what = argv[0];

    if (strcmp(what, "map") == 0 && argc == 4)
        measure_map(futures, number(argv[1]), number(argv[2]), number(argv[3]), NULL);
    else if (strcmp(what, "detached") == 0 && argc == 4)
        measure_map(futures, number(argv[1]), number(argv[2]), number(argv[3]),
                    &(task_options_t){.detached = true});
    else if (strcmp(what, "deposit") == 0 && argc == 4)
        measure_deposit(futures, number(argv[1]), number(argv[2]), number(argv[3]));
    else if (strcmp(what, "submit") == 0 && argc == 5)
        measure_submit(futures, number(argv[1]), number(argv[2]), number(argv[3]),
                       strcmp(argv[4], "result") == 0);
    else if (strcmp(what, "latency") == 0 && argc == 3)
        measure_latency(futures, number(argv[1]), number(argv[2]));
    else if (strcmp(what, "busy") == 0 && argc == 3)
        measure_busy(futures, argv[1], spell_kind(argv[2]), slots);
    else if ((strcmp(what, "sleep") == 0 || strcmp(what, "cold") == 0) && argc == 3)
        measure_naps(futures, number(argv[1]), number(argv[2]), slots);
    else if (strcmp(what, "imap") == 0 && argc == 2)
        measure_imap(futures, number(argv[1]));
    else if (strcmp(what, "tree") == 0 && argc == 3)
        measure_tree(futures, (uint32_t)number(argv[1]), (uint32_t)number(argv[2]));
    else if (strcmp(what, "fibonacci") == 0 && argc == 2)
        measure_fibonacci(futures, (uint32_t)number(argv[1]));
    else if (strcmp(what, "parked") == 0 && argc == 2)
        measure_parked(futures, (uint32_t)number(argv[1]));
    else
        return usage();
    return 0;
}

int
main(int argc, char **argv)
{
    double start = seconds_now();
    bool cold = argc > 3 && strcmp(argv[3], "cold") == 0;
    const char *endpoint = argc > 1 ? argv[1] : NULL;
    int slots = argc > 2 ? (int)number(argv[2]) : 0;
    futures_t *futures;
    int status;

    if (argc < 4 || slots < 1)
        return usage();
    futures = cold ? futures_new(endpoint) : open_warm(endpoint, slots);
    if (futures == NULL)
        die("futures_new");
    status = run_command(futures, slots, argc - 3, argv + 3);
    if (cold)
        tell("cold", seconds_now() - start);
    start = seconds_now();
    futures_destroy(&futures);
    tell("leaving", seconds_now() - start);
    return status;
}
