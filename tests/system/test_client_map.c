/* Maps. */
#include "client.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static void
a_map_gives_results_in_order(void **state)
{
    enum { N = 20000 };
    futures_t *f = *state;
    double *x = malloc(N * sizeof(*x));
    const double *y;
    results_t *r;
    size_t size;
    uint64_t n = 0;

    for (int i = 0; i < N; i++)
        x[i] = i;
    r = futures_map(f, "square", x, N, sizeof(*x), NULL);
    memset(x, 0, N * sizeof(*x)); /* the inputs were copied */
    for (; (y = results_next(r, &size)) != NULL; n++) {
        assert_int_equal(size, sizeof(double));
        assert_int_equal(results_index(r), n);
        assert_true(*y == (double)n * (double)n);
        assert_int_equal(results_status(r), FUTURE_DONE);
        assert_null(results_error(r));
        assert_false(results_at_end(r));
    }
    assert_int_equal(errno, 0);
    assert_true(results_at_end(r));
    assert_int_equal(n, N);
    assert_true(strlen(results_worker(r)) > 0);
    results_destroy(&r);
    free(x);
}

static void
a_map_is_collected(void **state)
{
    enum { N = 100000 };
    futures_t *f = *state;
    double *x = malloc(N * sizeof(*x));
    results_t *r;

    for (int i = 0; i < N; i++)
        x[i] = i;
    r = futures_map(f, "square", x, N, sizeof(*x), NULL);
    assert_int_equal(results_collect(&r, x, sizeof(*x)), 0);
    assert_null(r);
    for (int i = 0; i < N; i++)
        assert_true(x[i] == (double)i * i);
    free(x);
}

static void
a_map_of_nothing_is_empty(void **state)
{
    futures_t *f = *state;
    results_t *r = futures_map(f, "square", NULL, 0, 8, NULL);

    assert_null(results_next(r, NULL));
    assert_int_equal(errno, 0);
    assert_true(results_at_end(r));
    results_destroy(&r);
    r = futures_mapv(f, "square", NULL, 0, NULL);
    assert_int_equal(results_wait(r, SOON), 0);
    assert_int_equal(results_collect(&r, NULL, 0), 0);
}

static void
a_map_of_empty_inputs_runs(void **state)
{
    futures_t *f = *state;
    results_t *r = futures_map(f, "echo", NULL, 1000, 0, NULL);
    int n = 0;

    while (results_next(r, NULL) != NULL)
        n++;
    assert_int_equal(n, 1000);
    results_destroy(&r);
}

static void
inputs_of_any_size_come_back(void **state)
{
    enum { N = 3000 };
    futures_t *f = *state;
    static uint8_t bytes[70000];
    struct iovec *inputs = malloc(N * sizeof(*inputs));
    const uint8_t *y;
    results_t *r;
    size_t size;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < N; i++)
        inputs[i] = (struct iovec){bytes + i, i % 500 == 3 ? 60000 : i % 97};
    r = futures_mapv(f, "echo", inputs, N, NULL);
    for (size_t i = 0; i < N; i++) {
        assert_non_null(y = results_next(r, &size));
        assert_int_equal(size, inputs[i].iov_len);
        assert_memory_equal(y, inputs[i].iov_base, size);
        assert_int_equal((uintptr_t)y % (size > 0 && size % 8 == 0 ? 8 : 1), 0);
    }
    assert_null(results_next(r, NULL));
    results_destroy(&r);
    free(inputs);
}

static void
a_failed_task_costs_its_own_result_only(void **state)
{
    enum { N = 1000 };
    futures_t *f = *state;
    int x[N];
    results_t *r;
    uint64_t done, failed, total;
    char expected[64];

    for (int i = 0; i < N; i++)
        x[i] = i == 500 || i == 700 ? 1 : 2 * i;
    r = futures_map(f, "even", x, N, sizeof(*x), NULL);
    for (int i = 0; i < N; i++) {
        const int *y = results_next(r, NULL);

        assert_int_equal(results_index(r), i);
        if (i == 500 || i == 700) {
            assert_null(y);
            assert_int_equal(errno, EIO);
            assert_int_equal(results_status(r), FUTURE_FAILED);
            snprintf(expected, sizeof(expected), "even[%d] on worker ", i);
            assert_int_equal(strncmp(results_error(r), expected, strlen(expected)), 0);
            assert_non_null(strstr(results_error(r), ": 1 is odd"));
        } else {
            assert_int_equal(*y, 2 * i);
        }
    }
    assert_null(results_next(r, NULL));
    results_progress(r, &done, &failed, &total);
    assert_int_equal(done, N - 2);
    assert_int_equal(failed, 2);
    assert_int_equal(total, N);
    results_destroy(&r);
}

static void
collect_tells_the_first_failure_and_gives_the_rest(void **state)
{
    enum { N = 1000 };
    futures_t *f = *state;
    int x[N], y[N];
    results_t *r;

    for (int i = 0; i < N; i++) {
        x[i] = i == 321 || i == 800 ? 1 : 2 * i;
        y[i] = -1;
    }
    r = futures_map(f, "even", x, N, sizeof(*x), NULL);
    assert_int_equal(results_collect(&r, y, sizeof(*y)), -1);
    assert_int_equal(errno, EIO);
    assert_non_null(strstr(futures_error(), "even[321]"));
    for (int i = 0; i < N; i++)
        assert_int_equal(y[i], i == 321 || i == 800 ? -1 : 2 * i);
    r = futures_map(f, "echo", "abc", 3, 1, NULL);
    assert_int_equal(results_collect(&r, y, sizeof(*y)), -1);
    assert_int_equal(errno, EPROTO);
}

static void
results_come_as_they_end(void **state)
{
    futures_t *f = *state;
    int x[4] = {10 * SOON, 1, 1, 1};
    results_t *r;
    bool seen[4] = {false}, alone = serial || futures_slots(f) == 1;

    if (alone)
        x[0] = 1;
    r = futures_map(f, "linger", x, 4, sizeof(*x), &(task_options_t){.as_completed = true});
    for (int i = 0; i < (alone ? 4 : 3); i++) {
        assert_non_null(results_next_within(r, NULL, SOON));
        assert_false(seen[results_index(r)]);
        seen[results_index(r)] = true;
    }
    if (!alone) {
        assert_false(seen[0]);
        assert_null(results_next_within(r, NULL, 10));
        assert_int_equal(errno, ETIMEDOUT);
        assert_false(results_at_end(r));
    }
    results_destroy(&r);
}

static void
a_map_can_be_waited_for(void **state)
{
    futures_t *f = *state;
    int x[2] = {1, 1};
    results_t *r = futures_map(f, "linger", x, 2, sizeof(*x), NULL);
    uint64_t done;

    assert_int_equal(results_wait(r, SOON), 0);
    results_progress(r, &done, NULL, NULL);
    assert_int_equal(done, 2);
    results_destroy(&r);
    x[0] = x[1] = 10 * SOON;
    r = futures_map(f, "linger", x, 2, sizeof(*x), NULL);
    assert_int_equal(results_wait(r, 0), -1);
    assert_int_equal(errno, ETIMEDOUT);
    results_destroy(&r);
}

static void
a_map_can_be_cancelled(void **state)
{
    enum { N = 100 };
    futures_t *f = *state;
    int x[N];
    results_t *r;
    uint64_t failed;

    for (int i = 0; i < N; i++)
        x[i] = 10 * SOON;
    r = futures_map(f, "linger", x, N, sizeof(*x), NULL);
    results_cancel(r);
    assert_int_equal(results_wait(r, 0), 0);
    results_progress(r, NULL, &failed, NULL);
    assert_int_equal(failed, N);
    assert_null(results_next(r, NULL));
    assert_int_equal(results_status(r), FUTURE_CANCELLED);
    results_destroy(&r);
    assert_int_equal(futures_call(f, "echo", NULL, 0, NULL, NULL, NULL), 0);
}

static void
partial_results_of_a_map_have_their_index(void **state)
{
    futures_t *f = *state;
    struct partials p = {0};
    results_t *r = futures_map(f, "stream", NULL, 1, 0, NULL);

    assert_int_equal(results_on_partial(r, on_partial, &p), 0);
    assert_int_equal(results_wait(r, SOON), 0);
    assert_int_equal(p.n, 3);
    assert_int_equal(p.index, 0);
    results_destroy(&r);
}

static void
progress_is_shown_on_a_terminal(void **state)
{
    futures_t *f = *state;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    char text[4096] = "";
    ssize_t n;
    int x[3] = {1, 1, 1};
    results_t *r;
    FILE *stream;

    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    stream = fopen(ptsname(terminal), "w");
    assert_non_null(stream);
    r = futures_map(f, "linger", x, 3, sizeof(*x), NULL);
    results_show_progress(r, stream);
    assert_int_equal(results_collect(&r, NULL, 4), 0);
    for (size_t at = 0; at < sizeof(text) - 1 && strstr(text, "3/3 100%") == NULL;
         at += (size_t)n) {
        n = read(terminal, text + at, sizeof(text) - 1 - at);
        assert_true(n > 0);
        text[at + (size_t)n] = '\0';
    }
    fclose(stream);
    close(terminal);
}

struct source {
    uint64_t drawn, end;
    uint64_t input;
};

static int
draw(void *arg, const void **input_p, size_t *size_p)
{
    struct source *s = arg;

    if (s->drawn == s->end)
        return -1;
    s->input = s->drawn++;
    *input_p = &s->input;
    *size_p = sizeof(s->input);
    return 0;
}

static void
inputs_are_drawn_as_there_is_room(void **state)
{
    struct source source = {.end = 200000};
    futures_t *f =
        futures_open(&(futures_config_t){.endpoint = endpoint, .quiet = true, .window = 64 << 10});
    const uint64_t *y;
    results_t *r;
    uint64_t n = 0, total = 0;

    (void)state;
    r = futures_imap(f, "echo", draw, &source, NULL);
    assert_int_equal(source.drawn, 0);
    results_progress(r, NULL, NULL, &total);
    assert_true(total == UINT64_MAX);
    while ((y = results_next(r, NULL)) != NULL) {
        assert_int_equal(*y, n);
        n++;
        /* 64 KiB of 8 bytes each, with what a task costs */
        assert_true(source.drawn - n < 2000);
    }
    assert_int_equal(errno, 0);
    assert_int_equal(n, source.end);
    results_progress(r, NULL, NULL, &total);
    assert_int_equal(total, source.end);
    results_destroy(&r);
    futures_destroy(&f);
}

static void
endless_inputs_can_be_left(void **state)
{
    struct source source = {.end = UINT64_MAX};
    futures_t *f = *state;
    results_t *r = futures_imap(f, "echo", draw, &source, &(task_options_t){.as_completed = true});

    for (int i = 0; i < 1000; i++)
        assert_non_null(results_next(r, NULL));
    results_cancel(r);
    while (!results_at_end(r))
        (void)results_next(r, NULL);
    results_destroy(&r);
    r = futures_imap(f, "echo", draw, &source, NULL);
    assert_non_null(results_next(r, NULL));
    results_destroy(&r);
}

static void
drawn_inputs_are_collected(void **state)
{
    enum { N = 5000 };
    struct source source = {.end = N};
    static uint64_t y[N];
    futures_t *f = *state;
    results_t *r = futures_imap(f, "echo", draw, &source, NULL);

    assert_int_equal(results_collect(&r, y, sizeof(*y)), 0);
    for (uint64_t i = 0; i < N; i++)
        assert_int_equal(y[i], i);
}

int
map_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_map_gives_results_in_order),
        TEST(a_map_is_collected),
        TEST(a_map_of_nothing_is_empty),
        TEST(a_map_of_empty_inputs_runs),
        TEST(inputs_of_any_size_come_back),
        TEST(a_failed_task_costs_its_own_result_only),
        TEST(collect_tells_the_first_failure_and_gives_the_rest),
        TEST(results_come_as_they_end),
        TEST(a_map_can_be_waited_for),
        TEST(a_map_can_be_cancelled),
        TEST(partial_results_of_a_map_have_their_index),
        TEST(progress_is_shown_on_a_terminal),
        cmocka_unit_test(inputs_are_drawn_as_there_is_room),
        TEST(endless_inputs_can_be_left),
        TEST(drawn_inputs_are_collected),
    };

    return cmocka_run_group_tests_name("maps", tests, NULL, NULL);
}
