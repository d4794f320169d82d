/* client.h - what the tests of the client library share: an endpoint, tasks, a session. */
#ifndef LADLE_TESTS_CLIENT_H
#define LADLE_TESTS_CLIENT_H

#include <ladle.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SOON 20000 /* ms: enough for anything, also under a sanitizer on a busy machine */

extern const char *endpoint;
extern bool serial;

/* The tasks: square (of a double), echo, even (fails if an int is odd), crash, linger (until it is
 * cancelled, or for so many ms), numbers (random ones and the index), stream (three partial
 * results), chatter (prints). */

futures_t *open_one(void);
int setup(void **state); /* *state is a session with the endpoint */
int teardown(void **state);
future_t *submit_int(futures_t *f, const char *function, int x, const task_options_t *options);
int64_t now_ms(void);
void pause_ms(long ms);

struct partials { /* what on_partial() saw */
    int n, sum;
    uint64_t index;
};
void on_partial(uint64_t index, const void *data, size_t size, void *arg);

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int session_tests(void);
int future_tests(void);
int list_tests(void);
int map_tests(void);

#define await(condition)                                                                           \
    do {                                                                                           \
        int64_t until_ = now_ms() + SOON;                                                          \
        while (!(condition)) {                                                                     \
            if (now_ms() > until_)                                                                 \
                fail_msg("not within %d ms: %s", SOON, #condition);                                \
            pause_ms(1);                                                                           \
        }                                                                                          \
    } while (0)

#endif
