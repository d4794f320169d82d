/* The line that shows how a map goes on. */
#include "client.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

/* Takes 10 ms; every tenth fails. */
static int
tenth(task_t *task)
{
    int x;

    pause_ms(10);
    if (task_read(task, &x, sizeof(x)) != 0 || x % 10 == 9)
        return task_fail(task, "the tenth");
    return task_return(task, &x, sizeof(x));
}
TASK(tenth)

struct screen {
    int terminal;
    FILE *stream;
    char text[16384];
    size_t length;
};

static void
screen_open(struct screen *s)
{
    memset(s, 0, sizeof(*s));
    s->terminal = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(s->terminal >= 0 && grantpt(s->terminal) == 0 && unlockpt(s->terminal) == 0);
    s->stream = fopen(ptsname(s->terminal), "w");
    assert_non_null(s->stream);
}

/* All that is to be seen by now. */
static void
screen_look(struct screen *s)
{
    struct pollfd p = {.fd = s->terminal, .events = POLLIN};
    ssize_t n;

    while (poll(&p, 1, 0) > 0 &&
           (n = read(s->terminal, s->text + s->length, sizeof(s->text) - 1 - s->length)) > 0)
        s->length += (size_t)n;
    s->text[s->length] = '\0';
}

static void
screen_close(struct screen *s)
{
    fclose(s->stream);
    close(s->terminal);
}

static int
count(const char *text, const char *what)
{
    int n = 0;

    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        n++;
    return n;
}

/* One line, written over and over: each time from its start, and cleared behind; in the end it is
 * left as it is. Its last state goes to *last. */
static void
assert_one_line(struct screen *s, const char **last)
{
    char *end, *line;

    screen_look(s);
    assert_true(s->length > 2);
    assert_string_equal(s->text + s->length - 2, "\r\n");
    assert_int_equal(count(s->text, "\n"), 1);
    s->text[s->length - 2] = '\0';
    for (line = s->text; *line != '\0'; line = end) {
        assert_int_equal(*line, '\r');
        *last = ++line;
        end = line + strcspn(line, "\r");
        assert_true(end - line > 5 && end - line < 80 && strncmp(end - 3, "\033[K", 3) == 0);
        end[-3] = '\0'; /* of *last */
    }
}

static void
a_map_shows_how_far_it_is(void **state)
{
    enum { N = 60 };
    futures_t *f = *state;
    struct screen s;
    const char *last;
    results_t *r;
    int x[N];

    for (int i = 0; i < N; i++)
        x[i] = i;
    screen_open(&s);
    r = futures_map(f, "tenth", x, N, sizeof(*x), NULL);
    results_show_progress(r, s.stream);
    for (int i = 0; i < N; i++)
        (void)results_next(r, NULL);
    assert_null(results_next(r, NULL));
    screen_look(&s);
    assert_true(count(s.text, "/60 ") >= 2); /* at the start, at the end, and five times a second */
    assert_non_null(strstr(s.text, "/s, 0:0"));
    assert_non_null(strstr(s.text, " left"));
    assert_one_line(&s, &last);
    if (strncmp(last, "60/60 100%, 6 failed, ", 22) != 0 || strstr(last, "left") != NULL)
        fail_msg("the last line is '%s'", last);
    results_destroy(&r);
    screen_look(&s);
    assert_int_equal(count(s.text, "\n"), 0);
    screen_close(&s);
}

static void
a_map_that_is_collected_shows_its_end(void **state)
{
    futures_t *f = *state;
    int x[3] = {0, 1, 2};
    struct screen s;
    const char *last;
    results_t *r;

    screen_open(&s);
    r = futures_map(f, "tenth", x, 3, sizeof(*x), NULL);
    results_show_progress(r, s.stream);
    assert_int_equal(results_collect(&r, x, sizeof(*x)), 0);
    assert_one_line(&s, &last);
    assert_int_equal(strncmp(last, "3/3 100%, ", 10), 0);
    screen_close(&s);
    screen_open(&s);
    r = futures_map(f, "tenth", x, 3, sizeof(*x), NULL);
    results_show_progress(r, s.stream);
    assert_int_equal(results_wait(r, SOON), 0);
    assert_one_line(&s, &last);
    assert_int_equal(strncmp(last, "3/3 100%, ", 10), 0);
    results_destroy(&r);
    screen_close(&s);
}

static void
a_map_that_is_left_leaves_its_line(void **state)
{
    int x = serial ? 1 : 100 * SOON;
    futures_t *f = *state;
    const char *last;
    struct screen s;
    results_t *r;

    screen_open(&s);
    r = futures_map(f, "linger", &x, 1, sizeof(x), NULL);
    results_show_progress(r, s.stream);
    (void)results_next_within(r, NULL, serial ? -1 : 20);
    results_destroy(&r);
    assert_one_line(&s, &last);
    assert_int_equal(strncmp(last, serial ? "1/1 100%" : "0/1 0%, ", 8), 0);
    screen_close(&s);
}

struct source {
    int drawn, end;
};

static int
draw(void *arg, const void **input_p, size_t *size_p)
{
    struct source *s = arg;

    if (s->drawn == s->end)
        return -1;
    s->drawn++;
    *input_p = &s->drawn;
    *size_p = sizeof(s->drawn);
    return 0;
}

static void
without_a_total_it_shows_how_many_are_done(void **state)
{
    struct source source = {.end = 80};
    futures_t *f = futures_open(
        &(futures_config_t){.endpoint = endpoint, .quiet = true, .window = 5 * (64 + 4)});
    const char *last;
    struct screen s;
    results_t *r;

    (void)state;
    screen_open(&s);
    r = futures_imap(f, "tenth", draw, &source, NULL);
    results_show_progress(r, s.stream);
    while (!results_at_end(r))
        (void)results_next(r, NULL);
    screen_look(&s);
    assert_non_null(strstr(s.text, " done, "));
    assert_one_line(&s, &last);
    if (strncmp(last, "80/80 100%, 8 failed, ", 22) != 0)
        fail_msg("the last line is '%s'", last);
    results_destroy(&r);
    screen_close(&s);
    futures_destroy(&f);
}

static void
where_there_is_no_terminal_nothing_is_shown(void **state)
{
    futures_t *f = *state;
    FILE *file = tmpfile();
    int x[3] = {0, 1, 2};
    results_t *r;

    r = futures_map(f, "tenth", x, 3, sizeof(*x), NULL);
    results_show_progress(r, file);
    results_show_progress(r, file);
    assert_int_equal(results_collect(&r, x, sizeof(*x)), 0);
    fflush(file);
    assert_int_equal(lseek(fileno(file), 0, SEEK_END), 0);
    fclose(file);
    r = futures_map(f, "tenth", x, 3, sizeof(*x), NULL);
    results_show_progress(r, NULL);
    assert_int_equal(results_collect(&r, x, sizeof(*x)), 0);
}

/* Half of it done, until the door is open. */
static int
halfway(task_t *task)
{
    const struct order *o = task_input(task);

    (void)task_progress(task, 5, 10);
    while (access(o->path, F_OK) == 0 && !task_cancelled(task))
        pause_ms(1);
    (void)task_progress(task, 10, 10);
    return task_return(task, "", 0);
}
TASK(halfway)

static bool
has_progress(future_t *u, uint64_t expected)
{
    uint64_t done = 0, total = 0;

    assert_int_equal(future_progress(u, &done, &total), 0);
    return done == expected && total == (expected == 0 ? 0 : 10);
}

static void
a_future_knows_how_far_its_task_is_while_it_runs(void **state)
{
    futures_t *f = *state;
    struct order door;
    future_t *u;

    if (serial)
        skip(); /* nobody looks while it runs */
    door = order_new(0);
    u = submit_order(f, "halfway", &door, NULL);
    await(has_progress(u, 5));
    assert_true(future_running(u));
    unlink(door.path);
    assert_int_equal(future_wait(u, SOON), 0);
    assert_true(future_successful(u));
    future_destroy(&u);
}

int
meter_tests(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_map_shows_how_far_it_is),
        TEST(a_map_that_is_collected_shows_its_end),
        TEST(a_map_that_is_left_leaves_its_line),
        cmocka_unit_test(without_a_total_it_shows_how_many_are_done),
        TEST(where_there_is_no_terminal_nothing_is_shown),
        TEST(a_future_knows_how_far_its_task_is_while_it_runs),
    };

    return cmocka_run_group_tests_name("meters", tests, NULL, NULL);
}
