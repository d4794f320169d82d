/* reduce.h - what the tests of reductions and of scans share. */
#ifndef LADLE_TESTS_REDUCE_H
#define LADLE_TESTS_REDUCE_H

#include "client.h"

#define MANY 100003

/* The tasks: choosy (a double; fails for 13, crashes for 14, is slow for 15), add (two of them),
 * spell (an int as text), concatenate. */

/* Badly scaled: any other order of summing gives other bits. To be freed. */
double *scaled(size_t n);
/* Their sum is that of the tree. */
void check_sum(futures_t *f, const double *x, size_t n);
/* What spell and concatenate make of 0 to n - 1. To be freed. */
char *spelled(int n, size_t *length_p);

#endif
