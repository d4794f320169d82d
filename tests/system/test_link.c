#include "../../base/clock.h"
#include "../../net/frames.h"
#include "../../net/link.h"
#include "../../proto/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
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
    struct message m = {.type = MESSAGE_NOTICE, .notice = {7, "hello"}};

    (void)state;
    meet();
    assert_int_equal(link_send(f.link, &m), 0);
    wait_router(&m);
    assert_string_equal(m.notice.text, "hello");
    m = (struct message){.type = MESSAGE_GRID, .grid = {3, 12}};
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
        if ((least += least / 2) > 15000000)
            least = 15000000;
        now += wait;
        link_tick(f.link, now);
    }
}

/* A peer in a process of its own. It starts before this process has threads that a fork would cut
 * off in the middle of something. */
static pid_t child;
static char childs_endpoint[128];

static int
setup_child(void **state)
{
    int ends[2];

    if (pipe(ends) != 0 || (child = fork()) < 0)
        return -1;
    if (child == 0) {
        void *context = zmq_ctx_new(), *router = zmq_socket(context, ZMQ_ROUTER);
        char mine[128] = "", part[64];
        size_t length = sizeof(mine);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        frames_configure(router);
        zmq_bind(router, "tcp://127.0.0.1:*");
        zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, mine, &length);
        if (write(ends[1], mine, sizeof(mine)) != sizeof(mine))
            _exit(1);
        for (;;)
            zmq_recv(router, part, sizeof(part), 0);
    }
    close(ends[1]);
    if (read(ends[0], childs_endpoint, sizeof(childs_endpoint)) != sizeof(childs_endpoint))
        return -1;
    close(ends[0]);
    return setup(state);
}

static int
teardown_child(void **state)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return teardown(state);
}

static void
stopped_peer_is_noticed(void **state)
{
    int64_t start;

    (void)state;
    f.link = link_new(f.poller, childs_endpoint, clock_us());
    wait_event(LINK_UP);
    kill(child, SIGSTOP);
    start = clock_us();
    wait_event(LINK_DOWN);
    assert_in_range(clock_us() - start, 0, 12 * 1000 * 1000);
}

static void
endpoints_are_checked(void **state)
{
    static const struct {
        const char *text, *word; /* in the sentence; NULL: it is fine */
    } cases[] = {
        {"tcp://head:5570", NULL},
        {"tcp://10.0.0.1:1", NULL},
        {"tcp://[::1]:65535", NULL},
        {"ipc:///run/ladle/broker", NULL},
        {"ipc://@ladle", NULL},
        {"", "not an endpoint"},
        {"head:5570", "not an endpoint"},
        {"udp://head:5570", "not an endpoint"},
        {"tcp://head", "no port"},
        {"tcp://head:", "no port"},
        {"tcp://head:http", "no port"},
        {"tcp://head:0", "not a port"},
        {"tcp://head:65536", "not a port"},
        {"tcp://head:5570x", "not a port"},
        {"tcp://:5570", "no host"},
        {"tcp://*:5570", "may listen"},
        {"tcp://a b:5570", "not the name"},
        {"tcp://::1:5570", "not the name"},
        {"ipc://", "no path"},
    };
    char why[300], longest[200];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int rc = endpoint_check(cases[i].text, why, sizeof(why));

        assert_int_equal(rc, cases[i].word == NULL ? 0 : -1);
        if (rc != 0 && strstr(why, cases[i].word) == NULL)
            fail_msg("'%s': %s", cases[i].text, why);
    }
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "ipc://", 6);
    longest[sizeof(longest) - 1] = 0;
    assert_int_equal(endpoint_check(longest, why, sizeof(why)), -1);
    assert_null(link_new(f.poller, "nonsense", 0));
    assert_int_equal(errno, EINVAL);
}

/* A TCP server of one connection: says `words` (NULL: nothing), and hangs up. */
struct server {
    int fd;
    const char *words;
    pthread_t thread;
    char endpoint[64];
};

static void *
serve_once(void *arg)
{
    struct server *s = arg;
    int fd = accept(s->fd, NULL, NULL);
    char part[64];
    ssize_t n;

    /* Waits for a line, as such servers do. */
    while (s->words != NULL && (n = recv(fd, part, sizeof(part), 0)) > 0)
        if (memchr(part, '\n', (size_t)n) != NULL) {
            send(fd, s->words, strlen(s->words), MSG_NOSIGNAL);
            break;
        }
    close(fd);
    return NULL;
}

static void
listen_here(struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);

    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, size), 0);
    assert_int_equal(listen(s->fd, 5), 0);
    getsockname(s->fd, (struct sockaddr *)&a, &size);
    snprintf(s->endpoint, sizeof(s->endpoint), "tcp://127.0.0.1:%d", ntohs(a.sin_port));
}

static void
expect(const char *endpoint, int timeout_ms, const char *word, const char *remedy)
{
    char text[500];

    link_diagnose(endpoint, timeout_ms, text, sizeof(text));
    if (strstr(text, word) == NULL || strstr(text, remedy) == NULL)
        fail_msg("no '%s' and '%s' in: %s", word, remedy, text);
    if (strstr(text, endpoint) == NULL)
        fail_msg("which endpoint? %s", text);
}

static void
strangers_are_told_apart(void **state)
{
    struct server s = {.words = NULL};

    (void)state;
    listen_here(&s);
    expect(s.endpoint, 100, "says nothing", "LADLE_BROKER");
    close(s.fd);
    expect(s.endpoint, 1000, "connection refused", "start ladle-broker there");

    for (int i = 0; i < 3; i++) {
        s.words = i == 0   ? NULL
                  : i == 1 ? "HTTP/1.1 400 Bad Request\r\n\r\n"
                           : "220 smtp ready\r\n";
        listen_here(&s);
        assert_int_equal(pthread_create(&s.thread, NULL, serve_once, &s), 0);
        expect(s.endpoint, 1000,
               i == 0   ? "hangs up"
               : i == 1 ? "web server"
                        : "does not speak ZeroMQ",
               "LADLE_BROKER");
        pthread_join(s.thread, NULL);
        close(s.fd);
    }
    expect("tcp://no-such-host.invalid:5570", 1000, "unknown", "check the name");
    expect("tcp://head", 1000, "no port", "LADLE_BROKER");
}

static void
strange_zeromq_peers_are_told_apart(void **state)
{
    char public[41], secret[41];
    int yes = 1;

    (void)state;
    expect(f.endpoint, 5000, "answers as ZeroMQ does, but not as a ladle-broker", "LADLE_BROKER");
    close_router(0);
    f.router = zmq_socket(f.context, ZMQ_ROUTER);
    assert_int_equal(zmq_curve_keypair(public, secret), 0);
    zmq_setsockopt(f.router, ZMQ_CURVE_SERVER, &yes, sizeof(yes));
    zmq_setsockopt(f.router, ZMQ_CURVE_SECRETKEY, secret, sizeof(secret));
    while (zmq_bind(f.router, f.endpoint) != 0)
        assert_int_equal(errno, EADDRINUSE);
    expect(f.endpoint, 5000, "keys", "ask whoever runs it");
}

static void
sockets_in_the_file_system_are_told_apart(void **state)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/ladle-link-XXXXXX", endpoint[64];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/s", folder);
    snprintf(endpoint, sizeof(endpoint), "ipc://%s/s", folder);
    expect(endpoint, 1000, "there is no socket", "start ladle-broker");
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    expect(endpoint, 1000, "connection refused", "start ladle-broker");
    assert_int_equal(listen(fd, 5), 0);
    expect(endpoint, 100, "says nothing", "LADLE_BROKER");
    close(fd);
    unlink(a.sun_path);
    rmdir(folder);
}

static void
link_does_not_come_up_with_a_stranger(void **state)
{
    struct server s = {.words = "HTTP/1.1 400 Bad Request\r\n\r\n"};

    (void)state;
    listen_here(&s);
    assert_int_equal(pthread_create(&s.thread, NULL, serve_once, &s), 0);
    f.link = link_new(f.poller, s.endpoint, clock_us());
    for (int64_t end = clock_us() + 500000; clock_us() < end;) {
        turn(end + PATIENCE);
        assert_int_equal(link_event(f.link), LINK_NONE);
    }
    pthread_join(s.thread, NULL);
    close(s.fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stopped_peer_is_noticed, setup_child, teardown_child),
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
        cmocka_unit_test_setup_teardown(endpoints_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(strangers_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(strange_zeromq_peers_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(sockets_in_the_file_system_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(link_does_not_come_up_with_a_stranger, setup, teardown),
    };

    cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
