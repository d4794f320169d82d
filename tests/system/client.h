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

/* Those of test_client_exact.c are told in an order: mark (counts its runs in byte `index` of the
 * file), note_turn (appends its index to the file), gate (ends when the file is gone), shaky and
 * sour (crash, and fail, in their first n attempts), stubborn (marks, and never ends). */
struct order {
    int32_t index, n;
    char path[96]; /* of a file that tasks and test share */
};
struct order order_new(int32_t n); /* with a file, to be unlinked */
future_t *submit_order(futures_t *f, const char *function, const struct order *o,
                       const task_options_t *options);
size_t order_read(const struct order *o, void *data, size_t size); /* what the file holds */
enum { SLOTS = 64 };
/* Fill all slots with gates. Returns how many. */
int fill_slots(futures_t *f, const struct order *o, future_t *held[SLOTS]);
void empty_slots(const struct order *o, future_t *held[SLOTS], int n); /* unlinks the file */

struct partials { /* what on_partial() saw */
    int n, sum;
    uint64_t index;
};
void on_partial(uint64_t index, const void *data, size_t size, void *arg);

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int api_tests(void);
int session_tests(void);
int future_tests(void);
int list_tests(void);
int map_tests(void);
/* What executors come to: with an initializer, and what else their environment asks for. */
futures_t *open_barrier(void);
int reduce_tests(void);
int scan_tests(void);
int message_tests(void);
int exact_tests(void);
int race_tests(void);
int key_tests(void);
int config_tests(void);
int meter_tests(void);
int shared_tests(void);
int nested_tests(void);
int nested_end_tests(void);

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
