/* error.h - the sentence behind futures_error(), per thread. */
#ifndef LADLE_ERROR_H
#define LADLE_ERROR_H

/* Sets errno to `error` and the sentence; returns -1. */
int error_set(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, for calls that return a pointer. */
void *error_null(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For a handle that is NULL, mostly because the call that should have made it failed: EINVAL,
 * `what`, and the sentence of that failure, which a program that checks only its last call must not
 * lose. -1. */
int error_no_handle(const char *what);

#endif
