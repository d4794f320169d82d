/* Sessions. */
#include "client.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static void
a_bad_endpoint_is_refused(void **state)
{
    static const char *const bad[] = {"local:0",  "local:x", "local:3x",
                                      "http://x", "tcp://",  "nonsense"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        errno = 0;
        assert_null(futures_new(bad[i]));
        assert_int_equal(errno, EINVAL);
        assert_true(strlen(futures_error()) > 10);
    }
    assert_null(futures_open(&(futures_config_t){.endpoint = "local", .slots = -1}));
    assert_int_equal(errno, EINVAL);
    assert_null(futures_open(&(futures_config_t){.endpoint = "serial", .program = "other"}));
    assert_int_equal(errno, EINVAL);
}

static void
a_broker_that_does_not_answer_is_told(void **state)
{
    (void)state;
    assert_null(
        futures_open(&(futures_config_t){.endpoint = "tcp://127.0.0.1:1", .connect_timeout = 200}));
    assert_int_equal(errno, ETIMEDOUT);
    assert_non_null(strstr(futures_error(), "tcp://127.0.0.1:1"));
}

static void
no_session_is_an_error_and_no_crash(void **state)
{
    future_t *list[1] = {NULL};
    futures_t *none = NULL;
    size_t count = 1;

    (void)state;
    assert_null(futures_submit(NULL, "square", "x", 1, NULL));
    assert_int_equal(errno, EINVAL);
    assert_null(futures_map(NULL, "square", "x", 1, 1, NULL));
    assert_null(futures_mapv(NULL, "square", NULL, 0, NULL));
    assert_null(futures_imap(NULL, "square", NULL, NULL, NULL));
    assert_int_equal(futures_call(NULL, "square", "x", 1, NULL, NULL, NULL), -1);
    assert_int_equal(futures_join(NULL, 0), -1);
    assert_int_equal(futures_slots(NULL), -1);
    assert_int_equal(futures_workers(NULL), -1);
    assert_int_equal(futures_fd(NULL), -1);
    assert_int_equal(futures_dispatch(NULL), -1);
    assert_int_equal(futures_wait_for_slots(NULL, 1, 0), -1);
    futures_close(NULL);
    futures_terminate(NULL);
    futures_destroy(NULL);
    futures_destroy(&none);
    future_destroy(NULL);
    future_destroy(&list[0]);
    results_destroy(NULL);
    assert_null(future_result(NULL, NULL));
    assert_null(future_error(NULL));
    assert_false(future_done(NULL));
    assert_int_equal(future_wait(NULL, 0), -1);
    assert_int_equal(future_cancel(NULL), -1);
    assert_int_equal(future_on_done(NULL, NULL, NULL), -1);
    assert_null(results_next(NULL, NULL));
    assert_int_equal(results_wait(NULL, 0), -1);
    assert_int_equal(results_collect(NULL, NULL, 0), -1);
    assert_int_equal(futures_wait(list, 1, ALL_COMPLETED, 0), -1);
    assert_int_equal(errno, EINVAL);
    assert_null(futures_next(list, &count, 0));
    assert_int_equal(errno, EINVAL);
}

static void
slots_and_workers_are_known(void **state)
{
    futures_t *f = *state;

    assert_true(futures_slots(f) >= 1);
    assert_true(futures_workers(f) >= 1);
    if (strcmp(endpoint, "local:2") == 0)
        assert_int_equal(futures_slots(f), 2);
    assert_int_equal(futures_wait_for_slots(f, 1, SOON), 0);
    assert_int_equal(futures_wait_for_slots(f, 1000000, 50), -1);
    assert_true(errno == (strchr(endpoint, '/') != NULL ? ETIMEDOUT : EINVAL));
}

static void
a_closed_session_finishes_what_it_has(void **state)
{
    futures_t *f = *state;
    double x = 3;
    future_t *u = futures_submit(f, "square", &x, sizeof(x), NULL);

    futures_close(f);
    assert_null(futures_submit(f, "square", &x, sizeof(x), NULL));
    assert_int_equal(errno, ESHUTDOWN);
    assert_null(futures_map(f, "square", &x, 1, sizeof(x), NULL));
    assert_int_equal(errno, ESHUTDOWN);
    assert_true(*(const double *)future_result(u, NULL) == 9);
    future_destroy(&u);
}

static void
join_waits_for_all(void **state)
{
    futures_t *f = *state;
    future_t *u[20];

    for (int i = 0; i < 20; i++)
        u[i] = submit_int(f, "even", i, NULL);
    assert_int_equal(futures_join(f, SOON), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(future_status(u[i]), i % 2 == 0 ? FUTURE_DONE : FUTURE_FAILED);
        future_destroy(&u[i]);
    }
}

static void
join_gives_up_in_time(void **state)
{
    futures_t *f = *state;
    future_t *u = submit_int(f, "linger", serial ? 50 : SOON, NULL);

    assert_int_equal(futures_join(f, 0), -1);
    assert_int_equal(errno, ETIMEDOUT);
    future_destroy(&u);
}

static void
terminate_cancels_all(void **state)
{
    futures_t *f = *state;
    future_t *u[10];

    for (int i = 0; i < 10; i++)
        u[i] = submit_int(f, "linger", SOON, NULL);
    futures_terminate(f);
    for (int i = 0; i < 10; i++) {
        assert_null(future_result(u[i], NULL));
        assert_int_equal(errno, ECANCELED);
        assert_true(future_cancelled(u[i]));
        future_destroy(&u[i]);
    }
    assert_null(futures_submit(f, "echo", NULL, 0, NULL));
    assert_int_equal(errno, ESHUTDOWN);
}

static void
results_outlive_their_session(void **state)
{
    futures_t *f = open_one();
    double x[2] = {2, 3};
    future_t *done = futures_submit(f, "square", x, sizeof(*x), NULL);
    future_t *undone = submit_int(f, "linger", SOON, NULL);
    results_t *r = futures_map(f, "square", x, 2, sizeof(*x), NULL);
    const double *y;

    (void)state;
    assert_int_equal(future_wait(done, SOON), 0);
    if (serial)
        assert_int_equal(results_wait(r, 0), -1);
    futures_destroy(&f);
    assert_non_null(y = future_result(done, NULL));
    assert_true(*y == 4);
    assert_null(future_result(undone, NULL));
    assert_int_equal(future_status(undone), FUTURE_CANCELLED);
    for (int i = 0; i < 2; i++)
        if ((y = results_next(r, NULL)) == NULL)
            assert_int_equal(results_status(r), FUTURE_CANCELLED);
    assert_null(results_next(r, NULL));
    assert_true(results_at_end(r));
    future_destroy(&done);
    future_destroy(&undone);
    results_destroy(&r);
}

static void
many_sessions_come_and_go(void **state)
{
    double x = 5;

    (void)state;
    for (int i = 0; i < 10; i++) {
        futures_t *f = open_one();
        future_t *u = futures_submit(f, "square", &x, sizeof(x), NULL);

        if (i % 2 == 0)
            assert_true(*(const double *)future_result(u, NULL) == 25);
        futures_destroy(&f);
        future_destroy(&u);
    }
}

static void
a_forked_child_has_no_session(void **state)
{
    futures_t *f = *state;
    double x = 2;
    future_t *u = futures_submit(f, "square", &x, sizeof(x), NULL);
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        bool right = futures_submit(f, "square", &x, sizeof(x), NULL) == NULL && errno == EINVAL &&
                     strstr(futures_error(), "fork") != NULL && future_result(u, NULL) == NULL;

        future_destroy(&u);
        futures_destroy(&f);
        _exit(right ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(*(const double *)future_result(u, NULL) == 4);
    future_destroy(&u);
}

static void
count_call(future_t *future, void *arg)
{
    assert_true(future_done(future));
    ++*(int *)arg;
}

static void
an_event_loop_is_told_what_ended(void **state)
{
    futures_t *f = *state;
    struct pollfd p = {.fd = futures_fd(f), .events = POLLIN};
    int64_t until = now_ms() + SOON;
    future_t *u[5];
    int calls = 0, told = 0, at_once;

    assert_true(p.fd >= 0);
    assert_int_equal(futures_fd(f), p.fd);
    for (int i = 0; i < 5; i++) {
        u[i] = submit_int(f, "echo", i, NULL);
        assert_int_equal(future_on_done(u[i], count_call, &calls), 0);
    }
    at_once = calls; /* had ended by then */
    while (calls < 5 && now_ms() < until)
        if (poll(&p, 1, 100) > 0)
            told += futures_dispatch(f);
    assert_int_equal(calls, 5);
    assert_int_equal(told + at_once, 5);
    assert_int_equal(futures_dispatch(f), 0);
    assert_int_equal(poll(&p, 1, 0), 0);
    for (int i = 0; i < 5; i++)
        future_destroy(&u[i]);
}

enum { RANDOM = 300 };

static void
draw_numbers(futures_t *f, uint64_t out[3 * RANDOM + 9])
{
    results_t *r = futures_map(f, "numbers", NULL, RANDOM, 0, NULL);
    future_t *u[2];

    assert_int_equal(results_collect(&r, out, 3 * sizeof(*out)), 0);
    for (int i = 0; i < 2; i++)
        u[i] = futures_submit(f, "numbers", NULL, 0, NULL);
    for (int i = 0; i < 2; i++) {
        memcpy(out + 3 * (RANDOM + i), future_result(u[i], NULL), 3 * sizeof(*out));
        future_destroy(&u[i]);
    }
    r = futures_map(f, "numbers", NULL, 1, 0, &(task_options_t){.seed = 5});
    assert_int_equal(results_collect(&r, out + 3 * (RANDOM + 2), 3 * sizeof(*out)), 0);
}

static void
random_numbers_are_the_same_everywhere(void **state)
{
    futures_t *f = open_one(), *g = futures_new("serial");
    uint64_t here[3 * RANDOM + 9], there[3 * RANDOM + 9];

    (void)state;
    draw_numbers(f, here);
    draw_numbers(g, there);
    assert_memory_equal(here, there, sizeof(here));
    assert_int_not_equal(here[0], here[3]);
    assert_int_equal(here[3 * 7 + 2], 7);            /* the index in a map */
    assert_int_equal(here[3 * (RANDOM + 1) + 2], 0); /* of one alone */
    assert_int_not_equal(here[3 * RANDOM], here[3 * RANDOM + 3]);
    futures_destroy(&f);
    futures_destroy(&g);
}

/* NULL if all went well. */
static void *
submit_many(void *arg)
{
    futures_t *f = arg;

    for (int round = 0; round < 5; round++) {
        double x[200];
        future_t *u[200];
        results_t *r;

        for (int i = 0; i < 200; i++) {
            x[i] = i;
            u[i] = futures_submit(f, "square", &x[i], sizeof(*x), NULL);
        }
        r = futures_map(f, "square", x, 200, sizeof(*x), NULL);
        for (int i = 0; i < 200; i++) {
            const double *y = future_result(u[i], NULL);

            if (y == NULL || *y != (double)i * i)
                return f;
            future_destroy(&u[i]);
        }
        if (results_collect(&r, x, sizeof(*x)) != 0 || x[199] != 199.0 * 199)
            return f;
    }
    return NULL;
}

static void
many_threads_share_a_session(void **state)
{
    pthread_t threads[4];
    void *wrong;

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, *state), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

static void
what_tasks_print_is_printed(void **state)
{
    FILE *file = tmpfile();
    futures_t *f = futures_open(&(futures_config_t){.endpoint = endpoint});
    char text[4096] = "";
    int saved;

    (void)state;
    fflush(stdout);
    saved = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    assert_int_equal(futures_call(f, "chatter", NULL, 0, NULL, NULL, NULL), 0);
    for (int64_t until = now_ms() + SOON; now_ms() < until && text[0] == '\0'; pause_ms(1)) {
        fflush(stdout);
        if (pread(fileno(file), text, sizeof(text) - 1, 0) < 0)
            break;
    }
    futures_destroy(&f);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    fclose(file);
    assert_non_null(strstr(text, "words from a task\n"));
}

int
session_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_endpoint_is_refused),
        cmocka_unit_test(a_broker_that_does_not_answer_is_told),
        cmocka_unit_test(no_session_is_an_error_and_no_crash),
        TEST(slots_and_workers_are_known),
        TEST(a_closed_session_finishes_what_it_has),
        TEST(join_waits_for_all),
        TEST(join_gives_up_in_time),
        TEST(terminate_cancels_all),
        cmocka_unit_test(results_outlive_their_session),
        cmocka_unit_test(many_sessions_come_and_go),
        TEST(a_forked_child_has_no_session),
        TEST(an_event_loop_is_told_what_ended),
        cmocka_unit_test(random_numbers_are_the_same_everywhere),
        TEST(many_threads_share_a_session),
        cmocka_unit_test(what_tasks_print_is_printed),
    };

    return cmocka_run_group_tests_name("sessions", tests, NULL, NULL);
}
