#include "faults.h"

#include "hosts.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 32
#define WORDS 32

static char endpoint[256];
static struct process *broker; /* the last one */
static int broker_descriptors; /* when it had no peers */
static const char *broker_options[WORDS];
static struct process *clients[WORKERS];
static int nclients;
static struct process *workers[WORKERS];
static char worker_directories[WORKERS][PATH_MAX];
static int nworkers;

/* ---- small things -----------------------------------------------------------------------------
 */

const char *
format(const char *format, ...)
{
    static char buffers[16][512];
    static unsigned next;
    char *text = buffers[next++ % 16];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(*buffers), format, args);
    va_end(args);
    return text;
}

void
faults_skip(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    printf("skipped: ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    skip();
    abort();
}

void
sleep_ms(int ms)
{
    int64_t until = harness_now() + ms;

    while (harness_now() < until)
        harness_pause();
}

bool
process_said(struct process *p, const char *text, int ms)
{
    int64_t until = harness_now() + ms;

    while (!process_wrote(p, text) && harness_now() < until)
        harness_pause();
    return process_wrote(p, text);
}

void
assert_succeeds(struct process *p, int ms)
{
    int status = process_await(p, ms);

    if (status != 0)
        print_error("exit status %d\n%s%s\n", status, process_output(p), process_errors(p));
    assert_int_equal(status, 0);
}

/* The letter in /proc; 0: there is no such process. */
static char
state_of(pid_t pid)
{
    char *text = file_read(format("/proc/%d/stat", (int)pid), NULL);
    char state = text != NULL && strrchr(text, ')') != NULL ? strrchr(text, ')')[2] : '\0';

    free(text);
    return state;
}

bool
is_alive(pid_t pid)
{
    return strchr("ZX", state_of(pid)) == NULL; /* 0 is found, too */
}

int
descriptors_of(const struct process *p)
{
    return directory_entries(format("/proc/%d/fd", (int)p->pid));
}

size_t
memory_of(const struct process *p)
{
    char *text = file_read(format("/proc/%d/statm", (int)p->pid), NULL);
    unsigned long long size = 0, resident = 0;

    if (text != NULL)
        sscanf(text, "%llu %llu", &size, &resident);
    free(text);
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

int64_t
cpu_of(const struct process *p)
{
    char *text = file_read(format("/proc/%d/stat", (int)p->pid), NULL);
    unsigned long long user = 0, kernel = 0;

    if (text != NULL && strrchr(text, ')') != NULL)
        sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
               &user, &kernel);
    free(text);
    return (int64_t)(user + kernel) * 1000 / sysconf(_SC_CLK_TCK);
}

/* ---- the grid ---------------------------------------------------------------------------------
 */

const char *
grid_endpoint(void)
{
    return endpoint;
}

void
grid_set_endpoint(const char *to)
{
    snprintf(endpoint, sizeof(endpoint), "%s", to);
}

/* Words end with NULL; returns how many there are in `argv` then. */
static int
append(const char **argv, int n, const char *const *words)
{
    for (; words != NULL && *words != NULL; words++) {
        assert_true(n + 1 < WORDS);
        argv[n++] = *words;
    }
    argv[n] = NULL;
    return n;
}

static struct process *
start_broker(const char *bind)
{
    const char *argv[WORDS];
    int n = append(argv, 0, (const char *const[]){harness_binary("ladle-broker"), NULL});

    n = append(argv, n, broker_options);
    if (bind != NULL)
        append(argv, n, (const char *const[]){"--bind", bind, NULL});
    broker = process_start(argv, NULL);
    await(process_wrote(broker, ": ready at ") || process_ended(broker), SOON);
    if (process_ended(broker))
        print_error("the broker ended: %s\n", process_errors(broker));
    assert_int_equal(sscanf(process_output(broker), "ladle-broker: ready at %255s", endpoint), 1);
    broker_descriptors = descriptors_of(broker);
    return broker;
}

struct process *
grid_broker_with(const char *const *options)
{
    bool bound = false;

    append(broker_options, 0, options);
    for (int i = 0; broker_options[i] != NULL; i++)
        bound |= strcmp(broker_options[i], "--bind") == 0;
    return start_broker(bound ? NULL : "tcp://127.0.0.1:0");
}

struct process *
grid_broker_again(void)
{
    bool bound = false;

    for (int i = 0; broker_options[i] != NULL; i++)
        bound |= strcmp(broker_options[i], "--bind") == 0;
    return start_broker(bound ? NULL : format("%s", endpoint));
}

struct process *
grid_worker_with(const char *name, int slots, const char *at, const char *const *before,
                 const char *const *options)
{
    const char *argv[WORDS];
    int n = append(argv, 0, before);

    assert_true(nworkers < WORKERS);
    snprintf(worker_directories[nworkers], PATH_MAX, "%s/worker-%s", harness_directory(), name);
    n = append(argv, n,
               (const char *const[]){harness_binary("ladle-worker"), "--broker",
                                     at != NULL ? at : endpoint, "--name", name, "--slots",
                                     format("%d", slots), "--directory",
                                     worker_directories[nworkers], NULL});
    append(argv, n, options);
    return workers[nworkers++] = process_start(argv, NULL);
}

struct process *
grid_worker(const char *name, int slots)
{
    struct process *p = grid_worker_with(name, slots, NULL, NULL, NULL);

    await(process_wrote(p, ": ready"), SOON);
    await(status_worker(endpoint, name, "slots") == slots, SOON);
    return p;
}

struct process *
known_with(const char *program, const char *at, const char *const *before, const char *const *words)
{
    const char *argv[WORDS];
    int n = append(argv, 0, before);

    n = append(argv, n,
               (const char *const[]){program == NULL     ? harness_binary("known")
                                     : program[0] == '/' ? program
                                                         : harness_binary(program),
                                     harness_directory(), NULL});
    append(argv, n, words);
    assert_true(nclients < WORKERS);
    return clients[nclients++] = process_start(
               argv,
               (const char *const[]){format("LADLE_BROKER=%s", at != NULL ? at : endpoint), NULL});
}

/* ---- the fixture ------------------------------------------------------------------------------
 */

int
faults_setup(void **state)
{
    broker = NULL;
    nworkers = nclients = 0;
    broker_options[0] = NULL;
    return harness_setup(state);
}

static bool
is_living(struct process *p)
{
    return p != NULL && !process_ended(p) && state_of(p->pid) != 'T';
}

static int
end_politely(struct process *p, const char *what)
{
    int64_t until = harness_now() + SOON;
    int status = 0;

    kill(p->pid, SIGTERM);
    while (!process_ended(p) && harness_now() < until)
        harness_pause();
    if (!process_ended(p) || p->status != 0) {
        print_error("%s does not end well: %s\n", what, process_errors(p));
        status = -1;
    }
    return status;
}

/* What is left of the executors' directories; those of a killed worker go with its successor. */
static int
check_directory(const char *directory)
{
    DIR *dir = opendir(format("%s/work", directory));
    const struct dirent *d;
    int status = 0;

    if (dir == NULL)
        return 0;
    while ((d = readdir(dir)) != NULL) {
        if (d->d_name[0] == '.')
            continue;
        print_error("left behind: %s/work/%s\n", directory, d->d_name);
        status = -1;
    }
    closedir(dir);
    return status;
}

/* After the workers' end nobody is connected any more. */
static int
check_descriptors(void)
{
    int64_t until = harness_now() + SOON;

    while (descriptors_of(broker) > broker_descriptors && harness_now() < until)
        harness_pause();
    if (descriptors_of(broker) <= broker_descriptors)
        return 0;
    print_error("the broker has %d descriptors, %d when it began\n", descriptors_of(broker),
                broker_descriptors);
    return -1;
}

int
faults_teardown(void **state)
{
    int status = 0;

    for (int i = 0; i < nclients; i++)
        process_kill(clients[i]);
    for (int i = 0; i < nworkers; i++)
        if (is_living(workers[i]))
            status |= end_politely(workers[i], "a worker") | check_directory(worker_directories[i]);
    if (is_living(broker))
        status |= check_descriptors() | end_politely(broker, "the broker");
    hosts_free();
    return harness_teardown(state) | status;
}

int
faults_main(const char *group, const struct CMUnitTest *rows, size_t count, int argc, char **argv)
{
    size_t i = 0;

    if (argc > 1) {
        while (i < count && strcmp(rows[i].name, argv[1]) != 0)
            i++;
        if (i == count) {
            fprintf(stderr, "there is no row %s here\n", argv[1]);
            return 1;
        }
        cmocka_set_test_filter(argv[1]);
    }
    return _cmocka_run_group_tests(group, rows, count, NULL, NULL);
}
