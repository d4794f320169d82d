#include "../../net/link.h"
#include "stranger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

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
    struct stranger s = {.words = NULL};

    (void)state;
    stranger_listen(&s);
    expect(s.endpoint, 100, "says nothing", "LADLE_BROKER");
    stranger_close(&s);
    expect(s.endpoint, 1000, "connection refused", "start ladle-broker there");

    for (int i = 0; i < 3; i++) {
        s.words = i == 0   ? NULL
                  : i == 1 ? "HTTP/1.1 400 Bad Request\r\n\r\n"
                           : "220 smtp ready\r\n";
        stranger_listen(&s);
        stranger_serve(&s);
        expect(s.endpoint, 1000,
               i == 0   ? "hangs up"
               : i == 1 ? "web server"
                        : "does not speak ZeroMQ",
               "LADLE_BROKER");
        stranger_join(&s);
        stranger_close(&s);
    }
    expect("tcp://no-such-host.invalid:5570", 1000, "unknown", "check the name");
    expect("tcp://head", 1000, "no port", "LADLE_BROKER");
}

static void
strange_zeromq_peers_are_told_apart(void **state)
{
    void *context = zmq_ctx_new();
    char public[41], secret[41], endpoint[128];
    int none = 0, yes = 1;

    (void)state;
    for (int curve = 0; curve < 2; curve++) {
        void *router = zmq_socket(context, ZMQ_ROUTER);
        size_t size = sizeof(endpoint);

        zmq_setsockopt(router, ZMQ_LINGER, &none, sizeof(none));
        if (curve) {
            assert_int_equal(zmq_curve_keypair(public, secret), 0);
            zmq_setsockopt(router, ZMQ_CURVE_SERVER, &yes, sizeof(yes));
            zmq_setsockopt(router, ZMQ_CURVE_SECRETKEY, secret, sizeof(secret));
        }
        assert_int_equal(zmq_bind(router, "tcp://127.0.0.1:*"), 0);
        zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &size);
        if (curve)
            expect(endpoint, 5000, "keys", "ask whoever runs it");
        else
            expect(endpoint, 5000, "answers as ZeroMQ does, but not as a ladle-broker",
                   "LADLE_BROKER");
        zmq_close(router);
    }
    zmq_ctx_term(context);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_are_checked),
        cmocka_unit_test(strangers_are_told_apart),
        cmocka_unit_test(strange_zeromq_peers_are_told_apart),
        cmocka_unit_test(sockets_in_the_file_system_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
