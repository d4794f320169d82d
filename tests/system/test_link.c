#include "../../base/clock.h"
#include "../../net/frames.h"
#include "../../net/link.h"
#include "../../proto/limits.h"
#include "stranger.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE = 20 * 1000 * 1000 };

/* A link, and a bare ROUTER in the place of a broker. */
static struct {
    struct poller *poller;
    struct arena *arena;
    void *context, *router;
    char endpoint[128];
    struct link *link;
    zmq_msg_t id, header;
    struct blob *data;
} f;

static void *
router_at(const char *endpoint)
{
    void *router = zmq_socket(f.context, ZMQ_ROUTER);
    int64_t end = clock_us() + PATIENCE;
    int mandatory = 1;

    assert_non_null(router);
    assert_int_equal(frames_configure(router), 0);
    zmq_setsockopt(router, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof(mandatory));
    /* The last one on this port may not be gone yet. */
    while (zmq_bind(router, endpoint) != 0) {
        assert_int_equal(errno, EADDRINUSE);
        assert_true(clock_us() < end);
    }
    return router;
}

static int
setup(void **state)
{
    size_t size = sizeof(f.endpoint);

    (void)state;
    f.poller = poller_new();
    f.arena = arena_new();
    f.context = zmq_ctx_new();
    f.router = router_at("tcp://127.0.0.1:*");
    f.link = NULL;
    f.data = NULL;
    zmq_msg_init(&f.id);
    zmq_msg_init(&f.header);
    return zmq_getsockopt(f.router, ZMQ_LAST_ENDPOINT, f.endpoint, &size);
}

static void
close_router(int linger)
{
    if (f.router == NULL)
        return;
    zmq_setsockopt(f.router, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_close(f.router);
    f.router = NULL;
}

static int
teardown(void **state)
{
    (void)state;
    link_free(f.link, 0);
    zmq_msg_close(&f.id);
    zmq_msg_close(&f.header);
    blob_unref(f.data);
    close_router(0);
    zmq_ctx_term(f.context);
    arena_free(f.arena);
    poller_free(f.poller);
    return 0;
}

/* One turn of an owner's loop; fails the test after a while. */
static void
turn(int64_t end)
{
    int64_t now = clock_us(), deadline = link_deadline(f.link);

    assert_true(now < end);
    if (deadline > now + 20000) /* the router has no watch here */
        deadline = now + 20000;
    assert_true(poller_wait(f.poller, clock_poll_timeout(deadline, now)) >= 0);
    link_tick(f.link, clock_us());
}

static void
wait_event(enum link_event wanted)
{
    int64_t end = clock_us() + PATIENCE;
    enum link_event event;

    while ((event = link_event(f.link)) == LINK_NONE)
        turn(end);
    assert_int_equal(event, wanted);
}

static void
wait_message(struct message *m)
{
    int64_t end = clock_us() + PATIENCE;
    const char *why;
    int rc;

    while ((rc = link_receive(f.link, m, &why)) == 0)
        turn(end);
    if (rc < 0)
        fail_msg("%s", why);
}

/* What the router got, without a turn of the link. */
static bool
router_receives(struct message *m)
{
    const char *why;
    int rc;

    blob_unref(f.data);
    f.data = NULL;
    if ((rc = frames_receive(f.router, &f.id, &f.header, &f.data)) == 0)
        return false;
    assert_int_equal(rc, 1);
    if (wire_decode(f.arena, zmq_msg_data(&f.header), zmq_msg_size(&f.header), f.data, m, &why))
        fail_msg("%s", why);
    return true;
}

static void
wait_router(struct message *m)
{
    int64_t end = clock_us() + PATIENCE;

    while (!router_receives(m))
        turn(end);
}

/* To the peer that was heard last. */
static void
router_sends(const struct message *m)
{
    struct frames frames;
    zmq_msg_t id;

    assert_int_equal(frames_encode(f.arena, m, &frames), 0);
    zmq_msg_init(&id);
    zmq_msg_copy(&id, &f.id);
    assert_true(zmq_msg_send(&id, f.router, ZMQ_SNDMORE) >= 0);
    assert_int_equal(frames_send(&frames, f.router), 0);
    frames_close(&frames);
}

static void
send_raw(const char *const *parts, int n)
{
    zmq_msg_t id;

    zmq_msg_init(&id);
    zmq_msg_copy(&id, &f.id);
    assert_true(zmq_msg_send(&id, f.router, ZMQ_SNDMORE) >= 0);
    for (int i = 0; i < n; i++)
        assert_true(zmq_send(f.router, parts[i], strlen(parts[i]), i < n - 1 ? ZMQ_SNDMORE : 0) >=
                    0);
}

static void
meet(void)
{
    struct message m = {.type = MESSAGE_BEAT};

    if (f.link == NULL)
        f.link = link_new(f.poller, f.endpoint, clock_us());
    assert_non_null(f.link);
    wait_event(LINK_UP);
    assert_true(link_is_up(f.link));
    assert_int_equal(link_send(f.link, &m), 0);
    wait_router(&m);
    assert_int_equal(m.type, MESSAGE_BEAT);
}

static void
messages_go_both_ways(void **state)
{
    struct message m = {.type = MESSAGE_NOTICE, .notice = {7, NOTICE_OTHER, "hello"}};

    (void)state;
    meet();
    assert_int_equal(link_send(f.link, &m), 0);
    wait_router(&m);
    assert_string_equal(m.notice.text, "hello");
    m = (struct message){.type = MESSAGE_GRID, .grid = {.workers = 3, .slots = 12}};
    router_sends(&m);
    wait_message(&m);
    assert_int_equal(m.type, MESSAGE_GRID);
    assert_int_equal(m.grid.slots, 12);
}

static void
works_over_ipc(void **state)
{
    (void)state;
    close_router(0);
    snprintf(f.endpoint, sizeof(f.endpoint), "ipc://@ladle-test-%d", (int)getpid());
    f.router = router_at(f.endpoint);
    meet();
}

static void
broker_that_comes_back_is_found_again(void **state)
{
    struct message m = {.type = MESSAGE_BEAT};

    (void)state;
    meet();
    for (int i = 0; i < 2; i++) {
        close_router(0);
        wait_event(LINK_DOWN);
        assert_false(link_is_up(f.link));
        assert_int_equal(link_send(f.link, &m), -1);
        assert_int_equal(errno, ENOTCONN);
        f.router = router_at(f.endpoint);
        meet();
    }
}

static void
broker_may_start_late(void **state)
{
    (void)state;
    close_router(0);
    f.link = link_new(f.poller, f.endpoint, clock_us());
    for (int64_t end = clock_us() + 300000; clock_us() < end;)
        turn(end + PATIENCE);
    assert_int_equal(link_event(f.link), LINK_NONE);
    f.router = router_at(f.endpoint);
    meet();
}

static void
last_words_are_heard_before_the_end(void **state)
{
    struct message m = {.type = MESSAGE_REFUSED, .text = "go away"};
    int64_t end = clock_us() + PATIENCE;
    enum link_event event;
    const char *why;

    (void)state;
    meet();
    router_sends(&m);
    close_router(5000);
    /* The connection has ended when nothing can be sent any more; only then do we read. */
    while (link_is_up(f.link))
        turn(end);
    assert_int_equal(link_event(f.link), LINK_NONE);
    assert_int_equal(link_receive(f.link, &m, &why), 1);
    assert_int_equal(m.type, MESSAGE_REFUSED);
    assert_string_equal(m.text, "go away");
    while ((event = link_event(f.link)) == LINK_NONE)
        turn(end);
    assert_int_equal(event, LINK_DOWN);
}

static void
restart_gives_a_new_conversation(void **state)
{
    uint8_t id[16];
    size_t size;

    (void)state;
    meet();
    size = zmq_msg_size(&f.id);
    memcpy(id, zmq_msg_data(&f.id), size);
    link_restart(f.link, clock_us());
    assert_false(link_is_up(f.link));
    wait_event(LINK_DOWN);
    meet();
    assert_true(size != zmq_msg_size(&f.id) || memcmp(id, zmq_msg_data(&f.id), size) != 0);
}

static void
unread_messages_wait_here_in_order(void **state)
{
    enum { COUNT = 6000, SIZE = 8192 };
    struct blob *data = blob_new(SIZE);
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = 1}};
    uint64_t next = 0;
    int64_t end;

    (void)state;
    memset(data->bytes, 7, SIZE);
    m.inputs.columns = (struct columns){.count = 1, .size = SIZE, .data = data, .length = SIZE};
    meet();
    for (uint64_t i = 0; i < COUNT; i++) {
        m.inputs.first = i;
        assert_int_equal(link_send(f.link, &m), 0);
    }
    assert_true(link_backlog(f.link) > SIZE);
    for (end = clock_us() + PATIENCE; next < COUNT; turn(end))
        while (router_receives(&m))
            assert_int_equal(m.inputs.first, next++);
    assert_int_equal(link_backlog(f.link), 0);
    blob_unref(f.data);
    f.data = NULL;
    while (atomic_load(&data->refs) != 1)
        turn(end);
    blob_unref(data);
}

static void
backlog_ends_with_its_connection(void **state)
{
    struct blob *data = blob_new(8192);
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = 1}};
    int64_t end = clock_us() + PATIENCE;

    (void)state;
    m.inputs.columns = (struct columns){.count = 1, .size = 8192, .data = data, .length = 8192};
    meet();
    for (int i = 0; i < 6000; i++)
        assert_int_equal(link_send(f.link, &m), 0);
    link_restart(f.link, clock_us());
    assert_int_equal(link_backlog(f.link), 0);
    wait_event(LINK_DOWN);
    link_free(f.link, 0);
    f.link = NULL;
    while (atomic_load(&data->refs) != 1)
        assert_true(clock_us() < end);
    blob_unref(data);
}

static void
large_data_is_lent_not_copied(void **state)
{
    const size_t size = 48 << 20, item = 16 << 20;
    struct blob *data = blob_new(size);
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = 1}};
    int64_t end = clock_us() + PATIENCE;

    (void)state;
    for (size_t i = 0; i < size; i++)
        data->bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    m.inputs.columns =
        (struct columns){.count = 1, .size = item, .data = data, .at = item, .length = item};
    meet();
    assert_int_equal(link_send(f.link, &m), 0);
    assert_true(atomic_load(&data->refs) > 1);
    wait_router(&m);
    assert_int_equal(m.inputs.columns.length, item);
    router_sends(&m); /* and so is what was received */
    assert_true(atomic_load(&m.inputs.columns.data->refs) > 1);
    wait_message(&m);
    assert_int_equal(m.inputs.columns.length, item);
    assert_int_equal((uintptr_t)m.inputs.columns.data->bytes % 8, 0);
    assert_memory_equal(m.inputs.columns.data->bytes, data->bytes + item, item);
    while (atomic_load(&data->refs) != 1)
        turn(end);
    blob_unref(data);
}

static void
garbage_is_dropped_and_the_link_goes_on(void **state)
{
    static char large[LIMIT_HEADER + 2];
    const char *const garbage[] = {"garbage"}, *const empty[] = {""};
    const char *const many[] = {"a", "b", "c", "d", "e"};
    const char *const *const bad[] = {garbage, empty, many, (const char *const[]){large}};
    const int parts[] = {1, 1, 5, 1};
    struct message m;
    const char *why;
    int64_t end = clock_us() + PATIENCE;
    int rc;

    (void)state;
    memset(large, 'x', sizeof(large) - 1);
    meet();
    for (int i = 0; i < 4; i++) {
        send_raw(bad[i], parts[i]);
        why = NULL;
        while ((rc = link_receive(f.link, &m, &why)) == 0)
            turn(end);
        assert_int_equal(rc, -1);
        assert_int_equal(errno, EPROTO);
        assert_non_null(why);
    }
    m = (struct message){.type = MESSAGE_BEAT};
    router_sends(&m);
    wait_message(&m);
    assert_int_equal(m.type, MESSAGE_BEAT);
    assert_true(link_is_up(f.link));
}

static void
oversized_frame_costs_the_connection(void **state)
{
    zmq_msg_t id, large;

    (void)state;
    meet();
    zmq_msg_init(&id);
    zmq_msg_copy(&id, &f.id);
    zmq_msg_send(&id, f.router, ZMQ_SNDMORE);
    zmq_msg_init_size(&large, LIMIT_DATA + 1);
    zmq_msg_send(&large, f.router, 0);
    wait_event(LINK_DOWN);
    meet();
}

static void
owner_never_sleeps_on_input(void **state)
{
    struct message m = {.type = MESSAGE_BEAT};
    int64_t end = clock_us() + PATIENCE, now, deadline;
    const char *why;

    (void)state;
    meet();
    for (int i = 0; i < 500; i++)
        router_sends(&m);
    /* One message a turn, and sleeps as long as it may: a sleep on input would last to the end. */
    for (int got = 0; got < 500;) {
        now = clock_us();
        assert_true(now < end);
        deadline = link_deadline(f.link);
        poller_wait(f.poller, clock_poll_timeout(deadline < end ? deadline : end, now));
        link_tick(f.link, clock_us());
        got += link_receive(f.link, &m, &why) == 1;
    }
    assert_int_equal(link_deadline(f.link), CLOCK_NEVER);
}

static void
lingering_passes_on_what_was_sent(void **state)
{
    struct message m = {.type = MESSAGE_TAKEN};
    int64_t end = clock_us() + PATIENCE;
    uint64_t next = 0;

    (void)state;
    meet();
    for (uint64_t i = 0; i < 5000; i++) {
        m.taken.bytes = i;
        assert_int_equal(link_send(f.link, &m), 0);
    }
    link_free(f.link, 5000);
    f.link = NULL;
    while (next < 5000) {
        assert_true(clock_us() < end);
        if (router_receives(&m))
            assert_int_equal(m.taken.bytes, next++);
    }
}

static void
lingering_ends(void **state)
{
    struct blob *data = blob_new(8192);
    struct message m = {.type = MESSAGE_INPUTS, .inputs = {.job = 1}};
    int64_t start;

    (void)state;
    m.inputs.columns = (struct columns){.count = 1, .size = 8192, .data = data, .length = 8192};
    meet();
    for (int i = 0; i < 6000; i++)
        assert_int_equal(link_send(f.link, &m), 0);
    start = clock_us();
    link_free(f.link, 200);
    f.link = NULL;
    assert_in_range(clock_us() - start, 150000, 5000000);
    blob_unref(data);
}

/* Time is told to a link, so growing intervals need no waiting. */
static void
intervals_between_attempts_grow(void **state)
{
    int64_t now = 1000000, least = 50000, end = clock_us() + PATIENCE, wait;

    (void)state;
    close_router(0);
    f.link = link_new(f.poller, f.endpoint, now);
    for (int i = 0; i < 20; i++) {
        /* While it connects, at most a patience ahead; once refused, an interval. */
        do {
            assert_true(clock_us() < end);
            poller_wait(f.poller, 20);
            link_tick(f.link, now);
        } while ((wait = link_deadline(f.link) - now) <= 0 || wait == 1000000 || wait == 10000000);
        assert_in_range(wait, least, 2 * least);
        if ((least += least / 2) > 1500000)
            least = 1500000;
        now += wait;
        link_tick(f.link, now);
    }
}

static pid_t child;
static char childs_endpoint[128];

static int
setup_child(void **state)
{
    child = trickler_start(childs_endpoint, sizeof(childs_endpoint));
    return child < 0 ? -1 : setup(state);
}

static int
teardown_child(void **state)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return teardown(state);
}

static void
listen_for(int64_t us)
{
    int64_t end = clock_us() + us;
    struct message m;
    const char *why;

    while (clock_us() < end) {
        turn(end + PATIENCE);
        assert_int_equal(link_receive(f.link, &m, &why), 0);
    }
}

static void
bytes_of_a_message_under_way_are_heard(void **state)
{
    enum { A_WHILE = 500000 };

    (void)state;
    f.link = link_new(f.poller, childs_endpoint, clock_us());
    wait_event(LINK_UP);
    listen_for(A_WHILE);
    assert_true(link_heard(f.link, clock_us()) > clock_us() - A_WHILE / 2);
    kill(child, SIGSTOP);
    listen_for(A_WHILE);
    assert_true(link_heard(f.link, clock_us()) < clock_us() - A_WHILE / 2);
    kill(child, SIGKILL);
    wait_event(LINK_DOWN);
    assert_true(link_heard(f.link, clock_us()) == INT64_MIN);
}

static void
nonsense_is_no_endpoint(void **state)
{
    (void)state;
    assert_null(link_new(f.poller, "nonsense", 0));
    assert_int_equal(errno, EINVAL);
}

static void
link_does_not_come_up_with_a_stranger(void **state)
{
    struct stranger s = {.words = "HTTP/1.1 400 Bad Request\r\n\r\n"};

    (void)state;
    stranger_listen(&s);
    stranger_serve(&s);
    f.link = link_new(f.poller, s.endpoint, clock_us());
    for (int64_t end = clock_us() + 500000; clock_us() < end;) {
        turn(end + PATIENCE);
        assert_int_equal(link_event(f.link), LINK_NONE);
    }
    stranger_join(&s);
    stranger_close(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_of_a_message_under_way_are_heard, setup_child,
                                        teardown_child),
        cmocka_unit_test_setup_teardown(messages_go_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(works_over_ipc, setup, teardown),
        cmocka_unit_test_setup_teardown(broker_that_comes_back_is_found_again, setup, teardown),
        cmocka_unit_test_setup_teardown(broker_may_start_late, setup, teardown),
        cmocka_unit_test_setup_teardown(last_words_are_heard_before_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(restart_gives_a_new_conversation, setup, teardown),
        cmocka_unit_test_setup_teardown(unread_messages_wait_here_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(backlog_ends_with_its_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(large_data_is_lent_not_copied, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_is_dropped_and_the_link_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(oversized_frame_costs_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(owner_never_sleeps_on_input, setup, teardown),
        cmocka_unit_test_setup_teardown(lingering_passes_on_what_was_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(lingering_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(intervals_between_attempts_grow, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_is_no_endpoint, setup, teardown),
        cmocka_unit_test_setup_teardown(link_does_not_come_up_with_a_stranger, setup, teardown),
    };

    cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
