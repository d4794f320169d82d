/* measure.h - what all measuring programs share: a clock, a median, and the lines that bench.py
 * reads. */
#ifndef LADLE_MEASURE_H
#define LADLE_MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double
seconds_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static int
compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Of `count` values, at least one; sorts them. */
static inline double
quantile(double *values, size_t count, double q)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return values[(size_t)(q * (double)(count - 1))];
}

/* A figure: bench.py reads "name value" lines. */
static inline void
tell(const char *name, double value)
{
    printf("%s %.9g\n", name, value);
    fflush(stdout);
}

static inline uint64_t
number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);

    if (end == text || *end != '\0') {
        fprintf(stderr, "not a number: %s\n", text);
        exit(2);
    }
    return n;
}

#endif
