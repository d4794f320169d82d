/* Jobs that outlive their clients, and what programs and people do with them. */
#include "keeping.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char self[] = "/proc/self/exe";

static void
a_map_outlives_client_and_broker(void **state)
{
    const char *const *none = NULL;
    struct process *broker = store_broker(none), *client;
    char path[64], id[33] = "";
    futures_t *f;

    (void)state;
    assert_true(readlink(self, path, sizeof(path)) > 0);
    client = process_start((const char *const[]){self, "submit", store_endpoint(), NULL}, NULL);
    await(strlen(process_output(client)) >= 32, SOON);
    snprintf(id, sizeof(id), "%.32s", process_output(client));
    process_kill(client);
    process_kill(broker);
    broker = store_broker(none);
    worker_start(store_endpoint(), "node1", 2);
    f = store_session();
    assert_squares(f, id, 1000);
    process_kill(broker);
    store_broker(none);
    assert_squares(f, id, 1000); /* the same session; and again after another start */
    assert_int_equal(job_number(id, "done"), 1000);
    futures_destroy(&f);
}

static void
neither_handle_nor_session_cancels_it(void **state)
{
    char id[33];
    futures_t *f;

    (void)state;
    store_broker(NULL);
    f = store_session();
    submit_squares(f, 100, id);
    futures_destroy(&f);
    worker_start(store_endpoint(), "node1", 1);
    f = store_session();
    assert_squares(f, id, 100);
    futures_destroy(&f);
}

static void
a_session_that_ends_at_once_leaves_all_of_it_on_disk(void **state)
{
    long inputs[20000];
    results_t *r;
    futures_t *f;

    (void)state;
    for (long i = 0; i < 20000; i++)
        inputs[i] = i;
    store_broker(NULL);
    f = store_session();
    r = futures_map(f, "square", inputs, 20000, sizeof(*inputs),
                    &(task_options_t){.detached = true});
    assert_non_null(r);
    results_destroy(&r);
    futures_destroy(&f);
    assert_int_equal(job_number("", "total"), 20000);
}

/* More than is under way at once: those that found no room go on when there is. */
static void
many_jobs_at_once_all_reach_the_disk(void **state)
{
    enum { JOBS = 40, SIZE = 1 << 20 };
    char *input = calloc(1, SIZE);
    future_t *all[JOBS];
    futures_t *f;

    (void)state;
    assert_non_null(input);
    store_broker(NULL);
    f = store_session();
    for (int i = 0; i < JOBS; i++)
        all[i] = futures_submit(f, "square", input, SIZE, &(task_options_t){.detached = true});
    for (int i = 0; i < JOBS; i++) {
        assert_non_null(future_job(all[i]));
        future_destroy(&all[i]);
    }
    futures_destroy(&f);
    free(input);
}

static void
a_future_is_a_job_of_its_own(void **state)
{
    long x = 12;
    const long *y;
    future_t *u;
    futures_t *f;
    char id[33];

    (void)state;
    store_broker(NULL);
    worker_start(store_endpoint(), "node1", 1);
    f = store_session();
    u = futures_submit(f, "square", &x, sizeof(x), &(task_options_t){.detached = true});
    assert_non_null(u);
    assert_non_null(future_job(u));
    snprintf(id, sizeof(id), "%s", future_job(u));
    assert_non_null(y = future_result(u, NULL));
    assert_int_equal(*y, 144);
    future_destroy(&u);
    results_t *r = futures_attach(f, id, NULL);
    assert_non_null(r);
    assert_non_null(y = results_next(r, NULL));
    assert_int_equal(*y, 144);
    assert_null(results_next(r, NULL));
    assert_true(results_at_end(r));
    results_destroy(&r);
    u = futures_submit(f, "square", &x, sizeof(x), NULL);
    assert_null(future_job(u));
    assert_int_equal(errno, EINVAL);
    future_destroy(&u);
    futures_destroy(&f);
}

static void
the_submitting_session_has_the_results_too(void **state)
{
    long inputs[500], outputs[500];
    results_t *r;
    futures_t *f;

    (void)state;
    store_broker(NULL);
    worker_start(store_endpoint(), "node1", 2);
    f = store_session();
    for (long i = 0; i < 500; i++)
        inputs[i] = i;
    r = futures_map(f, "square", inputs, 500, sizeof(*inputs), &(task_options_t){.detached = true});
    assert_int_equal(results_collect(&r, outputs, sizeof(*outputs)), 0);
    for (long i = 0; i < 500; i++)
        assert_int_equal(outputs[i], i * i);
    futures_destroy(&f);
}

static void
results_come_to_who_attached_before_they_were_there(void **state)
{
    char id[33];
    futures_t *f;
    results_t *r;
    long n = 0;

    (void)state;
    store_broker(NULL);
    f = store_session();
    submit_squares(f, 50000, id);
    r = futures_attach(f, id, NULL);
    assert_non_null(r);
    assert_null(results_next_within(r, NULL, 50));
    assert_int_equal(errno, ETIMEDOUT);
    worker_start(store_endpoint(), "node1", 2);
    for (const long *x; (x = results_next_within(r, NULL, SOON)) != NULL; n++)
        assert_int_equal(*x, n * n);
    assert_int_equal(n, 50000);
    results_destroy(&r);
    futures_destroy(&f);
}

/* ---- refused -------------------------------------------------------------------------------- */

static void
without_a_store_it_is_rejected_with_advice(void **state)
{
    long x = 3;
    futures_t *f;
    future_t *u;

    (void)state;
    broker_start(store_endpoint(), NULL);
    f = store_session();
    u = futures_submit(f, "square", &x, sizeof(x), &(task_options_t){.detached = true});
    assert_non_null(u);
    assert_int_equal(future_wait(u, SOON), 0);
    assert_int_equal(future_status(u), FUTURE_REJECTED);
    assert_non_null(strstr(future_error(u), "--store PATH"));
    assert_null(future_job(u));
    assert_null(futures_attach(f, "00000000000000000000000000000000", NULL));
    assert_int_equal(errno, EINVAL);
    future_destroy(&u);
    futures_destroy(&f);
}

static void
a_local_pool_cannot_detach(void **state)
{
    futures_t *f = futures_new("local:1");
    long x = 3;

    (void)state;
    assert_non_null(f);
    assert_null(futures_submit(f, "square", &x, sizeof(x), &(task_options_t){.detached = true}));
    assert_int_equal(errno, EINVAL);
    assert_non_null(strstr(futures_error(), "--store"));
    assert_null(futures_map(f, "square", &x, 1, sizeof(x), &(task_options_t){.detached = true}));
    assert_null(futures_attach(f, "00000000000000000000000000000000", NULL));
    assert_int_equal(errno, EINVAL);
    futures_destroy(&f);
}

static void
unknown_ids_are_told(void **state)
{
    futures_t *f;

    (void)state;
    store_broker(NULL);
    f = store_session();
    assert_null(futures_attach(f, "00000000000000000000000000000000", NULL));
    assert_int_equal(errno, ENOENT);
    assert_null(futures_attach(f, "nonsense", NULL));
    assert_int_equal(errno, EINVAL);
    assert_null(futures_attach(f, NULL, NULL));
    assert_int_equal(errno, EINVAL);
    futures_destroy(&f);
}

static void
an_unknown_function_leaves_nothing_behind(void **state)
{
    futures_t *f;
    future_t *u;

    (void)state;
    store_broker(NULL);
    f = store_session();
    u = futures_submit(f, "nothing", "", 0, &(task_options_t){.detached = true});
    assert_non_null(u);
    assert_int_equal(future_status(u), FUTURE_REJECTED);
    assert_null(future_job(u));
    future_destroy(&u);
    futures_destroy(&f);
    assert_true(job_number("", "total") <= 0);
}

/* ---- people --------------------------------------------------------------------------------- */

static void
commands_know_jobs_by_the_beginning_of_their_ids(void **state)
{
    const char *said[2];
    char id[33], begin[9];
    futures_t *f;

    (void)state;
    store_broker(NULL);
    f = store_session();
    assert_int_equal(ladle_run(said, (const char *const[]){"jobs", NULL}), 0);
    assert_non_null(strstr(said[0], "keeps no jobs"));
    submit_squares(f, 10, id);
    snprintf(begin, sizeof(begin), "%.8s", id);
    assert_int_equal(ladle_run(said, (const char *const[]){"jobs", NULL}), 0);
    assert_non_null(strstr(said[0], id));
    assert_non_null(strstr(said[0], "open"));
    assert_int_equal(ladle_run(said, (const char *const[]){"wait", begin, "--timeout", "0", NULL}),
                     124);
    assert_non_null(strstr(said[1], "10 of 10 tasks have not ended"));
    worker_start(store_endpoint(), "node1", 1);
    assert_int_equal(ladle_run(said, (const char *const[]){"wait", begin, NULL}), 0);
    assert_int_equal(ladle_run(said, (const char *const[]){"result", begin, "--output",
                                                           harness_path("out"), NULL}),
                     0);
    long *squares;
    size_t size;
    assert_non_null(squares = (long *)(void *)file_read(harness_path("out"), &size));
    assert_int_equal(size, 10 * sizeof(long));
    for (long i = 0; i < 10; i++)
        assert_int_equal(squares[i], i * i);
    free(squares);
    assert_int_equal(ladle_run(said, (const char *const[]){"result", begin, "--index", "7",
                                                           "--output", harness_path("out"), NULL}),
                     0);
    assert_non_null(squares = (long *)(void *)file_read(harness_path("out"), &size));
    assert_int_equal(size, sizeof(long));
    assert_int_equal(squares[0], 49);
    free(squares);
    assert_int_equal(ladle_run(said, (const char *const[]){"wait", "feed", NULL}), 1);
    assert_non_null(strstr(said[1], "no job's id begins with \"feed\""));
    assert_int_equal(ladle_run(said, (const char *const[]){"cancel", begin, NULL}), 1);
    assert_non_null(strstr(said[1], "ended already"));
    futures_destroy(&f);
}

static results_t *
submit_paths(futures_t *f, const char *function, const char *path, int count, char id[33])
{
    struct iovec inputs[64];
    results_t *r;

    for (int i = 0; i < count; i++)
        inputs[i] = (struct iovec){(void *)(uintptr_t)path, strlen(path) + 1};
    r = futures_mapv(f, function, inputs, (size_t)count,
                     &(task_options_t){.detached = true, .retries = -1});
    assert_non_null(r);
    if (results_job(r) == NULL)
        fail_msg("%s", futures_error());
    snprintf(id, 33, "%s", results_job(r));
    return r;
}

struct gated { /* a detached job of eight tasks that may run once; two of them run */
    char id[33], path[512];
    struct process *broker, *worker;
    futures_t *session;
};

static void
start_gated(struct gated *g)
{
    struct iovec inputs[8];
    results_t *r;

    snprintf(g->path, sizeof(g->path), "%s", harness_path("gate"));
    file_write(g->path, "", 0, 0600);
    g->broker = store_broker(NULL);
    g->worker = worker_start(store_endpoint(), "node1", 2);
    g->session = store_session();
    for (int i = 0; i < 8; i++)
        inputs[i] = (struct iovec){g->path, strlen(g->path) + 1};
    r = futures_mapv(g->session, "gate", inputs, 8,
                     &(task_options_t){.detached = true, .once = true});
    assert_non_null(r);
    assert_non_null(results_job(r));
    snprintf(g->id, sizeof(g->id), "%s", results_job(r));
    await(status_worker(store_endpoint(), "node1", "busy") == 2, SOON);
    results_destroy(&r);
    process_kill(g->broker);
}

/* On disk is what may have begun. Workers bring what they have; the rest had not begun. */
static void
what_may_run_once_goes_on_after_its_broker(void **state)
{
    const char *said[2];
    struct gated g;

    (void)state;
    start_gated(&g);
    store_broker(NULL);
    await(status_number(store_endpoint(), "leases_adopted") == 2, SOON);
    unlink(g.path);
    assert_int_equal(ladle_run(said, (const char *const[]){"wait", g.id, NULL}), 0);
    assert_int_equal(job_number(g.id, "done"), 8);
    futures_destroy(&g.session);
}

/* Nobody brings them: they may have begun, and are lost. The others run. */
static void
what_may_run_once_and_may_have_begun_is_lost(void **state)
{
    const char *said[2];
    struct gated g;

    (void)state;
    start_gated(&g);
    process_kill(g.worker);
    unlink(g.path);
    store_broker(NULL);
    worker_start(store_endpoint(), "node2", 2);
    assert_int_equal(ladle_run(said, (const char *const[]){"wait", g.id, NULL}), 1);
    assert_int_equal(job_number(g.id, "done"), 6);
    assert_int_equal(job_number(g.id, "failed"), 2);
    futures_destroy(&g.session);
}

static void
cancelling_is_for_good(void **state)
{
    char id[33], path[512];
    const char *said[2];
    struct process *broker;
    results_t *r;
    futures_t *f;

    (void)state;
    snprintf(path, sizeof(path), "%s", harness_path("gate"));
    file_write(path, "", 0, 0600);
    broker = store_broker(NULL);
    worker_start(store_endpoint(), "node1", 2);
    f = store_session();
    r = submit_paths(f, "gate", path, 20, id);
    assert_int_equal(ladle_run(said, (const char *const[]){"cancel", id, NULL}), 0);
    assert_int_equal(results_wait(r, SOON), 0);
    results_destroy(&r);
    assert_int_equal(job_number(id, "cancelled"), 20);
    process_kill(broker);
    store_broker(NULL);
    assert_int_equal(job_number(id, "cancelled"), 20);
    assert_int_equal(ladle_run(said, (const char *const[]){"wait", id, NULL}), 1);
    assert_int_equal(ladle_run(said, (const char *const[]){"retry-failed", id, NULL}), 1);
    assert_non_null(strstr(said[1], "it was cancelled"));
    unlink(path);
    futures_destroy(&f);
}

static void
a_handle_can_cancel_it(void **state)
{
    char id[33], path[512];
    results_t *r;
    futures_t *f;

    (void)state;
    snprintf(path, sizeof(path), "%s", harness_path("gate"));
    file_write(path, "", 0, 0600);
    store_broker(NULL);
    worker_start(store_endpoint(), "node1", 1);
    f = store_session();
    r = submit_paths(f, "gate", path, 5, id);
    results_cancel(r);
    results_destroy(&r);
    await(job_number(id, "cancelled") == 5, SOON);
    unlink(path);
    futures_destroy(&f);
}

static void
a_failure_whose_input_only_the_store_has_is_told_like_any_other(void **state)
{
    const char *in_the_way = harness_path("in-the-way");
    results_t *r;
    futures_t *f;
    char id[33];

    (void)state;
    setenv("LADLE_REPLAY_DIR", harness_path("replays"), 1);
    file_write(in_the_way, "", 0, 0600);
    store_broker(NULL);
    f = futures_open(/* not quiet: it keeps what failed */
                     &(futures_config_t){.endpoint = store_endpoint(), .connect_timeout = SOON});
    assert_non_null(f);
    r = futures_map(f, "blocked", in_the_way, 1, strlen(in_the_way) + 1,
                    &(task_options_t){.detached = true});
    assert_non_null(results_job(r)); /* it is there: the inputs go */
    snprintf(id, sizeof(id), "%s", results_job(r));
    worker_start(store_endpoint(), "node1", 1);
    assert_null(results_next(r, NULL));
    assert_int_equal(results_status(r), FUTURE_FAILED);
    assert_non_null(strstr(results_error(r), "is in the way"));
    results_destroy(&r);
    r = futures_attach(f, id, NULL);
    assert_null(results_next(r, NULL));
    assert_int_equal(results_status(r), FUTURE_FAILED);
    assert_null(strstr(results_error(r), "replay"));
    results_destroy(&r);
    futures_destroy(&f);
}

static void
what_failed_runs_once_more(void **state)
{
    char id[33], path[512];
    const char *said[2];
    struct process *broker;
    results_t *r;
    futures_t *f;
    int n = 0;

    (void)state;
    snprintf(path, sizeof(path), "%s", harness_path("obstacle"));
    file_write(path, "", 0, 0600);
    broker = store_broker(NULL);
    worker_start(store_endpoint(), "node1", 1);
    f = store_session();
    r = submit_paths(f, "blocked", path, 10, id);
    results_destroy(&r);
    assert_int_equal(ladle_run(said, (const char *const[]){"wait", id, NULL}), 1);
    assert_int_equal(job_number(id, "failed"), 10);
    unlink(path);
    process_kill(broker); /* the inputs of failed tasks are on disk */
    broker = store_broker(NULL);
    assert_int_equal(ladle_run(said, (const char *const[]){"retry-failed", id, NULL}), 0);
    assert_non_null(strstr(said[0], "10 tasks run once more"));
    process_kill(broker); /* and so is what was asked for */
    store_broker(NULL);
    assert_int_equal(ladle_run(said, (const char *const[]){"wait", id, NULL}), 0);
    r = futures_attach(f, id, NULL);
    assert_non_null(r);
    while (results_next_within(r, NULL, SOON) != NULL)
        n++;
    assert_true(results_at_end(r));
    assert_int_equal(n, 10);
    assert_int_equal(job_number(id, "failed"), 0);
    results_destroy(&r);
    assert_int_equal(ladle_run(said, (const char *const[]){"retry-failed", id, NULL}), 1);
    assert_non_null(strstr(said[1], "none of its tasks failed"));
    futures_destroy(&f);
}

static void
results_expire_with_a_word(void **state)
{
    const char *said[2];
    struct process *broker;
    char id[33], words[64], programs[512];
    futures_t *f;

    (void)state;
    broker = store_broker((const char *const[]){"--keep-results", "1s", NULL});
    worker_start(store_endpoint(), "node1", 1);
    f = store_session();
    submit_squares(f, 10, id);
    snprintf(words, sizeof(words), "job %s (square, 10 tasks) expires", id);
    await(process_wrote(broker, words), SOON);
    assert_int_equal(ladle_run(said, (const char *const[]){"wait", id, NULL}), 1);
    assert_null(futures_attach(f, id, NULL));
    assert_int_equal(errno, ENOENT);
    snprintf(programs, sizeof(programs), "%s/programs", store_directory());
    await(directory_entries(programs) == 0, SOON);
    futures_destroy(&f);
}

static void
the_oldest_results_go_when_the_store_is_large(void **state)
{
    struct process *broker;
    char first[33], last[33];
    futures_t *f;

    (void)state;
    broker = store_broker((const char *const[]){"--store-size", "1M", NULL});
    worker_start(store_endpoint(), "node1", 1);
    f = store_session();
    submit_squares(f, 60000, first);
    assert_squares(f, first, 60000);
    submit_squares(f, 100000, last);
    await(process_wrote(broker, "(--store-size)"), SOON);
    assert_null(futures_attach(f, first, NULL));
    assert_squares(f, last, 100000);
    futures_destroy(&f);
}

/* ---- main ----------------------------------------------------------------------------------- */

/* The client that is killed. */
static int
submit_and_stay(const char *endpoint)
{
    futures_t *f = futures_new(endpoint);
    long inputs[1000];
    results_t *r;

    for (long i = 0; i < 1000; i++)
        inputs[i] = i;
    r = futures_map(f, "square", inputs, 1000, sizeof(*inputs),
                    &(task_options_t){.detached = true});
    if (r == NULL || results_job(r) == NULL)
        return 1;
    puts(results_job(r));
    fflush(stdout);
    for (;;)
        pause();
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_setup, harness_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_map_outlives_client_and_broker),
        TEST(neither_handle_nor_session_cancels_it),
        TEST(a_session_that_ends_at_once_leaves_all_of_it_on_disk),
        TEST(many_jobs_at_once_all_reach_the_disk),
        TEST(a_future_is_a_job_of_its_own),
        TEST(the_submitting_session_has_the_results_too),
        TEST(results_come_to_who_attached_before_they_were_there),
        TEST(without_a_store_it_is_rejected_with_advice),
        TEST(a_local_pool_cannot_detach),
        TEST(unknown_ids_are_told),
        TEST(an_unknown_function_leaves_nothing_behind),
        TEST(commands_know_jobs_by_the_beginning_of_their_ids),
        TEST(what_may_run_once_goes_on_after_its_broker),
        TEST(what_may_run_once_and_may_have_begun_is_lost),
        TEST(cancelling_is_for_good),
        TEST(a_handle_can_cancel_it),
        TEST(a_failure_whose_input_only_the_store_has_is_told_like_any_other),
        TEST(what_failed_runs_once_more),
        TEST(results_expire_with_a_word),
        TEST(the_oldest_results_go_when_the_store_is_large),
    };

    if (getenv("LADLE_EXECUTOR") != NULL)
        (void)futures_new(NULL);
    if (argc == 3 && strcmp(argv[1], "submit") == 0)
        return submit_and_stay(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
