/* Tasks with a key: several futures of one task. */
#include "client.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* Appends a byte to the file that it is told, and gives how many there are. */
static int
tally(task_t *task)
{
    char path[64] = "";
    off_t n = -1;
    int fd;

    if (task_input_size(task) >= sizeof(path))
        return task_fail(task, "too long a path");
    memcpy(path, task_input(task), task_input_size(task));
    if ((fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)) >= 0) {
        if (write(fd, "x", 1) == 1)
            n = lseek(fd, 0, SEEK_CUR); /* behind its own byte: others write, too */
        close(fd);
    }
    return n < 0 ? task_fail(task, "no file") : task_return(task, &n, sizeof(n));
}
TASK(tally)

static char path[64];

static void
make_file(void)
{
    int fd;

    strcpy(path, "/tmp/ladle-key-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static future_t *
submit_tally(futures_t *f, const char *key)
{
    future_t *u = futures_submit(f, "tally", path, strlen(path), &(task_options_t){.key = key});

    assert_non_null(u);
    return u;
}

static void
count_call(future_t *future, void *arg)
{
    assert_true(future_done(future));
    ++*(int *)arg;
}

static void
a_key_stands_for_one_task(void **state)
{
    futures_t *f = *state;
    int calls[3] = {0};
    future_t *u[3], *list[3];
    size_t count = 3;

    make_file();
    for (int i = 0; i < 3; i++) {
        list[i] = u[i] = submit_tally(f, "one");
        assert_int_equal(future_on_done(u[i], count_call, &calls[i]), 0);
        assert_int_equal(future_on_done(u[i], count_call, &calls[i]), 0);
    }
    assert_int_equal(futures_wait(list, 3, ALL_COMPLETED, SOON), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(*(const off_t *)future_result(u[i], NULL), 1);
        assert_int_equal(calls[i], 2);
        assert_int_equal(future_attempts(u[i]), 1);
    }
    while (count > 0)
        assert_non_null(futures_next(list, &count, 0));
    future_destroy(&u[0]);
    future_destroy(&u[2]);
    u[0] = submit_tally(f, "one"); /* it has ended, and is still the one */
    assert_true(future_done(u[0]));
    assert_int_equal(*(const off_t *)future_result(u[0], NULL), 1);
    future_destroy(&u[1]);
    future_destroy(&u[0]);
    u[0] = submit_tally(f, "one"); /* nobody held it any more */
    u[1] = submit_tally(f, "two");
    u[2] = submit_tally(f, NULL);
    assert_int_equal(futures_join(f, SOON), 0);
    assert_int_equal(*(const off_t *)future_result(u[0], NULL) +
                         *(const off_t *)future_result(u[1], NULL) +
                         *(const off_t *)future_result(u[2], NULL),
                     2 + 3 + 4);
    for (int i = 0; i < 3; i++)
        future_destroy(&u[i]);
    unlink(path);
}

static void
the_last_future_of_a_key_cancels_its_task(void **state)
{
    futures_t *f = *state;
    task_options_t options = {.key = "long"};
    future_t *a = submit_int(f, "linger", serial ? 1 : 100 * SOON, &options);
    future_t *b = submit_int(f, "linger", 1, &options);
    double x = 2;

    if (!serial)
        await(future_running(a) && future_running(b));
    future_destroy(&a);
    assert_false(future_done(b));
    a = submit_int(f, "linger", 1, &options);
    future_destroy(&b);
    assert_false(future_done(a));
    future_destroy(&a);
    /* All slots are free again. */
    for (int i = 0; i < 4; i++)
        assert_int_equal(futures_call(f, "square", &x, sizeof(x), NULL, NULL, NULL), 0);
    a = submit_int(f, "linger", 1, &options);
    assert_int_equal(future_wait(a, SOON), 0);
    assert_int_equal(future_status(a), FUTURE_DONE);
    future_destroy(&a);
}

static void
futures_of_one_key_end_as_one(void **state)
{
    futures_t *f = *state;
    task_options_t options = {.key = "cancelled"};
    future_t *a = submit_int(f, "linger", 100 * SOON, &options);
    future_t *b = submit_int(f, "linger", 1, &options);
    int calls = 0;

    assert_int_equal(future_on_done(b, count_call, &calls), 0);
    assert_int_equal(future_cancel(a), 0);
    assert_true(future_cancelled(b));
    assert_null(future_result(b, NULL));
    assert_int_equal(errno, ECANCELED);
    assert_int_equal(calls, 1);
    future_destroy(&a);
    future_destroy(&b);
    options.key = "odd";
    a = submit_int(f, "even", 3, &options);
    b = submit_int(f, "even", 4, &options);
    assert_null(future_result(b, NULL));
    assert_string_equal(future_error(b), future_error(a));
    assert_non_null(strstr(future_error(b), "3 is odd"));
    future_destroy(&a);
    assert_non_null(strstr(future_error(b), "3 is odd"));
    future_destroy(&b);
}

static void
each_future_of_a_key_gets_what_streams(void **state)
{
    futures_t *f = *state;
    struct partials p[3] = {{0}};
    future_t *held[SLOTS], *u[3];
    struct order door;
    int n = 0;

    if (!serial) { /* it must not begin before all have asked */
        door = order_new(0);
        n = fill_slots(f, &door, held);
    }

    for (int i = 0; i < 3; i++)
        u[i] = futures_submit(f, "stream", NULL, 0, &(task_options_t){.key = "stream"});
    for (int i = 0; i < 3; i++)
        assert_int_equal(future_on_partial(u[i], on_partial, &p[i]), 0);
    if (!serial)
        empty_slots(&door, held, n);
    assert_int_equal(future_wait(u[1], SOON), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(p[i].n, 3);
        assert_int_equal(p[i].sum, 3);
    }
    for (int i = 0; i < 3; i++)
        future_destroy(&u[i]);
}

static void
bad_keys_are_refused(void **state)
{
    futures_t *f = *state;
    char key[257];
    future_t *u;

    memset(key, 'k', 256);
    key[256] = '\0';
    assert_null(futures_submit(f, "echo", "", 0, &(task_options_t){.key = ""}));
    assert_int_equal(errno, EINVAL);
    assert_null(futures_submit(f, "echo", "", 0, &(task_options_t){.key = key}));
    assert_int_equal(errno, EINVAL);
    assert_non_null(strstr(futures_error(), "256"));
    assert_null(futures_map(f, "echo", "ab", 2, 1, &(task_options_t){.key = "map"}));
    assert_int_equal(errno, EINVAL);
    key[255] = '\0';
    assert_non_null(u = futures_submit(f, "echo", "", 0, &(task_options_t){.key = key}));
    assert_non_null(future_result(u, NULL));
    future_destroy(&u);
}

enum { KEYS = 50, THREADS = 4 };

static void *
submit_all_keys(void *arg)
{
    for (int i = 0; i < 4 * KEYS; i++) {
        char key[16];
        future_t *u;
        int x = i % KEYS;
        const int *y;

        snprintf(key, sizeof(key), "%d", x);
        u = futures_submit(arg, "echo", &x, sizeof(x), &(task_options_t){.key = key});
        if (u == NULL || (y = future_result(u, NULL)) == NULL || *y != x)
            return arg;
        future_destroy(&u);
    }
    return NULL;
}

static void
threads_may_share_keys(void **state)
{
    futures_t *f = *state;
    pthread_t threads[THREADS];
    void *wrong;

    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, submit_all_keys, f), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

static void
a_key_outlives_its_session_with_its_futures(void **state)
{
    futures_t *f = open_one();
    future_t *a = submit_int(f, "echo", 1, &(task_options_t){.key = "kept"});
    future_t *b = submit_int(f, "echo", 2, &(task_options_t){.key = "kept"});
    future_t *c = submit_int(f, "linger", 100 * SOON, &(task_options_t){.key = "ended"});
    future_t *d = submit_int(f, "linger", 100 * SOON, &(task_options_t){.key = "ended"});

    (void)state;
    assert_int_equal(future_wait(b, SOON), 0);
    futures_destroy(&f);
    assert_int_equal(*(const int *)future_result(a, NULL), 1);
    future_destroy(&a);
    assert_int_equal(*(const int *)future_result(b, NULL), 1);
    future_destroy(&b);
    assert_true(future_cancelled(c) && future_cancelled(d));
    future_destroy(&d);
    future_destroy(&c);
}

int
key_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_key_stands_for_one_task),
        TEST(the_last_future_of_a_key_cancels_its_task),
        TEST(futures_of_one_key_end_as_one),
        TEST(each_future_of_a_key_gets_what_streams),
        TEST(bad_keys_are_refused),
        TEST(threads_may_share_keys),
        cmocka_unit_test(a_key_outlives_its_session_with_its_futures),
    };

    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
