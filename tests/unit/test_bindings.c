/* Where a broker may listen. */
#include "../../broker/bindings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool
allowed(const char *endpoint, bool insecure)
{
    char why[1024] = "";
    int rc = binding_check(endpoint, insecure, why, sizeof(why));

    assert_true(rc == 0 || rc == -1);
    if ((rc == 0) != (why[0] == '\0'))
        print_error("%s: %d, '%s'\n", endpoint, rc, why);
    assert_true((rc == 0) == (why[0] == '\0'));
    if (rc != 0)
        assert_non_null(strstr(why, endpoint));
    return rc == 0;
}

static void
loopback_and_ipc_need_no_leave(void **state)
{
    static const char *const endpoints[] = {
        "tcp://127.0.0.1:5570", "tcp://127.0.0.1:0",       "tcp://127.0.0.1:*",
        "tcp://127.255.0.9:1",  "tcp://localhost:65535",   "tcp://lo:5570",
        "tcp://[::1]:5570",     "ipc:///run/ladle/broker", "ipc://relative",
        "ipc://@abstract",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(*endpoints); i++) {
        assert_true(allowed(endpoints[i], false));
        assert_true(allowed(endpoints[i], true));
    }
}

static void
what_others_can_reach_needs_leave(void **state)
{
    static const char *const endpoints[] = {
        "tcp://0.0.0.0:5570", "tcp://*:5570",         "tcp://10.0.0.1:5570",
        "tcp://[::]:5570",    "tcp://[fe80::1]:5570", "tcp://eth0:5570",
        "tcp://head:5570",    "tcp://128.0.0.1:5570", "tcp://127.0.0.1.example.org:5570",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(*endpoints); i++) {
        assert_false(allowed(endpoints[i], false));
        assert_true(allowed(endpoints[i], true));
    }
}

static void
nonsense_is_refused_either_way(void **state)
{
    static const char *const endpoints[] = {
        "",
        "tcp://",
        "tcp://:5570",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:1x",
        "tcp://127.0.0.1:99999999999999999999",
        "tcp://::1:5570",
        "tcp://[::1:5570",
        "tcp://[]:5570",
        "TCP://127.0.0.1:1",
        "127.0.0.1:5570",
        "udp://127.0.0.1:1",
        "inproc://x",
        "ipc://",
        "ipc://*",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(*endpoints); i++) {
        assert_false(allowed(endpoints[i], false));
        assert_false(allowed(endpoints[i], true));
    }
}

static void
lengths_have_limits(void **state)
{
    char endpoint[1024] = "ipc:///";
    char why[1024];

    (void)state;
    memset(endpoint + 7, 'x', 107 - 1);
    assert_int_equal(binding_check(endpoint, false, why, sizeof(why)), 0);
    memset(endpoint + 7, 'x', 108 - 1);
    assert_int_equal(binding_check(endpoint, false, why, sizeof(why)), -1);
    assert_non_null(strstr(why, "longer"));
    memset(endpoint, 'x', sizeof(endpoint) - 1);
    memcpy(endpoint, "tcp://", 6);
    memcpy(endpoint + 1000, ":1", 3);
    assert_int_equal(binding_check(endpoint, true, why, 20), -1);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_and_ipc_need_no_leave),
        cmocka_unit_test(what_others_can_reach_needs_leave),
        cmocka_unit_test(nonsense_is_refused_either_way),
        cmocka_unit_test(lengths_have_limits),
    };

    return cmocka_run_group_tests_name("bindings", tests, NULL, NULL);
}
