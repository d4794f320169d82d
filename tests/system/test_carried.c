/* test_carried.c - the client in an executor, and the conversation that its worker carries. */
#include "../../client/carried.h"
#include "../../client/uplink.h"
#include "../../proto/limits.h"
#include "../../proto/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int worker; /* the other end of descriptor 3 */
static struct arena *arena;

/* How many messages it has sent, all of them hellos. */
static unsigned
hellos(void)
{
    static uint8_t bytes[2 * LIMIT_HEADER];
    ssize_t size = recv(worker, bytes, sizeof(bytes), MSG_DONTWAIT), at = 0;
    unsigned n = 0;

    while (at < size) {
        ssize_t length = bytes[at] | bytes[at + 1] << 8;
        struct message m;
        const char *why;

        assert_int_equal(wire_decode(arena, bytes + at + 8, (size_t)length, NULL, &m, &why), 0);
        assert_int_equal(m.type, MESSAGE_HELLO);
        assert_int_equal(m.hello.role, ROLE_CLIENT);
        assert_int_not_equal(m.client, 0);
        at += 8 + length;
        n++;
    }
    return n;
}

static void
hear(struct nest *n, enum message_type type)
{
    struct message m = {.type = type, .client = 1};

    if (type == MESSAGE_BYE)
        m.text = "the worker has lost its broker";
    else
        m.welcome = (struct message_welcome){.instance = 1, .window = 1 << 20, .slots = 1};
    carried_message(n, &m);
}

static void
says_hello_again_after_each_goodbye(void **state)
{
    static struct nest n;

    (void)state;
    assert_int_equal(nest_init(&n), 0);
    carried_open(&n);
    carried_open(&n);
    assert_int_equal(hellos(), 1);
    hear(&n, MESSAGE_BYE); /* the hello went with the connection that was lost */
    assert_int_equal(hellos(), 0);
    carried_open(&n);
    assert_int_equal(hellos(), 1);
    hear(&n, MESSAGE_WELCOME);
    carried_open(&n);
    assert_int_equal(hellos(), 0);
    hear(&n, MESSAGE_BYE);
    assert_int_equal(hellos(), 0); /* when it is needed */
    carried_open(&n);
    assert_int_equal(hellos(), 1);
    nest_fini(&n);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_hello_again_after_each_goodbye),
    };
    int ends[2], failed;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 ||
        (arena = arena_new()) == NULL)
        return 1;
    worker = ends[0];
    uplink_open(ends[1]);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(arena);
    return failed;
}
