/* Shared constants, wherever the tasks run. */
#include "client.h"

#include <stdint.h>
#include <stdio.h>
#include <time.h>

struct seen {  /* what a task sees of a constant */
    int error; /* 0: it is there */
    int aligned;
    uint64_t size;
    uint64_t sum;
    char words[200];
};

static uint64_t
sum_of(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t sum = 14695981039346656037u;

    for (size_t i = 0; i < size; i++)
        sum = (sum ^ bytes[i]) * 1099511628211u;
    return sum;
}

/* The input is a constant's name. */
static int
look(task_t *task)
{
    struct seen seen = {0};
    const void *data;
    size_t size;
    char name[512];

    snprintf(name, sizeof(name), "%.*s", (int)task_input_size(task),
             (const char *)task_input(task));
    errno = 0;
    if ((data = task_shared(task, name, &size)) == NULL) {
        seen.error = errno;
        snprintf(seen.words, sizeof(seen.words), "%s", futures_error());
    } else {
        seen.aligned = (uintptr_t)data % 16 == 0 && task_shared(task, name, NULL) == data;
        seen.size = size;
        seen.sum = sum_of(data, size);
    }
    return task_return(task, &seen, sizeof(seen));
}
TASK(look)

static int
late(task_t *task)
{
    struct timespec ms = {.tv_nsec = 100000000};

    nanosleep(&ms, NULL);
    return look(task);
}
TASK(late)

/* By tasks of this task, two levels down. The input is a name again; '>' before it: a level. */
static int
look_below(task_t *task)
{
    const char *name = task_input(task);
    size_t size = task_input_size(task), seen_size;
    bool deeper = size > 1 && name[0] == '>';
    futures_t *f = task_futures(task);
    future_t *u;
    const void *seen;

    if (f == NULL)
        return task_fail(task, "no session: %s", futures_error());
    if (futures_share(f, "below", "x", 1) != -1 || errno != EINVAL)
        return task_fail(task, "a task shared a constant");
    u = futures_submit(f, deeper ? "look_below" : "look", name + deeper, size - deeper, NULL);
    if (u == NULL || (seen = future_result(u, &seen_size)) == NULL)
        return task_fail(task, "%s", futures_error());
    return task_return(task, seen, seen_size);
}
TASK(look_below)

static future_t *
submit_look(futures_t *f, const char *function, const char *name)
{
    future_t *u = futures_submit(f, function, name, strlen(name), NULL);

    assert_non_null(u);
    return u;
}

/* And destroy it. */
static struct seen
result_of(future_t *u)
{
    const struct seen *seen = future_result(u, NULL);
    struct seen copy;

    if (seen == NULL)
        print_error("%s\n", futures_error());
    assert_non_null(seen);
    copy = *seen;
    future_destroy(&u);
    return copy;
}

static void
assert_sees(futures_t *f, const char *name, const void *data, size_t size)
{
    struct seen seen = result_of(submit_look(f, "look", name));

    if (seen.error != 0)
        print_error("%s: %s\n", name, seen.words);
    assert_int_equal(seen.error, 0);
    assert_true(seen.aligned);
    assert_int_equal(seen.size, size);
    assert_int_equal(seen.sum, sum_of(data, size));
}

static void
assert_sees_none(futures_t *f, const char *name)
{
    assert_int_equal(result_of(submit_look(f, "look", name)).error, ENOENT);
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

static void
tasks_see_what_was_shared_before_them(void **state)
{
    futures_t *f = *state;
    struct seen seen;

    assert_sees_none(f, "word");
    assert_int_equal(futures_share(f, "word", "hello", 5), 0);
    assert_sees(f, "word", "hello", 5);
    seen = result_of(submit_look(f, "look", "other"));
    assert_int_equal(seen.error, ENOENT);
    assert_non_null(strstr(seen.words, "no constant \"other\" was shared"));
    assert_int_equal(futures_share(f, "nothing", NULL, 0), 0);
    assert_sees(f, "nothing", "", 0);
    assert_sees(f, "word", "hello", 5);
}

static void
one_name_has_one_content(void **state)
{
    futures_t *f = *state;

    assert_int_equal(futures_share(f, "word", "hello", 5), 0);
    assert_int_equal(futures_share(f, "word", "hello", 5), 0);
    assert_int_equal(futures_share(f, "word", "hellO", 5), -1);
    assert_int_equal(errno, EEXIST);
    assert_non_null(strstr(futures_error(), "futures_unshare"));
    assert_int_equal(futures_share(f, "word", "hell", 4), -1);
    assert_int_equal(errno, EEXIST);
    assert_int_equal(futures_share(f, "twin", "hello", 5), 0);
    assert_sees(f, "twin", "hello", 5);
    assert_int_equal(futures_unshare(f, "word"), 0); /* once, however often it was shared */
    assert_int_equal(futures_unshare(f, "word"), -1);
    assert_int_equal(errno, ENOENT);
    assert_sees_none(f, "word");
    assert_sees(f, "twin", "hello", 5);
    assert_int_equal(futures_share(f, "word", "hellO", 5), 0);
    assert_sees(f, "word", "hellO", 5);
}

static void
what_cannot_be_shared_is_told(void **state)
{
    futures_t *f = *state;
    char name[257], other[16];

    memset(name, 'x', sizeof(name));
    name[256] = '\0';
    assert_int_equal(futures_share(f, NULL, "a", 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(futures_share(f, "", "a", 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(futures_share(f, name, "a", 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(futures_share(f, "a\nb", "a", 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(futures_share(f, "a", NULL, 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(futures_share(f, "a", "a", (size_t)1 << 31), -1);
    assert_int_equal(errno, E2BIG);
    assert_int_equal(futures_unshare(f, NULL), -1);
    assert_int_equal(errno, EINVAL);
    name[255] = '\0';
    assert_int_equal(futures_share(f, name, "long", 4), 0);
    assert_sees(f, name, "long", 4);
    for (int i = 1; i < 64; i++) {
        snprintf(other, sizeof(other), "%d", i);
        assert_int_equal(futures_share(f, other, other, sizeof(other)), 0);
    }
    assert_int_equal(futures_share(f, "65", "a", 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(futures_share(f, name, "long", 4), 0);
    snprintf(other, sizeof(other), "%d", 63);
    memset(other + 3, 0, sizeof(other) - 3);
    assert_sees(f, name, "long", 4);
    assert_int_equal(futures_unshare(f, "17"), 0);
    assert_int_equal(futures_share(f, "65", "a", 1), 0);
    assert_sees(f, "65", "a", 1);
    futures_close(f);
    assert_int_equal(futures_share(f, "late", "a", 1), -1);
    assert_int_equal(errno, ESHUTDOWN);
}

static void
stream_of_tasks_is_cut_where_constants_change(void **state)
{
    futures_t *f = *state;
    future_t *u[6];

    u[0] = submit_look(f, "late", "word");
    assert_int_equal(futures_share(f, "word", "one", 3), 0);
    u[1] = submit_look(f, "late", "word");
    u[2] = submit_look(f, "late", "word");
    assert_int_equal(futures_unshare(f, "word"), 0);
    u[3] = submit_look(f, "late", "word");
    assert_int_equal(futures_share(f, "word", "two!", 4), 0);
    u[4] = submit_look(f, "late", "word");
    assert_int_equal(futures_unshare(f, "word"), 0);
    u[5] = submit_look(f, "late", "word");
    for (int i = 0; i < 6; i++) {
        struct seen seen = result_of(u[i]);
        static const unsigned sizes[] = {0, 3, 3, 0, 4, 0};

        assert_int_equal(seen.error, sizes[i] == 0 ? ENOENT : 0);
        assert_int_equal(seen.size, sizes[i]);
        if (sizes[i] == 3)
            assert_int_equal(seen.sum, sum_of("one", 3));
    }
}

static void
map_reads_a_large_one_a_thousand_times(void **state)
{
    enum { N = 1000, SIZE = 3000017 };
    unsigned char *table = table_of(SIZE, 1);
    uint64_t sum = sum_of(table, SIZE);
    char names[N][2];
    const struct seen *seen;
    futures_t *f = *state;
    results_t *r;
    int n = 0;

    /* The last byte of a few pages only, or it would take its time. */
    assert_int_equal(futures_share(f, "t", table, SIZE), 0);
    assert_int_equal(futures_share(f, "u", table, 1000), 0);
    for (int i = 0; i < N; i++)
        memcpy(names[i], i % 100 == 0 ? "t" : "u", 2);
    r = futures_map(f, "look", names, N, sizeof(names[0]), NULL);
    assert_non_null(r);
    assert_int_equal(futures_unshare(f, "t"), 0); /* they keep it */
    memset(table + 1000, 0, SIZE - 1000);         /* it was copied */
    while ((seen = results_next(r, NULL)) != NULL) {
        assert_int_equal(seen->error, 0);
        assert_int_equal(seen->size, n % 100 == 0 ? SIZE : 1000);
        assert_int_equal(seen->sum, n % 100 == 0 ? sum : sum_of(table, 1000));
        n++;
    }
    assert_int_equal(n, N);
    results_destroy(&r);
    assert_sees_none(f, "t");
    free(table);
}

static void
constants_may_come_and_go_many_times(void **state)
{
    futures_t *f = *state;
    unsigned char *table = table_of(70000, 2);

    for (int i = 0; i < 30; i++) {
        table[0] = (unsigned char)i;
        assert_int_equal(futures_share(f, "table", table, 70000), 0);
        assert_sees(f, "table", table, 70000);
        assert_int_equal(futures_unshare(f, "table"), 0);
    }
    assert_sees_none(f, "table");
    free(table);
}

static void
tasks_of_tasks_see_what_their_root_sees(void **state)
{
    enum { N = 40 };
    unsigned char *table = table_of(100000, 3);
    futures_t *f = *state;
    future_t *u[N], *below;

    assert_int_equal(futures_share(f, "t", table, 100000), 0);
    for (int i = 0; i < N; i++)
        u[i] = submit_look(f, "look_below", i % 2 == 0 ? "t" : ">t");
    assert_int_equal(futures_unshare(f, "t"), 0);
    below = submit_look(f, "look_below", ">t");
    for (int i = 0; i < N; i++) {
        struct seen seen = result_of(u[i]);

        assert_int_equal(seen.error, 0);
        assert_int_equal(seen.size, 100000);
        assert_int_equal(seen.sum, sum_of(table, 100000));
    }
    assert_int_equal(result_of(below).error, ENOENT);
    free(table);
}

int
shared_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tasks_see_what_was_shared_before_them),
        TEST(one_name_has_one_content),
        TEST(what_cannot_be_shared_is_told),
        TEST(stream_of_tasks_is_cut_where_constants_change),
        TEST(map_reads_a_large_one_a_thousand_times),
        TEST(constants_may_come_and_go_many_times),
        TEST(tasks_of_tasks_see_what_their_root_sees),
    };

    return cmocka_run_group_tests_name("shared", tests, NULL, NULL);
}
