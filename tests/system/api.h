/* api.h - what the tests of the API's table share: one test for each of its rows, named after it.
 * How these calls behave at their edges is tested in test_client_*.c; here each does its job. */
#ifndef LADLE_TESTS_API_H
#define LADLE_TESTS_API_H

#include "client.h"

/* More tasks: hold (emits, tells its progress and waits until it is cancelled), once_more (crashes
 * in its first attempt), facts (of itself), half (of an int, in place), sum_of (of two doubles). */

struct facts {
    uint64_t index, random[2];
    double real;
    int attempt;
    char worker[64];
};

int api_session_tests(void);
int api_submit_tests(void);
int api_future_tests(void);
int api_results_tests(void);
int api_task_tests(void);

#endif
