/* gearman_peer.c - libgearman's client and worker, against a gearmand.
 *
 *     gearman-peer worker PORT                       echoes, or sleeps for "sleep"
 *     gearman-peer rate PORT COUNT SIZE BATCH        BATCH tasks in one gearman_client_run_tasks()
 *     gearman-peer latency PORT COUNT SIZE
 *     gearman-peer sleep PORT COUNT MS               prints "started" before it begins
 */
#include <libgearman/gearman.h>
#include <string.h>

#include "measure.h"

#define HOST "127.0.0.1"

static void
die(const char *what, const char *why)
{
    fprintf(stderr, "gearman-peer: %s: %s\n", what, why);
    exit(1);
}

static void *
run_noop(gearman_job_st *job, void *context, size_t *size, gearman_return_t *ret)
{
    void *result = malloc(gearman_job_workload_size(job) + 1);

    (void)context;
    *size = gearman_job_workload_size(job);
    *ret = result == NULL ? GEARMAN_WORK_FAIL : GEARMAN_SUCCESS;
    if (result != NULL)
        memcpy(result, gearman_job_workload(job), *size);
    return result;
}

static void *
run_sleep(gearman_job_st *job, void *context, size_t *size, gearman_return_t *ret)
{
    struct timespec ts = {0};

    (void)context;
    if (gearman_job_workload_size(job) == sizeof(ts))
        memcpy(&ts, gearman_job_workload(job), sizeof(ts));
    nanosleep(&ts, NULL);
    *size = 0;
    *ret = GEARMAN_SUCCESS;
    return NULL;
}

static int
worker(in_port_t port)
{
    gearman_worker_st *w = gearman_worker_create(NULL);

    if (w == NULL || gearman_worker_add_server(w, HOST, port) != GEARMAN_SUCCESS ||
        gearman_worker_add_function(w, "noop", 0, run_noop, NULL) != GEARMAN_SUCCESS ||
        gearman_worker_add_function(w, "sleep", 0, run_sleep, NULL) != GEARMAN_SUCCESS)
        die("worker", "cannot be set up");
    printf("ready\n");
    fflush(stdout);
    while (gearman_worker_work(w) == GEARMAN_SUCCESS)
        ;
    die("worker", gearman_worker_error(w));
    return 1;
}

static gearman_client_st *
connected(in_port_t port)
{
    gearman_client_st *c = gearman_client_create(NULL);

    if (c == NULL || gearman_client_add_server(c, HOST, port) != GEARMAN_SUCCESS)
        die("client", "cannot be set up");
    gearman_client_add_options(c, GEARMAN_CLIENT_FREE_TASKS);
    return c;
}

static gearman_return_t
count_one(gearman_task_st *task)
{
    size_t *done = gearman_task_context(task);

    *done += 1;
    return GEARMAN_SUCCESS;
}

/* `count` tasks with the same input, `batch` at a time: gearman_client_run_tasks() scans its tasks
 * for each answer, so its time grows with the square of the batch. */
static void
run_batches(gearman_client_st *c, const char *function, const void *input, size_t size,
            size_t count, size_t batch)
{
    size_t done = 0;
    gearman_return_t ret;

    gearman_client_set_complete_fn(c, count_one);
    for (size_t sent = 0; sent < count;) {
        for (size_t n = 0; n < batch && sent < count; n++, sent++) {
            gearman_client_add_task(c, NULL, &done, function, NULL, input, size, &ret);
            if (ret != GEARMAN_SUCCESS)
                die("add_task", gearman_client_error(c));
        }
        if (gearman_client_run_tasks(c) != GEARMAN_SUCCESS)
            die("run_tasks", gearman_client_error(c));
    }
    if (done != count)
        die("run_tasks", "tasks are missing");
}

static int
rate(in_port_t port, size_t count, size_t size, size_t batch)
{
    gearman_client_st *c = connected(port);
    char *input = calloc(1, size);
    double start, took;

    if (input == NULL)
        die("calloc", "out of memory");
    run_batches(c, "noop", input, size, batch, batch);
    start = seconds_now();
    run_batches(c, "noop", input, size, count, batch);
    took = seconds_now() - start;
    tell("seconds", took);
    tell("rate", (double)count / took);
    gearman_client_free(c);
    return 0;
}

static int
latency(in_port_t port, size_t count, size_t size)
{
    gearman_client_st *c = connected(port);
    char *input = calloc(1, size);
    double *took = calloc(count, sizeof(*took));

    if (input == NULL || took == NULL)
        die("calloc", "out of memory");
    for (size_t i = 0; i < count; i++) {
        double start = seconds_now();
        size_t result_size;
        gearman_return_t ret;
        void *result = gearman_client_do(c, "noop", NULL, input, size, &result_size, &ret);

        took[i] = seconds_now() - start;
        if (ret != GEARMAN_SUCCESS || result_size != size)
            die("do", gearman_client_error(c));
        free(result);
    }
    tell("us", 1e6 * quantile(took, count, 0.5));
    gearman_client_free(c);
    return 0;
}

static int
sleeps(in_port_t port, size_t count, size_t ms)
{
    gearman_client_st *c = connected(port);
    struct timespec ts = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    double start;

    run_batches(c, "sleep", &ts, sizeof(ts), 8, 8);
    start = seconds_now();
    printf("started\n");
    fflush(stdout);
    run_batches(c, "sleep", &ts, sizeof(ts), count, count);
    tell("seconds", seconds_now() - start);
    gearman_client_free(c);
    return 0;
}

int
main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[1] : "";
    in_port_t port = (in_port_t)(argc > 2 ? number(argv[2]) : 0);

    if (strcmp(mode, "worker") == 0 && argc == 3)
        return worker(port);
    if (strcmp(mode, "rate") == 0 && argc == 6)
        return rate(port, number(argv[3]), number(argv[4]), number(argv[5]));
    if (strcmp(mode, "latency") == 0 && argc == 5)
        return latency(port, number(argv[3]), number(argv[4]));
    if (strcmp(mode, "sleep") == 0 && argc == 5)
        return sleeps(port, number(argv[3]), number(argv[4]));
    fprintf(stderr, "usage: see the top of bench/peers/gearman_peer.c\n");
    return 2;
}
