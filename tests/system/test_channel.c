/* test_channel.c - what a worker keeps for an executor that does not read: its task may run for
 * hours, and is the client of others meanwhile. */
#include "../../base/clock.h"
#include "../../proto/limits.h"
#include "../../proto/wire.h"
#include "../../worker/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct pair { /* two ends of a connection, each a channel */
    struct poller *poller;
    struct arena *receiving, *sending;
    struct channel worker, executor;
    unsigned sent;                /* as channel_send() counts */
    unsigned read[MESSAGE_LIMIT]; /* by type */
    unsigned nread;
    struct message_grid grid; /* the last one */
};

static void
on_message(void *arg, const struct message *m)
{
    struct pair *p = arg;

    assert_int_equal(m->client, 1);
    p->read[m->type]++;
    p->nread++;
    if (m->type == MESSAGE_GRID)
        p->grid = m->grid;
}

static void
open_end(struct pair *p, struct channel *c, int fd)
{
    *c = (struct channel){.poller = p->poller,
                          .receiving = p->receiving,
                          .sending = p->sending,
                          .message = on_message,
                          .arg = p};
    assert_int_equal(channel_open(c, fd), 0);
}

static void
open_pair(struct pair *p)
{
    int ends[2];

    *p = (struct pair){.poller = poller_new(), .receiving = arena_new(), .sending = arena_new()};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    open_end(p, &p->worker, ends[0]);
    open_end(p, &p->executor, ends[1]);
    channel_hold(&p->executor, true);
}

static void
say(struct pair *p, struct message *m)
{
    m->client = 1;
    p->sent += channel_send(&p->worker, m);
}

static void
say_partial(struct pair *p, size_t size)
{
    struct message m = {.type = MESSAGE_PARTIAL, .partial = {.job = 1}};

    m.partial.columns = (struct columns){
        .count = 1, .size = (uint32_t)size, .data = blob_new(size), .length = size};
    assert_non_null(m.partial.columns.data);
    say(p, &m);
    blob_unref(m.partial.columns.data);
}

static void
say_grid(struct pair *p, uint32_t idle)
{
    struct message m = {.type = MESSAGE_GRID, .grid = {.idle = idle, .grant = 7}};

    say(p, &m);
}

static const int64_t patience = 60000000; /* us: megabytes, perhaps on a busy machine */

/* It reads again: all that was sent, and nothing else. */
static void
close_pair(struct pair *p)
{
    int64_t end = clock_us() + patience;

    channel_hold(&p->executor, false);
    while (p->nread < p->sent) {
        assert_true(clock_us() < end);
        assert_true(poller_wait(p->poller, 50) >= 0);
    }
    assert_int_equal(p->nread, p->sent);
    assert_null(p->worker.fault);
    assert_null(p->executor.fault);
    channel_close(&p->worker);
    channel_close(&p->executor);
    arena_free(p->receiving);
    arena_free(p->sending);
    poller_free(p->poller);
}

static void
who_does_not_read_goes_without_what_can_be_missed(void **state)
{
    enum { SIZE = 1 << 20, MANY = 4 * (WINDOW_RESULT / SIZE) };
    struct message result = {.type = MESSAGE_RESULTS, .results = {.job = 1, .worker = ""}};
    struct pair p;

    (void)state;
    open_pair(&p);
    result.results.columns.count = 1;
    for (int i = 0; i < MANY; i++) {
        say_partial(&p, SIZE);
        say(&p, &result); /* what it waits for comes in any case */
    }
    close_pair(&p);
    assert_int_equal(p.read[MESSAGE_RESULTS], MANY);
    assert_in_range(p.read[MESSAGE_PARTIAL], MANY / 4 - 1, MANY / 4 + 2);
}

static void
who_does_not_read_finds_the_newest_word_of_the_grid(void **state)
{
    enum { MANY = 100000 };
    struct pair p;

    (void)state;
    open_pair(&p);
    for (uint32_t i = 1; i <= MANY; i++)
        say_grid(&p, i);
    close_pair(&p);
    assert_in_range(p.read[MESSAGE_GRID], 1, MANY / 2);
    assert_int_equal(p.grid.idle, MANY);
    assert_int_equal(p.grid.grant, 7);
}

static void
who_reads_misses_nothing(void **state)
{
    enum { SIZE = 1 << 20, MANY = 2 * (WINDOW_RESULT / SIZE) };
    struct pair p;

    (void)state;
    open_pair(&p);
    channel_hold(&p.executor, false);
    for (uint32_t i = 1; i <= MANY; i++) {
        say_partial(&p, SIZE);
        say_grid(&p, i);
        for (int64_t end = clock_us() + patience; p.nread < p.sent;) {
            assert_true(clock_us() < end);
            assert_true(poller_wait(p.poller, 50) >= 0);
        }
    }
    assert_int_equal(p.read[MESSAGE_PARTIAL], MANY);
    assert_int_equal(p.read[MESSAGE_GRID], MANY);
    close_pair(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_does_not_read_goes_without_what_can_be_missed),
        cmocka_unit_test(who_does_not_read_finds_the_newest_word_of_the_grid),
        cmocka_unit_test(who_reads_misses_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
