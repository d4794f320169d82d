/* Rows of the fault matrix about the broker's store, with real processes; and every point at which
 * a broker can be killed while it writes. */
#include "keeping.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void
restart(struct process **broker)
{
    process_kill(*broker);
    *broker = store_broker(NULL);
}

/* ---- row 13 ---------------------------------------------------------------------------------
 *
 * Who loses his broker again and again comes back after up to three seconds: that is nearly all of
 * a kill. So several grids, which do not know each other, are killed side by side.
 */

enum { JOBS_MOST = 4000, JOB_TASKS = 300, LANES_MOST = 32 };

struct lane { /* a grid with a store of its own */
    char name[16], endpoint[600];
    struct process *broker;
    int kills, target; /* so many are left; the next one when there are more than so many jobs */
    int64_t since;     /* the last one */
    pthread_t thread;
    /* Of the thread: what was accepted. */
    _Atomic bool stop;
    _Atomic int njobs;
    char ids[JOBS_MOST][33];
};

/* Submits as fast as it can, and writes down what was accepted. */
static void *
submit_on(void *arg)
{
    struct lane *l = arg;
    futures_t *f = futures_open(
        &(futures_config_t){.endpoint = l->endpoint, .quiet = true, .lost_timeout = -1});
    long inputs[JOB_TASKS];

    for (long i = 0; i < JOB_TASKS; i++)
        inputs[i] = i;
    while (f != NULL && !l->stop && l->njobs < JOBS_MOST) {
        results_t *r = futures_map(f, "square", inputs, JOB_TASKS, sizeof(*inputs),
                                   &(task_options_t){.detached = true});
        const char *id = r != NULL ? results_job(r) : NULL;

        if (id != NULL)
            snprintf(l->ids[l->njobs], sizeof(l->ids[0]), "%s", id);
        results_destroy(&r);
        if (id == NULL)
            break;
        l->njobs++;
    }
    futures_destroy(&f);
    return NULL;
}

static void
lane_begin(struct lane *l, int number, int kills)
{
    memset(l, 0, sizeof(*l));
    snprintf(l->name, sizeof(l->name), "%d", number);
    store_use(l->name);
    snprintf(l->endpoint, sizeof(l->endpoint), "%s", store_endpoint());
    l->kills = kills;
    l->since = harness_now();
    l->broker = store_broker(NULL);
    worker_start(l->endpoint, "node1", 1);
    worker_start(l->endpoint, "node2", 1);
    assert_int_equal(pthread_create(&l->thread, NULL, submit_on, l), 0);
}

/* Kills its broker, if some were accepted since the last time. */
static void
lane_step(struct lane *l)
{
    if (l->kills == 0)
        return;
    if (harness_now() > l->since + 3 * SOON)
        fail_msg("lane %s, %d kills before its end: nothing was accepted for %d s", l->name,
                 l->kills, 3 * SOON / 1000);
    if (l->njobs <= l->target)
        return;
    store_use(l->name);
    restart(&l->broker);
    l->kills--;
    l->target = l->njobs + l->kills % 3;
    l->since = harness_now();
}

static bool
step_all(struct lane *lanes, int count)
{
    bool over = true;

    for (int i = 0; i < count; i++) {
        lane_step(&lanes[i]);
        over = over && lanes[i].kills == 0;
    }
    return over;
}

/* All that was accepted is there, and has the outcomes that it has to have, once each. */
static void
lane_check(struct lane *l)
{
    futures_t *f;

    store_use(l->name);
    f = store_session();
    for (int i = 0; i < l->njobs; i++)
        assert_squares(f, l->ids[i], JOB_TASKS);
    futures_destroy(&f);
    /* A second outcome would count, too. */
    assert_int_equal(jobs_ended(l->ids, l->njobs, JOB_TASKS), l->njobs);
}

static int
number_of(const char *variable, int usual)
{
    const char *asked = getenv(variable);

    return asked != NULL && atoi(asked) > 0 ? atoi(asked) : usual;
}

static void
row_13_broker_killed_durable(void **state)
{
    int kills = number_of("LADLE_KILLS", 12), count = number_of("LADLE_LANES", 1), njobs = 0;
    struct lane *lanes;

    (void)state;
    count = count < LANES_MOST ? count : LANES_MOST;
    count = count < kills ? count : kills;
    assert_non_null(lanes = calloc((size_t)count, sizeof(*lanes)));
    for (int i = 0; i < count; i++)
        lane_begin(&lanes[i], i, kills / count + (i < kills % count));
    await(step_all(lanes, count), kills * SOON);
    for (int i = 0; i < count; i++)
        lanes[i].stop = true;
    for (int i = 0; i < count; i++) {
        pthread_join(lanes[i].thread, NULL);
        store_use(lanes[i].name);
        restart(&lanes[i].broker);
    }
    for (int i = 0; i < count; i++) {
        lane_check(&lanes[i]);
        njobs += lanes[i].njobs;
    }
    assert_true(njobs >= kills);
    print_message("%d kills in %d grids: %d jobs were accepted, and all are there\n", kills, count,
                  njobs);
    free(lanes);
}

/* ---- rows 14, 15 ---------------------------------------------------------------------------- */

/* A store with a few jobs, and its broker killed. */
static void
leave_store(char id[33])
{
    struct process *broker = store_broker(NULL);
    futures_t *f = store_session();

    submit_squares(f, 50000, id);
    futures_destroy(&f);
    process_kill(broker);
}

static void
row_14_torn_tail_is_told(void **state)
{
    char log[512], id[33];
    struct process *broker;
    struct stat st;

    (void)state;
    leave_store(id);
    snprintf(log, sizeof(log), "%s/store.db-wal", store_directory());
    assert_int_equal(stat(log, &st), 0);
    assert_int_equal(truncate(log, st.st_size - 1000), 0);
    broker = store_broker(NULL);
    assert_non_null(strstr(process_errors(broker), "bytes from offset"));
    assert_non_null(strstr(process_errors(broker), "are dropped"));
    assert_true(job_number(id, "total") >= 0);
}

static void
row_15_damaged_store_is_refused_and_salvaged(void **state)
{
    const char *said[2];
    char log[512], id[33];
    struct process *broker;
    struct stat st;
    char byte;
    int fd;

    (void)state;
    leave_store(id);
    snprintf(log, sizeof(log), "%s/store.db-wal", store_directory());
    assert_int_equal(stat(log, &st), 0);
    assert_true((fd = open(log, O_RDWR)) >= 0);
    assert_int_equal(pread(fd, &byte, 1, st.st_size / 2), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 2), 1);
    close(fd);
    broker = store_broker_begin(NULL, NULL);
    assert_int_equal(process_await(broker, SOON), 1);
    assert_non_null(strstr(process_errors(broker), "does not verify at offset"));
    assert_non_null(strstr(process_errors(broker), "--salvage"));
    assert_null(strstr(process_output(broker), "ready"));
    broker = store_broker((const char *const[]){"--salvage", NULL});
    assert_non_null(strstr(process_errors(broker), "warn: lost: "));
    worker_start(store_endpoint(), "node1", 1);
    assert_int_equal(ladle_run(said, (const char *const[]){"jobs", NULL}), 0);
    process_kill(broker);
    store_broker(NULL); /* it is whole again */
}

static void
extra_two_brokers_on_one_store(void **state)
{
    struct process *first = store_broker(NULL), *second;
    char pid[64];

    (void)state;
    second = process(harness_binary("ladle-broker"), "--bind", "tcp://127.0.0.1:0", "--store",
                     store_directory());
    assert_int_equal(process_await(second, SOON), 1);
    snprintf(pid, sizeof(pid), "process %d on ", (int)first->pid);
    assert_non_null(strstr(process_errors(second), "in use by another broker"));
    assert_non_null(strstr(process_errors(second), pid));
    assert_int_equal(job_number("", "total"), -1); /* the first one serves on */
}

/* ---- row 16 --------------------------------------------------------------------------------- */

static void
fill_disk(const char *path)
{
    static char block[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    size_t size = sizeof(block);

    assert_true(fd >= 0);
    while (size > 0) {
        if (write(fd, block, size) < (ssize_t)size)
            size /= 2;
    }
    close(fd);
}

static results_t *
submit_gates(futures_t *f, const char *gate, int count, bool detached)
{
    struct iovec inputs[16];
    results_t *r;

    for (int i = 0; i < count; i++)
        inputs[i] = (struct iovec){(void *)(uintptr_t)gate, strlen(gate) + 1};
    r = futures_mapv(f, "gate", inputs, (size_t)count, &(task_options_t){.detached = detached});
    assert_non_null(r);
    return r;
}

static void
row_16_disk_full_rejects_and_recovers(void **state)
{
    char gate[512], ballast[512], id[33], other[33];
    struct process *broker;
    results_t *r;
    futures_t *f;
    future_t *u;
    long x = 5;

    (void)state;
    mkdir(store_directory(), 0700);
    if (mount("ladle", store_directory(), "tmpfs", 0, "size=4m") != 0) {
        print_message("no tmpfs may be mounted here: %s\n", strerror(errno));
        skip();
    }
    snprintf(gate, sizeof(gate), "%s", harness_path("gate"));
    snprintf(ballast, sizeof(ballast), "%s/ballast", store_directory());
    file_write(gate, "", 0, 0600);
    broker = store_broker(NULL);
    worker_start(store_endpoint(), "node1", 2);
    f = store_session();
    r = submit_gates(f, gate, 2, true);
    assert_non_null(results_job(r));
    snprintf(id, sizeof(id), "%s", results_job(r));
    fill_disk(ballast);

    /* What is submitted now is rejected, and says why. */
    u = futures_submit(f, "square", &x, sizeof(x), &(task_options_t){.detached = true});
    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(future_status(u), FUTURE_REJECTED);
    assert_non_null(strstr(future_error(u), "ENOSPC"));
    assert_null(future_job(u));
    assert_int_equal(errno, ENOSPC);
    future_destroy(&u);

    /* What runs ends; its outcome waits for room, and nobody is told what is not on disk. */
    unlink(gate);
    u = futures_submit(f, "square", &x, sizeof(x), NULL);
    assert_non_null(future_result(u, NULL)); /* others go on */
    future_destroy(&u);
    assert_int_equal(results_wait(r, 500), -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_false(process_ended(broker));
    unlink(ballast);
    assert_int_equal(results_wait(r, SOON), 0);
    results_destroy(&r);
    assert_int_equal(job_number(id, "done"), 2);
    submit_squares(f, 100, other);
    assert_squares(f, other, 100);

    /* And nothing is damaged. */
    process_kill(broker);
    broker = store_broker(NULL);
    assert_squares(f, other, 100);
    assert_int_equal(job_number(id, "done"), 2);
    futures_destroy(&f);
    process_kill(broker);
    assert_int_equal(umount2(store_directory(), MNT_DETACH), 0);
}

/* ---- row 17 --------------------------------------------------------------------------------- */

static void
row_17_fsync_fails_once(void **state)
{
    char preload[1024], variable[1024], trigger[512], id[33], other[33];
    struct process *broker;
    futures_t *f;
    results_t *r;
    long x = 7;

    (void)state;
    snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", LADLE_SHIM);
    snprintf(trigger, sizeof(trigger), "%s", harness_path("fail"));
    snprintf(variable, sizeof(variable), "LADLE_SHIM=%s", trigger);
    broker = store_broker_begin(NULL, (const char *const[]){preload, variable, NULL});
    store_broker_ready(broker);
    f = store_session();
    submit_squares(f, 1000, id);
    file_write(trigger, "", 0, 0600);
    r = futures_map(f, "square", &x, 1, sizeof(x), &(task_options_t){.detached = true});
    assert_non_null(r);
    assert_int_equal(process_await(broker, SOON), 1);
    assert_non_null(strstr(process_errors(broker), "cannot write to the store"));
    assert_true(access(trigger, F_OK) != 0); /* it did fail */
    broker = store_broker(NULL);
    worker_start(store_endpoint(), "node1", 1);
    /* What was accepted is there; what was not is told anew by its client. */
    assert_squares(f, id, 1000);
    assert_non_null(results_job(r));
    snprintf(other, sizeof(other), "%s", results_job(r));
    assert_int_equal(results_wait(r, SOON), 0);
    results_destroy(&r);
    assert_int_equal(job_number(other, "done"), 1);
    futures_destroy(&f);
}

/* ---- crash points --------------------------------------------------------------------------- */

/* True if the broker was killed at that step. */
static bool
crash_at(int step)
{
    char number[16], id[33], other[33];
    struct process *broker;
    bool killed;
    futures_t *f;
    results_t *r;
    long inputs[40];

    for (long i = 0; i < 40; i++)
        inputs[i] = i;
    snprintf(number, sizeof(number), "%d", step);
    broker = store_broker_begin((const char *const[]){"--crash-at", number, NULL}, NULL);
    await(process_ended(broker) || strstr(process_output(broker), ": ready") != NULL, SOON);
    if (process_ended(broker)) {
        store_broker(NULL);
        return true;
    }
    f = store_session();
    r = futures_map(f, "square", inputs, 40, sizeof(*inputs), &(task_options_t){.detached = true});
    assert_non_null(r);
    /* Until it is over, or the broker is killed; then another one goes on. */
    await(process_ended(broker) || results_wait(r, 20) == 0, 2 * SOON);
    await(process_ended(broker) || job_number("", "ended_s") > 0, 2 * SOON);
    killed = process_ended(broker);
    process_kill(broker); /* or it would be at a later step */
    store_broker(NULL);
    if (results_job(r) == NULL)
        fail_msg("step %d: %s", step, futures_error());
    snprintf(id, sizeof(id), "%s", results_job(r));
    assert_int_equal(results_wait(r, 2 * SOON), 0);
    results_destroy(&r);
    assert_squares(f, id, 40);
    assert_int_equal(job_number(id, "done"), 40);
    submit_squares(f, 5, other);
    assert_squares(f, other, 5);
    futures_destroy(&f);
    return killed;
}

static void
extra_every_crash_point_of_the_store(void **state)
{
    int step = 1;
    bool killed = true;

    (void)state;
    while (killed) {
        struct process *worker = process(harness_binary("ladle-worker"), "--broker",
                                         store_endpoint(), "--name", "node1", "--slots", "1");

        killed = crash_at(step++);
        process_kill(worker);
        /* Whoever serves now makes room for the next one, with a store of its own. */
        harness_teardown(NULL);
        harness_setup(NULL);
    }
    print_message("%d crash points\n", step - 2);
    assert_true(step > 10);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
    const struct CMUnitTest tests[] = {
        TEST(row_13_broker_killed_durable),
        TEST(row_14_torn_tail_is_told),
        TEST(row_15_damaged_store_is_refused_and_salvaged),
        TEST(extra_two_brokers_on_one_store),
        TEST(row_16_disk_full_rejects_and_recovers),
        TEST(row_17_fsync_fails_once),
        TEST(extra_every_crash_point_of_the_store),
    };

    if (getenv("LADLE_EXECUTOR") != NULL)
        (void)futures_new(NULL);
    if (argc > 1) /* one of them */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
