/* Shared constants on their way: how often they cross the wire, where they are kept, and when they
 * are let go. */
#include "gauge.h"
#include "harness.h"
#include "talker.h"

#include <ladle.h>

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB (1u << 20)

/* ---- tasks ------------------------------------------------------------------------------------
 */

struct sight { /* of the constant "table" */
    int pid;
    int error;
    uint64_t size, probes; /* a byte of each page, mixed */
    unsigned long long inode, device;
};

static uint64_t
probe(const unsigned char *table, size_t size)
{
    uint64_t sum = size;

    for (size_t i = 0; i < size; i += 4096)
        sum = (sum ^ table[i]) * 1099511628211u;
    return sum;
}

/* Which file is mapped at `at`? */
static void
find_file(const void *at, struct sight *sight)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long long from, to, inode;
    unsigned major, minor;
    char line[PATH_MAX + 200];

    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%llx-%llx %*s %*x %x:%x %llu", &from, &to, &major, &minor, &inode) != 5 ||
            (unsigned long long)(uintptr_t)at < from || (unsigned long long)(uintptr_t)at >= to)
            continue;
        sight->inode = inode;
        sight->device = (unsigned long long)major << 32 | minor;
    }
    if (maps != NULL)
        fclose(maps);
}

/* The input says for how many ms it is looked at. */
static int
look(task_t *task)
{
    struct sight sight = {.pid = getpid()};
    const void *table;
    size_t size;
    int ms = 0;

    (void)task_read(task, &ms, sizeof(ms));
    if ((table = task_shared(task, "table", &size)) == NULL) {
        sight.error = errno;
    } else {
        sight.size = size;
        sight.probes = probe(table, size);
        find_file(table, &sight);
    }
    usleep((unsigned)ms * 1000);
    return task_return(task, &sight, sizeof(sight));
}
TASK(look)

/* ---- what tests do ----------------------------------------------------------------------------
 */

static char endpoint[256];
static struct process *broker;

static int
setup(void **state)
{
    if (harness_setup(state) != 0)
        return -1;
    broker = broker_start("tcp://127.0.0.1:0", endpoint);
    return 0;
}

/* A worker that speaks through a gauge, by which nobody else can speak then. */
static struct process *
start_worker(const char *where, const char *name)
{
    char directory[64];
    struct process *p;

    snprintf(directory, sizeof(directory), "worker-%s", name);
    p = process(harness_binary("ladle-worker"), "--broker", where, "--name", name, "--slots", "1",
                "--directory", harness_path(directory));
    await(status_worker(endpoint, name, "slots") == 1, SOON);
    return p;
}

static futures_t *
session(const char *where)
{
    futures_t *f =
        futures_open(&(futures_config_t){.endpoint = where, .quiet = true, .lost_timeout = -1});

    if (f == NULL)
        print_error("%s\n", futures_error());
    assert_non_null(f);
    return f;
}

static unsigned char *
table_of(size_t size, unsigned seed)
{
    unsigned char *table = malloc(size);

    assert_non_null(table);
    for (size_t i = 0; i < size; i++)
        table[i] = (unsigned char)((seed = seed * 1664525 + 1013904223) >> 24);
    return table;
}

static results_t *
look_often(futures_t *f, int count, int ms)
{
    int *inputs = malloc((size_t)count * sizeof(*inputs));
    results_t *r;

    assert_non_null(inputs);
    for (int i = 0; i < count; i++)
        inputs[i] = ms;
    r = futures_map(f, "look", inputs, (size_t)count, sizeof(*inputs), NULL);
    assert_non_null(r);
    free(inputs);
    return r;
}

/* All of them saw the table (NULL: none), and each worker's executors the same copy of it. How many
 * executors there were. */
static int
assert_all_saw(results_t *r, const unsigned char *table, size_t size, int copies)
{
    uint64_t right = table == NULL ? 0 : probe(table, size);
    unsigned long long inodes[16];
    int pids[64], npids = 0, ninodes = 0, i;
    const struct sight *sight;

    while ((sight = results_next(r, NULL)) != NULL) {
        assert_int_equal(sight->error, table == NULL ? ENOENT : 0);
        assert_int_equal(sight->size, size);
        assert_int_equal(sight->probes, right);
        for (i = 0; i < npids && pids[i] != sight->pid; i++)
            ;
        if (i == npids && npids < 64)
            pids[npids++] = sight->pid;
        for (i = 0; i < ninodes && inodes[i] != sight->inode; i++)
            ;
        if (i == ninodes && ninodes < 16)
            inodes[ninodes++] = sight->inode;
    }
    if (results_error(r) != NULL)
        print_error("%s\n", results_error(r));
    assert_true(results_at_end(r));
    assert_int_equal(ninodes, copies);
    results_destroy(&r);
    return npids;
}

/* Constants that a worker keeps. */
static int
kept(const char *worker)
{
    char name[256];
    const struct dirent *entry;
    int n = 0;
    DIR *dir;

    snprintf(name, sizeof(name), "worker-%s/programs", worker);
    if ((dir = opendir(harness_path(name))) == NULL)
        return 0;
    while ((entry = readdir(dir)) != NULL)
        n += strncmp(entry->d_name, "shared.", 7) == 0;
    closedir(dir);
    return n;
}

/* How often this process, or `pid`, has the memory of a constant, open or mapped. */
static int
copies_held(pid_t pid)
{
    char path[300], target[300];
    const struct dirent *entry;
    int n = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/map_files", pid);
    for (int i = 0; i < 2; i++) {
        dir = opendir(path);
        while (dir != NULL && (entry = readdir(dir)) != NULL) {
            ssize_t length;
            char link[600];

            snprintf(link, sizeof(link), "%s/%s", path, entry->d_name);
            if ((length = readlink(link, target, sizeof(target) - 1)) < 0)
                continue;
            target[length] = '\0';
            n += strstr(target, "ladle-shared") != NULL;
        }
        if (dir != NULL)
            closedir(dir);
        snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    }
    return n;
}

/* ---- the local pool ---------------------------------------------------------------------------
 */

static void
executors_of_a_pool_map_one_copy(void **state)
{
    unsigned char *table = table_of(8 * MIB + 5, 1);
    futures_t *f = session("local:3");
    results_t *r;

    (void)state;
    assert_int_equal(copies_held(getpid()), 0);
    assert_int_equal(futures_share(f, "table", table, 8 * MIB + 5), 0);
    assert_int_equal(copies_held(getpid()), 1);
    r = look_often(f, 30, 5);
    assert_int_equal(assert_all_saw(r, table, 8 * MIB + 5, 1), 3);
    assert_int_equal(futures_unshare(f, "table"), 0);
    await(copies_held(getpid()) == 0, SOON);
    (void)assert_all_saw(look_often(f, 3, 5), NULL, 0, 1);
    futures_destroy(&f);
    free(table);
}

static void
executors_of_a_pool_let_go_with_the_last_job(void **state)
{
    unsigned char *table = table_of(MIB, 1);
    futures_t *f = session("local:1");
    const struct sight *sight;
    future_t *u;
    int ms = 0, pid;

    (void)state;
    assert_int_equal(futures_share(f, "table", table, MIB), 0);
    assert_non_null(u = futures_submit(f, "look", &ms, sizeof(ms), NULL));
    assert_non_null(sight = future_result(u, NULL));
    assert_int_equal(sight->size, MIB);
    pid = sight->pid;
    await(copies_held(pid) == 1, SOON); /* the next submit may join the job */
    assert_int_equal(futures_unshare(f, "table"), 0);
    await(copies_held(pid) == 0, SOON); /* though the future is still there */
    await(copies_held(getpid()) == 0, SOON);
    future_destroy(&u);
    futures_destroy(&f);
    free(table);
}

/* ---- a grid -----------------------------------------------------------------------------------
 */

static size_t
large(void)
{
    const char *mib = getenv("LADLE_SHARED_MIB"); /* more by hand */

    return (mib != NULL ? (size_t)atoi(mib) : 16) * MIB + 12345;
}

static void
constant_crosses_the_wire_once_for_each_worker(void **state)
{
    unsigned char *table = table_of(large(), 1);
    uint64_t before[2], passed[2];
    struct gauge *gauges[2];
    char own[2][64];
    futures_t *f;
    int64_t since;

    (void)state;
    for (int i = 0; i < 2; i++) {
        gauges[i] = gauge_new(endpoint, own[i]);
        start_worker(own[i], i == 0 ? "one" : "two");
    }
    f = session(endpoint);
    (void)assert_all_saw(look_often(f, 40, 5), NULL, 0, 1); /* the program is there */
    before[0] = gauge_down(gauges[0]);
    before[1] = gauge_down(gauges[1]);
    assert_int_equal(futures_share(f, "table", table, large()), 0);
    since = harness_now();
    (void)assert_all_saw(look_often(f, 1000, 1), table, large(), 2);
    print_message("%zu MiB to 2 workers, and 1,000 tasks: %lld ms\n", large() / MIB,
                  (long long)(harness_now() - since));
    for (int i = 0; i < 2; i++) {
        passed[i] = gauge_down(gauges[i]) - before[i];
        assert_in_range(passed[i], large(), large() + MIB);
    }
    assert_int_equal(kept("one"), 1);
    assert_int_equal(kept("two"), 1);

    /* Later jobs find it there, under whatever name. */
    assert_int_equal(futures_share(f, "other", table, large()), 0);
    assert_int_equal(futures_unshare(f, "table"), 0);
    assert_int_equal(futures_share(f, "table", table, large()), 0);
    (void)assert_all_saw(look_often(f, 1000, 1), table, large(), 2);
    for (int i = 0; i < 2; i++)
        assert_in_range(gauge_down(gauges[i]) - before[i], passed[i], passed[i] + MIB);

    assert_int_equal(futures_unshare(f, "other"), 0);
    assert_int_equal(kept("one"), 1);
    assert_int_equal(futures_unshare(f, "table"), 0);
    await(kept("one") == 0 && kept("two") == 0, SOON);
    (void)assert_all_saw(look_often(f, 10, 1), NULL, 0, 1);
    futures_destroy(&f);
    gauge_free(gauges[0]);
    gauge_free(gauges[1]);
    free(table);
}

static void
constant_is_let_go_when_its_client_has_gone(void **state)
{
    unsigned char *table = table_of(MIB, 1);
    futures_t *f, *g;

    (void)state;
    worker_start(endpoint, "one", 2);
    f = session(endpoint);
    g = session(endpoint);
    assert_int_equal(futures_share(f, "table", table, MIB), 0);
    assert_int_equal(futures_share(g, "table", table, MIB), 0);
    (void)assert_all_saw(look_often(f, 10, 1), table, MIB, 1);
    (void)assert_all_saw(look_often(g, 10, 1), table, MIB, 1);
    futures_destroy(&f);
    (void)assert_all_saw(look_often(g, 10, 1), table, MIB, 1);
    assert_int_equal(kept("one"), 1);
    futures_destroy(&g);
    await(kept("one") == 0, SOON);
    free(table);
}

static void
worker_that_dies_while_a_constant_comes_costs_nothing_else(void **state)
{
    unsigned char *table = table_of(64 * MIB, 1);
    struct process *one;
    futures_t *f;
    results_t *r;
    int before;

    (void)state;
    one = worker_start(endpoint, "one", 1);
    f = session(endpoint);
    (void)assert_all_saw(look_often(f, 5, 1), NULL, 0, 1);
    before = directory_entries(harness_path("worker-one/programs"));
    assert_int_equal(futures_share(f, "table", table, 64 * MIB), 0);
    r = look_often(f, 50, 1);
    await(directory_entries(harness_path("worker-one/programs")) > before, SOON);
    process_kill(one);
    worker_start(endpoint, "two", 1);
    (void)assert_all_saw(r, table, 64 * MIB, 1);
    futures_destroy(&f);
    free(table);
}

static void
broker_that_comes_back_asks_workers_for_nothing_twice(void **state)
{
    unsigned char *table = table_of(4 * MIB, 1);
    struct gauge *gauge;
    uint64_t before;
    char own[64];
    futures_t *f;
    results_t *r;

    (void)state;
    gauge = gauge_new(endpoint, own);
    start_worker(own, "one");
    f = session(endpoint);
    assert_int_equal(futures_share(f, "table", table, 4 * MIB), 0);
    (void)assert_all_saw(look_often(f, 10, 1), table, 4 * MIB, 1);
    before = gauge_down(gauge);
    r = look_often(f, 100, 20);
    process_kill(broker);
    broker = broker_start(endpoint, endpoint);
    (void)assert_all_saw(r, table, 4 * MIB, 1);
    /* It was told that jobs to come may need it, too. */
    (void)assert_all_saw(look_often(f, 10, 1), table, 4 * MIB, 1);
    assert_true(gauge_down(gauge) - before < MIB);
    assert_int_equal(futures_unshare(f, "table"), 0);
    await(kept("one") == 0, SOON);
    futures_destroy(&f);
    gauge_free(gauge);
    free(table);
}

static void
worker_that_starts_again_finds_what_it_had(void **state)
{
    unsigned char *table = table_of(12 * MIB, 1);
    struct process *worker;
    struct gauge *gauge;
    uint64_t before;
    char own[64];
    futures_t *f;

    (void)state;
    gauge = gauge_new(endpoint, own);
    worker = start_worker(own, "one");
    f = session(endpoint);
    assert_int_equal(futures_share(f, "table", table, 12 * MIB), 0);
    (void)assert_all_saw(look_often(f, 10, 1), table, 12 * MIB, 1);
    process_kill(worker);
    await(status_number(endpoint, "workers_connected") == 0, SOON);
    before = gauge_down(gauge);
    start_worker(own, "one");
    (void)assert_all_saw(look_often(f, 10, 1), table, 12 * MIB, 1);
    assert_true(gauge_down(gauge) - before < MIB);
    futures_destroy(&f);
    gauge_free(gauge);
    free(table);
}

static void
wrong_bytes_hurt_only_the_jobs_of_those_who_sent_them(void **state)
{
    char digest[65], directory[PATH_MAX];
    struct shared shared = {.name = "table", .size = 7, .path = "/etc/passwd"};
    struct spec spec = {.program = {.name = "tool", .machine = "", .arguments = ""},
                        .function = "f",
                        .cpus = 1,
                        .shared = &shared,
                        .nshared = 1};
    struct message m = {.type = MESSAGE_JOB, .job = {.job = 1}};
    unsigned char *table = table_of(MIB, 1);
    const struct message *answer;
    struct talker *hostile;
    struct blob *data;
    futures_t *f;

    (void)state;
    memset(digest, '7', 64);
    digest[64] = '\0';
    memcpy(shared.digest, digest, sizeof(digest));
    snprintf(directory, sizeof(directory), "%s", harness_path("worker-one"));
    process(harness_binary("ladle-worker"), "--broker", endpoint, "--name", "one", "--slots", "2",
            "--directory", directory, "--program", "tool=/bin/false");
    f = session(endpoint);
    assert_int_equal(futures_wait_for_slots(f, 2, SOON), 0);
    assert_int_equal(futures_share(f, "table", table, MIB), 0);
    (void)assert_all_saw(look_often(f, 10, 1), table, MIB, 1);

    hostile = talker_new(endpoint);
    talker_join(hostile, ROLE_CLIENT, "hostile", 0);
    m.job.spec = spec_new(&spec);
    talker_send(hostile, &m);
    spec_unref(m.job.spec);
    data = blob_copy("garbage", 7);
    m = (struct message){
        .type = MESSAGE_INPUTS,
        .inputs = {.job = 1, .columns = {.count = 1, .data = data, .size = 7, .length = 7}}};
    talker_send(hostile, &m);
    assert_non_null(talker_await(hostile, MESSAGE_PROGRAM_WANTED, SOON));
    m = (struct message){
        .type = MESSAGE_PROGRAM_PART,
        .program_part = {.digest = digest,
                         .size = 7,
                         .text = "",
                         .columns = {.count = 1, .data = data, .size = 7, .length = 7}}};
    talker_send(hostile, &m);
    assert_non_null(answer = talker_await(hostile, MESSAGE_ENDED, SOON));
    assert_int_equal(answer->ended.outcome, OUTCOME_REJECTED);
    assert_non_null(strstr(answer->ended.text, "constant 'table' came damaged"));
    assert_int_equal(kept("one"), 1);
    (void)assert_all_saw(look_often(f, 10, 1), table, MIB, 1);
    blob_unref(data);
    talker_free(hostile);
    futures_destroy(&f);
    free(table);
}

static void
constant_without_room_is_told_in_words(void **state)
{
    unsigned char *table = table_of(12 * MIB, 1);
    char directory[PATH_MAX];
    future_t *u;
    futures_t *f;
    int ms = 0;

    (void)state;
    snprintf(directory, sizeof(directory), "%s", harness_path("worker-one"));
    process(harness_binary("ladle-worker"), "--broker", endpoint, "--name", "one", "--slots", "1",
            "--directory", directory, "--cache-size", "11M");
    f = session(endpoint);
    assert_int_equal(futures_wait_for_slots(f, 1, SOON), 0);
    assert_int_equal(futures_share(f, "table", table, 12 * MIB), 0);
    assert_non_null(u = futures_submit(f, "look", &ms, sizeof(ms), NULL));
    assert_null(future_result(u, NULL));
    assert_int_equal(future_status(u), FUTURE_REJECTED);
    assert_non_null(strstr(future_error(u), "constant 'table' has 13 MiB"));
    assert_non_null(strstr(future_error(u), "--cache-size"));
    future_destroy(&u);
    assert_int_equal(futures_unshare(f, "table"), 0);
    (void)assert_all_saw(look_often(f, 10, 1), NULL, 0, 1); /* the same program */
    worker_start(endpoint, "two", 1);
    assert_int_equal(futures_share(f, "table", table, 12 * MIB), 0);
    (void)assert_all_saw(look_often(f, 10, 1), table, 12 * MIB, 1); /* where there is room */
    futures_destroy(&f);
    free(table);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, harness_teardown)

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(executors_of_a_pool_map_one_copy),
        TEST(executors_of_a_pool_let_go_with_the_last_job),
        TEST(constant_crosses_the_wire_once_for_each_worker),
        TEST(constant_is_let_go_when_its_client_has_gone),
        TEST(worker_that_dies_while_a_constant_comes_costs_nothing_else),
        TEST(broker_that_comes_back_asks_workers_for_nothing_twice),
        TEST(worker_that_starts_again_finds_what_it_had),
        TEST(wrong_bytes_hurt_only_the_jobs_of_those_who_sent_them),
        TEST(constant_without_room_is_told_in_words),
    };
    futures_t *barrier = futures_new("serial"); /* executors go no further */

    futures_destroy(&barrier);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
