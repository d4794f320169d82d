/* error.h - the sentence behind futures_error(), per thread. */
#ifndef LADLE_ERROR_H
#define LADLE_ERROR_H

/* Sets errno to `error` and the sentence; returns -1. */
int error_set(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, for calls that return a pointer. */
void *error_null(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
