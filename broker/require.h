/* require.h - the invariants of the state machines, looked at by tests, whether or not asserts are
 * compiled. */
#ifndef LADLE_REQUIRE_H
#define LADLE_REQUIRE_H

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "broken invariant, %s:%d: %s\n", __FILE__, __LINE__, #condition);      \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
