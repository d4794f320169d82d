#include "error.h"

#include "futures.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char sentence[8192];

static void
put(const char *format, va_list args)
{
    char text[sizeof(sentence)];

    /* The arguments may be the old sentence. */
    vsnprintf(text, sizeof(text), format, args);
    snprintf(sentence, sizeof(sentence), "%s", text);
}

int
error_set(int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    put(format, args);
    va_end(args);
    errno = error;
    return -1;
}

void *
error_null(int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    put(format, args);
    va_end(args);
    errno = error;
    return NULL;
}

int
error_no_handle(const char *what)
{
    static const char before[] = "; before that: ";
    char cause[sizeof(sentence)];
    const char *first = strstr(sentence, before); /* one handle led to the next */

    snprintf(cause, sizeof(cause), "%s", first != NULL ? first + strlen(before) : sentence);
    return error_set(EINVAL, "%s%s%s", what, cause[0] != '\0' ? before : "", cause);
}

const char *
futures_error(void)
{
    return sentence;
}
